"""The adapter of the Munich Quantum Portal against a small portal that misbehaves."""

from __future__ import annotations

import ast
import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from mqp_portal import TOKEN, MqpPortal

import qjobs
from qjobs.backends.base import Backend, MissingResult, Pricing, Result, Snapshot
from qjobs.backends.limiter import Limiter
from qjobs.backends.mqp import MqpBackend
from qjobs.backends.mqp.environment import from_environment
from qjobs.backends.opening import open_mqp, open_qoro
from qjobs.circuits.programs import read_circuit
from qjobs.errors import (
    BackendUnavailable,
    Busy,
    CredentialsRejected,
    InvalidInput,
    NotSent,
    ProtocolError,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ExecuteOptions, ItemResult, ItemSpec, JobKind, Limits, Observable, RemoteId
from qjobs.testing.contract import RecordingJournal, bits_of, flips, new_key
from qjobs.testing.faults import Action, Fault, Route

S = JobStatus
Opened = Callable[..., MqpBackend]


@pytest.fixture(scope="module")
def server() -> Iterator[MqpPortal]:
    with MqpPortal() as portal:
        yield portal


@pytest.fixture
def portal(server: MqpPortal) -> MqpPortal:
    server.reset()
    server.store.run_s = 0.0
    return server


@pytest.fixture
def opened(portal: MqpPortal) -> Iterator[Opened]:
    """Opens backends on the portal, each as a process of its own would."""
    made: list[MqpBackend] = []

    def open_one(resource: str = "QExa", **options: Any) -> MqpBackend:
        settings = {"url": portal.url, "token": lambda: TOKEN, "limiter": Limiter(), "sleep": lambda _: None}
        made.append(MqpBackend(resource, **(settings | options)))
        return made[-1]

    yield open_one
    for each in made:
        each.close()


@pytest.fixture
def backend(opened: Opened) -> MqpBackend:
    return opened()


def batch_of(*words: int, shots: Sequence[int] = (), **more: Any) -> Batch:
    """A circuit for each word, which gives it."""
    programs = [read_circuit(flips(3, on=bits_of(word))) for word in words]
    items = []
    for number, program in enumerate(programs):
        items.append(ItemSpec(label=f"{number}", program=program.hash, shots=shots[number] if shots else 8))
    return Batch(number=0, items=tuple(items), programs={each.hash: each for each in programs}, **more)


def submit(backend: MqpBackend, *words: int) -> RemoteId:
    journal = RecordingJournal()
    backend.submit(batch_of(*(words or (1,))), new_key(), journal)
    assert journal.said == ["sending", "accepted"]
    return journal.ids[0]


def keep(seen: dict[int, Result], stream: Iterator[tuple[int, Result]]) -> None:
    """Keep what a stream gives, also what came before an error."""
    for position, entry in stream:
        seen[position] = entry


def counts(entries: dict[int, Result]) -> dict[int, object]:
    return {n: entry.counts if isinstance(entry, ItemResult) else None for n, entry in entries.items()}


def test_body(portal: MqpPortal, opened: Opened) -> None:
    """Many circuits go in one job, with one number of shots, and no key of ours."""
    submit(opened(queued=True, no_modify=True), 1, 2)
    body = portal.sent["r1"].body
    texts = ast.literal_eval(body.pop("circuit"))
    assert len(texts) == 2
    assert "qjobs" not in "".join(texts)
    expected = {"resource_name": "QExa", "circuit_format": "qasm", "shots": 8, "no_modify": True, "queued": True}
    assert body == expected


def test_offline(portal: MqpPortal, opened: Opened) -> None:
    """While the resource is offline nothing is sent, unless the job may wait for it."""
    portal.ways.online = False
    journal = RecordingJournal()
    with pytest.raises(NotSent, match=r"QExa is offline.*set queued") as caught:
        opened().submit(batch_of(1), new_key(), journal)
    assert caught.value.retry_after_s
    assert (journal.said, portal.created, portal.asked["submit"]) == ([], 0, 0)
    submit(opened(queued=True))
    assert portal.created == 1


def test_goes_offline_before_the_request(portal: MqpPortal, backend: MqpBackend) -> None:
    """A resource that went offline after it was looked at refuses the job in its own words."""

    def close() -> None:
        portal.ways.online = False

    with pytest.raises(SubmissionRejected) as caught:
        backend.submit(batch_of(1), new_key(), RecordingJournal(on_sending=close))
    assert caught.value.detail == "the resource is offline"


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (batch_of(1, 2, shots=[8, 9]), "one number of shots"),
        (batch_of(1, kind=JobKind.COMPILE), "for counts"),
        (batch_of(1, options=ExecuteOptions(observables=(Observable(name="z", terms=(("ZZZ", 1.0),)),))), "for counts"),
    ],
)
def test_cannot_be_sent(portal: MqpPortal, backend: MqpBackend, batch: Batch, words: str) -> None:
    """What a job of the portal cannot be is refused before anything is asked."""
    with pytest.raises(SubmissionRejected, match=words):
        backend.submit(batch, new_key(), RecordingJournal())
    assert portal.n_asked == 0


def test_no_such_resource(portal: MqpPortal, opened: Opened) -> None:
    """A resource that the portal does not know is a refusal, by submission and target alike."""
    with pytest.raises(SubmissionRejected, match="no such resource"):
        opened("Nowhere").submit(batch_of(1), new_key(), RecordingJournal())
    with pytest.raises(ProtocolError, match="no such resource"):
        opened("Nowhere").target()


@pytest.mark.parametrize(
    ("code", "error"), [(401, CredentialsRejected), (403, CredentialsRejected), (429, NotSent), (503, NotSent)]
)
def test_refused_before(portal: MqpPortal, backend: MqpBackend, code: int, error: type[Exception]) -> None:
    """Credentials and the pace are proved by a read, so that the request itself is not answered by a gateway."""
    portal.inject(Fault(route=Route.RESOURCE, action=Action.CODE_BEFORE, code=code, proved=True, times=9))
    journal = RecordingJournal()
    with pytest.raises(error):
        backend.submit(batch_of(1), new_key(), journal)
    assert journal.said == []


def test_no_id(portal: MqpPortal, backend: MqpBackend) -> None:
    """An answer without an id leaves it open whether there is a job; a number is an id too."""
    portal.ways.id_as = lambda _: None
    with pytest.raises(SubmissionUnknown):
        backend.submit(batch_of(1), new_key(), RecordingJournal())
    portal.ways.id_as = int
    assert submit(backend) == "2"


def test_token(portal: MqpPortal, opened: Opened) -> None:
    """The token is asked for with every request; without one nothing is sent, and a renewed one is used at once."""
    tokens = ["", "an-old-token", TOKEN]
    backend = opened(token=lambda: tokens[0])
    for words in ("there is no token", "does not accept our credentials"):
        with pytest.raises(CredentialsRejected, match=words):
            backend.submit(batch_of(1), new_key(), RecordingJournal())
        tokens.pop(0)
    submit(backend)


def test_opaque(portal: MqpPortal, backend: MqpBackend) -> None:
    """Without a login to the list, a lost reply cannot be looked up."""
    portal.inject(Fault(route=Route.SUBMIT, action=Action.DROP_AFTER))
    key = new_key()
    with pytest.raises(SubmissionUnknown):
        backend.submit(batch_of(1), key, RecordingJournal())
    assert (backend.lookup.is_opaque, backend.find(key), backend.remote_jobs()) == (True, None, None)
    assert portal.created == 1


def test_words(portal: MqpPortal, backend: MqpBackend) -> None:
    """Each word of the portal is ours; a reason is asked for only of a job that was cancelled."""
    remote_id = submit(backend)
    portal.store.run_s = 60.0
    slow = submit(backend)
    portal.have(broken={0: "the laser went off"})
    portal.store.run_s = 0.0
    failed = submit(backend)
    found = backend.status([remote_id, slow, failed])
    assert [found[each].status for each in (remote_id, slow, failed)] == [S.COMPLETED, S.QUEUED, S.ERROR]
    assert (found[failed].remote_status, "no reason" in found[failed].message) == ("FAILED", True)
    assert portal.reasons_asked == 0
    backend.cancel(slow)
    (answer,) = backend.status([slow]).values()
    assert (answer.status, answer.message) == (S.CANCELLED, "cancelled by the user")
    assert portal.reasons_asked == 1


@pytest.mark.parametrize("reason", [None, "", "None", 7])
def test_no_reason(portal: MqpPortal, backend: MqpBackend, reason: object) -> None:
    """A cancellation without a reason is a cancellation."""
    portal.store.run_s = 60.0
    remote_id = submit(backend)
    backend.cancel(remote_id)
    portal.ways.cancel_reason = reason
    (answer,) = backend.status([remote_id]).values()
    assert (answer.status, answer.message) == (S.CANCELLED, "")


def test_unknown_word(portal: MqpPortal, backend: MqpBackend) -> None:
    """A word that nobody knows is the answer for its job alone."""
    ids = [submit(backend) for _ in range(3)]
    portal.inject(Fault(route=Route.STATUS, action=Action.UNKNOWN_WORD))
    answers = backend.status(ids)
    assert sorted(type(answer).__name__ for answer in answers.values()) == ["ProtocolError", "Snapshot", "Snapshot"]


def test_away(portal: MqpPortal, backend: MqpBackend) -> None:
    """A portal that is away is not asked for hundreds of jobs; one that rejects our token says so once."""
    ids = [RemoteId(f"{number}") for number in range(200)]
    portal.inject(Fault(route=Route.STATUS, action=Action.DROP_BEFORE, times=10_000))
    with pytest.raises(BackendUnavailable):
        backend.status(ids)
    assert portal.asked["status"] < 80
    portal.inject(Fault(route=Route.STATUS, action=Action.CODE_BEFORE, code=401, times=10_000))
    with pytest.raises(CredentialsRejected):
        backend.status(ids[:3])


def test_forbidden_job(portal: MqpPortal, backend: MqpBackend) -> None:
    """A 403 of one job parks that job, and no other."""
    ids = [submit(backend) for _ in range(2)]
    portal.store.refuse(f"r{ids[0]}", {"status": 403})
    answers = backend.status(ids)
    assert isinstance(answers[ids[0]], CredentialsRejected)
    assert isinstance(answers[ids[1]], Snapshot)


def test_lacks_route(portal: MqpPortal, opened: Opened) -> None:
    """Words that fit a missing route count as a missing job only while the portal shows the resource."""
    backend = opened()
    remote_id = submit(backend)
    portal.store.forget(f"r{remote_id}")
    portal.ways.own_words[404] = "Not Found"
    assert backend.status([remote_id]) == {}
    portal.inject(Fault(route=Route.RESOURCE, action=Action.CODE_BEFORE, code=404, proved=True, times=99))
    (answer,) = backend.status([remote_id]).values()
    assert isinstance(answer, ProtocolError)
    assert answer.code == 404


def test_cancel_race(portal: MqpPortal, backend: MqpBackend) -> None:
    """A cancellation that comes too late raises nothing, and the job is COMPLETED."""
    remote_id = submit(backend)
    backend.cancel(remote_id)
    (answer,) = backend.status([remote_id]).values()
    assert answer.status is S.COMPLETED
    assert counts(dict(backend.results(remote_id))) == {0: {"001": 8}}


def test_cancel_unknown(portal: MqpPortal, backend: MqpBackend) -> None:
    """The cancellation of a job that is not there raises nothing; what its answer says does not matter."""
    backend.cancel(RemoteId("99"))
    portal.store.run_s = 60.0
    remote_id = submit(backend)
    portal.inject(Fault(route=Route.CANCEL, action=Action.NOT_JSON, times=9))
    backend.cancel(remote_id)
    (answer,) = backend.status([remote_id]).values()
    assert answer.status is S.CANCELLED


@pytest.mark.parametrize(
    ("code", "error"), [(403, CredentialsRejected), (409, ProtocolError), (500, BackendUnavailable)]
)
def test_cancel_refused(portal: MqpPortal, backend: MqpBackend, code: int, error: type[Exception]) -> None:
    """A cancellation that is refused, of a job that goes on, is told."""
    portal.store.run_s = 60.0
    remote_id = submit(backend)
    portal.inject(Fault(route=Route.CANCEL, action=Action.CODE_BEFORE, code=code, proved=True, times=9))
    with pytest.raises(error):
        backend.cancel(remote_id)


@pytest.mark.parametrize("scheduled", ["2025-03-01 10:00:00", "", "None", None, 7, "nonsense"])
def test_moments(portal: MqpPortal, backend: MqpBackend, scheduled: object) -> None:
    """Results are read whatever the moments beside them look like."""
    portal.ways.scheduled = scheduled
    assert counts(dict(backend.results(submit(backend)))) == {0: {"001": 8}}


def test_another_process(portal: MqpPortal, opened: Opened) -> None:
    """A process that sent nothing reads everything; how many items an open job has, it must be told."""
    remote_id = submit(opened(), 5, 2)
    portal.store.run_s = 60.0
    slow = submit(opened(), 5, 2)
    other = opened()
    assert counts(dict(other.results(remote_id))) == {0: {"101": 8}, 1: {"010": 8}}
    assert counts(dict(other.results(remote_id, [1, 1]))) == {1: {"010": 8}}
    assert counts(dict(other.results(slow, [0, 1]))) == {0: None, 1: None}
    with pytest.raises(ProtocolError, match="how many circuits"):
        list(other.results(slow))


def test_not_there_yet(portal: MqpPortal, backend: MqpBackend) -> None:
    """A result that follows later is not said to be gone; that of a job that failed is."""
    portal.store.results_late_s = 60.0
    remote_id = submit(backend)
    (entry,) = dict(backend.results(remote_id, [0])).values()
    assert (type(entry), entry.permanent) == (MissingResult, False)
    portal.have(broken={0: "the laser went off"})
    (entry,) = dict(backend.results(submit(backend), [0])).values()
    assert ("FAILED" in entry.reason, entry.permanent) == (True, True)
    portal.store.results_late_s = 0.0


def test_wrong_number_of_results(portal: MqpPortal, opened: Opened) -> None:
    """Fewer or more results than circuits are nobody's: they are given to no item, and may still be put right."""
    backend = opened()
    remote_id = submit(backend, 1, 2, 3)
    for wrong in ({"001": 8}, [{"001": 8}] * 2, [{"001": 8}] * 4):
        portal.ways.result = json.dumps(wrong)
        entries = dict(backend.results(remote_id, [0, 2]))
        assert {type(entry) for entry in entries.values()} == {MissingResult}
        assert not any(entry.permanent for entry in entries.values())
    portal.ways.result = json.dumps([{"001": 8}])
    (entry,) = dict(opened().results(remote_id, [2])).values()
    assert "1 results for 3 circuits" in entry.reason


def test_wrong_sum(portal: MqpPortal, opened: Opened) -> None:
    """Counts that do not sum to the shots are no result; another process sees it by the other circuits."""
    backend = opened()
    remote_id = submit(backend, 1, 2)
    portal.ways.result = json.dumps([{"001": 8}, {"010": 7}])
    for each in (backend, opened()):
        entries = dict(each.results(remote_id, [0, 1]))
        assert counts(entries) == {0: {"001": 8}, 1: None}
        assert "7 shots" in entries[1].reason


def test_one_bad_result(portal: MqpPortal, backend: MqpBackend) -> None:
    """What is wrong with the result of one circuit is told when the others are safe; none for one is for ever."""
    remote_id = submit(backend, 1, 2, 3)
    portal.ways.result = json.dumps([{"0x1": 8}, None, {"011": 8}])
    seen: dict[int, Result] = {}
    with pytest.raises(ProtocolError, match="not a bit string"):
        keep(seen, backend.results(remote_id))
    assert counts(seen) == {1: None, 2: {"011": 8}}
    assert seen[1].permanent
    assert counts(dict(backend.results(remote_id, [2]))) == {2: {"011": 8}}


def test_target(portal: MqpPortal, backend: MqpBackend) -> None:
    """The target is what the portal shows of the resource."""
    target = backend.target()
    assert (target.name, target.n_qubits, target.basis_gates) == ("QExa", 3, ("r", "cz"))
    assert target.coupling == ((0, 1), (1, 0), (1, 2), (2, 1))
    portal.ways.connectivity = portal.ways.instructions = "None"
    assert (backend.target().basis_gates, backend.target().coupling) == (None, None)


def test_describes_itself(portal: MqpPortal, opened: Opened) -> None:
    """Two jobs at a time, one number of shots; a cancellation is asked about once more some minutes later."""
    backend = opened(name="lab")
    assert (backend.limits.max_live_jobs, backend.limits.one_n_shots) == (2, True)
    assert opened(limits=Limits(max_items=7)).limits == Limits(max_items=7, one_n_shots=True)
    assert (backend.confirm.revocable, backend.confirm.times) == (frozenset({S.CANCELLED}), 1)
    assert backend.confirm.apart_s >= 120
    assert backend.fingerprint.place == f"{portal.url} as lab"
    assert opened(queued=True).fingerprint == opened().fingerprint
    assert opened(no_modify=True).fingerprint != opened().fingerprint
    assert (backend.estimate(batch_of(1)), backend.link(RemoteId("1"))) == (None, None)
    with pytest.raises(InvalidInput):
        opened("")


def test_rate(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its user has set what a shot costs, a batch has an estimate in budget units; 0 is a rate, too."""
    batch = batch_of(1, 2, shots=(100, 100))
    assert opened().pricing == Pricing(unit="budget units", words="not known: the portal publishes no prices")
    assert (opened(rate=0.25).estimate(batch), opened(rate=0.0).estimate(batch)) == (50.0, 0.0)
    assert opened(rate=0.25).pricing.words == "0.25 for each shot of a circuit, as it was set here"
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(InvalidInput, match="a rate must be a number from 0, in budget units a shot"):
            opened(rate=wrong)
    monkeypatch.setenv("QJOBS_MQP_RATE", "0.5")
    with contextlib.closing(from_environment("QExa")) as backend:
        assert backend.estimate(batch) == 100.0
    monkeypatch.setenv("QJOBS_MQP_RATE", "cheap")
    with pytest.raises(InvalidInput, match="QJOBS_MQP_RATE must be a number, not 'cheap'"):
        from_environment("QExa")


@pytest.mark.parametrize("open_one", [open_mqp, open_qoro])
def test_near(open_one: Callable[..., Backend]) -> None:
    """A service on this machine is asked sooner than one that others use, too; what is no address is refused."""
    shortest = {}
    for url in ("http://127.0.0.1:8470", "https://localhost:8470", "https://portal.example.com"):
        with contextlib.closing(open_one("QExa", url=url)) as backend:
            shortest[url], longest = backend.poll_interval_s
        assert longest == 120.0
    *near, far = shortest.values()
    assert near == [0.2, 0.2]
    assert far >= 2.0
    with pytest.raises(InvalidInput):
        open_one("QExa", url="http://host:port")


def test_jobs_of_a_plan(portal: MqpPortal, opened: Opened, store: Ledger) -> None:
    """Items of other shots go into other jobs, of which two are alive at a time."""
    portal.store.run_s = 60.0
    backend = opened()
    batch = batch_of(1, 2, 3, 4, shots=[8, 8, 9, 7])
    job_ids = qjobs.plan(store, backend, batch.items, batch.programs, run="run", name="many")
    assert [store.job(job_id).n_items for job_id in job_ids] == [2, 1, 1]
    for job_id in job_ids[:2]:
        qjobs.submit(store, backend, job_id)
    with pytest.raises(Busy):
        qjobs.submit(store, backend, job_ids[2])
    assert [sent.body["shots"] for sent in portal.sent.values()] == [8, 9]
