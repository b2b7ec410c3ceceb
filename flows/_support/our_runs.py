"""The runs of our flows that a Prefect server knows."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowFilter, FlowFilterId, FlowRunFilter
from prefect.client.schemas.objects import FlowRun

EXPERIMENTS = (
    *("run-circuits", "sweep", "nightly-benchmark", "hybrid", "divi-program"),
    *("sweep-file", "qaoa", "registered-builder"),
)
"""Flows that send jobs, and that go on with those that they have when they are started again."""
UPKEEP = ("sensor", "reconcile")
"""Flows that nobody needs to start again: their schedules do."""
_RUNS_A_REQUEST = 200


def our_flows(client: SyncPrefectClient) -> dict[UUID, str]:
    """Names of our flows by their ids on this server."""
    wanted = {"flows": {"name": {"any_": [*EXPERIMENTS, *UPKEEP]}}}
    return {UUID(one["id"]): one["name"] for one in client.request("POST", "/flows/filter", json=wanted).json()}


def runs_of(client: SyncPrefectClient, flows: Mapping[UUID, str], chosen: FlowRunFilter) -> list[FlowRun]:
    """The runs of these flows that a filter finds."""
    if not flows:
        return []
    ours = FlowFilter(id=FlowFilterId(any_=list(flows)))
    found: list[FlowRun] = []
    while True:
        part = client.read_flow_runs(flow_filter=ours, flow_run_filter=chosen, limit=_RUNS_A_REQUEST, offset=len(found))
        found += part
        if len(part) < _RUNS_A_REQUEST:
            return found
