"""What a test lets the real Divi do, in a process of an interpreter that has it.

    python wrapped_divi.py URL TOKEN

Reads the name of an act a line, and prints a line of JSON with what it found. Divi is imported where it is used, so
that others can read this file too.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import qjobs
from qjobs.backends.async_job import STATUSES, AsyncJob, ExecutionResult
from qjobs.circuits.programs import read_circuit
from qjobs.errors import InvalidInput, QJobsError
from qjobs.ledger import Ledger
from qjobs.model import ItemSpec, JobId, RemoteId

HEAD = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[3];\ncreg c[3];\n'
FLIPPED = ((0,), (0, 1), (1, 2), (2,))
SHOTS = (100, 100, 40, 8)


def flips(qubits: tuple[int, ...]) -> str:
    return f"{HEAD}{''.join(f'x q[{qubit}];' for qubit in qubits)}measure q -> c;"


def service(url: str, token: str) -> Any:
    """Divi's own client, at a server of ours."""
    import divi.backends

    module = sys.modules[divi.backends.QoroService.__module__]
    module.API_URL = url
    return divi.backends.QoroService(auth_token=token)


def refused(url: str, token: str) -> dict[str, Any]:
    try:
        AsyncJob(service(url, token), name="divi")
    except InvalidInput as error:
        return {"refused": str(error)}
    return {"refused": ""}


def sent_by_divi(url: str, token: str) -> dict[str, Any]:
    """One submission by Divi alone."""
    made = service(url, token).submit_circuits({"a": flips((0,))})
    return {"id": made.job_id}


def protocol(url: str, token: str) -> dict[str, Any]:
    import divi.backends

    handle = divi.backends.ExecutionResult
    theirs = {each.name for each in dataclasses.fields(handle)}
    methods = {name for name in vars(handle) if not name.startswith("_") and callable(getattr(handle, name))}
    return {
        "is_one": isinstance(service(url, token), divi.backends.AsyncJobBackend),
        "words": sorted(status.value for status in divi.backends.JobStatus),
        "known": sorted(STATUSES),
        "fields": sorted(theirs - {each.name for each in dataclasses.fields(ExecutionResult)}),
        "methods": sorted(name for name in methods if not hasattr(ExecutionResult, name)),
    }


def planned(ledger: Ledger, backend: AsyncJob) -> JobId:
    circuits = [read_circuit(flips(qubits)) for qubits in FLIPPED]
    programs = {each.hash: each for each in circuits}
    items = []
    for number, (circuit, shots) in enumerate(zip(circuits, SHOTS, strict=True)):
        items.append(ItemSpec(label=f"{number}", program=circuit.hash, shots=shots))
    (job_id,) = qjobs.plan(ledger, backend, items, programs, run="run", name="divi")
    return job_id


def completed(url: str, token: str) -> dict[str, Any]:
    """A job from plan to results; it is cancelled when it is done, and a stranger is asked for."""
    with tempfile.TemporaryDirectory() as folder, Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        backend = AsyncJob(service(url, token), name="divi", poll_interval_s=(0.05, 0.2))
        job_id = planned(ledger, backend)
        remote_id = qjobs.submit(ledger, backend, job_id).remote_id
        qjobs.wait(ledger, {backend.name: backend}, [job_id], timeout_s=60)
        assert remote_id is not None
        backend.cancel(remote_id)
        found = qjobs.collect(ledger, AsyncJob(service(url, token), name="divi"), job_id)
        return {
            "status": found.job.status,
            "counts": [dict(found.results[index].counts or {}) for index in range(len(SHOTS))],
            "stranger": list(backend.status([RemoteId("r99")])),
        }


def lost(url: str, token: str) -> dict[str, Any]:
    """A job whose reply is lost, entered three times."""
    with tempfile.TemporaryDirectory() as folder, Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        backend = AsyncJob(service(url, token), name="divi")
        job_id = planned(ledger, backend)
        said = []
        for _ in range(3):
            try:
                qjobs.submit(ledger, backend, job_id)
            except QJobsError as error:
                said.append(type(error).__name__)
        return {"status": ledger.job(job_id).status, "said": said}


def main() -> None:
    url, token = sys.argv[1:]
    logging.disable(logging.CRITICAL)
    acts = {"refused": refused, "sent": sent_by_divi, "protocol": protocol, "completed": completed, "lost": lost}
    for line in sys.stdin:
        try:
            found = acts[line.strip()](url, token)
        except Exception:
            found = {"failed": traceback.format_exc(limit=-6)}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
