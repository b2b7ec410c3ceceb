"""A server that answers as Nexus did to the client qnexus (`nexus_samples.json`), and backends on it."""

from __future__ import annotations

import copy
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from qiskit import QuantumCircuit

from qjobs.backends.limiter import Limiter
from qjobs.backends.nexus import NexusBackend, wire
from qjobs.circuits.programs import read_circuit
from qjobs.model import Batch, ExecuteOptions, ItemSpec, JobKind, Program, RemoteId

SAMPLES = json.loads(Path(__file__).with_name("nexus_samples.json").read_text())
EXECUTE = SAMPLES["POST /api/jobs/v1beta3 execute -> 202"]
JOB = "GET /api/jobs/v1beta3/{id} "


def sample(name: str) -> Any:
    return copy.deepcopy(SAMPLES[name]["response"])


class Journal:
    """Notes every step of a submission, and what had been sent by then."""

    def __init__(self, nexus: Replay) -> None:
        self.nexus = nexus
        self.steps: list[tuple[str, int]] = []
        self.ids: list[RemoteId] = []

    def _note(self, step: str) -> None:
        self.steps.append((step, len(self.nexus.sent("POST", wire.JOBS))))

    def preparing(self) -> None:
        self._note("preparing")

    def sending(self) -> None:
        self._note("sending")

    def reserved(self, remote_id: RemoteId) -> None:
        self._note("reserved")

    def accepted(self, remote_id: RemoteId) -> None:
        self._note("accepted")
        self.ids.append(remote_id)


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Stay silent when a client goes away."""


class Replay:
    """Answers by routes; a route is a method and a pattern of the path. A text is answered as a page."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.routes: list[tuple[str, str, int, Any]] = []
        self.turns: dict[tuple[str, str], list[tuple[int, Any]]] = {}
        replay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length") or 0))
                path = self.path.partition("?")[0]
                replay.asked.append((self.command, self.path, json.loads(raw) if raw else None))
                code, body = replay.answer(self.command, path)
                is_page = isinstance(body, str)
                content = body.encode() if is_page else json.dumps(body).encode()
                self.send_response(code)
                self.send_header("content-type", "text/html" if is_page else "application/json")
                if path == "/auth/tokens/refresh":
                    self.send_header("set-cookie", SAMPLES["POST /auth/tokens/refresh -> 200"]["set_cookie"][0])
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = handle_any

            def log_message(self, *_: object) -> None:
                pass

        self.server = _Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def on(self, method: str, path: str, code: int, body: Any) -> None:
        """The newest of two routes that fit wins."""
        self.routes.insert(0, (method, path, code, body))

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        for wanted, pattern, code, body in self.routes:
            if wanted == method and re.fullmatch(pattern, path):
                turns = self.turns.get((method, pattern), [])
                return turns.pop(0) if turns else (code, body)
        return 404, {"detail": "Not Found"}

    def on_each(self, method: str, path: str, *answers: tuple[int, Any]) -> None:
        """Answer so, one after the other, and with the last one from then on."""
        self.on(method, path, *answers[-1])
        self.turns[(method, path)] = list(answers)

    def sent(self, method: str, path: str) -> list[Any]:
        return [
            body for how, where, body in self.asked if how == method and re.fullmatch(path, where.partition("?")[0])
        ]


@contextmanager
def replaying() -> Iterator[Replay]:
    replay = Replay()
    replay.on("POST", "/auth/tokens/refresh", 200, {})
    projects = sample("GET /api/projects/v1beta2 -> 200")
    projects["data"][0]["attributes"]["name"] = "qjobs"
    replay.on("GET", wire.PROJECTS, 200, projects)
    replay.on("GET", wire.PROPERTIES, 200, sample("GET /api/property_definitions/v1beta2 -> 200"))
    replay.on("POST", wire.PROPERTIES, 201, sample("POST /api/property_definitions/v1beta2 -> 201"))
    replay.on("POST", wire.CIRCUITS, 201, sample("POST /api/circuits/v1beta2 -> 201"))
    replay.on("POST", wire.JOBS, 202, sample("POST /api/jobs/v1beta3 execute -> 202"))
    replay.on("GET", f"{wire.JOBS}/meta/count", 200, {"count": 1})
    replay.on("GET", wire.ME, 200, {"data": {"id": "u", "attributes": {"display_name": "somebody"}}})
    try:
        yield replay
    finally:
        replay.server.shutdown()
        replay.server.server_close()


def open_on(nexus: Replay, device: str = "Aer", **more: Any) -> NexusBackend:
    return NexusBackend(device, url=nexus.url, token="t", limiter=Limiter(), sleep=lambda _: None, **more)


def flip() -> Program:
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.measure([0, 1], [0, 1])
    return read_circuit(circuit)


def batch(
    kind: JobKind = JobKind.EXECUTE, *, program: Program | None = None, shots: int = 10, n: int = 1, **options: Any
) -> Batch:
    program = program or flip()
    return Batch(
        number=0,
        items=tuple(ItemSpec(label=f"item {index}", program=program.hash, shots=shots) for index in range(n)),
        programs={program.hash: program},
        options=ExecuteOptions(**options),
        kind=kind,
        name="for people",
    )
