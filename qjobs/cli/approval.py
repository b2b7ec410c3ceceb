"""Asking the person at the terminal whether something may be sent that costs more than what needs no approval."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from qjobs.errors import InvalidInput

if TYPE_CHECKING:  # with it come circuits
    from qjobs.operations.approval import Decision, Question

__all__ = ["ask_here", "check_decision", "person"]

_MOST_TRIES = 5
_TERMINAL = "at the terminal"


def person() -> str:
    """The user of this machine."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        return "an unnamed user"


def ask_here(*, yes: bool = False, stdin: TextIO | None = None) -> Callable[[Question], Decision]:
    """What asks the person at the terminal; with `yes` they have approved beforehand.

    What it returns raises `NotApproved` where there is no terminal.
    """

    def ask(question: Question) -> Decision:
        from qjobs.operations.approval import Decision, Verdict, nobody

        given = stdin or sys.stdin
        if yes:
            return Decision(verdict=Verdict.APPROVE, by=person(), through="by the option --yes")
        if not given.isatty():
            return nobody(question)
        _show(question)
        for _ in range(_MOST_TRIES):
            print("send it? yes, no, or another number of shots: ", end="", file=sys.stderr, flush=True)
            answer = given.readline()
            if not answer:
                break
            word = answer.strip().lower()
            if word in {"y", "yes"}:
                return Decision(verdict=Verdict.APPROVE, by=person(), through=_TERMINAL)
            if word in {"n", "no"}:
                break
            if word.isdecimal() and int(word) > 0:
                return Decision(verdict=Verdict.APPROVE, by=person(), through=_TERMINAL, shots=int(word))
            print(f"{word!r} is neither yes nor no, and no number of shots", file=sys.stderr)
        return Decision(verdict=Verdict.REFUSE, by=person(), through=_TERMINAL)

    return ask


def _show(question: Question) -> None:
    from qjobs.reports.plan_report import device_rows

    print(f"{question.plan.spec.name}: {question.why}", file=sys.stderr)
    _, *rows = device_rows(question.found.devices)
    for name, *cells in rows:
        print(f"  {name}: {'; '.join(cells)}", file=sys.stderr)


def check_decision(*, yes: bool, shots: int | None, refuse: bool) -> None:
    """Refuse options that say nothing, or two things.

    Raises:
        InvalidInput: They do.
    """
    if refuse == (yes or shots is not None):
        raise InvalidInput("choose: --yes, --shots N (which approves it with so many shots), or --refuse", field="yes")
    if shots is not None and shots < 1:
        raise InvalidInput(f"--shots {shots} is none; give 1 or more", field="shots")
