"""Compile circuits of the ledger: by ourselves, or by jobs that let the provider do it. Nothing here can submit.

A compile job goes through the ledger as any other job does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from qjobs.backends.base import Backend, WarmableBackend
from qjobs.compiling.compiler import CompileCache, CompileOn, CompileOptions
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import ExecuteOptions, ItemSpec, Job, JobId, JobKind, ProgramHash
from qjobs.operations.calibration import look
from qjobs.operations.compile_many import compile_many
from qjobs.operations.plan import plan
from qjobs.operations.poll import utc_now

__all__ = ["Compilation", "compile_programs", "compiled_by", "plan_compilation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """What compiled circuits there are (by the hash of what was given), and the jobs that make the others."""

    have: Mapping[ProgramHash, ProgramHash]
    job_ids: tuple[JobId, ...]


def compile_programs(
    ledger: Ledger,
    backend: Backend,
    hashes: Sequence[ProgramHash],
    options: CompileOptions,
    cache: CompileCache,
    *,
    fresh: bool = False,
    on: CompileOn = CompileOn.AUTO,
    now: Callable[[], datetime] = utc_now,
) -> dict[ProgramHash, ProgramHash]:
    """Compile circuits of the ledger and store what comes out.

    Templates keep their free symbols. `fresh` leaves the cache aside. What will run them is started meanwhile. The
    snapshot of the device that they were compiled for is recorded with them.

    Returns:
        From a given circuit's hash to its compiled circuit's.

    Raises:
        InvalidCircuit: A circuit does not fit the device.
        InvalidInput, BackendUnavailable: As `compile_many`, about the workers that were asked for.
    """
    if isinstance(backend, WarmableBackend):
        backend.warm()
    sources = ledger.programs(hashes)
    asked_at = now()
    target, snapshot = look(ledger, backend, now=asked_at)
    compiled = compile_many([sources[key] for key in hashes], target, options, cache, fresh=fresh, on=on)
    ledger.add_programs(compiled.values())
    made = [program.hash for program in compiled.values()]
    ledger.calibrations.record_compiled(backend.name, backend.device, made, snapshot.fingerprint, at=asked_at)
    return {key: program.hash for key, program in compiled.items()}


def plan_compilation(
    ledger: Ledger,
    backend: Backend,
    hashes: Sequence[ProgramHash],
    *,
    level: int,
    name: str,
    run: str,
    opened_as: str,
    identity: str | None = None,
    fresh: bool = False,
    made_on: str = "",
) -> Compilation:
    """Jobs that let the provider compile circuits of the ledger; what it compiled before is taken from the ledger.

    What it compiles now for another run, perhaps one that was killed, is waited for instead of paid for again.
    Templates keep their free symbols. `run` is who makes the jobs; `identity` is the logical run, where it is another.
    `opened_as` is the name that opens the backend again. `fresh` compiles anew what is there already. With `made_on`, a
    fingerprint of the device, no compile job counts that was sent when the device was another.

    Raises:
        InvalidInput: The backend does not compile; no job was made.
    """
    jobs = _compile_jobs(ledger, backend, level, made_on)
    have = {} if fresh else _known(ledger, backend, jobs)
    own = _asked_for(ledger, backend, jobs, run, shared=not fresh)
    wanted = [each for each in dict.fromkeys(hashes) if each not in have]
    missing = [each for each in wanted if each not in own]
    new: list[JobId] = []
    if missing:
        new = plan(
            ledger,
            backend,
            [ItemSpec(label=each, program=each, shots=0, source=each) for each in missing],
            ledger.programs(missing),
            run=run,
            identity=f"compile/{identity or run}",
            name=f"compile {name}",
            experiment=name,
            kind=JobKind.COMPILE,
            options=ExecuteOptions(level=level),
            opened_as=opened_as,
        )
    job_ids = dict.fromkeys([*(own[each] for each in wanted if each in own), *new])
    return Compilation(have={each: have[each] for each in hashes if each in have}, job_ids=tuple(job_ids))


def compiled_by(ledger: Ledger, job_ids: Sequence[JobId]) -> dict[ProgramHash, ProgramHash]:
    """From a given circuit's hash to its compiled circuit's, by compile jobs; the compiled circuits are stored.

    They count as compiled for the device as it was when their compile job was sent.
    """
    found: dict[ProgramHash, ProgramHash] = {}
    jobs = ledger.jobs(job_ids=list(job_ids))
    submissions = ledger.calibrations.submissions([job.job_id for job in jobs])
    by_id = {job.job_id: job for job in jobs}
    for job_id in job_ids:
        programs = {index: result.program for index, result in ledger.results(job_id).items() if result.program}
        ledger.add_programs(programs.values())
        if job_id in submissions:
            fingerprint, at = submissions[job_id]
            made = [program.hash for program in programs.values()]
            job = by_id[job_id]
            ledger.calibrations.record_compiled(job.backend, job.device, made, fingerprint, at=at)
        given = {item.index: item.program for item in ledger.items(job_id)}
        found.update({given[index]: program.hash for index, program in programs.items()})
    return found


def _compile_jobs(ledger: Ledger, backend: Backend, level: int, made_on: str) -> list[Job]:
    """The compile jobs of a device and a level, the newest first; with `made_on` none that was sent to another one."""
    jobs = []
    for job in ledger.jobs(kind=JobKind.COMPILE, backend=backend.name, device=backend.device):
        if job.options.level == level:
            jobs.append(job)
    if not made_on:
        return jobs
    submissions = ledger.calibrations.submissions([job.job_id for job in jobs])
    return [job for job in jobs if job.job_id not in submissions or submissions[job.job_id][0] == made_on]


def _asked_for(
    ledger: Ledger, backend: Backend, jobs: Sequence[Job], run: str, *, shared: bool
) -> dict[ProgramHash, JobId]:
    """The circuits that this run has asked for already, and by which job: entered again, it asks for none twice.

    With `shared` also those that another run has asked for and that are under way.
    """
    own: dict[ProgramHash, JobId] = {}
    others: dict[ProgramHash, JobId] = {}
    for job in jobs:
        is_open = not job.status.is_final and job.status is not JobStatus.LOST and job.cancel_requested_at is None
        is_shared = shared and is_open and job.fingerprint in {"", str(backend.fingerprint)}
        if job.run == run or is_shared:
            asked = own if job.run == run else others
            asked.update(dict.fromkeys([item.program for item in ledger.items(job.job_id)], job.job_id))
    return {**others, **own}


def _known(ledger: Ledger, backend: Backend, jobs: Sequence[Job]) -> dict[ProgramHash, ProgramHash]:
    """What the provider has compiled before, by these compile jobs."""
    done = []
    for job in reversed(jobs):
        if job.fingerprint in {"", str(backend.fingerprint)} and job.status is JobStatus.COMPLETED:
            done.append(job.job_id)
    return compiled_by(ledger, done)
