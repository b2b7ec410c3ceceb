"""Jobs of Qoro run in the service's own queues."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import uvicorn
from own_service import OwnService
from pytket.backends.backendresult import BackendResult
from qoro_person import BELL, FLIPS, ROTATED, QoroPerson, observables, packed
from standing_service import fresh_database

from qjobs.backends.limiter import Limiter
from qjobs.backends.qoro import QoroBackend
from qjobs.lifecycle import JobStatus
from qjobs.service import tables as schema
from qjobs.service.app import create_app
from qjobs.service.tables import QoroStatus
from qjobs.testing.contract import RecordingJournal, new_key
from qjobs.testing.contract.steps import ContractSteps

PI = 3.141592653589793
DEVICES = """
devices:
  - {name: Aer, kind: nexus-hosted, backend: AerBackend, config: AerConfig, n_qubits: 20}
  - {name: native, kind: nexus-hosted, backend: B, config: NativeConfig, n_qubits: 5, native_only: true,
     gate_set: [PhasedX, Rz, ZZPhase, ZZMax, Measure]}
  - {name: queued, kind: hardware, backend: B, config: QueuedConfig, n_qubits: 5, queue_time_s: 1814400}
  - {name: broken, kind: hardware, backend: B, config: BrokenConfig, n_qubits: 5, failure_rate: 1.0}
  - {name: half, kind: hardware, backend: B, config: HalfConfig, n_qubits: 5, failure_rate: 0.5}
  - {name: deaf, kind: nexus-hosted, backend: B, config: DeafConfig, n_qubits: 5, drop_rate: 1.0}
  - {name: priced, kind: hardware, backend: B, config: PricedConfig, n_qubits: 5, costs: hqc}
"""


class Served(OwnService):
    """A service that works, in this process, on a real port, and its user with a token."""

    def __init__(self, folder: Path, **more: Any) -> None:
        super().__init__(folder, devices=DEVICES, **more)
        app = create_app(self.service)
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical")
        self.qoro = app.state.qoro
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        self.until(lambda: self._server.started)
        url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"
        self.url = f"{url}/qoro/api"
        self.token = self.service.sessions.issue(self.user.email, 3600.0)
        self.person = QoroPerson(url, self.token)

    def close(self) -> None:
        self.person.http.close()
        self._server.should_exit = True
        self._thread.join(30)
        super().close()

    def executions(self) -> list[tuple[str, str, str]]:
        """The jobs of the service: type, name and status."""
        return sorted((row.job_type, row.name, row.status) for row in self.rows(schema.job))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service whose jobs take 40 circuits at most, so that many become several."""
    with contextlib.closing(Served(tmp_path_factory.mktemp("qoro"), max_items=40)) as served:
        yield served


@pytest.fixture
def ada(served: Served) -> QoroPerson:
    """Its user."""
    return served.person


def test_counts(ada: QoroPerson) -> None:
    """Counts by label, bit 0 rightmost, each circuit with its own shots."""
    job_id = ada.run(FLIPS, shots=None, shot_groups=[[1, 3, 7], [0, 1, 5]])
    assert ada.results(job_id) == {"none": {"00": 5}, "a": {"01": 7}, "b": {"10": 7}}
    assert ada.get(f"/job/{job_id}/status/")["run_time"] >= 0


def test_null_shots(ada: QoroPerson) -> None:
    """Without shots, or with null, as Divi 0.13 sends it, a circuit has 1000."""
    assert ada.results(ada.run({"a": FLIPS["a"]}, shots=None)) == {"a": {"01": 1000}}


def test_expectations(ada: QoroPerson) -> None:
    """Values are exact, by term with qubit 0 leftmost; a narrow term acts on the first qubits."""
    job_id = ada.init(job_type="EXPECTATION")
    narrow = observables("Z0;X0", n_qubits=1)
    ada.add(job_id, {"a": FLIPS["a"], "bell": BELL}, observables=f"{observables('Z0;Z1;X0X1;I')}|{narrow}")
    ada.until(job_id, "COMPLETED")
    found = ada.results(job_id)
    assert found["a"] == pytest.approx({"ZI": -1, "IZ": 1, "XX": 0, "II": 1, "Z": -1, "X": 0}, abs=1e-12)
    assert found["bell"] == pytest.approx({"ZI": 0, "IZ": 0, "XX": 1, "II": 1, "Z": 0, "X": 0}, abs=1e-12)


def test_many(served: Served, ada: QoroPerson) -> None:
    """More circuits than a job of the service takes are several of these, and come back in order, page by page."""
    job_id = ada.init()
    for first in range(0, 130, 65):
        rows = {f"r{number}": [PI * (number % 2), -PI * (number // 2 % 2)] for number in range(first, first + 65)}
        ada.rows(job_id, rows, finalized="true" if first else "false", shots=3)
    ada.until(job_id, "COMPLETED")
    found = ada.results(job_id)
    assert list(found) == [f"r{number}" for number in range(130)]
    assert [found[f"r{number}"] for number in range(4)] == [{"00": 3}, {"01": 3}, {"10": 3}, {"11": 3}]
    assert found["r129"] == {"01": 3}
    assert [name for _, name, _ in served.executions() if job_id in name] == [
        f"Qoro job {job_id}, part {part} of 4" for part in (1, 2, 3, 4)
    ]
    page = ada.get(f"/job/{job_id}/resultsV2/", limit=50, offset=70)
    assert [entry["label"] for entry in page["results"]] == [f"r{number}" for number in range(70, 120)]
    assert page["next"].endswith(f"/qoro/api/job/{job_id}/resultsV2/?limit=50&offset=120")


def test_many_observables(ada: QoroPerson) -> None:
    """Ranges of circuits count over all fragments and all parts."""
    job_id = ada.init(job_type="EXPECTATION")
    ranges = {"circuit_ham_map": [[0, 45], [45, 90]], "observables": observables("Z0", "Z1")}
    ada.rows(job_id, {f"r{number}": [PI, 0] for number in range(30)}, finalized="false", **ranges)
    ada.rows(job_id, {f"r{number}": [PI, 0] for number in range(30, 90)}, **ranges)
    ada.until(job_id, "COMPLETED")
    found = ada.results(job_id)
    assert [found[f"r{number}"] for number in (0, 44)] == [pytest.approx({"ZI": -1})] * 2
    assert [found[f"r{number}"] for number in (45, 89)] == [pytest.approx({"IZ": 1})] * 2


def test_compiled(served: Served, ada: QoroPerson) -> None:
    """A device with gates of its own has its circuits compiled, part by part."""
    job_id = ada.init(simulator_cluster=None, qpu_system_name="native")
    ada.rows(job_id, {f"r{number}": [PI * (number % 2), 0] for number in range(50)}, shots=2)
    ada.until(job_id, "COMPLETED")
    assert list(ada.results(job_id).values()) == [{"00": 2}, {"01": 2}] * 25
    kinds = [kind for kind, name, _ in served.executions() if job_id in name]
    assert kinds == ["compile", "compile", "execute", "execute"]


def test_nothing_before_the_end(served: Served, ada: QoroPerson) -> None:
    """Nothing of a job runs before it is finalised."""
    job_id = ada.init()
    ada.add(job_id, {"a": BELL}, finalized="false")
    ada.run({"later": BELL})
    assert ada.status(job_id) == "PENDING"
    assert not [name for _, name, _ in served.executions() if job_id in name]


def test_cancelled(served: Served, ada: QoroPerson) -> None:
    """A job that waits in a queue is cancelled there too."""
    job_id = ada.init(simulator_cluster=None, qpu_system_name="queued")
    ada.add(job_id, FLIPS)
    served.until(lambda: [name for _, name, _ in served.executions() if job_id in name])
    assert ada.cancel(job_id)["circuits_cancelled"] == 3
    served.until(lambda: [status for _, name, status in served.executions() if job_id in name] == ["CANCELLED"])
    ada.get(f"/job/{job_id}/resultsV2/", 400)
    ada.cancel(job_id, 409)


def test_cancelled_while_it_starts(served: Served, ada: QoroPerson, tmp_path: Path) -> None:
    """A job that is cancelled after it was read and before its parts are counted has nothing that runs on."""
    job_id = ada.init(simulator_cluster=None, qpu_system_name="queued")
    served.qoro.runs.stop()
    try:
        ada.add(job_id, FLIPS)
        (read,) = [job for job in served.qoro.jobs.open() if job.job_id == job_id]
        ada.cancel(job_id)
        served.qoro.runs._advance(read, {})
    finally:
        served.qoro.runs.start()
    assert [status for _, name, status in served.executions() if job_id in name] == ["CANCELLED"]
    assert ada.status(job_id) == "CANCELLED"


def test_cancelled_and_left(served: Served, ada: QoroPerson) -> None:
    """What runs for a job is cancelled after a restart, where the service ended between the two writes."""
    job_id = ada.init(simulator_cluster=None, qpu_system_name="queued")
    ada.add(job_id, FLIPS)
    served.until(lambda: [name for _, name, _ in served.executions() if job_id in name])
    served.qoro.runs.stop()
    assert served.qoro.jobs.end(job_id, QoroStatus.CANCELLED)
    served.qoro.runs.start()
    served.until(lambda: [status for _, name, status in served.executions() if job_id in name] == ["CANCELLED"])


def test_failed(ada: QoroPerson) -> None:
    """A job whose circuits fail has FAILED, says why, and has no results."""
    job_id = ada.init(simulator_cluster=None, qpu_system_name="broken")
    ada.add(job_id, FLIPS)
    ada.until(job_id, "FAILED")
    assert ada.get(f"/job/{job_id}/status/")["message"]
    ada.get(f"/job/{job_id}/resultsV2/", 400)


def test_seen_through_nexus(served: Served, ada: QoroPerson) -> None:
    """A client of Nexus lists what works for a job with values as it lists all jobs, and reads an empty result."""
    job_id = ada.init(job_type="EXPECTATION")
    ada.add(job_id, FLIPS, observables=observables("Z0"))
    ada.until(job_id, "COMPLETED")
    (row,) = [row for row in served.rows(schema.job) if job_id in row.name]
    token = ada.http.headers["Authorization"].removeprefix("Bearer ")
    with httpx.Client(base_url=str(ada.http.base_url).partition("/qoro")[0], cookies={"myqos_oat": token}) as nexus:
        found = nexus.get(f"/api/jobs/v1beta3/{row.job_id}").json()["data"]["attributes"]["definition"]
        assert set(found) == {"backend_config", "items"}
        result_id = found["items"][0]["result_id"]
        result = nexus.get(f"/api/results/v1beta3/{result_id}").json()["data"]["attributes"]
        rerun = {"name": "again"}
        assert nexus.post(f"/api/jobs/v1beta3/{row.job_id}/rpc/rerun", json=rerun).status_code == 400
    assert BackendResult.from_dict(result).contains_state_results is False


def test_no_circuit_of_a_row(ada: QoroPerson) -> None:
    """A row whose values make no circuit ends its job when it is started, and the message names it."""
    job_id = ada.init()
    template = packed(ROTATED.replace("ry(t)", "ry(1/t)"))
    ada.rows(job_id, {"good": [1.0, 0], "bad": [0.0, 0]}, circuit_template=template)
    ada.until(job_id, "FAILED")
    assert "'bad'" in ada.get(f"/job/{job_id}/status/")["message"]


def test_partly_failed(ada: QoroPerson) -> None:
    """What is there of a job that FAILED can be fetched, with the labels that it has."""
    job_id = ada.init(simulator_cluster=None, qpu_system_name="half")
    ada.add(job_id, {f"{name}{number}": text for name, text in FLIPS.items() for number in range(10)})
    ada.until(job_id, "FAILED")
    found = ada.results(job_id)
    expected = {"n": {"00": 20}, "a": {"01": 20}, "b": {"10": 20}}
    assert 0 < len(found) < 30
    assert all(counts == expected[label[0]] for label, counts in found.items())


def test_deleted(served: Served, ada: QoroPerson) -> None:
    """A deleted job takes its results and circuits along."""
    job_id = ada.run(FLIPS)
    documents = len(served.rows(schema.document))
    ada.delete(job_id)
    assert not [name for _, name, _ in served.executions() if job_id in name]
    assert len(served.rows(schema.document)) == documents - 3


def test_execution_deleted(served: Served, ada: QoroPerson) -> None:
    """Whose job in the service was deleted has FAILED, and is not started anew."""
    job_id = ada.init(simulator_cluster=None, qpu_system_name="queued")
    ada.add(job_id, FLIPS)
    served.until(lambda: next(job for job in served.qoro.jobs.open() if job.job_id == job_id).sent)
    (row,) = [row for row in served.rows(schema.job) if job_id in row.name]
    served.store.delete(sa.select(schema.project.c.project_id), row.job_id)
    ada.until(job_id, "FAILED")
    assert not [name for _, name, _ in served.executions() if job_id in name]


def test_lost_replies(served: Served, ada: QoroPerson) -> None:
    """Where every reply is lost, each step has happened once, and can be asked for or sent again."""

    def lost(path: str, body: Any) -> None:
        with pytest.raises(httpx.HTTPError):
            ada.http.post(path, json=body)

    lost("/job/init/", {"tag": "t", "job_type": "EXECUTE", "simulator_cluster": "deaf"})
    (orphan,) = [row for row in served.rows(schema.qoro_job) if row.device == "deaf"]
    for label, last in (("a", "false"), ("b", "true")):
        with pytest.raises(httpx.HTTPError):
            ada.add(orphan.job_id, {label: FLIPS[label]}, finalized=last)
        ada.add(orphan.job_id, {label: FLIPS[label]}, finalized=last)
    ada.until(orphan.job_id, "COMPLETED")
    assert ada.results(orphan.job_id) == {"a": {"01": 20}, "b": {"10": 20}}
    assert len([name for _, name, _ in served.executions() if orphan.job_id in name]) == 1


def test_used_up(tmp_path: Path) -> None:
    """Without credits nothing is started; the balance is what is left of the quota, less what priced machines took."""
    with contextlib.closing(Served(tmp_path, quotas={"simulation": 30.0})) as served:
        ada = served.person
        job_id = ada.init(simulator_cluster=None, qpu_system_name="priced")
        ada.add(job_id, {"a": BELL}, shots=10_000)
        ada.until(job_id, "COMPLETED")
        assert float(ada.get("/credits/")["total_used"]) > 30
        assert ada.get("/credits/")["balance"] == "0.00"
        poor = ada.init()
        ada.add(poor, {"a": BELL})
        ada.until(poor, "INSUFFICIENT_CREDITS")
        assert not [name for _, name, _ in served.executions() if poor in name]


@pytest.mark.parametrize(
    ("target", "quota", "word", "status"),
    [
        ("queued", 30.0, "SCHEDULED", JobStatus.QUEUED),
        ("Aer", 0.0, "INSUFFICIENT_CREDITS", JobStatus.DEPLETED),
    ],
)
def test_words_for_our_adapter(tmp_path: Path, target: str, quota: float, word: str, status: JobStatus) -> None:
    """Our adapter says who it is, and gets the words that old clients do not read."""
    with contextlib.closing(Served(tmp_path, quotas={"simulation": quota})) as served:
        backend = QoroBackend(target, url=served.url, token=lambda: served.token, limiter=Limiter())
        with contextlib.closing(backend):
            journal = RecordingJournal()
            backend.submit(ContractSteps().make_batch([(BELL, 10)]), new_key(), journal)
            (remote_id,) = journal.ids
            served.person.until(remote_id, word)
            found = backend.status([remote_id])[remote_id]
            assert (found.remote_status, found.status) == (word, status)


def test_wide(ada: QoroPerson) -> None:
    """A histogram is as wide as the register, whatever is measured of it."""
    text = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[300]; x q[0]; measure q[0] -> c[299];'
    job_id = ada.run({"wide": text})
    (entry,) = ada.get(f"/job/{job_id}/resultsV2/")["results"]
    assert (entry["results"]["encoding"], entry["results"]["n_bits"]) == ("qh2", 300)
    assert ada.results(job_id) == {"wide": {"1" + "0" * 299: 20}}


@pytest.mark.slow
def test_on_postgresql(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """On PostgreSQL jobs run as on SQLite, side by side."""
    with (
        fresh_database("postgresql", tmp_path, request) as url,
        contextlib.closing(Served(tmp_path, url=url, max_items=2)) as served,
    ):
        jobs = [served.person.init() for _ in range(3)]
        for job_id in jobs:
            served.person.add(job_id, FLIPS)
        for job_id in jobs:
            served.person.until(job_id, "COMPLETED")
            assert served.person.results(job_id) == {"none": {"00": 20}, "a": {"01": 20}, "b": {"10": 20}}
