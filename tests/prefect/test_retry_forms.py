"""What a form or a file says about retries reaches the submit stage."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from given import a_batch, a_check, a_sweep
from observing import eventually, last_run, task_names
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, State
from pydantic import ValidationError
from scripted_block import script

from flows.nightly_benchmark import nightly_benchmark
from flows.run_circuits import run_circuits
from flows.sweep import sweep
from qjobs.errors import NotSent, PolicyLimit
from qjobs.experiments.circuit_list import load_circuit_list
from qjobs.experiments.forms import RetryInput
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteRetryStrategy
from qjobs.operations.retry import RetryPolicy

DEFAULT, ALLOW, FULL = (
    RemoteRetryStrategy.DEFAULT,
    RemoteRetryStrategy.ALLOW_RESUBMIT,
    RemoteRetryStrategy.FULL_RESTART,
)


@pytest.mark.parametrize("one", [sweep, run_circuits, nightly_benchmark], ids=lambda one: one.name)
def test_fields(one: Flow) -> None:
    """Strategy and policy are fields of one flat model, with a choice of the strategies."""
    definitions = one.parameters.model_dump_for_openapi()["definitions"]
    (spec,) = [model for model in definitions.values() if "retries" in model.get("properties", {})]
    assert "RetryInput" in str(spec["properties"]["retries"])
    fields = definitions["RetryInput"]["properties"]
    assert set(fields) == set(RetryInput.model_fields)
    assert definitions["RemoteRetryStrategy"]["enum"] == [str(one) for one in RemoteRetryStrategy]
    for name, field in fields.items():
        parts = [part for part in field.get("anyOf", [field]) if part.get("type") != "null"]
        assert len(parts) == 1, name
        assert "RemoteRetryStrategy" in str(parts[0]) or parts[0]["type"] in {
            "array",
            "boolean",
            "integer",
            "number",
        }, name


def test_file(tmp_path: Path) -> None:
    """A file names strategy and policy as a form does, and a word that is no strategy is refused."""
    given = a_batch("from a file").model_dump(mode="json")
    given["retries"] = {"strategy": "FULL_RESTART", "ladder": ["DEFAULT"], "max_submissions": 5, "max_cost": 2.5}
    path = tmp_path / "circuits.yaml"
    path.write_text(yaml.safe_dump(given))
    retries = load_circuit_list(path).retries
    assert (retries.strategy, retries.ladder, retries.max_submissions, retries.max_cost) == (FULL, [DEFAULT], 5, 2.5)
    with pytest.raises(ValidationError, match="strategy"):
        RetryInput.model_validate({"strategy": "RESUBMIT"})
    assert a_check("checked", retries=given["retries"]).retries == retries


@pytest.mark.parametrize("cost", [None, 5.0], ids=["unknown", "too much"])
def test_max_cost(api: str, store: Ledger, cost: float | None) -> None:
    """A cap of the cost holds for the first submission: nothing is sent that costs more, or nobody knows what."""
    name, backend = script(f"costly-{cost or 0:.0f}", cost=cost)
    with pytest.raises(PolicyLimit, match="cost"):
        run_circuits(a_batch("costly", backend=name, compiler="none", retries={"max_cost": 4.0}))
    assert backend.n_submissions == 0
    assert [job.status for job in store.jobs(experiment="costly")] == [JobStatus.CREATED]
    if cost is not None:
        assert run_circuits(a_batch("paid", backend=name, compiler="none", retries={"max_cost": cost})).n_missing == 0


def test_ladder(client: SyncPrefectClient, store: Ledger) -> None:
    """The ladder of a form says how often the submit stage is retried, when, and by which strategy."""
    name, backend = script("laddered", on_submit=["not sent", "not sent", "not sent", "ok"])
    short = {"ladder": ["DEFAULT"], "delays_s": [0.01]}
    with pytest.raises(NotSent):
        run_circuits(a_batch("short", backend=name, compiler="none", retries=short))
    assert backend.n_submissions == 2
    longer = {"ladder": ["ALLOW_RESUBMIT", "DEFAULT"], "delays_s": [0.01, 0.02], "max_submissions": 9}
    assert run_circuits(a_batch("longer", backend=name, compiler="none", retries=longer)).n_missing == 0
    assert backend.n_submissions == 4
    (job,) = store.jobs(experiment="longer")
    told = [event.detail for event in store.events(job.job_id) if event.cause == "retry"]
    assert told == ["retry 1 of the submit stage, rung ALLOW_RESUBMIT"]

    policy = RetryPolicy.from_form(RetryInput(**longer), backend.lookup)
    assert (policy.delays_s, policy.max_submissions) == ([0.01, 0.02], 9)


def test_full_restart(client: SyncPrefectClient, store: Ledger, home: Path) -> None:
    """FULL_RESTART in a form compiles and submits anew, once in a run, however often that run is entered."""
    name, backend = script("restarted")
    spec = a_sweep("restarted", backends=[name])
    assert sweep(spec).n_missing == 0
    (job,) = store.jobs(experiment="restarted")
    in_the_way = home / "results-of-before"
    (home / "results").rename(in_the_way)
    (home / "results").write_text("not a folder")
    tries: list[str] = []

    def clear_the_way(_flow: object, run: FlowRun, _state: State[object]) -> None:
        tries.append(str(run.id))
        if len(tries) == 2:
            (home / "results").unlink()

    again = spec.model_copy(update={"retries": RetryInput(strategy=FULL)})
    twice = sweep.with_options(retries=1, retry_delay_seconds=0, on_running=[clear_the_way])
    assert twice(again).n_missing == 0
    assert len(tries) == 2
    assert [each.job_id for each in store.jobs(experiment="restarted")] == [job.job_id]
    assert (backend.n_submissions, store.job(job.job_id).epoch) == (2, job.epoch + 1)
    stages = task_names(client, last_run(client, "restarted").id, last="publish_artifacts")
    assert (stages.count("compile_circuits"), stages.count("submit_job")) == (1, 1)
    assert [attempt.strategy for attempt in store.attempts(job.job_id)] == [DEFAULT, FULL]

    assert sweep(spec).n_missing == 0
    assert backend.n_submissions == 2, "another run that asks for nothing reuses what is there"
    assert sweep(again).n_missing == 0
    assert backend.n_submissions == 3, "another run that asks for it restarts it"
    assert eventually(lambda: len(store.results(job.job_id)), bool) == 6
