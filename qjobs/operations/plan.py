"""The library's front door: plan, submit, poll, wait, collect, cancel.

Every operation may be entered again: after a retry, a crash or a resume it finds in the ledger what
it did before and goes on from there. Only `submit` can create a remote job, and it writes its intent
before it calls and the remote id the moment it exists.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from qjobs.backends.base import Backend
from qjobs.circuits.programs import check_runs
from qjobs.errors import (
    BackendUnavailable,
    Busy,
    InvalidInput,
    JobFailed,
)
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import (
    Batch,
    ExecuteOptions,
    Item,
    ItemResult,
    ItemSpec,
    Job,
    JobId,
    JobKind,
    JobSpec,
    JsonValue,
    Program,
    ProgramHash,
)
from qjobs.operations.batching import batch_key, pack
from qjobs.operations.cancel import cancel
from qjobs.operations.poll import Progress, fetch, poll, utc_now, wait
from qjobs.operations.submit import Submission, submit

__all__ = [
    "JobResults",
    "Progress",
    "Submission",
    "cancel",
    "collect",
    "compile_item",
    "complete",
    "fetch",
    "plan",
    "poll",
    "reusable",
    "submit",
    "utc_now",
    "wait",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResults:
    """A job with its items, in submission order, and the results that there are, by item index."""

    job: Job
    items: tuple[Item, ...]
    results: Mapping[int, ItemResult]


def plan(
    ledger: Ledger,
    backend: Backend,
    items: Sequence[ItemSpec],
    programs: Mapping[ProgramHash, Program],
    *,
    run: str,
    name: str,
    identity: str | None = None,
    experiment: str = "",
    options: ExecuteOptions | None = None,
    kind: JobKind = JobKind.EXECUTE,
    project: str = "",
    owner: str = "",
    opened_as: str = "",
    definition: str = "",
    properties: Mapping[str, JsonValue] | None = None,
    now: Callable[[], datetime] = utc_now,
) -> list[JobId]:
    """Check everything, cut the items into batches, and store one job per batch. Sends nothing.

    Args:
        ledger: Where the jobs go.
        backend: Whose limits hold.
        items: What to run, in order.
        programs: The circuits that the items name, compiled for the backend.
        run: Who makes the jobs, for example a flow run's id.
        identity: The logical run, where it is another: the same identity, items and options find the same
            jobs again.
        name: Human name of the jobs; batches are numbered behind it.
        experiment: What the jobs belong to (a sweep's name).
        options: Hold for every item. A seed is derived per batch from it, so that no two batches
            draw the same random numbers.
        kind: What the provider is to do with them.
        project: The provider's project, where it has such.
        owner: Who wants it.
        opened_as: The name that opens the backend again.
        definition: Hash of what gives the results their meaning.
        properties: Kept with the jobs.
        now: The clock.

    Returns:
        Job ids, in the order of the items.

    Raises:
        InvalidInput: Something cannot be run; nothing was stored.
    """
    options = options or ExecuteOptions()
    if kind is JobKind.COMPILE and not backend.compiles:
        raise InvalidInput(
            f"{backend.name} does not compile circuits; set the compiler to qiskit or tket", field="compiler"
        )
    if options.observables and not backend.exact_expvals:
        raise InvalidInput(f"{backend.name} has no exact expectation values; ask for sampled ones", field="observables")
    if kind is JobKind.EXECUTE:
        _check_programs(items, programs, need_counts=not options.observables)
    batches = pack(items, programs, backend.limits, kind)
    specs = []
    for number, batch_items in enumerate(batches):
        batch_options = replace(options, seed=_batch_seed(options.seed, number, batch_items[0].label))
        key = batch_key(
            identity or run, number, batch_items, batch_options, backend=backend.name, device=backend.device, kind=kind
        )
        used = {item.program: programs[item.program] for item in batch_items}
        sources = {item.source for item in batch_items if item.source is not None}
        used.update({source: programs[source] for source in sources if source in programs})
        specs.append(
            JobSpec(
                key=key,
                backend=backend.name,
                device=backend.device,
                name=f"{name} {number + 1}/{len(batches)}" if len(batches) > 1 else name,
                batch=Batch(number=number, items=batch_items, programs=used, options=batch_options, kind=kind),
                kind=kind,
                experiment=experiment,
                run=run,
                project=project,
                owner=owner,
                opened_as=opened_as,
                definition=definition,
                properties=properties or {},
            )
        )
    return ledger.create(specs, now=now())


def compile_item(program: ProgramHash) -> ItemSpec:
    """An item of a compile job."""
    return ItemSpec(label=program, program=program, shots=0, source=program)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reusable:
    """What there is of an experiment already.

    `have` maps a label to the job that has it. `failed` are jobs of the asking run among them that ended without it:
    they are not sent again, because nobody has asked for that. `n_jobs` is how many jobs were looked at.
    """

    have: Mapping[str, JobId]
    failed: tuple[JobId, ...]
    n_jobs: int


def reusable(
    ledger: Ledger, *, experiment: str, definition: str, backend: Backend, run: str = "", only_own: bool = False
) -> Reusable:
    """What earlier runs of an experiment have of it: finished items, and items that are still under way.

    A run that is entered again also gets what its own jobs failed to bring, and jobs that it waits for count as its
    own: else a run that is resumed because its job failed would pay for another one.

    Args:
        ledger: Where to look.
        experiment: Its name.
        definition: Hash of what gives a result its meaning; jobs of another definition do not count.
        backend: Jobs on other backends and devices do not count.
        run: Who asks.
        only_own: Whether jobs of other runs count for nothing.

    Returns:
        For each label a finished item before one under way before one that failed, the newest first.
    """
    those = ledger.jobs(
        experiment=experiment, backend=backend.name, device=backend.device, run=run if only_own else None
    )
    jobs = [job for job in those if job.definition == definition]
    waited_for = {job_id for wait in ledger.waits.runs(flow_run_id=run) for job_id in wait.job_ids} if run else set()
    finished: dict[str, JobId] = {}
    under_way: dict[str, JobId] = {}
    failed: dict[str, JobId] = {}
    for job in jobs:
        for label, has_result in ledger.labels(job.job_id).items():
            if has_result:
                finished.setdefault(label, job.job_id)
            elif not job.status.is_final:
                under_way.setdefault(label, job.job_id)
            elif job.run == run or job.job_id in waited_for:
                failed.setdefault(label, job.job_id)
    have = {**failed, **under_way, **finished}
    lost = dict.fromkeys(job_id for label, job_id in failed.items() if have[label] == job_id)
    return Reusable(have=have, failed=tuple(lost), n_jobs=len(jobs))


def _check_programs(items: Sequence[ItemSpec], programs: Mapping[ProgramHash, Program], *, need_counts: bool) -> None:
    checked: set[tuple[ProgramHash, frozenset[str]]] = set()
    for item in items:
        if bad := [name for name, value in item.parameters if not math.isfinite(value)]:
            raise InvalidInput(f"{item.label}: the parameter {bad[0]} is not a finite number", field="parameters")
        names = frozenset(name for name, _ in item.parameters)
        if (item.program, names) not in checked:
            check_runs(programs[item.program], need_counts=need_counts, parameters=names)
            checked.add((item.program, names))


def _batch_seed(seed: int | None, number: int, label: str) -> int | None:
    if seed is None:
        return None
    digest = hashlib.sha256(f"{seed}/{number}/{label}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def complete(ledger: Ledger, backend: Backend, job_id: JobId, *, now: Callable[[], datetime] = utc_now) -> int:
    """Make sure that the ledger has every result of a final job; fetch what is missing there.

    Args:
        ledger: Where the job is.
        backend: Where missing results are asked for.
        job_id: Which.
        now: The clock.

    Returns:
        How many items have a result: all of them.

    Raises:
        JobFailed: Items ended without a result; all others are stored and kept.
        BackendUnavailable: The results cannot be read now, or are not there yet; enter again.
        Busy: The job is not final.
    """
    job = ledger.job(job_id)
    if not job.status.is_final:
        raise Busy(f"{job_id} is {job.status}; wait for it first", job_id=job_id)
    reasons = fetch(ledger, backend, job, now=now)
    if not reasons:
        return job.n_items
    items = {item.index: item for item in ledger.items(job_id) if item.index in reasons}
    late = [item.label for item in items.values() if item.status is JobStatus.COMPLETED]
    if late:
        raise BackendUnavailable(f"{len(late)} items of {job_id} are COMPLETED and their results are not there yet")
    failed = {index: item.message or reasons[index] for index, item in items.items()}
    first = next(iter(failed))
    raise JobFailed(
        f"{len(failed)} of {job.n_items} items of {job_id} on {job.device} have no result; the first is "
        f"{items[first].label} ({items[first].status}): {failed[first] or 'no reason given'}",
        job_id=job_id,
        status=job.status,
        failed=failed,
    )


def collect(
    ledger: Ledger,
    backend: Backend | None,
    job_id: JobId,
    *,
    partial: bool = False,
    now: Callable[[], datetime] = utc_now,
) -> JobResults:
    """The results of a job, read from the ledger after asking the backend for what is missing there.

    Args:
        ledger: Where the job is.
        backend: Where missing results are asked for; None takes what is stored.
        job_id: Which.
        partial: Return what there is, of a failed or unfinished job too, and raise nothing for it.
        now: The clock.

    Raises:
        JobFailed, BackendUnavailable, Busy: As `complete`, unless `partial`.
    """
    if not partial and backend is not None:
        complete(ledger, backend, job_id, now=now)
    elif backend is not None:
        fetch(ledger, backend, ledger.job(job_id), now=now)
    return JobResults(job=ledger.job(job_id), items=tuple(ledger.items(job_id)), results=ledger.results(job_id))
