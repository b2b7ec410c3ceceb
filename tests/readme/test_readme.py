"""Every command that the README shows is run here, in this checkout, with data of its own."""

from __future__ import annotations

import os
import re
import signal
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from snippets import texts

ROOT = Path(__file__).parents[2]
READY = ROOT / ".venv" / ".ready"
COMMANDS = "\n".join(texts("README.md", "sh")).split("\n")
COMMANDS = [line.strip() for line in COMMANDS if line.strip()]
ELSEWHERE = {
    "make test": "is the gate's own step (.ci/run)",
    "make test-slow": "runs this very file",
    "make lint": "is the gate's own first step (.ci/run)",
}
SWEEP = ".venv/bin/python -m flows.sweep examples/qaoa_maxcut/sweep.yaml"
SERVERS = {
    "make ui": ("http://127.0.0.1:4200/", "<title>Prefect"),
    "make serve": ("https://127.0.0.1:8470/", "<title>Job service"),
}

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    if not READY.exists():
        if os.environ.get("CI"):
            pytest.fail("run make setup first: the README's commands use .venv")
        pytest.skip("no .venv: run make setup, or make test, which does")
    home = tmp_path_factory.mktemp("readme")
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "QJOBS_", "MAKE"))}
    given = {
        **env,
        "QJOBS_HOME": str(home),
        "QJOBS_BENCH_POINTS": "40",
        "QJOBS_FAULTS_EVERY": "60",
        "PREFECT_HOME": str(home / "prefect"),
    }
    yield given
    subprocess.run(["make", "stop"], cwd=ROOT, env=given, check=True, timeout=60)  # what the commands left


def test_main_commands() -> None:
    """The README begins with the main commands."""
    assert COMMANDS[:2] == ["make sweep", "make test"]
    assert SWEEP in COMMANDS
    assert len(COMMANDS) > 8


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in dict.fromkeys(COMMANDS) if c not in ELSEWHERE and c not in SERVERS])
def test_command(command: str, environment: dict[str, str]) -> None:
    """Every command of the README ends well."""
    done = subprocess.run(
        command, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    if command == "make sweep-service":
        assert "300 of 300 rows have a result" in done.stdout
        assert "best point on nexus/Aer" in done.stdout
    if command == "make hybrid-service":
        assert "40 of 40 rows have a result" in done.stdout
        assert "exact diagonalisation: -1.137306" in done.stdout
    if command == SWEEP:
        check_reuse(done.stdout + done.stderr, environment)
    if command == "make sweep":
        assert "300 of 300 rows have a result" in done.stdout
        assert "best possible: 10" in done.stdout
        assert (Path(environment["QJOBS_HOME"]) / "results/qaoa-maxcut/latest/picture.png").stat().st_size > 5000


def check_reuse(printed: str, environment: dict[str, str]) -> None:
    """`make sweep` a second time, which is this command, reuses its points; the server has stayed."""
    recipe = subprocess.run(
        ["make", "-n", "sweep"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert SWEEP in recipe.stdout.splitlines()
    assert "300 of 300 circuits are there from earlier runs" in printed
    pages = re.findall(r"^Prefect UI: (http://127\.0\.0\.1:\d+)/runs/flow-run/\S+$", printed, re.MULTILINE)
    with urllib.request.urlopen(f"{pages[0]}/api/health", timeout=10) as answer:
        assert answer.read() == b"true"


@pytest.mark.slow
@pytest.mark.parametrize("command", sorted(set(SERVERS) & set(COMMANDS)))
def test_server(command: str, environment: dict[str, str]) -> None:
    """Every server of the README shows its page."""
    url, title = SERVERS[command]
    with subprocess.Popen(
        command, shell=True, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, start_new_session=True
    ) as server:
        try:
            deadline = time.monotonic() + 120
            page = ""
            while time.monotonic() < deadline and server.poll() is None:
                try:
                    with urllib.request.urlopen(url, timeout=2, context=ssl._create_unverified_context()) as answer:
                        page = answer.read().decode()
                    break
                except OSError:
                    time.sleep(0.3)
            assert title in page
        finally:
            os.killpg(server.pid, signal.SIGTERM)
