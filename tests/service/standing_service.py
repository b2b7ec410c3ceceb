"""The service in this process, on a real port and a real database, with an executor that does nothing.

Tests give jobs their statuses themselves; the executor has tests of its own.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import postgresql
import pytest
import sqlalchemy as sa
import uvicorn
from own_service import add_user

from qjobs.service import tables as schema
from qjobs.service.accounts.accounts import User
from qjobs.service.app import create_app
from qjobs.service.assembly import Service
from qjobs.service.settings import Settings

GHZ = {
    "name": "ghz",
    "bits": [["c", [0]], ["c", [1]]],
    "commands": [
        {"args": [["q", [0]]], "op": {"type": "H"}},
        {"args": [["q", [0]], ["q", [1]]], "op": {"type": "CX"}},
        {"args": [["q", [0]], ["c", [0]]], "op": {"type": "Measure"}},
        {"args": [["q", [1]], ["c", [1]]], "op": {"type": "Measure"}},
    ],
    "created_qubits": [],
    "discarded_qubits": [],
    "implicit_permutation": [[["q", [0]], ["q", [0]]], [["q", [1]], ["q", [1]]]],
    "phase": "0.0",
    "qubits": [["q", [0]], ["q", [1]]],
}


@contextlib.contextmanager
def fresh_database(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of an empty database of a kind: sqlite, postgresql."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'service.db'}"
        return
    with postgresql.database(request.getfixturevalue("postgresql_url")) as url:
        yield url


class Standing:
    """A service to which tests talk over HTTP, and whose jobs they move by hand."""

    def __init__(self, service: Service) -> None:
        self.service = service
        config = uvicorn.Config(
            create_app(service), host="127.0.0.1", port=0, lifespan="off", log_level="critical", proxy_headers=False
        )
        self.server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self.server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self.server.started:
            assert time.monotonic() < deadline
            assert self._thread.is_alive()
            time.sleep(0.005)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._clients: list[httpx.Client] = []

    def stop(self) -> None:
        """End the server as a signal does."""
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def close(self) -> None:
        for client in self._clients:
            client.close()
        self.stop()

    def user(self, name: str, groups: tuple[str, ...] = ()) -> Person:
        """A new user, signed in."""
        user = add_user(self.service, name, groups)
        sessions = self.service.sessions
        device = sessions.request_device()
        sessions.decide_device(user, device.user_code, approve=True)
        access = sessions.take_device(device.device_code).access
        client = httpx.Client(base_url=self.url, timeout=30.0, cookies={"myqos_id": access})
        self._clients.append(client)
        return Person(self, client, user, access)

    def move(self, job_id: str, status: str, **columns: Any) -> None:
        """Give a job and its items a status."""
        now = self.service.clock.now()
        values = {"status": status, f"{status.lower()}_at": now, **columns}
        with self.service.db.write() as connection:
            for table in (schema.job, schema.job_item):
                connection.execute(table.update().where(table.c.job_id == job_id).values(values))
        self.service.changes.notify(job_id)

    def store_result(self, job_id: str, body: Any, result_type: str = "PYTKET") -> str:
        """Give the first item of a job a result."""
        item = self.service.jobs.items(job_id)[0]
        result_id = str(uuid.uuid4())
        with self.service.db.write() as connection:
            owner = connection.scalar(sa.select(schema.job.c.owner_id).where(schema.job.c.job_id == job_id))
            connection.execute(
                schema.result.insert().values(
                    result_id=result_id,
                    item_uuid=item.item_uuid,
                    job_id=job_id,
                    owner_id=owner,
                    program_id=item.program_id,
                    result_type=result_type,
                    body=zlib.compress(json.dumps(body).encode()),
                    created_at=self.service.clock.now(),
                )
            )
            table = schema.job_item
            connection.execute(
                table.update()
                .where(table.c.item_uuid == item.item_uuid)
                .values(result_id=result_id, result_type=result_type)
            )
        return result_id


class Person:
    """A signed-in user with shorthands for the bodies of Nexus."""

    def __init__(self, standing: Standing, http: httpx.Client, user: User, access: str) -> None:
        self.access = access
        self.standing = standing
        self.http = http
        self.email = user.email
        self.user = user

    def get(self, path: str, *params: tuple[str, Any], code: int = 200) -> Any:
        return self._answer(self.http.get(path, params=list(params)), code)

    def post(self, path: str, body: Any = None, code: int = 201) -> Any:
        return self._answer(self.http.post(path, json=body), code)

    def patch(self, path: str, attributes: Any, code: int = 200) -> Any:
        return self._answer(self.http.patch(path, json={"data": {"attributes": attributes}}), code)

    def delete(self, path: str, code: int = 204) -> Any:
        return self._answer(self.http.delete(path), code)

    def _answer(self, answer: httpx.Response, code: int) -> Any:
        assert answer.status_code == code, f"{answer.request.method} {answer.request.url}: {answer.text[:2000]}"
        body = answer.json() if answer.content else None
        if code >= 400:
            assert list(body) == ["message"]
            assert body["message"]
        return body

    def project(self, **attributes: Any) -> str:
        given = {"name": f"project {uuid.uuid4().hex}", **attributes}
        body = {"data": {"attributes": given, "relationships": {}, "type": "project"}}
        return str(self.post("/api/projects/v1beta2", body)["data"]["id"])

    def make(self, path: str, project: str, attributes: Any, code: int = 201) -> Any:
        return self.post(path, in_project(project, attributes), code)

    def circuit(self, project: str, **attributes: Any) -> str:
        return str(self.make("/api/circuits/v1beta2", project, {**GHZ, **attributes})["data"]["id"])

    def job(self, project: str, *programs: str, config: Any = None, n_shots: int = 10, **attributes: Any) -> str:
        definition = {
            "job_definition_type": "execute_job_definition",
            "backend_config": config or {"type": "AerConfig"},
            "items": [{"program_id": program, "n_shots": n_shots} for program in programs],
        }
        given = {"name": "a job", "job_type": "execute", "definition": definition, **attributes}
        return str(self.make("/api/jobs/v1beta3", project, given, 202)["data"]["id"])

    def new_job(self, **attributes: Any) -> str:
        """A job of one circuit in a project of its own."""
        project = self.project()
        return self.job(project, self.circuit(project), **attributes)

    def names(self, path: str, *params: tuple[str, Any]) -> list[str]:
        """Names of what a list has on its first page; the count must agree."""
        found = [entry["attributes"]["name"] for entry in self.get(path, *params)["data"]]
        paging = ("page[size]", "page[number]")
        kept = [(name, value) for name, value in params if name not in paging]
        assert self.get(f"{path}/meta/count", *kept)["count"] == len(found)
        return found

    def share(self, project: str, who: Person, role: str) -> None:
        """Give another user a role in a project."""
        roles = {role["attributes"]["name"]: role["id"] for role in self.get("/api/roles/v1beta")["data"]}
        body = {"for_user_id": who.user.user_id, "role_id": roles[role], "resource_id": project}
        self.post("/api/assignments/v1beta2/user", body)


def in_project(project: str, attributes: Any) -> dict[str, Any]:
    return {
        "data": {
            "attributes": attributes,
            "relationships": {"project": {"data": {"id": project, "type": "project"}}},
            "type": "whatever",
        }
    }


@contextlib.contextmanager
def standing_service(folder: Path, url: str | None = None, **settings: Any) -> Iterator[Standing]:
    """A running service with its data in a folder."""
    service = Service.open(Settings(data=folder, database=url, http=True, **settings))
    try:
        standing = Standing(service)
        try:
            yield standing
        finally:
            standing.close()
    finally:
        service.close()


SAMPLES = Path(__file__).with_name("nexus_samples.json")


def sample(name: str, part: str = "response") -> dict[str, Any]:
    """A recorded exchange of the real client with a server that it accepted."""
    return json.loads(SAMPLES.read_text())[name][part]


def shape(value: Any, *, open_at: tuple[str, ...] = ("properties",)) -> Any:
    """The keys of an answer at every depth, and the kind of every value; lists by their first entry."""
    if isinstance(value, dict):
        return {key: "open" if key in open_at else shape(entry, open_at=open_at) for key, entry in value.items()}
    if isinstance(value, list):
        return [shape(entry, open_at=open_at) for entry in value[:1]]
    return type(value).__name__
