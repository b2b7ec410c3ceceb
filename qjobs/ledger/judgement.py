"""What a provider's report counts for, decided from the attempt as it is known, and written down elsewhere.

A report is not yet a fact: some final words are taken back (a job is queued again), a job may be missing in one answer
and be there in the next, one route tells a job's items apart and another does not, and a job may be final while one of
its items never ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from qjobs.lifecycle import REOPENS, UNDER_WAY, JobStatus, can_move, roll_up
from qjobs.model import Attempt, Confirmation, ItemSnapshot, Snapshot

__all__ = ["GRACE_S", "NOTHING_AWAITED", "Judgement", "judge", "judge_absence", "said_by"]

GRACE_S = 600.0
"""How long the items of a job that is final may stay open, in seconds, before they end with it."""

NOTHING_AWAITED: dict[str, Any] = {
    "awaited": None,
    "awaited_since": None,
    "awaited_at": None,
    "awaited_times": 0,
}
"""Columns of an attempt of which no report has still to be confirmed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What a report counts for.

    `said` is what it says of the job, `held` are the words of items that do not count yet, and `only_completed` says
    that of its items only those that are COMPLETED count. `awaited` are the columns of what has still to be confirmed,
    and `note` says so in words. `reopens` lets final statuses go that are alive again. With `tells_no_item` nothing of
    it moves anything, with `only_open` it moves no item that is final.
    """

    snapshot: Snapshot
    said: JobStatus
    held: frozenset[JobStatus] = frozenset()
    only_completed: bool = False
    awaited: dict[str, Any] = field(default_factory=lambda: dict(NOTHING_AWAITED))
    note: str = ""
    reopens: bool = False
    tells_no_item: bool = False
    only_open: bool = False

    @property
    def tells_items(self) -> bool:
        """Whether the report tells the job's items apart."""
        return bool(self.snapshot.items)

    def may_move(self, old: JobStatus, new: JobStatus) -> bool:
        """Whether it may move a row from `old` to `new`."""
        alive = new in UNDER_WAY or new is JobStatus.COMPLETED
        return can_move(old, new) or (self.reopens and old in REOPENS and alive)

    def may_touch(self, old: JobStatus, reported: JobStatus) -> bool:
        """Whether what it says of an item counts."""
        if self.only_open and old.is_final:
            return False
        if self.only_completed:
            return reported is JobStatus.COMPLETED
        return reported not in self.held or old is reported

    def status_of_whole(self, old: JobStatus) -> JobStatus:
        """The status of an attempt whose items nobody tells apart."""
        return old if self.only_completed else self.said


def said_by(snapshot: Snapshot) -> JobStatus:
    """What a report says of its job: the roll-up of its items, where it tells them apart."""
    return roll_up(item.status for item in snapshot.items) if snapshot.items else snapshot.status


def judge(known: Attempt, snapshot: Snapshot, confirm: Confirmation, now: datetime, *, asked_again: bool) -> Judgement:
    """What a report counts for, of the attempt that a job's items belong to."""
    if snapshot.items and snapshot.status.is_final and not said_by(snapshot).is_final:
        since = _seen_unended_since(known, snapshot, now)
        if not known.status.is_final and (now - since).total_seconds() < GRACE_S:
            return _wait_for_items(snapshot, confirm, since, now)
        return Judgement(snapshot=_ended(snapshot), said=said_by(_ended(snapshot)), reopens=asked_again)
    said = said_by(snapshot)
    if known.by_item and not snapshot.items:
        return _judge_whole(known, snapshot, confirm, now, asked_again=asked_again)
    revocable = confirm.revocable - {JobStatus.COMPLETED}
    reopens = asked_again and (bool(snapshot.items) or known.status in REOPENS)
    if said in revocable and can_move(known.status, said):
        return _confirmed(known, snapshot, said, confirm, now)
    held = frozenset() if said.is_final else revocable
    return Judgement(snapshot=snapshot, said=said, held=held, reopens=reopens)


def _judge_whole(
    known: Attempt, snapshot: Snapshot, confirm: Confirmation, now: datetime, *, asked_again: bool
) -> Judgement:
    """A report without items, of a job whose items were told apart before: an open one tells nothing of them."""
    said = snapshot.status
    if said.is_final:
        if said in confirm.revocable - {JobStatus.COMPLETED} and can_move(known.status, said):
            return replace(_confirmed(known, snapshot, said, confirm, now), only_open=True)
        return Judgement(snapshot=snapshot, said=said, only_open=True)
    reopens = asked_again and known.status in REOPENS
    if known.status is JobStatus.LOST or reopens:
        return Judgement(snapshot=snapshot, said=said, reopens=reopens)
    keeps = known.awaited is not None and known.awaited_times == 0  # items that do not end: this route cannot tell
    return Judgement(
        snapshot=snapshot,
        said=said,
        tells_no_item=True,
        awaited=_awaited_of(known) if keeps else dict(NOTHING_AWAITED),
        note=known.message if keeps else "",
    )


def _confirmed(known: Attempt, snapshot: Snapshot, said: JobStatus, confirm: Confirmation, now: datetime) -> Judgement:
    """A final status that the provider may take back: it counts once it was reported often enough."""
    awaited = _counted(known, said, confirm.apart_s, now)
    left = confirm.times + 1 - awaited["awaited_times"]
    if left <= 0:
        return Judgement(snapshot=snapshot, said=said)
    words = f": {snapshot.message}" if snapshot.message else ""
    note = f"its provider says {said}{words}; this counts once it was said {left} more times"
    return Judgement(snapshot=snapshot, said=said, only_completed=True, awaited=awaited, note=note)


def judge_absence(known: Attempt, confirm: Confirmation, now: datetime) -> tuple[dict[str, Any], str, bool] | None:
    """What it counts for that a provider does not know a job: what is awaited, in words, and whether it is believed.

    None where it counts for nothing: the attempt is over, or such an answer was counted a moment ago.
    """
    lost = JobStatus.LOST
    if not can_move(known.status, lost):
        return None
    awaited = _counted(known, lost, confirm.lost_apart_s, now)
    if awaited == _awaited_of(known):
        return None
    times = awaited["awaited_times"]
    since = awaited["awaited_since"]
    words = f"its provider does not know {known.remote_id}, in {times} answers since {since:%Y-%m-%d %H:%M:%S} UTC"
    if times < confirm.absent_times:
        return awaited, f"{words}; it counts as lost after {confirm.absent_times}", False
    return awaited, f"{words}; look for it there, then give it up or send it again", True


def _counted(known: Attempt, status: JobStatus, apart_s: float, now: datetime) -> dict[str, Any]:
    """The columns of what is awaited, with this report; one that comes too soon after the last does not count."""
    if known.awaited is not status or known.awaited_times == 0 or known.awaited_at is None:
        return {"awaited": status, "awaited_since": now, "awaited_at": now, "awaited_times": 1}
    before = _awaited_of(known)
    if now - known.awaited_at < timedelta(seconds=apart_s):
        return before
    return {**before, "awaited_at": now, "awaited_times": known.awaited_times + 1}


def _awaited_of(known: Attempt) -> dict[str, Any]:
    return {name: getattr(known, name) for name in NOTHING_AWAITED}


def _seen_unended_since(known: Attempt, snapshot: Snapshot, now: datetime) -> datetime:
    """When a job was first seen that is final while some of its items are open; such reports count no times."""
    same = known.awaited is snapshot.status and known.awaited_times == 0
    return known.awaited_since if same and known.awaited_since is not None else now


def _wait_for_items(snapshot: Snapshot, confirm: Confirmation, since: datetime, now: datetime) -> Judgement:
    awaited = {"awaited": snapshot.status, "awaited_since": since, "awaited_at": now, "awaited_times": 0}
    n_open = sum(not item.status.is_final for item in snapshot.items or ())
    note = f"its provider says {snapshot.status} and has not ended {n_open} of its items yet"
    held = confirm.revocable - {JobStatus.COMPLETED}
    return Judgement(snapshot=snapshot, said=said_by(snapshot), held=held, awaited=awaited, note=note)


def _ended(snapshot: Snapshot) -> Snapshot:
    """The report with its open items ended as the job did; an item without an end has no result."""
    status = JobStatus.ERROR if snapshot.status is JobStatus.COMPLETED else snapshot.status
    reason = f"the job is {snapshot.status} and its provider never ended this item"
    items: list[ItemSnapshot] = []
    for item in snapshot.items or ():
        words = f"{item.message}; {reason}" if item.message else reason
        items.append(item if item.status.is_final else replace(item, status=status, message=words, queue_position=None))
    return replace(snapshot, items=tuple(items))
