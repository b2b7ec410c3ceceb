"""All of qjobs as a person would run it: Prefect's server, a worker, the sensor, and the local job service."""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import yaml
from processes import ROOT, free_port
from programs import DEADLINE_S, Program, processes_with, until

from flows._support.serving import SETTINGS
from qjobs.ledger import Ledger
from qjobs.service.running import RunningService

DEVICE = "H1-1E"
_DEVICES = ROOT / "qjobs" / "service" / "devices.yaml"
_QUEUE_S = 3600.0
"""Of the service's clock, which goes at its usual speed until the service is started again."""
_SPEED = 360.0
"""Of the clock after that: what is left of the queue passes within 10 s."""
_NAMES = ("server", "worker", "sensor")
_TAIL = 6000


class Stack:
    """The four programs, in a folder of their own.

    Args:
        folder: Where all that they keep is.
        service: Whether there is a job service, and a sensor that asks it.
        deploy: Environment variables of `make deploy`.
    """

    def __init__(self, folder: Path, *, service: bool = True, **deploy: str) -> None:
        self.url = f"http://127.0.0.1:{free_port()}"
        self._folder = folder
        self._with_service = service
        self._deploy_with = deploy
        self._home = folder / "home"
        self.service = self._service(1.0)
        self._programs: dict[str, Program] = {}

    def _service(self, speed: float) -> RunningService:
        options = ("--devices", str(self._folder / "devices.yaml"), "--clock-speed", str(speed), "--workers", "1")
        data = self._folder / "service"
        environment = self._environment()
        return RunningService(data, options=options, environ=environment, start_timeout_s=DEADLINE_S)

    def start(self) -> None:
        """Start all, and put the project's deployments there."""
        (self._home / "prefect").mkdir(parents=True)
        port = self.url.rpartition(":")[2]
        prefect = [sys.executable, "-m", "prefect"]
        self._start("server", [*prefect, "server", "start", "--host", "127.0.0.1", "--port", port])
        there = {}
        if self._with_service:
            self._write_devices()
            self.service.start()
            there = {**self.service.environment, "QJOBS_NEXUS_TOKEN": self.service.sign_in()}
        until("the Prefect server answers", self._answers, pause_s=0.2)
        self._deploy()
        self._start("worker", [*prefect, "worker", "start", "--pool", "qjobs"], **there)
        if self._with_service:
            self._start("sensor", [sys.executable, "-m", "qjobs.cli.main", "sensor", "--every", "1"], **there)

    def _write_devices(self) -> None:
        devices = yaml.safe_load(_DEVICES.read_text(encoding="utf-8"))["devices"]
        (device,) = [each for each in devices if each["name"] == DEVICE]
        text = yaml.safe_dump({"devices": [{**device, "queue_time_s": _QUEUE_S}]})
        self._folder.joinpath("devices.yaml").write_text(text, encoding="utf-8")

    def _start(self, name: str, command: list[str], **environment: str) -> None:
        self._programs[name] = Program(name, command, self._folder, {**self._environment(), **environment})
        self._programs[name].start()

    def _environment(self) -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "QJOBS_"))}
        return {
            **others,
            **SETTINGS,
            "QJOBS_HOME": str(self._home),
            "PREFECT_HOME": str(self._home / "prefect"),
            "PREFECT_API_URL": f"{self.url}/api",
            "PREFECT_SERVER_UI_API_URL": f"{self.url}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PYTHONUNBUFFERED": "1",
        }

    def run(self, *command: str, **environment: str) -> None:
        """Run a command of Python as one of the programs, to its end."""
        with self._folder.joinpath("commands.log").open("ab") as log:
            subprocess.run(
                [sys.executable, *command],
                cwd=ROOT,
                env={**self._environment(), **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
                timeout=2 * DEADLINE_S,
            )

    def _deploy(self) -> None:
        self.run("-m", "flows.deploy", **self._deploy_with)
        until("every schedule has made a run", self._all_are_scheduled)
        # The long-lived sensor does the upkeep here: a scheduled one would cost a process every minute.
        for deployment in self.ask("POST", "/deployments/filter", json={}):
            if deployment["schedules"]:
                self.ask("PATCH", f"/deployments/{deployment['id']}", json={"paused": True})

    def _all_are_scheduled(self) -> bool:
        found = self.ask("POST", "/deployments/filter", json={})
        with_schedule = {each["id"] for each in found if any(one["active"] for one in each["schedules"])}
        runs = self.ask("POST", "/flow_runs/filter", json={"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}})
        return len(with_schedule) == 2 and with_schedule <= {run["deployment_id"] for run in runs}

    def ask(self, method: str, path: str, **values: Any) -> Any:
        """What Prefect's API answers."""
        answer = httpx.request(method, f"{self.url}/api{path}", timeout=60.0, **values)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def _answers(self) -> bool:
        server = self._programs["server"]
        assert server.alive(), f"the server has ended:\n{server.tail()}"
        try:
            return httpx.get(f"{self.url}/api/health", timeout=5.0).status_code == 200
        except httpx.TransportError:
            return False

    def told(self, name: str) -> int:
        """How many Prefect events of this name there are."""
        return int(self.ask("POST", "/events/filter", json={"filter": {"event": {"name": [name]}}})["total"])

    def ledger(self) -> Ledger:
        """The ledger that all share."""
        return Ledger(f"sqlite:///{self._home / 'ledger.db'}")

    def jobs_at_service(self) -> list[str]:
        """Ids of all jobs that were ever made at the job service."""
        trust = ssl.create_default_context(cafile=self.service.certificate)
        cookies = {"myqos_oat": self.service.sign_in()}
        answer = httpx.get(f"{self.service.url}/api/jobs/v1beta3", verify=trust, cookies=cookies, timeout=60.0)
        answer.raise_for_status()
        return [job["id"] for job in answer.json()["data"]]

    def kill(self) -> None:
        """`kill -9` of one after the other, until nothing is left; the sensor and the worker outlive the server."""
        self._programs["server"].kill()
        until("the sensor says that the server is away", lambda: "ConnectError" in self._programs["sensor"].tail())
        self._programs["worker"].kill()
        self._programs["sensor"].kill()
        self.service.kill()
        until("the service's workers have ended, too", lambda: not processes_with(str(self._folder)))

    def start_again(self) -> None:
        """Start what was killed; the service's clock is faster now."""
        port, self.service = self.service.port, self._service(_SPEED)
        self.service.port = port
        self._programs["server"].start()
        self.service.start()
        until("the Prefect server answers again", self._answers, pause_s=0.2)
        self._programs["worker"].start()
        self._programs["sensor"].start()

    def _end_others(self) -> None:
        """Kill what the programs left behind: a run whose worker was killed, for example."""
        for pid in processes_with(str(self._folder)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _tell(self) -> None:
        """Print the last words of all."""
        for log in sorted(self._folder.glob("*.log")):
            print(f"---- {log}\n{log.read_text(encoding='utf-8', errors='replace')[-_TAIL:]}")

    def __enter__(self) -> Stack:
        try:
            self.start()
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Nothing of it runs any more; after a failure, the last words of all are printed."""
        with contextlib.ExitStack() as endings:
            if kind is not None:
                endings.callback(self._tell)
            endings.callback(self._end_others)
            endings.callback(self.service.kill)
            for name in _NAMES:
                if name in self._programs:
                    endings.callback(self._programs[name].end)
