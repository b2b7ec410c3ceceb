"""What the Nexus adapter sends, and what an answer to the POST of a job means to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from nexus_replay import EXECUTE, SAMPLES, Journal, Replay, batch, open_on, replaying, sample

from qjobs.backends.base import Backend, Capability, Confirmation, Limits, Lookup
from qjobs.backends.nexus import NexusBackend, wire
from qjobs.errors import (
    CredentialsRejected,
    InvalidInput,
    NotSent,
    QJobsError,
    StaleJob,
    SubmissionRejected,
    SubmissionUnknown,
)
from qjobs.lifecycle import JobStatus
from qjobs.model import JobKind, Key, RemoteId


@pytest.fixture
def nexus() -> Iterator[Replay]:
    with replaying() as nexus:
        yield nexus


@pytest.fixture
def backend(nexus: Replay) -> Iterator[NexusBackend]:
    backend = open_on(nexus)
    yield backend
    backend.close()


@pytest.mark.parametrize(
    ("device", "kind", "quota"),
    [
        ("Aer", JobKind.EXECUTE, "simulation"),
        ("H1-1LE", JobKind.EXECUTE, "simulation"),
        ("H2-Emulator", JobKind.EXECUTE, "simulation"),
        ("H2-1", JobKind.COMPILE, "compilation"),
        ("H2-1", JobKind.EXECUTE, ""),
        ("H1-1E", JobKind.EXECUTE, ""),
        ("H1-1SC", JobKind.EXECUTE, ""),
    ],
)
def test_quota(nexus: Replay, device: str, kind: JobKind, quota: str) -> None:
    """Nexus is asked for the quota that counts a job, of this account; of what runs outside of it there is none."""
    nexus.on("GET", wire.QUOTA_GUARD, 403, {"detail": "nothing left"})
    with contextlib.closing(open_on(nexus, device)) as backend:
        words = backend.why_not_started(kind)
        backend.why_not_started(kind)
    asked = [path for _, path, _ in nexus.asked if path.startswith(wire.QUOTA_GUARD)]
    assert asked == [f"{wire.QUOTA_GUARD}?name={quota}&user_id=u"] * 2 * bool(quota)
    assert len([path for _, path, _ in nexus.asked if path == wire.ME]) == bool(quota)
    assert words.startswith(f"the account's quota {quota} is used up; " if quota else "")
    assert bool(words) is bool(quota)


@pytest.mark.parametrize(("code", "body"), [(404, {"detail": "Not Found"}), (403, "a page"), (422, {"detail": "name"})])
def test_quota_not_told(nexus: Replay, backend: NexusBackend, code: int, body: object) -> None:
    """What is no word of Nexus's own on the quota holds nothing: the route may be gone, or a gateway answered."""
    nexus.on("GET", wire.QUOTA_GUARD, code, body)
    with pytest.raises(QJobsError):
        backend.why_not_started(JobKind.EXECUTE)
    nexus.on("GET", wire.QUOTA_GUARD, 200, {})
    assert backend.why_not_started(JobKind.EXECUTE) == ""


def test_execute_job_sent(nexus: Replay, backend: NexusBackend) -> None:
    """An execute job goes out as the client sends it."""
    journal = Journal(nexus)
    backend.submit(batch(seed=5), Key("k"), journal)
    assert journal.steps == [("sending", 0), ("accepted", 1)]
    assert journal.ids == [EXECUTE["response"]["data"]["id"]]
    (sent,) = nexus.sent("POST", wire.JOBS)
    assert set(sent["data"]) == set(EXECUTE["request"]["data"])
    ours = sent["data"]["attributes"]
    theirs = EXECUTE["request"]["data"]["attributes"]
    assert set(ours) == set(theirs)
    assert set(ours["definition"]) == set(theirs["definition"])
    for name in ("job_definition_type", "user_group", "target_region", "valid_check", "language", "credential_name"):
        assert ours["definition"][name] == theirs["definition"][name]
    assert ours["definition"]["backend_config"] == {"type": "AerConfig", "seed": 5}
    assert ours["definition"]["items"] == [
        {"program_id": SAMPLES["POST /api/circuits/v1beta2 -> 201"]["response"]["data"]["id"], "n_shots": 10}
    ]
    assert (ours["name"], ours["description"], ours["properties"]) == ("qjobs-k", "for people", {"qjobs_key": "k"})


@pytest.mark.parametrize(
    ("device", "has_batches"),
    [("H2-1", True), ("Helios-1", True), ("H2-1E", False), ("H2-1LE", False), ("H1-1SC", False), ("Aer", False)],
)
def test_batches(nexus: Replay, device: str, has_batches: bool) -> None:
    """Machines have batches, as the client tells them; a job's batch goes out in the words of the client."""
    with contextlib.closing(open_on(nexus, device)) as backend:
        assert (Capability.BATCHES in backend.capabilities) is has_batches
        batch_id = "7d4b7d0e-4f5c-5d7e-9a53-1c2b8e0f6a11" if has_batches else None
        backend.submit(batch(batch_id=batch_id), Key("k"), Journal(nexus))
    config = nexus.sent("POST", wire.JOBS)[0]["data"]["attributes"]["definition"]["backend_config"]
    sent = {name: config[name] for name in ("attempt_batching", "batch_id") if name in config}
    assert sent == ({"attempt_batching": True, "batch_id": batch_id} if has_batches else {})


def test_compile_job_sent(nexus: Replay, backend: NexusBackend) -> None:
    """A compile job goes out as the client sends it."""
    recorded = SAMPLES["POST /api/jobs/v1beta3 compile -> 202"]["request"]["data"]["attributes"]
    backend.submit(batch(JobKind.COMPILE, level=1), Key("k"), Journal(nexus))
    ours = nexus.sent("POST", wire.JOBS)[0]["data"]["attributes"]
    assert set(ours["definition"]) == set(recorded["definition"])
    assert (ours["job_type"], ours["definition"]["optimisation_level"]) == ("compile", 1)
    assert [set(item) for item in ours["definition"]["items"]] == [{"program_id"}]


def test_circuit_and_property_sent(nexus: Replay, backend: NexusBackend) -> None:
    """A circuit and a property go out as the client sends them."""
    backend.submit(batch(), Key("k"), Journal(nexus))
    for name, path in (
        ("POST /api/circuits/v1beta2 -> 201", wire.CIRCUITS),
        ("POST /api/property_definitions/v1beta2 -> 201", wire.PROPERTIES),
    ):
        recorded = SAMPLES[name]["request"]["data"]
        (ours,) = nexus.sent("POST", path)
        assert set(ours["data"]) == set(recorded)
        assert set(ours["data"]["attributes"]) == set(recorded["attributes"])
        assert set(ours["data"]["relationships"]) == set(recorded["relationships"])


def test_account_settings_sent(nexus: Replay) -> None:
    """Group, region, cost cap and configuration go with the job."""
    backend = open_on(nexus, "H1-1E", user_group="lab", region="us", max_cost=12.5, config={"noisy_simulation": False})
    backend.submit(batch(seed=5), Key("k"), Journal(nexus))
    definition = nexus.sent("POST", wire.JOBS)[0]["data"]["attributes"]["definition"]
    assert (definition["user_group"], definition["target_region"]) == ("lab", "us")
    assert definition["items"][0]["max_cost"] == 12.5
    config = {"type": "QuantinuumConfig", "device_name": "H1-1E", "noisy_simulation": False}
    assert definition["backend_config"] == config, "a machine has no seed"
    backend.close()


def test_property_not_allowed(nexus: Replay, backend: NexusBackend) -> None:
    """Who may not define the property of our keys can submit all the same."""
    nexus.on("POST", wire.PROPERTIES, 403, {"message": "only administrators define properties"})
    backend.submit(batch(), Key("k"), Journal(nexus))
    assert nexus.sent("POST", wire.JOBS)[0]["data"]["attributes"]["properties"] == {}


@pytest.mark.parametrize("code", [400, 404, 413, 422])
def test_refused_program(nexus: Replay, backend: NexusBackend, code: int) -> None:
    """A refused program refuses the job, which is not sent."""
    nexus.on("POST", wire.CIRCUITS, code, {"message": "too large for us"})
    with pytest.raises(SubmissionRejected, match="too large for us"):
        backend.submit(batch(), Key("k"), Journal(nexus))
    assert nexus.sent("POST", wire.JOBS) == []


def test_upload_after_refusal(nexus: Replay, backend: NexusBackend) -> None:
    """After a refusal programs are uploaded again: Nexus may have lost one."""
    nexus.on("POST", wire.JOBS, 400, {"message": "program not found"})
    for n in (1, 2):
        with pytest.raises(SubmissionRejected):
            backend.submit(batch(), Key("k"), Journal(nexus))
        assert len(nexus.sent("POST", wire.CIRCUITS)) == n


def test_deleted_project(nexus: Replay, backend: NexusBackend) -> None:
    """A project that was deleted is looked up again."""
    backend.submit(batch(), Key("k"), Journal(nexus))
    nexus.on("POST", wire.JOBS, 404, {"message": "project not found"})
    with pytest.raises(SubmissionRejected):
        backend.submit(batch(), Key("k2"), Journal(nexus))
    projects = sample("GET /api/projects/v1beta2 -> 200")
    projects["data"][0] |= {"id": "another"}
    projects["data"][0]["attributes"]["name"] = "qjobs"
    nexus.on("GET", wire.PROJECTS, 200, projects)
    nexus.on("POST", wire.JOBS, 202, sample("POST /api/jobs/v1beta3 execute -> 202"))
    backend.submit(batch(), Key("k3"), Journal(nexus))
    sent = nexus.sent("POST", wire.JOBS)[-1]["data"]["relationships"]["project"]["data"]["id"]
    assert (sent, len(nexus.sent("POST", wire.CIRCUITS))) == ("another", 2)


def test_moves_are_logged(nexus: Replay, backend: NexusBackend, caplog: pytest.LogCaptureFixture) -> None:
    """Who reads the log knows which job was created and cancelled, and has no token."""
    caplog.set_level("DEBUG", "qjobs")
    backend.submit(batch(), Key("k"), Journal(nexus))
    nexus.on("POST", f"{wire.JOBS}/.*/rpc/cancel", 202, {})
    backend.cancel(RemoteId("j"))
    moves = [record.getMessage() for record in caplog.records if record.levelname == "INFO"]
    assert f"nexus: created job {EXECUTE['response']['data']['id']} of 1 items, key k" in moves
    assert "nexus: asked to cancel job j" in moves
    access = SAMPLES["POST /auth/tokens/refresh -> 200"]["set_cookie"][0].partition(";")[0].partition("=")[2]
    assert access
    assert access not in caplog.text


@pytest.mark.parametrize("wrong", [{"device": ""}, {"project": ""}, {"prefix": ""}])
def test_bad_settings(wrong: dict[str, str]) -> None:
    """Settings that cannot work are refused when the backend is opened."""
    with pytest.raises(InvalidInput):
        NexusBackend(**{"device": "Aer", "token": "t"} | wrong)


UNAUTHORIZED = {"message": "Unauthorized"}
FORBIDDEN = sample("POST /api/jobs/v1beta3 execute -> 403")
NOT_HERE = {"detail": "Not Found"}


@pytest.mark.parametrize(
    ("code", "body", "error"),
    [
        (400, sample("POST /api/jobs/v1beta3 execute -> 400"), SubmissionRejected),
        (403, FORBIDDEN, CredentialsRejected),
        (404, {"message": "project not found"}, SubmissionRejected),
        (404, NOT_HERE, SubmissionRejected),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, SubmissionRejected),
        (400, "<html>proxy</html>", SubmissionUnknown),
        (400, {"error": "of somebody else"}, SubmissionUnknown),
        (400, [], SubmissionUnknown),
        (401, UNAUTHORIZED, SubmissionUnknown),
        (403, {"message": "Forbidden"}, SubmissionUnknown),
        (403, "<html>firewall</html>", SubmissionUnknown),
        (408, {"message": "Request Timeout"}, SubmissionUnknown),
        (429, {"message": "API rate limit exceeded"}, SubmissionUnknown),
        (302, {"message": "moved"}, SubmissionUnknown),
        (500, {"message": "Internal Server Error"}, SubmissionUnknown),
        (202, {"data": {}}, SubmissionUnknown),
        (202, [], SubmissionUnknown),
        (200, "<html>log in</html>", SubmissionUnknown),
    ],
)
def test_answers_to_a_submission(
    nexus: Replay, backend: NexusBackend, code: int, body: Any, error: type[Exception]
) -> None:
    """One POST; only a refusal in Nexus's own words says that there is no job: gateways answer 401 too."""
    nexus.on("POST", wire.JOBS, code, body)
    journal = Journal(nexus)
    with pytest.raises(error) as caught:
        backend.submit(batch(), Key("k"), journal)
    assert type(caught.value) is error
    assert journal.ids == []
    assert len(nexus.sent("POST", wire.JOBS)) == 1
    words = {400: "current region", 403: "Forbidden", 422: "field required"}  # the body of a 403 is not kept
    assert error is SubmissionUnknown or words.get(code, "") in str(caught.value)


def test_token_proved_before_submission(nexus: Replay) -> None:
    """A token that Nexus has not taken lately is shown to it before the POST of a job, not by it."""
    now = [0.0]
    backend = open_on(nexus, monotonic=lambda: now[0])
    backend.submit(batch(), Key("k"), Journal(nexus))
    assert nexus.sent("GET", wire.ME) == [], "the uploads have shown it"
    now[0] = 100.0
    nexus.on_each("GET", wire.ME, (401, UNAUTHORIZED), (200, {}))
    backend.submit(batch(), Key("k2"), Journal(nexus))
    assert len(nexus.sent("GET", wire.ME)) == 2
    assert len(nexus.sent("POST", "/auth/tokens/refresh")) == 2
    now[0] = 200.0
    nexus.on("GET", wire.ME, 401, UNAUTHORIZED)
    with pytest.raises(CredentialsRejected):
        backend.submit(batch(), Key("k3"), Journal(nexus))
    nexus.on("GET", wire.ME, 503, {})
    with pytest.raises(NotSent):
        backend.submit(batch(), Key("k3"), Journal(nexus))
    assert len(nexus.sent("POST", wire.JOBS)) == 2
    backend.close()


def test_claim_kept_at_upload(nexus: Replay) -> None:
    """The claim is kept while programs are uploaded, and `sending` is said once, right before the job is sent."""
    clock = iter(range(0, 100_000, 20))
    backend = open_on(nexus, monotonic=lambda: float(next(clock)))
    journal = Journal(nexus)
    backend.submit(batch(), Key("k"), journal)
    steps = [step for step, _ in journal.steps]
    assert steps == ["preparing"] * (len(steps) - 2) + ["sending", "accepted"]
    assert len(steps) > 2
    assert [n for _, n in journal.steps] == [0] * (len(steps) - 1) + [1]
    backend.close()


@pytest.mark.parametrize("step", ["preparing", "sending"])
def test_lost_claim(nexus: Replay, step: str) -> None:
    """Who lost the claim sends no job."""
    clock = iter(range(0, 100_000, 20))
    backend = open_on(nexus, monotonic=lambda: float(next(clock)))
    journal = Journal(nexus)

    def stop() -> None:
        raise StaleJob("another has it", job_id="j")

    setattr(journal, step, stop)
    with pytest.raises(StaleJob):
        backend.submit(batch(), Key("k"), journal)
    assert nexus.sent("POST", wire.JOBS) == []
    backend.close()


def test_declared() -> None:
    """What the adapter promises."""
    backend = NexusBackend("H1-1E", token="t")
    assert isinstance(backend, Backend)
    assert backend.lookup == Lookup(by_key=True)
    assert backend.capabilities == {Capability.COMPILE, Capability.DURABLE}
    assert backend.confirm.revocable == {JobStatus.ERROR, JobStatus.CANCELLED}
    assert backend.limits == Limits(max_items=300, max_shots=10_000)
    assert backend.link(RemoteId("j")) is None
    ours = NexusBackend("H1-1SC", token="t", url="https://127.0.0.1:1", limits=Limits(max_items=7))
    assert ours.confirm == Confirmation()
    assert (ours.limits.max_items, ours.limits.gives_results) == (7, False)
    assert not NexusBackend("Helios-1SC", token="t").limits.gives_results


def test_fingerprint() -> None:
    """What changes the meaning of a result changes the fingerprint, and nothing else does; no secret is in it."""

    def of(device: str = "H1-1E", **more: Any) -> str:
        return str(NexusBackend(device, **({"token": "a secret"} | more)).fingerprint)

    same = of()
    assert "secret" not in of(url="https://me:secret@nexus.quantinuum.com")
    assert same == of(url="https://nexus.quantinuum.com/") == of(token="another") == of(user_group="lab", max_cost=3.0)
    assert of(config={"a": 1, "b": 2}) == of(config={"b": 2, "a": 1})
    others = {
        same,
        of(config={"noisy_simulation": False}),
        of(config={"simulator": "stabilizer"}),
        of("H2-1E"),
        of("Aer"),
        of(url="https://127.0.0.1:8470"),
        of(name="another account"),
    }
    assert len(others) == 7
    assert of("aer") == of("AerConfig"), "two names of one configuration"
