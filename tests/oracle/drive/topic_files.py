"""QIR, WASM, HUGR and decoder configurations: stored, listed, given back."""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import Any
from uuid import uuid4

import qnexus as qnx
from hugr.build.tracked_dfg import TrackedDfg
from hugr.package import Package
from hugr.std.logic import Not
from hugr.tys import Bool
from pytket.wasm.wasm import WasmModuleHandler
from qnexus.exceptions import ZeroMatches
from session import fresh, project, refused, same

QIR = b"BC\xc0\xde" + bytes(range(256))
WASM = b"\0asm\x01\0\0\0"
DECODER = "decoder: ⟨ψ|\nrounds: 3\n"


def _package() -> Package:
    graph = TrackedDfg(Bool)
    graph.set_indexed_outputs(graph.add(Not(*graph.inputs())))
    return Package([graph.hugr])


@functools.cache
def _stored(kind: str) -> Any:
    """One of each, uploaded once."""
    values: dict[str, Any] = {
        "project": project(),
        "name": fresh(kind),
        "description": "words",
        "properties": OrderedDict(kind=kind, size=3),
    }
    match kind:
        case "qir":
            return qnx.qir.upload(QIR, **values)
        case "wasm_modules":
            return qnx.wasm_modules.upload(WasmModuleHandler(WASM, check=False), **values)
        case "gpu_decoder_configs":
            return qnx.gpu_decoder_configs.upload(DECODER, **values)
    return qnx.hugr.upload(_package(), **values)


def _annotated(kind: str) -> None:
    made = _stored(kind)
    found = getattr(qnx, kind).get(id=made.id)
    same((found.id, found.annotations, found.project.id), (made.id, made.annotations, project().id))


def _listed(kind: str) -> None:
    made, client = _stored(kind), getattr(qnx, kind)
    name = made.annotations.name
    by_name = client.get(project=project(), name=name).id
    by_property = client.get_all(project=project(), properties=OrderedDict(kind=kind, size=3)).count()
    like = client.get_all(project=project(), name_like=name[2:], page_size=1).list()
    same((by_name, by_property, [found.id for found in like]), (made.id, 1, [made.id]))


def _updated(kind: str) -> None:
    made, client, name = _stored(kind), getattr(qnx, kind), fresh("renamed")
    client.update(made, name=name)
    try:
        found = client.get(id=made.id).annotations
        same((found.name, found.description), (name, "words"))
    finally:
        client.update(made, name=made.annotations.name)


def _unknown(kind: str) -> None:
    refused(lambda: getattr(qnx, kind).get(id=uuid4()), ZeroMatches)


def check_qir() -> None:
    same(_stored("qir").download_qir(), QIR)


def check_wasm() -> None:
    same(_stored("wasm_modules").download_wasm_contents().bytecode(), WASM)


def check_hugr() -> None:
    found = _stored("hugr").download_hugr()
    same([len(list(module.nodes())) for module in found.modules], [len(list(m.nodes())) for m in _package().modules])


def check_decoder_config() -> None:
    same(_stored("gpu_decoder_configs").download_gpu_decoder_config_contents(), DECODER)


def check_qir_annotated() -> None:
    _annotated("qir")


def check_qir_listed() -> None:
    _listed("qir")


def check_qir_updated() -> None:
    _updated("qir")


def check_qir_unknown() -> None:
    _unknown("qir")


def check_wasm_annotated() -> None:
    _annotated("wasm_modules")


def check_wasm_listed() -> None:
    _listed("wasm_modules")


def check_wasm_updated() -> None:
    _updated("wasm_modules")


def check_wasm_unknown() -> None:
    _unknown("wasm_modules")


def check_hugr_annotated() -> None:
    _annotated("hugr")


def check_hugr_listed() -> None:
    _listed("hugr")


def check_hugr_updated() -> None:
    _updated("hugr")


def check_hugr_unknown() -> None:
    _unknown("hugr")


def check_decoder_config_annotated() -> None:
    _annotated("gpu_decoder_configs")


def check_decoder_config_listed() -> None:
    _listed("gpu_decoder_configs")


def check_decoder_config_updated() -> None:
    _updated("gpu_decoder_configs")


def check_kinds_are_kept_apart() -> None:
    """An id of one kind is unknown to the others."""
    refused(lambda: qnx.qir.get(id=_stored("hugr").id), ZeroMatches)
    refused(lambda: qnx.circuits.get(id=_stored("qir").id), ZeroMatches)
