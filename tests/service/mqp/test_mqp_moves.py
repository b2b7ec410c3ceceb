"""Guarded moves: what ends a job, what puts it back, and that final is final."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta

import pytest
import sqlalchemy as sa
from mqp_parts import BELL, HISTOGRAM, INJECTIONS, START, Parts, a_hamiltonian, a_job, claimed, ids, now_of

from qjobs.errors import InvalidInput, JobNotFound, StaleJob
from qjobs.service.mqp import jobs
from qjobs.service.mqp.jobs import HamiltonianJob, MqpStatus, Reason, using
from qjobs.service.mqp.reasons import reason_of
from qjobs.service.tables import mqp_job

Move = Callable[[int], None]
CIRCUIT_MOVES: dict[str, Move] = {
    "complete": lambda job_id: jobs.complete_job_with_result(job_id, HISTOGRAM, "Q5", BELL),
    "fail": lambda job_id: jobs.fail_job(job_id, "broken"),
    "cancel": lambda job_id: jobs.cancel_job(job_id, "enough"),
}
HAMILTONIAN_MOVES: dict[str, Move] = {
    "complete": lambda job_id: jobs.complete_hamiltonian_job_with_result(job_id, "-1.1", "Q5", BELL),
    "fail": lambda job_id: jobs.fail_hamiltonian_job(job_id, "broken"),
    "cancel": lambda job_id: jobs.cancel_hamiltonian_job(job_id, "enough"),
    "update": lambda job_id: jobs.update_hybrid_job(job_id, 1, "[0.1]", "", ""),
}


def loop() -> HamiltonianJob:
    """A Hamiltonian job that this process has."""
    a_hamiltonian()
    return jobs.fetch_all_pending_hamiltonian_jobs()[-1]


def test_completed(parts: Parts) -> None:
    """A completed job has its result, note, resource, circuit and moment."""
    job = claimed()
    parts.later(seconds=9)
    jobs.complete_job_with_result(job.id, HISTOGRAM, "Q20", "compiled", "fine")
    found = now_of(job)
    assert (found.status, found.result, found.note) == (MqpStatus.COMPLETED, HISTOGRAM, "fine")
    assert (found.executed_resource, found.executed_circuit, found.reason) == ("Q20", "compiled", None)
    assert (found.timestamp_scheduled, found.timestamp_completed) == (START, START + timedelta(seconds=9))


def test_completed_without_note(parts: Parts) -> None:
    """The note is empty unless one is given."""
    job = claimed()
    jobs.complete_job_with_result(job.id, HISTOGRAM, "Q5", BELL)
    assert now_of(job).note == ""


def test_completed_hamiltonian(parts: Parts) -> None:
    """So has a completed Hamiltonian job, whose result is what the loop says."""
    job = loop()
    jobs.complete_hamiltonian_job_with_result(job.id, "-1.137", "Q5", "compiled", "fine")
    found = now_of(job)
    assert (found.status, found.result, found.note) == (MqpStatus.COMPLETED, "-1.137", "fine")
    assert (found.executed_resource, found.executed_circuit) == ("Q5", "compiled")
    assert found.timestamp_completed == START


@pytest.mark.parametrize(
    "result",
    [
        json.dumps({"00": 60, "11": 41}),
        json.dumps({"00": 60}),
        json.dumps({}),
        json.dumps({"00": 110, "11": -10}),
        json.dumps({"00": 100.0}),
        json.dumps({"00": "100"}),
        json.dumps({"00": 99, "11": True}),
        json.dumps([{"00": 100}, {"00": 100}]),
        json.dumps([]),
        json.dumps([[100]]),
        json.dumps("00"),
        "null",
        "None",
        "",
        "{'00': 100}",
        "[" * 5000,
    ],
)
def test_wrong_histogram(parts: Parts, result: str) -> None:
    """A result whose histogram does not sum to the shots is refused, and the job is as before."""
    job = claimed()
    with pytest.raises(InvalidInput) as caught:
        jobs.complete_job_with_result(job.id, result, "Q5", BELL)
    assert caught.value.field == "result"
    assert now_of(job) == job


def test_histogram_of_each_circuit(parts: Parts) -> None:
    """A job of two circuits has two histograms, each of all shots."""
    a_job(circuit=str([BELL, BELL]))
    (job,) = jobs.fetch_all_pending_jobs()
    for wrong in ([{"00": 100}], [{"00": 50}, {"00": 50}], [{"00": 100}, {"00": 99}]):
        with pytest.raises(InvalidInput):
            jobs.complete_job_with_result(job.id, json.dumps(wrong), "Q5", BELL)
    jobs.complete_job_with_result(job.id, json.dumps([{"00": 100}, {"11": 100}]), "Q5", BELL)
    assert now_of(job).status == MqpStatus.COMPLETED


def test_failed(parts: Parts) -> None:
    """A failed job has its note, a code and its moment."""
    job, energy = claimed(), loop()
    jobs.fail_job(job.id, "the resource refused it", reason=Reason.REFUSED)
    jobs.fail_hamiltonian_job(energy.id, "the loop broke")
    found = now_of(job)
    assert (found.status, found.note, found.reason) == (MqpStatus.FAILED, "the resource refused it", Reason.REFUSED)
    assert found.timestamp_completed == START
    found = now_of(energy)
    assert (found.status, found.note, found.reason) == (MqpStatus.FAILED, "the loop broke", Reason.EXECUTION)


def test_cancelled(parts: Parts) -> None:
    """A pending and a waiting job are cancelled, with note, code and moment."""
    for job in (a_job("bob"), claimed("ada")):
        jobs.cancel_job(job.id, "enough", reason=Reason.OWNER)
        found = now_of(job)
        assert (found.status, found.note, found.reason) == (MqpStatus.CANCELLED, "enough", Reason.OWNER)
        assert found.timestamp_completed == START


def test_cancelled_hamiltonian(parts: Parts) -> None:
    """A Hamiltonian job is cancelled whatever the note says: it is never put back."""
    for job in (a_hamiltonian(), loop()):
        jobs.cancel_hamiltonian_job(job.id, "the resource is offline")
        found = now_of(job)
        assert (found.status, found.reason) == (MqpStatus.CANCELLED, Reason.OFFLINE)


@pytest.mark.parametrize("note", ["the resource is offline", "Resource in maintenance.", "Q5 is down", "DOWN"])
def test_put_back(parts: Parts, note: str) -> None:
    """A young queued job whose note says that the resource is away is PENDING again, and free."""
    a_job(queued=True)
    (job,) = jobs.fetch_all_pending_jobs()
    jobs.mark_dispatched(job.id, "remote-1")
    jobs.cancel_job(job.id, note)
    found = now_of(job)
    assert (found.status, found.note) == (MqpStatus.PENDING, note)
    assert (found.claimed_by, found.dispatched_at, found.remote, found.timestamp_scheduled) == (None,) * 4
    assert (found.timestamp_submitted, found.timestamp_completed) == (START, None)
    assert ids(jobs.fetch_all_pending_jobs()) == [job.id]


def test_pending_stays(parts: Parts) -> None:
    """A queued job that is still PENDING stays so for the same reason."""
    job = a_job(queued=True)
    jobs.cancel_job(job.id, "the resource is down")
    assert now_of(job).status == MqpStatus.PENDING


def test_not_put_back(parts: Parts) -> None:
    """A job that is not queued, is a day old, or is cancelled for another reason, ends."""
    plain = claimed("bob")
    jobs.cancel_job(plain.id, "the resource is down")
    other = a_job(queued=True)
    jobs.cancel_job(other.id, "shutting down the experiment")
    young = a_job(queued=True)
    old = a_job(queued=True)
    parts.later(seconds=jobs.MAX_QUEUING_TIME - 1)
    jobs.cancel_job(young.id, "the resource is down")
    parts.later(seconds=1)
    jobs.cancel_job(old.id, "the resource is down")
    found = [now_of(job).status for job in (plain, other, young, old)]
    assert found == [MqpStatus.CANCELLED, MqpStatus.CANCELLED, MqpStatus.PENDING, MqpStatus.CANCELLED]


def test_code_wins_over_words(parts: Parts) -> None:
    """Where a code is given, the words of the note decide nothing."""
    mine, held = a_job(queued=True), a_job(queued=True)
    jobs.cancel_job(mine.id, "the resource is down", reason=Reason.OWNER)
    jobs.cancel_job(held.id, "back on Monday", reason=Reason.MAINTENANCE)
    assert (now_of(mine).status, now_of(held).status) == (MqpStatus.CANCELLED, MqpStatus.PENDING)


@pytest.mark.parametrize(
    ("note", "reason"),
    [
        ("down", Reason.DOWN),
        ("Down.", Reason.DOWN),
        ("resource is down", Reason.DOWN),
        ("The backend was\n down since noon", Reason.DOWN),
        ("backend down", Reason.DOWN),
        ("Q5 is currently down!", Reason.DOWN),
        ("shutting down", Reason.OTHER),
        ("shutting down the experiment", Reason.OTHER),
        ("the simulation broke down", Reason.OTHER),
        ("cool-down of the fridge", Reason.OTHER),
        ("downsampling failed", Reason.OTHER),
        ("slow countdown", Reason.OTHER),
        ("it is not down", Reason.OTHER),
        ("it is not currently down", Reason.OTHER),
        ("it is no longer down", Reason.OTHER),
        ("is down-sampled", Reason.OTHER),
        ("offline", Reason.OFFLINE),
        ("resource is offline", Reason.OFFLINE),
        ("Resource offline, try later", Reason.OFFLINE),
        ("not offline", Reason.OTHER),
        ("it isn't offline", Reason.OTHER),
        ("offline-analysis finished", Reason.OTHER),
        ("maintenance", Reason.MAINTENANCE),
        ("in maintenance", Reason.MAINTENANCE),
        ("down for maintenance", Reason.MAINTENANCE),
        ("scheduled maintenance until 8", Reason.MAINTENANCE),
        ("not in maintenance", Reason.OTHER),
        ("maintenance is over", Reason.OTHER),
        ("", Reason.OTHER),
        ("enough", Reason.OTHER),
        ("online", Reason.OTHER),
    ],
)
def test_words_of_notes(note: str, reason: Reason) -> None:
    """A note says that the resource is away in whole words, or it does not say so."""
    assert reason_of(note) is reason


@pytest.mark.parametrize("end", CIRCUIT_MOVES)
@pytest.mark.parametrize("move", CIRCUIT_MOVES)
def test_final_is_final(parts: Parts, end: str, move: str) -> None:
    """Nothing moves a final circuit job: one clear error, and the job is as before."""
    job = claimed()
    CIRCUIT_MOVES[end](job.id)
    before = now_of(job)
    with pytest.raises(StaleJob, match=f"{before.status}.*final is final") as caught:
        CIRCUIT_MOVES[move](job.id)
    assert caught.value.job_id == str(job.id)
    assert now_of(job) == before


@pytest.mark.parametrize("end", ["complete", "fail", "cancel"])
@pytest.mark.parametrize("move", HAMILTONIAN_MOVES)
def test_final_hamiltonian_is_final(parts: Parts, end: str, move: str) -> None:
    """Nothing moves or updates a final Hamiltonian job."""
    job = loop()
    HAMILTONIAN_MOVES[end](job.id)
    before = now_of(job)
    with pytest.raises(StaleJob, match="final is final"):
        HAMILTONIAN_MOVES[move](job.id)
    assert now_of(job) == before


def test_final_queued_is_final(parts: Parts) -> None:
    """A final queued job is not put back either."""
    a_job(queued=True)
    (job,) = jobs.fetch_all_pending_jobs()
    jobs.complete_job_with_result(job.id, HISTOGRAM, "Q5", BELL)
    with pytest.raises(StaleJob):
        jobs.cancel_job(job.id, "the resource is down")
    assert now_of(job).status == MqpStatus.COMPLETED


def test_pending_does_not_end(parts: Parts) -> None:
    """What nobody claimed is neither completed nor failed nor updated."""
    job, energy = a_job(), a_hamiltonian()
    for name, move in (*CIRCUIT_MOVES.items(), *HAMILTONIAN_MOVES.items()):
        if name == "cancel":
            continue
        target = job if move in CIRCUIT_MOVES.values() else energy
        with pytest.raises(StaleJob, match="not claimed"):
            move(target.id)
    assert (now_of(job), now_of(energy)) == (job, energy)


@pytest.mark.parametrize("job_id", [0, -1, 10**6, 2**63, 10**40, "1; DROP TABLE mqp_job", "", None, True, 1.0])
def test_unknown_id(parts: Parts, job_id: int) -> None:
    """An unknown id, or what is none, is an error and changes nothing."""
    job = claimed()
    for move in (*CIRCUIT_MOVES.values(), *HAMILTONIAN_MOVES.values()):
        with pytest.raises(JobNotFound):
            move(job_id)
    assert now_of(job) == job


def test_kinds_apart(parts: Parts) -> None:
    """A function of circuit jobs knows no Hamiltonian jobs, and the other way round."""
    job, energy = claimed(), loop()
    for move in CIRCUIT_MOVES.values():
        with pytest.raises(JobNotFound):
            move(energy.id)
    for move in HAMILTONIAN_MOVES.values():
        with pytest.raises(JobNotFound):
            move(job.id)


def test_loop_updated(parts: Parts) -> None:
    """Epochs, parameters, circuit and note of a loop are stored, as often as they come."""
    job = loop()
    for epoch in (0, 1, 7):
        jobs.update_hybrid_job(job.id, epoch, f"[{epoch}.5]", "ry(theta) q[0];", f"energy {epoch}")
        found = now_of(job)
        assert isinstance(found, HamiltonianJob)
        assert (found.epochs, found.params, found.note) == (epoch, f"[{epoch}.5]", f"energy {epoch}")
        assert (found.parametric_circuit, found.status) == ("ry(theta) q[0];", MqpStatus.WAITING)
    for wrong in (-1, True, "1", 2**40):
        with pytest.raises(InvalidInput):
            jobs.update_hybrid_job(job.id, wrong, "", "", "")  # type: ignore[arg-type]


@pytest.mark.parametrize("hostile", INJECTIONS)
def test_sql_in_moves(parts: Parts, hostile: str) -> None:
    """SQL in a note, a result or a circuit is stored as text, and touches no other job."""
    kept, energy = claimed("bob"), loop()
    jobs.update_hybrid_job(energy.id, 1, hostile, hostile, hostile)
    jobs.complete_hamiltonian_job_with_result(energy.id, hostile, hostile, hostile, hostile)
    found = now_of(energy)
    stored = hostile.replace("\x00", "").encode("utf-8", "replace").decode()
    assert isinstance(found, HamiltonianJob)
    assert (found.result, found.note, found.params, found.executed_resource) == (stored,) * 4
    job = claimed("ada")
    with pytest.raises(InvalidInput):
        jobs.complete_job_with_result(job.id, hostile, "Q5", BELL)
    jobs.cancel_job(job.id, hostile)
    assert (now_of(job).note, now_of(job).status) == (stored, MqpStatus.CANCELLED)
    assert now_of(kept) == kept


def test_one_end_of_many(parts: Parts) -> None:
    """Of many who end a job at once, one does."""
    job = claimed()
    outcomes: list[str] = []

    def work(name: str) -> None:
        with using(parts.database):
            try:
                CIRCUIT_MOVES[name](job.id)
            except StaleJob:
                return
            outcomes.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in CIRCUIT_MOVES for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"status": "RUNNING"},
        {"status": "WAITING", "claimed_by": None},
        {"status": "PENDING", "claimed_by": "somebody"},
        {"circuit": None},
        {"shots": 0},
        {"owner": "bob", "budget": "unknown"},
        {"target_specification": "Q6"},
    ],
)
def test_database_forbids(parts: Parts, values: dict[str, object]) -> None:
    """Unknown words, a lease of nobody, half a job and another's budget are forbidden by the database itself."""
    job = a_job()
    with pytest.raises(sa.exc.IntegrityError), parts.database.db.write() as connection:
        connection.execute(mqp_job.update().where(mqp_job.c.id == job.id).values(values))
