"""Finished runs of a deployment that runs every minute: they are deleted in Prefect after a while."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_run_logger
from prefect.runtime import deployment

__all__ = ["delete_finished", "deployed_as"]

_FINISHED = ["COMPLETED", "CANCELLED"]
_AT_MOST = 100
"""Runs that one call deletes. More are left to the next one, a minute later."""


def deployed_as() -> UUID | None:
    """The deployment that the present run comes from, if it comes from one."""
    return UUID(str(deployment.id)) if deployment.id else None


def delete_finished(client: SyncPrefectClient, deployment_id: UUID, *, older_than: timedelta) -> int:
    """Delete runs of a deployment that completed, or were cancelled, longer ago than that; how many there were.

    At most 100 at a time. A server that does not answer is no error: the next call does it.
    """
    chosen = {
        "deployment_id": {"any_": [str(deployment_id)]},
        "state": {"type": {"any_": _FINISHED}},
        "end_time": {"before_": (datetime.now(UTC) - older_than).isoformat()},
    }
    wanted = {"flow_runs": chosen, "limit": _AT_MOST}
    deleted = 0
    try:
        for run in client.request("POST", "/flow_runs/filter", json=wanted).json():
            try:
                client.delete_flow_run(UUID(run["id"]))
            except ObjectNotFound:  # another sensor has done it
                continue
            deleted += 1
    except (httpx.HTTPError, RuntimeError) as error:
        get_run_logger().info("old runs of the sensor are deleted later: %s: %s", type(error).__name__, error)
    return deleted
