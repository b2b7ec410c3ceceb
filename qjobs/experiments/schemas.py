"""JSON Schemas of the files that people write, for editors: what forms have, and what files may say besides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from qjobs.errors import InvalidInput
from qjobs.experiments.circuit_list import CircuitList
from qjobs.experiments.health_check import HealthCheck
from qjobs.experiments.hybrid import HybridSpec
from qjobs.experiments.plain_words import nearest
from qjobs.experiments.sweep import SweepSpec

__all__ = ["FORMS", "kind_of", "schema_of", "write_schemas"]

FORMS: Final[Mapping[str, type[BaseModel]]] = {
    "sweep": SweepSpec,
    "circuits": CircuitList,
    "hybrid": HybridSpec,
    "health-check": HealthCheck,
}
"""The kinds of files that have a schema."""
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EXPRESSION = {"type": "string", "description": "An expression such as pi/2, 1e4 or 2*pi*f with a constant f."}
_TITLES = {
    "sweep": "A sweep of qjobs",
    "circuits": "A circuit list of qjobs",
    "hybrid": "A hybrid run of qjobs",
    "health-check": "A health check of qjobs",
}


def kind_of(data: Mapping[str, Any]) -> str:
    """The kind of file that a mapping is from, by the key that no other kind has.

    >>> kind_of({"circuits": []}), kind_of({"name": "s", "circuit": {}})
    ('circuits', 'sweep')
    """
    if "hamiltonian" in data:
        return "hybrid"
    if "circuits" in data:
        return "circuits"
    if "circuit" not in data and ("sizes" in data or "min_success" in data):
        return "health-check"
    return "sweep"


def schema_of(kind: str) -> dict[str, Any]:
    """The JSON Schema of the files of a kind.

    Raises:
        InvalidInput: There is no such kind.
    """
    if kind not in FORMS:
        near = nearest(kind, FORMS)
        meant = f"did you mean {near}?" if near else f"there are {', '.join(FORMS)}"
        raise InvalidInput(f"there is no schema {kind!r}; {meant}", field="kind")
    schema = FORMS[kind].model_json_schema()
    for form in [schema, *schema.get("$defs", {}).values()]:
        for name, field in form.get("properties", {}).items():
            form["properties"][name] = _in_files(name, field)
    _add_other_keys(kind, schema)
    return {"$schema": _DIALECT, **schema, "title": _TITLES[kind]}


def write_schemas(folder: Path) -> list[Path]:
    """Write the schemas of all kinds into a folder, as `KIND.json`; files that are there are written anew.

    Raises:
        InvalidInput: The folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kind in FORMS:
            path = folder / f"{kind}.json"
            path.write_text(json.dumps(schema_of(kind), indent=1) + "\n", encoding="utf-8")
            written.append(path)
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be written: {error.strerror}; name another folder") from error
    return written


def _in_files(name: str, field: dict[str, Any]) -> dict[str, Any]:
    """A field as it may be written in a file: numbers also as expressions, lists also in their short forms."""
    said: dict[str, Any] = {key: field[key] for key in ("title", "description", "default") if key in field}
    match name:
        case "observables":
            each = field["items"]
            several = {"type": "array", "items": {"anyOf": [{"type": "string"}, each]}}
            by_name = {"type": "object", "additionalProperties": {"type": "string"}}
            return {**said, "anyOf": [several, by_name, {"type": "string"}]}
        case "terms" if "anyOf" in field:
            return {**field, "anyOf": [*field["anyOf"], {"type": "object", "additionalProperties": {"type": "number"}}]}
        case "parameters":
            values = {"anyOf": [{"type": "number"}, _EXPRESSION]}
            return {**said, "type": "object", "additionalProperties": values}
        case _:
            changed: dict[str, Any] = _with_expressions(field)
            return changed


def _with_expressions(part: Any) -> Any:
    """The same, with an expression wherever a number can stand."""
    if isinstance(part, list):
        return [_with_expressions(each) for each in part]
    if not isinstance(part, dict):
        return part
    if part.get("type") in {"number", "integer"}:
        said = {key: part[key] for key in ("title", "description", "default") if key in part}
        number = {key: value for key, value in part.items() if key not in said}
        return {**said, "anyOf": [number, _EXPRESSION]}
    changed = dict(part)
    for key in ("items", "additionalProperties", "anyOf", "prefixItems"):
        if key in part:
            changed[key] = _with_expressions(part[key])
    return changed


def _add_other_keys(kind: str, schema: dict[str, Any]) -> None:
    """The keys of the other kind that are understood here too."""
    properties = schema["properties"]
    if kind == "sweep":
        properties["backend"] = {"type": "string", "description": "The one backend, in place of backends."}
        for name, field in schema["$defs"]["CompileInput"]["properties"].items():
            properties[name] = field
        properties["backends"] = {**properties["backends"], "type": ["array", "string"]}
    elif kind == "circuits":
        one = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1}
        properties["backends"] = {**one, "description": "The one backend, in place of backend."}
        inner = {name: properties[name] for name in ("compiler", "level", "compile_on")}
        properties["compile"] = {"type": "object", "properties": inner, "additionalProperties": False}
