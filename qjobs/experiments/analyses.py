"""Analyses: a formula that is fitted to what a sweep measured along one parameter. Entry-point group `qjobs.analyses`.

A fit starts from the best of a coarse search, in which the amplitudes are solved for exactly; lmfit does the rest.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from qjobs.errors import InvalidInput
from qjobs.experiments.forms import AnalysisInput
from qjobs.model import JsonValue
from qjobs.plugins import Registry, nearest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = NDArray[np.float64]

__all__ = [
    "ANALYSES",
    "Analysis",
    "AnalysisPlan",
    "Fit",
    "Fitted",
    "cosine",
    "exponential_decay",
    "fit",
    "load_analysis",
    "parabola",
    "plan_analysis",
    "rabi",
    "ramsey",
    "t1",
]

logger = logging.getLogger(__name__)

ANALYSES: Final = Registry(
    group="qjobs.analyses",
    what="analysis",
    name_field="analysis.name",
    arguments_field="analysis.arguments",
)

_STEPS_PER_PERIOD = 8
"""Frequencies tried within one period over the whole range: a peak of least squares is about one of them wide."""
_MOST_FREQUENCIES = 4000
_MOST_SEARCHED = 1000
"""Places that a fit's start is looked for with; of more, every n-th is. The fit itself takes all."""
_N_DECAYS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """A formula and how to find where its fit begins.

    Args:
        name: For messages and legends.
        formula: As people write it, in x and the names of its parameters.
        model: Values of the formula at x; its other arguments are the parameters, by these names.
        terms: For the search: at x and one choice of the nonlinear parameters, the functions whose sum with free
            weights the formula is. Shape (n, len(x)).
        choices: For the search: the choices to try at these x; one row each.
        start: Starting values from one choice and its weights.
        at_least: Parameters that have a lower limit, with it.
        derived: Further values, as expressions in the parameters: their errors follow from those of the fit.
        units: Units of parameters and further values, in which x stands for the unit of x: `x`, `1/x`, `rad`. Those
            that are left out have the unit of what was measured.
    """

    name: str
    formula: str
    model: Callable[..., Values]
    terms: Callable[[Values, Sequence[float]], Values]
    choices: Callable[[Values], list[tuple[float, ...]]]
    start: Callable[[Sequence[float], Values], dict[str, float]]
    at_least: Mapping[str, float]
    derived: Mapping[str, str]
    units: Mapping[str, str] = field(default_factory=dict)

    @property
    def parameter_names(self) -> list[str]:
        """Names of the parameters that are fitted, in the order of the formula."""
        return [name for name in inspect.signature(self.model).parameters if name != "x"]

    def unit_of(self, name: str, unit: str) -> str:
        """The unit of a parameter where x has this unit; empty where it is not known."""
        wanted = self.units.get(name, "")
        if "x" not in wanted:
            return wanted
        return wanted.replace("x", unit) if unit else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A parameter with its standard error; NaN where the data do not tell it."""

    name: str
    value: float
    stderr: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What a fit found; or why there is none, in `problem`.

    `reduced_chi_square` is about 1 where the formula describes data whose errors are known; NaN where none are.
    `curve` gives the formula's values at any x.
    """

    analysis: Analysis
    parameters: tuple[Fitted, ...] = ()
    reduced_chi_square: float = math.nan
    problem: str = ""

    def curve(self, x: Values) -> Values:
        """The formula at these x; NaN where there is no fit."""
        if self.problem:
            return np.full(len(x), math.nan)
        given = {one.name: one.value for one in self.parameters if one.name not in self.analysis.derived}
        return np.asarray(self.analysis.model(x, **given), dtype=np.float64)

    def lines(self) -> list[str]:
        """The fit in sentences, one a line."""
        if self.problem:
            return [f"no fit of {self.analysis.name}: {self.problem}"]
        found = [f"fit of {self.analysis.name}: {self.analysis.formula}"]
        for one in self.parameters:
            error = "error unknown" if math.isnan(one.stderr) else f"± {one.stderr:.2g}"
            found.append(f"{one.name} = {one.value:.6g} {error}")
        if not math.isnan(self.reduced_chi_square):
            found.append(f"reduced chi square: {self.reduced_chi_square:.2f}")
        return found


def load_analysis(name: str, arguments: Mapping[str, JsonValue]) -> Analysis:
    """Build a registered analysis.

    Raises:
        InvalidInput: There is none of that name, or it does not take these arguments.
    """
    analysis: Analysis = ANALYSES.build(name, arguments)
    return analysis


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisPlan:
    """An analysis, checked against a sweep: along which axis, of which observables, from where it begins."""

    analysis: Analysis
    axis: str
    observables: tuple[str, ...]
    start: Mapping[str, float]


def plan_analysis(
    wish: AnalysisInput, n_values: Mapping[str, int], observables: Sequence[str], *, together: bool, is_grid: bool
) -> AnalysisPlan:
    """Check an analysis against a sweep, before anything of it is run.

    Args:
        wish: As people give it.
        n_values: How many values each axis has, in the order of the sweep.
        observables: Columns of values; none where counts are asked for.
        together: The n-th values of all axes belong together, so that a fit may go along any of them.
        is_grid: Each value of an axis is there with each of the others, so that a fit may go along one that is named:
            the others count as repetitions.

    Raises:
        InvalidInput: There is no such analysis, axis, observable or parameter; several axes vary and none is named; the
            points are too few for the parameters; or there are no values.
    """
    analysis = load_analysis(wish.name, wish.arguments)
    if not observables:
        raise InvalidInput(
            f"the analysis {wish.name!r} fits values, and this sweep asks for counts; name what is measured, as in "
            "observables: [{name: p1, terms: 0.5 - 0.5*Z0}], the probability of 1 on qubit 0",
            field="analysis",
        )
    axis = _axis(wish, n_values, together=together, is_grid=is_grid)
    names = analysis.parameter_names
    if n_values[axis] < len(names):
        raise InvalidInput(
            f"the analysis {wish.name!r} has {len(names)} parameters ({', '.join(names)}), and the axis {axis!r} has "
            f"{n_values[axis]} values; give it more",
            field="axes",
        )
    if wish.observable is not None:
        _check_known("observable", wish.observable, observables, "analysis.observable")
    for name, value in wish.start.items():
        _check_known("parameter", name, names, "analysis.start", of=f" of the analysis {wish.name!r}")
        if value < analysis.at_least.get(name, -math.inf):
            lowest = analysis.at_least[name]
            raise InvalidInput(f"{name} must start at {lowest:g} or above, not {value:g}", field="analysis.start")
    chosen = tuple(observables) if wish.observable is None else (wish.observable,)
    return AnalysisPlan(analysis=analysis, axis=axis, observables=chosen, start=dict(wish.start))


def _axis(wish: AnalysisInput, n_values: Mapping[str, int], *, together: bool, is_grid: bool) -> str:
    if wish.axis is not None:
        _check_known("axis", wish.axis, n_values, "analysis.axis")
    varied = [name for name, count in n_values.items() if count > 1]
    if len(varied) > 1 and not together and not (is_grid and wish.axis is not None):
        named = f"; or name it, as in axis: {varied[0]}, and the others count as repetitions" if is_grid else ""
        raise InvalidInput(
            f"the analysis {wish.name!r} goes along one axis, and {len(varied)} vary ({', '.join(varied)}); give the "
            f"others one value each, or let them vary together (mode: zip){named}",
            field="analysis",
        )
    if wish.axis is None and len(varied) > 1:
        raise InvalidInput(
            f"several axes vary together ({', '.join(varied)}); say along which one the analysis {wish.name!r} goes, "
            f"as in axis: {varied[0]}",
            field="analysis.axis",
        )
    axis = wish.axis or (varied or list(n_values) or [""])[0]
    if axis not in varied:
        raise InvalidInput(f"the analysis {wish.name!r} needs an axis with several values", field="axes")
    return axis


def _check_known(what: str, name: str, known: Collection[str], field_name: str, of: str = "") -> None:
    if name not in known:
        words = nearest(name, known) or ";"
        raise InvalidInput(f"there is no {what} {name!r}{of}{words} there are: {', '.join(known)}", field=field_name)


def fit(analysis: Analysis, x: Values, y: Values, stderr: Values, start: Mapping[str, float] | None = None) -> Fit:
    """Fit a formula by least squares; a fit that cannot be made says why, and never raises.

    Args:
        analysis: What to fit.
        x: Where it was measured; in any order, and more than once at one place if you like. Shape (n,).
        y: What was measured there. NaN counts as not measured. Shape (n,).
        stderr: Its standard errors. If all are positive, they are the weights, and the errors of the parameters follow
            from them; else all points weigh the same, and the errors follow from the scatter. Shape (n,).
        start: Where parameters begin, by name; a value is searched for those that are left out.
    """
    import lmfit

    there = np.isfinite(x) & np.isfinite(y)
    x, y, stderr = x[there], y[there], stderr[there]
    model = lmfit.Model(analysis.model, independent_vars=["x"])
    n_places = len(np.unique(x))
    if n_places < len(model.param_names):
        words = f"it has {len(model.param_names)} parameters, and results are at {n_places} places"
        return Fit(analysis=analysis, problem=words)
    weighted = bool(np.all(np.isfinite(stderr) & (stderr > 0)))
    weights = 1 / stderr if weighted else np.ones(len(y))
    parameters = model.make_params(**{**_start(analysis, x, y, weights), **(start or {})})
    for name, lowest in analysis.at_least.items():
        parameters[name].min = lowest
    for name, expression in analysis.derived.items():
        parameters.add(name, expr=expression)
    try:
        found = model.fit(y, parameters, x=x, weights=weights, scale_covar=not weighted)
    except (ValueError, TypeError, ArithmeticError, np.linalg.LinAlgError) as error:
        logger.info("no fit of %s: %s", analysis.name, error)
        return Fit(analysis=analysis, problem=str(error))
    if not found.success:
        return Fit(analysis=analysis, problem=" ".join(str(found.message).split()))
    return Fit(
        analysis=analysis,
        parameters=tuple(_fitted(name, parameter) for name, parameter in found.params.items()),
        reduced_chi_square=float(found.redchi) if weighted and found.nfree > 0 else math.nan,
    )


def _fitted(name: str, parameter: Any) -> Fitted:
    stderr = math.nan if parameter.stderr is None else float(parameter.stderr)
    return Fitted(name=name, value=float(parameter.value), stderr=stderr)


def _start(analysis: Analysis, x: Values, y: Values, weights: Values) -> dict[str, float]:
    """The best of all choices, each with the weights of its terms that suit it best."""
    places = np.unique(x)
    if len(places) > _MOST_SEARCHED:
        chosen = np.isin(x, places[:: math.ceil(len(places) / _MOST_SEARCHED)])
        x, y, weights = x[chosen], y[chosen], weights[chosen]
    best = math.inf
    start: dict[str, float] = {}
    for choice in analysis.choices(x):
        terms = analysis.terms(x, choice)
        solved = np.linalg.lstsq((terms * weights).T, y * weights, rcond=None)
        amplitudes = np.asarray(solved[0], dtype=np.float64)
        left = float(np.sum((weights * (y - amplitudes @ terms)) ** 2))
        if left < best:
            best = left
            start = analysis.start(choice, amplitudes)
    return start


def _frequencies(x: Values) -> list[float]:
    """From half a period over the range, up to one period in two of the smallest distances (Nyquist)."""
    places = np.unique(x)
    extent = float(places[-1] - places[0])
    highest = 0.5 / float(np.diff(places).min())
    count = min(_MOST_FREQUENCIES, max(2, math.ceil(_STEPS_PER_PERIOD * extent * highest)))
    return [float(value) for value in np.linspace(0.5 / extent, highest, count)]


def _decays(x: Values) -> list[float]:
    """Times of decay, from less than the smallest distance to many times the range; all positive."""
    places = np.unique(x)
    extent = float(places[-1] - places[0])
    return [float(value) for value in np.geomspace(0.3 * float(np.diff(places).min()), 10 * extent, _N_DECAYS)]


def _angle(cosine_weight: float, sine_weight: float) -> tuple[float, float]:
    """Amplitude and phase of c cos(w) + s sin(w), written as A cos(w + phase)."""
    return math.hypot(cosine_weight, sine_weight), math.atan2(-sine_weight, cosine_weight)


def _waves(x: Values, frequency: float) -> tuple[Values, Values]:
    angle = 2 * math.pi * frequency * x
    return np.cos(angle), np.sin(angle)


def cosine() -> Analysis:
    """`offset + amplitude cos(2 pi frequency x + phase)`: the phase in radians, the frequency per unit of x."""

    def model(x: Values, amplitude: float, frequency: float, phase: float, offset: float) -> Values:
        return offset + amplitude * np.cos(2 * math.pi * frequency * x + phase)

    def start(choice: Sequence[float], weights: Values) -> dict[str, float]:
        amplitude, phase = _angle(weights[0], weights[1])
        return {"amplitude": amplitude, "frequency": choice[0], "phase": phase, "offset": float(weights[2])}

    return Analysis(
        name="cosine",
        formula="offset + amplitude cos(2 pi frequency x + phase)",
        model=model,
        terms=lambda x, choice: np.array([*_waves(x, choice[0]), np.ones(len(x))]),
        choices=lambda x: [(frequency,) for frequency in _frequencies(x)],
        start=start,
        at_least={"frequency": 0.0, "amplitude": 0.0},
        derived={"period": "1/frequency"},
        units={"frequency": "1/x", "phase": "rad", "period": "x"},
    )


def rabi() -> Analysis:
    """`offset - amplitude cos(2 pi x / period)`: driven from one state to the other and back in a period.

    The amplitude is positive where the value rises at first. `pi_pulse` is the x of the first full turn over.
    """

    def model(x: Values, amplitude: float, period: float, offset: float) -> Values:
        return offset - amplitude * np.cos(2 * math.pi * x / period)

    def start(choice: Sequence[float], weights: Values) -> dict[str, float]:
        return {"amplitude": float(-weights[0]), "period": 1 / choice[0], "offset": float(weights[1])}

    return Analysis(
        name="rabi",
        formula="offset - amplitude cos(2 pi x / period)",
        model=model,
        terms=lambda x, choice: np.array([_waves(x, choice[0])[0], np.ones(len(x))]),
        choices=lambda x: [(frequency,) for frequency in _frequencies(x)],
        start=start,
        at_least={"period": 0.0},
        derived={"pi_pulse": "period/2"},
        units={"period": "x", "pi_pulse": "x"},
    )


def ramsey() -> Analysis:
    """`offset + amplitude exp(-x / t2) cos(2 pi frequency x + phase)`: the frequency, per unit of x, is a detuning."""

    def model(x: Values, amplitude: float, frequency: float, phase: float, t2: float, offset: float) -> Values:
        return offset + amplitude * np.exp(-x / t2) * np.cos(2 * math.pi * frequency * x + phase)

    def terms(x: Values, choice: Sequence[float]) -> Values:
        frequency, decay = choice
        fall = np.exp(-x / decay)
        return np.array([*(wave * fall for wave in _waves(x, frequency)), np.ones(len(x))])

    def start(choice: Sequence[float], weights: Values) -> dict[str, float]:
        amplitude, phase = _angle(weights[0], weights[1])
        return {
            "amplitude": amplitude,
            "frequency": choice[0],
            "phase": phase,
            "t2": choice[1],
            "offset": float(weights[2]),
        }

    return Analysis(
        name="ramsey",
        formula="offset + amplitude exp(-x / t2) cos(2 pi frequency x + phase)",
        model=model,
        terms=terms,
        choices=lambda x: list(itertools.product(_frequencies(x), _decays(x)[::3])),
        start=start,
        at_least={"frequency": 0.0, "t2": 0.0, "amplitude": 0.0},
        derived={},
        units={"frequency": "1/x", "phase": "rad", "t2": "x"},
    )


def t1() -> Analysis:
    """`offset + amplitude exp(-x / t1)`: t1 in the unit of x."""

    def model(x: Values, amplitude: float, t1: float, offset: float) -> Values:
        return offset + amplitude * np.exp(-x / t1)

    def start(choice: Sequence[float], weights: Values) -> dict[str, float]:
        return {"amplitude": float(weights[0]), "t1": choice[0], "offset": float(weights[1])}

    return Analysis(
        name="t1",
        formula="offset + amplitude exp(-x / t1)",
        model=model,
        terms=lambda x, choice: np.array([np.exp(-x / choice[0]), np.ones(len(x))]),
        choices=lambda x: [(decay,) for decay in _decays(x)],
        start=start,
        at_least={"t1": 0.0},
        derived={},
        units={"t1": "x"},
    )


def exponential_decay(n_qubits: int = 1) -> Analysis:
    """`amplitude p^x + offset`, as in randomized benchmarking; x counts Clifford gates.

    `error_per_clifford` is (1 - p) (d - 1) / d with d = 2^n_qubits: Magesan, Gambetta, Emerson, "Scalable and robust
    randomized benchmarking of quantum processes", Phys. Rev. Lett. 106, 180504 (arXiv:1009.3639).

    Raises:
        ValueError: `n_qubits` is below 1.
    """
    if isinstance(n_qubits, bool) or not isinstance(n_qubits, int) or n_qubits < 1:
        raise ValueError(f"n_qubits must be a number from 1 on, not {n_qubits!r}")
    dimension = 2**n_qubits

    def model(x: Values, amplitude: float, p: float, offset: float) -> Values:
        return offset + amplitude * np.power(p, x)

    def start(choice: Sequence[float], weights: Values) -> dict[str, float]:
        return {"amplitude": float(weights[0]), "p": math.exp(-1 / choice[0]), "offset": float(weights[1])}

    return Analysis(
        name="exponential-decay",
        formula="amplitude p^x + offset",
        model=model,
        terms=lambda x, choice: np.array([np.exp(-x / choice[0]), np.ones(len(x))]),
        choices=lambda x: [(decay,) for decay in _decays(x)],
        start=start,
        at_least={"p": 0.0},
        derived={"error_per_clifford": f"(1 - p)*{dimension - 1}/{dimension}"},
    )


def parabola() -> Analysis:
    """`extremum + curvature (x - centre)^2`."""

    def model(x: Values, centre: float, extremum: float, curvature: float) -> Values:
        return extremum + curvature * (x - centre) ** 2

    def start(_: Sequence[float], weights: Values) -> dict[str, float]:
        constant, slope, curvature = (float(weight) for weight in weights)
        centre = -slope / (2 * curvature) if curvature else 0.0
        return {"centre": centre, "extremum": constant - curvature * centre**2, "curvature": curvature}

    return Analysis(
        name="parabola",
        formula="extremum + curvature (x - centre)^2",
        model=model,
        terms=lambda x, _: np.array([np.ones(len(x)), x, x**2]),
        choices=lambda _: [()],
        start=start,
        at_least={},
        derived={},
        units={"centre": "x", "curvature": "1/x^2"},
    )
