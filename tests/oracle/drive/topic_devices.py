"""Devices: the list, their properties, their state."""

from __future__ import annotations

import qnexus as qnx
from qnexus.client.devices import DeviceStateEnum
from qnexus.exceptions import ResourceFetchFailed
from qnexus.models import IssuerEnum
from session import refused, same

H_SERIES = ["H1-1", "H1-1E", "H1-1LE", "H1-1SC", "H2-1", "H2-1E", "H2-1LE", "H2-1SC"]


def check_lists() -> None:
    """All devices, those of an issuer, and those that Nexus hosts."""
    found = {device.device_name for device in qnx.devices.get_all()}
    same((set(H_SERIES) - found, len(found - set(H_SERIES))), (set(), 3))
    issued = qnx.devices.get_all(issuers=[IssuerEnum.QUANTINUUM])
    same(sorted(device.device_name for device in issued), H_SERIES)
    hosted, others = ({d.device_name for d in qnx.devices.get_all(nexus_hosted=word)} for word in (True, False))
    same(("H1-1LE" in hosted, "H1-1" in others, hosted & others), (True, True, set()))
    same({"AerBackend", "Aer"} & {*qnx.devices.get_all().df()["backend_name"]}, {"Aer"})


def check_gate_set() -> None:
    (found,) = [device for device in qnx.devices.get_all() if device.device_name == "H1-1"]
    info = found.backend_info
    same((info.n_nodes, {gate.name for gate in info.gate_set} >= {"PhasedX", "Rz", "ZZPhase", "ZZMax"}), (20, True))


def check_properties() -> None:
    """Each kind of device says which results it gives."""
    configs = (qnx.AerConfig(), qnx.AerStateConfig(), qnx.AerUnitaryConfig())
    for supports, expected in (
        (qnx.devices.supports_shots, [True, False, False]),
        (qnx.devices.supports_state, [False, True, False]),
        (qnx.devices.supports_unitary, [False, False, True]),
    ):
        same([supports(config) for config in configs], expected)


def check_status() -> None:
    """A device says how it is; one that there is not is refused."""
    found = [qnx.devices.status(qnx.QuantinuumConfig(device_name=name)) for name in ("H1-1", "H2-1E")]
    same(found, [DeviceStateEnum.ONLINE, DeviceStateEnum.MAINTENANCE])
    refused(lambda: qnx.devices.status(qnx.QuantinuumConfig(device_name="H9-9")), ResourceFetchFailed)
