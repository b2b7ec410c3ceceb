"""Checks of a job's definition before it is stored."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qjobs.service.accounts.accounts import User
from qjobs.service.devices import Device, DeviceKind, Devices, ResultKind
from qjobs.service.errors import BadRequest, Forbidden
from qjobs.service.store.options import BATCH_COST_HQC, check_item, check_options

DEFAULT_LEVEL = 2
_MAX_COUNT = 2**31 - 1


OBSERVABLES = "observables"
"""Where a stored definition keeps its `ItemObservables`; none that was posted has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemObservables:
    """Whose expectation values the items of a job have for a result, instead of counts.

    Args:
        groups: Lists of Pauli strings, one letter for each qubit, the leftmost on qubit 0.
        of_items: The group of each item.
    """

    groups: tuple[tuple[str, ...], ...]
    of_items: tuple[int, ...]

    def stored(self) -> dict[str, Any]:
        """It as JSON."""
        return {"groups": [list(group) for group in self.groups], "of_items": list(self.of_items)}


def item_observables(definition: Mapping[str, Any], item_id: int) -> tuple[str, ...]:
    """Those of one item of a stored definition; none where it is to be sampled."""
    stored = definition.get(OBSERVABLES)
    return () if stored is None else tuple(stored["groups"][stored["of_items"][item_id - 1]])


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """One item of a job that is to be created; its fields are columns of `schema.job_item`."""

    program_id: str
    n_shots: int | None = None
    max_cost: float | None = None
    n_qubits: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedDefinition:
    """A definition that can be stored: its items, and what was posted without them."""

    device: Device
    items: tuple[NewItem, ...]
    definition: dict[str, Any] = field(repr=False)


def check_definition(
    job_type: str, definition: Mapping[str, Any], user: User, devices: Devices, *, max_items: int
) -> CheckedDefinition:
    """Check a definition, as far as that is possible without the database.

    Raises:
        BadRequest: It cannot be run.
        Forbidden: It names a group that the user is not in.
    """
    if job_type not in ("compile", "execute"):
        raise BadRequest(f"job_type: there is no {job_type!r}; there are compile and execute")
    config = definition.get("backend_config")
    if not isinstance(config, Mapping):
        raise BadRequest("definition.backend_config: an object with a type is needed, such as {'type': 'AerConfig'}")
    device = devices.device_of(config)
    for group in (definition.get("user_group"), config.get("user_group")):
        if group is not None and group not in user.groups:
            raise Forbidden(f"Not a member of any group with name: {group}")
    if definition.get("target_region") is not None and device.kind is DeviceKind.NEXUS_HOSTED:
        raise BadRequest("Nexus hosted simulators can only be run in the current region")
    check_options(job_type, definition, device)
    items = definition.get("items")
    if not isinstance(items, list) or not items:
        raise BadRequest("definition.items: a list of at least one item is needed")
    if len(items) > max_items:
        raise BadRequest(f"a job has at most {max_items} items, but this one has {len(items)}; send several jobs")
    checked = tuple(_item(number, item, job_type, device) for number, item in enumerate(items, start=1))
    kept = {key: value for key, value in definition.items() if key != "items"}
    kept["backend_config"] = _stored_config(config)
    return CheckedDefinition(device=device, items=checked, definition=kept)


def _stored_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """As it was posted; Nexus answers a missing `max_batch_cost` with a number."""
    stored = dict(config)
    if stored.get("type") == "QuantinuumConfig" and stored.get("max_batch_cost") is None:
        stored["max_batch_cost"] = BATCH_COST_HQC
    return stored


def _item(number: int, item: object, job_type: str, device: Device) -> NewItem:
    if not isinstance(item, Mapping):
        raise BadRequest(f"item {number}: an object with a program_id is needed")
    check_item(number, item, job_type)
    program_id = item.get("program_id")
    try:
        program_id = str(uuid.UUID(program_id if isinstance(program_id, str) else ""))
    except ValueError:
        raise BadRequest(f"item {number}: program_id must be the UUID of a program") from None
    if job_type == "compile":
        return NewItem(program_id=program_id)
    n_shots = _count(item, "n_shots", number)
    if device.result is ResultKind.SHOTS and n_shots is None:
        raise BadRequest(f"item {number}: {device.name} needs n_shots")
    if device.result is ResultKind.SHOTS and (n_shots or 0) > device.max_shots:
        raise BadRequest(f"item {number}: {device.name} takes at most {device.max_shots} shots, not {n_shots}")
    max_cost = item.get("max_cost")
    if max_cost is not None and (
        isinstance(max_cost, bool) or not isinstance(max_cost, int | float) or not 0 <= max_cost < math.inf
    ):
        raise BadRequest(f"item {number}: max_cost must be a number of HQC from 0, not {max_cost!r}")
    return NewItem(
        program_id=program_id,
        n_shots=n_shots,
        max_cost=None if max_cost is None else float(max_cost),
        n_qubits=_count(item, "n_qubits", number),
    )


def _count(item: Mapping[str, Any], name: str, number: int) -> int | None:
    value = item.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _MAX_COUNT:
        raise BadRequest(f"item {number}: {name} must be a whole number from 1, not {value!r}")
    return value
