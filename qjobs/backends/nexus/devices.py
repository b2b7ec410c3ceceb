"""Devices of Nexus: how a job names one, and what a compiler needs to know of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from qjobs.backends.nexus.wire import member
from qjobs.errors import ProtocolError
from qjobs.model import Target

__all__ = ["DEVICES", "config_of", "target_in"]

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


def target_in(body: object, device: str, config: Mapping[str, Any]) -> Target:
    """A device as a compiler sees it, from the list of all devices; its size is not told where it is not listed.

    Raises:
        ProtocolError: It is no list of devices.
    """
    if not isinstance(body, list):
        raise ProtocolError("Nexus answered without a list of devices")
    is_machine = config["type"] == "QuantinuumConfig"
    backend = str(config["type"]).removesuffix("Config") + "Backend"
    n_qubits, coupling = None, None
    for info in (info for group in body for info in member(group, "backend_info_list") or ()):
        named = member(info, "device_name") == config.get("device_name", device)
        if named or (not is_machine and member(info, "name") == backend):
            architecture = member(info, "device")
            n_qubits, coupling = _positive(member(architecture, "n_nodes")), _coupling(architecture)
            break
    return Target(name=device, n_qubits=n_qubits, basis_gates=_NATIVE if is_machine else None, coupling=coupling)


def _positive(value: object) -> int | None:
    return value if type(value) is int and value > 0 else None


def _coupling(architecture: object) -> tuple[tuple[int, int], ...] | None:
    """Pairs of qubits in both directions; None for all to all."""
    edges = member(architecture, "edges")
    if not edges or member(architecture, "fully_connected"):
        return None
    try:
        pairs = {(int(one[1][0]), int(other[1][0])) for one, other in (_ends(edge) for edge in edges)}
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise ProtocolError(f"Nexus answered a device with edges that are none: {error!r}") from error
    return tuple(sorted(pairs | {(other, one) for one, other in pairs}))


def _ends(edge: Any) -> tuple[Any, Any]:
    one, other = edge["link"] if isinstance(edge, Mapping) else edge
    return one, other
