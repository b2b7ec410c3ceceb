"""The whole way on real Aer: a sweep of the example's circuit against its analytic value, and what is said of it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from support import create, raw, sent

from qjobs.backends.aer import AerBackend
from qjobs.compiling.compiler import CompileCache
from qjobs.experiments.circuit_list import expand_circuit_list, load_circuit_list
from qjobs.experiments.sweep import SweepSpec, expand_sweep, load_sweep
from qjobs.ledger import Ledger, tables
from qjobs.model import JobId
from qjobs.operations import plan as operations
from qjobs.operations.launch import compile_here, launch_circuits, launch_sweep
from qjobs.reports.provenance import jobs_table, provenance, provenance_markdown
from qjobs.reports.run_report import RunReport, report_of

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def aer() -> Iterator[AerBackend]:
    with AerBackend(n_workers=2) as backend:
        backend.warm()
        yield backend


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path_factory.mktemp('outcome') / 'ledger.db'}") as ledger:
        yield ledger


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> CompileCache:
    return CompileCache(tmp_path_factory.mktemp("compiled"))


def example(**values: Any) -> SweepSpec:
    """The example, cut down to 5 x 4 points."""
    data = load_sweep(EXAMPLES / "qaoa_maxcut" / "sweep.yaml").model_dump(mode="json")
    data["axes"][0]["count"], data["axes"][1]["count"] = 5, 4
    return SweepSpec.model_validate({**data, **values})


def execute(store: Ledger, backend: AerBackend, job_ids: tuple[JobId, ...]) -> None:
    for job_id in job_ids:
        if not store.job(job_id).status.is_final:
            operations.submit(store, backend, job_id)
    operations.wait(store, {backend.name: backend}, job_ids, timeout_s=60)
    for job_id in job_ids:
        operations.complete(store, backend, job_id)


def run(
    store: Ledger, backend: AerBackend, cache: CompileCache, spec: SweepSpec
) -> tuple[RunReport, tuple[JobId, ...]]:
    stage = compile_here(store, backend, spec.compile_options(), cache)
    plan = expand_sweep(spec)
    launched = launch_sweep(store, backend, plan, name="aer", run="run", compile_stage=stage)
    execute(store, backend, launched.job_ids)
    return report_of(store, plan, {"aer": list(launched.job_ids)}), launched.job_ids


def references(outcome: RunReport) -> np.ndarray:
    assert outcome.plan is not None
    assert outcome.plan.objective is not None
    reference = outcome.plan.objective.reference
    assert reference is not None
    frame = outcome.frame
    return np.array([reference({"gamma": g, "beta": b}) for g, b in zip(frame["gamma"], frame["beta"], strict=True)])


def check_sampled(outcome: RunReport) -> None:
    pulls = (outcome.frame["cut"] - references(outcome)) / outcome.frame["cut_stderr"]
    assert outcome.n_missing == 0
    assert np.abs(pulls).max() < 5
    assert 0.5 < math.sqrt((pulls**2).mean()) < 1.6
    (best,) = outcome.bests
    assert best.best_possible == 10
    assert best.deviations == pytest.approx(tuple(pulls))


@pytest.mark.parametrize(
    "compiled",
    [{}, {"compiler": "qiskit", "level": 3}, {"compiler": "tket", "level": 3}, {"compiler": "none"}],
    ids=["default", "qiskit-3", "tket-3", "none"],
)
def test_sampled_values_are_the_analytic_ones(
    aer: AerBackend, store: Ledger, cache: CompileCache, compiled: dict[str, Any]
) -> None:
    outcome, _ = run(store, aer, cache, example(compile=compiled, shots=2000))
    assert len(outcome.frame) == 20
    check_sampled(outcome)


@pytest.mark.parametrize(
    "compiled",
    [{}, {"compiler": "qiskit", "level": 3}, {"compiler": "tket", "level": 3}],
    ids=["default", "qiskit-3", "tket-3"],
)
def test_exact_values_are_the_analytic_ones_at_every_point(
    aer: AerBackend, store: Ledger, cache: CompileCache, compiled: dict[str, Any]
) -> None:
    outcome, _ = run(store, aer, cache, example(exact=True, compile=compiled))
    assert np.abs(outcome.frame["cut"] - references(outcome)).max() < 1e-9
    assert (outcome.frame["cut_stderr"] == 0).all()
    assert outcome.bests[0].deviations == ()
    assert outcome.bests[0].deviation is None


def test_a_sweep_says_what_came_out(aer: AerBackend, store: Ledger, cache: CompileCache) -> None:
    outcome, job_ids = run(store, aer, cache, example(name="said"))
    assert outcome.picture is not None
    assert outcome.picture.startswith(b"\x89PNG")
    assert any("best possible: 10 (brute force over all cuts)" in line for line in outcome.lines)
    text = outcome.markdown("data:x", ["data frame: here"])
    assert all(line in text for line in outcome.lines)
    assert "data frame: here" in text
    again, same = run(store, aer, cache, example(name="said"))
    assert same == job_ids
    pd.testing.assert_frame_equal(again.frame, outcome.frame)
    assert again.picture == outcome.picture


def test_repetitions_in_several_bases_estimate_a_non_diagonal_observable(
    aer: AerBackend, store: Ledger, cache: CompileCache
) -> None:
    terms = "0.5*X0 + Z0 Z1 - 0.7*Y2 Y3 + 2"
    wish = {"observables": [{"name": "h", "terms": terms}], "objective": {"name": "h", "goal": "minimize"}}
    sampled, _ = run(store, aer, cache, example(name="h", repetitions=3, shots=500, **wish))
    exact, _ = run(store, aer, cache, example(name="h", exact=True, **wish))
    assert len(sampled.frame) == 60
    truth = dict(zip(exact.frame["point_id"], exact.frame["h"], strict=True))
    pulls = (sampled.frame["h"] - sampled.frame["point_id"].map(truth)) / sampled.frame["h_stderr"]
    assert 0.7 < math.sqrt((pulls**2).mean()) < 1.3
    assert sampled.frame["shots"].unique().tolist() == [500 * len(sampled.plan.templates)]
    assert exact.bests[0].value == exact.frame["h"].min()


def test_jobs_that_were_not_run_leave_rows_without_a_result(store: Ledger) -> None:
    outcome = report_of(store, expand_sweep(example(name="nothing")), {"aer": []})
    assert outcome.n_missing == len(outcome.frame) == 20
    assert (outcome.picture, outcome.lines, outcome.bests) == (None, (), ())
    assert "**20 of 20 rows have no result**" in outcome.markdown(None, [])


def test_where_two_jobs_have_a_point_the_one_with_a_result_counts(
    aer: AerBackend, store: Ledger, cache: CompileCache
) -> None:
    spec = example(name="twice")
    _, job_ids = run(store, aer, cache, spec)
    plan = expand_sweep(spec)
    stage = compile_here(store, aer, spec.compile_options(), cache)
    fresh = spec.model_copy(update={"fresh": True})
    unsent = launch_sweep(
        store, aer, dataclasses.replace(plan, spec=fresh), name="aer", run="other", compile_stage=stage
    )
    assert not set(unsent.new) & set(job_ids)
    for order in ([*job_ids, *unsent.new], [*unsent.new, *job_ids]):
        outcome = report_of(store, plan, {"aer": order})
        assert outcome.n_missing == 0
        assert set(outcome.frame["job_id"]) == set(job_ids)


def test_a_batch_of_circuits(aer: AerBackend, store: Ledger, cache: CompileCache) -> None:
    plan = expand_circuit_list(load_circuit_list(EXAMPLES / "bell" / "circuits.yaml"))
    stage = compile_here(store, aer, plan.spec.options(), cache)
    launched = launch_circuits(store, aer, plan, run="run", identity="run", compile_stage=stage)
    execute(store, aer, launched.job_ids)
    outcome = report_of(store, plan, {"aer": list(launched.job_ids)})
    counts = {row.label: json.loads(row.counts) for row in outcome.frame.itertuples()}
    assert set(counts["bell"]) == {"00", "11"}
    assert set(counts["ghz"]) == {"0000", "1111"}
    assert sum(counts["bell"].values()) == 1000
    one = counts["rotation"]["1"]  # sin^2(pi / 6) = 1/4
    assert sum(counts["rotation"].values()) == 2000
    assert abs(one - 500) < 5 * math.sqrt(2000 * 0.25 * 0.75)
    assert (outcome.n_missing, outcome.picture) == (0, None)
    assert "| rotation | COMPLETED | 2000 |" in outcome.markdown(None, [])


# Where it comes from


def test_the_table_of_jobs_is_json_without_nan(ledger: Ledger) -> None:
    created, (accepted, _) = create(ledger, "one"), sent(ledger, "two")
    rows = jobs_table(ledger, [created, accepted])
    json.dumps(rows, allow_nan=False)
    assert [row["job id"] for row in rows] == [created, accepted]
    assert [row["status"] for row in rows] == ["CREATED", "SUBMITTED"]
    assert [row["remote id"] for row in rows] == [None, "remote-1"]
    assert [row["attempts"] for row in rows] == [0, 1]
    assert [row["results"] for row in rows] == [0, 0]
    assert [row["until accepted (s)"] for row in rows] == [None, 0.0]


@pytest.mark.parametrize("cost", [math.nan, math.inf, 1.5])
def test_a_cost_that_is_no_number_is_an_empty_cell(tmp_path: Path, cost: float) -> None:
    with Ledger(f"sqlite:///{tmp_path / 'ledger.db'}") as ledger:
        job_id = create(ledger)
        raw(ledger, sa.update(tables.JOB).values(cost=cost))
        rows = jobs_table(ledger, [job_id])
        json.dumps(rows, allow_nan=False)
        assert rows[0]["cost"] == (1.5 if cost == 1.5 else None)


def test_provenance_names_circuits_devices_versions_seeds_and_times(
    aer: AerBackend, store: Ledger, cache: CompileCache
) -> None:
    spec = example(name="origin")
    _, job_ids = run(store, aer, cache, spec)
    record = json.loads(json.dumps(provenance(store, {"aer": aer}, job_ids), allow_nan=False))
    (job,) = record["jobs"]
    (template,) = expand_sweep(spec).templates.values()
    assert [(pair["given"], pair["items"]) for pair in job["circuits"]] == [(template.hash, 20)]
    assert job["circuits"][0]["sent"] in store.programs([job["circuits"][0]["sent"]])
    assert job["seed"] == store.job(job_ids[0]).options.seed is not None
    assert job["remote_id"]
    assert job["created_at"] <= job["sent_at"] <= job["finished_at"]
    assert all(job[name].endswith("+00:00") for name in ("created_at", "sent_at", "finished_at"))
    assert record["devices"]["aer"]["device"] == aer.device
    assert record["versions"]["qiskit"]
    text = provenance_markdown(record)
    assert json.loads(text.removeprefix("```json\n").removesuffix("\n```\n")) == record
