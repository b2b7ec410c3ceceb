"""`qjobs jobs retry`, `rerun`, `cancel`, `adopt` and `discard`; `qjobs reconcile` and `orphans`.

A job's backend is opened from the options of the command: `--backend aer`; `--url` for a provider behind the
reference REST interface; `--backend nexus --device DEVICE` for Quantinuum Nexus, or for the service that the
variables NEXUS_DOMAIN and so on name. A further adapter is one more entry of `_open`.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from qjobs.backends.aer import AerBackend
from qjobs.backends.base import Backend
from qjobs.backends.nexus import NexusBackend
from qjobs.backends.nexus.tokens import address_in_environment
from qjobs.backends.rest import RestBackend
from qjobs.cli.jobs import chosen, find_job, print_json, print_table
from qjobs.errors import InvalidInput
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Job, LostReply, RemoteId, RemoteRetryStrategy
from qjobs.operations import recover as recovery
from qjobs.operations.cancel import cancel
from qjobs.paths import ledger_url


def add_job_commands(jobs: Any, shared: argparse.ArgumentParser) -> None:
    """Put the commands about one job under `qjobs jobs`."""
    where = _where()
    retry = jobs.add_parser("retry", parents=[shared, where], help="retry a job's items without a result")
    retry.add_argument("job_id", help="the job's id, or an unambiguous beginning of it")
    retry.add_argument("--status", action="append", help="items of this status (default ERROR); may be repeated")
    retry.add_argument("--strategy", default="DEFAULT", help=f"one of {', '.join(RemoteRetryStrategy)}")
    retry.set_defaults(call=_retry)
    rerun = jobs.add_parser("rerun", parents=[shared], help="a new job of the same definition; sends nothing")
    rerun.add_argument("job_id", help="the job's id, or an unambiguous beginning of it")
    rerun.add_argument("name", help="name of the new job")
    rerun.set_defaults(call=_rerun)
    ends = jobs.add_parser("cancel", parents=[shared, where], help="ask for cancellation of a job")
    ends.add_argument("job_id", help="the job's id, or an unambiguous beginning of it")
    ends.add_argument("--item", type=int, action="append", help="only this item, from 0; may be repeated")
    ends.set_defaults(call=_cancel)
    adopt = jobs.add_parser("adopt", parents=[shared, where], help="say which remote job an UNKNOWN job is")
    adopt.add_argument("job_id", help="the job's id, or an unambiguous beginning of it")
    adopt.add_argument("remote_id", help="the provider's id")
    adopt.set_defaults(call=_adopt)
    discard = jobs.add_parser("discard", parents=[shared], help="say that an UNKNOWN job has no remote job")
    discard.add_argument("job_id", help="the job's id, or an unambiguous beginning of it")
    discard.set_defaults(call=_discard)


def add_commands(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Put the commands about all jobs under `qjobs`."""
    where = _where()
    settle = commands.add_parser("reconcile", parents=[shared, where], help="settle jobs whose fate is unknown")
    settle.set_defaults(call=_reconcile)
    lost = commands.add_parser("orphans", parents=[shared, where], help="remote jobs with our keys that no job claims")
    lost.set_defaults(call=_orphans)


def _where() -> argparse.ArgumentParser:
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--backend", choices=["aer", "nexus", "rest"], help="which adapter (default: rest with --url, else aer)"
    )
    where.add_argument("--url", help="where the provider of rest or nexus is (nexus: as NEXUS_DOMAIN and so on say)")
    where.add_argument("--device", help="the job's device (nexus)")
    where.add_argument("--name", default="nexus", help="the name of the job's block (nexus; default nexus)")
    where.add_argument("--project", default="qjobs", help="the project of the job's block (nexus; default qjobs)")
    where.add_argument(
        "--lost-reply",
        choices=[str(one) for one in LostReply],
        default=str(LostReply.OPAQUE),
        help="what that provider can do about a lost reply (default opaque: nothing)",
    )
    return where


@contextlib.contextmanager
def _open(options: argparse.Namespace) -> Iterator[Backend]:
    """The backend that the options name; no connection is made before it is asked something."""
    name = options.backend or ("rest" if options.url else "aer")
    if name != "nexus" and (name == "rest") != bool(options.url):
        raise InvalidInput("--backend rest and --url URL belong together", field="url")
    if (name == "nexus") != bool(options.device):
        raise InvalidInput("--backend nexus and --device DEVICE belong together", field="device")
    make: dict[str, Callable[[], Backend]] = {
        "aer": AerBackend,
        "nexus": lambda: _open_nexus(options),
        "rest": lambda: RestBackend(options.url, lost_reply=LostReply(options.lost_reply)),
    }
    with contextlib.closing(make[name]()) as backend:
        yield backend


def _open_nexus(options: argparse.Namespace) -> NexusBackend:
    url, verify = address_in_environment()
    return NexusBackend(
        options.device, url=options.url or url, name=options.name, project=options.project, verify=verify
    )


def _check(job: Job, backend: Backend) -> None:
    """Refuse a backend that is not the job's own: it would answer for other jobs."""
    if (job.backend, job.device) == (backend.name, backend.device):
        return
    hint = {"rest": "give --url URL --lost-reply KIND", "aer": "give --backend aer"}.get(
        job.backend, f"if it is a job of Nexus, give --backend nexus --device {job.device} --name {job.backend}"
    )
    raise InvalidInput(
        f"{job.job_id} is on {job.backend} ({job.device}), and {backend.name} ({backend.device}) was opened; {hint}",
        field="backend",
    )


def _retry(options: argparse.Namespace) -> int:
    strategy = chosen(RemoteRetryStrategy, options.strategy, field="strategy")
    statuses = [chosen(JobStatus, word, field="status") for word in options.status or ["ERROR"]]
    with Ledger(ledger_url(options.ledger)) as ledger, _open(options) as backend:
        job = find_job(ledger, options.job_id)
        _check(job, backend)
        done = recovery.retry(ledger, backend, job.job_id, statuses=statuses, strategy=strategy)
    if options.json:
        print_json(asdict(done))
    else:
        print(f"{done.job_id}: {done.action}, because {done.reason}; it is {done.status} as {done.remote_id or '-'}")
    return 0


def _rerun(options: argparse.Namespace) -> int:
    with Ledger(ledger_url(options.ledger)) as ledger:
        old = find_job(ledger, options.job_id)
        new = ledger.job(recovery.rerun(ledger, old.job_id, options.name))
    return _say_job(new, options)


def _cancel(options: argparse.Namespace) -> int:
    with Ledger(ledger_url(options.ledger)) as ledger, _open(options) as backend:
        job = find_job(ledger, options.job_id)
        _check(job, backend)
        job = cancel(ledger, backend, job.job_id, items=options.item)
    return _say_job(job, options)


def _adopt(options: argparse.Namespace) -> int:
    with Ledger(ledger_url(options.ledger)) as ledger, _open(options) as backend:
        job = find_job(ledger, options.job_id)
        _check(job, backend)
        job = recovery.adopt(ledger, backend, job.job_id, RemoteId(options.remote_id))
    return _say_job(job, options)


def _discard(options: argparse.Namespace) -> int:
    with Ledger(ledger_url(options.ledger)) as ledger:
        job = recovery.discard(ledger, find_job(ledger, options.job_id).job_id)
    return _say_job(job, options)


def _say_job(job: Job, options: argparse.Namespace) -> int:
    if options.json:
        print_json(asdict(job))
        return 0
    wish = "" if job.cancel_requested_at is None or job.status.is_final else "; its cancellation is asked for"
    print(f"{job.job_id} ({job.name}): {job.status}{wish}")
    return 0


def _reconcile(options: argparse.Namespace) -> int:
    """Exit code 1 where a person has something to decide, or the provider could not be asked."""
    with Ledger(ledger_url(options.ledger)) as ledger, _open(options) as backend:
        mine = [job.job_id for job in ledger.open_jobs() if (job.backend, job.device) == (backend.name, backend.device)]
        settled = recovery.reconcile(ledger, {backend.name: backend}, job_ids=mine)
    if options.json:
        print_json([asdict(one) for one in settled])
    else:
        print_table(["job", "finding", "what to do"], [[one.job_id, one.finding, one.words] for one in settled])
    return 1 if any(one.finding is not recovery.Finding.ADOPTED for one in settled) else 0


def _orphans(options: argparse.Namespace) -> int:
    with Ledger(ledger_url(options.ledger)) as ledger, _open(options) as backend:
        found = recovery.orphans(ledger, backend)
    if options.json:
        print_json([asdict(one) for one in found])
    else:
        print_table(["remote id", "key", "items"], [[one.remote_id, one.key, one.n_items] for one in found])
    return 0
