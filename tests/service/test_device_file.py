"""The device file: what is read from it, and what is refused in which words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qjobs.errors import InvalidInput
from qjobs.service.devices import DeviceKind, Devices, chance
from qjobs.service.errors import BadRequest

MINE = """
devices:
  - {name: mine, kind: hardware, backend: MyBackend, config: MyConfig, n_qubits: 3, queue_time_s: 1814400,
     gate_set: [CX, Rz], connectivity: [[0, 1], [1, 2]], shots_per_s: 20, failure_rate: 0.25, drop_rate: 0.5,
     noise: {depolarizing_2q: 0.01}, opening_hours: [{days: [mon, fri], start: "08:00", end: "18:30"},
                                                     {days: [sat], start: "22:00", end: "02:00"}]}
"""
OTHER = "\n  - {name: other, kind: nexus-hosted, backend: B, config: MyConfig, n_qubits: 2}"


def load(tmp_path, text: str) -> Devices:
    path = tmp_path / "devices.yaml"
    path.write_text(text)
    return Devices.load(path)


def test_builtin_devices() -> None:
    """The built-in devices are those of Nexus's documentation."""
    devices = Devices.load()
    kinds = {device.name: device.kind for device in devices.all}
    assert {name for name, kind in kinds.items() if kind is DeviceKind.HARDWARE} == {"H1-1", "H1-1E", "H2-1", "H2-1E"}
    assert {name for name in kinds if name.endswith("SC")} == {
        name for name, kind in kinds.items() if kind is DeviceKind.SYNTAX_CHECKER
    }
    for kind, name in (("AerConfig", "Aer"), ("AerStateConfig", "AerState"), ("AerUnitaryConfig", "AerUnitary")):
        assert devices.device_of({"type": kind, "n_qubits": 40}).name == name
    assert devices.device_of({"type": "QuantinuumConfig", "device_name": "H2-1SC"}).name == "H2-1SC"
    info = devices.device_of({"type": "QuantinuumConfig", "device_name": "H1-1E"}).info()
    assert info["name"] == "QuantinuumBackend"
    assert info["device"] == {"nodes": [], "edges": [], "n_nodes": 20, "fully_connected": True}
    assert {"PhasedX", "Rz", "ZZPhase", "ZZMax", "TK2"} <= set(info["gate_set"])


def test_device_file(tmp_path) -> None:
    """Everything in a device file is read."""
    device = load(tmp_path, MINE).device_of({"type": "MyConfig"})
    assert (device.queue_time_s, device.shots_per_s, device.failure_rate) == (1814400, 20, 0.25)
    assert device.noise.depolarizing_2q == 0.01
    assert device.info()["device"]["edges"] == [[["node", [0]], ["node", [1]]], [["node", [1]], ["node", [2]]]]
    assert device.info()["device"]["fully_connected"] is False


@pytest.mark.parametrize(
    ("when", "is_open"),
    [
        ("2026-11-20T08:00", True),  # a Friday
        ("2026-11-20T07:59", False),
        ("2026-11-20T18:30", False),
        ("2026-11-19T12:00", False),
        ("2026-11-21T22:00", True),  # Saturday night, into Sunday
        ("2026-11-22T01:59", True),
        ("2026-11-22T02:00", False),
        ("2026-11-21T01:00", False),
    ],
)
def test_opening_hours(tmp_path, when: str, is_open: bool) -> None:
    """A device is open in its opening hours, also across midnight."""
    devices = load(tmp_path, MINE)
    now = datetime.fromisoformat(when).replace(tzinfo=UTC)
    assert devices.all[0].is_open(now) is is_open
    assert devices.get("mine").state_at(now) == ("online" if is_open else "offline")
    assert devices.get("not mine") is None


@pytest.mark.parametrize("state", ["offline", "in maintenance, reserved"])
def test_state_in_the_file(tmp_path, state: str) -> None:
    """A device that is not online has the state of the file, also in its opening hours."""
    devices = load(tmp_path, MINE.replace("n_qubits: 3", f"n_qubits: 3, state: '{state}'"))
    assert devices.get("mine").state_at(datetime(2026, 11, 20, 12, tzinfo=UTC)) == state


@given(st.integers(0, 7 * 24 * 60))
def test_opening_hours_leave_no_gap(minutes: int) -> None:
    """08:00 to 20:00 and 20:00 to 08:00 cover every moment once."""
    from qjobs.service.devices import OpeningHours

    now = datetime(2026, 11, 16, tzinfo=UTC) + timedelta(minutes=minutes)
    day = OpeningHours(start="08:00", end="20:00")
    night = OpeningHours(start="20:00", end="08:00")
    assert day.holds(now) is not night.holds(now)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: hardware", "kind: hardwar", "device mine: kind"),
        ("failure_rate: 0.25", "failure_rate: 25", "device mine: failure_rate"),
        ("drop_rate: 0.5", "drop_rat: 0.5", "device mine: drop_rat"),
        ("shots_per_s: 20", "shots_per_s: 0", "device mine: shots_per_s"),
        ("queue_time_s: 1814400", "queue_time_s: -1", "device mine: queue_time_s"),
        ("queue_time_s: 1814400", "queue_time_s: .inf", "device mine: queue_time_s"),
        ("[CX, Rz]", "[CX, Rzz]", "pytket has no Rzz"),
        ("[1, 2]", "[1, 3]", r"\[1, 3\] must be two different qubits below 3"),
        ("[1, 2]", "[1, 1]", r"\[1, 1\] must be two different"),
        ('start: "08:00"', "start: 8:00", "in quotes"),
        ("n_qubits: 3", "n_qubits: 0", "device mine: n_qubits"),
        ("n_qubits: 3", "n_qubits: 3, result: state", "device mine: noise: only shots"),
        ("days: [mon, fri]", "days: [monday]", "device mine: opening_hours"),
        ("devices:", "devicess:", "devicess|devices"),
        (MINE, "devices: [", "is not YAML"),
        (MINE, "nothing", "device file"),
        (MINE, "devices: []", "at least 1"),
        (MINE, MINE + OTHER.replace("other", "mine"), "2 of them have the name mine"),
    ],
)
def test_bad_device_file(tmp_path, old: str, new: str, words: str) -> None:
    """A bad device file is refused with the place of the mistake."""
    assert old in MINE
    with pytest.raises(InvalidInput, match=words) as caught:
        load(tmp_path, MINE.replace(old, new))
    assert str(tmp_path) in str(caught.value)


def test_missing_device_file(tmp_path) -> None:
    """A device file that does not exist is refused."""
    with pytest.raises(InvalidInput, match="cannot be read"):
        Devices.load(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "no backend for None"),
        ({"type": "BraketConfig"}, "no backend for 'BraketConfig'; it has MyConfig"),
        ({"type": ["MyConfig"]}, "no backend"),
        ({"type": "MyConfig"}, "needs the name of a device: mine, other"),
        ({"type": "MyConfig", "device_name": "H9"}, "there is no device 'H9'; there are mine, other"),
    ],
)
def test_configuration_without_device(tmp_path, config, words: str) -> None:
    """A backend configuration that means no device is refused."""
    with pytest.raises(BadRequest, match=words):
        load(tmp_path, MINE + OTHER).device_of(config)


def test_rates(tmp_path) -> None:
    """Failure and drop rates are kept, and the same try always ends alike."""
    device = load(tmp_path, MINE).all[0]
    uuids = [f"item {number}" for number in range(4000)]
    fates = [device.fails(uuid, 1) for uuid in uuids]
    assert fates == [device.fails(uuid, 1) for uuid in uuids]
    assert 900 < sum(fates) < 1100
    assert 1900 < sum(device.drops(uuid) for uuid in uuids) < 2100
    assert sum(fails and device.fails(uuid, 2) for uuid, fails in zip(uuids, fates, strict=True)) < 320
    assert chance("x", "failure") == chance("x", "failure") != chance("x", "drop")
