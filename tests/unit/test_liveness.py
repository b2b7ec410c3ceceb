"""Which process holds a lease, and whether it is proved to have ended or to live."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import NOW, claim, create, ended_owner, job_moves, sending

from qjobs.ledger import Ledger, liveness
from qjobs.ledger.liveness import display_owner, has_ended, is_alive, lease_owner
from qjobs.lifecycle import JobStatus

ROOT = Path(__file__).parents[2]


@pytest.fixture
def other() -> Iterator[subprocess.Popen[str]]:
    """A process that prints its owner of leases and then waits."""
    code = (
        "import sys; from qjobs.ledger.liveness import lease_owner; print(lease_owner(), flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        yield process
        process.kill()


def test_end_is_proved(other: subprocess.Popen[str]) -> None:
    """A process lives while it is stopped, and has ended when it is killed, reaped or not."""
    assert is_alive(lease_owner())
    owner = other.stdout.readline().strip()
    os.kill(other.pid, signal.SIGSTOP)
    assert (is_alive(owner), has_ended(owner)) == (True, False)
    os.kill(other.pid, signal.SIGKILL)
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert (is_alive(owner), has_ended(owner)) == (False, True)
    other.wait()
    assert (is_alive(owner), has_ended(owner)) == (False, True)


@pytest.mark.parametrize("owner", [None, "", "test", "host:1:2", "host:x:2 a/b/c/3", " / / / "])
def test_other_words(owner: str | None) -> None:
    """Nothing is proved of an owner that names no process."""
    assert (is_alive(owner), has_ended(owner)) == (False, False)


def changed(owner: str, field: int, value: str) -> str:
    name, _, proof = owner.partition(" ")
    fields = proof.split("/")
    fields[field] = value
    return f"{name} {'/'.join(fields)}"


def test_pid_used_again() -> None:
    """A process with the same pid that started at another moment is another process."""
    assert has_ended(changed(lease_owner(), -1, "1"))


@pytest.mark.parametrize("field", [0, 1, 2, 3], ids=["boot", "pid namespace", "time namespace", "network"])
def test_another_machine(field: int) -> None:
    """Nothing is proved of the same pid on another machine or in another container."""
    assert not has_ended(changed(changed(lease_owner(), -1, "1"), field, "elsewhere"))


def test_another_host() -> None:
    """Nothing is proved of a machine with another name, though all its ids are the same: it is a clone."""
    owner = changed(lease_owner(), -1, "1")
    assert has_ended(owner)
    assert not has_ended(f"clone-{owner}")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of network interfaces, without one."""
    folder = tmp_path / "net"
    folder.mkdir()
    monkeypatch.setattr(liveness, "_NET", folder)
    return folder


def plug_in(network: Path, name: str, address: str, bus: str) -> None:
    device = network.parent / "devices" / bus / "net" / name
    device.mkdir(parents=True)
    (device / "address").write_text(f"{address}\n")
    (network / name).symlink_to(device)


def test_network(network: Path) -> None:
    """A machine's own interfaces name it, and those that its system makes do not."""
    plug_in(network, "eth0", "02:00:00:00:00:01", "pci0000:00")
    owner = changed(lease_owner(), -1, "1")
    plug_in(network, "veth7", "02:00:00:00:00:07", "virtual")
    assert has_ended(owner)
    plug_in(network, "eth1", "02:00:00:00:00:02", "pci0000:01")
    assert not has_ended(owner)


def test_without_a_network(network: Path) -> None:
    """Nothing is proved where a machine has no interface of its own."""
    plug_in(network, "eth0", "02:42:ac:11:00:02", "virtual")
    owner = lease_owner()
    assert owner == display_owner(owner)
    assert not is_alive(owner)


def test_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing is proved where /proc cannot be read."""
    owner = changed(lease_owner(), -1, "1")
    monkeypatch.setattr(liveness, "_PROC", tmp_path)
    assert not has_ended(owner)
    assert lease_owner() == display_owner(owner)


def test_lease_of_an_ended_process(ledger: Ledger) -> None:
    """A process that has ended loses its lease at once, and no other does."""
    ended = create(ledger, "ended")
    alive = create(ledger, "alive")
    sending(ledger, claim(ledger, ended, owner=ended_owner()))
    claim(ledger, alive, owner=lease_owner())
    assert ledger.submissions.expire_leases(now=NOW, job_ids=[alive]) == []
    assert ledger.submissions.expire_leases(now=NOW) == [ended]
    assert ledger.job(alive).status is JobStatus.SUBMITTING
    assert job_moves(ledger, ended)[-1][1:] == (JobStatus.UNKNOWN, "owner ended")
    assert ledger.job(ended).message == f"attempt 1: {display_owner(ended_owner())} ended without settling it"
