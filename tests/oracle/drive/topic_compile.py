"""Compile jobs for simulators and for H-series devices, with the passes on the way."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import qnexus as qnx
from pytket.circuit import Circuit
from pytket.utils.results import compare_unitaries
from qnexus.client.jobs import WebsocketStrategy
from qnexus.exceptions import ResourceFetchFailed
from qnexus.models.job_status import JobStatusEnum
from session import final, project, refused, same, upload, uploaded

AER = qnx.AerConfig()
H_SERIES = qnx.QuantinuumConfig(device_name="H1-1LE")


def _start(config: Any, level: int, programs: Any = None, **values: Any) -> Any:
    return qnx.start_compile_job(
        programs=programs or [_unmeasured()],
        backend_config=config,
        name=f"compile at level {level}",
        project=project(),
        optimisation_level=level,
        **values,
    )


@functools.cache
def _unmeasured() -> Any:
    return upload(_circuit())


def _circuit() -> Circuit:
    circuit = Circuit(3, name="to compile").H(0).CX(0, 1).T(1).CX(1, 2).Ry(0.3, 2).CX(0, 2).CX(0, 2).SWAP(0, 1)
    return circuit.CCX(0, 1, 2)


def check_references() -> None:
    """A result names its circuit, does what it does, and has no passes that nobody asked for."""
    job = _start(AER, 2)
    same(final(job).status, JobStatusEnum.COMPLETED)
    (result,) = qnx.jobs.results(job)
    unitary = result.get_output().download_circuit().get_unitary()
    same(compare_unitaries(_circuit().get_unitary(), unitary), True)
    same((result.get_input().id, result.project.id, result.job_item_integer_id), (_unmeasured().id, project().id, 1))
    same((result.last_status_detail.status, len(result.get_passes())), (JobStatusEnum.COMPLETED, 0))


def check_passes() -> None:
    """Passes have names, and lead from the original to the compiled circuit."""
    job = _start(H_SERIES, 2, skip_intermediate_circuits=False)
    final(job)
    (found,) = qnx.jobs.results(job)
    passes = list(found.get_passes())
    same((len(passes) > 1, passes[0].get_input().download_circuit() == _circuit()), (True, True))
    same([entry.pass_name for entry in passes if not entry.pass_name], [])
    links = [before.get_output().id == after.get_input().id for before, after in itertools.pairwise(passes)]
    last = passes[-1].get_output().download_circuit() == found.get_output().download_circuit()
    same((all(links), last), (True, True))


def check_several_circuits_keep_their_order() -> None:
    circuits = [uploaded("ghz"), uploaded("bell"), uploaded("skewed")]
    job = _start(AER, 1, programs=circuits)
    qnx.jobs.wait_for(job, strategy=WebsocketStrategy(), timeout=60)
    found = [entry.get_output().download_circuit().n_qubits for entry in qnx.jobs.results(job)]
    same(found, [3, 2, 3])


def check_compiled_runs() -> None:
    """What a compilation gives back runs on the device that it was compiled for."""
    (found,) = qnx.compile(
        programs=uploaded("ghz"), backend_config=H_SERIES, name="for H1-1LE", project=project(), timeout=60
    )
    (result,) = qnx.execute(
        programs=found, n_shots=[50], backend_config=H_SERIES, name="on H1-1LE", project=project(), timeout=60
    )
    same(set(result.get_counts()) <= {(0, 0, 0), (1, 1, 1)}, True)


def check_results_of_an_unfinished_job() -> None:
    job = _start(AER, 2)
    refused(lambda: qnx.jobs.results(job), ResourceFetchFailed)
    same([type(entry).__name__ for entry in qnx.jobs.results(job, allow_incomplete=True)], ["IncompleteJobItemRef"])


def check_job_is_found_again() -> None:
    job = _start(H_SERIES, 1)
    found = qnx.jobs.get(id=job.id)
    config = found.backend_config.model_copy(update={"max_batch_cost": None})  # the service says which it takes
    same((type(found).__name__, config, found.id), ("CompileJobRef", H_SERIES, job.id))
