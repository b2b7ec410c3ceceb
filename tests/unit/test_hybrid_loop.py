"""The loop of a hybrid run: what it evaluates, records and refuses, and that it goes on where it was."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hybrid_runs import EXAMPLES, H2_ENERGY, Exactly, a_spec, h2, in_ledger, labels
from pydantic import ValidationError
from qiskit.circuit import Parameter, QuantumCircuit
from scripted import ScriptedBackend
from support import NOW, check_history

from qjobs.backends.aer import AerBackend, NoiseSpec
from qjobs.backends.base import Limits
from qjobs.circuits.programs import bind, program_from_qiskit
from qjobs.circuits.standard_errors import of_fraction
from qjobs.errors import InvalidInput, JobFailed, ProtocolError
from qjobs.experiments.forms import explain
from qjobs.experiments.hamiltonian import ground_energy
from qjobs.experiments.hybrid import HybridSpec, epoch_definition, epoch_sweep, expand_hybrid, load_hybrid
from qjobs.ledger import Ledger
from qjobs.ledger.epochs import Epoch
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemResult
from qjobs.operations.hybrid import Evaluation, from_counts, interrupted_hybrid, minimise

OPTIMISERS = ["spsa", "cobyla"]
TURN = 'OPENQASM 3.0; include "stdgates.inc"; input float[64] phi; qubit[1] q; ry(phi) q[0];'
TWO = 'OPENQASM 3.0; include "stdgates.inc"; input float[64] phi; qubit[2] q; ry(phi) q[0];'


@pytest.fixture(scope="module")
def aer() -> Any:
    with AerBackend(n_workers=1) as backend:
        yield backend


def refusal(**values: Any) -> InvalidInput:
    try:
        expand_hybrid(HybridSpec.model_validate({"hamiltonian": {"terms": {"ZZ": 1, "XX": 1}}, **values}))
    except ValidationError as error:
        return explain(error, "it")
    except InvalidInput as error:
        return error
    pytest.fail("it was taken")


# The loop by itself


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("ansatz", ["hardware-efficient", "hamiltonian-variational"])
def test_h2(optimiser: str, ansatz: str) -> None:
    """The hydrogen molecule reaches its energy within a thousandth of a Hartree where energies are exact."""
    plan = expand_hybrid(h2(optimiser={"kind": optimiser}, ansatz={"kind": ansatz}, epochs=60))
    done = minimise(plan, Exactly(plan), logical_run="run", record=lambda _: None)
    assert done.best.energy == pytest.approx(H2_ENERGY, abs=1e-3)
    assert done.best.energy >= ground_energy(plan.hamiltonian) - 1e-9


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_resumed_at_every_evaluation(optimiser: str) -> None:
    """Stopped before or after any evaluation or record, it goes on with the identical history."""
    plan = expand_hybrid(h2(optimiser={"kind": optimiser}, epochs=12))
    whole = minimise(plan, Exactly(plan), logical_run="run", record=lambda _: None, now=lambda: NOW).epochs
    recorded: list[Epoch] = []
    died = 0

    class Killed(BaseException):
        pass

    def record(epoch: Epoch) -> None:
        recorded.append(epoch)
        raise Killed

    for moment in itertools.count():
        exactly = Exactly(plan)

        def evaluate(number: int, points: Any, exactly: Exactly = exactly, moment: int = moment) -> Evaluation:
            if moment % 3 == 0:
                raise Killed
            answer = exactly(number, points)
            if moment % 3 == 1:
                raise Killed
            return answer

        try:
            done = minimise(plan, evaluate, logical_run="run", history=recorded, record=record, now=lambda: NOW)
            break
        except Killed:
            died += 1
    assert tuple(recorded) == done.epochs == whole
    assert died == 3 * len(whole)


def test_recorded_before_the_next() -> None:
    """Each epoch is recorded before the next one is evaluated, with its points and the state to go on from."""
    plan = expand_hybrid(a_spec(epochs=3))
    seen: list[tuple[str, int]] = []
    exactly = Exactly(plan)

    def evaluate(number: int, points: Any) -> Evaluation:
        seen.append(("evaluate", number))
        return exactly(number, points)

    done = minimise(plan, evaluate, logical_run="run", record=lambda epoch: seen.append(("record", epoch.number)))
    assert seen == [(what, number) for number in (1, 2, 3) for what in ("evaluate", "record")]
    assert [len(epoch.points) for epoch in done.epochs] == [21, 3, 3]
    assert done.epochs[2].state["rng"]["bit_generator"] == "PCG64"
    assert {epoch.circuit for epoch in done.epochs} == {plan.circuit.hash}
    assert not done.converged


def test_more_epochs() -> None:
    """A run that is done does nothing; with more epochs it goes on."""
    plan = expand_hybrid(a_spec(epochs=3))
    done = minimise(plan, Exactly(plan), logical_run="run", record=lambda _: None)
    exactly = Exactly(plan)
    assert minimise(plan, exactly, logical_run="run", history=done.epochs, record=lambda _: None) == done
    assert exactly.asked == []
    more = expand_hybrid(a_spec(epochs=5))
    again = minimise(more, exactly, logical_run="run", history=done.epochs, record=lambda _: None)
    assert exactly.asked == [4, 5]
    assert again.epochs[:3] == done.epochs


def test_converged() -> None:
    """COBYLA ends by itself, and stays ended."""
    plan = expand_hybrid(a_spec(optimiser={"kind": "cobyla", "tolerance": 0.05}, epochs=500))
    done = minimise(plan, Exactly(plan), logical_run="run", record=lambda _: None)
    assert done.converged
    assert len(done.epochs) < 60
    exactly = Exactly(plan)
    assert minimise(plan, exactly, logical_run="run", history=done.epochs, record=lambda _: None).converged
    assert exactly.asked == []


@pytest.mark.parametrize("change", [{"shots": 7}, {"hamiltonian": {"terms": {"Z": 1.0}}}, {"backend": "other"}])
def test_other_history(change: dict[str, Any]) -> None:
    """Epochs of another experiment, or of another run, are refused."""
    plan = expand_hybrid(a_spec(epochs=3))
    done = minimise(plan, Exactly(plan), logical_run="run", record=lambda _: None)
    other = expand_hybrid(a_spec(epochs=5, **change))
    with pytest.raises(InvalidInput, match="recorded for another"):
        minimise(other, Exactly(other), logical_run="run", history=done.epochs, record=lambda _: None)
    with pytest.raises(InvalidInput, match="recorded for another"):
        minimise(plan, Exactly(plan), logical_run="other", history=done.epochs, record=lambda _: None)


def test_not_finite() -> None:
    """An energy that is no number ends the run, and its epoch is not recorded."""
    plan = expand_hybrid(a_spec(epochs=3))

    def broken(_: int, points: Any) -> Evaluation:
        return Evaluation(energies=(math.nan,) * len(points), std_errors=(0.0,) * len(points))

    with pytest.raises(ProtocolError, match="not a finite number"):
        minimise(plan, broken, logical_run="run", record=lambda _: pytest.fail("it was recorded"))


def test_seeds() -> None:
    """A run without a seed has one of its own, which it keeps."""
    plan = expand_hybrid(a_spec(seed=None))
    assert plan.start("one") == plan.start("one") != plan.start("two")
    assert max(abs(value) for value in plan.start("one")) < math.pi / 4
    assert expand_hybrid(a_spec(seed=1)).start("one") == expand_hybrid(a_spec(seed=1)).start("two")
    assert expand_hybrid(a_spec(initial=[1, 2])).start("one") == (1.0, 2.0)


def test_from_counts() -> None:
    """Energies of counts have the errors of their bases, which even a single shot has."""
    plan = expand_hybrid(a_spec(exact=False))
    assert list(plan.templates) == ["X", "Z"]
    found = from_counts(plan, [[{"0": 75, "1": 25}, {"1": 1}], [{"0": 100}, {"0": 1}]])
    assert found.energies == pytest.approx((1.25, 0.5))
    of_basis = [[of_fraction(75, 100), of_fraction(100, 100)], [of_fraction(1, 1), of_fraction(1, 1)]]
    assert found.std_errors == pytest.approx([math.hypot(one, 2 * other) for one, other in of_basis])
    with pytest.raises(InvalidInput, match="counts give none"):
        from_counts(expand_hybrid(a_spec()), [])


# By jobs of the ledger


def test_h2_on_aer(store: Ledger, aer: AerBackend, tmp_path: Path) -> None:
    """On noiseless Aer the molecule is within a hundredth of a Hartree of -1.137; each epoch is one job."""
    done = in_ledger(store, aer, h2(optimiser={"kind": "cobyla"}, epochs=28), tmp_path)
    assert done.best.energy == pytest.approx(-1.137, abs=0.01)
    assert labels(store) == [f"h2 epoch {epoch.number}" for epoch in done.epochs]
    assert [store.job(epoch.job_ids[0]).name for epoch in done.epochs] == labels(store)
    assert store.epochs.of_run("run") == list(done.epochs)


def test_h2_sampled(store: Ledger, aer: AerBackend, tmp_path: Path) -> None:
    """The example, sampled, ends within a hundredth too, and its errors are those of its shots."""
    spec = load_hybrid(EXAMPLES / "h2" / "hybrid.yaml").model_copy(update={"epochs": 25})
    done = in_ledger(store, aer, spec, tmp_path)
    plan = expand_hybrid(spec)
    ended = done.epochs[-10:]
    assert np.mean([epoch.energy for epoch in ended]) == pytest.approx(-1.137, abs=0.01)
    for epoch in ended:
        exact = Exactly(plan)(epoch.number, epoch.points).energies
        assert all(
            abs(sampled - true) < 5.5 * error
            for sampled, true, error in zip(epoch.energies, exact, epoch.std_errors, strict=True)
        )
    assert max(epoch.std_error for epoch in ended) < 0.006
    assert len(labels(store)) == 25


@pytest.mark.parametrize("exact", [True, False])
def test_same_energies(store: Ledger, aer: AerBackend, tmp_path: Path, exact: bool) -> None:
    """The energies of jobs are those of the state vectors, at every point, also where points are the same."""
    spec = a_spec(exact=exact, shots=20_000, epochs=2, ansatz={"kind": "circuit", "circuit": {"openqasm": TURN}})
    done = in_ledger(store, aer, spec, tmp_path)
    plan = expand_hybrid(spec)
    for epoch in done.epochs:
        wanted = Exactly(plan)(epoch.number, epoch.points).energies
        assert epoch.energies == pytest.approx(wanted, abs=1e-9 if exact else 0.05)
    assert len(set(done.epochs[0].points)) == 3 < len(done.epochs[0].points)
    for job in store.jobs():
        check_history(store, job.job_id)


def test_found_again(store: Ledger, aer: AerBackend, tmp_path: Path) -> None:
    """A run whose epoch was not recorded finds its job; another process of it too; another run makes its own."""
    spec = a_spec(epochs=3)
    first = in_ledger(store, aer, spec, tmp_path)
    last = [job.job_id for job in store.jobs()]
    with store._db.write() as connection:
        connection.exec_driver_sql("DELETE FROM hybrid_epoch WHERE number = 3")
    again = in_ledger(store, aer, spec, tmp_path, run="later", logical_run="run")
    assert again == first
    assert [job.job_id for job in store.jobs()] == last
    in_ledger(store, aer, spec, tmp_path, run="another")
    assert len(store.jobs()) == 6
    assert {job.logical_run for job in store.jobs()} == {"run", "another"}


def test_one_epoch_many_jobs(store: Ledger, tmp_path: Path) -> None:
    """An epoch that is too large for one job is cut, and is one epoch still."""
    spec = a_spec(exact=False, epochs=1, backend="fake", compiler="none", optimiser={"calibration": 2})
    backend = Answering(limits=Limits(max_items=2))
    done = in_ledger(store, backend, spec, tmp_path)
    n_items = 2 * len(set(done.epochs[0].points))
    assert len(done.epochs[0].job_ids) == len(store.jobs()) == math.ceil(n_items / 2)


class Answering(ScriptedBackend):
    """A scripted backend whose jobs are done at once."""

    def _make(self, *arguments: Any) -> None:
        super()._make(*arguments)
        for remote in self.live():
            remote.items = [JobStatus.COMPLETED] * len(remote.items)

    def result(self, job: Any, n: int) -> ItemResult:
        return ItemResult(counts={"0": job.batch.items[n].shots})


class Empty(Answering):
    """Its counts add up to nothing."""

    def result(self, *_: Any) -> ItemResult:
        return ItemResult(counts={"0": 0})


def test_no_counts(store: Ledger, tmp_path: Path) -> None:
    """Counts that add up to nothing are no energy; a device that gives no results is refused before it gets a job."""
    spec = a_spec(exact=False, epochs=1, backend="fake", compiler="none")
    with pytest.raises(JobFailed, match="no counts"):
        in_ledger(store, Empty(), spec, tmp_path)
    assert store.epochs.of_run("run") == []
    checker = ScriptedBackend(limits=Limits(results_kept_s=0))
    with pytest.raises(InvalidInput, match="gives no results"):
        in_ledger(store, checker, spec, tmp_path, run="checked")
    with pytest.raises(InvalidInput, match="no exact expectation values"):
        in_ledger(store, ScriptedBackend(), a_spec(backend="fake"), tmp_path, run="exact")
    assert checker.jobs == {}


def test_other_configuration(store: Ledger, aer: AerBackend, tmp_path: Path) -> None:
    """A run does not go on with energies of another noise."""
    in_ledger(store, aer, a_spec(epochs=2), tmp_path)
    noise = NoiseSpec(readout=0.1)
    with AerBackend(n_workers=1, noise=noise) as other, pytest.raises(InvalidInput, match="another configuration"):
        in_ledger(store, other, a_spec(epochs=3), tmp_path)


def test_interrupted(store: Ledger, aer: AerBackend, tmp_path: Path) -> None:
    """A run with epochs to go is found by its form; one that is done, or of another form, is not."""
    spec = a_spec(epochs=3)
    assert interrupted_hybrid(store, expand_hybrid(spec)) is None
    in_ledger(store, aer, spec, tmp_path)
    assert interrupted_hybrid(store, expand_hybrid(spec)) is None
    assert interrupted_hybrid(store, expand_hybrid(a_spec(epochs=4))) == "run"
    assert interrupted_hybrid(store, expand_hybrid(a_spec(epochs=4, seed=9))) is None
    in_ledger(store, aer, spec, tmp_path, run="newer")
    assert interrupted_hybrid(store, expand_hybrid(a_spec(epochs=4))) == "newer"
    with store.waits.attended("newer"):
        job_ids = [job.job_id for job in store.jobs(logical_run="newer")]
        store.waits.register("newer", job_ids, until="all", now=NOW)
        assert interrupted_hybrid(store, expand_hybrid(a_spec(epochs=4))) is None


# Forms


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"hamiltonian": {}}, "give the Hamiltonian in one way"),
        ({"epochs": 0}, "epochs"),
        ({"epochs": 1001}, "epochs"),
        ({"shots": 0}, "shots"),
        ({"seed": -1}, "seed"),
        ({"optimiser": {"kind": "adam"}}, "optimiser.kind"),
        ({"optimiser": {"step": 0}}, "optimiser.step"),
        ({"optimiser": {"step": math.nan}}, "optimiser.step"),
        ({"ansatz": {"kind": "circuit"}}, "kind circuit takes a circuit"),
        ({"ansatz": {"circuit": {"openqasm": TURN}}}, "kind circuit takes a circuit"),
        ({"ansatz": {"kind": "circuit", "circuit": {"openqasm": TURN}}}, "has 1 qubits and the Hamiltonian 2"),
        (
            {"ansatz": {"kind": "circuit", "circuit": {"openqasm": "OPENQASM 2.0; qreg q[2];"}}},
            "no parameters, so that nothing can be varied",
        ),
        (
            {"ansatz": {"kind": "circuit", "circuit": {"openqasm": TWO.replace("phi", "energy")}}},
            "'energy' needs another name",
        ),
        ({"initial": [0.1]}, "1 initial values, and the ansatz has 4 parameters: theta_0000"),
        ({"initial": [math.inf] * 4}, "initial"),
        ({"hamiltonian": {"terms": {f"Z{n}": 1 for n in range(100)}}, "ansatz": {"layers": 100}}, "10100"),
    ],
)
def test_refused(values: dict[str, Any], words: str) -> None:
    """What cannot be minimised is refused before anything is sent."""
    assert words in str(refusal(**values))


def test_measured_ansatz() -> None:
    """Measurements at the end of an ansatz are left out; ones in its middle are refused."""
    circuit = QuantumCircuit(2, 2)
    circuit.ry(Parameter("a"), 0)
    circuit.cx(0, 1)
    bare = program_from_qiskit(circuit.remove_final_measurements(inplace=False))
    circuit.measure([0, 1], [0, 1])
    folder = {"kind": "circuit"}
    text = 'OPENQASM 3.0; include "stdgates.inc"; input float a; qubit[2] q; bit[2] c; ry(a) q[0]; cx q[0], q[1]; '
    terms = {"terms": {"ZZ": 1, "XX": 1}}
    spec = a_spec(hamiltonian=terms, ansatz={**folder, "circuit": {"openqasm": text + "c = measure q;"}})
    plan = expand_hybrid(spec)
    assert not plan.circuit.measured
    assert bind(plan.circuit, {"a": 0.3}).count_ops() == bind(bare, {"a": 0.3}).count_ops()
    middle = text + "c[0] = measure q[0]; ry(a) q[0];"
    with pytest.raises(InvalidInput, match="measures only at its end"):
        expand_hybrid(a_spec(hamiltonian=terms, ansatz={**folder, "circuit": {"openqasm": middle}}))


def test_epoch_sweep() -> None:
    """An epoch shares its jobs with no other epoch and no other run, and has each point once."""
    plan = expand_hybrid(a_spec())
    sweep = epoch_sweep(plan, "run", 4, [(0.1, 0.2), (0.3, 0.4), (0.1, 0.2)])
    assert [point.parameters for point in sweep.points] == [
        (("theta_0000", 0.1), ("theta_0001", 0.2)),
        (("theta_0000", 0.3), ("theta_0001", 0.4)),
    ]
    definitions = {epoch_definition(plan, run, number) for run in ("run", "other") for number in (1, 2)}
    assert len(definitions) == 4
    assert sweep.definition == epoch_definition(plan, "run", 4)
    assert sweep.observables == (plan.hamiltonian.observable,)


@pytest.mark.parametrize("name", ["h2", "ising"])
def test_examples(name: str) -> None:
    """The examples can be read, and say all by themselves."""
    spec = load_hybrid(EXAMPLES / name / "hybrid.yaml")
    assert spec.hamiltonian.file is None
    assert spec.hamiltonian.source
    plan = expand_hybrid(HybridSpec.model_validate(spec.model_dump(mode="json")))
    assert plan.definition == expand_hybrid(spec).definition
    known = {"h2": H2_ENERGY, "ising": 1 - 1 / math.sin(math.pi / 26)}
    assert ground_energy(plan.hamiltonian) == pytest.approx(known[name], abs=1e-5)


@pytest.mark.slow
def test_ising() -> None:
    """The chain comes within three per cent of its lowest energy."""
    plan = expand_hybrid(load_hybrid(EXAMPLES / "ising" / "hybrid.yaml").model_copy(update={"exact": True}))
    done = minimise(plan, Exactly(plan), logical_run="run", record=lambda _: None)
    assert done.best.energy == pytest.approx(1 - 1 / math.sin(math.pi / 26), rel=0.03)
