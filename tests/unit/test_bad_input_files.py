"""What is said about files and commands with a mistake in them: one line of plain words, and nothing is stored."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from bad_input_cases import CASES, COMMANDS, FILES
from support import jobs_in

from qjobs.errors import InvalidInput
from qjobs.experiments.forms import at_its_line

Said = tuple[int, str, str]
PROGRAMMERS_WORDS = re.compile(r"pydantic|input_value|type=|Input should|Value error|Traceback|<class|_error\b")


@pytest.mark.parametrize("name", CASES)
def test_words(qjobs: Callable[..., Said], tmp_path: Path, home: Path, name: str) -> None:
    """A mistake is answered with the file, the line where it has one, what is wrong and what to do."""
    text, words = CASES[name]
    file = tmp_path / "bad.yaml"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    code, out, err = qjobs("check", file)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {file}")
    assert err.rstrip("\n").endswith(words)
    assert err.count("\n") == 1
    assert not PROGRAMMERS_WORDS.search(err)
    assert not (home / "ledger.db").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_commands(
    qjobs: Callable[..., Said],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    """A mistake on the command line is answered with what is wrong and what to do."""
    command, words = COMMANDS[name]
    for file, text in FILES.items():
        (tmp_path / file).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QJOBS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("NEXUS_TOKEN_PATH", str(tmp_path / "none"))
    for variable in ("QJOBS_NEXUS_TOKEN", "QORO_API_KEY", "QJOBS_MQP_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    try:
        code, out, err = qjobs(*shlex.split(command))
    except SystemExit as ended:
        code, out, err = ended.code, "", capsys.readouterr().err
    assert code in {1, 2}
    assert out == ""
    assert err.rstrip("\n").rpartition("error: ")[2] == words.replace("HERE", str(tmp_path))
    assert not PROGRAMMERS_WORDS.search(err)


def test_cases() -> None:
    """The table has the forty kinds that were asked for, most of them with their line."""
    assert len(CASES) >= 40
    lined = [name for name, (_, words) in CASES.items() if "line " in words]
    assert len(lined) >= len(CASES) - 3


@pytest.mark.parametrize("name", ["misspelt parameter", "builder misspelt", "misspelt key", "endless power"])
def test_run_refuses(qjobs: Callable[..., Said], tmp_path: Path, name: str) -> None:
    """`qjobs run` says the same as `qjobs check`, and stores nothing."""
    text, words = CASES[name]
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    code, out, err = qjobs("run", file, "--create", "--ledger", tmp_path / "ledger.db")
    assert (code, out) == (2, "")
    assert err.rstrip("\n").endswith(words)
    assert jobs_in(tmp_path) == []


def test_lines(tmp_path: Path) -> None:
    """An error without a known place stays as it is, and so does one that names the file."""
    file = tmp_path / "s.yaml"
    file.write_text("name: s\nshots: 3\n")
    assert str(at_its_line(InvalidInput("no", field="shots"), file)) == f"{file}, line 2: no"
    for error in (InvalidInput("no"), InvalidInput("no", field="gone"), InvalidInput(f"{file}: no", field="shots")):
        assert at_its_line(error, file) is error
    assert at_its_line(error, tmp_path / "gone.yaml") is error
