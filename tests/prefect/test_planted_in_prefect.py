"""A secret of a block, and a provider that repeats it in all that it says: what Prefect keeps of such a run."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from given import a_batch
from observing import last_run, logs_of
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import get_current_settings
from pydantic import SecretStr

from blocks import RestBackend
from flows.run_circuits import run_circuits
from qjobs.errors import JobFailed
from qjobs.ledger import Ledger
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.servers import ScriptedProvider

TOKEN = "tok-Xq7v94zL8p-of-a-block"


def test_prefects_database(
    client: SyncPrefectClient, store: Ledger, home: Path, provider: ScriptedProvider, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither Prefect's database, with states, logs and artifacts of a run, nor the home holds a secret."""
    caplog.set_level(logging.INFO)
    provider.store.queue_s = 0.0
    provider.break_items({0: f"the key {TOKEN} is old"})
    provider.inject(Fault(route=Route.STATUS, action=Action.ECHO, code=502, times=2))
    provider.inject(Fault(route=Route.RESULTS, action=Action.ECHO, code=418, times=1))
    RestBackend(url=provider.url, lost_reply="findable", token=SecretStr(TOKEN)).save("planted", overwrite=True)
    with pytest.raises(JobFailed, match=r"the key \[redacted\] is old"):
        run_circuits(a_batch("planted", 3, backend="rest-backend/planted", compiler="none"))
    run = last_run(client, "planted")
    lines = logs_of(client, str(run.id), until="wrote")
    assert TOKEN not in "\n".join([*lines, caplog.text])
    files = [path for path in home.rglob("*") if path.is_file()]
    url = get_current_settings().server.database.connection_url
    database = Path(str(getattr(url, "get_secret_value", lambda: url)()).partition(":///")[2])
    of_prefect = list(database.parent.glob(f"{database.name}*"))
    assert of_prefect
    everything = b"".join(path.read_bytes() for path in [*files, *of_prefect])
    assert b"the key [redacted] is old" in everything
    assert TOKEN.encode() not in everything
