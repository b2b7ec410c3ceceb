"""The whole way on real Aer: the example's sweep against its exact values, and what is said of it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from launching import planned

import qjobs
from qjobs.backends.aer import AerBackend
from qjobs.compiling.compiler import CompileCache
from qjobs.experiments.circuit_list import CircuitList, expand_circuit_list, load_circuit_list
from qjobs.experiments.sweep import SweepPlan, SweepSpec, expand_sweep, load_sweep
from qjobs.ledger import Ledger
from qjobs.model import JobId
from qjobs.reports import run_report
from qjobs.reports.provenance import provenance, provenance_markdown
from qjobs.reports.run_report import RunReport, report_of

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclasses.dataclass(frozen=True)
class Lab:
    """A simulator, a ledger and a compile cache, on which plans are run."""

    store: Ledger
    aer: AerBackend
    cache: CompileCache

    def launch(self, plan: SweepPlan, run: str = "run") -> Sequence[JobId]:
        return planned(self.store, self.aer, plan, self.cache, run=run).job_ids

    def execute(self, job_ids: Sequence[JobId]) -> None:
        for job_id in job_ids:
            if not self.store.job(job_id).status.is_final:
                qjobs.submit(self.store, self.aer, job_id)
        qjobs.wait(self.store, {self.aer.name: self.aer}, job_ids, timeout_s=60)
        for job_id in job_ids:
            qjobs.collect(self.store, self.aer, job_id)

    def run(self, plan: SweepPlan) -> RunReport:
        job_ids = self.launch(plan)
        self.execute(job_ids)
        return report_of(self.store, plan, {"aer": job_ids})


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    with AerBackend(n_workers=2) as aer, Ledger(f"sqlite:///{folder / 'ledger.db'}") as store:
        aer.warm()
        yield Lab(store=store, aer=aer, cache=CompileCache(folder / "compiled"))


def example(**values: Any) -> SweepPlan:
    """The example, cut down to 5 x 4 points."""
    data = load_sweep(EXAMPLES / "qaoa_maxcut" / "sweep.yaml").model_dump(mode="json")
    data["axes"][0]["count"] = 5
    data["axes"][1]["count"] = 4
    return expand_sweep(SweepSpec.model_validate({**data, **values}))


def references(report: RunReport) -> np.ndarray:
    """The exact value at every row."""
    reference = report.plan.objective.reference
    pairs = zip(report.frame["gamma"], report.frame["beta"], strict=True)
    return np.array([reference({"gamma": gamma, "beta": beta}) for gamma, beta in pairs])


def rms(pulls: pd.Series) -> float:
    return math.sqrt((pulls**2).mean())


COMPILED = {
    "default": {},
    "qiskit-3": {"compiler": "qiskit", "level": 3},
    "tket-3": {"compiler": "tket", "level": 3},
}


@pytest.mark.parametrize("compiled", [*COMPILED.values(), {"compiler": "none"}], ids=[*COMPILED, "none"])
def test_sampled_values(lab: Lab, compiled: dict[str, Any]) -> None:
    """Sampled values are the exact ones within their standard errors, whatever compiles."""
    report = lab.run(example(compile=compiled, shots=2000))
    pulls = (report.frame["cut"] - references(report)) / report.frame["cut_stderr"]
    assert (len(report.frame), report.n_missing) == (20, 0)
    assert np.abs(pulls).max() < 5
    assert 0.5 < rms(pulls) < 1.6
    (best,) = report.bests
    assert best.best_possible == 10
    assert best.deviations == pytest.approx(tuple(pulls))


@pytest.mark.parametrize("compiled", COMPILED.values(), ids=COMPILED)
def test_exact_values(lab: Lab, compiled: dict[str, Any]) -> None:
    """Exact values are the exact ones at every point, whatever compiles."""
    report = lab.run(example(exact=True, compile=compiled))
    assert np.abs(report.frame["cut"] - references(report)).max() < 1e-9
    assert (report.frame["cut_stderr"] == 0).all()
    (best,) = report.bests
    assert (best.deviations, best.deviation) == ((), None)


def test_report(lab: Lab) -> None:
    """A sweep has a picture, the best point and a text; the same sweep again has the same."""
    report = lab.run(example(name="said"))
    assert report.picture.startswith(b"\x89PNG")
    assert any("best possible: 10 (brute force over all cuts)" in line for line in report.lines)
    text = report.markdown("data:x", ["data frame: here"])
    assert all(line in text for line in report.lines)
    assert "data frame: here" in text
    again = lab.run(example(name="said"))
    pd.testing.assert_frame_equal(again.frame, report.frame)
    assert again.picture == report.picture


def test_several_bases(lab: Lab) -> None:
    """A non-diagonal observable is estimated from several bases and repetitions."""
    observable = {"name": "h", "terms": "0.5*X0 + Z0 Z1 - 0.7*Y2 Y3 + 2"}
    wish = {"name": "h", "observables": [observable], "objective": {"name": "h", "goal": "minimize"}}
    sampled = lab.run(example(repetitions=3, shots=500, **wish))
    exact = lab.run(example(exact=True, **wish))
    assert len(sampled.frame) == 60
    truth = dict(zip(exact.frame["point_id"], exact.frame["h"], strict=True))
    pulls = (sampled.frame["h"] - sampled.frame["point_id"].map(truth)) / sampled.frame["h_stderr"]
    assert 0.7 < rms(pulls) < 1.3
    assert sampled.frame["shots"].unique().tolist() == [500 * len(sampled.plan.templates)]
    assert exact.bests[0].value == exact.frame["h"].min()


def test_points_in_two_jobs(lab: Lab) -> None:
    """Where two jobs have a point, the one with a result counts."""
    plan = example(name="twice")
    lab.run(plan)
    done = lab.launch(plan)
    fresh = dataclasses.replace(plan, spec=plan.spec.model_copy(update={"fresh": True}))
    unsent = lab.launch(fresh, run="other")
    assert not set(unsent) & set(done)
    for order in ([*done, *unsent], [*unsent, *done]):
        report = report_of(lab.store, plan, {"aer": order})
        assert report.n_missing == 0
        assert set(report.frame["job_id"]) == set(done)


def test_circuit_list(lab: Lab) -> None:
    """A circuit list has a row per circuit with its counts."""
    plan = expand_circuit_list(load_circuit_list(EXAMPLES / "bell" / "circuits.yaml"))
    job_ids = planned(lab.store, lab.aer, plan, lab.cache, run="run").job_ids
    lab.execute(job_ids)
    report = report_of(lab.store, plan, {"aer": job_ids})
    counts = {row.label: json.loads(row.counts) for row in report.frame.itertuples()}
    assert set(counts["bell"]) == {"00", "11"}
    assert set(counts["ghz"]) == {"0000", "1111"}
    assert sum(counts["bell"].values()) == 1000
    assert sum(counts["rotation"].values()) == 2000
    one = counts["rotation"]["1"]  # sin^2(pi / 6) = 1/4
    assert abs(one - 500) < 5 * math.sqrt(2000 * 0.25 * 0.75)
    assert report.n_missing == 0
    assert report.picture.startswith(b"\x89PNG")
    assert "| rotation | COMPLETED | 2000 |" in report.markdown(None, [])


@pytest.mark.parametrize(
    "values",
    [
        {"name": "streamed"},
        {"name": "streamed-exact", "exact": True},
        {"name": "streamed-counts", "objective": None, "repetitions": 2},
        {"name": "streamed-bases", "objective": None, "observables": [{"name": "h", "terms": "Z0 Z1 + X0 X1"}]},
    ],
    ids=lambda values: values["name"],
)
def test_streamed(lab: Lab, values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data frame that was streamed into a file is the one in memory, and so is all that is made of it."""
    monkeypatch.setattr(run_report, "_ROWS_TOGETHER", 7)
    plan = example(**values)
    job_ids = lab.launch(plan)
    some_missing = plan_with_more(plan)
    lab.execute(job_ids)
    for each in (plan, some_missing):
        held = report_of(lab.store, each, {"aer": job_ids})
        streamed = report_of(lab.store, each, {"aer": job_ids}, tmp_path / "results.parquet")
        pd.testing.assert_frame_equal(streamed.frame, held.frame)
        assert (streamed.n_rows, streamed.n_missing, streamed.lines) == (held.n_rows, held.n_missing, held.lines)
        assert streamed.bests == held.bests
        assert streamed.picture == held.picture
        assert streamed.markdown(None, ["file"]) == held.markdown(None, ["file"])


def plan_with_more(plan: SweepPlan) -> SweepPlan:
    """The same sweep with points that were never run."""
    last = plan.points[-1]
    more = [dataclasses.replace(last, point_id=f"new-{n}", index=last.index + 1 + n) for n in range(9)]
    return dataclasses.replace(plan, points=(*plan.points, *more))


def test_streamed_circuits(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same of a circuit list."""
    monkeypatch.setattr(run_report, "_ROWS_TOGETHER", 2)
    plan = expand_circuit_list(load_circuit_list(EXAMPLES / "bell" / "circuits.yaml"))
    job_ids = planned(lab.store, lab.aer, plan, lab.cache, run="streamed").job_ids
    lab.execute(job_ids)
    held = report_of(lab.store, plan, {"aer": job_ids})
    streamed = report_of(lab.store, plan, {"aer": job_ids}, tmp_path / "results.parquet")
    pd.testing.assert_frame_equal(streamed.frame, held.frame)
    assert streamed.frame["label"].tolist() == plan.labels()


def test_provenance(lab: Lab) -> None:
    """Provenance names circuits, devices, versions, seeds and times, in JSON that can be copied whole."""
    plan = example(name="origin")
    lab.run(plan)
    job_ids = lab.launch(plan)
    record = json.loads(json.dumps(provenance(lab.store, {"aer": lab.aer}, job_ids), allow_nan=False))
    (job,) = record["jobs"]
    (template,) = plan.templates.values()
    assert [(pair["given"], pair["items"]) for pair in job["circuits"]] == [(template.hash, 20)]
    assert job["circuits"][0]["sent"] in lab.store.programs([job["circuits"][0]["sent"]])
    assert job["seed"] == lab.store.job(job_ids[0]).options.seed is not None
    assert job["remote_id"]
    assert job["created_at"] <= job["sent_at"] <= job["finished_at"]
    assert all(job[name].endswith("+00:00") for name in ("created_at", "sent_at", "finished_at"))
    assert record["devices"]["aer"]["device"] == lab.aer.device
    assert record["versions"]["qiskit"]
    saved = {
        "name": "a | <b>",
        "definition": "abc",
        "saved_at": record["jobs"][0]["finished_at"],
        "git": {"commit": "1234abcd", "changed": True},
        "by": "alice on lab",
    }
    text = provenance_markdown(record, saved, "results/x", "Bob")
    for words in (
        "| experiment | a \\| &lt;b&gt;, definition `abc` |",
        "| device | aer",
        f"qjobs {record['versions']['qjobs']}",
        "| git commit | `1234abcd`, with changes that are not committed |",
        "| who | alice on lab; in Prefect Bob |",
        "`results/x/record.json`",
        f"| `{job['job_id']}` |",
        f"| `{template.hash[:12]}` | `{job['circuits'][0]['sent'][:12]}` | 20 |",
    ):
        assert words in text, words
    assert "in no repository" in provenance_markdown(record, {**saved, "git": None}, "x")


def test_measured_circuits(lab: Lab) -> None:
    """The report of a circuit list has its observables, its metadata and a picture; a circuit without has counts."""
    head = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; x q[0];'
    circuits = [
        {"label": "a", "openqasm": head, "observables": ["Z0", "Z1"], "metadata": {"kind": "<i>"}},
        {"label": "b", "openqasm": head + " measure q -> c;"},
    ]
    plan = expand_circuit_list(CircuitList.model_validate({"name": "m", "shots": 100, "seed": 1, "circuits": circuits}))
    job_ids = planned(lab.store, lab.aer, plan, lab.cache, run="measured").job_ids
    lab.execute(job_ids)
    report = report_of(lab.store, plan, {"aer": job_ids})
    lines = report.markdown(None, []).splitlines()
    assert "| circuit | status | shots | kind | Z0 | Z1 | most frequent outcomes (fraction of shots) |" in lines
    assert any(line.startswith("| a | COMPLETED | 100 | &lt;i&gt; | -1.0000 ± 0.") for line in lines)
    assert any(line.startswith("| b | COMPLETED | 100 |  |  |  | `01` 100 (1.000 ± ") for line in lines)
    assert report.picture is not None
    assert report.left_out == ("1 of 2 circuits have no value of an observable, and are in the table",)
