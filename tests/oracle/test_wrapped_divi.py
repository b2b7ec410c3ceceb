"""Divi's own client as an object that is wrapped: the real one of 0.13 and of 0.15, against a small Qoro."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from environments import NoEnvironment, python_of
from qoro_cloud import TOKEN, QoroCloud

from qjobs.testing.faults import Action, Fault, Route

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
DRIVE = Path(__file__).with_name("wrapped_divi.py")
ROOT = DRIVE.parents[2]


@pytest.fixture(scope="module")
def cloud() -> Iterator[QoroCloud]:
    with QoroCloud() as cloud:
        yield cloud


@pytest.fixture(autouse=True)
def reset(cloud: QoroCloud) -> None:
    cloud.reset()


class Clients:
    """A process for each release of Divi that is asked for."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._running: dict[str, subprocess.Popen[str]] = {}

    def ask(self, release: str, act: str) -> dict[str, Any]:
        """What the client of a release found in an act."""
        process = self._running.get(release) or self._start(release)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{act}\n")
        process.stdin.flush()
        found: dict[str, Any] = json.loads(process.stdout.readline() or '{"failed": "its process has ended"}')
        assert "failed" not in found, found["failed"]
        return found

    def _start(self, release: str) -> subprocess.Popen[str]:
        try:
            python = python_of(release)
        except NoEnvironment as error:
            if os.environ.get("CI"):
                pytest.fail(str(error))
            pytest.skip(str(error))
        process = subprocess.Popen(
            [str(python), str(DRIVE), self._url, TOKEN],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self._running[release] = process
        return process

    def close(self) -> None:
        for process in self._running.values():
            with process:
                process.kill()


@pytest.fixture(scope="module")
def clients(cloud: QoroCloud) -> Iterator[Clients]:
    found = Clients(cloud.url)
    yield found
    found.close()


def test_old_client_repeats(cloud: QoroCloud, clients: Clients) -> None:
    """The client of 0.13 makes several jobs of one submission when replies are lost, which is why it is refused."""
    cloud.inject(Fault(route=Route.INIT, action=Action.DROP_AFTER, times=2))
    clients.ask("divi-0.13", "sent")
    assert len(cloud.sent) == 3


def test_old_client_is_refused(cloud: QoroCloud, clients: Clients) -> None:
    """It is refused with what to use instead, and nothing is made."""
    words = clients.ask("divi-0.13", "refused")["refused"]
    assert "qoro-divi 0.13.0 sends a POST again" in words
    assert "qoro/TARGET" in words
    assert cloud.sent == {}


@pytest.mark.parametrize("release", ["divi-0.13", "divi-0.15"])
def test_protocol(release: str, clients: Clients) -> None:
    """Divi's words are all in the table, and its handle has nothing that ours lacks."""
    found = clients.ask(release, "protocol")
    assert found["is_one"]
    assert set(found["words"]) <= set(found["known"])
    assert found["fields"] == found["methods"] == []
    if release == "divi-0.15":
        assert found["words"] == found["known"]


def test_completed(cloud: QoroCloud, clients: Clients) -> None:
    """A job runs to its end: bits in our order, each item its own shots, a cancellation that comes too late is none."""
    found = clients.ask("divi-0.15", "completed")
    assert found["status"] == "COMPLETED"
    assert found["counts"] == [{"001": 100}, {"011": 100}, {"110": 40}, {"100": 8}]
    assert found["stranger"] == []
    assert cloud.created == 1
    assert cloud.asked["cancel"] == 1


@pytest.mark.parametrize(
    ("route", "action", "let_run"),
    [
        (Route.INIT, Action.DROP_AFTER, 0),
        (Route.INIT, Action.CODE_AFTER, 0),
        (Route.FINALISE, Action.DROP_AFTER, 1),
        (Route.FINALISE, Action.CODE_AFTER, 1),
        (Route.FINALISE, Action.DROP_BEFORE, 0),
    ],
)
def test_lost_reply(route: Route, action: Action, let_run: int, cloud: QoroCloud, clients: Clients) -> None:
    """Whichever reply is lost, the job is UNKNOWN, and at most one was let run, however often it is entered."""
    cloud.inject(Fault(route=route, action=action))
    found = clients.ask("divi-0.15", "lost")
    assert found == {"status": "UNKNOWN", "said": ["SubmissionUnknown"] * 3}
    assert cloud.created == let_run
    assert len(cloud.sent) == 1
