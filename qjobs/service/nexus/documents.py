"""Circuits, QIR, WASM, HUGR and decoder configurations, as Nexus serves them (wire document, section 1.5)."""

import base64
import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from qjobs.service.assembly import Service
from qjobs.service.nexus.caller import Caller, caller_of, gone_if_deleted
from qjobs.service.nexus.request_bodies import (
    Annotations,
    AnnotationsChange,
    Change,
    CircuitAttributes,
    FileAttributes,
    Posted,
)
from qjobs.service.nexus.response_bodies import document_body, project_body
from qjobs.service.store.queries import DOCUMENTS
from qjobs.service.store.records import Document, DocumentKind

_FILES = {
    DocumentKind.QIR: "/api/qir/v1beta",
    DocumentKind.WASM: "/api/wasm/v1beta",
    DocumentKind.HUGR: "/api/hugr/v1beta",
    DocumentKind.GPU_DECODER_CONFIG: "/api/gpu_decoder_configs/v1beta",
}


def router(service: Service) -> APIRouter:
    """Routes of all kinds of documents."""
    routes = APIRouter(tags=["programs"])
    _add_circuit_post(routes, service, "/api/circuits/v1beta2")
    _add_reading(routes, service, DocumentKind.CIRCUIT, "/api/circuits/v1beta2")
    for kind, url in _FILES.items():
        _add_file_post(routes, service, kind, url)
        _add_reading(routes, service, kind, url)
    _add_file_post(routes, service, DocumentKind.HUGR, "/api/hugr/v1beta2")  # since qnexus 0.46; both are in use
    return routes


def _contents(service: Service, document: Document) -> Mapping[str, Any]:
    body = service.content.document_body(document.document_id)
    if document.kind is DocumentKind.CIRCUIT:
        circuit: dict[str, Any] = json.loads(body)
        return circuit
    return {"contents": base64.b64encode(body).decode()}


def _create(
    service: Service, caller: Caller, project_id: str, kind: DocumentKind, given: Annotations, body: bytes
) -> Document:
    return service.content.create_document(
        caller.user,
        caller.visible,
        project_id,
        kind,
        name=given.name,
        description=given.description or "",
        properties=given.properties,
        body=body,
    )


def _add_circuit_post(routes: APIRouter, service: Service, url: str) -> None:
    who: TypeAlias = Annotated[Caller, Depends(caller_of(service))]

    @routes.post(url, status_code=201)
    def create(caller: who, body: Posted[CircuitAttributes]) -> JSONResponse:
        circuit = body.attributes.circuit()
        packed = json.dumps(circuit, ensure_ascii=False, separators=(",", ":")).encode()
        document = _create(service, caller, body.project_id, DocumentKind.CIRCUIT, body.attributes, packed)
        return JSONResponse({"data": document_body(document, circuit)}, 201)


def _add_file_post(routes: APIRouter, service: Service, kind: DocumentKind, url: str) -> None:
    who: TypeAlias = Annotated[Caller, Depends(caller_of(service))]

    @routes.post(url, status_code=201)
    def create(caller: who, body: Posted[FileAttributes]) -> JSONResponse:
        contents = body.attributes.contents
        raw = base64.b64decode(contents)
        document = _create(service, caller, body.project_id, kind, body.attributes, raw)
        return JSONResponse({"data": document_body(document, {"contents": contents})}, 201)


def _add_reading(routes: APIRouter, service: Service, kind: DocumentKind, url: str) -> None:
    who: TypeAlias = Annotated[Caller, Depends(caller_of(service))]
    content = service.content

    def whole(document: Document) -> JSONResponse:
        projects = content.projects_of([document.project_id])
        data = document_body(document, _contents(service, document))
        return JSONResponse({"data": data, "included": [project_body(project) for project in projects]})

    @routes.get(url)
    def listed(caller: who) -> JSONResponse:
        listing = caller.listing(DOCUMENTS)
        found = content.documents(caller.visible, kind, listing)
        projects = content.projects_of([document.project_id for document in found])
        body: dict[str, Any] = {
            "data": [document_body(document) for document in found],
            "included": [project_body(project) for project in projects],
            "meta": listing.meta(content.count_documents(caller.visible, kind, listing)),
        }
        return JSONResponse(body)

    @routes.get(f"{url}/meta/count")
    def counted(caller: who) -> dict[str, int]:
        return {"count": content.count_documents(caller.visible, kind, caller.listing(DOCUMENTS))}

    @routes.get(f"{url}/{{document_id}}")
    def one(caller: who, document_id: str) -> JSONResponse:
        with gone_if_deleted(service, caller, document_id):
            return whole(content.document(caller.visible, kind, document_id))

    @routes.patch(f"{url}/{{document_id}}")
    def change(caller: who, document_id: str, body: Change[AnnotationsChange]) -> JSONResponse:
        given = body.attributes
        with gone_if_deleted(service, caller, document_id):
            document = content.update_document(
                caller.user,
                caller.visible,
                kind,
                document_id,
                name=given.name,
                description=given.description,
                properties=given.properties,
            )
            return whole(document)
