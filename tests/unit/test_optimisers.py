"""Optimisers: they reach the bottom of a bowl, under noise too, and depend on what was recorded alone."""

from __future__ import annotations

import itertools
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from support import NOW

from qjobs.ledger.epochs import Epoch, Params
from qjobs.model import ProgramHash
from qjobs.operations.optimisers import Asked, Cobyla, Optimiser, Spsa

BOTTOM = (0.4, -0.3, 0.9, 0.0)
START = (0.0, 0.5, -0.2, 0.1)
KINDS: dict[str, Optimiser] = {
    "spsa": Spsa(start=START, seed=3),
    "spsa with pairs": Spsa(start=START, seed=3, pairs=3, calibration=4),
    "cobyla": Cobyla(start=START),
}


def bowl(point: Params) -> float:
    return sum(weight * (value - at) ** 2 for weight, value, at in zip((1, 2, 0.5, 1), point, BOTTOM, strict=True))


def noisy(sigma: float) -> Callable[[Params], float]:
    """The bowl with normal noise that is the same at the same point."""

    def energy(point: Params) -> float:
        rng = np.random.default_rng(np.frombuffer(np.array(point).tobytes(), dtype=np.uint32))
        return bowl(point) + sigma * float(rng.normal())

    return energy


def told(asked: Asked, number: int, energy: Callable[[Params], float], error: float = 0.0) -> Epoch:
    """The epoch as the ledger gives it back: its state has been JSON."""
    return Epoch(
        logical_run="run",
        number=number,
        experiment="bowl",
        definition="d",
        points=asked.points,
        energies=tuple(energy(point) for point in asked.points),
        std_errors=(error,) * len(asked.points),
        state=json.loads(json.dumps(asked.state)),
        circuit=ProgramHash("c"),
        at=NOW,
    )


def run(
    optimiser: Optimiser,
    n_epochs: int,
    energy: Callable[[Params], float] = bowl,
    history: Sequence[Epoch] = (),
    error: float = 0.0,
) -> list[Epoch]:
    epochs = list(history)
    while len(epochs) < n_epochs:
        asked = optimiser.ask(epochs)
        if asked is None:
            break
        epochs.append(told(asked, len(epochs) + 1, energy, error))
    return epochs


@pytest.mark.parametrize("kind", KINDS)
def test_bowl(kind: str) -> None:
    """Without noise the bottom is reached."""
    epochs = run(KINDS[kind], 120)
    assert epochs[0].params == START
    assert min(epoch.energy for epoch in epochs) < 5e-3
    assert epochs[-1].params == pytest.approx(BOTTOM, abs=0.12)


@pytest.mark.parametrize("kind", KINDS)
def test_noise(kind: str) -> None:
    """With noise the true energy ends near the bottom, as far as the noise lets it."""
    before = bowl(START)
    epochs = run(KINDS[kind], 150, noisy(0.03), error=0.03)
    ended = bowl(epochs[-1].params) if kind != "cobyla" else bowl(min(epochs, key=lambda epoch: epoch.energy).params)
    assert ended < before / 10


@pytest.mark.parametrize("kind", KINDS)
def test_resumed_anywhere(kind: str) -> None:
    """Resumed after every single epoch, by an optimiser that is made anew, it goes the same way to the last bit."""
    energy = noisy(0.02)
    whole = run(KINDS[kind], 30, energy, error=0.02)
    for n_epochs in range(len(whole)):
        again = run(replace(KINDS[kind]), n_epochs + 1, energy, whole[:n_epochs], error=0.02)
        assert again == whole[: n_epochs + 1]


@pytest.mark.parametrize("kind", KINDS)
def test_asked_twice(kind: str) -> None:
    """Asking changes nothing: the same history gets the same answer."""
    epochs = run(KINDS[kind], 8)
    assert KINDS[kind].ask(epochs) == KINDS[kind].ask(epochs)
    assert KINDS[kind].ask([]) == KINDS[kind].ask([])


def test_spsa_seeds() -> None:
    """Another seed takes other directions, from the same start."""
    one, other = Spsa(start=START, seed=1).ask([]), Spsa(start=START, seed=2).ask([])
    assert one.points[0] == other.points[0] == START
    assert one.points != other.points


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_spsa_gain(scale: float) -> None:
    """Whatever the unit of the energy, the first steps have the size that was asked for."""
    optimiser = Spsa(start=START, seed=5, step=0.1)
    epochs = run(optimiser, 8, lambda point: scale * bowl(point))
    moved = [math.dist(a.params, b.params) / 2 for a, b in itertools.pairwise(epochs[1:])]
    assert 0.02 < np.mean(moved) < 0.2
    for before, after in itertools.pairwise(epochs):
        assert max(abs(a - b) for a, b in zip(before.params, after.params, strict=True)) <= 0.2 + 1e-12


def test_spsa_flat() -> None:
    """Where nothing changes, or a single shot has no error, it stands where it is."""
    epochs = run(Spsa(start=START, seed=5), 5, lambda _: -1.0)
    assert {epoch.params for epoch in epochs} == {START}
    unknown = [replace(epoch, std_errors=(None,) * len(epoch.points)) for epoch in epochs[:1]]
    assert Spsa(start=START, seed=5).ask(unknown).points == epochs[1].points


def test_spsa_gain_under_noise() -> None:
    """Noise that the standard errors explain does not make the steps small."""
    rng = np.random.default_rng(7)
    optimiser = Spsa(start=START, seed=5, calibration=50)

    def loud(point: Params) -> float:
        return bowl(point) + 0.5 * float(rng.normal())

    quiet = run(optimiser, 2)[1].state["gain"]
    corrected = run(optimiser, 2, loud, error=0.5)[1].state["gain"]
    blind = run(optimiser, 2, loud)[1].state["gain"]
    assert 0.6 < corrected / quiet < 1.6
    assert blind < 0.9 * quiet


def test_cobyla_converges() -> None:
    """It ends by itself where its steps are as small as was asked for, and stays there."""
    epochs = run(Cobyla(start=START, tolerance=0.05), 500)
    assert len(epochs) < 100
    assert Cobyla(start=START, tolerance=0.05).ask(epochs) is None


def test_cobyla_other_arithmetic(caplog: pytest.LogCaptureFixture) -> None:
    """The last bits of a point may differ; where it cannot be replayed it begins anew at the best point, once."""
    optimiser = Cobyla(start=START)
    epochs = run(optimiser, 10)
    nearly = [replace(epoch, points=(tuple(value + 1e-13 for value in epoch.params),)) for epoch in epochs]
    assert optimiser.ask(nearly).points[0] == pytest.approx(optimiser.ask(epochs).points[0], abs=1e-9)
    assert caplog.records == []
    moved = [*epochs[:6], replace(epochs[6], points=((9.0, 9.0, 9.0, 9.0),)), *epochs[7:]]
    with caplog.at_level(logging.WARNING):
        asked = optimiser.ask(moved)
    best = min(moved, key=lambda epoch: epoch.energy)
    assert asked.points == (best.params,)
    assert asked.state["first"] == 11
    assert "begins anew at epoch" in caplog.text
    caplog.clear()
    assert min(epoch.energy for epoch in run(optimiser, 80, history=moved)) < 2e-3
    assert caplog.text.count("begins anew") == 1
