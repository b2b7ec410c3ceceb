"""Adapters that answer wrongly."""

from __future__ import annotations

from dataclasses import replace

from breaking import breaks
from right_adapter import RightAdapter

from qjobs.backends.base import (
    Limits,
    MissingResult,
    Snapshot,
)
from qjobs.errors import ProtocolError, QJobsError
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemResult, JobKind


@breaks("test_order_of_results")
class Reverses(RightAdapter):
    def entries(self, remote_id, items):
        return super().entries(remote_id, items)[::-1]


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
    def results(self, remote_id, items=None):
        yield from list(super().results(remote_id, items))[:-1]


@breaks("test_order_of_results")
class RepeatsAnItem(RightAdapter):
    def results(self, remote_id, items=None):
        found = list(super().results(remote_id, items))
        yield from [*found, found[0]]


@breaks("test_chosen_results")
class GivesAllItems(RightAdapter):
    def results(self, remote_id, items=None):
        return super().results(remote_id)


@breaks("test_chosen_results")
class CountsChosenItemsAnew(RightAdapter):
    def results(self, remote_id, items=None):
        for number, (_, entry) in enumerate(super().results(remote_id, items)):
            yield number, entry


@breaks("test_chosen_results")
class GivesOtherResultsAgain(RightAdapter):
    def entries(self, remote_id, items):
        job = self.jobs[remote_id]
        return [self.simulate(job, replace(item, shots=n + 1)) for n, item in enumerate(job.batch.items)][::-1]

    def simulate(self, job, item):
        job.asked = getattr(job, "asked", 0) + 1
        return super().simulate(job, replace(item, shots=item.shots + job.asked))


@breaks("test_failed_job_is_data")
class DropsFailedItems(RightAdapter):
    def results(self, remote_id, items=None):
        for position, entry in super().results(remote_id, items):
            if isinstance(entry, ItemResult):
                yield position, entry


@breaks("test_forgotten_job")
class KeepsHopeForAForgottenJob(RightAdapter):
    def entries(self, remote_id, items):
        if remote_id not in self.jobs:
            return [MissingResult(reason="try later")] * (max(items or (0,)) + 1)
        return super().entries(remote_id, items)


@breaks("test_results_of_a_stranger")
class GivesNothingForAStranger(RightAdapter):
    def results(self, remote_id, items=None):
        if remote_id in self.jobs:
            yield from super().results(remote_id, items)


@breaks("test_forgotten_job")
class SaysAForgottenJobFailed(RightAdapter):
    def status(self, remote_ids):
        lost = Snapshot(status=JobStatus.ERROR, remote_status="404")
        return dict.fromkeys(remote_ids, lost) | super().status(remote_ids)


@breaks("test_no_results")
class GivesNoResults(RightAdapter):
    limits = Limits(max_items=100, max_shots=10_000, results_kept_s=0)

    def result(self, job, index):
        return ItemResult(counts={})


@breaks("test_refused_status")
class RaisesForOneRefusedJob(RightAdapter):
    def status(self, remote_ids):
        answers = super().status(remote_ids)
        for answer in answers.values():
            if isinstance(answer, QJobsError):
                raise answer
        return answers


@breaks("test_refused_status")
class HidesARefusedJob(RightAdapter):
    def status(self, remote_ids):
        return {each: answer for each, answer in super().status(remote_ids).items() if isinstance(answer, Snapshot)}


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
    def entries(self, remote_id, items):
        if not self.jobs[remote_id].results:
            raise ProtocolError("not ready")
        return super().entries(remote_id, items)


@breaks("test_unfinished_results")
class GivesUpOnOpenItems(RightAdapter):
    def entries(self, remote_id, items):
        if not self.jobs[remote_id].results:
            return [MissingResult(reason="not there", permanent=True)] * len(self.jobs[remote_id].batch.items)
        return super().entries(remote_id, items)


@breaks("test_cancel_twice")
class RaisesOnASecondCancel(RightAdapter):
    def cancel(self, remote_id, items=None):
        if self.jobs[remote_id].cancelled:
            raise ProtocolError("409 conflict")
        super().cancel(remote_id, items)


@breaks("test_cancel_final_job")
class RaisesOnCancelOfFinal(RightAdapter):
    def cancel(self, remote_id, items=None):
        if self.jobs[remote_id].results:
            raise ProtocolError("409 conflict")
        super().cancel(remote_id, items)


@breaks("test_cancel_final_job")
class CancelThrowsResultsAway(RightAdapter):
    def cancel(self, remote_id, items=None):
        self.jobs[remote_id].results = []
        super().cancel(remote_id, items)


@breaks("test_cancel_items")
class CancelsAllItems(RightAdapter):
    def cancel(self, remote_id, items=None):
        super().cancel(remote_id)


@breaks("test_cancel_items")
class CancelsNoItems(RightAdapter):
    def cancel(self, remote_id, items=None):
        if items is None:
            super().cancel(remote_id)


@breaks("test_compiles")
class CountsInsteadOfCompiling(RightAdapter):
    def simulate(self, job, item):
        job.batch = replace(job.batch, kind=JobKind.EXECUTE)
        return super().simulate(job, item)


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


@breaks("test_live_jobs")
class ShowsTheDeadAsLive(RightAdapter):
    def is_live(self, job):
        return True


@breaks("test_live_jobs")
class ShowsOnlyWhatHasRun(RightAdapter):
    def is_live(self, job):
        return super().is_live(job) and job.polls_left < 2


@breaks("test_live_jobs")
class TakesAllForElsewhere(RightAdapter):
    def live_jobs(self):
        return [replace(job, elsewhere=True) for job in super().live_jobs()]
