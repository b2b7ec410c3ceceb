"""Reading items for reports: where each label is, and outcomes some at a time."""

from __future__ import annotations

import pytest
from support import NOW, a_spec, counts, sending

from qjobs.ledger import Ledger
from qjobs.ledger.outcomes import Place
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, RemoteId, RemoteRetryStrategy

N_ITEMS = 9


def finished(ledger: Ledger, key: str, have: set[int]) -> JobId:
    """A job of which these items have a result."""
    (job_id,) = ledger.create([a_spec(key, n_items=N_ITEMS)], now=NOW)
    attempt = ledger.submissions.claim(
        job_id,
        expected=JobStatus.CREATED,
        strategy=RemoteRetryStrategy.DEFAULT,
        owner="owner",
        lease_s=60,
        now=NOW,
    )
    ledger.submissions.accept(sending(ledger, attempt), RemoteId(f"remote-{key}"), now=NOW)
    (sent,) = ledger.attempts(job_id)
    ledger.store_results(job_id, sent, {index: counts(**{"0": index + 1}) for index in have}, now=NOW)
    return job_id


@pytest.mark.parametrize("wanted", [[0], [3, 4, 5], [0, 8], [0, 1, 7, 8], list(range(N_ITEMS))])
def test_read(ledger: Ledger, wanted: list[int]) -> None:
    """What is read of an item is what the ledger has of it, whichever are asked for."""
    jobs = [finished(ledger, key, {0, 4, 8}) for key in ("a", "b")]
    places = [Place(job_id, index) for job_id in jobs for index in wanted]
    found = ledger.outcomes.read(places)
    assert set(places) <= set(found)
    for place in places:
        item = ledger.items(place.job_id)[place.item]
        for name in ("label", "shots", "status", "message", "error_detail", "cost", "submitted_at", "completed_at"):
            assert getattr(found[place], name) == getattr(item, name)
        assert found[place].result == ledger.results(place.job_id).get(place.item)


def test_places(ledger: Ledger) -> None:
    """A label is where it has a result, in the last of such jobs; where none has one, in the first."""
    first = finished(ledger, "a", {0, 1})
    second = finished(ledger, "b", {1, 2})
    places = ledger.outcomes.places([first, second])
    assert list(places) == [f"item-{index}" for index in range(N_ITEMS)]
    assert [place.job_id for place in places.values()] == [first, second, second] + [first] * (N_ITEMS - 3)
    assert [place.item for place in places.values()] == list(range(N_ITEMS))
