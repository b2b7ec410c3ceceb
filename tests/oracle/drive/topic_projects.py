"""Projects and their properties."""

from __future__ import annotations

from collections import OrderedDict
from uuid import uuid4

import qnexus as qnx
from qnexus.exceptions import DataGone, ResourceCreateFailed, ResourceDeleteFailed, ResourceUpdateFailed, ZeroMatches
from qnexus.models.references import ProjectRef
from session import bell, fresh, new_project, refused, same, upload


def check_create() -> None:
    name = fresh("created")
    values = {"a": 1, "b": True, "c": "text", "d": 2.5}
    found = qnx.projects.create(name, description="words", properties=OrderedDict(values)).annotations
    same((found.name, found.description, dict(found.properties)), (name, "words", values))


def check_get() -> None:
    """A project is found by its id and its whole name, and no other is."""
    made = new_project("found")
    same(qnx.projects.get(id=made.id), made)
    same(qnx.projects.get(name=made.annotations.name).id, made.id)
    refused(lambda: qnx.projects.get(name=made.annotations.name[:-1]), ZeroMatches)
    refused(lambda: qnx.projects.get(id=uuid4()), ZeroMatches)


def check_same_name_twice() -> None:
    """A name is taken once; what has it is given back to those who ask for it."""
    name = fresh("once")
    same(qnx.projects.get_or_create(name).id, qnx.projects.get_or_create(name).id)
    error = refused(lambda: qnx.projects.create(name), ResourceCreateFailed)
    same(error.status_code, 409)


def check_update() -> None:
    """A change keeps what it does not name."""
    made = new_project("old")
    name = fresh("new")
    qnx.projects.update(made, name=name, description="changed")
    found = qnx.projects.get(id=made.id)
    same((found.annotations.name, found.annotations.description), (name, "changed"))
    found = qnx.projects.update(made, description="other words")
    same((found.annotations.name, found.annotations.description), (name, "other words"))
    missing = ProjectRef(**{**made.model_dump(), "id": uuid4()})
    refused(lambda: qnx.projects.update(missing, name="x"), ResourceUpdateFailed)


def check_archive() -> None:
    """An archived project is listed apart, and comes back."""
    made = new_project("archived")
    archived = qnx.projects.update(made, archive=True)
    name = made.annotations.name
    found = [qnx.projects.get_all(name_exact=[name], is_archived=is_archived).count() for is_archived in (True, False)]
    same((archived.archived, found), (True, [1, 0]))
    same(qnx.projects.update(made, archive=False).archived, False)


def check_delete() -> None:
    """Only an archived project is deleted, with all that is in it."""
    made = new_project("deleted")
    circuit = upload(bell(), project=made)
    refused(lambda: qnx.projects.delete(made), ResourceDeleteFailed)
    same(qnx.projects.get(id=made.id).id, made.id)
    qnx.projects.update(made, archive=True)
    qnx.projects.delete(made)
    refused(lambda: qnx.projects.get(id=made.id), ZeroMatches)
    refused(lambda: qnx.circuits.get(id=circuit.id), DataGone)
    same(qnx.projects.get_all(name_exact=[made.annotations.name]).count(), 0)


def check_property_definitions() -> None:
    made = new_project("defined")
    for kind in ("bool", "int", "float", "string"):
        qnx.projects.add_property(f"a {kind}", kind, project=made, description=f"of {kind}", required=kind == "int")
    found = {
        (p.annotations.name, p.property_type, p.annotations.description, p.required)
        for p in qnx.projects.get_properties(made)
    }
    same(found, {(f"a {kind}", kind, f"of {kind}", kind == "int") for kind in ("bool", "int", "float", "string")})
