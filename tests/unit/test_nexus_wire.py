"""The Nexus adapter against recorded answers (`nexus_samples.json`: what the client qnexus sent and was answered)."""

from __future__ import annotations

import copy
import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytket.backends.backendresult import BackendResult
from pytket.circuit import Bit
from pytket.utils.outcomearray import OutcomeArray

from qjobs.backends.base import MissingResult
from qjobs.backends.limiter import Limiter
from qjobs.backends.nexus import NexusBackend, wire
from qjobs.backends.nexus.counts import counts_of
from qjobs.backends.nexus.devices import config_of, target_in
from qjobs.circuits.programs import read_circuit, to_qiskit
from qjobs.errors import (
    BackendUnavailable,
    CredentialsRejected,
    InvalidInput,
    ProtocolError,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ExecuteOptions, ItemResult, ItemSpec, JobKind, Key, RemoteId
from qjobs.testing.contract import flips

SAMPLES = json.loads(Path(__file__).with_name("nexus_samples.json").read_text())
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


# --- what is sent -----------------------------------------------------------------------------------------


def test_an_execute_job_is_sent_as_the_client_sends_it(nexus: Replay, backend: NexusBackend) -> None:
    recorded = SAMPLES["POST /api/jobs/v1beta3 execute -> 202"]
    ids: list[RemoteId] = []
    backend.submit(batch(seed=5), Key("k"), ids.append)
    assert ids == [recorded["response"]["data"]["id"]]
    (sent,) = nexus.sent("POST", wire.JOBS)
    ours, theirs = (each["data"]["attributes"] for each in (sent, recorded["request"]))
    assert set(sent["data"]) == set(recorded["request"]["data"])
    assert set(ours) == set(theirs)
    assert set(ours["definition"]) == set(theirs["definition"])
    for name in ("job_definition_type", "user_group", "target_region", "valid_check", "language", "credential_name"):
        assert ours["definition"][name] == theirs["definition"][name]
    assert ours["definition"]["backend_config"] == {"type": "AerConfig", "seed": 5}
    assert ours["definition"]["items"] == [
        {"program_id": SAMPLES["POST /api/circuits/v1beta2 -> 201"]["response"]["data"]["id"], "n_shots": 10}
    ]
    assert (ours["name"], ours["description"], ours["properties"]) == ("qjobs-k", "for people", {"qjobs_key": "k"})


def test_a_compile_job_is_sent_as_the_client_sends_it(nexus: Replay, backend: NexusBackend) -> None:
    recorded = SAMPLES["POST /api/jobs/v1beta3 compile -> 202"]["request"]["data"]["attributes"]
    backend.submit(batch(JobKind.COMPILE, level=1), Key("k"), lambda _: None)
    ours = nexus.sent("POST", wire.JOBS)[0]["data"]["attributes"]
    assert set(ours["definition"]) == set(recorded["definition"])
    assert (ours["job_type"], ours["definition"]["optimisation_level"]) == ("compile", 1)
    assert [set(item) for item in ours["definition"]["items"]] == [{"program_id"}]


def test_a_circuit_and_a_property_are_sent_as_the_client_sends_them(nexus: Replay, backend: NexusBackend) -> None:
    backend.submit(batch(), Key("k"), lambda _: None)
    for name, path in (
        ("POST /api/circuits/v1beta2 -> 201", wire.CIRCUITS),
        ("POST /api/property_definitions/v1beta2 -> 201", wire.PROPERTIES),
    ):
        recorded, (ours,) = SAMPLES[name]["request"]["data"], nexus.sent("POST", path)
        assert set(ours["data"]) == set(recorded)
        assert set(ours["data"]["attributes"]) == set(recorded["attributes"])
        assert set(ours["data"]["relationships"]) == set(recorded["relationships"])


def test_settings_of_an_account_go_with_the_job(nexus: Replay) -> None:
    backend = open_on(nexus, "H1-1E", user_group="lab", region="us", max_cost=12.5, config={"noisy_simulation": False})
    backend.submit(batch(seed=5), Key("k"), lambda _: None)
    definition = nexus.sent("POST", wire.JOBS)[0]["data"]["attributes"]["definition"]
    assert (definition["user_group"], definition["target_region"]) == ("lab", "us")
    assert definition["items"][0]["max_cost"] == 12.5
    config = {"type": "QuantinuumConfig", "device_name": "H1-1E", "noisy_simulation": False}
    assert definition["backend_config"] == config, "a machine has no seed"
    backend.close()


@pytest.mark.parametrize(
    ("device", "config"),
    [
        ("aer", {"type": "AerConfig"}),
        ("AerConfig", {"type": "AerConfig"}),
        ("aer_simulator", {"type": "AerConfig"}),
        ("Selene", {"type": "SeleneConfig"}),
        ("H2-1SC", {"type": "QuantinuumConfig", "device_name": "H2-1SC"}),
        ("Reimei", {"type": "QuantinuumConfig", "device_name": "Reimei"}),
        ("Helios-1E", {"type": "HeliosConfig", "system_name": "Helios-1E"}),
    ],
)
def test_devices_by_name(device: str, config: dict[str, str]) -> None:
    assert config_of(device, {}, None) == config


def test_without_the_property_jobs_go_on(nexus: Replay, backend: NexusBackend) -> None:
    nexus.on("POST", wire.PROPERTIES, 403, {"message": "only administrators define properties"})
    backend.submit(batch(), Key("k"), lambda _: None)
    assert nexus.sent("POST", wire.JOBS)[0]["data"]["attributes"]["properties"] == {}


# --- what is answered -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "body", "error"),
    [
        (400, sample("POST /api/jobs/v1beta3 execute -> 400"), SubmissionRejected),
        (403, sample("POST /api/jobs/v1beta3 execute -> 403"), CredentialsRejected),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, SubmissionRejected),
        (404, {"detail": "Not Found"}, SubmissionRejected),
        (500, {"message": "oops"}, SubmissionUnknown),
        (202, {"data": {}}, SubmissionUnknown),
        (202, [], SubmissionUnknown),
    ],
)
def test_answers_to_a_submission(
    nexus: Replay, backend: NexusBackend, code: int, body: Any, error: type[Exception]
) -> None:
    nexus.on("POST", wire.JOBS, code, body)
    ids: list[RemoteId] = []
    with pytest.raises(error) as caught:
        backend.submit(batch(), Key("k"), ids.append)
    assert ids == []
    assert len(nexus.sent("POST", wire.JOBS)) == 1
    words = {400: "current region", 403: "made_up_group", 422: "field required", 404: "Not Found"}
    assert words.get(code, "") in str(caught.value)


@pytest.mark.parametrize("code", [400, 404, 413, 422])
def test_a_refused_program_refuses_the_job(nexus: Replay, backend: NexusBackend, code: int) -> None:
    nexus.on("POST", wire.CIRCUITS, code, {"message": "too large for us"})
    with pytest.raises(SubmissionRejected, match="too large for us"):
        backend.submit(batch(), Key("k"), lambda _: None)
    assert nexus.sent("POST", wire.JOBS) == []


def test_programs_are_uploaded_again_after_a_refusal(nexus: Replay, backend: NexusBackend) -> None:
    nexus.on("POST", wire.JOBS, 400, {"message": "program not found"})
    for n in (1, 2):
        with pytest.raises(SubmissionRejected):
            backend.submit(batch(), Key("k"), lambda _: None)
        assert len(nexus.sent("POST", wire.CIRCUITS)) == n


def test_a_project_that_was_deleted_is_looked_up_again(nexus: Replay, backend: NexusBackend) -> None:
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


def test_the_lease_is_renewed_while_programs_are_uploaded(nexus: Replay) -> None:
    clock = iter(range(0, 100_000, 20))
    backend = open_on(nexus)
    backend._monotonic = lambda: float(next(clock))
    uploads: list[int] = []
    backend.submit(batch(), Key("k"), lambda _: None, lambda: uploads.append(len(nexus.sent("POST", wire.JOBS))))
    assert len(uploads) >= 2, "once at least before the request leaves"
    assert set(uploads) == {0}
    backend.close()


def test_the_table_of_statuses_is_total() -> None:
    ours = {JobStatus.CREATED, JobStatus.SUBMITTING, JobStatus.UNKNOWN}
    assert set(wire.STATUSES.values()) == set(JobStatus) - ours
    assert all(word == status for word, status in wire.STATUSES.items())


def test_a_recorded_job_is_understood() -> None:
    job = sample(JOB + "execute ERROR -> 200")["data"]
    snapshot = wire.snapshot_of(job, with_items=True)
    assert (snapshot.status, snapshot.remote_status, snapshot.cost) == (JobStatus.ERROR, "ERROR", 5.04)
    assert "compile it for H1-1LE first" in snapshot.message
    assert snapshot.items is not None
    failed, done = snapshot.items
    assert failed.error_detail == "Circuit contains gates that H1-1LE does not support; compile it for H1-1LE first"
    assert (done.status, done.cost) == (JobStatus.COMPLETED, 5.04)
    assert done.times[JobStatus.COMPLETED] == datetime(2026, 11, 21, 5, 3, 5, 400589, UTC)
    assert wire.snapshot_of(job, with_items=False).items is None


@pytest.mark.parametrize(
    "job",
    [
        None,
        [],
        {},
        {"attributes": None},
        {"attributes": {"status": "QUEUED"}},
        {"attributes": {"status": {}}},
        {"attributes": {"status": {"status": 7}}},
        {"attributes": {"status": {"status": "queued"}}},
    ],
)
def test_what_is_no_job_is_told(job: Any) -> None:
    with pytest.raises(ProtocolError):
        wire.snapshot_of(job, with_items=True)


def test_results_of_what_failed_and_what_did_not(nexus: Replay, backend: NexusBackend) -> None:
    nexus.on("GET", f"{wire.JOBS}/.*", 200, sample(JOB + "execute ERROR -> 200"))
    result = sample("GET /api/results/v1beta3/{id} -> 200")
    result["data"]["attributes"]["shots"]["array"] = [[64], [0], [128], [64]]
    nexus.on("GET", f"{wire.RESULTS}/544c2af4-c994-4f16-8edd-05e96769acad", 200, result)
    failed, done = backend.results(RemoteId("j"))
    assert isinstance(failed, MissingResult)
    assert "does not support" in failed.reason
    assert done == ItemResult(counts={"10": 2, "00": 1, "01": 1})


@pytest.mark.parametrize("code", [404, 410])
def test_a_result_that_is_gone_is_missing(nexus: Replay, backend: NexusBackend, code: int) -> None:
    nexus.on("GET", f"{wire.JOBS}/.*", 200, sample(JOB + "execute ERROR -> 200"))
    nexus.on("GET", f"{wire.RESULTS}/.*", code, {"message": "gone"})
    _, gone = backend.results(RemoteId("j"))
    assert isinstance(gone, MissingResult)
    assert "no longer" in gone.reason


def test_a_result_may_come_after_its_status(nexus: Replay) -> None:
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


def test_a_compiled_circuit_is_a_program(nexus: Replay, backend: NexusBackend) -> None:
    nexus.on("GET", f"{wire.JOBS}/.*", 200, sample(JOB + "compile COMPLETED -> 200"))
    nexus.on("GET", f"{wire.COMPILATIONS}/4668f3df.*", 200, sample("GET /api/compilations/v1beta3/{id} -> 200"))
    nexus.on("GET", f"{wire.CIRCUITS}/3a704fbd.*", 200, sample("GET /api/circuits/v1beta2/{id} -> 200"))
    (entry,) = backend.results(RemoteId("j"))
    assert isinstance(entry, ItemResult)
    assert entry.program is not None
    assert dict(to_qiskit(entry.program).count_ops()) == {"measure": 2, "h": 1, "cx": 1}


def test_a_final_job_that_cannot_be_cancelled_is_left_alone(nexus: Replay, backend: NexusBackend) -> None:
    nexus.on("POST", f"{wire.JOBS}/.*/rpc/cancel", 422, {"message": "the job is final"})
    nexus.on("GET", f"{wire.JOBS}/.*", 200, sample(JOB + "execute COMPLETED -> 200"))
    backend.cancel(RemoteId("j"))
    assert nexus.sent("POST", f"{wire.JOBS}/j/rpc/cancel") == [{}], "a missing body was a 422"
    nexus.on("GET", f"{wire.JOBS}/.*", 200, sample(JOB + "execute SUBMITTED -> 200"))
    with pytest.raises(ProtocolError, match="the job is final"):
        backend.cancel(RemoteId("j"))


def test_a_name_that_only_looks_alike_is_not_ours(nexus: Replay, backend: NexusBackend) -> None:
    listed = sample("GET /api/jobs/v1beta3 -> 200")
    nexus.on("GET", wire.JOBS, 200, listed)
    assert backend.find(Key("k")) is None
    assert backend.remote_jobs() == []
    listed["data"][0]["attributes"]["name"] = "qjobs-k"
    assert backend.find(Key("k")) == listed["data"][0]["id"]
    assert backend.find(Key("K")) is None
    (ours,) = backend.remote_jobs() or []
    assert (ours.remote_id, ours.key, ours.n_items) == (listed["data"][0]["id"], "k", 1)


def test_an_id_stays_inside_its_path(nexus: Replay, backend: NexusBackend) -> None:
    assert backend.status([RemoteId("../../users/v1beta2/me?x=1#")]) == {}
    assert nexus.asked[-1][1].startswith("/api/jobs/v1beta3/..%2F..%2Fusers%2Fv1beta2%2Fme%3Fx%3D1%23?scope")


def test_a_recorded_list_of_devices() -> None:
    devices = sample("GET /api/v5/available_devices -> 200")
    devices = [each for each in devices if isinstance(each, dict)]
    assert target_in(devices, "H2-1LE", config_of("H2-1LE", {}, None)).n_qubits == 56
    assert target_in(devices, "Aer", config_of("Aer", {}, None)).n_qubits == 40
    lines = {"nodes": [], "n_nodes": 3, "edges": [[["node", [0]], ["node", [1]]], [["node", [1]], ["node", [2]]]]}
    devices[0]["backend_info_list"][0]["device"] = lines
    assert target_in(devices, "Aer", config_of("Aer", {}, None)).coupling == ((0, 1), (1, 0), (1, 2), (2, 1))
    with pytest.raises(ProtocolError):
        target_in({}, "Aer", config_of("Aer", {}, None))


# --- counts -----------------------------------------------------------------------------------------------

bits = st.lists(
    st.builds(Bit, st.sampled_from(["a", "b", "c", "c_10", "C"]), st.integers(0, 12)),
    min_size=1,
    max_size=14,
    unique=True,
)


@given(st.data(), bits, st.booleans())
def test_counts_are_pytkets_with_bit_zero_rightmost(data: st.DataObject, order: list[Bit], as_shots: bool) -> None:
    rows = data.draw(
        st.lists(st.lists(st.integers(0, 1), min_size=len(order), max_size=len(order)), min_size=1, max_size=9)
    )
    table = OutcomeArray.from_readouts(rows)
    result = (
        BackendResult(shots=table, c_bits=order) if as_shots else BackendResult(counts=table.counts(), c_bits=order)
    )
    body = json.loads(json.dumps(result.to_dict(), default=int))
    highest = {bit.reg_name: max(b.index[0] for b in order if b.reg_name == bit.reg_name) for bit in order}
    everything = [Bit(name, n) for name in sorted(highest) for n in range(highest[name] + 1)]
    expected: dict[str, int] = {}
    for row in rows:
        value = dict(zip(order, row, strict=True))
        word = "".join(str(value.get(bit, 0)) for bit in reversed(everything))
        expected[word] = expected.get(word, 0) + 1
    assert counts_of(body) == expected


@pytest.mark.parametrize(
    "attributes",
    [
        None,
        {},
        {"bits": [], "shots": {"width": 1, "array": [[128]]}},
        {"bits": [["c", [0]]], "shots": {"width": 1, "array": [["x"]]}},
        {"bits": [["c", [0]]], "shots": {"width": 1, "array": ["... 4 more"]}},
        {"bits": [["c", [0]]], "shots": {"width": 1, "array": [[128, 0]]}},
        {"bits": [["c", [0]]], "shots": {"width": 1, "array": [[256]]}},
        {"bits": [["c", [0]], ["c", [0]]], "shots": {"width": 2, "array": [[128]]}},
        {"bits": [["c", [10**9]]], "shots": {"width": 1, "array": [[128]]}},
        {"bits": [["c", [0]]], "counts": [{"outcome": {"width": 1, "array": [[128]]}, "count": 0.5}]},
        {"bits": 3, "counts": [{"outcome": {"width": 1, "array": [[128]]}, "count": 1}]},
    ],
)
def test_what_is_no_table_is_told(attributes: Any) -> None:
    with pytest.raises(ProtocolError):
        counts_of(attributes)


# --- settings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"device": ""}, {"project": ""}, {"prefix": ""}, {"url": "nexus"}])
def test_bad_settings_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        NexusBackend(**{"device": "Aer", "token": "t"} | wrong)


def test_a_missing_file_of_certificates_is_told() -> None:
    with pytest.raises(InvalidInput, match=r"none\.pem"):
        NexusBackend("Aer", token="t", verify="/nowhere/none.pem")
