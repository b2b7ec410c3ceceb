"""`qjobs run`."""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qjobs.cli.approval import ask_here
from qjobs.cli.opening import opened
from qjobs.cli.options import Retries, Shared
from qjobs.errors import QJobsError
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus

if TYPE_CHECKING:  # with them come circuits
    from qjobs.backends.base import Backend
    from qjobs.experiments.circuit_list import CircuitList
    from qjobs.experiments.sweep import SweepSpec

INTERRUPTED = 130
_AER = "aer"
_SQLITE = "sqlite:///"


def names_of(spec: SweepSpec | CircuitList) -> list[str]:
    """The names of the backends of an experiment."""
    from qjobs.experiments.sweep import SweepSpec

    return list(spec.backends) if isinstance(spec, SweepSpec) else [spec.backend]


@contextlib.contextmanager
def open_backends(names: Sequence[str]) -> Iterator[dict[str, Backend]]:
    """Backends by their names, closed at the end."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(opened(name)) for name in names}


def run(file: Path, retries: Retries, shared: Shared, *, run_id: str, new: bool, yes: bool, out: str | None) -> int:
    """Run an experiment, wait for it in this process, and print what came out.

    A run of the same experiment that was interrupted goes on. With `yes` what it costs is approved beforehand.
    """
    url = shared.url
    with contextlib.ExitStack() as stack:
        started: dict[str, Backend] = {}
        if _will_simulate(file, url):  # its processes import Aer while this one imports the rest
            started[_AER] = stack.enter_context(_warm_simulator())
        from qjobs import notebook
        from qjobs.cli.caps import command_again, with_retries
        from qjobs.experiments.forms import naming_lines

        spec = with_retries(notebook.load(file), retries)
        options = {"--run-id": run_id, "--ledger": shared.ledger, "--out": out}
        again = command_again(["qjobs", "run", str(file)], retries, options)
        with naming_lines(file):
            return _run(
                spec, url, started, run_id=run_id, new=new, yes=yes, out=out, as_json=shared.as_json, again=again
            )


def is_there(url: str) -> bool:
    """Whether a ledger has been made; one of a server has."""
    return not url.startswith(_SQLITE) or Path(url.removeprefix(_SQLITE).partition("?")[0]).exists()


def _will_simulate(path: Path, url: str) -> bool:
    """A guess, from the words of the file alone, whether points are to be simulated.

    A sweep that has run before is likely to find its points; if it does not, the simulator starts a little later.
    """
    from qjobs.experiments.yaml_file import read_file

    try:
        form: Any = {} if path.suffix in {".qasm", ".qpy"} else read_file(path).data
        if _AER not in form.get("backends", [form.get("backend", _AER)]):
            return False
        if ("axes" not in form and "points" not in form) or form.get("fresh"):
            return True
        if not is_there(url):
            return True
        with Ledger(url) as ledger:
            return not ledger.jobs(experiment=str(form["name"]), statuses=[JobStatus.COMPLETED], limit=1)
    except (QJobsError, OSError, ValueError, KeyError, AttributeError, TypeError):
        return False  # whoever reads the file in earnest says what is wrong with it


@contextlib.contextmanager
def _warm_simulator() -> Iterator[Backend]:
    from qjobs.backends.aer import AerBackend

    with AerBackend() as simulator:
        simulator.warm()
        yield simulator


def _run(
    spec: SweepSpec | CircuitList,
    url: str,
    started: Mapping[str, Backend],
    *,
    run_id: str,
    new: bool,
    yes: bool,
    out: str | None,
    as_json: bool,
    again: str,
) -> int:
    from qjobs import notebook
    from qjobs.backends.base import Capability
    from qjobs.cli.interrupted import left_behind
    from qjobs.cli.progress import RunProgress
    from qjobs.operations.poll import utc_now

    others = [name for name in names_of(spec) if name != _AER]  # which the library opens
    with open_backends(others) as backends, Ledger(url) as ledger:
        opened_ones = {**backends, **started}
        progress = RunProgress(ledger, say=_say_aside)
        began = utc_now()
        try:
            done = notebook.run(
                spec,
                backends=opened_ones,
                ledger=url,
                run_id=run_id,
                new=new,
                results=out,
                say=_say_aside,
                report=(lambda _: None) if as_json else progress.report,
                ask=ask_here(yes=yes),
            )
        except KeyboardInterrupt:
            progress.close()

            def goes_on(name: str) -> bool:
                return name in opened_ones and Capability.DURABLE in opened_ones[name].capabilities

            for line in left_behind(ledger, spec.name, began=began, goes_on=goes_on, again=again):
                _say_aside(line)
            return INTERRUPTED
        finally:
            progress.close()
        job_ids = [job_id for ids in done.jobs.values() for job_id in ids]
        statuses = Counter(job.status.value for job in ledger.jobs(job_ids=job_ids))
    report = done.report
    problems = {job_id: " ".join(str(error).split()) for job_id, error in done.problems.items()}
    if as_json:
        shown: dict[str, Any] = {
            "name": spec.name,
            "run": done.run_id,
            "jobs": dict(statuses),
            "rows": report.n_rows,
            "missing": report.n_missing,
            "reuse": "; ".join(done.summaries),
            "said": list(report.lines),
            "problems": problems,
            "data frame": done.saved.file,
            "picture": done.saved.picture or report.why_no_picture,
        }
    else:
        shown = {
            spec.name: f"{report.n_rows - report.n_missing} of {report.n_rows} results (run {done.run_id})",
            "jobs": ", ".join(f"{count} {status}" for status, count in statuses.items()),
            "": list(done.summaries) + list(report.lines),
            "problems": [f"{job_id}: {words}" for job_id, words in problems.items()],
            "data frame": done.saved.file,
            "picture": done.saved.picture or report.why_no_picture,
        }
    print_shown(shown, as_json=as_json)
    return 1 if report.n_missing or problems else 0


def _say_aside(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def print_shown(shown: Mapping[str, Any], *, as_json: bool) -> None:
    """Print values by their names, a line each, or as JSON."""
    if as_json:
        print(json.dumps(shown, indent=1))
        return
    for key, value in shown.items():
        lines = value if isinstance(value, list) else [value]
        for line in lines:
            print(f"{key + ':' if key else '':12} {line}")
