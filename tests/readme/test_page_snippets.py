"""Snippets of the pages that are run by themselves, without a page to follow."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from snippets import PAGES, ROOT, blocks, take, texts

from qjobs.experiments.hybrid import HybridSpec
from qjobs.experiments.sweep import SweepSpec, expand_sweep

sys.path.insert(0, str(ROOT / "tests" / "fault"))
from provider_rows import ROWS

TOML = [
    block for page in PAGES if any(each.language == "toml" for each in blocks(page)) for block in take(page, "toml")
]
HAMILTONIANS = texts("docs/hybrid.md", "yaml")
(LOOP,) = texts("docs/hybrid.md", "python")
(MINIMISE,) = texts("docs/hybrid.md", "bash")
(PORTAL,) = texts("docs/mqp-adapter.md", "python")
(CAREFUL,) = texts("docs/retries.md", "yaml")
(CAPPED,) = texts("docs/retries.md", "sh")
COSTLY, WITH_A_CANARY, ON_THE_DEVICE = texts("docs/before-sending.md", "yaml")
GROUPS = {"qjobs.analyses", "qjobs.async_jobs", "qjobs.backends", "qjobs.circuits", "qjobs.divi_programs"}


@pytest.mark.parametrize("block", TOML, ids=lambda block: f"{Path(block.page).stem}-{block.line}")
def test_entry_points(block: object) -> None:
    """What a page registers is a name under a group that is read."""
    (project,) = tomllib.loads(block.text).values()
    (group, names), *others = project["entry-points"].items()
    assert not others
    assert group in GROUPS
    assert all(":" in target for target in names.values())


def test_divi_entry_point() -> None:
    """The programs of Divi that the page registers are those of the example."""
    (shown,) = [block.text for block in TOML if block.page == "docs/divi.md"]
    assert shown in (ROOT / "examples" / "divi" / "pyproject.toml").read_text()


@pytest.mark.parametrize("text", HAMILTONIANS)
def test_hamiltonians(text: str) -> None:
    """A Hamiltonian of the page can be run."""
    HybridSpec.model_validate({"name": "page", **yaml.safe_load(text)})


def test_minimise() -> None:
    """The command is the recipe of `make hybrid`, which the README's test runs."""
    recipe = (ROOT / "Makefile").read_text().partition("\nhybrid:")[2].partition("\n\n")[0]
    assert MINIMISE.strip().replace(".venv/bin", "$(BIN)") in recipe


def test_loop() -> None:
    """The loop runs elsewhere, and each epoch is recorded."""
    space: dict[str, object] = {"mine": lambda point: sum(x * x for x in point), "recorded": []}
    exec(compile(LOOP, "hybrid.md", "exec"), space)
    assert len(space["recorded"]) == 20


def test_portal_blocks() -> None:
    """The blocks of the page can be made."""
    space: dict[str, object] = {}
    exec(compile(PORTAL, "mqp-adapter.md", "exec"), space)
    assert space["qexa"].resource == "QExa20"


def test_retries() -> None:
    """The file with retries can be used."""
    assert SweepSpec.model_validate(yaml.safe_load(CAREFUL)).retries.max_submissions == 2


def test_before_sending() -> None:
    """The files with a threshold and with a canary can be used."""
    assert SweepSpec.model_validate(yaml.safe_load(COSTLY)).approve_above == "100 HQC"
    plan = expand_sweep(SweepSpec.model_validate(yaml.safe_load(WITH_A_CANARY)))
    assert plan.spec.canary.rule == "outcome"
    assert SweepSpec.model_validate(yaml.safe_load(ON_THE_DEVICE)).on_recalibration == "recompile"


def test_fault_table() -> None:
    """The recorded faults are the rows of today, each with one remote job and no result lost."""
    _, *lines = (ROOT / "docs" / "fault-table.txt").read_text().splitlines()
    found = [(line[:42].strip(), line[43:56].strip()) for line in lines]
    assert sorted(found) == sorted((row.name, kind) for row in ROWS for kind in ("findable", "opaque"))
    assert {tuple(line[57:69].split()) for line in lines} == {("1", "0")}


def test_caps(tmp_path: Path) -> None:
    """The commands set a cap on an empty ledger, and show it."""
    environment = {
        **os.environ,
        "QJOBS_HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    environment.pop("QJOBS_LEDGER", None)
    done = subprocess.run(
        ["bash", "-ec", CAPPED], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "lab\teach month\t500.00\tHQC" in done.stdout
