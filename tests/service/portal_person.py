"""A user of the Munich Quantum Portal who talks to it over HTTP, and circuits that they send."""

from __future__ import annotations

import json
import ssl
import time
from typing import Any

import httpx

__all__ = ["BELL", "BELL3", "FINAL", "FLIPS", "PortalPerson"]

FINAL = {"COMPLETED", "FAILED", "CANCELLED"}
_TWO = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; '
BELL = _TWO + "h q[0]; cx q[0],q[1]; measure q -> c;"
BELL3 = 'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;'
FLIPS = [_TWO + "measure q -> c;", _TWO + "x q[0]; measure q -> c;", _TWO + "x q[1]; measure q -> c;"]
"""Their outcomes are 00, 01 and 10."""


class PortalPerson:
    """Somebody with a token."""

    def __init__(self, url: str, token: str, *, verify: ssl.SSLContext | bool = True) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self.http = httpx.Client(base_url=url, timeout=30.0, headers=headers, verify=verify)

    def get(self, path: str, code: int = 200, **params: Any) -> Any:
        return self.answer(self.http.get(path, params=params), code)

    def answer(self, answer: httpx.Response, code: int = 200) -> Any:
        """The body; that of a refusal proves whose it is."""
        assert answer.status_code == code, f"{answer.request.method} {answer.request.url}: {answer.text[:2000]}"
        body = answer.json()
        if 400 <= code < 500:
            assert set(body) == {"message", "detail", "code"}
            assert body["message"] == body["detail"]
        return body

    def post(self, code: int = 200, *, key: str | None = None, **changes: Any) -> Any:
        """A circuit job on Aer, with changes; None leaves a field out."""
        body = {"resource_name": "Aer", "circuit": str([BELL]), "circuit_format": "qasm", "shots": 10, **changes}
        given = {name: value for name, value in body.items() if value is not None}
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.answer(self.http.post("/v1/job", json=given, headers=headers), code)

    def job(self, **changes: Any) -> str:
        """A new circuit job; its uuid."""
        found = self.post(**changes)
        assert list(found) == ["uuid"]
        return str(found["uuid"])

    def hamiltonian(self, code: int = 200, **changes: Any) -> Any:
        body = {"resource_name": "Aer", "interaction_str": "0 1; 1 2;", "coefficients_str": "0.5 0.1;", **changes}
        return self.answer(self.http.post("/v1/hamiltonian_job", json=body), code)

    def status(self, uuid: str, kind: str = "job") -> str:
        return str(self.get(f"/v1/{kind}/{uuid}/status")["status"])

    def result(self, uuid: str, kind: str = "job") -> Any:
        """What the JSON text of a result holds."""
        text = self.get(f"/v1/{kind}/{uuid}/result")["result"]
        assert isinstance(text, str)
        return json.loads(text)

    def reason(self, uuid: str, kind: str = "job") -> str:
        return str(self.get(f"/v1/{kind}/{uuid}/cancel_reason")["cancel_reason"])

    def cancel(self, uuid: str, code: int = 200, kind: str = "job") -> Any:
        return self.answer(self.http.delete(f"/v1/{kind}/{uuid}"), code)

    def until(self, uuid: str, *wanted: str, kind: str = "job", timeout_s: float = 60.0) -> str:
        """Wait until the job has one of these statuses, or is final."""
        deadline = time.monotonic() + timeout_s
        while (status := self.status(uuid, kind)) not in (wanted or FINAL):
            assert time.monotonic() < deadline, f"the job is {status}"
            assert status not in FINAL, f"the job is {status}"
            time.sleep(0.01)
        return status
