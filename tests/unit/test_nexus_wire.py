"""Jobs and devices of Nexus as our values."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from qjobs.backends.nexus import wire
from qjobs.backends.nexus.devices import config_of, target_in
from qjobs.errors import ProtocolError
from qjobs.lifecycle import JobStatus

SAMPLES = json.loads(Path(__file__).with_name("nexus_samples.json").read_text())


def test_status_table() -> None:
    """Every status of a provider has its word, and no other word is taken."""
    ours = {JobStatus.CREATED, JobStatus.SUBMITTING, JobStatus.UNKNOWN, JobStatus.LOST}
    assert set(wire.STATUSES.values()) == set(JobStatus) - ours
    assert all(word == status for word, status in wire.STATUSES.items())


def test_recorded_job() -> None:
    """A job, its items, times and costs are read as they were recorded."""
    job = copy.deepcopy(SAMPLES["GET /api/jobs/v1beta3/{id} execute ERROR -> 200"]["response"])["data"]
    snapshot = wire.snapshot_of(job, with_items=True)
    assert (snapshot.status, snapshot.remote_status, snapshot.cost) == (JobStatus.ERROR, "ERROR", 5.04)
    assert "compile it for H1-1LE first" in snapshot.message
    assert snapshot.items is not None
    failed, done = snapshot.items
    assert failed.error_detail == "Circuit contains gates that H1-1LE does not support; compile it for H1-1LE first"
    assert (done.status, done.cost) == (JobStatus.COMPLETED, 5.04)
    assert done.times[JobStatus.COMPLETED] == datetime(2026, 11, 21, 5, 3, 5, 400589, UTC)
    assert wire.snapshot_of(job, with_items=False).items is None


@pytest.mark.parametrize(
    "job",
    [
        None,
        [],
        {},
        {"attributes": None},
        {"attributes": {"status": "QUEUED"}},
        {"attributes": {"status": {}}},
        {"attributes": {"status": {"status": 7}}},
        {"attributes": {"status": {"status": "queued"}}},
    ],
)
def test_not_a_job(job: Any) -> None:
    """Whatever is not a job is a ProtocolError."""
    with pytest.raises(ProtocolError):
        wire.snapshot_of(job, with_items=True)


@pytest.mark.parametrize(
    ("device", "config"),
    [
        ("aer", {"type": "AerConfig"}),
        ("AerConfig", {"type": "AerConfig"}),
        ("aer_simulator", {"type": "AerConfig"}),
        ("Selene", {"type": "SeleneConfig"}),
        ("H2-1SC", {"type": "QuantinuumConfig", "device_name": "H2-1SC"}),
        ("Reimei", {"type": "QuantinuumConfig", "device_name": "Reimei"}),
        ("Helios-1E", {"type": "HeliosConfig", "system_name": "Helios-1E"}),
    ],
)
def test_configuration_by_name(device: str, config: dict[str, str]) -> None:
    """The name of a device decides on its configuration."""
    assert config_of(device, {}, None) == config


def test_recorded_devices() -> None:
    """Size and coupling come from the list of devices."""
    devices = copy.deepcopy(SAMPLES["GET /api/v5/available_devices -> 200"]["response"])
    devices = [each for each in devices if isinstance(each, dict)]
    assert target_in(devices, "H2-1LE", config_of("H2-1LE", {}, None)).n_qubits == 56
    assert target_in(devices, "Aer", config_of("Aer", {}, None)).n_qubits == 40
    lines = {"nodes": [], "n_nodes": 3, "edges": [[["node", [0]], ["node", [1]]], [["node", [1]], ["node", [2]]]]}
    devices[0]["backend_info_list"][0]["device"] = lines
    assert target_in(devices, "Aer", config_of("Aer", {}, None)).coupling == ((0, 1), (1, 0), (1, 2), (2, 1))
    with pytest.raises(ProtocolError):
        target_in({}, "Aer", config_of("Aer", {}, None))
