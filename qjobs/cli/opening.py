"""Opening the backend of a job: from the name that the ledger has of it, or from the options of the command."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from qjobs.backends.base import Backend
from qjobs.backends.opening import BACKENDS, open_aer, open_mqp, open_nexus, open_qoro, opened
from qjobs.cli.options import Where
from qjobs.errors import InvalidInput, WrongBackend
from qjobs.model import Job

__all__ = ["BACKENDS", "backend_of", "check_options", "from_options", "named_in", "opened"]

_HAVE_DEVICES = frozenset({"nexus", "mqp", "qoro"})


def named_in(where: Where) -> bool:
    """Whether the options name a backend."""
    return bool(where.backend or where.url or where.device)


def check_options(where: Where) -> None:
    """Refuse options that do not belong together, before anything is read.

    Raises:
        InvalidInput: They name no adapter, or not all that it needs.
    """
    if not named_in(where):
        return
    name = _adapter(where)
    if name not in _HAVE_DEVICES and (name == "rest") != bool(where.url):
        raise InvalidInput("--backend rest and --url URL belong together", field="url")
    if (name in _HAVE_DEVICES) != bool(where.device):
        adapter = name if name in _HAVE_DEVICES else "nexus"
        raise InvalidInput(f"--backend {adapter} and --device DEVICE belong together", field="device")


def _adapter(where: Where) -> str:
    if where.backend:
        return str(where.backend)
    return "rest" if where.url else "aer"


@contextlib.contextmanager
def backend_of(job: Job, where: Where) -> Iterator[Backend]:
    """A job's backend: as the options name it, or by the name that it was planned with.

    Raises:
        InvalidInput: The name cannot be opened here, or the options name another backend than the job's.
        WrongBackend: The name opens another backend today than the one that the job was planned for.
    """
    with from_options(where) if named_in(where) else opened(job.opened_as) as backend:
        if (job.backend, job.device) != (backend.name, backend.device):
            words = f"{job.job_id} is on {job.backend} ({job.device}), and "
            there = f"{backend.name} ({backend.device})"
            if named_in(where):
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
def from_options(where: Where) -> Iterator[Backend]:
    """The backend that the options name; no connection is made before it is asked something."""
    check_options(where)
    match _adapter(where):
        case "aer":
            made: Backend = open_aer()
        case "rest":
            from qjobs.backends.rest import LostReply, RestBackend  # with it comes an HTTP client

            made = RestBackend(where.url or "", lost_reply=LostReply(where.lost_reply))
        case "mqp":
            made = open_mqp(where.device or "", url=where.url, name=where.name)
        case "qoro":
            made = open_qoro(where.device or "", url=where.url, name=where.name)
        case _:
            made = open_nexus(where.device or "", url=where.url, name=where.name, project=where.project)
    with contextlib.closing(made) as backend:
        yield backend
