"""How devices were calibrated when circuits were compiled, when they were sent, and when their results were fetched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from qjobs.ledger.database import Database, parts
from qjobs.ledger.planning import insert_or_ignore
from qjobs.ledger.tables import ATTEMPT, COMPILED, DEVICE_SNAPSHOT, ITEM, JOB
from qjobs.lifecycle import JobStatus
from qjobs.model import DeviceSnapshot, JobId, ProgramHash

__all__ = ["Calibrations", "Seen"]

_OF_ITEM = (
    (COMPILED.c.program_hash == ITEM.c.program_hash)
    & (COMPILED.c.backend == JOB.c.backend)
    & (COMPILED.c.device == JOB.c.device)
)
_COMPILED_ON = (
    sa.select(COMPILED.c.fingerprint)
    .distinct()
    .select_from(ITEM)
    .join(JOB, JOB.c.job_id == ITEM.c.job_id)
    .join(COMPILED, _OF_ITEM)
    .where(ITEM.c.job_id == sa.bindparam("at_job"))
)


class Seen(NamedTuple):
    """The fingerprints of a device when circuits were compiled, sent and their results fetched, as in `Attempt`."""

    device: str
    compiled_on: str | None
    submitted_on: str | None
    results_on: str | None


class Calibrations:
    """`Ledger.calibrations`: the snapshots of devices, and which one holds for what."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def record(self, snapshot: DeviceSnapshot, *, now: datetime) -> None:
        """Store a snapshot of a device. Idempotent."""
        row = {
            "fingerprint": snapshot.fingerprint,
            "device": snapshot.device,
            "calibrated": snapshot.calibrated,
            "facts": dict(snapshot.facts),
            "seen_at": now,
        }
        with self._db.write() as connection:
            connection.execute(insert_or_ignore(self._db, DEVICE_SNAPSHOT), row)

    def snapshots(self, fingerprints: Iterable[str]) -> dict[str, DeviceSnapshot]:
        """The snapshots of these fingerprints, as far as they are stored."""
        rows = self._db.rows_among(sa.select(DEVICE_SNAPSHOT), DEVICE_SNAPSHOT.c.fingerprint, sorted(set(fingerprints)))
        return {
            row.fingerprint: DeviceSnapshot(
                fingerprint=row.fingerprint, device=row.device, calibrated=row.calibrated, facts=row.facts
            )
            for row in rows
        }

    def record_compiled(
        self, backend: str, device: str, programs: Iterable[ProgramHash], fingerprint: str, *, at: datetime
    ) -> None:
        """Record that these circuits are what a compiler made for a snapshot of the device; what is newer stays."""
        hashes = sorted(set(programs))
        there = (COMPILED.c.backend == backend) & (COMPILED.c.device == device)
        rows = [
            {"program_hash": each, "backend": backend, "device": device, "fingerprint": fingerprint, "at": at}
            for each in hashes
        ]
        with self._db.write() as connection:
            for part in parts(hashes):
                older = there & COMPILED.c.program_hash.in_(part) & (COMPILED.c.at <= at)
                connection.execute(sa.delete(COMPILED).where(older))
            if rows:
                connection.execute(insert_or_ignore(self._db, COMPILED), rows)

    def compiled_on(self, job_id: JobId) -> set[str]:
        """The snapshots that the circuits of a job were compiled for, as far as that was recorded."""
        with self._db.read() as connection:
            return set(connection.scalars(_COMPILED_ON, {"at_job": job_id}))

    def programs_compiled_on(self, backend: str, device: str, programs: Collection[ProgramHash]) -> set[str]:
        """The snapshots that these circuits were compiled for, as far as that was recorded."""
        there = (COMPILED.c.backend == backend) & (COMPILED.c.device == device)
        query = sa.select(COMPILED.c.fingerprint).where(there)
        return {row.fingerprint for row in self._db.rows_among(query, COMPILED.c.program_hash, sorted(programs))}

    def compiled_before(self, job_ids: Sequence[JobId], fingerprint: str) -> set[JobId]:
        """Those of these jobs that are still to be sent, and have circuits compiled for another snapshot than this."""
        query = (
            sa.select(ITEM.c.job_id)
            .distinct()
            .select_from(ITEM)
            .join(JOB, JOB.c.job_id == ITEM.c.job_id)
            .join(COMPILED, _OF_ITEM)
            .where(COMPILED.c.fingerprint != fingerprint, JOB.c.status == JobStatus.CREATED)
        )
        return {JobId(row.job_id) for row in self._db.rows_among(query, ITEM.c.job_id, job_ids)}

    def submissions(self, job_ids: Sequence[JobId]) -> dict[JobId, tuple[str, datetime]]:
        """The snapshot on which each of these jobs was submitted last, and when; without those where nobody looked."""
        query = sa.select(ATTEMPT.c.job_id, ATTEMPT.c.submitted_on, ATTEMPT.c.claimed_at).order_by(ATTEMPT.c.number)
        rows = self._db.rows_among(query.where(ATTEMPT.c.submitted_on.is_not(None)), ATTEMPT.c.job_id, job_ids)
        return {JobId(row.job_id): (row.submitted_on, row.claimed_at) for row in rows}

    def seen(self, job_ids: Sequence[JobId]) -> Counter[Seen]:
        """What was written down of the remote jobs of these jobs, and of how many of them each."""
        columns = (JOB.c.device, ATTEMPT.c.compiled_on, ATTEMPT.c.submitted_on, ATTEMPT.c.results_on)
        query = (
            sa.select(*columns, sa.func.count().label("found"))
            .select_from(ATTEMPT)
            .join(JOB, (JOB.c.job_id == ATTEMPT.c.job_id) & (JOB.c.epoch == ATTEMPT.c.epoch))
            .where(ATTEMPT.c.accepted_at.is_not(None), ATTEMPT.c.submitted_on.is_not(None))
            .group_by(*columns)
        )
        found: Counter[Seen] = Counter()
        for row in self._db.rows_among(query, ATTEMPT.c.job_id, job_ids):
            found[Seen(row.device, row.compiled_on, row.submitted_on, row.results_on)] += row.found
        return found
