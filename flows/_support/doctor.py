"""`qjobs doctor`: what of Prefect must be there for deployed runs, and what to do where it is not."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from blocks import backend_named, ledger_named
from flows._support.local_server import status as local_status
from flows._support.run_ledger import TAG, ledger_tag, tags_of_others
from flows.deploy import BLOCKS, POOL, PROJECT
from qjobs.cli.doctor import Check
from qjobs.errors import QJobsError

_BLOCKS = {block.get_block_type_slug(): block for block in BLOCKS}
_OPEN_A_BACKEND = {slug for slug, block in _BLOCKS.items() if hasattr(block, "get_backend")}
_SILENT_S = 90.0
"""A worker that is alive is heard of every 30 s."""


def prefect_checks() -> list[Check]:
    """Server, worker, deployments, block types, sensor, and every saved backend with its credentials.

    Without PREFECT_API_URL there is no server to look at, and nothing is wrong with that.
    """
    url = PREFECT_API_URL.value()
    if not url:
        words = f"PREFECT_API_URL is not set: flows run here; {local_status()}"
        return [Check(name="prefect server", ok=True, words=words)]
    try:
        with get_client(sync_client=True) as client:
            version = client.request("GET", "/admin/version").json()
            server = Check(name="prefect server", ok=True, words=f"{version} at {url}")
            deployments = client.request("POST", "/deployments/filter", json={}).json()
            mine = [_worker(client), _deployments(client, deployments), _deployed_ledger(deployments)]
            return [server, *mine, _sensor(client), *_blocks(client)]
    except (httpx.HTTPError, PrefectHTTPStatusError, OSError) as error:
        words = f"{url} does not answer ({error}); start it with: make ui"
        return [Check(name="prefect server", ok=False, words=words)]


def _worker(client: SyncPrefectClient) -> Check:
    name = "worker"
    pools = client.request("POST", "/work_pools/filter", json={}).json()
    if POOL not in {one["name"] for one in pools}:
        return Check(name=name, ok=False, words=f"there is no work pool {POOL}; run: make deploy")
    found = client.request(
        "POST", "/work_pools/{work_pool_name}/workers/filter", path_params={"work_pool_name": POOL}, json={}
    ).json()
    heard = [datetime.fromisoformat(one["last_heartbeat_time"]) for one in found if one["last_heartbeat_time"]]
    alive = [at for at in heard if datetime.now(UTC) - at < timedelta(seconds=_SILENT_S)]
    if not alive:
        return Check(name=name, ok=False, words=f"no worker serves the pool {POOL}; start one with: make worker")
    return Check(name=name, ok=True, words=f"{len(alive)} in the pool {POOL}")


def _deployments(client: SyncPrefectClient, deployments: Sequence[Mapping[str, Any]]) -> Check:
    wanted = {one["entrypoint"].split(":")[1].replace("_", "-") for one in _file()["deployments"]}
    names = {one["id"]: one["name"] for one in client.request("POST", "/flows/filter", json={}).json()}
    have = {names.get(one["flow_id"]) for one in deployments}
    missing = sorted(wanted - have)
    if missing:
        return Check(name="deployments", ok=False, words=f"not deployed: {', '.join(missing)}; run: make deploy")
    return Check(name="deployments", ok=True, words=", ".join(sorted(wanted)))


def _deployed_ledger(deployments: Sequence[Mapping[str, Any]]) -> Check:
    """Whether what is deployed was deployed for the ledger that is opened here, as a worker started here would."""
    name = "ledger of the deployments"
    try:
        store = ledger_named()
        others = {one["name"]: other for one in deployments for other in tags_of_others(store, one["tags"])}
        is_tagged = any(ledger_tag(store) in one["tags"] for one in deployments)
    except QJobsError as error:
        return Check(name=name, ok=False, words=str(error))
    here = f"{store.ledger_id[:8]} at {store.url}"
    if others:
        ids = ", ".join(sorted({tag[len(TAG) :][:8] for tag in others.values()}))
        words = (
            f"{', '.join(sorted(others))} were deployed for the ledger {ids}, and here it is {here}: a worker that is "
            "started here refuses runs that began there, and knows none of their jobs. Set QJOBS_LEDGER or QJOBS_HOME "
            "as where it was deployed; if this is to be the ledger from now on, run: make deploy"
        )
        return Check(name=name, ok=False, words=words)
    if not is_tagged:
        return Check(name=name, ok=not deployments, words="no deployment says which ledger it is for; run: make deploy")
    return Check(name=name, ok=True, words=here)


def _sensor(client: SyncPrefectClient) -> Check:
    """Somebody must look after the runs that are suspended."""
    since = (datetime.now(UTC) - timedelta(minutes=15)).isoformat()
    wanted = {
        "flows": {"name": {"any_": ["sensor"]}},
        "flow_runs": {"state": {"type": {"any_": ["COMPLETED", "RUNNING"]}}, "start_time": {"after_": since}},
    }
    ran = client.request("POST", "/flow_runs/count", json=wanted).json()
    store = ledger_named()
    waits = store.waits.runs()
    present = datetime.now(UTC)
    at_work = [
        r for r in store.heartbeats.runners() if r.flow == "sensor" and r.is_at_work(present, str(client.api_url))
    ]
    unsent = sum(store.dispatches.counts().values())
    more = f", {unsent} jobs wait for a place" if unsent else ""
    troubles = [f"{lane.opened_as}: {lane.trouble}" for lane in store.dispatches.lanes() if lane.trouble]
    if troubles:
        return Check(name="sensor", ok=False, words=f"{unsent} jobs wait for a place and cannot be sent: {troubles[0]}")
    if ran or at_work or not waits:
        words = f"{len(at_work)} at work, {ran} scheduled ones in 15 minutes, {len(waits)} runs wait{more}"
        return Check(name="sensor", ok=True, words=words)
    words = f"{len(waits)} runs wait{more}, and no sensor ran in 15 minutes; start a worker, or: qjobs sensor"
    return Check(name="sensor", ok=False, words=words)


def _blocks(client: SyncPrefectClient) -> list[Check]:
    types = {one["slug"] for one in client.request("POST", "/block_types/filter", json={"limit": 200}).json()}
    missing = sorted(set(_BLOCKS) - types)
    if missing:
        words = f"the server does not know {', '.join(missing)}; run: prefect block register -m blocks"
        return [Check(name="blocks", ok=False, words=words)]
    found = [Check(name="blocks", ok=True, words=", ".join(_BLOCKS))]
    saved = client.request("POST", "/block_documents/filter", json={"include_secrets": False}).json()
    names = [_name(one) for one in saved if one["block_type"]["slug"] in _OPEN_A_BACKEND and one["name"]]
    return found + [_backend(name) for name in sorted(names)]


def _name(document: dict[str, Any]) -> str:
    return f"{document['block_type']['slug']}/{document['name']}"


def _backend(name: str) -> Check:
    """Open a saved backend and ask it something: its address, its credentials."""
    try:
        backend = backend_named(name)
        backend.status([])
        return Check(
            name=name, ok=True, words=f"{backend.device}, {backend.target().n_qubits or 'any number of'} qubits"
        )
    except (QJobsError, OSError, RuntimeError) as error:  # whatever is wrong with it, the other checks go on
        return Check(name=name, ok=False, words=str(error))


def _file() -> dict[str, Any]:
    project = Path(os.environ.get("QJOBS_PROJECT", PROJECT))
    found: dict[str, Any] = yaml.safe_load((project / "deployments" / "prefect.yaml").read_text(encoding="utf-8"))
    return found
