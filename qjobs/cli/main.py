"""The `qjobs` command: plan, run, look at jobs, recover them, check the installation. Needs no Prefect."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path

from qjobs.errors import InvalidInput, QJobsError
from qjobs.paths import ledger_url

COMMANDS = "qjobs.commands"
"""Entry-point group of further commands: functions from the words behind the name to an exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        Exit code: 0 done, 1 something failed, 2 the input cannot be used (nothing was submitted).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    others = {point.name: point for point in entry_points(group=COMMANDS)}
    try:
        if words and words[0] in others:
            return int(others[words[0]].load()(words[1:]))
        options = _parser(others).parse_args(words)
        code: int = options.call(options)
    except QJobsError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, InvalidInput) else 1
    except KeyboardInterrupt:
        print("interrupted; jobs that were submitted go on, see: qjobs jobs list", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    return code


def _parser(others: Iterable[str]) -> argparse.ArgumentParser:
    from qjobs.cli import caps, recover, serve
    from qjobs.cli import jobs as job_commands
    from qjobs.cli import run as run_commands  # 60 MB of circuits, which `qjobs sensor` does without

    parser = argparse.ArgumentParser(prog="qjobs", description="Remote quantum jobs: never lost, never run twice.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--ledger", metavar="URL", help="path or URL of the ledger (default: QJOBS_LEDGER)")
    shared.add_argument("--json", action="store_true", help="print JSON")

    plan = commands.add_parser("plan", parents=[shared], help="check a sweep or a batch and say what would run")
    plan.add_argument("file", type=Path, help="a sweep or batch (YAML, JSON), or a circuit (.qasm, .qpy)")
    plan.set_defaults(call=run_commands.plan)

    run = commands.add_parser("run", parents=[shared], help="run a sweep or a batch and wait for it in this process")
    run.add_argument("file", type=Path, help="a sweep or batch (YAML, JSON), or a circuit (.qasm, .qpy)")
    run.add_argument("--run-id", default="", help="name of the logical run; the same name finds the same jobs again")
    run.add_argument("--new", action="store_true", help="run anew what an interrupted run of this file left unfinished")
    caps.add_retry_options(run)
    run.add_argument("--out", type=Path, help="folder for the data frame and the picture")
    run.set_defaults(call=run_commands.run)

    jobs = commands.add_parser("jobs", help="look at jobs, retry, rerun, cancel, adopt or discard them").add_subparsers(
        required=True, metavar="COMMAND"
    )
    listing = jobs.add_parser("list", parents=[shared], help="list jobs, newest first")
    listing.add_argument("--status", action="append", help="only jobs of this status; may be repeated")
    listing.add_argument("--experiment", help="only jobs of this sweep or batch")
    listing.add_argument("--backend", help="only jobs of this backend")
    listing.add_argument("--limit", type=int, default=50, help="at most so many (default 50)")
    listing.set_defaults(call=job_commands.list_jobs)
    show = jobs.add_parser("show", parents=[shared], help="a job: attempts, items, history")
    show.add_argument("job_id", help="the job's id, or an unambiguous beginning of it")
    show.add_argument("--items", type=int, default=20, help="show at most so many items (default 20)")
    show.set_defaults(call=job_commands.show_job)
    results = jobs.add_parser("results", parents=[shared], help="results of a job")
    results.add_argument("job_id", help="the job's id, or an unambiguous beginning of it")
    results.add_argument("--parquet", type=Path, help="write them to this file instead")
    results.set_defaults(call=job_commands.show_results)
    recover.add_job_commands(jobs, shared)
    recover.add_commands(commands, shared)
    serve.add_commands(commands, shared)

    doctor = commands.add_parser("doctor", parents=[shared], help="check the installation and say what to fix")
    doctor.set_defaults(call=_doctor)
    for name in others:
        commands.add_parser(name, help=f"see: qjobs {name} --help")
    return parser


def _doctor(options: argparse.Namespace) -> int:
    from qjobs.cli.doctor import checks

    found = checks(ledger_url(options.ledger))
    if options.json:
        print(json.dumps([asdict(check) for check in found], indent=1))
    else:
        for check in found:
            print(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.words}")
    return 0 if all(check.ok for check in found) else 1


if __name__ == "__main__":
    sys.exit(main())
