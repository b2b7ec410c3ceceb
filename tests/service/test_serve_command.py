"""`qjobs serve` as a command: its options, its folder, and the commands about users."""

from __future__ import annotations

import io
import re
import ssl
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from serving import EMAIL, PASSWORD, ClientOf, login, me, mode

from qjobs.cli.main import main
from qjobs.service.certificate import ensure_certificate
from qjobs.service.running import RunningService


def ran(monkeypatch: pytest.MonkeyPatch, *words: str, stdin: str = "") -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
    return main(words)


def test_data_in_qjobs_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --data the service and its commands keep everything in QJOBS_HOME."""
    home = tmp_path / "home"
    monkeypatch.setenv("QJOBS_HOME", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "elsewhere"))
    assert ran(monkeypatch, "serve", "users", "add", EMAIL, stdin="a secret\n") == 0
    program = [sys.executable, "-m", "qjobs.cli.main", "serve", "--port", "0"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        serving = next(line for line in lines if line.startswith("Serving "))
        process.terminate()
    assert process.returncode == 0
    assert f" from {home / 'service'} " in serving
    assert {"service.db", "cert.pem", "key.pem", "lock"} <= {path.name for path in (home / "service").iterdir()}
    assert not (home / "service" / "credentials").exists(), "it found the user that was added"
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_users_commands(
    tmp_path: Path, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`qjobs serve users` changes who may sign in while the service runs."""

    def answers(*words: str, stdin: str = "") -> tuple[int, str, str]:
        return ran(monkeypatch, *words, stdin=stdin), *capsys.readouterr()

    with RunningService(tmp_path / "service", users={EMAIL: PASSWORD}, options=("--clock-speed", "1000")) as service:
        where = ("--data", str(service.data))
        added = answers("serve", "users", "add", "Bob@localhost.test", "--group", "lab", *where, stdin="bob's secret\n")
        assert (added[0], added[2]) == (0, "")
        bob = client_of(service)
        assert login(bob, "bob@localhost.test", "bob's secret") == 200
        assert "already" in answers("serve", "users", "add", "bob@localhost.test", *where, stdin="x secret\n")[2]

        team = bob.post("/api/teams/v1beta2", json={"data": {"attributes": {"name": "lab"}}}).json()["data"]["id"]
        assert answers("serve", "users", "join", EMAIL, team, *where)[0] == 0
        ada = client_of(service)
        login(ada)
        assert [each["id"] for each in ada.get("/api/teams/v1beta2").json()["data"]] == [team]

        listed = answers("serve", *where, "users", "list")
        assert re.findall(r"\S+@\S+", listed[1]) == [EMAIL, "bob@localhost.test"]
        assert '"lab"' in answers("serve", "users", "list", "--json", *where)[1]
        assert answers("serve", "users", "remove", "bob@localhost.test", *where)[0] == 0
        assert me(bob) == 401
        assert login(client_of(service), "bob@localhost.test", "bob's secret") == 401
        gone = answers("serve", "users", "remove", "bob@localhost.test", *where)
        assert (gone[0], gone[2]) == (2, "error: there is no user bob@localhost.test\n")

        token = answers("serve", "users", "token", EMAIL, "--days", "2", *where)
        assert (token[0], token[2]) == (0, f"a token of {EMAIL} for 2 days; it is shown once\n")
        (kept,) = token[1].splitlines()
        assert me(client_of(service), {"cookie": f"myqos_oat={kept}"}) == 200
        refused = answers("serve", "users", "token", "nobody@localhost.test", *where)
        assert (refused[0], refused[1:]) == (2, ("", "error: there is no such user\n"))

        made = answers("serve", "users", "add", "bob@localhost.test", *where, stdin="\n")
        password = re.search(r"with the password (\S+)", made[1])
        assert password is not None
        assert login(client_of(service), "bob@localhost.test", password[1]) == 200


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--user", "ada@localhost.test:a secret"), "--users-file FILE or QJOBS_SERVE_USERS"),
        (("--user", "ada@localhost.test"), "nobody is there to type it"),
        (("--users-file", "/nothing/there"), "/nothing/there"),
        (("--devices", "/nothing/there.yaml"), "/nothing/there.yaml"),
        (("--database", "postgres//"), "URL cannot be read"),
        (("--port", "70000"), "70000"),
        (("--clock-speed", "nan"), "clock-speed"),
        (("--clock-speed", "-1"), "clock-speed"),
        (("--host", "no.such.host.invalid"), "no.such.host.invalid"),
        (("--workers", "0"), "workers"),
    ],
)
def test_options_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    """Options that cannot be used are refused in one line."""
    try:
        code: object = main(["serve", "--data", str(tmp_path / "service"), "--port", "0", *words])
    except SystemExit as ended:  # argparse
        code = ended.code
    assert code in {1, 2}
    assert said in capsys.readouterr().err.splitlines()[-1]


def run(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("missing", ["argon2", "uvicorn"])
def test_missing_extra(tmp_path: Path, missing: str) -> None:
    """Without the extra `service`, one line says how to install it."""
    ended = run(
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"from qjobs.cli.main import main; sys.exit(main(['serve', '--data', {str(tmp_path / 'd')!r}, '--port', '0']))"
    )
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert missing in ended.stderr
    assert "pip install 'qjobs[service]'" in ended.stderr


def test_help_without_the_extra() -> None:
    """The command line itself imports nothing of the extra `service`."""
    ended = run(
        "import sys\nfor name in ('fastapi', 'starlette', 'uvicorn', 'argon2', 'cryptography', 'websockets'):\n"
        "    sys.modules[name] = None\nfrom qjobs.cli.main import main\nmain(['serve', '--help'])"
    )
    assert ended.returncode == 0
    assert "--clock-speed" in ended.stdout


def test_certificate_is_kept(tmp_path: Path) -> None:
    """A certificate is kept until it ends soon, does not fit its key, or does not name the host."""
    now = datetime.now(UTC)
    certificate, key = ensure_certificate(tmp_path, "127.0.0.1", now)
    first = certificate.read_bytes()

    def anew(host: str = "127.0.0.1", later: timedelta = timedelta()) -> bool:
        before = certificate.read_bytes()
        ensure_certificate(tmp_path, host, now + later)
        assert mode(key) == 0o600
        return certificate.read_bytes() != before

    assert not anew()
    assert not anew("0.0.0.0", timedelta(days=3000))
    key.chmod(0o644)
    assert not anew()
    assert anew("quantum.example")
    assert not anew("quantum.example")
    assert anew(later=timedelta(days=3645))
    key.write_bytes(b"no key")
    assert anew()
    certificate.write_bytes(first)
    assert anew(), "another key's certificate"
    certificate.unlink()
    ensure_certificate(tmp_path, "127.0.0.1", now)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
