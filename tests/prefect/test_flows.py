"""Flows end to end: real Prefect, real Aer, and a scripted backend where Aer is too well-behaved."""

from __future__ import annotations

import base64
import json
import math
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pandas as pd
import pytest
from observing import artifacts, last_run, task_names
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ParameterTypeError, PrefectHTTPStatusError
from prefect.states import Cancelling
from prefect.utilities.callables import ParameterSchema
from scripted_block import Died, script
from support import check_history

from blocks import AerBackend, backend_named
from flows._support.stages import cancel_jobs
from flows.run_circuits import run_circuits
from flows.sweep import sweep
from qjobs.backends.base import Limits
from qjobs.errors import InvalidInput, JobFailed, SubmissionRejected
from qjobs.experiments.circuit_list import CircuitList
from qjobs.experiments.sweep import SweepSpec
from qjobs.ledger import Ledger
from qjobs.lifecycle import LIVE, JobStatus

ROTATION = """OPENQASM 3.0; include "stdgates.inc"; input float[64] theta;
qubit[2] q; bit[2] c; rx(theta) q[0]; cx q[0], q[1]; c = measure q;"""
THETAS = [0.0, 0.5, 1.0, 1.5, 2.0, math.pi]
BELL = """OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;"""


def a_sweep(name: str, **values: object) -> SweepSpec:
    """⟨Z0⟩ = cos θ at six angles; its lowest point is θ = π."""
    given = {
        "name": name,
        "circuit": {"openqasm": ROTATION},
        "axes": [{"name": "theta", "values": THETAS}],
        "shots": 1000,
        "seed": 3,
        "observables": [{"name": "z0", "terms": "Z0"}],
        "objective": {"name": "z0", "goal": "minimize"},
        **values,
    }
    return SweepSpec.model_validate(given)


def a_batch(name: str, n: int = 2, **values: object) -> CircuitList:
    """Some Bell pairs."""
    circuits = [{"openqasm": BELL, "label": f"bell-{index}"} for index in range(n)]
    return CircuitList.model_validate({"name": name, "circuits": circuits, "shots": 100, "seed": 3, **values})


# --- a sweep ------------------------------------------------------------------------------------------


def test_a_sweep_end_to_end(client: SyncPrefectClient, store: Ledger, home: Path) -> None:
    spec = a_sweep("End to end")
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
    stages = ["collect", "compile", "publish", "submit", "wait"]
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


def _check_artifacts(client: SyncPrefectClient, spec: SweepSpec, store: Ledger, picture: Path) -> None:
    (job,) = store.jobs(experiment=spec.name)
    for version in artifacts(client, "end-to-end-report"):
        (image,) = re.findall(r"!\[[^]]*\]\(data:image/png;base64,([^)]+)\)", version.data)
        assert base64.b64decode(image) == picture.read_bytes()
        assert "theta = 3.1416" in version.data
        assert "results.parquet" in version.data
    (table, _) = artifacts(client, "end-to-end-jobs")
    (row,) = json.loads(table.data, parse_constant=pytest.fail)
    assert (row["job id"], row["status"], row["items"], row["results"]) == (job.job_id, "COMPLETED", 6, 6)
    (origin, _) = artifacts(client, "end-to-end-provenance")
    record = json.loads(origin.data.removeprefix("```json\n").removesuffix("```\n"), parse_constant=pytest.fail)
    assert record["jobs"][0]["job_id"] == job.job_id
    assert record["devices"]["aer"]["device"] == "aer_simulator"
    assert record["versions"]["prefect"]
    (progress,) = artifacts(client, "end-to-end-progress")
    assert (progress.type, progress.data) == ("progress", 100.0)
    assert "6 of 6 circuits" in progress.description


def test_fresh_runs_everything_anew(api: str, store: Ledger) -> None:
    sweep(a_sweep("anew"))
    sweep(a_sweep("anew", fresh=True))
    jobs = store.jobs(experiment="anew")
    assert len({job.key for job in jobs}) == 2
    assert all(job.status is JobStatus.COMPLETED for job in jobs)


def test_a_longer_sweep_runs_only_what_is_missing(api: str, store: Ledger) -> None:
    sweep(a_sweep("longer"))
    more = [*THETAS, 0.25, 0.75]
    published = sweep(a_sweep("longer", axes=[{"name": "theta", "values": more}]))
    assert published.n_rows == 8
    assert sorted(job.n_items for job in store.jobs(experiment="longer")) == [2, 6]


def test_another_name_is_another_experiment(api: str, store: Ledger) -> None:
    sweep(a_sweep("monday"))
    sweep(a_sweep("tuesday"))
    assert [len(store.jobs(experiment=name)) for name in ("monday", "tuesday")] == [1, 1]


def test_exact_observables(api: str) -> None:
    frame = pd.read_parquet(sweep(a_sweep("exact", exact=True)).parquet)
    assert frame["z0"].to_numpy() == pytest.approx([math.cos(theta) for theta in THETAS])
    assert set(frame["z0_stderr"]) == {0.0}


def test_two_backends(client: SyncPrefectClient, store: Ledger) -> None:
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


def test_one_task_run_per_job_and_none_per_circuit(client: SyncPrefectClient, store: Ledger) -> None:
    name, _ = script("cut", limits=Limits(max_items=20))
    published = run_circuits(a_batch("many", 60, backend=name, compiler="none"))
    assert (published.n_rows, published.n_missing) == (60, 0)
    assert len(store.jobs(experiment="many")) == 3
    stages = task_names(client, last_run(client, "many").id, last="publish_artifacts")
    once = ["compile_circuits", "publish_artifacts", "wait_for_jobs"]
    assert stages == sorted(["collect_results"] * 3 + ["submit_job"] * 3 + once)


# --- a batch of circuits ------------------------------------------------------------------------------


def test_a_batch_end_to_end(client: SyncPrefectClient, store: Ledger) -> None:
    published = run_circuits(a_batch("bells"))
    frame = pd.read_parquet(published.parquet)
    assert list(frame["label"]) == ["bell-0", "bell-1"]
    for counts in map(json.loads, frame["counts"]):
        assert set(counts) == {"00", "11"}
        assert sum(counts.values()) == 100
    run = last_run(client, "bells")
    (report,) = artifacts(client, "bells-report")
    assert "bell-1" in report.data
    run_circuits(a_batch("bells"))
    assert len(store.jobs(experiment="bells")) == 2, "another run is another logical run"
    again = run_circuits(a_batch("bells"), logical_run=str(run.id))
    assert again.n_missing == 0
    assert len(store.jobs(experiment="bells")) == 2, "the same logical run finds its jobs"
    stages = task_names(client, last_run(client, "bells").id, last="publish_artifacts")
    assert stages == ["collect_results", "compile_circuits", "publish_artifacts"]


# --- bad parameters -----------------------------------------------------------------------------------

BAD = {
    "unknown axis": ({"axes": [{"name": "phi", "values": [1.0]}]}, InvalidInput, "theta have no value"),
    "not a number": ({"axes": [{"name": "theta", "values": ["x"]}]}, ParameterTypeError, "values.0"),
    "no shots": ({"shots": 0}, ParameterTypeError, "shots"),
    "unknown field": ({"shot": 10}, ParameterTypeError, "shot"),
    "no backend": ({"backends": ["aer-backend/nope"]}, InvalidInput, "there is no backend 'aer-backend/nope'"),
    "second backend": ({"backends": ["aer", "nope"]}, InvalidInput, "there is no backend 'nope'"),
    "wide observable": ({"observables": [{"name": "z0", "terms": "Z7"}]}, InvalidInput, "acts on qubit 7"),
    "no circuit": ({"circuit": {"openqasm": "OPENQASM 9;"}}, InvalidInput, "OpenQASM 9"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_sweep_is_refused_before_anything_is_written(api: str, store: Ledger, case: str) -> None:
    change, error, words = BAD[case]
    given = {**a_sweep("bad").model_dump(mode="json"), **change}
    with pytest.raises(error, match=re.escape(words)):
        sweep(given)
    assert store.jobs() == []


def _deploy(client: SyncPrefectClient, one: Flow) -> UUID:
    async def create() -> UUID:
        async with get_client() as asynchronous:
            flow_id = await asynchronous.create_flow(one)
            schema = one.parameter_openapi_schema if hasattr(one, "parameter_openapi_schema") else one.parameters
            return await asynchronous.create_deployment(
                flow_id,
                name=f"{one.name}-form",
                parameter_openapi_schema=_as_json(schema),
                enforce_parameter_schema=True,
            )

    import asyncio

    return asyncio.run(create())


def _as_json(schema: ParameterSchema) -> dict[str, object]:
    return schema.model_dump_for_openapi()


def test_a_deployment_refuses_bad_parameters(client: SyncPrefectClient, store: Ledger) -> None:
    good = a_sweep("deployed").model_dump(mode="json")
    for change in ({"shots": 0}, {"axes": [{"name": "theta", "values": ["x"]}]}, {"mode": "spiral"}):
        with pytest.raises(ParameterTypeError, match=next(iter(change))):
            sweep.validate_parameters({"spec": {**good, **change}})
    deployment = _deploy(client, sweep)

    def create(spec: dict[str, object]) -> FlowRun:
        path = f"/deployments/{deployment}/create_flow_run"
        return FlowRun.model_validate(client.request("POST", path, json={"parameters": {"spec": spec}}).json())

    for change in ({"shots": 0}, {"axes": [{"name": "theta", "values": ["x"]}]}, {"mode": "spiral"}):
        with pytest.raises(PrefectHTTPStatusError) as caught:
            create({**good, **change})
        assert caught.value.response.status_code == 409
        assert next(iter(change)) in caught.value.response.text
    assert store.jobs() == []
    run = create(good)
    assert sweep.validate_parameters(run.parameters)["spec"] == a_sweep("deployed")


# --- what goes wrong ----------------------------------------------------------------------------------


def test_failing_items_are_published_and_fail_the_flow(client: SyncPrefectClient, store: Ledger) -> None:
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


def test_a_refused_job_fails_the_flow_and_spares_the_others(api: str, store: Ledger) -> None:
    name, backend = script("refusing", limits=Limits(max_items=1), refuse_labels=["bell-0"])
    with pytest.raises(SubmissionRejected):
        run_circuits(a_batch("refused", 3, backend=name, compiler="none"))
    statuses = sorted(job.status for job in store.jobs(experiment="refused"))
    assert statuses == [JobStatus.COMPLETED, JobStatus.COMPLETED, JobStatus.ERROR]
    assert backend.n_submissions == 3


@pytest.mark.parametrize("where", [{"dies_at_poll": 1}, {"on_submit": ["dies"]}], ids=["waiting", "submitting"])
def test_a_crashed_run_finds_its_jobs_again(client: SyncPrefectClient, store: Ledger, where: dict[str, object]) -> None:
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


def test_a_crashed_sweep_finds_its_jobs_again(api: str, store: Ledger) -> None:
    name, backend = script("mortal-sweep", dies_at_poll=1)
    spec = a_sweep("crash-sweep", backends=[name], compile={"compiler": "none"})
    with pytest.raises(Died):
        sweep(spec)
    assert len(backend.jobs) == 1
    assert sweep(spec).n_missing == 0
    assert (len(backend.jobs), backend.n_submissions) == (1, 1)
    assert len(store.jobs(experiment=spec.name)) == 1


# --- the device's limit -------------------------------------------------------------------------------


def test_never_more_live_jobs_than_the_device_takes(client: SyncPrefectClient, store: Ledger) -> None:
    name, backend = script("narrow", limits=Limits(max_items=1, max_live_jobs=2), polls=2)
    published = run_circuits(a_batch("five", 5, backend=name, compiler="none"))
    assert published.n_missing == 0
    assert (len(backend.jobs), backend.n_submissions) == (5, 5)
    assert backend.most_live == 2
    progress = artifacts(client, "five-progress")
    assert progress[-1].data == 100.0
    assert all("of 5 circuits" in one.description for one in progress)
    assert all(one.data < 100.0 for one in progress[:-1])


def test_two_runs_share_the_room(api: str, store: Ledger) -> None:
    """A run that finds the device full waits for the jobs of the other one, and fails none of its own."""
    name, backend = script("crowded", limits=Limits(max_items=1, max_live_jobs=1), polls=10)
    specs = [a_batch(f"crowd-{n}", 2, backend=name, compiler="none") for n in range(2)]
    with ThreadPoolExecutor(2) as pool:
        published = list(pool.map(run_circuits, specs))
    assert [one.n_missing for one in published] == [0, 0]
    assert (len(backend.jobs), backend.n_submissions, backend.most_live) == (4, 4, 1)


# --- cancellation -------------------------------------------------------------------------------------


def _cancel_as_prefect_does(client: SyncPrefectClient, run: FlowRun) -> None:
    """In a thread, by keyword, with the run as the API gives it (`prefect.runner`)."""
    known = client.read_flow_run(run.id)
    for hook in run_circuits.on_cancellation_hooks:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(hook, flow=run_circuits, flow_run=known, state=Cancelling()).result()


def _left_behind(client: SyncPrefectClient, name: str, backend: str, **options: object) -> FlowRun:
    """A run that went away while its first job was under way and its second one was not sent."""
    with pytest.raises(Died):
        run_circuits(a_batch(name, 2, backend=backend, compiler="none"), **options)
    return last_run(client, name)


def test_cancelling_a_run_cancels_its_jobs_and_no_others(client: SyncPrefectClient, store: Ledger) -> None:
    limits = Limits(max_items=1, max_live_jobs=1)
    runs, backends = {}, {}
    for which in ("one", "other"):
        name, backends[which] = script(f"endless-{which}", polls=None, dies_at_poll=1, limits=limits)
        runs[which] = _left_behind(client, f"left-{which}", name)
    _cancel_as_prefect_does(client, runs["one"])
    assert [job.status for job in store.jobs(experiment="left-one")] == [JobStatus.CANCELLED] * 2
    assert len(backends["one"].cancelled) == 1
    others = {job.status for job in store.jobs(experiment="left-other")}
    assert others == {JobStatus.CREATED, JobStatus.SUBMITTED}
    assert not backends["other"].cancelled
    _cancel_as_prefect_does(client, runs["one"])
    assert len(backends["one"].cancelled) == 1


def test_cancelling_the_jobs_can_be_switched_off(client: SyncPrefectClient, store: Ledger) -> None:
    name, backend = script("kept", polls=None, dies_at_poll=1, limits=Limits(max_items=1, max_live_jobs=1))
    run = _left_behind(client, "left-alone", name, cancel_remote_jobs=False)
    before = store.jobs(experiment="left-alone")
    _cancel_as_prefect_does(client, run)
    assert store.jobs(experiment="left-alone") == before
    assert not backend.cancelled


def test_the_wish_is_kept_when_the_backend_is_gone(client: SyncPrefectClient, store: Ledger) -> None:
    """Blocks can be deleted; the wish is in the ledger before anything is opened."""
    name, backend = script("gone", polls=None, dies_at_poll=1)
    run = _left_behind(client, "left-gone", name)
    (job,) = store.jobs(experiment="left-gone")
    moved = store.jobs(experiment="left-gone")[0].opened_as
    assert moved == name
    _forget_backend(client, name)
    _cancel_as_prefect_does(client, run)
    assert store.job(job.job_id).cancel_requested_at is not None
    assert not backend.cancelled


def _forget_backend(client: SyncPrefectClient, name: str) -> None:
    """Delete the block, and what this process has opened of it."""
    from blocks import opening

    slug, block = name.split("/")
    document = client.request("GET", f"/block_types/slug/{slug}/block_documents/name/{block}").json()
    client.request("DELETE", f"/block_documents/{document['id']}")
    opening._backends.pop(name)


def test_both_flows_have_the_hook() -> None:
    assert sweep.on_cancellation_hooks == run_circuits.on_cancellation_hooks == [cancel_jobs]


# --- the form -----------------------------------------------------------------------------------------


def _fields(schema: dict[str, object]) -> list[tuple[str, dict[str, object]]]:
    found = [(f"parameters.{name}", field) for name, field in schema["properties"].items()]
    for title, model in schema.get("definitions", {}).items():
        found += [(f"{title}.{name}", field) for name, field in model.get("properties", {}).items()]
    return found


@pytest.mark.parametrize("one", [sweep, run_circuits], ids=lambda one: one.name)
def test_the_parameters_make_a_form(one: Flow) -> None:
    """Every field has a title and a description, and none is a union of models, which the UI draws as JSON."""
    schema = _as_json(one.parameters)
    fields = _fields(schema)
    assert len(fields) > 10
    definitions = schema["definitions"]
    for name, field in fields:
        assert field.get("title") or "$ref" in str(field), name
        assert field.get("description"), name
        assert "oneOf" not in field, name
        assert "discriminator" not in field, name
        union = [part for part in field.get("anyOf", []) if part.get("type") != "null"]
        models = [part for part in union if "$ref" in part]
        assert len(union) <= 1 or not models, f"{name} is a union with a model in it"
        for reference in re.findall(r"#/definitions/(\w+)", json.dumps(field)):
            assert reference in definitions
