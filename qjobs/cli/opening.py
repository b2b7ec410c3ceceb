"""Opening the backend of a job: from the name that the ledger has of it, or from the options of the command.

`aer`, `nexus/DEVICE` and `mqp/RESOURCE` are opened here. Any other name is given to the functions in the entry-point
group `qjobs.backends`, one after the other: they take a name and return a backend, or raise `InvalidInput` where it is
not one of theirs. One that is named as the name begins (`mine` for `mine/DEVICE`) is asked alone. The package `blocks`
of this project is another; it knows the saved blocks of Prefect.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

from qjobs.backends.base import Backend
from qjobs.backends.rest import LostReply, RestBackend
from qjobs.errors import InvalidInput, WrongBackend
from qjobs.model import Job

__all__ = ["BACKENDS", "add_options", "backend_of", "check_options", "from_options", "named_in", "opened"]

BACKENDS = "qjobs.backends"
"""Entry-point group of functions from the name of a backend to the backend."""
_NEXUS = "nexus/"
_MQP = "mqp/"
_HAVE_DEVICES = frozenset({"nexus", "mqp"})
_MAX_PER_S = 50.0
"""As `blocks.nexus` has it: the most requests a second that Quantinuum is sent."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that name a backend in place of the name in the ledger."""
    parser.add_argument(
        "--backend", choices=["aer", "mqp", "nexus", "rest"], help="open this adapter instead of the job's"
    )
    parser.add_argument("--url", help="where the provider is (nexus: as NEXUS_DOMAIN and so on say; mqp: MQP_URL)")
    parser.add_argument("--device", help="the job's device (nexus, mqp)")
    parser.add_argument(
        "--name", default="", help="the name of the job's block (nexus, mqp; default: as nexus/DEVICE files its jobs)"
    )
    parser.add_argument("--project", default="qjobs", help="the project of the job's block (nexus; default qjobs)")
    parser.add_argument(
        "--lost-reply",
        choices=[str(one) for one in LostReply],
        default=str(LostReply.OPAQUE),
        help="what the provider at --url can do about a lost reply (default opaque: nothing)",
    )


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
        f"if it is a job of Nexus, give --backend nexus {device}; of the Munich Quantum Portal, --backend mqp {device}"
    )
    return given.get(job.backend, words)


@contextlib.contextmanager
def from_options(options: argparse.Namespace) -> Iterator[Backend]:
    """The backend that the options name; no connection is made before it is asked something."""
    check_options(options)
    match _adapter(options):
        case "aer":
            made: Backend = _aer()
        case "rest":
            made = RestBackend(options.url, lost_reply=LostReply(options.lost_reply))
        case "mqp":
            made = _mqp(options.device, url=options.url, name=options.name)
        case _:
            made = _nexus(options.device, url=options.url, name=options.name, project=options.project)
    with contextlib.closing(made) as backend:
        yield backend


@contextlib.contextmanager
def opened(name: str) -> Iterator[Backend]:
    """The backend of a name in the ledger or in an experiment, for as long as it is needed.

    Raises:
        InvalidInput: It names none that can be opened here; the message says what is needed.
        BackendUnavailable: What knows the name (a Prefect server) cannot be asked now.
    """
    if name == "aer":
        with contextlib.closing(_aer()) as backend:
            yield backend
    elif name.startswith(_NEXUS):
        with contextlib.closing(_nexus(name.removeprefix(_NEXUS))) as backend:
            yield backend
    elif name.startswith(_MQP):
        with contextlib.closing(_mqp(name.removeprefix(_MQP))) as backend:
            yield backend
    else:
        yield _of_others(name)  # theirs to close: they may give it to others too


def _of_others(name: str) -> Backend:
    """What an entry point opens."""
    if "/" not in name:
        raise InvalidInput(
            f"there is no backend {name!r}; use aer, nexus/DEVICE, mqp/RESOURCE, or a saved block such as "
            "rest-backend/NAME. A job of an adapter that a program of yours has made needs its options: --url URL "
            "--lost-reply KIND, or --backend nexus (or mqp) --device DEVICE",
            field="backend",
        )
    refusal: Exception | None = None
    points = entry_points(group=BACKENDS)
    first = name.partition("/")[0]
    for point in [each for each in points if each.name == first] or points:
        try:
            found: Backend = point.load()(name)
        except (InvalidInput, ImportError) as error:
            refusal = error
        else:
            return found
    if isinstance(refusal, InvalidInput):
        raise refusal
    raise InvalidInput(
        f"{name} is a saved block of Prefect, and what opens blocks is not installed here"
        f"{f' ({refusal})' if refusal else ''}: install the project qjobs with its extra prefect, in place (pip "
        "install -e '.[prefect]'), and set PREFECT_API_URL to the server that has it; or give the backend's options: "
        "--url URL --lost-reply KIND, or --backend nexus --device DEVICE",
        field="backend",
    )


def _aer() -> Any:
    from qjobs.backends.aer import AerBackend

    return AerBackend()


def _nexus(device: str, *, url: str | None = None, name: str = "", project: str = "qjobs") -> Any:
    """A device of Nexus at the address that the variables of Quantinuum's client name, if no other is given.

    Without a name, jobs are filed as `blocks` files them: those at another address than Quantinuum's own under it.
    """
    from qjobs.backends.nexus import NexusBackend
    from qjobs.backends.nexus.backend import NEXUS_URL
    from qjobs.backends.nexus.tokens import address_in_environment

    address, verify = address_in_environment()
    address = url or address
    is_own = address.rstrip("/") == NEXUS_URL
    name = name or ("nexus" if is_own else f"nexus@{address.partition('://')[2]}")
    max_per_s = _MAX_PER_S if is_own else None
    return NexusBackend(device, url=address, name=name, project=project, verify=verify, max_per_s=max_per_s)


def _mqp(resource: str, *, url: str | None = None, name: str = "") -> Any:
    """A resource of the Munich Quantum Portal, as the environment has it."""
    from qjobs.backends.mqp.environment import from_environment

    return from_environment(resource, url=url, name=name)
