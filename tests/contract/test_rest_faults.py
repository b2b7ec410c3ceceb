"""The reference adapter where the provider, a gateway or one single job misbehaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from qjobs.backends.base import MissingResult, PlainJournal, Snapshot
from qjobs.backends.http import HttpClient
from qjobs.backends.limiter import Limiter
from qjobs.backends.rest import LostReply, RestBackend, proves_refusal
from qjobs.errors import (
    BackendUnavailable,
    CredentialsRejected,
    NotSent,
    ProtocolError,
    QJobsError,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ItemResult, RemoteId
from qjobs.testing.contract import flips, new_key
from qjobs.testing.contract.steps import ContractSteps, RecordingJournal
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.servers import ScriptedProvider

TOKEN = "a-token-of-the-account"


class Clock:
    """The provider's clock, which a test moves."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedProvider]:
    with ScriptedProvider("findable", token=TOKEN) as server:
        yield server


@pytest.fixture
def provider(server: ScriptedProvider) -> ScriptedProvider:
    server.reset()
    store = server.store
    store.queue_s = store.run_s = store.results_late_s = 0.0
    store.results_kept_s = None
    store.list_items = True
    store.page_size = 1000
    store.clock = Clock()
    return server


@pytest.fixture
def backend(provider: ScriptedProvider) -> Iterator[RestBackend]:
    limiter = Limiter()
    backend = RestBackend(
        provider.url,
        lost_reply=LostReply.FINDABLE,
        token=lambda: TOKEN,
        timeout_s=5.0,
        limiter=limiter,
        sleep=lambda _: None,
    )
    yield backend
    backend.close()


def batch(n_items: int = 1) -> Batch:
    return ContractSteps().make_batch([(flips(1, on=[0]), 8)] * n_items)


def submit(backend: RestBackend, n_items: int = 1) -> RemoteId:
    ids: list[RemoteId] = []
    backend.submit(batch(n_items), new_key(), PlainJournal(accepted=ids.append))
    return ids[0]


def status_of(backend: RestBackend, remote_id: RemoteId) -> JobStatus:
    answer = backend.status([remote_id])[remote_id]
    assert isinstance(answer, Snapshot), answer
    return answer.status


def kinds(answers: dict[RemoteId, Snapshot | QJobsError]) -> list[type]:
    return [type(answer) for answer in answers.values()]


# Submissions.


@pytest.mark.parametrize("code", [400, 401, 403, 404, 409, 429, 504])
def test_gateway_after(provider: ScriptedProvider, backend: RestBackend, code: int) -> None:
    """An answer of a gateway after the job was made is no refusal: the job is looked up."""
    provider.inject(Fault(route=Route.SUBMIT, action=Action.CODE_AFTER, code=code))
    key = new_key()
    journal = RecordingJournal()
    with pytest.raises(SubmissionUnknown):
        backend.submit(batch(), key, journal)
    assert journal.said == ["sending"]
    assert backend.find(key) == "r1"


def test_signed_again(provider: ScriptedProvider) -> None:
    """A signer may send a submission again only where the provider itself refused it, told by a body from the net."""

    class Signer(httpx.Auth):
        def sync_auth_flow(self, request: httpx.Request) -> Iterator[httpx.Request]:
            request.headers["authorization"] = f"Bearer {TOKEN}"
            response = yield request
            if response.status_code == 401:
                yield request

    http = HttpClient(provider.url, name="signed", auth=Signer(), limiter=Limiter())
    provider.inject(Fault(route=Route.INIT, action=Action.CODE_AFTER, code=401))
    with pytest.raises(SubmissionUnknown):
        http.submit("/steps", json={}, proves_refusal=proves_refusal)
    assert provider.asked[Route.INIT] == 1
    provider.inject(Fault(route=Route.INIT, action=Action.CODE_BEFORE, code=401, proved=True))
    http.submit("/steps", json={}, proves_refusal=proves_refusal)
    assert provider.asked[Route.INIT] == 1 + 2
    http.close()


@pytest.mark.parametrize(
    ("code", "error"), [(401, CredentialsRejected), (422, SubmissionRejected), (429, NotSent), (503, SubmissionUnknown)]
)
def test_own_refusal(provider: ScriptedProvider, backend: RestBackend, code: int, error: type) -> None:
    """The provider's own refusal says what it means; a 5xx proves nothing even then."""
    provider.inject(Fault(route=Route.SUBMIT, action=Action.CODE_BEFORE, code=code, proved=True))
    with pytest.raises(QJobsError) as caught:
        submit(backend)
    assert type(caught.value) is error


@pytest.mark.parametrize("code", [403, 418])
@pytest.mark.parametrize("route", [Route.SUBMIT, Route.STATUS, Route.RESULTS, Route.CANCEL])
def test_headers_echoed(provider: ScriptedProvider, backend: RestBackend, route: Route, code: int) -> None:
    """The token is in no message, however long the page is that repeats it; of a 403 no word is kept."""
    provider.store.run_s = 60.0
    remote_id = submit(backend)
    provider.inject(Fault(route=route, action=Action.ECHO, code=code, size=3_000_000))

    def ask() -> None:
        answer = backend.status([remote_id])[remote_id]
        if isinstance(answer, QJobsError):  # about this job alone
            raise answer

    acts: dict[Route, Callable[[], object]] = {
        Route.SUBMIT: lambda: submit(backend),
        Route.STATUS: ask,
        Route.RESULTS: lambda: list(backend.results(remote_id, [0])),
        Route.CANCEL: lambda: backend.cancel(remote_id),
    }
    with pytest.raises(QJobsError) as caught:
        acts[route]()
    assert TOKEN not in str(caught.value)
    assert len(str(caught.value)) < 2_300
    assert ("authorization" in str(caught.value)) is (code != 403)


# One job of many.


@pytest.mark.parametrize("lists", [False, True], ids=["its entry", "the list"])
@pytest.mark.parametrize(("code", "error"), [(403, ProtocolError), (400, ProtocolError), (410, ProtocolError)])
def test_one_refused(
    provider: ScriptedProvider, backend: RestBackend, lists: bool, code: int, error: type[QJobsError]
) -> None:
    """One job that is refused is told by itself, and the other jobs as always, in few requests."""
    ids = [submit(backend) for _ in range(9)]
    provider.refuse(ids[4], {"status": code}, lists=lists)
    answers = backend.status(ids)
    assert list(answers) == ids
    assert type(answers.pop(ids[4])) in {error, *error.__subclasses__()}
    assert set(kinds(answers)) == {Snapshot}
    assert provider.asked[Route.STATUS] <= 1 + 2 * 4


def test_one_fails(provider: ScriptedProvider, backend: RestBackend) -> None:
    """An entry with a 500 is transient, and about its job alone."""
    ids = [submit(backend) for _ in range(3)]
    provider.refuse(ids[1], {"status": 500})
    assert kinds(backend.status(ids)) == [Snapshot, BackendUnavailable, Snapshot]


def test_odd_word(provider: ScriptedProvider, backend: RestBackend) -> None:
    """A word that nobody knows is each job's answer, and is not raised."""
    ids = [submit(backend) for _ in range(2)]
    provider.inject(Fault(route=Route.STATUS, action=Action.UNKNOWN_WORD))
    assert kinds(backend.status(ids)) == [ProtocolError, ProtocolError]


def test_list_refused(provider: ScriptedProvider, backend: RestBackend) -> None:
    """Where every list is refused the error is raised, after a bounded number of requests."""
    ids = [submit(backend) for _ in range(3)]
    many = [*ids, *(RemoteId(f"x{number}") for number in range(197))]
    provider.inject(Fault(route=Route.STATUS, action=Action.CODE_BEFORE, code=414, times=1000))
    with pytest.raises(ProtocolError) as caught:
        backend.status(many)
    assert caught.value.code == 414
    assert provider.asked[Route.STATUS] == 31


@pytest.mark.parametrize(("code", "error"), [(401, CredentialsRejected), (403, CredentialsRejected)])
def test_gateway_refuses_all(
    provider: ScriptedProvider, backend: RestBackend, code: int, error: type[QJobsError]
) -> None:
    """A gateway that refuses the account is asked once."""
    ids = [submit(backend) for _ in range(4)]
    provider.inject(Fault(route=Route.STATUS, action=Action.CODE_BEFORE, code=code, times=1000))
    with pytest.raises(error):
        backend.status(ids)
    assert provider.asked[Route.STATUS] == 1


def test_second_list_fails(provider: ScriptedProvider, backend: RestBackend) -> None:
    """What one list of several says is kept when another cannot be had."""
    ids = [submit(backend), *(RemoteId(f"x{number}") for number in range(199)), submit(backend)]
    provider.inject(Fault(route=Route.STATUS, action=Action.CODE_BEFORE, code=502, skip=1, times=3))
    assert kinds(backend.status(ids)) == [Snapshot, BackendUnavailable]
    provider.inject(Fault(route=Route.STATUS, action=Action.CODE_BEFORE, code=502, times=6))
    with pytest.raises(BackendUnavailable):
        backend.status(ids)


def test_cancel_refused(provider: ScriptedProvider, backend: RestBackend) -> None:
    """A cancellation that is refused for one job is about this job: the credentials are good."""
    provider.store.run_s = 60.0
    one = submit(backend)
    other = submit(backend)
    provider.refuse(one, {"cancel": 403})
    with pytest.raises(ProtocolError) as caught:
        backend.cancel(one)
    assert caught.value.code == 403
    backend.cancel(other)
    assert status_of(backend, other) is JobStatus.CANCELLED
    backend.cancel(other)


# Jobs that come back, and jobs that are gone.


def test_forgotten(provider: ScriptedProvider, backend: RestBackend) -> None:
    """A forgotten job is not known and its results are gone for ever; it may be known again."""
    remote_id = submit(backend, 2)
    provider.forget(remote_id)
    assert backend.status([remote_id]) == {}
    entries = dict(backend.results(remote_id, [0, 1]))
    assert all(isinstance(entry, MissingResult) and entry.permanent for entry in entries.values())
    assert "404" in entries[0].reason
    provider.forget(remote_id, forgotten=False)
    assert status_of(backend, remote_id) is JobStatus.COMPLETED


@pytest.mark.parametrize("code", [404, 410])
def test_gateway_says_gone(provider: ScriptedProvider, backend: RestBackend, code: int) -> None:
    """A 404 of a gateway settles no item."""
    remote_id = submit(backend)
    provider.inject(Fault(route=Route.RESULTS, action=Action.CODE_BEFORE, code=code))
    with pytest.raises(ProtocolError):
        list(backend.results(remote_id, [0]))


def test_withheld(provider: ScriptedProvider, backend: RestBackend) -> None:
    """One result that never comes is told as such, with its reason; the others are there."""
    provider.have(withheld={1: "deleted by the operator"})
    remote_id = submit(backend, 3)
    entries = dict(backend.results(remote_id))
    assert [type(entries[index]) for index in range(3)] == [ItemResult, MissingResult, ItemResult]
    assert entries[1].permanent
    assert "deleted by the operator" in entries[1].reason


def test_late_and_kept(provider: ScriptedProvider, backend: RestBackend) -> None:
    """A result may follow its item, and is gone when the provider keeps it no longer."""
    clock = provider.store.clock
    provider.store.results_late_s = 5.0
    provider.store.results_kept_s = 60.0
    remote_id = submit(backend)
    ((_, entry),) = backend.results(remote_id)
    assert isinstance(entry, MissingResult)
    assert not entry.permanent
    clock.now_s += 10.0
    assert isinstance(dict(backend.results(remote_id))[0], ItemResult)
    clock.now_s += 60.0
    assert dict(backend.results(remote_id))[0].permanent


def test_nothing_listed(provider: ScriptedProvider, backend: RestBackend) -> None:
    """Results that an answer leaves out may still come."""
    remote_id = submit(backend, 2)
    provider.inject(Fault(route=Route.RESULTS, action=Action.NOTHING))
    entries = dict(backend.results(remote_id, [0, 1]))
    assert [entry.permanent for entry in entries.values()] == [False, False]


def test_revived(provider: ScriptedProvider, backend: RestBackend) -> None:
    """Somebody presses Retry at the provider: the job runs again, and what failed does not."""
    provider.have(broken={1: "laser off"})
    remote_id = submit(backend, 2)
    assert status_of(backend, remote_id) is JobStatus.ERROR
    provider.store.run_s = 60.0
    provider.revive(remote_id)
    assert status_of(backend, remote_id) is JobStatus.RUNNING
    provider.store.clock.now_s += 60.0
    assert status_of(backend, remote_id) is JobStatus.COMPLETED
    assert all(isinstance(entry, ItemResult) for _, entry in backend.results(remote_id))


def test_requeued(provider: ScriptedProvider, backend: RestBackend) -> None:
    """The provider queues a failed or cancelled job again by itself, as often as it is told."""
    provider.have(requeues=1, requeue_s=10.0)
    provider.store.run_s = 60.0
    clock = provider.store.clock
    remote_id = submit(backend)
    backend.cancel(remote_id)
    assert status_of(backend, remote_id) is JobStatus.CANCELLED
    clock.now_s += 10.0
    assert status_of(backend, remote_id) is JobStatus.RUNNING
    backend.cancel(remote_id)
    clock.now_s += 60.0
    assert status_of(backend, remote_id) is JobStatus.CANCELLED, "not again"


def test_detail(provider: ScriptedProvider, backend: RestBackend) -> None:
    """What more the provider says of a failed item is kept."""
    provider.have(broken={0: "laser off"}, details={0: "shutter 3 is closed"})
    remote_id = submit(backend)
    (item,) = backend.status([remote_id])[remote_id].items
    assert (item.message, item.error_detail) == ("laser off", "shutter 3 is closed")


def test_stuck_item(provider: ScriptedProvider, backend: RestBackend) -> None:
    """A final job may have an item that stays open."""
    provider.have(stuck={0})
    remote_id = submit(backend, 2)
    answer = backend.status([remote_id])[remote_id]
    assert answer.status is JobStatus.COMPLETED
    assert [item.status for item in answer.items] == [JobStatus.RUNNING, JobStatus.COMPLETED]


# Lists.


def test_list_without_items(provider: ScriptedProvider, backend: RestBackend) -> None:
    """Where lists tell no items, one job that is asked for alone tells them, and many do not."""
    provider.store.list_items = False
    ids = [submit(backend, 2) for _ in range(2)]
    assert [answer.items for answer in backend.status(ids).values()] == [None, None]
    assert len(backend.status(ids[:1])[ids[0]].items) == 2
    assert [job.n_items for job in backend.remote_jobs()] == [None, None]


def test_pages(provider: ScriptedProvider, backend: RestBackend) -> None:
    """Lists and results come in pages, and all of them are read."""
    provider.store.page_size = 2
    ids = [submit(backend, 5) for _ in range(5)]
    assert list(backend.status(ids)) == ids
    assert [job.remote_id for job in backend.remote_jobs()] == ids
    assert [index for index, _ in backend.results(ids[0])] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("empty", [False, True])
def test_endless_pages(provider: ScriptedProvider, backend: RestBackend, empty: bool) -> None:
    """Pages that bring nothing new and promise more are an error."""
    if not empty:
        submit(backend)
    provider.inject(Fault(route=Route.FIND, action=Action.ENDLESS, times=10_000))
    with pytest.raises(ProtocolError, match="do not end"):
        backend.remote_jobs()
    assert provider.asked[Route.FIND] <= 2


def test_incomplete_find(provider: ScriptedProvider, backend: RestBackend) -> None:
    """A list may answer 200 and nothing for a while, by the provider's clock."""
    key = new_key()
    backend.submit(batch(), key, RecordingJournal())
    provider.inject(Fault(route=Route.FIND, action=Action.NOTHING, for_s=30.0))
    for _ in range(5):
        assert backend.find(key) is None
    provider.store.clock.now_s += 30.0
    assert backend.find(key) == "r1"


def test_same_ids(provider: ScriptedProvider, backend: RestBackend) -> None:
    """Another server has a job of the same id; its fingerprint is another, and that of an account there too."""
    submit(backend)
    with ScriptedProvider("findable") as other:
        elsewhere = RestBackend(other.url, lost_reply=LostReply.FINDABLE)
        assert submit(elsewhere) == "r1"
        assert elsewhere.fingerprint.place != backend.fingerprint.place
        same_url = RestBackend(provider.url + "/", lost_reply=LostReply.OPAQUE, name="theirs")
        assert same_url.fingerprint.place != backend.fingerprint.place
        for each in (elsewhere, same_url):
            each.close()
