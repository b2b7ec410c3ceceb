"""The device file: what is read from it, what is refused and in which words, and what a clock makes of it."""

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


def test_the_usual_devices_are_those_of_the_documentation() -> None:
    devices = Devices.load()
    kinds = {device.name: device.kind for device in devices.all}
    assert {name for name, kind in kinds.items() if kind is DeviceKind.HARDWARE} == {"H1-1", "H1-1E", "H2-1", "H2-1E"}
    assert {name for name in kinds if name.endswith("SC")} == {
        name for name, kind in kinds.items() if kind is DeviceKind.SYNTAX_CHECKER
    }
    for kind, name in (("AerConfig", "Aer"), ("AerStateConfig", "AerState"), ("AerUnitaryConfig", "AerUnitary")):
        assert devices.device_of({"type": kind, "n_qubits": 40}).name == name
    assert devices.device_of({"type": "QuantinuumConfig", "device_name": "H2-1SC"}).name == "H2-1SC"
    info = next(each for each in devices.infos() if each["device_name"] == "H1-1E")
    assert info["name"] == "QuantinuumBackend"
    assert info["device"] == {"nodes": [], "edges": [], "n_nodes": 20, "fully_connected": True}
    assert {"PhasedX", "Rz", "ZZPhase", "ZZMax", "TK2"} <= set(info["gate_set"])


def test_everything_in_a_file_is_read(tmp_path) -> None:
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
def test_opening_hours_are_kept(tmp_path, when: str, is_open: bool) -> None:
    devices = load(tmp_path, MINE)
    now = datetime.fromisoformat(when).replace(tzinfo=UTC)
    assert devices.all[0].is_open(now) is is_open
    assert devices.state("mine", now) == ("online" if is_open else "offline")
    assert devices.state("not mine", now) is None


@given(st.integers(0, 7 * 24 * 60))
def test_two_hours_that_share_an_end_leave_no_gap(minutes: int) -> None:
    """08:00 to 20:00 and 20:00 to 08:00 are every moment, once."""
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
        ("[1, 2]", "[1, 3]", r"\[1, 3\] is no pair of two of the 3 qubits"),
        ("[1, 2]", "[1, 1]", r"\[1, 1\] is no pair"),
        ('start: "08:00"', "start: 8:00", "in quotes"),
        ("n_qubits: 3", "n_qubits: 0", "device mine: n_qubits"),
        ("days: [mon, fri]", "days: [monday]", "device mine: opening_hours"),
        ("devices:", "devicess:", "devicess|devices"),
        (MINE, "devices: [", "is not YAML"),
        (MINE, "nothing", "device file"),
        (MINE, "devices: []", "at least 1"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place(tmp_path, old: str, new: str, words: str) -> None:
    assert old in MINE
    with pytest.raises(InvalidInput, match=words) as caught:
        load(tmp_path, MINE.replace(old, new))
    assert str(tmp_path) in str(caught.value)


def test_two_devices_of_one_name_are_refused(tmp_path) -> None:
    with pytest.raises(InvalidInput, match="there are two with the name mine"):
        load(tmp_path, MINE + OTHER.replace("other", "mine"))


def test_a_file_that_is_not_there_is_refused(tmp_path) -> None:
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
def test_a_configuration_without_a_device_is_refused(tmp_path, config, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        load(tmp_path, MINE + OTHER).device_of(config)


def test_properties_of_a_backend_follow_from_what_it_gives_back() -> None:
    devices = Devices.load()
    state = {"type": "AerStateConfig"}
    assert devices.backend_property(state, "supports_state") is True
    assert devices.backend_property(state, "supports_shots") is False
    assert devices.backend_property({"type": "AerConfig"}, "supports_counts") is True
    assert devices.backend_property({"type": "AerUnitaryConfig"}, "supports_unitary") is True
    checker = {"type": "QuantinuumConfig", "device_name": "H1-1SC"}
    assert devices.backend_property(checker, "supports_shots") is False
    with pytest.raises(BadRequest, match="there is no property 'supports_magic'"):
        devices.backend_property(state, "supports_magic")


def test_rates_are_kept_and_the_same_item_has_the_same_fate(tmp_path) -> None:
    device = load(tmp_path, MINE).all[0]
    uuids = [f"item {number}" for number in range(4000)]
    fates = [device.fails(uuid, 1) for uuid in uuids]
    assert fates == [device.fails(uuid, 1) for uuid in uuids]
    assert 900 < sum(fates) < 1100
    assert 1900 < sum(device.drops(uuid) for uuid in uuids) < 2100
    assert sum(fails and device.fails(uuid, 2) for uuid, fails in zip(uuids, fates, strict=True)) < 320
    assert chance("x", "failure") == chance("x", "failure") != chance("x", "drop")


def test_a_clock_goes_on_from_where_it_was(tmp_path, monkeypatch) -> None:
    from qjobs.ledger.database import Database
    from qjobs.service.clock import ServiceClock
    from qjobs.service.tables import SERVICE

    db = Database(f"sqlite:///{tmp_path / 'service.db'}", SERVICE)
    try:
        fast = ServiceClock(db, 1e6)
        began = fast.now()
        while fast.now() - began < timedelta(days=1):
            pass
        reached = fast.now()
        again = ServiceClock(db, 1.0)
        assert again.now() >= reached
        assert again.now() - reached < timedelta(days=30)
        assert (fast.real_s(1e6), again.real_s(5.0)) == (1.0, 5.0)
        for wrong in (0.0, -1.0, float("inf"), float("nan")):
            with pytest.raises(InvalidInput, match="positive number"):
                ServiceClock(db, wrong)
    finally:
        db.close()
