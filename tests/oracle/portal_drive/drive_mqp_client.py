"""What `mqp-client` takes for granted."""

from __future__ import annotations

import requests
from checking import BELL, BELL3, BY_OWNER, FLIPS, ISING, TOKEN, raised, run_checks, same, until
from mqp_client import JobStatus, MQPClient

CLIENT = MQPClient(TOKEN)  # the address is in MQP_URL


def submitted(name: str = "Aer", circuit: str = str([BELL]), shots: int = 100, **more: bool) -> str:
    return CLIENT.submit_job(name, circuit, "qasm", shots, **more)


def check_resources() -> None:
    """All devices that give counts, with what can be read of them."""
    found = CLIENT.get_all_resources()
    assert found is not None
    same((found["Aer"].online, found["dark"].online, found["repaired"].online), (True, False, False))
    same((found["Aer"].connectivity, found["Aer"].qubits), (None, 40))
    line = CLIENT.get_resource_info("line")
    same(line.connectivity, [[0, 1], [1, 0], [1, 2], [2, 1], [2, 3], [3, 2]])
    same([name for name, _ in line.instructions], ["rx", "rz", "cx", "measure"])
    same(dict(line.instructions)["cx"], {tuple(pair): None for pair in line.connectivity})


def check_unknown_resource() -> None:
    same(CLIENT.get_resource_info("nothing"), None)


def check_circuit() -> None:
    """A circuit, its counts and its three times."""
    uuid = submitted()
    same(isinstance(uuid, str), True)
    found = CLIENT.wait_for_result(uuid, timeout_interval=0.1)
    same((set(found.counts), sum(found.counts.values())), ({"00", "11"}, 100))
    assert found.timestamp_submitted <= found.timestamp_scheduled <= found.timestamp_completed
    same(CLIENT.status(uuid), JobStatus.COMPLETED)


def check_list_of_circuits() -> None:
    """A list gives a list, in its order."""
    found = CLIENT.wait_for_result(submitted(circuit=str(FLIPS)), timeout_interval=0.1)
    same(found.counts, [{"00": 100}, {"01": 100}, {"10": 100}])


def check_openqasm_3() -> None:
    uuid = CLIENT.submit_job("Aer", str([BELL3]), "qasm3", 50)
    same(sum(CLIENT.wait_for_result(uuid, timeout_interval=0.1).counts.values()), 50)


def check_bare_text() -> None:
    found = CLIENT.wait_for_result(submitted(circuit=FLIPS[1]), timeout_interval=0.1)
    same(found.counts, {"01": 100})


def check_hamiltonian() -> None:
    """A Hamiltonian job has statuses, a result and times as a circuit job has them."""
    uuid = CLIENT.submit_hamiltonian_job("Aer", *ISING)
    assert CLIENT.status(uuid, hamiltonian_job=True) in {JobStatus.PENDING, JobStatus.WAITING}
    same(CLIENT.result(uuid, hamiltonian_job=True), None)
    found = CLIENT.wait_for_result(uuid, timeout_interval=0.2, hamiltonian_job=True)
    assert -0.6 <= found.counts["energy"] < -0.4, found.counts
    assert found.timestamp_completed is not None


def check_hamiltonian_cancelled() -> None:
    uuid = CLIENT.submit_hamiltonian_job("busy", *ISING)
    CLIENT.cancel(uuid, hamiltonian_job=True)
    same(raised(lambda: CLIENT.wait_for_result(uuid, hamiltonian_job=True), RuntimeError), BY_OWNER)


def check_no_result_yet() -> None:
    """A job that waits has no result; when it is cancelled, the client gets the reason."""
    uuid = submitted("busy")
    until(lambda: CLIENT.status(uuid) == JobStatus.WAITING)
    same(CLIENT.result(uuid), None)
    CLIENT.cancel(uuid)
    CLIENT.cancel(uuid)
    same((CLIENT.status(uuid), CLIENT.result(uuid)), (JobStatus.CANCELLED, None))
    same(raised(lambda: CLIENT.wait_for_result(uuid), RuntimeError), BY_OWNER)


def check_two_at_once() -> None:
    """The third job at a resource is pending while two wait there."""
    uuids = [submitted("busy") for _ in range(3)]
    until(lambda: CLIENT.status(uuids[1]) == JobStatus.WAITING)
    same((CLIENT.status(uuids[2]), CLIENT.get_device_num_pending_jobs("busy")), (JobStatus.PENDING, 1))
    CLIENT.cancel(uuids[0])
    until(lambda: CLIENT.status(uuids[2]) == JobStatus.WAITING)
    for uuid in uuids[1:]:
        CLIENT.cancel(uuid)


def check_offline() -> None:
    """A job for a resource that is away is cancelled, and says why."""
    words = [
        raised(lambda name=name: CLIENT.wait_for_result(submitted(name), timeout_interval=0.1), RuntimeError)
        for name in ("dark", "repaired")
    ]
    same(words[0], "Job cancelled: The resource dark is offline.")
    same(words[1], "Job cancelled: The resource repaired is in maintenance.")


def check_queued() -> None:
    """A queued one waits."""
    uuid = submitted("dark", queued=True)
    done = submitted()
    CLIENT.wait_for_result(done, timeout_interval=0.1)
    same(CLIENT.status(uuid), JobStatus.PENDING)
    CLIENT.cancel(uuid)


def check_failed() -> None:
    uuid = submitted("broken")
    same(raised(lambda: CLIENT.wait_for_result(uuid, timeout_interval=0.1), RuntimeError), "Job failed")


def check_no_modify() -> None:
    """What is not to be modified fails where the device does not take it as it is."""
    same(sum(CLIENT.wait_for_result(submitted("line"), timeout_interval=0.1).counts.values()), 100)
    uuid = submitted("line", no_modify=True)
    same(raised(lambda: CLIENT.wait_for_result(uuid, timeout_interval=0.1), RuntimeError), "Job failed")


def check_errors() -> None:
    """What is refused is an error of HTTP."""
    wrong = {
        "422": [
            lambda: submitted("nothing"),
            lambda: submitted(shots=10**8),
            lambda: submitted(circuit="rubbish"),
            lambda: CLIENT.submit_job("Aer", BELL, "qpy", 10),
            lambda: CLIENT.submit_hamiltonian_job("Aer", "0 1;", "0.5 0.1;"),
        ],
        "404": [lambda: CLIENT.status("123456789"), lambda: CLIENT.result("x'; --"), lambda: CLIENT.cancel("0")],
        "401": [lambda: MQPClient("forged").submit_job("Aer", BELL, "qasm", 10)],
        "409": [lambda: CLIENT.cancel(_done())],
    }
    for code, calls in wrong.items():
        for call in calls:
            same(raised(call, requests.HTTPError)[:3], code)
    same(MQPClient("forged").get_all_resources(), None)


def _done() -> str:
    uuid = submitted()
    CLIENT.wait_for_result(uuid, timeout_interval=0.1)
    return uuid


if __name__ == "__main__":
    run_checks(globals())
