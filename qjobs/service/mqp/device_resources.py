"""Devices of the service as resources of the portal: what they can do, and whether they are there now."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from qjobs.service.devices import Device, DeviceKind, ResultKind
from qjobs.service.mqp import catalogue
from qjobs.service.mqp.database import JobDatabase
from qjobs.service.mqp.reasons import Reason
from qjobs.service.mqp.records import Resource

__all__ = ["Away", "DeviceResources", "instructions_of", "resource_of"]

_NAMES = {
    "PhasedX": "r",
    "noop": "id",
    "Rx": "rx",
    "Ry": "ry",
    "Rz": "rz",
    "H": "h",
    "X": "x",
    "Y": "y",
    "Z": "z",
    "CX": "cx",
    "CZ": "cz",
    "XXPhase": "rxx",
    "Measure": "measure",
}
"""Gates by the names that the portal's clients know."""
_TWO_QUBIT = frozenset({"cx", "cz", "rxx", "rzz"})


def instructions_of(device: Device) -> str:
    """Its gates as the portal writes them: `"[('r', {(0,): None, ...}), ...]"`, or None for all qubits of it."""
    gates = set(device.gate_set) or set(_NAMES)
    names = [word for gate, word in _NAMES.items() if gate in gates]
    if "ZZPhase" in gates and _TWO_QUBIT.isdisjoint(names):
        names.append("rzz")
    if "measure" not in names:
        names.append("measure")
    if device.connectivity is None:
        return str([(name, None) for name in names])
    single = {(qubit,): None for qubit in range(device.n_qubits)}
    double = {tuple(pair): None for pair in _both_ways(device.connectivity)}
    return str([(name, double if name in _TWO_QUBIT else single) for name in names])


def _both_ways(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    found = []
    for first, second in pairs:
        found += [[first, second], [second, first]]
    return found


def resource_of(device: Device, max_circuits: int, now: datetime) -> Resource:
    """What the portal knows of a device at this moment."""
    maintenance = "maintenance" in device.state
    connectivity = None if device.connectivity is None else str(_both_ways(device.connectivity))
    return Resource(
        name=device.name,
        qubits=device.n_qubits,
        online=maintenance or device.is_open(now),
        maintenance=maintenance,
        connectivity=connectivity,
        instructions=instructions_of(device),
        max_shots=device.max_shots,
        max_circuits=max_circuits,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Away:
    """Why a resource runs nothing now: a code, and words that end the sentence "the resource is ..."."""

    reason: Reason
    words: str


_OFFLINE = Away(reason=Reason.OFFLINE, words="offline")
_MAINTAINED = Away(reason=Reason.MAINTENANCE, words="in maintenance")


class DeviceResources:
    """Keeps the portal's resources as the devices are; windows of maintenance that somebody planned stay.

    A device that the device file no longer has stays as a resource that is offline.
    """

    def __init__(self, jobs: JobDatabase, devices: Iterable[Device], max_circuits: int) -> None:
        self._jobs = jobs
        self._by_name = {device.name: device for device in devices}
        self._devices = [
            device
            for device in self._by_name.values()
            if device.result is ResultKind.SHOTS and device.kind is not DeviceKind.SYNTAX_CHECKER
        ]
        self._max_circuits = max_circuits
        self._saved: dict[str, Resource] | None = None

    def save_changes(self, now: datetime) -> None:
        """Write those that are no longer as they were saved."""
        wanted = {each.name: resource_of(each, self._max_circuits, now) for each in self._devices}
        if wanted == self._saved:
            return
        stored = {each.name: each for each in catalogue.resources(self._jobs)}
        for name in stored.keys() - wanted.keys():
            if stored[name].online:
                catalogue.save_resource(self._jobs, replace(stored[name], online=False))
        for name, resource in wanted.items():
            known = stored.get(name)
            new = resource if known is None else _with_window(resource, known)
            if new != known:
                catalogue.save_resource(self._jobs, new)
        self._saved = wanted

    def away(self, name: str) -> Away | None:
        """Why a resource runs nothing now; None where it runs jobs."""
        now = self._jobs.now()
        resource = next((each for each in catalogue.resources(self._jobs) if each.name == name), None)
        device = self._by_name.get(name)
        if resource is not None and resource.in_maintenance(now):
            return _MAINTAINED
        return None if device is not None and device.is_open(now) else _OFFLINE


def _with_window(resource: Resource, known: Resource) -> Resource:
    return replace(resource, maintenance_from=known.maintenance_from, maintenance_until=known.maintenance_until)
