"""Rows of what is said and written: caps, advice, secrets, reasons."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

from audit_rows import Row, S, Scene
from little_server import LittleServer, echoing
from support import a_spec

import qjobs
from qjobs.backends.base import ItemSnapshot, Snapshot
from qjobs.backends.rest import LostReply, RestBackend
from qjobs.circuits.programs import read_circuit
from qjobs.cli import main as cli
from qjobs.errors import QJobsError
from qjobs.ledger import Ledger
from qjobs.ledger.provider_reports import Report
from qjobs.model import ItemSpec, JobId, RemoteRetryStrategy
from qjobs.operations.recover import reconcile
from qjobs.operations.retry import RetryPolicy
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.servers import ScriptedProvider

BELL = """OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;"""
TOKEN = "secret-bearer-token-of-somebody"
FORCE = RemoteRetryStrategy.FORCE_RESUBMIT


def cost_cap(folder: Path) -> str:
    """A job whose estimate is above `max_cost` is not sent, not even once."""
    scene = Scene(folder)
    with scene.stack:
        ledger = scene.open_ledger()
        scene.backend.cost_per_item = 10.0
        job_id = scene.a_job(ledger)
        policy = RetryPolicy(rungs=(), max_cost=1.0)
        with contextlib.suppress(QJobsError):
            qjobs.submit(ledger, scene.backend, job_id, policy=policy, now=scene.now)
        sent = len(scene.provider.jobs)
        return f"{sent} remote job of 3 items at 10 each, with max_cost 1" if sent else ""


def _bells(ledger: Ledger, backend: RestBackend) -> JobId:
    bell = read_circuit(BELL)
    items = [ItemSpec(label=f"bell-{n}", program=bell.hash, shots=10) for n in range(2)]
    (job_id,) = qjobs.plan(ledger, backend, items, {bell.hash: bell}, run="run", name="bells")
    return job_id


def printed_advice(folder: Path) -> str:
    """Every command that the message about an UNKNOWN job prints does what it is printed for."""
    with ScriptedProvider("findable") as provider, Ledger(f"sqlite:///{folder / 'ledger.db'}") as ledger:
        backend = RestBackend(provider.url, lost_reply=LostReply.FINDABLE, settle_s=0.0)
        provider.break_items({1: "the laser went off"})
        job_id = _bells(ledger, backend)
        qjobs.submit(ledger, backend, job_id)
        qjobs.wait(ledger, {backend.name: backend}, [job_id], timeout_s=20)
        provider.break_items({})
        provider.inject(Fault(route=Route.SUBMIT, action=Action.DROP_BEFORE))
        with contextlib.suppress(QJobsError):
            qjobs.submit(ledger, backend, job_id, strategy=FORCE)
        (found,) = reconcile(ledger, {backend.name: backend}, job_ids=[job_id])
        backend.close()
        where = ["--ledger", str(folder / "ledger.db"), "--url", provider.url, "--lost-reply", "findable"]
        for command in re.findall(r"qjobs (jobs retry [^;:]+)", found.words):
            said = io.StringIO()
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = cli.main([*shlex.split(command), *where])
            status = ledger.job(job_id).status
            if code or status is S.UNKNOWN:
                return f"qjobs {command} ended with {code}, it is {status}: {said.getvalue()}"
        return ""


def echoed_token(folder: Path) -> str:
    """No token comes into the ledger, whatever a gateway answers."""
    path = folder / "ledger.db"
    with LittleServer(echoing) as server, Ledger(f"sqlite:///{path}") as ledger:
        backend = RestBackend(server.url, lost_reply=LostReply.OPAQUE, token=lambda: TOKEN)
        job_id = _bells(ledger, backend)
        with contextlib.suppress(QJobsError):
            qjobs.submit(ledger, backend, job_id)
        with contextlib.suppress(QJobsError):
            qjobs.poll(ledger, backend, [job_id])
        backend.close()
    files = b"".join(each.read_bytes() for each in folder.glob("ledger.db*"))
    return f"the token is in {path.name} {files.count(TOKEN.encode())} times" if TOKEN.encode() in files else ""


def detail_of_item(folder: Path) -> str:
    """The provider's detail of an item's error is told."""
    scene = Scene(folder)
    with scene.stack:
        ledger = scene.open_ledger()
        (job_id,) = ledger.create([a_spec("job", n_items=1, backend=scene.backend.name)], now=scene.now())
        qjobs.submit(ledger, scene.backend, job_id, now=scene.now)
        scene.report(S.ERROR)
        item = ItemSnapshot(status=S.ERROR, message="it failed", error_detail="qubit 7 is out of order")
        snapshot = Snapshot(status=S.ERROR, remote_status="BROKEN", items=(item,))
        number = ledger.attempts(job_id)[-1].number
        ledger.record_reports([Report(job_id=job_id, number=number, snapshot=snapshot)], now=scene.now())
        try:
            qjobs.collect(ledger, scene.backend, job_id, now=scene.now)
        except QJobsError as error:
            return "" if "qubit 7" in str(error) else f"the detail 'qubit 7 is out of order' is not in: {error}"
        return "collect said nothing"


def reason_of_gone_result(folder: Path) -> str:
    """A result that is gone for ever is said to be so, in the provider's words."""
    scene = Scene(folder, frozenset({"keeps back"}))
    with scene.stack:
        ledger = scene.open_ledger()
        job_id = scene.a_job(ledger)
        qjobs.submit(ledger, scene.backend, job_id, now=scene.now)
        scene.report(S.COMPLETED, S.COMPLETED, S.COMPLETED)
        qjobs.poll(ledger, scene.backend, [job_id], now=scene.now)
        try:
            qjobs.collect(ledger, scene.backend, job_id, now=scene.now)
        except QJobsError as error:
            return "" if "410" in str(error) else f"the provider answered 410, and this is said: {error}"
        return "collect said nothing"


ROWS = (
    Row("7", "max_cost at the first submission", cost_cap),
    Row("20", "the printed command for an UNKNOWN job is entered", printed_advice),
    Row("25", "a gateway that echoes the headers", echoed_token),
    Row("35", "the detail of an item's error", detail_of_item),
    Row("35", "the words about a result that is gone", reason_of_gone_result),
)
