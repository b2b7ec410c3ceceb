"""Worker processes: they answer, fail, end and are started again."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aer_batches import DEADLINE_S, children_of

from qjobs.backends.aer import WorkerEnded, WorkerPool


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    pool = WorkerPool(1, preload=("qjobs.circuits.pytket",))
    yield pool
    pool.close()


def call(pool: WorkerPool, function: Any, task: object) -> tuple[Any, BaseException | None]:
    """The result and the error of one call."""
    found: list[tuple[Any, BaseException | None]] = []
    came = threading.Event()

    def done(result: Any, error: BaseException | None) -> None:
        found.append((result, error))
        came.set()

    pool.call(function, task, done)
    assert came.wait(DEADLINE_S)
    return found[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [("OMP_NUM_THREADS", "1"), ("OMP_WAIT_POLICY", "passive"), ("OPENBLAS_NUM_THREADS", "1"), ("MKL_NUM_THREADS", "1")],
)
def test_workers_do_not_fight(pool: WorkerPool, name: str, value: str) -> None:
    """Threads are as many as workers, wait asleep, and are no other library's; set before Aer is imported."""
    assert call(pool, os.getenv, name) == (value, None)


def test_own_settings_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the user has set is passed on; fewer threads of OpenMP than workers are a limit, more are not."""
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    pool = WorkerPool(3)
    assert pool.threads == 3
    for text, threads in (("2", 2), ("8", 3), ("2,4", 2), ("0", 3), ("many", 3)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert pool.threads == threads
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "4")
    own = WorkerPool(1)
    try:
        names = "[__import__('os').environ[n] for n in ('OMP_NUM_THREADS','OMP_WAIT_POLICY','OPENBLAS_NUM_THREADS')]"
        assert call(own, eval, names) == (["1", "active", "4"], None)
    finally:
        own.close()


def test_modules_are_preloaded(pool: WorkerPool) -> None:
    """Aer and what was asked for are imported before the first call."""
    loaded = "{'qiskit_aer', 'qjobs.circuits.pytket'} <= set(__import__('sys').modules)"
    assert call(pool, eval, loaded) == (True, None)


def test_errors_come_back(pool: WorkerPool) -> None:
    """What a call raises is its own, and the worker goes on."""
    result, error = call(pool, int, "x")
    assert result is None
    assert isinstance(error, ValueError)
    assert call(pool, int, "3") == (3, None)


def test_death_reaches_the_caller(pool: WorkerPool) -> None:
    """A call whose worker ends gets WorkerEnded, and the next call a new worker."""
    assert isinstance(call(pool, os._exit, 1)[1], WorkerEnded)
    assert call(pool, int, "3") == (3, None)


def test_close_ends_the_processes(pool: WorkerPool) -> None:
    """No process is left; the next call starts new ones."""
    pid, _ = call(pool, eval, "__import__('os').getpid()")
    assert pid in children_of(os.getpid())
    pool.close()
    pool.close()
    assert pid not in children_of(os.getpid())
    assert call(pool, int, "3") == (3, None)
