"""The fault table of the Nexus adapter, and faults that concern several jobs at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from nexus_rows import ROWS, NexusProvider, play, running
from provider_rows import Row
from table import one_of_each

from qjobs.backends.base import PlainJournal, Result
from qjobs.backends.limiter import Limiter
from qjobs.backends.nexus import NexusBackend
from qjobs.circuits.programs import read_circuit
from qjobs.errors import BackendUnavailable, ProtocolError
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ItemResult, ItemSpec, RemoteId
from qjobs.testing.contract import bits_of, flips, new_key
from qjobs.testing.faults import Action, Fault, Route


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NexusProvider]:
    with running(tmp_path_factory.mktemp("faults") / "service") as provider:
        yield provider


@pytest.mark.parametrize("row", one_of_each(ROWS, slow={"deleted there in the queue (#15)"}))
def test_row(row: Row, provider: NexusProvider, one_ledger: Ledger) -> None:
    """One remote job, and the outcome that the row states."""
    seen = play(row, provider, one_ledger)
    assert seen.problems() == [], seen


@pytest.fixture
def backend(provider: NexusProvider) -> Iterator[NexusBackend]:
    provider.proxy.reset()
    backend = NexusBackend(
        "Aer",
        url=provider.url,
        token=provider.token,
        project="faults",
        limiter=Limiter(),
        sleep=lambda _: None,
        poll_interval_s=(0.05, 1.0),
    )
    yield backend
    backend.close()


def submit(backend: NexusBackend, shots: int = 8, words: Sequence[int] = (1,)) -> RemoteId:
    """A job of circuits that give these words."""
    programs = [read_circuit(flips(3, on=bits_of(word))) for word in words]
    items = tuple(ItemSpec(label="", program=each.hash, shots=shots) for each in programs)
    ids: list[RemoteId] = []
    batch = Batch(number=0, items=items, programs={each.hash: each for each in programs})
    backend.submit(batch, new_key(), PlainJournal(accepted=ids.append))
    return ids[0]


def until_final(backend: NexusBackend, ids: list[RemoteId]) -> dict[RemoteId, JobStatus]:
    while True:
        found = {remote_id: snapshot.status for remote_id, snapshot in backend.status(ids).items()}
        if len(found) == len(ids) and all(status.is_final for status in found.values()):
            return found


@pytest.mark.parametrize("action", [Action.CODE_BEFORE, Action.DROP_BEFORE, Action.CUT, Action.UNKNOWN_WORD])
def test_list_fails(action: Action, provider: NexusProvider, backend: NexusBackend) -> None:
    """Jobs are read by their ids while the list fails, which is left alone for a while."""
    ids = [submit(backend) for _ in range(6)]
    provider.proxy.inject(Fault(route=Route.LISTING, action=action, code=500, times=1000))
    assert set(until_final(backend, ids).values()) == {JobStatus.COMPLETED}
    for remote_id in ids:
        assert [type(entry) for _, entry in backend.results(remote_id)] == [ItemResult]
    if action is not Action.UNKNOWN_WORD:
        assert provider.proxy.asked[Route.LISTING] <= 3, "it is left alone for a while"


def test_many_open_jobs(provider: NexusProvider, backend: NexusBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many open jobs are asked for in one request, a few by their ids where the list has many pages."""
    ids = [submit(backend, shots=1_000_000) for _ in range(12)]
    before = provider.proxy.asked
    found = backend.status(ids)
    asked = provider.proxy.asked - before
    n_open = sum(not snapshot.status.is_final for snapshot in found.values())
    assert len(found) == 12
    assert asked[Route.LISTING] == 1
    assert asked[Route.STATUS] <= 12 - n_open + 2, "by id only what is not open any more"

    monkeypatch.setattr("qjobs.backends.nexus.jobs._PAGE_SIZE", 1)
    backend.status(ids)
    before = provider.proxy.asked
    assert len(backend.status(ids[:4])) == 4
    asked = provider.proxy.asked - before
    assert (asked[Route.LISTING], asked[Route.STATUS]) == (0, 4), "a list of so many pages costs more"
    for remote_id in ids:
        backend.cancel(remote_id)
    until_final(backend, ids)


def test_unknown_word(provider: NexusProvider, backend: NexusBackend) -> None:
    """An unknown word is that job's error, and hides no other job."""
    ids = [submit(backend) for _ in range(3)]
    until_final(backend, ids)
    provider.proxy.inject(Fault(route=Route.STATUS, action=Action.UNKNOWN_WORD))
    answers = backend.status(ids)
    assert set(answers) == set(ids)
    assert sorted(type(answer).__name__ for answer in answers.values()) == ["ProtocolError", "Snapshot", "Snapshot"]
    (wrong,) = [answer for answer in answers.values() if isinstance(answer, ProtocolError)]
    assert "PONDERING" in str(wrong)


def test_broken_download(provider: NexusProvider, backend: NexusBackend) -> None:
    """A download that breaks off goes on where it was."""
    remote_id = submit(backend, shots=4, words=range(8))
    until_final(backend, [remote_id])
    provider.proxy.reset()
    provider.proxy.inject(Fault(route=Route.RESULTS, action=Action.CODE_BEFORE, code=500, skip=4, times=12))
    found: dict[int, Result] = {}
    for _ in range(10):
        wanted = [position for position in range(8) if position not in found]
        try:
            for position, entry in backend.results(remote_id, wanted):
                found[position] = entry
        except BackendUnavailable:
            continue
        break
    assert [found[word].counts for word in range(8)] == [{f"{word:03b}": 4} for word in range(8)]
    assert provider.proxy.asked[Route.RESULTS] <= 8 + 12
