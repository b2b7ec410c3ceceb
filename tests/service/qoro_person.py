"""A user of Qoro who talks to the service over HTTP, and circuits that they send."""

from __future__ import annotations

import base64
import gzip
import ssl
import time
from collections.abc import Mapping
from typing import Any

import httpx

__all__ = ["BELL", "FINAL", "FLIPS", "NEW_DIVI", "ROTATED", "QoroPerson", "observables", "packed"]

NEW_DIVI = "divi/0.15.1 (python=3.11) python-requests/2.32"
FINAL = {"COMPLETED", "FAILED", "CANCELLED", "INSUFFICIENT_CREDITS"}
_TWO = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; '
BELL = _TWO + "h q[0]; cx q[0],q[1]; measure q -> c;"
FLIPS = {name: _TWO + f"{gates}measure q -> c;" for name, gates in (("none", ""), ("a", "x q[0]; "), ("b", "x q[1]; "))}
"""Their outcomes are 00, 01 and 10."""
ROTATED = _TWO + "ry(t) q[0]; ry(-t1) q[1]; measure q -> c;"


def packed(text: str | bytes) -> str:
    """Base64 of gzip."""
    return base64.b64encode(gzip.compress(text if isinstance(text, bytes) else text.encode())).decode()


def observables(*groups: str, n_qubits: int = 2) -> str:
    """Groups such as `Z0Z1;X0` as they are sent."""
    return "|".join(f"@gzs{n_qubits}:{packed(group)}" for group in groups)


class QoroPerson:
    """Somebody with a token; `agent` is the client that they have."""

    def __init__(self, url: str, token: str, *, verify: ssl.SSLContext | bool = True, agent: str = NEW_DIVI) -> None:
        headers = {"Authorization": f"Bearer {token}", "User-Agent": agent}
        self.http = httpx.Client(base_url=f"{url}/qoro/api", timeout=30.0, headers=headers, verify=verify)

    def get(self, path: str, code: int = 200, **params: Any) -> Any:
        return self.answer(self.http.get(path, params=params), code)

    def answer(self, answer: httpx.Response, code: int = 200) -> Any:
        """The body; that of a refusal is one sentence."""
        assert answer.status_code == code, f"{answer.request.method} {answer.request.url}: {answer.text[:2000]}"
        if code == 204:
            return None
        body = answer.json()
        if code >= 400:
            assert list(body) == ["error"], body
            assert body["error"]
        return body

    def init(self, code: int = 201, **changes: Any) -> Any:
        """A new job on Aer, with changes; None leaves a field out. Its id, or the refusal."""
        body = {"tag": "t", "job_type": "EXECUTE", "use_packing": False, "simulator_cluster": "Aer", **changes}
        given = {name: value for name, value in body.items() if value is not None}
        found = self.answer(self.http.post("/job/init/", json=given), code)
        return found["job_id"] if code == 201 else found["error"]

    def add(self, job_id: str, texts: Mapping[str, str] | None = None, code: int = 200, **changes: Any) -> Any:
        """A fragment with these circuits, with changes; None leaves a field out."""
        body: dict[str, Any] = {"mode": "append", "finalized": "true", "shots": 20}
        if texts is not None:
            body["circuits"] = {label: packed(text) for label, text in texts.items()}
        body |= changes
        given = {name: value for name, value in body.items() if value is not None}
        found = self.answer(self.http.post(f"/job/{job_id}/add_circuits/", json=given), code)
        return found if code == 200 else found["error"]

    def rows(self, job_id: str, rows: Mapping[str, list[float]], code: int = 200, **changes: Any) -> Any:
        """A fragment with a template and these rows."""
        given = {
            "circuit_template": packed(ROTATED),
            "parameter_names": ["t", "t1"],
            "parameter_sets": [{"label": label, "values": values} for label, values in rows.items()],
        }
        return self.add(job_id, None, code, **{**given, **changes})

    def run(self, circuits: Mapping[str, str], **changes: Any) -> str:
        """A job that has ended well; its id."""
        job_id = str(self.init())
        self.add(job_id, circuits, **changes)
        self.until(job_id, "COMPLETED")
        return job_id

    def status(self, job_id: str) -> str:
        return str(self.get(f"/job/{job_id}/status/")["status"])

    def results(self, job_id: str) -> dict[str, Any]:
        """All results by label; histograms are unpacked by our own reader."""
        from qjobs.backends.qoro.histograms import decode, is_encoded

        found: dict[str, Any] = {}
        offset = 0
        while True:
            page = self.get(f"/job/{job_id}/resultsV2/", limit=100, offset=offset)
            for entry in page["results"]:
                value = entry["results"]
                found[entry["label"]] = decode(value) if is_encoded(value) else value
            offset += 100
            if page["next"] is None:
                assert len(found) == page["count"]
                return found

    def cancel(self, job_id: str, code: int = 200) -> Any:
        return self.answer(self.http.post(f"/job/{job_id}/cancel/"), code)

    def delete(self, job_id: str, code: int = 204) -> Any:
        return self.answer(self.http.delete(f"/job/{job_id}"), code)

    def until(self, job_id: str, *wanted: str, timeout_s: float = 60.0) -> str:
        """Wait until the job has one of these statuses, or is final."""
        deadline = time.monotonic() + timeout_s
        while (status := self.status(job_id)) not in (wanted or FINAL):
            assert time.monotonic() < deadline, f"the job is {status}"
            assert status not in FINAL, self.get(f"/job/{job_id}/status/")
            time.sleep(0.01)
        return status
