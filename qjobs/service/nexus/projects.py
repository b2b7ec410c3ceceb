"""Projects and definitions of properties, as Nexus serves them (docs/nexus.md, "Projects")."""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from qjobs.service.nexus.caller import Who
from qjobs.service.nexus.request_bodies import Change, Posted, ProjectAttributes, ProjectChange, PropertyAttributes
from qjobs.service.nexus.response_bodies import project_body, property_body
from qjobs.service.store.queries import PROJECTS, PROPERTY_DEFINITIONS
from qjobs.service.store.records import Project, PropertyDefinition

router = APIRouter(tags=["projects"])

_PROJECTS = "/api/projects/v1beta2"
_PROPERTIES = "/api/property_definitions/v1beta2"


@router.get(_PROJECTS)
def _listed(caller: Who) -> JSONResponse:
    listing = caller.listing(PROJECTS)
    content = caller.service.content
    data = [project_body(project) for project in content.page(PROJECTS, Project, listing)]
    return JSONResponse({"data": data, "included": [], "meta": listing.meta(content.count(PROJECTS, listing))})


@router.get(f"{_PROJECTS}/meta/count")
def _counted(caller: Who) -> dict[str, int]:
    return {"count": caller.service.content.count(PROJECTS, caller.listing(PROJECTS))}


@router.post(_PROJECTS, status_code=201)
def _create(caller: Who, body: Change[ProjectAttributes]) -> JSONResponse:
    given = body.attributes
    project = caller.service.content.create_project(
        caller.user, name=given.name, description=given.description or "", properties=given.properties
    )
    return JSONResponse({"data": project_body(project)}, 201)


@router.get(f"{_PROJECTS}/{{project_id}}")
def _one(caller: Who, project_id: str) -> JSONResponse:
    return JSONResponse({"data": project_body(caller.service.content.project(caller.visible, project_id))})


@router.patch(f"{_PROJECTS}/{{project_id}}")
def _change(caller: Who, project_id: str, body: Change[ProjectChange]) -> JSONResponse:
    changes = body.attributes.model_dump(exclude_none=True)
    project = caller.service.content.update_project(caller.user, caller.visible, project_id, changes)
    return JSONResponse({"data": project_body(project)})


@router.delete(f"{_PROJECTS}/{{project_id}}", status_code=204)
def _delete(caller: Who, project_id: str) -> Response:
    caller.service.content.delete_project(caller.user, caller.visible, project_id)
    return Response(status_code=204)


@router.get(_PROPERTIES)
def _listed_properties(caller: Who) -> JSONResponse:
    listing = caller.listing(PROPERTY_DEFINITIONS)
    content = caller.service.content
    found = content.page(PROPERTY_DEFINITIONS, PropertyDefinition, listing)
    data = [property_body(definition) for definition in found]
    meta = listing.meta(content.count(PROPERTY_DEFINITIONS, listing))
    return JSONResponse({"data": data, "included": caller.projects_of(found), "meta": meta})


@router.get(f"{_PROPERTIES}/meta/count")
def _counted_properties(caller: Who) -> dict[str, int]:
    listing = caller.listing(PROPERTY_DEFINITIONS)
    return {"count": caller.service.content.count(PROPERTY_DEFINITIONS, listing)}


@router.post(_PROPERTIES, status_code=201)
def _define(caller: Who, body: Posted[PropertyAttributes]) -> JSONResponse:
    given = body.attributes
    definition = caller.service.content.define_property(
        caller.user,
        caller.visible,
        body.project_id,
        name=given.name,
        description=given.description or "",
        property_type=given.property_type,
        required=given.required,
        color=given.color,
    )
    return JSONResponse({"data": property_body(definition)}, 201)
