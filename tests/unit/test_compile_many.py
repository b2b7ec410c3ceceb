"""Many different circuits are compiled to the same in this process, in worker processes and by a Dask cluster."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from qiskit import QuantumCircuit

from qjobs.circuits.programs import program_from_qiskit
from qjobs.compiling.compiler import CompileCache, CompileOn, CompileOptions, Compiler
from qjobs.errors import BackendUnavailable, InvalidCircuit, InvalidInput
from qjobs.model import Program, Target
from qjobs.operations import compile_many as module
from qjobs.operations.compile_many import Part, compile_many, compile_part
from qjobs.operations.dask_cluster import SCHEDULER, DaskCluster

LINE = Target(
    name="line",
    n_qubits=6,
    basis_gates=("cx", "rz", "sx", "x"),
    coupling=tuple((n, n + 1) for n in range(5)),
)


def different(number: int, *, start: int = 0, width: int = 4) -> list[Program]:
    """Circuits that differ in their gates, and must be routed."""
    found = []
    for seed in range(start, start + number):
        rng = random.Random(seed)
        circuit = QuantumCircuit(width, width)
        for _ in range(4 + seed % 5):
            first, second = rng.sample(range(width), 2)
            circuit.h(first)
            circuit.cx(first, second)
            circuit.rz(rng.uniform(0, 6), second)
        circuit.measure(range(width), range(width))
        found.append(program_from_qiskit(circuit))
    return found


def compiled(programs: list[Program], folder: Path, on: CompileOn, **options: object) -> list[str]:
    """Hashes of the contents; two texts of qiskit's of one circuit differ in some bytes."""
    found = compile_many(programs, LINE, CompileOptions(**options), CompileCache(folder), on=on)
    assert list(found) == [program.hash for program in dict.fromkeys(programs)]
    return [program.hash for program in found.values()]


def too_wide() -> Program:
    circuit = QuantumCircuit(7, 1)
    circuit.measure(6, 0)
    return program_from_qiskit(circuit)


def children() -> list[tuple[int, float]]:
    """Worker processes of this process, with the seconds of a CPU that each has used."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid() and b"loky" in (folder / "cmdline").read_bytes():
                found.append((int(folder.name), int(fields[11]) / os.sysconf("SC_CLK_TCK")))
    return found


def kill_a_worker(after: Path, others: set[int]) -> None:
    """Kill a worker process of this process, not one of the others, once some circuits have come back."""
    deadline = time.monotonic() + 60
    while len(list(after.glob("*.bin"))) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    busiest = max((each for each in children() if each[0] not in others), key=lambda each: each[1])
    os.kill(busiest[0], signal.SIGKILL)


@contextlib.contextmanager
def beside(call: Callable[[], None]) -> Iterator[None]:
    """Run something in a thread meanwhile."""
    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.mark.parametrize("compiler", [Compiler.QISKIT, Compiler.TKET])
def test_processes(compiler: Compiler, tmp_path: Path) -> None:
    """Worker processes give the same circuits in the same order, one for each that differs."""
    programs = different(9)
    programs.insert(4, programs[0])
    here = compiled(programs, tmp_path / "here", CompileOn.HERE, compiler=compiler, level=2)
    assert compiled(programs, tmp_path / "there", CompileOn.PROCESSES, compiler=compiler, level=2) == here


def test_cache(tmp_path: Path) -> None:
    """What the cache has is not compiled again, wherever it was compiled; `fresh` compiles it again."""
    programs = different(6)
    first = compiled(programs, tmp_path, CompileOn.PROCESSES)
    cache = CompileCache(tmp_path)
    again = compile_many(programs, LINE, CompileOptions(), cache)
    assert [program.hash for program in again.values()] == first
    assert (cache.stats().entries, cache.stats().hits, cache.stats().misses) == (6, 6, 0)
    again = compile_many(programs, LINE, CompileOptions(), cache, fresh=True)
    assert [program.hash for program in again.values()] == first
    assert (cache.stats().hits, cache.stats().misses) == (6, 0)


@pytest.mark.parametrize("on", [CompileOn.HERE, CompileOn.PROCESSES])
def test_one_fails(on: CompileOn, tmp_path: Path) -> None:
    """The first circuit that cannot be compiled is named, and all before it are kept."""
    programs = different(8)
    narrow = QuantumCircuit(1, 1)
    narrow.h(0)
    unmeasured = program_from_qiskit(narrow)
    with pytest.raises(InvalidCircuit, match="7 qubits and line has 6"):
        compiled([*programs, too_wide(), unmeasured], tmp_path, on)
    assert CompileCache(tmp_path).stats().entries == 8


def test_worker_is_killed(tmp_path: Path) -> None:
    """A killed process is a transient error; entered again it compiles what is missing and nothing else."""
    programs = different(400, width=6)
    others = {process for process, _ in children()}
    with beside(lambda: kill_a_worker(tmp_path, others)), pytest.raises(BackendUnavailable, match="has ended"):
        compiled(programs, tmp_path, CompileOn.PROCESSES, level=3)
    cache = CompileCache(tmp_path)
    before = cache.stats().entries
    assert before < 400
    found = compile_many(programs[:40], LINE, CompileOptions(level=3), cache, on=CompileOn.PROCESSES)
    assert len(found) == 40


def test_auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Few circuits are compiled here; what would take long goes to processes."""
    caplog.set_level("INFO", "qjobs")
    programs = different(6)
    few = compiled(programs, tmp_path / "few", CompileOn.AUTO)
    assert "processes" not in caplog.text
    monkeypatch.setattr(module, "_WORTH_S", 0.0)
    assert compiled(programs, tmp_path / "many", CompileOn.AUTO) == few
    assert ("5 circuits for line are compiled in" in caplog.text) == (module.WorkerPool().count > 1)


def test_other_versions() -> None:
    """A worker with another compiler is refused: its circuits could differ."""
    outcome = compile_part(Part(programs=tuple(different(1)), target=LINE, options=CompileOptions()))
    module._check_versions(outcome)
    other = module.Outcome(programs=outcome.programs, versions=("1", "1.0.0", "2.0.0"))
    with pytest.raises(InvalidInput, match=r"qiskit 1\.0\.0"):
        module._check_versions(other)


def test_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an address, without Dask, or with nobody at the address it says what to do."""
    monkeypatch.delenv(SCHEDULER, raising=False)
    with pytest.raises(InvalidInput, match=SCHEDULER):
        compiled(different(2), tmp_path, CompileOn.DASK)
    monkeypatch.setenv(SCHEDULER, "tcp://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InvalidInput, match=r"pip install 'qjobs\[dask\]'"):
        compiled(different(2), tmp_path, CompileOn.DASK)


class Cluster:
    """A scheduler and two workers with one thread each, in processes of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self.address = ""

    def __enter__(self) -> Cluster:
        file = self._folder / "scheduler.json"
        common = ["--scheduler-file", str(file), "--no-dashboard"]
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", *common)
        worker = ["--nthreads", "1", "--no-nanny", "--local-directory", str(self._folder), *common]
        self.workers = [self._start("worker", *worker) for _ in range(2)]
        deadline = time.monotonic() + 60
        while not file.exists():
            assert time.monotonic() < deadline, "the scheduler does not start"
            time.sleep(0.05)
        while not self.address:
            with contextlib.suppress(ValueError):
                self.address = json.loads(file.read_text())["address"]
        return self

    @property
    def scheduler(self) -> subprocess.Popen[bytes]:
        return self._processes[0]

    def _start(self, what: str, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "distributed.cli.dask_" + what, *options]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with (self._folder / f"{what}.log").open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self._processes.append(process)
        return process

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    pytest.importorskip("distributed")
    with Cluster(tmp_path) as running:
        monkeypatch.setenv(SCHEDULER, running.address)
        yield running


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_dask(cluster: Cluster, tmp_path: Path) -> None:
    """Two workers of a real cluster give the same circuits, name the first that fails, and share nothing but these."""
    programs = different(20)
    here = compiled(programs, tmp_path / "here", CompileOn.HERE, level=2)
    assert compiled(programs, tmp_path / "there", CompileOn.DASK, level=2) == here
    with DaskCluster(cluster.address) as open_one:
        assert open_one.count == 2
    with pytest.raises(InvalidCircuit, match="7 qubits and line has 6"):
        compiled([*programs[:5], too_wide()], tmp_path / "failing", CompileOn.DASK)
    assert CompileCache(tmp_path / "failing").stats().entries == 5


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_dask_is_lost(cluster: Cluster, tmp_path: Path) -> None:
    """A killed worker costs nothing; a killed scheduler is a transient error, and what had come is kept."""
    programs = different(600, width=6)
    folder = tmp_path / "cache"

    def kill(process: subprocess.Popen[bytes], after: int) -> None:
        while len(list(folder.glob("*.bin"))) < after:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)

    with beside(lambda: kill(cluster.workers[0], 10)):
        found = compiled(programs[:200], folder, CompileOn.DASK, level=3)
    assert len(found) == 200
    with beside(lambda: kill(cluster.scheduler, 210)), pytest.raises(BackendUnavailable, match="Dask cluster"):
        compiled(programs, folder, CompileOn.DASK, level=3)
    kept = CompileCache(folder).stats().entries
    assert 210 <= kept < 600
    cache = CompileCache(folder)
    compile_many(programs[: kept // 2], LINE, CompileOptions(level=3), cache, on=CompileOn.HERE)
    assert cache.stats().hits > 0
