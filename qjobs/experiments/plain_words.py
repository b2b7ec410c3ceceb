"""What pydantic finds wrong with a form, in words for people who know no pydantic."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

__all__ = ["in_plain_words", "nearest", "plain_error"]

_PLAIN: Final = "plain"
"""The type of errors that are in plain words already."""
_SHOWN = 40
_FEW = 12

_SYNONYMS: Final = {
    "args": "arguments",
    "axis": "axes",
    "between": "start and stop",
    "circ": "circuit",
    "device": "backend",
    "devices": "backends",
    "from": "start",
    "hamiltonian_terms": "terms",
    "high": "stop",
    "low": "start",
    "max": "stop",
    "min": "start",
    "n": "count",
    "n_shots": "shots",
    "num": "count",
    "num_points": "count",
    "operators": "observables",
    "optimizer": "optimiser",
    "params": "parameters",
    "qasm": "openqasm",
    "range": "start and stop",
    "repeats": "repetitions",
    "reps": "repetitions",
    "steps": "count",
    "to": "stop",
    "type": "kind",
}
"""What people write who come from other tools, with the name here."""


_OTHER_KINDS: Final = {
    "circuits": "a file with circuits is a circuit list, which another flow runs: flows.run_circuits",
    "circuit": "a file with one circuit is a sweep, which another flow runs: flows.sweep",
    "hamiltonian": "a file with a hamiltonian is a hybrid run, which another flow runs: flows.hybrid",
}
"""Keys by which the kind of a file is known, and what is said where another kind is read."""


def _words_of(details: ErrorDetails) -> str:
    ctx = details.get("ctx") or {}
    say = _WORDS.get(details["type"])
    if say is None:
        return details["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return say(ctx, _shown(details.get("input")))


def _number(ctx: Mapping[str, Any], given: str) -> str:
    return f"it must be a number such as 0.5, 1e-3 or pi/2, not {given}"


def _whole(ctx: Mapping[str, Any], given: str) -> str:
    return f"it must be a whole number, not {given}"


def _list(ctx: Mapping[str, Any], given: str) -> str:
    return f"it must be a list, as in [1, 2], not {given}"


def _mapping(ctx: Mapping[str, Any], given: str) -> str:
    return f"it must be a mapping of keys to values, as in {{key: value}}, not {given}"


def _text(ctx: Mapping[str, Any], given: str) -> str:
    return f"it must be a text, not {given}; put it in quotes if it is meant as one"


def _choice(ctx: Mapping[str, Any], given: str) -> str:
    expected = str(ctx.get("expected", ""))
    near = nearest(given.strip("'").lower(), [word.strip(" '") for word in expected.replace(" or ", ",").split(",")])
    return f"it must be {expected}, not {given}" + (f"; did you mean {near}?" if near else "")


def _yes_or_no(ctx: Mapping[str, Any], given: str) -> str:
    return f"it must be true or false, not {given}"


def _too_few(ctx: Mapping[str, Any], given: str) -> str:
    least = ctx.get("min_length", 1)
    return "it is empty; give at least one" if least == 1 else f"it needs at least {least} entries"


def _name(ctx: Mapping[str, Any], given: str) -> str:
    return f"use letters, digits, blanks, '.', '_' and '-', and begin with a letter or a digit; it is {given}"


_Say = Callable[[Mapping[str, Any], str], str]

_WORDS: Final[Mapping[str, _Say]] = {
    "missing": lambda ctx, given: "it is missing",
    "string_pattern_mismatch": _name,
    "string_too_short": lambda ctx, given: "it is empty; give a text",
    "string_too_long": lambda ctx, given: f"it has more than {ctx['max_length']} characters; make it shorter",
    "string_type": _text,
    "string_sub_type": _text,
    "int_type": _whole,
    "int_parsing": _whole,
    "int_from_float": _whole,
    "int_parsing_size": lambda ctx, given: "it is too large for a whole number",
    "float_type": _number,
    "float_parsing": _number,
    "finite_number": lambda ctx, given: f"it must be a finite number, not {given}",
    "greater_than_equal": lambda ctx, given: f"it must be {ctx['ge']:g} or more, not {given}",
    "greater_than": lambda ctx, given: f"it must be more than {ctx['gt']:g}, not {given}",
    "less_than_equal": lambda ctx, given: f"it must be {ctx['le']:g} or less, not {given}",
    "less_than": lambda ctx, given: f"it must be less than {ctx['lt']:g}, not {given}",
    "multiple_of": lambda ctx, given: f"it must be a multiple of {ctx['multiple_of']:g}, not {given}",
    "bool_type": _yes_or_no,
    "bool_parsing": _yes_or_no,
    "literal_error": _choice,
    "enum": _choice,
    "list_type": _list,
    "tuple_type": _list,
    "too_short": _too_few,
    "too_long": lambda ctx, given: f"it has more than {ctx.get('max_length')} entries; give fewer",
    "dict_type": _mapping,
    "mapping_type": _mapping,
    "model_type": _mapping,
    "model_attributes_type": _mapping,
    "invalid_key": lambda ctx, given: f"a key must be a text, not {given}; put it in quotes",
    "recursion_loop": lambda ctx, given: "it contains itself; write out what it should have",
    "json_type": lambda ctx, given: f"it must be something that JSON has, not {given}",
}
"""Pydantic's types of errors, and what they are called here."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that a misspelt one is likely to stand for; None if none is near."""
    choices = list(known)
    meant = _SYNONYMS.get(word.lower())
    if meant is not None and set(meant.split(" and ")) <= set(choices):
        return meant
    found = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    return found[0] if found else None


def in_plain_words(error: ValidationError, form: type[BaseModel]) -> ValidationError:
    """The same problems at the same places, each in plain words; `form` is the form in which they were found.

    What a form inside this one has said in plain words stays as it is.
    """
    problems: list[InitErrorDetails] = []
    found = error.errors(include_url=False)
    if "retries" in form.model_fields:  # of a file of another kind, all other problems are noise
        other = [one for one in found if one["type"] == "extra_forbidden" and one["loc"][0] in _OTHER_KINDS]
        found = other[:1] or found
    misspelt = {nearest(str(one["loc"][-1]), form.model_fields) for one in found if one["type"] == "extra_forbidden"}
    for details in found:
        where = details["loc"]
        if details["type"] == "missing" and len(where) == 1 and where[0] in misspelt:
            continue  # it is there, under another name
        if details["type"] == _PLAIN:
            words = details["msg"]
        elif details["type"] == "extra_forbidden":
            words = _unknown(str(where[-1]), form)
        else:
            words = _words_of(details)
        problem = PydanticCustomError(_PLAIN, "{words}", {"words": words})
        problems.append(InitErrorDetails(type=problem, loc=where, input=details.get("input")))
    return ValidationError.from_exception_data(error.title, problems)


def plain_error(form: str, place: tuple[str | int, ...], words: str, given: object) -> ValidationError:
    """An error of a form, at a place in it, in plain words."""
    problem = PydanticCustomError(_PLAIN, "{words}", {"words": words})
    return ValidationError.from_exception_data(form, [InitErrorDetails(type=problem, loc=place, input=given)])


def _unknown(key: str, form: type[BaseModel]) -> str:
    known = list(form.model_fields)
    if key in _OTHER_KINDS and "retries" in known:
        return f"there is no such field; {_OTHER_KINDS[key]}"
    near = nearest(key, known)
    if near is not None:
        return f"there is no such field; did you mean {near}?"
    if len(known) <= _FEW:
        return f"there is no such field; there are {', '.join(known)}"
    return f"there is no such field; `qjobs schema` lists them all, and {', '.join(known[:_FEW])} are the first"


def _shown(value: object) -> str:
    """A value as people wrote it, short."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value) if isinstance(value, str | int | float) else f"{value} (a {type(value).__name__})"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
