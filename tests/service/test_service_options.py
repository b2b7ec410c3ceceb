"""What a definition asks for is followed or refused by its name; what the client sends by itself is accepted."""

from __future__ import annotations

from typing import Any

import pytest
from own_service import AER, EVERYTHING, OwnService, quantinuum
from pytket.circuit import Circuit

from qjobs.service import tables as schema
from qjobs.service.errors import BadRequest

DEVICES = """
devices:
  - {name: Aer, kind: nexus-hosted, backend: B, config: AerConfig, n_qubits: 5}
  - {name: AerState, kind: nexus-hosted, backend: B, config: AerStateConfig, n_qubits: 5, result: state}
  - {name: H1-1, kind: hardware, backend: B, config: QuantinuumConfig, n_qubits: 5, costs: hqc, native_only: true,
     gate_set: [PhasedX, Rz, ZZPhase, ZZMax]}
  - {name: Mine, kind: hardware, backend: B, config: MineConfig, n_qubits: 5}
  - {name: Helios-1, kind: hardware, backend: B, config: HeliosConfig, n_qubits: 5}
  - {name: Selene, kind: nexus-hosted, backend: B, config: SeleneConfig, n_qubits: 5}
  - {name: SelenePlus, kind: nexus-hosted, backend: B, config: SelenePlusConfig, n_qubits: 5}
  - {name: Qulacs, kind: nexus-hosted, backend: B, config: QulacsConfig, n_qubits: 5, result: state}
  - {name: ibm, kind: hardware, backend: B, config: IBMQConfig, n_qubits: 5}
  - {name: sv1, kind: hardware, backend: B, config: BraketConfig, n_qubits: 5}
"""
H1 = quantinuum("H1-1")
STATE = {"type": "AerStateConfig"}
MINE = {"type": "MineConfig"}
SELENE = {"type": "SeleneConfig"}
NULLS = ["batch_id", "target_2qb_gate", "user_group", "max_batch_cost", "compiler_options", "max_cost", "error_params"]
# model_dump() of each configuration of quantinuum-schemas 7.8.2, with what it has by default
DEFAULTS: list[dict[str, Any]] = [
    {"type": "AerConfig", "noise_model": None, "simulation_method": "automatic", "crosstalk_params": None,
     "n_qubits": 40, "seed": None},
    {"type": "AerStateConfig", "n_qubits": 40},
    {**H1, "simulator": None, "machine_debug": False, "attempt_batching": False, "allow_implicit_swaps": True,
     "postprocess": False, "noisy_simulation": None, "no_opt": True, "allow_2q_gate_rebase": False,
     "leakage_detection": False, "simplify_initial": False, **dict.fromkeys(NULLS)},
    {**H1, "simulator": "state-vector", "noisy_simulation": True, "compiler_options": {},
     "error_params": {"p1": None, "scale": None}},
    {"type": "HeliosConfig", "system_name": "Helios-1", "emulator_config": None, "max_cost": None,
     "attempt_batching": False, "batch_id": None, "max_batch_cost": None, "options": None},
    {"type": "SeleneConfig", "n_qubits": None, "simulator": {"type": "StatevectorSimulator", "seed": None},
     "runtime": {"type": "SimpleRuntime", "seed": None}, "error_model": {"type": "NoErrorModel", "seed": None}},
    {"type": "SelenePlusConfig", "n_qubits": None, "simulator": {"type": "StatevectorSimulator", "seed": None},
     "runtime": {"type": "HeliosRuntime", "seed": None},
     "error_model": {"type": "QSystemErrorModel", "seed": None, "name": "alpha"}},
    {"type": "QulacsConfig", "result_type": "state_vector", "gpu_sim": False, "seed": None},
    {"type": "IBMQConfig", "backend_name": "ibm", "instance": "a/b", "region": None, "monitor": False,
     "postprocess": False, "simplify_initial": False},
    {"type": "BraketConfig", "local": False, "local_device": "default", "device_type": "quantum-simulator",
     "provider": "amazon", "device": "sv1", "s3_bucket": "b", "s3_folder": "f", "simplify_initial": False},
]  # fmt: skip
COMPILED = {
    "job_definition_type": "compile_job_definition",
    "user_group": None,
    "hypertket_config": None,
    "optimisation_level": 2,
    "credential_name": None,
    "skip_store_intermediate_passes": True,
}
EXECUTED = {
    "job_definition_type": "execute_job_definition",
    "user_group": None,
    "target_region": None,
    "valid_check": True,
    "language": "AUTO",
    "wasm_module_id": None,
    "gpu_decoder_config_id": None,
    "credential_name": None,
}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A service whose executor stands still."""
    own = OwnService(tmp_path_factory.mktemp("options"), devices=DEVICES)
    yield own
    own.close()


def refused(own: OwnService, config: dict[str, Any], job_type: str = "execute", **more: Any) -> str:
    """The words in which a job is refused, before anything of it is stored."""
    before = len(own.rows(schema.job)), len(own.rows(schema.job_item))
    with pytest.raises(BadRequest) as caught:
        own.submit([own.upload(Circuit(1))], config, job_type=job_type, **more)
    assert (len(own.rows(schema.job)), len(own.rows(schema.job_item))) == before
    return caught.value.message


@pytest.mark.parametrize("config", DEFAULTS, ids=lambda config: config["type"])
def test_defaults_are_accepted(own: OwnService, config: dict[str, Any]) -> None:
    """What the real client sends by itself is accepted, with its nulls and without."""
    short = {name: value for name, value in config.items() if value is not None}
    for given in (config, short):
        own.submit([Circuit(1)], given, job_type="compile", **COMPILED)
        job = own.submit([Circuit(1)], given, **EXECUTED)
        assert own.store.rerun(EVERYTHING, job, "again", own.user) != job


@pytest.mark.parametrize("job_type", ["compile", "execute"])
@pytest.mark.parametrize(
    ("config", "field", "value"),
    [
        (H1, "machine_debug", True),
        (H1, "allow_implicit_swaps", False),
        (H1, "postprocess", True),
        (H1, "postprocess", 0),
        (H1, "noisy_simulation", "false"),
        (H1, "simulator", "coinflip"),
        (H1, "target_2qb_gate", "TK2"),
        (H1, "target_2qb_gate", ["ZZMax"]),
        (H1, "no_opt", False),
        (H1, "allow_2q_gate_rebase", True),
        (H1, "leakage_detection", True),
        (H1, "simplify_initial", True),
        (H1, "max_cost", -1),
        (H1, "max_cost", True),
        (H1, "error_params", [0.1]),
        (H1, "optimisation_level", 3),
        (AER, "simulation_method", "guesswork"),
        (AER, "noise_model", [1]),
        (AER, "noise_model", {"error": []}),
        (AER, "crosstalk_params", {"N": 1.0}),
        (AER, "n_qubits", "5"),
        (AER, "n_qubits", True),
        (AER, "n_qubits", 0),
        (AER, "seed", "7"),
        (AER, "target_2qb_gate", "CX"),
        (AER, "compiler_options", {}),
        (AER, "Seed", 7),
        (STATE, "noise_model", {"errors": []}),
        (STATE, "simulation_method", "stabilizer"),
        (SELENE, "simulator", "stabilizer"),
        (MINE, "gpu", True),
        ({"type": "HeliosConfig"}, "emulator_config", {}),
        ({"type": "QulacsConfig"}, "gpu_sim", True),
    ],
)
def test_options_are_refused(own: OwnService, job_type: str, config: dict[str, Any], field: str, value: Any) -> None:
    """An option of the configuration that is not followed is refused by its name."""
    words = refused(own, {**config, field: value}, job_type)
    assert words.startswith(f"definition.backend_config.{field}: this service ")
    assert len(words) < 800


@pytest.mark.parametrize(
    ("config", "inside"),
    [
        ({**H1, "compiler_options": {"target_2qb_gate": "ZZMax"}}, "compiler_options.target_2qb_gate"),
        ({**H1, "compiler_options": {"no-opt": False}}, "compiler_options.no-opt"),
        ({**H1, "error_params": {"p1": None, "p2": 0.5}}, "error_params.p2"),
        ({"type": "HeliosConfig", "options": {"x": 1}}, "options.x"),
        ({**SELENE, "simulator": {"type": "StabilizerSimulator"}}, "simulator.type"),
        ({**SELENE, "simulator": {"type": "StatevectorSimulator", "seed": 3}}, "simulator.seed"),
        ({**SELENE, "error_model": {"type": "DepolarizingErrorModel", "p_1q": 0.1}}, "error_model.type"),
    ],
)
def test_inner_options_are_refused(own: OwnService, config: dict[str, Any], inside: str) -> None:
    """An option inside another is refused by both names, with the options that are followed."""
    for job_type in ("compile", "execute"):
        words = refused(own, config, job_type)
        assert words.startswith(f"definition.backend_config.{inside}: this service does not follow ")
        assert "stand beside it: " in words
        assert "n_qubits" in words


@pytest.mark.parametrize(
    ("job_type", "field", "value"),
    [
        ("compile", "hypertket_config", {"rewrite_search_config": {"enable_rewrite_search": True}}),
        ("compile", "optimisation_level", 2.5),
        ("compile", "skip_store_intermediate_passes", "false"),
        ("compile", "language", "AUTO"),
        ("compile", "job_definition_type", "execute_job_definition"),
        ("compile", "credential_name", "mine"),
        ("execute", "optimisation_level", 2),
        ("execute", "language", "Quipper"),
        ("execute", "target_region", "mars"),
        ("execute", "valid_check", "no"),
        ("execute", "wasm_module_id", "00000000-0000-4000-8000-000000000000"),
        ("execute", "gpu_decoder_config_id", "00000000-0000-4000-8000-000000000000"),
        ("execute", "credential_name", "mine"),
        ("execute", "compiler_options", {"target_2qb_gate": "ZZMax"}),
        ("execute", "n_shots", 10),
    ],
)
def test_fields_are_refused(own: OwnService, job_type: str, field: str, value: Any) -> None:
    """A field of the definition that is not followed is refused by its name."""
    assert refused(own, H1, job_type, **{field: value}).startswith(f"definition.{field}: this service ")


def test_items_are_read_whole(own: OwnService) -> None:
    """An item has no field that nobody reads."""
    assert refused(own, AER, item={"shots": 5}).startswith("item 1: shots: this service has no such option")
    assert refused(own, AER, "compile", item={"n_shots": 5}).startswith("item 1: n_shots: this service has no such")
    own.submit([Circuit(1)], AER, item={"shots": None})


def test_one_device_is_named(own: OwnService) -> None:
    """A configuration names one device, by a text."""
    assert "once" in refused(own, {**H1, "system_name": "H1-1"})
    assert "there is no device '5'" in refused(own, {**AER, "device_name": 5})
    assert "there is no device 'x'" in refused(own, {**AER, "device": "x"})


def test_regions_and_batches(own: OwnService) -> None:
    """Regions of the vendor's devices are known; a batch may be asked for, but not capped."""
    for region in ("us", "sg"):
        own.submit([Circuit(1)], H1, target_region=region)
    batch = {**H1, "attempt_batching": True, "batch_id": "00000000-0000-4000-8000-000000000000"}
    job = own.submit([Circuit(1)], batch)
    own.store.rerun(EVERYTHING, job, "again", own.user)
    assert "max_batch_cost: " in refused(own, {**batch, "max_batch_cost": 50.0})
    own.submit([Circuit(1)], {**H1, "max_batch_cost": 50.0})
