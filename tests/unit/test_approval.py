"""Approval: what costs more than a threshold is asked first, and the answer is written into the history."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from launching import Stages, circuits, points
from scripted import ScriptedBackend

from qjobs.backends.base import Limits, Pricing
from qjobs.cli.approval import ask_here, check_decision
from qjobs.compiling.compiler import CompileCache
from qjobs.errors import InvalidInput, NotApproved
from qjobs.experiments.circuit_list import CircuitList, expand_circuit_list
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch
from qjobs.operations.approval import SETTING, Decision, Question, Verdict, approval_of, nobody
from qjobs.operations.execute import Executed, ExperimentPlan, execute

ONE_EACH = Limits(max_items=1)


class Priced(ScriptedBackend):
    """A backend that is paid for by the shot."""

    a_shot: float | None = 1.0
    pricing = Pricing(unit="HQC", words="1 HQC for each shot")

    def estimate(self, batch: Batch) -> float | None:
        return None if self.a_shot is None else self.a_shot * sum(item.shots for item in batch.items)


class Person:
    """Somebody who is asked, and says what was prepared."""

    def __init__(self, *decisions: Decision) -> None:
        self.decisions = list(decisions)
        self.asked: list[Question] = []

    def __call__(self, question: Question) -> Decision:
        self.asked.append(question)
        return self.decisions.pop(0)


YES = Decision(verdict=Verdict.APPROVE, by="anna", through="in a test")
NO = Decision(verdict=Verdict.REFUSE, by="berta", through="in a test")


def fewer(shots: int) -> Decision:
    return Decision(verdict=Verdict.APPROVE, by="anna", through="in a test", shots=shots)


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)


@pytest.fixture
def priced() -> Priced:
    return Priced(limits=ONE_EACH)


@pytest.fixture
def launch(store: Ledger, stages: Callable[..., Stages], tmp_path: Path, priced: Priced) -> Callable[..., Executed]:
    """Runs an experiment with somebody to ask, as the command does."""

    def launching(plan: ExperimentPlan, ask: Callable[[Question], Decision], name: str = "run") -> Executed:
        staged = stages(priced)
        with store.waits.attended(name):
            cache = CompileCache(tmp_path / "compiled")
            approval = approval_of(store, plan, staged.backend, cache, ask, logical_run=name)
            return execute(store, approval.plan, staged, run=name, approval=approval)

    return launching


def events(store: Ledger, cause: str) -> list[str]:
    return [event.detail for job in store.jobs() for event in store.events(job.job_id) if event.cause == cause]


def test_approved(store: Ledger, launch: Callable[..., Executed], priced: Priced) -> None:
    """Who approved what, and why it was asked, is in the history of every job; then all is sent."""
    anna = Person(YES)
    launch(circuits(3, approve_above="10 HQC"), anna)
    (question,) = anna.asked
    assert question.why == "it would cost 15 HQC, and approve_above is 10 HQC"
    assert events(store, "approved") == [f"by anna, in a test: {question.why}"] * 3
    assert len(priced.jobs) == 3


@pytest.mark.parametrize("threshold", [None, 15, "15", "15.0 HQC"])
def test_not_asked(launch: Callable[..., Executed], priced: Priced, threshold: object) -> None:
    """What costs no more than the threshold is sent without a question."""
    launch(circuits(3, approve_above=threshold), nobody)
    assert len(priced.jobs) == 3


def test_refused(store: Ledger, launch: Callable[..., Executed], priced: Priced) -> None:
    """What is refused is never sent: its jobs are cancelled with the reason, and entering it again sends nothing."""
    plan = circuits(2, approve_above=1)
    with pytest.raises(NotApproved, match="was refused by berta, in a test: it would cost 10 HQC"):
        launch(plan, Person(NO))
    assert {job.status for job in store.jobs()} == {JobStatus.CANCELLED}
    assert len(events(store, "refused")) == 2
    launch(plan, nobody)
    assert priced.jobs == {}


def test_nobody(store: Ledger, launch: Callable[..., Executed]) -> None:
    """Where nobody can be asked nothing is planned, and the message says how it can be approved."""
    with pytest.raises(NotApproved, match="qjobs run FILE --yes"):
        launch(circuits(1, approve_above=1), nobody)
    assert store.jobs() == []


def test_unknown_cost(launch: Callable[..., Executed], priced: Priced) -> None:
    """A cost that nobody can tell is above every threshold."""
    priced.a_shot = None
    anna = Person(YES)
    launch(circuits(1, approve_above="1000000 HQC"), anna)
    assert anna.asked[0].why == "nobody can tell what it would cost on fake, and approve_above is 1,000,000 HQC"


def test_fewer_shots(store: Ledger, launch: Callable[..., Executed], priced: Priced) -> None:
    """With fewer shots it is another experiment, which is approved with them and not asked again."""
    anna = Person(fewer(2))
    done = launch(points(approve_above=1), anna)
    assert (done.plan.spec.shots, len(anna.asked)) == (2, 1)
    assert [item.shots for job in store.jobs() for item in store.items(job.job_id)] == [2, 2]
    assert all("the shots were changed from 5 to 2" in words for words in events(store, "approved"))


def test_own_shots(store: Ledger, launch: Callable[..., Executed]) -> None:
    """Changed shots are those of every circuit of a list, whatever it had."""
    given = circuits(2, approve_above=1).spec.model_dump()
    given["circuits"][0]["shots"] = 70
    launch(expand_circuit_list(CircuitList.model_validate(given)), Person(fewer(3)))
    assert [item.shots for job in store.jobs() for item in store.items(job.job_id)] == [3, 3]


def test_more_shots(launch: Callable[..., Executed]) -> None:
    """More shots than were shown cost more than was shown: that is asked again, with the new estimate."""
    anna = Person(fewer(100), YES)
    launch(points(approve_above=1), anna)
    assert [question.why.partition(",")[0] for question in anna.asked] == [
        "it would cost 10 HQC",
        "it would cost 200 HQC",
    ]
    assert anna.asked[0].key != anna.asked[1].key


def test_what_was_approved(store: Ledger, launch: Callable[..., Executed], priced: Priced) -> None:
    """A job that was approved and not yet sent is not asked about again; what it was approved for has its own key."""
    plan = circuits(2, approve_above=1)

    class Killed(BaseException):
        pass

    def dies(*_: object, **__: object) -> None:
        raise Killed

    priced.submit = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        launch(plan, Person(YES))
    del priced.submit
    assert len(events(store, "approved")) == 2
    launch(plan, nobody)


def test_key(launch: Callable[..., Executed], priced: Priced) -> None:
    """The same question has the same key when a run is entered again; another estimate makes it another question."""

    class Suspended(BaseException):
        pass

    asked: list[str] = []

    def suspends(question: Question) -> Decision:
        asked.append(question.key)
        raise Suspended

    plan = circuits(2, approve_above=1)
    for price in (1.0, 1.0, 1.5):
        priced.a_shot = price
        with pytest.raises(Suspended):
            launch(plan, suspends)
    assert asked[0] == asked[1] != asked[2]


def test_setting(monkeypatch: pytest.MonkeyPatch, launch: Callable[..., Executed], priced: Priced) -> None:
    """The setting holds for every experiment; one in a unit of another provider does not concern this device."""
    monkeypatch.setenv(SETTING, "7 credits")
    launch(circuits(1), nobody, "other")
    monkeypatch.setenv(SETTING, "7 HQC")
    anna = Person(YES)
    launch(circuits(2), anna)
    assert anna.asked[0].why == "it would cost 10 HQC, and QJOBS_APPROVE_ABOVE is 7 HQC"
    monkeypatch.setenv(SETTING, "much")
    with pytest.raises(InvalidInput, match="QJOBS_APPROVE_ABOVE=much cannot be used: give an amount"):
        launch(circuits(3), nobody, "third")


def test_other_unit(store: Ledger, launch: Callable[..., Executed]) -> None:
    """A threshold of the experiment in a unit that the device does not have is refused."""
    with pytest.raises(InvalidInput, match="approve_above is in credits, and fake is paid for in HQC"):
        launch(circuits(1, approve_above="5 credits"), nobody)
    assert store.jobs() == []


def test_sent_by_force(store: Ledger, launch: Callable[..., Executed], priced: Priced) -> None:
    """A restart of what is there costs again, and is asked; without one, what is there costs nothing."""
    launch(points(), nobody)
    launch(points(approve_above=1), nobody, "again")
    anna = Person(YES)
    launch(points(approve_above=1, retries={"strategy": "FULL_RESTART"}), anna, "anew")
    assert anna.asked[0].why == "it would cost 10 HQC, and approve_above is 1"
    assert len(events(store, "approved")) == len(store.jobs())


class Terminal(io.StringIO):
    """Words that a person types."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "verdict", "shots"),
    [
        ("yes\n", Verdict.APPROVE, None),
        ("what?\ny\n", Verdict.APPROVE, None),
        ("12\n", Verdict.APPROVE, 12),
        ("no\n", Verdict.REFUSE, None),
        ("0\n\n\n\n\n", Verdict.REFUSE, None),
        ("", Verdict.REFUSE, None),
    ],
)
def test_terminal(
    launch: Callable[..., Executed], capsys: pytest.CaptureFixture[str], typed: str, verdict: Verdict, shots: int | None
) -> None:
    """At the terminal the costs are shown; only a plain yes or a number of shots approves."""
    seen: list[Decision] = []

    def ask(question: Question) -> Decision:
        seen.append(ask_here(stdin=Terminal(typed))(question))
        return seen[-1]

    plan = circuits(2, approve_above=1)
    if verdict is Verdict.REFUSE:
        with pytest.raises(NotApproved):
            launch(plan, ask)
    else:
        launch(plan, ask)
    assert (seen[0].verdict, seen[0].shots) == (verdict, shots)
    said = capsys.readouterr().err
    assert "it would cost 10 HQC, and approve_above is 1" in said
    assert "how it counts: 1 HQC for each shot" in said


def test_no_terminal(launch: Callable[..., Executed], store: Ledger) -> None:
    """Without a terminal nobody is asked, unless it was approved beforehand."""
    plan = circuits(1, approve_above=1)
    with pytest.raises(NotApproved, match="nobody here to ask"):
        launch(plan, ask_here(stdin=io.StringIO("yes\n")))
    launch(plan, ask_here(yes=True))
    assert events(store, "approved")[0].partition(": ")[0].endswith(", by the option --yes")


@pytest.mark.parametrize("bad", ["-1", -1, "many", "1 2", "5 H Q C", float("nan")])
def test_bad_threshold(bad: object) -> None:
    """A threshold that is no amount is refused."""
    with pytest.raises(ValueError, match="give an amount of 0 or more"):
        circuits(1, approve_above=bad)


def test_bad_decision() -> None:
    """A decision is one of the three."""
    for options in ({"yes": True, "refuse": True}, {"yes": False, "refuse": False}):
        with pytest.raises(InvalidInput, match="choose"):
            check_decision(shots=None, **options)
    with pytest.raises(InvalidInput, match="--shots 0 is none"):
        check_decision(yes=False, shots=0, refuse=False)
