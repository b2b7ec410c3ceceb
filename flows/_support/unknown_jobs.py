"""Asking in Prefect's form about jobs of which nobody knows whether they are at their provider.

A deployed run that would fail because of such a job is suspended instead, after everything else of it is done, and asks
about one job after the other. An answer holds for one submission: entered again, the run carries it out before anything
else, and never twice. Any other run fails with the commands that decide.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Literal, NoReturn

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.context import SyncClientContext
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_API_URL
from pydantic import BaseModel, ConfigDict, Field

from blocks import backend_named, ledger_named
from flows._support.asking import UNKNOWN, Form, answer_to, run_that_can_ask
from flows._support.run_ledger import entered, stamp
from flows._support.waiting import end_process
from qjobs.errors import SubmissionUnknown
from qjobs.ledger import Ledger
from qjobs.model import Attempt, JobId
from qjobs.operations.poll import utc_now
from qjobs.operations.unknown import NOT_DONE, Doubt, Said, Verdict, decide, doubt_about, in_doubt
from qjobs.reports.markdown import code, plain

__all__ = ["UnknownForm", "entered_asking"]

_THROUGH = "through Prefect"
_MOST_SHOWN = 20


class UnknownForm(BaseModel):
    """The form of Prefect's that asks a person."""

    model_config = ConfigDict(extra="forbid")

    decision: Literal["wait", "adopt", "discard"] = Field(
        default="wait",
        description="wait looks once more and asks again; adopt takes the remote job that you name; discard sends it "
        "again, so that it may run twice and cost twice if it exists.",
    )
    remote_id: str = Field(default="", max_length=200, description="For adopt: the id of the job at its provider.")
    decided_by: str = Field(min_length=1, max_length=100, description="Your name, for the history of the job.")


@contextlib.contextmanager
def entered_asking(ledger: str, logical_run: str = "") -> Iterator[None]:
    """The body of a flow that sends jobs, as `flows._support.run_ledger.entered`: it asks before it fails.

    Raises:
        Pause: It is suspended, and asks.
    """
    with entered(ledger, logical_run):
        store = ledger_named(ledger)
        run = run_that_can_ask()
        if run is not None:
            _carry_out(store, run)
        try:
            yield
        except SubmissionUnknown as error:
            if run is not None:
                _ask_about_one(store, run, error)
            raise


def _key(attempt: Attempt, question: int) -> str:
    return f"{UNKNOWN}{attempt.job_id}-{attempt.number}-{question}"


def _answers(client: SyncPrefectClient, run: FlowRun, attempt: Attempt) -> list[Said]:
    """What was said about a submission in this run, first to last."""
    found: list[Said] = []
    while (text := answer_to(client, run.id, _key(attempt, len(found) + 1))) is not None:
        form = UnknownForm.model_validate(json.loads(text))
        said = Said(
            verdict=Verdict(form.decision),
            number=attempt.number,
            question=len(found) + 1,
            by=form.decided_by,
            through=_THROUGH,
            remote_id=form.remote_id.strip(),
        )
        found.append(said)
    return found


def _carry_out(store: Ledger, run: FlowRun) -> None:
    """Carry out what was said about the jobs that the run asked about before it was suspended."""
    with SyncClientContext.get_or_create() as opened:
        for wait in store.waits.runs(flow_run_id=str(run.id)):
            for job in store.jobs(job_ids=wait.job_ids):
                for attempt in store.attempts(job.job_id):
                    for said in _answers(opened.client, run, attempt)[-1:]:
                        get_run_logger().info("%s: %s", job.job_id, said.words)
                        decide(store, backend_named(job.opened_as), job.job_id, said)


def _ask_about_one(store: Ledger, run: FlowRun, error: SubmissionUnknown) -> None:
    """Suspend the run with a question about a job; comes back where none of its jobs is in doubt any more."""
    named = [JobId(error.job_id)] if error.job_id is not None else []
    own = [job.job_id for job in store.jobs(run=str(run.id))]
    doubtful = in_doubt(store, [*named, *store.waits.jobs_of(str(run.id)), *reversed(own)])
    chosen: list[tuple[int, Attempt]] = []
    with SyncClientContext.get_or_create() as opened:
        for job_id, attempt in doubtful.items():
            if not named or job_id in named or not backend_named(store.job(job_id).opened_as).lookup.can_find:
                chosen.append((len(_answers(opened.client, run, attempt)), attempt))
    if not chosen:
        return
    n_answers, attempt = min(chosen, key=lambda each: each[0])
    doubt = doubt_about(store, backend_named(store.job(attempt.job_id).opened_as), attempt)
    _suspend(store, run, doubt, [attempt.job_id for _, attempt in chosen], n_answers + 1)


def _suspend(store: Ledger, run: FlowRun, doubt: Doubt, job_ids: list[JobId], question: int) -> NoReturn:
    server = PREFECT_API_URL.value() or ""
    store.waits.register(str(run.id), job_ids, until="all", now=utc_now(), server=server)
    stamp(store)
    words = f"asks about {doubt.job.job_id}: it may or may not be at {doubt.job.device}; adopt, discard or wait"
    get_run_logger().info("suspended: %s", words)
    form = Form(
        key=_key(doubt.attempt, question),
        schema=json.dumps(UnknownForm.model_json_schema()),
        description=_text(store, doubt, len(job_ids)),
    )
    end_process(run, words, form=form)


def _text(store: Ledger, doubt: Doubt, n_jobs: int) -> str:
    """The question in Markdown."""
    job = doubt.job
    sent_at = doubt.attempt.sent_at or doubt.attempt.claimed_at
    circuits = "1 circuit" if job.n_items == 1 else f"{job.n_items} circuits"
    experiment = f" of {code(job.experiment)}" if job.experiment else ""
    what = f"It is {code(job.name)}{experiment}, {circuits} for {code(job.device)} of {code(job.backend)}"
    lines = [
        f"**The job {code(job.job_id)} is UNKNOWN: it may or may not exist at {plain(job.device)}.**",
        f"{what}, and was sent at {sent_at:%Y-%m-%d %H:%M:%S} UTC. The reply was lost.",
        _shown(doubt),
    ]
    if said := [event.detail for event in store.events(job.job_id, of_items=False) if event.cause == NOT_DONE]:
        lines.append(f"The last decision was not carried out: {plain(said[-1])}.")
    if n_jobs > 1:
        lines.append(f"{n_jobs} jobs of this run are in doubt; it asks about one after the other.")
    cost = "" if job.cost_estimate is None else f", about {job.cost_estimate:g}"
    lines.append(
        f"- **adopt**: it is the remote job whose id you name; it is checked.\n"
        f"- **discard**: it is sent again. If it exists there after all, it runs twice and costs twice{cost}.\n"
        "- **wait**: nothing is sent; it is looked for once more, and asked about again."
    )
    return "\n\n".join(lines)


def _shown(doubt: Doubt) -> str:
    """What its provider shows that may be it."""
    if doubt.candidates is None:
        return f"Nothing can be shown that may be it: {plain(doubt.why)}. Look there yourself."
    if not doubt.candidates:
        return "Its provider shows no job now that may be it; one that has ended may not be shown."
    shown = [f"- {code(remote_id)}" for remote_id in doubt.candidates[:_MOST_SHOWN]]
    if len(doubt.candidates) > _MOST_SHOWN:
        shown.append(f"- and {len(doubt.candidates) - _MOST_SHOWN} more")
    return "What its provider shows that may be it, and no job of this ledger has:\n\n" + "\n".join(shown)
