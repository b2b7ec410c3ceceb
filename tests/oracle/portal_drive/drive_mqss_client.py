"""What `mqss-client` takes for granted."""

from __future__ import annotations

from typing import Any

from checking import BELL, BELL3, FLIPS, ISING, TOKEN, URL, raised, run_checks, same, until
from mqss_client import CircuitJobRequest, HamiltonianJobRequest, JobStatus, MQSSClient

CLIENT = MQSSClient(TOKEN, URL)


def asked(**changes: Any) -> CircuitJobRequest:
    given = {"circuits": str([BELL]), "circuit_format": "qasm", "resource_name": "Aer", "shots": 100}
    return CircuitJobRequest(**{**given, "no_modify": False, "queued": False, **changes})


def check_resources() -> None:
    found = CLIENT.get_all_resources()
    same((found["Aer"].online, found["dark"].online), (True, False))
    same(CLIENT.get_resource_info("line").connectivity[0], [0, 1])
    same(CLIENT.get_resource_info("nothing"), None)


def check_circuit() -> None:
    """A circuit, its counts and its three times."""
    job = asked()
    uuid = CLIENT.submit_job(job)
    found = CLIENT.wait_for_job_result(uuid, job)
    same((set(found.counts), sum(found.counts.values())), ({"00", "11"}, 100))
    assert found.timestamp_submitted <= found.timestamp_scheduled <= found.timestamp_completed
    same(CLIENT.job_status(uuid, job), JobStatus.COMPLETED)


def check_list_of_circuits() -> None:
    job = asked(circuits=str(FLIPS))
    same(CLIENT.wait_for_job_result(CLIENT.submit_job(job), job).counts, [{"00": 100}, {"01": 100}, {"10": 100}])


def check_openqasm_3() -> None:
    job = asked(circuits=str([BELL3]), circuit_format="qasm3")
    same(sum(CLIENT.wait_for_job_result(CLIENT.submit_job(job), job).counts.values()), 100)


def check_hamiltonian() -> None:
    job = HamiltonianJobRequest("Aer", *ISING)
    found = CLIENT.wait_for_job_result(CLIENT.submit_job(job), job)
    assert -0.6 <= found.counts["energy"] < -0.4, found.counts


def check_cancel() -> None:
    """Jobs of both kinds are cancelled; the reason is the body of the answer."""
    for job in (asked(resource_name="busy"), HamiltonianJobRequest("busy", *ISING)):
        uuid = CLIENT.submit_job(job)
        CLIENT.cancel_job(uuid, job)
        same(CLIENT.job_status(uuid, job), JobStatus.CANCELLED)
        words = raised(lambda uuid=uuid, job=job: CLIENT.wait_for_job_result(uuid, job), RuntimeError)
        same(words, "Job cancelled: {'cancel_reason': 'The job was cancelled by its owner.'}")


def check_offline() -> None:
    """A job for a resource that is offline ends; a queued one waits."""
    job = asked(resource_name="dark")
    uuid = CLIENT.submit_job(job)
    words = raised(lambda: CLIENT.wait_for_job_result(uuid, job), RuntimeError)
    same("The resource dark is offline." in words, True)
    queued = asked(resource_name="dark", queued=True)
    waiting = CLIENT.submit_job(queued)
    same(CLIENT.job_status(waiting, queued), JobStatus.PENDING)
    same(CLIENT.get_num_pending_jobs("dark") >= 1, True)
    CLIENT.cancel_job(waiting, queued)


def check_failed() -> None:
    job = asked(resource_name="broken")
    uuid = CLIENT.submit_job(job)
    until(lambda: CLIENT.job_status(uuid, job) == JobStatus.FAILED)
    same(raised(lambda: CLIENT.wait_for_job_result(uuid, job), RuntimeError), "Job failed")


def check_errors() -> None:
    """It prints what is refused, and raises that the answer is none."""
    for job in (asked(resource_name="nothing"), asked(shots=10**8), asked(circuits="rubbish")):
        same(raised(lambda job=job: CLIENT.submit_job(job), ValueError), "Invalid response from server")
    same(raised(lambda: CLIENT.job_status("123456789", asked()), ValueError), "Invalid response from server")
    same(MQSSClient("forged", URL).get_all_resources(), {})


if __name__ == "__main__":
    run_checks(globals())
