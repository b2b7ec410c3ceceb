"""Help, completion, and what is printed to a terminal and to a pipe."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from advice import parse
from support import jobs_in

from qjobs.cli.declaring import built, commands_of
from qjobs.cli.main import COMMANDS, app_of

ROOT = Path(__file__).parents[2]
ALL = commands_of(built(app_of(list(COMMANDS))))
EXAMPLES = {path: str(command.epilog).removeprefix("Example: ") for path, command in ALL.items()}
HARMLESS = ("plan", "jobs list", "jobs show", "jobs results", "watch", "reconcile", "doctor")
ESCAPE = "\x1b["
BOXES = re.compile("[\u2500-\u257f]")
Said = tuple[int, str, str]


def on_terminal(home: Path, *words: str, typed: str = "", **variables: str) -> str:
    """What the command prints on a terminal of 80 columns on which something is typed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 80, 0, 0))
    environment = {**os.environ, "QJOBS_HOME": str(home), "TERM": "xterm", **variables}
    for name in ("COLUMNS", "QJOBS_LEDGER"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "qjobs.cli.main", *words]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=theirs, stderr=theirs, stdin=theirs)
    os.close(theirs)
    os.write(ours, typed.encode())
    found = b""
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:  # the other end is closed
            part = b""
        if not part:
            break
        found += part
    os.close(ours)
    process.wait(timeout=60)
    return found.decode()


def completed(home: Path, line: str) -> list[str]:
    """What bash offers for the last word of a line."""
    words = line.split(" ")
    asked = {"_QJOBS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    environment = {**os.environ, **asked, "QJOBS_HOME": str(home)}
    environment.pop("QJOBS_LEDGER", None)
    command = [sys.executable, "-c", "from qjobs.cli.main import main; main()"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("path", ALL)
def test_examples(path: str) -> None:
    """Every command's help has an example, which the command can read."""
    program, *words = shlex.split(EXAMPLES[path])
    assert program == "qjobs"
    assert len(EXAMPLES[path]) <= 68, "it stays on one line"
    if path != "qjobs":
        assert EXAMPLES[path].startswith(path)
    assert isinstance(parse(words), dict)


@pytest.mark.parametrize("path", HARMLESS)
def test_examples_run(
    ran: dict[str, object], qjobs: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """The examples that change nothing at a provider run as they are printed."""
    words = shlex.split(EXAMPLES[f"qjobs {path}"])[1:]
    here = tmp_path / "here"
    here.mkdir()
    (here / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(here)
    code, _, err = qjobs(*words)
    assert (code, "Traceback" in err) == (0, False)


@pytest.mark.parametrize("path", ALL)
def test_options_say_what_they_are(path: str) -> None:
    """Every option and argument has words of its own."""
    for parameter in ALL[path].params:
        assert parameter.help, (path, parameter.name)


def test_version(qjobs: Callable[..., Said], capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints one line."""
    with pytest.raises(SystemExit) as caught:
        qjobs("--version")
    assert caught.value.code == 0
    assert re.fullmatch(r"qjobs \d+\.\d+\S*\n", capsys.readouterr().out)


def test_completion(ran: dict[str, object], home: Path, tmp_path: Path) -> None:
    """A shell completes commands, options, statuses and ids of jobs; no ledger is made for it."""
    (job_id,) = jobs_in(home)
    assert completed(home, "qjobs jobs re") == ["results", "retry", "rerun"]
    assert completed(home, "qjobs jobs list --status CAN") == ["CANCELLING", "CANCELLED"]
    assert completed(home, f"qjobs jobs show {job_id[:6]}") == [job_id]
    assert completed(tmp_path, "qjobs jobs show job-") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["jobs", "list"], ["jobs", "show", "@1"], ["jobs", "results", "@1"], ["reconcile"]])
def test_pipe(ran: dict[str, object], qjobs: Callable[..., Said], words: list[str]) -> None:
    """In a pipe there are no colours and no boxes, and the cells of a row are between tabs."""
    _, out, _ = qjobs(*words)
    assert ESCAPE not in out
    assert not BOXES.search(out)
    assert all("\t" in line for line in out.splitlines() if ":" not in line and "(" not in line and " " in line)


@pytest.mark.parametrize("words", [["jobs", "list"], ["jobs", "show", "@1"], ["jobs", "--help"]])
def test_terminal(ran: dict[str, object], home: Path, words: list[str]) -> None:
    """On a terminal lines are at most as long as it is wide, and NO_COLOR is honoured."""
    shown = on_terminal(home, *words, NO_COLOR="1")
    assert BOXES.search(shown)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", shown), "a colour"
    for line in shown.splitlines():
        assert len(re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line)) <= 80, line


@pytest.mark.parametrize(("typed", "said"), [("n\n", "nothing was done"), ("y\n", ": COMPLETED")])
def test_asked(ran: dict[str, object], home: Path, typed: str, said: str) -> None:
    """On a terminal a command that changes a job shows which one @1 is, and asks."""
    (job_id,) = jobs_in(home)
    shown = on_terminal(home, "jobs", "cancel", "@1", typed=typed)
    assert f"@1 is {job_id}" in shown
    assert said in shown


def test_empty(ran: dict[str, object], home: Path) -> None:
    """On a terminal an empty list is a sentence that names the ledger."""
    shown = on_terminal(home, "jobs", "list", "--status", "LOST")
    assert shown.startswith(f"no such jobs in sqlite:///{home / 'ledger.db'}.")


def test_broken_pipe(ran: dict[str, object], home: Path) -> None:
    """A reader that has seen enough is no error."""
    line = f"{shlex.quote(sys.executable)} -m qjobs.cli.main jobs list --json | head -c 1; exit ${{PIPESTATUS[0]}}"
    environment: dict[str, Any] = {**os.environ, "QJOBS_HOME": str(home)}
    done = subprocess.run(
        ["bash", "-c", line], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[", "")


def test_plugins_help() -> None:
    """What the list of commands says of a plugin of the project is what its own help says."""
    from flows.approve import approve
    from flows.sensor import _sense

    listed = commands_of(built(app_of()))
    assert listed["qjobs approve"].help == approve.__doc__
    assert listed["qjobs sensor"].help == _sense.__doc__
