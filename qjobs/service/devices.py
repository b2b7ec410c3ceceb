"""Devices of the service, read from a YAML file: what they can do, and how they misbehave.

The built-in devices are in `devices.yaml` beside this file; a file of the user's own replaces them. Gates have the
names of pytket's `OpType`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, time
from enum import StrEnum
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from qjobs.errors import InvalidInput
from qjobs.service.errors import BadRequest

_NAME_FIELDS = ("device_name", "system_name", "backend_name", "device")
_Day: TypeAlias = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
_DAYS: tuple[_Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_LONGEST_NAME = 80
_PROPERTIES = (
    "supports_shots",
    "supports_counts",
    "supports_state",
    "supports_unitary",
    "supports_density_matrix",
    "supports_expectation",
    "expectation_allows_nonhermitian",
    "supports_contextual_optimisation",
)

Probability = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class DeviceKind(StrEnum):
    """Who runs a device, which decides how it queues."""

    NEXUS_HOSTED = "nexus-hosted"
    """A simulator of the service: first in, first out, with items side by side."""
    HARDWARE = "hardware"
    """A machine of the vendor: one job at a time, fair between users."""
    SYNTAX_CHECKER = "syntax-checker"
    """A service of the vendor: checks and prices circuits, and runs none."""


class ResultKind(StrEnum):
    """The kind of result that a device returns."""

    SHOTS = "shots"
    STATE = "state"
    UNITARY = "unitary"


class DeviceNoise(_Strict):
    """Probabilities: depolarising noise after each gate, and a flip of each measured bit."""

    depolarizing_1q: Probability = 0.0
    depolarizing_2q: Probability = 0.0
    readout: Probability = 0.0


def _clock_time(value: object) -> object:
    """Only text is taken: YAML reads a bare 08:00 as 480."""
    if not isinstance(value, str):
        raise ValueError(f"write the time of day in quotes, as in '08:00', not {value!r}")  # noqa: TRY004  # pydantic's
    return value


class OpeningHours(_Strict):
    """From one time of day to a later one, or across midnight, in UTC of the service's clock."""

    days: tuple[_Day, ...] = _DAYS
    start: Annotated[time, BeforeValidator(_clock_time)]
    end: Annotated[time, BeforeValidator(_clock_time)]

    def holds(self, now: datetime) -> bool:
        """Whether it is open."""
        day = _DAYS[now.weekday()]
        moment = now.time()
        if self.start < self.end:
            return day in self.days and self.start <= moment < self.end
        yesterday = _DAYS[now.weekday() - 1]
        return (day in self.days and moment >= self.start) or (yesterday in self.days and moment < self.end)


class Device(_Strict):
    """One device, and the queue before it."""

    name: str = Field(min_length=1)
    kind: DeviceKind
    issuer: str = "local"
    backend: str
    """pytket's name for its backend, for example `AerBackend`."""
    config: str
    """Type of the backend configuration that means this device, together with the name where it carries one."""
    device_name: str | None = None
    version: str = "1"
    result: ResultKind = ResultKind.SHOTS
    n_qubits: int = Field(ge=1)
    gate_set: tuple[str, ...] = ()
    native_only: bool = False
    """Whether circuits with other gates are refused; the others are converted."""
    connectivity: tuple[tuple[int, int], ...] | None = None
    """Pairs of qubits that a gate can couple; None for all."""
    noise: DeviceNoise = DeviceNoise()
    costs: Literal["none", "hqc"] = "none"
    max_shots: int = Field(default=10_000, ge=1)
    queue_time_s: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """The shortest time that a job waits, in seconds of the service's clock."""
    shots_per_s: float | None = Field(default=None, gt=0)
    """Speed by the service's clock; None for as fast as it is simulated."""
    item_time_s: float = Field(default=3600.0, gt=0)
    """How long a worker computes for one item at most, in seconds on the wall."""
    item_memory_mb: int | None = Field(default=None, ge=64)
    """Memory for one item, in MB; None for an equal share of the machine's among the workers."""
    failure_rate: Probability = 0.0
    """Share of the items that fail."""
    drop_rate: Probability = 0.0
    """Share of the submissions whose reply is lost, after the job was stored."""
    opening_hours: tuple[OpeningHours, ...] = ()
    """When it runs jobs; an empty list means always."""
    reserved_for: tuple[str, ...] = ()
    """Addresses of the users whose jobs of the Munich Quantum Portal it takes; an empty list means everybody's."""
    state: Literal[
        "online",
        "offline",
        "in maintenance",
        "online, reserved",
        "in maintenance, reserved",
        "offline, reserved",
    ] = "online"

    @model_validator(mode="after")
    def _check(self) -> Device:
        from pytket.circuit import OpType

        known = OpType.__members__
        unknown = [name for name in self.gate_set if name not in known]
        if unknown:
            raise ValueError(f"gate_set: pytket has no {', '.join(unknown)}")
        if self.native_only and not self.gate_set:
            raise ValueError("native_only needs a gate_set")
        if self.result is not ResultKind.SHOTS and self.noise != DeviceNoise():
            raise ValueError(f"noise: only shots are simulated with noise, and the result is a {self.result}")
        for pair in self.connectivity or ():
            if not all(0 <= qubit < self.n_qubits for qubit in pair) or pair[0] == pair[1]:
                raise ValueError(f"connectivity: {list(pair)} must be two different qubits below {self.n_qubits}")
        return self

    @property
    def is_vendors(self) -> bool:
        """Whether its items go to a third party and get a handle there."""
        return self.kind is not DeviceKind.NEXUS_HOSTED

    @property
    def needs_compilation(self) -> bool:
        """Whether it refuses circuits that were not compiled for it."""
        return self.native_only or self.connectivity is not None

    def is_open(self, now: datetime) -> bool:
        """Whether it starts jobs at this moment."""
        if not self.state.startswith("online"):
            return False
        return not self.opening_hours or any(hours.holds(now) for hours in self.opening_hours)

    def state_at(self, now: datetime) -> str:
        """The word for its state; outside its opening hours it is offline."""
        return "offline" if self.state.startswith("online") and not self.is_open(now) else self.state

    def fails(self, item_uuid: str, tries: int) -> bool:
        """Whether this try of this item fails: always the same answer."""
        return chance(f"{item_uuid} {tries}", "failure") < self.failure_rate

    def drops(self, job_id: str) -> bool:
        """Whether the reply to the submission of this job is lost: always the same answer."""
        return chance(job_id, "drop") < self.drop_rate

    def info(self) -> dict[str, Any]:
        """Its `StoredBackendInfo`."""
        pairs = self.connectivity
        nodes = [] if pairs is None else [["node", [qubit]] for qubit in range(self.n_qubits)]
        edges = [[["node", [first]], ["node", [second]]] for first, second in pairs or ()]
        shots = self.result is ResultKind.SHOTS
        return {
            "name": self.backend,
            "device_name": self.device_name or self.name,
            "version": self.version,
            "gate_set": sorted(self.gate_set),
            "n_cl_reg": None,
            "device": {
                "nodes": nodes,
                "edges": edges,
                "n_nodes": self.n_qubits,
                "fully_connected": pairs is None,
            },
            "supports_fast_feedforward": shots,
            "supports_reset": self.result is not ResultKind.UNITARY,
            "supports_midcircuit_measurement": shots,
            "misc": {},
        }


def chance(text: str, what: str) -> float:
    """A number from 0 to 1 that depends only on its arguments."""
    return int.from_bytes(sha256(f"{what} {text}".encode()).digest()[:7]) / float(1 << 56)


class _File(_Strict):
    devices: tuple[Device, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> _File:
        for name, number in Counter(device.name for device in self.devices).items():
            if number > 1:
                raise ValueError(f"devices: {number} of them have the name {name}")
        return self


class Devices:
    """All devices of the service, by name."""

    def __init__(self, devices: tuple[Device, ...]) -> None:
        self.all = devices
        self._by_name = {device.name: device for device in devices}

    @classmethod
    def load(cls, path: Path | None = None) -> Devices:
        """Read a device file; without a path, the one that comes with qjobs.

        Raises:
            InvalidInput: It cannot be read, or something in it is wrong.
        """
        try:
            if path is None:
                text = resources.files("qjobs.service").joinpath("devices.yaml").read_text()
            else:
                text = path.read_text()
            content = yaml.safe_load(text)
            if isinstance(content, dict):  # x-...: values that the devices of the file share
                content = {key: value for key, value in content.items() if not str(key).startswith("x-")}
            return cls(_File.model_validate(content).devices)
        except OSError as error:
            raise InvalidInput(f"the device file {path} cannot be read: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise InvalidInput(f"the device file {path} is not YAML: {' '.join(str(error).split())}") from error
        except ValidationError as error:
            raise InvalidInput(f"the device file {path}: {_first(error, content)}") from error

    def get(self, name: str) -> Device | None:
        """The device of this name."""
        return self._by_name.get(name)

    def device_of(self, backend_config: Mapping[str, Any]) -> Device:
        """The device that a backend configuration means.

        Raises:
            BadRequest: There is none.
        """
        kind = backend_config.get("type")
        same = [device for device in self.all if device.config == kind]
        if not same:
            known = ", ".join(sorted({device.config for device in self.all}))
            raise BadRequest(f"this service has no backend for {kind!r}; it has {known}")
        names = ", ".join(device.name for device in same)
        given = {field: backend_config[field] for field in _NAME_FIELDS if backend_config.get(field) is not None}
        named = list(given.values())
        if len(named) > 1:
            raise BadRequest(f"{kind} names its device once, not by {' and '.join(given)}")
        if not named:
            if len(same) == 1:
                return same[0]
            raise BadRequest(f"{kind} needs the name of a device: {names}")
        for device in same:
            if named[0] in (device.name, device.device_name):
                return device
        raise BadRequest(f"there is no device {str(named[0])[:_LONGEST_NAME]!r}; there are {names}")

    def backend_property(self, backend_config: Mapping[str, Any], name: str) -> bool:
        """Whether the backend has a property such as `supports_shots`.

        Raises:
            BadRequest: No backend has such a property, or there is no such backend.
        """
        if name not in _PROPERTIES:
            raise BadRequest(f"there is no property {name!r}; there are {', '.join(_PROPERTIES)}")
        device = self.device_of(backend_config)
        given = {
            ResultKind.SHOTS: {"supports_shots", "supports_counts"},
            ResultKind.STATE: {"supports_state"},
            ResultKind.UNITARY: {"supports_unitary"},
        }
        return device.kind is not DeviceKind.SYNTAX_CHECKER and name in given[device.result]


def _first(error: ValidationError, content: object) -> str:
    """The first mistake, with the name of its device instead of its number."""
    found = error.errors(include_url=False)[0]
    where = [str(part) for part in found["loc"]]
    if len(where) > 1 and where[0] == "devices" and isinstance(content, dict):
        entry = content["devices"][int(where[1])]
        name = entry.get("name", where[1]) if isinstance(entry, dict) else where[1]
        where = [f"device {name}", *where[2:]]
    return f"{': '.join((' '.join(where[:1]), *where[1:]))}: {found['msg'].removeprefix('Value error, ')}".lstrip(": ")
