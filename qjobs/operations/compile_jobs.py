"""The compile stage at a provider: a compile job goes through the ledger as any other job does. Sends nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from qjobs.backends.base import Backend
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import ExecuteOptions, JobId, JobKind, ProgramHash
from qjobs.operations import plan as operations

__all__ = ["Compilation", "compiled_by", "plan_compilation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """What compiled circuits there are (by the hash of what was given), and the jobs that make the others."""

    have: Mapping[ProgramHash, ProgramHash]
    job_ids: tuple[JobId, ...]


def plan_compilation(
    store: Ledger,
    backend: Backend,
    hashes: Sequence[ProgramHash],
    *,
    level: int,
    name: str,
    run: str,
    backend_name: str,
    identity: str | None = None,
    fresh: bool = False,
) -> Compilation:
    """Jobs that let the provider compile circuits of the ledger; what it compiled before is taken from the ledger.

    Args:
        store: Where the circuits are.
        backend: Who compiles.
        hashes: Which circuits; templates keep their free symbols.
        level: How hard the provider's compiler tries.
        name: Name of what they are for.
        run: Who makes the jobs.
        backend_name: The backend's name in the flow's parameters.
        identity: The logical run, where it is another.
        fresh: Compile anew what is there already.

    Raises:
        InvalidInput: The backend does not compile; no job was made.
    """
    have = {} if fresh else _known(store, backend, level)
    own = _asked_for(store, backend, level, run)
    wanted = [each for each in dict.fromkeys(hashes) if each not in have]
    missing = [each for each in wanted if each not in own]
    new: list[JobId] = []
    if missing:
        new = operations.plan(
            store,
            backend,
            [operations.compile_item(each) for each in missing],
            store.programs(missing),
            run=run,
            identity=f"compile/{identity or run}",
            name=f"compile {name}",
            experiment=name,
            kind=JobKind.COMPILE,
            options=ExecuteOptions(level=level),
            opened_as=backend_name,
        )
    job_ids = dict.fromkeys([*(own[each] for each in wanted if each in own), *new])
    return Compilation(have={each: have[each] for each in hashes if each in have}, job_ids=tuple(job_ids))


def compiled_by(store: Ledger, job_ids: Iterable[JobId]) -> dict[ProgramHash, ProgramHash]:
    """From a given circuit's hash to its compiled circuit's, by compile jobs; the compiled circuits are stored."""
    found: dict[ProgramHash, ProgramHash] = {}
    for job_id in job_ids:
        programs = {index: result.program for index, result in store.results(job_id).items() if result.program}
        store.add_programs(programs.values())
        given = {item.index: item.program for item in store.items(job_id)}
        found.update({given[index]: program.hash for index, program in programs.items()})
    return found


def _asked_for(store: Ledger, backend: Backend, level: int, run: str) -> dict[ProgramHash, JobId]:
    """The circuits that this run has asked for already, and by which job: entered again, it asks for none twice."""
    jobs = store.jobs(kind=JobKind.COMPILE, backend=backend.name, device=backend.device, run=run)
    return {item.program: job.job_id for job in jobs if job.options.level == level for item in store.items(job.job_id)}


def _known(store: Ledger, backend: Backend, level: int) -> dict[ProgramHash, ProgramHash]:
    done = store.jobs(kind=JobKind.COMPILE, backend=backend.name, device=backend.device, statuses=[JobStatus.COMPLETED])
    return compiled_by(store, [job.job_id for job in reversed(done) if job.options.level == level])
