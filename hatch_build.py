"""Build hook: an editable install registers what is built on the library; a wheel does not.

That is `blocks`, as a collection of Prefect and as what opens saved blocks, `qjobs sensor` and the checks of Prefect.

`blocks`, `tasks` and `flows` belong to the project and not to the library, so that the wheel has none of
them; Prefect prints a warning for every collection that it cannot load.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CollectionHook(BuildHookInterface):  # type: ignore[type-arg]  # not generic when it runs
    """Adds the entry points of `blocks` and `flows` to editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before each build; `version` is "standard" or "editable"."""
        if version == "editable":
            self.metadata.core.entry_points["prefect.collections"] = {"qjobs_blocks": "blocks"}
            self.metadata.core.entry_points["qjobs.backends"] = {"blocks": "blocks.opening:backend_named"}
            self.metadata.core.entry_points["qjobs.commands"] = {"sensor": "flows.sensor:main"}
            self.metadata.core.entry_points["qjobs.checks"] = {"prefect": "flows._support.doctor:prefect_checks"}
