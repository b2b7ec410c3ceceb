"""Projects and their properties."""

from __future__ import annotations

import functools
import time
from collections import OrderedDict
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

import qnexus as qnx
from qnexus.exceptions import (
    DataGone,
    NoUniqueMatch,
    ResourceCreateFailed,
    ResourceDeleteFailed,
    ResourceUpdateFailed,
    ZeroMatches,
)
from qnexus.models.filters import SortFilterEnum
from qnexus.models.references import ProjectRef
from qnexus.models.scope import ScopeFilterEnum
from session import ADA, BOB, bell, fresh, new_project, refused, same, upload


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


def check_contents_modified() -> None:
    made = new_project("touched")
    time.sleep(0.01)
    upload(bell(), project=made)
    found = qnx.projects.get(id=made.id)
    same(
        (found.annotations.modified, found.contents_modified > made.contents_modified),
        (made.annotations.modified, True),
    )


def check_property_definitions() -> None:
    made = new_project("defined")
    for kind in ("bool", "int", "float", "string"):
        qnx.projects.add_property(f"a {kind}", kind, project=made, description=f"of {kind}", required=kind == "int")
    found = {
        (p.annotations.name, p.property_type, p.annotations.description, p.required)
        for p in qnx.projects.get_properties(made)
    }
    same(found, {(f"a {kind}", kind, f"of {kind}", kind == "int") for kind in ("bool", "int", "float", "string")})


@functools.cache
def _five() -> tuple[str, list[Any]]:
    """Five projects that share a part of their names, in the order of their making."""
    part = fresh("listed")
    return part, [qnx.projects.create(f"{letter} {part}") for letter in "cadbe"]


def _first_letters(**filters: Any) -> str:
    return "".join(found.annotations.name[0] for found in qnx.projects.get_all(name_like=_five()[0], **filters).list())


def check_names() -> None:
    """Names are matched in part, without wildcards, or exactly, several at once."""
    part, made = _five()
    same(qnx.projects.get_all(name_like=part[:-1].upper()).count(), 5)
    same(qnx.projects.get_all(name_like="listed%_").count(), 0)
    same(qnx.projects.get_all(name_exact=[found.annotations.name for found in made[:2]]).count(), 2)
    refused(lambda: qnx.projects.get(name_like=part), NoUniqueMatch)


def check_orders() -> None:
    """Lists are sorted by name, creation and change; the newest is first."""
    kinds = (SortFilterEnum.NAME_ASC, SortFilterEnum.NAME_DESC, SortFilterEnum.CREATED_ASC)
    same([_first_letters(sort_filters=[kind]) for kind in kinds], ["abcde", "edcba", "cadbe"])
    same(_first_letters(), "ebdac")
    found = [_first_letters(page_size=size, sort_filters=[SortFilterEnum.NAME_ASC]) for size in (1, 2, 5, 50)]
    same(found, ["abcde"] * 4)
    part = fresh("changed")
    made = [qnx.projects.create(f"{letter} {part}") for letter in "abc"]
    qnx.projects.update(made[0], description="now")
    found = qnx.projects.get_all(name_like=part, sort_filters=[SortFilterEnum.MODIFIED_DESC]).list()
    same("".join(project.annotations.name[0] for project in found), "acb")


def check_times() -> None:
    """Lists are limited by the time of creation; a time without a zone is UTC."""
    part, made = _five()
    third = made[2].annotations.created
    before = qnx.projects.get_all(name_like=part, created_before=third).count()
    after = qnx.projects.get_all(name_like=part, created_after=third).count()
    same((before, after), (2, 2))
    hour = timedelta(hours=1)
    now = datetime.now(timezone.utc).replace(tzinfo=None)  # noqa: UP017 - the client takes Python 3.10
    found = [qnx.projects.get_all(name_like=part, created_after=moment).count() for moment in (now - hour, now + hour)]
    same(found, [5, 0])


def check_creator_and_scope() -> None:
    part, _ = _five()
    found = [qnx.projects.get_all(name_like=part, creator_email=[email]).count() for email in (ADA, BOB)]
    scopes = {scope.value: qnx.projects.get_all(name_like=part, scope=scope).count() for scope in ScopeFilterEnum}
    same((found, scopes), ([5, 0], {"user": 5, "org_admin": 0, "global_admin": 0, "highest": 5}))


def check_data_frame() -> None:
    found = qnx.projects.get_all(name_like=_five()[0])
    same((sorted(found.df()["name"].str[0]), int(found.summarize()["total_count"][0])), (list("abcde"), 5))


def check_active_project() -> None:
    made = new_project("active")
    with qnx.context.using_project(made):
        circuit = qnx.circuits.upload(bell(), name="in the active project")
    same(qnx.circuits.get(id=circuit.id).project.id, made.id)


def check_odd_names() -> None:
    names = [
        fresh(text)
        for text in ("Ünïcödé ⟨ψ|φ⟩ 量子", "a'b\"c;--", "../../etc/passwd", "100% [x] {y} _", "tab\tnew\nline")
    ]
    found = [qnx.projects.get(name=qnx.projects.create(name).annotations.name).annotations.name for name in names]
    same(found, names)
