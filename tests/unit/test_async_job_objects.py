"""The wrapper of Divi's protocol: which objects it takes, how it sends, and what it makes of their answers."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from enum import Enum, auto
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import pytest

import qjobs
from qjobs.backends import async_job
from qjobs.backends.async_job import STATUSES, AsyncJob, ExecutionResult, backend, object_of
from qjobs.backends.async_job.answers import entry_of, meaning, says_gone, word_of
from qjobs.backends.base import MissingResult, PlainJournal, Snapshot
from qjobs.circuits.programs import read_circuit
from qjobs.errors import (
    BackendUnavailable,
    CredentialsRejected,
    InvalidInput,
    NotSent,
    ProtocolError,
    StaleJob,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.model import Batch, ExecuteOptions, ItemResult, ItemSpec, Key, Observable, RemoteId
from qjobs.testing.contract import RecordingJournal, flips

KEY = Key("the-key")


class Cluster:
    """An object with the protocol that does what it is told, in this process."""

    shots = 8

    def __init__(self) -> None:
        self.sent: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.on_submit: Callable[[], object] = lambda: ExecutionResult(job_id=f"c-{len(self.sent)}")
        self.on_poll: Callable[[], object] = lambda: "COMPLETED"
        self.on_results: Callable[[], object] = list
        self.on_cancel: Callable[[], object] = lambda: None

    def submit_circuits(self, circuits: Mapping[str, str], *, shot_groups: object = None, **options: Any) -> object:
        if shot_groups is not None:
            options["shot_groups"] = shot_groups
        self.sent.append((dict(circuits), options))
        return self.on_submit()

    def poll_job_status(self, execution_result: Any, loop_until_complete: bool = True, verbose: bool = True) -> object:
        assert (loop_until_complete, verbose) == (False, False)
        return self.on_poll()

    def get_job_results(self, execution_result: Any) -> Any:
        return execution_result.with_results(self.on_results())

    def cancel_job(self, execution_result: Any) -> object:
        return self.on_cancel()


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def wrapped(cluster: Cluster) -> Iterator[AsyncJob]:
    made = AsyncJob(cluster, name="cluster")
    yield made
    made.close()


def batch(*shots: int, observables: tuple[Observable, ...] = ()) -> Batch:
    program = read_circuit(flips(2, on=[0]))
    items = tuple(ItemSpec(label=f"{n}", program=program.hash, shots=each) for n, each in enumerate(shots))
    return Batch(
        number=0, items=items, programs={program.hash: program}, options=ExecuteOptions(observables=observables)
    )


def failing(error: BaseException) -> Callable[[], object]:
    def fail() -> object:
        raise error

    return fail


def http_error(code: int, body: bytes = b"{}", **headers: str) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://cluster.test")
    response = httpx.Response(code, content=body, headers=headers, request=request)
    return httpx.HTTPStatusError(f"answered {code}", request=request, response=response)


def counted(*labels: str) -> Callable[[], object]:
    return lambda: [{"label": label, "results": {"01": 8}} for label in labels]


def test_what_lacks_a_method() -> None:
    """An object without a method of the protocol is refused, by the method's name."""
    with pytest.raises(InvalidInput, match="lacks poll_job_status, get_job_results, cancel_job"):
        AsyncJob(type("Half", (), {"shots": 8, "submit_circuits": lambda self, _: None})(), name="half")


def test_what_makes_no_jobs(cluster: Cluster) -> None:
    """A simulator of Divi, which gives no job id, is refused."""
    cluster.is_async = False
    with pytest.raises(InvalidInput, match="gives no job id"):
        AsyncJob(cluster, name="cluster")


def test_without_a_name(cluster: Cluster) -> None:
    """Jobs are found again by the name, so that one is needed."""
    with pytest.raises(InvalidInput, match="the same in every process"):
        AsyncJob(cluster, name=" ")


@pytest.mark.parametrize(
    ("version", "is_taken"), [("0.13.0", False), ("0.14.0", False), ("0.15.1", True), ("1.0", True)]
)
def test_qoro_service(
    version: str, is_taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Cluster
) -> None:
    """Divi's service, or a class made of it, is taken from the version on that sends once."""
    folder = tmp_path / "qoro_divi.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: qoro-divi\nVersion: {version}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    service = type("QoroService", (Cluster,), {"__module__": "divi.backends._qoro_service"})
    mine = type("Mine", (service,), {})()
    if is_taken:
        AsyncJob(mine, name="qoro").close()
        return
    with pytest.raises(InvalidInput, match=f"qoro-divi {version} sends a POST again.*qoro/TARGET"):
        AsyncJob(mine, name="qoro")


def test_qoro_service_of_no_version(cluster: Cluster) -> None:
    """Where nobody can say which version it is, Divi's service is refused."""
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("qoro-divi")
    service = type("QoroService", (Cluster,), {"__module__": "divi.backends"})()
    with pytest.raises(InvalidInput, match="of an unknown version"):
        AsyncJob(service, name="qoro")


def test_fingerprint(cluster: Cluster) -> None:
    """It follows from what the user gives, and from nothing else: two processes have the same."""
    first = AsyncJob(cluster, name="hpc", device="emulator", settings={"noise": "low"})
    again = AsyncJob(type("Moved", (Cluster,), {})(), name="hpc", device="emulator", settings={"noise": "low"})
    others = [
        AsyncJob(cluster, name="another", device="emulator", settings={"noise": "low"}),
        AsyncJob(cluster, name="hpc", device="machine", settings={"noise": "low"}),
        AsyncJob(cluster, name="hpc", device="emulator", settings={"noise": "high"}),
    ]
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint not in {each.fingerprint for each in others}
    assert len({each.fingerprint for each in others}) == 3


def test_labels_and_shots(cluster: Cluster, wrapped: AsyncJob) -> None:
    """Circuit i has the label KEY.i; shots are said where they are not the object's own."""
    journal = RecordingJournal()
    wrapped.submit(batch(8, 8), KEY, journal)
    wrapped.submit(batch(8, 16, 16), KEY, journal)
    circuits, options = cluster.sent[0]
    assert list(circuits) == ["the-key.0", "the-key.1"]
    assert all(text.startswith("OPENQASM 2.0;") for text in circuits.values())
    assert options == {}
    assert cluster.sent[1][1] == {"shot_groups": [[0, 1, 8], [1, 3, 16]]}
    assert journal.ids == ["c-1", "c-2"]


def test_one_number_of_shots(cluster: Cluster) -> None:
    """Without `shot_groups` nothing but the object's own number of shots is sent."""
    plain = type("Plain", (Cluster,), {"submit_circuits": lambda self, circuits, **_: self.on_submit()})()
    wrapped = AsyncJob(plain, name="plain")
    assert (wrapped.limits.max_shots, wrapped.limits.one_n_shots) == (8, True)
    with pytest.raises(SubmissionRejected, match="run 8 times there, and this job has items of \\[4\\]"):
        wrapped.submit(batch(4), KEY, RecordingJournal())
    wrapped.close()


def test_not_before_sending(cluster: Cluster, wrapped: AsyncJob) -> None:
    """The object is not called before `sending` has returned, nor after it has raised; no thread is left."""

    def stale() -> None:
        time.sleep(0.2)  # long enough for a call that does not wait
        raise StaleJob("gone", job_id="j")

    with pytest.raises(StaleJob):
        wrapped.submit(batch(8), KEY, RecordingJournal(on_sending=stale))
    for thread in threading.enumerate():
        if thread.name == "cluster-submit":
            thread.join(5)
            assert not thread.is_alive()
    assert cluster.sent == []


def test_observables(cluster: Cluster, wrapped: AsyncJob) -> None:
    """Observables are refused before anything is sent."""
    journal = RecordingJournal()
    with pytest.raises(SubmissionRejected, match="counts, and nothing else"):
        wrapped.submit(batch(8, observables=(Observable(name="z", terms=(("ZZ", 1.0),)),)), KEY, journal)
    assert (journal.said, cluster.sent) == ([], [])


@pytest.mark.parametrize(
    "error",
    [
        ValueError("not valid QASM"),
        ConnectionRefusedError("refused"),
        http_error(401),
        http_error(400),
        KeyboardInterrupt(),
        BackendUnavailable("away"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_it_raises(error: BaseException, cluster: Cluster, wrapped: AsyncJob) -> None:
    """After the object was called, its errors prove nothing: the outcome is unknown."""
    cluster.on_submit = failing(error)
    with pytest.raises(SubmissionUnknown, match="does not prove"):
        wrapped.submit(batch(8), KEY, RecordingJournal())
    assert len(cluster.sent) == 1


@pytest.mark.parametrize("error", [NotSent("n"), SubmissionRejected("r", detail="no"), CredentialsRejected("c")])
def test_errors_of_ours(error: Exception, cluster: Cluster, wrapped: AsyncJob) -> None:
    """An object that knows what became of its request says so with an error of ours."""
    cluster.on_submit = failing(error)
    with pytest.raises(type(error)) as caught:
        wrapped.submit(batch(8), KEY, RecordingJournal())
    assert caught.value is error


@pytest.mark.parametrize("answer", [None, ExecutionResult(results=[]), ExecutionResult(job_id="")])
def test_no_id(answer: object, cluster: Cluster, wrapped: AsyncJob) -> None:
    """An answer without an id is no proof that there is no job."""
    cluster.on_submit = lambda: answer
    with pytest.raises(SubmissionUnknown, match="accepted something"):
        wrapped.submit(batch(8), KEY, RecordingJournal())


def test_lost_reply(cluster: Cluster, wrapped: AsyncJob, tmp_path: Path) -> None:
    """A lost reply is UNKNOWN, whatever is entered again; only a strategy that takes the risk sends a second time."""
    cluster.on_submit = failing(ConnectionResetError("reset"))
    with Ledger(f"sqlite:///{tmp_path}/ledger.db") as ledger:
        made = batch(8)
        (job_id,) = qjobs.plan(ledger, wrapped, made.items, made.programs, run="run", name="lost")
        for _ in range(3):
            with pytest.raises(SubmissionUnknown, match="qjobs jobs adopt"):
                qjobs.submit(ledger, wrapped, job_id)
        assert ledger.job(job_id).status is JobStatus.UNKNOWN
    assert len(cluster.sent) == 1


class Late(Exception):
    """What a time-out raises in the thread that submits."""


def _interrupt(thread: int) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(Late))


def test_interrupted(cluster: Cluster, wrapped: AsyncJob) -> None:
    """A time-out of ours neither cuts the request nor loses the id; it comes out when both are safe."""
    caller = threading.get_ident()
    is_whole: list[bool] = []

    def slow() -> object:
        time.sleep(0.2)  # by now the caller waits
        _interrupt(caller)
        time.sleep(1.5)  # longer than one look of the caller
        is_whole.append(True)
        return ExecutionResult(job_id="late")

    cluster.on_submit = slow
    journal = RecordingJournal()
    with pytest.raises(Late):
        wrapped.submit(batch(8), KEY, journal)
    assert is_whole == [True]
    assert journal.ids == ["late"]


def test_interrupted_twice(cluster: Cluster, wrapped: AsyncJob) -> None:
    """Whoever interrupts a second time does not wait for an object that hangs."""
    caller = threading.get_ident()
    ends = threading.Event()

    def hang() -> object:
        time.sleep(0.2)
        _interrupt(caller)
        time.sleep(1.2)
        _interrupt(caller)
        ends.wait(30)
        return ExecutionResult(job_id="late")

    cluster.on_submit = hang
    journal = RecordingJournal()
    with pytest.raises(Late):
        wrapped.submit(batch(8), KEY, journal)
    assert journal.ids == []
    ends.set()


def test_claim_while_it_sends(cluster: Cluster, wrapped: AsyncJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim on the job is renewed meanwhile, and that it is lost does not keep the id from being handed over."""
    monkeypatch.setattr(backend, "_RENEW_S", 0.0)
    renewed: list[bool] = []

    def stale() -> None:
        renewed.append(True)
        raise StaleJob("gone", job_id="j")

    def slow() -> object:
        time.sleep(1.2)
        return ExecutionResult(job_id="slow")

    cluster.on_submit = slow
    ids: list[RemoteId] = []
    wrapped.submit(batch(8), KEY, PlainJournal(accepted=ids.append, preparing=stale))
    assert renewed
    assert ids == ["slow"]


def test_statuses(cluster: Cluster, wrapped: AsyncJob) -> None:
    """Every word is read as a text, as the value of an enum and as its name."""
    by_value = Enum("by_value", {word: word for word in STATUSES})
    by_name = Enum("by_name", {word: auto() for word in STATUSES})
    for word, status in STATUSES.items():
        for said in (word, by_value[word], by_name[word]):
            cluster.on_poll = lambda said=said: said
            found = wrapped.status([RemoteId("a")])[RemoteId("a")]
            assert isinstance(found, Snapshot)
            assert (found.status, found.remote_status) == (status, word)
    assert word_of(None) == "None"


@pytest.mark.parametrize("said", ["completed", "PONDERING", None, 7])
def test_unknown_word(said: object, cluster: Cluster, wrapped: AsyncJob) -> None:
    """A word outside the table is an error of that job, never a guess."""
    cluster.on_poll = lambda: said
    found = wrapped.status([RemoteId("a")])[RemoteId("a")]
    assert isinstance(found, ProtocolError)
    assert "unknown status" in str(found)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (http_error(401), CredentialsRejected),
        (http_error(429, **{"retry-after": "7"}), BackendUnavailable),
        (http_error(503), BackendUnavailable),
        (http_error(524), BackendUnavailable),
        (http_error(418), ProtocolError),
        (ValueError("'PONDERING' is not a valid JobStatus"), ProtocolError),
        (KeyError("status"), ProtocolError),
        (TimeoutError("timed out"), BackendUnavailable),
        (httpx.ConnectError("refused"), BackendUnavailable),
        (Exception("anything"), BackendUnavailable),
        (ProtocolError("ours"), ProtocolError),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_errors_mean(error: Exception, kind: type[Exception]) -> None:
    """An error of a read is told by the code of its response, else by its kind."""
    found = meaning(error, "it")
    assert type(found) is kind
    if isinstance(found, BackendUnavailable) and "429" in str(error):
        assert found.retry_after_s == 7.0


def test_who_says_gone() -> None:
    """The provider says it in JSON; a page of a gateway does not count, nor does an error without a response."""
    assert says_gone(http_error(404, b'{"error": "no such job"}'), {404})
    assert not says_gone(http_error(404, b"<html>gateway</html>"), {404})
    assert not says_gone(http_error(404, b'"text"'), {404})
    assert not says_gone(http_error(403), {404})
    assert not says_gone(LookupError("no job"), {404})


def test_secrets_in_errors(cluster: Cluster, wrapped: AsyncJob) -> None:
    """What an object says of its credentials is left out."""
    cluster.on_submit = failing(RuntimeError("Authorization: Bearer abcdefghijklmnop"))
    with pytest.raises(SubmissionUnknown) as caught:
        wrapped.submit(batch(8), KEY, RecordingJournal())
    assert "abcdefghijklmnop" not in str(caught.value)


def test_results_of_another_process(cluster: Cluster) -> None:
    """The labels alone say whose counts are whose, in any order."""
    cluster.on_results = counted("k.2", "k.0", "k.1")
    wrapped = AsyncJob(cluster, name="cluster")
    assert [position for position, _ in wrapped.results(RemoteId("a"))] == [0, 1, 2]
    assert [position for position, _ in wrapped.results(RemoteId("a"), [2, 0])] == [2, 0]
    wrapped.close()


@pytest.mark.parametrize(
    "entries",
    [
        None,
        "text",
        [{"label": "circuit_0", "results": {"0": 8}}],
        [{"label": 0, "results": {"0": 8}}],
        ["text"],
        [{"label": "k.0", "results": {"0": 8}}, {"label": "k.0", "results": {"1": 8}}],
    ],
)
def test_strange_results(entries: object, cluster: Cluster, wrapped: AsyncJob) -> None:
    """What cannot be told apart is no result."""
    cluster.on_results = lambda: entries
    with pytest.raises(ProtocolError):
        list(wrapped.results(RemoteId("a"), [0]))


@pytest.mark.parametrize(
    "given", [None, {"2": 8}, {"": 8}, {"0": 0.5}, {"0": True}, {"0": -1}, {"0": 4, "00": 4}, {0: 8}, {"ZZ": 0.5}]
)
def test_strange_counts(given: object) -> None:
    """Counts are numbers of shots by bit strings of one length."""
    with pytest.raises(ProtocolError):
        entry_of(given, None)


def test_number_of_counts() -> None:
    """Counts that are not as many as were asked for are none, and an empty dictionary is none either."""
    assert entry_of({"01": 8}, 8) == ItemResult(counts={"01": 8})
    for given in ({"01": 7}, {}):
        found = entry_of(given, 8)
        assert isinstance(found, MissingResult)
        assert not found.permanent


def test_one_bad_result(cluster: Cluster, wrapped: AsyncJob) -> None:
    """A bad result is told when the others are safe."""
    cluster.on_results = lambda: [{"label": "k.0", "results": {"x": 8}}, {"label": "k.1", "results": {"01": 8}}]
    found = []
    with pytest.raises(ProtocolError, match="no count"):
        found.extend(wrapped.results(RemoteId("a"), [0, 1]))
    stream = wrapped.results(RemoteId("a"), [0, 1])
    assert next(stream) == (1, ItemResult(counts={"01": 8}))


def test_404_of_results(cluster: Cluster, wrapped: AsyncJob) -> None:
    """That the results of a job that is shown are not there proves nothing; that they are deleted does."""
    cluster.on_results = failing(http_error(404))
    with pytest.raises(ProtocolError):
        list(wrapped.results(RemoteId("a"), [0]))
    cluster.on_results = failing(http_error(410))
    assert [entry.permanent for _, entry in wrapped.results(RemoteId("a"), [0])] == [True]


def test_cancel_races(cluster: Cluster, wrapped: AsyncJob) -> None:
    """A conflict, and an error about a job that is final by now, are normal; any other one is raised."""
    cluster.on_cancel = failing(http_error(409))
    cluster.on_poll = lambda: "RUNNING"
    wrapped.cancel(RemoteId("a"))
    cluster.on_cancel = failing(http_error(403))
    with pytest.raises(CredentialsRejected):
        wrapped.cancel(RemoteId("a"))
    cluster.on_poll = lambda: "CANCELLED"
    wrapped.cancel(RemoteId("a"))


def test_find(cluster: Cluster) -> None:
    """An object that can look for a label is asked for that of the first circuit."""
    asked: list[str] = []

    def find_job(label: str) -> str | None:
        asked.append(label)
        return "c-1" if label == "the-key.0" else None

    cluster.find_job = find_job
    wrapped = AsyncJob(cluster, name="cluster")
    assert wrapped.lookup.can_find
    assert wrapped.find(KEY) == "c-1"
    assert wrapped.find(Key("another")) is None
    assert asked == ["the-key.0", "another.0"]
    cluster.find_job = lambda _: 7
    with pytest.raises(ProtocolError):
        AsyncJob(cluster, name="cluster").find(KEY)
    cluster.find_job = lambda _: failing(OSError("away"))()
    with pytest.raises(BackendUnavailable):
        AsyncJob(cluster, name="cluster").find(KEY)
    wrapped.close()


def test_maker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is registered makes the object; any other is refused, and what it raises is told as it is."""
    folder = tmp_path / "my_cluster.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: my-cluster\nVersion: 1\n")
    (folder / "entry_points.txt").write_text("[qjobs.async_jobs]\nmine = my_cluster:make\naway = my_cluster:away\n")
    code = "def make(shots):\n    return shots\ndef away():\n    raise OSError('no network')\n"
    (tmp_path / "my_cluster.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert object_of("mine", {"shots": 8}) == 8
    with pytest.raises(InvalidInput, match="registered are: away, mine"):
        object_of("os:system", {})
    with pytest.raises(InvalidInput, match="does not take these arguments"):
        object_of("mine", {"shot": 8})
    with pytest.raises(BackendUnavailable, match="no network"):
        object_of("away", {})


def test_front_door() -> None:
    """The package gives what a user needs."""
    assert {"AsyncJob", "object_of"} <= set(async_job.__all__)
