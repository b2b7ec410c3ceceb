"""Who is signed in, small helpers of the checks, and the values that the test compares itself."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import qnexus as qnx
from pytket.circuit import Circuit, OpType
from qnexus.config import CONFIG
from qnexus.models.job_status import WAITING_STATUS, JobStatusEnum

PASSWORDS: dict[str, str] = json.loads(os.environ["ORACLE_PASSWORDS"])
ADA, BOB = PASSWORDS
MEASURED: dict[str, Any] = {}
WAIT_S = 60.0


def sign_in(email: str) -> None:
    """As `qnx.login_with_credentials` does, without its questions."""
    qnx.auth.login_no_interaction(email, PASSWORDS[email], force=True)


@contextlib.contextmanager
def signed_in(email: str) -> Iterator[None]:
    """As somebody else, for a while."""
    sign_in(email)
    try:
        yield
    finally:
        sign_in(ADA)


def refresh_token() -> str:
    """The token that the client keeps."""
    kept = json.loads((Path.home() / CONFIG.token_path / "token.json").read_text())
    return str(kept["data"]["refresh_token"])


@contextlib.contextmanager
def raw() -> Iterator[httpx.Client]:
    """A client without `qnexus`, signed in as the same user."""
    with httpx.Client(base_url=CONFIG.url, verify=False, timeout=60) as client:
        client.cookies.set("myqos_oat", refresh_token(), domain=CONFIG.domain)
        client.post("/auth/tokens/refresh").raise_for_status()
        yield client


def same(value: Any, expected: Any) -> None:
    """The one assertion of most checks."""
    assert value == expected, f"\n  it is        {value!r}\n  it should be {expected!r}"


def refused(call: Any, *errors: type[BaseException]) -> Any:
    """The error that a call ends with, which must be of one of these types."""
    try:
        value = call()
    except errors as found:
        return found
    raise AssertionError(f"no {errors[0].__name__}: it answered {value!r}")


def alike(found: Circuit, expected: Circuit) -> None:
    """Equal but for the name, which an upload may change."""
    found.name = expected.name
    assert found == expected, f"{found.get_commands()}, not {expected.get_commands()}"


def fresh(name: str) -> str:
    """A name that nobody else has."""
    return f"{name} {uuid.uuid4().hex[:8]}"


def new_project(name: str) -> Any:
    """A project of a check's own."""
    return qnx.projects.create(fresh(name))


@functools.cache
def project() -> Any:
    """One for checks that do not care."""
    return new_project("oracle")


def upload(circuit: Circuit, name: str = "", **values: Any) -> Any:
    """Into the common project, unless told otherwise."""
    return qnx.circuits.upload(circuit, name=name or circuit.name, **{"project": project(), **values})


def bell() -> Circuit:
    return Circuit(2, name="bell").H(0).CX(0, 1).measure_all()


def ghz() -> Circuit:
    return Circuit(3, name="ghz").H(0).CX(0, 1).CX(1, 2).measure_all()


def skewed() -> Circuit:
    """No two of its eight outcomes are equally likely, so a wrong order of bits shows."""
    circuit = Circuit(3, name="skewed").Ry(0.3, 0).Ry(0.55, 1).Ry(0.8, 2)
    return circuit.CRy(0.25, 0, 1).CX(1, 2).Rz(0.4, 2).measure_all()


def slow() -> Circuit:
    """Native to H-series devices."""
    return Circuit(1, name="slow").add_gate(OpType.PhasedX, [0.5, 0.0], [0]).measure_all()


@functools.cache
def uploaded(name: str) -> Any:
    """One of the circuits above, uploaded once."""
    return upload(globals()[name]())


def execute(circuits: Any, shots: Any, config: Any, name: str = "job", **values: Any) -> Any:
    """Submit an execute job; the common project unless told otherwise."""
    return qnx.start_execute_job(
        programs=circuits, n_shots=shots, backend_config=config, name=name, **{"project": project(), **values}
    )


def until(job: Any, *wanted: JobStatusEnum) -> Any:
    """Its status as soon as it is one of these, or final."""
    deadline = time.monotonic() + WAIT_S
    while True:
        status = qnx.jobs.status(job)
        if status.status in wanted or status.status not in WAITING_STATUS:
            return status
        if time.monotonic() > deadline:
            raise AssertionError(f"the job is still {status} after {WAIT_S} s, not {wanted}")
        time.sleep(0.1)


def final(job: Any) -> Any:
    """Its last status, whatever it is."""
    return until(job)
