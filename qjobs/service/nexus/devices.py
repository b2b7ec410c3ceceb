"""Devices, as Nexus serves them (docs/nexus.md, "Devices")."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from qjobs.service.devices import DeviceKind
from qjobs.service.errors import BadRequest, NotFound, ServiceError
from qjobs.service.nexus.caller import Who
from qjobs.service.nexus.request_bodies import BackendPropertyBody
from qjobs.service.store.queries import check_parameters
from qjobs.service.web.cookies import Serving, SignedIn

router = APIRouter(tags=["devices"])

_ISSUERS = ("Quantinuum", "Braket", "Qiskit")
_READ = frozenset({"backend", "is_local"})
_ACCOUNTS = frozenset({"region", "ibm_instance", "ibm_region", "credential_ids", "credential_names"})
"""They choose among devices of Braket and IBM, and of those reached with somebody's credentials; here are none."""


@router.get("/api/v5/available_devices")
def _listed(caller: Who) -> JSONResponse:
    check_parameters(caller.params, _READ | _ACCOUNTS)
    given = {name: [value for key, value in caller.params if key == name] for name in _READ}
    hosted = set(given["is_local"])
    if not hosted <= {"true", "false"}:
        raise BadRequest("is_local is true or false")
    bodies: list[dict[str, Any]] = []
    for device in caller.service.devices.all:
        is_local = device.kind is DeviceKind.NEXUS_HOSTED
        asked = not given["backend"] or device.config in given["backend"]
        if asked and (not hosted or str(is_local).lower() in hosted):
            bodies.append({"is_local": is_local, "backend_info_list": [device.info()]})
    return JSONResponse(bodies)


@router.post("/api/v5/backend_info/backend_property")
def _backend_property(caller: Who, body: BackendPropertyBody) -> bool:
    return caller.service.devices.backend_property(body.backend_config, body.property)


@router.get("/api/machines/v1beta/{device_name}/status")
def _status(_: SignedIn, service: Serving, device_name: str) -> dict[str, str]:
    device = service.devices.get(device_name)
    if device is None:
        raise NotFound(f"device {device_name!r} not found")
    return {"state": device.state_at(service.clock.now())}


@router.get("/api/v6/remote_queue/{issuer}")
def _remote_queue(_: SignedIn, issuer: str) -> JSONResponse:
    if issuer not in _ISSUERS:
        raise ServiceError(f"issuer is one of {', '.join(_ISSUERS)}")
    raise NotFound(
        f"Queue information not available for 'Issuer.{issuer.upper()}'. Ask for the status of one of your jobs: "
        "it has its queue position."
    )
