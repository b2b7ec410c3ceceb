"""The table of docs/retries.md, "The retry table", written out a second time, and the ladders."""

from __future__ import annotations

import math

import pytest
from support import NOW

from qjobs.errors import InvalidInput
from qjobs.lifecycle import FINAL, LIVE, JobStatus
from qjobs.model import Attempt, AttemptNumber, JobId, Lookup, RemoteId, RemoteRetryStrategy
from qjobs.operations.retry import Action, RetryPolicy, Rung, Standing, decide, standing_of

# One line per row, one cell per strategy (DEFAULT | ALLOW_RESUBMIT | FORCE_RESUBMIT | FULL_RESTART).
# "find/x": look the key up and adopt, else x.
TABLE = """
unsent       | submit            | submit       | submit            | submit
reserved     | resume            | resume       | resume            | abandon and restart
rejected     | refuse            | submit       | submit            | restart
step lost    | ask               | ask          | ask               | cancel and restart
unknown      | find/stay unknown | find/submit  | find/submit       | cancel and restart
unknown!     | stay unknown      | submit       | submit            | restart
open         | sync              | sync         | cancel and submit | cancel and restart
lost         | refuse            | refuse       | submit            | restart
incomplete   | sync              | sync         | submit            | restart
complete     | return            | return       | return            | restart
"""  # "unknown!" is the row of a provider that cannot find
DEFAULT, ALLOW, FORCE, FULL = RemoteRetryStrategy
FINDABLE = Lookup(by_key=True)
TOKENS = Lookup(token_lifetime_s=60.0)
OPAQUE = Lookup()
LOOKUPS = (FINDABLE, Lookup(chosen_id=True), TOKENS, OPAQUE)
UNDECIDED = {JobStatus.SUBMITTING, JobStatus.UNKNOWN}


def cells() -> list[tuple[str, Standing, RemoteRetryStrategy, Lookup]]:
    rows = {}
    for line in TABLE.strip().splitlines():
        name, *words = (word.strip() for word in line.split("|"))
        rows[name] = dict(zip(RemoteRetryStrategy, words, strict=True))
    found = []
    for standing in Standing:
        for lookup in LOOKUPS:
            blind = standing is Standing.UNKNOWN and lookup in {TOKENS, OPAQUE}
            row = rows["unknown!" if blind else standing.value]
            found += [(row[strategy], standing, strategy, lookup) for strategy in RemoteRetryStrategy]
    return found


@pytest.mark.parametrize(("cell", "standing", "strategy", "lookup"), cells())
def test_every_cell(cell: str, standing: Standing, strategy: RemoteRetryStrategy, lookup: Lookup) -> None:
    """Each cell is as written here, with a reason."""
    decision = decide(standing, strategy, lookup)
    action, _, otherwise = cell.partition("/")
    assert decision.action.value == action
    assert (decision.otherwise.value if decision.otherwise else "") == otherwise
    assert decision.reason


def test_all_cells() -> None:
    """Nine rows, four kinds of provider, four strategies."""
    assert len(cells()) == 9 * 4 * 4


def test_default_never_resends() -> None:
    """DEFAULT never sends a second time."""
    for standing in Standing:
        for lookup in LOOKUPS:
            decision = decide(standing, DEFAULT, lookup)
            sends = {Action.SUBMIT, Action.RESTART, Action.CANCEL_AND_SUBMIT, Action.CANCEL_AND_RESTART}
            assert decision.otherwise not in sends
            assert decision.action not in sends or standing is Standing.UNSENT


def an_attempt(status: JobStatus, *, remote_id: str | None = None, sent: bool = True, accepted: bool = True) -> Attempt:
    return Attempt(
        job_id=JobId("job-1"),
        number=AttemptNumber(1),
        epoch=1,
        strategy=DEFAULT,
        items=None,
        status=status,
        remote_id=None if remote_id is None else RemoteId(remote_id),
        remote_status=None,
        message="",
        cost=None,
        lease_owner=None,
        lease_until=None,
        claimed_at=NOW,
        sent_at=NOW if sent else None,
        accepted_at=NOW if accepted and remote_id else None,
        finished_at=None,
        by_item=False,
        awaited=None,
        awaited_since=None,
        awaited_at=None,
        awaited_times=0,
    )


STANDINGS = [
    *((an_attempt(status, sent=False), Standing.UNSENT) for status in sorted(FINAL)),
    (an_attempt(JobStatus.ERROR), Standing.REJECTED),
    (an_attempt(JobStatus.UNKNOWN), Standing.UNKNOWN),
    (an_attempt(JobStatus.SUBMITTING), Standing.UNKNOWN),
    (an_attempt(JobStatus.UNKNOWN, remote_id="r", sent=False, accepted=False), Standing.RESERVED),
    (an_attempt(JobStatus.UNKNOWN, remote_id="r", accepted=False), Standing.STEP_LOST),
    (an_attempt(JobStatus.LOST, remote_id="r"), Standing.LOST),
    *((an_attempt(status, remote_id="r"), Standing.OPEN) for status in sorted(LIVE - UNDECIDED)),
    *((an_attempt(status, remote_id="r"), Standing.INCOMPLETE) for status in sorted(FINAL)),
]


@pytest.mark.parametrize(("attempt", "standing"), [(None, Standing.UNSENT), *STANDINGS])
def test_standing(attempt: Attempt | None, standing: Standing) -> None:
    """The last attempt says where a job stands; with every result it is COMPLETE, whatever the attempt says."""
    assert standing_of(attempt, 2) is standing
    assert standing_of(attempt, 0) is Standing.COMPLETE


def test_default_ladders() -> None:
    """The ladder of a backend has ALLOW_RESUBMIT only where a lost reply can be looked up, and ends in a look-up."""
    for lookup in (FINDABLE, Lookup(chosen_id=True)):
        rungs = [rung.strategy for rung in RetryPolicy.for_backend(lookup).rungs]
        assert rungs == [DEFAULT, DEFAULT, ALLOW, DEFAULT]
    opaque = RetryPolicy.for_backend(OPAQUE)
    assert [rung.strategy for rung in opaque.rungs] == [DEFAULT, DEFAULT]
    assert opaque.delays_s == [2.0, 10.0]


def test_rung_by_retry() -> None:
    """The first run is DEFAULT, the n-th retry uses the n-th rung, and later ones use the last."""
    assert [RetryPolicy.ladder([FULL]).strategy_for(run) for run in (1, 2)] == [DEFAULT, FULL]
    policy = RetryPolicy.ladder([DEFAULT, ALLOW, FORCE], [1.0, 5.0])
    assert [policy.strategy_for(run) for run in range(6)] == [DEFAULT, DEFAULT, DEFAULT, ALLOW, FORCE, FORCE]
    assert policy.delays_s == [1.0, 5.0, 5.0]


def test_no_rungs() -> None:
    """Without rungs there is no retry, and DEFAULT holds."""
    policy = RetryPolicy(rungs=())
    assert policy.delays_s == []
    assert policy.strategy_for(1) is DEFAULT
    assert policy.strategy_for(7) is DEFAULT
    assert RetryPolicy.ladder([], []).rungs == ()


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"max_submissions": 0}, "max_submissions"),
        ({"max_submissions": -1}, "max_submissions"),
        ({"max_total_s": 0.0}, "max_total_s"),
        ({"max_total_s": -1.0}, "max_total_s"),
        ({"max_total_s": math.nan}, "max_total_s"),
        ({"max_cost": -0.1}, "max_cost"),
        ({"max_cost": math.nan}, "max_cost"),
        ({"rungs": (Rung(strategy=DEFAULT, delay_s=-1.0),)}, "rungs"),
        ({"rungs": (Rung(strategy=DEFAULT, delay_s=math.nan),)}, "rungs"),
        ({"rungs": (Rung(strategy=DEFAULT, delay_s=math.inf),)}, "rungs"),
    ],
)
def test_caps_checked(values: dict[str, object], field: str) -> None:
    """Caps that make no sense are refused, with their field."""
    with pytest.raises(InvalidInput) as caught:
        RetryPolicy(**{"rungs": (), **values})
    assert caught.value.field == field


def test_needs_a_delay() -> None:
    """A ladder needs a delay."""
    with pytest.raises(InvalidInput, match="delay"):
        RetryPolicy.ladder([DEFAULT], [])


def test_default_caps() -> None:
    """Every retry is capped by default."""
    policy = RetryPolicy.for_backend(FINDABLE)
    assert policy.max_submissions == 3
    assert policy.max_total_s == 86_400.0
    assert policy.max_cost is None
    assert RetryPolicy(rungs=(), max_cost=0.0).max_cost == 0.0
