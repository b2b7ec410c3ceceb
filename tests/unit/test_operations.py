"""plan, complete, collect and reusable."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from scripted import Fault, ScriptedBackend
from support import NOW, a_program, an_item, create

import qjobs
from qjobs.backends.base import Limits, MissingResult
from qjobs.errors import BackendUnavailable, Busy, InvalidInput, JobFailed, NotSent
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import ExecuteOptions, ItemSpec, JobId, Observable, Program, ProgramHash, RemoteId, RemoteRetryStrategy
from qjobs.operations import recover as recovery
from qjobs.operations.plan import Existing, existing_points

FORCE = RemoteRetryStrategy.FORCE_RESUBMIT
S = JobStatus
DONE = (S.COMPLETED, S.COMPLETED)
PARAMETRIC = a_program("parametric", parameters=("theta",))
UNMEASURED = replace(a_program("unmeasured"), measured=False)
PLAIN = a_program()
PROGRAMS: Mapping[ProgramHash, Program] = {p.hash: p for p in (PARAMETRIC, UNMEASURED, PLAIN)}
ENERGY = Observable(name="energy", terms=(("ZZ", 1.0),))


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend()


def items(count: int, shots: int = 10) -> list[ItemSpec]:
    return [an_item(f"c{n}", program=PLAIN, shots=shots) for n in range(count)]


def planned(store: Ledger, backend: ScriptedBackend, wanted: Sequence[ItemSpec], **values: object) -> list[JobId]:
    return qjobs.plan(store, backend, wanted, PROGRAMS, **{"run": "r", "name": "n", "now": lambda: NOW, **values})


# plan


def test_a_plan_is_stored_and_nothing_is_sent(store: Ledger, backend: ScriptedBackend) -> None:
    (job_id,) = planned(
        store, backend, items(2), experiment="e", project="p", owner="o", properties={"k": 1}, options=None
    )
    job = store.job(job_id)
    assert (job.status, job.name, job.run, job.experiment) == (S.CREATED, "n", "r", "e")
    assert (job.project, job.owner, job.properties) == ("p", "o", {"k": 1})
    assert [item.label for item in store.items(job_id)] == ["c0", "c1"]
    assert store.programs([PLAIN.hash]) == {PLAIN.hash: PLAIN}
    assert not backend.jobs


def test_the_same_plan_finds_its_jobs_again(store: Ledger, backend: ScriptedBackend) -> None:
    first = planned(store, backend, items(3))
    assert planned(store, backend, items(3), name="another name") == first
    assert len(store.jobs()) == 1


def test_an_identity_is_what_makes_a_plan_the_same(store: Ledger, backend: ScriptedBackend) -> None:
    first = planned(store, backend, items(1), run="a", identity="i")
    assert planned(store, backend, items(1), run="b", identity="i") == first
    others = [
        planned(store, backend, items(1), run="a"),
        planned(store, backend, items(1), identity="j"),
        planned(store, backend, items(1, shots=11), identity="i"),
        planned(store, backend, items(2), identity="i"),
        planned(store, backend, items(1), identity="i", options=ExecuteOptions(seed=1)),
        planned(store, ScriptedBackend(name="other"), items(1), identity="i"),
    ]
    assert len({first[0], *(ids[0] for ids in others)}) == 7


def test_batches_keep_the_limits_and_the_order(store: Ledger) -> None:
    backend = ScriptedBackend(limits=Limits(max_items=3))
    job_ids = planned(store, backend, items(8))
    assert [store.job(job_id).name for job_id in job_ids] == ["n 1/3", "n 2/3", "n 3/3"]
    assert [[item.label for item in store.items(job_id)] for job_id in job_ids] == [
        ["c0", "c1", "c2"],
        ["c3", "c4", "c5"],
        ["c6", "c7"],
    ]


def test_every_batch_has_a_seed_of_its_own(store: Ledger) -> None:
    backend = ScriptedBackend(limits=Limits(max_items=1))
    seeds = [store.job(job_id).options.seed for job_id in planned(store, backend, items(20), options=seeded(7))]
    assert None not in seeds
    assert len(set(seeds)) == 20
    again = [store.job(j).options.seed for j in planned(store, backend, items(20), options=seeded(7), run="other")]
    assert again == seeds
    others = [store.job(j).options.seed for j in planned(store, backend, items(20), options=seeded(8))]
    assert not set(others) & set(seeds)
    assert store.job(planned(store, backend, items(1), run="unseeded")[0]).options.seed is None


def seeded(seed: int) -> ExecuteOptions:
    return ExecuteOptions(seed=seed)


def parametric(*parameters: tuple[str, float]) -> list[ItemSpec]:
    return [*items(1), ItemSpec(label="p", program=PARAMETRIC.hash, shots=1, parameters=parameters)]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ([], "nothing to run"),
        ([*items(1), an_item("u", program=UNMEASURED)], "no measurement"),
        (parametric(), "theta have no value"),
        (parametric(("theta", 1.0), ("phi", 1.0)), "no parameters phi"),
        (parametric(("theta", math.nan)), "theta is not a finite"),
        (parametric(("theta", math.inf)), "theta is not a finite"),
        ([*items(1), an_item("s", shots=0)], "1 or more"),
        ([*items(1), an_item("s", shots=-5)], "-5 were asked"),
        ([*items(1), an_item("s", shots=101)], "runs 100 an item"),
        (items(1) * 2, "'c0' is used twice"),
        ([*items(3), items(1)[0]], "'c0' is used twice"),
    ],
)
def test_what_cannot_run_is_refused_and_nothing_is_written(store: Ledger, wanted: list[ItemSpec], words: str) -> None:
    backend = ScriptedBackend(limits=Limits(max_items=2, max_shots=100))
    with pytest.raises(InvalidInput, match=words):
        planned(store, backend, wanted)
    assert store.jobs() == []
    assert store.programs(PROGRAMS) == {}


def test_exact_values_need_a_backend_that_has_them(store: Ledger, backend: ScriptedBackend) -> None:
    wanted, options = [an_item("u", program=UNMEASURED)], ExecuteOptions(observables=(ENERGY,))
    with pytest.raises(InvalidInput, match="exact") as caught:
        planned(store, backend, wanted, options=options)
    assert caught.value.field == "observables"
    assert store.jobs() == []
    backend.exact_expvals = True
    (job_id,) = planned(store, backend, wanted, options=options)  # and then no measurement is needed
    assert store.job(job_id).options.observables == (ENERGY,)


# complete, collect


def a_final_job(store: Ledger, backend: ScriptedBackend, *statuses: JobStatus, key: str = "key") -> JobId:
    job_id = create(store, key)
    qjobs.submit(store, backend, job_id, now=lambda: NOW)
    backend.report(*statuses, messages=[(n, "the laser was off") for n, s in enumerate(statuses) if s is S.ERROR])
    qjobs.poll(store, backend, [job_id], now=lambda: NOW)
    return job_id


def test_complete_has_every_result(store: Ledger, backend: ScriptedBackend) -> None:
    job_id = a_final_job(store, backend, *DONE)
    assert len(qjobs.collect(store, backend, job_id).results) == 2
    backend.troubles.append(BackendUnavailable("not asked again"))
    assert len(qjobs.collect(store, backend, job_id).results) == 2
    assert len(backend.troubles) == 1
    collected = qjobs.collect(store, backend, job_id)
    assert (collected.job.status, len(collected.items), sorted(collected.results)) == (S.COMPLETED, 2, [0, 1])


def test_a_failed_job_says_which_and_why_and_keeps_the_rest(store: Ledger, backend: ScriptedBackend) -> None:
    job_id = a_final_job(store, backend, S.COMPLETED, S.ERROR)
    for operation in (qjobs.collect, qjobs.collect):
        with pytest.raises(JobFailed, match=r"1 of 2 items.*item-1 .ERROR.: the laser was off") as caught:
            operation(store, backend, job_id)
        assert (caught.value.job_id, caught.value.status) == (job_id, "ERROR")
        assert caught.value.failed == {1: "the laser was off"}
    assert qjobs.collect(store, backend, job_id, partial=True).results.keys() == {0}
    assert qjobs.collect(store, None, job_id).results.keys() == {0}


def test_a_failed_job_is_data_everywhere_else(store: Ledger, backend: ScriptedBackend) -> None:
    job_id = a_final_job(store, backend, S.ERROR, S.ERROR)
    assert qjobs.poll(store, backend, [job_id]) == {job_id: S.ERROR}
    assert qjobs.wait(store, {"fake": backend}, [job_id]) == {job_id: S.ERROR}
    assert qjobs.submit(store, backend, job_id).status is S.ERROR


def test_late_results_are_asked_for_again(store: Ledger, backend: ScriptedBackend) -> None:
    job_id = a_final_job(store, backend, *DONE)
    backend.answer = lambda results: [results[0], MissingResult(reason="not yet")]
    with pytest.raises(BackendUnavailable, match="1 items"):
        qjobs.collect(store, backend, job_id)
    assert store.results(job_id).keys() == {0}
    backend.answer = lambda results: results
    assert len(qjobs.collect(store, backend, job_id).results) == 2


def test_what_ran_and_has_no_result_yet_is_not_run_again(store: Ledger, backend: ScriptedBackend) -> None:
    job_id = a_final_job(store, backend, S.COMPLETED, S.ERROR)
    (first,) = backend.jobs.values()
    first.late = True
    with pytest.raises(BackendUnavailable, match="are COMPLETED and their results are not there yet"):
        qjobs.submit(store, backend, job_id, strategy=FORCE, now=lambda: NOW)
    assert len(backend.jobs) == 1
    recovery.retry(store, backend, job_id, strategy=FORCE, now=lambda: NOW)  # by default what is in ERROR
    backend.report(S.COMPLETED)
    qjobs.poll(store, backend, [job_id], now=lambda: NOW)
    first.late = False
    assert len(qjobs.collect(store, backend, job_id).results) == 2  # the first attempt is asked too
    assert {index: set(result.counts) for index, result in store.results(job_id).items()} == {
        0: {"00", "remote-1"},
        1: {"00", "remote-2"},
    }


def test_results_that_the_provider_has_lost_are_made_again_when_they_are_named(
    store: Ledger, backend: ScriptedBackend
) -> None:
    job_id = a_final_job(store, backend, *DONE)
    next(iter(backend.jobs.values())).late = True
    recovery.retry(store, backend, job_id, statuses=[S.COMPLETED], strategy=FORCE, now=lambda: NOW)
    assert [item.label for item in backend.jobs[RemoteId("remote-2")].batch.items] == ["item-0", "item-1"]


def test_results_that_came_late_after_a_resubmission_that_never_left(store: Ledger, backend: ScriptedBackend) -> None:
    job_id = a_final_job(store, backend, *DONE)
    next(iter(backend.jobs.values())).late = True
    backend.faults.append(Fault(NotSent("no route")))
    with pytest.raises(NotSent):
        recovery.retry(store, backend, job_id, statuses=[S.COMPLETED], strategy=FORCE, now=lambda: NOW)
    next(iter(backend.jobs.values())).late = False
    assert len(qjobs.collect(store, backend, job_id).results) == 2


def test_an_open_job_is_not_complete(store: Ledger, backend: ScriptedBackend) -> None:
    job_id = a_final_job(store, backend, S.COMPLETED, S.RUNNING)
    with pytest.raises(Busy, match="RUNNING"):
        qjobs.collect(store, backend, job_id)
    assert qjobs.collect(store, backend, job_id, partial=True).results.keys() == {0}


# reusable


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
    return dict(known.jobs), known.n_jobs


def test_finished_and_open_items_are_found_and_failed_ones_are_not(store: Ledger, backend: ScriptedBackend) -> None:
    first = a_run(store, backend, ["a", "b"], "1")
    qjobs.submit(store, backend, first)
    backend.report(S.COMPLETED, S.ERROR)
    qjobs.poll(store, backend, [first])
    qjobs.collect(store, backend, first, partial=True)
    second = a_run(store, backend, ["b", "c"], "2")
    assert found(store, backend) == ({"a": first, "b": second, "c": second}, 2)
    qjobs.cancel(store, backend, second)
    assert found(store, backend) == ({"a": first}, 2)


def test_what_is_finished_comes_before_what_is_under_way(store: Ledger, backend: ScriptedBackend) -> None:
    done, open_one = a_run(store, backend, ["a"], "1"), a_run(store, backend, ["a"], "2")
    assert found(store, backend)[0]["a"] in {done, open_one}
    qjobs.submit(store, backend, done)
    backend.report(S.COMPLETED)
    qjobs.poll(store, backend, [done])
    qjobs.collect(store, backend, done)
    assert found(store, backend)[0] == {"a": done}


def test_only_the_same_definition_experiment_backend_and_run_count(store: Ledger, backend: ScriptedBackend) -> None:
    mine = a_run(store, backend, ["a"], "1")
    a_run(store, backend, ["b"], "1", definition="other")
    a_run(store, backend, ["c"], "1", experiment="other")
    a_run(store, ScriptedBackend(name="other"), ["d"], "1")
    later = a_run(store, backend, ["e"], "2")
    assert found(store, backend) == ({"a": mine, "e": later}, 2)
    assert found(store, backend, run="1", only_own=True) == ({"a": mine}, 1)
    assert found(store, backend, run="3", only_own=True) == ({}, 0)


def test_a_run_that_is_entered_again_is_told_what_failed_and_another_is_not(
    store: Ledger, backend: ScriptedBackend
) -> None:
    lost = a_run(store, backend, ["a", "b"], "1")
    qjobs.submit(store, backend, lost)
    backend.report(S.COMPLETED, S.ERROR)
    qjobs.poll(store, backend, [lost])
    qjobs.collect(store, backend, lost, partial=True)

    def known(run: str) -> Existing:
        return existing_points(store, backend, experiment="e", definition="d", run=run)

    assert known("1") == Existing(jobs={"a": lost, "b": lost}, failed=(lost,), n_jobs=1)
    assert known("2") == Existing(jobs={"a": lost}, failed=(), n_jobs=1)
    store.waits.register("2", [lost], until="all", now=NOW)
    assert known("2").failed == (lost,), "what a run waited for counts as its own"
    newer = a_run(store, backend, ["b"], "3")
    assert known("1") == Existing(jobs={"a": lost, "b": newer}, failed=(), n_jobs=2)
