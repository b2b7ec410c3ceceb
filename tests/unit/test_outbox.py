"""The events of jobs that are still to be sent on."""

from __future__ import annotations

from support import NOW, at, claim, create, observe, report, sent

from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus

S = JobStatus
LATER = at(1)


def test_each_event_once(ledger: Ledger) -> None:
    """Events come in their order until they are marked, and those that are too new wait."""
    sent(ledger)
    assert ledger.outbox.pending(before=NOW) == []
    first = ledger.outbox.pending(before=LATER, limit=1)
    ledger.outbox.mark_sent(first)
    others = ledger.outbox.pending(before=LATER)
    assert [event.new for event in [*first, *others]] == [S.CREATED, S.SUBMITTING, S.SUBMITTED]
    ledger.outbox.mark_sent(others)
    assert ledger.outbox.pending(before=LATER) == []


def test_slower_sensor(ledger: Ledger) -> None:
    """A sensor that marks older events later takes nothing back."""
    sent(ledger)
    first = ledger.outbox.pending(before=LATER, limit=1)
    ledger.outbox.mark_sent(ledger.outbox.pending(before=LATER))
    ledger.outbox.mark_sent(first)
    ledger.outbox.mark_sent([])
    assert ledger.outbox.pending(before=LATER) == []


def test_unmarked(ledger: Ledger) -> None:
    """Events that were not marked are pending again: none is lost with the process that was to send them."""
    claim(ledger, create(ledger))
    pending = ledger.outbox.pending(before=LATER)
    assert ledger.outbox.pending(before=LATER) == pending
    assert len(pending) == 2


def test_events_of_items(ledger: Ledger) -> None:
    """The events of items are not sent on; that of their job is."""
    job_id, attempt = sent(ledger)
    ledger.outbox.mark_sent(ledger.outbox.pending(before=LATER))
    observe(ledger, job_id, attempt.number, report(S.RUNNING, S.QUEUED), now=NOW)
    assert [(event.index, event.new) for event in ledger.outbox.pending(before=LATER)] == [(None, S.RUNNING)]
