"""Users of a service under attack, each with one of everything."""

from __future__ import annotations

import base64
import time
from typing import Any

import httpx
from fuzzing import Wire
from portal_person import BELL, FINAL
from qoro_person import packed
from standing_service import GHZ

from qjobs.service.running import RunningService

__all__ = ["LISTS", "SECRET", "USERS", "Person"]

SECRET = "ADAS-SECRET-" + "5f2b9c"
"""A word in everything of the victim's; no answer to anybody else may hold it."""

USERS = {
    "ada@localhost.test": "ada's password",
    "mallory@localhost.test": "mallory's password",
    "eve@localhost.test": "eve's password",
}
QORO = "/qoro/api"
FILES = ("/api/qir/v1beta", "/api/wasm/v1beta", "/api/hugr/v1beta", "/api/gpu_decoder_configs/v1beta")
LISTS = (
    "/api/projects/v1beta2",
    "/api/property_definitions/v1beta2",
    "/api/circuits/v1beta2",
    "/api/jobs/v1beta3",
    *FILES,
)


class Person:
    """A user with a project, one of everything in it, and a connection."""

    def __init__(self, service: RunningService, email: str, words: str) -> None:
        self.service = service
        answer = httpx.post(f"{service.url}/auth/login", json={"email": email, "password": USERS[email]}, timeout=60)
        self.token = answer.cookies["myqos_id"]
        self.cookie = f"myqos_id={self.token}"
        wire = self.wire()
        attributes: dict[str, Any] = {"name": f"{words} project", "description": words, "properties": {"a": words}}
        made = wire.json("POST", "/api/projects/v1beta2", {"data": {"type": "project", "attributes": attributes}})
        self.project = made["data"]["id"]
        self.circuit = self._post(wire, "/api/circuits/v1beta2", {**attributes, **GHZ, "name": f"{words} circuit"})
        contents = base64.b64encode(words.encode()).decode()
        files = {**attributes, "contents": contents}
        self.qir, *self.files = [self._post(wire, path, files) for path in FILES]
        defined = {"name": f"{words} property", "property_type": "int", "color": "#0072b2", "required": False}
        self.property = self._post(wire, "/api/property_definitions/v1beta2", defined)
        team = {"data": {"type": "team", "attributes": {"name": f"{words} team", "description": words}}}
        self.team = wire.json("POST", "/api/teams/v1beta2", team)["data"]["id"]
        self.words = words
        self.jobs = [self.submit(wire, kind) for kind in ("execute", "compile")]
        found = [self._final(wire, job) for job in self.jobs]
        self.result = found[0]["definition"]["items"][0]["result_id"]
        self.compilation = found[1]["definition"]["items"][0]["compilation_id"]
        self.item = found[0]["definition"]["items"][0]["item_uuid"]
        self.spare_jobs = [self.submit(wire, "execute") for _ in range(4)]
        for job in self.spare_jobs:
            self._final(wire, job)
        self.spare_projects = [self._spare(wire, f"{words} spare {number}") for number in (1, 2)]
        self.user = wire.json("GET", "/api/users/v1beta2/me")["data"]["id"]
        self.portal_circuit = f"// {words}\n{BELL}"
        asked = {"resource_name": "Aer", "circuit": self.portal_circuit, "circuit_format": "qasm", "shots": 10}
        self.portal_jobs = [wire.json("POST", "/v1/job", asked)["uuid"] for _ in range(2)]
        self.cancelled = wire.json("POST", "/v1/job", asked)["uuid"]
        wire.ask("DELETE", f"/v1/job/{self.cancelled}")
        ising = {"resource_name": "Aer", "interaction_str": "0 1;", "coefficients_str": "1.0;"}
        self.portal_jobs.append(wire.json("POST", "/v1/hamiltonian_job", ising)["uuid"])
        for portal_job, kind in zip(self.portal_jobs, ("job", "job", "hamiltonian_job"), strict=True):
            self._ends(wire, f"/v1/{kind}/{portal_job}/status")
        new = {"tag": words, "job_type": "EXECUTE", "simulator_cluster": "Aer"}
        self.qoro_jobs = [wire.json("POST", f"{QORO}/job/init", new)["job_id"] for _ in range(100)]
        fragment = {"circuits": {words: packed(BELL)}, "finalized": "true", "shots": 10}
        self.qoro_done = self.qoro_jobs.pop()
        wire.json("POST", f"{QORO}/job/{self.qoro_done}/add_circuits", fragment)
        self._ends(wire, f"{QORO}/job/{self.qoro_done}/status")
        wire.close()

    @property
    def ids(self) -> list[str]:
        """Of everything that is this user's."""
        single = (self.project, self.circuit, self.qir, self.property, self.team, self.result, self.compilation)
        return [*single, self.item, *self.jobs]

    def wire(self, source: str = "") -> Wire:
        return Wire("127.0.0.1", self.service.port, self.cookie, self.token, source)

    def everything(self) -> dict[str, Any]:
        """All that this user sees of it, as JSON."""
        wire = self.wire()
        mine = f"filter%5Bproject%5D%5Bid%5D={self.project}"  # others may let this user see theirs
        one = {f"{url}?{mine}" for url in LISTS[1:]} | {f"/api/jobs/v1beta3/{job}" for job in self.jobs}
        one |= {f"/api/circuits/v1beta2/{self.circuit}", f"/api/qir/v1beta/{self.qir}"}
        one |= {f"/api/projects/v1beta2/{self.project}", f"/api/results/v1beta3/{self.result}"}
        one |= {f"/api/compilations/v1beta3/{self.compilation}", f"/api/teams/v1beta2/{self.team}"}
        one |= {f"/api/resources/v1beta2/{self.project}/assignments", "/api/users/v1beta2/me", "/jobs"}
        one |= {f"/v1/job/{self.portal_jobs[0]}/result", f"/v1/hamiltonian_job/{self.portal_jobs[2]}/result"}
        one |= {f"{QORO}/job/{self.qoro_done}/resultsV2", f"{QORO}/job/{self.qoro_jobs[0]}/status"}
        found = {path: wire.json("GET", path) for path in sorted(one)}
        wire.close()
        return found

    def _ends(self, wire: Wire, path: str) -> None:
        """Wait until a job of the portal, or of Qoro, is final."""
        deadline = time.monotonic() + 900
        while wire.json("GET", path)["status"] not in FINAL:
            assert time.monotonic() < deadline, path
            time.sleep(0.05)

    def roles(self) -> list[str]:
        """Ids of all roles."""
        wire = self.wire()
        found = [role["id"] for role in wire.json("GET", "/api/roles/v1beta")["data"]]
        wire.close()
        return found

    def _spare(self, wire: Wire, name: str) -> str:
        """An archived project, which may be deleted."""
        body = {"data": {"type": "project", "attributes": {"name": name}}}
        made = str(wire.json("POST", "/api/projects/v1beta2", body)["data"]["id"])
        wire.json("PATCH", f"/api/projects/v1beta2/{made}", {"data": {"attributes": {"archived": True}}})
        return made

    def _post(self, wire: Wire, path: str, attributes: dict[str, Any]) -> str:
        body = {"data": {"type": "x", "attributes": attributes, "relationships": self.relationships()}}
        return str(wire.json("POST", path, body)["data"]["id"])

    def relationships(self) -> dict[str, Any]:
        return {"project": {"data": {"id": self.project, "type": "project"}}}

    def definition(self, kind: str) -> dict[str, Any]:
        item = {"program_id": self.circuit} | ({"n_shots": 10} if kind == "execute" else {})
        return {
            "job_definition_type": f"{kind}_job_definition",
            "backend_config": {"type": "AerConfig"},
            "items": [item],
        }

    def submit(self, wire: Wire, kind: str) -> str:
        """A job with the circuit; its id."""
        named = {"name": f"{self.words} job", "description": self.words, "properties": {"a": self.words}}
        values = {**named, "job_type": kind, "definition": self.definition(kind)}
        return self._post(wire, "/api/jobs/v1beta3", values)

    def _final(self, wire: Wire, job: str) -> dict[str, Any]:
        deadline = time.monotonic() + 900
        while time.monotonic() < deadline:
            found: dict[str, Any] = wire.json("GET", f"/api/jobs/v1beta3/{job}")["data"]["attributes"]
            if found["status"]["status"] == "COMPLETED":
                return found
            time.sleep(0.05)
        raise AssertionError(found)
