"""Flow runs of the deployment that wait, suspended, for a machine that is busy; then it takes their jobs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from processes import ROOT, running, until
from waiting_processes import memory_mb, processes_of_runs
from waiting_service import BELL, JOBS, cancel, counted, made, signed_in, status

from qjobs.ledger import Ledger
from qjobs.ledger import tables as schema
from qjobs.ledger.database import Database
from qjobs.ledger.ledger import LEDGER
from qjobs.service.running import RunningService

SHOTS = 10
MACHINE = """\
devices:
  - {{name: Aer, kind: hardware, backend: AerBackend, config: AerConfig, device_name: aer_simulator, n_qubits: 8,
     gate_set: [H, CX, Measure, Reset, Barrier], max_shots: 1000000, shots_per_s: {shots_per_s}}}
"""
"""It works on one job at a time."""
_ENDED = ("Failed", "Crashed", "Cancelled", "TimedOut")
_WATCHED_S = 15.0
"""How long the runs are watched while they wait."""
_PER_RUN_S = 30.0
"""A leg of a run takes 6 to 7 CPU seconds; several times that on a busy machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Legs:
    """When a run's job was done at the provider, and what followed."""

    completed: datetime
    received: datetime
    resumed: datetime
    running: datetime
    suspensions: int


@dataclass(slots=True)
class Waited:
    """What was seen."""

    n_runs: int
    suspended_after_s: float = 0.0
    ended_after_s: float = 0.0
    """Seconds from the machine's being free to the last run's end."""
    processes: int = 0
    """The most processes of flow runs that were seen while all waited."""
    before_mb: dict[str, float] = field(default_factory=dict)
    waiting_mb: dict[str, float] = field(default_factory=dict)
    remote_jobs: int = 0
    results: int = 0
    states: dict[str, int] = field(default_factory=dict)
    leg_cpu_s: float = 0.0
    legs: list[Legs] = field(default_factory=list)


def measure(n_runs: int, folder: Path, server: int, environment: Mapping[str, str], job_s: float) -> Waited:
    """Let runs wait, and go on.

    Args:
        n_runs: How many; each has one job of one circuit.
        folder: Of its own.
        server: Process id of the Prefect server.
        environment: That of its users.
        job_s: How long the machine takes for a job, in seconds.
    """
    folder.mkdir()
    (folder / "devices.yaml").write_text(MACHINE.format(shots_per_s=SHOTS / job_s))
    options = ("--devices", str(folder / "devices.yaml"), "--workers", "1", "--access-ttl", "86400")
    with RunningService(folder / "service", options=options) as service, ExitStack() as stack:
        there = {**service.environment, "QJOBS_NEXUS_TOKEN": service.sign_in(), "QJOBS_HOME": str(folder)}
        mine = {**environment, **there}
        mine.pop("QJOBS_LEDGER", None)
        provider = stack.enter_context(signed_in(service))
        api = stack.enter_context(httpx.Client(base_url=mine["PREFECT_API_URL"], timeout=60.0))
        busy = _occupy(provider)
        deployment = _deployed(api, mine)
        words = ["prefect", "worker", "start", "--pool", "qjobs"]
        worker = stack.enter_context(running("worker", words, mine, folder))
        sensor = stack.enter_context(running("sensor", ["qjobs.cli.main", "sensor"], mine, folder))
        pids = {"worker": worker, "server": server, "sensor": sensor}
        until(lambda: _workers(api), bool, "the worker is there", 120.0)
        found = Waited(n_runs=n_runs, before_mb=_settled(pids))
        cpu = _children_cpu_s(worker)
        runs = _suspended(api, deployment, found)
        found.waiting_mb = _watch_them_wait(pids, mine["PREFECT_API_URL"], found)
        _let_go_on(provider, busy, api, runs, found)
        found.leg_cpu_s = (_children_cpu_s(worker) - cpu) / (2 * n_runs)
        _account(folder, provider, api, runs, found)
    return found


def _occupy(client: httpx.Client) -> str:
    """Somebody else's job, which takes hours."""
    from pytket import Circuit

    project = made(client, "/api/projects/v1beta2", "project", {"name": "somebody else"})
    circuit = {**Circuit(1, 1).Measure(0, 0).to_dict(), "name": "long"}
    program = made(client, "/api/circuits/v1beta2", "circuit", circuit, project)
    definition = {
        "job_definition_type": "execute_job_definition",
        "backend_config": {"type": "AerConfig"},
        "items": [{"program_id": program, "n_shots": 1_000_000}],
    }
    job = made(client, JOBS, "job", {"name": "long", "job_type": "execute", "definition": definition}, project)
    until(lambda: status(client, job)["status"], lambda word: word == "RUNNING", "the machine is busy", 60.0)
    return job


def _deployed(api: httpx.Client, environment: Mapping[str, str]) -> str:
    """The deployments of the repository, without their schedules: the id of the one for circuits as they are."""
    done = subprocess.run(
        [sys.executable, "-m", "flows.deploy"], env=dict(environment), cwd=ROOT, check=False, capture_output=True
    )
    if done.returncode:
        raise SystemExit(f"the deployments failed: {done.stdout.decode()[-2000:]} {done.stderr.decode()[-2000:]}")
    for each in _asked(api, "POST", "/deployments/filter", {}):
        if each["schedules"]:
            _asked(api, "POST", f"/deployments/{each['id']}/pause_deployment", {})
    return str(_asked(api, "GET", "/deployments/name/run-circuits/Circuits as they are")["id"])


def _asked(api: httpx.Client, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """An answer of Prefect's server; on SQLite it now and then answers 503 when two write at once."""

    def ask() -> httpx.Response | None:
        with contextlib.suppress(httpx.TimeoutException):  # it holds its database for minutes while runs start
            return api.request(method, path, json=body)
        return None

    def holds(found: httpx.Response | None) -> bool:
        return found is not None and found.status_code != httpx.codes.SERVICE_UNAVAILABLE

    answer = until(ask, holds, f"{path} answers", 600.0)
    assert answer is not None
    return answer.raise_for_status().json() if answer.content else None


def _workers(api: httpx.Client) -> list[Any]:
    answer = api.post("/work_pools/qjobs/workers/filter", json={})
    return list(answer.json()) if answer.is_success else []


def _suspended(api: httpx.Client, deployment: str, found: Waited) -> list[str]:
    """Ids of as many runs, all of them suspended."""
    runs = []
    begin = time.perf_counter()
    for number in range(found.n_runs):
        spec = {"name": f"waits-{number:04}", "circuits": [{"openqasm": BELL}], "shots": SHOTS, "compiler": "none"}
        body = {"parameters": {"spec": {**spec, "backend": "nexus/Aer"}}, "idempotency_key": spec["name"]}
        runs.append(str(_asked(api, "POST", f"/deployments/{deployment}/create_flow_run", body)["id"]))
    timeout_s = 120.0 + _PER_RUN_S * found.n_runs
    until(lambda: _states(api, runs), lambda s: _only(s, "Suspended"), "all runs are suspended", timeout_s, 2.0)
    found.suspended_after_s = time.perf_counter() - begin
    return runs


def _states(api: httpx.Client, runs: list[str]) -> dict[str, int]:
    """How many runs are in each state, by its name."""
    counts: dict[str, int] = {}
    for start in range(0, len(runs), 200):
        body = {"flow_runs": {"id": {"any_": runs[start : start + 200]}}, "limit": 200}
        for run in _asked(api, "POST", "/flow_runs/filter", body):
            counts[run["state_name"]] = counts.get(run["state_name"], 0) + 1
    return counts


def _only(states: Mapping[str, int], wanted: str) -> bool:
    """Whether all runs are there, or have ended otherwise."""
    return set(states) <= {wanted, *_ENDED}


def _settled(pids: Mapping[str, int]) -> dict[str, float]:
    """What processes hold when it has stopped growing."""
    last: dict[str, float] = {}

    def changed() -> float:
        nonlocal last
        now = {name: memory_mb(pid) for name, pid in pids.items()}
        most = max(abs(size - last.get(name, 0.0)) for name, size in now.items())
        last = now
        return most

    until(changed, lambda most: most < 1.0, "the processes have started", 120.0, 4.0)
    return last


def _watch_them_wait(pids: Mapping[str, int], api: str, found: Waited) -> dict[str, float]:
    """What is held while all wait; a process that has just suspended its run may take a moment to end."""
    with contextlib.suppress(SystemExit):
        until(lambda: processes_of_runs(api), lambda those: not those, "the last process has ended", 30.0)
    end = time.monotonic() + _WATCHED_S
    while time.monotonic() < end:
        found.processes = max(found.processes, len(processes_of_runs(api)))
        time.sleep(1.0)
    return {name: memory_mb(pid) for name, pid in pids.items()}


def _let_go_on(provider: httpx.Client, busy: str, api: httpx.Client, runs: list[str], found: Waited) -> None:
    begin = time.perf_counter()
    cancel(provider, busy)
    timeout_s = 300.0 + _PER_RUN_S * len(runs)
    with contextlib.suppress(SystemExit):  # the states of the runs will say so
        until(lambda: _states(api, runs), lambda s: _only(s, "Completed"), "all runs are completed", timeout_s, 2.0)
    found.ended_after_s = time.perf_counter() - begin


def _children_cpu_s(pid: int) -> float:
    """CPU seconds of all children that have ended."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[13]) + int(words[14])) / os.sysconf("SC_CLK_TCK")


def _account(folder: Path, provider: httpx.Client, api: httpx.Client, runs: list[str], found: Waited) -> None:
    found.remote_jobs = counted(provider, name_fuzzy="qjobs-")
    found.states = _states(api, runs)
    url = f"sqlite:///{folder / 'ledger.db'}"
    with Ledger(url) as store:
        jobs = {job.run: job for job in store.jobs()}
        found.results = sum(store.result_counts([job.job_id for job in jobs.values()]).values())
        remote = {
            job_id: each.remote_id for job_id, each in store.last_attempts([j.job_id for j in jobs.values()]).items()
        }
    received = _received(url)
    for run, job in jobs.items():
        if run in runs and job.job_id in received:
            done = _moment(status(provider, str(remote[job.job_id]))["completed_time"])
            if (legs := _legs(api, run, done, received[job.job_id])) is not None:
                found.legs.append(legs)


def _received(url: str) -> dict[str, datetime]:
    """When each job's result came into the ledger."""
    query = sa.select(schema.result.c.job_id, schema.result.c.received_at)
    with contextlib.closing(Database(url, LEDGER)) as db, db.read() as connection:
        return {row.job_id: row.received_at for row in connection.execute(query)}


def _legs(api: httpx.Client, run: str, completed: datetime, received: datetime) -> Legs | None:
    """None of a run that did not go on."""
    states = _asked(api, "GET", f"/flow_run_states/?flow_run_id={run}")
    told = sorted((_moment(state["timestamp"]), state["type"], state["name"]) for state in states)
    paused = [at for at, kind, _ in told if kind == "PAUSED"]
    resumed = next((at for at, kind, _ in told if kind == "SCHEDULED" and at > paused[0]), None) if paused else None
    again = next((at for at, kind, _ in told if resumed and kind == "RUNNING" and at > resumed), None)
    if resumed is None or again is None:
        return None
    return Legs(completed=completed, received=received, resumed=resumed, running=again, suspensions=len(paused))


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
