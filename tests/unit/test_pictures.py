"""Pictures: which kind the data choose, and what stands in them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.container import BarContainer

from qjobs.circuits.standard_errors import of_fraction
from qjobs.experiments import analyses
from qjobs.reports.figures import Look, Parameter, Shown
from qjobs.reports.pictures import Picture, PictureFormat, picture_of, render

HEADS = {PictureFormat.PNG: b"\x89PNG", PictureFormat.SVG: b"<?xml", PictureFormat.PDF: b"%PDF"}


def frame_of(
    points: Sequence[tuple[float, ...]],
    names: Sequence[str],
    *,
    backends: Sequence[str] = ("aer",),
    repetitions: int = 1,
    measured: Sequence[str] = ("z",),
    stderr: float = 0.05,
) -> pd.DataFrame:
    """Rows with values that tell where they are from."""
    rows = []
    for (number, backend), repetition, (point, values) in itertools.product(
        enumerate(backends), range(repetitions), enumerate(points)
    ):
        row: dict[str, Any] = {"backend": backend, "point": point, "repetition": repetition}
        row |= dict(zip(names, values, strict=True))
        for place, column in enumerate(measured):
            row[column] = sum(values) + number + repetition + 10 * place
            row[f"{column}_stderr"] = stderr
        rows.append(row)
    return pd.DataFrame(rows)


def shown(frame: pd.DataFrame, names: Sequence[str], measured: Sequence[str] = ("z",), **more: Any) -> Shown:
    parameters = [Parameter(name=name, label=f"the {name}", unit="us") for name in names]
    return Shown(title="title", frame=frame, parameters=parameters, measured=measured, **more)


def figure_of(shown: Shown, look: Look | None = None) -> Any:
    picture = picture_of(shown, look)
    assert isinstance(picture, Picture)
    return picture.figure


def panels(figure: Any) -> list[Any]:
    """The axes that are no scale of colours."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


GRID = list(itertools.product((0.0, 1.0, 2.0), (5.0, 6.0)))


def test_one_parameter() -> None:
    """Points with error bars, no line between them; label and unit at the axis."""
    figure = figure_of(shown(frame_of([(x,) for x in (3.0, 1.0, 2.0)], ["x"]), ["x"]))
    (axes,) = panels(figure)
    (bars,) = axes.containers
    assert bars.lines[0].get_linestyle() == "None"
    assert bars.lines[0].get_xdata().tolist() == [1.0, 2.0, 3.0]
    assert [axes.get_xlabel(), axes.get_ylabel(), axes.get_legend()] == ["the x (us)", "z", None]
    assert np.ptp(bars.lines[2][0].get_segments()[0][:, 1]) == pytest.approx(0.1)


def test_exact_values() -> None:
    """Exact values are joined by a line and have no bars."""
    figure = figure_of(shown(frame_of([(1.0,), (2.0,)], ["x"], stderr=0.0), ["x"]))
    (bars,) = panels(figure)[0].containers
    assert bars.lines[0].get_linestyle() == "-"
    assert not bars.has_yerr


def test_repetitions() -> None:
    """Repetitions are averaged, with an error that is smaller by the root of their number; each is there, faint."""
    figure = figure_of(shown(frame_of([(1.0,), (2.0,)], ["x"], repetitions=4), ["x"]))
    (axes,) = panels(figure)
    mean, singles = axes.containers[0].lines[0], axes.lines[-1]
    assert mean.get_ydata().tolist() == [2.5, 3.5]
    assert np.ptp(axes.containers[0].lines[2][0].get_segments()[0][:, 1]) == pytest.approx(0.05)
    assert (len(singles.get_xdata()), singles.get_alpha()) == (8, 0.25)


def test_backends_and_observables() -> None:
    """One panel for each observable, one colour for each backend, one axis for all."""
    frame = frame_of([(1.0,), (2.0,)], ["x"], backends=("a", "b"), measured=("z", "y"))
    upper, lower = panels(figure_of(shown(frame, ["x"], ("z", "y"))))
    assert upper.get_shared_x_axes().joined(upper, lower)
    assert [text.get_text() for text in upper.get_legend().get_texts()] == ["a", "b"]
    assert [axes.get_ylabel() for axes in (upper, lower)] == ["z", "y"]


def test_logarithmic() -> None:
    """Values spaced in their logarithm have a logarithmic axis."""
    wide = [(x,) for x in np.geomspace(0.1, 1000.0, 9)]
    assert panels(figure_of(shown(frame_of(wide, ["x"]), ["x"])))[0].get_xscale() == "log"
    even = [(float(x),) for x in range(1, 20)]
    assert panels(figure_of(shown(frame_of(even, ["x"]), ["x"])))[0].get_xscale() == "linear"


def test_together() -> None:
    """Parameters whose n-th values go together are drawn along the first."""
    frame = frame_of([(1.0, 8.0), (2.0, 9.0)], ["x", "y"])
    (axes,) = panels(figure_of(shown(frame, ["x", "y"], one_by_one=True)))
    assert axes.get_xlabel() == "the x (us)"


def test_maps() -> None:
    """Two parameters make a map for each backend, all of an observable on one scale, with the best point marked."""
    frame = frame_of(GRID, ["x", "y"], backends=("a", "b"), measured=("z", "y2"))
    found = panels(figure_of(shown(frame, ["x", "y"], ("z", "y2"), marked={"b": {"x": 2.0, "y": 6.0}})))
    assert len(found) == 4
    meshes = [axes.collections[0] for axes in found]
    assert meshes[0].get_array().tolist() == [[5.0, 6.0, 7.0], [6.0, 7.0, 8.0]]
    assert meshes[0].get_clim() == meshes[1].get_clim() == (5.0, 9.0)
    assert meshes[2].get_clim() == meshes[3].get_clim() == (15.0, 19.0)
    assert [axes.get_title() for axes in found] == ["a", "b", "", ""]
    assert [len(axes.lines) for axes in found] == [0, 1, 0, 0]
    assert meshes[0].get_cmap().name == "viridis"


def test_gaps_in_a_map() -> None:
    """Missing points of a grid are left white; they stop nothing."""
    frame = frame_of(GRID, ["x", "y"])
    frame.loc[2, "z"] = np.nan
    (axes,) = panels(figure_of(shown(frame, ["x", "y"])))
    assert np.ma.getmaskarray(axes.collections[0].get_array()).sum() == 1


def test_pairs() -> None:
    """Three parameters, or two that make no grid, have a panel for each pair."""
    rng = np.random.default_rng(1)
    names = ["x", "y", "w"]
    found = panels(figure_of(shown(frame_of(rng.random((40, 3)).tolist(), names, backends=("a", "b")), names)))
    assert [axes.get_xlabel() for axes in found[3:]] == ["the x (us)", "the x (us)", "the y (us)"]
    assert [axes.get_ylabel() for axes in found[:3]] == ["the y (us)", "the w (us)", "the w (us)"]
    assert len(found) == 6
    (cloud,) = panels(figure_of(shown(frame_of(rng.random((40, 2)).tolist(), ["x", "y"]), ["x", "y"])))
    assert len(cloud.collections[0].get_offsets()) == 40


def test_parallel() -> None:
    """More than four parameters are drawn as parallel lines; of very many, some."""
    names = [f"p{number}" for number in range(6)]
    points = np.random.default_rng(2).random((3000, 6)).tolist()
    (axes,) = panels(figure_of(shown(frame_of(points, names), names)))
    assert len(axes.collections[0].get_segments()) == 500
    assert len(axes.get_xticklabels()) == 6


def counted(n_points: int, *, backends: Sequence[str] = ("aer",)) -> pd.DataFrame:
    frame = frame_of([(float(x),) for x in range(n_points)], ["x"], backends=backends)
    counts = []
    for point in frame["point"]:
        counts.append(json.dumps({"0" * 30: 70, "1" * 30: 30 - point, format(point + 2**20, "030b"): point}))
    return frame.drop(columns=["z", "z_stderr"]).assign(counts=counts)


def test_few_counts() -> None:
    """Counts of a few points are bars: the most frequent outcomes first, each a fraction of all shots."""
    (axes,) = panels(figure_of(shown(counted(3), ["x"], ())))
    bars = [each for each in axes.containers if isinstance(each, BarContainer)]
    assert [len(each) for each in bars] == [4, 4, 4]
    assert bars[0][0].get_height() == pytest.approx(0.7)
    never_seen = bars[0].errorbar.lines[2][0].get_segments()[3]
    assert np.ptp(never_seen[:, 1]) == pytest.approx(2 * of_fraction(0, 100))
    assert axes.get_xticklabels()[0].get_text() == "00000000...00000000"
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    assert names == ["the x = 0 us", "the x = 1 us", "the x = 2 us"]


def test_many_counts() -> None:
    """Counts of many points are a map of the top outcomes along the parameter."""
    found = panels(figure_of(shown(counted(30, backends=("a", "b")), ["x"], ())))
    assert [axes.collections[0].get_array().shape for axes in found] == [(12, 30), (12, 30)]
    assert found[1].get_xlabel() == "the x (us)"


def test_fit() -> None:
    """A fit is drawn through the points and named."""
    x = np.linspace(0.0, 9.0, 30)
    frame = frame_of([(value,) for value in x], ["x"])
    frame["z"] = 0.5 + 0.4 * np.exp(-x / 3)
    found = analyses.fit(analyses.t1(), x, frame["z"].to_numpy(), frame["z_stderr"].to_numpy())
    (axes,) = panels(figure_of(shown(frame, ["x"], fits={("aer", "z"): found})))
    assert len(axes.lines[-1].get_xdata()) == 400
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["fit: t1"]


def test_long_names() -> None:
    """Names that are too long for a row stand below each other, and do not make the panel narrow."""
    x = np.linspace(0.0, 9.0, 30)
    names = ["aer/depolarizing_1q=0.01/readout_error=0.02", "aer/depolarizing_1q=0.02/readout_error=0.02"]
    frame = pd.concat([frame_of([(value,) for value in x], ["x"]).assign(backend=name) for name in names])
    figure = figure_of(shown(frame, ["x"]))
    figure.draw_without_rendering()
    (axes,) = panels(figure)
    assert axes.get_position().width > 0.8


def test_nothing() -> None:
    """Where no row has a result, the words say so."""
    frame = frame_of([(1.0,), (2.0,)], ["x"]).assign(z=np.nan)
    assert picture_of(shown(frame, ["x"])) == "There is no picture: none of 2 rows has a result."


def test_one_point() -> None:
    """A single point is drawn too, and so is one without parameters."""
    for names in (["x"], []):
        frame = frame_of([(1.0,) * len(names)], names)
        assert len(panels(figure_of(shown(frame, names)))) == 1


@pytest.mark.parametrize("picture_format", PictureFormat)
@pytest.mark.parametrize("look", [Look(), Look(dark=True), Look(for_paper=True)], ids=["light", "dark", "paper"])
def test_files(picture_format: PictureFormat, look: Look) -> None:
    """Each format and look is written, and twice the same gives the same bytes."""
    make = lambda: render(figure_of(shown(frame_of(GRID, ["x", "y"]), ["x", "y"]), look), picture_format)  # noqa: E731
    written = make()
    assert written.startswith(HEADS[picture_format])
    assert written == make()


def test_looks() -> None:
    """A dark picture is dark; one for a paper is a column wide."""
    frame = frame_of(GRID, ["x", "y"])
    dark = figure_of(shown(frame, ["x", "y"]), Look(dark=True))
    assert to_hex(dark.get_facecolor()) == "#1b1b1f"
    assert figure_of(shown(frame, ["x", "y"]), Look(for_paper=True)).get_figwidth() == 3.4
    assert to_hex(figure_of(shown(frame, ["x", "y"])).get_facecolor()) == "#ffffff"


def listed(n_circuits: int) -> Shown:
    counts = [json.dumps({format(n % 4, "02b"): 60 + n % 40, "11": 40}) for n in range(n_circuits)]
    frame = pd.DataFrame({"backend": "aer", "point": range(n_circuits), "counts": counts})
    return Shown(title="list", frame=frame, names={n: f"circuit {n}" for n in range(n_circuits)})


def test_histograms() -> None:
    """Each circuit of a short list has a histogram of its own, on one scale that shows all of it."""
    found = [axes for axes in panels(figure_of(listed(5))) if axes.axison]
    assert [axes.get_title() for axes in found] == [f"circuit {n}" for n in range(5)]
    assert [len(axes.get_xticklabels()) for axes in found] == [2, 2, 2, 1, 2]
    assert {axes.get_ylim() for axes in found} == {found[0].get_ylim()}
    assert found[0].get_ylim()[0] == 0
    assert found[0].get_ylim()[1] > 1


def test_many_circuits() -> None:
    """Many circuits make a map of their outcomes."""
    (axes,) = panels(figure_of(listed(40)))
    assert axes.collections[0].get_array().shape == (4, 40)
    assert axes.get_xlabel() == "circuit, by its place in the list"


def test_left_out() -> None:
    """What a picture leaves out is said: outcomes, rows, points that are drawn together, rows of panels."""
    frame = frame_of([(float(x),) for x in range(1500)], ["x"])
    assert picture_of(shown(frame, ["x"])).left_out == (
        "of 1500 places along x neighbours are drawn together: their mean, from least to most",
    )
    (axes,) = panels(figure_of(shown(frame, ["x"])))
    assert len(axes.lines[0].get_xdata()) == 500
    wide = shown(counted(30), ["x"], (), left_out=["some are missing"])
    assert picture_of(wide).left_out == (
        "some are missing",
        "the 12 most frequent of 31 outcomes that were seen are drawn",
    )
    names = ["x", "y", "w", "v"]
    points = np.random.default_rng(1).random((20, 4)).tolist()
    four = picture_of(shown(frame_of(points, names, backends=("a", "b", "c")), names))
    assert four.left_out == ("z on c is not drawn: there is room for 2 rows of panels",)


def test_projections() -> None:
    """A grid of three parameters is drawn as maps of the mean over the third."""
    points = list(itertools.product((0.0, 1.0, 2.0), (5.0, 6.0), (0.0, 10.0)))
    found = panels(figure_of(shown(frame_of(points, ["x", "y", "w"]), ["x", "y", "w"])))
    assert found[0].collections[0].get_array().tolist() == [[10.0, 11.0, 12.0], [11.0, 12.0, 13.0]]
    assert len({axes.collections[0].get_clim() for axes in found}) == 1


def test_signs_of_formulas() -> None:
    """A name with a dollar is shown as it is."""
    frame = frame_of([(1.0,), (2.0,)], ["$a"])
    figure = figure_of(Shown(title="t", frame=frame, parameters=[Parameter(name="$a")], measured=["z"]))
    assert render(figure)
    assert panels(figure)[0].get_xlabel() == r"\$a"
