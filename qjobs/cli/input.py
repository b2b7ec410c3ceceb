"""`qjobs plan`, `qjobs check`, `qjobs schema` and `qjobs init`: what can be said of files before anything is run."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qjobs.cli.options import Shared
from qjobs.cli.run import is_there, names_of, open_backends, print_shown
from qjobs.cli.tables import print_table
from qjobs.ledger import Ledger
from qjobs.paths import data_home

if TYPE_CHECKING:  # with them come circuits
    from qjobs.experiments.circuit_list import CircuitList
    from qjobs.experiments.sweep import SweepSpec


def check(file: Path, shared: Shared) -> int:
    """Check everything about a file and say what would run; nothing is stored, nothing is sent."""
    from qjobs import notebook
    from qjobs.experiments.forms import naming_lines, read_mapping
    from qjobs.experiments.schemas import kind_of

    kind = "circuits" if file.suffix in {".qasm", ".qpy"} else kind_of(read_mapping(file))
    with naming_lines(file):
        match kind:
            case "hybrid":
                shown, rows = _hybrid(file, shared.url)
            case "health-check":
                shown, rows = _health_check(file, shared.url)
            case _:
                shown, rows = _experiment(notebook.load(file), shared.url)
    if shared.as_json:
        print_shown(shown, as_json=True)
        return 0
    head, *lines = rows
    in_table = {words.removesuffix(" to send") for words, *_ in lines}
    twice = in_table if len(shown["devices"]) == 1 else {"cost"}
    if shown["cost"] is None:
        shown["cost"] = "the provider does not say"
    print_shown({name: value for name, value in shown.items() if name not in {"devices", *twice}}, as_json=False)
    print()
    print_table(head, lines)
    return 0


@contextlib.contextmanager
def _ledger_to_read(url: str) -> Iterator[Ledger]:
    """The ledger of a URL; an empty one that is gone afterwards, where there is none yet."""
    if is_there(url):
        with Ledger(url) as ledger:
            yield ledger
        return
    with tempfile.TemporaryDirectory() as folder, Ledger(f"sqlite:///{folder}/ledger.db") as ledger:
        yield ledger


def _experiment(spec: SweepSpec | CircuitList, url: str) -> tuple[dict[str, Any], list[list[str]]]:
    from qjobs import notebook
    from qjobs.compiling.compiler import CompileCache
    from qjobs.operations.check import check as check_plan
    from qjobs.operations.plan import interrupted_run
    from qjobs.reports.plan_report import device_rows, plan_as_json

    planned = notebook.expand(spec)
    cache = CompileCache(data_home() / "compiled")
    with open_backends(names_of(spec)) as backends, _ledger_to_read(url) as ledger:
        gone_on_with = interrupted_run(ledger, planned) or ""
        found = check_plan(planned, backends, cache, ledger, logical_run=gone_on_with)
    return plan_as_json(planned, found), device_rows(found.devices)


def _hybrid(file: Path, url: str) -> tuple[dict[str, Any], list[list[str]]]:
    from qjobs.experiments.hybrid import expand_hybrid, load_hybrid
    from qjobs.operations.check import outlook
    from qjobs.reports.plan_report import outlook_as_json, outlook_rows

    spec = load_hybrid(file)
    planned = expand_hybrid(spec)
    with open_backends([spec.backend]) as backends, _ledger_to_read(url) as ledger:
        device = backends[spec.backend].device
        seen = outlook(ledger, backends[spec.backend])
    shown = {
        "name": spec.name,
        "backend": spec.backend,
        "device": device,
        "qubits": planned.circuit.n_qubits,
        "parameters": len(planned.circuit.parameters),
        "terms": len(planned.hamiltonian.terms),
        "bases": len(planned.templates),
        "epochs at most": spec.epochs,
        "shots a point": spec.shots * len(planned.templates),
        "cost": None,
        "devices": [{"backend": spec.backend, "device": device, **outlook_as_json(seen)}],
    }
    return shown, [["", spec.backend], *outlook_rows([seen])]


def _health_check(file: Path, url: str) -> tuple[dict[str, Any], list[list[str]]]:
    from qjobs.experiments.health_check import health_check_circuits, load_health_check

    spec = load_health_check(file)
    return _experiment(health_check_circuits(spec, spec.seed or 0), url)


def schema(kind: str, out: Path | None) -> int:
    """Print the JSON Schema of a kind of file, or write those of all kinds into a folder."""
    from qjobs.experiments.schemas import schema_of, write_schemas

    if out is None:
        print(json.dumps(schema_of(kind), indent=1))
        return 0
    for path in write_schemas(out):
        print(path)
    print(f"put this line into a file beside the folder: # yaml-language-server: $schema={out.name}/sweep.json")
    return 0


def init(folder: Path) -> int:
    """Lay out a project."""
    from qjobs.project import lay_out

    made = lay_out(folder)
    print(f"{len(made)} files are in {folder}; nothing that was there has been changed. Next:")
    print(f"  cd {folder}")
    print("  pip install -e .")
    print("  qjobs check examples/bell/circuits.yaml")
    print("  python -m flows.run_circuits examples/bell/circuits.yaml")
    return 0
