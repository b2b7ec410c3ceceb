"""The compile stage."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from blocks import backend_named, compile_cache, ledger_named
from qjobs.compiling.compiler import CompileOptions
from qjobs.model import ProgramHash
from qjobs.operations.launch import compile_here
from tasks.logs import task_logger
from tasks.retrying import READ_DELAYS_S, is_transient

__all__ = ["compile_circuits"]


@task(
    name="compile-circuits",
    description="Compile circuits for a backend's device; a template once for all its points.",
    tags=["qjobs"],
    task_run_name="compile {backend}",
    retries=len(READ_DELAYS_S),
    retry_delay_seconds=READ_DELAYS_S,
    retry_jitter_factor=0.2,
    retry_condition_fn=is_transient,
    timeout_seconds=3600,
    persist_result=False,
    cache_policy=NO_CACHE,
    cache_result_in_memory=True,
    log_prints=False,
)
def compile_circuits(
    backend: str, hashes: list[ProgramHash], options: CompileOptions, *, ledger: str = "", fresh: bool = False
) -> dict[ProgramHash, ProgramHash]:
    """Compile stored circuits and store what comes out.

    Args:
        backend: Name of the backend.
        hashes: Circuits in the ledger.
        options: Compiler and level.
        ledger: Name of the ledger block.
        fresh: Compile anew instead of taking it from the cache (the FULL_RESTART of this stage).

    Returns:
        From a circuit's hash to its compiled circuit's.

    Raises:
        InvalidCircuit: A circuit does not fit the device.
    """
    device, cache = backend_named(backend), compile_cache()
    compiled = compile_here(ledger_named(ledger), device, options, cache, fresh=fresh)(hashes)
    stats = cache.stats()
    words = "compiled %d circuits for %s; cache: %d hits of %d"
    task_logger().info(words, len(compiled), device.device, stats.hits, stats.hits + stats.misses)
    return dict(compiled)
