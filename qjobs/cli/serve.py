"""`qjobs serve`: run the local job service; `qjobs serve users`: manage who may sign in."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import importlib.util
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from qjobs.cli.jobs import print_json, print_table
from qjobs.errors import InvalidInput
from qjobs.paths import data_home

if TYPE_CHECKING:
    from qjobs.service.accounts.accounts import Accounts
    from qjobs.service.settings import Settings

_MOST_DAYS = 3650
_DAY_S = 86_400.0
_NEEDED = ("argon2", "cryptography", "fastapi", "jinja2", "starlette", "uvicorn", "websockets")


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


def serve(options: argparse.Namespace) -> int:
    """Run the service until it is told to end."""
    _require_service()
    from qjobs.service.serve import serve as serve_jobs

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
    serve_jobs(settings, users, lambda line: print(line, flush=True))
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


def add_user(options: argparse.Namespace) -> int:
    """Add a user; a password that is not given is made and printed."""
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


def list_users(options: argparse.Namespace) -> int:
    """List the users."""
    with _accounts(options) as accounts:
        users = accounts.users()
    if options.json:
        print_json([{"email": user.email, "name": user.display_name, "groups": list(user.groups)} for user in users])
    else:
        print_table(
            ["email", "name", "groups"], [[user.email, user.display_name, ", ".join(user.groups)] for user in users]
        )
    return 0


def remove_user(options: argparse.Namespace) -> int:
    """Remove a user."""
    with _accounts(options) as accounts:
        accounts.remove_user(options.email)
    print(f"{options.email} may no longer sign in; their jobs and results stay")
    return 0


def join_team(options: argparse.Namespace) -> int:
    """Make a user a member of a team."""
    with _accounts(options) as accounts:
        user = accounts.user(options.email)
        accounts.join_team(options.team_id, user.user_id)
    print(f"{user.email} is a member of the team {options.team_id}")
    return 0


def issue_token(options: argparse.Namespace) -> int:
    """Print a token for a user's clients."""
    _require_service()
    from qjobs.service.serve import sessions_of

    if options.days > _MOST_DAYS:
        raise InvalidInput(f"--days: a token lives at most {_MOST_DAYS} days")
    with sessions_of(_settings(options)) as sessions, _unknown_user():
        token = sessions.issue(options.email, options.days * _DAY_S)
    print(token)
    print(f"a token of {options.email} for {options.days:g} days; it is shown once", file=sys.stderr)
    return 0
