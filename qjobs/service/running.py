"""The job service in a process of its own, as a person would run it, for tests.

    with RunningService(tmp_path / "service", users={"ada@localhost.test": "a secret"}) as service:
        client = httpx.Client(base_url=service.url, verify=service.certificate)

It is started by its command and shares nothing with the test but its folder and its port, so it can be
killed at any moment and started again.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

_SERVING = re.compile(r"^Serving (\S+) from ", re.MULTILINE)
_SERVE = (sys.executable, "-m", "qjobs.cli.main", "serve")
_QORO_URL = re.compile(r"^export QORO_API_URL=(\S+)$", re.MULTILINE)
_EXPORT = re.compile(r"^export (NEXUS_\w+|SSL_CERT_FILE)=(.*)$", re.MULTILINE)


class RunningService:
    """`qjobs serve` on a free port of 127.0.0.1, from entering to leaving.

    It ends with the process that started it, also where that is killed.

    Args:
        data: Its folder; made if it is not there, and left as it is afterwards.
        users: Addresses and passwords of people who may sign in.
        options: More options of the command, for example `("--clock-speed", "1000")`.
        environ: The process's environment variables; None for those of the test.
    """

    def __init__(
        self,
        data: Path,
        *,
        users: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
        environ: Mapping[str, str] | None = None,
        start_timeout_s: float = 60.0,
    ) -> None:
        self.data = data
        self.port = 0
        self._qoro_url = ""
        self.environment: dict[str, str] = {}
        """The NEXUS_... variables that the service prints, its certificate, and a token folder of its own."""
        self._users = dict(users or {})
        self._options = list(options)
        self._environ = environ
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers, for example `https://127.0.0.1:41001`; the same after a restart."""
        return f"{self.environment['NEXUS_PROTOCOL']}://{self.environment['NEXUS_DOMAIN']}:{self.port}"

    @property
    def qoro_environment(self) -> dict[str, str]:
        """Where Divi's `QoroService` finds it, as it prints it, and the certificate that its requests trust."""
        variables = {"QORO_API_URL": self._qoro_url}
        if self.certificate.exists():
            variables["REQUESTS_CA_BUNDLE"] = str(self.certificate)
        return variables

    @property
    def certificate(self) -> Path:
        """The certificate to trust."""
        return self.data / "cert.pem"

    @property
    def log(self) -> Path:
        """What it printed, since the first start."""
        return self.data.with_name(f"{self.data.name}.log")

    @property
    def pid(self) -> int:
        """The process's id; 0 if there is none."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: It ended, or did not answer in time; the message holds the end of its log.
        """
        if self._process is not None:
            raise RuntimeError("the service is running already")
        self.data.parent.mkdir(parents=True, exist_ok=True)
        command = [*_SERVE, "--data", str(self.data), "--port", str(self.port), "--until-eof"]
        users = "\n".join(f"{email}:{secret}" for email, secret in self._users.items())
        environ = {**(os.environ if self._environ is None else self._environ), "QJOBS_SERVE_USERS": users}
        with self.log.open("ab") as log:
            begin = log.tell()
            self._process = subprocess.Popen(  # noqa: S603
                [*command, *self._options], stdout=log, stderr=log, stdin=subprocess.PIPE, env=environ
            )
        try:
            self._wait(begin)
        except BaseException:
            self.kill()
            raise

    @property
    def first_user(self) -> tuple[str, str]:
        """Address and password of the user whom the service made at its first start.

        Raises:
            OSError: It made none, because others were given.
        """
        email, password = (self.data / "credentials").read_text(encoding="utf-8").split()
        return email, password

    def sign_in(self, email: str = "", password: str = "") -> str:
        """Sign in, as the first user unless another is named; the refresh token, as a client keeps it after a login.

        Raises:
            RuntimeError: The service refuses the sign-in.
        """
        if not email:
            email, password = self.first_user
        answer = httpx.post(
            f"{self.url}/auth/login", json={"email": email, "password": password}, verify=self._trust, timeout=30.0
        )
        if answer.status_code != 200:
            raise RuntimeError(f"{self.url} refuses to sign {email} in: {answer.text[:200]}")
        return answer.cookies["myqos_oat"]

    def portal_token(self, email: str = "") -> str:
        """A token of a user, the first one unless another is named, for clients of the portal and of Qoro.

        Raises:
            RuntimeError: There is no such user.
        """
        command = [*_SERVE, "--data", str(self.data), "users", "token", email or self.first_user[0]]
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, timeout=60.0, env=self._environ
        )
        if done.returncode != 0:
            raise RuntimeError(f"there is no token: {done.stderr[-2000:]}")
        return done.stdout.strip()

    def stop(self, timeout_s: float = 30.0) -> int:
        """End it as Ctrl-C does, and return its exit code; 0 if it does not run.

        Raises:
            subprocess.TimeoutExpired: It did not end in time, and was killed.
        """
        process = self._process
        self._process = None
        if process is None:
            return 0
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            _close_input(process)

    def kill(self) -> None:
        """End it with SIGKILL, whatever it is doing. Idempotent."""
        process = self._process
        self._process = None
        if process is not None:
            process.kill()
            process.wait()
            _close_input(process)

    def __enter__(self) -> RunningService:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait(self, begin: int) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        assert self._process is not None  # noqa: S101
        while True:
            with self.log.open("rb") as log:
                log.seek(begin)
                printed = log.read().decode(errors="replace")
            if _SERVING.search(printed):
                self.environment = dict(_EXPORT.findall(printed))
                # Otherwise the client writes to the home directory of whoever runs the test.
                self.environment["NEXUS_TOKEN_PATH"] = str(self.data.absolute() / "client")
                self.port = int(self.environment["NEXUS_PORT"])
                self._qoro_url = _QORO_URL.findall(printed)[-1]
                if self._answers():
                    return
            if self._process.poll() is not None:
                raise RuntimeError(f"the service ended with code {self._process.returncode}: {printed[-2000:]}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"the service does not answer: {printed[-2000:]}")
            time.sleep(0.02)

    @property
    def _trust(self) -> bool | ssl.SSLContext:
        return ssl.create_default_context(cafile=self.certificate) if self.certificate.exists() else True

    def _answers(self) -> bool:
        """Whether the port is open: uvicorn listens when the application has started."""
        try:
            socket.create_connection((self.environment["NEXUS_DOMAIN"], self.port), timeout=1.0).close()
        except OSError:
            return False
        return True


def _close_input(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None  # noqa: S101
    process.stdin.close()
