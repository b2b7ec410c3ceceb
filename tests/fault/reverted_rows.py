"""Each mending taken back, one at a time: the row of its number must then show its fault.

The laws of the simulation have the same in `reverted.py`, and laws in tests of their own in `reverted_tests.py`.

    PYTHONPATH=.:tests python tests/fault/reverted_rows.py

prints for each number what breaks without its mending.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import driving
import provider_rows
import reverted
import reverted_tests
import table
from audit_rows import Row, all_rows
from reverted import (
    SEEDS,
    Reverted,
    _believed_at_once,
    _empty,
    _no,
    _nothing,
    _raises_first,
    _since_claim,
    _whole_counts,
    _yes,
)

from qjobs.backends import http, rest
from qjobs.backends.nexus import wire
from qjobs.backends.nexus.jobs import Jobs
from qjobs.backends.rest import RestBackend
from qjobs.errors import CredentialsRejected, QJobsError
from qjobs.ledger import Ledger, judgement, planning, provider_reports, submissions, tables
from qjobs.ledger.suspended_runs import SuspendedRuns
from qjobs.model import JobSpec
from qjobs.operations import attempts, cancel, collect, plan, poll, recover, sending, sensor_pass, submit, wait
from qjobs.operations.look_up import LookUp
from qjobs.operations.plan import Existing
from qjobs.operations.retry import RetryPolicy
from qjobs.testing.servers import ScriptedProvider
from tasks import compile_circuits
from tasks.retrying import READ_DELAYS_S, is_transient

Patches = tuple[tuple[object, str, object], ...]
NUMBERS = 36
"""How many findings the audit has."""


def _without_fingerprint(**values: object) -> JobSpec:
    return JobSpec(**{**values, "fingerprint": ""})


def _finds_nothing(_ledger: object, _backend: object, experiment: object, run: str, identity: str) -> Existing:
    return replace(_find_circuits(_ledger, _backend, experiment, run, identity), jobs={}, failed=())


def _one_stops_all(backend: RestBackend, remote_ids: object) -> object:
    answers = _status(backend, remote_ids)
    for answer in answers.values():
        if isinstance(answer, QJobsError):
            raise CredentialsRejected(str(answer))
    return answers


def _pages_until_one_is_empty(jobs: Jobs, params: dict[str, object], **options: object) -> Iterator[object]:
    number = 0
    while True:
        page = {"page[number]": number, "page[size]": 100}
        found = wire.resources(jobs._http.read("GET", wire.JOBS, params={**wire.USER, **params, **page}, **options))
        if not found:
            return
        yield from found
        number += 1


def _ends_the_wait(_: object, error: Exception) -> bool:
    raise error


def _always_sent(journal: object) -> None:
    journal.reserved_id = journal.attempt.remote_id
    journal.has_sent = True


def _as_it_is(text: str, *_: object) -> str:
    return text


_find_circuits = plan._find_circuits
_status = RestBackend.status
_for_backend = RetryPolicy.for_backend


def _ends_with_a_send(lookup: object) -> RetryPolicy:
    policy = _for_backend(lookup)
    return replace(policy, rungs=policy.rungs[:3])


@dataclass(frozen=True)
class Mending:
    """A mending: the number and (the beginning of) the name of its row, and what is in its place without it."""

    number: str
    row: str
    patches: Patches

    def applied(self) -> object:
        return Reverted(self.number, "", "", self.patches).applied()


_NO_PLACE: Patches = (
    (poll, "place_problem", _nothing),
    (cancel, "place_problem", _nothing),
    (submit, "check_settings", _nothing),
)
_NOT_REDACTED: Patches = (
    (http, "remember_headers", _nothing),
    (http, "kept", _as_it_is),
    *((each, "redacted", _as_it_is) for each in (http, rest)),
    (tables, "kept", _as_it_is),
)
MENDINGS = (
    Mending("1", "FORCE", ((submit._Entry, "_refuse_chosen_while_others_run", _nothing),)),
    Mending("2", "Retry is pressed there, then FORCE", ((submit, "ask_again", _no),)),
    Mending("2", "Retry is pressed there, then DEFAULT", ((submit, "ask_again", _no),)),
    Mending("3", "item 1 fails and is queued again", ((judgement, "_confirmed", _believed_at_once),)),
    Mending("4", "", ((sending._LedgerJournal, "_end_late", _nothing), (submissions, "record_stray", _no))),
    Mending("5", "", ((planning, "_check_seen", _nothing),)),
    Mending("6", "", ((plan, "_find_circuits", _finds_nothing),)),
    Mending("7", "", ((submit, "check_cost", _nothing),)),
    Mending("8", "", ((SuspendedRuns, "jobs_of_others", lambda *_: set()),)),
    Mending("9", "", ((plan, "JobSpec", _without_fingerprint),)),
    Mending("10", "", _NO_PLACE),
    Mending("11", "", ((Ledger, "key_prefix", "same"),)),
    Mending("12", "", ((judgement, "_judge_whole", _whole_counts),)),
    Mending("13", "", ((Ledger, "settle_missing", _nothing),)),
    Mending("14", "", ((rest, "_GONE", frozenset()),)),
    Mending("15", "", ((provider_reports, "judge_absence", _nothing),)),
    Mending("16", "", ((judgement, "GRACE_S", 1e12),)),
    Mending("17", "", ((poll, "_request_cancellations", _raises_first),)),
    Mending("17", "", ((RestBackend, "status", _one_stops_all),)),
    Mending("18", "", ((wait, "_leaves_room", wait._settled),)),
    Mending("19", "", ((Jobs, "_pages", _pages_until_one_is_empty),)),
    Mending("20", "", ((recover, "_is_a_whole", _no),)),
    Mending("20", "", ((LookUp, "check_absence_is_certain", _nothing), (recover, "_is_a_whole", _no))),
    Mending("21", "", ((attempts, "_tried_s", _since_claim),)),
    Mending("22", "", ((wait._Wait, "is_away", _ends_the_wait),)),
    Mending("23", "", ((sensor_pass, "store_ready", _empty),)),
    Mending("24", "", ((sending._LedgerJournal, "__post_init__", _always_sent),)),
    Mending("25", "messages", ((rest, "bounded", _as_it_is), (tables, "kept", _as_it_is))),
    Mending("25", "a gateway", _NOT_REDACTED),
    Mending("30", "", ((LookUp, "check_absence_is_certain", _nothing),)),
    Mending("34", "submit: made, 401", ((rest, "proves_refusal", _yes),)),
    Mending("34", "submit: made, 429", ((rest, "proves_refusal", _yes),)),
    Mending("35", "the detail", ((collect, "_reason", lambda item, missing: item.message or missing),)),
    Mending("35", "the words", ((collect, "_reason", lambda *_: "it is not there yet"),)),
    Mending("35", "a process that died", ((submissions, "has_ended", _no),)),
    Mending("35", "JSON is cut", ((driving, "is_transient_read", is_transient),)),
    Mending("35", "the list of devices", ((compile_circuits, "retry_delay_seconds", READ_DELAYS_S),)),
    Mending("35", "never made, then made", ((RetryPolicy, "for_backend", _ends_with_a_send),)),
)


def without(mending: Mending, folder: Path) -> str:
    """What the row of a mending shows without it; empty where it shows nothing."""
    play = _row_of(mending)
    with mending.applied():
        return play(folder)


def _row_of(mending: Mending) -> Callable[[Path], str]:
    row = _named_row(mending)
    return row.seen if isinstance(row, Row) else functools.partial(_problems, row)


def _named_row(mending: Mending) -> Row | provider_rows.Row:
    for row in all_rows():
        if row.number == mending.number and row.what.startswith(mending.row):
            return row
    for row in provider_rows.ROWS:
        if f"(#{mending.number})" in row.name and row.name.startswith(mending.row):
            return row
    raise LookupError(mending)


def _name_of(row: Row | provider_rows.Row) -> str:
    return row.what if isinstance(row, Row) else row.name


def _problems(row: provider_rows.Row, folder: Path) -> str:
    with (
        ScriptedProvider("findable", queue_s=5.0, run_s=10.0) as provider,
        Ledger(f"sqlite:///{folder / 'ledger.db'}") as ledger,
    ):
        return "; ".join(table.play(row, provider, ledger).problems())


def shown_by() -> dict[int, list[str]]:
    """For each number of the audit the seeds, rows and tests that break without its mending."""
    found: dict[int, list[str]] = {number: [] for number in range(1, NUMBERS + 1)}
    for law in reverted.MENDINGS:
        number = law.law.strip("# ")
        if number.isdigit():
            found[int(number)].append(f"seed {SEEDS[law.name]} of {law.name}")
    for mending in MENDINGS:
        found[int(mending.number)].append(f"row: {_name_of(_named_row(mending))}")
    for each in reverted_tests.MENDINGS:
        found[int(each.number)].append(f"test: {each.test}")
    return {number: list(dict.fromkeys(places)) for number, places in found.items()}


def main() -> int:
    """Print the list; 1 if a number has nothing."""
    found = shown_by()
    for number, places in found.items():
        print(f"#{number:<3}", "\n     ".join(places) or "nothing")
    return 0 if all(found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
