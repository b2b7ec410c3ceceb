"""Compiling: what fits passes, what does not is named, and the cache never lies or fails."""

import multiprocessing
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from qiskit import QuantumCircuit
from qiskit.circuit import Parameter
from qiskit.quantum_info import Operator
from qiskit_aer import AerSimulator

from qjobs.circuits.programs import bind, read_circuit, to_qiskit
from qjobs.compiling.compiler import CompileCache, CompileOptions, Compiler, check_fits, compile_program
from qjobs.errors import InvalidCircuit, InvalidInput
from qjobs.model import Target

LINE = Target(name="line", basis_gates=("cx", "rz", "sx", "x"), coupling=((0, 1), (1, 2), (2, 3)))
ALL = Target(name="all", basis_gates=("cz", "rz", "sx", "x"))
TKET = CompileOptions(compiler=Compiler.TKET)
NONE = CompileOptions(compiler=Compiler.NONE)


def program(n_qubits: int = 3, name: str = "a"):
    circuit = QuantumCircuit(n_qubits)
    circuit.h(0)
    for qubit in range(1, n_qubits):
        circuit.cx(0, qubit)
    circuit.rx(Parameter(name) / 2, 0)
    circuit.measure_all()
    return read_circuit(circuit)


def plain(*operations):
    circuit = QuantumCircuit(4, 4)
    for name, *args in operations:
        getattr(circuit, name)(*args)
    circuit.measure(0, 0)
    return read_circuit(circuit)


@pytest.mark.parametrize(
    ("circuit", "target", "words"),
    [
        (program(5), LINE, "5 qubits and line has 4"),
        (program(5), Target(name="small", n_qubits=2), "5 qubits and small has 2"),
        (plain(("h", 0)), LINE, "no gate h; turn compilation on"),
        (plain(("cx", 0, 2)), LINE, "does not couple qubits 0, 2"),
        (plain(("cx", 1, 0)), LINE, "does not couple qubits 1, 0"),
        (plain(("ccx", 0, 1, 2)), Target(name="any", coupling=LINE.coupling), "qubits 0, 1, 2, on which ccx"),
    ],
)
def test_what_does_not_fit(circuit, target, words):
    """Without compilation, what the device cannot run is refused by name."""
    with pytest.raises(InvalidCircuit, match=words):
        check_fits(circuit, target)
    with pytest.raises(InvalidCircuit, match=words):
        compile_program(circuit, target, NONE)


def test_what_fits():
    """Without compilation, what the device can run is sent as it is."""
    fitting = plain(("cx", 0, 1), ("rz", 0.1, 2), ("barrier",))
    assert compile_program(fitting, LINE, NONE) is fitting
    both_ways = plain(("cz", 1, 0))
    check_fits(both_ways, Target(name="cz", n_qubits=4, basis_gates=("cz",), coupling=((0, 1),)))


def test_control_flow():
    """Gates in blocks act on the device's qubits; a device without control flow gets none."""
    circuit = QuantumCircuit(4, 1)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.cx(1, 3)
    target = Target(name="dyn", basis_gates=(*LINE.basis_gates, "if_else"), coupling=LINE.coupling)
    with pytest.raises(InvalidCircuit, match="qubits 1, 3"):
        check_fits(read_circuit(circuit), target)
    compiled = compile_program(read_circuit(circuit), target)
    assert "if_else" in to_qiskit(compiled).count_ops()
    for options in (CompileOptions(), NONE):
        with pytest.raises(InvalidCircuit, match="line has no if_else"):
            compile_program(read_circuit(circuit), LINE, options)
    with pytest.raises(InvalidCircuit, match="compile it with qiskit"):
        compile_program(read_circuit(circuit), target, TKET)


@pytest.mark.parametrize("level", [-1, 4, True, 1.5])
def test_levels(level):
    """A level is 0, 1, 2 or 3."""
    with pytest.raises(InvalidInput, match="give 0, 1, 2 or 3"):
        CompileOptions(level=level)


@pytest.mark.parametrize("compiler", [Compiler.QISKIT, Compiler.TKET])
@pytest.mark.parametrize(
    "target", [LINE, ALL, Target(name="any"), Target(name="odd", basis_gates=("iswap", "r", "ms"))]
)
def test_templates(compiler, target):
    """A template keeps its symbols, fits the device, and is the same whenever it is compiled."""
    options = CompileOptions(compiler=compiler, level=2)
    first = compile_program(program(name="t[0]"), target, options)
    assert first.parameters == ("t[0]",)
    assert first.measured
    assert first.hash == compile_program(program(name="t[0]"), target, options).hash
    check_fits(first, target)


@pytest.mark.parametrize("compiler", [Compiler.QISKIT, Compiler.TKET])
@pytest.mark.parametrize("level", range(4))
def test_unmeasured_circuits(compiler, level):
    """A circuit without measurements keeps its qubits, and is not routed."""
    circuit = QuantumCircuit(3, global_phase=0.3)
    circuit.h(0)
    circuit.swap(0, 2)
    circuit.rx(0.4, 1)
    circuit.swap(1, 2)
    circuit.cx(0, 1)
    source = read_circuit(circuit)
    compiled = compile_program(source, ALL, CompileOptions(compiler=compiler, level=level))
    assert np.allclose(Operator(bind(compiled, {})).data, Operator(circuit).data)
    with pytest.raises(InvalidCircuit, match="only measurements can follow"):
        compile_program(source, LINE)


def test_cache(tmp_path):
    """The cache returns what was compiled for the same circuit, target and options only."""
    cache = CompileCache(tmp_path / "cache")
    assert cache.stats().entries == 0
    first = compile_program(program(), ALL, cache=cache)
    assert compile_program(program(), ALL, cache=cache) == first
    assert compile_program(program(), ALL, cache=cache, fresh=True).hash == first.hash
    for other in (CompileOptions(level=3), TKET, CompileOptions(keep_qubits=True)):
        compile_program(program(), ALL, other, cache=cache)
    compile_program(program(), LINE, cache=cache)
    compile_program(program(name="b"), ALL, cache=cache)
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.entries) == (1, 6, 6)


def test_cached_for_wider(tmp_path):
    """What was compiled for a device with the same gates is refused by one that is too narrow, cached or not."""
    cache = CompileCache(tmp_path)
    compile_program(program(), Target(name="wide", n_qubits=5), cache=cache)
    with pytest.raises(InvalidCircuit, match="3 qubits and narrow has 2"):
        compile_program(program(), Target(name="narrow", n_qubits=2), cache=cache)
    assert cache.stats().hits == 1


def test_unused_cache(tmp_path):
    """Nothing is created before the first put."""
    cache = CompileCache(tmp_path / "cache")
    assert cache.get("00") is None
    assert cache.stats().misses == 1
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("damage", [b"", b"short", None])
def test_damaged_entries(tmp_path, damage):
    """A damaged entry is a miss and is removed; one that is no circuit is compiled anew."""
    cache = CompileCache(tmp_path)
    compiled = compile_program(program(), ALL, cache=cache)
    (entry,) = tmp_path.glob("*.bin")
    entry.write_bytes(entry.read_bytes()[:-1] if damage is None else damage)
    assert cache.get(entry.stem) is None
    assert not entry.exists()
    assert compile_program(program(), ALL, cache=cache).hash == compiled.hash
    cache.put(entry.stem, b"not a circuit")
    assert compile_program(program(), ALL, cache=cache).hash == compiled.hash


def test_eviction(tmp_path):
    """The entries used least recently are removed first; what is too large is not stored."""
    cache = CompileCache(tmp_path, max_bytes=400)
    for age, key in enumerate(["aa", "bb", "cc"]):
        cache.put(key, bytes(68))
        os.utime(tmp_path / f"{key}.bin", (1000 + age, 1000 + age))
    assert cache.get("aa") is not None
    cache.put("dd", bytes(100))
    assert {path.stem for path in tmp_path.glob("*.bin")} == {"aa", "cc", "dd"}
    cache.put("ee", bytes(500))
    assert cache.get("ee") is None
    assert cache.stats().size_bytes <= 400


def test_unwritable_folder(tmp_path):
    """A folder that cannot be written stops no compilation."""
    (tmp_path / "file").write_text("in the way")
    cache = CompileCache(tmp_path / "file")
    assert compile_program(program(), ALL, cache=cache).parameters == ("a",)
    assert cache.stats().entries == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk(tmp_path, caplog, monkeypatch):
    """A full disk stops no compilation and is logged."""
    cache = CompileCache(tmp_path)

    def full(path, content):
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(content)

    monkeypatch.setattr(cache, "_write", full)
    assert compile_program(program(), ALL, cache=cache).parameters == ("a",)
    assert "No space left" in caplog.text


def _hammer(folder):
    cache = CompileCache(folder, max_bytes=5_000)
    for turn in range(60):
        key = f"{turn % 7:02x}"
        value = cache.get(key)
        assert value is None or value == key.encode() * 300
        cache.put(key, key.encode() * 300)


def test_sharing_a_folder(tmp_path):
    """Threads and processes that share a folder read whole entries and leave no parts behind."""
    folder = tmp_path / "cache"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_hammer, args=(folder,)) for _ in range(2)]
    workers += [threading.Thread(target=_hammer, args=(folder,)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [getattr(worker, "exitcode", 0) for worker in workers] == [0] * 4
    assert not list(folder.glob("*.tmp"))


def test_lone_qubits() -> None:
    """A qubit that is coupled to no other does not make two compilations differ, and is measured into its bit."""
    circuit = QuantumCircuit(7, 7)
    for qubit in (1, 4, 5):
        circuit.ry(0.3 + qubit, qubit)
    circuit.x(3)
    circuit.h(0)
    circuit.cx(0, 2)
    circuit.cx(2, 6)
    circuit.barrier()
    circuit.measure(range(7), range(7))
    coupling = tuple((n, n + 1) for n in range(11))
    line = Target(name="line", n_qubits=12, basis_gates=("cx", "rz", "sx", "x"), coupling=coupling)
    found = {compile_program(read_circuit(circuit), line).hash for _ in range(10)}
    assert len(found) == 1
    compiled = to_qiskit(compile_program(read_circuit(circuit), line))
    exact = [
        AerSimulator(seed_simulator=1).run(each, shots=20_000).result().get_counts() for each in (circuit, compiled)
    ]
    for bits in set(exact[0]) | set(exact[1]):
        assert abs(exact[0].get(bits, 0) - exact[1].get(bits, 0)) < 600
        assert bits[6 - 3] == "1"
        assert len({bits[6], bits[4], bits[0]}) == 1
