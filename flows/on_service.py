"""Run a sweep or a batch on a local job service, as it would run on Quantinuum Nexus.

`python -m flows.on_service examples/qaoa_maxcut/sweep.yaml` starts `qjobs serve`, signs in, runs the file on one of
its devices, and ends the service. Service and jobs are kept: a second call goes on where the first one was.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from flows._support.command import run_flow
from flows.run_circuits import run_circuits
from flows.sweep import sweep
from qjobs.errors import InvalidInput
from qjobs.experiments.circuit_list import CircuitList, load_circuit_list
from qjobs.experiments.forms import read_mapping
from qjobs.experiments.sweep import SweepSpec, load_sweep
from qjobs.paths import data_home
from qjobs.service.running import RunningService

__all__ = ["main"]

PORT = 8470


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is that of the flow."""
    parser = argparse.ArgumentParser(description="Run a sweep or a batch on a local job service.")
    parser.add_argument("file", type=Path, help="YAML or JSON file of a sweep or a batch")
    parser.add_argument("--device", default="Aer", help="device of the service (default Aer)")
    parser.add_argument("--port", type=int, default=PORT, help=f"port of the service (default {PORT})")
    options, others = parser.parse_known_args(arguments)  # those of the flow
    try:
        is_batch = "circuits" in read_mapping(options.file)
    except InvalidInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with RunningService(data_home() / "service", options=("--port", str(options.port))) as service:
        os.environ.update(service.environment, QJOBS_NEXUS_TOKEN=service.sign_in())
        backend = f"nexus/{options.device}"
        print(f"the service is at {service.url}; running on {backend}")
        if is_batch:
            return run_flow(
                run_circuits, lambda path: _batch_on(backend, path), [str(options.file), *others], experiment=True
            )
        return run_flow(sweep, lambda path: _sweep_on(backend, path), [str(options.file), *others], experiment=True)


def _sweep_on(backend: str, path: str) -> SweepSpec:
    spec = load_sweep(Path(path))
    return spec.model_copy(update={"backends": [backend], "name": f"{spec.name}-on-service"})


def _batch_on(backend: str, path: str) -> CircuitList:
    spec = load_circuit_list(Path(path))
    return spec.model_copy(update={"backend": backend, "name": f"{spec.name}-on-service"})


if __name__ == "__main__":
    sys.exit(main())
