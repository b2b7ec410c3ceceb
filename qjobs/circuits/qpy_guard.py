"""QPY that others wrote is read in a process of its own first.

Its reader takes the numbers in a file at their word: a damaged file of some kilobytes asks for gigabytes and ends the
process. So a second process, with limits, reads it before this one does. It is started at the first file, takes a
second for that, and ends with this process.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import select
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from hashlib import sha256
from typing import IO, Any, Final

from qjobs.errors import InvalidCircuit
from qjobs.heap import limit_memory

__all__ = ["check_foreign_qpy", "serve"]

logger = logging.getLogger(__name__)

_MEMORY_BYTES: Final = 1 << 30
_TIME_S: Final = 60
_START_S: Final = 120
_CODE: Final = """
from qjobs.circuits.programs import program_from_qpy
from qjobs.circuits.qpy_guard import serve
serve(program_from_qpy)
"""
_KEPT: Final = 1_000
_LENGTH: Final = struct.Struct(">Q")


class _Guard:
    """The second process, started when it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._passed: set[bytes] = set()
        self._pid = os.getpid()

    def check(self, payload: bytes) -> None:
        """Have it read once.

        Raises:
            InvalidCircuit: It cannot be read within the limits.
        """
        digest = sha256(payload).digest()
        with self._lock:
            if digest in self._passed:
                return
            if (problem := self._problem(payload)) is not None:
                raise InvalidCircuit(problem)
            if len(self._passed) >= _KEPT:
                self._passed.clear()
            self._passed.add(digest)

    def close(self) -> None:
        """End the process, if this one has started it."""
        process = self._process
        self._process = None
        if process is not None and self._pid == os.getpid():
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()

    def _problem(self, payload: bytes) -> str | None:
        process = self._started()
        try:
            assert process.stdin is not None  # noqa: S101 - for the type
            process.stdin.write(_LENGTH.pack(len(payload)) + payload)
            process.stdin.flush()
            answer = self._answer(process, _TIME_S)
        except OSError:
            answer = b""
        if answer:
            problem: str | None = json.loads(answer)
            return problem
        self.close()
        again = "write it again with qiskit.qpy.dump"
        if answer is None:
            return f"the QPY takes more than {_TIME_S} s to read; {again}, as several smaller circuits"
        return f"the QPY is damaged, or needs more than {_MEMORY_BYTES >> 20} MB to read; {again}"

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None and self._pid == os.getpid():
            return self._process
        self.close()
        self._pid = os.getpid()
        logger.debug("process %d starts another one that reads QPY first", self._pid)
        process = subprocess.Popen(  # noqa: S603 - our own code
            [sys.executable, "-c", _CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._process = process
        if not self._answer(process, _START_S):
            self.close()
            raise InvalidCircuit("the process that reads QPY first did not start; try it again, or give OpenQASM")
        return process

    def _answer(self, process: subprocess.Popen[bytes], timeout_s: float) -> bytes | None:
        """One line; empty where the process has ended, None where it takes too long."""
        assert process.stdout is not None  # noqa: S101 - for the type
        ready, _, _ = select.select([process.stdout], [], [], timeout_s)
        return process.stdout.readline() if ready else None


_guard = _Guard()
atexit.register(_guard.close)


def check_foreign_qpy(payload: bytes) -> None:
    """Read QPY in a process of its own, which may use 1 GiB of memory and a minute.

    Raises:
        InvalidCircuit: It cannot be read there; the message says why and what to do.
    """
    _guard.check(payload)


def serve(read: Callable[[bytes], object]) -> None:
    """The second process: reads what comes, and answers each with what is wrong or null, until its input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the reader itself prints is no answer
    _reply(answers, None)
    while len(head := sys.stdin.buffer.read(_LENGTH.size)) == _LENGTH.size:
        (length,) = _LENGTH.unpack(head)
        payload = sys.stdin.buffer.read(length)
        _limit()
        try:
            read(payload)
        except InvalidCircuit as error:
            _reply(answers, str(error))
        except RecursionError:
            _reply(answers, "the circuit is nested too deeply; flatten it")
        except MemoryError:
            return
        else:
            _reply(answers, None)


def _reply(answers: IO[bytes], problem: Any) -> None:
    answers.write(json.dumps(problem).encode() + b"\n")
    answers.flush()


def _limit() -> None:
    """Bounds of the memory, and of the processor's time for the next circuit: who waits for it may have been killed."""
    import resource

    limit_memory(_MEMORY_BYTES)
    used = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    bound = int(used.ru_utime + used.ru_stime) + 2 * _TIME_S
    resource.setrlimit(resource.RLIMIT_CPU, (bound if hard == resource.RLIM_INFINITY else min(bound, hard), hard))
