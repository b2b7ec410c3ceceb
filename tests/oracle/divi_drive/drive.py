"""Runs tasks with real Divi and our backend of it, each in a process of its own, and writes what came out.

Importing Divi takes seconds, so a parent that runs no thread of ours imports it once and forks a child for each task.
It reads one JSON request a line (the task, the path of its result, the backend, the environment and the log of the
child), and answers with the child's exit code.
"""

from __future__ import annotations

import atexit
import itertools
import json
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from threading import Event
from typing import Any

import programs
from divi import backends

from qjobs.errors import InvalidInput
from qjobs.interop.divi import QjobsBackend

SHOTS = 4000
ASYMMETRIC = (
    'OPENQASM 2.0; include "qelib1.inc"; qreg q[3]; creg a[1]; creg b[2]; x q[0]; x q[1]; '
    "measure q[0] -> a[0]; measure q[1] -> b[0]; measure q[2] -> b[1];"
)
TURNED = (
    'OPENQASM 2.0; include "qelib1.inc"; qreg q[3]; creg c[3]; ry(0.4) q[0]; ry(1.3) q[1]; cx q[1],q[2]; '
    "measure q -> c;"
)


class Dying(QjobsBackend):
    """Kills its process at the poll of one batch: after it was sent, before its results."""

    def poll_job_status(self, *given: Any, **named: Any) -> Any:
        self.n_polled = getattr(self, "n_polled", 0) + 1
        if self.n_polled == int(os.environ.get("DIE_AT", "0")):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().poll_job_status(*given, **named)


def ours(name: str, run: str, **values: Any) -> QjobsBackend:
    return Dying(name, run=run, shots=SHOTS, seed=3, **values)


def their_own() -> Any:
    return backends.MaestroSimulator(shots=SHOTS)


def outcome(program: Any) -> dict[str, Any]:
    program.run()
    return {"loss": float(program.best_loss), "circuits": int(program.total_circuit_count)}


def task_nothing(_: str) -> Any:
    """Whether the environment is there."""
    return {}


def task_classes(name: str) -> Any:
    """Whether it is what Divi asks for, and what Divi's classes make of it."""
    with ours(name, "classes", track_depth=True) as backend:
        event = Event()
        event.set()
        try:
            backend.submit_circuits([TURNED], cancellation_event=event)
        except Exception as error:
            refused = f"{type(error).__module__}.{type(error).__name__}"
        done = sampled(backend, {"t": TURNED})
        return {
            "runner": isinstance(backend, backends.CircuitRunner),
            "protocol": isinstance(backend, backends.AsyncJobBackend),
            "result": isinstance(done, backends.ExecutionResult),
            "refused": refused,
            "depths": backend.depth_history,
        }


def sampled(backend: Any, circuits: Any, **values: Any) -> Any:
    done = backend.submit_circuits(circuits, **values)
    if done.is_async():
        assert backend.poll_job_status(done, loop_until_complete=True, verbose=False) is backends.JobStatus.COMPLETED
        done = backend.get_job_results(done)
    return done


def task_order(name: str) -> Any:
    """Labels, bits and observables, as Divi's own simulator has them."""
    circuits = {"second": ASYMMETRIC, "first": TURNED}
    operators = {"ham_ops": "ZII;IZI;IIZ;IZZ;XII"}
    found = []
    with ours(name, "order") as backend:
        for each in (their_own(), backend):
            done = sampled(each, circuits)
            exact = sampled(each, {"turned": TURNED}, **operators) if name == "aer" else None
            values = exact.results[0]["results"] if exact is not None else {}
            found.append(
                {
                    "labels": [entry["label"] for entry in done.results],
                    "certain": done.results[0]["results"],
                    "keys": sorted(done.results[1]["results"]),
                    "exact": {term: round(float(value), 6) for term, value in values.items()},
                }
            )
    return found


def task_programs(name: str) -> Any:
    """Divi's programs on its own simulator and on ours."""
    found: dict[str, Any] = {}
    for program in ("vqe", "qaoa"):
        make = getattr(programs, program)
        found[program] = {"own": outcome(make(their_own()))}
        with ours(name, program) as backend:
            made = make(backend)
            found[program]["ours"] = outcome(made)
            if program == "qaoa":
                found["cut"] = sum((u in made.solution) != (v in made.solution) for u, v in programs.EDGES)
                best = 0
                for sides in itertools.product((0, 1), repeat=8):
                    best = max(best, sum(sides[u] != sides[v] for u, v in programs.EDGES))
                found["best cut"] = best
    return found


def task_short(name: str) -> Any:
    """A short program, which may be killed on the way; what it asked for is seen by its circuits."""
    with ours(name, "short") as backend:
        return outcome(programs.vqe(backend, iterations=2))


class Suspension(BaseException):
    """As Prefect's own, which ends a process in the middle of a wait."""


def task_suspended(name: str) -> Any:
    """Whether a suspension passes through Divi's programs, and leaves the job alone."""
    with ours(name, "suspended") as backend:

        def suspend(*_: Any, **__: Any) -> None:
            raise Suspension

        backend._batches.finish = suspend
        try:
            programs.vqe(backend).run()
        except Suspension:
            (job,) = backend._ledger.jobs()
            return {"passed": True, "cancelled": job.cancel_requested_at is not None}
    return {"passed": False}


def task_diverged(name: str) -> Any:
    """The same run with another first batch."""
    with ours(name, "short") as backend:
        try:
            backend.submit_circuits([TURNED])
        except InvalidInput as error:
            return {"refused": str(error)}
    return {}


def child(request: dict[str, Any]) -> None:
    """One task, as a process that was started for it would do it."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.update(request["environment"])
    result = Path(request["result"])
    os.chdir(result.parent)
    result.write_text(json.dumps(globals()[f"task_{request['task']}"](request["backend"])))


def serve() -> None:
    """Fork a child for each request, until there are no more."""
    assert threading.active_count() == 1, threading.enumerate()
    while line := sys.stdin.readline():
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                child(json.loads(line))
                code = 0
            except BaseException:  # the child must not go on as a second parent
                traceback.print_exc()
            finally:
                atexit._run_exitfuncs()
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
