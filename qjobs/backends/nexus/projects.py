"""The project that jobs are put into, and the property that carries our keys."""

from __future__ import annotations

from dataclasses import dataclass

from qjobs.backends.http import HttpClient
from qjobs.backends.nexus import wire
from qjobs.errors import CredentialsRejected, ProtocolError

__all__ = ["KEY_PROPERTY", "Project", "Projects"]

KEY_PROPERTY = "qjobs_key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A project: its id, and whether jobs in it may have the property of our keys."""

    project_id: str
    has_property: bool


class Projects:
    """The project of a name. Safe to use from many threads; what is found is remembered.

    Args:
        http: How Nexus is asked.
        name: The project's name; of several the oldest is taken.
    """

    def __init__(self, http: HttpClient, name: str) -> None:
        self._http, self._name = http, name
        self._found: Project | None = None

    def known(self) -> Project | None:
        """The project, or None if there is none.

        Raises:
            BackendUnavailable, CredentialsRejected, ProtocolError: As `HttpClient.read`.
        """
        found = self._found
        if found is None:
            params = {"filter[name_exact]": self._name, "filter[archived]": "false", **wire.USER, **wire.OLDEST_FIRST}
            listed = wire.resources(self._http.read("GET", wire.PROJECTS, params=params))
            ids = [wire.text(each, "id") for each in listed if wire.member(each, "attributes", "name") == self._name]
            if not ids:
                return None
            found = self._found = Project(project_id=ids[0], has_property=self._define(ids[0]))
        return found

    def made(self) -> Project:
        """The project, made if there is none.

        Raises:
            BackendUnavailable, CredentialsRejected, ProtocolError: As `HttpClient.read`.
        """
        found = self.known()
        if found is None:
            body = {"data": {"type": "project", "relationships": {}, "attributes": self._attributes()}}
            self._http.read("POST", wire.PROJECTS, json=body, ignore={409})  # 409: somebody was faster
            found = self.known()
        if found is None:
            raise ProtocolError(f"Nexus made the project {self._name!r} and does not list it")
        return found

    def forget(self) -> None:
        """Look again the next time: it may have been archived or deleted."""
        self._found = None

    def _attributes(self) -> dict[str, object]:
        return {"name": self._name, "description": "Jobs of qjobs.", "properties": {}}

    def _define(self, project_id: str) -> bool:
        """Define the property of our keys; whether the project has it. Without it jobs are found by their names."""
        try:
            listed = self._http.read("GET", wire.PROPERTIES, params={"filter[project][id]": project_id})
            if any(wire.member(each, "attributes", "name") == KEY_PROPERTY for each in wire.resources(listed)):
                return True
            body = wire.property_body(
                name=KEY_PROPERTY, description="The key of the job in qjobs.", project_id=project_id
            )
            self._http.read("POST", wire.PROPERTIES, json=body)
        except (CredentialsRejected, ProtocolError):  # 403: not ours to define
            return False
        return True
