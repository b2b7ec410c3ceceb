"""The portal's own list: what is found in it by our key, and when that nothing is found is believed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from mqp_portal import IDENTITY, SECRET, TOKEN, MqpPortal
from test_mqp_backend import batch_of

import qjobs
from qjobs.backends.limiter import Limiter
from qjobs.backends.mqp import MqpBackend, PortalLogin
from qjobs.errors import BackendUnavailable, CredentialsRejected, InvalidInput, ProtocolError, QJobsError
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Confirmation, Key, RemoteId, RemoteRetryStrategy
from qjobs.testing.contract import RecordingJournal, new_key
from qjobs.testing.faults import Action, Fault, Route

Row = dict[str, Any]
Opened = Callable[..., MqpBackend]


class Time:
    """A clock that a test moves."""

    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def server() -> Iterator[MqpPortal]:
    with MqpPortal() as portal:
        yield portal


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def portal(server: MqpPortal, time: Time) -> MqpPortal:
    server.reset()
    server.store.clock = time
    return server


@pytest.fixture
def opened(portal: MqpPortal, time: Time) -> Iterator[Opened]:
    made: list[MqpBackend] = []

    def open_one(secret: str = SECRET, **options: Any) -> MqpBackend:
        login = PortalLogin(identity=IDENTITY, secret=secret, url=portal.list_url)
        settings = {"url": portal.url, "token": lambda: TOKEN, "limiter": Limiter(), "sleep": lambda _: None}
        settings |= {"portal": login, "monotonic": time}
        made.append(MqpBackend("QExa", **(settings | options)))
        return made[-1]

    yield open_one
    for each in made:
        each.close()


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr("qjobs.backends.mqp.portal._PAGE_SIZE", 4)
    return 4


def send(backend: MqpBackend, n_jobs: int) -> list[tuple[Key, RemoteId]]:
    sent = []
    for number in range(n_jobs):
        journal = RecordingJournal()
        key = new_key()
        backend.submit(batch_of(number % 8, 1), key, journal)
        sent.append((key, journal.ids[0]))
    return sent


def shuffled(rows: list[Row], page: int, size: int) -> list[Row]:
    mixed = random.Random(5).sample(rows, len(rows))
    return mixed[page * size : (page + 1) * size]


def from_one(rows: list[Row], page: int, size: int) -> list[Row]:
    return rows[max(0, (page - 1) * size) : max(0, page * size)]


def overlapping(rows: list[Row], page: int, size: int) -> list[Row]:
    return rows[page : page + size]


def first_only(rows: list[Row], page: int, size: int) -> list[Row]:
    return rows[:size]


def empty_later(rows: list[Row], page: int, size: int) -> list[Row]:
    return rows[:size] if page == 0 else []


@pytest.mark.parametrize("rows", [None, shuffled, from_one])
def test_found(portal: MqpPortal, opened: Opened, small_pages: int, rows: Any) -> None:
    """A job is found by its whole key on whatever page it is; one that was never made is not."""
    backend = opened()
    sent = send(backend, 11)
    if rows is not None:
        portal.ways.rows = rows
    for key, remote_id in (sent[0], sent[5], sent[10]):
        assert backend.find(key) == remote_id
        assert backend.find(Key(key[:-1])) is None
    assert {job.key: job.remote_id for job in backend.remote_jobs() or []} == dict(sent)
    assert {job.n_items for job in backend.remote_jobs() or []} == {2}


@pytest.mark.parametrize("rows", [overlapping, first_only, empty_later])
def test_pages_leave_some_out(portal: MqpPortal, opened: Opened, small_pages: int, rows: Any) -> None:
    """A list that shows fewer jobs than it says that there are proves nothing."""
    backend = opened()
    sent = send(backend, 11)
    portal.ways.rows = rows
    with pytest.raises(ProtocolError, match=r"shows \d+ of the 11 jobs"):
        backend.find(new_key())
    with pytest.raises(ProtocolError):
        backend.find(sent[10][0])
    assert portal.asked["find"] <= 10


def test_oldest(portal: MqpPortal, opened: Opened, time: Time) -> None:
    """Of several jobs with one key, the oldest is found, in whatever order they are listed."""
    backend = opened()
    key = new_key()
    ids = []
    for _ in range(11):
        journal = RecordingJournal()
        backend.submit(batch_of(1), key, journal)
        ids += journal.ids
    portal.ways.rows = shuffled
    assert backend.find(key) == ids[0] == "1"


def test_long_list(opened: Opened, portal: MqpPortal) -> None:
    """A list without an end is not read for ever."""
    backend = opened()
    send(backend, 1)
    portal.inject(Fault(route=Route.FIND, action=Action.ENDLESS, times=99))
    with pytest.raises(ProtocolError, match="not looked through"):
        backend.find(new_key())
    assert portal.asked["find"] == 1


def test_hidden_circuits(opened: Opened, portal: MqpPortal) -> None:
    """A list without circuits proves nothing."""
    backend = opened()
    send(backend, 2)
    portal.ways.lists_hidden = True
    with pytest.raises(ProtocolError, match="without their circuits"):
        backend.find(new_key())


def test_empty_list(opened: Opened) -> None:
    """An account without any job has none of ours."""
    assert opened().find(new_key()) is None
    assert opened().remote_jobs() == []


def test_comments_are_dropped(opened: Opened, portal: MqpPortal) -> None:
    """Where no job shows a comment of ours, the list may drop them: nothing is believed."""
    backend = opened()
    ((key, _),) = send(backend, 1)
    portal.ways.drops_comments = True
    with pytest.raises(ProtocolError, match="may not keep comments"):
        backend.find(key)


def test_nothing_is_sent_twice(opened: Opened, portal: MqpPortal, store: Ledger) -> None:
    """A lost reply at a portal that drops comments is left to a person, however often the job is entered."""
    at_once = Confirmation(absent_times=1, absent_apart_s=0.0)
    backend = opened(settle_s=0.0, confirm=at_once)
    portal.ways.drops_comments = True
    portal.inject(Fault(route=Route.SUBMIT, action=Action.DROP_AFTER))
    batch = batch_of(1)
    (job_id,) = qjobs.plan(store, backend, batch.items, batch.programs, run="run", name="lost")
    for _ in range(5):
        with pytest.raises(QJobsError):
            qjobs.submit(store, backend, job_id, strategy=RemoteRetryStrategy.ALLOW_RESUBMIT)
    assert (portal.created, store.job(job_id).status) == (1, JobStatus.UNKNOWN)
    portal.ways.drops_comments = False
    qjobs.submit(store, backend, job_id)
    assert (portal.created, store.attempts(job_id)[-1].remote_id) == (1, "1")


def test_token_lasts(opened: Opened, portal: MqpPortal, time: Time) -> None:
    """A sign-in is good for its time, and is renewed before it has run out."""
    backend = opened()
    for now_s, given in ((0.0, 1), (700.0, 1), (800.0, 2), (1500.0, 2), (5000.0, 3)):
        time.now_s = now_s
        backend.remote_jobs()
        assert portal.given == given
    assert portal.asked["find"] == 5, "no request was refused"


def test_token_is_refused(opened: Opened, portal: MqpPortal) -> None:
    """A token that ends early is renewed once, and a second refusal is told."""
    backend = opened()
    backend.remote_jobs()
    portal.access.clear()
    backend.remote_jobs()
    assert portal.given == 2
    portal.ways.access_ttl_s = 0.0
    portal.access.clear()
    with pytest.raises(CredentialsRejected):
        backend.remote_jobs()
    assert portal.given == 3


def test_wrong_login(opened: Opened, portal: MqpPortal) -> None:
    """A login that the portal does not take is told, without its secret."""
    with pytest.raises(CredentialsRejected) as caught:
        opened(secret="a wrong secret").find(new_key())
    assert "a wrong secret" not in str(caught.value)
    assert "a wrong secret" not in repr(PortalLogin(identity="me", secret="a wrong secret", url="http://x"))


def test_login_is_whole() -> None:
    """A login without one of its parts is refused."""
    with pytest.raises(InvalidInput):
        PortalLogin(identity="me", secret="", url="http://x")


def test_list_is_away(opened: Opened, portal: MqpPortal) -> None:
    """A list that cannot be read now says nothing of a job; jobs are sent and read all the same."""
    backend = opened()
    portal.inject(Fault(route=Route.TOKENS, action=Action.CODE_BEFORE, code=503, times=99))
    ((key, remote_id),) = send(backend, 1)
    assert backend.status([remote_id])
    with pytest.raises(BackendUnavailable):
        backend.find(key)


def test_live_jobs(opened: Opened, portal: MqpPortal) -> None:
    """What waits or runs is told in one request; a list that ignores what was asked, or is longer, tells nothing."""
    backend = opened()
    portal.store.run_s = 60.0
    send(backend, 2)
    asked = portal.n_asked
    assert {job.remote_id for job in backend.live_jobs() or ()} == {"1", "2"}
    assert portal.n_asked == asked + 2, "and one to sign in"
    portal.store.clock = lambda: 100.0
    assert backend.live_jobs() == []
    portal.ways.ignores_filter = True
    with pytest.raises(ProtocolError, match="COMPLETED"):
        backend.live_jobs()
    portal.ways.rows = lambda rows, page, size: rows[:1]
    with pytest.raises(ProtocolError, match="1 of its 2"):
        backend.live_jobs()
    assert opened(portal=None).live_jobs() is None
