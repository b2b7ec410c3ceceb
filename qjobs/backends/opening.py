"""Opening a backend by its name, in an experiment or in the ledger.

`aer`, `aer/NOISE`, `nexus/DEVICE`, `mqp/RESOURCE` and `qoro/TARGET` are opened here. Any other name is given to the
functions in the entry-point group `qjobs.backends`, one after the other: they take a name and return a backend, or
raise `InvalidInput` where it is not one of theirs. One that is named as the name begins (`mine` for `mine/DEVICE`) is
asked alone. The package `blocks` of this project is another; it knows the saved blocks of Prefect.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.metadata import entry_points

from qjobs.backends.base import Backend
from qjobs.errors import InvalidInput
from qjobs.redaction import without_userinfo

__all__ = ["BACKENDS", "open_aer", "open_mqp", "open_nexus", "open_qoro", "opened"]

BACKENDS = "qjobs.backends"
"""Entry-point group of functions from the name of a backend to the backend."""
_AER = "aer/"
_NEXUS = "nexus/"
_MQP = "mqp/"
_QORO = "qoro/"
_MAX_PER_S = 50.0
"""As `blocks.nexus` has it: the most requests a second that Quantinuum is sent."""


@contextlib.contextmanager
def opened(name: str) -> Iterator[Backend]:
    """The backend of a name in the ledger or in an experiment, for as long as it is needed.

    Raises:
        InvalidInput: It names none that can be opened here; the message says what is needed.
        BackendUnavailable: What knows the name (a Prefect server) cannot be asked now.
    """
    check_name(name)
    if name == "aer":
        with contextlib.closing(open_aer()) as backend:
            yield backend
    elif name.startswith(_AER):
        with contextlib.closing(open_aer(name.removeprefix(_AER))) as backend:
            yield backend
    elif name.startswith(_NEXUS):
        with contextlib.closing(open_nexus(name.removeprefix(_NEXUS))) as backend:
            yield backend
    elif name.startswith(_MQP):
        with contextlib.closing(open_mqp(name.removeprefix(_MQP))) as backend:
            yield backend
    elif name.startswith(_QORO):
        with contextlib.closing(open_qoro(name.removeprefix(_QORO))) as backend:
            yield backend
    else:
        yield _of_others(name)  # theirs to close: they may give it to others too


def check_name(name: str) -> None:
    """Refuse the name of a backend that ends where a device should follow.

    Raises:
        InvalidInput: It does.
    """
    if name in {_NEXUS, _MQP, _QORO}:
        raise InvalidInput(f"the backend {name!r} names no device; give one, as in {name}NAME", field="backend")


def _of_others(name: str) -> Backend:
    """What an entry point opens."""
    if "/" not in name:
        raise InvalidInput(
            f"there is no backend {name!r}; use aer, aer/NOISE, nexus/DEVICE, mqp/RESOURCE, qoro/TARGET, or a saved "
            "block such as rest-backend/NAME. A job of an adapter that a program of yours has made needs its options: "
            "--url URL --lost-reply KIND, or --backend nexus (or mqp, or qoro) --device DEVICE",
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


def open_aer(noise: str | None = None) -> Backend:
    """The simulator in this process, with the noise that is named as in `t1_us=80/t2_us=60`.

    Raises:
        InvalidInput: That is no noise.
    """
    from qjobs.backends.aer import AerBackend
    from qjobs.backends.aer.named import noise_named

    return AerBackend(noise=None if noise is None else noise_named(noise))


def open_nexus(device: str, *, url: str | None = None, name: str = "", project: str = "qjobs") -> Backend:
    """A device of Nexus at the address that the variables of Quantinuum's client name, if no other is given.

    Without a name, jobs are filed as `blocks` files them: those at another address than Quantinuum's own under it.
    """
    from qjobs.backends.nexus import NexusBackend
    from qjobs.backends.nexus.backend import NEXUS_URL
    from qjobs.backends.nexus.tokens import address_in_environment

    address, verify = address_in_environment(url)
    is_own = address.rstrip("/") == NEXUS_URL
    name = name or ("nexus" if is_own else f"nexus@{without_userinfo(address).partition('://')[2]}")
    max_per_s = _MAX_PER_S if is_own else None
    return NexusBackend(device, url=address, name=name, project=project, verify=verify, max_per_s=max_per_s)


def open_mqp(resource: str, *, url: str | None = None, name: str = "") -> Backend:
    """A resource of the Munich Quantum Portal, as the environment has it."""
    from qjobs.backends.mqp.environment import from_environment

    return from_environment(resource, url=url, name=name)


def open_qoro(target: str, *, url: str | None = None, name: str = "") -> Backend:
    """A simulator cluster or a system of QPUs of Qoro, as the environment has it."""
    from qjobs.backends.qoro.environment import from_environment

    return from_environment(target, url=url, name=name)
