"""Circuits: upload, download, change, find."""

from __future__ import annotations

import functools
from collections import OrderedDict
from pathlib import Path
from typing import Any
from uuid import uuid4

import qnexus as qnx
from pytket.circuit import Circuit, fresh_symbol
from qnexus.exceptions import NoUniqueMatch, ResourceCreateFailed, ZeroMatches
from qnexus.models.filters import SortFilterEnum
from qnexus.models.references import CircuitRef
from qnexus.models.scope import ScopeFilterEnum
from session import ADA, BOB, alike, bell, fresh, ghz, new_project, refused, same, skewed, upload


def check_round_trip() -> None:
    circuit = skewed()
    same(upload(circuit).download_circuit() == circuit, True)


def check_round_trip_of_symbols() -> None:
    symbol = fresh_symbol("theta")
    circuit = Circuit(1, name="symbolic").Rx(symbol, 0).Rz(2 * symbol + 1, 0)
    found = upload(circuit).download_circuit()
    same((found == circuit, found.free_symbols()), (True, {symbol}))


def check_name_overrides() -> None:
    made = upload(bell(), name="another name", description="words")
    found = qnx.circuits.get(id=made.id).annotations
    same((found.name, found.description), ("another name", "words"))


def check_properties_keep_their_types() -> None:
    values = OrderedDict(flag=True, number=1, share=0.5, text="1")
    found = qnx.circuits.get(id=upload(bell(), properties=values).id).annotations.properties
    same(
        [(key, type(value).__name__, value) for key, value in found.items()],
        [(key, type(value).__name__, value) for key, value in sorted(values.items())],
    )


def check_update() -> None:
    made = upload(bell(), name="before", properties=OrderedDict(a=1))
    qnx.circuits.update(made, name="after", description="words", properties=OrderedDict(b=2))
    found = qnx.circuits.get(id=made.id)
    same(
        (found.annotations.name, found.annotations.description, found.annotations.properties.get("b")),
        ("after", "words", 2),
    )
    alike(found.download_circuit(), bell())


def check_update_keeps_the_rest() -> None:
    made = upload(bell(), name="kept", description="words")
    qnx.circuits.update(made, description="changed")
    found = qnx.circuits.get(id=made.id).annotations
    same((found.name, found.description), ("kept", "changed"))


def check_unknown() -> None:
    refused(lambda: qnx.circuits.get(id=uuid4()), ZeroMatches)


def check_unknown_project() -> None:
    made = new_project("gone")
    qnx.projects.update(made, archive=True)
    qnx.projects.delete(made)
    error = refused(lambda: upload(bell(), project=made), ResourceCreateFailed)
    same(400 <= error.status_code < 500, True)


@functools.cache
def _listed() -> Any:
    """A project with six circuits; two share a name."""
    made = new_project("circuits")
    for number, letter in enumerate("cadbee"):
        values = OrderedDict(number=number, even=number % 2 == 0, share=number / 2, word=f"w{number}")
        upload(bell(), project=made, name=f"{letter} circuit", properties=values)
    odd = OrderedDict([('a,b"[c]:(d)', "x,y"), ("quote", 'say "hi", all')])
    upload(ghz(), project=made, name="odd", properties=odd)
    return made


def _count(**filters: Any) -> int:
    return int(qnx.circuits.get_all(project=_listed(), **filters).count())


def _letters(**filters: Any) -> str:
    found = qnx.circuits.get_all(project=_listed(), name_like="circuit", **filters).list()
    return "".join(circuit.annotations.name[0] for circuit in found)


def check_count() -> None:
    same(_count(), 7)


def check_same_name_is_legal() -> None:
    refused(lambda: qnx.circuits.get(project=_listed(), name="e circuit"), NoUniqueMatch)


def check_get_by_name() -> None:
    found = qnx.circuits.get(project=_listed(), name="d circuit")
    same((type(found), found.annotations.properties["number"]), (CircuitRef, 2))


def check_by_whole_number() -> None:
    same(_count(properties=OrderedDict(number=3)), 1)


def check_by_truth() -> None:
    same([_count(properties=OrderedDict(even=value)) for value in (True, False)], [3, 3])


def check_by_fraction() -> None:
    same(_count(properties=OrderedDict(share=2.5)), 1)


def check_by_text() -> None:
    same(_count(properties=OrderedDict(word="w4")), 1)


def check_types_are_told_apart() -> None:
    wrong = [OrderedDict(number="3"), OrderedDict(even=1), OrderedDict(word=True), OrderedDict(number=True)]
    same([_count(properties=values) for values in wrong], [0, 0, 0, 0])


def check_properties_are_all_meant() -> None:
    both = [OrderedDict(even=True, number=2), OrderedDict(even=True, number=3)]
    same([_count(properties=values) for values in both], [1, 0])


def check_odd_keys_and_values() -> None:
    odd = [OrderedDict([('a,b"[c]:(d)', "x,y")]), OrderedDict(quote='say "hi", all'), OrderedDict(quote="say")]
    same([_count(properties=values) for values in odd], [1, 1, 0])


def check_sql_in_filters() -> None:
    text = "x' OR '1'='1' --"
    found = [_count(name_like=text), _count(name_exact=[text]), _count(properties=OrderedDict([(text, text)]))]
    same((found, _count(creator_email=[text])), ([0, 0, 0], 0))


def check_sort_and_pages() -> None:
    found = [_letters(sort_filters=[SortFilterEnum.NAME_ASC], page_size=size) for size in (1, 4, 100)]
    same((found, _letters()), (["abcdee"] * 3, "eebdac"))


def check_creator_and_scope() -> None:
    found = [_count(creator_email=[email]) for email in (ADA, BOB)]
    scopes = [_count(scope=scope) for scope in (ScopeFilterEnum.ORG_ADMIN, ScopeFilterEnum.HIGHEST)]
    same((found, scopes), ([7, 0], [0, 7]))


def check_listed_circuits_download() -> None:
    found = qnx.circuits.get_all(project=_listed(), name_like="odd").list()[0]
    alike(found.download_circuit(), ghz())


def check_data_frame() -> None:
    frame = qnx.circuits.get_all(project=_listed()).df()
    same((len(frame), {*frame["project"]}), (7, {_listed().annotations.name}))


def check_saved_reference() -> None:
    path = Path("circuit.json")
    made = upload(bell(), name=fresh("saved"))
    qnx.filesystem.save(made, path)
    alike(qnx.filesystem.load(path).download_circuit(), bell())
