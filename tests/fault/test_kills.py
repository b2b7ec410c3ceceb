"""`kill -9` at random moments of the real flow, restarts, and two processes in one flow run: one remote job each.

`QJOBS_KILLS` says how many kills (9 unless told; `make bench-kills` does 200), `QJOBS_KILLS_SEED` the seed.
"""

from __future__ import annotations

import os
import random
import statistics
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from kills import N_ITEMS, ForkServer
from support import check_history

from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.testing.faults import Action, Fault, Route

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("QJOBS_KILLS", "9"))
SEED = int(os.environ.get("QJOBS_KILLS_SEED", "20261121"))
AT_ONCE = 4
VARIANTS = {"findable": 0.0, "deduplicated": 0.0, "findable-slow": 1.0}
"""How late the provider answers a submission, in seconds: a late answer makes room for a kill in SUBMITTING."""


@dataclass(frozen=True)
class Killed:
    """One scenario: when it was killed, how the job stood then, and what became of it."""

    name: str
    after_s: float
    too_late: bool
    stood: str
    restart_s: float


def _control(url: str) -> dict:
    return httpx.get(f"{url}/control", timeout=10).json()


def _made(url: str, key: str) -> int:
    return len(httpx.get(f"{url}/jobs", params={"key": key}, timeout=10).json()["jobs"])


def _kill_and_restart(forks: ForkServer, ledger: Ledger, url: str, backend: str, name: str, after_s: float) -> Killed:
    request = {"what": "run", "name": name, "backend": backend, "logical_run": name}
    first = forks.run(**request, kill_after_s=after_s)
    jobs = ledger.jobs(experiment=name)
    stood = str(jobs[0].status) if jobs else "no job yet"
    second = forks.run(**request)
    assert second["status"] == 0, f"{name}, killed after {after_s:.3f} s as {stood}: {forks.log.read_text()[-3000:]}"
    (job,) = ledger.jobs(experiment=name)
    assert job.status is JobStatus.COMPLETED, (name, after_s, job)
    assert len(ledger.results(job.job_id)) == N_ITEMS, (name, after_s)
    assert _made(url, job.key) == 1, (name, after_s)
    check_history(ledger, job.job_id)
    done = Killed(name, after_s, first["status"] == 0, stood, second["seconds"])
    print(done, flush=True)
    return done


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("variant", VARIANTS)
def test_kills(forks: ForkServer, provider: Callable[..., str], ledger_path: Path, variant: str) -> None:
    """A flow that is killed and started again makes one remote job, and has every result."""
    kind = variant.partition("-")[0]
    late_s = VARIANTS[variant]
    url = provider(kind, "--run-s", "0.3")
    if late_s:
        late = Fault(route=Route.SUBMIT, action=Action.LATE, seconds=late_s, times=10**6)
        httpx.post(f"{url}/control", json={"faults": [late.as_json()]}, timeout=10).raise_for_status()
    backend = f"rest-backend/{variant}"
    assert forks.run(what="block", name=variant, url=url, lost_reply=kind)["status"] == 0, forks.log.read_text()
    kills = -(-KILLS // len(VARIANTS))
    rng = random.Random(f"{SEED}/{variant}")
    with Ledger(f"sqlite:///{ledger_path}") as ledger, ThreadPoolExecutor(AT_ONCE) as pool:
        calm = list(
            pool.map(
                lambda n: forks.run(what="run", name=f"calm-{variant}-{n}", backend=backend),
                range(AT_ONCE),
            )
        )
        assert {one["status"] for one in calm} == {0}, forks.log.read_text()[-3000:]
        whole_s = statistics.median(one["seconds"] for one in calm)
        moments = [rng.uniform(0.0, whole_s) for _ in range(kills)]
        killed = list(
            pool.map(
                lambda n: _kill_and_restart(forks, ledger, url, backend, f"kill-{variant}-{n}", moments[n]),
                range(kills),
            )
        )
    created = len(_control(url)["created"]) - len(calm)
    print(
        f"\n{variant}: seed {SEED}, {kills} kills within {whole_s:.2f} s, {created} remote jobs created for {kills} "
        f"jobs; too late: {sum(one.too_late for one in killed)}; the job stood as "
        f"{dict(Counter(one.stood for one in killed))}; longest restart {max(one.restart_s for one in killed):.1f} s"
    )
    assert created == kills
    assert _control(url)["live"] == []


@pytest.mark.timeout(600)
def test_two_processes(forks: ForkServer, provider: Callable[..., str], ledger_path: Path, tmp_path: Path) -> None:
    """Two processes in one flow run, as of two workers (PrefectHQ/prefect #12509), go through with one job."""
    url = provider("findable", "--run-s", "0.5")
    assert forks.run(what="block", name="twice", url=url, lost_reply="findable")["status"] == 0
    for number in range(3):
        name = f"twice-{number}"
        made = tmp_path / f"run-{number}"
        assert forks.run(what="create", name=name, backend="rest-backend/twice", out=str(made))["status"] == 0
        request = {"what": "run again", "flow_run_id": made.read_text()}
        both = [forks.ask(**request, out=str(tmp_path / f"state-{number}-{which}")) for which in range(2)]
        ended = [one.get(timeout=120)["status"] for one in both]
        states = [(tmp_path / f"state-{number}-{which}").read_text() for which in range(2)]
        assert ended == [0, 0], forks.log.read_text()[-3000:]
        with Ledger(f"sqlite:///{ledger_path}") as ledger:
            (job,) = ledger.jobs(experiment=name)
            assert (job.status, len(ledger.results(job.job_id))) == (JobStatus.COMPLETED, N_ITEMS)
            assert job.run == made.read_text()
            check_history(ledger, job.job_id)
        print(name, states)
    assert len(_control(url)["created"]) == 3
