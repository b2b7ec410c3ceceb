"""What waits for weeks is small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
HEAVY = ("qiskit", "qiskit_aer", "pytket", "numpy", "scipy", "pandas", "pyarrow", "matplotlib")


def test_sensor_imports() -> None:
    """A sensor's process loads no circuit library."""
    words = f"import sys, qjobs.cli.main, flows.sensor, blocks; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
