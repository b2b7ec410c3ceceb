"""`qjobs results`, `compare`, `list`, `tag` and `note`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from qjobs.cli.jobs import no_jobs_words
from qjobs.cli.options import Shared
from qjobs.cli.tables import columns_that_fit, print_json, print_table
from qjobs.errors import InvalidInput
from qjobs.results.store import Results, SavedRun

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 20
_LONGEST = 60
"""Characters of a cell."""
_DETAILS = frozenset({"point_id", "point", "device", "message", "cost", "job_id", "submitted_at", "completed_at"})
"""Columns that the short table leaves out."""


def results(name: str, *, as_csv: bool, as_parquet: bool, as_json: bool, out: str) -> int:
    """The saved results of a run: a summary, or all rows in a form that other programs read."""
    if as_csv + as_parquet + as_json > 1:
        raise InvalidInput("choose one of --csv, --parquet and --json", field="csv")
    if out != "-" and not (as_csv or as_parquet or as_json):
        raise InvalidInput("--out needs one of --csv, --parquet and --json", field="out")
    store = Results()
    run = store.find(name)
    if as_csv:
        _put(run.frame.to_csv(index=False).rstrip("\n"), out)
    elif as_json:
        _put(json.dumps({"record": run.record, "rows": _rows(run.frame)}, indent=1), out)
    elif as_parquet:
        print(_parquet(run, out))
    else:
        _summarise(store, run)
    return 0


def draw(name: str, place: str, *, dark: bool, for_paper: bool) -> int:
    """Draw the picture of saved results again."""
    from qjobs.reports.files import write_file
    from qjobs.results.redraw import drawn, format_of

    picture_format = format_of(place)
    picture = drawn(Results().find(name), picture_format, dark=dark, for_paper=for_paper)
    print(f"picture: {write_file(place, picture)}")
    return 0


def _put(text: str, place: str) -> None:
    from qjobs.reports.files import write_file

    print(text) if place == "-" else write_file(place, f"{text}\n".encode())


def _parquet(run: SavedRun, place: str) -> str:
    if place == "-":
        return run.file
    import fsspec

    from qjobs.reports.files import write_file

    with fsspec.open(run.file, "rb") as file:
        return write_file(place, file.read())


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: times in ISO form, null for what is missing."""
    found: list[dict[str, Any]] = json.loads(frame.to_json(orient="records", date_format="iso", double_precision=15))
    return found


def _summarise(store: Results, run: SavedRun) -> None:
    from qjobs.results.labels import labels_of

    record = run.record
    labels = labels_of(store, run.name)
    git = record.get("git")
    runs = store.runs(run.name)
    shown: list[tuple[str, object]] = [
        ("experiment", run.name),
        ("run", f"{run.run}, saved {record['saved_at']}"),
        ("rows", f"{record['n_rows']}, {record['n_missing']} of them without a result"),
        ("devices", ", ".join(each["device"] for each in record["devices"].values())),
        ("jobs", sum(len(ids) for ids in record["jobs"].values())),
    ]
    if git:
        shown.append(("commit", f"{git['commit']}{', with changes' if git['changed'] else ''}"))
    shown += [("said", line) for line in record["lines"]]
    if labels.tags:
        shown.append(("tags", ", ".join(labels.tags)))
    shown += [("note", f"{each.at:%Y-%m-%d %H:%M}: {each.text}") for each in labels.notes]
    shown.append(("data frame", run.file))
    if run.picture:
        shown.append(("picture", run.picture))
    if others := [each for each in runs if each != run.run]:
        shown.append(("other runs", ", ".join(others)))
    for name, value in shown:
        print(f"{name}:".ljust(13) + str(value))
    has_values = any(str(name).endswith("_stderr") for name in run.frame.columns)
    left_out = {*_DETAILS, "counts"} if has_values else _DETAILS
    _print_first(run.frame[[name for name in run.frame.columns if name not in left_out]], "rows")


def _print_first(frame: pd.DataFrame, what: str) -> None:
    """The first rows of a frame as a table."""
    shown = frame.head(_SHOWN)
    columns = [str(name) for name in shown.columns]
    rows = [[_cell(value) for value in row] for row in shown.itertuples(index=False)]
    n_shown = columns_that_fit(columns, rows)
    words = [f"the first {_SHOWN} of {len(frame)} {what}"] if len(frame) > _SHOWN else []
    if n_shown < len(columns):
        words.append(f"without {', '.join(columns[n_shown:])}, for which there is no room (all: --csv)")
    print_table(columns[:n_shown], [row[:n_shown] for row in rows], "; ".join(words))


def _cell(value: object) -> object:
    if isinstance(value, str) and len(value) > _LONGEST:
        return f"{value[:_LONGEST]}..."
    return f"{value:.5g}" if isinstance(value, float) else value


def compare(a: str, b: str, *, picture: str, as_csv: bool, as_json: bool) -> int:
    """Two runs side by side."""
    from qjobs.reports.files import write_file
    from qjobs.results.compare import compare as put_side_by_side
    from qjobs.results.compare import draw_comparison

    store = Results()
    found = put_side_by_side(store.find(a), store.find(b))
    if as_csv:
        found.frame.to_csv(sys.stdout, index=False)
        return 0
    name = f"compared-with-{found.a.name}-{found.a.run}.png"
    drawn = write_file(picture or f"{found.b.url}/{name}", draw_comparison(found))
    if as_json:
        runs = {"a": f"{found.a.name}/{found.a.run}", "b": f"{found.b.name}/{found.b.run}"}
        print_json({**runs, "said": found.lines, "picture": drawn, "points": _rows(found.frame)})
        return 0
    for line in found.lines:
        print(line)
    _print_first(found.frame, "points")
    print(f"picture: {drawn}")
    return 0


def list_experiments(shared: Shared, *, tag: str) -> int:
    """List experiments, those saved last first."""
    from qjobs.ledger import Ledger
    from qjobs.results.listing import experiments

    store = Results()
    url = shared.url
    with Ledger(url) as ledger:
        found = experiments(store, ledger, tag=tag)
        shown_url = ledger.url
    if shared.as_json:
        print_json([asdict(each) for each in found])
        return 0
    if not found:
        which = f"no experiment has the tag {tag}" if tag else "no results"
        print(f"{which} in {store.url}, and {no_jobs_words(url, shown_url, filtered=bool(tag))}")
        return 0
    rows: list[list[object]] = []
    for each in found:
        have = "" if each.n_rows is None else f"{each.n_rows - (each.n_missing or 0)}/{each.n_rows}"
        tags = ", ".join(each.tags)
        rows.append([each.name, each.n_runs, each.newest, have, each.open_jobs or None, tags, each.note])
    print_table(["experiment", "runs", "newest", "results", "open jobs", "tags", "note"], rows)
    return 0


def tag(name: str, tags: Sequence[str], remove: Sequence[str]) -> int:
    """Give tags and take them away; print those that there are."""
    from qjobs.results.labels import label

    labels = label(Results(), name, add=tags, remove=remove)
    print(", ".join(labels.tags) or f"{name} has no tags")
    return 0


def note(name: str, text: str) -> int:
    """Add a note; print all."""
    from qjobs.results.labels import label

    labels = label(Results(), name, note=text)
    for each in labels.notes:
        print(f"{each.at:%Y-%m-%d %H:%M} {each.text}")
    if not labels.notes:
        print(f"{name} has no notes")
    return 0
