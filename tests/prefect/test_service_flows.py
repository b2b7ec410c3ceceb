"""The same flows on the simulator and on the local job service give the same data frame, up to sampling."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from given import a_sweep
from prefect.client.orchestration import SyncPrefectClient

from blocks import backend_named
from flows.run_circuits import run_circuits
from flows.sweep import sweep
from qjobs.experiments.circuit_list import CircuitList
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobKind
from qjobs.service.running import RunningService

GHZ = """OPENQASM 2.0; include "qelib1.inc"; qreg q[3]; creg c[3]; h q[0];
cx q[0],q[1]; cx q[1],q[2]; measure q -> c;"""
SHOTS = 2000


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("service-flows") / "service"
    with RunningService(folder, options=("--submit-delay", "0.05", "--workers", "2")) as service:
        yield service


@pytest.fixture(autouse=True)
def environment(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**service.environment, "QJOBS_NEXUS_TOKEN": service.sign_in()}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.slow
def test_same_frame(client: SyncPrefectClient, store: Ledger) -> None:
    """A sweep gives the same frame, up to sampling."""
    here, there = (
        pd.read_parquet(sweep(a_sweep(name, backends=[backend], shots=SHOTS, repetitions=2)).parquet)
        for name, backend in (("here", "aer"), ("there", "nexus/Aer"))
    )
    assert list(here.columns) == list(there.columns)
    assert (len(here), len(there)) == (12, 12)
    same = ["theta", "repetition", "shots"]
    pd.testing.assert_frame_equal(here[same], there[same])
    for frame in (here, there):
        for theta, z0 in zip(frame["theta"], frame["z0"], strict=True):
            assert abs(z0 - math.cos(theta)) < 5 * SHOTS**-0.5
    (job,) = store.jobs(experiment="there")
    assert (job.status, job.device, job.n_items) == (JobStatus.COMPLETED, "Aer", 12)


@pytest.mark.slow
def test_provider_compiles(client: SyncPrefectClient, store: Ledger) -> None:
    """Circuits that the provider compiles are compiled once."""
    given = {"name": "ghz", "circuits": [{"openqasm": GHZ}], "shots": SHOTS, "compiler": "remote", "level": 2}
    published = run_circuits(CircuitList.model_validate({**given, "backend": "nexus/H1-1LE"}))
    assert published.n_missing == 0
    assert {(job.kind, job.status) for job in store.jobs(experiment="ghz")} == {
        (JobKind.COMPILE, JobStatus.COMPLETED),
        (JobKind.EXECUTE, JobStatus.COMPLETED),
    }
    (job,) = [job for job in store.jobs(experiment="ghz") if job.kind is JobKind.EXECUTE]
    counts = store.results(job.job_id)[0].counts
    assert set(counts) == {"000", "111"}
    assert abs(counts["000"] - SHOTS / 2) < 5 * (SHOTS / 4) ** 0.5
    run_circuits(CircuitList.model_validate({**given, "name": "ghz", "backend": "nexus/H1-1LE"}))
    compiled = [job for job in store.jobs(experiment="ghz") if job.kind is JobKind.COMPILE]
    assert len(compiled) == 1  # what was compiled before is taken from the ledger
    assert backend_named("nexus/H1-1LE").name.startswith("nexus@127.0.0.1:")
    assert Path(published.parquet).exists()
