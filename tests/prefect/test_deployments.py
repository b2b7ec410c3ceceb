"""The deployments name flows that exist, with forms that can be filled in."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from prefect.flows import Flow, load_flow_from_entrypoint

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda one: one["entrypoint"])
def test_the_entrypoint_is_a_flow(deployment: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    flow = load_flow_from_entrypoint(str(deployment["entrypoint"]))
    assert isinstance(flow, Flow)
    assert "spec" in flow.parameters.properties
    assert deployment["work_pool"] == {"name": "qjobs"}


def test_every_flow_that_people_start_is_deployed() -> None:
    names = {str(deployment["entrypoint"]).split(":")[1] for deployment in DEPLOYMENTS}
    assert names >= {"sweep", "run_circuits"}
