"""From the prompt to the end of a command, in seconds. Run it with: make bench-prompt

Everything is measured in one run, in a data directory of its own, after a first call of each command: `make sweep`
finds its points and Prefect's server there, and `qjobs run` its points. The rows "anew" simulate all points again.

CPU is that of all processes that took part, Prefect's server included, and tells more than the wall time where others
use the machine: a bound is broken where both are above it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prefect.settings import PREFECT_HOME, temporary_settings

from flows._support import local_server as local

ROOT = Path(__file__).parents[2]
SWEEP = "examples/qaoa_maxcut/sweep.yaml"
BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A command, its bound in seconds (None for what the machine itself takes), and whether it is to run all anew."""

    name: str
    words: Sequence[str]
    bound_s: float | None = None
    is_anew: bool = False


QJOBS = (sys.executable, "-m", "qjobs.cli.main")
ROWS = (
    Row(name="python -c pass", words=(sys.executable, "-c", "pass")),
    Row(name="python -c 'import prefect'", words=(sys.executable, "-c", "import prefect")),
    Row(name="make sweep", words=("make", "sweep", f"BIN={BIN}", "READY="), bound_s=8.0),
    Row(name="make sweep, anew", words=("make", "sweep", f"BIN={BIN}", "READY="), bound_s=8.0, is_anew=True),
    Row(name="qjobs run", words=(*QJOBS, "run", SWEEP), bound_s=4.0),
    Row(name="qjobs run, anew", words=(*QJOBS, "run", SWEEP), bound_s=4.0, is_anew=True),
    Row(name="qjobs jobs list", words=(*QJOBS, "jobs", "list"), bound_s=0.5),
    Row(name="qjobs --help", words=(*QJOBS, "--help"), bound_s=0.5),
)


def main() -> int:
    """Print the table.

    Returns:
        Exit code: 1 if a bound is broken.
    """
    parser = argparse.ArgumentParser(description="Seconds from the prompt to the end of a command.")
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    is_broken = False
    with tempfile.TemporaryDirectory() as folder, temporary_settings({PREFECT_HOME: Path(folder) / "prefect"}):
        home = Path(folder)
        environment = _environment(home)
        try:
            print(f"| command | wall, median of {repeat} | CPU | bound | |\n|---|---|---|---|---|")
            for row in ROWS:
                _timed(row, environment, home)
                times = [_timed(row, environment, home) for _ in range(repeat)]
                wall_s = statistics.median(wall for wall, _ in times)
                cpu_s = statistics.median(cpu for _, cpu in times)
                bound = "" if row.bound_s is None else f"{row.bound_s:g} s"
                verdict = ""
                if row.bound_s is not None:
                    broken = min(wall_s, cpu_s) > row.bound_s
                    is_broken |= broken
                    verdict = "BROKEN" if broken else "ok"
                print(f"| {row.name} | {wall_s:.2f} s | {cpu_s:.2f} s | {bound} | {verdict} |", flush=True)
        finally:
            print(
                f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors; {local.stop(now=True)}"
            )
    return 1 if is_broken else 0


def _environment(home: Path) -> dict[str, str]:
    others = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "QJOBS_", "MAKE"))}
    data = {"QJOBS_HOME": str(home), "PREFECT_HOME": str(home / "prefect"), "PYTHONPATH": str(ROOT)}
    return {**others, **data, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


def _timed(row: Row, environment: dict[str, str], home: Path) -> tuple[float, float]:
    """Seconds of wall time, and of CPU in all processes."""
    if row.is_anew:
        for file in home.glob("ledger.db*"):
            file.unlink()
    before_s = _cpu_s(home)
    start = time.perf_counter()
    done = subprocess.run(row.words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    wall_s = time.perf_counter() - start
    if done.returncode != 0:
        raise SystemExit(f"{row.name} failed: {done.stderr[-2000:]}")
    return wall_s, _cpu_s(home) - before_s


def _cpu_s(home: Path) -> float:
    """CPU time of all ended children and of Prefect's server, in seconds."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    server_s = 0.0
    server = local._read(home / "prefect")
    with contextlib.suppress(OSError):
        if server is not None:
            fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
            server_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return ended.ru_utime + ended.ru_stime + server_s


if __name__ == "__main__":
    sys.exit(main())
