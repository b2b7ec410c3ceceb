"""`qjobs plan` and `qjobs check`: what they say would run, for every kind of file, with a ledger and without."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from launching import planned
from support import SWEEP, at, claim, observe, sending, sent, whole

from qjobs.backends.aer import AerBackend
from qjobs.backends.base import Pricing
from qjobs.compiling.compiler import CompileCache
from qjobs.experiments.circuit_list import CircuitList, expand_circuit_list
from qjobs.experiments.sweep import SweepSpec, expand_sweep
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.operations.check import check
from qjobs.operations.usual_wait import usual_wait

ROOT = Path(__file__).parents[2]
Said = tuple[int, str, str]


def checked(qjobs: Callable[..., Said], file: Path) -> dict[str, object]:
    code, out, err = qjobs("check", file, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_sweep(qjobs: Callable[..., Said], write: Callable[..., Path], home: Path) -> None:
    """A sweep's rows, circuits, jobs, shots and cost; two bases are two circuits a row."""
    file = write({**SWEEP, "observables": ["Z0", "X0"], "repetitions": 3})
    said = checked(qjobs, file)
    assert (said["points"], said["rows"], said["circuits"], said["templates"]) == (2, 6, 12, 2)
    assert (said["jobs"], said["shots"], said["cost"]) == (1, 600, 0.0)
    assert not (home / "ledger.db").exists()


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("bell/circuits.yaml", {"rows": 3, "circuits": 3, "shots": 4000, "qubits": 4}),
        ("bell/bell.qasm", {"rows": 1, "shots": 1000}),
        ("h2/hybrid.yaml", {"epochs at most": 40, "qubits": 2, "cost": None}),
    ],
)
def test_examples(qjobs: Callable[..., Said], file: str, expected: dict[str, object]) -> None:
    """Circuit lists, bare circuits and hybrid runs are checked too."""
    said = checked(qjobs, ROOT / "examples" / file)
    assert expected.items() <= said.items()


def test_health_check(qjobs: Callable[..., Said], write: Callable[..., Path]) -> None:
    """A health check is its circuits."""
    said = checked(qjobs, write({"sizes": [2, 3], "repetitions": 2, "shots": 10}))
    assert (said["circuits"], said["shots"]) == (8, 80)


def test_unknown_cost(qjobs: Callable[..., Said]) -> None:
    """Where nobody says what it costs, people read so."""
    _, out, _ = qjobs("check", ROOT / "examples/h2/hybrid.yaml")
    assert "the provider does not say" in out


def test_nothing_twice(qjobs: Callable[..., Said]) -> None:
    """What the table of the device has is not said above it, too."""
    _, out, _ = qjobs("check", ROOT / "examples/bell/circuits.yaml")
    for words in ("circuits", "jobs", "shots", "cost"):
        assert sum(line.startswith(words) for line in out.splitlines()) == 1, words


def test_cost(tmp_path: Path, ledger: Ledger) -> None:
    """The costs of all jobs are added; one that is unknown makes all unknown, and so do two units."""
    plan = expand_circuit_list(
        CircuitList.model_validate({"circuits": [{"builder": "ghz", "arguments": {"n_qubits": 2}}]})
    )
    cache = CompileCache(tmp_path)

    class Costly(AerBackend):
        price: float | None = 2.5
        unit = "HQC"

        def estimate(self, batch: object) -> float | None:
            return self.price

        @property
        def pricing(self) -> Pricing:
            return Pricing(unit=self.unit, words="whatever is asked for")

    def cost(*backends: AerBackend) -> float | None:
        return check(plan, {str(n): backend for n, backend in enumerate(backends)}, cache, ledger).cost

    with Costly() as backend, Costly() as other:
        assert cost(backend, other) == 5.0
        other.unit = "credits"
        assert cost(backend, other) is None
        other.price = 0.0
        assert cost(backend, other) == 2.5
        other.price = None
        assert cost(backend, other) is None


def test_reused(qjobs: Callable[..., Said], write: Callable[..., Path]) -> None:
    """What the ledger has is neither sent nor paid for again, and the plan says so; other shots are all new."""
    file = write({**SWEEP, "name": "reused"})
    (before,) = checked(qjobs, file)["devices"]
    assert (before["circuits"], before["reused"], before["jobs"], before["shots"]) == (2, 0, 1, 100)
    assert before["bytes"] > 0
    assert before["usual wait"] is None
    assert qjobs("run", file)[0] == 0
    (after,) = checked(qjobs, file)["devices"]
    assert (after["circuits"], after["reused"], after["jobs"], after["shots"], after["bytes"]) == (2, 2, 0, 0, 0)
    (other,) = checked(qjobs, write({**SWEEP, "name": "reused", "shots": 7}, "other.yaml"))["devices"]
    assert (other["reused"], other["jobs"]) == (0, 1)


def test_planned_jobs_are_sent(ledger: Ledger, tmp_path: Path) -> None:
    """A job that is planned and was never sent counts as one that would be sent; one under way is reused."""
    plan = expand_sweep(SweepSpec.model_validate(SWEEP))
    cache = CompileCache(tmp_path)
    with AerBackend() as backend:

        def jobs_and_reused() -> tuple[int, int]:
            (found,) = check(plan, {"aer": backend}, cache, ledger).devices
            return found.jobs, found.reused

        (job_id,) = planned(ledger, backend, plan, cache, run="r").new
        assert jobs_and_reused() == (1, 0)
        sending(ledger, claim(ledger, job_id))
        assert jobs_and_reused() == (0, 2)


def test_usual_wait(ledger: Ledger) -> None:
    """The wait is that of the device's own jobs, with its spread; fewer than five are no history."""
    for number, taken_s in enumerate([60.0, 120.0, 180.0, 240.0]):
        job_id, attempt = sent(ledger, f"k{number}", f"r{number}", device="H1-1E", backend="aer")
        observe(ledger, job_id, attempt.number, whole(JobStatus.COMPLETED), now=at(taken_s))
    assert usual_wait(ledger, "aer", "H1-1E") is None
    job_id, attempt = sent(ledger, "k4", "r4", device="H1-1E", backend="aer")
    observe(ledger, job_id, attempt.number, whole(JobStatus.COMPLETED), now=at(3600.0))
    found = usual_wait(ledger, "aer", "H1-1E")
    assert found is not None
    assert (found.n_jobs, found.first_quartile_s, found.median_s, found.third_quartile_s) == (5, 120.0, 180.0, 240.0)
    assert usual_wait(ledger, "aer", "H2-1") is None


def test_table(qjobs: Callable[..., Said], write: Callable[..., Path]) -> None:
    """People read a table with a column for each device: its cost, how that is counted, and its wait."""
    code, out, _ = qjobs("plan", write({**SWEEP, "name": "read by people"}))
    assert code == 0
    lines = [line.split("\t") for line in out.splitlines() if "\t" in line]
    assert lines[0] == ["", "aer"]
    assert ["cost", "0"] in lines
    assert ["how it counts", "free: this machine simulates"] in lines
    assert [line[0] for line in lines[-2:]] == ["free slots", "usual wait"]
