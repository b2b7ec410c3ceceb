"""Parameters of the flows: refused where they are wrong, and drawn as a form."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from given import a_check, a_sweep
from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ParameterTypeError, PrefectHTTPStatusError

from flows._support.drawn_forms import drawn
from flows.divi_program import divi_program
from flows.hybrid import hybrid
from flows.nightly_benchmark import nightly_benchmark
from flows.run_circuits import run_circuits
from flows.sensor import sensor
from flows.short_forms import qaoa, registered_builder, sweep_file
from flows.sweep import sweep
from qjobs.errors import InvalidInput
from qjobs.ledger import Ledger

BAD = {
    "unknown axis": ({"axes": [{"name": "phi", "values": [1.0]}]}, InvalidInput, "theta have no value"),
    "not a number": ({"axes": [{"name": "theta", "values": ["x"]}]}, ParameterTypeError, "values.0"),
    "no shots": ({"shots": 0}, ParameterTypeError, "shots"),
    "unknown field": ({"shot": 10}, ParameterTypeError, "shot"),
    "no backend": ({"backends": ["aer-backend/nope"]}, InvalidInput, "there is no backend 'aer-backend/nope'"),
    "second backend": ({"backends": ["aer", "nope"]}, InvalidInput, "there is no backend 'nope'"),
    "wide observable": ({"observables": [{"name": "z0", "terms": "Z7"}]}, InvalidInput, "acts on qubit 7"),
    "no circuit": ({"circuit": {"openqasm": "OPENQASM 9;"}}, InvalidInput, "OpenQASM 9"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_sweep(api: str, store: Ledger, case: str) -> None:
    """A bad sweep is refused before anything is written."""
    change, error, words = BAD[case]
    given = {**a_sweep("bad").model_dump(mode="json"), **change}
    with pytest.raises(error, match=re.escape(words)):
        sweep(given)
    assert store.jobs() == []


@pytest.mark.parametrize("change", [{"depth": 3}, {"sizes": []}, {"min_success": 2}], ids=lambda one: next(iter(one)))
def test_bad_health_check(api: str, store: Ledger, change: dict[str, object]) -> None:
    """A bad health check is refused before anything is written."""
    given = {**a_check("refused").model_dump(mode="json"), **change}
    with pytest.raises(ParameterTypeError, match=next(iter(change))):
        nightly_benchmark(given)
    assert store.jobs() == []


def test_deployment(client: SyncPrefectClient, store: Ledger) -> None:
    """A deployment refuses bad parameters when a run is created."""
    good = a_sweep("deployed").model_dump(mode="json")
    body = {
        "name": "sweep-form",
        "flow_id": str(client.create_flow(sweep)),
        "parameter_openapi_schema": sweep.parameters.model_dump_for_openapi(),
        "enforce_parameter_schema": True,
    }
    deployment = client.request("POST", "/deployments/", json=body).json()["id"]

    def create(spec: dict[str, object]) -> FlowRun:
        path = f"/deployments/{deployment}/create_flow_run"
        return FlowRun.model_validate(client.request("POST", path, json={"parameters": {"spec": spec}}).json())

    for change in ({"shots": 0}, {"axes": [{"name": "theta", "values": ["x"]}]}, {"mode": "spiral"}):
        with pytest.raises(ParameterTypeError, match=next(iter(change))):
            sweep.validate_parameters({"spec": {**good, **change}})
        with pytest.raises(PrefectHTTPStatusError) as caught:
            create({**good, **change})
        assert caught.value.response.status_code == 409
        assert next(iter(change)) in caught.value.response.text
    assert store.jobs() == []
    run = create(good)
    assert sweep.validate_parameters(run.parameters)["spec"] == a_sweep("deployed")


FLOWS = [sweep, run_circuits, nightly_benchmark, hybrid, divi_program, sweep_file, qaoa, registered_builder]


@pytest.mark.parametrize("one", FLOWS, ids=lambda one: one.name)
def test_form(one: Flow) -> None:
    """Every field has a title and a description, and none is a union of models, which the UI draws as JSON."""
    schema = one.parameters.model_dump_for_openapi()
    definitions = schema["definitions"]
    fields = [(f"parameters.{name}", field) for name, field in schema["properties"].items()]
    for title, model in definitions.items():
        fields += [(f"{title}.{name}", field) for name, field in model.get("properties", {}).items()]
    assert len(fields) > 10
    for name, field in fields:
        assert field.get("title") or "$ref" in str(field), name
        assert field.get("description"), name
        assert "oneOf" not in field, name
        assert "discriminator" not in field, name
        union = [part for part in field.get("anyOf", []) if part.get("type") != "null"]
        models = [part for part in union if "$ref" in part]
        assert len(union) <= 1 or not models, f"{name} is a union with a model in it"
        for reference in re.findall(r"#/definitions/(\w+)", json.dumps(field)):
            assert reference in definitions


def fields_of(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field of a form, also those inside of others, by its name."""
    for name, field in schema.get("properties", {}).items():
        yield name, field
        yield from fields_of(field)
    for form in schema.get("definitions", {}).values():
        yield from fields_of(form)


@pytest.mark.parametrize("one", [*FLOWS, sensor], ids=lambda one: one.name)
def test_drawn_form(one: Flow) -> None:
    """As it is drawn, a form has its own titles, units in them, and no choice of None but for a whole form."""
    form = drawn(one.parameters.model_dump_for_openapi())
    for name, field in fields_of(form):
        assert field["description"], name
        assert re.fullmatch(r"[A-Z][a-zA-Z]*( [a-z0-9()':].*)?", field["title"]), field["title"]
        assert not name.endswith(("_s", "_rad", "_hours")) or field["title"].endswith((" (s)", " (rad)", " (hours)"))
        assert "$ref" not in field, name
        for part in field.get("anyOf", []):
            assert "$ref" in part or part == {"type": "null"}, name
    for reference in re.findall(r"#/definitions/(\w+)", json.dumps(form)):
        assert form["definitions"][reference]["title"] in {
            "Axis",
            "Circuit",
            "Observable",
            "Objective",
            "Analysis",
            "Canary",
            "Term",
        }


def test_health_check_form() -> None:
    """No field of a health check is a mapping or a model that may be missing, which are drawn as JSON."""
    schema = nightly_benchmark.parameters.model_dump_for_openapi()
    fields = dict(schema["properties"]) | schema["definitions"]["HealthCheck"]["properties"]
    shown = {
        "backend",
        "sizes",
        "depth",
        "shots",
        "repetitions",
        "seed",
        "min_success",
        "compiler",
        "level",
        "compile_on",
    }
    assert shown < set(fields)
    for name, field in fields.items():
        assert "additionalProperties" not in field, name
        assert "$ref" not in json.dumps(field.get("anyOf", [])), name
