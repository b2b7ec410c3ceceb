"""Asking in Prefect's form whether something may be sent: the run is suspended, and no process of it exists meanwhile.

The form and its answer are inputs of the run, under a key that stands for what would be sent and for its estimate. So
an answer holds for that alone, and a run that is entered again finds it again.
"""

from __future__ import annotations

import json
from typing import Any

from prefect.context import SyncClientContext
from prefect.logging import get_run_logger
from pydantic import BaseModel, ConfigDict, Field

from flows._support.asking import APPROVAL, Form, answer_to, run_that_can_ask
from flows._support.run_ledger import stamp
from flows._support.waiting import end_process
from qjobs.cli.approval import ask_here
from qjobs.ledger import Ledger
from qjobs.operations.approval import Ask, Decision, Question, Verdict
from qjobs.reports.markdown import plain
from qjobs.reports.plan_report import plan_markdown

__all__ = ["ApprovalForm", "asker"]

_THROUGH = "through Prefect"


class ApprovalForm(BaseModel):
    """The form of Prefect's that asks a person."""

    model_config = ConfigDict(extra="forbid")

    approve: bool = Field(
        default=False, description="On sends it; off refuses it: its jobs are cancelled, and nothing is sent."
    )
    decided_by: str = Field(min_length=1, max_length=100, description="Your name, for the history of the jobs.")
    shots: int = Field(default=1, ge=1, description="Change it to approve it with so many shots for each circuit.")


def asker(store: Ledger) -> Ask:
    """What asks about the present run: in Prefect's form if it is deployed, else at the terminal."""
    run = run_that_can_ask()
    if run is None:
        return ask_here()

    def ask(question: Question) -> Decision:
        with SyncClientContext.get_or_create() as opened:
            text = answer_to(opened.client, run.id, f"{APPROVAL}{question.key}")
        if text is not None:
            return _decision(question, text)
        stamp(store)
        get_run_logger().info("suspended until somebody approves it: %s", question.why)
        end_process(run, f"waits for approval: {question.why}", form=_form(question))
        raise AssertionError  # it ended the process

    return ask


def _decision(question: Question, text: str) -> Decision:
    """What a person has said to this question."""
    form = ApprovalForm.model_validate({"shots": question.shots, **json.loads(text)})
    verdict = Verdict.APPROVE if form.approve else Verdict.REFUSE
    return Decision(verdict=verdict, by=form.decided_by, through=_THROUGH, shots=form.shots)


def _form(question: Question) -> Form:
    schema: dict[str, Any] = ApprovalForm.model_json_schema()
    schema["properties"]["shots"]["default"] = question.shots
    page = plan_markdown(question.plan, question.found)
    text = f"{page}\n\n**{plain(question.why)}.**"
    return Form(key=f"{APPROVAL}{question.key}", schema=json.dumps(schema), description=text)
