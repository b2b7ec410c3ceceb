"""Jobs over HTTP; the executor does nothing here."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from own_service import AER
from standing_service import Person, Standing, sample, shape, standing_service

from qjobs.service import tables as schema

URL = "/api/jobs/v1beta3"
FINAL = ("COMPLETED", "CANCELLED", "ERROR", "DEPLETED", "TERMINATED")
STATUSES = ("SUBMITTED", "QUEUED", "RUNNING", "RETRYING", "CANCELLING", *FINAL)


def with_items(attributes: dict[str, Any], *programs: str) -> dict[str, Any]:
    item = attributes["definition"]["items"][0]
    items = [{**item, "program_id": program} for program in programs]
    return {**attributes, "definition": {**attributes["definition"], "items": items}}


def comparable(body: dict[str, Any]) -> Any:
    """The keys of an answer about a job, without what differs on purpose."""
    for item in body["data"]["attributes"]["definition"]["items"]:
        item.pop("has_runtime_traces", None)  # qnexus 0.48 and later reads it; the samples are older
        item["status"].pop("cost", None)  # absent instead of null: the client makes a float of it
    for entry in body["included"]:
        if entry["type"] == "project":
            entry["attributes"]["description"] = None
    return shape(body)


@pytest.mark.parametrize("kind", ["compile", "execute"])
def test_job_shape(ada: Person, kind: str) -> None:
    """Jobs have the keys and types that the real client accepted."""
    project = ada.project()
    posted = sample(f"POST {URL} {kind} -> 202", "request")["data"]["attributes"]
    made = ada.make(URL, project, with_items(posted, ada.circuit(project)), 202)
    assert comparable(made) == comparable(sample(f"POST {URL} {kind} -> 202"))
    job = made["data"]["id"]
    assert comparable(ada.get(f"{URL}/{job}")) == comparable(sample(f"GET {URL}/{{id}} {kind} SUBMITTED -> 200"))
    status = ada.get(f"{URL}/{job}/attributes/status")
    assert shape(status) == shape(sample(f"GET {URL}/{{id}}/attributes/status -> 200"))
    assert status["message"] == "Job has been submitted to Nexus."


def test_finished_job_shape(standing: Standing, ada: Person) -> None:
    """Finished jobs have the keys and types that the real client accepted."""
    project = ada.project()
    circuit = ada.circuit(project)
    job = ada.job(project, circuit)
    standing.store_result(job, {})
    for status in ("QUEUED", "RUNNING", "COMPLETED"):
        standing.move(job, status, cost=5.25)
    item = ada.get(f"{URL}/{job}")["data"]["attributes"]["definition"]["items"][0]
    expected = sample(f"GET {URL}/{{id}} execute ERROR -> 200")["data"]["attributes"]["definition"]["items"][1]
    assert set(item) - {"has_runtime_traces"} == set(expected) - {"external_handle"} | {"external_handle"}
    assert shape(item["status"]) == shape(expected["status"])
    assert (item["result_type"], item["status"]["cost"]) == ("PYTKET", 5.25)


def test_definition_round_trip(ada: Person) -> None:
    """A definition comes back as it was posted."""
    project = ada.project()
    circuits = [ada.circuit(project), ada.circuit(project)]
    config = {"type": "AerConfig", "n_qubits": 40, "simulation_method": "automatic", "seed": 2**40, "noise_model": None}
    definition = {
        "backend_config": config,
        "user_group": "physics",
        "language": "OPENQASM 2.0",
        "valid_check": True,
        "items": [
            {"program_id": circuits[0], "n_shots": 7},
            {"program_id": circuits[1], "n_shots": 9, "max_cost": 2.5, "n_qubits": 2},
            {"program_id": circuits[0], "n_shots": 11},
        ],
    }
    given = {
        "name": "'; DROP TABLE",
        "description": "ü",
        "properties": {"k": True},
        "job_type": "execute",
        "definition": definition,
    }
    attributes = ada.make(URL, project, given, 202)["data"]["attributes"]
    read = attributes["definition"]
    assert {key: attributes[key] for key in ("name", "description", "properties")} == {
        key: given[key] for key in ("name", "description", "properties")
    }
    assert {key: value for key, value in read.items() if key != "items"} == {
        key: value for key, value in definition.items() if key != "items"
    }
    assert [item["item_id"] for item in read["items"]] == [1, 2, 3]
    for item, asked in zip(read["items"], definition["items"], strict=True):
        assert {key: item[key] for key in ("program_id", "n_shots", "max_cost", "n_qubits") if key in item} == asked
        assert uuid.UUID(item["item_uuid"])
        assert item["external_handle"] is None
        assert not {"result_id", "result_type", "compilation_id"} & set(item)
        assert "cost" not in item["status"]


def test_programs_of_a_job(ada: Person) -> None:
    """A job names each of its programs once, with its kind."""
    project = ada.project()
    first = ada.circuit(project)
    second = ada.circuit(project)
    job = ada.get(f"{URL}/{ada.job(project, second, first, second)}")["data"]
    assert job["relationships"]["programs"]["data"] == [
        {"id": second, "type": "circuit"},
        {"id": first, "type": "circuit"},
    ]


def test_smallest_body(ada: Person) -> None:
    """The smallest body of a third party is accepted."""
    project = ada.project()
    definition = {
        "backend_config": {"type": "AerConfig"},
        "items": [{"program_id": ada.circuit(project), "n_shots": 1}],
    }
    for path in (URL, f"{URL}/"):
        made = ada.make(path, project, {"name": "n", "job_type": "execute", "definition": definition}, 202)
        assert made["data"]["attributes"]["description"] == ""


def test_bad_jobs(ada: Person) -> None:
    """A bad job is refused in words and not stored."""
    project = ada.project()
    unknown = [{"program_id": str(uuid.uuid4()), "n_shots": 1}]
    usual = {"backend_config": AER, "items": [{"program_id": ada.circuit(project), "n_shots": 1}]}
    ignored = {"type": "QuantinuumConfig", "device_name": "H1-1", "compiler_options": {"target_2qb_gate": "ZZMax"}}
    good: dict[str, Any] = {"name": "n", "job_type": "execute", "definition": usual}
    for change, code, words in (
        ({"definition": {**usual, "backend_config": {"type": ["x"]}}}, 400, "no backend"),
        ({"definition": {**usual, "user_group": "made_up"}}, 403, "Not a member of any group with name: made_up"),
        ({"definition": {**usual, "items": unknown}}, 404, f"item 1: program {unknown[0]['program_id']} not found"),
        ({"definition": {**usual, "backend_config": ignored}}, 400, "compiler_options.target_2qb_gate"),
        ({"job_type": "hamiltonian"}, 422, ""),
        ({"user_group": "physics"}, 422, "there is no 'user_group' here"),
        ({"definition": []}, 422, ""),
        ({"name": None}, 422, ""),
        ({"properties": {"a": None}}, 422, ""),
    ):
        assert words in ada.make(URL, project, {**good, **change}, code)["message"]
    assert ada.names(URL) == []
    ada.make(URL, project, good, 202)


def test_job_roles(ada: Person, bob: Person) -> None:
    """A reader reads jobs and changes none; a contributor changes them."""
    project = ada.project()
    circuit = ada.circuit(project)
    job = ada.job(project, circuit)
    ada.share(project, bob, "Reader")
    assert bob.get(f"{URL}/{job}")["data"]["id"] == job
    bob.post(f"{URL}/{job}/rpc/cancel", {}, 403)
    bob.post(f"{URL}/{job}/rpc/retry", {}, 403)
    bob.post(f"{URL}/{job}/rpc/rerun", {"name": "x"}, 403)
    bob.delete(f"{URL}/{job}", 403)
    assert ada.get(f"{URL}/{job}/attributes/status")["status"] == "SUBMITTED"
    ada.share(project, bob, "Contributor")
    bob.post(f"{URL}/{job}/rpc/cancel", {}, 202)


def test_job_list_shape(ada: Person) -> None:
    """A list of jobs has the keys of the real one, without items."""
    project = ada.project()
    ada.job(project, ada.circuit(project))
    actual = ada.get(URL)
    expected = sample(f"GET {URL} -> 200")
    for body in (actual, expected):
        for entry in body["data"]:
            entry["attributes"].pop("definition")
            entry["relationships"].pop("programs", None)
        body["included"][0]["attributes"]["description"] = None
    assert shape(actual) == shape(expected)


def test_hundred_jobs_in_one_request(standing: Standing, ada: Person) -> None:
    """One request tells the status of a hundred jobs."""
    project = ada.project()
    circuit = ada.circuit(project)
    jobs = {f"key {number} {uuid.uuid4()}": "" for number in range(100)}
    for number, name in enumerate(jobs):
        jobs[name] = ada.job(project, circuit, circuit, name=name)
        standing.move(jobs[name], STATUSES[number % len(STATUSES)], message=f"message {number}")
    ada.job(project, circuit, name="another")
    asked = [("filter[project][id]", project), ("page[size]", 100)]
    answer = ada.http.get(URL, params=asked + [("filter[name_exact]", name) for name in jobs])
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert {entry["attributes"]["name"]: entry["id"] for entry in data} == jobs
    for entry in data:
        assert entry["attributes"]["status"] == ada.get(f"{URL}/{entry['id']}/attributes/status")
        assert "items" not in entry["attributes"]["definition"]
    assert len({entry["attributes"]["status"]["status"] for entry in data}) == len(STATUSES)
    assert len(answer.content) < 250_000


def test_cancel(ada: Person) -> None:
    """A job is cancelled as a whole or by items, and a second time changes nothing."""
    project = ada.project()
    circuit = ada.circuit(project)
    for body in ({}, None):
        job = ada.job(project, circuit)
        assert ada.post(f"{URL}/{job}/rpc/cancel", body, 202) == {}
        assert ada.get(f"{URL}/{job}/attributes/status")["status"] == "CANCELLED"
        ada.post(f"{URL}/{job}/rpc/cancel", body, 202)
    job = ada.job(project, circuit, circuit, circuit)
    ada.post(f"{URL}/{job}/rpc/cancel", {"item_ids": [2]}, 202)
    items = ada.get(f"{URL}/{job}")["data"]["attributes"]["definition"]["items"]
    assert [item["status"]["status"] for item in items] == ["SUBMITTED", "CANCELLED", "SUBMITTED"]
    for wrong in ({"item_ids": ["2"]}, {"item_ids": 2}, {"item_ids": [2**40]}, [], "x", {"items": [1]}):
        ada.post(f"{URL}/{job}/rpc/cancel", wrong, 422)
    ada.post(f"{URL}/{job}/rpc/cancel", {"item_ids": [4]}, 404)


def test_retry(standing: Standing, ada: Person) -> None:
    """A retry takes the strategies and the statuses of the client."""
    job = ada.new_job()

    def retried(**body: Any) -> str:
        standing.move(job, "ERROR")
        ada.post(f"{URL}/{job}/rpc/retry", body, 202)
        return str(ada.get(f"{URL}/{job}/attributes/status")["status"])

    assert retried(remote_retry_strategy="DEFAULT") == "ERROR"
    for strategy in ("ALLOW_RESUBMIT", "FORCE_RESUBMIT", "FULL_RESTART"):
        assert retried(remote_retry_strategy=strategy) == "RETRYING"
        assert retried(remote_retry_strategy=strategy, retry_status=[]) == "RETRYING"
    assert retried(remote_retry_strategy="FULL_RESTART", retry_status=["CANCELLED"]) == "ERROR"
    assert retried(remote_retry_strategy="FULL_RESTART", retry_status=["ERROR"], user_group="physics") == "RETRYING"
    standing.move(job, "ERROR")
    unread = {"remote_retry_strategy": "FULL_RESTART", "item_ids": [1]}
    for wrong in (
        {"remote_retry_strategy": "AGAIN"},
        {"retry_status": ["DONE"]},
        {"retry_status": "ERROR"},
        [],
        unread,
    ):
        ada.post(f"{URL}/{job}/rpc/retry", wrong, 422)
    ada.post(f"{URL}/{job}/rpc/retry", {"remote_retry_strategy": "FULL_RESTART", "user_group": "others"}, 403)
    assert ada.get(f"{URL}/{job}/attributes/status")["status"] == "ERROR"


def test_retry_without_statuses(standing: Standing, ada: Person) -> None:
    """The client's default, a full restart without statuses, runs the items in ERROR again and no others."""
    project = ada.project()
    circuit = ada.circuit(project)
    job = ada.job(project, *[circuit] * 4)
    result = standing.store_result(job, {})
    words = ["COMPLETED", "ERROR", "CANCELLED", "DEPLETED"]
    with standing.service.db.write() as connection:
        item = schema.job_item
        for number, word in enumerate(words, start=1):
            mine = (item.c.job_id == job) & (item.c.item_id == number)
            connection.execute(item.update().where(mine).values(status=word))

    def statuses(**body: Any) -> list[str]:
        ada.post(f"{URL}/{job}/rpc/retry", {"remote_retry_strategy": "FULL_RESTART", **body}, 202)
        items = ada.get(f"{URL}/{job}")["data"]["attributes"]["definition"]["items"]
        return [item["status"]["status"] for item in items]

    assert statuses() == ["COMPLETED", "RETRYING", "CANCELLED", "DEPLETED"]
    assert statuses() == ["COMPLETED", "RETRYING", "CANCELLED", "DEPLETED"]
    ada.get(f"/api/results/v1beta3/{result}")
    assert statuses(retry_status=["COMPLETED", "DEPLETED"]) == ["RETRYING", "RETRYING", "CANCELLED", "RETRYING"]


def test_rerun(ada: Person) -> None:
    """A rerun is a new job, which needs a name."""
    project = ada.project()
    circuit = ada.circuit(project)
    job = ada.job(project, circuit, name="old")
    made = ada.post(f"{URL}/{job}/rpc/rerun", {"name": "new"}, 202)["data"]
    assert (made["attributes"]["name"], made["attributes"]["status"]["status"]) == ("new", "SUBMITTED")
    assert sorted(ada.names(URL)) == ["new", "old"]
    ada.post(f"{URL}/{job}/rpc/rerun", {}, 422)
    ada.post(f"{URL}/{job}/rpc/rerun", {"name": "new", "user_group": "physics"}, 422)


def test_delete(standing: Standing, ada: Person, bob: Person) -> None:
    """A deleted job is gone with its results; their owner is told so, and nobody else."""
    project = ada.project()
    job = ada.job(project, ada.circuit(project))
    result = standing.store_result(job, {"qubits": []})
    ada.get(f"/api/results/v1beta3/{result}")
    ada.delete(f"{URL}/{job}")
    ada.get(f"{URL}/{job}", code=404)
    ada.delete(f"{URL}/{job}", 404)
    ada.get(f"/api/results/v1beta3/{result}", code=410)
    bob.get(f"/api/results/v1beta3/{result}", code=404)
    assert ada.names(URL) == []
    ada.patch(f"/api/projects/v1beta2/{project}", {"archived": True})
    ada.delete(f"/api/projects/v1beta2/{project}")


def test_concurrent_deletions(standing: Standing, ada: Person) -> None:
    """One of many deletions at the same moment succeeds."""
    job = ada.new_job()
    standing.store_result(job, {})
    with ThreadPoolExecutor(6) as threads:
        codes = list(threads.map(lambda _: ada.http.delete(f"{URL}/{job}").status_code, range(6)))
    assert sorted(codes) == [204] + [404] * 5


def test_dropped_reply(tmp_path: Path) -> None:
    """A device that drops replies stores the job and sends no answer."""
    devices = tmp_path / "devices.yaml"
    common = "kind: nexus-hosted, backend: AerBackend, n_qubits: 4"
    devices.write_text(
        f"devices: [{{name: Lossy, config: AerConfig, drop_rate: 1, {common}}},"
        f" {{name: Sure, config: AerStateConfig, {common}}}]"
    )
    with standing_service(tmp_path, device_file=devices) as standing:
        ada = standing.user("ada")
        project = ada.project()
        circuit = ada.circuit(project)
        with pytest.raises(httpx.RemoteProtocolError):
            ada.job(project, circuit, name="lost")
        ada.job(project, circuit, name="sure", config={"type": "AerStateConfig"})
        assert ada.names(URL, ("sort", "name")) == ["lost", "sure"]
        found = ada.get(URL, ("filter[name_exact]", "lost"))["data"]
        assert [entry["attributes"]["status"]["status"] for entry in found] == ["SUBMITTED"]
