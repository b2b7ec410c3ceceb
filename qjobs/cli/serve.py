"""`qjobs serve`: run the local job service; `qjobs serve users`: manage who may sign in."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import importlib.util
import math
import os
import secrets
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qjobs.cli.jobs import print_json, print_table
from qjobs.errors import InvalidInput
from qjobs.paths import data_home

if TYPE_CHECKING:
    from qjobs.service.accounts.accounts import Accounts
    from qjobs.service.settings import Settings

_TOKEN_DAYS = 30
_MOST_DAYS = 3650
_DAY_S = 86_400.0
_NEEDED = ("argon2", "cryptography", "fastapi", "jinja2", "starlette", "uvicorn", "websockets")


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


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
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
    serve.set_defaults(call=_serve)

    below = serve.add_subparsers(metavar="COMMAND")
    users = below.add_parser("users", help="manage who may sign in; the service may be running")
    verbs = users.add_subparsers(required=True, metavar="COMMAND")
    add = verbs.add_parser("add", help="add a user; asks for the password, or reads it from standard input")
    add.add_argument("email")
    add.add_argument("--name", default="", help="the name to show (default: the address up to the @)")
    add.add_argument("--group", action="append", default=[], help="a group that the user is in; may be repeated")
    add.set_defaults(call=_add_user)
    listing = verbs.add_parser("list", help="list the users")
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(call=_list_users)
    remove = verbs.add_parser("remove", help="remove a user; their jobs and results stay")
    remove.add_argument("email")
    remove.set_defaults(call=_remove_user)
    join = verbs.add_parser("join", help="make a user a member of a team")
    join.add_argument("email")
    join.add_argument("team_id", help="the team's id")
    join.set_defaults(call=_join_team)
    token = verbs.add_parser("token", help="print a token for a user's clients of the Munich Quantum Portal")
    token.add_argument("email")
    token.add_argument(
        "--days", type=_positive, default=_TOKEN_DAYS, metavar="N", help=f"its lifetime (default {_TOKEN_DAYS})"
    )
    token.set_defaults(call=_issue_token)
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


def _require_service() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InvalidInput(
            f"the job service needs {', '.join(missing)}, which is not installed; install it with: "
            "pip install 'qjobs[service]'"
        )


def _settings(options: argparse.Namespace, **others: Any) -> Settings:
    from qjobs.service.settings import Settings

    return Settings(data=options.data or data_home() / "service", database=options.database, **others)


def _serve(options: argparse.Namespace) -> int:
    _require_service()
    from qjobs.service.serve import serve

    settings = _settings(
        options,
        host=options.host,
        port=options.port,
        http=options.http,
        device_file=options.devices,
        clock_speed=options.clock_speed,
        submit_delay_s=options.submit_delay,
        access_ttl_s=options.access_ttl,
        workers=options.workers,
    )
    users = [_user(text) for text in options.user]
    if options.until_eof:
        threading.Thread(target=_end_at_eof, name="until-eof", daemon=True).start()
    serve(settings, users, lambda line: print(line, flush=True))
    return 0


def _end_at_eof() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _user(text: str) -> tuple[str, str]:
    email, _, password = text.partition(":")
    if not email or not password:
        raise InvalidInput("--user needs EMAIL:PASSWORD")
    return email, password


@contextlib.contextmanager
def _accounts(options: argparse.Namespace) -> Iterator[Accounts]:
    _require_service()
    from qjobs.service.serve import accounts_of

    with accounts_of(_settings(options)) as accounts, _unknown_user():
        yield accounts


@contextlib.contextmanager
def _unknown_user() -> Iterator[None]:
    from qjobs.service.errors import NotFound

    try:
        yield
    except NotFound as error:
        raise InvalidInput(error.message) from error


def _add_user(options: argparse.Namespace) -> int:
    _require_service()
    password = (
        getpass.getpass("Password (leave it empty to have one made): ")
        if sys.stdin.isatty()
        else sys.stdin.readline().strip()
    )
    made = "" if password else secrets.token_urlsafe(12)
    with _accounts(options) as accounts:
        user = accounts.add_user(options.email, password or made, display_name=options.name, groups=options.group)
    print(f"{user.email} may sign in with the password {made}" if made else f"{user.email} may sign in")
    return 0


def _list_users(options: argparse.Namespace) -> int:
    with _accounts(options) as accounts:
        users = accounts.users()
    if options.json:
        print_json([{"email": user.email, "name": user.display_name, "groups": list(user.groups)} for user in users])
    else:
        print_table(
            ["email", "name", "groups"], [[user.email, user.display_name, ", ".join(user.groups)] for user in users]
        )
    return 0


def _remove_user(options: argparse.Namespace) -> int:
    with _accounts(options) as accounts:
        accounts.remove_user(options.email)
    print(f"{options.email} may no longer sign in; their jobs and results stay")
    return 0


def _join_team(options: argparse.Namespace) -> int:
    with _accounts(options) as accounts:
        user = accounts.user(options.email)
        accounts.join_team(options.team_id, user.user_id)
    print(f"{user.email} is a member of the team {options.team_id}")
    return 0


def _issue_token(options: argparse.Namespace) -> int:
    _require_service()
    from qjobs.service.serve import sessions_of

    if options.days > _MOST_DAYS:
        raise InvalidInput(f"--days: a token lives at most {_MOST_DAYS} days")
    with sessions_of(_settings(options)) as sessions, _unknown_user():
        token = sessions.issue(options.email, options.days * _DAY_S)
    print(token)
    print(f"a token of {options.email} for {options.days:g} days; it is shown once", file=sys.stderr)
    return 0
