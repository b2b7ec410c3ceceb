"""The fault table of the Nexus adapter, and faults that concern several jobs at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from nexus_rows import ROWS, NexusProvider, play, running
from table import Row, one_of_each

from qjobs.backends.limiter import Limiter
from qjobs.backends.nexus import NexusBackend
from qjobs.circuits.programs import read_circuit
from qjobs.errors import BackendUnavailable
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ItemSpec, Key, RemoteId
from qjobs.testing.contract import bits_of, flips, new_key
from qjobs.testing.faults import Action, Fault, Route


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NexusProvider]:
    with running(tmp_path_factory.mktemp("faults") / "service") as provider:
        yield provider


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{tmp_path_factory.mktemp('faults') / 'ledger.db'}") as ledger:
        yield ledger


@pytest.mark.parametrize("row", one_of_each(ROWS))
def test_row(row: Row, provider: NexusProvider, shared: Ledger) -> None:
    """One remote job, and the outcome that the row states."""
    seen = play(row, provider, shared)
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


def submit(backend: NexusBackend, shots: int = 8, key: Key | None = None) -> RemoteId:
    program = read_circuit(flips(2, on=[0]))
    items = (ItemSpec(label="", program=program.hash, shots=shots),)
    ids: list[RemoteId] = []
    backend.submit(Batch(number=0, items=items, programs={program.hash: program}), key or new_key(), ids.append)
    return ids[0]


def until_final(backend: NexusBackend, ids: list[RemoteId]) -> dict[RemoteId, JobStatus]:
    while True:
        found = {remote_id: snapshot.status for remote_id, snapshot in backend.status(ids).items()}
        if len(found) == len(ids) and all(status.is_final for status in found.values()):
            return found


@pytest.mark.parametrize(
    "fault",
    [
        Fault(route=Route.LISTING, action=Action.CODE_BEFORE, code=500, times=1000),
        Fault(route=Route.LISTING, action=Action.DROP_BEFORE, times=1000),
        Fault(route=Route.LISTING, action=Action.CUT, times=1000),
        Fault(route=Route.LISTING, action=Action.UNKNOWN_WORD, times=1000),
    ],
    ids=lambda fault: f"{fault.action} {fault.code}",
)
def test_list_fails(fault: Fault, provider: NexusProvider, backend: NexusBackend) -> None:
    """Jobs are read by their ids while the list fails, which is left alone for a while."""
    ids = [submit(backend) for _ in range(6)]
    provider.proxy.inject(fault)
    assert set(until_final(backend, ids).values()) == {JobStatus.COMPLETED}
    assert all(backend.results(remote_id) for remote_id in ids)
    if fault.action is not Action.UNKNOWN_WORD:
        assert provider.proxy.asked[Route.LISTING] <= 3, "it is left alone for a while"


def test_many_open_jobs(provider: NexusProvider, backend: NexusBackend) -> None:
    """Many open jobs are asked for in one request."""
    ids = [submit(backend, shots=1_000_000) for _ in range(12)]
    before = provider.proxy.asked
    found = backend.status(ids)
    asked = provider.proxy.asked - before
    n_open = sum(not snapshot.status.is_final for snapshot in found.values())
    assert len(found) == 12
    assert asked[Route.LISTING] == 1
    assert asked[Route.STATUS] <= 12 - n_open + 2, "by id only what is not open any more"
    for remote_id in ids:
        backend.cancel(remote_id)
    until_final(backend, ids)


def test_long_list(provider: NexusProvider, backend: NexusBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few jobs are read by their ids where the list has many pages."""
    monkeypatch.setattr("qjobs.backends.nexus.jobs._PAGE_SIZE", 1)
    ids = [submit(backend, shots=1_000_000) for _ in range(12)]
    backend.status(ids)
    before = provider.proxy.asked
    assert len(backend.status(ids[:4])) == 4
    asked = provider.proxy.asked - before
    assert (asked[Route.LISTING], asked[Route.STATUS]) == (0, 4), "a list of so many pages costs more"
    for remote_id in ids:
        backend.cancel(remote_id)
    until_final(backend, ids)


def test_unknown_word(provider: NexusProvider, backend: NexusBackend) -> None:
    """An unknown word hides no other job."""
    ids = [submit(backend) for _ in range(3)]
    other = NexusBackend("Aer", url=provider.url, token=provider.token, project="faults", limiter=Limiter())
    until_final(backend, ids)
    fault = Fault(route=Route.STATUS, action=Action.UNKNOWN_WORD)
    provider.proxy.inject(fault)
    assert len(other.status(ids)) == 2, "a process that has not seen it leaves it out"
    provider.proxy.inject(fault)
    words = sorted(snapshot.remote_status for snapshot in backend.status(ids).values())
    assert words == ["COMPLETED", "COMPLETED", "PONDERING"]
    other.close()


def test_broken_download(provider: NexusProvider, backend: NexusBackend) -> None:
    """A download that breaks off goes on where it was."""
    programs = [read_circuit(flips(3, on=bits_of(word))) for word in range(8)]
    items = tuple(ItemSpec(label="", program=each.hash, shots=4) for each in programs)
    ids: list[RemoteId] = []
    batch = Batch(number=0, items=items, programs={each.hash: each for each in programs})
    backend.submit(batch, new_key(), ids.append)
    until_final(backend, ids)
    provider.proxy.reset()
    provider.proxy.inject(Fault(route=Route.RESULTS, action=Action.CODE_BEFORE, code=500, skip=4, times=12))
    for _ in range(10):
        try:
            results = backend.results(ids[0])
        except BackendUnavailable:
            continue
        break
    assert [result.counts for result in results] == [{f"{word:03b}": 4} for word in range(8)]
    assert provider.proxy.asked[Route.RESULTS] <= 8 + 12
