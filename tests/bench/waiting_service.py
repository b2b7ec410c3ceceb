"""A user of the job service without any of our code."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from qjobs.service.running import RunningService

JOBS = "/api/jobs/v1beta3"
BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'


@contextlib.contextmanager
def signed_in(service: RunningService, who: tuple[str, str] = ("", ""), **options: Any) -> Iterator[httpx.Client]:
    """A client of a user, of the service's first one unless an address and a password are given."""
    trusted = ssl.create_default_context(cafile=service.certificate)
    with httpx.Client(base_url=service.url, verify=trusted, timeout=120.0, **options) as client:
        email, password = who if all(who) else service.first_user
        client.post("/auth/login", json={"email": email, "password": password}).raise_for_status()
        yield client


def made(client: httpx.Client, path: str, kind: str, attributes: Mapping[str, Any], project: str = "") -> str:
    """Id of a new resource."""
    data: dict[str, Any] = {"type": kind, "attributes": attributes}
    if project:
        data["relationships"] = {"project": {"data": {"id": project, "type": "project"}}}
    return str(client.post(path, json={"data": data}).raise_for_status().json()["data"]["id"])


def status(client: httpx.Client, job: str) -> Mapping[str, Any]:
    """Status of a job, with its times and its place in the queue."""
    found: Mapping[str, Any] = client.get(f"{JOBS}/{job}/attributes/status").raise_for_status().json()
    return found


def counted(client: httpx.Client, **filters: str) -> int:
    """How many jobs there are."""
    params = {f"filter[{name}]": value for name, value in filters.items()}
    return int(client.get(f"{JOBS}/meta/count", params=params).raise_for_status().json()["count"])


def cancel(client: httpx.Client, job: str) -> None:
    """Ask that a job be cancelled."""
    client.post(f"{JOBS}/{job}/rpc/cancel", json={}).raise_for_status()
