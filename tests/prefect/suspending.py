"""Deployed runs that are suspended, and the passes of the sensor that resume them."""

from __future__ import annotations

import time
from typing import Any

from deploying import deployed
from observing import eventually
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun

from flows.sensor import PassSummary, run_once
from qjobs.ledger import Ledger


def suspended(client: SyncPrefectClient, store: Ledger, flow: Flow[..., Any], given: dict[str, object]) -> FlowRun:
    """A run of the deployment that waits for its job without a process."""
    made = client.create_flow_run_from_deployment(deployed(client, flow), parameters=given)
    run = eventually(
        lambda: client.read_flow_run(made.id),
        lambda r: r.state.name == "Suspended" or r.state.is_final(),
        deadline_s=240,
    )
    assert run.state.name == "Suspended", run.state
    assert [wait.flow_run_id for wait in store.waits.runs()] == [str(run.id)]
    return run


def passes(store: Ledger, client: SyncPrefectClient, until: str) -> PassSummary:
    """Passes of the sensor until one did something of this kind; a server on SQLite answers 503 now and then."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        passed = run_once(store, client)
        # Of a busy SQLite, which the next pass asks again.
        assert all("503 Service Unavailable" in words for words in passed.trouble.values()), passed.trouble
        if getattr(passed, until):
            return passed
        store.schedule.set_next({job.job_id: None for job in store.open_jobs()})  # due at once
        time.sleep(0.2)
    raise AssertionError(f"no pass {until} anything; the last one met {passed.trouble}")
