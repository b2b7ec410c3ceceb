"""Saying in the ledger that a process runs a flow run, so that its silence can be told from work.

A worker reports a process that died. When the worker dies too, with its machine, nobody does: Prefect shows the run
as Running for ever, and it holds its place in queues and limits. The sensor looks after such runs
(`flows._support.lost_runs`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL

from blocks import ledger_named
from qjobs.errors import QJobsError
from qjobs.ledger import Ledger
from qjobs.ledger.heartbeats import HEARTBEAT_S
from qjobs.ledger.liveness import lease_owner
from qjobs.operations.poll import utc_now


@contextlib.contextmanager
def heartbeat(ledger: str) -> Iterator[None]:
    """Record every half minute that this process runs this flow run, until it leaves the block.

    Without a server that outlives the process (`PREFECT_API_URL` is not set) nobody could act on it, and nothing is
    written.
    """
    run = str(flow_run.id or "")
    server = PREFECT_API_URL.value()
    if not run or not server:
        yield
        return
    store = ledger_named(ledger)
    owner = lease_owner()
    flow = str(flow_run.flow_name)
    over = threading.Event()
    store.heartbeats.record(run, owner, flow=flow, server=server, now=utc_now())
    arguments = (store, run, owner, flow, server, over)
    beats = threading.Thread(target=_beat, args=arguments, name="qjobs-alive", daemon=True)
    beats.start()
    try:
        yield
    finally:
        over.set()
        beats.join()
        with contextlib.suppress(QJobsError):  # the sensor sees that the run has ended
            store.heartbeats.end(run, owner)


def _beat(store: Ledger, run: str, owner: str, flow: str, server: str, over: threading.Event) -> None:
    while not over.wait(HEARTBEAT_S):
        with contextlib.suppress(QJobsError):  # a ledger that is away for a while is no reason to end
            store.heartbeats.record(run, owner, flow=flow, server=server, now=utc_now())
