"""Execute, entered again: by the same run, by another, after a kill, and while the ledger is away."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import postgresql
import pytest
from launching import Stages, circuits, points, run
from scripted import Clock, ScriptedBackend
from support import NOW, ended_owner, submitted

import qjobs
from qjobs.backends.base import Limits
from qjobs.compiling.compiler import CompileCache
from qjobs.errors import JobFailed, PolicyLimit
from qjobs.ledger import Ledger
from qjobs.ledger.liveness import lease_owner
from qjobs.lifecycle import JobStatus
from qjobs.model import JobId, JobKind, RemoteRetryStrategy
from qjobs.operations.execute import DirectStages, ExperimentPlan, WaitedFor, execute
from qjobs.operations.plan import end_interruption, interrupted_run

S = JobStatus
FORCE, FULL = RemoteRetryStrategy.FORCE_RESUBMIT, RemoteRetryStrategy.FULL_RESTART
TESTS = Path(__file__).parents[1]


class Suspended(BaseException):
    """The process of a run ends while it waits."""


class Suspending(Stages):
    """Stages whose first wait suspends the run, as a flow does."""

    suspends = True

    def wait(self, waited_for: WaitedFor) -> None:
        if self.suspends:
            self.suspends = False
            self.ledger.waits.register("run", waited_for.jobs, until=waited_for.until, now=NOW)
            raise Suspended
        super().wait(waited_for)


@pytest.fixture
def suspending(store: Ledger, tmp_path: Path) -> Suspending:
    return Suspending(store, CompileCache(tmp_path / "compiled"), fake=ScriptedBackend())


def retrying(strategy: RemoteRetryStrategy, **values: object) -> dict[str, object]:
    return {"retries": {"strategy": strategy, **values}}


# Strategies


@pytest.mark.parametrize("strategy", [FORCE, FULL])
def test_strategy_spares_own_jobs(suspending: Suspending, strategy: RemoteRetryStrategy) -> None:
    """A run that asks for a strategy, and is entered again after a suspension, does not send its own jobs again."""
    plan = circuits(2, **retrying(strategy))
    with pytest.raises(Suspended):
        run(suspending, plan)
    assert run(suspending, plan).problems == {}
    assert run(suspending, plan).problems == {}
    assert len(suspending.opened["fake"].jobs) == 1


@pytest.mark.parametrize(("strategy", "n_sent"), [(FORCE, 1), (FULL, 2)])
def test_strategy_once(store: Ledger, suspending: Suspending, strategy: RemoteRetryStrategy, n_sent: int) -> None:
    """A strategy is applied once a run to what was there before: what failed, or all of it."""
    suspending.suspends = False
    backend = suspending.opened["fake"]
    backend.limits = Limits(max_items=1)
    suspending.end = S.ERROR
    run(suspending, circuits(1, name="one"), "first", "wish")
    suspending.end = S.COMPLETED
    assert len(run(suspending, circuits(1, name="one"), "first", "wish").problems) == 1
    suspending.suspends = True
    plan = circuits(1, name="one", **retrying(strategy))
    with pytest.raises(Suspended):
        run(suspending, plan, "run", "wish")
    for _ in range(2):
        assert run(suspending, plan, "run", "wish").problems == {}
    assert (len(store.jobs()), len(backend.jobs)) == (1, 2)
    assert run(suspending, plan, "a third", "wish").problems == {}
    assert len(backend.jobs) == 1 + n_sent


def test_restart_compiles(store: Ledger, stages: Callable[..., Stages]) -> None:
    """A full restart compiles anew, each circuit once, and sends what came out; the old results stay readable."""
    backend = ScriptedBackend(limits=Limits(max_items=1))
    staged = stages(backend)
    run(staged, points(0.1, 0.2, compile={"compiler": "remote"}))
    done = run(staged, points(0.1, 0.2, compile={"compiler": "remote"}, **retrying(FULL)), "again")
    assert done.problems == {}
    kinds = [remote.batch.kind for remote in backend.jobs.values()]
    assert kinds == [JobKind.COMPILE, *[JobKind.EXECUTE] * 2, JobKind.COMPILE, *[JobKind.EXECUTE] * 2]
    sent = [remote.batch.items[0].program for remote in backend.jobs.values() if remote.batch.kind is JobKind.EXECUTE]
    assert sent == ["remote-1/0", "remote-1/0", "remote-4/0", "remote-4/0"]
    jobs = store.jobs(kind=JobKind.EXECUTE)
    assert [(job.epoch, set(store.results(job.job_id, epoch=1))) for job in jobs] == [(2, {0}), (2, {0})]


def test_caps_reach_submit(store: Ledger, stages: Callable[..., Stages]) -> None:
    """The caps of a form hold for the first submission too."""
    backend = ScriptedBackend(price=3.0)
    for cap in ({"max_cost": 5.0}, {"max_cost": 6.0}):
        done = run(stages(backend), circuits(2, retries=cap), str(cap))
        assert [type(error) for error in done.problems.values()] == ([PolicyLimit] if cap["max_cost"] < 6 else [])
    assert len(backend.jobs) == 1
    staged = stages(ScriptedBackend())
    staged.end = S.ERROR
    run(staged, circuits(1), "r", "wish")
    done = run(staged, circuits(1, **retrying(FORCE, max_submissions=1)), "s", "wish")
    assert [type(error) for error in done.problems.values()] == [PolicyLimit]


# Who waits for which jobs


def test_waits_are_known(store: Ledger, stages: Callable[..., Stages]) -> None:
    """Jobs that a run in a living process waits for, which another run made, are others' for that one."""
    staged = stages()
    made = run(staged, points(0.1)).jobs["fake"]
    assert store.waits.jobs_of_others(made, "maker") == set(), "nobody waits any more"
    seen: list[set[JobId]] = []
    ends = staged.wait

    def wait(jobs: Mapping[JobId, str], **values: object) -> None:
        ids = store.jobs(experiment="sweep")
        seen.append(store.waits.jobs_of_others([job.job_id for job in ids], "run"))
        ends(jobs, **values)

    staged.wait = wait
    reusing = run(staged, points(0.1, 0.2), "reuses").jobs["fake"]
    assert seen == [set(reusing)]
    assert set(made) < set(reusing)
    assert store.waits.jobs_of_others(reusing, "run") == set()


def test_suspended_goes_on_waiting(store: Ledger, suspending: Suspending) -> None:
    """A run that suspends itself waits on; its jobs are others' until it has ended."""
    with pytest.raises(Suspended):
        run(suspending, circuits(1))
    (job,) = store.jobs()
    assert [each.flow_run_id for each in store.waits.runs()] == ["run"]
    assert store.waits.jobs_of_others([job.job_id], "maker") == {job.job_id}
    run(suspending, circuits(1))
    assert (store.waits.runs(), store.waits.jobs_of_others([job.job_id], "maker")) == ([], set())


def test_the_dead_wait_for_nothing(store: Ledger, backend: ScriptedBackend) -> None:
    """A run whose process is proved to have ended, inline, keeps no job from being cancelled."""
    first, second = submitted(store, backend, "a", "b")
    store.waits.register("dead", [first], until="all", now=NOW, held_by=ended_owner())
    store.waits.register("alive", [second], until="all", now=NOW, held_by=lease_owner())
    assert store.waits.jobs_of_others([first, second], "run") == {second}


# Interrupted runs


LIVES = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, os.environ["TESTS"])
from launching import Stages, circuits, points, run
from scripted import ScriptedBackend
from qjobs.compiling.compiler import CompileCache
from qjobs.ledger import Ledger
class Waiting(Stages):
    def wait(self, *_, **__):
        print("waits", flush=True)
        time.sleep(60)
store = Ledger(sys.argv[1])
plan = circuits(1) if sys.argv[2] == "list" else points(0.1, fresh=True)
run(Waiting(store, CompileCache(Path(sys.argv[3])), fake=ScriptedBackend()), plan, "killed", "wish")
"""


@pytest.mark.parametrize("plan", [circuits(1), points(0.1, fresh=True)], ids=["list", "sweep"])
def test_killed(plan: ExperimentPlan, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A run whose process was killed is found by its experiment, and one whose process lives is not."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    kind = request.node.callspec.id
    words = [sys.executable, "-c", LIVES, url, kind, str(tmp_path / "compiled")]
    with (
        Ledger(url) as store,
        subprocess.Popen(words, env={**os.environ, "TESTS": str(TESTS)}, stdout=subprocess.PIPE) as process,
    ):
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"waits\n"
            assert interrupted_run(store, plan) is None
        finally:
            process.kill()
            process.wait()
        assert interrupted_run(store, plan) == "wish"
        other = circuits(2) if kind == "list" else points(0.2, fresh=True)
        assert interrupted_run(store, other) is None, "it is another experiment"


@pytest.mark.parametrize("plan", [circuits(1), points(0.1, fresh=True)], ids=["list", "sweep"])
def test_not_interrupted(store: Ledger, suspending: Suspending, plan: ExperimentPlan) -> None:
    """A run that is suspended, or has finished, was not interrupted."""
    assert interrupted_run(store, plan) is None
    with pytest.raises(Suspended):
        run(suspending, plan)
    assert interrupted_run(store, plan) is None
    run(suspending, plan)
    assert interrupted_run(store, plan) is None


def test_killed_at_the_end(store: Ledger, stages: Callable[..., Stages]) -> None:
    """A run that was killed after its jobs had ended goes on too, until another has brought it to its end."""
    job_ids = run(stages(), circuits(1), "killed", "wish").jobs["fake"]
    store.waits.register("killed", job_ids, until="all", now=NOW, held_by=ended_owner())
    assert interrupted_run(store, circuits(1)) == "wish"
    run(stages(), circuits(1), "another", "wish")
    end_interruption(store, "wish", before=NOW)
    assert interrupted_run(store, circuits(1)) is None


def test_reused_points_need_no_run(store: Ledger, suspending: Suspending) -> None:
    """A sweep that reuses points finds them by themselves."""
    with pytest.raises(Suspended):
        run(suspending, points(0.1))
    store.waits.end("run")
    assert interrupted_run(store, points(0.1)) is None


# A ledger that is away


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program writes to a SQLite file and does not finish."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def test_locked_while_it_waits(tmp_path: Path, backend: ScriptedBackend) -> None:
    """A wait whose ledger is away says so and goes on when it is back."""
    path = tmp_path / "ledger.db"
    with Ledger(f"sqlite:///{path}", busy_timeout_s=0.02) as store:
        (job_id,) = submitted(store, backend, "a")
        backend.report(S.COMPLETED, S.COMPLETED)
        clock, lock = Clock(), locked(path)
        lock.__enter__()
        clock.after(30.0, lambda: lock.__exit__(None, None, None))
        told: list[str] = []
        statuses = qjobs.wait(
            store,
            {"fake": backend},
            [job_id],
            report=lambda progress: told.append(progress.trouble.get("ledger", "")),
            now=clock.now,
            monotonic=clock.monotonic,
            sleep=clock.sleep,
        )
        assert statuses == {job_id: S.COMPLETED}
        assert 30.0 <= clock.elapsed_s < 120.0
        assert "locked by another program" in told[0]
        assert (told[-1], len(store.results(job_id))) == ("", 2)


@pytest.mark.parametrize("stage", ["plan", "collect"])
def test_locked_while_it_executes(tmp_path: Path, stage: str) -> None:
    """An execution whose ledger is away for a while goes on, whatever it was doing, and sends nothing twice."""
    path = tmp_path / "ledger.db"
    with Ledger(f"sqlite:///{path}", busy_timeout_s=0.02) as store:
        backend = ScriptedBackend()
        lock = locked(path)

        class Locking(Stages):
            def _lock(self, of: str) -> None:
                if of == stage and not timers:
                    lock.__enter__()
                    timers.append(threading.Timer(1.0, lambda: lock.__exit__(None, None, None)))
                    timers[0].start()

            def compile(self, *values: object, **options: object) -> Mapping[str, str]:
                compiled = super().compile(*values, **options)
                self._lock("plan")
                return compiled

            def collect(self, jobs: Mapping[JobId, str]) -> Mapping[JobId, Exception]:
                self._lock("collect")
                return super().collect(jobs)

        timers: list[threading.Timer] = []
        done = run(Locking(store, CompileCache(tmp_path / "compiled"), fake=backend), circuits(2))
        timers[0].join()
        assert done.problems == {}
        assert (len(backend.jobs), len(store.jobs())) == (1, 1)
        assert store.result_counts(done.jobs["fake"]) == dict.fromkeys(done.jobs["fake"], 2)


def test_postgresql_restarts(tmp_path: Path) -> None:
    """A PostgreSQL that restarts while a run waits inline costs the run nothing."""
    if words := postgresql.why_not():
        pytest.fail(words) if os.environ.get("CI") else pytest.skip(words)
    pytest.importorskip("psycopg")
    with postgresql.own_server() as server, Ledger(server.url) as store:
        backend = ScriptedBackend(poll_interval_s=(0.05, 0.1))
        stages = DirectStages(store, {"fake": backend}, CompileCache(tmp_path / "compiled"))

        def restart() -> None:
            while not backend.jobs:
                time.sleep(0.01)
            time.sleep(0.3)
            server.stop()
            time.sleep(1.0)
            server.start()
            backend.report(S.COMPLETED, S.COMPLETED)

        thread = threading.Thread(target=restart)
        thread.start()
        with store.waits.attended("run"):
            done = execute(store, circuits(2), stages, run="run")
        thread.join()
        assert done.problems == {}
        assert (len(backend.jobs), store.result_counts(done.jobs["fake"])) == (1, dict.fromkeys(done.jobs["fake"], 2))


def test_failed_stays_failed(store: Ledger, stages: Callable[..., Stages]) -> None:
    """The default strategy reports a failure again, and sends nothing."""
    staged = stages()
    staged.end = S.ERROR
    for _ in range(2):
        assert [type(each) for each in run(staged, circuits(1)).problems.values()] == [JobFailed]
    assert len(staged.opened["fake"].jobs) == 1
