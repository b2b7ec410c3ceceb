"""Drawing the picture of saved results again: in another format, for dark pages, or as wide as a column of a paper."""

from __future__ import annotations

from pathlib import PurePosixPath

from qjobs.errors import InvalidInput
from qjobs.experiments.circuit_list import CircuitList, expand_circuit_list
from qjobs.experiments.sweep import SweepSpec, expand_sweep
from qjobs.reports.pictures import PictureFormat
from qjobs.reports.run_report import report_again
from qjobs.results.store import SavedRun

__all__ = ["drawn", "format_of"]


def format_of(place: str) -> PictureFormat:
    """The format that the end of a file's name asks for.

    Raises:
        InvalidInput: It is none of ours.
    """
    suffix = PurePosixPath(place).suffix.removeprefix(".").lower()
    try:
        return PictureFormat(suffix)
    except ValueError:
        known = ", ".join(f".{each}" for each in PictureFormat)
        raise InvalidInput(f"the name of a picture ends with one of {known}, not {place!r}", field="picture") from None


def drawn(run: SavedRun, picture_format: PictureFormat, *, dark: bool = False, for_paper: bool = False) -> bytes:
    """The picture of a sweep or a circuit list, from its data frame and its spec.

    Raises:
        InvalidInput: It is of another kind, it has no picture, or its circuits are not where they were.
    """
    spec = run.record["spec"]
    match run.record["kind"]:
        case "sweep":
            report = report_again(expand_sweep(SweepSpec.model_validate(spec)), run.frame)
        case "circuits":
            report = report_again(expand_circuit_list(CircuitList.model_validate(spec)), run.frame)
        case kind:
            kept = f"; the one that was saved is {run.picture}" if run.picture else ""
            raise InvalidInput(f"the picture of a {kind} run is not drawn again{kept}", field="picture")
    picture = report.drawn(picture_format, dark=dark, for_paper=for_paper)
    if picture is None:
        raise InvalidInput(f"there is no picture of {run.name}: {report.why_no_picture}", field="picture")
    return picture
