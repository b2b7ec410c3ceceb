"""Small values for the tests, and the laws that every job's history obeys."""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

import qjobs
from qjobs.backends.base import Backend, ItemSnapshot, Snapshot
from qjobs.ledger import Ledger, tables
from qjobs.ledger.provider_reports import Report
from qjobs.lifecycle import LIVE, JobStatus
from qjobs.model import (
    Attempt,
    AttemptNumber,
    Batch,
    ExecuteOptions,
    ItemResult,
    ItemSpec,
    JobId,
    JobSpec,
    JsonValue,
    Key,
    Program,
    ProgramFormat,
    ProgramHash,
    RemoteId,
    RemoteRetryStrategy,
)

NOW = datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
LEASE_S = 60.0
ROTATED = """OPENQASM 3.0;
include "stdgates.inc";
input float theta;
qubit[1] q;
bit[1] c;
ry(theta) q[0];
c[0] = measure q[0];
"""
AXIS = [{"name": "theta", "values": [0.0, math.pi]}]
SWEEP = {"name": "s", "circuit": {"openqasm": ROTATED}, "axes": AXIS, "shots": 50, "seed": 1}


def at(seconds: float) -> datetime:
    """A moment so many seconds after `NOW`."""
    return NOW + timedelta(seconds=seconds)


def a_program(text: str = "OPENQASM 2.0;", *, parameters: tuple[str, ...] = ()) -> Program:
    """A program whose hash is that of its text; no test of the ledger compiles it."""
    payload = text.encode()
    return Program(
        hash=ProgramHash(hashlib.sha256(payload).hexdigest()),
        format=ProgramFormat.OPENQASM2,
        payload=payload,
        n_qubits=2,
        n_bits=2,
        measured=True,
        parameters=parameters,
    )


def an_item(label: str = "item", *, program: Program | None = None, shots: int = 100) -> ItemSpec:
    """An item of `program`."""
    return ItemSpec(label=label, program=(program or a_program()).hash, shots=shots)


def a_spec(
    key: str = "key",
    *,
    n_items: int = 2,
    shots: int = 100,
    backend: str = "fake",
    device: str = "device",
    experiment: str = "",
    run: str = "run",
    program: Program | None = None,
    options: ExecuteOptions | None = None,
    properties: Mapping[str, JsonValue] | None = None,
    fingerprint: str = "",
) -> JobSpec:
    """A job of `n_items` items of one program."""
    program = program or a_program()
    items = tuple(an_item(f"item-{n}", program=program, shots=shots) for n in range(n_items))
    batch = Batch(number=0, items=items, programs={program.hash: program}, options=options or ExecuteOptions())
    return JobSpec(
        key=Key(key),
        backend=backend,
        device=device,
        name=f"job of {key}",
        batch=batch,
        experiment=experiment,
        run=run,
        properties=properties or {},
        fingerprint=fingerprint,
    )


def create(ledger: Ledger, key: str = "key", **values: object) -> JobId:
    """Create one job."""
    return ledger.create([a_spec(key, **values)], now=NOW)[0]


def claim(ledger: Ledger, job_id: JobId, expected: JobStatus = JobStatus.CREATED, **values: object) -> Attempt:
    """Claim with everything that a test does not care about filled in."""
    given = {"strategy": RemoteRetryStrategy.DEFAULT, "owner": "test", "lease_s": LEASE_S, "now": NOW, **values}
    return ledger.submissions.claim(job_id, expected=expected, **given)


def sending(ledger: Ledger, attempt: Attempt, *, now: datetime = NOW) -> Attempt:
    """The attempt, whose request leaves now: from here on a remote job may exist."""
    ledger.submissions.renew(attempt, lease_s=LEASE_S, now=now, sending=True)
    return ledger.attempts(attempt.job_id)[-1]


def observe(
    ledger: Ledger,
    job_id: JobId,
    number: AttemptNumber,
    snapshot: Snapshot | None,
    *,
    now: datetime,
    cause: str = "poll",
    **values: object,
) -> JobStatus:
    """Record one report; what is wrong with it is raised."""
    report = Report(job_id=job_id, number=number, snapshot=snapshot, **values)
    statuses, failures = ledger.record_reports([report], now=now, cause=cause)
    for failure in failures.values():
        raise failure
    return statuses[job_id]


def sent(ledger: Ledger, key: str = "key", remote_id: str = "remote-1", **values: object) -> tuple[JobId, Attempt]:
    """A job that the provider has."""
    job_id = create(ledger, key, **values)
    attempt = claim(ledger, job_id)
    ledger.submissions.accept(attempt, RemoteId(remote_id), now=NOW)
    return job_id, ledger.attempts(job_id)[-1]


def submitted(ledger: Ledger, backend: Backend, *keys: str) -> list[JobId]:
    """Jobs of these keys, submitted to `backend`."""
    job_ids = [create(ledger, key, backend=backend.name) for key in keys]
    for job_id in job_ids:
        qjobs.submit(ledger, backend, job_id, now=lambda: NOW)
    return job_ids


def unsettled(ledger: Ledger, status: JobStatus = JobStatus.SUBMITTING, **values: object) -> tuple[JobId, Attempt]:
    """A job whose attempt was being sent and that nobody has settled: SUBMITTING or UNKNOWN."""
    job_id = create(ledger, **values)
    attempt = sending(ledger, claim(ledger, job_id))
    if status is JobStatus.UNKNOWN:
        ledger.submissions.mark_unknown(attempt, "no reply", now=NOW)
    return job_id, attempt


@functools.cache
def ended_owner() -> str:
    """The owner of a lease (`qjobs.ledger.liveness`) whose process is proved to have ended."""
    code = "from qjobs.ledger.liveness import lease_owner; print(lease_owner())"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def jobs_in(folder: Path) -> list[str]:
    """The ids of the jobs in a folder's ledger."""
    with Ledger(f"sqlite:///{folder / 'ledger.db'}") as ledger:
        return [job.job_id for job in ledger.jobs()]


def whole(status: JobStatus, message: str = "", **values: object) -> Snapshot:
    """A report of a provider that does not tell items apart."""
    return Snapshot(status=status, remote_status=f"their {status}", message=message, **values)


def report(*statuses: JobStatus, message: str = "") -> Snapshot:
    """A report with one status per item."""
    items = tuple(ItemSnapshot(status=status) for status in statuses)
    return Snapshot(status=statuses[0], remote_status="theirs", message=message, items=items)


def counts(**values: int) -> ItemResult:
    """A result: `counts(b00=3)` are three shots of 00."""
    return ItemResult(counts={word[1:]: n for word, n in values.items()})


def check_history(ledger: Ledger, job_id: JobId) -> None:
    """The job's own chain of events is unbroken and ends in its status; so do its items' chains.

    Also: one live attempt at the most, an attempt that is live only under a live job, and a
    `finished_at` exactly where the status is final.
    """
    job = ledger.job(job_id)
    chains = defaultdict(list)
    for event in ledger.events(job_id):
        chains[event.index].append(event)
    own = chains.pop(None)
    assert own[0].old is None
    assert own[0].new is JobStatus.CREATED
    for before, after in itertools.pairwise(own):
        assert after.old is before.new, (before, after)
        assert after.at >= before.at
    assert own[-1].new is job.status
    items = ledger.items(job_id)
    for index, chain in chains.items():
        assert all(event.old is not None for event in chain), (index, chain)
    attempts = ledger.attempts(job_id)
    live = [attempt for attempt in attempts if attempt.status in LIVE]
    assert len(live) <= 1
    assert bool(live) == (job.status in LIVE), (job.status, attempts)
    if job.status is JobStatus.LOST:
        assert JobStatus.LOST in {attempt.status for attempt in attempts}
    assert (job.finished_at is not None) == job.status.is_final
    for attempt in attempts:
        assert (attempt.finished_at is not None) == attempt.status.is_final
    assert [attempt.number for attempt in attempts] == list(range(1, len(attempts) + 1))
    assert len(items) == job.n_items


def item_statuses(ledger: Ledger, job_id: JobId) -> list[JobStatus]:
    """Statuses of a job's items, in their order."""
    return [item.status for item in ledger.items(job_id)]


def all_of(ledger: Ledger, job_id: JobId) -> tuple[object, ...]:
    """Everything that the ledger knows of a job."""
    return ledger.job(job_id), ledger.attempts(job_id), ledger.items(job_id), ledger.events(job_id)


def job_moves(ledger: Ledger, job_id: JobId) -> list[tuple[JobStatus | None, JobStatus, str]]:
    """The job's own events as (old, new, cause)."""
    return [(event.old, event.new, event.cause) for event in ledger.events(job_id, of_items=False)]


def empty(ledger: Ledger) -> None:
    """Delete every row, keep the schema."""
    with ledger._db.write() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            if table is not tables.LEDGER_META:
                connection.execute(sa.delete(table))


def raw(ledger: Ledger, statement: sa.Executable, values: object = None) -> None:
    """Run a statement past every guard of the ledger's own."""
    with ledger._db.write() as connection:
        connection.execute(statement, values)
