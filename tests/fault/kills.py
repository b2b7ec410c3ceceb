"""A fork server for the real `run_circuits` flow: children that are killed at a moment of one's choice.

Starting Python and importing Prefect costs seconds, so a warm parent that runs no thread of ours forks one
child per attempt. The parent alone kills (by pid, and only children it has not reaped, so that the pid
cannot be another's) and reaps. It reads one JSON request a line and answers each when its child has ended.
"""

from __future__ import annotations

import importlib
import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[2]
BELL = """OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;"""
N_ITEMS = 3
WARM = [
    "flows.run_circuits",
    "flows._support.command",
    "qjobs.backends.rest",
    "matplotlib.pyplot",
    "pandas",
    "pyarrow.parquet",
    "pyarrow.pandas_compat",
    "fastapi",
    "graphviz",
    "platformdirs",
    "anyio._backends._asyncio",
    "prefect.engine",
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect.client.orchestration",
]
"""What a child would import; imported once, by its parent."""


def batch(name: str, backend: str) -> dict[str, object]:
    """The flow's parameter: a few Bell pairs, sent as they are."""
    circuits = [{"openqasm": BELL, "label": f"bell-{index}"} for index in range(N_ITEMS)]
    return {"name": name, "circuits": circuits, "shots": 100, "seed": 3, "backend": backend, "compiler": "none"}


class ForkServer:
    """The tests' side. `ask` returns at once; the answer is {"id", "seconds", "status", ...}.

    Args:
        env: Environment of the server and its children.
        log: Where they write what they say.
    """

    def __init__(self, env: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__))],
                cwd=ROOT,
                env={**os.environ, **env, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
            )
        self._waiting: dict[int, queue.SimpleQueue[dict]] = {}
        self._lock = threading.Lock()
        self._count = 0
        self._reader = threading.Thread(target=self._read, name="fork-server-answers", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            answer = json.loads(line)
            self._waiting.pop(answer["id"]).put(answer)

    def ask(self, **request: object) -> queue.SimpleQueue[dict]:
        """Fork a child; the queue gets one answer."""
        answer: queue.SimpleQueue[dict] = queue.SimpleQueue()
        with self._lock:
            self._count += 1
            self._waiting[self._count] = answer
            self._process.stdin.write(json.dumps({"id": self._count, **request}) + "\n")
            self._process.stdin.flush()
        return answer

    def run(self, **request: object) -> dict:
        """Fork a child and wait for its end."""
        return self.ask(**request).get(timeout=240)

    def close(self) -> None:
        """End; children that still run are killed."""
        self._process.stdin.close()
        self._process.wait(30)
        self._reader.join(5)
        self._process.stdout.close()


def _child(request: dict) -> None:
    """One attempt, in a process of its own."""
    from flows._support.command import without_heartbeat

    with without_heartbeat():
        match request["what"]:
            case "run":
                from flows.run_circuits import run_circuits

                published = run_circuits(
                    batch(request["name"], request["backend"]), logical_run=request.get("logical_run", "")
                )
                assert published.n_missing == 0
            case "run again":
                _run_again(request)
            case "create":
                _create(request)
            case "block":
                from blocks import RestBackend

                RestBackend.register_type_and_schema()
                RestBackend(url=request["url"], lost_reply=request["lost_reply"]).save(request["name"], overwrite=True)


def _run_again(request: dict) -> None:
    """What a worker does with a flow run that exists: run it, whatever another one does with it."""
    from prefect.client.orchestration import get_client
    from prefect.flow_engine import run_flow

    from flows.run_circuits import run_circuits

    with get_client(sync_client=True) as client:
        known = client.read_flow_run(request["flow_run_id"])
    state = run_flow(run_circuits, flow_run=known, parameters=known.parameters, return_type="state")
    Path(request["out"]).write_text(str(state.type))


def _create(request: dict) -> None:
    from prefect.client.orchestration import get_client

    from flows.run_circuits import run_circuits

    with get_client(sync_client=True) as client:
        made = client.create_flow_run(run_circuits, parameters={"spec": batch(request["name"], request["backend"])})
    Path(request["out"]).write_text(str(made.id))


def _die_with_parent() -> None:
    """A test that is interrupted leaves no child behind (prctl(2), PR_SET_PDEATHSIG; Linux only)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


class _Children:
    def __init__(self) -> None:
        self.known: dict[int, dict] = {}

    def fork(self, request: dict) -> None:
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.setsid()
                _die_with_parent()
                os.dup2(2, 1)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                _child(request)
                code = 0
            except BaseException:  # the child must not go on as a second server
                traceback.print_exc()
            finally:
                import atexit

                atexit._run_exitfuncs()
                sys.stderr.flush()
                os._exit(code)
        self.known[pid] = {"request": request, "started": time.monotonic(), "killed": False}

    def run_pass(self) -> None:
        """Reap what has ended, kill what is due."""
        for pid, child in list(self.known.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            age = time.monotonic() - child["started"]
            if ended:
                del self.known[pid]
                code = os.waitstatus_to_exitcode(status)
                answer = {"id": child["request"]["id"], "seconds": age, "status": code}
                print(json.dumps(answer), flush=True)
                continue
            limit = child["request"].get("kill_after_s")
            if limit is not None and age >= limit and not child["killed"]:
                os.kill(pid, signal.SIGKILL)
                child["killed"] = True

    def next_due_s(self) -> float:
        now = time.monotonic()
        due = [
            child["started"] + limit - now
            for child in self.known.values()
            if (limit := child["request"].get("kill_after_s")) is not None and not child["killed"]
        ]
        return max(0.0, min([0.01 if self.known else 1.0, *due]))


def main() -> None:
    """Serve until the input ends."""
    for name in WARM:
        importlib.import_module(name)

    assert threading.active_count() == 1, threading.enumerate()
    children = _Children()
    rest = b""
    while True:
        children.run_pass()
        if not select.select([0], [], [], children.next_due_s())[0]:
            continue
        part = os.read(0, 65536)
        if not part:
            break
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            children.fork(json.loads(line))
    for pid in children.known:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
