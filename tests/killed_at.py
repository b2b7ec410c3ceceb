"""A command that kills its own process, with signal 9, at one point of its way.

    python killed_at.py MODULE:NAME before|after COMMAND_MODULE ARGUMENTS...

NAME is a function, or a method of a class, of MODULE: it is never reached, or never comes back.
"""

from __future__ import annotations

import functools
import importlib
import os
import runpy
import signal
import sys
from collections.abc import Callable


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def deadly(function: Callable[..., object], when: str) -> Callable[..., object]:
    @functools.wraps(function)
    def call(*arguments: object, **options: object) -> object:
        if when == "before":
            die()
        answer = function(*arguments, **options)
        die()
        return answer

    return call


def main() -> None:
    place, when, command, *arguments = sys.argv[1:]
    module, _, name = place.partition(":")
    owner: object = importlib.import_module(module)
    *classes, last = name.split(".")
    for each in classes:
        owner = getattr(owner, each)
    setattr(owner, last, deadly(getattr(owner, last), when))
    sys.argv = [command, *arguments]
    runpy.run_module(command, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
