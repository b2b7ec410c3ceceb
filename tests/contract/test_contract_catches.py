"""The contract passes a right adapter and catches each of these wrong ones."""

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from qjobs.backends.aer import AerMethod
from qjobs.backends.aer.tasks import Task, run_task
from qjobs.backends.base import ItemSnapshot, Limits, LostReply, MissingResult, Snapshot, Target, nothing
from qjobs.errors import ProtocolError, SubmissionRejected
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ItemResult, ItemSpec, Key, RemoteId
from qjobs.testing.contract import BackendContract, bits_of, flips

BAD_LABEL = "item 1"


class Job:
    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.polls_left = 2
        self.cancelled = False
        self.results: list[ItemResult | MissingResult] = []


class RightAdapter:
    """A small adapter that keeps the contract: each job takes two polls, in this thread."""

    name, device, exact_expvals, poll_interval_s = "right", "fake", True, (0.0001, 0.1)
    cancels_items, compiles, outlives_us, settle_s = False, False, False, 0.0
    limits = Limits(max_items=100, max_shots=10_000)
    lost_reply = LostReply.DEDUPLICATED

    def __init__(self) -> None:
        self.jobs: dict[RemoteId, Job] = {}
        self.keys: dict[Key, RemoteId] = {}
        self.lock = threading.RLock()

    def submit(
        self, batch: Batch, key: Key, created: Callable[[RemoteId], None], sending: Callable[[], None] = nothing
    ) -> None:
        with self.lock:
            if problem := self.problem(batch):
                raise SubmissionRejected("refused", detail=problem)
            sending()
            if key not in self.keys:
                self.keys[key] = RemoteId(f"job-{len(self.jobs)}")
                self.jobs[self.keys[key]] = Job(batch)
        created(self.keys[key])

    def problem(self, batch: Batch) -> str:
        return "shots" if any(item.shots > 10_000 for item in batch.items) else ""

    def find(self, key: Key) -> RemoteId | None:
        return self.keys.get(key)

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Snapshot]:
        with self.lock:
            return {each: self.look(self.jobs[each]) for each in remote_ids if each in self.jobs}

    def look(self, job: Job) -> Snapshot:
        if job.polls_left:
            job.polls_left -= 1
            return Snapshot(status=JobStatus.RUNNING, remote_status="RUNNING")
        if not job.results:
            job.results = [self.simulate(job, item) for item in job.batch.items]
        items = tuple(
            ItemSnapshot(status=JobStatus.COMPLETED)
            if isinstance(result, ItemResult)
            else ItemSnapshot(status=JobStatus.CANCELLED if job.cancelled else JobStatus.ERROR, message=result.reason)
            for result in job.results
        )
        worst = next((item.status for item in items if item.status is not JobStatus.COMPLETED), None)
        status = worst or JobStatus.COMPLETED
        return Snapshot(status=status, remote_status=status.value, items=items)

    def simulate(self, job: Job, item: ItemSpec) -> ItemResult | MissingResult:
        if job.cancelled:
            return MissingResult(reason="cancelled")
        if item.shots == 13 and item.label == BAD_LABEL:
            return MissingResult(reason="a cosmic ray")
        program = job.batch.programs[item.program]
        values = dict(item.parameters)
        outcome = run_task(
            Task(
                programs=(program,),
                items=((0, tuple(values[name] for name in program.parameters)),),
                first=job.batch.items.index(item),
                shots=item.shots,
                seed=job.batch.options.seed,
                method=AerMethod.AUTOMATIC,
                noise=None,
                observables=job.batch.options.observables,
            )
        )
        return outcome.results()[0] or MissingResult(reason=outcome.failures[0].message)

    def results(self, remote_id: RemoteId) -> list[ItemResult | MissingResult]:
        job = self.jobs[remote_id]
        return list(job.results) or [MissingResult(reason="it runs") for _ in job.batch.items]

    def remote_jobs(self):
        return None

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        if not self.jobs[remote_id].results:
            self.jobs[remote_id].cancelled = True

    def target(self) -> Target:
        return Target(name=self.device)

    def close(self) -> None:
        pass


class Contract(BackendContract):
    is_seeded = True
    timeout_s = 1.0

    def slow_batch(self) -> Batch:
        return self.make_batch([(flips(1, on=[0]), 8)] * 2)

    def failing_batch(self) -> Batch:
        return self.make_batch([(flips(3, on=bits_of(word)), 13) for word in range(3)])


TESTS = sorted(name for name in dir(Contract) if name.startswith("test_"))


def failures(adapter: type[RightAdapter]) -> tuple[set[str], set[str]]:
    """Names of the contract's tests that fail, and of those that are skipped."""
    failed, skipped = set(), set()
    for name in TESTS:
        try:
            getattr(Contract(), name)(adapter())
        except pytest.skip.Exception:
            skipped.add(name)
        except (Exception, pytest.fail.Exception):
            failed.add(name)
    return failed, skipped


def test_a_right_adapter_passes_everything() -> None:
    assert len(TESTS) >= 20
    assert failures(RightAdapter) == (set(), set())


class ForgetsCreated(RightAdapter):
    def submit(self, batch, key, created, sending=nothing):
        super().submit(batch, key, lambda _: None, sending)


class CallsCreatedTwice(RightAdapter):
    def submit(self, batch, key, created, sending=nothing):
        super().submit(batch, key, lambda each: (created(each), created(each)), sending)


class CallsCreatedLater(RightAdapter):
    def submit(self, batch, key, created, sending=nothing):
        super().submit(batch, key, lambda each: setattr(self, "late", lambda: created(each)), sending)

    def status(self, remote_ids):
        self.late()
        return super().status(remote_ids)


class SendsWithoutAsking(RightAdapter):
    def submit(self, batch, key, created, sending=nothing):
        super().submit(batch, key, created)
        sending()


class SwallowsErrorsOfCreated(RightAdapter):
    def submit(self, batch, key, created, sending=nothing):
        def careless(each):
            with contextlib.suppress(Exception):
                created(each)

        super().submit(batch, key, careless, sending)


class WaitsInSubmit(RightAdapter):
    def submit(self, batch, key, created, sending=nothing):
        super().submit(batch, key, created, sending)
        if key in self.keys:
            self.jobs[self.keys[key]].polls_left = 0
            self.look(self.jobs[self.keys[key]])


class AcceptsAnything(RightAdapter):
    def problem(self, batch):
        return ""


class RefusesAfterCreating(RightAdapter):
    def submit(self, batch, key, created, sending=nothing):
        if self.problem(batch):
            created(RemoteId("job-x"))
        super().submit(batch, key, created, sending)


class MakesASecondJob(RightAdapter):
    def submit(self, batch, key, created, sending=nothing):
        self.keys.pop(key, None)
        super().submit(batch, key, created, sending)


class ReusesIds(RightAdapter):
    def submit(self, batch, key, created, sending=nothing):
        super().submit(batch, key, lambda _: created(RemoteId("job-0")), sending)


class FindsNothing(RightAdapter):
    lost_reply = LostReply.FINDABLE

    def find(self, key):
        return None


class FindsTooMuch(RightAdapter):
    def find(self, key):
        return RemoteId("job-0")


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


class ReversesBits(EditsCounts):
    def edit(self, counts):
        return {word[::-1]: count for word, count in counts.items()}


class DropsLeadingZeros(EditsCounts):
    def edit(self, counts):
        return {word.lstrip("0") or "0": count for word, count in counts.items()}


class KeepsSpaces(EditsCounts):
    def edit(self, counts):
        return {word[:-1] + " " + word[-1] if len(word) > 1 else word: n for word, n in counts.items()}


class LosesAShot(EditsCounts):
    def edit(self, counts):
        word = max(counts, key=lambda each: counts[each])
        return counts | {word: counts[word] - 1}


class IgnoresShots(RightAdapter):
    def simulate(self, job, item):
        first = replace(item, shots=job.batch.items[0].shots)
        job.batch = replace(job.batch, items=tuple(first if i is item else i for i in job.batch.items))
        return super().simulate(job, first)


class DropsAnItem(RightAdapter):
    def results(self, remote_id):
        return super().results(remote_id)[:-1] or [MissingResult(reason="")]


class DropsFailedItems(RightAdapter):
    def results(self, remote_id):
        return [each for each in super().results(remote_id) if isinstance(each, ItemResult)]


class RaisesOnAFailedJob(RightAdapter):
    def look(self, job):
        snapshot = super().look(job)
        if snapshot.status is JobStatus.ERROR:
            raise ProtocolError("the job failed")
        return snapshot


class SaysCompletedAnyway(RightAdapter):
    def look(self, job):
        snapshot = super().look(job)
        failed = snapshot.status is JobStatus.ERROR
        return replace(snapshot, status=JobStatus.COMPLETED) if failed else snapshot


class InventsStatuses(RightAdapter):
    def status(self, remote_ids):
        unknown = Snapshot(status=JobStatus.QUEUED, remote_status="?")
        return dict.fromkeys(remote_ids, unknown) | super().status(remote_ids)


class AnswersForOne(RightAdapter):
    def status(self, remote_ids):
        return super().status(remote_ids[:1])


class NeverEnds(RightAdapter):
    def look(self, job):
        return Snapshot(status=JobStatus.RUNNING, remote_status="RUNNING")


class RaisesOnUnfinishedResults(RightAdapter):
    def results(self, remote_id):
        if not self.jobs[remote_id].results:
            raise ProtocolError("not ready")
        return super().results(remote_id)


class RaisesOnASecondCancel(RightAdapter):
    def cancel(self, remote_id):
        if self.jobs[remote_id].cancelled:
            raise ProtocolError("409 conflict")
        super().cancel(remote_id)


class RaisesOnCancelOfFinal(RightAdapter):
    def cancel(self, remote_id):
        if self.jobs[remote_id].results:
            raise ProtocolError("409 conflict")
        super().cancel(remote_id)


class CancelThrowsResultsAway(RightAdapter):
    def cancel(self, remote_id):
        self.jobs[remote_id].cancelled = True
        self.jobs[remote_id].results = []


class BindsByPosition(RightAdapter):
    def simulate(self, job, item):
        names = job.batch.programs[item.program].parameters
        values = tuple(zip(names, (value for _, value in item.parameters), strict=True))
        wrong = replace(item, parameters=values)
        job.batch = replace(job.batch, items=tuple(wrong if i is item else i for i in job.batch.items))
        return super().simulate(job, wrong)


class IgnoresTheSeed(RightAdapter):
    def simulate(self, job, item):
        options = replace(job.batch.options, seed=None)
        job.batch = replace(job.batch, options=options)
        return super().simulate(job, item)


class SamplesOnceForAll(RightAdapter):
    def simulate(self, job, item):
        return super().simulate(job, job.batch.items[0])


class SamplesExpvals(RightAdapter):
    def simulate(self, job, item):
        result = super().simulate(job, item)
        if isinstance(result, ItemResult) and result.expvals:
            return replace(result, expvals={name: each + 0.01 for name, each in result.expvals.items()})
        return result


class ReversesPaulis(RightAdapter):
    def simulate(self, job, item):
        turned = tuple(
            replace(each, terms=tuple((pauli[::-1], value) for pauli, value in each.terms))
            for each in job.batch.options.observables
        )
        right = job.batch
        job.batch = replace(right, options=replace(right.options, observables=turned))
        try:
            return super().simulate(job, item)
        finally:
            job.batch = right


class ClosesOnce(RightAdapter):
    closed = False

    def close(self):
        if self.closed:
            raise ProtocolError("closed")
        self.closed = True


class HasASillyLimit(RightAdapter):
    limits = Limits(max_items=0, max_shots=10_000)


@pytest.mark.parametrize(
    ("adapter", "test"),
    [
        (ForgetsCreated, "test_created_is_called_once_before_submit_returns"),
        (CallsCreatedTwice, "test_created_is_called_once_before_submit_returns"),
        (CallsCreatedLater, "test_created_is_called_once_before_submit_returns"),
        (SendsWithoutAsking, "test_a_submission_that_may_not_leave_makes_no_job"),
        (SwallowsErrorsOfCreated, "test_an_error_of_created_is_not_swallowed"),
        (WaitsInSubmit, "test_submit_does_not_wait_for_the_run"),
        (AcceptsAnything, "test_a_refused_batch_makes_no_job"),
        (RefusesAfterCreating, "test_a_refused_batch_makes_no_job"),
        (MakesASecondJob, "test_same_key"),
        (ReusesIds, "test_ids_are_unique"),
        (FindsNothing, "test_same_key"),
        (FindsTooMuch, "test_an_unknown_key_is_not_found"),
        (Reverses, "test_results_are_in_submission_order"),
        (ReversesBits, "test_bit_zero_is_rightmost"),
        (DropsLeadingZeros, "test_bit_zero_is_rightmost"),
        (KeepsSpaces, "test_registers_are_joined"),
        (LosesAShot, "test_each_item_has_its_own_shots"),
        (IgnoresShots, "test_each_item_has_its_own_shots"),
        (DropsAnItem, "test_results_are_in_submission_order"),
        (DropsFailedItems, "test_a_failed_job_is_data"),
        (RaisesOnAFailedJob, "test_a_failed_job_is_data"),
        (SaysCompletedAnyway, "test_a_failed_job_is_data"),
        (InventsStatuses, "test_status_answers_for_many_and_leaves_out_unknown_ones"),
        (AnswersForOne, "test_status_answers_for_many_and_leaves_out_unknown_ones"),
        (RaisesOnUnfinishedResults, "test_results_of_an_unfinished_job_are_missing"),
        (RaisesOnASecondCancel, "test_cancel_twice"),
        (RaisesOnCancelOfFinal, "test_cancel_leaves_a_final_job_alone"),
        (CancelThrowsResultsAway, "test_cancel_leaves_a_final_job_alone"),
        (BindsByPosition, "test_parameters_are_bound_by_name"),
        (IgnoresTheSeed, "test_a_seed_repeats_the_counts"),
        (SamplesOnceForAll, "test_a_seed_repeats_the_counts"),
        (SamplesExpvals, "test_expectation_values_are_exact"),
        (ReversesPaulis, "test_expectation_values_are_exact"),
        (ClosesOnce, "test_closes_twice"),
        (HasASillyLimit, "test_describes_itself"),
    ],
)
def test_the_contract_catches(adapter: type[RightAdapter], test: str) -> None:
    failed, _ = failures(adapter)
    assert test in failed


def test_the_contract_catches_a_job_that_never_ends() -> None:
    with pytest.raises(pytest.fail.Exception, match="not final after"):
        Contract().test_a_job_completes_and_stays_so(NeverEnds())
