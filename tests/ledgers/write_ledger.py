"""Writes the ledger that is kept beside this script: jobs in every status, as the code of schema 4 left them.

It runs with the version of qjobs whose schema is 4, the last one whose ledgers could not migrate. Later versions cannot
run it and no test does: it is kept as the record of what the ledger holds. Its clock is fixed and its ids are seeded,
so that every run writes the same.
"""

# ruff: noqa: I001  the modules that it imports are no longer there to be sorted
from __future__ import annotations

import contextlib
import itertools
import random
import sqlite3
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

from qjobs import operations, recovery, schema, sensor, submission
from qjobs.attempts import batch_of
from qjobs.backends.base import ItemSnapshot, Limits, LostReply, MissingResult, Snapshot, Target, nothing
from qjobs.circuits import read_circuit, to_pytket
from qjobs.compile import CompileCache, CompileOptions
from qjobs.errors import (
    BackendUnavailable,
    CredentialsRejected,
    InvalidInput,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.experiment import CircuitsSpec, expand_circuits
from qjobs.launch import CompileStage, compile_here, launch_circuits, launch_sweep
from qjobs.ledger import Ledger
from qjobs.ledger_waits import AtDeadline
from qjobs.lifecycle import JobStatus, roll_up
from qjobs.model import (
    Batch,
    ItemResult,
    ItemSpec,
    JobId,
    JobKind,
    JobSpec,
    Key,
    ProgramHash,
    RemoteId,
    RemoteRetryStrategy,
)
from qjobs.remote_compile import compiled_by, plan_compilation
from qjobs.sweep import SweepSpec, expand

START = datetime(2026, 11, 1, 12, 0, tzinfo=UTC)
SUBMITTER = "host-a:100:1"
SENSOR = "host-b:200:1 00000000-0000-4000-8000-000000000000/4026531836/4026531834/5000"
SERVER = "http://127.0.0.1:4200/api"
FIRST_RUN = "00000000-0000-4000-8000-00000000000a"
SECOND_RUN = "00000000-0000-4000-8000-00000000000b"
THIRD_RUN = "00000000-0000-4000-8000-00000000000c"
NEXUS = "nexus/H2-1LE"
LAB = "nexus-backend/lab"
REST = "rest-backend/reference"

BELL = """OPENQASM 2.0;
include "qelib1.inc";
qreg q[2];
creg c[2];
h q[0];
cx q[0],q[1];
measure q -> c;
"""
REDUNDANT = """OPENQASM 2.0;
include "qelib1.inc";
qreg q[2];
creg c[2];
h q[0];
h q[0];
ry(0.25) q[0];
cx q[0],q[1];
measure q -> c;
"""
ROTATION = """OPENQASM 3.0;
include "stdgates.inc";
input float theta;
qubit[1] q;
bit[1] c;
ry(theta) q[0];
c[0] = measure q[0];
"""
STATE = """OPENQASM 3.0;
include "stdgates.inc";
input float theta;
qubit[2] q;
ry(theta) q[0];
cx q[0], q[1];
"""


class Clock:
    """Time that only `forward` moves."""

    def __init__(self) -> None:
        self.present = START

    def now(self) -> datetime:
        return self.present

    def forward(self, seconds: float) -> None:
        self.present += timedelta(seconds=seconds)


class Provider:
    """A provider that reports what was put into it; `error` is what its next submission raises."""

    exact_expvals = True
    compiles = True
    outlives_us = True
    settle_s = 0.0
    poll_interval_s = (30.0, 1200.0)

    def __init__(
        self,
        name: str,
        device: str,
        remote_id: str,
        *,
        lost_reply: LostReply = LostReply.FINDABLE,
        cancels_items: bool = False,
    ) -> None:
        self.name = name
        self.device = device
        self.lost_reply = lost_reply
        self.cancels_items = cancels_items
        self.limits = Limits(max_items=3)
        self.error: Exception | None = None
        self.batches: dict[RemoteId, Batch] = {}
        self.snapshots: dict[RemoteId, Snapshot] = {}
        self.answers: dict[RemoteId, list[ItemResult | MissingResult]] = {}
        self._remote_id = remote_id
        self._numbers = itertools.count(1)

    def submit(
        self, batch: Batch, key: Key, created: Callable[[RemoteId], None], sending: Callable[[], None] = nothing
    ) -> None:
        sending()
        error = self.error
        self.error = None
        if error is not None:
            raise error
        remote_id = RemoteId(self._remote_id.format(n=next(self._numbers), items=len(batch.items)))
        self.batches[remote_id] = batch
        self.report(remote_id, *[JobStatus.SUBMITTED] * len(batch.items))
        created(remote_id)

    def report(
        self, remote_id: RemoteId, *items: JobStatus | ItemSnapshot, message: str = "", place: int | None = None
    ) -> None:
        """Let a remote job be so, item by item."""
        reports = tuple(item if isinstance(item, ItemSnapshot) else ItemSnapshot(status=item) for item in items)
        status = roll_up(item.status for item in reports)
        self.snapshots[remote_id] = Snapshot(
            status=status, remote_status=str(status), message=message, items=reports, queue_position=place
        )

    def find(self, key: Key) -> RemoteId | None:
        return None

    def status(self, remote_ids: Sequence[RemoteId]) -> dict[RemoteId, Snapshot]:
        return {remote_id: self.snapshots[remote_id] for remote_id in remote_ids}

    def results(self, remote_id: RemoteId) -> list[ItemResult | MissingResult]:
        word = self.snapshots[remote_id].remote_status
        return self.answers.get(remote_id) or [MissingResult(reason=word)] * len(self.batches[remote_id].items)

    def remote_jobs(self) -> None:
        return None

    def cancel(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> None:
        self.report(remote_id, *[JobStatus.CANCELLING] * len(self.batches[remote_id].items))

    def target(self) -> Target:
        return Target(name=self.device)

    def close(self) -> None:
        pass


def as_given(hashes: Sequence[ProgramHash]) -> Mapping[ProgramHash, ProgramHash]:
    """The compile stage that compiles nothing."""
    return {each: each for each in hashes}


def counted(**counts: int) -> ItemResult:
    """A result: `counted(b00=3)` are three shots of 00."""
    return ItemResult(counts={word[1:]: count for word, count in counts.items()}, duration_s=0.25)


class Story:
    """What happens to the ledger, one job after the other."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self.ledger = ledger
        self.clock = clock
        self.nexus = Provider("nexus", "H2-1LE", "{n:08d}-0000-4000-8000-000000000001")
        self.lab = Provider("nexus", "H1-1E", "{n:08d}-0000-4000-8000-000000000002")
        self.aer = Provider("aer", "aer_simulator", "aer-host-a-100-5000-{n}x{items}")
        self.rest = Provider("rest", "reference", "job-{n}", lost_reply=LostReply.OPAQUE, cancels_items=True)
        self.waited_for: list[JobId] = []

    def write(self) -> None:
        """All of it, in order."""
        self.sweeps()
        self.compiled_circuits()
        self.lost_replies()
        self.second_submissions()
        self.cancellations()
        self.endings()
        self.troubles()
        self.pass_of_the_sensor()
        self.after_the_pass()

    # What the parts of the story need

    def circuits(
        self,
        name: str,
        backend: Provider,
        backend_name: str,
        *,
        n_items: int = 2,
        circuit: str = BELL,
        stage: CompileStage = as_given,
    ) -> JobId:
        """Plan a job as the flow of circuit lists does."""
        entries = [{"openqasm": circuit, "label": f"{name} {number}"} for number in range(n_items)]
        spec = CircuitsSpec.model_validate(
            {"name": name, "circuits": entries, "shots": 100, "backend": backend_name, "seed": 7, "compiler": "none"}
        )
        launched = launch_circuits(
            self.ledger, backend, expand_circuits(spec), run=THIRD_RUN, identity=THIRD_RUN, compile_stage=stage
        )
        (job_id,) = launched.new
        return job_id

    def sweep(self, spec: SweepSpec, backend: Provider, run: str) -> tuple[JobId, ...]:
        """Plan jobs as the flow of sweeps does."""
        plan = expand(spec)
        name = spec.backends[0]
        return launch_sweep(self.ledger, backend, plan, name=name, run=run, compile_stage=as_given).new

    def send(self, backend: Provider, *job_ids: JobId) -> None:
        for job_id in job_ids:
            self.clock.forward(5)
            operations.submit(self.ledger, backend, job_id, now=self.clock.now)

    def report(
        self,
        backend: Provider,
        job_id: JobId,
        *items: JobStatus | ItemSnapshot,
        message: str = "",
        place: int | None = None,
    ) -> None:
        """The provider reports the job's last attempt, and we poll."""
        self.clock.forward(60)
        backend.report(self.remote_id(job_id), *items, message=message, place=place)
        operations.poll(self.ledger, backend, [job_id], now=self.clock.now)

    def finish(self, backend: Provider, job_id: JobId, *answers: ItemResult | MissingResult) -> None:
        """The provider runs the job's last attempt and has these results; we poll and fetch them."""
        self.report(backend, job_id, *[JobStatus.RUNNING] * len(answers))
        backend.answers[self.remote_id(job_id)] = list(answers)
        items = [
            ItemSnapshot(status=JobStatus.ERROR, message=answer.reason, error_detail="line 1\nline 2")
            if isinstance(answer, MissingResult)
            else ItemSnapshot(
                status=JobStatus.COMPLETED, cost=5.5, times={JobStatus.RUNNING: self.clock.now() - timedelta(seconds=9)}
            )
            for answer in answers
        ]
        self.report(backend, job_id, *items)
        operations.fetch(self.ledger, backend, self.ledger.job(job_id), now=self.clock.now)

    def remote_id(self, job_id: JobId) -> RemoteId:
        remote_id = self.ledger.last_attempts([job_id])[job_id].remote_id
        assert remote_id is not None
        return remote_id

    # The parts of the story

    def sweeps(self) -> None:
        """Two runs of one sweep, the second with two more points; and a sweep with exact expectation values."""
        values = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
        rabi = SweepSpec.model_validate(
            {
                "name": "rabi",
                "circuit": {"openqasm": ROTATION},
                "axes": [{"name": "theta", "values": values}],
                "shots": 100,
                "seed": 1,
                "backends": [NEXUS],
                "compile": {"compiler": "none"},
            }
        )
        done, running, queued = self.sweep(rabi, self.nexus, FIRST_RUN)
        self.send(self.nexus, done, running, queued)
        self.finish(self.nexus, done, counted(b0=100), counted(b0=99, b1=1), counted(b0=97, b1=3))
        self.report(self.nexus, queued, JobStatus.QUEUED, JobStatus.QUEUED, place=12)
        self.report(self.nexus, running, JobStatus.COMPLETED, JobStatus.RUNNING, JobStatus.QUEUED, place=2)
        missing = MissingResult(reason="it is RUNNING")
        self.nexus.answers[self.remote_id(running)] = [counted(b0=96, b1=4), missing, missing]
        operations.fetch(self.ledger, self.nexus, self.ledger.job(running), now=self.clock.now)
        self.report(self.nexus, running, JobStatus.RUNNING, JobStatus.RUNNING, JobStatus.QUEUED, place=1)  # back
        more = rabi.model_copy(update={"axes": [rabi.axes[0].model_copy(update={"values": [*values, 0.8, 0.9]})]})
        self.sweep(more, self.nexus, SECOND_RUN)
        self.waited_for = [running, queued]

        energy = SweepSpec.model_validate(
            {
                "name": "energy",
                "circuit": {"openqasm": STATE},
                "axes": [{"name": "theta", "values": [0.25, 0.5, 0.75]}],
                "observables": [{"name": "zz", "terms": "Z0 Z1"}, {"name": "mixed", "terms": "0.5*X0 X1 - 1.5*Z0"}],
                "exact": True,
                "backends": ["aer"],
                "compile": {"compiler": "none"},
            }
        )
        (exact,) = self.sweep(energy, self.aer, THIRD_RUN)
        self.send(self.aer, exact)
        expvals = [{"zz": 1.0, "mixed": value} for value in (-1.3296, -1.0767, -0.7567)]
        self.finish(self.aer, exact, *[ItemResult(expvals=each) for each in expvals])

    def compiled_circuits(self) -> None:
        """A compile job of the provider's and the job that runs its circuits; and a job compiled here."""

        def there(hashes: Sequence[ProgramHash]) -> Mapping[ProgramHash, ProgramHash]:
            (compiling,) = plan_compilation(
                self.ledger, self.nexus, hashes, level=2, name="pairs", run=THIRD_RUN, backend_name=NEXUS
            ).job_ids
            self.send(self.nexus, compiling)
            (given,) = self.ledger.programs(hashes).values()
            text = to_pytket(given)
            text.name = "compiled"
            text.Rz(0.5, 0)
            self.finish(self.nexus, compiling, ItemResult(program=read_circuit(text)))
            return compiled_by(self.ledger, [compiling])

        pairs = self.circuits("pairs", self.nexus, NEXUS, n_items=3, stage=there)
        self.send(self.nexus, pairs)
        refused = MissingResult(reason="the qubit was lost; Qubit verloren, 量子ビット ±1")
        self.finish(self.nexus, pairs, counted(b00=52, b11=48), refused, counted(b00=47, b11=53))

        with tempfile.TemporaryDirectory() as folder:
            here = compile_here(self.ledger, self.aer, CompileOptions(), CompileCache(Path(folder)))
            simulated = self.circuits("simulated", self.aer, "aer", circuit=REDUNDANT, stage=here)
        self.send(self.aer, simulated)
        self.finish(self.aer, simulated, counted(b00=98, b11=2), counted(b00=99, b11=1))

    def lost_replies(self) -> None:
        """Replies that were lost: to be looked up, opaque, adopted and discarded by a person."""
        jobs = [
            (self.nexus, self.circuits("lost and findable", self.nexus, NEXUS)),
            (self.rest, self.circuits("lost and opaque", self.rest, REST)),
            (self.rest, self.circuits("adopted", self.rest, REST)),
            (self.rest, self.circuits("discarded", self.rest, REST)),
        ]
        for backend, job_id in jobs:
            backend.error = SubmissionUnknown("the connection was closed before the answer came")
            with contextlib.suppress(BackendUnavailable, SubmissionUnknown):
                self.send(backend, job_id)
        adopted = jobs[2][1]
        found = RemoteId("job-1000")
        self.rest.batches[found] = batch_of(self.ledger, self.ledger.job(adopted), None)
        self.rest.report(found, JobStatus.QUEUED, JobStatus.QUEUED, place=4)
        self.clock.forward(60)
        recovery.adopt(self.ledger, self.rest, adopted, found, now=self.clock.now)
        recovery.discard(self.ledger, jobs[3][1], now=self.clock.now)

        silent = self.circuits("left by its process", self.nexus, NEXUS)
        self.claim(silent, lease_s=300.0)
        self.clock.forward(301)
        self.ledger.expire_leases(now=self.clock.now())

    def claim(self, job_id: JobId, *, lease_s: float) -> None:
        """Write the intent of a submission of which nothing more is heard."""
        self.ledger.claim(
            job_id,
            expected=JobStatus.CREATED,
            strategy=RemoteRetryStrategy.DEFAULT,
            owner=SUBMITTER,
            lease_s=lease_s,
            now=self.clock.now(),
        )

    def second_submissions(self) -> None:
        """Items that are sent again, jobs that begin anew, and a job that is run again under another name."""
        failed = MissingResult(reason="the laser was out of lock")
        retried = self.circuits("retried", self.nexus, NEXUS)
        self.send(self.nexus, retried)
        self.finish(self.nexus, retried, counted(b00=51, b11=49), failed)
        strategy = RemoteRetryStrategy.FORCE_RESUBMIT
        recovery.retry(self.ledger, self.nexus, retried, strategy=strategy, now=self.clock.now)
        self.report(self.nexus, retried, JobStatus.RETRYING, message="calibrating")

        strategy = RemoteRetryStrategy.FULL_RESTART
        restarted = self.circuits("restarted", self.nexus, NEXUS)
        self.send(self.nexus, restarted)
        self.finish(self.nexus, restarted, counted(b00=60, b11=40), failed)
        recovery.retry(self.ledger, self.nexus, restarted, strategy=strategy, now=self.clock.now)

        twice = self.circuits("restarted and done", self.nexus, NEXUS)
        self.send(self.nexus, twice)
        self.finish(self.nexus, twice, counted(b00=55, b11=45), counted(b00=54, b11=46))
        recovery.retry(self.ledger, self.nexus, twice, strategy=strategy, now=self.clock.now)
        self.finish(self.nexus, twice, counted(b00=45, b11=55), counted(b00=46, b11=54))
        recovery.rerun(self.ledger, twice, "run again", run=THIRD_RUN, now=self.clock.now)

    def cancellations(self) -> None:
        """Cancellations that are passed on, confirmed, or of what was never sent."""
        cancelling = self.circuits("cancelling", self.nexus, NEXUS)
        cancelled = self.circuits("cancelled", self.nexus, NEXUS)
        self.send(self.nexus, cancelling, cancelled)
        operations.cancel(self.ledger, self.nexus, cancelling, now=self.clock.now)
        operations.cancel(self.ledger, self.nexus, cancelled, now=self.clock.now)
        self.report(self.nexus, cancelled, JobStatus.CANCELLED, JobStatus.CANCELLED, message="cancelled by the user")
        never_sent = self.circuits("cancelled unsent", self.nexus, NEXUS)
        operations.cancel(self.ledger, self.nexus, never_sent, now=self.clock.now)
        in_part = self.circuits("cancelled in part", self.nexus, NEXUS, n_items=3)
        operations.cancel(self.ledger, self.nexus, in_part, items=[1], now=self.clock.now)

    def endings(self) -> None:
        """Other ends: refused, out of credits, stopped by the platform; and results that are late."""
        refused = self.circuits("refused", self.nexus, NEXUS)
        self.nexus.error = SubmissionRejected("Nexus refused it", detail="422: n_shots is above the group's limit")
        with contextlib.suppress(SubmissionRejected):
            self.send(self.nexus, refused)

        depleted = self.circuits("depleted", self.nexus, NEXUS)
        self.send(self.nexus, depleted)
        missing = MissingResult(reason="no credits are left")
        self.nexus.answers[self.remote_id(depleted)] = [counted(b00=48, b11=52), missing]
        self.report(self.nexus, depleted, JobStatus.COMPLETED, JobStatus.DEPLETED, message="no credits are left")
        operations.fetch(self.ledger, self.nexus, self.ledger.job(depleted), now=self.clock.now)

        terminated = self.circuits("terminated", self.aer, "aer")
        self.send(self.aer, terminated)
        words = "the process that simulated it has ended; run the job again"
        self.report(self.aer, terminated, JobStatus.TERMINATED, JobStatus.TERMINATED, message=words)

        late = self.circuits("results are late", self.nexus, NEXUS)
        self.send(self.nexus, late)
        self.report(self.nexus, late, JobStatus.COMPLETED, JobStatus.COMPLETED)

    def troubles(self) -> None:
        """Jobs that cannot be sent or asked for, and one that a library user made without a backend's name."""
        locked_out = self.circuits("locked out", self.lab, LAB)
        self.lab.error = CredentialsRejected("nexus answered 401; log in again: qnx login")
        with contextlib.suppress(CredentialsRejected):
            self.send(self.lab, locked_out)
        parked = self.circuits("parked", self.lab, LAB)
        self.send(self.lab, parked)
        self.report(self.lab, parked, JobStatus.QUEUED, JobStatus.QUEUED, place=240)

        program = read_circuit(BELL)
        item = ItemSpec(label="bell", program=program.hash, shots=100)
        (nameless,) = operations.plan(
            self.ledger,
            self.nexus,
            [item],
            {program.hash: program},
            run="notebook",
            name="without a backend's name",
            now=self.clock.now,
        )
        self.send(self.nexus, nameless)

        batch = Batch(number=0, items=(item,), programs={program.hash: program}, kind=JobKind.HAMILTONIAN)
        estimated = JobSpec(
            key=Key("0" * 40),
            backend="nexus",
            device="H2-1LE",
            name="hamiltonian",
            batch=batch,
            kind=JobKind.HAMILTONIAN,
            run="notebook",
            project="chemistry",
            owner="somebody",
            cost_estimate=12.5,
            properties={"backend_name": NEXUS, "tags": ["a", 1, None, True, 0.5]},
        )
        self.ledger.create([estimated], now=self.clock.now())

    def pass_of_the_sensor(self) -> None:
        """One pass: it schedules what is open, parks what cannot be asked for, and tells what has happened."""
        self.clock.forward(600)
        backends = {NEXUS: self.nexus, "aer": self.aer, REST: self.rest}

        def opened(name: str) -> Provider:
            if name == LAB:
                raise CredentialsRejected("nexus answered 401; log in again: qnx login")
            if name not in backends:
                raise InvalidInput(f"there is no backend {name!r}; use aer or nexus/DEVICE", field="backend")
            return backends[name]

        sensor.sensor_pass(self.ledger, opened, now=self.clock.now, rng=random.Random(7))
        self.ledger.told(self.ledger.untold_events(before=self.clock.now()))

    def after_the_pass(self) -> None:
        """What no pass has seen yet: wishes, waits, runners, jobs that a pass holds, a submission under way."""
        self.clock.forward(60)
        wished = self.circuits("to be cancelled", self.nexus, NEXUS)
        wished_in_part = self.circuits("to be cancelled in part", self.rest, REST, n_items=3)
        self.send(self.nexus, wished)
        self.send(self.rest, wished_in_part)
        self.report(self.nexus, wished, JobStatus.QUEUED, JobStatus.QUEUED, place=30)
        self.report(self.rest, wished_in_part, JobStatus.COMPLETED, JobStatus.RUNNING, JobStatus.QUEUED)
        self.ledger.request_cancel(wished, now=self.clock.now())
        self.ledger.request_cancel(wished_in_part, items=[2], now=self.clock.now())
        words = "its device usually takes 600 s, and 90 % within 900 s"
        self.ledger.note(self.waited_for[-1], "stalled", words, now=self.clock.now())

        self.clock.forward(60)
        present = self.clock.now()
        deadline = present + timedelta(hours=48)
        self.ledger.register_wait(FIRST_RUN, self.waited_for, until="all", now=present, server=SERVER)
        self.ledger.register_wait(
            SECOND_RUN,
            [*self.waited_for, wished],
            until="any",
            now=present,
            server=SERVER,
            deadline_at=deadline,
            at_deadline=AtDeadline.CANCEL,
        )
        self.ledger.beat(THIRD_RUN, SUBMITTER, flow="run-circuits", server=SERVER, now=present)
        self.ledger.beat("", SENSOR, flow="sensor", server=SERVER, now=present)
        self.clock.forward(30)
        self.ledger.beat("", SENSOR, flow="sensor", server=SERVER, now=self.clock.now())
        self.ledger.claim_due(now=self.clock.now(), lease_s=600.0, limit=2, owner=SENSOR)

        submitting = self.circuits("submitting", self.nexus, NEXUS)
        self.claim(submitting, lease_s=300.0)


def write(url: str) -> None:
    """Write the ledger.

    Args:
        url: A database without a table, on SQLite or PostgreSQL.
    """
    clock = Clock()
    rng = random.Random(4)

    def next_id() -> uuid.UUID:
        return uuid.UUID(int=rng.getrandbits(128), version=4)

    with contextlib.ExitStack() as stack:
        for module, owner in ((submission, SUBMITTER), (sensor, SENSOR)):
            stack.enter_context(mock.patch.object(module, "lease_owner", return_value=owner))
        for operation in (operations.plan, operations.poll, operations.fetch):  # `launch` takes the clock's default
            stack.enter_context(mock.patch.dict(operation.__kwdefaults__, now=clock.now))
        stack.enter_context(mock.patch.object(sensor, "_PROVIDERS_AT_ONCE", 1))
        stack.enter_context(mock.patch.object(uuid, "uuid4", next_id))
        ledger = stack.enter_context(Ledger(url))
        if ledger.jobs(limit=1):
            sys.exit("there are jobs in it already; give an empty database")
        Story(ledger, clock).write()


def close_file(path: Path) -> None:
    """Leave one small file: no log beside it, no room in it, small pages for tables of few rows."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA page_size=1024")
        connection.execute("VACUUM")


if __name__ == "__main__":
    if schema.SCHEMA_VERSION != 4:
        sys.exit(f"this qjobs writes schema {schema.SCHEMA_VERSION}; run it with the one whose schema is 4")
    write(sys.argv[1])
    if sys.argv[1].startswith("sqlite:///"):
        close_file(Path(sys.argv[1].removeprefix("sqlite:///")))
