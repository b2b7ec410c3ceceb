"""Run a sweep, a batch or a hybrid run on a local job service, as Quantinuum Nexus or as the Munich Quantum Portal.

`python -m flows.on_service examples/qaoa_maxcut/sweep.yaml` starts `qjobs serve`, signs in, runs the file on one of
its devices, and ends the service. Service and jobs are kept: a second call goes on where the first one was.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from flows._support.command import FormFile, run_file
from flows.hybrid import hybrid
from flows.run_circuits import run_circuits
from flows.sweep import sweep
from qjobs.cli.declaring import alone, called
from qjobs.cli.options import FlowOptions
from qjobs.errors import InvalidInput
from qjobs.experiments.circuit_list import CircuitList, load_circuit_list
from qjobs.experiments.forms import read_mapping
from qjobs.experiments.hybrid import HybridSpec, expand_hybrid, load_hybrid
from qjobs.experiments.sweep import SweepSpec, load_sweep
from qjobs.operations.hybrid import interrupted_hybrid
from qjobs.paths import data_home
from qjobs.service.running import RunningService

__all__ = ["Interface", "main"]

PORT = 8470
INTERRUPTED = 130
_ENDING_S = 15.0
"""How long the service of a command that was killed may take to end."""


class Interface(StrEnum):
    """Whose interface of the service is used."""

    NEXUS = "nexus"
    MQP = "mqp"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code is that of the flow."""
    program = alone(run_on_service, example="python -m flows.on_service examples/qaoa_maxcut/sweep.yaml --as mqp")
    return called(program, sys.argv[1:] if arguments is None else arguments, prog="python -m flows.on_service")


def run_on_service(
    file: FormFile,
    options: FlowOptions,
    interface: Annotated[
        Interface | None,
        typer.Option(
            "--as",
            metavar="INTERFACE",
            help="nexus (Quantinuum Nexus) or mqp (Munich Quantum Portal); default: nexus, and mqp for a hybrid run",
        ),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", metavar="DEVICE", help="device of the service (default Aer)")
    ] = "Aer",
    port: Annotated[int, typer.Option("--port", metavar="PORT", help=f"port of the service (default {PORT})")] = PORT,
) -> int:
    """Run a sweep, a batch or a hybrid run on a local job service."""
    try:
        form = read_mapping(Path(file))
    except InvalidInput as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    chosen = interface or (Interface.MQP if "hamiltonian" in form else Interface.NEXUS)
    backend = f"{chosen}/{device}"
    try:
        service = _started(data_home() / "service", port)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    try:
        os.environ.update(_access(service, chosen))
        print(f"the service is at {service.url}; running on {backend}")
        words = ["python", "-m", "flows.on_service", file, "--as", chosen, "--device", device, "--port", str(port)]
        code = _run(form, backend, file, options, words)
        if code == INTERRUPTED:
            print("the service has ended too, and goes on with its jobs when it is started again", file=sys.stderr)
        return code
    finally:
        service.stop()


def _started(folder: Path, port: int) -> RunningService:
    """The service; that of a command which was killed may just be ending.

    Raises:
        RuntimeError: It cannot be started.
    """
    service = RunningService(folder, options=("--port", str(port)))
    deadline = time.monotonic() + _ENDING_S
    while True:
        try:
            service.start()
        except RuntimeError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return service


def _access(service: RunningService, interface: Interface) -> Mapping[str, str]:
    """What a process needs in its environment to use the service."""
    match interface:
        case Interface.NEXUS:
            return {**service.environment, "QJOBS_NEXUS_TOKEN": service.sign_in()}
        case Interface.MQP:
            identity, secret = service.first_user
            return {
                "MQP_URL": service.url,
                "REQUESTS_CA_BUNDLE": str(service.certificate.absolute()),
                "QJOBS_MQP_TOKEN": service.portal_token(),
                # With these a submission whose process was killed is looked up.
                "QJOBS_MQP_IDENTITY": identity,
                "QJOBS_MQP_SECRET": secret,
                "QJOBS_MQP_PORTAL_URL": service.url,
            }


def _run(form: Mapping[str, Any], backend: str, file: str, options: FlowOptions, words: Sequence[str]) -> int:
    """The flow that the file is for."""
    if "hamiltonian" in form:
        return run_file(
            hybrid,
            lambda path: _hybrid_on(backend, path),
            file,
            options,
            experiment=True,
            work_out=expand_hybrid,
            interrupted=interrupted_hybrid,
            command=words,
        )
    if "circuits" in form:
        return run_file(
            run_circuits, lambda path: _batch_on(backend, path), file, options, experiment=True, command=words
        )
    return run_file(sweep, lambda path: _sweep_on(backend, path), file, options, experiment=True, command=words)


def _hybrid_on(backend: str, path: str) -> HybridSpec:
    spec = load_hybrid(Path(path))
    return spec.model_copy(update={"backend": backend, "name": f"{spec.name}-on-service"})


def _sweep_on(backend: str, path: str) -> SweepSpec:
    spec = load_sweep(Path(path))
    return spec.model_copy(update={"backends": [backend], "name": f"{spec.name}-on-service"})


def _batch_on(backend: str, path: str) -> CircuitList:
    spec = load_circuit_list(Path(path))
    return spec.model_copy(update={"backend": backend, "name": f"{spec.name}-on-service"})


if __name__ == "__main__":
    sys.exit(main())
