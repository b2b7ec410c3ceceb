"""Requests made up from a service's own OpenAPI: mostly nearly right, as rubbish goes no deeper than the parser."""

from __future__ import annotations

import http.client
import json
import random
import threading
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

__all__ = ["FILTERS", "JUNK", "SQL", "Answer", "Attack", "Wire", "operations"]

SQL = ["'; DROP TABLE job; --", "x' OR '1'='1", '" OR 1=1 --', "%' UNION SELECT password_hash FROM user --", "\\'; --"]
JUNK: list[Any] = [
    *SQL,
    None,
    True,
    0,
    -1,
    2**63,
    -(2**70),
    1e308,
    0.1,
    "",
    " ",
    "x" * 5000,
    "../../etc/passwd",
    "..\\..\\x",
    "\u202e\ufeff\U0001f4a9\x7f\r\n\t",
    "\x00",
    "\ud800",
    "{}",
    "${7*7}{{7*7}}",
    "9999-12-31T23:59:59+00:00",
    "not-a-uuid",
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"__proto__": {"a": 1}},
    [{"data": {"attributes": {}}}],
]
FILTERS: dict[str, list[str]] = {
    "filter[name_exact]": ["bell", "x" * 300, *SQL],
    "filter[name_fuzzy]": ["b", "%", "_", "\\", *SQL],
    "filter[name]": ["bell"],
    "filter[creator][email]": ["ada@localhost.test", "mallory@localhost.test", "@", *SQL],
    "filter[project][id]": ["not-a-uuid", *SQL],
    "filter[properties]": ['(a,"x")', "(a,true)", "(a,3)", "(a,1e999)", "(a", "a,3)", "(,)", '(a,"x', "(a,nan)", *SQL],
    "filter[timestamps][created][after]": ["2023-01-01 00:00:00", "2023-13-01", "0001-01-01T00:00:00+23:59", *SQL],
    "filter[timestamps][modified][before]": ["9999-12-31T23:59:59-23:59", "now", "1e9"],
    "filter[status][status]": ["COMPLETED", "RETRYING", "completed", *SQL],
    "filter[job_type]": ["execute", "compile", "hamiltonian"],
    "filter[archived]": ["true", "false", "True", "1"],
    "filter[compilation][id]": ["not-a-uuid"],
    "filter[nonsense]": ["1"],
    "filter": ["1", "COMPLETED", *SQL],
    "p": ["0", "1", "-1", *SQL],
    "jpp": ["1", "0", "x"],
    "order": ["asc", "DESC", *SQL],
    "order_by": ["ID", "timestamp_submitted", "password_hash", *SQL],
    "limit": ["1", "0"],
    "cursor": ["1", "x", *SQL],
    "sort": ["name", "-timestamps.created", "timestamps.modified", "password_hash", "name,-name", *SQL],
    "page[number]": ["0", "1", "-1", "99999999999999999999", "x", "1.0", "٣"],
    "page[size]": ["1", "100", "0", "-5", "1000000", "x"],
    "page[cursor]": ["0"],
    "scope": ["user", "highest", "org_admin", "global_admin", "root"],
    "version": ["3", "4", "5", "x"],
    "chunk_number": ["0", "-1", "1e3", "99999999999999999999999999"],
    "backend": ["AerConfig", *SQL],
    "is_local": ["true", "x"],
}
DEEP = "[" * 5000 + "]" * 5000
BAD_BODIES: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"{",
    "text": b"hello",
    "a list": b"[]",
    "a number": b"17",
    "null": b"null",
    "not UTF-8": b'{"email": "\xff\xfe", "password": "x"}',
    "UTF-16": '{"email": "a", "password": "b"}'.encode("utf-16"),
    "wrong types": b'{"email": 1, "password": {"a": []}}',
    "JSON:API without data": b'{"attributes": {"name": "x"}}',
    "data is a list": b'{"data": []}',
    "deep list": DEEP.encode(),
    "deep object": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "deep in a field": b'{"email": "a", "password": "b", "data": {"attributes": {"name": ' + DEEP.encode() + b"}}}",
    "two values": b"{}{}",
    "unclosed": b"[" * 1_000_000,
    "NaN": b'{"email": NaN, "password": "x", "data": {"attributes": {"name": NaN}}}',
    "infinite": b'{"email": 1e999, "password": "x"}',
    "a very long number": b'{"email": ' + b"9" * 5000 + b', "password": "x"}',
    "NUL": b'{"email": "a\\u0000b", "password": "x", "data": {"attributes": {"name": "a\\u0000b"}}}',
    "NUL in a key": b'{"a\\u0000": 1, "email": "a", "password": "b"}',
    "half a pair": b'{"email": "\\ud800", "password": "x", "data": {"attributes": {"name": "\\ud800"}}}',
    "half a pair in a key": b'{"\\udfff": 1}',
    "a long string": b'{"email": "'
    + b"a" * 100_000
    + b'", "password": "x", "data": {"attributes": {"name": "'
    + b"a" * 100_000
    + b'"}}}',
}
WISHES = {"empty", "null", "wrong types", "JSON:API without data", "data is a list", "a long string"}
"""Bad bodies that `rpc/...` takes: no JSON:API, and none at all means the usual."""
_METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Answer:
    """What came back."""

    code: int
    headers: str
    body: bytes


class Wire:
    """One connection that is kept, with the cookies and the bearer token of one person; requests go unchanged."""

    def __init__(self, host: str, port: int, cookie: str = "", token: str = "", source: str = "") -> None:
        from_address = (source, 0) if source else None
        self._connection = http.client.HTTPConnection(host, port, timeout=60, source_address=from_address)
        self._headers = {"Cookie": cookie} if cookie else {}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def ask(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/json", **headers: str
    ) -> Answer:
        """One request; a connection that the service closed before is opened again."""
        given = {**self._headers, **headers} | ({"Content-Type": kind} if body is not None else {})
        for attempt in (1, 2):
            try:
                self._connection.request(method, path, body, given)
                answer = self._connection.getresponse()
                return Answer(answer.status, str(answer.msg), answer.read())
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self._connection.close()
                if attempt == 2:
                    raise
        raise AssertionError

    def json(self, method: str, path: str, body: Any = None) -> Any:
        """One request that must succeed, and its answer's JSON."""
        answer = self.ask(method, path, None if body is None else json.dumps(body).encode())
        assert answer.code < 300, (method, path, answer)
        return json.loads(answer.body) if answer.body else None

    def close(self) -> None:
        self._connection.close()


def operations(document: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """Method, path and description of every operation."""
    found = [
        (method.upper(), path, one)
        for path, of_path in document["paths"].items()
        for method, one in of_path.items()
        if method in _METHODS
    ]
    assert len(found) > 50, f"the service describes {len(found)} operations only"
    return found


@dataclass
class Attack:
    """Requests of one user, and how they were answered.

    Args:
        document: The service's OpenAPI.
        ids: Ids for addresses and bodies: the user's own, another's, and some of nothing.
        values: Good values of fields and parameters whose schema says too little, by name; `DELETE job_id` is for
            that method alone.
        forbidden: What no answer may contain.
    """

    document: Mapping[str, Any]
    ids: Sequence[str]
    values: Mapping[str, Sequence[Any]]
    forbidden: bytes
    codes: Counter[int] = field(default_factory=Counter)
    succeeded: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, wire: Wire, rng: random.Random, number: int) -> None:
        """Send so many requests."""
        every = [one for one in operations(self.document) if one[1] != "/auth/tokens/revoke"]  # it would end the attack
        slow = {"/auth/login", "/login"}  # hashes a password each time
        for _ in range(number):
            method, path, described = rng.choice(every)
            while path in slow and rng.random() < 0.9:
                method, path, described = rng.choice(every)
            address = self._address(method, path, described, rng)
            body = self._body(described, rng)
            self._check(method, path, address, body, wire.ask(method, address, body))

    def _check(self, method: str, path: str, address: str, body: bytes | None, answer: Answer) -> None:
        wrong = ""
        if answer.code >= 500:
            wrong = "failed"
        elif self.forbidden in answer.body or self.forbidden.decode() in answer.headers:
            wrong = "told another user's data"
        elif answer.code >= 400:
            try:
                said = json.loads(answer.body)
                good = isinstance(said, dict) and (isinstance(said.get("message"), str) or "error" in said)
            except ValueError:
                good = False
            wrong = "" if good else "said no message"
        with self._lock:
            self.codes[answer.code] += 1
            self.succeeded[method, path] += answer.code < 300
            if wrong:
                self.wrong.append(f"{wrong}: {method} {address[:300]} {(body or b'')[:500]!r} -> {answer}"[:1500])

    def _address(self, method: str, path: str, described: Mapping[str, Any], rng: random.Random) -> str:
        for one in described.get("parameters", ()):
            if one["in"] == "path":
                name = one["name"]
                known = self.values.get(f"{method} {name}") or self.values.get(name) or self.ids
                value = rng.choice(list(known)) if rng.random() < 0.8 else str(rng.choice(JUNK))
                path = path.replace("{" + name + "}", quote(value.encode("utf-8", "surrogatepass"), safe="") or "%20")
        query: list[tuple[str, str]] = []
        for one in described.get("parameters", ()):
            if one["in"] == "query" and (one.get("required") or rng.random() < 0.5):
                known = [*self.values.get(one["name"], ()), *FILTERS.get(one["name"], ()), *self.ids[:2]]
                query.append((one["name"], str(rng.choice(known))))
        if rng.random() < 0.5:
            for name in rng.choices(list(FILTERS), k=rng.choice((1, 1, 1, 2, 4))):
                query.append((name, rng.choice([*FILTERS[name], *self.ids[:3], "x" * 9000][: len(FILTERS[name]) + 4])))
        return f"{path}?{urlencode(query, errors='surrogatepass')}" if query else path

    def _body(self, described: Mapping[str, Any], rng: random.Random) -> bytes | None:
        content = described.get("requestBody", {}).get("content", {})
        if not content or rng.random() < 0.02:
            return None
        if "application/json" not in content:
            return rng.choice([b"", b"a=b", b"grant_type=x&device_code=y", b"\xff\xfe%00=%"])
        value = self._of(content["application/json"]["schema"], "", rng)
        for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
            value = _spoilt(value, rng)
        text = json.dumps(value).encode()
        return (
            text if rng.random() < 0.95 else text[: rng.randrange(len(text))] + rng.choice([b"", b"\xff", b"}", b"["])
        )

    def _of(self, schema: Mapping[str, Any], name: str, rng: random.Random) -> Any:
        """A value that the schema allows, as far as it says."""
        if name in self.values:
            return rng.choice(list(self.values[name]))
        if "$ref" in schema:
            return self._of(self.document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]], name, rng)
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self._of(rng.choice(schema[word]), name, rng)
        if "enum" in schema or "const" in schema:
            return rng.choice(schema.get("enum") or [schema["const"]])
        match schema.get("type"):
            case "object":
                needed = schema.get("required", ())
                fields = schema.get("properties", {}).items()
                return {key: self._of(one, key, rng) for key, one in fields if key in needed or rng.random() < 0.7}
            case "array":
                return [self._of(schema.get("items", {}), name, rng) for _ in range(rng.choice((0, 1, 3)))]
            case "integer":
                return rng.choice((0, 1, 2, 300, 2**31))
            case "number":
                return rng.choice((0.0, 1.5, -1.0))
            case "boolean":
                return rng.random() < 0.5
            case "null":
                return None
        return rng.choice((uuid.UUID(int=rng.getrandbits(128)).hex, "text", rng.choice(list(self.ids))))


def _spoilt(value: Any, rng: random.Random) -> Any:
    """The value with something in it replaced, removed or added."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.1:
            return {other: one for other, one in value.items() if other != key}
        if rng.random() < 0.1:
            return {**value, str(rng.choice(JUNK)): rng.choice(JUNK)}
        return {**value, key: _spoilt(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        return [*value[:place], _spoilt(value[place], rng), *value[place + 1 :]]
    return rng.choice(JUNK)
