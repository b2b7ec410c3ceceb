"""What the store refuses before it is stored, and how it stores the rest."""

from __future__ import annotations

import pytest
from executor_circuits import native
from own_service import AER, OwnService, quantinuum
from pytket.circuit import Circuit

from qjobs.service import tables as schema
from qjobs.service.errors import BadRequest, Forbidden, NotFound


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A service whose executor stands still."""
    own = OwnService(tmp_path_factory.mktemp("definitions"))
    yield own
    own.close()


ITEM = {"program_id": "00000000-0000-4000-8000-000000000000", "n_shots": 10}


@pytest.mark.parametrize(
    ("definition", "error", "words"),
    [
        ({"items": [ITEM] * 301}, BadRequest, "at most 300 items, but this one has 301"),
        ({"items": []}, BadRequest, "at least one item"),
        ({"items": "x"}, BadRequest, "at least one item"),
        ({"items": [3]}, BadRequest, "item 1: an object"),
        ({"items": [{**ITEM, "program_id": "no"}]}, BadRequest, "item 1: program_id must be the UUID"),
        ({"items": [{**ITEM, "program_id": ["no"]}]}, BadRequest, "item 1: program_id must be the UUID"),
        ({"items": [{**ITEM, "n_shots": 0}]}, BadRequest, "item 1: n_shots must be a whole number from 1, not 0"),
        ({"items": [{**ITEM, "n_shots": True}]}, BadRequest, "n_shots"),
        ({"items": [{**ITEM, "n_shots": 10.0}]}, BadRequest, "n_shots"),
        ({"items": [{**ITEM, "n_shots": None}]}, BadRequest, "item 1: Aer needs n_shots"),
        ({"items": [{**ITEM, "n_shots": 10**6 + 1}]}, BadRequest, "at most 1000000 shots"),
        ({"items": [{**ITEM, "max_cost": -1}]}, BadRequest, "max_cost must be a number of HQC from 0"),
        ({"items": [{**ITEM, "max_cost": float("nan")}]}, BadRequest, "max_cost"),
        ({"items": [ITEM]}, NotFound, "item 1: program 00000000-0000-4000-8000-000000000000 not found"),
        ({"items": [ITEM], "backend_config": None}, BadRequest, "backend_config"),
        ({"items": [ITEM], "backend_config": {"type": "NoConfig"}}, BadRequest, "no backend for 'NoConfig'"),
        ({"items": [ITEM], "user_group": "x"}, Forbidden, "^Not a member of any group with name: x$"),
        ({"items": [ITEM], "backend_config": {**AER, "user_group": "y"}}, Forbidden, "name: y$"),
        (
            {"items": [ITEM], "target_region": "us"},
            BadRequest,
            "^Nexus hosted simulators can only be run in the current region$",
        ),
    ],
)
def test_bad_jobs_are_not_stored(own: OwnService, definition, error, words) -> None:
    """What cannot be run is refused before it is stored."""
    before = own.store.count(schema.job.c.job_id.is_not(None))
    with pytest.raises(error, match=words):
        own.store.create(
            own.user,
            own.project,
            name="bad",
            job_type="execute",
            definition={"backend_config": AER, **definition},
        )
    assert own.store.count(schema.job.c.job_id.is_not(None)) == before


@pytest.mark.parametrize("level", [-1, 4, "2", True, 1.5])
def test_unknown_level_is_refused(own: OwnService, level) -> None:
    """There are levels 0 to 3."""
    with pytest.raises(BadRequest, match="optimisation_level: this service takes 0, 1, 2 or 3, not"):
        own.submit([Circuit(1)], AER, job_type="compile", optimisation_level=level)


def test_others_programs_are_unknown(own: OwnService) -> None:
    """Programs and projects of others do not exist."""
    eve = own.add_user("eve")
    theirs = own.add_project(eve)
    secret = own.upload(native())
    with pytest.raises(NotFound, match=f"program {secret} not found"):
        own.submit([secret], AER, user=eve, project=theirs)
    with pytest.raises(NotFound, match="project"):
        own.submit([secret], AER, user=eve)
    wasm = own.upload(b"x", kind="wasm")
    with pytest.raises(BadRequest, match="of kind wasm, but this service runs circuits only"):
        own.submit([wasm], AER)


def test_definition_is_kept(own: OwnService) -> None:
    """A definition is stored as posted; a missing batch cost gets a number."""
    config = quantinuum("H1-1LE", max_batch_cost=None, attempt_batching=False)
    job = own.submit([native()], config, language="AUTO", valid_check=True)
    stored = own.job(job).definition
    assert {key: stored[key] for key in ("language", "valid_check")} == {"language": "AUTO", "valid_check": True}
    assert stored["backend_config"] == {**config, "max_batch_cost": 2000.0}
    assert "items" not in stored
