"""Devices over HTTP."""

from __future__ import annotations

from typing import Any

import pytest
from pytket import OpType
from standing_service import Person, Standing, sample, shape

DEVICES = "/api/v5/available_devices"
PROPERTY = "/api/v5/backend_info/backend_property"


@pytest.fixture(scope="module")
def ada(standing_on_sqlite: Standing) -> Person:
    return standing_on_sqlite.user("ada")


def named(body: list[dict[str, Any]]) -> set[str]:
    return {info["device_name"] for entry in body for info in entry["backend_info_list"]}


def test_device_shape(ada: Person) -> None:
    """Devices have the keys and types that the real client accepted."""
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


def test_device_choice(ada: Person) -> None:
    """Devices are chosen by backend and by where they run."""
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
    assert "'backends'" in ada.get(DEVICES, ("backends", "AerConfig"), code=400)["message"]


@pytest.mark.parametrize(
    ("config", "true"),
    [
        ({"type": "AerConfig"}, {"supports_shots", "supports_counts"}),
        ({"type": "AerStateConfig", "n_qubits": 40}, {"supports_state"}),
        ({"type": "AerUnitaryConfig"}, {"supports_unitary"}),
        ({"type": "QuantinuumConfig", "device_name": "H1-1E"}, {"supports_shots", "supports_counts"}),
        ({"type": "QuantinuumConfig", "device_name": "H1-1SC"}, set()),
    ],
)
def test_backend_properties(ada: Person, config: Any, true: set[str]) -> None:
    """A backend has the properties that follow from its results."""
    properties = ("shots", "counts", "state", "unitary", "density_matrix", "expectation", "contextual_optimisation")
    words = [f"supports_{name}" for name in properties] + ["expectation_allows_nonhermitian"]
    answers = {word: ada.post(PROPERTY, {"backend_config": config, "property": word}, 200) for word in words}
    assert {word for word, answer in answers.items() if answer is True} == true
    assert {word for word, answer in answers.items() if answer is False} == set(words) - true


def test_unknown_property_or_backend(ada: Person) -> None:
    """An unknown property or backend is refused."""
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
    """Devices tell their state; unknown ones are not found."""
    for device in ("H1-1", "H1-1E", "H1-1SC"):
        assert ada.get(f"/api/machines/v1beta/{device}/status") == {"state": "online"}
    for device in ("H9-9", "'; --", "..", "%2e%2e"):
        answer = ada.http.get(f"/api/machines/v1beta/{device}/status")
        assert answer.status_code == 404
        assert list(answer.json()) == ["message"]


def test_remote_queue(ada: Person) -> None:
    """Nobody learns the queue of a device, as on Nexus."""
    message = ada.get("/api/v6/remote_queue/Quantinuum", ("device_names", "H1-1"), code=404)["message"]
    assert message.startswith("Queue information not available for 'Issuer.QUANTINUUM'.")
    ada.get("/api/v6/remote_queue/Braket", code=404)
    for wrong in ("quantinuum", "IBM", "x" * 500):
        ada.get(f"/api/v6/remote_queue/{wrong}", code=422)
