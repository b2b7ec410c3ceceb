"""`qjobs jobs retry, rerun, cancel, adopt, discard`, `reconcile` and `orphans`, against the scripted provider."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import qjobs as library
from qjobs.backends.rest import LostReply, RestBackend
from qjobs.circuits.programs import read_circuit
from qjobs.errors import BackendUnavailable, SubmissionUnknown
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import ItemSpec, JobId
from qjobs.testing.faults import Action, Fault, Route
from qjobs.testing.servers import ScriptedProvider

BELL = """OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;"""
DROPPED = Fault(route=Route.SUBMIT, action=Action.DROP_AFTER)
Said = tuple[int, str, str]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> Iterator[Ledger]:
    with Ledger(f"sqlite:///{home / 'ledger.db'}") as ledger:
        yield ledger


def provider_of(variant: str) -> Iterator[ScriptedProvider]:
    with ScriptedProvider(variant) as provider:
        yield provider


@pytest.fixture
def findable() -> Iterator[ScriptedProvider]:
    yield from provider_of("findable")


def plan(store: Ledger, provider: ScriptedProvider, run: str = "run") -> tuple[RestBackend, JobId]:
    backend = RestBackend(provider.url, lost_reply=LostReply(provider.store.variant))
    bell = read_circuit(BELL)
    items = [ItemSpec(label=f"bell-{n}", program=bell.hash, shots=10) for n in range(2)]
    (job_id,) = library.plan(store, backend, items, {bell.hash: bell}, run=run, name="bells")
    return backend, job_id


def lost(store: Ledger, provider: ScriptedProvider, run: str = "run") -> JobId:
    """A job that the provider has and whose reply was dropped."""
    provider.inject(DROPPED)
    backend, job_id = plan(store, provider, run)
    with pytest.raises((BackendUnavailable, SubmissionUnknown)):
        library.submit(store, backend, job_id)
    backend.close()
    assert store.job(job_id).status is JobStatus.UNKNOWN
    return job_id


def where(provider: ScriptedProvider) -> list[str]:
    return ["--url", provider.url, "--lost-reply", provider.store.variant]


def test_reconcile(qjobs: Callable[..., Said], store: Ledger, findable: ScriptedProvider) -> None:
    """Reconcile adopts what it finds, once."""
    job_id = lost(store, findable)
    code, out, err = qjobs("reconcile", *where(findable), "--json")
    assert (code, err) == (0, "")
    (one,) = json.loads(out)
    assert (one["job_id"], one["finding"]) == (job_id, "adopted")
    assert findable.created == 1
    assert store.attempts(job_id)[-1].remote_id is not None
    assert qjobs("reconcile", *where(findable), "--json") == (0, "[]\n", "")


@pytest.fixture
def opaque() -> Iterator[ScriptedProvider]:
    yield from provider_of("opaque")


def test_adopt(qjobs: Callable[..., Said], store: Ledger, opaque: ScriptedProvider) -> None:
    """A job of an opaque provider is adopted by a person, by the right id only."""
    job_id = lost(store, opaque)
    code, out, _ = qjobs("reconcile", *where(opaque), "--json")
    assert code == 1
    assert f"qjobs jobs adopt {job_id} ITS_ID; if it is not: qjobs jobs discard {job_id}" in json.loads(out)[0]["words"]
    code, _, err = qjobs("jobs", "adopt", job_id, "nothing-like-it", *where(opaque))
    assert code == 2
    assert "does not know it" in err
    (remote_id,) = opaque.store.jobs
    code, out, err = qjobs("jobs", "adopt", job_id, remote_id, *where(opaque), "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["status"] != "UNKNOWN"
    assert opaque.created == 1


def test_not_found(qjobs: Callable[..., Said], store: Ledger) -> None:
    """The command that reconcile prints for a job that was not found works as printed."""
    with ScriptedProvider("deduplicated") as provider:
        provider.inject(Fault(route=Route.SUBMIT, action=Action.DROP_BEFORE))
        backend, job_id = plan(store, provider)
        with pytest.raises(BackendUnavailable):
            library.submit(store, backend, job_id)
        backend.close()
        words = json.loads(qjobs("reconcile", *where(provider), "--json")[1])[0]["words"]
        command = words.partition("with: qjobs ")[2].partition(";")[0].split()
        code, out, err = qjobs(*command, *where(provider), "--json")
        assert (code, err, json.loads(out)["action"], provider.created) == (0, "", "submit", 1)


def test_discard(qjobs: Callable[..., Said], store: Ledger, opaque: ScriptedProvider) -> None:
    """A discarded job can be sent again."""
    job_id = lost(store, opaque)
    code, out, _ = qjobs("jobs", "discard", job_id, "--json")
    assert (code, json.loads(out)["status"]) == (0, "CREATED")
    code, _, err = qjobs("jobs", "discard", job_id)
    assert code == 2
    assert "only an UNKNOWN or LOST job" in err
    code, out, _ = qjobs("jobs", "retry", job_id, "--status", "created", *where(opaque), "--json")
    assert (code, json.loads(out)["action"]) == (0, "submit")
    assert opaque.created == 2, "the person was wrong, and said so in words"


def test_orphans(qjobs: Callable[..., Said], store: Ledger, findable: ScriptedProvider) -> None:
    """Orphans are listed until they are adopted."""
    job_id = lost(store, findable)
    (remote_id,) = findable.store.jobs
    code, out, _ = qjobs("orphans", *where(findable), "--json")
    assert code == 0
    assert json.loads(out) == [{"remote_id": remote_id, "key": store.job(job_id).key, "n_items": 2}]
    qjobs("reconcile", *where(findable))
    assert qjobs("orphans", *where(findable), "--json") == (0, "[]\n", "")


def sent(store: Ledger, provider: ScriptedProvider) -> JobId:
    backend, job_id = plan(store, provider)
    library.submit(store, backend, job_id)
    backend.close()
    return job_id


def test_retry(qjobs: Callable[..., Said], store: Ledger, findable: ScriptedProvider) -> None:
    """Items in ERROR are sent again by FORCE_RESUBMIT, and only these."""
    findable.store.broken = {1: "laser off"}
    job_id = sent(store, findable)
    code, out, _ = qjobs("jobs", "retry", job_id, *where(findable), "--json")
    assert (code, json.loads(out)["action"]) == (0, "sync"), "nothing is in ERROR before it is polled"
    backend = RestBackend(findable.url, lost_reply=LostReply.FINDABLE)
    library.wait(store, {"rest": backend}, [job_id], timeout_s=20)
    backend.close()
    assert store.job(job_id).status is JobStatus.ERROR
    findable.store.broken = {}
    code, out, _ = qjobs("jobs", "retry", job_id, "--strategy", "force_resubmit", *where(findable), "--json")
    assert (code, json.loads(out)["action"]) == (0, "submit")
    assert store.attempts(job_id)[-1].items == (1,)
    assert findable.created == 2


def test_retry_of_what_was_revived_there(qjobs: Callable[..., Said], store: Ledger, findable: ScriptedProvider) -> None:
    """A retry asks for a job though none of its items is in ERROR: somebody may have pressed Retry there."""
    findable.store.queue_s = 60.0
    job_id = sent(store, findable)
    assert qjobs("jobs", "cancel", job_id, *where(findable))[0] == 0
    assert store.job(job_id).status is JobStatus.CANCELLED
    findable.store.queue_s = 0.0
    findable.revive("r1")
    code, out, _ = qjobs("jobs", "retry", job_id, *where(findable), "--json")
    assert (code, json.loads(out)["remote_id"]) == (0, "r1")
    assert store.job(job_id).status is not JobStatus.CANCELLED
    assert findable.created == 1


def test_cancel(qjobs: Callable[..., Said], store: Ledger, findable: ScriptedProvider) -> None:
    """An item or a job is cancelled by the beginning of its id; a second time changes nothing."""
    findable.store.queue_s = 60.0
    job_id = sent(store, findable)
    code, _, said = qjobs("jobs", "cancel", job_id, "--item", "7", *where(findable))
    assert (code, "items 0 to 1" in said) == (2, True)
    code, out, _ = qjobs("jobs", "cancel", job_id, "--item", "1", *where(findable), "--json")
    assert (code, json.loads(out)["status"]) == (0, "RUNNING")
    assert [item.status for item in store.items(job_id)] == [JobStatus.QUEUED, JobStatus.CANCELLED]
    for _ in range(2):
        code, out, _ = qjobs("jobs", "cancel", job_id[:12], *where(findable), "--json")
        assert (code, json.loads(out)["status"] in {"CANCELLED", "CANCELLING"}) == (0, True)
    assert findable.created == 1


def test_rerun(qjobs: Callable[..., Said], store: Ledger, findable: ScriptedProvider) -> None:
    """A rerun is a new job under a new name; nothing is sent."""
    job_id = sent(store, findable)
    code, out, _ = qjobs("jobs", "rerun", job_id, "once more", "--json")
    made = json.loads(out)
    assert (code, made["name"], made["status"], made["n_items"]) == (0, "once more", "CREATED", 2)
    assert made["key"] != store.job(job_id).key
    assert findable.created == 1
    code, out, _ = qjobs("jobs", "rerun", job_id, "and again")
    assert code == 0
    assert "(and again): CREATED" in out


@pytest.mark.parametrize("command", ["retry", "cancel"])
def test_wrong_backend(qjobs: Callable[..., Said], store: Ledger, findable: ScriptedProvider, command: str) -> None:
    """A backend that is not the job's own is refused, and told how to name the right one."""
    job_id = sent(store, findable)
    before = store.events(job_id)
    code, _, err = qjobs("jobs", command, job_id, "--backend", "aer")
    assert code == 2
    assert "is on rest (reference)" in err
    assert "give --url URL --lost-reply KIND" in err
    assert store.events(job_id) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--backend", "rest"], "belong together"),
        (["--backend", "aer", "--url", "http://x"], "belong together"),
        (["--max-submissions", "0"], "must be 1 or more"),
        (["--max-cost", "-1"], "must not be negative"),
    ],
)
def test_bad_options(qjobs: Callable[..., Said], store: Ledger, options: list[str], words: str) -> None:
    """Bad options are refused before the ledger is read."""
    code, out, err = qjobs("jobs", "retry", "job-nope", *options)
    assert (code, out) == (2, "")
    assert words in err
