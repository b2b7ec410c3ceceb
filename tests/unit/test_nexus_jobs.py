"""Jobs at Nexus: asked for one by one and in lists, found, cancelled; one bad job never stops the others."""

from __future__ import annotations

import copy
import json
import urllib.parse
from collections.abc import Iterator
from typing import Any

import pytest
from nexus_replay import JOB, Replay, open_on, replaying, sample

from qjobs.backends.base import Answer, Snapshot
from qjobs.backends.nexus import NexusBackend, wire
from qjobs.errors import BackendUnavailable, CredentialsRejected, ProtocolError
from qjobs.lifecycle import JobStatus
from qjobs.model import Key, RemoteId

ONE = f"{wire.JOBS}/[^/]+"
NOT_HERE = {"detail": "Not Found"}
NO_SUCH_JOB = {"message": "job 7 not found"}


@pytest.fixture
def nexus() -> Iterator[Replay]:
    with replaying() as nexus:
        yield nexus


@pytest.fixture
def backend(nexus: Replay) -> Iterator[NexusBackend]:
    backend = open_on(nexus)
    yield backend
    backend.close()


def ids(*names: str) -> list[RemoteId]:
    return [RemoteId(name) for name in names]


def status_of(answer: Answer) -> JobStatus:
    assert isinstance(answer, Snapshot)
    return answer.status


def with_word(word: str) -> Any:
    body = sample(JOB + "execute COMPLETED -> 200")
    body["data"]["attributes"]["status"]["status"] = word
    return body


@pytest.mark.parametrize(
    ("code", "body", "error"),
    [
        (403, {"message": "not yours"}, ProtocolError),
        (403, "<html>firewall</html>", CredentialsRejected),
        (404, "<html>proxy</html>", ProtocolError),
        (418, {"message": "tea"}, ProtocolError),
        (500, {"message": "oh"}, BackendUnavailable),
        (200, {}, ProtocolError),
        (200, {"data": None}, ProtocolError),
        (200, "cut off", ProtocolError),
        (200, with_word("PONDERING"), ProtocolError),
    ],
)
def test_one_bad_job(nexus: Replay, backend: NexusBackend, code: int, body: Any, error: type[Exception]) -> None:
    """What is wrong with one job is that job's answer."""
    nexus.on("GET", ONE, 200, sample(JOB + "execute COMPLETED -> 200"))
    nexus.on("GET", f"{wire.JOBS}/bad", code, body)
    found = backend.status(ids("a", "bad", "b"))
    assert list(found) == ids("a", "bad", "b")
    assert [status_of(found[each]) for each in ids("a", "b")] == [JobStatus.COMPLETED] * 2
    assert type(found[RemoteId("bad")]) is error
    assert len(str(found[RemoteId("bad")])) < 3_000


@pytest.mark.parametrize(
    ("code", "body", "error"), [(503, {}, BackendUnavailable), (401, {"message": "Unauthorized"}, CredentialsRejected)]
)
def test_none_could_be_asked(
    nexus: Replay, backend: NexusBackend, code: int, body: Any, error: type[Exception]
) -> None:
    """If no job can be asked for, that is raised."""
    nexus.on("GET", ONE, code, body)
    with pytest.raises(error):
        backend.status(ids("a", "b"))


def test_nexus_is_away(nexus: Replay, backend: NexusBackend) -> None:
    """While Nexus is away, it is not asked for hundreds of jobs, each of them three times."""
    nexus.on("GET", f"{wire.JOBS}.*", 503, {})
    with pytest.raises(BackendUnavailable):
        backend.status(ids(*(f"job {n}" for n in range(300))))
    assert len(nexus.sent("GET", ONE)) <= 3 * (8 + 8)


def test_odd_words_alone(nexus: Replay, backend: NexusBackend) -> None:
    """A word outside the contract is an answer also when no job has another one."""
    nexus.on("GET", ONE, 200, with_word("PONDERING" * 1000))
    (answer,) = backend.status(ids("a")).values()
    assert isinstance(answer, ProtocolError)
    assert "PONDERING" in str(answer)
    assert len(str(answer)) < 300


@pytest.mark.parametrize(("code", "body"), [(404, NO_SUCH_JOB), (410, NO_SUCH_JOB), (404, NOT_HERE)])
def test_job_not_known(nexus: Replay, backend: NexusBackend, code: int, body: Any) -> None:
    """A job that Nexus itself does not know is left out."""
    nexus.on("GET", f"{wire.JOBS}/gone", code, body)
    nexus.on("GET", f"{wire.JOBS}/a", 200, sample(JOB + "execute COMPLETED -> 200"))
    assert list(backend.status(ids("gone", "a"))) == ids("a")
    assert backend.status(ids("gone")) == {}


@pytest.mark.parametrize(("code", "body"), [(404, NOT_HERE), (500, {}), (200, {})])
def test_routes_are_gone(nexus: Replay, backend: NexusBackend, code: int, body: Any) -> None:
    """When Nexus removes the routes of this version, no job counts as unknown."""
    nexus.on("GET", ONE, 404, NOT_HERE)
    nexus.on("GET", f"{wire.JOBS}/meta/count", code, body)
    found = backend.status(ids("a", "b"))
    assert all(isinstance(answer, ProtocolError) for answer in found.values())
    assert len(found) == 2


def listing(*names: str, **meta: Any) -> Any:
    """A page of the list of jobs; a name is that of a job with the id `id of <name>`."""
    body = sample("GET /api/jobs/v1beta3 -> 200")
    (template,) = body["data"][:1]
    body["data"] = []
    for number, name in enumerate(names):
        job = copy.deepcopy(template) | {"id": f"id of {name}"}
        job["attributes"]["name"] = name.partition("#")[0]
        job["attributes"]["timestamps"]["created"] = f"2026-01-01T00:00:{number:02d}+00:00"
        body["data"].append(job)
    body["meta"] = meta
    return body


def asked_pages(nexus: Replay) -> list[int]:
    queries = [urllib.parse.parse_qs(path.partition("?")[2]) for how, path, _ in nexus.asked if how == "GET"]
    return [int(query["page[number]"][0]) for query in queries if "page[number]" in query]


def test_similar_names(nexus: Replay, backend: NexusBackend) -> None:
    """A name that only looks like ours is not ours."""
    nexus.on("GET", wire.JOBS, 200, listing("qjobs", "x-qjobs-k", "qjobs-", total_pages=1))
    assert backend.find(Key("k")) is None
    assert backend.remote_jobs() == []
    nexus.on("GET", wire.JOBS, 200, listing("qjobs-k", total_pages=1))
    assert backend.find(Key("k")) == "id of qjobs-k"
    assert backend.find(Key("K")) is None
    (ours,) = backend.remote_jobs() or []
    assert (ours.remote_id, ours.key, ours.n_items) == ("id of qjobs-k", "k", 1)


def test_oldest_of_a_name(nexus: Replay, backend: NexusBackend) -> None:
    """Of several jobs of one name the oldest is found, whatever the order of the list."""
    body = listing("qjobs-k#0", "qjobs-k#1", "qjobs-k#2", total_pages=1)
    body["data"].reverse()
    nexus.on("GET", wire.JOBS, 200, body)
    assert backend.find(Key("k")) == "id of qjobs-k#0"


def test_two_routes(nexus: Replay, backend: NexusBackend) -> None:
    """`find` asks by the exact name, `remote_jobs` by the prefix and the project."""
    nexus.on("GET", wire.JOBS, 200, listing(total_pages=0))
    backend.find(Key("k"))
    backend.remote_jobs()
    queries = [
        urllib.parse.parse_qs(where.partition("?")[2]) for _, where, _ in nexus.asked if f"{wire.JOBS}?" in where
    ]
    assert [query.get("filter[name_exact]") for query in queries] == [["qjobs-k"], None]
    assert ["filter[project][id]" in query for query in queries] == [False, True]


@pytest.mark.parametrize("meta", [{}, {"total_pages": 10**9}, {"total_pages": "many"}])
def test_same_page_again(nexus: Replay, backend: NexusBackend, meta: Any) -> None:
    """A list that shows the same page again and again ends in an error: nobody can say what is not in it."""
    nexus.on("GET", wire.JOBS, 200, listing("qjobs-other", **meta))
    for look in (lambda: backend.find(Key("k")), backend.remote_jobs):
        nexus.asked.clear()
        with pytest.raises(ProtocolError, match="no end"):
            look()
        assert asked_pages(nexus) == [0, 1]


def test_endless_new_jobs(nexus: Replay, backend: NexusBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list that never ends is left after a bounded number of pages."""
    monkeypatch.setattr("qjobs.backends.nexus.jobs._MOST_PAGES", 5)
    nexus.on_each("GET", wire.JOBS, *[(200, listing(f"qjobs-{n}", total_pages=10**9)) for n in range(50)])
    with pytest.raises(ProtocolError, match="no end"):
        backend.remote_jobs()
    assert asked_pages(nexus) == [0, 1, 2, 3, 4]


def test_too_few_pages_promised(nexus: Replay, backend: NexusBackend) -> None:
    """A full page is not believed to be the last one."""
    full = listing(*(f"qjobs-{n}" for n in range(100)), total_pages=1)
    for number, job in enumerate(full["data"]):
        job["attributes"]["timestamps"]["created"] = f"2025-01-01T00:{number // 60:02d}:{number % 60:02d}+00:00"
    nexus.on_each("GET", wire.JOBS, (200, full), (200, listing("qjobs-k", total_pages=1)))
    assert backend.find(Key("k")) == "id of qjobs-k"


def test_list_of_open_jobs_ends(nexus: Replay, backend: NexusBackend) -> None:
    """Jobs are read by their ids when the list of open ones has no end."""
    nexus.on("GET", wire.JOBS, 200, listing("qjobs-other"))
    nexus.on("GET", ONE, 200, sample(JOB + "execute COMPLETED -> 200"))
    names = [f"job {n}" for n in range(6)]
    assert {status_of(answer) for answer in backend.status(ids(*names)).values()} == {JobStatus.COMPLETED}


CANCEL = f"{wire.JOBS}/[^/]+/rpc/cancel"


@pytest.mark.parametrize("code", [400, 403, 404, 409, 422])
def test_cancel_refused(nexus: Replay, backend: NexusBackend, code: int) -> None:
    """A refused cancellation is an error only for a job that is there, goes on, and is not being cancelled."""
    nexus.on("POST", CANCEL, code, {"message": "no"})
    for word in ("COMPLETED", "CANCELLED", "CANCELLING"):
        nexus.on("GET", ONE, 200, with_word(word))
        backend.cancel(RemoteId("j"))
    nexus.on("GET", ONE, 404, NO_SUCH_JOB)
    backend.cancel(RemoteId("j"))
    nexus.on("GET", ONE, 200, with_word("RUNNING"))
    with pytest.raises(ProtocolError, match="Forbidden" if code == 403 else "no") as caught:
        backend.cancel(RemoteId("j"))
    assert caught.value.code == code
    assert nexus.sent("POST", CANCEL) == [{}] * 5, "a missing body was a 422"


def test_cancel_fails(nexus: Replay, backend: NexusBackend) -> None:
    """A cancellation that fails at Nexus is transient, and does not hinder the next one."""
    nexus.on("POST", CANCEL, 202, {})
    nexus.on("POST", f"{wire.JOBS}/bad/rpc/cancel", 500, {"message": "oh"})
    with pytest.raises(BackendUnavailable):
        backend.cancel(RemoteId("bad"))
    backend.cancel(RemoteId("j"))


def test_id_stays_in_its_path(nexus: Replay, backend: NexusBackend) -> None:
    """An id cannot lead to another route."""
    backend.status([RemoteId("../../users/v1beta2/me?x=1#")])
    where = [path for _, path, _ in nexus.asked if "users" in path]
    assert [path.partition("scope")[0] for path in where] == [
        "/api/jobs/v1beta3/..%2F..%2Fusers%2Fv1beta2%2Fme%3Fx%3D1%23?"
    ]


def test_samples_have_numbers() -> None:
    """The order of items rests on the numbers that Nexus gives them as it creates a job: 1, 2, ..."""
    for name in ("execute ERROR -> 200", "compile COMPLETED -> 200"):
        items = sample(JOB + name)["data"]["attributes"]["definition"]["items"]
        assert [item["item_id"] for item in items] == list(range(1, len(items) + 1)), json.dumps(items)


def test_live_jobs(nexus: Replay, backend: NexusBackend) -> None:
    """Live jobs come in one request; one that shows another device's configuration is elsewhere, one without is not."""
    body = listing("here", "unsaid", "there", "over", total_pages=1)
    configs = [{"type": "AerConfig", "seed": 7}, None, {"type": "QuantinuumConfig", "device_name": "H1-1"}, None]
    for job, config, word in zip(body["data"], configs, ["RUNNING", "QUEUED", "SUBMITTED", "COMPLETED"], strict=True):
        job["attributes"]["status"] = {"status": word}
        job["attributes"]["definition"] = {} if config is None else {"backend_config": config}
    nexus.on("GET", wire.JOBS, 200, body)
    found = backend.live_jobs() or []
    assert [(job.remote_id, job.elsewhere) for job in found] == [
        ("id of here", False),
        ("id of unsaid", False),
        ("id of there", True),
    ]
    assert asked_pages(nexus) == [0]


def test_list_of_live_jobs_fails(nexus: Replay, backend: NexusBackend) -> None:
    """A list that fails is left alone for a while, as for the status of jobs."""
    nexus.on("GET", wire.JOBS, 200, {"data": "nothing"})
    with pytest.raises(ProtocolError):
        backend.live_jobs()
    with pytest.raises(BackendUnavailable, match="left alone"):
        backend.live_jobs()
    assert asked_pages(nexus) == [0]
