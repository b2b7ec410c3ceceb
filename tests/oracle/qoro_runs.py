"""Runs of Divi's `QoroService` against the service: every check once with each version."""

from __future__ import annotations

import json
import os
import re
import subprocess
import traceback
from importlib import resources
from pathlib import Path

import pytest
import yaml
from environments import NoEnvironment, python_of
from portal_runs import MORE, PortalOutcome

from qjobs.service.running import RunningService

__all__ = ["QoroRuns", "qoro_checks"]

DRIVE = Path(__file__).parent / "qoro_drive" / "drive_divi.py"
TIMEOUT_S = 300.0
USER = "ada@localhost.test"


def qoro_checks() -> list[str]:
    """Names of all checks."""
    return re.findall(r"^def check_(\w+)\(", DRIVE.read_text(), re.MULTILINE)


class QoroRuns:
    """A service with the usual devices and some that fail or wait, and a run of each version that is asked for."""

    def __init__(self, folder: Path) -> None:
        content = yaml.safe_load(resources.files("qjobs.service").joinpath("devices.yaml").read_text())
        more = yaml.safe_load(MORE)
        for device in more:
            if device["name"] == "broken":  # a cluster would be as good; a noisy one is a system
                device["noise"] = {"readout": 0.01}
        devices = folder / "devices.yaml"
        devices.write_text(yaml.safe_dump({"devices": [*content["devices"], *more]}))
        self._folder = folder
        self._outcomes: dict[str, PortalOutcome] = {}
        options = ("--workers", "2", "--devices", str(devices))
        self._service = RunningService(folder / "service", users={USER: "a secret"}, options=options)
        self._service.start()

    def of(self, version: str) -> PortalOutcome:
        """What the checks of a version found."""
        if version not in self._outcomes:
            try:
                self._outcomes[version] = self._drive(version)
            except NoEnvironment as error:
                if os.environ.get("CI"):
                    pytest.fail(str(error))
                pytest.skip(str(error))
            except Exception:
                pytest.fail(f"the run of {version} broke off:\n{traceback.format_exc()}")
        return self._outcomes[version]

    def _drive(self, version: str) -> PortalOutcome:
        path = self._folder / f"{version}.json"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("QORO_", "PYTHON"))}
        done = subprocess.run(
            [str(python_of(version)), str(DRIVE), str(path)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env={
                **kept,
                **self._service.qoro_environment,
                "ORACLE_TOKEN": self._service.portal_token(USER),
                "HOME": str(self._folder),
            },
            cwd=self._folder,
        )
        log = f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}\nservice:\n{self._service.log.read_text()[-4000:]}"
        return PortalOutcome(json.loads(path.read_text()) if path.exists() else {}, log)

    def close(self) -> None:
        self._service.stop()
