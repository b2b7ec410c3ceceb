"""The adapter to a model provider that takes a job in steps: an id first, and the last step lets it run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from model_backend import ModelBackend
from model_provider import Remote, S

from qjobs.backends.base import Capability, Journal, MissingResult, Result, Snapshot
from qjobs.errors import AlreadyRuns, BackendUnavailable, CredentialsRejected, SubmissionRejected
from qjobs.lifecycle import FINAL, JobStatus
from qjobs.model import Batch, Key, RemoteId


class SteppedModel(ModelBackend):
    """The same provider's other interface: nothing of a job can run before its last step."""

    def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
        provider = self.provider
        process = self.world.current
        job_id, epoch = self.world.owner(key)
        items = tuple(self.world.index_of(item.label) for item in batch.items)
        self.world.point("submit: before")
        self.may_break()
        journal.preparing()
        self.world.point("reserve: before")
        fate = provider.fate("reserve", ("unavailable", "lost after", "rejected"))
        if fate == "unavailable":
            raise BackendUnavailable("reserve: no answer; nothing can run yet")
        if fate == "rejected":
            raise SubmissionRejected("422", detail=self.words("no such gate"))
        remote = provider.reserve(key, job_id, epoch, items, process)
        self.world.point("reserve: reply")
        if fate == "lost after":
            raise BackendUnavailable("reserve: the reply was lost; nothing can run yet")
        journal.reserved(remote.remote_id)
        self.world.point("reserve: written")
        self._go_on(remote, key, journal)

    def resume(self, remote_id: RemoteId, batch: Batch, key: Key, journal: Journal) -> None:
        self.asked("resume")
        remote = self.provider.jobs.get(remote_id)
        if remote is None or remote.gone:
            raise SubmissionRejected("404", detail="there is no such reservation")
        if remote.is_open and all(status in FINAL for status in remote.statuses):
            raise SubmissionRejected("409", detail="the reservation was ended")
        items = tuple(self.world.index_of(item.label) for item in batch.items)
        if items != remote.items:
            self.world.break_law(f"{remote_id} was reserved for {remote.items} and goes on with {items}")
        if not remote.is_open:
            journal.sending()
            journal.accepted(remote_id)
            return
        self._go_on(remote, key, journal)

    def _go_on(self, remote: Remote, key: Key, journal: Journal) -> None:
        """Send the last step."""
        self.send_fragments(remote, journal)
        journal.preparing()
        self.world.point("step: before")
        self.may_break()
        mine = self.about_to_leave(journal, key)
        fate = self.fate_of_request()
        arrive = self._arrival(remote, mine)
        if fate in {"late", "dies, late"}:
            self.provider.later(lambda: arrive(late=True), remote.job_id)
            self.late(fate)
        arrive()
        if remote.is_open:
            raise SubmissionRejected("409", detail="the reservation was ended")
        self.answered(fate, remote, journal)

    def send_fragments(self, remote: Remote, journal: Journal) -> None:
        """What is sent before the last step."""

    def _arrival(self, remote: Remote, mine: int) -> Callable[..., None]:
        process = self.world.current

        def arrive(*, late: bool = False) -> None:
            woke = self.provider.sendings[remote.job_id] != mine and not late
            self.provider.set_going(remote, process, late=late, woke=woke)

        return arrive

    def abandon(self, remote_id: RemoteId) -> None:
        lost = self.asked("abandon") == "left out"
        remote = self.provider.jobs.get(remote_id)
        if remote is None or remote.gone:
            return
        if not remote.is_open:
            raise AlreadyRuns(f"{remote_id} runs", code=409)
        remote.become([JobStatus.CANCELLED] * len(remote.items), self.world.elapsed_s)
        self.world.say(f"      {remote_id} is abandoned")
        self.world.point("abandon: reply")
        if lost:
            raise BackendUnavailable("the reply was lost")


class FragmentedModel(SteppedModel):
    """The rules of `qjobs.backends.qoro`: a job of several items has two fragments, and nobody can count them."""

    capabilities = frozenset({Capability.DURABLE})

    def send_fragments(self, remote: Remote, journal: Journal) -> None:
        if len(remote.items) == 1:
            return
        journal.preparing()
        self.world.point("fragment: before")
        fate = self.provider.fate("fragment", ("unavailable", "lost after", "rejected"))
        if fate == "unavailable":
            raise BackendUnavailable("fragment: no answer; nothing can run yet")
        if fate == "rejected" or remote.gone or remote.statuses != [S.SUBMITTED] * len(remote.items):
            raise SubmissionRejected("422", detail=self.words("no such gate"))
        remote.fragments += 1
        if remote.fragments > 1:
            self.world.break_law(f"a fragment of {remote} came twice")
        self.world.point("fragment: reply")
        if fate == "lost after":
            raise BackendUnavailable("fragment: the reply was lost; nothing can run yet")

    def resume(self, remote_id: RemoteId, batch: Batch, key: Key, journal: Journal) -> None:
        remote = self.provider.jobs.get(remote_id)
        if remote is not None and remote.is_open and not remote.gone and len(batch.items) > 1:
            self.asked("resume")
            raise SubmissionRejected("409", detail="nobody can tell which of its fragments arrived")
        super().resume(remote_id, batch, key, journal)

    def _snapshot(self, job: Remote, *, with_items: bool) -> Snapshot:
        """What waits is PENDING, whether it was finalised or not."""
        found = super()._snapshot(job, with_items=False)
        if found.status is S.QUEUED:
            return Snapshot(status=S.SUBMITTED, remote_status="their PENDING")
        return found

    def _result(self, job: Remote, position: int, *, late: bool) -> Result:
        """There are results when the job is final."""
        if job.live:
            return MissingResult(reason="400: they are not ready")
        return super()._result(job, position, late=late)

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        """Cancel a whole job, which may have begun by now; what is final refuses it, which is no error."""
        lost = self.asked("cancel") == "left out"
        job = self.job(remote_id)
        if job.refuses.startswith("cancel"):
            refusal = CredentialsRejected if job.refuses.endswith("403") else BackendUnavailable
            raise refusal(f"{job.refuses}: {remote_id}")
        if job.live and self.world.rng.random() < 0.3:
            self.provider.happened["cancel: it began"] += 1
            self.provider.progress_of(job)
        chosen = set(range(len(job.items)))
        self.world.laws.check_cancel(job, chosen)
        if not all(status in FINAL for status in job.statuses):
            job.become([s if s in FINAL else S.CANCELLED for s in job.statuses], self.world.elapsed_s)
        self.world.say(f"      {remote_id} cancelled: {[str(s) for s in job.statuses]}")
        self.world.point("cancel: reply")
        if lost:
            raise BackendUnavailable("the reply was lost")

    def abandon(self, remote_id: RemoteId) -> None:
        """Cancel and delete it."""
        super().abandon(remote_id)
        remote = self.provider.jobs.get(remote_id)
        if remote is not None:
            remote.gone = True
            self.world.point("delete: reply")
