"""Real processes over one cap, killed while they submit: never more than the cap is at the provider.

`QJOBS_CAPPED_KILLS` says how many kills (10 unless told), `QJOBS_KILLS_SEED` the seed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from capped_runs import COST, ESTIMATE, opened, work
from kills import BELL
from support import NOW, a_spec

from qjobs.circuits.programs import read_circuit
from qjobs.ledger import Ledger
from qjobs.ledger.money import Cap
from qjobs.lifecycle import JobStatus
from qjobs.testing.faults import Action, Fault, Route

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("QJOBS_CAPPED_KILLS", "10"))
SEED = int(os.environ.get("QJOBS_KILLS_SEED", "20261128"))
AT_ONCE = 4
N_JOBS = 8 + 2 * KILLS
MOST_RUN = N_JOBS - 5
CAP = COST * (MOST_RUN - 1) + ESTIMATE + 0.5
"""Enough for so many jobs in all, and for no other: what one costs less than estimated comes free again."""
LATE_S = 0.1
_LIFE_S = 3.0


@pytest.fixture
def money(tmp_path: Path, provider: Callable[..., str]) -> Iterator[tuple[str, str, Ledger]]:
    """URLs of a ledger and of a provider that answers submissions late, and the ledger with jobs and a cap."""
    url = provider("findable", "--run-s", "0.2")
    late = Fault(route=Route.SUBMIT, action=Action.LATE, seconds=LATE_S, times=10**6)
    httpx.post(f"{url}/control", json={"faults": [late.as_json()]}, timeout=10).raise_for_status()
    ledger_url = f"sqlite:///{tmp_path / 'ledger.db'}"
    program = read_circuit(BELL)
    with Ledger(ledger_url) as ledger, contextlib.closing(opened(url)) as backend:
        place = {"backend": backend.name, "device": backend.device, "fingerprint": str(backend.fingerprint)}
        specs = [a_spec(f"{ledger.key_prefix}-{n}", n_items=1, program=program, **place) for n in range(N_JOBS)]
        ledger.create([replace(spec, cost_estimate=ESTIMATE) for spec in specs], now=NOW)
        ledger.caps.put(Cap(name="lab", amount=CAP, unit="HQC"), now=NOW)
        yield ledger_url, url, ledger


def check(ledger: Ledger, url: str) -> None:
    """What is at the provider may cost no more than the cap: what has run its cost, and all else its estimate."""
    control = httpx.get(f"{url}/control", timeout=30).json()
    (standing,) = ledger.caps.all(now=NOW)
    live = len(control["live"])
    there = COST * (len(control["created"]) - live) + ESTIMATE * live
    assert there <= CAP, (control, standing)
    assert standing.used <= CAP


@pytest.mark.timeout(1800)
def test_capped_kills(money: tuple[str, str, Ledger]) -> None:
    """However many processes are killed, the cap holds; in the end the ledger has what the provider billed."""
    ledger_url, url, ledger = money
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["capped_runs"])
    rng = random.Random(SEED)
    ids = [job.job_id for job in ledger.jobs()]
    shares = [ids[n::AT_ONCE] for n in range(AT_ONCE)]

    def begin(number: int) -> multiprocessing.Process:
        process = context.Process(target=work, args=(ledger_url, url, rng.sample(shares[number], len(shares[number]))))
        process.start()
        return process

    running = [begin(number) for number in range(AT_ONCE)]
    stood: list[str] = []
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.05, _LIFE_S / AT_ONCE))
        number = rng.randrange(AT_ONCE)
        running[number].kill()
        running[number].join(30)
        statuses = {ledger.job(job_id).status for job_id in shares[number]}
        stood.append("SUBMITTING" if JobStatus.SUBMITTING in statuses else "between two")
        check(ledger, url)
        running[number] = begin(number)
    while any(process.is_alive() for process in running):
        check(ledger, url)
        time.sleep(0.2)
    for process in running:
        process.join()
        assert process.exitcode == 0
    check(ledger, url)
    control = httpx.get(f"{url}/control", timeout=30).json()
    (standing,) = ledger.caps.all(now=NOW)
    print(f"seed {SEED}, {KILLS} kills, {stood.count('SUBMITTING')} of them while submitting; {standing}")
    assert (len(control["created"]), control["live"]) == (MOST_RUN, [])
    billed = COST * MOST_RUN
    assert (standing.told, standing.estimated, standing.reserved) == (pytest.approx(billed), 0.0, 0.0)
    held = [job for job in ledger.jobs() if job.status is JobStatus.CREATED]
    assert len(held) == N_JOBS - MOST_RUN
    assert all((job.trouble or "").startswith("held by the cap lab") for job in held)
