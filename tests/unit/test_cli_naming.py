"""Short ids, and the filters of a list of jobs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from support import NOW, claim, create

from qjobs.cli.naming import find_job
from qjobs.cli.options import moment
from qjobs.cli.tables import columns_that_fit
from qjobs.errors import InvalidInput, JobNotFound
from qjobs.ledger import Ledger
from qjobs.ledger.job_filter import JobFilter, JobOrder
from qjobs.lifecycle import JobStatus
from qjobs.model import JobKind
from qjobs.operations.poll import utc_now
from qjobs.operations.recover import rerun

Said = tuple[int, str, str]


def test_short_ids(store: Ledger) -> None:
    """A beginning of four letters is enough where it is the only one, with or without `job-`."""
    jobs = [create(store, name) for name in "abc"]
    for job_id in jobs:
        word = job_id
        while len(word) > 8 and len(store.search(JobFilter(id_begins=word[:-1]))) == 1:
            word = word[:-1]
        assert find_job(store, word).job_id == job_id
        assert find_job(store, word.removeprefix("job-"), acts=True).job_id == job_id
    for word in ("job-", "job-1", "zzzz", "%%%%", "____"):
        with pytest.raises(JobNotFound):
            find_job(store, word)


def test_newest(store: Ledger) -> None:
    """@1 is the newest job; what acts does not take it without being asked for it."""
    create(store, "a"), create(store, "b")
    newest, older = store.jobs()
    assert find_job(store, "@1").job_id == newest.job_id
    assert find_job(store, "@2").job_id == older.job_id
    for word in ("@3", "@0", "@", "@x"):
        with pytest.raises(InvalidInput):
            find_job(store, word)
    with pytest.raises(InvalidInput, match=newest.job_id):
        find_job(store, "@1", acts=True)


@pytest.mark.parametrize("command", ["retry", "cancel", "discard"])
def test_no_guess(qjobs: Callable[..., Said], tmp_path: Path, command: str) -> None:
    """A command that sends or cancels refuses what may be another job by now, and changes nothing."""
    path = tmp_path / "ledger.db"
    with Ledger(f"sqlite:///{path}") as store:
        job_id = create(store)
        code, out, err = qjobs("jobs", command, "@1", "--ledger", path)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert job_id in err
        assert store.job(job_id).cancel_requested_at is None


def test_filters(store: Ledger) -> None:
    """Each filter of a search keeps what it says, and no other."""
    first, second = create(store, "a"), create(store, "b")
    job = store.job(first)
    store.submissions.reject(claim(store, second), "no", now=NOW)

    def ids(**chosen: object) -> set[str]:
        return {found.job_id for found in store.search(JobFilter(**chosen))}

    both = {first, second}
    second_s = timedelta(seconds=1)
    same = {"experiment": job.experiment, "backend": job.backend, "device": job.device, "owner": job.owner}
    for name, value in {**same, "project": job.project}.items():
        if value:
            assert ids(**{name: value}) >= {first}
            assert ids(**{name: "another"}) == set()
    assert ids(statuses=(store.job(second).status,)) == {second}
    assert ids(statuses=(JobStatus.COMPLETED,)) == set()
    assert ids(kind=job.kind) == both
    assert ids(kind=next(kind for kind in JobKind if kind != job.kind)) == set()
    assert ids(name_like=job.name[1:].upper() or job.name) >= {first}
    assert ids(name_like="%") == set()
    assert ids(run=job.run) >= {first}
    assert ids(label=store.items(first)[0].label) >= {first}
    assert ids(label="nobody") == set()
    assert ids(since=job.created_at) >= {first}
    assert ids(since=utc_now() + timedelta(days=9999)) == set()
    assert ids(until=job.created_at - second_s) == set()
    last = max(event.at for each in both for event in store.events(each))
    assert ids(changed_since=last) != set()
    assert ids(changed_since=last + second_s) == set()
    assert ids(changed_until=last) == both
    assert ids(properties={"nobody": 1}) == set()
    again = rerun(store, first, "again")
    assert ids(properties={"rerun_of": first}) == {again}
    assert ids(properties={"rerun_of": second}) == set()


def test_order(store: Ledger) -> None:
    """Every order has every job, oldest is newest turned round, and pages follow one another."""
    made = {create(store, name) for name in "abc"}
    for order in JobOrder:
        assert {job.job_id for job in store.search(JobFilter(order=order))} == made
    pages = [store.search(JobFilter(limit=2, page=page)) for page in range(3)]
    assert [len(page) for page in pages] == [2, 1, 0]
    assert [job.job_id for page in pages for job in page] == [job.job_id for job in store.search(JobFilter())]


@pytest.mark.parametrize(
    ("text", "ago"), [("90m", timedelta(minutes=90)), ("12h", timedelta(hours=12)), ("2w", timedelta(weeks=2))]
)
def test_ages(text: str, ago: timedelta) -> None:
    """An age counts from now."""
    assert abs(utc_now() - ago - moment(text)) < timedelta(seconds=5)


def test_moments() -> None:
    """A time without a zone is in UTC, and other words are refused."""
    assert moment("2026-01-31T12:00").isoformat() == "2026-01-31T12:00:00+00:00"
    assert moment("2026-01-31T12:00+02:00").isoformat() == "2026-01-31T12:00:00+02:00"
    for text in ("yesterday", "3", "3 days", "-1d", ""):
        with pytest.raises(ValueError, match="nor an age"):
            moment(text)


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["--since", "1h"], 1),
        (["--until", "1h"], 0),
        (["--changed-since", "1h"], 1),
        (["--changed-until", "1h"], 0),
        (["--device", "aer_simulator"], 1),
        (["--run", "first"], 1),
        (["--name", "S"], 1),
        (["--kind", "EXECUTE"], 1),
        (["--label", "nobody"], 0),
        (["--property", "a=1"], 0),
        (["--page", "2"], 0),
        (["--order", "finished"], 1),
    ],
)
def test_options(ran: dict[str, object], qjobs: Callable[..., Said], words: list[str], count: int) -> None:
    """Each filter has an option."""
    code, out, _ = qjobs("jobs", "list", "--json", *words)
    assert (code, len(json.loads(out))) == (0, count)


def test_columns_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal shows as many columns as have room without a break in a cell; a pipe has all."""
    rows = [["a" * 10, 1.5, "b" * 20], ["a", 2.25, None]]
    assert columns_that_fit(["one", "two", "three"], rows) == 3
    monkeypatch.setattr("qjobs.cli.tables.is_terminal", lambda: True)
    for width, n in ((40, 3), (39, 2), (17, 2), (16, 1), (5, 1)):
        monkeypatch.setenv("COLUMNS", str(width))
        assert columns_that_fit(["one", "two", "three"], rows) == n, width
