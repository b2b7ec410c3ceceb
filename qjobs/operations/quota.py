"""Quotas of providers: a job that cannot start is held here, with the reason, and not queued there in silence."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

from qjobs.backends.base import Backend, GuardsQuota, ShowsQuota
from qjobs.errors import LedgerError, OverCap, QJobsError
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Job, JobId, JobKind, Price

__all__ = ["check_quota", "held_by_quota"]

logger = logging.getLogger(__name__)

_SERVES_S = 60.0
"""How long an answer serves those who claim jobs one by one, and how long a provider that gives none is left alone."""

_REFUSAL_SERVES_S = 5.0
"""The same where it says that nothing starts: it may change at any time, and jobs wait for that."""


@dataclass(slots=True)
class _Told:
    """What a provider said last of the jobs of one kind: why they cannot start, empty where they can."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    words: str = ""
    at: datetime | None = None
    silent_until: datetime | None = None


_told: WeakKeyDictionary[Ledger, dict[tuple[str, ...], _Told]] = WeakKeyDictionary()
"""By ledger, and by the name, the device and the place of a backend and the kind of the jobs."""
_told_lock = threading.Lock()


def held_by_quota(
    ledger: Ledger,
    backend_of: Callable[[JobId], Backend],
    job_ids: Sequence[JobId],
    *,
    since: datetime,
    now: Callable[[], datetime],
) -> set[JobId]:
    """Those of these jobs that their providers would not start; each is told so.

    A provider is asked once for each backend and kind of job, unless it has answered after `since`. Jobs that were sent
    before are left to their submission, which looks for them first.

    Raises:
        LedgerError: The ledger cannot be used.
    """
    backends = {job_id: backend_of(job_id) for job_id in job_ids}
    guarded = [job_id for job_id, backend in backends.items() if isinstance(backend, GuardsQuota)]
    if not guarded:
        return set()
    groups: dict[tuple[Backend, JobKind], list[JobId]] = defaultdict(list)
    for job in ledger.jobs(job_ids=guarded, statuses=[JobStatus.CREATED]):
        groups[backends[job.job_id], job.kind].append(job.job_id)
    held: set[JobId] = set()
    for (backend, kind), chosen in groups.items():
        words = _why_held(ledger, backend, kind, since, now)
        if words:
            held.update(chosen)
            for job_id in chosen:
                ledger.caps.tell(job_id, words, now=now())
    return held


def check_quota(ledger: Ledger, backend: Backend, job: Job, price: Price, *, now: Callable[[], datetime]) -> None:
    """Hold a job that its provider would queue and not run, because the account may not spend what it takes.

    Where the provider does not tell, the submission finds out.

    Raises:
        OverCap: It has not enough left.
    """
    words = _why_held(ledger, backend, job.kind, now() - timedelta(seconds=_SERVES_S), now)
    if not words and isinstance(backend, ShowsQuota) and price.amount != 0:
        words = _why_too_dear(backend, job, price)
    if words:
        raise OverCap(words, job_id=job.job_id)


def _why_too_dear(backend: Backend, job: Job, price: Price) -> str:
    assert isinstance(backend, ShowsQuota)  # noqa: S101 - for the type checker: its caller has looked
    try:
        left = backend.quota_left()
    except QJobsError as error:
        logger.info("%s does not say what is left to spend: %.500s", backend.name, error)
        return ""
    if left is None or left.amount is None:
        return ""
    needed = price.amount if price.amount is not None and price.unit == left.unit else None
    if left.amount > 0 and (needed is None or needed <= left.amount):
        return ""
    needs = "" if needed is None else f", and {job.job_id} would cost {needed:g}"
    return (
        f"held by the quota of {backend.name}: the account has {left.amount:g} {left.unit} left{needs}; it goes on "
        "when the provider gives more"
    )


def _why_held(ledger: Ledger, backend: Backend, kind: JobKind, since: datetime, now: Callable[[], datetime]) -> str:
    """Why no job of a kind would start there, by an answer that was given after `since`; empty where nobody knows."""
    if not isinstance(backend, GuardsQuota):
        return ""
    with _told_lock:
        key = (backend.name, backend.device, backend.fingerprint.place, str(kind))
        told = _told.setdefault(ledger, {}).setdefault(key, _Told())
    with told.lock:  # whoever comes meanwhile takes the same answer
        is_silent = told.silent_until is not None and now() < told.silent_until
        if told.words:
            since = max(since, now() - timedelta(seconds=_REFUSAL_SERVES_S))
        if not is_silent and (told.at is None or told.at < since):
            _ask(backend, kind, told, now)
        if not told.words:
            return ""
    return f"held by the quota of {backend.name}: {told.words}"


def _ask(backend: Backend, kind: JobKind, told: _Told, now: Callable[[], datetime]) -> None:
    assert isinstance(backend, GuardsQuota)  # noqa: S101 - for the type checker: its caller has looked
    try:
        told.words = backend.why_not_started(kind)
        told.silent_until = None
    except LedgerError:
        raise
    except QJobsError as error:
        told.words = ""
        told.silent_until = now() + timedelta(seconds=_SERVES_S)
        logger.info("%s does not say whether its quota is used up: %.500s", backend.name, error)
    told.at = now()
