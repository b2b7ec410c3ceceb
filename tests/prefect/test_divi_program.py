"""Registered programs of Divi as flows: on the simulator, and on a device for whose queue the run is suspended."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
import turning
from deploying import process_worker
from given import open_queue
from observing import artifacts, eventually, last_run, task_names
from prefect.client.orchestration import SyncPrefectClient
from suspending import passes, suspended

from flows.divi_program import divi_program
from qjobs.errors import InvalidInput
from qjobs.experiments.divi_program import DiviProgramSpec
from qjobs.ledger import Ledger
from qjobs.lifecycle import JobStatus
from qjobs.testing.servers import ScriptedProvider


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where a registered program is found."""
    folders = turning.install(tmp_path / "plugins")
    for folder in folders:
        monkeypatch.syspath_prepend(folder)
    return folders


def a_program(**values: object) -> DiviProgramSpec:
    given = {"name": "turns", "program": "turning", "arguments": {"steps": 3}, "shots": 200, **values}
    return DiviProgramSpec.model_validate({"compiler": "none", **given})


def test_end_to_end(client: SyncPrefectClient, store: Ledger, path: list[Path]) -> None:
    """A curve, a frame and a table; the same logical run sends nothing again, and another program is refused."""
    published = divi_program(a_program())
    run = last_run(client, "turns")
    frame = pd.read_parquet(published.parquet)
    assert list(frame["iteration"]) == [1, 2, 3]
    assert list(frame["lowest"]) == list(frame["loss"].cummin())
    assert published.lines[0] == f"lowest loss: {frame['loss'].min():.6f}, in 3 iterations"
    assert published.lines[-1] == "3 batches were asked for, 3 circuits"
    assert published.artifact_keys == ("turns-report", "turns-jobs", "turns-provenance")
    assert "loss of every iteration" in artifacts(client, "turns-report")[-1].data
    names = [name.partition("-")[0] for name in task_names(client, run.id, last="publish_divi_program")]
    once = ["compile_circuits", "submit_job", "wait_for_jobs"]
    assert Counter(names) == {**dict.fromkeys(once, 3), "publish_divi_program": 1}
    assert {job.logical_run for job in store.jobs()} == {str(run.id)}

    again = divi_program(a_program(), logical_run=str(run.id))
    assert again.lines == published.lines
    assert len(store.jobs()) == 3
    with pytest.raises(InvalidInput, match="is not what it was"):
        divi_program(a_program(seed=1), logical_run=str(run.id))
    assert len(store.jobs()) == 3


def test_refused(client: SyncPrefectClient, store: Ledger, path: list[Path]) -> None:
    """A name that nobody has registered, and arguments that do not fit, are refused with what there is."""
    with pytest.raises(InvalidInput, match="registered are: turning"):
        divi_program(a_program(program="spinning"))
    for arguments in ({"steps": 0}, {"strides": 3}, {"seed": 3}):
        with pytest.raises(InvalidInput):
            divi_program(a_program(arguments=arguments))
    assert store.jobs() == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_suspended(
    api: str,
    client: SyncPrefectClient,
    store: Ledger,
    home: Path,
    tmp_path: Path,
    path: list[Path],
    provider: ScriptedProvider,
) -> None:
    """While the device queues no process of the run exists; entered again, it makes one job a batch."""
    spec = a_program(name="weeks", arguments={"steps": 2}, backend=f"rest-backend/{provider.block}")
    with process_worker(api, client, home, tmp_path, path=path):
        run = suspended(client, store, divi_program, {"spec": spec.model_dump(mode="json")})
        for number in (1, 2):
            assert provider.created == number
            open_queue(provider)
            assert passes(store, client, "resumed").resumed == [str(run.id)]
            if number == 1:
                eventually(lambda: provider.created, lambda created: created == 2, deadline_s=240)
                eventually(
                    lambda: client.read_flow_run(run.id).state.name, lambda name: name == "Suspended", deadline_s=240
                )
                eventually(
                    lambda: [wait.flow_run_id for wait in store.waits.runs()], lambda runs: runs == [str(run.id)]
                )
        ended = eventually(lambda: client.read_flow_run(run.id), lambda r: r.state.is_final(), deadline_s=240)
    assert ended.state.is_completed(), ended.state
    assert provider.created == 2
    assert {job.status for job in store.jobs(experiment="weeks")} == {JobStatus.COMPLETED}
