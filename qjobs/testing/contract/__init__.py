# ruff: noqa: S101 - these are tests, shipped
"""The Backend protocol as tests: run them against your own adapter.

A subclass says how to build the backend, and that is all it has to say::

    class TestMyBackend(BackendContract):
        @pytest.fixture
        def backend(self):
            with MyBackend(...) as backend:
                yield backend

The tests submit small circuits (at most 3 qubits, at most 8 items a job). A noisy device passes as
long as its most frequent outcome is the right one. An adapter of a provider that takes jobs in steps
keeps `qjobs.testing.contract.stepped.SteppedContract`. This module needs pytest, which qjobs does not
install. For pytest's explanations of a failed assert, put
`pytest.register_assert_rewrite("qjobs.testing.contract")` into your `conftest.py`.
"""

from __future__ import annotations

import math
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from qjobs.backends.base import Backend, Capability, Fingerprint, MissingResult, ShowsLive, Snapshot
from qjobs.errors import ProtocolError, QJobsError, SubmissionRejected
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemResult, JobKind, Key, Observable, RemoteId
from qjobs.testing.contract.steps import (
    HEAD,
    ContractSteps,
    ItemForm,
    RecordingJournal,
    Stopped,
    bits_of,
    flips,
    new_key,
    rotations,
    stop,
    top,
)

__all__ = ["BackendContract", "ItemForm", "RecordingJournal", "bits_of", "flips", "new_key"]


CANCELLED = {JobStatus.CANCELLED, JobStatus.CANCELLING}


class BackendContract(ContractSteps):
    """What every adapter must do. Override the hooks that your provider needs, and no test.

    Attributes:
        timeout_s: Longest wait for a job of a few small circuits, in seconds.
        is_seeded: Whether `ExecuteOptions.seed` repeats the counts (simulators).
        expval_tolerance: Largest error of an exact expectation value; raise it on a noisy simulator.
    """

    def test_describes_itself(self, backend: Backend) -> None:
        """Names, limits and intervals make sense."""
        assert isinstance(backend, Backend)
        assert backend.name
        assert backend.device
        limits = backend.limits
        for limit in (
            limits.max_items,
            limits.max_shots,
            limits.max_bytes,
            limits.max_live_jobs,
            limits.max_account_jobs,
        ):
            assert limit is None or limit >= 1
        assert limits.results_kept_s is None or limits.results_kept_s >= 0
        assert backend.settle_s >= 0
        shortest, longest = backend.poll_interval_s
        assert 0 < shortest <= longest
        assert all(isinstance(each, Capability) for each in backend.capabilities)
        assert backend.lookup.token_lifetime_s is None or backend.lookup.token_lifetime_s > 0
        confirm = backend.confirm
        assert all(status.is_final for status in confirm.revocable)
        assert confirm.times >= 1
        assert confirm.absent_times >= 1
        assert min(confirm.apart_s, confirm.absent_apart_s) >= 0
        target = backend.target()
        assert target.name
        assert target.n_qubits is None or target.n_qubits >= 1

    def test_fingerprint(self, backend: Backend) -> None:
        """It is the same at any time, survives being written down, and has no secrets."""
        before = backend.fingerprint
        assert before.place
        assert Fingerprint.of(str(before)) == before
        self.submit(backend, self.make_batch([(flips(1, on=[0]), 8)]))
        assert backend.fingerprint == before
        assert not [secret for secret in self.secrets(backend) if secret in str(before)]

    def test_fingerprint_of_another(self, backend: Backend) -> None:
        """Whose answers mean something else has another fingerprint."""
        other = self.otherwise(backend)
        if other is None:
            pytest.skip("otherwise gives no backend")
        try:
            assert other.fingerprint != backend.fingerprint
        finally:
            other.close()

    def test_estimate(self, backend: Backend) -> None:
        """What a batch will cost is at least 0, or nobody can tell."""
        cost = backend.estimate(self.make_batch([(flips(1, on=[0]), 8)]))
        assert cost is None or cost >= 0

    def test_link(self, backend: Backend) -> None:
        """A job has a page on the web, or none."""
        link = backend.link(self.submit(backend, self.make_batch([(flips(1, on=[0]), 8)])))
        assert link is None or link.startswith(("http://", "https://"))

    def test_closes_twice(self, closable: Backend) -> None:
        """`close` is idempotent, also after a job."""
        self.run(closable, self.make_batch([(flips(1, on=[0]), 8)]))
        closable.close()
        closable.close()

    def test_accepted_once(self, backend: Backend) -> None:
        """A request is announced once and its id handed over once, in this order, and the backend knows it."""
        remote_id = self.submit(backend, self.make_batch([(flips(1, on=[0]), 8)]))
        assert isinstance(remote_id, str)
        assert remote_id
        assert set(backend.status([remote_id])) == {remote_id}

    def test_error_of_accepted(self, backend: Backend) -> None:
        """Whoever cannot keep the id has to hear of it, or the job is lost."""
        journal = RecordingJournal(on_accepted=stop)
        with pytest.raises(Exception) as caught:  # noqa: PT011
            backend.submit(self.make_batch([(flips(1, on=[0]), 8)]), new_key(), journal)
        chain = (caught.value, caught.value.__cause__, caught.value.__context__)
        assert any(isinstance(error, Stopped) for error in chain), chain
        assert journal.said.count("accepted") == 1, "the id was handed over, and must not be lost twice"

    def test_ids_are_unique(self, backend: Backend) -> None:
        """The same batch under two keys makes two jobs."""
        batch = self.make_batch([(flips(1, on=[0]), 8)])
        assert self.submit(backend, batch) != self.submit(backend, batch)

    def test_submit_does_not_wait(self, backend: Backend) -> None:
        """A slow job is not final when `submit` returns."""
        batch = self.given(self.slow_batch(), "slow_batch")
        remote_id = self.submit(backend, batch)
        assert not self.snapshot(backend, remote_id).status.is_final
        backend.cancel(remote_id)

    def test_sending_keeps_it_back(self, backend: Backend) -> None:
        """What `sending` raises comes out of `submit`, nothing is done after it, and no job can run."""
        journal = RecordingJournal(on_sending=stop)
        key = new_key()
        with pytest.raises(Stopped):
            backend.submit(self.make_batch([(flips(1, on=[0]), 8)]), key, journal)
        assert [word for word in journal.said if word != "reserved"] == ["sending"]
        assert journal.said[-1] == "sending"
        self.assert_no_job(backend, key)

    def test_error_while_preparing(self, backend: Backend) -> None:
        """What `preparing` raises comes out of `submit`, nothing is done after it, and no job can run."""
        journal = RecordingJournal(on_preparing=stop)
        key = new_key()
        try:
            backend.submit(self.make_batch([(flips(1, on=[0]), 8)]), key, journal)
        except Stopped:
            assert "sending" not in journal.said
            assert journal.ids == []
            self.assert_no_job(backend, key)
        else:
            assert journal.said.count("accepted") == 1, "this adapter prepares nothing"

    def test_refused_batch(self, backend: Backend) -> None:
        """A refusal gives the words of the provider; nothing was accepted."""
        batch = self.given(self.refused_batch(backend), "refused_batch")
        journal = RecordingJournal()
        with pytest.raises(SubmissionRejected) as caught:
            backend.submit(batch, new_key(), journal)
        assert journal.ids == []
        assert caught.value.detail, "the provider's words"

    def test_same_key(self, backend: Backend) -> None:
        """What `lookup` promises holds."""
        key = new_key()
        batch = self.make_batch([(flips(1, on=[0]), 8)])
        remote_id = self.submit(backend, batch, key)
        lookup = backend.lookup
        assert backend.find(key) == (remote_id if lookup.can_find else None)
        if lookup.token_lifetime_s is not None:
            assert self.submit(backend, batch, key) == remote_id
            self.wait(backend, remote_id)
            assert self.submit(backend, batch, key) == remote_id, "also when it is final"
        elif lookup.chosen_id:
            journal = RecordingJournal()
            try:
                backend.submit(batch, key, journal)
            except SubmissionRejected:
                assert journal.ids == []
            else:
                assert journal.ids == [remote_id], "a second job of the same id is refused, or is the first one"
            assert backend.find(key) == remote_id

    def test_unknown_key(self, backend: Backend) -> None:
        """`find` does not invent jobs."""
        assert backend.find(new_key()) is None

    def test_remote_jobs(self, backend: Backend) -> None:
        """Every job is listed with the key it was made with, or none is where the provider cannot tell."""
        key = new_key()
        remote_id = self.submit(backend, self.make_batch([(flips(1, on=[0]), 8)]), key)
        listed = backend.remote_jobs()
        if backend.lookup.is_opaque:
            assert listed is None, "an opaque provider cannot tell our keys"
        elif listed is not None:
            (ours,) = [job for job in listed if job.remote_id == remote_id]
            assert ours.key == key
            assert ours.n_items in {1, None}

    def test_threads(self, backend: Backend) -> None:
        """Every method may be called from several threads at once."""
        batches = [self.make_batch([(flips(3, on=bits_of(word)), 64)]) for word in range(8)]
        with ThreadPoolExecutor(8) as threads:
            ids = list(threads.map(lambda batch: self.submit(backend, batch), batches))
            assert len(set(ids)) == 8
            list(threads.map(lambda remote_id: self.wait(backend, remote_id), ids))
            results = list(threads.map(lambda remote_id: self.entries(backend, remote_id, 1), ids))
        assert [top(entries[0]) for entries in results] == [f"{word:03b}" for word in range(8)]

    def test_completes(self, backend: Backend) -> None:
        """Final is final; items are shown in their order, or not at all."""
        batch = self.make_batch([(flips(1, on=[0]), 8), (flips(1, on=[]), 8)])
        remote_id = self.submit(backend, batch)
        snapshot = self.wait(backend, remote_id)
        assert snapshot.status is JobStatus.COMPLETED, snapshot
        assert snapshot.remote_status, "the provider's own word"
        if snapshot.items is not None:
            assert [item.status for item in snapshot.items] == [JobStatus.COMPLETED] * 2
            for item in snapshot.items:
                assert all(moment.tzinfo is not None for moment in item.times.values())
        assert self.snapshot(backend, remote_id).status is JobStatus.COMPLETED

    def test_status_of_many(self, backend: Backend) -> None:
        """One call reads the status of several jobs, and leaves out an id that nobody knows."""
        batch = self.make_batch([(flips(1, on=[0]), 8)])
        ids = [self.submit(backend, batch) for _ in range(3)]
        unknown = RemoteId(str(uuid.uuid4()))
        answers = backend.status([ids[0], unknown, *ids[1:]])
        assert set(answers) == set(ids)
        assert all(isinstance(answer, Snapshot) for answer in answers.values())
        assert backend.status([]) == {}

    def test_refused_status(self, backend: Backend) -> None:
        """What is wrong with one job is its answer, and stops no other."""
        batch = self.make_batch([(flips(1, on=[0]), 8)])
        ids = [self.submit(backend, batch) for _ in range(3)]
        if not self.refuse_status(backend, ids[1]):
            pytest.skip("refuse_status refuses nothing")
        answers = backend.status(ids)
        assert set(answers) == set(ids)
        assert isinstance(answers[ids[1]], QJobsError)
        assert isinstance(answers[ids[0]], Snapshot)
        assert isinstance(answers[ids[2]], Snapshot)

    def test_failed_job_is_data(self, backend: Backend) -> None:
        """Status and results of a failed job raise nothing, and what finished is kept."""
        batch = self.given(self.failing_batch(), "failing_batch")
        remote_id = self.submit(backend, batch)
        snapshot = self.wait(backend, remote_id)
        assert snapshot.status not in {JobStatus.COMPLETED, JobStatus.CANCELLED}
        results = self.entries(backend, remote_id, len(batch.items))
        assert isinstance(results[1], MissingResult)
        if snapshot.items is not None:
            assert snapshot.items[1].message
            for item, result in zip(snapshot.items, results, strict=True):
                assert (item.status is JobStatus.COMPLETED) == isinstance(result, ItemResult)

    def test_chosen_results(self, backend: Backend) -> None:
        """Chosen items give the same entries as all do, and nothing else; a second call gives the same."""
        batch = self.make_batch([(flips(3, on=bits_of(word)), 16) for word in range(4)])
        remote_id = self.submit(backend, batch)
        self.wait(backend, remote_id)
        entries = self.entries(backend, remote_id, 4)
        assert self.entries(backend, remote_id, 4) == entries
        chosen = list(backend.results(remote_id, [3, 1]))
        assert len(chosen) == 2
        assert dict(chosen) == {1: entries[1], 3: entries[3]}

    def test_forgotten_job(self, backend: Backend) -> None:
        """A job that the provider no longer knows is left out, and its results will never come."""
        remote_id = self.submit(backend, self.make_batch([(flips(1, on=[0]), 8)] * 2))
        self.wait(backend, remote_id)
        if not self.forget(backend, remote_id):
            pytest.skip("forget forgets nothing")
        assert backend.status([remote_id]) == {}
        self.assert_gone(dict(backend.results(remote_id, [0, 1])))

    def test_results_of_a_stranger(self, backend: Backend) -> None:
        """The results of a job that was never there will never come, or are refused."""
        try:
            found = dict(backend.results(RemoteId(str(uuid.uuid4())), [0, 1]))
        except ProtocolError:
            return
        self.assert_gone(found)

    def test_no_results(self, backend: Backend) -> None:
        """A device that gives no results says of every item that none will come."""
        if backend.limits.gives_results:
            pytest.skip("the device gives results")
        remote_id = self.submit(backend, self.make_batch([(flips(1, on=[0]), 8)] * 2))
        self.wait(backend, remote_id)
        self.assert_gone(dict(enumerate(self.entries(backend, remote_id, 2))))

    def test_order_of_results(self, backend: Backend) -> None:
        """Item i prepares the number i."""
        items = [(flips(3, on=bits_of(word)), 64) for word in (5, 0, 3, 7, 1, 6, 2, 4)]
        assert self.outcomes(backend, *items) == ["101", "000", "011", "111", "001", "110", "010", "100"]

    def test_shots(self, backend: Backend) -> None:
        """The counts of an item add up to its own shots exactly."""
        circuit = HEAD + "qreg q[1];\ncreg c[1];\nh q[0];\nmeasure q -> c;\n"
        shots = [25, 25, 25, 25] if backend.limits.one_n_shots else [10, 25, 25, 64]
        results = self.run(backend, self.make_batch([(circuit, number) for number in shots]))
        assert [sum((result.counts or {}).values()) for result in results] == shots

    def test_bit_zero(self, backend: Backend) -> None:
        """X on qubit 0 of 3 gives 001."""
        assert self.outcomes(backend, (flips(3, on=[0]), 64)) == ["001"]

    def test_bits_measured_into(self, backend: Backend) -> None:
        """The bit decides, not the qubit; a bit that nothing is measured into is 0."""
        chosen = "x q[0];\nmeasure q[0] -> c[2];\nmeasure q[1] -> c[0];\n"
        text = f"{HEAD}qreg q[2];\ncreg c[4];\n{chosen}"
        assert self.outcomes(backend, (text, 64)) == ["0100"]

    def test_registers(self, backend: Backend) -> None:
        """Several classical registers make one bit string without a space; the first is rightmost."""
        text = f"{HEAD}qreg q[2];\ncreg a[1];\ncreg b[2];\nx q[0];\nmeasure q[0] -> b[1];\nmeasure q[1] -> a[0];\n"
        assert self.outcomes(backend, (text, 64)) == ["100"]

    def test_parameters(self, backend: Backend) -> None:
        """Each item has its own values, in whatever order they are given."""
        template = rotations()
        found = self.outcomes(
            backend,
            (template, 64, {"alpha": math.pi, "beta": 0.0}),
            (template, 64, {"beta": math.pi, "alpha": 0.0}),
            (template, 64, {"beta": math.pi, "alpha": math.pi}),
        )
        assert found == ["01", "10", "11"]

    def test_unfinished_results(self, backend: Backend) -> None:
        """There is one entry for each item at any time; one of an open item may still come."""
        batch = self.given(self.slow_batch(), "slow_batch")
        remote_id = self.submit(backend, batch)
        results = self.entries(backend, remote_id, len(batch.items))
        still_open = not self.snapshot(backend, remote_id).status.is_final
        backend.cancel(remote_id)
        missing = [result for result in results if isinstance(result, MissingResult)]
        if still_open:
            assert missing
            assert not all(result.permanent for result in missing)

    def test_seed(self, backend: Backend) -> None:
        """The same seed gives the same counts; equal items of one job are independent samples."""
        if not self.is_seeded:
            pytest.skip("is_seeded is off")
        text = f"{HEAD}qreg q[3];\ncreg c[3];\nh q;\nmeasure q -> c;\n"

        def counts(seed: int) -> list[object]:
            batch = self.make_batch([(text, 500)] * 3, seed=seed)
            return [result.counts for result in self.run(backend, batch)]

        first = counts(7)
        again = counts(7)
        other = counts(8)
        assert first == again
        assert first != other
        assert first[0] != first[1]
        assert first[1] != first[2]

    def test_expectation_values(self, backend: Backend) -> None:
        """Observables replace counts; their rightmost letter acts on qubit 0."""
        if Capability.EXACT_EXPVALS not in backend.capabilities:
            pytest.skip("the backend has no exact expectation values")
        observables = [
            Observable(name="first", terms=(("IZ", 1.0),)),
            Observable(name="sum", terms=(("ZI", 2.0), ("ZZ", -0.5), ("II", 0.25))),
        ]
        values: list[dict[str, float]] = [{"alpha": math.pi, "beta": 0.0}, {"alpha": 0.4, "beta": 1.1}]
        batch = self.make_batch([(rotations(), 1, row) for row in values], observables=observables)
        for row, result in zip(values, self.run(backend, batch), strict=True):
            z0 = math.cos(row["alpha"])
            z1 = math.cos(row["beta"])
            expected = {"first": z0, "sum": 2 * z1 - 0.5 * z0 * z1 + 0.25}
            assert result.counts is None
            assert result.expvals == pytest.approx(expected, abs=self.expval_tolerance)

    def test_cancel_twice(self, backend: Backend) -> None:
        """A cancelled job becomes final; what has a result keeps it."""
        batch = self.given(self.slow_batch(), "slow_batch")
        remote_id = self.submit(backend, batch)
        backend.cancel(remote_id)
        backend.cancel(remote_id)
        snapshot = self.wait(backend, remote_id)
        assert snapshot.status in {JobStatus.CANCELLED, JobStatus.COMPLETED}, snapshot
        self.entries(backend, remote_id, len(batch.items))

    def test_cancel_final_job(self, backend: Backend) -> None:
        """Neither the status nor a result changes, and nothing is raised."""
        remote_id = self.submit(backend, self.make_batch([(flips(3, on=[1]), 64)]))
        self.wait(backend, remote_id)
        before = self.entries(backend, remote_id, 1)
        backend.cancel(remote_id)
        assert self.snapshot(backend, remote_id).status is JobStatus.COMPLETED
        assert self.entries(backend, remote_id, 1) == before

    def test_cancel_items(self, backend: Backend) -> None:
        """Only the chosen items are cancelled."""
        if Capability.CANCEL_ITEMS not in backend.capabilities:
            pytest.skip("the backend cancels whole jobs")
        batch = self.given(self.slow_batch(), "slow_batch")
        remote_id = self.submit(backend, batch)
        backend.cancel(remote_id, [1])
        items = self.snapshot(backend, remote_id).items
        assert items is not None, "who cancels items tells them apart"
        cancelled = {index for index, item in enumerate(items) if item.status in CANCELLED}
        backend.cancel(remote_id)
        assert cancelled == {1}

    def test_live_jobs(self, backend: Backend) -> None:
        """A job of somebody else has a place while it lives, and none when it has ended; on another device, not here.

        Of the jobs that were sent through this backend, the same is shown.
        """
        if not isinstance(backend, ShowsLive) or backend.live_jobs() is None:
            pytest.skip("the provider shows no live jobs of the account")
        batch = self.given(self.slow_batch(), "slow_batch")
        there = self.elsewhere(backend)
        senders = [self.stranger(backend), backend, *([] if there is None else [there])]
        sent = [self.submit(sender, batch) for sender in senders]
        shown = {job.remote_id: job.elsewhere for job in backend.live_jobs() or ()}
        assert [shown.get(remote_id) for remote_id in sent] == [sender is there for sender in senders]
        for sender, remote_id in zip(senders, sent, strict=True):
            sender.cancel(remote_id)
            self.wait(sender, remote_id)
        assert not {job.remote_id for job in backend.live_jobs() or ()}.intersection(sent)

    def test_compiles(self, backend: Backend) -> None:
        """A compile job gives a program for each item."""
        if Capability.COMPILE not in backend.capabilities:
            pytest.skip("the backend compiles nothing")
        batch = replace(self.make_batch([(flips(2, on=[0]), 1), (flips(2, on=[1]), 1)]), kind=JobKind.COMPILE)
        results = self.run(backend, batch)
        assert all(result.program is not None and result.program.payload for result in results)

    def assert_no_job(self, backend: Backend, key: Key) -> None:
        """No job of a key is at the provider, as far as it can tell."""
        assert backend.find(key) is None
        assert not [job for job in backend.remote_jobs() or [] if job.key == key]

    def assert_gone(self, found: dict[int, ItemResult | MissingResult]) -> None:
        """Both items of a job say why their results will never come."""
        assert set(found) == {0, 1}
        for entry in found.values():
            assert isinstance(entry, MissingResult), entry
            assert entry.reason
            assert entry.permanent
