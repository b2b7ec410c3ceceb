"""A process that sends a job, or is a sensor, and is killed (SIGKILL) at a moment of one's choice.

    python dying.py MOMENT LEDGER JOB_ID PRESENT KIND SETTINGS

`KIND` and `SETTINGS` (JSON) say which adapter, `PRESENT` where the clock of the row stands, in seconds.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

import qjobs
from qjobs.backends.base import Backend, Journal
from qjobs.backends.rest import LostReply, RestBackend
from qjobs.ledger import Ledger
from qjobs.model import Batch, JobId, Key, RemoteId
from qjobs.operations.sensor_pass import sensor_pass

SENDERS = ("before sending", "sending", "made", "written down")
STEPPED = ("reserving", "reserved", "between steps", *SENDERS)
SENSORS = ("the sensor has asked", "the sensor has a result")


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it lives on")


@dataclass
class Mortal:
    """A backend, and its journal, under which the process ends at a moment."""

    real: Backend
    moment: str
    journal: Journal | None = None
    prepared: int = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)

    def at(self, moment: str) -> None:
        if moment == self.moment:
            die()

    def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
        self.journal = journal
        self.real.submit(batch, key, self)

    def preparing(self) -> None:
        self.prepared += 1
        if self.prepared == 2:
            self.at("between steps")
        self.journal.preparing()

    def reserved(self, remote_id: RemoteId) -> None:
        self.at("reserving")
        self.journal.reserved(remote_id)
        self.at("reserved")

    def sending(self) -> None:
        self.at("before sending")
        self.journal.sending()
        self.at("sending")

    def accepted(self, remote_id: RemoteId) -> None:
        self.at("made")
        self.journal.accepted(remote_id)
        self.at("written down")

    def status(self, remote_ids: Sequence[RemoteId]) -> object:
        answers = self.real.status(remote_ids)
        self.at("the sensor has asked")
        return answers

    def results(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> Iterator[object]:
        for answer in self.real.results(remote_id, items):
            yield answer
            self.at("the sensor has a result")


def opened(kind: str, settings: dict[str, Any]) -> Backend:
    """The adapter of a kind."""
    if kind == "stepped":
        from qjobs.testing.stepped import SteppedRestBackend

        return SteppedRestBackend(settings.pop("url"), **settings)
    if kind == "qoro":
        from qjobs.backends.qoro import QoroBackend

        key = settings.pop("token")
        return QoroBackend("qoro_maestro", token=lambda: key, **settings)
    if kind == "nexus":
        from qjobs.backends.nexus import NexusBackend

        return NexusBackend("Aer", **settings)
    if kind.startswith("mqp"):
        from qjobs.backends.mqp import MqpBackend, PortalLogin

        token = settings.pop("token")
        portal = PortalLogin(**login) if (login := settings.pop("portal")) else None
        return MqpBackend("QExa", token=lambda: token, portal=portal, **settings)
    if kind.startswith("async-job"):
        from async_provider import FindingObject, HttpObject

        from qjobs.backends.async_job import AsyncJob

        target = (FindingObject if kind == "async-job-find" else HttpObject)(settings.pop("url"))
        return AsyncJob(target, **settings)
    if kind == "aer":
        from qjobs.backends.aer import AerBackend

        return AerBackend(n_workers=1)
    return RestBackend(settings.pop("url"), lost_reply=LostReply(kind), **settings)


def main() -> None:
    moment, url, job_id, present_s, kind, settings = sys.argv[1:]
    backend = Mortal(opened(kind, json.loads(settings)), moment)
    present = datetime.fromtimestamp(float(present_s), tz=UTC)
    with Ledger(url) as ledger:
        if moment in SENSORS:
            sensor_pass(ledger, lambda _: backend, now=lambda: present, rng=random.Random(1))
        else:
            qjobs.submit(ledger, backend, JobId(job_id), now=lambda: present)
    print("nothing killed it")


if __name__ == "__main__":
    main()
