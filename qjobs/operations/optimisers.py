"""Optimisers that are asked: which points are evaluated next follows from what was recorded, and from nothing else.

`ask` is a pure function of the history, so that a run that is killed or suspended goes on as if nothing had happened.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from qjobs.ledger.epochs import Epoch, Params
from qjobs.model import JsonValue

__all__ = ["Asked", "Cobyla", "Optimiser", "Spsa"]

logger = logging.getLogger(__name__)

_ALPHA = 0.602
_GAMMA = 0.101
"""Exponents of SPSA's gains (Spall 1998, section III.B)."""
_NO_END = 100_000
"""More evaluations than a run has epochs: the caller ends the run, not COBYLA."""
_SAME_POINT = 1e-9
"""Radians: another machine's arithmetic may differ in the last bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Points to evaluate in one batch, the first where the optimiser stands; and its state, as JSON values."""

    points: tuple[Params, ...]
    state: Mapping[str, JsonValue]


class Optimiser(Protocol):
    """Chooses points from the epochs that are recorded."""

    def ask(self, history: Sequence[Epoch]) -> Asked | None:
        """What to evaluate next; None where it has converged. The same history gets the same answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spsa:
    """Simultaneous perturbation stochastic approximation.

    Each epoch evaluates the point where it stands, and pairs of points on both sides of it in random directions. The
    first epoch has `calibration` pairs: the gain follows from their differences, less what the standard errors explain,
    so that the first steps change each parameter by about `step`. No step changes one by more than twice that.
    Spall, "Implementation of the simultaneous perturbation algorithm for stochastic optimization", IEEE Trans. Aerosp.
    Electron. Syst. 34, 817 (1998).

    Args:
        start: Where it begins.
        seed: Of the directions.
        step: In radians.
        perturbation: Distance of a pair's points from the middle in each parameter, in radians.
        pairs: Pairs in an epoch.
        calibration: Pairs in the first epoch.
        stability: Epochs during which the steps hardly shrink (Spall's A).
    """

    start: Params
    seed: int
    step: float = 0.2
    perturbation: float = 0.15
    pairs: int = 1
    calibration: int = 10
    stability: float = 10.0

    def ask(self, history: Sequence[Epoch]) -> Asked:
        """The point, and pairs around it; it never converges by itself."""
        if not history:
            rng = np.random.default_rng(self.seed)
            return self._around(np.array(self.start), rng, self.calibration, 0, None)
        last = history[-1]
        state: dict[str, Any] = dict(last.state)
        rng = np.random.default_rng()
        rng.bit_generator.state = state["rng"]
        k = int(state["iteration"])
        slopes = self._slopes(last, k)
        gain = state["gain"] if state["gain"] is not None else self._gain(last, slopes, k)
        directions = np.array(state["directions"], dtype=float)
        moves = gain / math.pow(k + 1 + self.stability, _ALPHA) * slopes
        moves = np.clip(moves, -2 * self.step, 2 * self.step)
        point = np.array(last.params) - (moves[:, None] * directions).mean(axis=0)
        return self._around(point, rng, self.pairs, k + 1, gain)

    def _around(
        self, point: np.ndarray, rng: np.random.Generator, pairs: int, iteration: int, gain: float | None
    ) -> Asked:
        directions = 2 * rng.integers(0, 2, size=(pairs, len(point))) - 1
        distance = self._distance(iteration)
        points = [_params(point)]
        for direction in directions:
            points.append(_params(point + distance * direction))
            points.append(_params(point - distance * direction))
        state: dict[str, JsonValue] = {
            "optimiser": "spsa",
            "iteration": iteration,
            "gain": gain,
            "directions": directions.tolist(),
            "rng": _plain(rng.bit_generator.state),
        }
        return Asked(points=tuple(points), state=state)

    def _distance(self, iteration: int) -> float:
        return self.perturbation / math.pow(iteration + 1, _GAMMA)

    def _slopes(self, epoch: Epoch, iteration: int) -> np.ndarray:
        """The slope along each direction, in energy per radian."""
        energies = np.array(epoch.energies[1:])
        slopes: np.ndarray = (energies[0::2] - energies[1::2]) / (2 * self._distance(iteration))
        return slopes

    def _gain(self, epoch: Epoch, slopes: np.ndarray, iteration: int) -> float:
        """Spall's a: the gain with which the first step is about `step`."""
        errors = np.array([error or 0.0 for error in epoch.std_errors[1:]])
        noise = float(np.mean(errors[0::2] ** 2 + errors[1::2] ** 2)) / (2 * self._distance(iteration)) ** 2
        measured = float(np.mean(slopes**2))
        slope = math.sqrt(max(measured - noise, measured / 16))
        first = self.step * math.pow(1 + self.stability, _ALPHA)
        return first / slope if slope > 0 else first


@dataclass(frozen=True, slots=True, kw_only=True)
class Cobyla:
    """COBYLA as scipy has it: linear models on a simplex in a trust region, one evaluation an epoch.

    scipy's has no state that could be kept, so it is run from its start again at every call, and given the recorded
    energies. If it asks for other points than those that were recorded (another version of scipy, another processor),
    it begins anew at the best of them.

    Args:
        start: Where it begins.
        step: Size of the first simplex, in radians (scipy's `rhobeg`).
        tolerance: Size of the simplex at which it has converged, in radians.
    """

    start: Params
    step: float = 0.5
    tolerance: float = 1e-3

    def ask(self, history: Sequence[Epoch]) -> Asked | None:
        """One point; None where the simplex is as small as `tolerance`."""
        state: dict[str, Any] = dict(history[-1].state) if history else {"first": 1, "start": list(self.start)}
        first = int(state["first"])
        start = _floats(state["start"])
        try:
            point = self._next(start, history[first - 1 :])
        except _OtherPointError:
            best = min(history, key=lambda epoch: epoch.energy)
            words = "COBYLA cannot be replayed here; it begins anew at epoch %d, energy %.9g"
            logger.warning(words, best.number, best.energy)
            first, start, point = len(history) + 1, best.params, best.params
        if point is None:
            return None
        made: dict[str, JsonValue] = {"optimiser": "cobyla", "first": first, "start": list(start)}
        return Asked(points=(point,), state=made)

    def _next(self, start: Params, history: Sequence[Epoch]) -> Params | None:
        """The point after those of the history; None where there is none."""
        from scipy.optimize import minimize

        replay = _Replay(history=history)
        options = {"rhobeg": self.step, "maxiter": _NO_END}
        try:
            minimize(replay.energy, np.array(start), method="COBYLA", tol=self.tolerance, options=options)
        except _NextPoint as found:
            return found.point
        return None


@dataclass(slots=True, kw_only=True)
class _Replay:
    """The objective that COBYLA sees: recorded energies in their order, and then nothing."""

    history: Sequence[Epoch]
    used: int = field(default=0)

    def energy(self, point: np.ndarray) -> float:
        if self.used == len(self.history):
            raise _NextPoint(_params(point))
        epoch = self.history[self.used]
        if not np.allclose(point, epoch.params, rtol=0, atol=_SAME_POINT):
            raise _OtherPointError
        self.used += 1
        return epoch.energy


class _NextPoint(Exception):
    """Leaves scipy's loop with the point that it asks for."""

    def __init__(self, point: Params) -> None:
        super().__init__()
        self.point = point


class _OtherPointError(Exception):
    """COBYLA asks for another point than the recorded one."""


def _params(values: np.ndarray) -> Params:
    return tuple(float(value) + 0.0 for value in values)


def _floats(values: Sequence[float]) -> Params:
    return tuple(float(value) for value in values)


def _plain(value: Any) -> Any:
    """A state of numpy's generators with Python's own numbers."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    return int(value) if isinstance(value, np.integer) else value
