"""Compiling a circuit for a device, here and without cost, with qiskit's or pytket's passes.

A template with free symbols is compiled once and bound afterwards. The same input gives the same
output. Counts never change: measurements follow the routing.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, assert_never

from qiskit import QuantumCircuit
from qiskit.circuit import CONTROL_FLOW_OP_NAMES, ControlFlowOp
from qiskit.exceptions import QiskitError

from qjobs.circuits.openqasm import one_line
from qjobs.circuits.programs import program_from_qiskit, to_pytket, to_qiskit
from qjobs.compiling.cache import CacheStats, CompileCache
from qjobs.compiling.toolchains import device_width, directed_pairs, settled, with_qiskit, with_tket
from qjobs.errors import InvalidCircuit, InvalidInput
from qjobs.model import Program, ProgramFormat, Target

__all__ = [
    "CacheStats",
    "CompileCache",
    "CompileOn",
    "CompileOptions",
    "Compiler",
    "check_fits",
    "compile_anew",
    "compile_program",
    "find_compiled",
    "keep_compiled",
    "versions",
]

logger = logging.getLogger(__name__)

_RECIPE: Final = 3
"""Part of every cache key; raise it when this module compiles or keeps differently."""
_ABOUT: Final = ("hash", "n_qubits", "n_bits", "measured", "parameters")
"""What the cache keeps of a compiled program before its payload, so that it need not be parsed."""
_HIGHEST_LEVEL: Final = 3
_EVERYWHERE: Final = frozenset({"measure", "barrier", "reset", "delay", "global_phase"})
_LEAVES_A_LOOP: Final = frozenset({"break_loop", "continue_loop"})
_SYMMETRIC: Final = frozenset({"cz", "cs", "csdg", "cp", "cu1", "swap", "iswap", "rxx", "ryy", "rzz"})


class Compiler(StrEnum):
    """Whose passes compile."""

    QISKIT = "qiskit"
    TKET = "tket"
    NONE = "none"
    """Nobody's: the circuit must fit the device as it is."""
    REMOTE = "remote"
    """The provider's, by a compile job of its own."""


class CompileOn(StrEnum):
    """Where circuits are compiled; what comes out is the same."""

    AUTO = "auto"
    """In this process, and in worker processes where so much is left that it pays."""
    HERE = "this process"
    PROCESSES = "processes"
    """In worker processes of this machine, one for each CPU."""
    DASK = "dask"
    """By the workers of a Dask cluster, which may be other machines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompileOptions:
    """How to compile.

    `level` is qiskit's optimization level 0 to 3; pytket has three, so that its 3 is its 2, and its
    1 and 2 are alike for templates, whose rotations it must not merge. With
    `keep_qubits` qubit i stays qubit i to the end, as exact expectation values need; a circuit
    without measurements is always compiled so.
    """

    compiler: Compiler = Compiler.QISKIT
    level: int = 1
    keep_qubits: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.level, bool) or self.level not in range(_HIGHEST_LEVEL + 1):
            raise InvalidInput(f"level is {self.level!r}; give 0, 1, 2 or 3", field="level")

    def as_json(self) -> str:
        """As it is kept with a job."""
        return json.dumps({"compiler": self.compiler, "level": self.level, "keep_qubits": self.keep_qubits})

    @classmethod
    def from_json(cls, text: str) -> CompileOptions:
        """The inverse of `as_json`."""
        values = json.loads(text)
        return cls(compiler=Compiler(values["compiler"]), level=values["level"], keep_qubits=values["keep_qubits"])


def compile_program(
    program: Program,
    target: Target,
    options: CompileOptions = CompileOptions(),
    cache: CompileCache | None = None,
    *,
    fresh: bool = False,
) -> Program:
    """Compile a program for a device; free symbols survive.

    With a coupling the result is as wide as the device. `fresh` compiles even what the cache has, and stores it anew.

    Returns:
        A program in QPY; the program itself with `Compiler.NONE`.

    Raises:
        InvalidCircuit: It does not fit the device, or the compiler cannot take it.
    """
    found = find_compiled(program, target, options, cache, fresh=fresh)
    if found is None:
        found = compile_anew(program, target, options)
        if cache is not None:
            keep_compiled(program, found, target, options, cache)
    return found


def find_compiled(
    program: Program, target: Target, options: CompileOptions, cache: CompileCache | None, *, fresh: bool = False
) -> Program | None:
    """What need not be compiled: what the cache has, unless `fresh`, and with `Compiler.NONE` the program itself.

    Raises:
        InvalidCircuit: It does not fit the device.
    """
    if options.compiler is Compiler.REMOTE:
        raise InvalidInput("the provider compiles it, in a compile job; nothing is compiled here", field="compiler")
    if options.compiler is Compiler.NONE:
        check_fits(program, target)
        return program
    if cache is None or fresh:
        return None
    stored = _stored(cache, _cache_key(program, target, options))
    if stored is not None:
        _check_width(program.n_qubits, target)  # all else that a compiler refuses is part of the key
        logger.debug("circuit %s for %s: compiled before", program.hash, target.name)
    return stored


def compile_anew(program: Program, target: Target, options: CompileOptions) -> Program:
    """As `compile_program`, with no look at a cache: for whoever compiles for another process.

    Raises:
        InvalidCircuit: It does not fit the device, or the compiler cannot take it.
    """
    _check_compilable(program, target, options)
    result = settled(_compile(program, target, options, _keeps(program, options)), target)
    compiled = program_from_qiskit(result.copy(name=program.hash[:16]))
    check_fits(compiled, target)
    logger.debug("circuit %s compiled for %s: %s", program.hash, target.name, compiled.hash)
    return compiled


def keep_compiled(
    program: Program, compiled: Program, target: Target, options: CompileOptions, cache: CompileCache
) -> None:
    """Have the cache keep what a program was compiled to."""
    about = {name: getattr(compiled, name) for name in _ABOUT}
    cache.put(_cache_key(program, target, options), json.dumps(about).encode() + b"\n" + compiled.payload)


def _keeps(program: Program, options: CompileOptions) -> bool:
    """Whether qubit i stays qubit i."""
    return options.keep_qubits or not program.measured


def _check_compilable(program: Program, target: Target, options: CompileOptions) -> None:
    circuit = to_qiskit(program)
    _check_width(program.n_qubits, target)
    _check_control_flow(circuit, target)
    if _keeps(program, options) and target.coupling is not None:
        raise InvalidCircuit(
            f"routing on {target.name} moves qubits, and only measurements can follow them; "
            "measure the circuit and ask for counts, or set the compiler to none"
        )


def check_fits(program: Program, target: Target) -> None:
    """Check that a device can run a program as it is.

    Measurements, barriers, resets and delays are taken to exist everywhere; control flow must be
    among the device's gates, under qiskit's name for it (`if_else`). With `basis_gates` None the
    device takes any gate.

    Raises:
        InvalidCircuit: Too many qubits, a gate that the device lacks, or a gate on qubits that are
            not coupled.
    """
    circuit = to_qiskit(program)
    _check_width(program.n_qubits, target)
    _check_control_flow(circuit, target)
    basis = None if target.basis_gates is None else _EVERYWHERE | set(target.basis_gates)
    pairs = None if target.coupling is None else frozenset(directed_pairs(target))
    _check_gates(circuit, list(range(circuit.num_qubits)), target.name, basis, pairs)


def _check_gates(
    circuit: QuantumCircuit,
    qubits: Sequence[int],
    device: str,
    basis: frozenset[str] | None,
    pairs: frozenset[tuple[int, int]] | None,
) -> None:
    names = circuit.count_ops().keys()
    if pairs is None and names.isdisjoint(CONTROL_FLOW_OP_NAMES) and (basis is None or names <= basis):
        return
    for instruction in circuit.data:
        operation = instruction.operation
        on = tuple(qubits[circuit.find_bit(bit).index] for bit in instruction.qubits)
        if isinstance(operation, ControlFlowOp):
            for block in operation.blocks:
                _check_gates(block, on, device, basis, pairs)
            continue
        name = operation.name
        if basis is not None and name not in basis:
            raise InvalidCircuit(f"{device} has no gate {name}; turn compilation on, or use its own gates")
        if pairs is None or len(on) < 2 or name in _EVERYWHERE:
            continue
        if on not in pairs and not (name in _SYMMETRIC and on[::-1] in pairs):
            raise InvalidCircuit(
                f"{device} does not couple qubits {', '.join(map(str, on))}, on which {name} acts; "
                "turn compilation on, or use coupled qubits"
            )


def _check_width(n_qubits: int, target: Target) -> None:
    width = device_width(target)
    if width is not None and n_qubits > width:
        raise InvalidCircuit(f"the circuit has {n_qubits} qubits and {target.name} has {width}; use a larger device")


def _check_control_flow(circuit: QuantumCircuit, target: Target) -> None:
    """No compiler can remove control flow, so it is refused before one is started."""
    if target.basis_gates is None or circuit.count_ops().keys().isdisjoint({*CONTROL_FLOW_OP_NAMES, "store"}):
        return
    for instruction in circuit.data:
        operation = instruction.operation
        if operation.name in _LEAVES_A_LOOP:
            continue
        if isinstance(operation, ControlFlowOp) or operation.name == "store":
            if operation.name not in target.basis_gates:
                raise InvalidCircuit(f"{target.name} has no {operation.name}; remove it from the circuit")
            for block in getattr(operation, "blocks", ()):
                _check_control_flow(block, target)


@functools.cache
def _versions() -> tuple[str, str]:
    return importlib.metadata.version("qiskit"), importlib.metadata.version("pytket")


def versions() -> tuple[str, ...]:
    """What decides how a circuit is compiled: two machines on which it is equal compile alike."""
    return str(_RECIPE), *_versions()


def _cache_key(program: Program, target: Target, options: CompileOptions) -> str:
    content = [
        _RECIPE,
        _versions(),
        program.hash,
        device_width(target) if target.coupling is not None else None,
        None if target.basis_gates is None else sorted(set(target.basis_gates)),
        None if target.coupling is None else sorted(set(target.coupling)),
        options.compiler,
        options.level,
        _keeps(program, options),
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _stored(cache: CompileCache, key: str) -> Program | None:
    kept = cache.get(key)
    if kept is None:
        return None
    head, _, payload = kept.partition(b"\n")
    try:
        about = json.loads(head)
        about["parameters"] = tuple(about["parameters"])
        return Program(format=ProgramFormat.QPY, payload=payload, **about)
    except (ValueError, TypeError, LookupError):
        cache.discard(key)
        return None


def _compile(program: Program, target: Target, options: CompileOptions, keep: bool) -> QuantumCircuit:
    try:
        match options.compiler:
            case Compiler.QISKIT:
                return with_qiskit(to_qiskit(program), target, options.level, keep)
            case Compiler.TKET:
                return with_tket(to_pytket(program), target, options.level, keep)
            case Compiler.NONE | Compiler.REMOTE:
                return to_qiskit(program)
            case _:
                assert_never(options.compiler)
    except InvalidCircuit:
        raise
    except (QiskitError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise InvalidCircuit(
            f"{options.compiler} cannot compile the circuit for {target.name}: {one_line(error)}; "
            "use another compiler or level, or other gates"
        ) from error
