"""Opening the backend of a job: from the name that the ledger has of it, or from the options of the command."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator

from qjobs.backends.base import Backend
from qjobs.backends.opening import BACKENDS, open_aer, open_mqp, open_nexus, open_qoro, opened
from qjobs.errors import InvalidInput, WrongBackend
from qjobs.model import Job

__all__ = ["BACKENDS", "backend_of", "check_options", "from_options", "named_in", "opened"]

_HAVE_DEVICES = frozenset({"nexus", "mqp", "qoro"})


def named_in(options: argparse.Namespace) -> bool:
    """Whether the options name a backend."""
    return bool(options.backend or options.url or options.device)


def check_options(options: argparse.Namespace) -> None:
    """Refuse options that do not belong together, before anything is read.

    Raises:
        InvalidInput: They name no adapter, or not all that it needs.
    """
    if not named_in(options):
        return
    name = _adapter(options)
    if name not in _HAVE_DEVICES and (name == "rest") != bool(options.url):
        raise InvalidInput("--backend rest and --url URL belong together", field="url")
    if (name in _HAVE_DEVICES) != bool(options.device):
        adapter = name if name in _HAVE_DEVICES else "nexus"
        raise InvalidInput(f"--backend {adapter} and --device DEVICE belong together", field="device")


def _adapter(options: argparse.Namespace) -> str:
    if options.backend:
        return str(options.backend)
    return "rest" if options.url else "aer"


@contextlib.contextmanager
def backend_of(job: Job, options: argparse.Namespace) -> Iterator[Backend]:
    """A job's backend: as the options name it, or by the name that it was planned with.

    Raises:
        InvalidInput: The name cannot be opened here, or the options name another backend than the job's.
        WrongBackend: The name opens another backend today than the one that the job was planned for.
    """
    with from_options(options) if named_in(options) else opened(job.opened_as) as backend:
        if (job.backend, job.device) != (backend.name, backend.device):
            words = f"{job.job_id} is on {job.backend} ({job.device}), and "
            there = f"{backend.name} ({backend.device})"
            if named_in(options):
                raise InvalidInput(f"{words}{there} was opened; {_hint(job)}", field="backend")
            raise WrongBackend(
                f"{words}{job.opened_as} is {there} now; change it back, or: {_hint(job)}", job_id=job.job_id
            )
        yield backend


def _hint(job: Job) -> str:
    given = {"rest": "give --url URL --lost-reply KIND", "aer": "give --backend aer"}
    device = f"--device {job.device} --name {job.backend}"
    words = (
        f"if it is a job of Nexus, give --backend nexus {device}; of the Munich Quantum Portal, --backend mqp "
        f"{device}; of Qoro, --backend qoro {device}"
    )
    return given.get(job.backend, words)


@contextlib.contextmanager
def from_options(options: argparse.Namespace) -> Iterator[Backend]:
    """The backend that the options name; no connection is made before it is asked something."""
    check_options(options)
    match _adapter(options):
        case "aer":
            made: Backend = open_aer()
        case "rest":
            from qjobs.backends.rest import LostReply, RestBackend  # with it comes an HTTP client

            made = RestBackend(options.url, lost_reply=LostReply(options.lost_reply))
        case "mqp":
            made = open_mqp(options.device, url=options.url, name=options.name)
        case "qoro":
            made = open_qoro(options.device, url=options.url, name=options.name)
        case _:
            made = open_nexus(options.device, url=options.url, name=options.name, project=options.project)
    with contextlib.closing(made) as backend:
        yield backend
