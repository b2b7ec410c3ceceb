"""Options that several commands have: each is written once, here. Nothing that a command works with is imported."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from qjobs.lifecycle import JobStatus
from qjobs.model import JobKind, RemoteRetryStrategy
from qjobs.paths import ledger_url

__all__ = [
    "Adapter",
    "Caps",
    "ExperimentFile",
    "FlowOptions",
    "JobArgument",
    "JobFilters",
    "LostReplyKind",
    "Retries",
    "ServeOptions",
    "ServicePlace",
    "Shared",
    "Statuses",
    "Where",
    "moment",
    "numbers",
]

TOKEN_DAYS = 30
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class Adapter(StrEnum):
    """The adapters that the options of a command can name."""

    AER = "aer"
    MQP = "mqp"
    NEXUS = "nexus"
    QORO = "qoro"
    REST = "rest"


class LostReplyKind(StrEnum):
    """As `qjobs.backends.rest.LostReply` has them; with that comes an HTTP client."""

    DEDUPLICATED = "deduplicated"
    FINDABLE = "findable"
    OPAQUE = "opaque"


def numbers(kind: Callable[[str], float], fits: Callable[[float], bool], words: str) -> Callable[[str], float]:
    """What reads a number from an option, and refuses those that do not fit."""

    def number(text: str) -> float:
        try:
            found = kind(text)
        except ValueError as error:
            raise ValueError(f"{text} is not {words}") from error
        if not fits(found):
            raise ValueError(f"{text} is not {words}")
        return found

    return number


positive = numbers(float, lambda number: 0 < number < math.inf, "a number above 0")
_seconds = numbers(float, lambda number: 0 <= number < math.inf, "a number from 0")
_count = numbers(int, lambda number: number > 0, "a whole number above 0")
_port = numbers(int, lambda number: 0 <= number <= 65_535, "a port; ports are 0 to 65535")


def _known_jobs(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The ids of the newest jobs, for completion in a shell."""
    from qjobs.cli.naming import ids_beginning

    return ids_beginning(incomplete, ledger=context.params.get("ledger"))


JobArgument = Annotated[
    str,
    typer.Argument(
        autocompletion=_known_jobs,
        metavar="JOB",
        help="its id, 4 or more letters that no other id begins with, or @1 for the newest",
    ),
]
ExperimentFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="a sweep or batch (YAML, JSON), or a circuit (.qasm, .qpy)")
]
Statuses = Annotated[
    list[JobStatus] | None,
    typer.Option("--status", metavar="STATUS", case_sensitive=False, help="only those of this status; may be repeated"),
]
ServiceDevice = Annotated[
    str | None, typer.Option("--device", metavar="DEVICE", help="the job's device (nexus, mqp, qoro)")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What nearly every command has: which ledger, and JSON."""

    ledger: Annotated[
        str | None, typer.Option("--ledger", metavar="URL", help="path or URL of the ledger (default: QJOBS_LEDGER)")
    ] = None
    create: Annotated[bool, typer.Option("--create", help="make the ledger that is named where there is none")] = False
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False

    @property
    def url(self) -> str:
        """The URL of the ledger.

        Raises:
            InvalidInput: It is named and not there.
        """
        return ledger_url(self.ledger, create=self.create)


def moment(text: str) -> datetime:
    """A time: in ISO form (in UTC if it does not say), or as an age, such as 90m, 12h, 3d or 2w.

    Raises:
        ValueError: It is neither.
    """
    age = re.fullmatch(r"(\d+)([mhdw])", text)
    if age is not None:
        return datetime.now(UTC) - int(age[1]) * _UNITS[age[2]]
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is neither a time such as 2026-01-31T12:00 nor an age such as 3d or 12h") from error
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilters:
    """Which jobs a command is about, where it is about many."""

    status: Statuses = None
    experiment: Annotated[
        str, typer.Option("--experiment", metavar="NAME", help="only jobs of this sweep or batch")
    ] = ""
    run: Annotated[
        str, typer.Option("--run", metavar="NAME", help="only jobs of this logical run, or of this run of Prefect's")
    ] = ""
    name: Annotated[str, typer.Option("--name", metavar="TEXT", help="only jobs whose name has this in it")] = ""
    backend: Annotated[str, typer.Option("--backend", metavar="NAME", help="only jobs of this backend")] = ""
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="only jobs of this device")] = ""
    kind: Annotated[
        JobKind | None,
        typer.Option("--kind", metavar="KIND", case_sensitive=False, help=f"only these: {', '.join(JobKind)}"),
    ] = None
    owner: Annotated[str, typer.Option("--owner", metavar="NAME", help="only jobs of this person")] = ""
    project: Annotated[str, typer.Option("--project", metavar="NAME", help="only jobs of this project")] = ""
    label: Annotated[str, typer.Option("--label", metavar="TEXT", help="only jobs with a circuit of this label")] = ""
    properties: Annotated[
        list[str] | None,
        typer.Option("--property", metavar="NAME=VALUE", help="only jobs with this property; may be repeated"),
    ] = None
    since: Annotated[
        datetime | None,
        typer.Option("--since", metavar="TIME", parser=moment, help="only created from then on: 2026-01-31, 3d, 12h"),
    ] = None
    until: Annotated[
        datetime | None, typer.Option("--until", metavar="TIME", parser=moment, help="only created until then")
    ] = None
    changed_since: Annotated[
        datetime | None,
        typer.Option("--changed-since", metavar="TIME", parser=moment, help="only those that changed after that"),
    ] = None
    changed_until: Annotated[
        datetime | None,
        typer.Option("--changed-until", metavar="TIME", parser=moment, help="only unchanged since then"),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """The caps of submissions, time and cost."""

    max_submissions: Annotated[
        int | None,
        typer.Option("--max-submissions", metavar="N", help="the most submissions of a job, the first included"),
    ] = None
    max_total_s: Annotated[
        float | None,
        typer.Option("--max-total-s", metavar="S", help="the most seconds spent trying to submit a job"),
    ] = None
    max_cost: Annotated[
        float | None,
        typer.Option(
            "--max-cost",
            metavar="COST",
            help="the most that the job, or the whole run, may cost, in the provider's unit",
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries(Caps):
    """The strategy and the caps, which take the place of those in the file."""

    strategy: Annotated[
        RemoteRetryStrategy | None,
        typer.Option(
            "--strategy",
            metavar="STRATEGY",
            case_sensitive=False,
            help=f"what to do about jobs that are there already: {', '.join(RemoteRetryStrategy)} "
            "(default: what the file says, else DEFAULT)",
        ),
    ] = None
    resend_unfound: Annotated[
        bool | None,
        typer.Option(
            "--resend-unfound/--no-resend-unfound",
            help="whether a job whose reply was lost is sent again once it is certain that it is lost",
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowOptions(Retries):
    """What the commands of flows have beside their file."""

    ledger: Annotated[
        str, typer.Option("--ledger", metavar="NAME", help="name of a ledger block (default: QJOBS_LEDGER)")
    ] = ""
    logical_run: Annotated[
        str,
        typer.Option("--logical-run", metavar="NAME", help="name of an earlier run whose jobs are to be found again"),
    ] = ""
    create: Annotated[bool, typer.Option("--create", help="make the ledger of QJOBS_LEDGER where there is none")] = (
        False
    )
    new: Annotated[bool, typer.Option("--new", help="run anew what an interrupted run left unfinished")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The options that name a backend in place of the name in the ledger."""

    backend: Annotated[
        Adapter | None,
        typer.Option(
            "--backend", metavar="ADAPTER", help=f"open this adapter instead of the job's: {', '.join(Adapter)}"
        ),
    ] = None
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help="where the provider is (default: NEXUS_DOMAIN and so on, MQP_URL, QORO_API_URL)",
        ),
    ] = None
    device: ServiceDevice = None
    name: Annotated[
        str,
        typer.Option(
            "--name",
            metavar="NAME",
            help="the name of the job's block (not aer, rest; default: as nexus/DEVICE files its jobs)",
        ),
    ] = ""
    project: Annotated[
        str, typer.Option("--project", metavar="NAME", help="the project of the job's block (nexus; default qjobs)")
    ] = "qjobs"
    lost_reply: Annotated[
        LostReplyKind,
        typer.Option(
            "--lost-reply",
            metavar="KIND",
            help=f"what the provider at --url can do about a lost reply: {', '.join(LostReplyKind)} "
            "(default opaque: nothing)",
        ),
    ] = LostReplyKind.OPAQUE


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlace:
    """Where the local job service keeps everything."""

    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            help="the service's folder (default: `service` in QJOBS_HOME, else in your user data directory)",
        ),
    ] = None
    database: Annotated[
        str | None,
        typer.Option("--database", metavar="URL", help="postgresql://... (default: a SQLite file in the folder)"),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions(ServicePlace):
    """How the local job service runs."""

    host: Annotated[
        str, typer.Option("--host", metavar="HOST", help="address to listen at (default 127.0.0.1: this machine)")
    ] = "127.0.0.1"
    port: Annotated[
        int,
        typer.Option("--port", metavar="PORT", parser=_port, help="port to listen at, 0 for a free one (default 8470)"),
    ] = 8470
    http: Annotated[bool, typer.Option("--http", help="speak plain HTTP, behind a proxy that speaks TLS")] = False
    devices: Annotated[
        Path | None,
        typer.Option("--devices", metavar="FILE", help="YAML file of devices (default: the built-in ones)"),
    ] = None
    clock_speed: Annotated[
        float,
        typer.Option("--clock-speed", metavar="N", parser=positive, help="run the service's clock N times as fast"),
    ] = 1.0
    submit_delay: Annotated[
        float,
        typer.Option(
            "--submit-delay",
            metavar="S",
            parser=_seconds,
            help="seconds for which a new job stays SUBMITTED (default 0.5)",
        ),
    ] = 0.5
    access_ttl: Annotated[
        float,
        typer.Option(
            "--access-ttl", metavar="S", parser=positive, help="lifetime of an access token in seconds (default 300)"
        ),
    ] = 300.0
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", parser=_count, help="number of processes that simulate (default: one per core)"
        ),
    ] = None
    user: Annotated[
        list[str] | None,
        typer.Option(
            "--user",
            metavar="EMAIL",
            help="add this user or set their password, which is asked for; may be repeated",
        ),
    ] = None
    users_file: Annotated[
        Path | None,
        typer.Option(
            "--users-file",
            metavar="FILE",
            help="lines EMAIL:PASSWORD of users to add, in a file that you alone can read (also: QJOBS_SERVE_USERS)",
        ),
    ] = None
    until_eof: Annotated[
        bool,
        typer.Option("--until-eof", help="end when standard input does, and so with whoever holds its other end"),
    ] = False
