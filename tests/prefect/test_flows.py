"""Flows end to end: real Prefect, real Aer, and a scripted backend where Aer is too well-behaved."""

from __future__ import annotations

import base64
import json
import math
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from given import BELL, THETAS, a_batch, a_sweep
from observing import artifacts, eventually, last_run, task_names
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State
from scripted_block import Died, script
from support import check_history

from blocks import AerBackend, backend_named
from flows.run_circuits import run_circuits
from flows.sweep import sweep
from qjobs.backends.base import Limits
from qjobs.errors import JobFailed, SubmissionRejected
from qjobs.experiments.sweep import SweepSpec
from qjobs.ledger import Ledger
from qjobs.lifecycle import LIVE, JobStatus
from qjobs.reports.markdown import plain


def _check_artifacts(client: SyncPrefectClient, spec: SweepSpec, store: Ledger, picture: Path) -> None:
    (job,) = store.jobs(experiment=spec.name)
    for version in artifacts(client, "end-to-end-report"):
        (image,) = re.findall(r"!\[[^]]*\]\(data:image/png;base64,([^)]+)\)", version.data)
        assert base64.b64decode(image) == picture.read_bytes()
        assert "theta = 3.1416" in version.data
        assert "| aer | z0 | period | 6." in version.data
        assert f"{picture.parents[1]}/" in version.data
        assert "/fits.json`" in version.data
        assert "results.parquet" in version.data
    (table, _) = artifacts(client, "end-to-end-jobs")
    (row,) = json.loads(table.data, parse_constant=pytest.fail)
    assert (row["job id"], row["status"], row["items"], row["results"]) == (job.job_id, "COMPLETED", 6, 6)
    (origin, _) = artifacts(client, "end-to-end-provenance")
    for words in (f"| `{job.job_id}` |", "| device | aer\\_simulator, ", "| versions | Python 3.", "| who | "):
        assert words in origin.data, words
    for what, file in (("data", picture.with_name("results.parquet")), ("picture", picture)):
        oldest = artifacts(client, f"end-to-end-{what}")[0]
        assert oldest.data == f"[{plain(file)}]({file.as_uri()})"
    (progress,) = artifacts(client, "end-to-end-progress")
    assert (progress.type, progress.data) == ("progress", 100.0)
    assert "6 of 6 circuits" in progress.description


def test_sweep(client: SyncPrefectClient, store: Ledger, home: Path) -> None:
    """A sweep publishes frame, picture and artifacts, and the same one again runs nothing."""
    spec = a_sweep("End to end", analysis={"name": "rabi"})
    first = sweep(spec)
    frame = pd.read_parquet(first.parquet)
    assert list(frame["theta"]) == THETAS
    assert all(abs(z - math.cos(theta)) < 5 * 1000**-0.5 for theta, z in zip(frame["theta"], frame["z0"], strict=True))
    assert (first.n_rows, first.n_missing) == (6, 0)
    assert first.lines[0] == "best point on aer: theta = 3.1416"
    assert Path(first.parquet).is_relative_to(home)
    assert Path(first.picture).read_bytes().startswith(b"\x89PNG")
    (job,) = store.jobs(experiment=spec.name)
    assert (job.status, job.n_items) == (JobStatus.COMPLETED, 6)
    check_history(store, job.job_id)
    run = last_run(client, spec.name)
    assert job.run == str(run.id)
    assert run.state.is_completed()
    stages = ["compile", "publish", "submit", "wait"]
    assert [name.partition("_")[0] for name in task_names(client, run.id, last="publish_artifacts")] == stages

    second = sweep(spec)
    assert second.lines == first.lines
    assert store.jobs(experiment=spec.name) == [job]
    rerun = last_run(client, spec.name)
    assert rerun.id != run.id
    assert task_names(client, rerun.id, last="publish_artifacts") == ["publish_artifacts"]

    assert (
        first.artifact_keys == second.artifact_keys == ("end-to-end-report", "end-to-end-jobs", "end-to-end-provenance")
    )
    for key in first.artifact_keys:
        assert [one.flow_run_id for one in artifacts(client, key)] == [run.id, rerun.id]
    _check_artifacts(client, spec, store, Path(first.picture))


@pytest.mark.slow
def test_two_backends(client: SyncPrefectClient, store: Ledger) -> None:
    """A sweep on two backends has the rows of both."""
    AerBackend(n_workers=1, readout_error=0.25).save("noisy")
    names = ["aer", "aer-backend/noisy"]
    published = sweep(a_sweep("pair", backends=names))
    frame = pd.read_parquet(published.parquet)
    assert published.n_missing == 0
    ideal, noisy = (frame[frame["backend"] == name]["z0"].to_numpy() for name in names)
    assert ideal[0] == 1.0
    assert noisy[0] == pytest.approx(0.5, abs=0.15)  # every fourth bit is flipped
    assert {job.device for job in store.jobs(experiment="pair")} == {backend_named(name).device for name in names}
    assert len(published.lines) == 4
    stages = task_names(client, last_run(client, "pair").id, last="publish_artifacts")
    assert stages.count("submit_job") == stages.count("compile_circuits") == 2


def test_plan_only(client: SyncPrefectClient, store: Ledger) -> None:
    """A run that only plans makes no job and sends nothing; its artifact says the cost, what is reused and the wait."""
    name, backend = script("planned", limits=Limits(max_items=2, max_live_jobs=3), cost=2.5)
    spec = a_sweep("Only a plan", backends=[name], compile={"compiler": "none"}, objective=None)
    (found,) = sweep(spec, plan_only=True).devices
    assert (found.circuits, found.reused, found.jobs, found.cost, found.outlook.free) == (6, 0, 3, 7.5, 3)
    (page,) = artifacts(client, "only-a-plan-plan")
    for line in ("| jobs to send | 3 |", "| cost | 7.5 |", "| free slots | 3 |", "| usual wait | no history |"):
        assert line in page.data
    run = last_run(client, spec.name)
    assert run.state.is_completed()
    assert task_names(client, run.id, last="publish_plan") == ["publish_plan"]
    assert (store.jobs(), backend.n_submissions) == ([], 0)


def test_task_runs(client: SyncPrefectClient, store: Ledger) -> None:
    """There is one task run per job and stage, none per circuit, and none to collect what is there already."""
    name, _ = script("cut", limits=Limits(max_items=20))
    published = run_circuits(a_batch("many", 60, backend=name, compiler="none"))
    assert (published.n_rows, published.n_missing) == (60, 0)
    assert len(store.jobs(experiment="many")) == 3
    stages = task_names(client, last_run(client, "many").id, last="publish_artifacts")
    once = ["compile_circuits", "publish_artifacts", "wait_for_jobs"]
    assert stages == sorted(["submit_job"] * 3 + once)


def test_circuit_list(client: SyncPrefectClient, store: Ledger) -> None:
    """A circuit list is run anew by each run, and found again by its logical run."""
    hostile = "<script>a</script> | ![b](http://host) [c](javascript:d)"
    labelled = [{"openqasm": BELL, "label": label} for label in ("bell-0", hostile)]
    published = run_circuits(a_batch("bells", circuits=labelled))
    frame = pd.read_parquet(published.parquet)
    assert list(frame["label"]) == ["bell-0", hostile]
    for counts in map(json.loads, frame["counts"]):
        assert set(counts) == {"00", "11"}
        assert sum(counts.values()) == 100
    run = last_run(client, "bells")
    (report,) = artifacts(client, "bells-report")
    assert "(data:image/png;base64," in report.data
    assert f"| {plain(hostile)} |" in report.data
    assert "<script" not in report.data
    assert len(re.findall(r"(?<!\\)\]\(", report.data)) == 1, "that of the picture"
    run_circuits(a_batch("bells", circuits=labelled))
    assert len(store.jobs(experiment="bells")) == 2, "another run is another logical run"
    again = run_circuits(a_batch("bells", circuits=labelled), logical_run=str(run.id))
    assert again.n_missing == 0
    assert len(store.jobs(experiment="bells")) == 2, "the same logical run finds its jobs"
    stages = task_names(client, last_run(client, "bells").id, last="publish_artifacts")
    assert stages == ["publish_artifacts"]


def test_failing_items(client: SyncPrefectClient, store: Ledger) -> None:
    """Failing items fail the flow once, after everything is published."""
    name, _ = script("broken", fail_items=[1])
    with pytest.raises(JobFailed, match="1 of 3 items") as caught:
        run_circuits(a_batch("partly", 3, backend=name, compiler="none"))
    assert caught.value.failed == {1: "laser off"}
    run = last_run(client, "partly")
    assert run.state.is_failed()
    (table,) = artifacts(client, "partly-jobs")
    (row,) = json.loads(table.data)
    assert (row["status"], row["items"], row["results"]) == ("ERROR", 3, 2)
    (report,) = artifacts(client, "partly-report")
    assert "laser off" in report.data
    assert "bell-2" in report.data
    assert task_names(client, run.id, last="publish_artifacts").count("collect_results") == 1, (
        "JobFailed is not retried"
    )
    (job,) = store.jobs(experiment="partly")
    assert sorted(store.results(job.job_id)) == [0, 2]


def test_refused_job(api: str, store: Ledger) -> None:
    """A refused job fails the flow and spares the others."""
    name, backend = script("refusing", limits=Limits(max_items=1), on_submit=["refused"])
    with pytest.raises(SubmissionRejected):
        run_circuits(a_batch("refused", 3, backend=name, compiler="none"))
    statuses = sorted(job.status for job in store.jobs(experiment="refused"))
    assert statuses == [JobStatus.COMPLETED, JobStatus.COMPLETED, JobStatus.ERROR]
    assert backend.n_submissions == 3


@pytest.mark.parametrize("where", [{"dies_at_poll": 1}, {"on_submit": ["dies"]}], ids=["waiting", "submitting"])
def test_crashed_run(client: SyncPrefectClient, store: Ledger, where: dict[str, object]) -> None:
    """A crashed run finds its jobs again by its logical run."""
    kind = next(iter(where)).replace("_", "-")
    name, backend = script(f"mortal-{kind}", **where)
    spec = a_batch(f"crash-{kind}", backend=name, compiler="none")
    with pytest.raises(BaseException) as caught:
        run_circuits(spec)
    assert isinstance(caught.value, Died) or "dies" in str(where)
    crashed = last_run(client, spec.name)
    assert crashed.state.is_crashed() or crashed.state.is_failed()
    assert len(backend.jobs) == 1
    (job,) = store.jobs(experiment=spec.name)
    assert job.status in LIVE
    published = run_circuits(spec, logical_run=str(crashed.id))
    assert published.n_missing == 0
    assert [found.job_id for found in store.jobs(experiment=spec.name)] == [job.job_id]
    assert (len(backend.jobs), backend.n_submissions) == (1, 1)


def test_retried_run(client: SyncPrefectClient, store: Ledger, home: Path) -> None:
    """A flow run that Prefect retries finds its own jobs, although its first try could not publish them."""
    name, backend = script("retried")
    home.mkdir(exist_ok=True)
    in_the_way = home / "results"
    in_the_way.write_text("not a folder")
    tries: list[str] = []

    def clear_the_way(_flow: object, run: FlowRun, _state: State[object]) -> None:
        tries.append(str(run.id))
        if len(tries) == 2:
            in_the_way.unlink()

    twice = run_circuits.with_options(retries=1, retry_delay_seconds=0, on_running=[clear_the_way])
    assert twice(a_batch("retried", 1, backend=name, compiler="none")).n_missing == 0
    assert len(tries) == 2
    assert len(set(tries)) == 1
    assert last_run(client, "retried").run_count == 2
    assert (len(backend.jobs), backend.n_submissions) == (1, 1)
    assert len(store.jobs(experiment="retried")) == 1


def test_crashed_sweep(api: str, store: Ledger) -> None:
    """A crashed sweep finds its jobs again by itself."""
    name, backend = script("mortal-sweep", dies_at_poll=1)
    spec = a_sweep("crash-sweep", backends=[name], compile={"compiler": "none"})
    with pytest.raises(Died):
        sweep(spec)
    assert len(backend.jobs) == 1
    assert sweep(spec).n_missing == 0
    assert (len(backend.jobs), backend.n_submissions) == (1, 1)
    assert len(store.jobs(experiment=spec.name)) == 1


def test_live_jobs(client: SyncPrefectClient, store: Ledger) -> None:
    """There are never more live jobs than the device takes."""
    name, backend = script("narrow", limits=Limits(max_items=1, max_live_jobs=2), polls=2)
    published = run_circuits(a_batch("five", 5, backend=name, compiler="none"))
    assert published.n_missing == 0
    assert (len(backend.jobs), backend.n_submissions) == (5, 5)
    assert backend.most_live == 2
    progress = artifacts(client, "five-progress")
    assert progress[-1].data == 100.0
    assert all("of 5 circuits" in one.description for one in progress)
    assert all(one.data < 100.0 for one in progress[:-1])


def test_jobs_of_others(api: str, store: Ledger) -> None:
    """A run that finds places taken by jobs of others waits in its process, and takes the places as they leave."""
    name, backend = script("visited", limits=Limits(max_items=1, max_live_jobs=2), polls=3)
    backend.strangers = ["x", "y"]
    with ThreadPoolExecutor(1) as pool:
        mine = pool.submit(run_circuits, a_batch("visitor", 4, backend=name, compiler="none"))
        eventually(lambda: backend.n_shown, lambda count: count >= 3)
        assert backend.n_submissions == 0
        backend.strangers = ["y"]
        eventually(lambda: backend.n_submissions, lambda count: count >= 2)
        assert backend.most_live == 1
        backend.strangers = []
        assert mine.result(120).n_missing == 0
    assert (backend.n_submissions, len(backend.jobs)) == (4, 4)


def test_shared_device(api: str, store: Ledger) -> None:
    """A run that finds the device full waits for the jobs of the other one, and fails none of its own."""
    name, backend = script("crowded", limits=Limits(max_items=1, max_live_jobs=1), polls=10)
    specs = [a_batch(f"crowd-{n}", 2, backend=name, compiler="none") for n in range(2)]
    with ThreadPoolExecutor(2) as pool:
        published = list(pool.map(run_circuits, specs))
    assert [one.n_missing for one in published] == [0, 0]
    assert (len(backend.jobs), backend.n_submissions, backend.most_live) == (4, 4, 1)
