"""The pages of a run's artifacts, in both interfaces of Prefect's, light and dark."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from chromium import installed, opened
from prefect_pages import pictures_in
from processes import ROOT

HEAD = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1];'
HOST = "picture-of-a-stranger.invalid"
HOSTILE = f"<img src=http://{HOST}/a onerror=alert(1)> | ![b](http://{HOST}/c) **d**"
CIRCUITS = [
    {"label": HOSTILE, "openqasm": f"{HEAD} measure q -> c;", "metadata": {"kind": HOSTILE}},
    {"label": "measured", "openqasm": HEAD, "observables": ["Z0 Z1", "X0"]},
]
PAGES = {
    "report": "2 circuits, 600 shots in all.",
    "provenance": "Where it comes from",
    "jobs": "COMPLETED",
    "data": re.compile("results.parquet$"),
    "picture": re.compile("picture.png$"),
    "progress": re.compile("circuits are done"),
}
"""What is seen on the page of each artifact."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A server that has a run of a circuit list, in a home of its own."""
    others = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "QJOBS_"))}
    environment = {
        **others,
        "QJOBS_HOME": str(tmp_path / "home"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
    }
    file = tmp_path / "circuits.json"
    file.write_text(json.dumps({"name": "pages", "shots": 200, "seed": 1, "circuits": CIRCUITS}))

    def call(*words: str) -> str:
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        (url,) = re.findall(r"Prefect UI: (http://[^/]+)/", call("flows.run_circuits", str(file)))
        yield url
    finally:
        call("flows.server", "stop", "--now")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_artifacts_are_read(server: str, tmp_path: Path) -> None:
    """Every artifact of a run shows what it says; what users wrote is shown as text, and leads nowhere."""
    from playwright.sync_api import expect

    program = installed()
    pictures = pictures_in(tmp_path)
    with opened(program, tmp_path) as page:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("dialog", lambda dialog: asked.append(f"http://{HOST}: {dialog.message}"))
        for interface, look in (("", "dark"), ("/v2", "light"), ("/v2", "dark")):
            page.emulate_media(color_scheme=look)
            for what, words in PAGES.items():
                wanted = {"artifacts": {"key": {"any_": [f"pages-{what}"]}}}
                (found,) = httpx.post(f"{server}/api/artifacts/latest/filter", json=wanted, timeout=60.0).json()
                page.goto(f"{server}{interface}/artifacts/artifact/{found['latest_id']}")
                page.get_by_text(words).first.wait_for()
                if what == "report":
                    expect(page.get_by_role("cell", name=HOSTILE, exact=True)).to_have_count(2, timeout=60_000)
                page.screenshot(path=pictures / f"{interface.strip('/') or 'v1'}-{look}-{what}.png", full_page=True)
        assert not [url for url in asked if HOST in url]
