"""Canary: the first circuits go alone, are judged, and only then the others go; a failed one stops the run."""

from __future__ import annotations

from pathlib import Path

import pytest
from launching import Stages, points, run
from scripted import OPAQUE, Fault, Remote, ScriptedBackend

from qjobs.backends.base import Limits
from qjobs.compiling.compiler import CompileCache
from qjobs.errors import CanaryFailed, InvalidInput, SubmissionUnknown
from qjobs.experiments.canary_rules import Tried, load_rule
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemResult
from qjobs.operations.check import check
from qjobs.operations.execute import WaitedFor

VALUES = (0.1, 0.2, 0.3, 0.4)
NEVER = {"circuits": 2, "rule": "outcome", "arguments": {"bits": "11", "at_least": 0.99}}


class Plain(ScriptedBackend):
    """A backend where every shot has the outcome 00."""

    def result(self, job: Remote, n: int) -> ItemResult:
        return ItemResult(counts={"00": job.batch.items[n].shots})


class Watching(Stages):
    """Stages that remember how many circuits the provider had at each wait."""

    def wait(self, waited_for: WaitedFor) -> None:
        self.at_provider = [*getattr(self, "at_provider", []), n_sent(self.opened["fake"])]
        super().wait(waited_for)


def n_sent(backend: ScriptedBackend) -> int:
    return sum(len(remote.items) for remote in backend.jobs.values())


@pytest.fixture
def watched(store: Ledger, tmp_path: Path) -> Watching:
    return Watching(store, CompileCache(tmp_path / "compiled"), fake=Plain())


def test_alone_first(store: Ledger, watched: Watching) -> None:
    """The others are not sent before the first ones have their results; each circuit is sent once."""
    done = run(watched, points(*VALUES, canary=1))
    assert watched.at_provider == [1, 4]
    assert (done.problems, len(store.jobs())) == ({}, 2)
    assert done.summaries == ("fake: 0 of 4 circuits are there from earlier runs, 2 jobs for the others",)


def test_not_sane(store: Ledger, watched: Watching) -> None:
    """Where the rule finds one not sane, the others are cancelled unsent, and it says which and why."""
    with pytest.raises(CanaryFailed, match=r"were not sent \(1 jobs\): fake: .*11 came out in 0 of the shots"):
        run(watched, points(*VALUES, canary=NEVER))
    assert n_sent(watched.opened["fake"]) == 2
    assert sorted(job.status for job in store.jobs()) == [JobStatus.CANCELLED, JobStatus.COMPLETED]
    with pytest.raises(CanaryFailed):
        run(watched, points(*VALUES, canary=NEVER), "again")
    assert n_sent(watched.opened["fake"]) == 2


def test_reused(store: Ledger, watched: Watching) -> None:
    """A run with another rule reuses what the first circuits brought, and sends the others."""
    with pytest.raises(CanaryFailed):
        run(watched, points(*VALUES, canary=NEVER))
    done = run(watched, points(*VALUES, canary=2), "mended")
    assert done.problems == {}
    assert n_sent(watched.opened["fake"]) == 4
    watched.at_provider = []
    run(watched, points(*VALUES, canary=NEVER), "all there")
    assert watched.at_provider == [], "nothing is left to be sent, so nothing is judged"


@pytest.mark.parametrize("end", [JobStatus.ERROR, JobStatus.CANCELLED])
def test_no_result(watched: Watching, end: JobStatus) -> None:
    """First circuits that fail at the provider stop the run."""
    watched.end = end
    with pytest.raises(CanaryFailed, match="has no result"):
        run(watched, points(*VALUES, canary=1))
    assert n_sent(watched.opened["fake"]) == 1


def test_lost_reply(store: Ledger, watched: Watching) -> None:
    """First circuits whose fate is unknown stop the run too, and the others stay as they are until that is known."""
    watched.opened["fake"].lookup = OPAQUE
    watched.opened["fake"].faults.append(Fault(SubmissionUnknown("the connection broke")))
    with pytest.raises(SubmissionUnknown):
        run(watched, points(*VALUES, canary=1))
    assert n_sent(watched.opened["fake"]) == 0
    assert {job.status for job in store.jobs()} == {JobStatus.CREATED, JobStatus.UNKNOWN}


def test_entered_again(store: Ledger, watched: Watching) -> None:
    """A run that ends while it waits for the first circuits goes on with them, and sends none of them again."""

    class Ended(BaseException):
        pass

    def ends(_: WaitedFor) -> None:
        raise Ended

    watched.wait = ends  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(Ended):
            run(watched, points(*VALUES, canary=1))
        assert n_sent(watched.opened["fake"]) == 1
    del watched.wait
    assert run(watched, points(*VALUES, canary=1)).problems == {}
    assert (watched.at_provider, len(store.jobs())) == ([1, 4], 2)


def test_planned(store: Ledger, tmp_path: Path) -> None:
    """A plan counts the job of the first circuits."""
    backend = ScriptedBackend(limits=Limits(max_items=3))
    cache = CompileCache(tmp_path)
    assert check(points(*VALUES, canary=2), {"fake": backend}, cache, store).jobs == 2
    assert check(points(*VALUES, canary=3), {"fake": backend}, cache, store).jobs == 2
    assert check(points(*VALUES), {"fake": backend}, cache, store).jobs == 2


def tried(**counts: int) -> Tried:
    return Tried(label="p", shots=10, parameters={}, result=ItemResult(counts={k[1:]: n for k, n in counts.items()}))


def test_rules() -> None:
    """A rule says what is wrong, and nothing where nothing is."""
    assert load_rule("full-shots", {})(tried(b00=4, b11=6)) == ""
    assert load_rule("full-shots", {})(tried(b00=4)) == "it has 4 counts of 10 shots"
    exact = Tried(label="p", shots=10, parameters={}, result=ItemResult(expvals={"z": 1.0}))
    assert load_rule("full-shots", {})(exact) == ""
    rule = load_rule("outcome", {"bits": "00", "at_least": 0.3, "at_most": 0.5})
    assert rule(tried(b00=4, b11=6)) == ""
    assert rule(tried(b00=6, b11=4)) == "00 came out in 0.6 of the shots, and from 0.3 to 0.5 are sane"
    assert rule(tried(b0=6)) == "its outcomes have 1 bits, and the rule asks for '00'"
    assert rule(exact) == "it has no counts"


@pytest.mark.parametrize(
    ("canary", "words"),
    [
        (4, "the sweep has 4 circuits, and canary is 4 of them; give fewer"),
        ({"circuits": 1, "rule": "nice"}, "there is no canary rule 'nice'; there are: full-shots, outcome"),
        ({"circuits": 1, "rule": "outcome"}, "does not take these arguments"),
        ({"circuits": 1, "rule": "outcome", "arguments": {"bits": "2"}}, "bits are 0 and 1"),
        ({"circuits": 1, "rule": "outcome", "arguments": {"bits": "0", "at_least": 2}}, "give 0 <= at_least"),
        (0, "greater than or equal to 1|1 or more"),
        ("some", "canary"),
    ],
)
def test_bad_canary(canary: object, words: str) -> None:
    """A canary that cannot be is refused before anything is stored."""
    with pytest.raises((InvalidInput, ValueError), match=words):
        points(*VALUES, canary=canary)
