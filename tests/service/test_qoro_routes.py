"""The REST interface of Qoro, on each kind of database; nothing runs."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from qoro_person import BELL, FLIPS, QoroPerson, observables, packed
from standing_service import Person, Standing

from qjobs.service.qoro.caller import knows_all_words
from qjobs.service.qoro.fragments import MAX_TEXT_BYTES
from qjobs.service.qoro.routes import MAX_FRAGMENT_BYTES
from qjobs.service.tables import QoroStatus

NOBODYS = "00000000-0000-4000-8000-000000000000"
OPEN = {"finalized": "false"}


@pytest.fixture
def alice(standing: Standing, ada: Person) -> Iterator[QoroPerson]:
    """A user of Qoro."""
    person = QoroPerson(standing.url, ada.access)
    yield person
    person.http.close()


@pytest.fixture(scope="module")
def sender(standing_on_sqlite: Standing) -> Iterator[QoroPerson]:
    """A user whose requests are refused before they come to a database."""
    person = QoroPerson(standing_on_sqlite.url, standing_on_sqlite.user("ada").access)
    yield person
    person.http.close()


@pytest.fixture
def rob(standing: Standing, bob: Person) -> Iterator[QoroPerson]:
    """Another one."""
    person = QoroPerson(standing.url, bob.access)
    yield person
    person.http.close()


@pytest.fixture
def old(standing: Standing, ada: Person) -> Iterator[QoroPerson]:
    """Alice with Divi 0.13, which does not say who it is."""
    person = QoroPerson(standing.url, ada.access, agent="python-requests/2.32.5")
    yield person
    person.http.close()


def test_connection(alice: QoroPerson, standing: Standing) -> None:
    """The base address answers whoever has a token, with and without a slash at its end."""
    assert alice.get("/")["status"] == alice.get("")["status"] == "ok"
    refused = httpx.get(f"{standing.url}/qoro/api/")
    assert (refused.status_code, list(refused.json())) == (401, ["error"])


def test_targets(alice: QoroPerson) -> None:
    """What simulates without noise is a cluster; what else gives counts is a system; a checker is neither."""
    clusters = alice.get("/simulatorcluster/")
    assert [cluster["name"] for cluster in clusters] == ["qoro_maestro", "Aer"]
    assert set(clusters[0]) == {"name", "access_level", "minimum_tier", "supports_expval"}
    systems = {system["name"]: system for system in alice.get("/qpusystem/")}
    assert set(systems) == {"H1-1", "H1-1E", "H1-1LE", "H2-1", "H2-1E", "H2-1LE"}
    (qpu,) = systems["H1-1"]["qpus"]
    assert qpu == {"nickname": "H1-1", "q_bits": 20, "status": "online", "system_kind": "hardware"}


def test_new_job(alice: QoroPerson) -> None:
    """A job is PENDING and has no results, before and after it is finalised; unknown fields are not read."""
    job_id = alice.init(something_new={"a": 1})
    assert alice.status(job_id) == "PENDING"
    assert "PENDING" in alice.get(f"/job/{job_id}/resultsV2/", 400)["error"]
    alice.add(job_id, FLIPS)
    assert alice.status(job_id) == "SCHEDULED"
    alice.get(f"/job/{job_id}/resultsV2/", 400)


@pytest.mark.parametrize(
    "changes",
    [
        {"simulator_cluster": None},
        {"qpu_system_name": "H1-1"},
        {"simulator_cluster": "nothing"},
        {"simulator_cluster": "H1-1"},
        {"simulator_cluster": "AerState"},
        {"simulator_cluster": None, "qpu_system_name": "Aer"},
        {"simulator_cluster": None, "qpu_system_name": "H1-1SC"},
        {"simulator_cluster": None, "qpu_system_name": "H1-1", "job_type": "EXPECTATION"},
        {"job_type": "VALIDATE"},
        {"job_type": None},
        {"tag": 17},
        {"use_packing": "yes"},
        {"execution_configuration": {"noisy_device": "ibm_fake_fez"}},
        {"maestro_config": {"noise_model": [{"method": "set_x", "args": [], "kwargs": {}}]}},
        {"maestro_config": 3},
    ],
)
def test_refused_job(sender: QoroPerson, changes: dict[str, Any]) -> None:
    """What cannot be run, or would be run otherwise than it was asked for, is refused with a sentence."""
    assert len(sender.init(400, **changes)) > 10


def test_settings(alice: QoroPerson) -> None:
    """Settings that change no result are kept, and can be read and replaced while the job waits."""
    job_id = alice.init(maestro_config={"max_bond_dimension": 16}, device_config=None)
    assert alice.get(f"/job/{job_id}/execution_config/")["maestro_config"] == {"max_bond_dimension": 16}
    asked = {"bond_dimension": 8}
    answer = alice.answer(alice.http.post(f"/job/{job_id}/execution_config/", json=asked))
    assert answer["execution_configuration"] == asked
    alice.cancel(job_id)
    alice.answer(alice.http.post(f"/job/{job_id}/execution_config/", json=asked), 409)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"circuits": {"a": "not base64!"}}, "base64"),
        ({"circuits": {"a": base64.b64encode(b"no gzip").decode()}}, "gzip"),
        ({"circuits": {"a": base64.b64encode(gzip.compress(b"OPENQASM 2.0;" * 99)[:-9]).decode()}}, "cut off"),
        ({"circuits": {"a": packed(BELL) + packed(BELL)}}, "base64"),
        ({"circuits": {"a": packed(b"\xff\xfe")}}, "UTF-8"),
        ({"circuits": {"a": packed("rubbish")}}, "'a'"),
        ({"circuits": {"a": packed(BELL.replace("cx q[0],q[1]", "rx(t) q[0]"))}}, "'a'"),
        ({"circuits": {"a": packed(BELL.replace("measure q -> c;", ""))}}, "measures nothing"),
        ({"circuits": {"a": packed(BELL.replace("q[2]", "q[41]").replace("c[2]", "c[41]"))}}, "41 qubits"),
        ({"circuits": {"l" * 1001: packed(BELL)}}, ""),
        ({"circuits": {"a": 3}}, ""),
        ({"circuits": {}}, "at least one circuit"),
        ({"circuits": None}, "either circuits"),
        ({"circuit_template": packed(BELL)}, "either circuits"),
        ({"shots": 0}, "shots"),
        ({"shots": 10**8}, "at most 1000000 shots"),
        ({"shots": "20"}, "shots"),
        ({"shot_groups": [[0, 1, 5]]}, "either shots"),
        ({"shots": None, "shot_groups": [[0, 2, 5]]}, "shot_groups"),
        ({"shots": None, "shot_groups": []}, "cover 0 of 1"),
        ({"shots": None, "shot_groups": [[0, 1, 0]]}, "shot_groups"),
        ({"shots": None, "shot_groups": [[0, 1]]}, "shot_groups"),
        ({"mode": "replace"}, "append"),
        ({"finalized": "maybe"}, "true"),
        ({"finalized": True}, "true"),
        ({"observables": observables("Z0")}, "EXPECTATION"),
    ],
)
def test_refused_fragment(sender: QoroPerson, changes: dict[str, Any], words: str) -> None:
    """A fragment that cannot be run is refused whole, with the reason; the job stays as it was."""
    job_id = sender.init()
    assert words in sender.add(job_id, None, 400, **{"circuits": {"a": packed(BELL)}, **changes})
    assert sender.status(job_id) == "PENDING"
    sender.add(job_id, {"a": BELL})


@pytest.mark.parametrize(
    ("rows", "changes", "words"),
    [
        ({"a": [0.1]}, {}, "1 values for 2"),
        ({"a": [0.1, 0.2]}, {"parameter_names": ["t", "t"]}, "twice"),
        ({"a": [0.1]}, {"parameter_names": ["t"]}, "'a'"),
        ({}, {}, "parameter set"),
        ({"a": ["0", 0]}, {}, "values"),
        ({"a": [True, 0]}, {}, "values"),
        ({"a": [0, 0]}, {"circuit_template": "!"}, "base64"),
        ({"a": [0, 0]}, {"parameter_sets": [{"label": "a", "values": [0, 0]}] * 2}, "twice"),
    ],
)
def test_refused_template(sender: QoroPerson, rows: dict[str, Any], changes: dict[str, Any], words: str) -> None:
    """A template needs a value for each of its parameters, and labels that differ."""
    assert words in sender.rows(sender.init(), rows, 400, **changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"observables": None}, "needed"),
        ({"observables": "Z0;X1"}, "@gzs"),
        ({"observables": "@gzs2:!"}, "base64"),
        ({"observables": observables("Z0Z0")}, "at most once"),
        ({"observables": observables("Z2")}, "at most once"),
        ({"observables": observables("ZZ")}, "no term"),
        ({"observables": observables("Z0;")}, "no term"),
        ({"observables": observables("Z2", n_qubits=3)}, "3 qubits wide"),
        ({"observables": f"@gzs999999:{packed(';'.join('I' * 1000))}"}, "bytes together"),
        ({"circuit_ham_map": [[0, 1], [1, 2]]}, "2 ranges for 1"),
        ({"circuit_ham_map": [[0, 9]]}, "no range"),
        ({"circuit_ham_map": [[0]]}, "circuit_ham_map"),
        ({"shot_groups": [[0, 1, 5]], "shots": None}, "exact"),
    ],
)
def test_refused_observables(sender: QoroPerson, changes: dict[str, Any], words: str) -> None:
    """Observables are checked when they come, against the circuits too."""
    job_id = sender.init(job_type="EXPECTATION")
    given = {"observables": observables("Z0;X0X1;I"), **changes}
    assert words in sender.add(job_id, {"a": BELL}, 400, **given)


def test_other_observables(alice: QoroPerson) -> None:
    """All fragments of a job have the same ones: results are looked up by their terms."""
    job_id = alice.init(job_type="EXPECTATION")
    alice.add(job_id, {"a": BELL}, **OPEN, observables=observables("Z0"))
    assert "same" in alice.add(job_id, {"b": BELL}, 400, observables=observables("Z1"))


def test_labels(alice: QoroPerson) -> None:
    """A label is there once in a job, whichever fragment it came with; the whole fragment is refused."""
    job_id = alice.init()
    alice.add(job_id, {"a": BELL}, **OPEN)
    assert "'a'" in alice.add(job_id, {"b": BELL, "a": BELL}, 400)
    alice.add(job_id, {"b": BELL})


def test_same_fragment_again(alice: QoroPerson) -> None:
    """A fragment that comes again, because the reply was lost, adds nothing; the last one too."""
    job_id = alice.init()
    for _ in range(2):
        alice.add(job_id, {"a": BELL}, **OPEN)
    for _ in range(2):
        alice.add(job_id, {"b": BELL})
    assert alice.cancel(job_id)["circuits_cancelled"] == 2


def test_after_the_last_fragment(alice: QoroPerson) -> None:
    """A job that is finalised takes no more circuits, and so does one that was cancelled."""
    job_id = alice.init()
    alice.add(job_id, {"a": BELL})
    assert "finalised" in alice.add(job_id, {"b": BELL}, 409)
    cancelled = alice.init()
    alice.cancel(cancelled)
    assert "cancelled" in alice.add(cancelled, {"b": BELL}, 409)


def test_empty_last_fragment(alice: QoroPerson) -> None:
    """The last fragment may be empty where circuits came before."""
    job_id = alice.init()
    alice.add(job_id, {"a": BELL}, **OPEN)
    alice.add(job_id, {})
    assert alice.status(job_id) == "SCHEDULED"


def test_bombs(sender: QoroPerson) -> None:
    """What unpacks to more than is read is refused, in one circuit, in many, and in the rows of a template."""
    job_id = sender.init()
    bomb = packed(b" " * (MAX_TEXT_BYTES + 1))
    assert len(bomb) < 100_000
    assert "bytes together" in sender.add(job_id, None, 400, circuits={"a": bomb})
    half = packed(BELL + " " * (MAX_TEXT_BYTES // 2))
    assert "bytes together" in sender.add(job_id, None, 400, circuits={"a": half, "b": half})
    rows = {f"r{number}": [0.0, 0.0] for number in range(200)}
    assert "bytes together" in sender.rows(job_id, rows, 400, circuit_template=packed(BELL + " " * 200_000))
    assert "10000 circuits" in sender.rows(job_id, {f"r{n}": [0, 0] for n in range(10_001)}, 400)


def test_long_body(sender: QoroPerson) -> None:
    """A body above the limit of a fragment is refused unread."""
    job_id = sender.init()
    assert "longer" in sender.add(job_id, None, 413, circuits={"a": "A" * MAX_FRAGMENT_BYTES})


def test_cancel(alice: QoroPerson, rob: QoroPerson) -> None:
    """200 once, 409 afterwards, 403 for another's job, 404 for none."""
    job_id = alice.init()
    rob.cancel(job_id, 403)
    assert alice.cancel(job_id) == {"status": "cancelled", "job_id": job_id, "circuits_cancelled": 0}
    assert alice.cancel(job_id, 409) == {"error": "Can only cancel a PENDING or RUNNING job"}
    alice.cancel(NOBODYS, 404)
    assert alice.status(job_id) == "CANCELLED"


def test_delete(alice: QoroPerson, rob: QoroPerson) -> None:
    """A deleted job is not there any more."""
    job_id = alice.init()
    alice.add(job_id, FLIPS)
    rob.delete(job_id, 404)
    alice.delete(job_id)
    alice.delete(job_id, 404)
    alice.get(f"/job/{job_id}/status/", 404)


def test_others_jobs(alice: QoroPerson, rob: QoroPerson) -> None:
    """Whatever somebody asks about another's job, it is not there, and it stays as it was."""
    job_id = alice.init()
    for path in ("status/", "resultsV2/", "execution_config/"):
        rob.get(f"/job/{job_id}/{path}", 404)
    rob.add(job_id, {"a": BELL}, 404)
    rob.answer(rob.http.post(f"/job/{job_id}/execution_config/", json={}), 404)
    assert alice.status(job_id) == "PENDING"


@pytest.mark.parametrize("wrong", ["x", "'; DROP TABLE qoro_job; --", "0", "%2e%2e"])
def test_no_job(sender: QoroPerson, wrong: str) -> None:
    """An id that nothing has is 404."""
    sender.get(f"/job/{wrong}/status/", 404)


def test_old_words(alice: QoroPerson, old: QoroPerson, standing: Standing) -> None:
    """A client that does not say that it knows more gets the five words that every version has."""
    job_id = alice.init()
    alice.add(job_id, FLIPS)
    assert (alice.status(job_id), old.status(job_id)) == ("SCHEDULED", "PENDING")
    from qjobs.service.qoro.jobs import QoroJobs

    jobs = QoroJobs(standing.service.db, standing.service.clock, part_size=1)
    assert jobs.end(job_id, QoroStatus.INSUFFICIENT_CREDITS, "no more")
    assert (alice.status(job_id), old.status(job_id)) == ("INSUFFICIENT_CREDITS", "FAILED")
    assert not jobs.end(job_id, QoroStatus.COMPLETED), "the first end stands"


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        ("divi/0.15.1 (python=3.11)", True),
        ("divi/1.0.0", True),
        ("divi/0.14.2", False),
        ("divi/unknown", False),
        ("python-requests/2.32", False),
        ("qjobs/0.1", True),
        ("", False),
    ],
)
def test_agents(agent: str, expected: bool) -> None:
    """Divi says its version from 0.15 on at the latest; ours reads every word."""
    assert knows_all_words(agent) is expected


def test_credits(alice: QoroPerson) -> None:
    """The balance is what is left of the quota of simulation, as a decimal in a text."""
    found = alice.get("/credits/")
    assert (found["balance"], found["total_used"]) == ("86400.00", "0.00")
    assert set(found) == {"balance", "total_used", "created_at", "updated_at"}
