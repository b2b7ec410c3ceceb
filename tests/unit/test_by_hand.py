"""The baseline of the benchmark: nothing of ours is in it."""

from __future__ import annotations

import ast
from pathlib import Path

OURS = {"qjobs", "blocks", "tasks", "flows"}
BY_HAND = Path(__file__).parents[1] / "bench" / "by_hand.py"


def test_baseline_is_not_ours() -> None:
    """The module imports no package of this repository, nor a neighbour that could."""
    found = set()
    for node in ast.walk(ast.parse(BY_HAND.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add((node.module or "").partition(".")[0])
    neighbours = {path.stem for folder in (BY_HAND.parent, BY_HAND.parents[1]) for path in folder.glob("*.py")}
    assert {"qiskit_aer", "qulacs", "numpy"} <= found
    assert not found & (OURS | neighbours)
