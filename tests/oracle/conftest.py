"""One run of each real client, for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from client_runs import Runs, checks
from divi_runs import end_divi
from environments import DIVI_VERSIONS, PORTAL_CLIENTS, VERSIONS
from portal_runs import PortalRuns, portal_checks
from qoro_runs import QoroRuns, qoro_checks

# Run by the client's own interpreter, which has no pytest.
collect_ignore = ["divi_drive", "drive", "portal_drive", "qoro_drive"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "version" in metafunc.fixturenames:
        metafunc.parametrize("version", VERSIONS, scope="session")
    if "check" in metafunc.fixturenames:
        metafunc.parametrize("check", checks())
    if "portal_check" in metafunc.fixturenames:
        metafunc.parametrize("portal_check", portal_checks())
    if "portal_client" in metafunc.fixturenames:
        metafunc.parametrize("portal_client", PORTAL_CLIENTS)
    if "divi_version" in metafunc.fixturenames:
        metafunc.parametrize("divi_version", DIVI_VERSIONS, scope="session")
    if "qoro_check" in metafunc.fixturenames:
        metafunc.parametrize("qoro_check", qoro_checks())


@pytest.fixture(scope="session")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    found = Runs(_asked(request), tmp_path_factory.mktemp("oracle"))
    yield found
    found.close()


def _asked(request: pytest.FixtureRequest) -> list[str]:
    """The versions of the tests that were selected."""
    specs = [item.callspec for item in request.session.items if hasattr(item, "callspec")]
    asked = {spec.params.get("version") for spec in specs}
    return [version for version in VERSIONS if version in asked]


@pytest.fixture(scope="session", autouse=True)
def _divi_ends() -> Iterator[None]:
    """The interpreters of Divi live as long as tests need them."""
    yield
    end_divi()


@pytest.fixture(scope="session")
def portal_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PortalRuns]:
    found = PortalRuns(tmp_path_factory.mktemp("portal"))
    yield found
    found.close()


@pytest.fixture(scope="session")
def qoro_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QoroRuns]:
    found = QoroRuns(tmp_path_factory.mktemp("qoro"))
    yield found
    found.close()
