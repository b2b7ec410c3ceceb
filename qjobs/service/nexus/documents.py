"""Circuits, QIR, WASM, HUGR and decoder configurations, as Nexus serves them (docs/nexus.md, "Programs")."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from qjobs.service import tables as schema
from qjobs.service.nexus.caller import Caller, Who
from qjobs.service.nexus.request_bodies import (
    Annotations,
    AnnotationsChange,
    Change,
    CircuitAttributes,
    FileAttributes,
    Posted,
)
from qjobs.service.nexus.response_bodies import document_body, json_response
from qjobs.service.store.queries import DOCUMENTS
from qjobs.service.store.records import Document, DocumentKind, document_of
from qjobs.service.web.bodies import LongBodies

router = APIRouter(tags=["programs"], route_class=LongBodies)

_CIRCUITS = "/api/circuits/v1beta2"
_FILES = {
    DocumentKind.QIR: "/api/qir/v1beta",
    DocumentKind.WASM: "/api/wasm/v1beta",
    DocumentKind.HUGR: "/api/hugr/v1beta",
    DocumentKind.GPU_DECODER_CONFIG: "/api/gpu_decoder_configs/v1beta",
}


def _contents(caller: Caller, document: Document) -> Mapping[str, Any]:
    body = caller.service.content.document_body(document.document_id)
    if document.kind is DocumentKind.CIRCUIT:
        circuit: dict[str, Any] = json.loads(body)
        return circuit
    return {"contents": base64.b64encode(body).decode()}


def _create(caller: Caller, project_id: str, kind: DocumentKind, given: Annotations, body: bytes) -> Document:
    caller.service.quotas.take_storage(caller.user.user_id, len(body))
    return caller.service.content.create_document(
        caller.user,
        caller.visible,
        project_id,
        kind,
        name=given.name,
        description=given.description or "",
        properties=given.properties,
        body=body,
    )


@router.post(_CIRCUITS, status_code=201)
def _create_circuit(caller: Who, body: Posted[CircuitAttributes]) -> Response:
    packed = json.dumps(body.attributes.circuit(), ensure_ascii=False, separators=(",", ":")).encode()
    document = _create(caller, body.project_id, DocumentKind.CIRCUIT, body.attributes, packed)
    data = document_body(document)
    return json_response(data, packed, 201, attributes=data.pop("attributes"))


def _add_file_post(kind: DocumentKind, url: str) -> None:
    @router.post(url, status_code=201)
    def create(caller: Who, body: Posted[FileAttributes]) -> JSONResponse:
        contents = body.attributes.contents
        raw = base64.b64decode(contents)
        document = _create(caller, body.project_id, kind, body.attributes, raw)
        return JSONResponse({"data": document_body(document, {"contents": contents})}, 201)


def _add_reading(kind: DocumentKind, url: str) -> None:
    of_kind = schema.document.c.kind == kind

    def whole(caller: Caller, document: Document) -> JSONResponse:
        data = document_body(document, _contents(caller, document))
        return JSONResponse({"data": data, "included": caller.projects_of([document])})

    @router.get(url)
    def listed(caller: Who) -> JSONResponse:
        content = caller.service.content
        listing = caller.listing(DOCUMENTS, of_kind)
        found = content.page(DOCUMENTS, document_of, listing)
        body: dict[str, Any] = {
            "data": [document_body(document) for document in found],
            "included": caller.projects_of(found),
            "meta": listing.meta(content.count(DOCUMENTS, listing)),
        }
        return JSONResponse(body)

    @router.get(f"{url}/meta/count")
    def counted(caller: Who) -> dict[str, int]:
        return {"count": caller.service.content.count(DOCUMENTS, caller.listing(DOCUMENTS, of_kind))}

    @router.get(f"{url}/{{document_id}}")
    def one(caller: Who, document_id: str) -> JSONResponse:
        with caller.gone_if_deleted(document_id):
            return whole(caller, caller.service.content.document(caller.visible, kind, document_id))

    @router.patch(f"{url}/{{document_id}}")
    def change(caller: Who, document_id: str, body: Change[AnnotationsChange]) -> JSONResponse:
        changes = body.attributes.model_dump(exclude_none=True)
        content = caller.service.content
        with caller.gone_if_deleted(document_id):
            return whole(caller, content.update_document(caller.user, caller.visible, kind, document_id, changes))


URLS = (_CIRCUITS, *_FILES.values())
"""Where programs are sent; younger versions of an address begin like these."""

_add_reading(DocumentKind.CIRCUIT, _CIRCUITS)
for _kind, _url in _FILES.items():
    _add_file_post(_kind, _url)
    _add_reading(_kind, _url)
_add_file_post(DocumentKind.HUGR, "/api/hugr/v1beta2")  # since qnexus 0.46; both are in use
