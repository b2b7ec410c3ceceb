"""The pages in `docs/` say what is so: their names, commands, citations, tables and examples."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType, ModuleType

import pytest
from async_provider import HttpObject
from snippets import texts

from qjobs.backends.aer import AerBackend
from qjobs.backends.base import Backend
from qjobs.cli.main import main as cli
from qjobs.model import Lookup, RemoteRetryStrategy
from qjobs.operations.retry import Standing, decide

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {path.name: path.read_text() for path in sorted(DOCS.glob("*.md"))}
NOTEBOOK = texts("docs/index.md", "python")
ADAPTERS = texts("docs/adapters.md", "python")
PLACEHOLDERS = ("A", "B", "NAME", "TAG", "TEXT", "FILE", "ID", "REMOTE_ID", "RUN", "DIR", "KIND")


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _between(page: str, start: str, end: str) -> str:
    return page.partition(start)[2].partition(end)[0]


def _rows(text: str) -> list[list[str]]:
    rows = []
    for line in text.splitlines():
        if line.startswith("|"):
            rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows


def test_generated_parts(generator: ModuleType) -> None:
    """What the pages take from the code is as the code is: `make docs` writes it."""
    assert generator.main(check=True) == 0, "run: make docs"


def test_map() -> None:
    """Every module of the project is in the map, and nothing else."""
    shown = set()
    for section in _between(PAGES["architecture.md"], "<!-- generated: map -->", "<!-- end -->").split("### ")[1:]:
        package = section.splitlines()[0].strip("`")
        prefix = f"{package}." if "Modules by themselves" not in package else ""
        for name, *_ in _rows(section)[2:]:
            shown.add(prefix + name.strip("`"))
        if not prefix:
            continue
        shown.add(package)
    there = set()
    for top in ("qjobs", "blocks", "tasks", "flows"):
        for path in (ROOT / top).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            there.add(name.removesuffix(".__init__"))
    assert shown == there


@pytest.mark.parametrize("kind", [Lookup(by_key=True), Lookup()])
def test_retry_table(kind: Lookup) -> None:
    """The page shows every answer of the decision table."""
    head, _, *rows = _rows(_between(PAGES["retries.md"], "<!-- generated: retry-table -->", "<!-- end -->"))
    assert head[1:] == [f"`{strategy}`" for strategy in RemoteRetryStrategy]
    shown = {row[0]: row[1:] for row in rows}
    for standing in Standing:
        opaque = standing is Standing.UNKNOWN and kind.is_opaque
        cells = shown[f"**{standing}**{', and the provider is opaque' if opaque else ''}"]
        for strategy, cell in zip(RemoteRetryStrategy, cells, strict=True):
            decision = decide(standing, strategy, kind)
            words = [str(word) for word in (decision.action, decision.otherwise) if word is not None]
            assert cell.split(", else ") == words


def test_names_exist() -> None:
    """Every `module:name` of a page is one of the code, but for those of the time before."""
    found = set()
    for page in PAGES.values():
        found.update(re.findall(r"`([\w.]+:[\w.]+)`", re.sub(r"```.*?```", "", page, flags=re.DOTALL)))
    assert len(found) > 50
    for name in sorted(found):
        assert pkgutil.resolve_name(name) is not None, name


def _commands(first: str) -> list[str]:
    found = set()
    for page in PAGES.values():
        by_hand = re.sub(
            r"<!-- generated: bad-.*?<!-- end -->", "", page, flags=re.DOTALL
        )  # those are wrong on purpose
        found.update(re.findall(rf"`({first} [^`]+)`", by_hand))
    return sorted(found)


def test_make_targets() -> None:
    """Every target of make that a page names is there."""
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    commands = _commands("make")
    assert commands
    assert {command.split()[1] for command in commands} <= set(targets)


@pytest.mark.parametrize("command", [each for each in _commands("qjobs") if each != "qjobs sensor"])
def test_qjobs_commands(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command knows every one that a page names; `qjobs sensor` is one of Prefect's and has tests of its own."""
    words = [word for word in command.split()[1:] if word not in PLACEHOLDERS]
    options = [word for word in words if word.startswith("--")]
    named = words[: words.index(options[0])] if options else words
    with pytest.raises(SystemExit) as ended:
        cli([*named, "--help"])
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"Usage: qjobs {' '.join(named)}" in shown
    assert all(option in shown for option in options)


def test_python_commands() -> None:
    """What a page runs by python is there; the README's test runs the flows."""
    readme = (ROOT / "README.md").read_text()
    for command in _commands("python"):
        words = command.split()
        assert (ROOT / words[1]).exists() or f"-m {words[2]} " in readme, command


def test_citations() -> None:
    """A comment that cites a page names one that is there, by a heading that it has."""
    cited = 0
    for top in ("qjobs", "blocks", "tasks", "flows", "tests"):
        for path in (ROOT / top).rglob("*.py"):
            for page, heading in re.findall(r'docs/(\w+\.md), "([\w ]+)"', path.read_text()):
                assert re.search(rf"^#+ {heading}$", PAGES[page], re.MULTILINE), f"{path}: {page}, {heading}"
                cited += 1
    assert cited > 10


def test_builds(tmp_path: Path) -> None:
    """The site is built without a warning: every internal link resolves."""
    if importlib.util.find_spec("mkdocs") is None:
        if os.environ.get("CI"):
            pytest.fail("run make setup first: mkdocs is not installed")
        pytest.skip("mkdocs is not installed: run make setup")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "architecture.html").exists()
    assert (tmp_path / "data-flow.svg").exists()
    assert not (tmp_path / "generate.py").exists()


def _code(name: str) -> CodeType:
    if name.startswith("qjobs.backends.base:Backend."):
        return getattr(AerBackend, name.rpartition(".")[2]).__code__
    return pkgutil.resolve_name(name).__code__


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("QJOBS_HOME", str(tmp_path))
    monkeypatch.delenv("QJOBS_LEDGER", raising=False)
    monkeypatch.chdir(ROOT)
    return tmp_path


@pytest.mark.slow
def test_notebook_example(home: Path) -> None:
    """The example of the first page runs, and enters the functions of the walk in its order."""
    walk = _between(PAGES["architecture.md"], "### One job, from plan to results", "```text")
    steps = re.findall(r"^\d+\. `([\w.]+:[\w.]+)`", walk, re.MULTILINE)
    names = {_code(step): step for step in steps}
    entered: dict[str, None] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code in names:
            entered.setdefault(names[frame.f_code])

    (example,) = NOTEBOOK
    space: dict[str, object] = {}
    sys.setprofile(note)
    try:
        exec(compile(example, "index.md", "exec"), space)
    finally:
        sys.setprofile(None)
    assert list(entered) == steps
    assert list(space["done"].report.frame["status"].unique()) == ["COMPLETED"]
    assert (home / "ledger.db").exists()


@pytest.mark.slow
def test_adapter_examples(tmp_path: Path) -> None:
    """The wrapped object is a backend, the contract's example passes a test of it, and the fault's makes a fault."""
    _, _, wrapped, contract, fault = ADAPTERS
    cluster = HttpObject("http://127.0.0.1:1")
    space: dict[str, object] = {"cluster": cluster}
    exec(compile(wrapped, "adapters.md", "exec"), space)
    assert isinstance(space["backend"], Backend)
    cluster.http.close()
    exec(compile(fault, "adapters.md", "exec"), space)
    assert space["lost"].times == 1
    (tmp_path / "test_mine.py").write_text(contract)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "describes_itself", str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
