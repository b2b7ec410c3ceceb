"""One Prefect server for the whole session, and a data folder of its own for every test.

Never put an `__init__.py` into this folder: `tests` is on the path, and the folder is named as the package is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen

import pytest
from deploying import process_worker
from prefect.client.orchestration import SyncPrefectClient, get_client
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
from prefect.testing.utilities import prefect_test_harness
from scripted_block import Scripted

from blocks import AerBackend, Ledger, RestBackend, backend_named, ledger_named
from blocks.opening import close_all
from qjobs.ledger import Ledger as LedgerDatabase


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a test: its ledger, its compiled circuits, its files."""
    monkeypatch.setenv("QJOBS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("QJOBS_LEDGER", raising=False)
    return tmp_path / "home"


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a Prefect server of our own that knows our blocks; 11 s, so once for all tests.

    What the tests open stays open to the end: the workers of Aer need a second to start, and ledgers and
    saved blocks have other names in every test.
    """
    settings = {
        PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,  # stopping it takes half a second on average, in every flow run
        PREFECT_HOME: tmp_path_factory.mktemp("prefect"),
        PREFECT_LOCAL_STORAGE_PATH: tmp_path_factory.mktemp("results"),  # the harness leaves results in the home's
        PREFECT_LOGGING_TO_API_BATCH_INTERVAL: 0.2,
        PREFECT_SERVER_ANALYTICS_ENABLED: False,
        # Fewer writers: SQLite answers 503 when two collide, and the client then waits for two seconds or more.
        PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED: False,
        PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED: False,
        PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE: 100,
        PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE: 100,
        PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL: 0.25,
    }
    backend_named("aer").warm()  # while the server starts
    with temporary_settings(settings), prefect_test_harness(server_startup_timeout=180):
        for block in (AerBackend, Ledger, RestBackend, Scripted):
            block.register_type_and_schema()
        yield str(PREFECT_API_URL.value())
        close_all()


@pytest.fixture
def client(api: str) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def store(home: Path) -> LedgerDatabase:
    """The ledger of a test, as the flows open it."""
    return ledger_named()


@pytest.fixture
def worker(api: str, client: SyncPrefectClient, home: Path, tmp_path: Path) -> Iterator[Popen[bytes]]:
    """A process worker whose flow runs share the test's data folder."""
    with process_worker(api, client, home, tmp_path) as process:
        yield process
