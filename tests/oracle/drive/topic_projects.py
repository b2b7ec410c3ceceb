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
    name, values = fresh("created"), {"a": 1, "b": True, "c": "text", "d": 2.5}
    found = qnx.projects.create(name, description="words", properties=OrderedDict(values)).annotations
    same((found.name, found.description, dict(found.properties)), (name, "words", values))


def check_get_by_id() -> None:
    made = new_project("by id")
    same(qnx.projects.get(id=made.id), made)


def check_get_by_name() -> None:
    made = new_project("by name")
    same(qnx.projects.get(name=made.annotations.name).id, made.id)


def check_name_is_exact() -> None:
    made = new_project("exact")
    refused(lambda: qnx.projects.get(name=made.annotations.name[:-1]), ZeroMatches)


def check_get_unknown() -> None:
    refused(lambda: qnx.projects.get(id=uuid4()), ZeroMatches)


def check_get_or_create_twice() -> None:
    name = fresh("once")
    same(qnx.projects.get_or_create(name).id, qnx.projects.get_or_create(name).id)


def check_same_name_twice() -> None:
    made = new_project("taken")
    error = refused(lambda: qnx.projects.create(made.annotations.name), ResourceCreateFailed)
    same(error.status_code, 409)


def check_update() -> None:
    made, name = new_project("old"), fresh("new")
    qnx.projects.update(made, name=name, description="changed")
    found = qnx.projects.get(id=made.id)
    same((found.annotations.name, found.annotations.description), (name, "changed"))


def check_update_keeps_the_rest() -> None:
    made = qnx.projects.create(fresh("kept"), description="words")
    found = qnx.projects.update(made, description="other words")
    same((found.annotations.name, found.annotations.description), (made.annotations.name, "other words"))


def check_update_unknown() -> None:
    made = new_project("gone")
    missing = ProjectRef(**{**made.model_dump(), "id": uuid4()})
    refused(lambda: qnx.projects.update(missing, name="x"), ResourceUpdateFailed)


def check_archive() -> None:
    made = new_project("archived")
    archived = qnx.projects.update(made, archive=True)
    name = made.annotations.name
    found = [qnx.projects.get_all(name_exact=[name], is_archived=is_archived).count() for is_archived in (True, False)]
    same((archived.archived, found), (True, [1, 0]))


def check_unarchive() -> None:
    made = new_project("back")
    qnx.projects.update(made, archive=True)
    same(qnx.projects.update(made, archive=False).archived, False)


def check_delete_needs_archive() -> None:
    made = new_project("alive")
    refused(lambda: qnx.projects.delete(made), ResourceDeleteFailed)
    same(qnx.projects.get(id=made.id).id, made.id)


def check_delete() -> None:
    made = new_project("deleted")
    circuit = upload(bell(), project=made)
    qnx.projects.update(made, archive=True)
    qnx.projects.delete(made)
    refused(lambda: qnx.projects.get(id=made.id), ZeroMatches)
    refused(lambda: qnx.circuits.get(id=circuit.id), DataGone)
    same(qnx.projects.get_all(name_exact=[made.annotations.name]).count(), 0)


def check_content_changes_contents_modified_only() -> None:
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


def check_name_like() -> None:
    same(qnx.projects.get_all(name_like=_five()[0][:-1].upper()).count(), 5)


def check_name_like_has_no_wildcards() -> None:
    _five()
    same(qnx.projects.get_all(name_like="listed%_").count(), 0)


def check_several_names() -> None:
    names = [found.annotations.name for found in _five()[1][:2]]
    same(qnx.projects.get_all(name_exact=names).count(), 2)


def check_no_unique_match() -> None:
    refused(lambda: qnx.projects.get(name_like=_five()[0]), NoUniqueMatch)


def check_sort_by_name() -> None:
    same(_first_letters(sort_filters=[SortFilterEnum.NAME_ASC]), "abcde")


def check_sort_by_name_down() -> None:
    same(_first_letters(sort_filters=[SortFilterEnum.NAME_DESC]), "edcba")


def check_sort_by_creation() -> None:
    same(_first_letters(sort_filters=[SortFilterEnum.CREATED_ASC]), "cadbe")


def check_newest_first() -> None:
    same(_first_letters(), "ebdac")


def check_sort_by_change() -> None:
    part = fresh("changed")
    made = [qnx.projects.create(f"{letter} {part}") for letter in "abc"]
    qnx.projects.update(made[0], description="now")
    found = qnx.projects.get_all(name_like=part, sort_filters=[SortFilterEnum.MODIFIED_DESC]).list()
    same("".join(project.annotations.name[0] for project in found), "acb")


def check_pages() -> None:
    found = [_first_letters(page_size=size, sort_filters=[SortFilterEnum.NAME_ASC]) for size in (1, 2, 5, 50)]
    same(found, ["abcde"] * 4)


def check_created_before_and_after() -> None:
    part, made = _five()
    third = made[2].annotations.created
    before = qnx.projects.get_all(name_like=part, created_before=third).count()
    after = qnx.projects.get_all(name_like=part, created_after=third).count()
    same((before, after), (2, 2))


def check_naive_times_are_utc() -> None:
    part, _ = _five()
    hour = timedelta(hours=1)
    now = datetime.now(timezone.utc).replace(tzinfo=None)  # noqa: UP017 - the client takes Python 3.10
    found = [qnx.projects.get_all(name_like=part, created_after=moment).count() for moment in (now - hour, now + hour)]
    same(found, [5, 0])


def check_creator() -> None:
    part, _ = _five()
    found = [qnx.projects.get_all(name_like=part, creator_email=[email]).count() for email in (ADA, BOB)]
    same(found, [5, 0])


def check_scopes() -> None:
    part, _ = _five()
    found = {scope.value: qnx.projects.get_all(name_like=part, scope=scope).count() for scope in ScopeFilterEnum}
    same(found, {"user": 5, "org_admin": 0, "global_admin": 0, "highest": 5})


def check_data_frame() -> None:
    same(sorted(qnx.projects.get_all(name_like=_five()[0]).df()["name"].str[0]), list("abcde"))


def check_summary() -> None:
    same(int(qnx.projects.get_all(name_like=_five()[0]).summarize()["total_count"][0]), 5)


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
