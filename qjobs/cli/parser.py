"""Every command of `qjobs` with its options.

Nothing that a command works with is imported here: a command names its function, and `qjobs.cli.main` imports that.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from qjobs.model import RemoteRetryStrategy

__all__ = ["BUILT_IN", "add_retry_options", "parser_of"]

BUILT_IN = frozenset({"doctor", "jobs", "orphans", "plan", "reconcile", "run", "serve"})
"""The commands that are parsed here."""
_TOKEN_DAYS = 30
_LOST_REPLIES = ("deduplicated", "findable", "opaque")
"""As `qjobs.backends.rest.LostReply` has them; with it would come an HTTP client."""


def parser_of(others: Iterable[str]) -> argparse.ArgumentParser:
    """The parser of the command; each command's default `call` is `module:function`.

    Args:
        others: Names of further commands, which are shown and not parsed here.
    """
    parser = argparse.ArgumentParser(prog="qjobs", description="Remote quantum jobs: never lost, never run twice.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--ledger", metavar="URL", help="path or URL of the ledger (default: QJOBS_LEDGER)")
    shared.add_argument("--json", action="store_true", help="print JSON")

    plan = commands.add_parser("plan", parents=[shared], help="check a sweep or a batch and say what would run")
    plan.add_argument("file", type=Path, help="a sweep or batch (YAML, JSON), or a circuit (.qasm, .qpy)")
    plan.set_defaults(call="qjobs.cli.run:plan")

    run = commands.add_parser("run", parents=[shared], help="run a sweep or a batch and wait for it in this process")
    run.add_argument("file", type=Path, help="a sweep or batch (YAML, JSON), or a circuit (.qasm, .qpy)")
    run.add_argument("--run-id", default="", help="name of the logical run; the same name finds the same jobs again")
    run.add_argument("--new", action="store_true", help="run anew what an interrupted run of this file left unfinished")
    add_retry_options(run)
    run.add_argument("--out", type=Path, help="folder for the data frame and the picture")
    run.set_defaults(call="qjobs.cli.run:run")

    jobs = commands.add_parser("jobs", help="look at jobs, retry, rerun, cancel, adopt or discard them").add_subparsers(
        required=True, metavar="COMMAND"
    )
    listing = jobs.add_parser("list", parents=[shared], help="list jobs, newest first")
    listing.add_argument("--status", action="append", help="only jobs of this status; may be repeated")
    listing.add_argument("--experiment", help="only jobs of this sweep or batch")
    listing.add_argument("--backend", help="only jobs of this backend")
    listing.add_argument("--limit", type=int, default=50, help="at most so many (default 50)")
    listing.set_defaults(call="qjobs.cli.jobs:list_jobs")
    show = jobs.add_parser("show", parents=[shared], help="a job: attempts, items, history")
    show.add_argument("job_id", help="the job's id, or an unambiguous beginning of it")
    show.add_argument("--items", type=int, default=20, help="show at most so many items (default 20)")
    show.set_defaults(call="qjobs.cli.jobs:show_job")
    results = jobs.add_parser("results", parents=[shared], help="results of a job")
    results.add_argument("job_id", help="the job's id, or an unambiguous beginning of it")
    results.add_argument("--parquet", type=Path, help="write them to this file instead")
    results.set_defaults(call="qjobs.cli.jobs:show_results")
    _add_recovery_of_a_job(jobs, shared)
    _add_recovery(commands, shared)
    _add_serve(commands)

    doctor = commands.add_parser("doctor", parents=[shared], help="check the installation and say what to fix")
    doctor.set_defaults(call="qjobs.cli.doctor:doctor")
    for name in others:
        commands.add_parser(name, help=f"see: qjobs {name} --help")
    return parser


def add_retry_options(parser: argparse.ArgumentParser) -> None:
    """The strategy and the caps, which take the place of those in the file."""
    parser.add_argument(
        "--strategy",
        type=str.upper,
        choices=[str(one) for one in RemoteRetryStrategy],
        help="what to do about jobs that are there already (default: what the file says, else DEFAULT)",
    )
    _add_cap_options(parser)
    parser.add_argument(
        "--resend-unfound",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether a job whose reply was lost is sent again once it is certain that it is lost",
    )


def _add_cap_options(parser: argparse.ArgumentParser) -> None:
    """The caps of submissions, time and cost."""
    parser.add_argument("--max-submissions", type=int, help="the most submissions of a job, the first included")
    parser.add_argument("--max-total-s", type=float, help="the most seconds spent trying to submit a job")
    parser.add_argument("--max-cost", type=float, help="the most that a job may cost, in the provider's unit")


def _add_recovery_of_a_job(jobs: Any, shared: argparse.ArgumentParser) -> None:
    """Put the commands about one job under `qjobs jobs`."""
    where = argparse.ArgumentParser(add_help=False)
    _add_backend_options(where)
    retry = jobs.add_parser("retry", parents=[shared, where], help="retry a job's items without a result")
    retry.add_argument("job_id", help="the job's id, or an unambiguous beginning of it")
    retry.add_argument(
        "--status",
        action="append",
        help="items of this status; may be repeated (default ERROR, or the whole job where it is not at its provider)",
    )
    retry.add_argument("--strategy", default="DEFAULT", help=f"one of {', '.join(RemoteRetryStrategy)}")
    _add_cap_options(retry)
    retry.set_defaults(call="qjobs.cli.recover:retry_job")
    rerun = jobs.add_parser("rerun", parents=[shared], help="a new job of the same definition; sends nothing")
    rerun.add_argument("job_id", help="the job's id, or an unambiguous beginning of it")
    rerun.add_argument("name", help="name of the new job")
    rerun.set_defaults(call="qjobs.cli.recover:rerun_job")
    ends = jobs.add_parser("cancel", parents=[shared, where], help="ask for cancellation of a job")
    ends.add_argument("job_id", help="the job's id, or an unambiguous beginning of it")
    ends.add_argument("--item", type=int, action="append", help="only this item, from 0; may be repeated")
    ends.set_defaults(call="qjobs.cli.recover:cancel_job")
    adopt = jobs.add_parser("adopt", parents=[shared, where], help="say which remote job an UNKNOWN job is")
    adopt.add_argument("job_id", help="the job's id, or an unambiguous beginning of it")
    adopt.add_argument("remote_id", help="the provider's id")
    adopt.set_defaults(call="qjobs.cli.recover:adopt_job")
    discard = jobs.add_parser("discard", parents=[shared], help="say that an UNKNOWN job has no remote job")
    discard.add_argument("job_id", help="the job's id, or an unambiguous beginning of it")
    discard.set_defaults(call="qjobs.cli.recover:discard_job")


def _add_recovery(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Put the commands about all jobs under `qjobs`."""
    where = argparse.ArgumentParser(add_help=False)
    _add_backend_options(where)
    settle = commands.add_parser("reconcile", parents=[shared, where], help="settle jobs whose fate is unknown")
    settle.set_defaults(call="qjobs.cli.recover:reconcile")
    lost = commands.add_parser("orphans", parents=[shared, where], help="remote jobs with our keys that no job claims")
    lost.set_defaults(call="qjobs.cli.recover:orphans")


def _add_backend_options(parser: argparse.ArgumentParser) -> None:
    """The options that name a backend in place of the name in the ledger."""
    parser.add_argument(
        "--backend", choices=["aer", "mqp", "nexus", "qoro", "rest"], help="open this adapter instead of the job's"
    )
    parser.add_argument("--url", help="where the provider is (default: NEXUS_DOMAIN and so on, MQP_URL, QORO_API_URL)")
    parser.add_argument("--device", help="the job's device (nexus, mqp, qoro)")
    parser.add_argument(
        "--name",
        default="",
        help="the name of the job's block (not aer, rest; default: as nexus/DEVICE files its jobs)",
    )
    parser.add_argument("--project", default="qjobs", help="the project of the job's block (nexus; default qjobs)")
    parser.add_argument(
        "--lost-reply",
        choices=_LOST_REPLIES,
        default="opaque",
        help="what the provider at --url can do about a lost reply (default opaque: nothing)",
    )


def _number(kind: Callable[[str], float], fits: Callable[[float], bool], words: str) -> Callable[[str], float]:
    """What reads a number from an option, and refuses those that do not fit."""

    def number(text: str) -> float:
        found = kind(text)
        if not fits(found):
            raise argparse.ArgumentTypeError(f"{text} is not {words}")
        return found

    return number


_positive = _number(float, lambda number: 0 < number < math.inf, "a number above 0")
_seconds = _number(float, lambda number: 0 <= number < math.inf, "a number from 0")
_count = _number(int, lambda number: number > 0, "a whole number above 0")
_port = _number(int, lambda number: 0 <= number <= 65_535, "a port; ports are 0 to 65535")


def _add_serve(commands: Any) -> None:
    """Add `serve` and its own commands to `qjobs`."""
    serve = commands.add_parser("serve", help="run the local job service, which clients of Quantinuum Nexus can use")
    _add_where(serve, default=None)
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at (default 127.0.0.1: this machine)")
    serve.add_argument("--port", type=_port, default=8470, help="port to listen at, 0 for a free one (default 8470)")
    serve.add_argument("--http", action="store_true", help="speak plain HTTP, behind a proxy that speaks TLS")
    serve.add_argument("--devices", type=Path, metavar="FILE", help="YAML file of devices (default: the built-in ones)")
    serve.add_argument(
        "--clock-speed", type=_positive, default=1.0, metavar="N", help="run the service's clock N times as fast"
    )
    serve.add_argument(
        "--submit-delay",
        type=_seconds,
        default=0.5,
        metavar="S",
        help="seconds for which a new job stays SUBMITTED (default 0.5)",
    )
    serve.add_argument(
        "--access-ttl",
        type=_positive,
        default=300.0,
        metavar="S",
        help="lifetime of an access token in seconds (default 300)",
    )
    serve.add_argument(
        "--workers", type=_count, metavar="N", help="number of processes that simulate (default: one per core)"
    )
    serve.add_argument(
        "--user",
        action="append",
        default=[],
        metavar="EMAIL:PASSWORD",
        help="add this user or set their password; may be repeated (other users of this machine can read it)",
    )
    serve.add_argument(
        "--until-eof", action="store_true", help="end when standard input does, and so with whoever holds its other end"
    )
    serve.set_defaults(call="qjobs.cli.serve:serve")

    below = serve.add_subparsers(metavar="COMMAND")
    users = below.add_parser("users", help="manage who may sign in; the service may be running")
    verbs = users.add_subparsers(required=True, metavar="COMMAND")
    add = verbs.add_parser("add", help="add a user; asks for the password, or reads it from standard input")
    add.add_argument("email")
    add.add_argument("--name", default="", help="the name to show (default: the address up to the @)")
    add.add_argument("--group", action="append", default=[], help="a group that the user is in; may be repeated")
    add.set_defaults(call="qjobs.cli.serve:add_user")
    listing = verbs.add_parser("list", help="list the users")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(call="qjobs.cli.serve:list_users")
    remove = verbs.add_parser("remove", help="remove a user; their jobs and results stay")
    remove.add_argument("email")
    remove.set_defaults(call="qjobs.cli.serve:remove_user")
    join = verbs.add_parser("join", help="make a user a member of a team")
    join.add_argument("email")
    join.add_argument("team_id", help="the team's id")
    join.set_defaults(call="qjobs.cli.serve:join_team")
    token = verbs.add_parser("token", help="print a token for a user's clients of the Munich Quantum Portal")
    token.add_argument("email")
    token.add_argument(
        "--days", type=_positive, default=_TOKEN_DAYS, metavar="N", help=f"its lifetime (default {_TOKEN_DAYS})"
    )
    token.set_defaults(call="qjobs.cli.serve:issue_token")
    for command in (add, listing, remove, join, token):
        _add_where(command, default=argparse.SUPPRESS)


def _add_where(command: argparse.ArgumentParser, *, default: Any) -> None:
    command.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        default=default,
        help="the service's folder (default: `service` in QJOBS_HOME, else in your user data directory)",
    )
    command.add_argument(
        "--database", metavar="URL", default=default, help="postgresql://... (default: a SQLite file in the folder)"
    )
