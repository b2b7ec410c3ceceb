"""One Prefect server for all tests here, and a data folder of its own for every test.

Never put an `__init__.py` into this folder: `tests` is on the path, and the folder is named as the package is.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from deploying import deployed, process_worker
from given import parameters, sent
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.settings import (
    PREFECT_API_URL,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_HOME,
    PREFECT_LOCAL_STORAGE_PATH,
    PREFECT_LOGGING_TO_API_BATCH_INTERVAL,
    PREFECT_SERVER_ANALYTICS_ENABLED,
    PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED,
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE,
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL,
    PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE,
    PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED,
    temporary_settings,
)
from prefect.states import Running
from prefect.testing.utilities import prefect_test_harness
from scripted_block import Scripted

from blocks import AerBackend, Ledger, RestBackend, backend_named, ledger_named
from blocks.opening import close_all
from flows.run_circuits import run_circuits
from qjobs.ledger import Ledger as LedgerDatabase
from qjobs.operations.poll import utc_now
from qjobs.testing.servers import ScriptedProvider


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a test: its ledger, its compiled circuits, its files."""
    monkeypatch.setenv("QJOBS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("QJOBS_LEDGER", raising=False)
    return tmp_path / "home"


class Server:
    """A Prefect server of our own that knows our blocks; 11 s, so once for all tests of this folder.

    It ends with the last of them, because it takes half a processor even when nobody asks it. What the tests
    open stays open so long: the workers of Aer need a second to start, and ledgers and saved blocks have other
    names in every test.
    """

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._url = ""

    def url(self, folders: pytest.TempPathFactory) -> str:
        if not self._url:
            backend_named("aer").warm()  # while the server starts
            self._stack.callback(close_all)
            self._stack.enter_context(temporary_settings(_settings(folders)))
            self._stack.enter_context(prefect_test_harness(server_startup_timeout=180))
            for block in (AerBackend, Ledger, RestBackend, Scripted):
                block.register_type_and_schema()
            self._url = str(PREFECT_API_URL.value())
        return self._url

    def end(self) -> None:
        self._url = ""
        self._stack.close()


SERVER = Server()
_STATES = [StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
UNFINISHED = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_STATES)))


def _settings(folders: pytest.TempPathFactory) -> dict[Any, Any]:
    return {
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,  # stopping it takes half a second on average, in every flow run
        PREFECT_HOME: folders.mktemp("prefect"),
        PREFECT_LOCAL_STORAGE_PATH: folders.mktemp("results"),  # the harness leaves results in the home's
        PREFECT_LOGGING_TO_API_BATCH_INTERVAL: 0.2,
        PREFECT_SERVER_ANALYTICS_ENABLED: False,
        # Fewer writers: SQLite answers 503 when two collide, and the client then waits for two seconds or more.
        PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED: False,
        PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED: False,
        PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE: 100,
        PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE: 100,
        PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL: 1,  # the server cuts a fraction to 0, and spins
    }


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    if nextitem is None or Path(__file__).parent not in nextitem.path.parents:
        SERVER.end()


@pytest.fixture
def api(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of the server of these tests."""
    return SERVER.url(tmp_path_factory)


@pytest.fixture
def client(api: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client
        # A sensor looks after all runs that the server knows, also those that an earlier test left.
        for run in client.read_flow_runs(flow_run_filter=UNFINISHED, limit=200):
            client.delete_flow_run(run.id)


@pytest.fixture
def store(home: Path) -> LedgerDatabase:
    """The ledger of a test, as the flows open it."""
    return ledger_named()


@pytest.fixture
def worker(api: str, client: SyncPrefectClient, home: Path, tmp_path: Path) -> Iterator[Popen[bytes]]:
    """A process worker whose flow runs share the test's data folder."""
    with process_worker(api, client, home, tmp_path) as process:
        yield process


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    """A provider with a queue of ten minutes, and its block `provider.block`."""
    with ScriptedProvider("findable") as provider:
        provider.store.queue_s = 600.0
        # What a name stands for is opened once in a process, so every test takes a name of its own.
        provider.block = f"weeks-{uuid.uuid4().hex[:8]}"
        RestBackend(url=provider.url, lost_reply=provider.store.variant).save(provider.block)
        yield provider


@pytest.fixture
def waiting(client: SyncPrefectClient, store: Ledger, provider: ScriptedProvider) -> FlowRun:
    """A run that is registered for a queued job."""
    given = parameters(provider, "registered")
    run = client.create_flow_run_from_deployment(deployed(client, run_circuits), parameters=given, state=Running())
    ids = [sent(store, provider, str(run.id), experiment="registered")]
    store.waits.register(str(run.id), ids, until="all", now=utc_now(), server=str(client.api_url))
    return client.read_flow_run(run.id)
