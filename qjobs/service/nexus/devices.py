"""Devices, as Nexus serves them (wire document, section 1.8)."""

from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from qjobs.service.accounts.accounts import User
from qjobs.service.assembly import Service
from qjobs.service.devices import DeviceKind
from qjobs.service.errors import BadRequest, NotFound, ServiceError
from qjobs.service.nexus.caller import Caller, caller_of
from qjobs.service.nexus.request_bodies import BackendPropertyBody
from qjobs.service.web.cookies import current_user

_ISSUERS = ("Quantinuum", "Braket", "Qiskit")
_READ = frozenset({"backend", "is_local"})


def router(service: Service) -> APIRouter:
    """Routes of devices."""
    routes = APIRouter(tags=["devices"])
    _add_devices(routes, service)
    _add_states(routes, service)
    return routes


def _add_devices(routes: APIRouter, service: Service) -> None:
    who: TypeAlias = Annotated[Caller, Depends(caller_of(service))]

    @routes.get("/api/v5/available_devices")
    def listed(caller: who) -> JSONResponse:
        given = {name: [value for key, value in caller.params if key == name] for name in _READ}
        hosted = set(given["is_local"])
        if not hosted <= {"true", "false"}:
            raise BadRequest("is_local is true or false")
        bodies: list[dict[str, Any]] = []
        for device in service.devices.all:
            is_local = device.kind is DeviceKind.NEXUS_HOSTED
            asked = not given["backend"] or device.config in given["backend"]
            if asked and (not hosted or str(is_local).lower() in hosted):
                bodies.append({"is_local": is_local, "backend_info_list": [device.info()]})
        return JSONResponse(bodies)

    @routes.post("/api/v5/backend_info/backend_property")
    def backend_property(caller: who, body: BackendPropertyBody) -> bool:
        return service.devices.backend_property(body.backend_config, body.property)


def _add_states(routes: APIRouter, service: Service) -> None:
    user: TypeAlias = Annotated[User, Depends(current_user(service))]

    @routes.get("/api/machines/v1beta/{device_name}/status")
    def status(_: user, device_name: str) -> dict[str, str]:
        state = service.devices.state(device_name, service.clock.now())
        if state is None:
            raise NotFound(f"device {device_name!r} not found")
        return {"state": state}

    @routes.get("/api/v6/remote_queue/{issuer}")
    def remote_queue(_: user, issuer: str) -> JSONResponse:
        if issuer not in _ISSUERS:
            raise ServiceError(f"issuer is one of {', '.join(_ISSUERS)}")
        raise NotFound(
            f"Queue information not available for 'Issuer.{issuer.upper()}'. Ask for the status of one of your jobs: "
            "it has its queue position."
        )
