"""Prefect's server of this data directory: it is started by the first command that needs it, and stays.

    python -m flows.server stop      ends it (`make stop`)
    python -m flows.server status    says whether it runs, and where its pages are
    python -m flows.server ui        runs it here, until Ctrl-C, at the port that is named (`make ui`)

Without PREFECT_API_URL, `python -m flows.sweep FILE` and the other commands use it, and start it where there is none
(`flows._support.local_server`). It ends by itself when nobody has used it for half an hour.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

__all__ = ["main"]

PORT = 4200


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        Exit code: 0 done, 1 it cannot be done now.
    """
    parser = argparse.ArgumentParser(prog="python -m flows.server", description="Prefect's server on this machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    commands.add_parser("stop", help="end it, unless a run uses it").add_argument(
        "--now", action="store_true", help="also where a run uses it; that run fails, and goes on when it is repeated"
    )
    commands.add_parser("status", help="say whether it runs, and where its pages are")
    shown = commands.add_parser("ui", help="run it here until Ctrl-C")
    shown.add_argument("--port", type=int, default=PORT, help=f"port to listen at (default {PORT})")
    options = parser.parse_args(arguments)
    from flows._support import local_server as local

    try:
        match options.command:
            case "stop":
                print(local.stop(now=options.now))
            case "status":
                print(local.status())
            case _:
                return local.run_here(options.port)
    except local.ServerProblem as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
