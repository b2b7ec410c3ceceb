"""Retry: what a stage that runs again may do, by the decision table; and the ladder of a policy. Pure.

docs/retries.md, "The retry table", shows the table. The meaning of the four strategies is the Nexus client API's.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from qjobs.errors import BackendUnavailable, InvalidInput, SubmissionUnknown
from qjobs.lifecycle import JobStatus
from qjobs.model import Attempt, JsonValue, Lookup, OnRecalibration, RemoteRetryStrategy

if TYPE_CHECKING:  # with it come circuits: 60 MB, which a sensor has no use for
    from qjobs.experiments.forms import RetryInput

__all__ = [
    "Action",
    "Decision",
    "RetryPolicy",
    "Rung",
    "Standing",
    "climbing",
    "decide",
    "standing_of",
]


class Standing(StrEnum):
    """Where a job stands before a stage enters it again: the rows of the table."""

    UNSENT = "unsent"
    """No attempt, or the last one is proved never sent."""
    RESERVED = "reserved"
    """There is a remote id, and nothing of it can run or be billed yet."""
    REJECTED = "rejected"
    """The provider refused: there is no remote job."""
    STEP_LOST = "step lost"
    """There is a remote id, and the reply to the step that makes it run was lost."""
    UNKNOWN = "unknown"
    """The reply was lost, and with it the remote id, if there is one."""
    OPEN = "open"
    """There is a remote id and the provider has not finished."""
    LOST = "lost"
    """There is a remote id and the provider does not know it any more."""
    INCOMPLETE = "incomplete"
    """The remote job is final and some items have no result."""
    COMPLETE = "complete"
    """Every item has a result."""


class Action(StrEnum):
    """What to do: the cells of the table."""

    SUBMIT = "submit"
    """Open an attempt and send what has no result."""
    RESTART = "restart"
    """All anew, in a new epoch; the old results stay readable."""
    CANCEL_AND_SUBMIT = "cancel and submit"
    """Ask to cancel, confirm, then send what has no result."""
    CANCEL_AND_RESTART = "cancel and restart"
    """Cancel what lives, confirm, then all anew."""
    FIND = "find"
    """Look the key up and adopt what is found; if nothing is found, `Decision.otherwise`."""
    RESUME = "resume"
    """Go on with what is reserved; where that is gone, submit."""
    ABANDON_AND_RESTART = "abandon and restart"
    """End what is reserved, then all anew."""
    ASK = "ask"
    """Ask for the remote id: adopt it if it is alive or ran; if it is dead, go on as with one that was never sent."""
    SYNC = "sync"
    """Poll and collect; send nothing."""
    STAY_UNKNOWN = "stay unknown"
    """Leave it to reconcile or to a person."""
    REFUSE = "refuse"
    """Raise the provider's refusal, or that it does not know the job any more."""
    RETURN = "return"
    """Nothing is left to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One cell of the table.

    `otherwise` is what follows when FIND finds nothing, and None for every other action.
    """

    action: Action
    reason: str
    otherwise: Action | None = None


def standing_of(last: Attempt | None, missing: int) -> Standing:
    """Row of the table that a job is in.

    `last` is the last attempt of the present epoch, if there is one. One in SUBMITTING counts as UNKNOWN here: the
    caller has made sure that nobody holds its lease. `missing` is how many items have no result.
    """
    if missing == 0:
        return Standing.COMPLETE
    if last is None or (last.status.is_final and last.sent_at is None):
        return Standing.UNSENT
    if last.status in {JobStatus.UNKNOWN, JobStatus.SUBMITTING}:
        if last.remote_id is None:
            return Standing.UNKNOWN
        return Standing.RESERVED if last.is_reserved else Standing.STEP_LOST
    if last.status.is_final and last.accepted_at is None:
        return Standing.REJECTED
    if last.status is JobStatus.LOST:
        return Standing.LOST
    return Standing.INCOMPLETE if last.status.is_final else Standing.OPEN


_DEFAULT, _ALLOW, _FORCE, _FULL = RemoteRetryStrategy
_Cell = tuple[Action, str] | tuple[Action, str, Action]
_FOUND_BY_KEY = "the reply was lost; the provider can look our key up"
_AT_RISK = "the reply was lost; the caller takes the risk of a second remote job"
_ANEW = "a restart was asked for"

_TABLE: dict[Standing, dict[RemoteRetryStrategy, _Cell]] = {
    Standing.UNSENT: dict.fromkeys(RemoteRetryStrategy, (Action.SUBMIT, "nothing was sent before: this is the first")),
    Standing.RESERVED: {
        _DEFAULT: (Action.RESUME, "the provider has reserved it, and nothing of it has run"),
        _ALLOW: (Action.RESUME, "the provider has reserved it, and nothing of it has run"),
        _FORCE: (Action.RESUME, "the provider has reserved it, and nothing of it has run"),
        _FULL: (Action.ABANDON_AND_RESTART, "what is reserved is ended before the restart"),
    },
    Standing.STEP_LOST: {
        _DEFAULT: (Action.ASK, "the reply to its last step was lost; its remote id is asked for"),
        _ALLOW: (Action.ASK, "the reply to its last step was lost; its remote id is asked for"),
        _FORCE: (Action.ASK, "the reply to its last step was lost; its remote id is asked for"),
        _FULL: (Action.CANCEL_AND_RESTART, "the reply to its last step was lost; it is cancelled before the restart"),
    },
    Standing.REJECTED: {
        _DEFAULT: (Action.REFUSE, "the provider refused it, and DEFAULT does not send again"),
        _ALLOW: (Action.SUBMIT, "the provider refused it, so no remote job exists"),
        _FORCE: (Action.SUBMIT, "the provider refused it, so no remote job exists"),
        _FULL: (Action.RESTART, _ANEW),
    },
    Standing.UNKNOWN: {
        _DEFAULT: (Action.FIND, _FOUND_BY_KEY, Action.STAY_UNKNOWN),
        _ALLOW: (Action.FIND, _FOUND_BY_KEY, Action.SUBMIT),
        _FORCE: (Action.FIND, _FOUND_BY_KEY, Action.SUBMIT),
        _FULL: (Action.CANCEL_AND_RESTART, "the reply was lost; what is found is cancelled before the restart"),
    },
    Standing.OPEN: {
        _DEFAULT: (Action.SYNC, "the remote job is under way"),
        _ALLOW: (Action.SYNC, "the remote job is under way"),
        _FORCE: (
            Action.CANCEL_AND_SUBMIT,
            "the remote job is under way; it is cancelled before anything is resent",
        ),
        _FULL: (Action.CANCEL_AND_RESTART, "the remote job is under way; it is cancelled before the restart"),
    },
    Standing.LOST: {
        _DEFAULT: (Action.REFUSE, "the provider does not know it any more, and DEFAULT does not send again"),
        _ALLOW: (Action.REFUSE, "the provider does not know it any more, and there is a record of its remote id"),
        _FORCE: (Action.SUBMIT, "the provider does not know it any more; what has no result is sent again"),
        _FULL: (Action.RESTART, _ANEW),
    },
    Standing.INCOMPLETE: {
        _DEFAULT: (Action.SYNC, "the remote job is final; what it has is kept"),
        _ALLOW: (Action.SYNC, "the remote job is final; what it has is kept"),
        _FORCE: (Action.SUBMIT, "only the items without a result are sent again"),
        _FULL: (Action.RESTART, _ANEW),
    },
    Standing.COMPLETE: {
        _DEFAULT: (Action.RETURN, "every item has a result"),
        _ALLOW: (Action.RETURN, "every item has a result"),
        _FORCE: (Action.RETURN, "every item has a result"),
        _FULL: (Action.RESTART, _ANEW),
    },
}
_OPAQUE: dict[RemoteRetryStrategy, _Cell] = {
    _DEFAULT: (
        Action.STAY_UNKNOWN,
        "the reply was lost and this provider cannot look the job up",
    ),
    _ALLOW: (Action.SUBMIT, _AT_RISK),
    _FORCE: (Action.SUBMIT, _AT_RISK),
    _FULL: (Action.RESTART, _ANEW),
}
"""The row UNKNOWN where the provider is opaque."""


def decide(standing: Standing, strategy: RemoteRetryStrategy, lookup: Lookup) -> Decision:
    """What a stage that enters a job again may do.

    Returns:
        The cell. DEFAULT never submits a second time.
    """
    opaque = standing is Standing.UNKNOWN and not lookup.can_find
    action, reason, *otherwise = _OPAQUE[strategy] if opaque else _TABLE[standing][strategy]
    return Decision(action=action, reason=reason, otherwise=otherwise[0] if otherwise else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One retry: how long to wait before it, in seconds, and what it may do."""

    strategy: RemoteRetryStrategy
    delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """A ladder: the n-th retry of a stage uses its n-th rung; the first run uses DEFAULT.

    `max_submissions` caps the attempts of a job in all. `max_total_s` caps the time spent trying to submit it, in
    seconds; the time that it spends at the provider does not count. `max_cost` caps what its attempts may cost
    together, the first one included, in the provider's unit; where nobody can tell what it will cost, it is not sent.
    `max_run_cost` caps what all attempts of all jobs of its logical run may cost together.
    With `resend_unfound` off, a job whose submission was lost is never sent again, however often the provider does not
    find it. `on_recalibration` is what is done where the device is another than the job was compiled for.
    """

    rungs: tuple[Rung, ...]
    max_submissions: int = 3
    max_total_s: float = 86_400.0
    max_cost: float | None = None
    max_run_cost: float | None = None
    resend_unfound: bool = True
    on_recalibration: OnRecalibration = OnRecalibration.WARN

    def __post_init__(self) -> None:
        if self.max_submissions < 1:
            raise InvalidInput("max_submissions must be 1 or more", field="max_submissions")
        if not self.max_total_s > 0:
            raise InvalidInput("max_total_s must be positive", field="max_total_s")
        for name in ("max_cost", "max_run_cost"):
            if (value := getattr(self, name)) is not None and not value >= 0:
                raise InvalidInput(f"{name} must not be negative", field=name)
        if not all(0 <= rung.delay_s < math.inf for rung in self.rungs):
            raise InvalidInput("a rung's delay_s must be finite and not negative", field="rungs")

    @classmethod
    def ladder(
        cls, strategies: Sequence[RemoteRetryStrategy], delays_s: Sequence[float] = (2.0, 10.0, 60.0)
    ) -> RetryPolicy:
        """A policy of these strategies; the last delay serves all further rungs.

        >>> RetryPolicy.ladder([RemoteRetryStrategy.DEFAULT]).rungs[0].delay_s
        2.0
        """
        if strategies and not delays_s:
            raise InvalidInput("a ladder with rungs needs a delay", field="delays_s")
        last = len(delays_s) - 1
        return cls(rungs=tuple(Rung(strategy=s, delay_s=delays_s[min(n, last)]) for n, s in enumerate(strategies)))

    @classmethod
    def for_backend(cls, lookup: Lookup) -> RetryPolicy:
        """The stated default: a lost reply is resolved where it can be, never gambled on.

        The last rung looks up what the one before it sent. The rungs are so far apart that each look-up counts: a job
        that was never made is sent by the third one.
        """
        default = RemoteRetryStrategy.DEFAULT
        if not lookup.can_find:
            return cls.ladder((default, default))
        return cls.ladder((default, default, RemoteRetryStrategy.ALLOW_RESUBMIT, default), (2.0, 25.0, 60.0))

    @classmethod
    def from_form(
        cls, form: RetryInput, lookup: Lookup, on_recalibration: OnRecalibration = OnRecalibration.WARN
    ) -> RetryPolicy:
        """The policy that a form asks for; without a ladder of its own it has the backend's."""
        rungs = cls.for_backend(lookup).rungs
        if form.ladder:
            rungs = cls.ladder(form.ladder, form.delays_s).rungs
        return cls(
            rungs=rungs,
            max_submissions=form.max_submissions,
            max_total_s=form.max_total_s,
            max_cost=form.max_cost,
            max_run_cost=form.max_cost,
            resend_unfound=form.resend_unfound,
            on_recalibration=on_recalibration,
        )

    def as_json(self) -> dict[str, JsonValue]:
        """The policy as it is kept in the ledger; `from_json` reads it again."""
        return {
            "rungs": [[rung.strategy, rung.delay_s] for rung in self.rungs],
            "max_submissions": self.max_submissions,
            "max_total_s": self.max_total_s if math.isfinite(self.max_total_s) else None,
            "max_cost": self.max_cost,
            "max_run_cost": self.max_run_cost,
            "resend_unfound": self.resend_unfound,
            "on_recalibration": self.on_recalibration,
        }

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> RetryPolicy:
        """The inverse of `as_json`.

        >>> policy = RetryPolicy.for_backend(Lookup(by_key=True))
        >>> RetryPolicy.from_json(policy.as_json()) == policy
        True
        """
        rungs = []
        for strategy, delay_s in kept["rungs"]:
            rungs.append(Rung(strategy=RemoteRetryStrategy(strategy), delay_s=delay_s))
        return cls(
            rungs=tuple(rungs),
            max_submissions=kept["max_submissions"],
            max_total_s=math.inf if kept["max_total_s"] is None else kept["max_total_s"],
            max_cost=kept["max_cost"],
            max_run_cost=kept.get("max_run_cost"),
            resend_unfound=kept["resend_unfound"],
            on_recalibration=OnRecalibration(kept.get("on_recalibration", OnRecalibration.WARN)),
        )

    def strategy_for(self, run_count: int) -> RemoteRetryStrategy:
        """Strategy of the `run_count`-th run of a stage; 1 is the first run, 2 its first retry.

        Runs beyond the ladder use its last rung.
        """
        if run_count <= 1 or not self.rungs:
            return RemoteRetryStrategy.DEFAULT
        return self.rungs[min(run_count - 1, len(self.rungs)) - 1].strategy

    @property
    def delays_s(self) -> list[float]:
        """Delays of the retries, in order, in seconds."""
        return [rung.delay_s for rung in self.rungs]


@contextlib.contextmanager
def climbing(policy: RetryPolicy, run: int, lookup: Lookup) -> Iterator[None]:
    """Let a submission that was looked up and not found go on to a later rung that may send it again.

    Without such a rung, or where the provider cannot be asked, `SubmissionUnknown` is final for the run. `run` is which
    run of the stage this is, from 1.
    """
    try:
        yield
    except SubmissionUnknown as error:
        later = [rung.strategy for rung in policy.rungs[run - 1 :]]
        if not lookup.can_find or all(one is RemoteRetryStrategy.DEFAULT for one in later):
            raise
        raise BackendUnavailable(f"{error.job_id} was not found; a later rung of the ladder may send it") from error
