"""`qjobs serve`: run the local job service; `qjobs serve users`: manage who may sign in."""

from __future__ import annotations

import contextlib
import getpass
import importlib.util
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qjobs.cli.options import ServeOptions, ServicePlace
from qjobs.cli.tables import print_json, print_table
from qjobs.errors import InvalidInput
from qjobs.paths import data_home

if TYPE_CHECKING:
    from qjobs.service.accounts.accounts import Accounts
    from qjobs.service.settings import Settings

_MOST_DAYS = 3650
_DAY_S = 86_400.0
_USERS = "QJOBS_SERVE_USERS"
_NEEDED = ("argon2", "cryptography", "fastapi", "jinja2", "starlette", "uvicorn", "websockets")


def _require_service() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise InvalidInput(
            f"the job service needs {', '.join(missing)}, which is not installed; install it with: "
            "pip install 'qjobs[service]'"
        )


def _settings(place: ServicePlace, **others: Any) -> Settings:
    from qjobs.service.settings import Settings

    return Settings(data=place.data or data_home() / "service", database=place.database, **others)


def serve(options: ServeOptions) -> int:
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
    users = [*_users_of_environment(), *_users_of_file(options.users_file)]
    users += [(email, _asked(email)) for email in options.user or []]
    if options.until_eof:
        threading.Thread(target=_end_at_eof, name="until-eof", daemon=True).start()
    serve_jobs(settings, users, lambda line: print(line, flush=True))
    return 0


def _end_at_eof() -> None:
    while os.read(sys.stdin.fileno(), 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _users_of_environment() -> list[tuple[str, str]]:
    """The users that QJOBS_SERVE_USERS names; processes that this one starts do not see it."""
    return _users_in(os.environ.pop(_USERS, ""), _USERS)


def _users_of_file(path: Path | None) -> list[tuple[str, str]]:
    if path is None:
        return []
    try:
        if path.stat().st_mode & 0o077:
            raise InvalidInput(f"other people can read {path}, which holds passwords; run: chmod 600 {path}")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"--users-file {path} cannot be read: {error}") from error
    return _users_in(text, f"--users-file {path}")


def _users_in(text: str, source: str) -> list[tuple[str, str]]:
    users = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        email, _, password = line.partition(":")
        if not email.strip() or not password:
            raise InvalidInput(f"{source}: line {number} is not EMAIL:PASSWORD")
        users.append((email.strip(), password))
    return users


def _asked(email: str) -> str:
    """The password of a user, from whoever types."""
    if ":" in email:
        raise InvalidInput(
            "--user takes an address alone, because everybody on this machine can read a command line; type the "
            f"password when you are asked for it, or put EMAIL:PASSWORD into --users-file FILE or {_USERS}"
        )
    if not sys.stdin.isatty():
        raise InvalidInput(
            f"--user {email} asks for a password, and nobody is there to type it; put EMAIL:PASSWORD into "
            f"--users-file FILE or {_USERS}"
        )
    return getpass.getpass(f"Password of {email}: ")


@contextlib.contextmanager
def _accounts(place: ServicePlace) -> Iterator[Accounts]:
    _require_service()
    from qjobs.service.serve import accounts_of

    with accounts_of(_settings(place)) as accounts, _unknown_user():
        yield accounts


@contextlib.contextmanager
def _unknown_user() -> Iterator[None]:
    from qjobs.service.errors import NotFound

    try:
        yield
    except NotFound as error:
        raise InvalidInput(error.message) from error


def add_user(place: ServicePlace, email: str, *, name: str, groups: Sequence[str]) -> int:
    """Add a user; a password that is not given is made and printed."""
    _require_service()
    password = (
        getpass.getpass("Password (leave it empty to have one made): ")
        if sys.stdin.isatty()
        else sys.stdin.readline().strip()
    )
    made = "" if password else secrets.token_urlsafe(12)
    with _accounts(place) as accounts:
        user = accounts.add_user(email, password or made, display_name=name, groups=groups)
    print(f"{user.email} may sign in with the password {made}" if made else f"{user.email} may sign in")
    return 0


def list_users(place: ServicePlace, *, as_json: bool) -> int:
    """List the users."""
    with _accounts(place) as accounts:
        users = accounts.users()
    if as_json:
        print_json([{"email": user.email, "name": user.display_name, "groups": list(user.groups)} for user in users])
    else:
        print_table(
            ["email", "name", "groups"], [[user.email, user.display_name, ", ".join(user.groups)] for user in users]
        )
    return 0


def remove_user(place: ServicePlace, email: str) -> int:
    """Remove a user."""
    with _accounts(place) as accounts:
        accounts.remove_user(email)
    print(f"{email} may no longer sign in; their jobs and results stay")
    return 0


def join_team(place: ServicePlace, email: str, team_id: str) -> int:
    """Make a user a member of a team."""
    with _accounts(place) as accounts:
        user = accounts.user(email)
        accounts.join_team(team_id, user.user_id)
    print(f"{user.email} is a member of the team {team_id}")
    return 0


def revoke(place: ServicePlace, email: str) -> int:
    """End all sessions and tokens of a user."""
    with _accounts(place) as accounts:
        ended = accounts.revoke(email)
    print(f"{email} is signed out everywhere: {ended} sessions and tokens ended")
    return 0


def issue_token(place: ServicePlace, email: str, *, days: float) -> int:
    """Print a token for a user's clients."""
    _require_service()
    from qjobs.service.serve import sessions_of

    if days > _MOST_DAYS:
        raise InvalidInput(f"--days: a token lives at most {_MOST_DAYS} days")
    with sessions_of(_settings(place)) as sessions, _unknown_user():
        token = sessions.issue(email, days * _DAY_S)
    print(token)
    print(f"a token of {email} for {days:g} days; it is shown once", file=sys.stderr)
    return 0
