"""Devices of the service as targets of Qoro: simulator clusters, and QPU systems (docs/qoro-service.md, "Targets")."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from qjobs.service.devices import Device, DeviceKind, DeviceNoise, Devices, ResultKind
from qjobs.service.errors import BadRequest
from qjobs.service.qoro.request_bodies import InitBody, JobType

__all__ = ["DEFAULT_CLUSTER", "cluster_bodies", "gives_expectations", "system_bodies", "target_of"]

DEFAULT_CLUSTER = "qoro_maestro"
"""The cluster that Divi takes where its user names none; here another name of the first cluster."""

_CLUSTER = {"access_level": "PUBLIC", "minimum_tier": "FREE", "supports_expval": True}


def gives_expectations(device: Device) -> bool:
    """Whether it is a simulator cluster: hosted here, without noise, and for every circuit.

    Divi 0.13 asks every cluster for expectation values, and no QPU system, whatever it is told.
    """
    hosted = device.kind is DeviceKind.NEXUS_HOSTED and device.result is ResultKind.SHOTS
    return hosted and device.noise == DeviceNoise() and not device.needs_compilation


def _is_system(device: Device) -> bool:
    counts = device.kind is not DeviceKind.SYNTAX_CHECKER and device.result is ResultKind.SHOTS
    return counts and not gives_expectations(device)


def cluster_bodies(devices: Devices) -> list[dict[str, Any]]:
    """The simulator clusters, in the words of `simulatorcluster/`."""
    names = [device.name for device in devices.all if gives_expectations(device)]
    if names and DEFAULT_CLUSTER not in names:
        names.insert(0, DEFAULT_CLUSTER)
    return [{"name": name, **_CLUSTER} for name in names]


def system_bodies(devices: Devices, now: datetime) -> list[dict[str, Any]]:
    """All other devices that give counts, in the words of `qpusystem/`: one QPU each, without expectation values."""
    return [
        {
            "name": device.name,
            "qpus": [
                {
                    "nickname": device.name,
                    "q_bits": device.n_qubits,
                    "status": device.state_at(now),
                    "system_kind": str(device.kind),
                }
            ],
            "access_level": "PUBLIC",
            "supports_expval": False,
        }
        for device in devices.all
        if _is_system(device)
    ]


def target_of(body: InitBody, devices: Devices) -> Device:
    """The device that a new job is for.

    Raises:
        BadRequest: It names none or two, one that is not there, or one that cannot do what the job asks.
    """
    if (body.simulator_cluster is None) == (body.qpu_system_name is None):
        raise BadRequest("name exactly one target: simulator_cluster or qpu_system_name")
    if body.simulator_cluster is not None:
        clusters = [device for device in devices.all if gives_expectations(device)]
        return _named(body.simulator_cluster, clusters, "simulator cluster", default=DEFAULT_CLUSTER)
    name = body.qpu_system_name or ""
    found = _named(name, [device for device in devices.all if _is_system(device)], "QPU system")
    if body.job_type is JobType.EXPECTATION:
        raise BadRequest(f"{found.name} gives no expectation values; take a simulator cluster, or job_type EXECUTE")
    return found


def _named(name: str, among: list[Device], what: str, *, default: str | None = None) -> Device:
    for device in among:
        if device.name == name:
            return device
    if name == default and among:
        return among[0]
    known = ", ".join(device.name for device in among) or "none"
    raise BadRequest(f"there is no {what} {name[:80]!r}; there are: {known}")
