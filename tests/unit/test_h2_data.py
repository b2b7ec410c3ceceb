"""The data of the hydrogen molecule: what the script makes is what lies beside it, and what others have computed."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from qjobs.experiments.hamiltonian import HamiltonianInput, ground_energy

FOLDER = Path(__file__).parents[2] / "examples" / "h2"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_h2", FOLDER / "make_h2.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_h2"] = module
    spec.loader.exec_module(module)
    return module


def test_file(script: ModuleType) -> None:
    """The file has what the script makes."""
    kept = json.loads((FOLDER / "h2.json").read_text())["terms"]
    made = script.terms(script.matrix(0.735 / script.BOHR))
    assert made.keys() == kept.keys()
    assert all(made[pauli] == pytest.approx(kept[pauli], abs=1e-10) for pauli in kept)


def test_szabo_ostlund(script: ModuleType) -> None:
    """At 1.4 Bohr the integrals are those of Szabo and Ostlund, section 3.5.2 and exercise 4.1, in four digits."""
    atomic = script.Atomic(1.4)
    assert atomic.overlap(0, 1) / atomic.overlap(0, 0) == pytest.approx(0.6593, abs=1e-4)
    one, two = script.molecular(1.4)
    assert np.diag(one) == pytest.approx([-1.2528, -0.4756], abs=1e-4)
    found = [two[0, 0, 0, 0], two[0, 0, 1, 1], two[1, 1, 1, 1], two[0, 1, 0, 1]]
    assert found == pytest.approx([0.6746, 0.6636, 0.6975, 0.1813], abs=1e-4)


def test_energy() -> None:
    """Its lowest energy is that of full configuration interaction, -1.137306 Hartree."""
    energy = ground_energy(HamiltonianInput(file=str(FOLDER / "h2.json")).read())
    assert energy == pytest.approx(-1.137306, abs=1e-6)


def test_far_apart(script: ModuleType) -> None:
    """Far apart it is two atoms, whose energy in this basis is -0.466582 Hartree each."""
    lowest = np.linalg.eigvalsh(script.matrix(100.0))[0]
    assert lowest == pytest.approx(2 * -0.466582, abs=1e-5)
