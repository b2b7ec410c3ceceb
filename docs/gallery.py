"""Run the examples of the gallery and write their pictures.

    python docs/gallery.py            all of them into docs/gallery/
    python docs/gallery.py rabi t1    these

Each runs in a home of its own, through the command that the page names. Seeds are in the files, so that the same
versions draw the same pictures. The notebook needs nbclient and ipykernel; the energy of hydrogen needs Prefect.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
PICTURES = DOCS / "gallery"
SWEEPS = (
    "rabi",
    "ramsey",
    "t1",
    "randomized_benchmarking",
    "qaoa_maxcut",
    "ghz_scaling",
    "own_circuit",
    "noisy_and_ideal",
    "chevron",
)
"""Folders in `examples` with a `sweep.yaml`."""
NOTEBOOK = ROOT / "examples" / "notebook" / "three_qubits.ipynb"
NAMES = (*SWEEPS, "h2", "notebook")


def run_sweep(folder: str, home: Path) -> Path:
    """Run `qjobs run examples/FOLDER/sweep.yaml`; the folder with what it saved.

    Raises:
        RuntimeError: It failed.
    """
    from qjobs.cli.main import main as qjobs
    from qjobs.experiments.sweep import load_sweep

    file = ROOT / "examples" / folder / "sweep.yaml"
    with at_home(home):
        code = qjobs(["run", str(file)])
    if code:
        raise RuntimeError(f"qjobs run {file} ended with {code}")
    return home / "results" / load_sweep(file).name / "latest"


@contextlib.contextmanager
def at_home(home: Path) -> Iterator[None]:
    """Everything that is stored is stored in `home`."""
    before = dict(os.environ)
    os.environ.update({"QJOBS_HOME": str(home), "PREFECT_HOME": str(home / "prefect")})
    for setting in ("QJOBS_LEDGER", "QJOBS_RESULTS"):
        os.environ.pop(setting, None)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def install_own_circuit(folder: Path) -> None:
    """Install the project with a circuit of its own into a folder, from where this process imports it."""
    project = folder / "project"
    shutil.copytree(ROOT / "examples" / "own_circuit", project)
    packages = folder / "packages"
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(packages), str(project)]
    subprocess.run(command, check=True)  # noqa: S603  # our own words
    sys.path.insert(0, str(packages))
    importlib.invalidate_caches()


def run_notebook(home: Path) -> bytes:
    """Run the notebook; the picture that it shows, as PNG."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with at_home(home):
        NotebookClient(notebook, timeout=300, kernel_name="python3").execute(cwd=str(home))
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                return base64.b64decode(output["data"]["image/png"])
    raise RuntimeError(f"{NOTEBOOK} shows no picture")


def run_h2(home: Path) -> Path:
    """Minimise the energy of hydrogen with the flow; the folder with what it saved."""
    with at_home(home):
        command = [sys.executable, "-m", "flows.hybrid", "examples/h2/hybrid.yaml"]
        own = {"QJOBS_SERVER_IDLE_MINUTES": "0", "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180"}
        env = {**os.environ, **own}  # a server of its own, which ends with it
        subprocess.run(command, check=True, cwd=ROOT, env=env)  # noqa: S603  # our own words
    return home / "results" / "h2" / "latest"


def main(names: list[str]) -> None:
    """Write the pictures of these examples, of all if none is named."""
    PICTURES.mkdir(exist_ok=True)
    for name in names or NAMES:
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            picture = PICTURES / f"{name}.png"
            if name == "notebook":
                picture.write_bytes(run_notebook(home))
                continue
            if name == "own_circuit":
                install_own_circuit(home / "own")
            saved = run_h2(home) if name == "h2" else run_sweep(name, home)
            shutil.copy(saved / "picture.png", picture)


if __name__ == "__main__":
    main(sys.argv[1:])
