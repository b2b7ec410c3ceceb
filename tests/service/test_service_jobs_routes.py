"""Jobs over HTTP, and the web socket of their status; what runs them stands still here."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from standing_service import Person, Standing, fresh_database, sample, shape, standing_service
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

URL = "/api/jobs/v1beta3"
FINAL = ("COMPLETED", "CANCELLED", "ERROR", "DEPLETED", "TERMINATED")
STATUSES = ("SUBMITTED", "QUEUED", "RUNNING", "RETRYING", "CANCELLING", *FINAL)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def standing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    folder = tmp_path_factory.mktemp("standing")
    with fresh_database(request.param, folder, request) as url, standing_service(folder, url) as standing:
        yield standing


@pytest.fixture
def ada(standing: Standing) -> Person:
    return standing.user("ada", groups=("physics",))


def posted(name: str) -> dict[str, Any]:
    """Attributes of a job as the real client posted it."""
    samples = json.loads((Path(__file__).with_name("nexus_samples.json")).read_text())
    attributes: dict[str, Any] = samples[f"POST {URL} {name} -> 202"]["request"]["data"]["attributes"]
    return attributes


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
def test_jobs_answer_with_the_keys_and_types_that_the_real_client_accepted(ada: Person, kind: str) -> None:
    project = ada.project()
    made = ada.make(URL, project, with_items(posted(kind), ada.circuit(project)), 202)
    assert comparable(made) == comparable(sample(f"POST {URL} {kind} -> 202"))
    job = made["data"]["id"]
    assert comparable(ada.get(f"{URL}/{job}")) == comparable(sample(f"GET {URL}/{{id}} {kind} SUBMITTED -> 200"))
    status = ada.get(f"{URL}/{job}/attributes/status")
    assert shape(status) == shape(sample(f"GET {URL}/{{id}}/attributes/status -> 200"))
    assert status["message"] == "Job has been submitted to Nexus."


def test_finished_jobs_too(standing: Standing, ada: Person) -> None:
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


def test_a_definition_comes_back_as_it_was_posted(ada: Person) -> None:
    project = ada.project()
    circuits = [ada.circuit(project), ada.circuit(project)]
    config = {"type": "AerConfig", "n_qubits": 40, "simulation_method": "automatic", "unknown": {"deep": [1, None]}}
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


def test_programs_are_named_once_with_their_kind(ada: Person) -> None:
    project = ada.project()
    first = ada.circuit(project)
    second = ada.circuit(project)
    job = ada.get(f"{URL}/{ada.job(project, second, first, second)}")["data"]
    assert job["relationships"]["programs"]["data"] == [
        {"id": second, "type": "circuit"},
        {"id": first, "type": "circuit"},
    ]


def test_the_smallest_body_of_a_third_party_is_enough(ada: Person) -> None:
    project = ada.project()
    definition = {
        "backend_config": {"type": "AerConfig"},
        "items": [{"program_id": ada.circuit(project), "n_shots": 1}],
    }
    for path in (URL, f"{URL}/"):
        made = ada.make(path, project, {"name": "n", "job_type": "execute", "definition": definition}, 202)
        assert made["data"]["attributes"]["description"] == ""


def test_bad_jobs_are_refused_in_words(standing: Standing, ada: Person) -> None:
    project = ada.project()
    circuit = ada.circuit(project)
    theirs = standing.user("bob")
    foreign = theirs.circuit(theirs.project())
    items = [{"program_id": circuit, "n_shots": 1}]
    usual = {"backend_config": {"type": "AerConfig"}, "items": items}
    good: dict[str, Any] = {"name": "n", "job_type": "execute", "definition": usual}

    def refused(attributes: Any, *codes: int) -> str:
        body = {"data": {"attributes": attributes, "relationships": {"project": {"data": {"id": project}}}}}
        answer = ada.http.post(URL, json=body)
        assert answer.status_code in codes, answer.text
        assert list(answer.json()) == ["message"]
        return str(answer.json()["message"])

    def definition(**change: Any) -> dict[str, Any]:
        return {**good, "definition": {**good["definition"], **change}}

    assert "300" in refused(definition(items=items * 301), 400)
    refused(definition(items=[]), 400)
    refused(definition(items="x"), 400)
    refused(definition(items=[5]), 400)
    refused(definition(backend_config=None), 400)
    refused(definition(backend_config={"type": ["x"]}), 400)
    assert refused(definition(user_group="made_up"), 403) == "Not a member of any group with name: made_up"
    region = "Nexus hosted simulators can only be run in the current region"
    assert refused(definition(target_region="us"), 400) == region
    for program in (foreign, str(uuid.uuid4())):
        message = refused(definition(items=[{"program_id": program, "n_shots": 1}]), 404)
        assert message.replace(program, "") == "item 1: program  not found"
    refused({**good, "job_type": "hamiltonian"}, 422)
    refused({**good, "definition": []}, 422)
    refused({**good, "name": None}, 422)
    refused({**good, "properties": {"a": None}}, 422)
    assert ada.names(URL) == []
    assert ada.get(f"{URL}/meta/count") == {"count": 0}
    ada.make(URL, project, good, 202)


def test_another_users_job_looks_like_none(standing: Standing, ada: Person) -> None:
    bob = standing.user("bob")
    project = ada.project()
    job = ada.job(project, ada.circuit(project))
    unknown = str(uuid.uuid4())

    def asks(found: str) -> list[str]:
        return [
            str(body["message"]).replace(found, "")
            for body in (
                bob.get(f"{URL}/{found}", code=404),
                bob.get(f"{URL}/{found}/attributes/status", code=404),
                bob.post(f"{URL}/{found}/rpc/cancel", {}, 404),
                bob.post(f"{URL}/{found}/rpc/retry", {"remote_retry_strategy": "FULL_RESTART"}, 404),
                bob.post(f"{URL}/{found}/rpc/rerun", {"name": "mine"}, 404),
                bob.delete(f"{URL}/{found}", 404),
            )
        ]

    assert asks(job) == asks(unknown) == ["job  not found"] * 6
    assert bob.names(URL) == []
    assert ada.get(f"{URL}/{job}/attributes/status")["status"] == "SUBMITTED"


def test_a_reader_reads_jobs_and_changes_none(standing: Standing, ada: Person) -> None:
    bob = standing.user("bob")
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


def test_a_list_has_the_keys_of_the_sample_but_items(standing: Standing, ada: Person) -> None:
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


def test_the_status_of_a_hundred_jobs_is_one_request(standing: Standing, ada: Person) -> None:
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


def test_cancel_with_and_without_a_body(ada: Person) -> None:
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
    for wrong in ({"item_ids": ["2"]}, {"item_ids": 2}, {"item_ids": [2**40]}, [], "x"):
        ada.post(f"{URL}/{job}/rpc/cancel", wrong, 422)
    ada.post(f"{URL}/{job}/rpc/cancel", {"item_ids": [4]}, 404)


def test_retry_takes_the_strategies_of_the_client(standing: Standing, ada: Person) -> None:
    project = ada.project()
    job = ada.job(project, ada.circuit(project))

    def retried(**body: Any) -> str:
        standing.move(job, "ERROR")
        ada.post(f"{URL}/{job}/rpc/retry", body, 202)
        return str(ada.get(f"{URL}/{job}/attributes/status")["status"])

    assert retried(remote_retry_strategy="DEFAULT") == "ERROR"
    for strategy in ("ALLOW_RESUBMIT", "FORCE_RESUBMIT", "FULL_RESTART"):
        assert retried(remote_retry_strategy=strategy) == "RETRYING"
    assert retried(remote_retry_strategy="FULL_RESTART", retry_status=["CANCELLED"]) == "ERROR"
    assert retried(remote_retry_strategy="FULL_RESTART", retry_status=["ERROR"], user_group="physics") == "RETRYING"
    standing.move(job, "ERROR")
    for wrong in ({"remote_retry_strategy": "AGAIN"}, {"retry_status": ["DONE"]}, {"retry_status": "ERROR"}, []):
        ada.post(f"{URL}/{job}/rpc/retry", wrong, 422)
    ada.post(f"{URL}/{job}/rpc/retry", {"remote_retry_strategy": "FULL_RESTART", "user_group": "others"}, 403)
    assert ada.get(f"{URL}/{job}/attributes/status")["status"] == "ERROR"


def test_rerun_makes_a_new_job_of_the_same_definition(standing: Standing, ada: Person) -> None:
    project = ada.project()
    circuit = ada.circuit(project)
    job = ada.job(project, circuit, circuit, name="old", n_shots=17, properties={"k": 1})
    standing.move(job, "RUNNING")
    made = ada.post(f"{URL}/{job}/rpc/rerun", {"name": "new"}, 202)["data"]
    old = ada.get(f"{URL}/{job}")["data"]
    assert made["id"] != old["id"]
    assert made["attributes"]["name"] == "new"
    assert made["attributes"]["status"]["status"] == "SUBMITTED"
    assert old["attributes"]["status"]["status"] == "RUNNING"

    def asked(found: Any) -> Any:
        definition = found["attributes"]["definition"]
        return definition["backend_config"], [(item["program_id"], item["n_shots"]) for item in definition["items"]]

    assert asked(made) == asked(old)
    assert sorted(ada.names(URL)) == ["new", "old"]
    ada.post(f"{URL}/{job}/rpc/rerun", {}, 422)


def test_a_deleted_job_is_gone_with_its_results(standing: Standing, ada: Person) -> None:
    bob = standing.user("bob")
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


def test_many_who_delete_a_job_at_once(standing: Standing, ada: Person) -> None:
    project = ada.project()
    job = ada.job(project, ada.circuit(project))
    standing.store_result(job, {})
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda: codes.append(ada.http.delete(f"{URL}/{job}").status_code)) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [204] + [404] * 5


def test_a_device_that_drops_replies_stores_the_job_and_says_nothing(tmp_path: Path) -> None:
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


def watch(who: Person, job: str, cookie: str | None = None, **options: Any) -> ClientConnection:
    """The status socket of a job, opened as the real client does."""
    url = f"{who.standing.url.replace('http', 'ws', 1)}{URL}/{job}/attributes/status/ws"
    headers = {"Cookie": f"myqos_id={who.access}"} if cookie is None else {"Cookie": cookie} if cookie else {}
    return connect(url, additional_headers=headers, **options)


def told(socket: ClientConnection) -> dict[str, Any]:
    return dict(json.loads(socket.recv(timeout=10)))


def test_a_socket_tells_the_status_at_once_each_change_and_then_ends(standing: Standing, ada: Person) -> None:
    project = ada.project()
    job = ada.job(project, ada.circuit(project))
    with watch(ada, job) as socket:
        assert told(socket) == ada.get(f"{URL}/{job}/attributes/status")
        for status in ("QUEUED", "RUNNING", "COMPLETED"):
            started = time.monotonic()
            standing.move(job, status, message=f"now {status}")
            frame = told(socket)
            assert time.monotonic() - started < 2
            assert (frame["status"], frame["message"]) == (status, f"now {status}")
            assert datetime.fromisoformat(frame[f"{status.lower()}_time"]).tzinfo is not None
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000


@pytest.mark.parametrize("status", FINAL)
def test_a_socket_of_a_final_job_tells_it_and_ends(standing: Standing, ada: Person, status: str) -> None:
    project = ada.project()
    job = ada.job(project, ada.circuit(project))
    standing.move(job, status)
    with watch(ada, job) as socket:
        assert told(socket)["status"] == status
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000


@pytest.mark.parametrize("status", ["RETRYING", "CANCELLING", "QUEUED"])
def test_a_socket_stays_open_while_nothing_is_final(standing: Standing, ada: Person, status: str) -> None:
    project = ada.project()
    job = ada.job(project, ada.circuit(project))
    standing.move(job, status)
    with watch(ada, job) as socket:
        assert told(socket)["status"] == status
        socket.send("what is said is not heard")
        with pytest.raises(TimeoutError):
            socket.recv(timeout=0.5)
        assert socket.ping().wait(10)


def test_a_change_without_a_sign_is_seen_after_a_while(standing: Standing, ada: Person) -> None:
    """Another process of the same service may have made it."""
    from qjobs.service import tables as schema

    project = ada.project()
    job = ada.job(project, ada.circuit(project))
    with watch(ada, job) as socket:
        told(socket)
        with standing.service.db.write() as connection:
            connection.execute(schema.job.update().where(schema.job.c.job_id == job).values(message="unannounced"))
        assert told(socket)["message"] == "unannounced"


def refusal(who: Person, job: str, cookie: str | None = None) -> httpx.Response:
    with pytest.raises(InvalidStatus) as refused:
        watch(who, job, cookie)
    response = refused.value.response
    return httpx.Response(response.status_code, content=bytes(response.body or b""))


def test_a_socket_without_a_token_or_with_a_wrong_one_is_refused_before_it_opens(ada: Person) -> None:
    project = ada.project()
    job = ada.job(project, ada.circuit(project))
    for cookie in ("", "myqos_id=forged", "myqos_id=", f"other={ada.access}", f"myqos_id={ada.access}x"):
        answer = refusal(ada, job, cookie)
        assert answer.status_code == 401
        assert answer.json() == {"message": "Unauthorized"}


def test_a_socket_of_another_users_job_looks_like_one_of_none(standing: Standing, ada: Person) -> None:
    bob = standing.user("bob")
    project = ada.project()
    job = ada.job(project, ada.circuit(project))
    unknown = str(uuid.uuid4())
    for found in (job, unknown, "nonsense"):
        answer = refusal(bob, found)
        assert answer.status_code == 404
        assert answer.json()["message"].replace(f"'{found}'", found) == f"job {found} not found"


def test_a_socket_of_a_job_that_is_deleted_ends_abnormally(ada: Person) -> None:
    project = ada.project()
    job = ada.job(project, ada.circuit(project))
    with watch(ada, job) as socket:
        told(socket)
        ada.delete(f"{URL}/{job}")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1011
    assert refusal(ada, job).status_code == 404


def test_clients_that_leave_are_forgotten(standing: Standing, ada: Person) -> None:
    project = ada.project()
    job = ada.job(project, ada.circuit(project))
    for _ in range(20):
        with watch(ada, job) as socket:
            told(socket)
    socket = watch(ada, job)
    told(socket)
    socket.socket.close()  # no closing handshake
    standing.move(job, "QUEUED")
    deadline = time.monotonic() + 10
    while standing.server.server_state.connections and time.monotonic() < deadline:
        sockets = [found for found in standing.server.server_state.connections if "WebSocket" in type(found).__name__]
        if not sockets:
            break
        time.sleep(0.05)
    assert not sockets
    assert not standing.service.changes._waiting


def test_the_end_of_the_service_is_told_with_1012(tmp_path: Path) -> None:
    with standing_service(tmp_path) as standing:
        ada = standing.user("ada")
        project = ada.project()
        job = ada.job(project, ada.circuit(project))
        with watch(ada, job) as socket:
            told(socket)
            stopping = threading.Thread(target=standing.stop)
            stopping.start()
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=10)
            stopping.join(20)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
