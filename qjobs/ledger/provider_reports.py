"""How the ledger records what providers report of jobs: final stays final, and every move is an event.

Providers take back some of what they say. What a report counts for is decided in `qjobs.ledger.judgement`; this module
writes it down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from qjobs.errors import ProtocolError, StaleJob
from qjobs.ledger.item_changes import ALIVE_AGAIN, REPORTED, Change, Changes, Known, change_of
from qjobs.ledger.judgement import NOTHING_AWAITED, Judgement, judge, judge_absence, said_by
from qjobs.ledger.strays import claim_stray, record_stray
from qjobs.ledger.tables import ATTEMPT, EVENT, ITEM, JOB, as_stored
from qjobs.ledger.transitions import (
    UNSETTLED,
    accept_attempt,
    event_row,
    item_statuses,
    later_attempts,
    locked_job,
    log_job,
    move_job,
    read_attempt,
    record_event,
    sent_items,
    settle_attempt,
)
from qjobs.lifecycle import FINAL, JobStatus, can_move, roll_up
from qjobs.model import Attempt, AttemptNumber, Confirmation, ItemSnapshot, JobId, Snapshot

__all__ = ["Report", "record_presence", "record_report"]

_LATE = "late report"
_REPORTED_ITEMS = sa.select(*REPORTED).where(ITEM.c.job_id == sa.bindparam("at_job")).order_by(ITEM.c.item_index)
_COST = sa.select(sa.func.sum(ATTEMPT.c.cost)).where(ATTEMPT.c.job_id == sa.bindparam("at_job"))
_CONTRADICTION = "contradiction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a provider says of one attempt.

    `snapshot` None says that it does not know the job. `confirm` is the adapter's rule of what is believed.
    `asked_again` says that a caller asked for this job on purpose, before it sends anything: what is alive again is
    then reopened. `last_event` is the newest event of the job from before it was asked for: if the job has moved since,
    the answer may be older than what moved it, and reopens nothing.
    """

    job_id: JobId
    number: AttemptNumber
    snapshot: Snapshot | None
    confirm: Confirmation = field(default_factory=Confirmation)
    asked_again: bool = False
    last_event: int | None = None


def record_report(connection: sa.Connection, report: Report, now: datetime, cause: str) -> JobStatus:
    """Record what a provider reports of an attempt; final stays final, unless it was asked for again.

    A report of an attempt that a later one has replaced changes that attempt only.

    Returns:
        The job's status afterwards.

    Raises:
        ProtocolError: The report has another number of items than were sent; nothing was written.
        StaleJob: The attempt has no remote id, so that no report can be about it; or the job has moved since it was
            asked for again.
    """
    row = locked_job(connection, report.job_id)
    known = read_attempt(connection, report.job_id, report.number)
    if known.remote_id is None:
        raise StaleJob(f"attempt {known.number} of {known.job_id} has no remote id", job_id=known.job_id)
    if known.is_reserved:  # nothing of it can run, whatever its provider calls that
        return JobStatus(row.status)
    later = later_attempts(connection, known)
    was_released = known.status is JobStatus.CANCELLED and known.sent_at is None
    replaced = known.epoch != row.epoch or bool(later) or was_released
    if report.snapshot is None:
        return JobStatus(row.status) if replaced else _record_absence(connection, row, known, report.confirm, now)
    _check(known, row.n_items, report.snapshot)
    snapshot = _as_stored(report.snapshot)
    if replaced:
        _record_replaced(connection, row, known, later, snapshot, now)
        return JobStatus(row.status)
    if report.asked_again and _has_moved(connection, report):
        raise StaleJob(f"{known.job_id} moved while it was asked for", job_id=known.job_id)
    if known.status in UNSETTLED:  # it is faster than the reply to the submission
        accept_attempt(connection, known, known.remote_id, cause, f"attempt {known.number} is there", now)
        row = locked_job(connection, report.job_id)
        known = read_attempt(connection, report.job_id, report.number)
    judgement = judge(known, snapshot, report.confirm, now, asked_again=report.asked_again)
    return _record(connection, row, known, judgement, now, cause)


def _has_moved(connection: sa.Connection, report: Report) -> bool:
    """Whether the job or an item of it has moved since the event that a report names."""
    if report.last_event is None:
        return False
    moved = sa.select(EVENT.c.id).where(
        EVENT.c.job_id == report.job_id, EVENT.c.id > report.last_event, EVENT.c.old != EVENT.c.new
    )
    return connection.execute(moved.limit(1)).first() is not None


def _check(attempt: Attempt, n_items: int, snapshot: Snapshot) -> None:
    """Refuse a report that cannot be about `attempt`."""
    sent = n_items if attempt.items is None else len(attempt.items)
    if snapshot.items and len(snapshot.items) != sent:
        raise ProtocolError(
            f"the provider reports {len(snapshot.items)} items of {attempt.remote_id} and {sent} were sent; "
            "the job keeps its last status"
        )


def _as_stored(snapshot: Snapshot) -> Snapshot:
    """The report with its words as the ledger keeps them: only then is it seen that they are the same again."""
    items = None
    if snapshot.items:
        items = tuple(
            replace(
                item,
                message=as_stored(item.message),
                error_detail=None if item.error_detail is None else as_stored(item.error_detail),
            )
            if item.message or item.error_detail
            else item
            for item in snapshot.items
        )
    message = as_stored(snapshot.message)
    return replace(snapshot, items=items, message=message, remote_status=as_stored(snapshot.remote_status))


def _record_absence(
    connection: sa.Connection, row: sa.Row[Any], known: Attempt, confirm: Confirmation, now: datetime
) -> JobStatus:
    """Count an answer that does not know the job; after some of them attempt, open items and job are LOST."""
    old = JobStatus(row.status)
    lost = JobStatus.LOST
    absence = judge_absence(known, confirm, now)
    if absence is None:
        return old
    awaited, words, is_believed = absence
    if not is_believed:
        settle_attempt(connection, known, known.status, message=words, **awaited)
        return old
    settle_attempt(connection, known, lost, message=words, lease_until=None, **NOTHING_AWAITED)
    chosen = sent_items(known) & ITEM.c.status.not_in(sorted(FINAL))
    found = connection.execute(sa.select(ITEM.c.item_index, ITEM.c.status).where(chosen)).all()
    connection.execute(ITEM.update().where(chosen).values(status=lost, lost_at=now, message=words))
    events = [event_row(known.job_id, JobStatus(each.status), lost, "lost", words, now, each[0]) for each in found]
    if events:
        connection.execute(EVENT.insert(), events)
    new = roll_up(item_statuses(connection, known.job_id))
    move_job(connection, known.job_id, old, new, "lost", words, now, remote_id=known.remote_id, message=words)
    return new


def record_presence(connection: sa.Connection, attempts: Sequence[Attempt]) -> None:
    """What was answered of these cannot be read, and shows that they are there: absences count from the start again."""
    for attempt in attempts:
        connection.execute(
            ATTEMPT.update()
            .where(
                ATTEMPT.c.job_id == attempt.job_id,
                ATTEMPT.c.number == attempt.number,
                ATTEMPT.c.awaited == JobStatus.LOST,
            )
            .values(message="", **NOTHING_AWAITED)
        )


def _record_replaced(
    connection: sa.Connection,
    row: sa.Row[Any],
    known: Attempt,
    later: Sequence[Attempt],
    snapshot: Snapshot,
    now: datetime,
) -> None:
    """Record a report of an attempt whose items belong to a later one."""
    said = said_by(snapshot)
    number = known.number
    if known.status is JobStatus.LOST and (not said.is_final or said is JobStatus.COMPLETED):
        _record_second_job(connection, row, known, later, said, now)
    if known.status is JobStatus.LOST and not said.is_final:  # it must not count as a second live attempt
        words = f"attempt {number} is {said}; it was LOST, and the job was sent again since"
        _record_once(connection, row, known, _LATE, words, now)
    elif said is not known.status and not can_move(known.status, said):
        _record_contradiction(connection, row, known, said, now)
    else:
        _record_attempt(connection, known, Judgement(snapshot=snapshot, said=said), said, now)
        if said is not known.status:
            record_event(connection, row, known.remote_id, _LATE, f"attempt {number} is {said}", now)


def _record_second_job(
    connection: sa.Connection,
    row: sa.Row[Any],
    known: Attempt,
    later: Sequence[Attempt],
    said: JobStatus,
    now: datetime,
) -> None:
    """A LOST attempt is there after all, and its items were sent again since: one of the two is to be cancelled.

    That is the younger one where the older has its results, and else the older, which the job no longer counts on.
    """
    why = f"attempt {known.number} ({known.remote_id}) was LOST and is {said} at its provider after all"
    if not said.is_final and known.remote_id is not None:
        record_stray(connection, row, known.remote_id, f"{why}; the job was sent again since", now)
        return
    for younger in later:
        if younger.remote_id is not None and not younger.status.is_final:
            words = f"{why}, so that attempt {younger.number}, which was sent since, is a second job for its circuits"
            record_stray(connection, row, younger.remote_id, words, now)


def _record(
    connection: sa.Connection, row: sa.Row[Any], known: Attempt, judgement: Judgement, now: datetime, cause: str
) -> JobStatus:
    """Write what a report changes of the attempt that the job's items belong to."""
    contradicts = judgement.said is not known.status and not judgement.may_move(known.status, judgement.said)
    if contradicts:
        _record_contradiction(connection, row, known, judgement.said, now)
    status = known.status
    if judgement.tells_items or not contradicts:
        status = _record_items(connection, known, judgement, now, cause)
    if status is known.status and contradicts:
        return JobStatus(row.status)
    if status is known.status or judgement.may_move(known.status, status):
        _record_attempt(connection, known, judgement, status, now)
        return _record_job(connection, row, known, judgement, now, cause)
    return JobStatus(row.status)


def _record_attempt(
    connection: sa.Connection, attempt: Attempt, judgement: Judgement, status: JobStatus, now: datetime
) -> None:
    """Write what a report changes of the attempt itself."""
    snapshot = judgement.snapshot
    cost = snapshot.total_cost
    keeps_message = attempt.by_item and not judgement.tells_items and not snapshot.message
    message = judgement.note or (attempt.message if keeps_message else snapshot.message)
    values: dict[str, Any] = {
        "remote_status": snapshot.remote_status,
        "message": message,
        "cost": attempt.cost if cost is None else cost,
        "by_item": attempt.by_item or judgement.tells_items,
        **judgement.awaited,
    }
    if status is not attempt.status:
        values["finished_at"] = now if status.is_final else None
        if attempt.accepted_at is None:  # it was reserved, refused, and runs after all
            values |= {"accepted_at": now, "sent_at": attempt.sent_at or now}
    elif all(getattr(attempt, name) == value for name, value in values.items()):
        return
    settle_attempt(connection, attempt, status, **values)
    if cost is not None and _is_above(attempt, cost):
        detail = f"attempt {attempt.number} costs {cost:g} {attempt.cost_unit}".rstrip()
        row = locked_job(connection, attempt.job_id)
        detail = f"{detail}, and was estimated at {attempt.reserved:g}"
        record_event(connection, row, attempt.remote_id, "above estimate", detail, now)


def _is_above(attempt: Attempt, cost: float) -> bool:
    """Whether a cost contradicts the estimate, and none that was told before did."""
    if attempt.reserved is None:
        return False
    limit = attempt.reserved * (1 + 1e-9)
    return cost > limit and (attempt.cost is None or attempt.cost <= limit)


def _record_items(
    connection: sa.Connection, attempt: Attempt, judgement: Judgement, now: datetime, cause: str
) -> JobStatus:
    """Write what a report changes of the items that `attempt` sent, one event per status that moved.

    Returns:
        The status of the attempt: as it is said, or the roll-up of its items where the provider tells them apart.
        An item that is final stays so, whatever a later report says.
    """
    if judgement.tells_no_item:
        _record_places(connection, attempt, judgement.snapshot.queue_position)
        return attempt.status
    found = connection.execute(_REPORTED_ITEMS, {"at_job": attempt.job_id}).all()
    rows = {row[0]: Known._make(row[1:]) for row in found}
    changes = Changes()
    refused: dict[int, JobStatus] = {}
    after: set[JobStatus] = set()
    decided: dict[tuple[Known, int], Change] = {}  # items that are alike, and reported alike
    for index, report in _by_item(attempt, judgement, list(rows)).items():
        known = rows[index]
        change = decided.get((known, id(report)))
        if change is None:
            change = decided[known, id(report)] = change_of(known, report, judgement, now, cause)
        after.add(change.after)
        if change.refuses:
            refused[index] = report.status
        changes.add(index, change)
    changes.write(connection, attempt.job_id, now)
    if not judgement.tells_items and not attempt.by_item:
        return judgement.status_of_whole(attempt.status)
    if changes.moved:
        moved = ", ".join(f"{count} {new}" for new, count in changes.moved.items())
        log_job(connection, attempt.job_id, attempt.remote_id, f"items: {moved}", changes.cause)
    if refused and not attempt.status.is_final:
        _record_refused(connection, attempt, rows, refused, now)
    return roll_up(after)


def _record_places(connection: sa.Connection, attempt: Attempt, place: int | None) -> None:
    """Write the place in the queue that a whole job has."""
    if place is not None:
        queued = sent_items(attempt) & (ITEM.c.status == JobStatus.QUEUED)
        connection.execute(ITEM.update().where(queued).values(queue_position=place))


def _by_item(attempt: Attempt, judgement: Judgement, indices: Sequence[int]) -> dict[int, ItemSnapshot]:
    """What is reported of each item that was sent: all the same where the provider does not tell items apart."""
    snapshot = judgement.snapshot
    sent = indices if attempt.items is None else attempt.items
    place = snapshot.queue_position
    if not snapshot.items:
        each = ItemSnapshot(status=judgement.said, message=snapshot.message, queue_position=place)
        return dict.fromkeys(sent, each)
    found = {}
    for index, item in zip(sent, snapshot.items, strict=True):
        has_no_place = place is not None and item.status is JobStatus.QUEUED and item.queue_position is None
        found[index] = replace(item, queue_position=place) if has_no_place else item
    return found


def _record_refused(
    connection: sa.Connection,
    attempt: Attempt,
    rows: Mapping[int, Known],
    refused: Mapping[int, JobStatus],
    now: datetime,
) -> None:
    """Record reports against a final item; the same report is recorded once, however often it is polled."""
    query = sa.select(EVENT.c.item_index, EVENT.c.detail).where(
        EVENT.c.job_id == attempt.job_id, EVENT.c.cause == _CONTRADICTION
    )
    recorded = {(row.item_index, row.detail) for row in connection.execute(query)}
    for index, reported in refused.items():
        status = JobStatus(rows[index].status)
        detail = f"item {index} is {status}; a later report of {reported} changes nothing"
        if (index, detail) not in recorded:
            row = event_row(attempt.job_id, status, status, _CONTRADICTION, detail, now, index)
            connection.execute(EVENT.insert(), row)
            log_job(connection, attempt.job_id, attempt.remote_id, _CONTRADICTION, detail)


def _record_contradiction(
    connection: sa.Connection, row: sa.Row[Any], known: Attempt, said: JobStatus, now: datetime
) -> None:
    detail = f"attempt {known.number} is {known.status}; a later report of {said} changes nothing"
    _record_once(connection, row, known, _CONTRADICTION, detail, now)


def _record_once(
    connection: sa.Connection, row: sa.Row[Any], known: Attempt, cause: str, detail: str, now: datetime
) -> None:
    """Write an event that moves nothing, unless the history has the same one: a poll may say it many times."""
    same = sa.select(sa.func.count()).where(
        EVENT.c.job_id == known.job_id,
        EVENT.c.item_index.is_(None),
        EVENT.c.cause == cause,
        EVENT.c.detail == detail,
    )
    if not connection.scalar(same):
        record_event(connection, row, known.remote_id, cause, detail, now)


def _record_job(
    connection: sa.Connection, row: sa.Row[Any], attempt: Attempt, judgement: Judgement, now: datetime, cause: str
) -> JobStatus:
    """Roll the items up into the job; returns the job's status afterwards."""
    job_id = JobId(row.job_id)
    snapshot = judgement.snapshot
    old = JobStatus(row.status)
    new = roll_up(item_statuses(connection, job_id))
    values: dict[str, Any] = {}
    tells = not judgement.note and (snapshot.message or not judgement.tells_no_item)
    if tells and snapshot.message != row.message:
        values["message"] = snapshot.message
    cost = connection.scalar(_COST, {"at_job": job_id})
    if cost is not None and cost != row.cost:
        values["cost"] = cost
    unsent = new is JobStatus.CREATED  # what was sent is over, and other items never were
    if new is not old and (unsent or judgement.may_move(old, new)):
        if new.is_final:
            values |= {"finished_at": now, "next_poll_at": _fetched_at(row, now)}
        elif old.is_final:
            values |= {"finished_at": None, "cancel_requested_at": None}
            if attempt.remote_id is not None:
                claim_stray(connection, row, attempt.remote_id, attempt.number, now)
        why = cause if unsent or can_move(old, new) else ALIVE_AGAIN
        detail = snapshot.message or snapshot.remote_status
        move_job(connection, job_id, old, new, why, detail, now, remote_id=attempt.remote_id, **values)
        return new
    if values:
        connection.execute(JOB.update().where(JOB.c.job_id == job_id).values(**values))
    return old


def _fetched_at(row: sa.Row[Any], now: datetime) -> datetime:
    """When results of a job that has become final are to be fetched: at once, unless a pass holds it, and does so."""
    is_held = row.polled_by is not None and row.next_poll_at is not None and row.next_poll_at > now
    return row.next_poll_at if is_held else now
