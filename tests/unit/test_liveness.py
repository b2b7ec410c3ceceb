"""A lease is taken away at once from a process that is proved to be dead, and from no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import NOW, claim, create, job_moves

from qjobs.ledger import Ledger, liveness
from qjobs.ledger.liveness import display_owner, has_ended, is_alive, lease_owner
from qjobs.lifecycle import JobStatus

ROOT = Path(__file__).parents[2]


@pytest.fixture
def other() -> subprocess.Popen[str]:
    """A process that says what it would write into a lease and then waits."""
    code = (
        "import sys; from qjobs.ledger.liveness import lease_owner; print(lease_owner(), flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        yield process
        process.kill()


def test_a_living_owner_keeps_its_lease(other: subprocess.Popen[str]) -> None:
    assert not has_ended(lease_owner())
    owner = other.stdout.readline().strip()
    assert not has_ended(owner)
    os.kill(other.pid, signal.SIGSTOP)
    assert not has_ended(owner), "a stopped process may go on"
    assert is_alive(owner)
    os.kill(other.pid, signal.SIGKILL)
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    assert has_ended(owner), "dead, and not reaped"
    assert not is_alive(owner)
    other.wait()
    assert has_ended(owner), "dead and reaped"


@pytest.mark.parametrize("owner", [None, "", "test", "host:1:2", "host:x:2 a/b/c/3", " / / / "])
def test_nothing_is_proved_of_other_words(owner: str | None) -> None:
    assert not has_ended(owner)
    assert not is_alive(owner)


def _changed(owner: str, field: int, value: str) -> str:
    name, _, proof = owner.partition(" ")
    parts = proof.split("/")
    parts[field] = value
    return f"{name} {'/'.join(parts)}"


def test_a_pid_that_was_used_again_is_another_process() -> None:
    assert has_ended(_changed(lease_owner(), -1, "1"))


@pytest.mark.parametrize("field", [0, 1, 2], ids=["boot", "pid namespace", "time namespace"])
def test_nothing_is_proved_of_another_world(field: int) -> None:
    """The same pid on another machine, or in another container, is not ours to judge."""
    assert not has_ended(_changed(_changed(lease_owner(), -1, "1"), field, "elsewhere"))


def test_without_proc_nothing_is_proved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    owner = _changed(lease_owner(), -1, "1")
    monkeypatch.setattr(liveness, "_PROC", tmp_path)
    assert not has_ended(owner)
    assert lease_owner() == display_owner(owner)


def test_the_ledger_expires_the_lease_of_a_dead_owner(ledger: Ledger, other: subprocess.Popen[str]) -> None:
    dead, alive = create(ledger, "dead"), create(ledger, "alive")
    owner = other.stdout.readline().strip()
    claim(ledger, dead, owner=owner)
    claim(ledger, alive, owner=lease_owner())
    assert ledger.submissions.expire_leases(now=NOW) == []
    other.kill()
    other.wait()
    assert ledger.submissions.expire_leases(now=NOW, job_ids=[alive]) == []
    assert ledger.submissions.expire_leases(now=NOW) == [dead]
    assert ledger.job(alive).status is JobStatus.SUBMITTING
    assert job_moves(ledger, dead)[-1][1:] == (JobStatus.UNKNOWN, "owner ended")
    assert ledger.job(dead).message == f"attempt 1: {display_owner(owner)} ended without settling it"
