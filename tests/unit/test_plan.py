"""Plan: items become jobs within the limits, and what the ledger has of an experiment is found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from scripted import ScriptedBackend
from support import NOW, a_program, an_item

import qjobs
from qjobs.backends.base import Capability, Limits
from qjobs.errors import InvalidInput
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import ExecuteOptions, ItemSpec, JobId, Observable, Program, ProgramHash
from qjobs.operations.plan import existing_points

S = JobStatus
PARAMETRIC = a_program("parametric", parameters=("theta",))
UNMEASURED = replace(a_program("unmeasured"), measured=False)
PLAIN = a_program()
PROGRAMS: Mapping[ProgramHash, Program] = {p.hash: p for p in (PARAMETRIC, UNMEASURED, PLAIN)}
ENERGY = Observable(name="energy", terms=(("ZZ", 1.0),))


def items(count: int, shots: int = 10) -> list[ItemSpec]:
    return [an_item(f"c{n}", program=PLAIN, shots=shots) for n in range(count)]


def planned(store: Ledger, backend: ScriptedBackend, wanted: Sequence[ItemSpec], **values: object) -> list[JobId]:
    return qjobs.plan(store, backend, wanted, PROGRAMS, **{"run": "r", "name": "n", "now": lambda: NOW, **values})


def test_plan_sends_nothing(store: Ledger, backend: ScriptedBackend) -> None:
    """A plan is stored with all that it was given, and nothing is sent."""
    (job_id,) = planned(
        store, backend, items(2), experiment="e", project="p", owner="o", properties={"k": 1}, options=None
    )
    job = store.job(job_id)
    assert (job.status, job.name, job.run, job.experiment) == (S.CREATED, "n", "r", "e")
    assert (job.project, job.owner, job.properties) == ("p", "o", {"k": 1})
    assert [item.label for item in store.items(job_id)] == ["c0", "c1"]
    assert store.programs([PLAIN.hash]) == {PLAIN.hash: PLAIN}
    assert not backend.jobs


def test_identity(store: Ledger, backend: ScriptedBackend) -> None:
    """The logical run, the content and the backend make a plan the same; who asks and its name do not."""
    first = planned(store, backend, items(1), run="a", identity="i")
    assert planned(store, backend, items(1), run="b", identity="i") == first
    assert planned(store, backend, items(1), identity="i", name="another name") == first
    assert len(store.jobs()) == 1
    others = [
        planned(store, backend, items(1), run="a"),
        planned(store, backend, items(1), identity="j"),
        planned(store, backend, items(1, shots=11), identity="i"),
        planned(store, backend, items(2), identity="i"),
        planned(store, backend, items(1), identity="i", options=ExecuteOptions(seed=1)),
        planned(store, ScriptedBackend(name="other"), items(1), identity="i"),
    ]
    assert len({first[0], *(ids[0] for ids in others)}) == 7


def test_batches(store: Ledger) -> None:
    """Batches keep the limits and the order, and are numbered."""
    backend = ScriptedBackend(limits=Limits(max_items=3))
    job_ids = planned(store, backend, items(8))
    assert [store.job(job_id).name for job_id in job_ids] == ["n 1/3", "n 2/3", "n 3/3"]
    assert [[item.label for item in store.items(job_id)] for job_id in job_ids] == [
        ["c0", "c1", "c2"],
        ["c3", "c4", "c5"],
        ["c6", "c7"],
    ]


def seeded(seed: int) -> ExecuteOptions:
    return ExecuteOptions(seed=seed)


def test_seed_per_batch(store: Ledger) -> None:
    """Every batch has a seed of its own, derived from the one that was given."""
    backend = ScriptedBackend(limits=Limits(max_items=1))
    seeds = [store.job(job_id).options.seed for job_id in planned(store, backend, items(20), options=seeded(7))]
    assert None not in seeds
    assert len(set(seeds)) == 20
    again = [store.job(j).options.seed for j in planned(store, backend, items(20), options=seeded(7), run="other")]
    assert again == seeds
    others = [store.job(j).options.seed for j in planned(store, backend, items(20), options=seeded(8))]
    assert not set(others) & set(seeds)
    assert store.job(planned(store, backend, items(1), run="unseeded")[0]).options.seed is None


def parametric(*parameters: tuple[str, float]) -> list[ItemSpec]:
    return [*items(1), ItemSpec(label="p", program=PARAMETRIC.hash, shots=1, parameters=parameters)]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ([*items(1), an_item("u", program=UNMEASURED)], "no measurement"),
        (parametric(), "theta have no value"),
        (parametric(("theta", 1.0), ("phi", 1.0)), "no parameters phi"),
        (parametric(("theta", math.nan)), "theta is not a finite"),
        (parametric(("theta", math.inf)), "theta is not a finite"),
        ([*items(1), an_item("s", shots=101)], "runs 100 an item"),
        ([*items(3), items(1)[0]], "'c0' is used twice"),
    ],
)
def test_refused(store: Ledger, wanted: list[ItemSpec], words: str) -> None:
    """What cannot run is refused, and nothing is written."""
    backend = ScriptedBackend(limits=Limits(max_items=2, max_shots=100))
    with pytest.raises(InvalidInput, match=words):
        planned(store, backend, wanted)
    assert store.jobs() == []
    assert store.programs(PROGRAMS) == {}


def test_exact_values(store: Ledger, backend: ScriptedBackend) -> None:
    """Exact values need a backend that has them; then no measurement is needed."""
    wanted, options = [an_item("u", program=UNMEASURED)], ExecuteOptions(observables=(ENERGY,))
    with pytest.raises(InvalidInput, match="exact") as caught:
        planned(store, backend, wanted, options=options)
    assert caught.value.field == "observables"
    assert store.jobs() == []
    backend.capabilities = frozenset({Capability.EXACT_EXPVALS})
    (job_id,) = planned(store, backend, wanted, options=options)  # and then no measurement is needed
    assert store.job(job_id).options.observables == (ENERGY,)


def a_run(
    store: Ledger,
    backend: ScriptedBackend,
    labels: Sequence[str],
    run: str,
    definition: str = "d",
    experiment: str = "e",
) -> JobId:
    wanted = [an_item(label, program=PLAIN) for label in labels]
    values = {"run": run, "experiment": experiment, "definition": definition}
    return planned(store, backend, wanted, **values)[0]


def found(store: Ledger, backend: ScriptedBackend, **values: object) -> tuple[dict[str, JobId], int]:
    known = existing_points(store, backend, **{"experiment": "e", "definition": "d", **values})
    return dict(known.jobs), known.seen.n_jobs


def test_found_items(store: Ledger, backend: ScriptedBackend) -> None:
    """Finished and open items are found; failed and cancelled ones are not."""
    first = a_run(store, backend, ["a", "b"], "1")
    qjobs.submit(store, backend, first)
    backend.report(S.COMPLETED, S.ERROR)
    qjobs.poll(store, backend, [first])
    qjobs.collect(store, backend, first, partial=True)
    second = a_run(store, backend, ["b", "c"], "2")
    assert found(store, backend) == ({"a": first, "b": second, "c": second}, 2)
    qjobs.cancel(store, backend, second)
    assert found(store, backend) == ({"a": first}, 2)


def test_finished_first(store: Ledger, backend: ScriptedBackend) -> None:
    """What is finished comes before what is under way."""
    done, open_one = a_run(store, backend, ["a"], "1"), a_run(store, backend, ["a"], "2")
    assert found(store, backend)[0]["a"] in {done, open_one}
    qjobs.submit(store, backend, done)
    backend.report(S.COMPLETED)
    qjobs.poll(store, backend, [done])
    qjobs.collect(store, backend, done)
    assert found(store, backend)[0] == {"a": done}


def test_same_definition_only(store: Ledger, backend: ScriptedBackend) -> None:
    """Only jobs of the same definition, experiment, backend and run count."""
    mine = a_run(store, backend, ["a"], "1")
    a_run(store, backend, ["b"], "1", definition="other")
    a_run(store, backend, ["c"], "1", experiment="other")
    a_run(store, ScriptedBackend(name="other"), ["d"], "1")
    later = a_run(store, backend, ["e"], "2")
    assert found(store, backend) == ({"a": mine, "e": later}, 2)
    assert found(store, backend, run="1", only_of="1") == ({"a": mine}, 1)
    assert found(store, backend, run="3", only_of="3") == ({}, 0)


def test_own_failures(store: Ledger, backend: ScriptedBackend) -> None:
    """A run entered again finds what its own jobs, or those it waited for, failed to bring; another run does not."""
    lost = a_run(store, backend, ["a", "b"], "1")
    qjobs.submit(store, backend, lost)
    backend.report(S.COMPLETED, S.ERROR)
    qjobs.poll(store, backend, [lost])
    qjobs.collect(store, backend, lost, partial=True)

    def known(run: str) -> tuple[dict[str, JobId], tuple[JobId, ...]]:
        existing = existing_points(store, backend, experiment="e", definition="d", run=run)
        return dict(existing.jobs), existing.failed

    assert known("1") == ({"a": lost, "b": lost}, (lost,))
    assert known("2") == ({"a": lost}, ())
    store.waits.register("2", [lost], until="all", now=NOW)
    assert known("2")[1] == (lost,), "what a run waited for counts as its own"
    newer = a_run(store, backend, ["b"], "3")
    assert known("1") == ({"a": lost, "b": newer}, ())
