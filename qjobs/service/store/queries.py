"""Filters, sorting, pages and scopes in the address of a list, as clauses: one place for all resources.

Their names are those of Nexus (docs/nexus.md, "Bodies and lists"). What is not understood is refused and never ignored:
without a filter that was meant, the answer would hold other jobs.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from qjobs.service import tables as schema
from qjobs.service.errors import BadRequest, NotFound

Params = Sequence[tuple[str, str]]
"""Names and values of a query, decoded, in order; a name may come more than once."""

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 100
"""A longer page is refused: a shorter one in its place would begin elsewhere than at its number times its size."""

_PARAMETERS = ("page[number]", "page[size]", "sort", "scope")
_LAST_PAGE = 2**31 - 1
_LONGEST = 4096
"""Characters of a filter; SQLite refuses patterns of more than 50,000 bytes."""
_MOST_VALUES = 1000
_LONGEST_INT = 2**63
_MOST_SPLITS = 8
"""The number of places that are tried as the end of the key of a property filter."""
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)


class Scope(StrEnum):
    """The role in which somebody asks."""

    USER = "user"
    ORG_ADMIN = "org_admin"
    GLOBAL_ADMIN = "global_admin"
    HIGHEST = "highest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something that can be listed.

    Args:
        newest: Breaks ties of every order, so that pages never overlap.
        filters: Names of its filters, without the word `filter`.
    """

    table: sa.Table
    newest: sa.Column[Any]
    filters: frozenset[str]


_TIMES = frozenset(
    {
        "[timestamps][created][before]",
        "[timestamps][created][after]",
        "[timestamps][modified][before]",
        "[timestamps][modified][after]",
    }
)
_NAMED = frozenset({"[name]", "[name_exact]", "[name_fuzzy]"})
_OWNED = _TIMES | _NAMED | {"[creator][email]", "[properties]", "[project][id]"}

PROJECTS = Resource(
    table=schema.project, newest=schema.project.c.project_id, filters=_OWNED - {"[project][id]"} | {"[archived]"}
)
PROPERTY_DEFINITIONS = Resource(
    table=schema.property_definition,
    newest=schema.property_definition.c.property_id,
    filters=_TIMES | _NAMED | {"[project][id]"},
)
DOCUMENTS = Resource(table=schema.document, newest=schema.document.c.document_id, filters=_OWNED)
JOBS = Resource(table=schema.job, newest=schema.job.c.sequence, filters=_OWNED | {"[status][status]", "[job_type]"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One page of a list: a condition on the rows, a total order, and which page, from 0."""

    clause: sa.ColumnElement[bool]
    order_by: tuple[sa.UnaryExpression[Any], ...]
    page_number: int
    page_size: int

    @property
    def offset(self) -> int:
        """Rows before the page."""
        return self.page_number * self.page_size

    def meta(self, total: int) -> dict[str, int]:
        """The list's `meta`, of so many rows in all."""
        return {
            "page_number": self.page_number,
            "page_size": self.page_size,
            "total_count": total,
            "total_pages": math.ceil(total / self.page_size),
        }


def listing_of(params: Params, resource: Resource, *, sqlite: bool) -> Listing:
    """The page of a list for which an address asks. SQLite reads JSON in a way of its own.

    Raises:
        BadRequest: A filter, a key to sort by or a page is not understood.
    """
    given: dict[str, list[str]] = {}
    for name, value in params:
        given.setdefault(name, []).append(value)
    clauses: list[sa.ColumnElement[bool]] = [sa.true()]
    for name, values in given.items():
        if name.startswith("filter["):
            clauses.append(_filter(resource, name, values, sqlite))
        elif name not in _PARAMETERS:
            raise BadRequest(f"there is no parameter {name[:80]!r}; there are {', '.join(_PARAMETERS)} and filters")
    return Listing(
        clause=sa.and_(*clauses),
        order_by=_order(resource, given.get("sort", [])),
        page_number=_whole(given, "page[number]", 0, 0, _LAST_PAGE),
        page_size=_whole(given, "page[size]", DEFAULT_PAGE_SIZE, 1, MAX_PAGE_SIZE),
    )


def check_parameters(params: Params, known: Collection[str]) -> None:
    """Refuse what an address asks for beside what is known and the scope.

    Raises:
        BadRequest: There is no such parameter.
    """
    for name, _ in params:
        if name != "scope" and name not in known:
            raise BadRequest(f"there is no parameter {name[:80]!r}; there are {', '.join(sorted(known))}")


def scope_of(params: Params) -> Scope:
    """The role in which somebody asks; `user` if the address names none.

    Raises:
        BadRequest: There is no such scope.
    """
    words = [value for name, value in params if name == "scope"]
    try:
        scopes = {Scope(word) for word in words}
    except ValueError:
        raise BadRequest(f"scope is one of {', '.join(Scope)}") from None
    if len(scopes) > 1:
        raise BadRequest("scope is given more than once")
    return scopes.pop() if scopes else Scope.USER


def within(scope: Scope, projects: sa.Select[tuple[str]]) -> sa.Select[tuple[str]]:
    """The projects of a scope; nobody here is an administrator, so their scopes hold none."""
    return projects if scope in {Scope.USER, Scope.HIGHEST} else projects.where(sa.false())


def clean_id(text: str, what: str) -> str:
    """A UUID as it is stored.

    Raises:
        NotFound: It is not a UUID, so nothing can have it.
    """
    lower = text.lower()
    if _UUID.fullmatch(lower):
        return lower
    raise NotFound(f"{what} {text[:64]!r} not found")


def _whole(given: Mapping[str, list[str]], name: str, default: int, least: int, most: int) -> int:
    if name not in given:
        return default
    text = _single(name, given[name])
    if re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) and least <= int(text) <= most:
        return int(text)
    raise BadRequest(f"{name} is a whole number from {least} to {most}")


def _order(resource: Resource, values: Sequence[str]) -> tuple[sa.UnaryExpression[Any], ...]:
    columns = {
        "timestamps.created": resource.table.c.created_at,
        "timestamps.modified": resource.table.c.modified_at,
        "name": resource.table.c.name,
    }
    keys = ",".join(values).split(",") if values else ["-timestamps.created"]
    if len(set(keys)) != len(keys) or any(key.removeprefix("-") not in columns for key in keys):
        raise BadRequest(f"sort has each of these at most once, with - before it for descending: {', '.join(columns)}")
    keys_and_ties = [(columns[key.removeprefix("-")], key.startswith("-")) for key in keys]
    keys_and_ties.append((resource.newest, keys[0].startswith("-")))
    return tuple(column.desc() if down else column.asc() for column, down in keys_and_ties)


def _filter(resource: Resource, name: str, values: list[str], sqlite: bool) -> sa.ColumnElement[bool]:
    what = name.removeprefix("filter")
    if what not in resource.filters:
        known = ", ".join(f"filter{known}" for known in sorted(resource.filters))
        raise BadRequest(f"there is no {name[:80]!r} here; there are {known}")
    if len(values) > _MOST_VALUES or any(len(value) > _LONGEST for value in values):
        raise BadRequest(f"{name} is too long: it takes {_MOST_VALUES} values of {_LONGEST} characters")
    if what == "[properties]":
        column = resource.table.c.properties
        return sa.and_(*(_property(column, value, sqlite) for value in values))
    return _FILTERS[what](resource.table, name, values)


def _by_name(table: sa.Table, _: str, values: list[str]) -> sa.ColumnElement[bool]:
    return table.c.name.in_(values)


def _by_part(table: sa.Table, name: str, values: list[str]) -> sa.ColumnElement[bool]:
    return table.c.name.icontains(_single(name, values), autoescape=True)


def _by_creator(table: sa.Table, _: str, values: list[str]) -> sa.ColumnElement[bool]:
    user = schema.user
    emails = [value.strip().lower() for value in values]
    return table.c.owner_id.in_(sa.select(user.c.user_id).where(user.c.email.in_(emails)))


def _by_project(table: sa.Table, name: str, values: list[str]) -> sa.ColumnElement[bool]:
    try:
        return table.c.project_id.in_([clean_id(value, "project") for value in values])
    except NotFound:
        raise BadRequest(f"{name} is the id of a project, a UUID") from None


def _by_archived(table: sa.Table, name: str, values: list[str]) -> sa.ColumnElement[bool]:
    word = _single(name, values)
    if word not in {"true", "false"}:
        raise BadRequest(f"{name} is true or false")
    return table.c.archived.is_(word == "true")


def _by_word(column: str, words: Sequence[str]) -> _Filter:
    def clause(table: sa.Table, name: str, values: list[str]) -> sa.ColumnElement[bool]:
        unknown = set(values) - set(words)
        if unknown:
            raise BadRequest(f"{name} is one of {', '.join(sorted(words))}, not {min(unknown)[:80]!r}")
        return table.c[column].in_(values)

    return clause


def _by_time(column: str, side: str) -> _Filter:
    def clause(table: sa.Table, name: str, values: list[str]) -> sa.ColumnElement[bool]:
        text = _single(name, values)
        try:
            moment = datetime.fromisoformat(text)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise BadRequest(f"{name} is a time such as 2026-01-31 12:00:00 (in UTC), not {text[:80]!r}") from None
        return table.c[column] < moment if side == "before" else table.c[column] > moment

    return clause


_Filter = Callable[[sa.Table, str, list[str]], sa.ColumnElement[bool]]

_FILTERS: Mapping[str, _Filter] = {
    "[name]": _by_name,
    "[name_exact]": _by_name,
    "[name_fuzzy]": _by_part,
    "[creator][email]": _by_creator,
    "[project][id]": _by_project,
    "[archived]": _by_archived,
    "[status][status]": _by_word("status", schema.TIMED),
    "[job_type]": _by_word("job_type", ("compile", "execute")),
    "[timestamps][created][before]": _by_time("created_at", "before"),
    "[timestamps][created][after]": _by_time("created_at", "after"),
    "[timestamps][modified][before]": _by_time("modified_at", "before"),
    "[timestamps][modified][after]": _by_time("modified_at", "after"),
}


def _single(name: str, values: Sequence[str]) -> str:
    if len(values) != 1:
        raise BadRequest(f"{name} is given more than once")
    return values[0]


def _property(column: sa.ColumnElement[Any], text: str, sqlite: bool) -> sa.ColumnElement[bool]:
    """A filter such as `(key,"text")`, `(key,true)` or `(key,3.15)`."""
    refused = BadRequest(f'filter[properties] is (key,"text"), (key,true) or (key,42), not {text[:80]!r}')
    if not (text.startswith("(") and text.endswith(")")):
        raise refused
    inner = text[1:-1]
    if inner.endswith('"'):  # the client escapes nothing, so both the key and the text may hold ,"
        ends = [found.start() for found in re.finditer(',"', inner[:-1])][-_MOST_SPLITS:]
        if not ends:
            raise refused
        return sa.or_(*(_has(column, inner[:end], inner[end + 2 : -1], sqlite) for end in ends))
    key, comma, word = inner.rpartition(",")
    value = _value(word)
    if not comma or value is None:
        raise refused
    return _has(column, key, value, sqlite)


def _value(word: str) -> bool | int | float | None:
    if word in {"true", "false"}:
        return word == "true"
    if not _NUMBER.fullmatch(word):
        return None
    if re.fullmatch(r"[+-]?[0-9]+", word):
        whole = int(word) if len(word) < 20 else _LONGEST_INT
        return whole if -_LONGEST_INT <= whole < _LONGEST_INT else None
    number = float(word)
    return number if math.isfinite(number) else None


def _has(column: sa.ColumnElement[Any], key: str, value: bool | float | str, sqlite: bool) -> sa.ColumnElement[bool]:
    """Whether a JSON object has a value at a key, of the same type; whole and other numbers are one type."""
    return _has_in_sqlite(column, key, value) if sqlite else _has_in_postgresql(column, key, value)


def _has_in_sqlite(column: sa.ColumnElement[Any], key: str, value: bool | float | str) -> sa.ColumnElement[bool]:
    # A JSON path cannot name every key (no " inside); json_each compares the key itself.
    entry = sa.func.json_each(column).table_valued("key", "type", "atom")
    if isinstance(value, bool):
        fits = entry.c.type == ("true" if value else "false")
    elif isinstance(value, str):
        fits = sa.and_(entry.c.type == "text", entry.c.atom == value)
    else:
        fits = sa.and_(entry.c.type.in_(["integer", "real"]), entry.c.atom == value)
    return sa.exists().select_from(entry).where(entry.c.key == key, fits)


def _has_in_postgresql(column: sa.ColumnElement[Any], key: str, value: bool | float | str) -> sa.ColumnElement[bool]:
    kind = sa.func.json_typeof(sa.func.json_extract_path(column, key))
    text = sa.func.json_extract_path_text(column, key)
    if isinstance(value, bool):
        return sa.and_(kind == "boolean", text == ("true" if value else "false"))
    if isinstance(value, str):
        return sa.and_(kind == "string", text == value)
    number: sa.ColumnElement[bool]
    if isinstance(value, int):
        number = sa.cast(text, sa.Numeric) == sa.cast(str(value), sa.Numeric)
    else:
        number = sa.cast(text, sa.Double) == sa.cast(value, sa.Double)
    return sa.case((kind == "number", number), else_=sa.false())  # AND would not keep the cast from other text
