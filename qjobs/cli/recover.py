"""`qjobs jobs retry`, `rerun`, `cancel`, `adopt` and `discard`; `qjobs reconcile` and `orphans`.

A job's backend is opened by the name that the ledger has of it, so that these commands work as messages print them.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta

from qjobs.backends.base import Backend, Capability
from qjobs.cli.caps import check_caps_given, policy_of
from qjobs.cli.naming import find_job
from qjobs.cli.opening import backend_of, check_options, from_options, named_in, opened
from qjobs.cli.options import Caps, Shared, Where
from qjobs.cli.tables import print_json, print_table, short
from qjobs.errors import InvalidInput, QJobsError
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Job, ProgramHash, RemoteId, RemoteRetryStrategy
from qjobs.operations import recover as recovery
from qjobs.operations.cancel import cancel
from qjobs.operations.poll import utc_now
from qjobs.operations.retry import Action
from qjobs.operations.wait import wait
from qjobs.paths import data_home

_SENT = frozenset({Action.SUBMIT, Action.RESTART, Action.RESUME})
_LATELY = timedelta(days=30)
"""Backends of jobs that are younger are looked at too when nothing is named."""


def retry_job(
    given: str,
    shared: Shared,
    where: Where,
    caps: Caps,
    *,
    statuses: Sequence[JobStatus] | None,
    strategy: RemoteRetryStrategy,
) -> int:
    """Retry a job's items without a result."""
    check_caps_given(caps)
    with _job_and_backend(given, shared, where) as (ledger, job, backend):
        programs = _recompiled(ledger, backend, job) if strategy is RemoteRetryStrategy.FULL_RESTART else {}
        done = recovery.retry(
            ledger,
            backend,
            job.job_id,
            statuses=statuses or None,
            strategy=strategy,
            policy=policy_of(caps, backend),
            programs=programs,
        )
        status = done.status
        if done.action in _SENT and Capability.DURABLE not in backend.capabilities:  # it ends with this process
            status = wait(ledger, {backend.name: backend}, [job.job_id])[job.job_id]
    if shared.as_json:
        print_json({**asdict(done), "status": status})
    else:
        print(f"{done.job_id}: {done.action}, because {done.reason}; it is {status} as {done.remote_id or '-'}")
    return 0


@contextlib.contextmanager
def _job_and_backend(given: str, shared: Shared, where: Where) -> Iterator[tuple[Ledger, Job, Backend]]:
    """The ledger, the job that a command is about, and its backend."""
    check_options(where)
    with Ledger(shared.url) as ledger:
        job = find_job(ledger, given, acts=True)
        with backend_of(job, where) as backend:
            yield ledger, job, backend


def _recompiled(ledger: Ledger, backend: Backend, job: Job) -> dict[ProgramHash, ProgramHash]:
    """Compile the circuits of a job anew, as they were compiled; from the program that was sent to the new one.

    Raises:
        InvalidInput: The provider compiled them, in a job of its own.
    """
    if not job.compiled_with:
        return {}
    from qjobs.compiling.compiler import CompileCache, CompileOptions, Compiler  # with it comes qiskit
    from qjobs.operations.compile_jobs import compile_programs

    compile_options = CompileOptions.from_json(job.compiled_with)
    if compile_options.compiler is Compiler.REMOTE:
        raise InvalidInput(
            f"the circuits of {job.job_id} were compiled by {job.backend} in a job of its own, which this command does "
            f"not make again; go on with the run of {job.experiment} instead: python -m flows.run_circuits FILE "
            f"--logical-run {job.logical_run} --strategy FULL_RESTART; or, for a sweep: python -m flows.sweep FILE "
            "--strategy FULL_RESTART",
            field="strategy",
        )
    sources = {source: sent for source, sent, _ in ledger.program_pairs(job.job_id) if source is not None}
    cache = CompileCache(data_home() / "compiled")
    compiled = compile_programs(ledger, backend, list(sources), compile_options, cache, fresh=True)
    return {sent: compiled[source] for source, sent in sources.items()}


def rerun_job(given: str, name: str, shared: Shared) -> int:
    """Make a new job of the same definition; sends nothing."""
    with Ledger(shared.url) as ledger:
        old = find_job(ledger, given)
        new = ledger.job(recovery.rerun(ledger, old.job_id, name))
    return _say_job(new, shared)


def cancel_job(given: str, shared: Shared, where: Where, *, items: Sequence[int] | None) -> int:
    """Ask for the cancellation of a job, or of some of its items."""
    check_options(where)
    with Ledger(shared.url) as ledger:
        job = find_job(ledger, given, acts=True)
        if not items and not named_in(where):  # first: a backend that cannot be opened must not keep it
            ledger.request_cancel(job.job_id, now=utc_now())
        with backend_of(job, where) as backend:
            job = cancel(ledger, backend, job.job_id, items=items or None)
    return _say_job(job, shared)


def adopt_job(given: str, remote_id: str, shared: Shared, where: Where) -> int:
    """Say which remote job an UNKNOWN job is."""
    with _job_and_backend(given, shared, where) as (ledger, job, backend):
        adopted = recovery.adopt(ledger, backend, job.job_id, RemoteId(remote_id))
    return _say_job(adopted, shared)


def discard_job(given: str, shared: Shared) -> int:
    """Say that an UNKNOWN job has no remote job."""
    with Ledger(shared.url) as ledger:
        job = recovery.discard(ledger, find_job(ledger, given, acts=True).job_id)
    return _say_job(job, shared)


def _say_job(job: Job, shared: Shared) -> int:
    if shared.as_json:
        print_json(asdict(job))
        return 0
    wish = "" if job.cancel_requested_at is None or job.status.is_final else "; its cancellation is asked for"
    print(f"{job.job_id} ({job.name}): {job.status}{wish}")
    return 0


def reconcile(shared: Shared, where: Where) -> int:
    """Settle jobs whose fate is unknown.

    Exit code 1 where a person has something to decide, or a provider could not be asked.
    """
    settled: list[recovery.Reconciled] = []

    def settle(ledger: Ledger, backend: Backend) -> None:
        mine = [job.job_id for job in ledger.jobs(backend=backend.name, device=backend.device)]
        settled.extend(recovery.reconcile(ledger, {backend.name: backend}, job_ids=mine))

    failed = _at_each_backend(shared, where, settle)
    if shared.as_json:
        print_json([asdict(one) for one in settled])
    else:
        rows = [[short(one.job_id), one.finding, one.words] for one in settled]
        print_table(["job", "finding", "what to do"], rows, empty="no job is in doubt")
    return 1 if failed or any(one.finding is not recovery.Finding.ADOPTED for one in settled) else 0


def orphans(shared: Shared, where: Where) -> int:
    """List remote jobs with our keys that no job claims; exit code 1 where a provider could not be asked."""
    found = []
    failed = _at_each_backend(shared, where, lambda ledger, backend: found.extend(recovery.orphans(ledger, backend)))
    if shared.as_json:
        print_json([asdict(one) for one in found])
    else:
        rows = [[one.remote_id, one.key, one.n_items] for one in found]
        print_table(["remote id", "key", "items"], rows, empty="every remote job with a key of ours is claimed")
    return 1 if failed else 0


def _at_each_backend(shared: Shared, where: Where, act: Callable[[Ledger, Backend], None]) -> bool:
    """Do something at the backend that is named, or at each one that the ledger's jobs are at.

    Returns:
        Whether it failed at one where jobs are open; what went wrong is said.

    Raises:
        QJobsError: It failed at the backend that is named.
    """
    check_options(where)
    failed = False
    with Ledger(shared.url) as ledger:
        if named_in(where):
            with from_options(where) as backend:
                act(ledger, backend)
            return False
        open_names = {job.opened_as for job in ledger.open_jobs()}
        since = utc_now() - _LATELY
        lately = {job.opened_as for job in ledger.jobs() if job.created_at > since}
        for name in sorted(open_names | lately):
            try:
                with opened(name) as backend:
                    act(ledger, backend)
            except QJobsError as error:
                failed |= name in open_names
                print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
    return failed
