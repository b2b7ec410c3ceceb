"""Submit: every cell of the decision table against a provider, the caps and the device's limit."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from scripted import DEDUPLICATED, FINDABLE, OPAQUE, Fault, ScriptedBackend, SteppedBackend
from standing import a_job, enter
from support import check_history, create

import qjobs
from qjobs.backends.base import Limits, Lookup
from qjobs.errors import (
    Busy,
    NotSent,
    QJobsError,
    SubmissionRejected,
)
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import RemoteRetryStrategy
from qjobs.operations.retry import Action

DEFAULT, ALLOW, FORCE, FULL = RemoteRetryStrategy
# One line per row, a cell per strategy (DEFAULT | ALLOW | FORCE | FULL): what is done, and how many remote jobs there
# are afterwards. "!": the row of an opaque provider.
TABLE = """
new                   | submit 1         | submit 1  | submit 1  | submit 1
not sent              | submit 1         | submit 1  | submit 1  | submit 1
rejected              | SubmissionRejected 0 | submit 1 | submit 1 | restart 1
lost, exists          | sync 1           | sync 1    | sync 1    | restart 2
lost, does not exist  | SubmissionUnknown 0 | submit 1 | submit 1 | restart 1
lost, exists!         | SubmissionUnknown 1 | submit 2 | submit 2 | restart 2
lost, does not exist! | SubmissionUnknown 0 | submit 1 | submit 1 | restart 1
open                  | sync 1           | sync 1    | submit 2  | restart 2
incomplete            | sync 1           | sync 1    | submit 2  | restart 2
complete              | return 1         | return 1  | return 1  | restart 2
reserved              | resume 1         | resume 1  | resume 1  | restart 1
step lost, runs       | sync 1           | sync 1    | sync 1    | restart 2
step lost, waits      | submit 1         | submit 1  | submit 1  | restart 1
forgotten             | JobLost 1        | JobLost 1 | submit 2  | restart 2
forgotten, alive again | sync 1          | sync 1    | sync 1    | restart 2
incomplete, gone      | sync 1           | sync 1    | submit 2  | restart 2
incomplete, alive again | sync 1         | sync 1    | sync 1    | restart 2
"""
S = JobStatus
LOOKUPS = (DEDUPLICATED, FINDABLE, OPAQUE)


def cells() -> Iterator[tuple[str, RemoteRetryStrategy, Lookup, str, int]]:
    for line in TABLE.strip().splitlines():
        name, *words = (word.strip() for word in line.split("|"))
        for variant in LOOKUPS:
            if (name.endswith("!") and variant is not OPAQUE) or (f"{name}!" in TABLE and variant is OPAQUE):
                continue
            for strategy, cell in zip(RemoteRetryStrategy, words, strict=True):
                done, count = cell.rsplit(" ", 1)
                yield name.rstrip("!"), strategy, variant, done, int(count)


@pytest.mark.parametrize(("standing", "strategy", "variant", "done", "n_remote"), list(cells()))
def test_every_cell(
    store: Ledger, standing: str, strategy: RemoteRetryStrategy, variant: Lookup, done: str, n_remote: int
) -> None:
    """Each cell does what the table says, with so many remote jobs, never two alive but at the caller's risk."""
    in_steps = standing.startswith(("reserved", "step lost"))
    backend = SteppedBackend(variant) if in_steps else ScriptedBackend(variant)
    job_id = a_job(store, standing, backend)
    epoch = store.job(job_id).epoch
    if done[0].isupper():
        with pytest.raises(QJobsError) as caught:
            enter(store, backend, job_id, strategy)
        assert type(caught.value).__name__ == done
        assert caught.value.job_id == job_id
    else:
        got = enter(store, backend, job_id, strategy)
        assert got.action.value == done
        assert got.reason
        assert got.status is store.job(job_id).status
        assert got.remote_id == list(backend.jobs)[-1]
    assert len(backend.jobs) == n_remote
    the_caller_took_the_risk = (standing, variant) == ("lost, exists", OPAQUE) and strategy is not DEFAULT
    assert backend.most_live <= (2 if the_caller_took_the_risk else 1)
    assert len(backend.live()) <= (2 if the_caller_took_the_risk else 1)
    assert store.job(job_id).epoch == epoch + (done == "restart")
    check_history(store, job_id)
    again = enter(store, backend, job_id) if done in {"submit", "restart"} else None
    assert again is None or (again.action is Action.SYNC and len(backend.jobs) == n_remote)


def test_all_cells() -> None:
    """Fifteen rows, four strategies, three kinds of provider."""
    assert len(list(cells())) == 15 * 4 * 3


def test_force(store: Ledger) -> None:
    """FORCE_RESUBMIT sends only what has no result, and keeps the rest."""
    backend = ScriptedBackend()
    job_id = a_job(store, "incomplete", backend)
    enter(store, backend, job_id, FORCE)
    second = list(backend.jobs.values())[1]
    assert [item.label for item in second.batch.items] == ["item-1"]
    assert store.attempts(job_id)[1].items == (1,)
    backend.report(S.COMPLETED)
    qjobs.poll(store, backend, [job_id])
    assert len(qjobs.collect(store, backend, job_id).results) == 2
    results = store.results(job_id)
    assert "remote-1" in (results[0].counts or {})
    assert "remote-2" in (results[1].counts or {})
    assert store.job(job_id).status is S.COMPLETED


@pytest.mark.parametrize(
    ("standing", "strategy", "keys"), [("open", FULL, ["key", "key-2"]), ("rejected", ALLOW, ["key"])]
)
def test_keys(store: Ledger, standing: str, strategy: RemoteRetryStrategy, keys: list[str]) -> None:
    """Each remote job has a key of its own, and attempts that left none share one."""
    backend = ScriptedBackend(DEDUPLICATED)
    enter(store, backend, a_job(store, standing, backend), strategy)
    assert [job.key for job in backend.jobs.values()] == keys


def test_late_cancellation(store: Ledger) -> None:
    """A cancellation that lost the race sends nothing."""
    backend = ScriptedBackend()
    job_id = a_job(store, "open", backend)
    backend.report(S.COMPLETED, S.COMPLETED)  # between our last poll and the cancellation
    got = enter(store, backend, job_id, FORCE)
    assert got.action is Action.RETURN
    assert got.status is S.COMPLETED
    assert len(backend.jobs) == 1
    assert len(store.results(job_id)) == 2


def test_unconfirmed_cancellation(store: Ledger) -> None:
    """Nothing is sent before a cancellation is confirmed."""
    backend = ScriptedBackend(confirms_cancel=False)
    job_id = a_job(store, "open", backend)
    for strategy in (FORCE, FULL, FORCE):
        with pytest.raises(Busy, match="not confirmed"):
            enter(store, backend, job_id, strategy)
        assert len(backend.jobs) == 1
    backend.report(S.COMPLETED, S.CANCELLED)
    assert enter(store, backend, job_id, FORCE).action is Action.SUBMIT
    assert [item.label for item in list(backend.jobs.values())[1].batch.items] == ["item-1"]


def test_restart_with_results(store: Ledger) -> None:
    """A restart cancels a job whose results came before its last status."""
    backend = ScriptedBackend()
    job_id = a_job(store, "open", backend)
    backend.report(S.COMPLETED, S.COMPLETED)
    qjobs.collect(store, backend, job_id, partial=True)
    assert store.job(job_id).status is S.RUNNING
    assert enter(store, backend, job_id, FULL).action is Action.RESTART
    assert backend.most_live == 1


def test_after_not_sent(store: Ledger) -> None:
    """After a resubmission that never left, DEFAULT goes back to what was sent."""
    backend = ScriptedBackend()
    job_id = a_job(store, "incomplete", backend)
    backend.faults.append(Fault(NotSent("no route")))
    with pytest.raises(NotSent):
        enter(store, backend, job_id, FORCE)
    assert enter(store, backend, job_id).action is Action.SYNC
    assert len(backend.jobs) == 1
    rejected = create(store, "rejected")
    backend.faults += [Fault(SubmissionRejected("no", detail="too wide")), Fault(NotSent("no route"))]
    with pytest.raises(SubmissionRejected):
        enter(store, backend, rejected)
    with pytest.raises(NotSent):
        enter(store, backend, rejected, ALLOW)
    with pytest.raises(SubmissionRejected) as caught:
        enter(store, backend, rejected)
    assert caught.value.detail == "too wide"


def test_full_device(store: Ledger) -> None:
    """A full device takes no more; the job stays CREATED."""
    backend = ScriptedBackend(limits=Limits(max_live_jobs=1))
    first, second = create(store, "a"), create(store, "b")
    enter(store, backend, first)
    with pytest.raises(Busy, match="1 live jobs"):
        enter(store, backend, second)
    assert store.job(second).status is S.CREATED
    assert len(backend.jobs) == 1
    backend.report(S.COMPLETED, S.COMPLETED)
    qjobs.poll(store, backend, [first])
    assert enter(store, backend, second).action is Action.SUBMIT


def test_transactions(store: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first submission takes eleven transactions, four of which write; entering it again writes the report alone."""
    backend = ScriptedBackend()
    job_id = create(store)
    database = store._db
    used: list[str] = []

    def counted(kind: str) -> Callable[[], object]:
        begin = getattr(database, kind)

        def transaction() -> object:
            used.append(kind)
            return begin()

        return transaction

    for kind in ("read", "write"):
        monkeypatch.setattr(database, kind, counted(kind))
    enter(store, backend, job_id)
    assert (len(used), used.count("write")) == (11, 4)
    used.clear()
    enter(store, backend, job_id)
    assert used.count("write") == 1
