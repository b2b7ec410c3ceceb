"""Deployments under the names that they had in earlier versions: removed once no run needs them any more.

Prefect cannot rename a deployment. A run that waits under an earlier name is started again by it, so it stays until
its runs are over; its schedule is stopped, because the deployment of the new name has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect.client.orchestration import SyncPrefectClient

from qjobs.reports.files import slug

__all__ = ["retire"]

_FORMS = ("sweep", "run-circuits", "hybrid", "divi-program")
_SCHEDULED = {"nightly-benchmark": "every-night", "sensor": "every-minute", "reconcile": "every-hour"}
_OPEN = ["SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING"]
_MAY_BE_RETRIED = timedelta(days=30)
"""A run that failed or crashed may be started again by the sensor or by a person for so long."""


def retire(client: SyncPrefectClient, devices: Sequence[str]) -> None:
    """Stop the schedules of deployments with earlier names, and delete those whose runs are over.

    `devices` are those that have deployments of their own. Idempotent.
    """
    earlier = [*_SCHEDULED.items(), *((flow, name) for flow in _FORMS for name in ("ui", *map(slug, devices)))]
    known = {}
    for each in client.request("POST", "/flows/filter", json={}).json():
        known[each["id"]] = each["name"]
    wanted = {"deployments": {"name": {"any_": sorted({name for _, name in earlier})}}}
    for each in client.request("POST", "/deployments/filter", json=wanted).json():
        if (known.get(each["flow_id"]), each["name"]) not in earlier:
            continue
        path = {"id": each["id"]}
        client.request("PATCH", "/deployments/{id}", path_params=path, json={"paused": True})
        if not _is_needed(client, each["id"]):
            client.request("DELETE", "/deployments/{id}", path_params=path)


def _is_needed(client: SyncPrefectClient, deployment: str) -> bool:
    def runs(**more: Any) -> list[dict[str, Any]]:
        chosen = {"deployment_id": {"any_": [deployment]}, **more}
        found: list[dict[str, Any]] = client.request("POST", "/flow_runs/filter", json={"flow_runs": chosen}).json()
        return found

    for run in runs(state={"type": {"any_": _OPEN}}):
        only_planned = run["state_type"] == "SCHEDULED" and run["auto_scheduled"] and not run["run_count"]
        if not only_planned:
            return True
    since = (datetime.now(UTC) - _MAY_BE_RETRIED).isoformat()
    return bool(runs(state={"type": {"any_": ["FAILED", "CRASHED"]}}, end_time={"after_": since}))
