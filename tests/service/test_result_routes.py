"""Results, compilations and their passes over HTTP; the rows are written by the tests."""

from __future__ import annotations

import itertools
import uuid
from typing import Any

from pytket.backends.backendresult import BackendResult
from pytket.circuit import Bit
from pytket.utils.outcomearray import OutcomeArray
from standing_service import Person, Standing, sample, shape

from qjobs.service import tables as schema

RESULTS = "/api/results/v1beta3"
PARTIAL = "/api/qsys_results/v1beta2/partial"
COMPILATIONS = "/api/compilations/v1beta3"
PASSES = "/api/compilation_passes/v1beta2"


def test_result_round_trip(standing: Standing, ada: Person) -> None:
    """pytket reads a result back as the client does."""
    shots = OutcomeArray.from_readouts([[0, 0], [1, 1], [1, 1], [0, 1]])
    stored = BackendResult(shots=shots, c_bits=[Bit("c", 0), Bit("c", 1)])
    job = ada.new_job()
    result = standing.store_result(job, stored.to_dict())
    body = ada.get(f"{RESULTS}/{result}")
    attributes = {key: value for key, value in body["data"]["attributes"].items() if value != [] and value is not None}
    assert BackendResult.from_dict(attributes).get_counts() == {(0, 0): 1, (0, 1): 1, (1, 1): 2}
    assert body["data"]["attributes"] == stored.to_dict()
    program = ada.get(f"/api/jobs/v1beta3/{job}")["data"]["attributes"]["definition"]["items"][0]["program_id"]
    assert body["data"]["relationships"]["program"]["data"] == {"id": program, "type": "circuit"}


def test_result_shape(standing: Standing, ada: Person) -> None:
    """Results have the keys and types that the real client accepted."""
    expected = sample(f"GET {RESULTS}/{{id}} -> 200")
    h1 = ada.new_job(config={"type": "QuantinuumConfig", "device_name": "H1-1E"})
    body = ada.get(f"{RESULTS}/{standing.store_result(h1, expected['data']['attributes'])}")
    for found in (body, expected):
        found["included"][1]["attributes"]["n_cl_reg"] = None
    assert shape(body) == shape(expected)
    snapshot = body["included"][1]["attributes"]
    assert snapshot["device_name"] == "H1-1E"
    assert snapshot["device"]["n_nodes"] == 20


def test_result_of_a_retired_device(standing: Standing, ada: Person) -> None:
    """A result outlives its device in the device file."""
    job = ada.new_job()
    with standing.service.db.write() as connection:
        connection.execute(schema.job.update().where(schema.job.c.job_id == job).values(device="H0-retired"))
    body = ada.get(f"{RESULTS}/{standing.store_result(job, {})}")
    snapshot = [entry for entry in body["included"] if entry["type"] == "backend_snapshot"]
    assert [entry["attributes"]["device_name"] for entry in snapshot] == ["H0-retired"]
    whole = ada.get(f"/api/jobs/v1beta3/{job}")
    assert "system" not in whole["data"]["relationships"]
    assert [entry["type"] for entry in whole["included"]] == ["project"]
    assert ada.get("/api/jobs/v1beta3")["data"][0]["id"] == job


def test_qsys_results(standing: Standing, ada: Person) -> None:
    """QSYS results come by version and chunk; they and pytket's have a route each."""
    raw = [[["USER:BOOL:c0", 1], ["USER:INT:a:b", 7]], [["USER:BOOL:c0", 0]]]
    result = standing.store_result(ada.new_job(), {"results": raw}, "QSYS")

    def chunk(number: int, version: int, code: int = 200) -> Any:
        asked = ("version", version), ("chunk_number", number), ("scope", "user")
        return ada.get(f"{PARTIAL}/{result}", *asked, code=code)

    assert chunk(0, 4)["data"]["attributes"]["results"] == raw
    assert chunk(0, 3)["data"]["attributes"]["results"] == [[["c0", 1], ["a:b", 7]], [["c0", 0]]]
    assert chunk(1, 3, 404) == chunk(1, 4, 404) == {"message": "No more chunks"}
    expected = sample(f"GET {PARTIAL}/{{id}} -> 200")
    body = chunk(0, 3)
    for found in (body, expected):
        found["included"][0]["attributes"]["description"] = None
        found["included"][1]["attributes"]["gate_set"] = []
    assert shape(body) == shape(expected)
    for wrong in (("version", "5"), ("version", "x"), ("chunk_number", "-1"), ("chunk_number", "9" * 30)):
        ada.get(f"{PARTIAL}/{result}", wrong, code=422)
    ada.get(f"{RESULTS}/{result}", code=404)
    ada.get(f"{PARTIAL}/{standing.store_result(ada.new_job(), {})}", code=404)
    text = standing.store_result(ada.new_job(), {"results": "START\nEND\t0"}, "QSYS")
    assert ada.get(f"{PARTIAL}/{text}")["data"]["attributes"]["results"] == "START\nEND\t0"


def compiled(standing: Standing, who: Person, passes: int) -> tuple[str, str, list[str]]:
    """A compile job with a compilation: its project, the compilation's id, and the circuits on the way."""
    project = who.project()
    circuits = [who.circuit(project, name=f"step {number}") for number in range(passes + 1)]
    job = who.job(project, circuits[0])
    now = standing.service.clock.now()
    row = {
        "compilation_id": str(uuid.uuid4()),
        "job_id": job,
        "project_id": project,
        "owner_id": who.user.user_id,
        "name": "a compilation",
        "description": "",
        "properties": {},
        "created_at": now,
        "modified_at": now,
        "original_id": circuits[0],
        "compiled_id": circuits[-1],
    }
    steps = [
        {
            "pass_id": str(uuid.uuid4()),
            "compilation_id": row["compilation_id"],
            "number": number,
            "pass_name": f"Pass{number}",
            "original_id": circuits[number],
            "compiled_id": circuits[number + 1],
        }
        for number in range(passes)
    ]
    with standing.service.db.write() as connection:
        connection.execute(schema.compilation.insert().values(row))
        connection.execute(schema.compilation_pass.insert(), list(reversed(steps)))
    return project, str(row["compilation_id"]), circuits


def test_compilation(standing: Standing, ada: Person) -> None:
    """A compilation leads to its circuits."""
    project, compilation, circuits = compiled(standing, ada, 3)
    body = ada.get(f"{COMPILATIONS}/{compilation}", ("scope", "user"))
    assert shape(body) == shape(sample(f"GET {COMPILATIONS}/{{id}} -> 200"))
    relationships = body["data"]["relationships"]
    assert relationships["original_circuit"]["data"]["id"] == circuits[0]
    assert relationships["compiled_circuit"]["data"]["id"] == circuits[-1]
    assert body["included"][0]["id"] == project
    assert ada.get(f"/api/circuits/v1beta2/{circuits[-1]}")["data"]["attributes"]["name"] == "step 3"


def test_passes(standing: Standing, ada: Person) -> None:
    """Passes come in their order."""
    _, compilation, circuits = compiled(standing, ada, 60)
    body = ada.get(PASSES, ("filter[compilation][id]", compilation), ("scope", "user"))
    assert shape(body) == shape(sample(f"GET {PASSES} -> 200"))
    assert [entry["attributes"]["pass_name"] for entry in body["data"]] == [f"Pass{number}" for number in range(60)]
    steps = [
        tuple(entry["relationships"][name]["data"]["id"] for name in ("original_circuit", "compiled_circuit"))
        for entry in body["data"]
    ]
    assert steps == list(itertools.pairwise(circuits))
    ada.get(PASSES, ("filter[compilation][id]", compilation), ("filter[pass_name]", "Pass1"), code=400)


def test_foreign_results(standing: Standing, ada: Person, bob: Person) -> None:
    """Another user's results look like results that do not exist, but to a reader of their project."""
    unknown = str(uuid.uuid4())
    project = ada.project()
    job = ada.job(project, ada.circuit(project))
    pytket = standing.store_result(job, {})
    qsys = standing.store_result(job, {"results": []}, "QSYS")
    _, compilation, _ = compiled(standing, ada, 1)
    for url, theirs in ((RESULTS, pytket), (PARTIAL, qsys), (COMPILATIONS, compilation)):
        bob.get(f"{url}/{theirs}", code=404)
        assert ada.get(f"{url}/{theirs}")["data"]["id"] == theirs
        ada.get(f"{url}/{theirs}", ("scope", "org_admin"), code=404)
    for found in (compilation, unknown, "nonsense"):
        assert bob.get(PASSES, ("filter[compilation][id]", found)) == {"data": []}
    for params in ((), (("filter[compilation][id]", compilation),) * 2):
        assert "needed" in ada.get(PASSES, *params, code=400)["message"]
    ada.share(project, bob, "Reader")
    assert bob.get(f"{RESULTS}/{pytket}")["data"]["id"] == pytket


def test_runtime_traces(ada: Person) -> None:
    """No item has runtime traces."""
    job = ada.get(f"/api/jobs/v1beta3/{ada.new_job()}")["data"]["attributes"]["definition"]["items"][0]
    assert job["has_runtime_traces"] is False
    for found in (job["item_uuid"], str(uuid.uuid4()), "nonsense"):
        ada.get(f"/api/job_items/v1beta/{found}/runtime_traces", code=404)
