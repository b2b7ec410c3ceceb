"""Rows of what is said and written: caps, advice, secrets, reasons."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import re
import shlex
import sqlite3
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from unittest import mock

import sqlalchemy as sa
from audit_rows import Row, S, Scene
from little_server import LittleServer, echoing, refusing
from prefect.logging import get_logger
from support import a_spec, claim, ended_owner

import qjobs
from qjobs.backends.base import ItemSnapshot, Snapshot
from qjobs.backends.limiter import Limiter
from qjobs.backends.nexus import NexusBackend
from qjobs.backends.rest import LostReply, RestBackend
from qjobs.circuits.programs import read_circuit
from qjobs.cli import main as cli
from qjobs.compiling.compiler import CompileOptions
from qjobs.errors import QJobsError
from qjobs.ledger import Ledger
from qjobs.ledger.provider_reports import Report
from qjobs.model import ItemSpec, JobId, RemoteRetryStrategy
from qjobs.operations.poll import utc_now
from qjobs.operations.recover import reconcile
from qjobs.operations.retry import RetryPolicy
from qjobs.reports.files import write_file
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.servers import ScriptedProvider
from tasks import compile_circuits

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


def _bells(ledger: Ledger, backend: RestBackend, run: str = "run") -> JobId:
    bell = read_circuit(BELL)
    items = [ItemSpec(label=f"bell-{n}", program=bell.hash, shots=10) for n in range(2)]
    (job_id,) = qjobs.plan(ledger, backend, items, {bell.hash: bell}, run=run, name="bells")
    return job_id


def _fail_as_printed(words: str, ledger: Ledger, folder: Path, url: str) -> str:
    """Enter every command about a job that a message prints; the first one that fails."""
    where = ["--ledger", str(folder / "ledger.db"), "--url", url, "--lost-reply", "findable"]
    for command in re.findall(r"qjobs (jobs [^;:]+?)(?=[;:]|$)", words):
        said = io.StringIO()
        arguments = shlex.split(command)
        opens = where if arguments[1] != "discard" else where[:2]
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = cli.main([*arguments, *opens])
        status = ledger.job(JobId(arguments[2])).status
        if code or status in {S.UNKNOWN, S.LOST}:
            return f"qjobs {command} ended with {code}, it is {status}: {said.getvalue()}"
    return ""


def printed_advice(folder: Path) -> str:
    """Each command that is printed about an UNKNOWN job does what it is printed for; none is printed too early."""
    with ScriptedProvider("findable") as provider, Ledger(f"sqlite:///{folder / 'ledger.db'}") as ledger:
        backend = RestBackend(provider.url, lost_reply=LostReply.FINDABLE)
        first = _bells(ledger, backend, "lost at first")
        provider.break_items({1: "the laser went off"})
        second = _bells(ledger, backend, "lost when it was sent again")
        qjobs.submit(ledger, backend, second)
        qjobs.wait(ledger, {backend.name: backend}, [second], timeout_s=20)
        provider.break_items({})
        try:
            for job_id in (first, second):
                if words := _advice_fails(ledger, backend, provider, job_id, folder):
                    return words
        finally:
            backend.close()
        return ""


def _advice_fails(ledger: Ledger, backend: RestBackend, provider: ScriptedProvider, job_id: JobId, folder: Path) -> str:
    provider.inject(Fault(route=Route.SUBMIT, action=Action.DROP_BEFORE))
    lost_at = utc_now() - timedelta(seconds=300)
    with contextlib.suppress(QJobsError):
        qjobs.submit(ledger, backend, job_id, strategy=FORCE, now=lambda: lost_at)
    for seconds in (1, 60, 200, 280):
        at = lost_at + timedelta(seconds=seconds)
        (found,) = reconcile(ledger, {backend.name: backend}, job_ids=[job_id], now=lambda at=at: at)
        if "qjobs jobs" in found.words:
            return _fail_as_printed(found.words.partition("; or: ")[0], ledger, folder, provider.url)
    return f"no way on is printed: {found.words}"


def lost_advice(folder: Path) -> str:
    """A job that was deleted there is LOST, which is said, and both ways on that are printed work."""
    with contextlib.ExitStack() as stack:
        provider = stack.enter_context(ScriptedProvider("findable", queue_s=1e6))
        ledger = stack.enter_context(Ledger(f"sqlite:///{folder / 'ledger.db'}"))
        backend = stack.enter_context(contextlib.closing(RestBackend(provider.url, lost_reply=LostReply.FINDABLE)))
        for way in range(2):
            job_id = _bells(ledger, backend, f"run {way}")
            sent = qjobs.submit(ledger, backend, job_id)
            provider.forget(str(sent.remote_id))
            for hours in range(4):
                at = utc_now() + timedelta(hours=hours)
                qjobs.poll(ledger, backend, [job_id], now=lambda at=at: at)
            try:
                qjobs.submit(ledger, backend, job_id)
            except QJobsError as error:
                commands = re.findall(r"qjobs jobs [^;:]+", str(error))
            else:
                return f"it is {ledger.job(job_id).status}, and nothing is said"
            if len(commands) != 2:
                return f"not two ways on are printed: {commands}"
            if words := _fail_as_printed(commands[way], ledger, folder, provider.url):
                return words
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
            said = str(error).replace(job_id, "the job")  # an id may have these digits
            return "" if "410" in said else f"the provider answered 410, and this is said: {error}"
        return "collect said nothing"


def dead_sender(folder: Path) -> str:
    """A process that has died is not said to be submitting."""
    scene = Scene(folder)
    with scene.stack:
        ledger = scene.open_ledger()
        job_id = scene.a_job(ledger)
        attempt = claim(ledger, job_id, owner=ended_owner(), now=scene.now())
        ledger.submissions.renew(attempt, lease_s=600.0, now=scene.now(), sending=True)
        try:
            qjobs.submit(ledger, scene.backend, job_id, now=scene.now)
        except QJobsError as error:
            return str(error) if "is submitting" in str(error) else ""
        return ""


def full_disk(folder: Path) -> str:
    """A disk that is full when results come: nobody says that they are safe, and later they are fetched again."""
    scene = Scene(folder)
    with scene.stack:
        ledger = scene.open_ledger()
        (job_id,) = ledger.create([a_spec("job", n_items=300, backend=scene.backend.name)], now=scene.now())
        qjobs.submit(ledger, scene.backend, job_id, now=scene.now)
        scene.provider.finish()
        qjobs.poll(ledger, scene.backend, [job_id], now=scene.now)
        with _no_room(ledger):
            try:
                qjobs.collect(ledger, scene.backend, job_id, now=scene.now)
            except QJobsError as error:
                said = f"{type(error).__name__}: {error}"
            else:
                return "nobody says that there was no room"
        with mock.patch("qjobs.reports.files.os.fsync", side_effect=OSError(errno.ENOSPC, "No space left on device")):
            try:
                write_file(folder / "results.parquet", b"nothing")
            except QJobsError as error:
                said = f"{said}; {error}"
        if re.search("results? [^;]*safe", said):
            return said
        qjobs.collect(ledger, scene.backend, job_id, now=scene.now)
        n_results = len(ledger.results(job_id))
        return "" if n_results == 300 and "StorageFull" in said else f"{n_results} of 300 results later, and: {said}"


@contextlib.contextmanager
def _no_room(ledger: Ledger) -> Iterator[None]:
    """The database may not grow meanwhile, as on a full disk."""
    engine = ledger._db._engine

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")  # SQLite takes it as the present size

    def lift(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute("PRAGMA max_page_count = 1000000")

    sa.event.listen(engine, "checkout", limit)
    try:
        yield
    finally:
        sa.event.remove(engine, "checkout", limit)
        sa.event.listen(engine, "checkout", lift)


def device_list(folder: Path) -> str:
    """A list of devices that fails is told at once, and does not hold a run up for minutes."""
    retries = [str(delay) for delay in compile_circuits.retry_delay_seconds]
    waits_s = sum(map(float, retries))
    if waits_s > 60:
        return f"the compile stage tries for {waits_s:.0f} s before anybody is told"
    with LittleServer(refusing) as server, Ledger(f"sqlite:///{folder / 'ledger.db'}") as ledger:
        limiter = Limiter(time.monotonic, lambda _: None)
        backend = NexusBackend("Aer", url=server.url, token="t", limiter=limiter, sleep=lambda _: None)
        said: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: said.append(record.getMessage())
        logger = get_logger("qjobs")
        logger.addHandler(handler)
        before = logging.root.manager.disable
        logging.disable(logging.INFO)
        try:
            with mock.patch.multiple("tasks.compile", backend_named=lambda _: backend, ledger_named=lambda _: ledger):
                compile_circuits.fn("nexus", [], CompileOptions())
        except QJobsError:
            pass
        finally:
            logging.disable(before)
            logger.removeHandler(handler)
            backend.close()
        return "" if any("502" in words for words in said) else f"nobody is told: {said}"


ROWS = (
    Row("7", "max_cost at the first submission", cost_cap),
    Row("15", "a job is deleted there, and the printed commands are entered", lost_advice),
    Row("20", "the printed command for an UNKNOWN job is entered", printed_advice),
    Row("25", "a gateway that echoes the headers", echoed_token),
    Row("35", "the detail of an item's error", detail_of_item),
    Row("35", "the words about a result that is gone", reason_of_gone_result),
    Row("35", "a process that died while it submitted", dead_sender),
    Row("35", "the disk is full when results come", full_disk),
    Row("35", "the list of devices fails", device_list),
)
