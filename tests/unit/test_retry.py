"""The table of docs/guarantees.md, "The retry table", written out a second time, and the ladders."""

from __future__ import annotations

import math

import pytest
from support import NOW

from qjobs.errors import InvalidInput
from qjobs.lifecycle import FINAL, JobStatus
from qjobs.model import Attempt, AttemptNumber, JobId, LostReply, RemoteId, RemoteRetryStrategy
from qjobs.operations.retry import Action, RetryPolicy, Rung, Standing, decide, standing_of

DEFAULT, ALLOW, FORCE, FULL = RemoteRetryStrategy

# One line per row, one cell per strategy (DEFAULT | ALLOW_RESUBMIT | FORCE_RESUBMIT | FULL_RESTART).
# "find/x": look the key up and adopt, else x.
TABLE = """
unsent       | submit            | submit       | submit            | submit
rejected     | refuse            | submit       | submit            | restart
unknown      | find/stay unknown | find/submit  | find/submit       | cancel and restart
unknown!     | stay unknown      | submit       | submit            | restart
open         | sync              | sync         | cancel and submit | cancel and restart
incomplete   | sync              | sync         | submit            | restart
complete     | return            | return       | return            | restart
"""  # "unknown!" is the row of an opaque provider


def cells() -> list[tuple[str, Standing, RemoteRetryStrategy, LostReply]]:
    rows = {}
    for line in TABLE.strip().splitlines():
        name, *words = (word.strip() for word in line.split("|"))
        rows[name] = dict(zip(RemoteRetryStrategy, words, strict=True))
    found = []
    for standing in Standing:
        for lost_reply in LostReply:
            opaque = standing is Standing.UNKNOWN and lost_reply is LostReply.OPAQUE
            row = rows["unknown!" if opaque else standing.value]
            found += [(row[strategy], standing, strategy, lost_reply) for strategy in RemoteRetryStrategy]
    return found


@pytest.mark.parametrize(("cell", "standing", "strategy", "lost_reply"), cells())
def test_every_cell(cell: str, standing: Standing, strategy: RemoteRetryStrategy, lost_reply: LostReply) -> None:
    decision = decide(standing, strategy, lost_reply)
    action, _, otherwise = cell.partition("/")
    assert decision.action.value == action
    assert (decision.otherwise.value if decision.otherwise else "") == otherwise
    assert decision.reason


def test_the_table_has_all_cells() -> None:
    assert len(cells()) == 6 * 3 * 4


def test_default_never_sends_a_second_time() -> None:
    for standing in Standing:
        for lost_reply in LostReply:
            decision = decide(standing, DEFAULT, lost_reply)
            sends = {Action.SUBMIT, Action.RESTART, Action.CANCEL_AND_SUBMIT, Action.CANCEL_AND_RESTART}
            assert decision.otherwise not in sends
            assert decision.action not in sends or standing is Standing.UNSENT


def test_nothing_but_a_restart_touches_what_is_complete() -> None:
    for lost_reply in LostReply:
        for strategy in (DEFAULT, ALLOW, FORCE):
            assert decide(Standing.COMPLETE, strategy, lost_reply).action is Action.RETURN


def an_attempt(status: JobStatus, *, remote_id: str | None = None, sent: bool = True) -> Attempt:
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
        sent_at=NOW if sent else None,
        accepted_at=None,
        finished_at=None,
    )


def test_no_attempt_is_unsent() -> None:
    assert standing_of(None, 2) is Standing.UNSENT


@pytest.mark.parametrize("status", sorted(FINAL))
def test_proved_never_sent_is_unsent(status: JobStatus) -> None:
    assert standing_of(an_attempt(status, sent=False), 2) is Standing.UNSENT


def test_refused_is_rejected() -> None:
    assert standing_of(an_attempt(JobStatus.ERROR), 2) is Standing.REJECTED


@pytest.mark.parametrize("status", [JobStatus.UNKNOWN, JobStatus.SUBMITTING])
def test_without_a_reply_is_unknown(status: JobStatus) -> None:
    assert standing_of(an_attempt(status), 2) is Standing.UNKNOWN


@pytest.mark.parametrize("word", ["SUBMITTED", "QUEUED", "RUNNING", "RETRYING", "CANCELLING"])
def test_with_a_handle_and_not_final_is_open(word: str) -> None:
    assert standing_of(an_attempt(JobStatus(word), remote_id="r"), 2) is Standing.OPEN


@pytest.mark.parametrize("status", sorted(FINAL))
def test_final_with_items_missing_is_incomplete(status: JobStatus) -> None:
    assert standing_of(an_attempt(status, remote_id="r"), 1) is Standing.INCOMPLETE


@pytest.mark.parametrize("status", [s for s in JobStatus if s is not JobStatus.CREATED])
def test_nothing_missing_is_complete_whatever_the_attempt_says(status: JobStatus) -> None:
    assert standing_of(an_attempt(status, remote_id="r"), 0) is Standing.COMPLETE


def test_the_default_ladders() -> None:
    for lost_reply in (LostReply.DEDUPLICATED, LostReply.FINDABLE):
        assert [rung.strategy for rung in RetryPolicy.for_backend(lost_reply).rungs] == [DEFAULT, DEFAULT, ALLOW]
    opaque = RetryPolicy.for_backend(LostReply.OPAQUE)
    assert [rung.strategy for rung in opaque.rungs] == [DEFAULT, DEFAULT]
    assert opaque.delays_s == [2.0, 10.0]


def test_a_retry_uses_its_own_rung() -> None:
    policy = RetryPolicy.ladder([DEFAULT, ALLOW, FORCE], [1.0, 5.0])
    assert [policy.strategy_for(run) for run in range(6)] == [DEFAULT, DEFAULT, DEFAULT, ALLOW, FORCE, FORCE]
    assert policy.delays_s == [1.0, 5.0, 5.0]


def test_no_rungs_means_no_retry_and_default() -> None:
    policy = RetryPolicy(rungs=())
    assert policy.delays_s == []
    assert policy.strategy_for(1) is DEFAULT
    assert policy.strategy_for(7) is DEFAULT
    assert RetryPolicy.ladder([], []).rungs == ()


def test_the_first_run_is_default_whatever_the_ladder() -> None:
    assert RetryPolicy.ladder([FULL]).strategy_for(1) is DEFAULT
    assert RetryPolicy.ladder([FULL]).strategy_for(2) is FULL


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
def test_caps_are_checked(values: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        RetryPolicy(**{"rungs": (), **values})
    assert caught.value.field == field


def test_a_ladder_needs_a_delay() -> None:
    with pytest.raises(InvalidInput, match="delay"):
        RetryPolicy.ladder([DEFAULT], [])


def test_every_retry_is_capped_by_default() -> None:
    policy = RetryPolicy.for_backend(LostReply.FINDABLE)
    assert policy.max_submissions == 3
    assert policy.max_total_s == 86_400.0
    assert policy.max_cost is None
    assert RetryPolicy(rungs=(), max_cost=0.0).max_cost == 0.0
