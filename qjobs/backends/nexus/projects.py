"""The project that jobs are put into, and the property that carries our keys."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from qjobs.backends.http import HttpClient
from qjobs.backends.nexus import wire
from qjobs.errors import CredentialsRejected, ProtocolError

logger = logging.getLogger(__name__)

KEY_PROPERTY: Final = "qjobs_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project: its id, and whether jobs in it may have the property of our keys."""

    project_id: str
    has_property: bool


class Projects:
    """Finds and makes the project of a name, and remembers it. Safe to use from many threads; raises as `HttpClient`.

    Of several projects of this name the oldest is taken.
    """

    def __init__(self, http: HttpClient, name: str) -> None:
        self._http = http
        self._name = name
        self._found: Project | None = None

    def find(self) -> Project | None:
        """The project; None if there is none."""
        found = self._found  # another thread may forget it meanwhile
        if found is not None:
            return found
        params = {"filter[name_exact]": self._name, "filter[archived]": "false", **wire.USER, **wire.OLDEST_FIRST}
        for project in wire.resources(self._http.read("GET", wire.PROJECTS, params=params)):
            if wire.member(project, "attributes", "name") == self._name:
                project_id = wire.text(project, "id")
                found = Project(project_id=project_id, has_property=self._define_property(project_id))
                self._found = found
                return found
        return None

    def find_or_make(self) -> Project:
        """The project, which is made if there is none."""
        found = self.find()
        if found is None:
            attributes = {"name": self._name, "description": "Jobs of qjobs.", "properties": {}}
            body = {"data": {"type": "project", "relationships": {}, "attributes": attributes}}
            self._http.read("POST", wire.PROJECTS, json=body, ignore={409})  # 409: somebody was faster
            logger.info("made the project %s", self._name)
            found = self.find()
        if found is None:
            raise ProtocolError(f"Nexus made the project {self._name!r} and does not list it")
        return found

    def forget(self) -> None:
        """Look again the next time: it may have been archived or deleted."""
        self._found = None

    def _define_property(self, project_id: str) -> bool:
        """Define the property of our keys; whether the project has it. Jobs are found by their names without it too."""
        try:
            listed = self._http.read("GET", wire.PROPERTIES, params={"filter[project][id]": project_id})
            if any(wire.member(each, "attributes", "name") == KEY_PROPERTY for each in wire.resources(listed)):
                return True
            body = wire.property_body(
                name=KEY_PROPERTY, description="The key of the job in qjobs.", project_id=project_id
            )
            self._http.read("POST", wire.PROPERTIES, json=body)
            logger.info("defined the property %s in the project %s", KEY_PROPERTY, self._name)
        except (CredentialsRejected, ProtocolError):  # 403: not ours to define
            return False
        return True
