"""Backends side by side: one that hangs holds up no other, downloads are bounded and streamed, and nothing is lost."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from scripted import Clock, ScriptedBackend
from support import a_spec, create

import qjobs
from qjobs.backends.base import Backend, Result
from qjobs.backends.fan_out import FanOut
from qjobs.backends.limiter import Limiter
from qjobs.backends.rest import LostReply, RestBackend
from qjobs.circuits.programs import read_circuit
from qjobs.errors import LedgerAway, WaitTimeout
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, RemoteId
from qjobs.operations import collect
from qjobs.operations.downloads import Downloads
from qjobs.operations.passes import Passes, PassReport
from qjobs.operations.poll import utc_now
from qjobs.operations.sensor_pass import passes_over, sensor_pass
from qjobs.operations.wait import Progress
from qjobs.testing.contract import bits_of, flips
from qjobs.testing.servers import ScriptedProvider

S = JobStatus
SOON_S = 0.05
"""How long a pass waits in these tests for a backend that hangs."""
MOST_PASSES = 400
CIRCUIT = read_circuit(flips(2, on=bits_of(1)))


@dataclass
class Gated:
    """A backend whose results come when their gate is opened, and that counts how many are asked for at once."""

    real: Backend
    gate: threading.Event = field(default_factory=threading.Event)
    closed_for: set[RemoteId] = field(default_factory=set)
    asked: list[RemoteId] = field(default_factory=list)
    most: int = 0
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)

    def results(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> Iterator[tuple[int, Result]]:
        with self._lock:
            self.asked.append(remote_id)
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            if remote_id in self.closed_for:
                assert self.gate.wait(60.0)
            yield from self.real.results(remote_id, items)
        finally:
            with self._lock:
                self._now -= 1


class Answers(threading.Event):
    """The clock of a provider that answers while this is set; it is read with each request."""

    def __init__(self) -> None:
        super().__init__()
        self.set()

    def __call__(self) -> float:
        assert self.wait(60.0)
        return time.monotonic()


def until(passes: Passes, is_so: Callable[[], bool], patience_s: float | None = SOON_S) -> list[PassReport]:
    """Passes until something is so."""
    reports = []
    while not is_so():
        assert len(reports) < MOST_PASSES, "it does not come to be so"
        reports.append(passes.run_pass(patience_s))
        time.sleep(0.01)
    return reports


def sent_to(ledger: Ledger, backend: Backend, *keys: str) -> list[JobId]:
    job_ids = []
    for key in keys:
        spec = a_spec(key, backend=backend.name, device=backend.device, program=CIRCUIT)
        (job_id,) = ledger.create([spec], now=utc_now())
        qjobs.submit(ledger, backend, job_id)
        job_ids.append(job_id)
    return job_ids


def all_stored(ledger: Ledger, job_ids: Sequence[JobId]) -> bool:
    return ledger.result_counts(job_ids) == dict.fromkeys(job_ids, 2)


def test_hanging_provider(ledger: Ledger) -> None:
    """While a provider answers nothing at all, the jobs of others are polled and collected; then its own are, once."""
    answers = Answers()
    with ExitStack() as stack:
        hanging = stack.enter_context(ScriptedProvider("findable", clock=answers))
        others = [stack.enter_context(ScriptedProvider("findable")) for _ in range(2)]
        backends: dict[str, Backend] = {}
        for n, provider in enumerate([hanging, *others]):
            limiter = Limiter()
            backend = RestBackend(provider.url, lost_reply=LostReply.FINDABLE, name=f"rest-{n}", limiter=limiter)
            backends[backend.name] = stack.enter_context(closing(backend))
        late = sent_to(ledger, backends["rest-0"], "late", "later")
        ledger.schedule.set_next({late[1]: utc_now() + timedelta(hours=1)})
        passes = stack.enter_context(closing(passes_over(ledger, backends.__getitem__)))
        stack.callback(answers.set)
        answers.clear()
        first = [job_id for n in (1, 2) for job_id in sent_to(ledger, backends[f"rest-{n}"], f"first-{n}")]
        until(passes, lambda: all_stored(ledger, first))
        second = sent_to(ledger, backends["rest-1"], "second")
        ledger.schedule.set_next({late[1]: utc_now()})
        reports = until(passes, lambda: all_stored(ledger, second))
        assert not any(report.asked.intersection(late) for report in reports), "its backend has not ended"
        assert ledger.job(late[0]).status is S.SUBMITTED
        answers.set()
        until(passes, lambda: all_stored(ledger, late))
        passes.run_pass()
        assert hanging.asked["status"] == 2
        assert [job.next_poll_at for job in ledger.jobs()] == [None] * 5


def test_inline_wait(ledger: Ledger) -> None:
    """While one of two providers answers nothing, a wait in this process stores what the other one brings, and ends.

    The next wait does not ask the silent one a second time before it has answered.
    """
    answers = Answers()
    with ExitStack() as stack:
        hanging = stack.enter_context(ScriptedProvider("findable", clock=answers))
        quick = stack.enter_context(ScriptedProvider("findable"))
        backends: dict[str, Backend] = {}
        asked: list[str] = []

        def token() -> str:  # called for each request
            asked.append("")
            return "any"

        for name, provider, giver in (("hanging", hanging, token), ("quick", quick, None)):
            backend = RestBackend(
                provider.url, lost_reply=LostReply.FINDABLE, name=name, limiter=Limiter(), token=giver
            )
            backends[name] = stack.enter_context(closing(backend))
        stack.callback(answers.set)
        (late,) = sent_to(ledger, backends["hanging"], "late")
        answers.clear()
        asked.clear()
        for key in ("first", "second", "third"):
            (job_id,) = sent_to(ledger, backends["quick"], key)
            reports: list[Progress] = []
            statuses = qjobs.wait(ledger, backends, [late, job_id], until="any", timeout_s=30.0, report=reports.append)
            assert statuses == {late: S.SUBMITTED, job_id: S.COMPLETED}
            assert all_stored(ledger, [job_id])
            assert [report.trouble for report in reports if report.trouble] == []
        with pytest.raises(WaitTimeout):
            qjobs.wait(ledger, backends, [late, job_id], timeout_s=0.1)
        assert len(asked) == 1
        answers.set()
        assert qjobs.wait(ledger, backends, [late, job_id], timeout_s=30.0)[late] is S.COMPLETED
    assert all_stored(ledger, [late])


def test_held(ledger: Ledger) -> None:
    """A job that becomes final stays with the pass that polls it; one that nobody holds is due at once."""
    backend = ScriptedBackend()
    held, free = sent_to(ledger, backend, "held", "free")
    ledger.schedule.set_next({free: utc_now() + timedelta(hours=1)})
    claimed = ledger.schedule.claim_due(now=utc_now(), lease_s=60.0, limit=9, owner="one sensor")
    assert [job.job_id for job in claimed] == [held]
    for n in range(2):
        backend.report(S.COMPLETED, S.COMPLETED, of=n)
    qjobs.poll(ledger, backend, [held, free])
    due = ledger.schedule.claim_due(now=utc_now(), lease_s=60.0, limit=9, owner="another sensor")
    assert [job.job_id for job in due] == [free]


def test_hanging_download(ledger: Ledger) -> None:
    """While the results of one job do not come, others of the same backend are polled, and theirs are stored."""
    scripted = ScriptedBackend()
    backend = Gated(scripted, closed_for={RemoteId("remote-1")})
    with closing(passes_over(ledger, lambda _: backend)) as passes:
        try:
            (slow,) = sent_to(ledger, backend, "slow")
            scripted.report(S.COMPLETED, S.COMPLETED)
            until(passes, lambda: backend.asked == ["remote-1"])
            (quick,) = sent_to(ledger, backend, "quick")
            scripted.report(S.COMPLETED, S.COMPLETED)
            until(passes, lambda: all_stored(ledger, [quick]))
            assert ledger.result_counts([slow]) == {slow: 0}
        finally:
            backend.gate.set()
        reports = until(passes, lambda: all_stored(ledger, [slow]))
        reports.append(passes.run_pass())
        assert slow in {job_id for report in reports for job_id in report.stored}
    assert backend.asked == ["remote-1", "remote-2"]


def test_bounded(ledger: Ledger) -> None:
    """Four downloads of a backend run at a time, and no more."""
    scripted = ScriptedBackend()
    backend = Gated(scripted, closed_for={RemoteId(f"remote-{n}") for n in range(1, 9)})
    job_ids = sent_to(ledger, backend, *(f"k{n}" for n in range(8)))
    for n in range(8):
        scripted.report(S.COMPLETED, S.COMPLETED, of=n)
    with closing(passes_over(ledger, lambda _: backend)) as passes:
        try:
            until(passes, lambda: len(backend.asked) >= 4)
            for _ in range(20):  # a fifth one would come by now
                passes.run_pass(SOON_S)
                time.sleep(0.01)
            assert len(backend.asked) == 4
        finally:
            backend.gate.set()
        until(passes, lambda: all_stored(ledger, job_ids))
    assert (backend.most, len(backend.asked)) == (4, 8)


def test_turns() -> None:
    """The runs of a backend take turns, so that one with many results holds up none with few."""
    done: list[str] = []
    may_begin = threading.Event()
    ended = threading.Semaphore(0)

    def download(job_id: JobId) -> None:
        assert may_begin.wait(30.0)
        done.append(job_id)

    with closing(Downloads(lambda *_: ended.release(), at_once=1)) as downloads:
        many = [("big", JobId(f"big-{n}")) for n in range(1000)]
        assert len(downloads.add("one", many, download)) == 1000
        assert downloads.add("one", many[:3], download) == set(), "they are under way"
        downloads.add("one", [("small", JobId("small"))], download)
        downloads.add("other", [("small", JobId("elsewhere"))], done.append)
        may_begin.set()
        for _ in range(1002):
            assert ended.acquire(timeout=30.0)
    one = [job_id for job_id in done if job_id != "elsewhere"]
    assert one.index("small") <= 2
    assert [job_id for job_id in one if job_id != "small"] == [job_id for _, job_id in many]


def test_lease_goes_on(ledger: Ledger, clock: Clock) -> None:
    """What is under way for longer than a lease stays this sensor's, and is nobody else's."""
    scripted = ScriptedBackend()
    backend = Gated(scripted, closed_for={RemoteId("remote-1")})
    job_id = create(ledger, backend="fake")
    qjobs.submit(ledger, backend, job_id, now=clock.now)
    scripted.report(S.COMPLETED, S.COMPLETED)
    with closing(passes_over(ledger, lambda _: backend, now=clock.now)) as passes:
        try:
            until(passes, lambda: backend.asked == ["remote-1"])
            for _ in range(10):
                clock.elapsed_s += 400.0
                passes.run_pass(SOON_S)
                clock.elapsed_s += 100.0
                other = ledger.schedule.claim_due(now=clock.now(), lease_s=60.0, limit=9, owner="another sensor")
                assert other == []
        finally:
            backend.gate.set()
    assert all_stored(ledger, [job_id])
    assert backend.asked == ["remote-1"]


def test_ledger_fails(ledger: Ledger) -> None:
    """Where the ledger is away for the pass of one backend, that is done again at once, and the others are done."""
    poor, good = ScriptedBackend(name="poor"), ScriptedBackend(name="good")
    backends = {"poor": poor, "good": good}
    job_ids = [*sent_to(ledger, poor, "p"), *sent_to(ledger, good, "g")]
    for backend in backends.values():
        backend.report(S.COMPLETED, S.COMPLETED)
    with closing(passes_over(ledger, backends.__getitem__)) as passes:
        poor.troubles.append(LedgerAway("its server restarts"))
        with pytest.raises(LedgerAway):
            passes.run_pass()
        assert all_stored(ledger, job_ids[1:])
        report = passes.run_pass()
        assert (report.asked, set(report.moved)) == (set(job_ids), set(job_ids)), "nothing goes untold"
        assert all_stored(ledger, job_ids)


def test_close(ledger: Ledger) -> None:
    """A sensor that ends leaves what it had not come to for another one, at once."""
    scripted = ScriptedBackend()
    backend = Gated(scripted, closed_for={RemoteId(f"remote-{n}") for n in range(1, 7)})
    job_ids = sent_to(ledger, backend, *(f"k{n}" for n in range(6)))
    for n in range(6):
        scripted.report(S.COMPLETED, S.COMPLETED, of=n)
    passes = passes_over(ledger, lambda _: backend)
    until(passes, lambda: len(backend.asked) == 4)
    ends = threading.Thread(target=passes.close)
    ends.start()
    while not passes._downloads._is_over:
        time.sleep(0.01)
    backend.gate.set()
    ends.join(30.0)
    counts = ledger.result_counts(job_ids)
    assert sorted(counts.values()) == [0, 0, 2, 2, 2, 2]
    left = ledger.schedule.claim_due(now=utc_now(), lease_s=60.0, limit=9, owner="another sensor")
    assert {job.job_id for job in left} == {job_id for job_id, n in counts.items() if not n}


def download_and_hang(url: str, provider_url: str, replies: object) -> None:
    """A sensor that has stored a part of its results and then hangs."""
    with Ledger(url) as ledger:
        real = RestBackend(provider_url, lost_reply=LostReply.FINDABLE, name="rest")

        class Hanging(Gated):
            def results(self, remote_id: RemoteId, items: Sequence[int] | None = None) -> Iterator[tuple[int, Result]]:
                for n, entry in enumerate(self.real.results(remote_id, items)):
                    if n == 1 and remote_id != "r1":
                        replies.put(remote_id)
                        threading.Event().wait()
                    yield entry

        collect._TOGETHER = 1
        sensor_pass(ledger, lambda _: Hanging(real))


def test_killed(ledger_url: str) -> None:
    """A sensor that is killed among its downloads loses nothing: the next one goes on at once, with what is missing."""
    context = multiprocessing.get_context("spawn")
    replies = context.Queue()
    with ExitStack() as stack:
        provider = stack.enter_context(ScriptedProvider("findable"))
        ledger = stack.enter_context(Ledger(ledger_url))
        real = RestBackend(provider.url, lost_reply=LostReply.FINDABLE, name="rest")
        backend = stack.enter_context(closing(real))
        job_ids = sent_to(ledger, backend, *(f"k{n}" for n in range(7)))
        killed = context.Process(target=download_and_hang, args=(ledger_url, provider.url, replies))
        killed.start()
        for _ in range(4):
            replies.get(timeout=60.0)
        os.kill(killed.pid, signal.SIGKILL)
        killed.join(30.0)
        counts = ledger.result_counts(job_ids)
        assert sorted(counts.values()) in ([0, 0, 1, 1, 1, 1, 2], [0, 0, 0, 1, 1, 1, 1]), "streamed, four at a time"
        report = sensor_pass(ledger, lambda _: backend)
        assert report.asked >= {job_id for job_id, n in counts.items() if n < 2}
        assert all_stored(ledger, job_ids)
        assert provider.created == 7


def test_stored_as_they_come() -> None:
    """Results are stored many at a time, and sooner where they come slowly."""
    clock = Clock()

    def slowly() -> Iterator[tuple[int, Result]]:
        for n in range(7):
            clock.elapsed_s += 1.0
            yield n, None

    parts = list(collect._parts(slowly(), clock.monotonic))
    assert [len(part) for part in parts] == [2, 2, 2, 1]
    assert [len(part) for part in collect._parts(((n, None) for n in range(2500)), clock.monotonic)] == [
        1000,
        1000,
        500,
    ]


def test_stream() -> None:
    """A stream of requests is a few ahead of what is taken from it, and keeps nothing of what was taken."""

    class Answer:
        pass

    begun: list[int] = []

    def call(number: int) -> Answer:
        begun.append(number)
        return Answer()

    with closing(FanOut()) as fan_out:
        taken = []
        for n, (_, answer) in enumerate(fan_out.stream(call, iter(range(300))), start=1):
            taken.append(weakref.ref(answer))
            del answer
            assert len(begun) <= n + 24
        gc.collect()
        assert sorted(begun) == list(range(300))
        assert [ref() for ref in taken] == [None] * 300
        stream = fan_out.stream(call, iter(range(1000, 2000)))
        next(stream)
        stream.close()
    assert len(begun) <= 300 + 1 + 24
