"""The adapter to the model provider: every call has a fate, and its process may die before and after the effect.

`backend_of` makes the one that fits the kind of provider; `model_steps` has that of a provider which takes steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NoReturn

from model_provider import LATEST_S, LOOKUPS, READ_FATES, REQUEUED_S, SUBMIT_FATES, Kind, Provider, Remote

from qjobs.backends.base import (
    Answer,
    Capability,
    Confirmation,
    Fingerprint,
    ItemSnapshot,
    Journal,
    Limits,
    MissingResult,
    Pricing,
    RemoteJob,
    Result,
    Snapshot,
    Target,
)
from qjobs.errors import (
    BackendUnavailable,
    CredentialsRejected,
    NotSent,
    ProtocolError,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.lifecycle import FINAL, LIVE, JobStatus, roll_up
from qjobs.model import Attempt, Batch, ItemResult, Key, RemoteId

BACKEND = "model"
BROKEN = "the adapter broke"
LONG = "the cryostat is warm " * 600
CONFIRM = Confirmation(absent_times=3, absent_apart_s=5.0, lost_apart_s=20.0)
REVOCABLE = Confirmation(
    revocable=frozenset({JobStatus.ERROR, JobStatus.CANCELLED}),
    times=1,
    apart_s=REQUEUED_S,
    absent_times=3,
    absent_apart_s=5.0,
    lost_apart_s=20.0,
)
S = JobStatus


class ModelBackend:
    """The adapter. It speaks to the server that its name points to at the moment; `settings` are its configuration."""

    name = BACKEND
    device = "device"
    limits = Limits()
    capabilities = frozenset({Capability.CANCEL_ITEMS, Capability.DURABLE})
    poll_interval_s = (1.0, 10.0)
    settings = ""
    cost_per_item: float | None = None
    pricing = Pricing(unit="HQC", words="by the item")

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.world = provider.world
        self.lookup = LOOKUPS[provider.variant]
        self.settle_s = LATEST_S[provider.variant] + 0.1
        self.confirm = REVOCABLE if "requeues" in self.world.traits else CONFIRM

    @property
    def fingerprint(self) -> Fingerprint:
        return Fingerprint(place=f"server {self.provider.server}", settings=self.settings)

    def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
        provider = self.provider
        process = self.world.current
        job_id, epoch = self.world.owner(key)
        items = tuple(self.world.index_of(item.label) for item in batch.items)
        self.world.point("submit: before")
        self.may_break()
        journal.preparing()
        self.world.point("submit: prepared")
        mine = self.about_to_leave(journal, key)
        fate = self.fate_of_request()
        woke = provider.sendings[job_id] != mine or self.lost_claim(journal)

        def arrive(*, late: bool = False) -> Remote:
            return provider.make(key, job_id, epoch, items, process, late=late, woke=woke)

        if fate in {"late", "dies, late"}:
            provider.later(lambda: arrive(late=True), job_id)
            self.late(fate)
        remote = arrive()
        self.answered(fate, remote, journal)

    def lost_claim(self, journal: Journal) -> bool:
        """Whether the ledger had settled the attempt of this sender before its request left."""
        attempt: Attempt = journal.attempt  # type: ignore[attr-defined]
        query = "SELECT status FROM attempt WHERE job_id = ? AND number = ?"
        ((status,),) = self.world.ledger.rows(query, attempt.job_id, attempt.number)
        return status not in LIVE

    def may_break(self) -> None:
        """Whatever an adapter raises before anything has left: it was not sent."""
        if "breaks" in self.world.traits and self.world.happens(0.3):
            self.world.say("      submit: the adapter breaks")
            raise self.world.rng.choice((RuntimeError, OSError, KeyError))(BROKEN)

    def about_to_leave(self, journal: Journal, key: Key) -> int:
        """The moment before the request leaves after which something can run; the number of this sending."""
        journal.sending()
        job_id, _ = self.world.owner(key)
        self.provider.sendings[job_id] += 1
        mine = self.provider.sendings[job_id]
        self.world.point("submit: about to leave")
        if "sleeps" in self.world.traits and self.world.happens(0.6):
            self.world.sleep("submit: about to leave")
        return mine

    def fate_of_request(self) -> str:
        """What becomes of the request; raises where it makes nothing."""
        if self.provider.server != 1:
            self.world.break_law("#10 a job was sent to another server than it was planned for")
        fate = self.provider.fate("submit", SUBMIT_FATES)
        if "gateway" in self.world.traits and self.world.happens(0.2):
            fate = self.world.rng.choice(("429 after", "401 after"))
            self.world.say(f"      submit: {fate}")
        if "lies" in self.world.traits and self.world.happens(0.3):
            fate = "lost after"
        match fate:
            case "not sent" | "429":
                raise NotSent(fate, retry_after_s=2.0)
            case "401":
                raise CredentialsRejected("401, and its body is the provider's own")
            case "rejected":
                raise SubmissionRejected("422", detail=self.words("no such gate"))
            case "lost before":
                raise SubmissionUnknown("no reply")
        return fate

    def late(self, fate: str) -> NoReturn:
        """The request is under way for longer than anybody waits for its answer."""
        process = self.world.current
        if fate == "late" or process is None:
            raise SubmissionUnknown("timed out")
        self.world.crash(process, "submit: under way")

    def answered(self, fate: str, remote: Remote, journal: Journal) -> None:
        """The reply to a submission that was carried out, if it comes."""
        if fate in {"lost after", "no name"} and "lies" in self.world.traits:
            remote.lies = self.confirm.absent_times - 1
        self.world.point("submit: reply")
        match fate:
            case "lost after":
                raise SubmissionUnknown("the reply was lost")
            case "429 after" | "401 after":  # nothing in it is the provider's own
                remote.gateway = True
                raise SubmissionUnknown(f"{fate[:3]} from somebody on the way")
            case "breaks after":
                raise KeyError("it broke with the answer in its hand")
            case "no name":
                return
        journal.accepted(remote.remote_id)
        remote.told = True
        if not self.world.ledger.rows("SELECT 1 FROM attempt WHERE remote_id = ?", remote.remote_id):
            self.world.break_law(f"{remote.remote_id} was told and is not written down")
        if fate == "error after":
            raise SubmissionUnknown("cut off")

    def words(self, words: str) -> str:
        return LONG if "talks" in self.world.traits else words

    def asked(self, call: str) -> str:
        self.world.point(f"{call}: before")
        fate = self.provider.fate(call, READ_FATES)
        match fate:
            case "unavailable" | "429":
                raise BackendUnavailable(fate, retry_after_s=2.0 if fate == "429" else None)
            case "401":
                raise CredentialsRejected("401")
            case "protocol":
                raise ProtocolError("an unknown word")
        return fate

    def job(self, remote_id: RemoteId) -> Remote:
        job = self.provider.jobs.get(remote_id)
        if job is None or job.gone or job.hides:
            raise ProtocolError(f"404: there is no job {remote_id}", code=404)
        return job

    def find(self, key: Key) -> RemoteId | None:
        self.asked("find")
        found = self.provider.look_up(key) if self.lookup.can_find else None
        self.world.point("find: reply")
        return found and found.remote_id

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Answer]:
        left_out = self.asked("status") == "left out"
        jobs = self.provider.jobs
        known = [each for each in remote_ids if each in jobs and not (jobs[each].gone or jobs[each].hides)]
        if left_out and known and self._may_leave_out(jobs[known[0]]):
            jobs[known[0]].left_out += 1
            jobs[known[0]].absences += 1
            del known[0]
        alternates = "alternates" in self.world.traits and not self.world.calm
        with_items = not alternates or self.world.rng.random() < 0.5
        answer: dict[RemoteId, Answer] = {}
        for each in known:
            job = jobs[each]
            job.left_out = 0
            match job.refuses:
                case "status 403":
                    answer[each] = CredentialsRejected(f"403: {each} is not yours")
                case "status word":
                    answer[each] = ProtocolError(f"{each} is PERHAPS")
                case _:
                    answer[each] = self._snapshot(job, with_items=with_items)
        self.world.point("status: reply")
        return answer

    def _may_leave_out(self, job: Remote) -> bool:
        """Whether a job that is there may be missing in an answer: not so often that its absence would be believed."""
        query = "SELECT 1 FROM attempt WHERE remote_id = ? AND awaited = 'LOST'"
        if not self.world.paused and not self.world.ledger.rows(query, job.remote_id):
            job.absences = 0  # an answer with it has been heard since, or it was never missed
        return job.absences < self.confirm.absent_times - 1

    def _snapshot(self, job: Remote, *, with_items: bool) -> Snapshot:
        shown = [S.CANCELLING if n in job.cancelling and s not in FINAL else s for n, s in enumerate(job.statuses)]
        status = roll_up(shown)
        if job.stuck is not None and status in FINAL:
            shown[job.stuck] = S.QUEUED
        message = self.words("") if status is S.ERROR else ""
        items = tuple(ItemSnapshot(status=word, message=message) for word in shown) if with_items else None
        cost = self.world.money.cost_told(job) if self.cost_per_item is not None and self.world.money else None
        return Snapshot(status=status, remote_status=f"their {status}", message=message, items=items, cost=cost)

    def results(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> Iterator[tuple[int, Result]]:
        late = self.asked("results") == "left out"
        job = self.provider.jobs.get(remote_id)
        if job is None:
            raise ProtocolError(f"{remote_id} is no id of ours", code=404)
        if job.hides:
            raise BackendUnavailable("404 for a job that is there", retry_after_s=2.0)
        job.fetches += 1  # each answer differs, so that a result that was written twice shows
        positions = list(range(len(job.items)) if items is None else items)
        if "streams" in self.world.traits:
            self.world.rng.shuffle(positions)
        for position in positions:
            if "streams" in self.world.traits and self.world.happens(0.3):
                raise BackendUnavailable("cut off in the middle")
            yield position, self._result(job, position, late=late)
        self.world.point("results: reply")

    def _result(self, job: Remote, position: int, *, late: bool) -> Result:
        index, status = job.items[position], job.statuses[position]
        if job.gone:
            return MissingResult(reason="404: the job is gone", permanent=True)
        if position == job.kept:
            return MissingResult(reason="410: it is gone", permanent=job.serial % 2 == 1)
        if status is S.COMPLETED and not late and position != job.stuck:
            return ItemResult(counts={"0": job.serial, "1": index, "10": job.fetches, "11": job.server})
        return MissingResult(reason=f"it is {status}")

    def remote_jobs(self) -> list[RemoteJob] | None:
        self.asked("remote_jobs")
        if not self.lookup.can_find:
            return None
        listed = [job for job in self.provider.jobs.values() if not (job.gone or job.hides or job.unlisted)]
        for job in self.provider.jobs.values():
            job.unlisted = False
        return [RemoteJob(remote_id=j.remote_id, key=j.key, n_items=len(j.items)) for j in listed]

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        lost = self.asked("cancel") == "left out"
        job = self.job(remote_id)
        if job.refuses.startswith("cancel"):
            refusal = CredentialsRejected if job.refuses.endswith("403") else BackendUnavailable
            raise refusal(f"{job.refuses}: {remote_id}")
        chosen = set(range(len(job.items)) if items is None else items)
        if job.is_open:
            chosen = set(range(len(job.items)))
        self.world.laws.check_cancel(job, chosen)
        job.moves.update(chosen - job.cancelling)
        job.cancelling |= chosen
        self.provider.happened["cancel items"] += items is not None
        if job.is_open or self.world.rng.random() < 0.6:
            job.become(
                [S.CANCELLED if n in chosen and s not in FINAL else s for n, s in enumerate(job.statuses)],
                self.world.elapsed_s,
            )
        self.world.say(f"      {remote_id} cancelled: {[str(s) for s in job.statuses]}")
        self.world.point("cancel: reply")
        if lost:
            raise BackendUnavailable("the reply was lost")

    def estimate(self, batch: Batch) -> float | None:
        return None if self.cost_per_item is None else self.cost_per_item * len(batch.items)

    def target(self) -> Target:
        return Target(name=self.device)

    def link(self, remote_id: RemoteId) -> str | None:
        return f"https://{self.name}.example/{remote_id}"

    def close(self) -> None:
        pass


def backend_of(provider: Provider) -> ModelBackend:
    """The adapter that fits the kind of a provider."""
    if not provider.takes_steps:
        return ModelBackend(provider)
    from model_steps import FragmentedModel, SteppedModel  # it is built on this module

    return FragmentedModel(provider) if provider.variant is Kind.FRAGMENTED else SteppedModel(provider)
