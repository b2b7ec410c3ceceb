"""Saved results: nothing is overwritten, whoever writes at once and whoever is killed, in a folder and behind a URL."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pyarrow.parquet as pq
import pytest
from processes import free_port
from support import SWEEP

import qjobs
from qjobs.errors import InvalidInput, StorageFull
from qjobs.experiments.sweep import SweepSpec
from qjobs.ledger import Ledger
from qjobs.paths import project_root
from qjobs.reports.files import write_parquet
from qjobs.results.labels import label, labels_of
from qjobs.results.listing import experiments
from qjobs.results.store import LATEST, RECORD, Results, load

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
FRAME = pd.DataFrame({"theta": [0.0, 0.5], "z": [1.0, 0.8], "z_stderr": [0.0, 0.1]})


def saved(results: Results, name: str = "rabi", frame: pd.DataFrame = FRAME, now: datetime = NOW, **more: Any) -> str:
    """A run of two points, as `qjobs.results.save` writes it; its folder's name."""
    new = results.begin(name, "0123456789abcdef", now=now)
    write_parquet(frame, new.file("results.parquet"))
    counts = {"n_rows": len(frame), "n_missing": 0, "lines": [], "jobs": {}, "devices": {"aer": {"device": "aer"}}}
    record = {"files": {"frame": "results.parquet"}, "key": ["theta"], "saved_at": "now", **counts, **more}
    return new.finish(record).run


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """A server that speaks S3, and a bucket there."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "a-key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret")
        boto3.client("s3").create_bucket(Bucket="lab")
        yield "s3://lab"
    server.stop()


@pytest.fixture(scope="module")
def gcs() -> Iterator[str]:
    """A server that speaks Google Cloud Storage over HTTP, and a bucket there."""
    from gcp_storage_emulator.server import create_server

    port = free_port()
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket="lab")
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")  # which is gRPC, and the server has none
        yield "gs://lab"
    server.stop()


@pytest.fixture(params=["folder", "file", "memory", "s3", "gcs"])
def results(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Results]:
    """An empty place for results, of each kind."""
    place = tmp_path / "results"
    if request.param in {"s3", "gcs"}:
        yield Results(f"{request.getfixturevalue(request.param)}/{tmp_path.name}")
        return
    if request.param == "memory":
        yield Results(f"memory://{tmp_path.name}/results")
        fsspec.filesystem("memory").store.clear()
        return
    yield Results(place if request.param == "folder" else f"file://{place}")


def test_nothing_is_overwritten(results: Results) -> None:
    """Runs of the same second and definition have a folder each, and the newest is found by the name."""
    runs = [saved(results), saved(results), saved(results, now=NOW + timedelta(seconds=1))]
    assert len(set(runs)) == 3
    assert runs[0].startswith("2026-05-04-030201.000-01234567")
    assert results.runs("rabi")[0] == runs[2]
    assert set(results.runs("rabi")) == set(runs)
    assert results.find("rabi").run == runs[2]
    assert results.find(f"rabi/{runs[0]}").run == runs[0]
    assert results.find("rabi/2026-05-04-030202").run == runs[2]
    with pytest.raises(InvalidInput, match="2 runs of rabi begin with 2026-05-04-030201"):
        results.find("rabi/2026-05-04-030201")
    pd.testing.assert_frame_equal(results.find("rabi").frame, FRAME)


def test_no_bucket(s3: str) -> None:
    """A mistyped bucket is not made: nothing is written, and the message names the place."""
    import boto3

    wrong = Results(s3.replace("lab", "lba") + "/results")
    with pytest.raises(StorageFull, match=r"s3://lba/results/rabi/.*/results\.parquet cannot be written"):
        saved(wrong)
    with pytest.raises(InvalidInput, match="there are no results of 'rabi' in s3://lba/results"):
        wrong.find("rabi")
    assert [each["Name"] for each in boto3.client("s3").list_buckets()["Buckets"]] == ["lab"]


@pytest.mark.parametrize("trouble", ["no server", "no credentials"])
def test_no_store(trouble: str, s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A store that does not answer, or that has no credentials, is one error that names the place."""
    import s3fs

    if trouble == "no server":
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    else:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    place = Results(f"{s3}/{trouble}")
    with pytest.raises(InvalidInput, match=f"the results at s3://lab/{trouble} cannot be read: "):
        place.names()
    with pytest.raises(StorageFull, match="cannot be written"):
        saved(place)
    s3fs.S3FileSystem.clear_instance_cache()


def test_same_second(results: Results) -> None:
    """Of two runs of one second the later one is the newest, whatever their definitions are."""
    first = results.begin("rabi", "f" * 16, now=NOW)
    first.finish({"files": {}})
    later = results.begin("rabi", "0" * 16, now=NOW + timedelta(milliseconds=2))
    later.finish({"files": {}})
    assert results.runs("rabi") == [later.run, first.run]


def test_latest(results: Results) -> None:
    """`latest` names the newest run, also where an older one is finished after it."""
    older = results.begin("rabi", "a" * 16, now=NOW)
    newest = saved(results, now=NOW + timedelta(hours=1))
    older.finish({"files": {}})
    if "://" in results.url:
        assert fsspec.open(f"{results.url}/rabi/{LATEST}").open().read().decode() == newest
    else:
        assert (Path(results.url) / "rabi" / LATEST).readlink() == Path(newest)
        assert (Path(results.url) / "rabi" / LATEST / RECORD).exists()


def test_no_such_experiment(results: Results) -> None:
    """A name without results is answered with the nearest one; nothing leads out of the place."""
    saved(results)
    with pytest.raises(InvalidInput, match="did you mean rabi"):
        results.find("raby")
    with pytest.raises(InvalidInput, match="qjobs list"):
        results.find("qaoa")
    with pytest.raises(InvalidInput):
        results.find("../rabi")
    with pytest.raises(InvalidInput, match="did you mean rabi"):
        label(results, "rabbi", add=["good"])


def test_unknown_url() -> None:
    """A URL of a kind that cannot be opened is refused, before anything is run."""
    with pytest.raises(InvalidInput, match="results cannot be kept at nowhere://x"):
        Results("nowhere://x")
    with pytest.raises(InvalidInput, match="nowhere"):
        qjobs.run(SweepSpec.model_validate(SWEEP), results="nowhere://x")


def test_no_folder(tmp_path: Path) -> None:
    """A place that cannot be written is named, and the results are safe in the ledger."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageFull, match=r"file/results/rabi.*the ledger has stored is intact"):
        Results(tmp_path / "file" / "results").begin("rabi", "a")


def _save_many(place: str, count: int, barrier: Any) -> None:
    results = Results(place)
    for number in range(count):
        barrier.wait(30)
        saved(results, now=NOW + timedelta(seconds=number))
        label(results, "rabi", add=[f"of-{os.getpid()}-{number}"])


def test_two_processes(tmp_path: Path) -> None:
    """Two processes that save runs of one name at once get a folder each, and no tag is lost."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    given = (str(tmp_path), 8, barrier)
    workers = [context.Process(target=_save_many, args=given) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    results = Results(tmp_path)
    runs = results.runs("rabi")
    assert len(runs) == 16
    for run in runs:
        pd.testing.assert_frame_equal(results.read("rabi", run).frame, FRAME)
    assert (tmp_path / "rabi" / LATEST).readlink() == Path(runs[0])
    assert len(labels_of(results, "rabi").tags) == 16


KILLED = """
import os, signal, sys
import pandas as pd
from qjobs.reports.files import stream_parquet
from qjobs.results.store import Results
new = Results(sys.argv[1]).begin("rabi", "b" * 16)
def frames():
    yield pd.DataFrame({"z": [1.0] * 1000})
    os.kill(os.getpid(), signal.SIGKILL)
stream_parquet(frames(), new.file("results.parquet"))
"""


def test_killed(tmp_path: Path) -> None:
    """What a killed run leaves does not count: the last whole run stays the newest one, and the next is as usual."""
    results = Results(tmp_path)
    first = saved(results)
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert len([path for path in (tmp_path / "rabi").iterdir() if path.name != LATEST]) == 2
    assert results.runs("rabi") == [first]
    assert results.find("rabi").run == first
    later = saved(results, now=datetime.now(UTC) + timedelta(minutes=1))
    assert results.runs("rabi") == [later, first]


def test_labels(results: Results) -> None:
    """Tags keep their order and can be taken away; notes are kept with their time."""
    saved(results)
    label(results, "rabi", add=["good", "june"], now=NOW)
    label(results, "rabi", remove=["good"], note="the fridge was warm", now=NOW + timedelta(seconds=1))
    label(results, "rabi", add=["again"], now=NOW + timedelta(seconds=2))
    saved(results)
    found = labels_of(results, "rabi")
    assert found.tags == ("june", "again")
    assert [(note.at, note.text) for note in found.notes] == [(NOW + timedelta(seconds=1), "the fridge was warm")]
    with pytest.raises(InvalidInput, match="may have letters"):
        label(results, "rabi", add=["two words"])


def test_listing(results: Results, store: Ledger) -> None:
    """Experiments are listed with their runs and labels, those saved last first."""
    saved(results, "first")
    saved(results, "second", now=NOW + timedelta(days=1))
    saved(results, "first", now=NOW + timedelta(days=2))
    label(results, "second", add=["good"], note="as it should be")
    found = experiments(results, store)
    assert [(each.name, each.n_runs, each.n_rows) for each in found] == [("first", 2, 2), ("second", 1, 2)]
    (tagged,) = experiments(results, store, tag="good")
    assert (tagged.name, tagged.tags, tagged.note) == ("second", ("good",), "as it should be")


@pytest.mark.parametrize("kind", ["home", "url"])
def test_run(kind: str, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run saves frame, picture and record, inside the Parquet file too; `load` gives what `run` gave."""
    for name in ("QJOBS_LEDGER", "QJOBS_RESULTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("QJOBS_HOME", str(tmp_path))
    if kind == "url":
        monkeypatch.setenv("QJOBS_RESULTS", f"{s3}/{tmp_path.name}")
    axes = [{"name": name, "values": [0.1, 0.2]} for name in ("zeta", "alpha")]
    circuit = {
        "openqasm": 'OPENQASM 3.0; include "stdgates.inc"; input float[64] alpha; input float[64] zeta;'
        "qubit[1] q; bit[1] c; rx(alpha) q[0]; rz(zeta) q[0]; c = measure q;"
    }
    form = {"name": "kept", "circuit": circuit, "axes": axes, "shots": 50, "seed": 1}
    spec = SweepSpec.model_validate({**form, "observables": [{"name": "h", "terms": "Z0 + X0"}]})
    done = qjobs.run(spec)
    again = qjobs.run(spec)
    assert done.saved.run != again.saved.run
    run = load("kept")
    assert run.run == again.saved.run
    pd.testing.assert_frame_equal(run.frame, done.report.frame)
    columns = list(run.frame.columns)
    assert columns[:7] == ["point_id", "point", "repetition", "zeta", "alpha", "h", "h_stderr"]
    counts = json.loads(run.frame["counts"][0])
    assert {basis: sum(values.values()) for basis, values in counts.items()} == {"X": 50, "Z": 50}
    assert SweepSpec.model_validate(run.record["spec"]) == spec
    assert run.record["parameters"] == ["zeta", "alpha"]
    assert run.record["jobs"] == {"aer": list(done.jobs["aer"])}
    assert set(run.record["versions"]) > {"python", "qjobs", "qiskit"}
    assert run.record["devices"]["aer"]["device"]
    assert (run.record["n_rows"], run.record["n_missing"]) == (4, 0)
    with fsspec.open(run.file) as file:
        inside = json.loads(pq.read_schema(file).metadata[b"qjobs"])
    assert inside == {key: run.record[key] for key in inside}
    assert {"spec", "versions", "devices", "git", "jobs", "remote_ids", "definition", "ledger_id"} <= set(inside)
    if kind == "url":
        assert not (tmp_path / "results").exists()
    else:
        assert run.file == str(tmp_path / "results" / "kept" / run.run / "results.parquet")


@pytest.mark.parametrize("changed", [False, True])
def test_commit(changed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record has the commit of the project that one stands in, and whether its files differ from it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".qjobs").mkdir()
    (tmp_path / "deep").mkdir()
    (tmp_path / "flow.py").write_text("one")
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["add", "flow.py"], [*who, "commit", "-q", "-m", "one"]):
        subprocess.run(["git", *words], check=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    if changed:
        (tmp_path / "flow.py").write_text("two")
    monkeypatch.chdir(tmp_path / "deep")
    assert project_root() == tmp_path
    monkeypatch.delenv("QJOBS_HOME", raising=False)
    monkeypatch.delenv("QJOBS_RESULTS", raising=False)
    monkeypatch.delenv("QJOBS_LEDGER", raising=False)
    qjobs.run(SweepSpec.model_validate(SWEEP))
    run = load(str(SWEEP["name"]))
    assert run.record["git"] == {"commit": commit, "changed": changed}
    assert Path(run.url).is_relative_to(tmp_path / ".qjobs" / "results")
