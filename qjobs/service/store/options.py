"""What a job's definition may ask for: each field of it is followed, harmless, or refused.

An answer to another question than the one that was asked is worse than none, so a field that nobody here follows is
refused by its name, unless its value asks for nothing: null, or what the real client sends by itself (the defaults of
quantinuum-schemas 7.8.2, https://pypi.org/project/quantinuum-schemas/). Harmless are

- `valid_check`: circuits are checked in any case;
- `language`: in which words Nexus hands a circuit on changes nothing of its result;
- `target_region`, where the device is not the service's own: all regions have the same devices here;
- `attempt_batching` and `batch_id`: every job runs by itself, as the client warns it does on most devices;
- `max_batch_cost` without `attempt_batching`: there is no batch whose cost it could limit;
- `n_shots` where the result is a state or a unitary: there is one of it;
- `noise_model` of a compile job: a circuit is compiled for the device's gates and couplings;
- `instance`, `region`, `monitor`, `local` and the like of Braket's and IBM's configurations: they say through whose
  account the device is reached, and the device is here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from qjobs.service.choices import SIMULATION_METHODS, two_qubit_choices
from qjobs.service.devices import Device, ResultKind
from qjobs.service.errors import BadRequest

BATCH_COST_HQC: Final = 2000.0
"""What Nexus answers where `max_batch_cost` was not given."""

_REGIONS: Final = ("us", "sg")
_LANGUAGES: Final = ("AUTO", "OPENQASM 2.0", "QIR 1.0")
_LONGEST_SHOWN: Final = 80


def _shown(value: object) -> str:
    """A value in words, cut where it is long; true and false as JSON has them."""
    return str(value).lower() if isinstance(value, bool) else _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """What a field may be.

    Args:
        words: They end the sentence "this service takes ...".
        inside: What an object may hold, where the field is one: these values, and null.
    """

    takes: Callable[[Any], bool]
    words: str
    inside: Mapping[str, Any] | None = None


_Rules: TypeAlias = Mapping[str, _Rule]


def _only(*values: object) -> _Rule:
    """These values and no others; 1 is not true."""
    shown = [_shown(value) for value in values]
    words = " or ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
    return _Rule(
        takes=lambda given: any(type(given) is type(value) and given == value for value in values), words=words
    )


def _holding(**defaults: object) -> _Rule:
    """An object that holds nothing but defaults."""
    return _Rule(takes=lambda given: isinstance(given, Mapping), words="an object", inside=defaults)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_hqc(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


_ANY = _Rule(takes=lambda _: True, words="anything")
_NOTHING = _Rule(takes=lambda _: False, words="null")
_TEXT = _Rule(takes=lambda value: isinstance(value, str), words="a text")
_BOOL = _Rule(takes=lambda value: isinstance(value, bool), words="true or false")
_WHOLE = _Rule(takes=_is_whole, words="a whole number")
_COUNT = _Rule(takes=lambda value: _is_whole(value) and value >= 1, words="a whole number from 1")
_HQC = _Rule(takes=_is_hqc, words="a number of HQC from 0")
_NOISE = _Rule(
    takes=lambda value: isinstance(value, Mapping) and isinstance(value.get("errors"), list),
    words="the dict of a NoiseModel of Aer, with its errors",
)
_EMPTY = _holding()

_FOLLOWED: _Rules = {
    "type": _TEXT,
    "device_name": _TEXT,
    "system_name": _TEXT,
    "backend_name": _TEXT,
    "device": _TEXT,
    "user_group": _TEXT,
    "n_qubits": _COUNT,
    "seed": _WHOLE,
    "noisy_simulation": _BOOL,
    "max_cost": _HQC,
}
"""Fields of every configuration: `n_qubits` and `max_cost` are limits beside those of the items."""

_BATCHES: _Rules = {"attempt_batching": _BOOL, "batch_id": _ANY, "max_batch_cost": _HQC}
_SELENE: _Rules = {
    "simulator": _holding(type="StatevectorSimulator"),
    "runtime": _holding(type="SimpleRuntime"),
    "error_model": _holding(type="NoErrorModel"),
}
_IBM: _Rules = {"instance": _ANY, "region": _ANY, "postprocess": _only(False)}

_OF_TYPE: Mapping[str, _Rules] = {
    "AerConfig": {"crosstalk_params": _NOTHING},
    "QuantinuumConfig": {
        **_BATCHES,
        "machine_debug": _only(False),
        "allow_implicit_swaps": _only(True),
        "postprocess": _only(False),
        "compiler_options": _EMPTY,
        "no_opt": _only(True),
        "allow_2q_gate_rebase": _only(False),
        "leakage_detection": _only(False),
        "simplify_initial": _only(False),
        "error_params": _EMPTY,
    },
    "HeliosConfig": {**_BATCHES, "emulator_config": _NOTHING, "options": _EMPTY},
    "SeleneConfig": _SELENE,
    "SelenePlusConfig": {
        **_SELENE,
        "runtime": _holding(type="HeliosRuntime"),
        "error_model": _holding(type="QSystemErrorModel", name="alpha"),
    },
    "QulacsConfig": {"result_type": _only("state_vector"), "gpu_sim": _only(False)},
    "BraketConfig": {
        "local": _ANY,
        "device_type": _ANY,
        "provider": _ANY,
        "s3_bucket": _ANY,
        "s3_folder": _ANY,
        "local_device": _only("default"),
        "simplify_initial": _only(False),
    },
    "IBMQConfig": {**_IBM, "monitor": _ANY, "simplify_initial": _only(False)},
    "IBMQEmulatorConfig": _IBM,
}
"""Fields of the configurations of the client. A device file may have types of its own: they have what is followed."""


def check_options(job_type: str, definition: Mapping[str, Any], device: Device) -> None:
    """Check all fields of a definition but its items.

    Raises:
        BadRequest: One asks for something that this service does not do.
    """
    config = definition["backend_config"]
    _check("definition.", definition, _definition_rules(job_type), f"a {job_type} job")
    _check("definition.backend_config.", config, _config_rules(config, device), f"{config['type']} on {device.name}")
    cap = config.get("max_batch_cost")
    if config.get("attempt_batching") and cap is not None and cap != BATCH_COST_HQC:
        raise BadRequest(
            "definition.backend_config.max_batch_cost: this service runs every job by itself and cannot limit what a "
            "batch costs; give the items a max_cost, or leave attempt_batching out"
        )


def check_item(number: int, item: Mapping[str, Any], job_type: str) -> None:
    """Check that an item has no field that nobody reads.

    Raises:
        BadRequest: It has one.
    """
    names = ("program_id", "n_shots", "max_cost", "n_qubits") if job_type == "execute" else ("program_id",)
    _check(f"item {number}: ", item, dict.fromkeys(names, _ANY), f"an item of a {job_type} job")


def _definition_rules(job_type: str) -> _Rules:
    common: _Rules = {
        "job_definition_type": _only(f"{job_type}_job_definition"),
        "backend_config": _ANY,
        "items": _ANY,
        "user_group": _TEXT,
        "credential_name": _NOTHING,
    }
    if job_type == "compile":
        return {
            **common,
            "optimisation_level": _only(0, 1, 2, 3),
            "hypertket_config": _NOTHING,
            "skip_store_intermediate_passes": _BOOL,
        }
    return {
        **common,
        "target_region": _only(*_REGIONS),
        "valid_check": _BOOL,
        "language": _only(*_LANGUAGES),
        "wasm_module_id": _NOTHING,
        "gpu_decoder_config_id": _NOTHING,
    }


def _config_rules(config: Mapping[str, Any], device: Device) -> _Rules:
    shots = device.result is ResultKind.SHOTS
    gates = two_qubit_choices(device.gate_set, native_only=device.native_only)
    by_device: _Rules = {
        "noise_model": _NOISE if shots else _NOTHING,
        "simulation_method": _only(*SIMULATION_METHODS) if shots else _only("automatic"),
        "simulator": _only("state-vector", "stabilizer") if shots else _only("state-vector"),
        "target_2qb_gate": _only(*gates) if gates else _NOTHING,
    }
    return {**_FOLLOWED, **by_device, **_OF_TYPE.get(config["type"], {})}


def _check(where: str, given: Mapping[str, Any], rules: _Rules, what: str) -> None:
    for name, value in given.items():
        if value is None:
            continue
        rule = rules.get(name)
        if rule is None:
            raise BadRequest(
                f"{where}{_cut(str(name))}: this service has no such option for {what}, and ignores none; "
                f"it has {', '.join(sorted(rules))}"
            )
        if not rule.takes(value):
            raise BadRequest(f"{where}{name}: this service takes {rule.words}, not {_shown(value)}")
        if rule.inside is not None:
            _check_inside(f"{where}{name}", value, rule.inside, rules)


def _check_inside(where: str, given: Mapping[str, Any], defaults: Mapping[str, Any], beside: _Rules) -> None:
    for name, value in given.items():
        if value is None or (name in defaults and value == defaults[name]):
            continue
        words = " and ".join(f"{name} {_shown(default)}" for name, default in defaults.items()) or "nothing"
        raise BadRequest(
            f"{where}.{_cut(str(name))}: this service does not follow {_shown(value)}; the object may hold {words}, "
            f"and options that are followed stand beside it: {', '.join(sorted(beside))}"
        )
