"""From the form in Prefect's UI to the results, through the death of every program on the way."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from chromium import installed, opened
from prefect_pages import submit
from programs import DEADLINE_S, processes_with, until
from stack import DEVICE, Stack

from qjobs.lifecycle import JobStatus

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAME = "from the form"
SHOTS = 250
HEAD = """OPENQASM 2.0;
include "qelib1.inc";
"""
CIRCUITS = [
    HEAD + "qreg q[2];\ncreg c[2];\nh q[0];\ncx q[0], q[1];\nmeasure q -> c;\n",
    HEAD + "qreg q[3];\ncreg c[3];\nh q[0];\ncx q[0], q[1];\ncx q[1], q[2];\nmeasure q -> c;\n",
]


def run_from_the_form(page: Page, url: str) -> str:
    """Find the deployment, fill in its form, press the button and open the run; its id."""
    page.goto(url)
    page.get_by_role("link", name="Deployments").first.click()
    page.get_by_role("link", name="Circuits as they are", exact=True).click()
    page.get_by_role("button", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Custom run").click()
    page.get_by_label("Name (Optional)", exact=True).fill(NAME)
    page.get_by_role("button", name="Select Compiler").click()
    page.get_by_role("option", name="tket").click()
    page.get_by_label("Backend (Optional)").fill(f"nexus/{DEVICE}")
    page.get_by_label("Shots (Optional)", exact=True).last.fill(str(SHOTS))  # circuits have some of their own
    for number, circuit in enumerate(CIRCUITS):  # in the place of those of the example
        field = page.get_by_text("OpenQASM (Optional)", exact=True).nth(number)
        field.locator("xpath=following::textarea[1]").fill(circuit)
    page.get_by_label("Run Name").fill(NAME)
    submit(page)
    page.get_by_role("link", name=NAME, exact=True).first.click()
    page.wait_for_url("**/runs/flow-run/*")
    found = re.search(r"flow-run/([0-9a-f-]{36})", page.url)
    assert found, page.url
    return found[1]


def sees(page: Page, words: str | re.Pattern[str]) -> None:
    """The page shows these words, at the latest when it is loaded again."""
    from playwright.sync_api import TimeoutError as NotThere

    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            page.get_by_role("main").get_by_text(words, exact=True).first.wait_for(timeout=5_000)
        except NotThere:
            assert time.monotonic() < deadline, f"not seen within {DEADLINE_S:.0f} s: {words}"
            page.reload()
        else:
            return


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_program_dies(tmp_path: Path) -> None:
    """A run from the form survives the death of every program, with one remote job."""
    program = installed()
    with Stack(tmp_path) as stack, opened(program, tmp_path) as page:
        run = run_from_the_form(page, stack.url)
        sees(page, "Suspended")
        page.get_by_role("tab", name="Artifacts").click()
        sees(page, re.compile(r"^0 of 2 circuits are done \(2 QUEUED\)"))
        until("the run has no process", lambda: not processes_with(run))
        made = stack.jobs_at_service()

        stack.kill()
        stack.start_again()
        until("the run goes on, in a process of its own", lambda: processes_with(run))
        sees(page, "Completed")
        page.get_by_role("link", name=re.compile("from-the-form-report")).click()
        sees(page, f"{len(CIRCUITS)} circuits, {len(CIRCUITS) * SHOTS} shots in all.")

        # What the server was told shortly before it was killed, it may have forgotten.
        until("the event qjobs.job.completed is there", lambda: stack.told("qjobs.job.completed"))
        assert stack.told("qjobs.job.completed") == 1
        assert len(made) == 1
        assert stack.jobs_at_service() == made
        with stack.ledger() as ledger:
            (job,) = ledger.jobs()
            (attempt,) = ledger.last_attempts([job.job_id]).values()
            results = ledger.results(job.job_id)
            assert ledger.waits.runs() == []
        assert (job.run, job.status, attempt.number) == (run, JobStatus.COMPLETED, 1)
        assert [attempt.remote_id] == made
        assert [sum(results[index].counts.values()) for index in range(len(CIRCUITS))] == [SHOTS] * len(CIRCUITS)
        states = [state["name"] for state in stack.ask("GET", "/flow_run_states/", params={"flow_run_id": run})]
        assert (states.count("Running"), states.count("Suspended")) == (2, 1)
