"""QIR, WASM, HUGR and decoder configurations: stored, listed, given back."""

from __future__ import annotations

import functools
from collections import OrderedDict
from typing import Any

import qnexus as qnx
from hugr.build.tracked_dfg import TrackedDfg
from hugr.package import Package
from hugr.std.logic import Not
from hugr.tys import Bool
from pytket.wasm.wasm import WasmModuleHandler
from session import fresh, project, same

KINDS = ("qir", "wasm_modules", "hugr", "gpu_decoder_configs")
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


def check_contents() -> None:
    """What is stored is given back."""
    same(_stored("qir").download_qir(), QIR)
    same(_stored("wasm_modules").download_wasm_contents().bytecode(), WASM)
    same(_stored("gpu_decoder_configs").download_gpu_decoder_config_contents(), DECODER)
    found = _stored("hugr").download_hugr()
    expected = _package()
    same([len(list(each.nodes())) for each in found.modules], [len(list(each.nodes())) for each in expected.modules])


def check_lists() -> None:
    """Each is found by its name, a part of it, and its properties."""
    for kind in KINDS:
        made = _stored(kind)
        client = getattr(qnx, kind)
        name = made.annotations.name
        by_name = client.get(project=project(), name=name).id
        by_property = client.get_all(project=project(), properties=OrderedDict(kind=kind, size=3)).count()
        like = client.get_all(project=project(), name_like=name[2:], page_size=1).list()
        same((by_name, by_property, [found.id for found in like]), (made.id, 1, [made.id]))


def check_update() -> None:
    """A change of the name keeps the rest."""
    for kind in KINDS:
        made = _stored(kind)
        client = getattr(qnx, kind)
        name = fresh("renamed")
        client.update(made, name=name)
        try:
            found = client.get(id=made.id).annotations
            same((found.name, found.description), (name, "words"))
        finally:
            client.update(made, name=made.annotations.name)
