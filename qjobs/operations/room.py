"""Room: how many more jobs a device and its account take, with those that others have there.

The ledger counts its own jobs. Where the provider shows the live jobs of the account (`ShowsLive`), those that this
ledger does not have take places too: somebody submitted them by hand, or another ledger did.

While the provider cannot be asked for them, what it showed last holds, and one place is ours at least, so that nothing
stands still. Where it has shown nothing yet, one place is ours, and the others count as taken.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

from qjobs.backends.base import Backend, ShowsLive
from qjobs.errors import LedgerError, QJobsError
from qjobs.ledger import Ledger
from qjobs.lifecycle import LIVE
from qjobs.model import RemoteId
from qjobs.operations.poll import utc_now

__all__ = ["Others", "Room", "held_by_others", "room"]

logger = logging.getLogger(__name__)

_FRESH_S = 2.0
"""For how long an answer serves those who claim the jobs that were chosen by it."""
_PAUSE_S = 60.0
"""How long a provider that could not be asked is left alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """How many places of a device, and of its account on all devices, jobs of others have."""

    on_device: int = 0
    of_account: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many more jobs a device takes, and its account on all devices; None for any number, never below 0."""

    on_device: int | None = None
    of_account: int | None = None
    others: Others = Others()


@dataclass(slots=True)
class _Shown:
    """What a provider showed last of one device: the jobs that were not ours, and whether they are elsewhere."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    strangers: Mapping[RemoteId, bool] | None = None
    is_known: bool = False
    told_at: datetime | None = None
    silent_until: datetime | None = None


_shown: WeakKeyDictionary[Ledger, dict[tuple[str, ...], _Shown]] = WeakKeyDictionary()
"""By ledger, and by the name, the device and the place of a backend."""
_shown_lock = threading.Lock()


def room(ledger: Ledger, backend: Backend, *, now: Callable[[], datetime] = utc_now) -> Room:
    """How many more jobs the backend takes now. The claim of a job counts once more, together with whoever else sends.

    Raises:
        LedgerError: The ledger cannot be used; nothing else is raised.
    """
    limits = backend.limits
    of_device = limits.max_live_jobs
    of_account = limits.max_account_jobs
    if of_device is not None:
        of_device -= len(ledger.jobs(backend=backend.name, device=backend.device, statuses=LIVE))
    if of_account is not None:
        of_account -= len(ledger.jobs(backend=backend.name, statuses=LIVE))
    others = Others()
    if all(left is None or left > 0 for left in (of_device, of_account)):  # else nobody need be asked
        others = held_by_others(ledger, backend, now=now, fresh_s=backend.poll_interval_s[0])
    return Room(
        on_device=None if of_device is None else max(0, of_device - others.on_device),
        of_account=None if of_account is None else max(0, of_account - others.of_account),
        others=others,
    )


def held_by_others(
    ledger: Ledger, backend: Backend, *, now: Callable[[], datetime] = utc_now, fresh_s: float = _FRESH_S
) -> Others:
    """How many places jobs have that this ledger does not have as live, as far as the provider shows them.

    0 where there is no limit, or the provider shows nothing. An answer serves for `fresh_s` seconds.

    Raises:
        LedgerError: As `room`.
    """
    of_device = backend.limits.max_live_jobs
    of_account = backend.limits.max_account_jobs
    if (of_device is None and of_account is None) or not isinstance(backend, ShowsLive):
        return Others()
    with _shown_lock:
        key = (backend.name, backend.device, backend.fingerprint.place)
        shown = _shown.setdefault(ledger, {}).setdefault(key, _Shown())
    with shown.lock:  # whoever comes meanwhile takes the same answer
        if not _serves(shown, now(), fresh_s):
            _ask(ledger, backend, shown, now)
        strangers = shown.strangers
        is_known = shown.is_known
    if strangers is None:
        return Others(on_device=(of_device or 1) - 1, of_account=(of_account or 1) - 1)
    ours = _live_ids(ledger, backend) if strangers else set()
    left = [elsewhere for remote_id, elsewhere in strangers.items() if remote_id not in ours]
    return Others(
        on_device=_taken(left.count(False), of_device, is_known=is_known),
        of_account=_taken(len(left), of_account, is_known=is_known),
    )


def _taken(count: int, most: int | None, *, is_known: bool) -> int:
    """How many places count as taken by so many jobs; one is left where these were seen some time ago."""
    if most is None:
        return 0
    return count if is_known else min(count, most - 1)


def _serves(shown: _Shown, present: datetime, fresh_s: float) -> bool:
    """Whether nobody need be asked: it was told a moment ago, or the provider is left alone."""
    if shown.silent_until is not None:
        return present < shown.silent_until
    return shown.told_at is not None and present - shown.told_at < timedelta(seconds=fresh_s)


def _ask(ledger: Ledger, backend: Backend, shown: _Shown, now: Callable[[], datetime]) -> None:
    assert isinstance(backend, ShowsLive)  # noqa: S101 - for the type checker: its caller has looked
    try:
        found = backend.live_jobs()
    except LedgerError:
        raise
    except QJobsError as error:
        shown.is_known = False
        shown.silent_until = now() + timedelta(seconds=max(_PAUSE_S, getattr(error, "retry_after_s", None) or 0.0))
        logger.warning("%s does not say which jobs are alive, so that places stay free: %s", backend.name, error)
        return
    ours = _live_ids(ledger, backend)  # not before: what was accepted meanwhile is ours
    shown.strangers = {job.remote_id: job.elsewhere for job in found or () if job.remote_id not in ours}
    shown.is_known = True
    shown.told_at = now()
    shown.silent_until = None


def _live_ids(ledger: Ledger, backend: Backend) -> set[RemoteId]:
    live = [job.job_id for job in ledger.jobs(backend=backend.name, statuses=LIVE)]
    return {each.remote_id for each in ledger.last_attempts(live).values() if each.remote_id is not None}
