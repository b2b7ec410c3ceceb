"""`make worker`: the worker that runs what is started from the UI or on a schedule, in the home of this project.

It is Prefect's process worker. Its runs get the home, and the server that PREFECT_API_URL names; without one they get
the server of this machine, which stays for as long as the worker lives.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from qjobs.paths import data_home

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Become the worker, until it is told to end.

    Returns:
        Exit code 1, where it cannot be started.
    """
    parser = argparse.ArgumentParser(
        prog="python -m flows.worker",
        description="Run what is started from the UI or on a schedule. Further options go to Prefect's worker.",
    )
    parser.add_argument("--pool", help="the work pool (default: that of make deploy)")
    options, others = parser.parse_known_args(arguments)
    from prefect.settings import PREFECT_API_URL

    from flows._support.local_server import ServerProblem, kept_server
    from flows.deploy import POOL

    try:
        url = PREFECT_API_URL.value() or kept_server(lambda line: print(line, file=sys.stderr, flush=True))
    except ServerProblem as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", options.pool or POOL, "--type", "process"]
    environment = {**os.environ, "PREFECT_API_URL": url, "QJOBS_HOME": str(data_home())}
    os.execve(command[0], [*command, *others], environment)  # noqa: S606
    return 1


if __name__ == "__main__":
    sys.exit(main())
