"""Projects and definitions of properties, as Nexus serves them (wire document, section 1.4)."""

from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse

from qjobs.service.assembly import Service
from qjobs.service.nexus.caller import Caller, caller_of
from qjobs.service.nexus.request_bodies import Change, Posted, ProjectAttributes, ProjectChange, PropertyAttributes
from qjobs.service.nexus.response_bodies import project_body, property_body
from qjobs.service.store.queries import PROJECTS, PROPERTY_DEFINITIONS


def router(service: Service) -> APIRouter:
    """Routes of projects and of definitions of properties."""
    routes = APIRouter(tags=["projects"])
    _add_projects(routes, service)
    _add_properties(routes, service)
    return routes


def _add_projects(routes: APIRouter, service: Service) -> None:
    who: TypeAlias = Annotated[Caller, Depends(caller_of(service))]
    content = service.content
    url = "/api/projects/v1beta2"

    @routes.get(url)
    def listed(caller: who) -> JSONResponse:
        listing = caller.listing(PROJECTS)
        data = [project_body(project) for project in content.projects(caller.visible, listing)]
        meta = listing.meta(content.count_projects(caller.visible, listing))
        return JSONResponse({"data": data, "included": [], "meta": meta})

    @routes.get(f"{url}/meta/count")
    def counted(caller: who) -> dict[str, int]:
        return {"count": content.count_projects(caller.visible, caller.listing(PROJECTS))}

    @routes.post(url, status_code=201)
    def create(caller: who, body: Change[ProjectAttributes]) -> JSONResponse:
        given = body.attributes
        project = content.create_project(
            caller.user, name=given.name, description=given.description or "", properties=given.properties
        )
        return JSONResponse({"data": project_body(project)}, 201)

    @routes.get(f"{url}/{{project_id}}")
    def one(caller: who, project_id: str) -> JSONResponse:
        return JSONResponse({"data": project_body(content.project(caller.visible, project_id))})

    @routes.patch(f"{url}/{{project_id}}")
    def change(caller: who, project_id: str, body: Change[ProjectChange]) -> JSONResponse:
        given = body.attributes
        project = content.update_project(
            caller.user,
            caller.visible,
            project_id,
            name=given.name,
            description=given.description,
            archived=given.archived,
        )
        return JSONResponse({"data": project_body(project)})

    @routes.delete(f"{url}/{{project_id}}", status_code=204)
    def delete(caller: who, project_id: str) -> Response:
        content.delete_project(caller.user, caller.visible, project_id)
        return Response(status_code=204)


def _add_properties(routes: APIRouter, service: Service) -> None:
    who: TypeAlias = Annotated[Caller, Depends(caller_of(service))]
    content = service.content
    url = "/api/property_definitions/v1beta2"

    @routes.get(url)
    def listed(caller: who) -> JSONResponse:
        listing = caller.listing(PROPERTY_DEFINITIONS)
        found = content.properties(caller.visible, listing)
        projects = content.projects_of([definition.project_id for definition in found])
        body: dict[str, Any] = {
            "data": [property_body(definition) for definition in found],
            "included": [project_body(project) for project in projects],
            "meta": listing.meta(content.count_properties(caller.visible, listing)),
        }
        return JSONResponse(body)

    @routes.get(f"{url}/meta/count")
    def counted(caller: who) -> dict[str, int]:
        return {"count": content.count_properties(caller.visible, caller.listing(PROPERTY_DEFINITIONS))}

    @routes.post(url, status_code=201)
    def define(caller: who, body: Posted[PropertyAttributes]) -> JSONResponse:
        given = body.attributes
        definition = content.define_property(
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
