"""Circuits: upload, download, change, find."""

from __future__ import annotations

import functools
from collections import OrderedDict
from pathlib import Path
from typing import Any
from uuid import uuid4

import qnexus as qnx
from pytket.circuit import Circuit, fresh_symbol
from qnexus.exceptions import NoUniqueMatch, ZeroMatches
from qnexus.models.references import CircuitRef
from session import alike, bell, fresh, ghz, new_project, refused, same, skewed, upload


def check_round_trip() -> None:
    """A circuit comes back as it was, symbols and all."""
    symbol = fresh_symbol("theta")
    symbolic = Circuit(1, name="symbolic").Rx(symbol, 0).Rz(2 * symbol + 1, 0)
    for circuit in (skewed(), symbolic):
        same(upload(circuit).download_circuit() == circuit, True)
    same(upload(symbolic).download_circuit().free_symbols(), {symbol})


def check_update() -> None:
    """A change keeps what it does not name."""
    made = upload(bell(), name="before", description="words", properties=OrderedDict(a=1))
    for name in ("before", "after"):
        found = qnx.circuits.get(id=made.id)
        same((found.annotations.name, found.annotations.description), (name, "words"))
        alike(found.download_circuit(), bell())
        qnx.circuits.update(made, name="after", properties=OrderedDict(b=2))
    same(qnx.circuits.get(id=made.id).annotations.properties.get("b"), 2)
    qnx.circuits.update(made, description="changed")
    found = qnx.circuits.get(id=made.id).annotations
    same((found.name, found.description), ("after", "changed"))


def check_unknown() -> None:
    refused(lambda: qnx.circuits.get(id=uuid4()), ZeroMatches)


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


def _counts(*properties: dict[str, Any]) -> list[int]:
    return [_count(properties=OrderedDict(values)) for values in properties]


def check_names() -> None:
    """Several circuits may have one name, and are then not found by it."""
    refused(lambda: qnx.circuits.get(project=_listed(), name="e circuit"), NoUniqueMatch)
    found = qnx.circuits.get(project=_listed(), name="d circuit")
    same((type(found), found.annotations.properties["number"], _count()), (CircuitRef, 2, 7))


def check_by_properties() -> None:
    """Properties are told apart by their types, and all of them are meant."""
    same(_counts({"number": 3}, {"even": True}, {"even": False}, {"share": 2.5}, {"word": "w4"}), [1, 3, 3, 1, 1])
    same(_counts({"number": "3"}, {"even": 1}, {"word": True}, {"number": True}), [0, 0, 0, 0])
    same(_counts({"even": True, "number": 2}, {"even": True, "number": 3}), [1, 0])
    same(_counts({'a,b"[c]:(d)': "x,y"}, {"quote": 'say "hi", all'}, {"quote": "say"}), [1, 1, 0])


def check_downloads() -> None:
    """A listed reference, a saved one and a table lead to the circuits."""
    found = qnx.circuits.get_all(project=_listed(), name_like="odd").list()[0]
    alike(found.download_circuit(), ghz())
    path = Path("circuit.json")
    qnx.filesystem.save(upload(bell(), name=fresh("saved")), path)
    alike(qnx.filesystem.load(path).download_circuit(), bell())
    frame = qnx.circuits.get_all(project=_listed()).df()
    same((len(frame), {*frame["project"]}), (7, {_listed().annotations.name}))
