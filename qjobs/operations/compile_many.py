"""Compile many different circuits: in this process, in worker processes, or by the workers of a Dask cluster.

What comes out is the same, in the same order. The cache is read and written here alone, circuit by circuit as they
come: entered again after a worker was lost, only what is missing is compiled.
"""

from __future__ import annotations

import logging
import math
import queue
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from qjobs.backends.aer import WorkerEnded, WorkerPool
from qjobs.compiling.compiler import (
    CompileCache,
    CompileOn,
    CompileOptions,
    compile_anew,
    find_compiled,
    keep_compiled,
    versions,
)
from qjobs.errors import BackendUnavailable, InvalidCircuit, InvalidInput
from qjobs.model import Program, ProgramHash, Target
from qjobs.operations.dask_cluster import DaskCluster

__all__ = ["Outcome", "Part", "compile_many", "compile_part"]

logger = logging.getLogger(__name__)

_WORTH_S = 6.0
"""Compilation that must be left for worker processes to pay: each takes about two seconds of a CPU to start."""

_LARGEST_PART = 16
_PARTS_A_WORKER = 8
"""So that no worker is the last one for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Circuits that one worker compiles; it needs neither the ledger nor the cache."""

    programs: tuple[Program, ...]
    target: Target
    options: CompileOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a part: for each circuit the compiled one, or why there is none; and what compiled it."""

    programs: tuple[Program | InvalidCircuit, ...]
    versions: tuple[str, ...]


def compile_part(part: Part) -> Outcome:
    """Compile the circuits of a part; one that cannot be compiled leaves the others alone."""
    done: list[Program | InvalidCircuit] = []
    for program in part.programs:
        try:
            done.append(compile_anew(program, part.target, part.options))
        except InvalidCircuit as error:
            done.append(error)
    return Outcome(programs=tuple(done), versions=versions())


def compile_many(
    programs: Sequence[Program],
    target: Target,
    options: CompileOptions,
    cache: CompileCache,
    *,
    fresh: bool = False,
    on: CompileOn = CompileOn.AUTO,
) -> dict[ProgramHash, Program]:
    """Compile programs for a device, each once; `fresh` compiles even what the cache has.

    Returns:
        The compiled programs in the order of the given ones, by the hash of these.

    Raises:
        InvalidCircuit: One does not fit the device, or the compiler cannot take it; the first of those.
        InvalidInput: There is no Dask, or no address of a cluster, or its workers have other compilers.
        BackendUnavailable: A worker or a cluster was lost; entering it again goes on.
    """
    known: dict[ProgramHash, Program | None] = {}
    for program in programs:
        if program.hash not in known:
            known[program.hash] = find_compiled(program, target, options, cache, fresh=fresh)
    given = {program.hash: program for program in programs}
    missing = [given[key] for key, found in known.items() if found is None]
    for program, compiled in _compiled(missing, target, options, on):
        keep_compiled(program, compiled, target, options, cache)
        known[program.hash] = compiled
    return {key: found for key, found in known.items() if found is not None}


def _compiled(
    programs: Sequence[Program], target: Target, options: CompileOptions, on: CompileOn
) -> Iterator[tuple[Program, Program]]:
    """Each program with what it is compiled to, as they come."""
    n_here = 0
    if on in {CompileOn.AUTO, CompileOn.HERE} or len(programs) == 1:
        started = time.monotonic()
        for program in programs:
            if on is CompileOn.AUTO and _pays(time.monotonic() - started, n_here, len(programs) - n_here):
                break
            yield program, compile_anew(program, target, options)
            n_here += 1
    left = programs[n_here:]
    if not left:
        return
    if on is CompileOn.DASK:
        with DaskCluster.from_environment() as cluster:
            parts = _parts(left, target, options, cluster.count)
            yield from _in_order(parts, cluster.outcomes(compile_part, parts))
        return
    pool = WorkerPool(preload=("qjobs.compiling.toolchains",))
    logger.info("%d circuits for %s are compiled in %d processes", len(left), target.name, pool.count)
    parts = _parts(left, target, options, pool.count)
    try:
        yield from _in_order(parts, _outcomes(pool, parts))
    finally:
        pool.close()


def _pays(taken_s: float, n_done: int, n_left: int) -> bool:
    """Whether worker processes would have the rest sooner, by what the first circuits took."""
    return n_done > 0 and n_left > 1 and taken_s / n_done * n_left > _WORTH_S and WorkerPool().count > 1


def _parts(programs: Sequence[Program], target: Target, options: CompileOptions, n_workers: int) -> list[Part]:
    size = min(_LARGEST_PART, math.ceil(len(programs) / (n_workers * _PARTS_A_WORKER)))
    return [
        Part(programs=tuple(programs[start : start + size]), target=target, options=options)
        for start in range(0, len(programs), size)
    ]


def _in_order(parts: Sequence[Part], outcomes: Iterator[tuple[int, Outcome]]) -> Iterator[tuple[Program, Program]]:
    """The compiled programs as they come.

    Raises:
        InvalidCircuit: One could not be compiled, as soon as all before it have come: the one that this process alone
            would have met first.
    """
    failed: dict[int, InvalidCircuit] = {}
    came: set[int] = set()
    first = 0
    for place, outcome in outcomes:
        _check_versions(outcome)
        for program, compiled in zip(parts[place].programs, outcome.programs, strict=True):
            if isinstance(compiled, Program):
                yield program, compiled
            else:
                failed.setdefault(place, compiled)
        came.add(place)
        while first in came:
            if first in failed:
                raise failed[first]
            first += 1


def _check_versions(outcome: Outcome) -> None:
    if outcome.versions != versions():
        raise InvalidInput(
            f"a worker compiles with {_named(outcome.versions)} and this machine with {_named(versions())}: the "
            "results could differ; install the same there",
            field="compile_on",
        )


def _named(found: Sequence[str]) -> str:
    recipe, qiskit, pytket = found
    return f"qiskit {qiskit}, pytket {pytket} (recipe {recipe} of qjobs)"


def _outcomes(pool: WorkerPool, parts: Sequence[Part]) -> Iterator[tuple[int, Outcome]]:
    """What worker processes make of the parts, with their places, as they come."""
    answers: queue.SimpleQueue[tuple[int, Outcome | None, BaseException | None]] = queue.SimpleQueue()

    def done(place: int, outcome: Outcome | None, error: BaseException | None) -> None:
        answers.put((place, outcome, error))

    for place, part in enumerate(parts):
        pool.call(compile_part, part, partial(done, place))
    for _ in parts:
        place, outcome, error = _next(answers)
        if isinstance(error, WorkerEnded):
            raise BackendUnavailable(
                "a process that compiled circuits has ended (killed, or out of memory); what it had compiled is kept, "
                "and entering it again compiles the rest"
            ) from error
        if outcome is None:
            raise error or RuntimeError("a worker gave back nothing")
        yield place, outcome


def _next(
    answers: queue.SimpleQueue[tuple[int, Outcome | None, BaseException | None]],
) -> tuple[int, Outcome | None, BaseException | None]:
    while True:
        try:
            return answers.get(timeout=1.0)  # Prefect cannot time out a thread that sleeps for longer
        except queue.Empty:
            continue
