"""Rows of what providers and people do, played over HTTP by a provider with habits."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from audit_rows import Row, S
from driving import Clock, stage

import qjobs
from qjobs.backends.base import Backend, Journal, PlainJournal
from qjobs.backends.limiter import Limiter
from qjobs.backends.rest import LostReply, RestBackend
from qjobs.circuits.programs import read_circuit
from qjobs.errors import QJobsError
from qjobs.ledger import Ledger
from qjobs.model import Batch, ItemSpec, JobId, Key, RemoteRetryStrategy
from qjobs.operations.sending import LEASE_S
from qjobs.operations.sensor_pass import sensor_pass
from qjobs.testing.contract import bits_of, flips
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.servers import ScriptedProvider
from tasks.retrying import READ_DELAYS_S

N_ITEMS = 3
DEFAULT, ALLOW, FORCE, FULL = RemoteRetryStrategy


@dataclass
class Desk:
    """A provider, a ledger in a file, and a clock that only sleeping moves."""

    provider: ScriptedProvider
    ledger: Ledger
    clock: Clock
    opened: list[RestBackend] = field(default_factory=list)

    def backend(self, provider: ScriptedProvider | None = None) -> RestBackend:
        """An adapter, at this provider or (under the same name) at another one."""
        clock = self.clock
        given = {"limiter": Limiter(clock.monotonic, clock.sleep), "sleep": clock.sleep, "poll_interval_s": (1.0, 10.0)}
        self.opened.append(RestBackend((provider or self.provider).url, lost_reply=LostReply.FINDABLE, **given))
        return self.opened[-1]

    def plan(self, name: str = "job") -> JobId:
        circuits = [read_circuit(flips(2, on=bits_of(number))) for number in range(N_ITEMS)]
        programs = {program.hash: program for program in circuits}
        items = [ItemSpec(label=f"{name}-{n}", program=each, shots=16) for n, each in enumerate(programs)]
        backend = self.opened[0] if self.opened else self.backend()
        (job_id,) = qjobs.plan(
            self.ledger, backend, items, programs, run=name, name=name, opened_as="rest", now=self.clock.now
        )
        return job_id

    def submit(self, job_id: JobId, strategy: RemoteRetryStrategy = DEFAULT, backend: Backend | None = None) -> str:
        """Submit; what was raised, in words."""
        try:
            qjobs.submit(self.ledger, backend or self.opened[0], job_id, strategy=strategy, now=self.clock.now)
        except QJobsError as error:
            return repr(error)
        return ""

    def sent(self, name: str = "job") -> JobId:
        job_id = self.plan(name)
        assert not self.submit(job_id)
        return job_id

    def pass_sensor(self, passes: int, pause_s: float, backend: Backend | None = None) -> None:
        rng = random.Random(1)
        for _ in range(passes):
            self.clock.sleep(pause_s)
            sensor_pass(self.ledger, lambda _: backend or self.opened[0], now=self.clock.now, rng=rng)

    def live(self) -> list[str]:
        store = self.provider.store
        store.run_due()
        return [job.id for job in store.jobs.values() if store.is_live(job)]


@contextlib.contextmanager
def a_desk(folder: Path, *, queue_s: float = 5.0, run_s: float = 10.0) -> Iterator[Desk]:
    clock = Clock()
    with (
        ScriptedProvider("findable", queue_s=queue_s, run_s=run_s, clock=clock.monotonic) as provider,
        Ledger(f"sqlite:///{folder / 'ledger.db'}") as ledger,
    ):
        desk = Desk(provider, ledger, clock)
        desk.backend()
        try:
            yield desk
        finally:
            for backend in desk.opened:
                backend.close()


@dataclass
class Between:
    """A backend that does something right before or after the moment in which its request leaves."""

    real: RestBackend
    before_sending: Callable[[], object] = lambda: None
    after_sending: Callable[[], object] = lambda: None

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)

    def submit(self, batch: Batch, key: Key, journal: Journal) -> None:
        def sending() -> None:
            self.before_sending()
            journal.sending()
            self.after_sending()

        told = PlainJournal(accepted=journal.accepted, sending=sending, preparing=journal.preparing)
        self.real.submit(batch, key, told)


def revived_there(folder: Path) -> str:
    """A job that failed and was queued again there is ended before all of it is sent anew."""
    with a_desk(folder) as desk:
        desk.provider.break_items({1: "the laser went off"})
        job_id = desk.sent()
        desk.pass_sensor(4, 10.0)
        assert desk.ledger.job(job_id).status is S.ERROR
        desk.provider.revive("r1")
        for strategy in (FORCE, FULL):
            words = desk.submit(job_id, strategy)
            if len(desk.live()) != 1:
                return f"{strategy}: {desk.live()} are live {words}"
        return ""


def requeued_there(folder: Path) -> str:
    """DEFAULT, too, sees that a job is alive there again."""
    with a_desk(folder) as desk:
        desk.provider.break_items({1: "the laser went off"})
        job_id = desk.sent()
        desk.pass_sensor(4, 10.0)
        desk.provider.revive("r1")
        words = desk.submit(job_id)
        status = desk.ledger.job(job_id).status
        return f"it runs there, and here it is {status} {words}" if status.is_final else ""


def late_sender(folder: Path) -> str:
    """A process that was stopped right before its POST, and wakes after another one has sent: its job is ended."""
    with a_desk(folder) as desk:
        job_id = desk.plan()

        def meanwhile() -> None:
            desk.clock.sleep(LEASE_S + 1.0)
            for _ in range(9):
                if not desk.submit(job_id, ALLOW):
                    return
                desk.clock.sleep(30.0)

        desk.submit(job_id, backend=Between(desk.opened[0], after_sending=meanwhile))
        known = desk.ledger.attempts(job_id)[-1].remote_id
        assert desk.provider.created == 2, "both have sent"
        return "" if desk.live() == [known] else f"{desk.live()} are live, and {known} is known"


def other_server(folder: Path) -> str:
    """A block that points to another server, with a job of the same id: nothing of that one is taken for ours."""
    with a_desk(folder, run_s=1e6) as desk, ScriptedProvider("findable", clock=desk.clock.monotonic) as theirs:
        job_id = desk.sent()
        other = desk.backend(theirs)
        circuit = read_circuit(flips(2, on=[0, 1]))
        items = (ItemSpec(label="", program=circuit.hash, shots=99),) * N_ITEMS
        batch = Batch(number=0, items=items, programs={circuit.hash: circuit})
        other.submit(batch, Key("theirs"), PlainJournal(accepted=lambda _: None))
        desk.pass_sensor(3, 400.0, other)
        with contextlib.suppress(QJobsError):
            qjobs.collect(desk.ledger, other, job_id, partial=True, now=desk.clock.now)
        said = desk.submit(job_id, FULL, other)
        results = desk.ledger.results(job_id)
        status = desk.ledger.job(job_id).status
        if results or status.is_final or theirs.created != 1:
            return f"{len(results)} results of another server, {status}, {theirs.created} jobs there"
        return "" if "was sent to" in said else f"nobody says that it is another server: {said}"


def alternating_lists(folder: Path) -> str:
    """Lists that tell items and lists that do not, in turns, make no events."""
    with a_desk(folder, run_s=1e6) as desk:
        jobs = [desk.sent("one"), desk.sent("two")]
        desk.clock.sleep(6.0)
        desk.provider.store.stop_s = 1e6
        qjobs.poll(desk.ledger, desk.opened[0], jobs, now=desk.clock.now)
        qjobs.cancel(desk.ledger, desk.opened[0], jobs[0], items=[0], now=desk.clock.now)
        before = len(desk.ledger.events(jobs[0]))
        for number in range(8):
            desk.provider.store.list_items = number % 2 == 0
            qjobs.poll(desk.ledger, desk.opened[0], jobs, now=desk.clock.now)
        more = len(desk.ledger.events(jobs[0])) - before
        return f"{more} events of a job in which nothing moved" if more else ""


def forgotten_record(folder: Path) -> str:
    """A failed job whose record is gone there can be sent again, and none of the strategies breaks."""
    with a_desk(folder) as desk:
        desk.provider.break_items({1: "the laser went off"})
        job_id = desk.sent()
        desk.pass_sensor(4, 10.0)
        desk.provider.forget("r1")
        desk.provider.break_items({})
        for strategy in (DEFAULT, ALLOW, FORCE, FULL):
            if words := desk.submit(job_id, strategy):
                return f"{strategy} says {words}"
            desk.pass_sensor(4, 10.0)
        return "" if desk.ledger.job(job_id).status is S.COMPLETED else "it was not sent"


def one_refused(folder: Path) -> str:
    """A job of which the status or the cancellation is refused stops none of the others."""
    for route, code in (("cancel", 500), ("cancel", 403), ("status", 403)):
        place = folder / f"{route}-{code}"
        place.mkdir()
        with a_desk(place) as desk:
            jobs = [desk.sent(name) for name in ("one", "two", "three")]
            desk.provider.refuse("r1", {route: code}, lists=True)
            with contextlib.suppress(QJobsError):
                qjobs.cancel(desk.ledger, desk.opened[0], jobs[0], now=desk.clock.now)
            desk.pass_sensor(6, 10.0)
            others = [str(job.status) for job in desk.ledger.jobs(job_ids=jobs[1:])]
            if set(others) != {S.COMPLETED}:
                return f"{route} of one job is answered {code}, and the others are {others}"
    return ""


def broken_adapter(folder: Path) -> str:
    """Whatever an adapter raises before its request leaves: nothing was sent, and it may be entered again."""

    def broken() -> None:
        raise KeyError("a field that is not there")

    with a_desk(folder) as desk:
        job_id = desk.plan()
        words = desk.submit(job_id, backend=Between(desk.opened[0], before_sending=broken))
        status = desk.ledger.job(job_id).status
        if status is not S.CREATED or "NotSent" not in words:
            return f"nothing was sent, and it is {status}: {words}"
        return desk.submit(job_id)


def long_words(folder: Path) -> str:
    """Messages of megabytes are not stored as they are."""
    with a_desk(folder) as desk:
        desk.provider.break_items(dict.fromkeys(range(N_ITEMS), "the cryostat is warm " * 50_000))
        desk.sent()
        desk.pass_sensor(4, 10.0)
    size = sum(each.stat().st_size for each in folder.glob("ledger.db*"))
    return f"the ledger has {size} bytes" if size > 1_500_000 else ""


def never_comes(folder: Path) -> str:
    """A result that never comes is settled with its reason, and nobody waits for it."""
    with a_desk(folder) as desk:
        desk.provider.have(withheld={1: "shredded"})
        job_id = desk.sent()
        desk.pass_sensor(10, 600.0)
        job = desk.ledger.job(job_id)
        reason = desk.ledger.items(job_id)[1].no_result or ""
        if job.next_poll_at is not None or len(desk.ledger.results(job_id)) != N_ITEMS - 1:
            return f"it is waited for: {job.trouble}, {len(desk.ledger.results(job_id))} results are stored"
        return "" if "shredded" in reason else f"the reason is not kept: {reason!r}"


def open_item(folder: Path) -> str:
    """A job that is final with an item that is open for ever becomes final here too."""
    with a_desk(folder) as desk:
        desk.provider.have(stuck={1})
        job_id = desk.sent()
        desk.pass_sensor(10, 200.0)
        job = desk.ledger.job(job_id)
        return "" if job.status.is_final else f"it is {job.status} after half an hour: {job.message}"


def cut_while_collecting(folder: Path) -> str:
    """JSON that is cut while a run collects is read again, and so is a word that nobody knows."""
    with a_desk(folder) as desk:
        job_id = desk.sent()
        desk.clock.sleep(20.0)
        qjobs.poll(desk.ledger, desk.opened[0], [job_id], now=desk.clock.now)
        desk.provider.inject(Fault(route=Route.RESULTS, action=Action.CUT, times=7))
        said: list[str] = []
        stage(
            lambda _: qjobs.collect(desk.ledger, desk.opened[0], job_id, now=desk.clock.now),
            READ_DELAYS_S,
            desk.clock,
            said,
            reads=True,
        )
        n_results = len(desk.ledger.results(job_id))
        return "" if n_results == N_ITEMS else f"{n_results} of {N_ITEMS} results, and the run fails with {said[-1]}"


ROWS = (
    Row("2", "Retry is pressed there, then FORCE_RESUBMIT and FULL_RESTART here", revived_there),
    Row("2", "Retry is pressed there, then DEFAULT here", requeued_there),
    Row("4", "a sender sleeps before its POST and wakes when another one has sent", late_sender),
    Row("10", "a block points to another server with a job of the same id", other_server),
    Row("12", "lists tell items and do not, in turns", alternating_lists),
    Row("13", "a result never comes", never_comes),
    Row("14", "the record of a failed job is gone, four strategies", forgotten_record),
    Row("16", "an item stays open in a job that is final", open_item),
    Row("17", "one cancellation or status of three jobs is refused", one_refused),
    Row("24", "an adapter breaks before its request leaves", broken_adapter),
    Row("25", "messages of a megabyte", long_words),
    Row("35", "JSON is cut while a run collects", cut_while_collecting),
)
