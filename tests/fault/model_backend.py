"""The adapter to the model provider: every call has a fate, and its process may die before and after the effect."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from model_provider import LATEST_S, LIES, READ_FATES, SUBMIT_FATES, Provider, Remote

from qjobs.backends.base import ItemSnapshot, Limits, MissingResult, RemoteJob, Snapshot, Target, nothing
from qjobs.errors import (
    BackendUnavailable,
    CredentialsRejected,
    NotSent,
    ProtocolError,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.lifecycle import FINAL, JobStatus, roll_up
from qjobs.model import Batch, ItemResult, Key, LostReply, RemoteId

BACKEND = "model"
BROKEN = "the adapter broke"
LONG = "the cryostat is warm " * 600
S = JobStatus


class ModelBackend:
    """The adapter. It speaks to the server that its name points to at the moment."""

    name = BACKEND
    device = "device"
    limits = Limits()
    exact_expvals = False
    cancels_items = True
    compiles = False
    outlives_us = True
    poll_interval_s = (1.0, 10.0)
    fingerprint = ""
    cost_per_item: float | None = None

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.world = provider.world
        self.lost_reply = provider.variant
        self.settle_s = LATEST_S[self.lost_reply] + 0.1

    def submit(
        self, batch: Batch, key: Key, created: Callable[[RemoteId], None], sending: Callable[[], None] = nothing
    ) -> None:
        provider = self.provider
        process = self.world.current
        job_id, epoch = self.world.owner(key)
        items = tuple(self.world.index_of(item.label) for item in batch.items)
        self.world.point("submit: before")
        if "breaks" in self.world.traits and self.world.happens(0.3):
            self.world.say("      submit: the adapter breaks")
            raise self.world.rng.choice((RuntimeError, OSError, KeyError))(BROKEN)
        sending()
        provider.sendings[job_id] += 1
        mine = provider.sendings[job_id]
        self.world.point("submit: about to leave")
        if "sleeps" in self.world.traits and self.world.happens(0.6):
            self.world.sleep("submit: about to leave")
        woke = provider.sendings[job_id] != mine
        if "switched" in self.world.traits and provider.server != 1:
            raise NotSent("in maintenance")
        fate = provider.fate("submit", SUBMIT_FATES)
        if "gateway" in self.world.traits and self.world.happens(0.2):
            fate = self.world.rng.choice(("429 after", "401 after"))
            self.world.say(f"      submit: {fate}")
        if "lies" in self.world.traits and self.world.happens(0.3):
            fate = "lost after"
        match fate:
            case "not sent" | "429":
                raise NotSent(fate, retry_after_s=2.0)
            case "401":
                raise CredentialsRejected("401")
            case "rejected":
                raise SubmissionRejected("422", detail=self._words("no such gate"))
            case "lost before":
                raise SubmissionUnknown("no reply")
            case "late" | "dies, late":
                provider.later(lambda: provider.make(key, job_id, epoch, items, process, late=True, woke=woke), job_id)
                if fate == "late" or process is None:
                    raise SubmissionUnknown("timed out")
                self.world.crash(process, "submit: under way")
        remote = provider.make(key, job_id, epoch, items, process, woke=woke)
        self._answered(fate, remote)
        if fate == "no name":
            return
        remote.told = True
        created(remote.remote_id)
        if not self.world.ledger.rows("SELECT 1 FROM attempt WHERE remote_id = ?", remote.remote_id):
            self.world.break_law(f"{remote.remote_id} was told and is not written down")
        if fate == "error after":
            raise SubmissionUnknown("cut off")

    def _answered(self, fate: str, remote: Remote) -> None:
        """The reply to a submission that was carried out, if it comes."""
        if fate in {"lost after", "no name"} and "lies" in self.world.traits:
            remote.lies = LIES
        self.world.point("submit: reply")
        match fate:
            case "lost after":
                raise SubmissionUnknown("the reply was lost")
            case "429 after":  # as an adapter reads it that takes the gateway for the provider
                remote.gateway = True
                raise NotSent(fate, retry_after_s=2.0)
            case "401 after":
                remote.gateway = True
                raise CredentialsRejected(fate)

    def _words(self, words: str) -> str:
        return LONG if "talks" in self.world.traits else words

    def _asked(self, call: str) -> str:
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

    def _job(self, remote_id: RemoteId) -> Remote:
        job = self.provider.jobs.get(remote_id)
        if job is None or job.gone:
            raise ProtocolError(f"404: there is no job {remote_id}", code=404)
        return job

    def find(self, key: Key) -> RemoteId | None:
        self._asked("find")
        found = None if self.lost_reply is LostReply.OPAQUE else self.provider.look_up(key)
        self.world.point("find: reply")
        return found and found.remote_id

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Snapshot]:
        left_out = self._asked("status") == "left out"
        jobs = self.provider.jobs
        known = [each for each in remote_ids if each in jobs and not jobs[each].gone]
        for each in known:
            if jobs[each].refuses == "status 403":
                raise CredentialsRejected(f"403: {each} is not yours")
        with_items = "alternates" not in self.world.traits or self.world.rng.random() < 0.5
        answer = {each: self._snapshot(jobs[each], with_items=with_items) for each in known[left_out:]}
        self.world.point("status: reply")
        return answer

    def _snapshot(self, job: Remote, *, with_items: bool) -> Snapshot:
        shown = [S.CANCELLING if n in job.cancelling and s not in FINAL else s for n, s in enumerate(job.statuses)]
        status = roll_up(shown)
        if job.stuck is not None and status in FINAL:
            shown[job.stuck] = S.QUEUED
        message = self._words("") if status is S.ERROR else ""
        items = tuple(ItemSnapshot(status=word, message=message) for word in shown) if with_items else None
        return Snapshot(status=status, remote_status=f"their {status}", message=message, items=items)

    def results(self, remote_id: RemoteId) -> list[ItemResult | MissingResult]:
        late = self._asked("results") == "left out"
        job = self._job(remote_id)
        job.fetches += 1  # each answer differs, so that a result that was written twice shows
        answer: list[ItemResult | MissingResult] = []
        for position, (index, status) in enumerate(zip(job.items, job.statuses, strict=True)):
            if position == job.kept:
                answer.append(MissingResult(reason="410: it is gone"))
            elif status is S.COMPLETED and not late and position != job.stuck:
                counts = {"0": job.serial, "1": index, "10": job.fetches, "11": job.server}
                answer.append(ItemResult(counts=counts))
            else:
                answer.append(MissingResult(reason=f"it is {status}"))
        self.world.point("results: reply")
        return answer

    def remote_jobs(self) -> list[RemoteJob] | None:
        self._asked("remote_jobs")
        if self.lost_reply is LostReply.OPAQUE:
            return None
        jobs = [job for job in self.provider.jobs.values() if not job.gone]
        return [RemoteJob(remote_id=j.remote_id, key=j.key, n_items=len(j.items)) for j in jobs]

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        lost = self._asked("cancel") == "left out"
        job = self._job(remote_id)
        if job.refuses.startswith("cancel"):
            refusal = CredentialsRejected if job.refuses.endswith("403") else BackendUnavailable
            raise refusal(f"{job.refuses}: {remote_id}")
        chosen = set(range(len(job.items)) if items is None else items)
        self.world.laws.check_cancel(job, chosen)
        job.moves.update(chosen - job.cancelling)
        job.cancelling |= chosen
        self.provider.happened["cancel items"] += items is not None
        if self.world.rng.random() < 0.6:
            job.become(
                [S.CANCELLED if n in chosen and s not in FINAL else s for n, s in enumerate(job.statuses)],
                self.world.elapsed_s,
            )
        self.world.say(f"      {remote_id} cancelled: {[str(s) for s in job.statuses]}")
        self.world.point("cancel: reply")
        if lost:
            raise BackendUnavailable("the reply was lost")

    def target(self) -> Target:
        return Target(name=self.device)

    def close(self) -> None:
        pass
