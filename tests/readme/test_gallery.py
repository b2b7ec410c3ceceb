"""The gallery: each example runs through the real command, and what comes out is what is known."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from snippets import take

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "gallery.md").read_text()
take("docs/gallery.md", "bash")
ELSEWHERE = {"bell", "divi", "ising", "schemas"}
"""Folders of examples that other pages show."""
MOST_BYTES = 1_500_000
PARITY = 0.98
KNOWN = {
    "rabi": {"period": 1 / 0.19, "pi_pulse": 0.5 / 0.19},
    "t1": {"t1": 80, "amplitude": 0.96},
    "ramsey": {"frequency": 0.05, "t2": 60, "offset": 0.5},
    "randomized_benchmarking": {"error_per_clifford": 0.01, "offset": 0.5, "amplitude": 0.47},
}
"""By example, parameters of its fit with what was set."""


@pytest.fixture(scope="module")
def gallery() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_gallery", ROOT / "docs" / "gallery.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def results(saved: Path) -> pd.DataFrame:
    """The data frame of a run, whose picture is there, and all of whose points have results."""
    assert (saved / "picture.png").stat().st_size > 5000
    frame = pd.read_parquet(saved / "results.parquet")
    assert (frame["status"] == "COMPLETED").all()
    return frame


def rms(frame: pd.DataFrame, column: str, expected: Any) -> float:
    """How far values are from what is known, in standard errors: the root of the mean square."""
    return float(np.sqrt(np.mean(((frame[column] - expected) / frame[f"{column}_stderr"]) ** 2)))


def test_page(gallery: ModuleType) -> None:
    """Every example is on the page with its command and its picture, which is there; all together are small."""
    folders = {path.name for path in (ROOT / "examples").iterdir() if path.is_dir()}
    assert folders - ELSEWHERE == set(gallery.NAMES)
    shown = re.findall(r"^!\[[^]]+\]\(gallery/(\w+)\.png\)$", PAGE, re.MULTILINE)
    assert sorted(shown) == sorted(gallery.NAMES)
    commands = "\n".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL))
    for folder in gallery.SWEEPS:
        assert f".venv/bin/qjobs run examples/{folder}/sweep.yaml\n" in commands
    assert str(gallery.NOTEBOOK.relative_to(ROOT)) in commands
    pictures = sorted((ROOT / "docs" / "gallery").iterdir())
    assert [path.name for path in pictures] == sorted(f"{name}.png" for name in gallery.NAMES)
    assert sum(path.stat().st_size for path in pictures) < MOST_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("folder", KNOWN)
def test_fits(gallery: ModuleType, tmp_path: Path, folder: str) -> None:
    """A fit finds what was set, within its errors."""
    saved = gallery.run_sweep(folder, tmp_path)
    results(saved)
    (found,) = json.loads((saved / "fits.json").read_text())
    for name, known in KNOWN[folder].items():
        parameter = found["parameters"][name]
        assert abs(parameter["value"] - known) < 4 * parameter["stderr"], name
        assert parameter["stderr"] < 0.06 * known
    assert 0.5 < found["reduced_chi_square"] < 1.7


@pytest.mark.slow
def test_qaoa(gallery: ModuleType, tmp_path: Path) -> None:
    """The landscape of the ideal device has a best point, near the best that depth 1 can reach on this graph."""
    frame = results(gallery.run_sweep("qaoa_maxcut", tmp_path))
    assert len(frame) == 300
    assert frame["cut"].max() == pytest.approx(8.4, abs=0.4)


@pytest.mark.slow
def test_ghz(gallery: ModuleType, tmp_path: Path) -> None:
    """Parity is 1 on the ideal device; on the noisy one each gate and each measured bit multiplies it by 0.98."""
    frame = results(gallery.run_sweep("ghz_scaling", tmp_path))
    ideal = frame["backend"] == "aer"
    assert (frame[ideal]["parity"] == 1).all()
    noisy = frame[~ideal]
    assert rms(noisy, "parity", PARITY ** (2 * noisy["n_qubits"] - 1)) < 1.8


@pytest.mark.slow
def test_noisy_and_ideal(gallery: ModuleType, tmp_path: Path) -> None:
    """Noise flattens the landscape about its mean, three of six edges, by one factor for all points."""
    frame = results(gallery.run_sweep("noisy_and_ideal", tmp_path))
    ideal, noisy = (frame[frame["backend"] == name].sort_values("point") for name in frame["backend"].unique())
    factor = np.polyfit(ideal["cut"] - 3, noisy["cut"] - 3, 1)[0]
    assert 0.5 < factor < 0.85
    assert ideal["cut"].max() > 4.3
    assert noisy["cut"].max() < ideal["cut"].max() - 0.1
    assert np.corrcoef(ideal["cut"], noisy["cut"])[0, 1] > 0.97


@pytest.mark.slow
def test_chevron(gallery: ModuleType, tmp_path: Path) -> None:
    """All 5,000 points follow Rabi's formula, within their errors."""
    frame = results(gallery.run_sweep("chevron", tmp_path))
    assert len(frame) == 5000
    turns = np.hypot(0.5, frame["detuning"])
    expected = (0.5 / turns * np.sin(np.pi * turns * frame["length"])) ** 2
    assert 0.9 < rms(frame, "p1", expected) < 1.1


@pytest.mark.slow
def test_own_circuit(gallery: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The installed project gives the builder its name; its spins move as Schroedinger's equation says."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    gallery.install_own_circuit(tmp_path / "own")
    frame = results(gallery.run_sweep("own_circuit", tmp_path))
    assert rms(frame, "magnetisation", quench(frame["time"].to_numpy(), n_spins=6, field=2.0)) < 1.5


def quench(times: np.ndarray, n_spins: int, field: float) -> np.ndarray:
    """The magnetisation of a chain that was polarised along Z, by diagonalising its Hamiltonian."""
    numbers = np.arange(2**n_spins)
    spins = np.array([1 - 2 * (numbers >> spin & 1) for spin in range(n_spins)])
    hamiltonian = -np.diag((spins[:-1] * spins[1:]).sum(axis=0).astype(float))
    for spin in range(n_spins):
        hamiltonian[numbers, numbers ^ 1 << spin] -= field
    energies, states = np.linalg.eigh(hamiltonian)
    amplitudes = states @ (np.exp(-1j * np.outer(energies, times)) * states[0][:, None])
    return spins.sum(axis=0) @ np.abs(amplitudes) ** 2


@pytest.mark.slow
def test_notebook(gallery: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notebook runs from its first cell to its last, and shows a picture."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT), prepend=":")
    assert gallery.run_notebook(tmp_path).startswith(b"\x89PNG")
