"""The adapter to a model provider that takes a job in steps: an id first, and the last step lets it run."""

from __future__ import annotations

from collections.abc import Callable

from model_backend import ModelBackend
from model_provider import Remote

from qjobs.backends.base import Journal
from qjobs.errors import BackendUnavailable, ProtocolError, SubmissionRejected
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
            raise ProtocolError(f"{remote_id} runs", code=409)
        remote.become([JobStatus.CANCELLED] * len(remote.items), self.world.elapsed_s)
        self.world.say(f"      {remote_id} is abandoned")
        self.world.point("abandon: reply")
        if lost:
            raise BackendUnavailable("the reply was lost")
