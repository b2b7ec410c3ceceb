"""Laying out a project: the Prefect project on top of the library, for people who installed the library alone."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from qjobs.errors import InvalidInput
from qjobs.experiments.schemas import write_schemas

__all__ = ["lay_out"]

logger = logging.getLogger(__name__)

PARTS = ("blocks", "tasks", "flows", "deployments", "examples")
"""The folders of a project, in a checkout as in a wheel."""
_SHIPPED = Path(__file__).parent / "template"
_CHECKOUT = Path(__file__).parents[1]
_LEFT_OUT = {"__pycache__", "divi"}
_FEW = 5

_PYPROJECT = """\
# Made by qjobs init. `pip install -e .` makes `qjobs sensor`, saved blocks and your own circuits known to qjobs.
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "{name}"
version = "0.1.0"
description = "Quantum experiments with qjobs and Prefect"
requires-python = ">=3.11"
dependencies = ["qjobs[prefect,service]{pin}"]

# Builders that files name: circuit: {{builder: rabi}}. Add your own here, and install again.
[project.entry-points."qjobs.circuits"]
rabi = "own_circuits:rabi"

[project.entry-points."prefect.collections"]
qjobs_blocks = "blocks"

[project.entry-points."qjobs.backends"]
blocks = "blocks.opening:backend_named"

[project.entry-points."qjobs.commands"]
sensor = "flows.sensor:main"

[project.entry-points."qjobs.checks"]
prefect = "flows._support.doctor:prefect_checks"

[tool.hatch.build]
dev-mode-dirs = ["."]

[tool.hatch.build.targets.wheel]
packages = ["blocks", "tasks", "flows"]
only-include = ["blocks", "tasks", "flows", "own_circuits.py"]
"""

_OWN_CIRCUITS = '''\
"""Circuits of your own, which files name as builders. Their arguments can be axes of a sweep."""

from __future__ import annotations

from qiskit import QuantumCircuit
from qiskit.circuit import Parameter


def rabi(pulses: int = 1) -> QuantumCircuit:
    """Pulses of the angle `theta` on one qubit, measured at the end."""
    theta = Parameter("theta")
    circuit = QuantumCircuit(1, name=f"rabi-{pulses}")
    for _ in range(pulses):
        circuit.rx(theta, 0)
    circuit.measure_all()
    return circuit
'''

_RABI = """\
# yaml-language-server: $schema=../schemas/sweep.json
# A Rabi oscillation, with one pulse and with three: own_circuits.py has the circuit.
name: rabi
circuit: {builder: rabi}
axes:
  - {name: pulses, values: [1, 3]}
  - {name: theta, kind: linspace, start: 0, stop: 2*pi, count: 21}
observables: [Z0]
shots: 500
seed: 1
"""

_README = """\
# A project with qjobs

`blocks`, `tasks` and `flows` are the Prefect project, `deployments` says how it is deployed, `examples` are files to
copy, and `own_circuits.py` has circuits of your own.

```sh
pip install -e .
qjobs check examples/rabi/sweep.yaml
qjobs run examples/rabi/sweep.yaml
python -m flows.sweep examples/rabi/sweep.yaml
qjobs doctor
```

With a Prefect server and `PREFECT_API_URL` set, `python -m flows.deploy` puts the deployments there and says how a
worker is started, and `qjobs sensor` asks for the jobs of runs that wait.
"""


def lay_out(folder: Path) -> list[Path]:
    """Lay out a project in a folder, which may exist already.

    Nothing that is there is overwritten: where one of the files is there, none is written.

    Returns:
        The files that were written.

    Raises:
        InvalidInput: Files are there already, or the folder cannot be written.
    """
    contents = dict(_contents(folder.absolute().name))
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder} is a file; name a folder", field="folder")
    there = [name for name in contents if (folder / name).exists()]
    if (folder / "examples/schemas").exists():
        there.append("examples/schemas")
    if there:
        shown = ", ".join(there[:_FEW]) + (f" and {len(there) - _FEW} more" if len(there) > _FEW else "")
        raise InvalidInput(
            f"{folder} has {shown} already, and nothing is overwritten; name an empty folder", field="folder"
        )
    written = []
    try:
        for name, content in contents.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:  # not one that has come meanwhile, either
                file.write(content)
            written.append(path)
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be written: {error.strerror}; name another folder") from error
    written += write_schemas(folder / "examples/schemas")
    logger.info("laid out a project of %d files in %s", len(written), folder)
    return written


def _contents(name: str) -> Iterator[tuple[str, bytes]]:
    """The files of a project by their paths in it."""
    root = _SHIPPED if _SHIPPED.is_dir() else _CHECKOUT
    for part in PARTS:
        if not (root / part).is_dir():
            raise InvalidInput(f"this qjobs has no {part} to lay out; install it again: pip install --force qjobs")
        for path in sorted((root / part).rglob("*")):
            place = path.relative_to(root)
            if (
                path.is_file()
                and not _LEFT_OUT.intersection(place.parts)
                and place.parts[:2] != ("examples", "schemas")
            ):
                yield place.as_posix(), path.read_bytes()
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "project"
    name = plain if plain != "qjobs" else "qjobs-project"
    yield "pyproject.toml", _PYPROJECT.format(name=name, pin=_pin()).encode()
    yield "own_circuits.py", _OWN_CIRCUITS.encode()
    yield "examples/rabi/sweep.yaml", _RABI.encode()
    yield "README.md", _README.encode()
    yield ".gitignore", b".qjobs/\n.venv/\n__pycache__/\n"


def _pin() -> str:
    """The requirement of the version that laid it out."""
    try:
        return f"=={version('qjobs')}"
    except PackageNotFoundError:
        return ""
