"""The nightly benchmark end to end: real Prefect, real Aer, and a scripted backend where Aer is too well-behaved."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from given import a_check
from observing import artifacts, last_run, logs_of, task_names
from prefect.client.orchestration import SyncPrefectClient
from prefect.events import Event
from prefect.events.clients import AssertingEventsClient
from prefect.events.worker import EventsWorker
from prefect.flow_engine import run_flow
from prefect.states import AwaitingRetry, Scheduled
from scripted_block import Died, script
from support import check_history

from blocks import AerBackend
from flows.nightly_benchmark import nightly_benchmark
from qjobs.errors import InvalidInput, JobFailed
from qjobs.experiments.health_check import health_check_circuits
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus

KEY = "{}-aer-simulator-{}"


def rows_of(report: str) -> list[str]:
    """The table of the last runs, newest first, without its head."""
    lines = report.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("| time (UTC)"))
    return [line for line in lines[start + 2 :] if line.startswith("|")]


def values_in(row: str) -> list[float]:
    return [float(value) for value in re.findall(r"([0-9.]+) ±", row)]


def test_check(client: SyncPrefectClient, store: Ledger, home: Path) -> None:
    """A check is one job, scored, and published with its trend."""
    first = nightly_benchmark(a_check("ideal"))
    assert first.lines == ("PASSED: every success probability is at least 0.9",)
    assert (first.n_rows, first.n_missing) == (8, 0)
    (job,) = store.jobs(experiment="ideal")
    assert (job.status, job.n_items) == (JobStatus.COMPLETED, 8), "one job for all circuits"
    check_history(store, job.job_id)
    run = last_run(client, "ideal")
    assert job.run == str(run.id)
    stages = ["compile", "publish", "publish", "submit", "wait"]
    assert [name.partition("_")[0] for name in task_names(client, run.id, last="publish_trend")] == stages
    assert first.artifact_keys[0] == KEY.format("ideal", "trend")
    (report,) = artifacts(client, first.artifact_keys[0])
    assert "data:image/png;base64," in report.data
    (row,) = rows_of(report.data)
    assert values_in(row) == [1.0] * 4
    assert Path(first.picture).read_bytes().startswith(b"\x89PNG")
    assert Path(first.picture).is_relative_to(home)
    assert len(pd.read_parquet(first.parquet)) == 8
    for what in ("report", "jobs", "provenance", "progress"):
        assert artifacts(client, KEY.format("ideal", what)), what
    costs = json.loads(artifacts(client, "qjobs-costs")[-1].data)
    assert [row["estimate"] for row in costs if row["device"] == "aer_simulator"] == [0.0]


@pytest.mark.slow
def test_noise(api: str, store: Ledger) -> None:
    """Noise lowers the score, and each device has a trend of its own."""
    AerBackend(n_workers=1, depolarizing_2q=0.1, readout_error=0.05).save("noisy-night")
    ideal = nightly_benchmark(a_check("pair"))
    noisy = nightly_benchmark(a_check("pair", backend="aer-backend/noisy-night"))
    assert ideal.lines[0].startswith("PASSED")
    assert noisy.lines[0] == "BELOW: a success probability is below 0.9"
    assert len(noisy.lines) == 5
    assert all("standard errors below 0.9" in line for line in noisy.lines[1:])
    scores = [values_in(line)[0] for line in noisy.lines[1:]]
    assert all(0.2 < score < 0.9 for score in scores)
    assert scores[0] > scores[1], "three qubits are harder than two"
    assert scores[2] > scores[3]
    assert ideal.artifact_keys[0] != noisy.artifact_keys[0]
    assert len({job.device for job in store.jobs(experiment="pair")}) == 2


@pytest.mark.slow
def test_second_run(client: SyncPrefectClient, store: Ledger) -> None:
    """The second run shows both."""
    name, backend = script("night")
    first = nightly_benchmark(a_check("trend", backend=name, compiler="none", min_success=0))
    second = nightly_benchmark(a_check("trend", backend=name, compiler="none", min_success=0, seed=6))
    assert len(backend.jobs) == 2
    before, after = artifacts(client, first.artifact_keys[0])
    assert first.artifact_keys == second.artifact_keys
    assert len(rows_of(before.data)) == 1
    newest, oldest = rows_of(after.data)
    assert oldest == rows_of(before.data)[0], "the earlier run is read from the ledger, as it was"
    assert values_in(newest)[:2] == [1.0, 1.0], "GHZ circuits that give zeros"
    assert "The last 2 of 2 runs" in after.data


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[EventsWorker]:
    """Keeps every event that is emitted, for `told`, as Prefect's own fixture `asserting_events_worker` does."""
    AssertingEventsClient.reset()
    worker = EventsWorker.instance(AssertingEventsClient)
    monkeypatch.setattr(EventsWorker, "instance", lambda *_: worker)
    yield worker
    worker.drain()


def told(worker: EventsWorker) -> list[Event]:
    """Verdicts that were emitted up to now; nothing can be emitted any more."""
    worker.drain()
    events = [event for one in AssertingEventsClient.all for event in one.events]
    return [event for event in events if event.event.startswith("qjobs.benchmark.")]


@pytest.mark.slow
def test_below(client: SyncPrefectClient, store: Ledger, worker: EventsWorker) -> None:
    """A run below the threshold completes, with a warning and an event."""
    AerBackend(n_workers=1, readout_error=0.25).save("bad-night")
    published = nightly_benchmark(a_check("bad", backend="aer-backend/bad-night", sizes=[2]))
    assert published.lines[0] == "BELOW: a success probability is below 0.9"
    run = last_run(client, "bad")
    assert run.state.is_completed(), "the verdict is a result"
    assert any("BELOW" in line for line in logs_of(client, str(run.id), until="BELOW"))
    (report,) = artifacts(client, published.artifact_keys[0])
    assert "**BELOW: a success probability is below 0.9**" in report.data
    (event,) = told(worker)
    assert event.event == "qjobs.benchmark.below"
    assert event.resource["qjobs.experiment"] == "bad"
    assert event.payload["scores"]["GHZ 2"] == pytest.approx(0.25**2 + 0.75**2, abs=0.15)
    assert f"prefect.flow-run.{run.id}" in {one.id for one in event.related}


@pytest.mark.slow
def test_seed_of_the_night(client: SyncPrefectClient, store: Ledger) -> None:
    """Without a seed the night gives it; the same logical run finds its job."""
    name, backend = script("dated")
    spec = a_check("dated", backend=name, compiler="none", seed=None)
    nightly_benchmark(spec)
    run = last_run(client, "dated")
    nightly_benchmark(spec)
    newer, older = store.jobs(experiment="dated")
    if run.expected_start_time.date() == datetime.now(UTC).date():  # else midnight was in between
        assert [i.program for i in store.items(newer.job_id)] == [i.program for i in store.items(older.job_id)]
    assert newer.key != older.key, "another run of the same night measures anew"
    nightly_benchmark(spec, logical_run=str(run.id))
    assert len(backend.jobs) == 2, "the same logical run finds its job"


@pytest.mark.slow
def test_keeps_its_night(client: SyncPrefectClient, store: Ledger) -> None:
    """A run of another night that crashed is started again, or taken up by a new one: same circuits, same job."""
    name, backend = script("that-night", dies_at_poll=1)
    spec = a_check("that-night", backend=name, compiler="none", seed=None)
    night = Scheduled(scheduled_time=datetime(2025, 3, 1, 2, tzinfo=UTC))
    run = client.create_flow_run(nightly_benchmark, name=spec.name, parameters={"spec": spec.model_dump()}, state=night)
    with pytest.raises(Died):
        run_flow(nightly_benchmark, flow_run=run, parameters={"spec": spec})
    (job,) = store.jobs(experiment="that-night")
    expected = [entry.label for entry in health_check_circuits(spec, 20250301).circuits]
    assert [item.label for item in store.items(job.job_id)] == expected
    client.set_flow_run_state(run.id, AwaitingRetry(), force=True)
    run_flow(nightly_benchmark, flow_run=client.read_flow_run(run.id), parameters={"spec": spec})
    assert nightly_benchmark(spec, logical_run=str(run.id)).n_missing == 0
    assert (len(backend.jobs), backend.n_submissions) == (1, 1)
    assert store.jobs(experiment="that-night")[0].job_id == job.job_id
    assert len(store.jobs(experiment="that-night")) == 1


@pytest.mark.parametrize("name", ["tuesday", "0f8fad5b-d9cb-469f-a165-70867728950e"])
def test_no_date(api: str, store: Ledger, name: str) -> None:
    """A logical run without a date needs a seed."""
    with pytest.raises(InvalidInput, match="give its seed"):
        nightly_benchmark(a_check("dateless", seed=None), logical_run=name)
    assert store.jobs() == []
    backend, _ = script(f"dateless-{name}")
    assert nightly_benchmark(a_check("dateless", backend=backend, compiler="none"), logical_run=name).n_missing == 0


def test_failing_items(client: SyncPrefectClient, store: Ledger) -> None:
    """Failing items are missing, and the others count."""
    name, backend = script("half-night", fail_items=[0, 2, 3])
    with pytest.raises(JobFailed, match="3 of 8 items"):
        nightly_benchmark(a_check("half", backend=name, compiler="none", min_success=0))
    (job,) = store.jobs(experiment="half")
    assert len(store.results(job.job_id)) == 5
    (report,) = artifacts(client, f"half-{backend.device}-trend")
    assert "**INCOMPLETE" in report.data
    assert re.search(r"\| GHZ 2 \| 1\.0000 ± [0-9.]+ \| 1 of 2 \|", report.data)
    assert "| GHZ 3 | no result | 0 of 2 |" in report.data
