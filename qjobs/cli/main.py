"""The `qjobs` command: plan, run, look at jobs, recover them, check the installation. Needs no Prefect."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from qjobs.cli.parser import BUILT_IN, parser_of
from qjobs.errors import InvalidInput, QJobsError

COMMANDS = "qjobs.commands"
"""Entry-point group of further commands: functions from the words behind the name to an exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        Exit code: 0 done, 1 something failed, 2 the input cannot be used (nothing was submitted).
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if words and words[0] in BUILT_IN:
            return _called(parser_of(()), words)
        from importlib.metadata import entry_points  # a tenth of what `qjobs jobs list` takes

        others = {point.name: point for point in entry_points(group=COMMANDS)}
        if words and words[0] in others:
            return int(others[words[0]].load()(words[1:]))
        return _called(parser_of(others), words)
    except QJobsError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, InvalidInput) else 1
    except KeyboardInterrupt:
        print("interrupted; jobs that were submitted go on, see: qjobs jobs list", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0


def _called(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    """What the function of a command returns; it is imported here."""
    options = parser.parse_args(words)
    module, _, name = options.call.partition(":")
    code: int = getattr(importlib.import_module(module), name)(options)
    return code


if __name__ == "__main__":
    sys.exit(main())
