"""`qjobs watch` and the progress of `qjobs run`: what they show, and when they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from scripted import ScriptedBackend
from support import create

import qjobs
from qjobs.cli import watch as watching
from qjobs.cli.options import Shared
from qjobs.cli.progress import RunProgress
from qjobs.ledger import Ledger
from qjobs.ledger.job_filter import JobFilter
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, RemoteRetryStrategy
from qjobs.operations.poll import poll, utc_now
from qjobs.operations.usual_wait import UsualWaits, duration
from qjobs.operations.wait import Progress

S = JobStatus
Said = tuple[int, str, str]


def watched(store: Ledger, steps: list[Callable[[], object]], *words: str, as_json: bool = False) -> int:
    """Watch, and let something happen between two looks, until nothing is left to happen."""
    left = iter(steps)

    def sleep(_: float) -> None:
        next(left)()

    shared = Shared(ledger=store.url, as_json=as_json)
    return watching.watch(words, JobFilter(), shared, every_s=1.0, sleep=sleep)


def sent(store: Ledger, backend: ScriptedBackend, name: str = "job") -> JobId:
    job_id = create(store, name, n_items=1)
    qjobs.submit(store, backend, job_id)
    return job_id


def reported(
    store: Ledger, backend: ScriptedBackend, job_id: JobId, *statuses: JobStatus, of: int = -1
) -> Callable[[], object]:
    def step() -> None:
        backend.report(*statuses, of=of)
        poll(store, backend, [job_id])

    return step


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    with Ledger(f"sqlite:///{tmp_path_factory.mktemp('watch') / 'ledger.db'}") as made:
        yield made


def test_changes(store: Ledger, backend: ScriptedBackend, capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe there is a line a change, and the watch ends with the job."""
    job_id = sent(store, backend)
    steps = [
        reported(store, backend, job_id, S.QUEUED),
        lambda: store.record_queue_positions({job_id: 3}),
        lambda: None,
        reported(store, backend, job_id, S.COMPLETED),
    ]
    assert watched(store, steps) == 0
    out, err = capsys.readouterr()
    lines = [line.split("\t") for line in out.splitlines()]
    assert {line[0] for line in lines} == {job_id}
    assert [line[3] for line in lines] == ["SUBMITTED", "QUEUED", "QUEUED, place 3", "COMPLETED"]
    assert err == ""


def test_json(store: Ledger, backend: ScriptedBackend, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json each change is an object on a line of its own."""
    job_id = sent(store, backend)
    assert watched(store, [reported(store, backend, job_id, S.ERROR)], job_id[:12], as_json=True) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["status"] for one in found] == ["SUBMITTED", "ERROR"]
    assert found[0]["job_id"] == job_id


def test_joined(store: Ledger, backend: ScriptedBackend, capsys: pytest.CaptureFixture[str]) -> None:
    """A job that is made meanwhile is watched too."""
    first = sent(store, backend)
    others: list[JobId] = []
    steps = [
        lambda: others.append(sent(store, backend, "another")),
        reported(store, backend, first, S.COMPLETED, of=0),
        lambda: reported(store, backend, others[0], S.COMPLETED)(),
    ]
    assert watched(store, steps) == 0
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()].count(others[0]) >= 1


def test_unknown(store: Ledger, backend: ScriptedBackend, capsys: pytest.CaptureFixture[str]) -> None:
    """What waiting does not move is not waited for, and the command that settles it is named."""
    job_id = create(store)
    attempt = store.submissions.claim(
        job_id, expected=S.CREATED, strategy=RemoteRetryStrategy.DEFAULT, owner="x", lease_s=1.0, now=utc_now()
    )
    store.submissions.mark_unknown(attempt, "lost", now=utc_now())
    assert watched(store, []) == 0
    assert "qjobs reconcile" in capsys.readouterr().err


def test_nothing(store: Ledger, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing is under way, it says so and ends."""
    assert watched(store, []) == 0
    assert "qjobs jobs list" in capsys.readouterr().err


def test_table(store: Ledger, backend: ScriptedBackend) -> None:
    """The table has a row a job, and says how long its device usually takes."""
    for number in range(6):
        done = sent(store, backend, f"done {number}")
        reported(store, backend, done, S.COMPLETED)()
    job_id = sent(store, backend, "waits")
    (seen,) = watching.seen(store, [job_id], UsualWaits(store))
    assert seen.moves
    assert seen.usually_s is not None
    table = watching._table([seen])
    assert table.row_count == 1


def test_progress(store: Ledger, backend: ScriptedBackend) -> None:
    """In a pipe a run says how far it is, a line a change, and estimates what is left by its own pace."""
    job_id = create(store, n_items=4)
    qjobs.submit(store, backend, job_id)
    seconds = iter([0.0, 60.0, 60.0])
    lines: list[str] = []
    progress = RunProgress(store, lines.append, monotonic=lambda: next(seconds, 60.0))
    for statuses in ([S.QUEUED] * 4, [S.COMPLETED, *[S.QUEUED] * 3], [S.COMPLETED] * 4):
        reported(store, backend, job_id, *statuses)()
        for _ in range(2):
            progress.report(Progress(statuses={job_id: store.job(job_id).status}, trouble={}))
    progress.close()
    assert lines[0] == "0 of 4 circuits are done (4 QUEUED)"
    assert lines[1].startswith("1 of 4 circuits are done (1 COMPLETED, 3 QUEUED; about ")
    assert lines[-1] == "4 of 4 circuits are done (4 COMPLETED)"


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(seconds=0.1), "1 s"),
        (timedelta(seconds=40), "40 s"),
        (timedelta(minutes=12), "12 min"),
        (timedelta(hours=3), "3 h"),
        (timedelta(days=5), "5 days"),
    ],
)
def test_duration(length: timedelta, words: str) -> None:
    """A duration is said in the unit that people use for it."""
    assert duration(length.total_seconds()) == words
