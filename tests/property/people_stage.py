"""What all examples of people share: their experiments, the processes and the providers."""

from __future__ import annotations

import json
from pathlib import Path

from people_laws import Server
from people_processes import People

PLAIN = """OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; h q[0]; measure q -> c;"""
TURN = """OPENQASM 3.0; include "stdgates.inc"; input float theta;
qubit[1] q; bit[1] c; ry(theta) q[0]; c[0] = measure q[0];"""
PLACES = ("here", "there")


def experiment(name: str, thetas: tuple[float, ...] = (), count: int = 0) -> dict[str, object]:
    """A sweep over these values, or a list of so many circuits."""
    if not thetas:
        circuits = [{"openqasm": PLAIN}] * count
        return {"name": name, "circuits": circuits, "shots": 400, "backend": "people/one", "compiler": "none"}
    axes = [{"name": "theta", "values": list(thetas)}]
    plain = {"name": name, "circuit": {"openqasm": TURN}, "axes": axes, "shots": 700, "backends": ["people/one"]}
    return {**plain, "compile": {"compiler": "none"}}


EXPERIMENTS = {
    "pair": experiment("pair", count=2),
    "single": experiment("single", count=1),
    "sweep": experiment("sweep", (0.1, 0.2)),
    "wide": experiment("wide", (0.2, 0.3, 0.4)),
}


class Stage:
    """What all examples share: processes and providers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.people = People(folder)
        self.servers = [Server(name, self.people.clock.read) for name in PLACES]
        self.n_examples = 0
        for name, values in EXPERIMENTS.items():
            (folder / f"{name}.json").write_text(json.dumps(values))

    def close(self) -> None:
        self.people.close()
        for server in self.servers:
            server.provider.close()
