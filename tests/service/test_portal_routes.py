"""The REST interface of the Munich Quantum Portal, on each kind of database; nobody schedules the jobs."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from portal_person import BELL, BELL3, FLIPS, PortalPerson
from standing_service import Person, Standing, standing_service

from qjobs.service.mqp import jobs as mqp
from qjobs.service.tables import mqp_job

MOMENT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}")
SQL = ("'; DROP TABLE mqp_job; --", "x' OR '1'='1", "1 UNION SELECT password_hash FROM service_user", '" OR 1=1 --')


@pytest.fixture
def alice(standing: Standing, ada: Person) -> Iterator[PortalPerson]:
    """A user of the portal."""
    person = PortalPerson(standing.url, ada.access)
    yield person
    person.http.close()


@pytest.fixture
def rob(standing: Standing, bob: Person) -> Iterator[PortalPerson]:
    """Another one."""
    person = PortalPerson(standing.url, bob.access)
    yield person
    person.http.close()


@pytest.fixture
def claims(standing: Standing) -> Iterator[None]:
    """The job module works on the service's database, as a scheduler of somebody else's would."""
    with mqp.using(mqp.JobDatabase(standing.service.db, now=standing.service.clock.now)):
        yield


def finish(uuid: str, result: Any) -> None:
    """Claim every job, and complete one."""
    mqp.fetch_all_pending_jobs()
    mqp.complete_job_with_result(int(uuid), json.dumps(result), "Aer", "")


def test_resources(alice: PortalPerson) -> None:
    """A resource has the five fields that clients read, two of them literals of Python in a text."""
    found = alice.get("/v1/resources")
    assert {"Aer", "H1-1", "H2-1LE"} <= set(found)
    assert not {"AerState", "AerUnitary", "H1-1SC"} & set(found), "they give no counts"
    for name, resource in found.items():
        assert set(resource) == {"name", "qubits", "online", "connectivity", "instructions"}
        assert (resource["name"], resource["online"]) == (name, True)
        assert ast.literal_eval(resource["connectivity"]) is None
        assert ("measure", None) in ast.literal_eval(resource["instructions"])
        assert alice.get(f"/v1/resources/{name}") == resource


@pytest.mark.parametrize("path", ["/v1/resources/nothing", "/v1/resources/nothing/num_pending_jobs", "/v1/nothing"])
def test_not_there(alice: PortalPerson, path: str) -> None:
    """What is not there is 404, and the body says whose answer it is."""
    assert alice.get(path, 404)["code"] == "not_found"


def test_number_of_pending_jobs(alice: PortalPerson) -> None:
    """It counts the jobs of a resource that wait, of both kinds."""
    before = alice.get("/v1/resources/Aer/num_pending_jobs")["num_pending_jobs"]
    alice.job()
    alice.hamiltonian()
    assert alice.get("/v1/resources/Aer/num_pending_jobs") == {"num_pending_jobs": before + 2}


@pytest.mark.parametrize(
    ("circuit", "circuit_format"),
    [
        (str([BELL]), "qasm"),
        (str(FLIPS), "qasm"),
        (json.dumps(FLIPS), "qasm"),
        (BELL, "qasm"),
        (str([BELL3]), "qasm3"),
        (f"// a 'comment' with \"quotes\"\n{BELL}", "qasm"),
    ],
)
def test_new_job(alice: PortalPerson, circuit: str, circuit_format: str) -> None:
    """A list as Python or as JSON writes it, or a bare text, makes a PENDING job, and is kept as it came."""
    uuid = alice.job(circuit=circuit, circuit_format=circuit_format)
    assert alice.status(uuid) == "PENDING"
    found = alice.get(f"/v1/job/{uuid}/result")
    assert (found["result"], found["timestamp_completed"]) == (None, "")
    assert MOMENT.fullmatch(found["timestamp_submitted"])
    assert MOMENT.fullmatch(found["timestamp_scheduled"]), "the clients fail on an empty one"
    assert alice.get(f"/jobs/{uuid}")["job"]["circuit"] == circuit


@pytest.mark.parametrize(
    "changes",
    [
        {"shots": 0},
        {"shots": 10**7},
        {"shots": "10"},
        {"shots": True},
        {"shots": None},
        {"resource_name": "nothing"},
        {"resource_name": "H1-1SC"},
        {"resource_name": None},
        {"circuit": ""},
        {"circuit": "[]"},
        {"circuit": "[1, 2]"},
        {"circuit": "['OPENQASM 2.0;'"},
        {"circuit": "[" * 90},
        {"circuit": f"['{BELL}' '{BELL}']"},
        {"circuit": f"['{BELL}', print()]"},
        {"circuit": f"['{BELL}',{'1,' * 1_000_000}]"},
        {"circuit": str([BELL, "rubbish"])},
        {"circuit": str([BELL, BELL.replace("cx", "nonsense")])},
        {"circuit": str([BELL] * 301)},
        {"circuit": BELL.replace("q[2]", "q[41]")},
        {"circuit": BELL3},
        {"circuit_format": "qasm3"},
        {"circuit_format": "qpy"},
        {"queued": "yes"},
        {"surprise": 1},
    ],
)
def test_bad_job(alice: PortalPerson, changes: dict[str, Any]) -> None:
    """What cannot be run is refused, and leaves no job."""
    before = alice.get("/jobs")["totaljob_nr"]
    assert alice.post(422, **changes)["code"] == "unprocessable_entity"
    assert alice.get("/jobs")["totaljob_nr"] == before


@pytest.mark.parametrize(
    "changes",
    [
        {"interaction_str": "0 1; x;"},
        {"interaction_str": ""},
        {"interaction_str": "0 99;", "coefficients_str": "1;"},
        {"coefficients_str": "0.5;"},
        {"coefficients_str": "0.5 nan;"},
        {"coefficients_str": "0 0;"},
        {"resource_name": "nothing"},
    ],
)
def test_bad_hamiltonian(alice: PortalPerson, changes: dict[str, Any]) -> None:
    """A Hamiltonian that cannot be read, or that the resource cannot hold, is refused."""
    alice.hamiltonian(422, **changes)


@pytest.mark.parametrize("text", SQL)
def test_sql(alice: PortalPerson, standing: Standing, text: str) -> None:
    """SQL in any text is a text like others."""
    uuid = alice.job(key=text)
    alice.post(422, resource_name=text)
    alice.post(422, circuit=text)
    alice.post(422, circuit_format=text)
    alice.hamiltonian(422, interaction_str=text)
    alice.hamiltonian(422, coefficients_str=text)
    for path in (f"/v1/job/{text}/status", f"/v1/hamiltonian_job/{text}/result", f"/v1/resources/{text}"):
        alice.get(path, 404)
    for name in ("order", "order_by", "filter", "p", "jpp"):
        alice.get("/jobs", 422, **{name: text})
    alice.get("/v1/jobs", 400, cursor=text[:30])
    assert alice.get(f"/jobs/{text}") == {"job": None}
    login = alice.http.post("/login", json={"identity": text, "secret": text})
    assert alice.answer(login, 401)["code"] == "unauthorized"
    assert alice.status(uuid) == "PENDING"
    with standing.service.db.read() as connection:
        assert sa.inspect(connection).has_table("mqp_job")


def test_key(alice: PortalPerson, rob: PortalPerson) -> None:
    """The same key and body are the same job, another body is a conflict; keys belong to their users."""
    uuid = alice.job(key="k")
    assert alice.job(key="k") == uuid
    assert alice.post(409, key="k", shots=11)["code"] == "conflict"
    assert rob.job(key="k") != uuid
    assert alice.job() != alice.job(), "without a key each request makes a job"
    alice.post(422, key="k" * 201)


def test_others_jobs(alice: PortalPerson, rob: PortalPerson) -> None:
    """Another user's job does not exist; neither does one of the other kind, or of no id at all."""
    uuid = alice.job()
    assert alice.status(uuid) == "PENDING"
    for what in ("status", "result", "cancel_reason"):
        rob.get(f"/v1/job/{uuid}/{what}", 404)
        alice.get(f"/v1/hamiltonian_job/{uuid}/{what}", 404)
        alice.get(f"/v1/job/{uuid}0000/{what}", 404)
        alice.get(f"/v1/other_job/{uuid}/{what}", 422)
    rob.cancel(uuid, 404)
    assert rob.get(f"/jobs/{uuid}") == {"job": None}
    assert alice.status(uuid) == "PENDING"


def test_result(alice: PortalPerson, claims: None) -> None:
    """A result is the text of one histogram, or of a list of them in the order of the circuits."""
    one = alice.job()
    finish(one, {"00": 4, "11": 6})
    assert (alice.status(one), alice.result(one)) == ("COMPLETED", {"00": 4, "11": 6})
    many = alice.job(circuit=str(FLIPS))
    finish(many, [{"00": 10}, {"01": 10}, {"10": 10}])
    assert alice.result(many) == [{"00": 10}, {"01": 10}, {"10": 10}]
    found = alice.get(f"/v1/job/{many}/result")
    assert all(MOMENT.fullmatch(found[name]) for name in found if name != "result")


def test_words(alice: PortalPerson, claims: None) -> None:
    """A status is one of the five words that the clients know."""
    pending, waiting, failed, cancelled = (alice.job(resource_name=name) for name in ("H1-1", "Aer", "H2-1", "Aer"))
    mqp.fetch_all_pending_jobs_except_for_resources(["H1-1"])
    mqp.fail_job(int(failed), "it broke")
    mqp.cancel_job(int(cancelled), "the resource is offline")
    words = [alice.status(uuid) for uuid in (pending, waiting, failed, cancelled)]
    assert words == ["PENDING", "WAITING", "FAILED", "CANCELLED"]
    assert alice.reason(cancelled) == "the resource is offline"
    assert [alice.reason(uuid) for uuid in (pending, failed)] == ["", ""]
    assert alice.get(f"/v1/job/{failed}/result")["result"] is None


def test_cancel(alice: PortalPerson, claims: None) -> None:
    """A job is cancelled once, with its reason; what is COMPLETED stays so, and says so."""
    uuid = alice.job(queued=True)
    for _ in range(2):
        assert alice.cancel(uuid) == {"status": "CANCELLED"}
    assert alice.reason(uuid) == "The job was cancelled by its owner."
    done = alice.job()
    finish(done, {"00": 10})
    assert alice.cancel(done, 409)["code"] == "conflict"
    assert alice.status(done) == "COMPLETED"
    hamiltonian = alice.hamiltonian()["uuid"]
    alice.cancel(hamiltonian, kind="hamiltonian_job")
    assert alice.status(hamiltonian, "hamiltonian_job") == "CANCELLED"


def test_own_list(alice: PortalPerson, rob: PortalPerson) -> None:
    """`GET /v1/jobs` has the user's jobs of both kinds, the newest first, page by page, with their keys."""
    uuids = [alice.job(key=f"key {number}") for number in range(4)] + [alice.hamiltonian()["uuid"]]
    rob.job()
    first = alice.get("/v1/jobs", limit=3)
    second = alice.get("/v1/jobs", limit=3, cursor=first["next_cursor"])
    found = [*first["jobs"], *second["jobs"]]
    assert ([each["uuid"] for each in found], second["next_cursor"]) == (uuids[::-1], None)
    assert [each["type"] for each in found[:2]] == ["hamiltonian_job", "job"]
    assert (found[0]["idempotency_key"], found[1]["idempotency_key"]) == (None, "key 3")
    alice.get("/v1/jobs", 422, limit=0)
    alice.get("/v1/jobs", 400, cursor="-1")


def test_website(alice: PortalPerson) -> None:
    """The website's list has pages in both orders, and a total that respects the filter."""
    uuids = [int(alice.job()) for _ in range(5)]
    alice.cancel(str(uuids[0]))
    up = [alice.get("/jobs", p=page, jpp=2)["jobs"] for page in range(3)]
    down = [alice.get("/jobs", p=page, jpp=2, order="DESC", order_by="ID")["jobs"] for page in range(3)]
    assert [row["id"] for rows in up for row in rows] == uuids
    assert [row["id"] for rows in down for row in rows] == uuids[::-1]
    cancelled = alice.get("/jobs", filter="CANCELLED", order_by="timestamp_submitted")
    assert ([row["id"] for row in cancelled["jobs"]], cancelled["totaljob_nr"]) == ([uuids[0]], 1)
    row = alice.get(f"/jobs/{uuids[1]}")["job"]
    assert {"circuit", "timestamp_submitted", "status", "note", "cost", "result"} <= set(row)
    assert alice.get("/jobs/999999999") == {"job": None}


def test_website_login(standing: Standing) -> None:
    """Signing in gives a bearer token; a wrong secret gives none."""
    email = "web@localhost.test"
    standing.service.accounts.add_user(email, "her secret")
    given = {"identity": email, "secret": "her secret"}
    token = httpx.post(f"{standing.url}/login", json=given, timeout=60).json()["access_token"]
    person = PortalPerson(standing.url, token)
    assert person.get("/jobs") == {"jobs": [], "totaljob_nr": 0}
    wrong = httpx.post(f"{standing.url}/login", json={**given, "secret": "wrong"}, timeout=60)
    assert person.answer(wrong, 401)["code"] == "unauthorized"
    person.http.close()


@pytest.mark.parametrize("header", [None, "Bearer", "Bearer forged", "Basic YTpi", "Bearer " + "x" * 5000, "forged"])
def test_no_token(standing: Standing, header: str | None) -> None:
    """Without a token that is known nothing is answered."""
    headers = {} if header is None else {"Authorization": header}
    for path in ("/v1/resources", "/v1/job/1/status", "/v1/jobs", "/jobs"):
        answer = httpx.get(f"{standing.url}{path}", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert httpx.post(f"{standing.url}/v1/job", headers=headers, json={}).status_code == 401


def test_token_ends(standing: Standing) -> None:
    """A token that was issued lives as long as it was given, and ends with its user."""
    sessions = standing.service.sessions
    email = "token@localhost.test"
    standing.service.accounts.add_user(email, "a secret")
    good = PortalPerson(standing.url, sessions.issue(email, 60.0))
    assert good.get("/v1/jobs") == {"jobs": [], "next_cursor": None}
    over = PortalPerson(standing.url, sessions.issue(email, -1.0))
    over.get("/v1/jobs", 401)
    standing.service.accounts.remove_user(email)
    good.get("/v1/jobs", 401)
    for person in (good, over):
        person.http.close()


def test_proof_of_refusal(alice: PortalPerson, standing: Standing, ada: Person) -> None:
    """A refusal proves that it is the service's own, also where the request goes no further than the first check."""
    answers = [
        alice.http.post("/v1/job", content=b"\xff"),
        alice.http.post("/v1/job", content=b"{"),
        alice.http.post("/v1/job", content=b'{"a": NaN}'),
        alice.http.get("/v1/job"),
        alice.http.put("/v1/job/1/status"),
    ]
    for answer in answers:
        assert answer.json()["code"], answer.text
        alice.answer(answer, answer.status_code)
    assert list(ada.get("/api/nothing", code=404)) == ["message"], "Nexus's client knows one field"


def test_lost_reply(tmp_path: Path) -> None:
    """The device file can drop replies; the key finds the job that was made."""
    devices = tmp_path / "devices.yaml"
    devices.write_text(
        "devices:\n  - {name: Aer, kind: nexus-hosted, backend: B, config: AerConfig, n_qubits: 5, drop_rate: 1.0}\n"
    )
    with standing_service(tmp_path / "data", device_file=devices) as standing:
        person = PortalPerson(standing.url, standing.user("ada").access)
        with pytest.raises(httpx.TransportError):
            person.job(key="lost")
        (listed,) = person.get("/v1/jobs")["jobs"]
        assert listed["idempotency_key"] == "lost"
        assert person.job(key="lost") == listed["uuid"]
        query = sa.select(sa.func.count()).select_from(mqp_job)
        with standing.service.db.read() as connection:
            assert connection.scalar(query) == 1
        person.http.close()
