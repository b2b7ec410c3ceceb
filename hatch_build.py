"""Build hook: an editable install registers what is built on the library; a wheel has it as files for `qjobs init`.

What is registered is `blocks`, as a collection of Prefect and as what opens saved blocks, `qjobs sensor`, `qjobs
approve` and the checks of Prefect.

`blocks`, `tasks` and `flows` belong to the project and not to the library, so that the wheel has none of them as
packages: they are in `qjobs/template`, which `qjobs init` lays out. Prefect prints a warning for every collection that
it cannot load.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TEMPLATE = ("blocks", "tasks", "flows", "deployments", "examples")
"""What a project is laid out from, as `qjobs.project` has it."""


class CollectionHook(BuildHookInterface):  # type: ignore[type-arg]  # not generic when it runs
    """Adds the entry points of `blocks` and `flows` to editable installs, and the files of a project to wheels."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before each build; `version` is "standard" or "editable"."""
        if version == "editable":
            self.metadata.core.entry_points["prefect.collections"] = {"qjobs_blocks": "blocks"}
            self.metadata.core.entry_points["qjobs.backends"] = {"blocks": "blocks.opening:backend_named"}
            self.metadata.core.entry_points["qjobs.commands"] = {
                "approve": "flows.approve:main",
                "sensor": "flows.sensor:main",
            }
            self.metadata.core.entry_points["qjobs.checks"] = {"prefect": "flows._support.doctor:prefect_checks"}
        else:
            for part in TEMPLATE:
                build_data["force_include"][str(Path(self.root) / part)] = f"qjobs/template/{part}"
