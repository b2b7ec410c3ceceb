"""The scripted provider does over HTTP whatever it can be told to: other processes have no other way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from qjobs.backends.base import MissingResult, PlainJournal, Snapshot
from qjobs.backends.rest import LostReply, RestBackend
from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteId
from qjobs.testing.contract import flips, new_key
from qjobs.testing.contract.steps import ContractSteps
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.servers import ScriptedProvider


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider("findable") as provider:
        yield provider


@pytest.fixture
def backend(provider: ScriptedProvider) -> Iterator[RestBackend]:
    backend = RestBackend(provider.url, lost_reply=LostReply.FINDABLE)
    yield backend
    backend.close()


def tell(provider: ScriptedProvider, **wishes: Any) -> dict[str, Any]:
    return httpx.post(f"{provider.url}/control", json=wishes).raise_for_status().json()


def submit(backend: RestBackend) -> RemoteId:
    ids: list[RemoteId] = []
    batch = ContractSteps().make_batch([(flips(1, on=[0]), 8)] * 2)
    backend.submit(batch, new_key(), PlainJournal(accepted=ids.append))
    return ids[0]


def test_habits_and_people(provider: ScriptedProvider, backend: RestBackend) -> None:
    """Habits of new jobs, and what people do to jobs that are there."""
    tell(provider, habits={"broken": {"0": "laser off"}, "withheld": {"1": "deleted"}, "stuck": []})
    remote_id = submit(backend)
    assert backend.status([remote_id])[remote_id].status is JobStatus.ERROR
    assert dict(backend.results(remote_id))[1].permanent
    assert tell(provider, queue_s=60.0, revive=[remote_id])["live"] == [remote_id]
    assert backend.status([remote_id])[remote_id].status is JobStatus.QUEUED
    tell(provider, forget=[remote_id])
    assert backend.status([remote_id]) == {}
    assert provider.created == 1, "it goes on all the same"
    tell(provider, remember=[remote_id], refuse={remote_id: {"status": 403}}, refuse_lists=[remote_id])
    assert not isinstance(backend.status([remote_id])[remote_id], Snapshot)
    tell(provider, refuse={remote_id: {}})
    assert isinstance(backend.status([remote_id])[remote_id], Snapshot)
    with pytest.raises(httpx.HTTPStatusError, match="409"):
        tell(provider, revive=[remote_id])
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        tell(provider, forget=["r99"])


def test_settings(provider: ScriptedProvider, backend: RestBackend) -> None:
    """Settings and faults with all their fields."""
    tell(provider, results_kept_s=0, list_items=False, page_size=1)
    ids = [submit(backend) for _ in range(2)]
    assert [answer.items for answer in backend.status(ids).values()] == [None, None]
    entry = dict(backend.results(ids[0]))[0]
    assert isinstance(entry, MissingResult)
    assert entry.permanent
    fault = Fault(route=Route.FIND, action=Action.NOTHING, for_s=60.0)
    asked = tell(provider, faults=[fault.as_json()])["asked"]
    assert backend.remote_jobs() == []
    assert asked["status"] == 2, "two pages"
