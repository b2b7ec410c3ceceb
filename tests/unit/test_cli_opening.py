"""How a command opens the backend of a job: by the name in the ledger, with what is installed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import own_backends
import pytest
from scripted import OPAQUE, Fault, ScriptedBackend
from support import unsettled

import qjobs as library
from qjobs.backends.aer import AerBackend
from qjobs.backends.base import Backend, RemoteJob
from qjobs.circuits.programs import read_circuit
from qjobs.cli.opening import opened
from qjobs.compiling.cache import CompileCache
from qjobs.compiling.compiler import CompileOptions, Compiler
from qjobs.errors import InvalidInput, SubmissionUnknown
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemSpec, JobId, RemoteId, RemoteRetryStrategy
from qjobs.operations.compile_jobs import compile_programs

BELL = """OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;"""
Said = tuple[int, str, str]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{home / 'ledger.db'}") as ledger:
        yield ledger


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Backend]]:
    """Backends that an installed package of one's own opens."""
    monkeypatch.syspath_prepend(str(own_backends.install(tmp_path / "site")))
    yield own_backends.OPENED
    own_backends.OPENED.clear()


def planned(store: Ledger, backend: Backend, name: str, key: str = "run", **values: object) -> JobId:
    bell = read_circuit(BELL)
    items = [ItemSpec(label="bell", program=bell.hash, shots=10)]
    (job_id,) = library.plan(store, backend, items, {bell.hash: bell}, run=key, name="bell", opened_as=name, **values)
    return job_id


def lost(store: Ledger, backend: ScriptedBackend, name: str) -> JobId:
    """An UNKNOWN job which the provider has."""
    job_id = planned(store, backend, name, key=name)
    backend.faults.append(Fault(SubmissionUnknown("reset"), "after"))
    with pytest.raises(Exception, match="was lost"):
        library.submit(store, backend, job_id)
    assert store.job(job_id).status is JobStatus.UNKNOWN
    return job_id


def test_all_backends(qjobs: Callable[..., Said], store: Ledger, own: dict[str, Backend]) -> None:
    """Without options, reconcile goes over the backends of all open jobs; what cannot be opened is told."""
    for name in ("a", "b"):
        own[f"own/{name}"] = ScriptedBackend(name=name)
        lost(store, own[f"own/{name}"], f"own/{name}")
    key = store.jobs()[0].key
    own["own/b"].remote_jobs = lambda: [RemoteJob(remote_id=RemoteId("remote-1"), key=key)]
    code, out, err = qjobs("orphans", "--json")
    assert (code, [one["remote_id"] for one in json.loads(out)]) == (1, ["remote-1"])
    assert err.startswith("own/a: a cannot list jobs by our keys")
    unsettled(store, JobStatus.UNKNOWN, backend="gone")
    code, out, err = qjobs("reconcile", "--json")
    assert (code, [one["finding"] for one in json.loads(out)]) == (1, ["adopted", "adopted"])
    (line,) = err.splitlines()
    assert line.startswith("gone: there is no backend 'gone'")
    assert qjobs("orphans", "--json")[1] == "[]\n"
    assert len(own["own/a"].jobs) == len(own["own/b"].jobs) == 1


def test_other_device(qjobs: Callable[..., Said], store: Ledger, own: dict[str, Backend]) -> None:
    """A name that opens another backend than the job's is refused, and the job stays as it is."""
    own["own/a"] = ScriptedBackend(name="a")
    job_id = lost(store, own["own/a"], "own/a")
    own["own/a"] = ScriptedBackend(name="another")
    before = store.events(job_id)
    code, _, err = qjobs("jobs", "retry", job_id, "--strategy", "ALLOW_RESUBMIT")
    assert (code, "own/a is another (device) now" in err) == (1, True)
    assert store.events(job_id) == before


@pytest.mark.parametrize("name", ["own/nobody", "x"])
def test_unknown_name(qjobs: Callable[..., Said], store: Ledger, own: dict[str, Backend], name: str) -> None:
    """A name that nothing opens is refused in one line; a cancellation is recorded all the same."""
    backend = ScriptedBackend(name="a")
    job_id = planned(store, backend, name)
    library.submit(store, backend, job_id)
    code, out, err = qjobs("jobs", "cancel", job_id)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert name in err
    assert store.job(job_id).cancel_requested_at is not None


def test_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing that opens blocks can be loaded, the message says what to install."""
    monkeypatch.syspath_prepend(str(own_backends.install(tmp_path / "site", "no_such_module:named")))
    with pytest.raises(InvalidInput, match=r"no_such_module.*pip install -e .*PREFECT_API_URL"), opened("own/x"):
        pass


def test_nexus_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device of Nexus is filed as the blocks file it, without Prefect."""
    blocks = pytest.importorskip("blocks")
    for domain in ("", "127.0.0.1"):
        monkeypatch.setenv("NEXUS_DOMAIN", domain)
        ours = blocks.nexus.nexus_from_environment("H1-1E").get_backend()
        with opened("nexus/H1-1E") as backend:
            found = (backend.name, backend.device, backend.fingerprint)
        assert found == (ours.name, ours.device, ours.fingerprint)
        ours.close()


def test_recompiled(qjobs: Callable[..., Said], store: Ledger, home: Path) -> None:
    """FULL_RESTART compiles the sources anew as they were compiled, and sends what comes out."""
    with AerBackend() as backend:
        bell = read_circuit(BELL)
        store.add_programs([bell])
        options = CompileOptions(level=0)
        compiled = compile_programs(store, backend, [bell.hash], options, CompileCache(home / "compiled"))
        sent = store.programs(compiled.values())
        items = [ItemSpec(label="bell", program=compiled[bell.hash], source=bell.hash, shots=10)]
        (job_id,) = library.plan(
            store,
            backend,
            items,
            {**sent, bell.hash: bell},
            run="r",
            name="bell",
            opened_as="aer",
            compiled_with=options.as_json(),
        )
    code, out, err = qjobs("jobs", "retry", job_id, "--json")
    assert (code, json.loads(out)["status"]) == (0, "COMPLETED"), err
    (home / "compiled").rename(home / "elsewhere")
    code, out, err = qjobs("jobs", "retry", job_id, "--strategy", "full_restart", "--json")
    assert (code, json.loads(out)["action"], json.loads(out)["status"]) == (0, "restart", "COMPLETED"), err
    assert any((home / "compiled").rglob("*")), "nothing was compiled"
    assert store.job(job_id).epoch == 2
    assert store.items(job_id)[0].program == compiled[bell.hash]


def test_remote_compiler(qjobs: Callable[..., Said], store: Ledger, own: dict[str, Backend]) -> None:
    """What the provider compiled is not restarted by this command, which names the one that can."""
    backend = own["own/a"] = ScriptedBackend(name="a", lookup=OPAQUE)
    compiled_with = CompileOptions(compiler=Compiler.REMOTE).as_json()
    job_id = planned(store, backend, "own/a", compiled_with=compiled_with)
    code, _, err = qjobs("jobs", "retry", job_id, "--strategy", RemoteRetryStrategy.FULL_RESTART)
    assert code == 2
    assert "python -m flows.run_circuits FILE --logical-run run --strategy FULL_RESTART" in err
    assert len(backend.jobs) == 0


def test_caps(qjobs: Callable[..., Said], store: Ledger, own: dict[str, Backend]) -> None:
    """A cap of the command takes the place of the backend's own."""
    backend = own["own/a"] = ScriptedBackend(name="a", price=2.0)
    job_id = planned(store, backend, "own/a")
    code, _, err = qjobs("jobs", "retry", job_id, "--max-cost", "1.5")
    assert (code, "--max-cost 2" in err, len(backend.jobs)) == (1, True, 0)
    assert qjobs("jobs", "retry", job_id, "--max-cost", "2")[0] == 0
    assert len(backend.jobs) == 1
