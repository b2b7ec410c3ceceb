"""A ledger's own id, and points that are planned once however many sweeps see them missing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support import NOW, a_spec, create

from qjobs.errors import StaleJob
from qjobs.ledger import Ledger, Seen


def test_its_own_id(ledger: Ledger) -> None:
    """A ledger has an id of its own, with which its keys begin, and counts its events."""
    with Ledger("sqlite://") as other:
        assert other.ledger_id != ledger.ledger_id
        assert other.newest_event_id() == 0
    assert len(ledger.ledger_id) == 32
    assert ledger.ledger_id.startswith(ledger.key_prefix)
    assert len(ledger.key_prefix) == 8
    job_id = create(ledger)
    assert ledger.newest_event_id() == ledger.events(job_id)[-1].event_id


def seen(n_jobs: int, **values: object) -> Seen:
    return Seen(
        **{"experiment": "e", "backend": "fake", "device": "device", "definition": "d", **values}, n_jobs=n_jobs
    )


def test_seen(ledger: Ledger) -> None:
    """Of two sweeps that saw the same points missing one plans them, and the other has to look again."""
    first, second, third = (replace(a_spec(key, experiment="e"), definition="d") for key in "abc")
    (planned,) = ledger.create([first], now=NOW, seen=seen(0))
    with pytest.raises(StaleJob, match="had 0 jobs and has 1 now") as caught:
        ledger.create([second], now=NOW, seen=seen(0))
    assert (caught.value.job_id, [job.job_id for job in ledger.jobs()]) == ("", [planned])
    assert ledger.create([first], now=NOW, seen=seen(0)) == [planned], "nothing new is planned"
    ledger.create([second], now=NOW, seen=seen(1))
    ledger.create([third], now=NOW, seen=seen(0, logical_run="another"))
    ledger.create([a_spec("d")], now=NOW, seen=seen(0, definition="another"))
    assert len(ledger.jobs()) == 4
