"""The contract passes a right adapter, and catches each of these wrong ones."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from right_adapter import BAD_SHOTS, RightAdapter

from qjobs.backends.base import Limits, LostReply, MissingResult, Snapshot, nothing
from qjobs.errors import ProtocolError
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ItemResult, RemoteId
from qjobs.testing.contract import BackendContract, bits_of, flips, new_key

Adapter = type[RightAdapter]
WRONG: list[object] = []


def breaks(test: str) -> Callable[[Adapter], Adapter]:
    """Name the test of the contract that catches a wrong adapter."""

    def register(adapter: Adapter) -> Adapter:
        WRONG.append(pytest.param(adapter, test, id=adapter.__name__))
        return adapter

    return register


class Contract(BackendContract):
    is_seeded = True
    timeout_s = 1.0

    def slow_batch(self) -> Batch:
        return self.make_batch([(flips(1, on=[0]), 8)] * 2)

    def failing_batch(self) -> Batch:
        return self.make_batch([(flips(3, on=bits_of(word)), BAD_SHOTS) for word in range(3)])


@breaks("test_created_once")
class ForgetsCreated(RightAdapter):
    def submit(self, batch, key, created, sending=nothing):
        super().submit(batch, key, lambda _: None, sending)


@breaks("test_created_once")
class CallsCreatedTwice(RightAdapter):
    def submit(self, batch, key, created, sending=nothing):
        super().submit(batch, key, created, sending)
        created(self.keys[key])


@breaks("test_sending_keeps_it_back")
class SendsWithoutAsking(RightAdapter):
    def submit(self, batch, key, created, sending=nothing):
        super().submit(batch, key, created)
        sending()


@breaks("test_error_of_created")
class SwallowsErrorsOfCreated(RightAdapter):
    def submit(self, batch, key, created, sending=nothing):
        def careless(each):
            with contextlib.suppress(Exception):
                created(each)

        super().submit(batch, key, careless, sending)


@breaks("test_submit_does_not_wait")
class WaitsInSubmit(RightAdapter):
    def submit(self, batch, key, created, sending=nothing):
        super().submit(batch, key, created, sending)
        if key in self.keys:
            self.jobs[self.keys[key]].polls_left = 0
            self.poll(self.jobs[self.keys[key]])


@breaks("test_refused_batch")
class AcceptsAnything(RightAdapter):
    def problem(self, batch):
        return ""


@breaks("test_refused_batch")
class RefusesAfterCreating(RightAdapter):
    def submit(self, batch, key, created, sending=nothing):
        if self.problem(batch):
            created(RemoteId("job-x"))
        super().submit(batch, key, created, sending)


@breaks("test_same_key")
class MakesASecondJob(RightAdapter):
    def submit(self, batch, key, created, sending=nothing):
        self.keys.pop(key, None)
        super().submit(batch, key, created, sending)


@breaks("test_ids_are_unique")
class ReusesIds(RightAdapter):
    def submit(self, batch, key, created, sending=nothing):
        super().submit(batch, key, lambda _: created(RemoteId("job-0")), sending)


@breaks("test_same_key")
class FindsNothing(RightAdapter):
    lost_reply = LostReply.FINDABLE

    def find(self, key):
        return None


@breaks("test_unknown_key")
class FindsTooMuch(RightAdapter):
    def find(self, key):
        return RemoteId("job-0")


@breaks("test_remote_jobs")
class ListsWrongKeys(RightAdapter):
    def remote_jobs(self):
        return [replace(job, key=new_key()) for job in super().remote_jobs()]


@breaks("test_order_of_results")
class Reverses(RightAdapter):
    def results(self, remote_id):
        return super().results(remote_id)[::-1]


class EditsCounts(RightAdapter):
    def edit(self, counts):
        raise NotImplementedError

    def simulate(self, job, item):
        result = super().simulate(job, item)
        if isinstance(result, ItemResult) and result.counts:
            return replace(result, counts=self.edit(dict(result.counts)))
        return result


@breaks("test_bit_zero")
class ReversesBits(EditsCounts):
    def edit(self, counts):
        return {word[::-1]: count for word, count in counts.items()}


@breaks("test_bit_zero")
@breaks("test_bits_measured_into")
class DropsLeadingZeros(EditsCounts):
    def edit(self, counts):
        return {word.lstrip("0") or "0": count for word, count in counts.items()}


@breaks("test_registers")
class KeepsSpaces(EditsCounts):
    def edit(self, counts):
        return {word[:-1] + " " + word[-1] if len(word) > 1 else word: n for word, n in counts.items()}


@breaks("test_shots")
class LosesAShot(EditsCounts):
    def edit(self, counts):
        word = max(counts, key=lambda each: counts[each])
        return counts | {word: counts[word] - 1}


@breaks("test_shots")
class IgnoresShots(RightAdapter):
    def simulate(self, job, item):
        first = replace(item, shots=job.batch.items[0].shots)
        job.batch = replace(job.batch, items=tuple(first if i is item else i for i in job.batch.items))
        return super().simulate(job, first)


@breaks("test_order_of_results")
class DropsAnItem(RightAdapter):
    def results(self, remote_id):
        return super().results(remote_id)[:-1] or [MissingResult(reason="")]


@breaks("test_failed_job_is_data")
class DropsFailedItems(RightAdapter):
    def results(self, remote_id):
        return [each for each in super().results(remote_id) if isinstance(each, ItemResult)]


@breaks("test_failed_job_is_data")
class RaisesOnAFailedJob(RightAdapter):
    def poll(self, job):
        snapshot = super().poll(job)
        if snapshot.status is JobStatus.ERROR:
            raise ProtocolError("the job failed")
        return snapshot


@breaks("test_failed_job_is_data")
class SaysCompletedAnyway(RightAdapter):
    def poll(self, job):
        snapshot = super().poll(job)
        failed = snapshot.status is JobStatus.ERROR
        return replace(snapshot, status=JobStatus.COMPLETED) if failed else snapshot


@breaks("test_status_of_many")
class InventsStatuses(RightAdapter):
    def status(self, remote_ids):
        unknown = Snapshot(status=JobStatus.QUEUED, remote_status="?")
        return dict.fromkeys(remote_ids, unknown) | super().status(remote_ids)


@breaks("test_status_of_many")
class AnswersForOne(RightAdapter):
    def status(self, remote_ids):
        return super().status(remote_ids[:1])


@breaks("test_completes")
class NeverEnds(RightAdapter):
    def poll(self, job):
        return Snapshot(status=JobStatus.RUNNING, remote_status="RUNNING")


@breaks("test_unfinished_results")
class RaisesOnUnfinishedResults(RightAdapter):
    def results(self, remote_id):
        if not self.jobs[remote_id].results:
            raise ProtocolError("not ready")
        return super().results(remote_id)


@breaks("test_cancel_twice")
class RaisesOnASecondCancel(RightAdapter):
    def cancel(self, remote_id):
        if self.jobs[remote_id].cancelled:
            raise ProtocolError("409 conflict")
        super().cancel(remote_id)


@breaks("test_cancel_final_job")
class RaisesOnCancelOfFinal(RightAdapter):
    def cancel(self, remote_id):
        if self.jobs[remote_id].results:
            raise ProtocolError("409 conflict")
        super().cancel(remote_id)


@breaks("test_cancel_final_job")
class CancelThrowsResultsAway(RightAdapter):
    def cancel(self, remote_id):
        self.jobs[remote_id].cancelled = True
        self.jobs[remote_id].results = []


@breaks("test_parameters")
class BindsByPosition(RightAdapter):
    def simulate(self, job, item):
        names = job.batch.programs[item.program].parameters
        values = tuple(zip(names, (value for _, value in item.parameters), strict=True))
        wrong = replace(item, parameters=values)
        job.batch = replace(job.batch, items=tuple(wrong if i is item else i for i in job.batch.items))
        return super().simulate(job, wrong)


@breaks("test_seed")
class IgnoresTheSeed(RightAdapter):
    def simulate(self, job, item):
        options = replace(job.batch.options, seed=None)
        job.batch = replace(job.batch, options=options)
        return super().simulate(job, item)


@breaks("test_seed")
class SamplesOnceForAll(RightAdapter):
    def simulate(self, job, item):
        return super().simulate(job, job.batch.items[0])


@breaks("test_expectation_values")
class SamplesExpvals(RightAdapter):
    def simulate(self, job, item):
        result = super().simulate(job, item)
        if isinstance(result, ItemResult) and result.expvals:
            return replace(result, expvals={name: each + 0.01 for name, each in result.expvals.items()})
        return result


@breaks("test_expectation_values")
class ReversesPaulis(RightAdapter):
    def simulate(self, job, item):
        right = job.batch
        turned = []
        for observable in right.options.observables:
            terms = tuple((pauli[::-1], factor) for pauli, factor in observable.terms)
            turned.append(replace(observable, terms=terms))
        job.batch = replace(right, options=replace(right.options, observables=tuple(turned)))
        try:
            return super().simulate(job, item)
        finally:
            job.batch = right


@breaks("test_closes_twice")
class ClosesOnce(RightAdapter):
    closed = False

    def close(self):
        if self.closed:
            raise ProtocolError("closed")
        self.closed = True


@breaks("test_describes_itself")
class HasASillyLimit(RightAdapter):
    limits = Limits(max_items=0, max_shots=10_000)


TESTS = sorted(name for name in dir(Contract) if name.startswith("test_"))


@pytest.mark.parametrize("test", TESTS)
def test_right_adapter(test: str) -> None:
    """A right adapter passes every test, and none is skipped."""
    try:
        getattr(Contract(), test)(RightAdapter())
    except pytest.skip.Exception as skipped:
        pytest.fail(f"skipped: {skipped}")


@pytest.mark.parametrize(("adapter", "test"), WRONG)
def test_wrong_adapter(adapter: Adapter, test: str) -> None:
    """A wrong adapter fails the test of what it breaks."""
    with pytest.raises((AssertionError, ProtocolError, pytest.fail.Exception)):
        getattr(Contract(), test)(adapter())
