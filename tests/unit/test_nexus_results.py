"""Results of Nexus jobs: matched by item, streamed, and told apart from those that never come."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nexus_replay import EXECUTE, JOB, Journal, Replay, batch, open_on, replaying, sample

from qjobs.backends.base import MissingResult, Result, Snapshot
from qjobs.backends.nexus import NexusBackend, wire
from qjobs.circuits.programs import to_qiskit
from qjobs.errors import BackendUnavailable, ProtocolError
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemResult, Key, RemoteId

ID = RemoteId("j")


@pytest.fixture
def nexus() -> Iterator[Replay]:
    with replaying() as nexus:
        yield nexus


@pytest.fixture
def backend(nexus: Replay) -> Iterator[NexusBackend]:
    backend = open_on(nexus)
    yield backend
    backend.close()


def read(backend: NexusBackend, *items: int, remote_id: RemoteId = ID) -> dict[int, Result]:
    return dict(backend.results(remote_id, items or None))


def job_of(n: int, **more: Any) -> Any:
    """A completed job of n items, of which item i has the result r<i>."""
    body = sample(JOB + "execute ERROR -> 200")
    attributes = body["data"]["attributes"]
    attributes["status"] |= {"status": "COMPLETED", "error_detail": None}
    done = attributes["definition"]["items"][1]
    items = []
    for index in range(n):
        item = copy.deepcopy(done) | {"item_id": 40 + index, "result_id": f"r{index}", "program_id": f"p{index}"}
        item["status"]["message"] = f"number {index}"
        items.append(item | more)
    attributes["definition"]["items"] = items
    return body


def items_in(body: Any) -> list[Any]:
    found: list[Any] = body["data"]["attributes"]["definition"]["items"]
    return found


def result_of(word: int) -> Any:
    """Four shots that give `word`, of two bits."""
    result = sample("GET /api/results/v1beta3/{id} -> 200")
    result["data"]["attributes"]["shots"]["array"] = [[64 * int(f"{word:02b}"[::-1], 2)]] * 4
    return result


def show(nexus: Replay, body: Any) -> None:
    nexus.on("GET", f"{wire.JOBS}/[^/]+", 200, body)


def show_results(nexus: Replay, n: int) -> None:
    for index in range(n):
        nexus.on("GET", f"{wire.RESULTS}/r{index}", 200, result_of(index % 4))


def missing(entry: Result) -> MissingResult:
    assert isinstance(entry, MissingResult)
    assert entry.reason
    return entry


@pytest.mark.parametrize("seed", range(3))
def test_items_in_any_order(nexus: Replay, backend: NexusBackend, seed: int) -> None:
    """Whatever the order in which Nexus lists items, each result and status is that of its own item."""
    body = job_of(4)
    random.Random(seed).shuffle(items_in(body))
    show(nexus, body)
    show_results(nexus, 4)
    found = read(backend)
    assert {index: entry.counts for index, entry in found.items() if isinstance(entry, ItemResult)} == {
        0: {"00": 4},
        1: {"01": 4},
        2: {"10": 4},
        3: {"11": 4},
    }
    snapshot = backend.status([ID])[ID]
    assert isinstance(snapshot, Snapshot)
    assert [item.message for item in snapshot.items or ()] == [f"number {index}" for index in range(4)]


@pytest.mark.parametrize("numbers", [[1, 1], [1, None], ["1", "2"], [True, 2]])
def test_items_not_told_apart(nexus: Replay, backend: NexusBackend, numbers: list[Any]) -> None:
    """Items that cannot be told apart give no results, and no statuses of items."""
    body = job_of(2)
    for item, number in zip(items_in(body), numbers, strict=True):
        item["item_id"] = number
    show(nexus, body)
    with pytest.raises(ProtocolError, match="told apart"):
        read(backend)
    snapshot = backend.status([ID])[ID]
    assert isinstance(snapshot, Snapshot)
    assert snapshot.items is None


def test_other_items_than_sent(nexus: Replay, backend: NexusBackend) -> None:
    """A job whose items are not those that were sent gives no results."""
    journal = Journal(nexus)
    backend.submit(batch(n=2), Key("k"), journal)
    assert journal.ids == [EXECUTE["response"]["data"]["id"]]
    show(nexus, job_of(2))
    with pytest.raises(ProtocolError, match="in the order"):
        read(backend, remote_id=journal.ids[0])


def test_chosen_items(nexus: Replay, backend: NexusBackend) -> None:
    """Only what is asked for is downloaded, and a position that the job does not have is told at the end."""
    show(nexus, job_of(4))
    show_results(nexus, 4)
    assert sorted(read(backend, 3, 1)) == [1, 3]
    assert len(nexus.sent("GET", f"{wire.RESULTS}/.*")) == 2
    stream = backend.results(ID, [0, 7])
    assert next(stream)[0] == 0
    with pytest.raises(ProtocolError, match="4 items"):
        next(stream)


def test_partial_results(nexus: Replay, backend: NexusBackend) -> None:
    """What finished is kept beside what failed."""
    show(nexus, sample(JOB + "execute ERROR -> 200"))
    nexus.on("GET", f"{wire.RESULTS}/544c2af4-c994-4f16-8edd-05e96769acad", 200, result_of(2))
    found = read(backend)
    assert "does not support" in missing(found[0]).reason
    assert not missing(found[0]).permanent, "it may be retried there"
    assert found[1] == ItemResult(counts={"10": 4})


@pytest.mark.parametrize(
    ("code", "body"),
    [(404, {"message": "result not found"}), (410, {"message": "expired"}), (410, {}), (410, "<html>gone</html>")],
)
def test_result_is_gone(nexus: Replay, backend: NexusBackend, code: int, body: Any) -> None:
    """A result that Nexus has no longer never comes, and that is told in its words; the others come."""
    show(nexus, job_of(2))
    show_results(nexus, 2)
    nexus.on("GET", f"{wire.RESULTS}/r0", code, body)
    found = read(backend)
    assert missing(found[0]).permanent
    assert str(code) in missing(found[0]).reason
    assert found[1] == ItemResult(counts={"01": 4})


@pytest.mark.parametrize(
    ("code", "body", "error"),
    [
        (404, {"detail": "Not Found"}, ProtocolError),
        (404, "<html>proxy</html>", ProtocolError),
        (403, {"message": "not yours"}, ProtocolError),
        (200, {}, ProtocolError),
        (200, {"data": {"attributes": {}}}, ProtocolError),
        (503, {"message": "later"}, BackendUnavailable),
    ],
)
def test_result_not_to_be_had(
    nexus: Replay, backend: NexusBackend, code: int, body: Any, error: type[Exception]
) -> None:
    """What proves nothing about a result is an error at the end of the stream, and takes nothing back."""
    show(nexus, job_of(12))
    show_results(nexus, 12)
    nexus.on("GET", f"{wire.RESULTS}/r11", code, body)
    came = {}

    def collect() -> None:
        for index, entry in backend.results(ID):
            came[index] = entry

    with pytest.raises(error):
        collect()
    assert all(isinstance(entry, ItemResult) for entry in came.values())
    assert sorted(came) == list(range(11))


def test_nothing_more_is_asked(nexus: Replay, backend: NexusBackend) -> None:
    """While Nexus is away, it is not asked for hundreds of results."""
    show(nexus, job_of(100))
    nexus.on("GET", f"{wire.RESULTS}/.*", 503, {"message": "later"})
    with pytest.raises(BackendUnavailable):
        read(backend)
    assert len(nexus.sent("GET", f"{wire.RESULTS}/.*")) <= 24


def test_late_result(nexus: Replay) -> None:
    """COMPLETED a moment ago without a result may have one soon; after a while it never comes."""
    now = [0.0]
    backend = open_on(nexus, monotonic=lambda: now[0])
    body = job_of(1, result_id=None, result_type=None)
    (item,) = items_in(body)

    def completed(seconds_ago: float) -> None:
        item["status"]["completed_time"] = (datetime.now(UTC) - timedelta(seconds=seconds_ago)).isoformat()
        show(nexus, body)

    completed(120)  # by a clock that may not be ours
    for now[0] in (0.0, 59.0):
        assert not missing(read(backend)[0]).permanent
    now[0] = 61.0
    assert missing(read(backend)[0]).permanent
    assert not missing(read(backend, remote_id=RemoteId("new"))[0]).permanent
    completed(3600)
    assert missing(read(backend, remote_id=RemoteId("old"))[0]).permanent, "nobody waits for an old one"
    item["status"]["completed_time"] = None
    body["data"]["attributes"]["status"]["completed_time"] = None
    body["data"]["attributes"]["timestamps"]["modified"] = "2024-01-01T00:00:00Z"
    assert missing(read(backend, remote_id=RemoteId("no time"))[0]).permanent, "the job's own time will do"
    backend.close()


def test_syntax_checker(nexus: Replay) -> None:
    """A syntax checker gives no results, whatever it shows; its compile jobs give programs."""
    checker = open_on(nexus, "H1-1SC")
    body = job_of(2)
    items_in(body)[1]["status"]["status"] = "RUNNING"
    show(nexus, body)
    show_results(nexus, 2)
    found = read(checker)
    assert missing(found[0]).permanent
    assert "syntax checker" in missing(found[0]).reason
    assert not missing(found[1]).permanent
    assert nexus.sent("GET", f"{wire.RESULTS}/.*") == [], "zero counts are no data"
    show(nexus, sample(JOB + "compile COMPLETED -> 200"))
    nexus.on("GET", f"{wire.COMPILATIONS}/.*", 200, sample("GET /api/compilations/v1beta3/{id} -> 200"))
    nexus.on("GET", f"{wire.CIRCUITS}/.*", 200, sample("GET /api/circuits/v1beta2/{id} -> 200"))
    assert isinstance(read(checker)[0], ItemResult)
    checker.close()


@pytest.mark.parametrize("kind", ["QSYS", "SOMETHING_NEW"])
def test_type_not_read(nexus: Replay, backend: NexusBackend, kind: str) -> None:
    """A result of a type that qjobs does not read never comes, and its type is told."""
    show(nexus, job_of(1, result_type=kind))
    entry = missing(read(backend)[0])
    assert entry.permanent
    assert kind in entry.reason


def test_state_is_no_counts(nexus: Replay, backend: NexusBackend) -> None:
    """A state vector has no counts, and never will."""
    result = result_of(0)
    result["data"]["attributes"] |= {"shots": None, "counts": None, "state": {"real": [[1]], "imag": [[0]]}}
    show(nexus, job_of(1))
    nexus.on("GET", f"{wire.RESULTS}/r0", 200, result)
    assert missing(read(backend)[0]).permanent


def test_job_is_gone(nexus: Replay, backend: NexusBackend) -> None:
    """Of a job that was deleted there, nothing that is asked for ever comes."""
    nexus.on("GET", f"{wire.JOBS}/[^/]+", 404, {"message": "job not found"})
    found = read(backend, 0, 5)
    assert sorted(found) == [0, 5]
    assert all(missing(entry).permanent for entry in found.values())
    with pytest.raises(ProtocolError) as caught:
        read(backend)
    assert caught.value.code == 404


def test_odd_item(nexus: Replay, backend: NexusBackend) -> None:
    """An item whose status nobody knows hides no other item's result."""
    body = job_of(2)
    items_in(body)[0] |= {"result_id": None, "status": {"status": "PONDERING", "message": "hm"}}
    show(nexus, body)
    show_results(nexus, 2)
    found = read(backend)
    assert "PONDERING" in missing(found[0]).reason
    assert not missing(found[0]).permanent
    assert found[1] == ItemResult(counts={"01": 4})


def test_early_end(nexus: Replay, backend: NexusBackend) -> None:
    """Who stops reading stops the downloads."""
    show(nexus, job_of(200))
    nexus.on("GET", f"{wire.RESULTS}/.*", 200, result_of(0))
    stream = backend.results(ID)
    next(stream)
    stream.close()
    assert len(nexus.sent("GET", f"{wire.RESULTS}/.*")) < 100


def test_compiled_circuit(nexus: Replay, backend: NexusBackend) -> None:
    """A compile job gives programs."""
    show(nexus, sample(JOB + "compile COMPLETED -> 200"))
    nexus.on("GET", f"{wire.COMPILATIONS}/4668f3df.*", 200, sample("GET /api/compilations/v1beta3/{id} -> 200"))
    nexus.on("GET", f"{wire.CIRCUITS}/3a704fbd.*", 200, sample("GET /api/circuits/v1beta2/{id} -> 200"))
    entry = read(backend)[0]
    assert isinstance(entry, ItemResult)
    assert entry.program is not None
    assert dict(to_qiskit(entry.program).count_ops()) == {"measure": 2, "h": 1, "cx": 1}


def test_words_of_an_item(nexus: Replay, backend: NexusBackend) -> None:
    """Message and detail of an item's error are kept side by side, bounded, and without credentials."""
    body = job_of(1)
    body["data"]["attributes"]["status"]["status"] = "ERROR"
    items_in(body)[0]["status"] |= {
        "status": "ERROR",
        "message": "The job item failed.",
        "error_detail": ["gate 7 is not native", "authorization: Bearer abcdefghijklmnop", "x" * 3_000_000],
    }
    show(nexus, body)
    snapshot = backend.status([ID])[ID]
    assert isinstance(snapshot, Snapshot)
    assert snapshot.items is not None
    (item,) = snapshot.items
    assert item.status is JobStatus.ERROR
    assert item.message == "The job item failed."
    assert "gate 7" in (item.error_detail or "")
    assert "abcdefghijklmnop" not in (item.error_detail or "")
    assert len(item.error_detail or "") <= 2_000
