"""Devices of Nexus: how a job names one, and what a compiler needs to know of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from qjobs.backends.nexus.wire import member
from qjobs.errors import ProtocolError
from qjobs.model import Target

DEVICES: Final = "/api/v5/available_devices"
_NATIVE: Final = ("rz", "r", "rzz")
"""Qiskit's names of Rz, PhasedX and ZZPhase, the gates of the H-series: https://docs.quantinuum.com/systems."""
_CONFIGS: Final = {
    "aer": "AerConfig",
    "aer_simulator": "AerConfig",
    "aerstate": "AerStateConfig",
    "aer_simulator_statevector": "AerStateConfig",
    "aerunitary": "AerUnitaryConfig",
    "aer_simulator_unitary": "AerUnitaryConfig",
    "qulacs": "QulacsConfig",
    "selene": "SeleneConfig",
}
_EMULATORS: Final = re.compile(r"(-Emulator|-simulator|-E|-\d+E|-\d+LE|-\d+E-lite)$")
_HOSTED: Final = re.compile(r"(-Emulator|-\d+LE)$")
"""Emulators that run in Nexus, by their names."""
_SEEDED: Final = frozenset({"AerConfig", "AerStateConfig", "AerUnitaryConfig", "QulacsConfig", "SeleneConfig"})


def config_of(device: str, extra: Mapping[str, Any], seed: int | None) -> dict[str, Any]:
    """The `backend_config` of a device: that of a simulator by its name, else a machine of Quantinuum.

    >>> config_of("Aer", {}, 7), config_of("H1-1E", {"noisy_simulation": False}, 7)["device_name"]
    ({'type': 'AerConfig', 'seed': 7}, 'H1-1E')
    """
    kind = device if device.endswith("Config") else _CONFIGS.get(device.lower(), "")
    if not kind and device.lower().startswith("helios"):
        config: dict[str, Any] = {"type": "HeliosConfig", "system_name": device}
    elif not kind:
        config = {"type": "QuantinuumConfig", "device_name": device}
    else:
        config = {"type": kind}
    config |= extra
    if seed is not None and config["type"] in _SEEDED:
        config["seed"] = seed
    return config


def has_batches(config: Mapping[str, Any]) -> bool:
    """Whether jobs can be a batch there: on machines, not on emulators and syntax checkers.

    As quantinuum-schemas 7.8.2 tells them apart (https://pypi.org/project/quantinuum-schemas/).
    """
    name = str(config.get("device_name") or config.get("system_name") or "")
    return bool(name) and not (name.endswith("SC") or config.get("emulator_config") or _EMULATORS.search(name))


def is_hosted(config: Mapping[str, Any]) -> bool:
    """Whether Nexus itself runs what is sent there, so that its quota of simulation counts it.

    >>> is_hosted(config_of("Aer", {}, None)), is_hosted(config_of("H1-1E", {}, None))
    (True, False)
    """
    return config["type"] in _CONFIGS.values() or _HOSTED.search(str(config.get("device_name", ""))) is not None


def target_in(body: object, device: str, config: Mapping[str, Any]) -> Target:
    """A device as a compiler sees it, from the list of all devices; without a size where the list does not have it.

    Raises:
        ProtocolError: It is not a list of devices.
    """
    if not isinstance(body, list):
        raise ProtocolError("Nexus answered without a list of devices")
    is_machine = config["type"] == "QuantinuumConfig"
    info = _info_in(body, device, config)
    architecture = member(info, "device")
    misc = member(info, "misc")
    return Target(
        name=device,
        n_qubits=_positive(member(architecture, "n_nodes")),
        basis_gates=_NATIVE if is_machine else None,
        coupling=_coupling(architecture),
        calibration={"misc": misc} if isinstance(misc, Mapping) and misc else {},
    )


def _info_in(groups: list[Any], device: str, config: Mapping[str, Any]) -> Any:
    """What the list shows of a device; None where it does not have it."""
    backend = str(config["type"]).removesuffix("Config") + "Backend"
    for group in groups:
        for info in member(group, "backend_info_list") or ():
            is_simulator = config["type"] != "QuantinuumConfig" and member(info, "name") == backend
            if is_simulator or member(info, "device_name") == config.get("device_name", device):
                return info
    return None


def _positive(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None


def _coupling(architecture: object) -> tuple[tuple[int, int], ...] | None:
    """Pairs of qubits in both directions; None for all to all."""
    edges = member(architecture, "edges")
    if not edges or member(architecture, "fully_connected"):
        return None
    pairs = set()
    try:
        for edge in edges:
            one, other = edge["link"] if isinstance(edge, Mapping) else edge
            pairs.add((int(one[1][0]), int(other[1][0])))
            pairs.add((int(other[1][0]), int(one[1][0])))
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise ProtocolError(f"Nexus answered a device whose edges cannot be read: {error!r}") from error
    return tuple(sorted(pairs))
