"""A place that a job of somebody else has at a real service: a dispatcher leaves it, and takes it when it is free."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from support import a_spec

from qjobs.backends.base import Backend
from qjobs.circuits.programs import read_circuit
from qjobs.ledger import Ledger
from qjobs.model import Batch, JobId
from qjobs.operations.dispatch import dispatch
from qjobs.operations.execute import ToSubmit, to_send
from qjobs.operations.poll import utc_now
from qjobs.operations.retry import RetryPolicy
from qjobs.operations.sensor_pass import sensor_pass
from qjobs.testing.contract import BackendContract, flips


def suspended(ledger: Ledger, backend: Backend, *keys: str) -> list[JobId]:
    """The jobs of a suspended run, of which none is sent yet."""
    program = read_circuit(flips(1, on=[0]))
    specs = [a_spec(key, backend=backend.name, device=backend.device, program=program, shots=8) for key in keys]
    job_ids = ledger.create(specs, now=utc_now())
    unsent = dict.fromkeys(job_ids, ToSubmit(backend="here", policy=RetryPolicy.for_backend(backend.lookup)))
    ledger.waits.register("run", job_ids, until="all", now=utc_now(), to_send=to_send(unsent))
    return job_ids


def check_place(
    suite: BackendContract,
    ledger: Ledger,
    backend: Backend,
    stranger: Backend,
    slow: Batch,
    fail: Callable[[], None] | None = None,
) -> None:
    """A device of two places; after `fail`, nobody tells which jobs are alive."""
    assert backend.limits.max_live_jobs == 2
    later_s = 0.0

    def send() -> set[JobId]:
        nonlocal later_s
        later_s += 100.0
        sent = dispatch(ledger, lambda _: backend, now=lambda: utc_now() + timedelta(seconds=later_s)).sent
        return set(sent.get("here", ()))

    theirs = [suite.submit(stranger, slow) for _ in range(2)]
    first, second, third = suspended(ledger, backend, "a", "b", "c")
    assert send() == set(), "others have both places"
    stranger.cancel(theirs[0])
    suite.wait(stranger, theirs[0])
    assert send() == {first}, "one has ended, so that its place is ours"
    (attempt,) = ledger.last_attempts([first]).values()
    assert attempt.remote_id is not None
    suite.wait(backend, attempt.remote_id)
    ledger.schedule.set_next({first: None})
    sensor_pass(ledger, lambda _: backend)
    stranger.cancel(theirs[1])
    suite.wait(stranger, theirs[1])
    if fail is None:
        assert send() == {second, third}
    else:
        fail()
        assert send() == {second}, "what was shown last holds, and nothing stands still"
