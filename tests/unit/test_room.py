"""Room: jobs that others have at the provider take places, and nobody is asked for them more often than needed."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from launching import Stages, circuits, run
from scripted import Clock, ShowingBackend
from support import create

import qjobs
from qjobs.backends.base import Limits
from qjobs.compiling.compiler import CompileCache
from qjobs.errors import BackendUnavailable, Busy, CredentialsRejected, ProtocolError, QJobsError
from qjobs.ledger import Ledger
from qjobs.operations.execute import WaitedFor
from qjobs.operations.room import Others, Room, held_by_others, room

THREE = Limits(max_items=1, max_live_jobs=3)


@pytest.fixture
def shown() -> ShowingBackend:
    return ShowingBackend(limits=THREE, place=uuid.uuid4().hex)  # what was told of a place serves whoever asks next


@pytest.fixture
def place(store: Ledger, shown: ShowingBackend, clock: Clock) -> Callable[[], Room]:
    """The room on the device, some seconds later."""

    def look(after_s: float = 5.0) -> Room:
        clock.elapsed_s += after_s
        return room(store, shown, now=clock.now)

    return look


def test_strangers(store: Ledger, shown: ShowingBackend, place: Callable[..., Room], clock: Clock) -> None:
    """Jobs of others take places, ours are counted once, and a place is free again when its job has ended."""
    shown.strangers = ["x", "y"]
    qjobs.submit(store, shown, create(store, "ours"), now=clock.now)
    assert place() == Room(on_device=0, others=Others(on_device=2))
    shown.strangers = ["y"]
    assert place().on_device == 1
    shown.elsewhere = {"y"}
    assert place().on_device == 2


def test_account(store: Ledger, shown: ShowingBackend, place: Callable[..., Room]) -> None:
    """Jobs on other devices take places of the account, and none of this one."""
    shown.limits = Limits(max_live_jobs=3, max_account_jobs=4)
    shown.strangers = ["here", "there", "there too"]
    shown.elsewhere = {"there", "there too"}
    assert place() == Room(on_device=2, of_account=1, others=Others(on_device=1, of_account=3))


def test_claim_counts_them(store: Ledger, shown: ShowingBackend, clock: Clock) -> None:
    """Whoever submits by himself does not exceed the limit either, and is told why."""
    shown.strangers = ["x", "y"]
    first, second = create(store, "a"), create(store, "b")
    qjobs.submit(store, shown, first, now=clock.now)
    with pytest.raises(Busy, match="1 live jobs, and 2 that this ledger does not have, and takes 3"):
        qjobs.submit(store, shown, second, now=clock.now)
    assert len(shown.jobs) == 1
    shown.strangers = []
    clock.elapsed_s += 5.0
    qjobs.submit(store, shown, second, now=clock.now)


@pytest.mark.parametrize("error", [BackendUnavailable("502"), CredentialsRejected("403"), ProtocolError("a new word")])
def test_silence(shown: ShowingBackend, place: Callable[..., Room], error: QJobsError) -> None:
    """While nobody tells, what was shown last holds, one place is ours at least, and it is asked once a minute."""
    shown.strangers = ["x"]
    assert place().on_device == 2
    shown.silences += [error] * 2
    assert [place().on_device for _ in range(3)] == [2] * 3
    assert shown.n_shown == 2
    shown.strangers = ["x", "y", "z"]
    assert place(60.0).on_device == 2
    assert place(60.0).on_device == 0, "it tells again"
    shown.silences.append(error)
    assert place(60.0).on_device == 1
    assert shown.n_shown == 5


def test_silence_from_the_start(store: Ledger, shown: ShowingBackend, place: Callable[..., Room], clock: Clock) -> None:
    """Where nothing was ever shown, one job at a time is sent."""
    shown.silences.append(BackendUnavailable("502"))
    assert place().on_device == 1
    qjobs.submit(store, shown, create(store, "a"), now=clock.now)
    with pytest.raises(Busy):
        qjobs.submit(store, shown, create(store, "b"), now=clock.now)


def test_asked_when_needed(store: Ledger, shown: ShowingBackend, place: Callable[..., Room], clock: Clock) -> None:
    """Choosing jobs and claiming each of them is one request; a device without a limit, or full of ours, needs none."""
    place()
    for key in "abc":
        qjobs.submit(store, shown, create(store, key), now=clock.now)
    assert shown.n_shown == 1
    assert place().on_device == 0
    shown.limits = Limits()
    assert place() == Room()
    assert shown.n_shown == 1


def test_nothing_shown(store: Ledger, shown: ShowingBackend, place: Callable[..., Room]) -> None:
    """A backend that is not shown any jobs counts as one that has none of others."""
    shown.live_jobs = lambda: None  # type: ignore[assignment]
    assert place().on_device == 3
    assert held_by_others(store, shown) == Others()


class Leaving(Stages):
    """Stages whose device others leave one by one, each after a wait."""

    def __init__(self, ledger: Ledger, cache: CompileCache, **backends: ShowingBackend) -> None:
        super().__init__(ledger, cache, **backends)
        self.looks: list[tuple[int, float | None]] = []

    def wait(self, waited_for: WaitedFor) -> None:
        self.looks.append((len(waited_for.jobs), waited_for.at_most_s))
        strangers = self.opened["fake"].strangers
        del strangers[:1]
        super().wait(waited_for)


def test_run_waits_for_strangers(store: Ledger, tmp_path: Path) -> None:
    """A run whose device is full of jobs of others looks again, sends nothing meanwhile, and then goes on."""
    shown = ShowingBackend(limits=Limits(max_items=1, max_live_jobs=1), poll_interval_s=(0.001, 1.0))
    shown.strangers = ["x", "y"]
    live: list[int] = []
    shown.before_submit = lambda: live.append(len(shown.strangers))
    stages = Leaving(store, CompileCache(tmp_path), fake=shown)
    assert run(stages, circuits(2)).problems == {}
    assert live == [0, 0]
    assert stages.looks == [(0, 1.0), (0, 1.0), (1, None), (1, None)]
