"""Devices over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pytket import OpType
from standing_service import Person, Standing, sample, shape, standing_service

DEVICES = "/api/v5/available_devices"
PROPERTY = "/api/v5/backend_info/backend_property"


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    with standing_service(tmp_path_factory.mktemp("standing")) as standing:
        yield standing


@pytest.fixture(scope="module")
def ada(standing: Standing) -> Person:
    return standing.user("ada")


def named(body: list[dict[str, Any]]) -> set[str]:
    return {info["device_name"] for entry in body for info in entry["backend_info_list"]}


def test_devices_have_the_keys_and_types_that_the_real_client_accepted(ada: Person) -> None:
    body = ada.get(DEVICES)
    expected = sample(f"GET {DEVICES} -> 200")
    assert shape(body) == shape(expected)
    assert {"aer_simulator", "H1-1", "H1-1E", "H1-1SC", "H2-1", "H2-1E", "H2-1SC"} <= named(body)
    for entry in body:
        for info in entry["backend_info_list"]:
            assert set(info["gate_set"]) <= set(OpType.__members__)
            assert shape(info, open_at=("n_cl_reg", "device_name", "gate_set", "device")) == shape(
                expected[0]["backend_info_list"][0], open_at=("n_cl_reg", "device_name", "gate_set", "device")
            )


def test_devices_are_chosen_as_the_client_asks(ada: Person) -> None:
    aer = ada.get(DEVICES, ("backend", "AerConfig"), ("backend", "AerStateConfig"))
    assert named(aer) == {"aer_simulator", "aer_simulator_statevector"}
    hosted = ada.get(DEVICES, ("is_local", "true"))
    remote = ada.get(DEVICES, ("is_local", "false"))
    assert {entry["is_local"] for entry in hosted} == {True}
    assert {entry["is_local"] for entry in remote} == {False}
    assert "aer_simulator" in named(hosted)
    assert "H1-1" in named(remote)
    assert named(hosted) | named(remote) == named(ada.get(DEVICES))
    assert ada.get(DEVICES, ("backend", "IBMQConfig")) == []
    assert "is_local" in ada.get(DEVICES, ("is_local", "maybe"), code=400)["message"]
    ada.get(DEVICES, ("region", "x"), ("credential_names", "a"), ("credential_names", "b"))


@pytest.mark.parametrize(
    ("config", "true"),
    [
        ({"type": "AerConfig"}, {"supports_shots", "supports_counts"}),
        ({"type": "AerStateConfig", "n_qubits": 40}, {"supports_state"}),
        ({"type": "AerUnitaryConfig"}, {"supports_unitary"}),
        ({"type": "QuantinuumConfig", "device_name": "H1-1E"}, {"supports_shots", "supports_counts"}),
    ],
)
def test_properties_of_backends(ada: Person, config: Any, true: set[str]) -> None:
    properties = ("shots", "counts", "state", "unitary", "density_matrix", "expectation", "contextual_optimisation")
    words = [f"supports_{name}" for name in properties] + ["expectation_allows_nonhermitian"]
    answers = {word: ada.post(PROPERTY, {"backend_config": config, "property": word}, 200) for word in words}
    assert {word for word, answer in answers.items() if answer is True} == true
    assert {word for word, answer in answers.items() if answer is False} == set(words) - true


def test_what_is_no_property_or_backend_is_refused(ada: Person) -> None:
    config = {"type": "AerConfig"}
    ada.post(PROPERTY, {"backend_config": config, "property": "supports_magic"}, 400)
    ada.post(PROPERTY, {"backend_config": {"type": "IBMQConfig"}, "property": "supports_shots"}, 400)
    ada.post(PROPERTY, {"backend_config": {}, "property": "supports_shots"}, 400)
    for body in (
        None,
        {},
        [],
        {"backend_config": "AerConfig", "property": "supports_shots"},
        {"backend_config": config},
    ):
        ada.post(PROPERTY, body, 422)


def test_states(ada: Person) -> None:
    for device in ("H1-1", "H1-1E", "H1-1SC"):
        assert ada.get(f"/api/machines/v1beta/{device}/status") == {"state": "online"}
    for device in ("H9-9", "'; --", "..", "%2e%2e"):
        answer = ada.http.get(f"/api/machines/v1beta/{device}/status")
        assert answer.status_code == 404
        assert list(answer.json()) == ["message"]


def test_a_device_file_says_the_state(tmp_path: Path) -> None:
    common = "kind: hardware, backend: QuantinuumBackend, config: QuantinuumConfig, n_qubits: 2"
    lines = [f"{{name: '{state}', state: '{state}', {common}}}" for state in ("offline", "in maintenance, reserved")]
    lines.append(f"{{name: closed, {common}, opening_hours: [{{days: [], start: '00:00', end: '01:00'}}]}}")
    (tmp_path / "devices.yaml").write_text(f"devices: [{', '.join(lines)}]")
    with standing_service(tmp_path, device_file=tmp_path / "devices.yaml") as standing:
        who = standing.user("ada")
        reserved = "in maintenance, reserved"
        for device, state in {"offline": "offline", reserved: reserved, "closed": "offline"}.items():
            assert who.get(f"/api/machines/v1beta/{device}/status") == {"state": state}


def test_queues_of_others_are_not_told(ada: Person) -> None:
    message = ada.get("/api/v6/remote_queue/Quantinuum", ("device_names", "H1-1"), code=404)["message"]
    assert message.startswith("Queue information not available for 'Issuer.QUANTINUUM'.")
    ada.get("/api/v6/remote_queue/Braket", code=404)
    for wrong in ("quantinuum", "IBM", "x" * 500):
        ada.get(f"/api/v6/remote_queue/{wrong}", code=422)


def test_strangers_see_no_devices(standing: Standing) -> None:
    with httpx.Client(base_url=standing.url) as stranger:
        body = {"backend_config": {"type": "AerConfig"}, "property": "supports_shots"}
        for answer in (
            stranger.get(DEVICES),
            stranger.post(PROPERTY, json=body),
            stranger.get("/api/machines/v1beta/H1-1/status"),
            stranger.get("/api/v6/remote_queue/Quantinuum"),
        ):
            assert answer.status_code == 401
