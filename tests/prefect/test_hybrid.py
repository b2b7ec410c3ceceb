"""Hybrid runs as flows: the curve, the failure in the middle, suspension between epochs, and `kill -9` on the way."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from subprocess import Popen

import pandas as pd
import pytest
from given import open_queue
from hybrid_runs import EXAMPLES, ONE_QUBIT, a_spec
from observing import artifacts, eventually, last_run, task_names
from prefect.client.orchestration import SyncPrefectClient
from processes import free_port
from support import check_history
from suspending import passes, suspended

from flows._support.command import run_flow
from flows.hybrid import hybrid
from qjobs.errors import InvalidInput, JobFailed
from qjobs.experiments.hybrid import HybridSpec, OptimiserInput, expand_hybrid, load_hybrid
from qjobs.ledger import Ledger
from qjobs.ledger.epochs import Epoch
from qjobs.lifecycle import JobStatus
from qjobs.operations.hybrid import from_counts, interrupted_hybrid, optimiser_of
from qjobs.service.running import RunningService
from qjobs.testing.servers import ScriptedProvider

ROOT = Path(__file__).parents[2]
GOING_ON = "going on with the run "
POINTS = {
    "planned": ("qjobs.operations.plan:plan", "after"),
    "claimed": ("qjobs.backends.rest:RestBackend.submit", "before"),
    "sent": ("qjobs.operations.sending:_LedgerJournal.accepted", "before"),
    "accepted": ("qjobs.operations.sending:_LedgerJournal.accepted", "after"),
    "waited": ("flows._support.stages:TaskStages.wait", "after"),
    "to be recorded": ("qjobs.ledger.epochs:Epochs.record", "before"),
    "recorded": ("qjobs.ledger.epochs:Epochs.record", "after"),
}


def on(provider: ScriptedProvider, **values: object) -> HybridSpec:
    """A run of a few epochs on the provider."""
    return HybridSpec.model_validate(
        {
            "name": "remote",
            "hamiltonian": {"terms": ONE_QUBIT},
            "optimiser": {"calibration": 2},
            "epochs": 3,
            "shots": 200,
            "compiler": "none",
            "backend": f"rest-backend/{provider.block}",
            **values,
        }
    )


def check_epochs(store: Ledger, spec: HybridSpec, logical_run: str) -> list[Epoch]:
    """The history is that of a run which nobody disturbed: points follow from energies, and those from the jobs."""
    plan = expand_hybrid(spec)
    epochs = store.epochs.of_run(logical_run)
    optimiser = optimiser_of(plan, logical_run)
    for index, epoch in enumerate(epochs):
        asked = optimiser.ask(epochs[:index])
        assert (epoch.points, epoch.state) == (asked.points, asked.state)
        counts: dict[str, dict[tuple[float, ...], dict[str, int]]] = {}
        for job_id in epoch.job_ids:
            assert store.job(job_id).name == f"{spec.name} epoch {epoch.number}"
            check_history(store, job_id)
            results = store.results(job_id)
            for item in store.items(job_id):
                point = tuple(dict(item.parameters)[name] for name in plan.circuit.parameters)
                if item.index in results:
                    counts.setdefault(item.label.rpartition("/")[2], {})[point] = results[item.index].counts
        again = from_counts(plan, [[counts[basis][point] for point in epoch.points] for basis in plan.templates])
        assert (epoch.energies, epoch.std_errors) == (again.energies, again.std_errors)
    return epochs


def test_end_to_end(client: SyncPrefectClient, store: Ledger, home: Path) -> None:
    """The molecule on Aer: a curve beside exact diagonalisation, a frame; the same logical run sends nothing again."""
    spec = load_hybrid(EXAMPLES / "h2" / "hybrid.yaml").model_copy(update={"epochs": 4, "shots": 500})
    published = hybrid(spec)
    run = last_run(client, "h2")
    epochs = check_epochs(store, spec, str(run.id))
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4]
    frame = pd.read_parquet(published.parquet)
    assert list(frame["energy"]) == [epoch.energy for epoch in epochs]
    assert Path(published.parquet).is_relative_to(home)
    assert published.lines[0].startswith("lowest energy: ")
    assert "exact diagonalisation: -1.137306" in published.lines[2]
    assert published.artifact_keys == ("h2-report", "h2-jobs", "h2-provenance")
    (report,) = artifacts(client, "h2-report")
    (image,) = re.findall(r"!\[[^]]*\]\(data:image/png;base64,([^)]+)\)", report.data)
    assert base64.b64decode(image) == Path(published.picture).read_bytes()
    (jobs,) = artifacts(client, "h2-jobs")
    assert [row["job id"] for row in json.loads(jobs.data)] == [epoch.job_ids[0] for epoch in epochs]
    once = ["compile_circuits", "submit_job", "wait_for_jobs"]
    names = [name.partition("-")[0] for name in task_names(client, run.id, last="publish_hybrid")]
    assert Counter(names) == {**dict.fromkeys(once, 4), "publish_hybrid": 1}

    again = hybrid(spec, logical_run=str(run.id))
    assert again.lines == published.lines
    assert len(store.jobs()) == 4
    with pytest.raises(InvalidInput, match="recorded for another"):
        hybrid(spec.model_copy(update={"shots": 7}), logical_run=str(run.id))
    assert len(store.jobs()) == 4


@pytest.mark.slow
def test_failed_epoch(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider, tmp_path: Path) -> None:
    """An epoch that fails fails the run; what was recorded is shown, and the command runs what is missing of it."""
    provider.store.queue_s = 0.0
    spec = on(provider, epochs=1)
    file = written(tmp_path, spec)
    assert run_again(file) == 0
    more = on(provider, epochs=3)
    written(tmp_path, more)
    provider.break_items({0: "the laser went off"})
    (before,) = {job.logical_run for job in store.jobs()}
    with pytest.raises(JobFailed, match="the laser went off"):
        hybrid(more, logical_run=before)
    assert [epoch.number for epoch in store.epochs.of_run(before)] == [1]
    assert "lowest energy" in artifacts(client, "remote-report")[-1].data
    provider.break_items({})
    assert interrupted_hybrid(store, expand_hybrid(more)) == before
    assert run_again(file) == 0
    epochs = check_epochs(store, more, before)
    assert [len(epoch.job_ids) for epoch in epochs] == [1, 2, 1]
    assert sorted(store.job(job_id).n_items for job_id in epochs[1].job_ids) == [1, 6]
    assert interrupted_hybrid(store, expand_hybrid(more)) is None


def written(tmp_path: Path, spec: HybridSpec) -> Path:
    file = tmp_path / "hybrid.json"
    file.write_text(spec.model_dump_json(exclude_defaults=True))
    return file


def run_again(file: Path, *options: str) -> int:
    """The command `python -m flows.hybrid` in this process."""
    return run_flow(
        hybrid,
        lambda path: load_hybrid(Path(path)),
        [str(file), *options],
        experiment=True,
        work_out=expand_hybrid,
        interrupted=interrupted_hybrid,
    )


def killed(api: str, home: Path, file: Path, point: tuple[str, str], words: Sequence[str] = ("flows.hybrid",)) -> None:
    """The command in a process that ends itself at a point."""
    command = [str(ROOT / "tests" / "killed_at.py"), *point, *words, str(file)]
    done = in_process(api, home, command)
    assert done.returncode == -signal.SIGKILL, done.stderr


def in_process(api: str, home: Path, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """A Python command in a process of its own, to its end."""
    env = {**os.environ, "PREFECT_API_URL": api, "QJOBS_HOME": str(home), "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=240, check=False
    )


def of_molecule(**values: object) -> HybridSpec:
    """A few epochs of the hydrogen molecule on the portal, with few shots."""
    spec = load_hybrid(EXAMPLES / "h2" / "hybrid.yaml")
    optimiser = OptimiserInput(calibration=2)
    return spec.model_copy(update={"backend": "mqp/Aer", "epochs": 4, "shots": 300, "optimiser": optimiser, **values})


def check_portal(service: Path, store: Ledger, epochs: Sequence[Epoch]) -> None:
    """The service has one job for each epoch, which ran once, and the ledger knows it by its id."""
    with closing(sqlite3.connect(service / "service.db")) as connection:
        rows = connection.execute("SELECT id, status FROM mqp_job ORDER BY id").fetchall()
        ran = connection.execute("SELECT name FROM service_job WHERE job_type = 'execute' ORDER BY name").fetchall()
    ids = [number for number, _ in rows]
    assert [status for _, status in rows] == ["COMPLETED"] * len(epochs)
    assert [name for (name,) in ran] == sorted(f"portal job {number}" for number in ids)
    assert [len(epoch.job_ids) for epoch in epochs] == [1] * len(epochs)
    assert [store.attempts(epoch.job_ids[0])[-1].remote_id for epoch in epochs] == [str(number) for number in ids]


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_killed(
    api: str,
    store: Ledger,
    home: Path,
    tmp_path: Path,
    provider: ScriptedProvider,
    point: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Killed in two epochs at the same point, the command goes on: one remote job an epoch, and the same history."""
    provider.store.queue_s = 0.0
    spec = on(provider)
    file = written(tmp_path, spec)
    killed(api, home, file, POINTS[point])
    (logical_run,) = {job.logical_run for job in store.jobs()}
    if point in {"recorded", "planned", "claimed"}:
        killed(api, home, file, POINTS[point])  # of the others, this would be the same epoch again
    assert run_again(file) == 0
    assert [line.startswith(GOING_ON) for line in capsys.readouterr().err.splitlines()].count(True) == 1
    assert {job.logical_run for job in store.jobs()} == {logical_run}
    epochs = check_epochs(store, spec, logical_run)
    assert [len(epoch.job_ids) for epoch in epochs] == [1, 1, 1]
    assert provider.created == 3
    assert run_again(file) == 0
    assert GOING_ON not in capsys.readouterr().err
    assert provider.created == 6


@pytest.mark.slow
def test_killed_simulation(api: str, store: Ledger, home: Path, tmp_path: Path) -> None:
    """On Aer, whose jobs end with their process, a killed run has the history of one that was not, to the last bit."""
    spec = a_spec(exact=False, epochs=4, shots=300, name="seeded", seed=8)
    file = written(tmp_path, spec)
    killed(api, home, file, POINTS["waited"])
    killed(api, home, file, POINTS["recorded"])
    (logical_run,) = {job.logical_run for job in store.jobs()}
    assert run_again(file) == 0
    assert run_again(file, "--new") == 0
    first = store.epochs.of_run(logical_run)
    (other,) = {job.logical_run for job in store.jobs()} - {logical_run}
    whole = store.epochs.of_run(other)
    assert len(first) == len(whole) == 4
    for one, another in zip(first, whole, strict=True):
        assert (one.points, one.energies, one.state) == (another.points, another.energies, another.state)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_on_portal(api: str, store: Ledger, home: Path, tmp_path: Path) -> None:
    """The molecule on `qjobs serve` as the portal, killed between epochs and in a submission: one job an epoch."""
    spec = of_molecule()
    file = written(tmp_path, spec)
    words = ["flows.on_service", "--port", str(free_port())]
    killed(api, home, file, POINTS["recorded"], words)
    (logical_run,) = {job.logical_run for job in store.jobs()}
    first = store.epochs.of_run(logical_run)
    killed(api, home, file, POINTS["sent"], words)
    assert (len(first), len(store.jobs())) == (1, 2)
    assert store.epochs.of_run(logical_run) == first
    done = in_process(api, home, ["-m", *words, str(file)])
    assert done.returncode == 0, done.stderr
    assert f"{GOING_ON}{logical_run} that was interrupted" in done.stderr
    assert "exact diagonalisation: -1.137306" in done.stdout
    assert {job.logical_run for job in store.jobs()} == {logical_run}
    epochs = check_epochs(store, spec.model_copy(update={"name": "h2-on-service"}), logical_run)
    assert (len(epochs), epochs[:1]) == (4, first)
    check_portal(home / "service", store, epochs)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_with_portal(
    api: str, store: Ledger, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run and portal are both killed while a job is under way there: the job is done by the next ones, once."""
    spec = of_molecule(epochs=2)
    file = written(tmp_path, spec)
    with RunningService(tmp_path / "service", options=("--submit-delay", "5")) as service:
        monkeypatch.setenv("MQP_URL", service.url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(service.certificate))
        monkeypatch.setenv("QJOBS_MQP_TOKEN", service.portal_token())
        killed(api, home, file, POINTS["waited"])
        service.kill()
        (logical_run,) = {job.logical_run for job in store.jobs()}
        service.start()
        done = in_process(api, home, ["-m", "flows.hybrid", str(file)])
        assert done.returncode == 0, done.stderr
        assert f"{GOING_ON}{logical_run} that was interrupted" in done.stderr
    epochs = check_epochs(store, spec, logical_run)
    assert len(epochs) == len(store.jobs()) == 2
    check_portal(service.data, store, epochs)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_suspended(client: SyncPrefectClient, worker: Popen[bytes], store: Ledger, provider: ScriptedProvider) -> None:
    """A deployed run is suspended in every epoch, resumed when its job is done, and makes one job an epoch."""
    spec = on(provider, name="weeks", epochs=2)
    run = suspended(client, store, hybrid, {"spec": spec.model_dump(mode="json")})
    assert store.epochs.of_run(str(run.id)) == []
    open_queue(provider)
    assert passes(store, client, "resumed").resumed == [str(run.id)]
    eventually(lambda: len(store.epochs.of_run(str(run.id))), lambda n: n == 1, deadline_s=240)
    eventually(lambda: [wait.flow_run_id for wait in store.waits.runs()], lambda runs: runs == [str(run.id)])
    eventually(lambda: client.read_flow_run(run.id).state.name, lambda name: name == "Suspended", deadline_s=240)
    open_queue(provider)
    assert passes(store, client, "resumed").resumed == [str(run.id)]
    ended = eventually(lambda: client.read_flow_run(run.id), lambda r: r.state.is_final(), deadline_s=240)
    assert ended.state.is_completed(), ended.state
    assert len(check_epochs(store, spec, str(run.id))) == 2
    assert provider.created == 2
    assert {job.status for job in store.jobs()} == {JobStatus.COMPLETED}
