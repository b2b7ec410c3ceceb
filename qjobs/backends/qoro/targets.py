"""Targets of Qoro: simulator clusters, and systems of QPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from qjobs.errors import ProtocolError
from qjobs.model import Target

__all__ = [
    "CLUSTERS",
    "DEFAULT_CLUSTER",
    "SYSTEMS",
    "QoroTarget",
    "TargetKind",
    "as_target",
    "clusters_in",
    "systems_in",
]

CLUSTERS: Final = "simulatorcluster/"
SYSTEMS: Final = "qpusystem/"
DEFAULT_CLUSTER: Final = "qoro_maestro"
"""What Qoro's own client sends to without being told; it does not look for it in the list."""


class TargetKind(StrEnum):
    """What a name stands for; the values are the fields that a job names it in."""

    CLUSTER = "simulator_cluster"
    SYSTEM = "qpu_system_name"


@dataclass(frozen=True, slots=True, kw_only=True)
class QoroTarget:
    """A target as Qoro lists it; `n_qubits` is None where it is not said, `gives_expvals` where it may or may not."""

    name: str
    kind: TargetKind
    n_qubits: int | None = None
    gives_expvals: bool | None = None


def clusters_in(body: object) -> list[QoroTarget]:
    """The simulator clusters in an answer.

    Raises:
        ProtocolError: It is not a list of named objects.
    """
    found = []
    for name, entry in _named(body):
        expvals = entry.get("supports_expval")
        found.append(
            QoroTarget(name=name, kind=TargetKind.CLUSTER, gives_expvals=expvals if type(expvals) is bool else None)
        )
    return found


def systems_in(body: object) -> list[QoroTarget]:
    """The systems of QPUs in an answer; one is as wide as its widest QPU.

    Raises:
        ProtocolError: It is not a list of named objects.
    """
    found = []
    for name, entry in _named(body):
        widths = []
        qpus = entry.get("qpus")
        for qpu in qpus if isinstance(qpus, list) else ():
            width = qpu.get("q_bits") if isinstance(qpu, Mapping) else None
            if type(width) is int and width > 0:
                widths.append(width)
        found.append(
            QoroTarget(
                name=name,
                kind=TargetKind.SYSTEM,
                n_qubits=max(widths, default=None),
                gives_expvals=entry.get("supports_expval") is True,
            )
        )
    return found


def _named(body: object) -> list[tuple[str, Mapping[str, object]]]:
    found = []
    for entry in body if isinstance(body, list) else [None]:
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if not isinstance(name, str) or not isinstance(entry, Mapping):
            raise ProtocolError("Qoro answered no list of targets with names")
        found.append((name, entry))
    return found


def as_target(target: QoroTarget) -> Target:
    """A target as a compiler sees it: Qoro compiles for the QPU itself, so any gates will do."""
    return Target(name=target.name, n_qubits=target.n_qubits)
