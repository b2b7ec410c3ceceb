"""What the Nexus adapter sends, and how it takes the answers that the client qnexus got (`nexus_samples.json`)."""

from __future__ import annotations

import copy
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from qjobs.backends.base import MissingResult
from qjobs.backends.limiter import Limiter
from qjobs.backends.nexus import NexusBackend, wire
from qjobs.circuits.programs import read_circuit, to_qiskit
from qjobs.errors import (
    BackendUnavailable,
    CredentialsRejected,
    InvalidInput,
    ProtocolError,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.model import Batch, ExecuteOptions, ItemResult, ItemSpec, JobKind, Key, RemoteId
from qjobs.testing.contract import flips

SAMPLES = json.loads(Path(__file__).with_name("nexus_samples.json").read_text())
EXECUTE = SAMPLES["POST /api/jobs/v1beta3 execute -> 202"]
JOB = "GET /api/jobs/v1beta3/{id} "


def sample(name: str) -> Any:
    return copy.deepcopy(SAMPLES[name]["response"])


class Replay:
    """Answers by routes; a route is a method and a pattern of the path."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.routes: list[tuple[str, str, int, Any]] = []
        replay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length") or 0))
                path = self.path.partition("?")[0]
                replay.asked.append((self.command, self.path, json.loads(raw) if raw else None))
                code, body = replay.answer(self.command, path)
                content = json.dumps(body).encode()
                self.send_response(code)
                if path == "/auth/tokens/refresh":
                    self.send_header("set-cookie", SAMPLES["POST /auth/tokens/refresh -> 200"]["set_cookie"][0])
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = handle_any

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def on(self, method: str, path: str, code: int, body: Any) -> None:
        """The newest of two routes that fit wins."""
        self.routes.insert(0, (method, path, code, body))

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        for wanted, pattern, code, body in self.routes:
            if wanted == method and re.fullmatch(pattern, path):
                return code, body
        return 404, {"detail": "Not Found"}

    def sent(self, method: str, path: str) -> list[Any]:
        return [
            body for how, where, body in self.asked if how == method and re.fullmatch(path, where.partition("?")[0])
        ]


@pytest.fixture
def nexus() -> Iterator[Replay]:
    replay = Replay()
    replay.on("POST", "/auth/tokens/refresh", 200, {})
    projects = sample("GET /api/projects/v1beta2 -> 200")
    projects["data"][0]["attributes"]["name"] = "qjobs"
    replay.on("GET", wire.PROJECTS, 200, projects)
    replay.on("GET", wire.PROPERTIES, 200, sample("GET /api/property_definitions/v1beta2 -> 200"))
    replay.on("POST", wire.PROPERTIES, 201, sample("POST /api/property_definitions/v1beta2 -> 201"))
    replay.on("POST", wire.CIRCUITS, 201, sample("POST /api/circuits/v1beta2 -> 201"))
    replay.on("POST", wire.JOBS, 202, sample("POST /api/jobs/v1beta3 execute -> 202"))
    yield replay
    replay.server.shutdown()
    replay.server.server_close()


def open_on(nexus: Replay, device: str = "Aer", **more: Any) -> NexusBackend:
    return NexusBackend(device, url=nexus.url, token="t", limiter=Limiter(), sleep=lambda _: None, **more)


@pytest.fixture
def backend(nexus: Replay) -> Iterator[NexusBackend]:
    backend = open_on(nexus)
    yield backend
    backend.close()


def batch(kind: JobKind = JobKind.EXECUTE, **options: Any) -> Batch:
    program = read_circuit(flips(2, on=[0]))
    items = (ItemSpec(label="one", program=program.hash, shots=10),)
    return Batch(
        number=0,
        items=items,
        programs={program.hash: program},
        options=ExecuteOptions(**options),
        kind=kind,
        name="for people",
    )


def test_execute_job_sent(nexus: Replay, backend: NexusBackend) -> None:
    """An execute job goes out as the client sends it."""
    ids: list[RemoteId] = []
    backend.submit(batch(seed=5), Key("k"), ids.append)
    assert ids == [EXECUTE["response"]["data"]["id"]]
    (sent,) = nexus.sent("POST", wire.JOBS)
    assert set(sent["data"]) == set(EXECUTE["request"]["data"])
    ours = sent["data"]["attributes"]
    theirs = EXECUTE["request"]["data"]["attributes"]
    assert set(ours) == set(theirs)
    assert set(ours["definition"]) == set(theirs["definition"])
    for name in ("job_definition_type", "user_group", "target_region", "valid_check", "language", "credential_name"):
        assert ours["definition"][name] == theirs["definition"][name]
    assert ours["definition"]["backend_config"] == {"type": "AerConfig", "seed": 5}
    assert ours["definition"]["items"] == [
        {"program_id": SAMPLES["POST /api/circuits/v1beta2 -> 201"]["response"]["data"]["id"], "n_shots": 10}
    ]
    assert (ours["name"], ours["description"], ours["properties"]) == ("qjobs-k", "for people", {"qjobs_key": "k"})


def test_compile_job_sent(nexus: Replay, backend: NexusBackend) -> None:
    """A compile job goes out as the client sends it."""
    recorded = SAMPLES["POST /api/jobs/v1beta3 compile -> 202"]["request"]["data"]["attributes"]
    backend.submit(batch(JobKind.COMPILE, level=1), Key("k"), lambda _: None)
    ours = nexus.sent("POST", wire.JOBS)[0]["data"]["attributes"]
    assert set(ours["definition"]) == set(recorded["definition"])
    assert (ours["job_type"], ours["definition"]["optimisation_level"]) == ("compile", 1)
    assert [set(item) for item in ours["definition"]["items"]] == [{"program_id"}]


def test_circuit_and_property_sent(nexus: Replay, backend: NexusBackend) -> None:
    """A circuit and a property go out as the client sends them."""
    backend.submit(batch(), Key("k"), lambda _: None)
    for name, path in (
        ("POST /api/circuits/v1beta2 -> 201", wire.CIRCUITS),
        ("POST /api/property_definitions/v1beta2 -> 201", wire.PROPERTIES),
    ):
        recorded = SAMPLES[name]["request"]["data"]
        (ours,) = nexus.sent("POST", path)
        assert set(ours["data"]) == set(recorded)
        assert set(ours["data"]["attributes"]) == set(recorded["attributes"])
        assert set(ours["data"]["relationships"]) == set(recorded["relationships"])


def test_account_settings_sent(nexus: Replay) -> None:
    """Group, region, cost cap and configuration go with the job."""
    backend = open_on(nexus, "H1-1E", user_group="lab", region="us", max_cost=12.5, config={"noisy_simulation": False})
    backend.submit(batch(seed=5), Key("k"), lambda _: None)
    definition = nexus.sent("POST", wire.JOBS)[0]["data"]["attributes"]["definition"]
    assert (definition["user_group"], definition["target_region"]) == ("lab", "us")
    assert definition["items"][0]["max_cost"] == 12.5
    config = {"type": "QuantinuumConfig", "device_name": "H1-1E", "noisy_simulation": False}
    assert definition["backend_config"] == config, "a machine has no seed"
    backend.close()


def test_property_not_allowed(nexus: Replay, backend: NexusBackend) -> None:
    """Who may not define the property of our keys can submit all the same."""
    nexus.on("POST", wire.PROPERTIES, 403, {"message": "only administrators define properties"})
    backend.submit(batch(), Key("k"), lambda _: None)
    assert nexus.sent("POST", wire.JOBS)[0]["data"]["attributes"]["properties"] == {}


@pytest.mark.parametrize(
    ("code", "body", "error"),
    [
        (400, sample("POST /api/jobs/v1beta3 execute -> 400"), SubmissionRejected),
        (403, sample("POST /api/jobs/v1beta3 execute -> 403"), CredentialsRejected),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, SubmissionRejected),
        (202, {"data": {}}, SubmissionUnknown),
        (202, [], SubmissionUnknown),
    ],
)
def test_answers_to_a_submission(
    nexus: Replay, backend: NexusBackend, code: int, body: Any, error: type[Exception]
) -> None:
    """One POST, and an error that says what it means."""
    nexus.on("POST", wire.JOBS, code, body)
    ids: list[RemoteId] = []
    with pytest.raises(error) as caught:
        backend.submit(batch(), Key("k"), ids.append)
    assert ids == []
    assert len(nexus.sent("POST", wire.JOBS)) == 1
    words = {400: "current region", 403: "made_up_group", 422: "field required"}
    assert words.get(code, "") in str(caught.value)


@pytest.mark.parametrize("code", [400, 404, 413, 422])
def test_refused_program(nexus: Replay, backend: NexusBackend, code: int) -> None:
    """A refused program refuses the job, which is not sent."""
    nexus.on("POST", wire.CIRCUITS, code, {"message": "too large for us"})
    with pytest.raises(SubmissionRejected, match="too large for us"):
        backend.submit(batch(), Key("k"), lambda _: None)
    assert nexus.sent("POST", wire.JOBS) == []


def test_upload_after_refusal(nexus: Replay, backend: NexusBackend) -> None:
    """After a refusal programs are uploaded again: Nexus may have lost one."""
    nexus.on("POST", wire.JOBS, 400, {"message": "program not found"})
    for n in (1, 2):
        with pytest.raises(SubmissionRejected):
            backend.submit(batch(), Key("k"), lambda _: None)
        assert len(nexus.sent("POST", wire.CIRCUITS)) == n


def test_deleted_project(nexus: Replay, backend: NexusBackend) -> None:
    """A project that was deleted is looked up again."""
    backend.submit(batch(), Key("k"), lambda _: None)
    nexus.on("POST", wire.JOBS, 404, {"message": "project not found"})
    with pytest.raises(SubmissionRejected):
        backend.submit(batch(), Key("k2"), lambda _: None)
    projects = sample("GET /api/projects/v1beta2 -> 200")
    projects["data"][0] |= {"id": "another"}
    projects["data"][0]["attributes"]["name"] = "qjobs"
    nexus.on("GET", wire.PROJECTS, 200, projects)
    nexus.on("POST", wire.JOBS, 202, sample("POST /api/jobs/v1beta3 execute -> 202"))
    backend.submit(batch(), Key("k3"), lambda _: None)
    sent = nexus.sent("POST", wire.JOBS)[-1]["data"]["relationships"]["project"]["data"]["id"]
    assert (sent, len(nexus.sent("POST", wire.CIRCUITS))) == ("another", 2)


def test_lease_kept_at_upload(nexus: Replay) -> None:
    """The lease is renewed while programs are uploaded, before the job is sent."""
    clock = iter(range(0, 100_000, 20))
    backend = open_on(nexus, monotonic=lambda: float(next(clock)))
    n_sent: list[int] = []
    backend.submit(batch(), Key("k"), lambda _: None, lambda: n_sent.append(len(nexus.sent("POST", wire.JOBS))))
    assert len(n_sent) >= 2, "once at least before the request leaves"
    assert set(n_sent) == {0}
    backend.close()


def test_partial_results(nexus: Replay, backend: NexusBackend) -> None:
    """What finished is kept beside what failed."""
    nexus.on("GET", f"{wire.JOBS}/.*", 200, sample(JOB + "execute ERROR -> 200"))
    result = sample("GET /api/results/v1beta3/{id} -> 200")
    result["data"]["attributes"]["shots"]["array"] = [[64], [0], [128], [64]]
    nexus.on("GET", f"{wire.RESULTS}/544c2af4-c994-4f16-8edd-05e96769acad", 200, result)
    failed, done = backend.results(RemoteId("j"))
    assert isinstance(failed, MissingResult)
    assert "does not support" in failed.reason
    assert done == ItemResult(counts={"10": 2, "00": 1, "01": 1})


@pytest.mark.parametrize("code", [404, 410])
def test_result_is_gone(nexus: Replay, backend: NexusBackend, code: int) -> None:
    """A result that Nexus has no longer is missing, and says so."""
    nexus.on("GET", f"{wire.JOBS}/.*", 200, sample(JOB + "execute ERROR -> 200"))
    nexus.on("GET", f"{wire.RESULTS}/.*", code, {"message": "gone"})
    _, gone = backend.results(RemoteId("j"))
    assert isinstance(gone, MissingResult)
    assert "no longer" in gone.reason


def test_late_result(nexus: Replay) -> None:
    """COMPLETED without a result is asked again for a while; then it is what a syntax checker does."""
    now = [0.0]
    backend = open_on(nexus, monotonic=lambda: now[0])
    body = sample(JOB + "execute COMPLETED -> 200")
    (item,) = body["data"]["attributes"]["definition"]["items"]
    assert "result_id" not in item
    item["status"]["completed_time"] = "2099-01-01T00:00:00+00:00"
    nexus.on("GET", f"{wire.JOBS}/.*", 200, body)
    for now[0] in (0.0, 59.0):
        with pytest.raises(BackendUnavailable, match="not there yet"):
            backend.results(RemoteId("j"))
    now[0] = 61.0
    (entry,) = backend.results(RemoteId("j"))
    assert isinstance(entry, MissingResult)
    item["status"]["completed_time"] = "2024-01-01T00:00:00Z"
    assert isinstance(backend.results(RemoteId("another"))[0], MissingResult), "nobody waits for an old one"
    backend.close()


def test_compiled_circuit(nexus: Replay, backend: NexusBackend) -> None:
    """A compile job gives programs."""
    nexus.on("GET", f"{wire.JOBS}/.*", 200, sample(JOB + "compile COMPLETED -> 200"))
    nexus.on("GET", f"{wire.COMPILATIONS}/4668f3df.*", 200, sample("GET /api/compilations/v1beta3/{id} -> 200"))
    nexus.on("GET", f"{wire.CIRCUITS}/3a704fbd.*", 200, sample("GET /api/circuits/v1beta2/{id} -> 200"))
    (entry,) = backend.results(RemoteId("j"))
    assert isinstance(entry, ItemResult)
    assert entry.program is not None
    assert dict(to_qiskit(entry.program).count_ops()) == {"measure": 2, "h": 1, "cx": 1}


def test_cancel_final_job(nexus: Replay, backend: NexusBackend) -> None:
    """A refused cancellation is an error only for a job that is not final."""
    nexus.on("POST", f"{wire.JOBS}/.*/rpc/cancel", 422, {"message": "the job is final"})
    nexus.on("GET", f"{wire.JOBS}/.*", 200, sample(JOB + "execute COMPLETED -> 200"))
    backend.cancel(RemoteId("j"))
    assert nexus.sent("POST", f"{wire.JOBS}/j/rpc/cancel") == [{}], "a missing body was a 422"
    nexus.on("GET", f"{wire.JOBS}/.*", 200, sample(JOB + "execute SUBMITTED -> 200"))
    with pytest.raises(ProtocolError, match="the job is final"):
        backend.cancel(RemoteId("j"))


def test_moves_are_logged(nexus: Replay, backend: NexusBackend, caplog: pytest.LogCaptureFixture) -> None:
    """Who reads the log knows which job was created and cancelled, and has no token."""
    caplog.set_level("DEBUG", "qjobs")
    backend.submit(batch(), Key("k"), lambda _: None)
    nexus.on("POST", f"{wire.JOBS}/.*/rpc/cancel", 202, {})
    backend.cancel(RemoteId("j"))
    moves = [record.getMessage() for record in caplog.records if record.levelname == "INFO"]
    assert f"nexus: created job {EXECUTE['response']['data']['id']} of 1 items, key k" in moves
    assert "nexus: asked to cancel job j" in moves
    access = SAMPLES["POST /auth/tokens/refresh -> 200"]["set_cookie"][0].partition(";")[0].partition("=")[2]
    assert access
    assert access not in caplog.text


def test_similar_names(nexus: Replay, backend: NexusBackend) -> None:
    """A name that only looks like ours is not ours."""
    listed = sample("GET /api/jobs/v1beta3 -> 200")
    nexus.on("GET", wire.JOBS, 200, listed)
    assert backend.find(Key("k")) is None
    assert backend.remote_jobs() == []
    listed["data"][0]["attributes"]["name"] = "qjobs-k"
    assert backend.find(Key("k")) == listed["data"][0]["id"]
    assert backend.find(Key("K")) is None
    (ours,) = backend.remote_jobs() or []
    assert (ours.remote_id, ours.key, ours.n_items) == (listed["data"][0]["id"], "k", 1)


def test_id_stays_in_its_path(nexus: Replay, backend: NexusBackend) -> None:
    """An id cannot lead to another route."""
    assert backend.status([RemoteId("../../users/v1beta2/me?x=1#")]) == {}
    assert nexus.asked[-1][1].startswith("/api/jobs/v1beta3/..%2F..%2Fusers%2Fv1beta2%2Fme%3Fx%3D1%23?scope")


@pytest.mark.parametrize("wrong", [{"device": ""}, {"project": ""}, {"prefix": ""}])
def test_bad_settings(wrong: dict[str, str]) -> None:
    """Settings that cannot work are refused when the backend is opened."""
    with pytest.raises(InvalidInput):
        NexusBackend(**{"device": "Aer", "token": "t"} | wrong)
