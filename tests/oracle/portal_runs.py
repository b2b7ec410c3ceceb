"""Runs of the real clients of the Munich Quantum Portal against the service: every check of a client once."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import traceback
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from environments import NoEnvironment, python_of

from qjobs.service.running import RunningService

__all__ = ["PortalOutcome", "PortalRuns", "portal_checks"]

DRIVE = Path(__file__).parent / "portal_drive"
TIMEOUT_S = 240.0
USER = "ada@localhost.test"
MORE = """
- {name: line, kind: nexus-hosted, backend: B, config: LineConfig, n_qubits: 4, max_shots: 20000,
   gate_set: [CX, Rz, Rx, Measure], connectivity: [[0, 1], [1, 2], [2, 3]], native_only: true}
- {name: broken, kind: nexus-hosted, backend: B, config: BrokenConfig, n_qubits: 4, failure_rate: 1.0}
- {name: dark, kind: nexus-hosted, backend: B, config: DarkConfig, n_qubits: 4, state: offline}
- {name: repaired, kind: nexus-hosted, backend: B, config: RepairedConfig, n_qubits: 4, state: in maintenance}
- {name: busy, kind: hardware, backend: B, config: BusyConfig, n_qubits: 4, queue_time_s: 86400}
"""


class PortalOutcome(NamedTuple):
    """An error for each check of a client, empty for a good one; and its last words."""

    errors: dict[str, str]
    log: str


def _file_of(client: str) -> Path:
    return DRIVE / f"drive_{client.replace('-', '_')}.py"


def portal_checks() -> list[str]:
    """Names of all checks, `client.name` for each `check_name` of a client's file."""
    found = []
    for path in sorted(DRIVE.glob("drive_*.py")):
        client = path.stem.removeprefix("drive_").replace("_", "-")
        found += [f"{client}.{name}" for name in re.findall(r"^def check_(\w+)\(", path.read_text(), re.MULTILINE)]
    return found


class PortalRuns:
    """A service with the usual devices and some that are away, and a run of each client that is asked for."""

    def __init__(self, folder: Path) -> None:
        content = yaml.safe_load(resources.files("qjobs.service").joinpath("devices.yaml").read_text())
        devices = folder / "devices.yaml"
        devices.write_text(yaml.safe_dump({"devices": [*content["devices"], *yaml.safe_load(MORE)]}))
        self._folder = folder
        self._outcomes: dict[str, PortalOutcome] = {}
        options = ("--workers", "2", "--devices", str(devices))
        self._service = RunningService(folder / "service", users={USER: "a secret"}, options=options)
        self._service.start()
        command = [sys.executable, "-m", "qjobs.cli.main", "serve", "users", "token", USER, "--data"]
        words = [*command, str(self._service.data)]
        self._token = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout.strip()

    def of(self, client: str) -> PortalOutcome:
        """What the checks of a client found."""
        if client == "mqp-qiskit-provider" and sys.version_info >= (3, 12):
            pytest.skip("mqp-qiskit-provider wants Python below 3.12")
        if client not in self._outcomes:
            try:
                self._outcomes[client] = self._drive(client)
            except NoEnvironment as error:
                if os.environ.get("CI"):
                    pytest.fail(str(error))
                pytest.skip(str(error))
            except Exception:
                pytest.fail(f"the run of {client} broke off:\n{traceback.format_exc()}")
        return self._outcomes[client]

    def _drive(self, client: str) -> PortalOutcome:
        path = self._folder / f"{client}.json"
        # As a person's shell would have it, with what the service prints.
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MQP_", "PYTHON"))}
        portal: dict[str, Any] = {
            "MQP_URL": self._service.url,
            "REQUESTS_CA_BUNDLE": str(self._service.certificate),
            "ORACLE_TOKEN": self._token,
            "HOME": str(self._folder),
        }
        done = subprocess.run(
            [str(python_of(client)), str(_file_of(client)), str(path)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env={**kept, **portal},
            cwd=self._folder,
        )
        log = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}\nservice:\n{self._service.log.read_text()[-4000:]}"
        return PortalOutcome(json.loads(path.read_text()) if path.exists() else {}, log)

    def close(self) -> None:
        self._service.stop()
