"""The compile stage."""

from __future__ import annotations

from prefect import task

from blocks import backend_named, compile_cache, ledger_named
from qjobs.compiling.compiler import CompileOn, CompileOptions
from qjobs.errors import BackendUnavailable, ProtocolError
from qjobs.model import ProgramHash
from qjobs.operations.compile_jobs import compile_programs
from tasks.logs import task_logger
from tasks.retrying import COMPILES


@task(
    name="compile-circuits",
    description="Compile circuits for a backend's device; a template once for all its points.",
    task_run_name="compile {backend}",
    timeout_seconds=3600,
    **COMPILES,
)
def compile_circuits(
    backend: str,
    hashes: list[ProgramHash],
    options: CompileOptions,
    *,
    ledger: str = "",
    fresh: bool = False,
    on: CompileOn = CompileOn.AUTO,
) -> dict[ProgramHash, ProgramHash]:
    """Compile stored circuits and store what comes out.

    `fresh` compiles anew instead of taking it from the cache (the FULL_RESTART of this stage).

    Returns:
        From a circuit's hash to its compiled circuit's.

    Raises:
        InvalidCircuit: A circuit does not fit the device.
        InvalidInput: There is no Dask cluster to compile on.
        BackendUnavailable, ProtocolError: The device cannot be read, or who compiled was lost; Prefect runs the task
            again.
    """
    device = backend_named(backend)
    cache = compile_cache()
    try:
        compiled = compile_programs(ledger_named(ledger), device, hashes, options, cache, fresh=fresh, on=on)
    except (BackendUnavailable, ProtocolError) as error:
        task_logger().warning("circuits for %s are not all compiled yet: %s", device.device, error)
        raise
    stats = cache.stats()
    words = "compiled %d circuits for %s; cache: %d hits of %d"
    task_logger().info(words, len(compiled), device.device, stats.hits, stats.hits + stats.misses)
    return compiled
