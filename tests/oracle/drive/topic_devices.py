"""Devices: the list, their properties, their state."""

from __future__ import annotations

import qnexus as qnx
from qnexus.client.devices import DeviceStateEnum
from qnexus.exceptions import ResourceFetchFailed
from qnexus.models import IssuerEnum
from session import refused, same

H_SERIES = ["H1-1", "H1-1E", "H1-1LE", "H1-1SC", "H2-1", "H2-1E", "H2-1LE", "H2-1SC"]


def check_all() -> None:
    found = {device.device_name for device in qnx.devices.get_all()}
    same((set(H_SERIES) - found, len(found - set(H_SERIES))), (set(), 3))


def check_of_quantinuum() -> None:
    found = qnx.devices.get_all(issuers=[IssuerEnum.QUANTINUUM])
    same(sorted(device.device_name for device in found), H_SERIES)


def check_hosted_by_nexus() -> None:
    hosted, others = ({d.device_name for d in qnx.devices.get_all(nexus_hosted=word)} for word in (True, False))
    same(("H1-1LE" in hosted, "H1-1" in others, hosted & others), (True, True, set()))


def check_gate_set() -> None:
    (found,) = [device for device in qnx.devices.get_all() if device.device_name == "H1-1"]
    info = found.backend_info
    same((info.n_nodes, {gate.name for gate in info.gate_set} >= {"PhasedX", "Rz", "ZZPhase", "ZZMax"}), (20, True))


def check_data_frame() -> None:
    same({"AerBackend", "Aer"} & {*qnx.devices.get_all().df()["backend_name"]}, {"Aer"})


def check_shots() -> None:
    configs = (qnx.AerConfig(), qnx.AerStateConfig(), qnx.AerUnitaryConfig(), qnx.QuantinuumConfig(device_name="H1-1E"))
    same([qnx.devices.supports_shots(config) for config in configs], [True, False, False, True])


def check_state_and_unitary() -> None:
    state, unitary = qnx.AerStateConfig(), qnx.AerUnitaryConfig()
    found = [qnx.devices.supports_state(state), qnx.devices.supports_state(unitary)]
    same(
        (found, qnx.devices.supports_unitary(unitary), qnx.devices.supports_unitary(state)),
        ([True, False], True, False),
    )


def check_every_property() -> None:
    config = qnx.AerConfig()
    names = ("counts", "density_matrix", "expectation", "contextual_optimisation")
    found = [getattr(qnx.devices, f"supports_{name}")(config) for name in names]
    same([*map(type, found), type(qnx.devices.expectation_allows_nonhermitian(config))], [bool] * 5)


def check_status() -> None:
    found = [qnx.devices.status(qnx.QuantinuumConfig(device_name=name)) for name in ("H1-1", "H2-1E")]
    same(found, [DeviceStateEnum.ONLINE, DeviceStateEnum.MAINTENANCE])


def check_status_of_an_unknown_device() -> None:
    refused(lambda: qnx.devices.status(qnx.QuantinuumConfig(device_name="H9-9")), ResourceFetchFailed)
