"""Real Prefect against a real HTTP provider that misbehaves: the rungs, retried runs and crashes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from observing import last_run, logs_of
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.runtime import flow_run
from prefect.states import Cancelling

import qjobs
import tasks
from blocks import RestBackend, backend_named
from flows.run_circuits import run_circuits
from qjobs.circuits.programs import read_circuit
from qjobs.experiments.circuit_list import CircuitList
from qjobs.ledger import Ledger
from qjobs.lifecycle import LIVE, JobStatus
from qjobs.model import ItemSpec, JobId, RemoteRetryStrategy
from qjobs.operations.retry import RetryPolicy, Rung
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.servers import ScriptedProvider
from tasks.progress import ProgressArtifact

BELL = """OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;"""
DEFAULT, ALLOW = RemoteRetryStrategy.DEFAULT, RemoteRetryStrategy.ALLOW_RESUBMIT
LADDERS = {
    "429, then a reply dropped after delivery": (
        "findable",
        [
            Fault(route=Route.SUBMIT, action=Action.CODE_BEFORE, code=429, retry_after="0"),
            Fault(route=Route.SUBMIT, action=Action.DROP_AFTER, skip=1),
        ],
        (DEFAULT, DEFAULT, ALLOW),
        [DEFAULT, DEFAULT],
    ),
    "lost before delivery: looked up, then sent by the rung that may": (
        "deduplicated",
        [Fault(route=Route.SUBMIT, action=Action.DROP_BEFORE)],
        (DEFAULT, DEFAULT, ALLOW),
        [DEFAULT, DEFAULT, ALLOW],
    ),
}


def saved(provider: ScriptedProvider, name: str) -> str:
    RestBackend(url=provider.url, lost_reply=provider.store.variant).save(name)
    return f"rest-backend/{name}"


@pytest.fixture
def provider(request: pytest.FixtureRequest) -> Iterator[ScriptedProvider]:
    with ScriptedProvider(getattr(request, "param", "findable")) as provider:
        yield provider


def planned(store: Ledger, name: str) -> JobId:
    bell = read_circuit(BELL)
    items = [ItemSpec(label="bell", program=bell.hash, shots=20)]
    return qjobs.plan(store, backend_named(name), items, {bell.hash: bell}, run="run", name="bell")[0]


@flow(name="one-stage", log_prints=False)
def one_stage(job_id: JobId, backend: str, policy: RetryPolicy) -> tuple[str, str]:
    stage = tasks.submit_job.with_options(retries=len(policy.rungs), retry_delay_seconds=policy.delays_s)
    answer = stage.submit(job_id, backend=backend, policy=policy).result(raise_on_failure=False)
    return str(flow_run.id), answer if isinstance(answer, str) else f"{type(answer).__name__}: {answer}"


@pytest.mark.parametrize(
    ("provider", "case"),
    [(given[0], name) for name, given in LADDERS.items()],
    indirect=["provider"],
    ids=list(LADDERS),
)
def test_rungs(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, case: str) -> None:
    """Each retry names its rung in the log and in the events, and there is one remote job."""
    _, faults, ladder, climbed = LADDERS[case]
    name = saved(provider, f"rungs-{provider.store.variant}")
    provider.inject(*faults)
    job_id = planned(store, name)
    policy = RetryPolicy(rungs=tuple(Rung(strategy=one, delay_s=0.01) for one in ladder))
    run, answer = one_stage(job_id, name, policy)
    assert answer in set(LIVE) | {"COMPLETED"}
    assert provider.created == 1
    told = [event.detail for event in store.events(job_id) if event.cause == "retry"]
    assert told == [f"retry {n} of the submit stage, rung {one}" for n, one in enumerate(climbed, 1)]
    lines = logs_of(client, run, until=f"retry {len(climbed)} of {job_id}")
    for number, one in enumerate(climbed, 1):
        assert any(f"retry {number} of {job_id} uses the rung {one}" in line for line in lines)


def test_retried_run(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, home: Path) -> None:
    """A flow run that Prefect retries finds its own jobs, although its first try could not publish them."""
    name, in_the_way = saved(provider, "retried"), home / "results"
    home.mkdir(exist_ok=True)
    in_the_way.write_text("not a folder")
    spec = CircuitList.model_validate(
        {"name": "retried", "circuits": [{"openqasm": BELL}], "shots": 10, "backend": name, "compiler": "none"}
    )

    tries: list[str] = []

    def clear_the_way(_flow: object, run: FlowRun, _state: State[object]) -> None:
        tries.append(str(run.id))
        if len(tries) == 2:
            in_the_way.unlink()

    twice = run_circuits.with_options(retries=1, retry_delay_seconds=0, on_running=[clear_the_way])
    published = twice(spec)
    assert len(tries) == 2
    assert len(set(tries)) == 1
    assert last_run(client, "retried").run_count == 2
    assert published.n_missing == 0
    assert provider.created == 1
    assert len(store.jobs(experiment="retried")) == 1


class Died(BaseException):
    """The process ends here, as far as Prefect and our own code can tell."""


def _endless(client: SyncPrefectClient, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch, name: str) -> str:
    """A flow run whose process died while its job was queued."""
    provider.store.queue_s = 600.0

    def die(*_: object) -> None:
        raise Died

    monkeypatch.setattr(ProgressArtifact, "update", die)
    spec = {
        "name": name,
        "circuits": [{"openqasm": BELL}],
        "shots": 10,
        "backend": saved(provider, name),
        "compiler": "none",
    }
    with pytest.raises(Died):
        run_circuits(CircuitList.model_validate(spec))
    return str(last_run(client, name).id)


def test_crash_and_cancel(
    client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crashed run leaves its job alone; a cancelled one cancels it."""
    run = _endless(client, provider, monkeypatch, "crash-then-cancel")
    known = client.read_flow_run(run)
    assert known.state.is_crashed()
    (job,) = store.jobs(experiment="crash-then-cancel")
    assert job.cancel_requested_at is None
    assert provider.asked["cancel"] == 0
    with ThreadPoolExecutor(1) as pool:  # as `prefect.runner` calls it
        for hook in run_circuits.on_cancellation_hooks:
            pool.submit(hook, flow=run_circuits, flow_run=known, state=Cancelling()).result()
    assert store.job(job.job_id).status in {JobStatus.CANCELLED, JobStatus.CANCELLING}
    assert (provider.created, provider.asked["cancel"]) == (1, 1)
    assert not run_circuits.on_crashed_hooks
