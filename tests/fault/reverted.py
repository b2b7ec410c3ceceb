"""Each mending taken back, one at a time: the simulation must then break the law of its number.

    PYTHONPATH=.:tests python tests/fault/reverted.py [NAME ...]

looks for the first seed of each, among schedules of the character that it needs, and prints the table `SEEDS`, which
`test_simulation.py` plays. When the model changes, so do the schedules: print it anew.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from unittest import mock

import sqlalchemy as sa
from crashing_ledger import SimulatedLedger
from model_backend import ModelBackend
from simulation import simulate
from simulation_laws import Violation

from qjobs.errors import NotSent, ProtocolError, QJobsError
from qjobs.ledger import (
    Ledger,
    cancellation,
    dispatches,
    judgement,
    provider_reports,
    submissions,
    suspended_runs,
    tables,
    transitions,
)
from qjobs.ledger.dispatches import Dispatches, Entry
from qjobs.ledger.judgement import Judgement
from qjobs.operations import attempts, cancel, dispatch, poll, recover, sending, sensor_pass, submit
from qjobs.operations.look_up import LookUp

SEEDS: dict[str, int] = {
    "#1": 62,
    "#2": 51,
    "#3": 54,
    "#4": 573,
    "#10": 26,
    "#12": 566,
    "#13": 2,
    "#14": 75,
    "#15": 10,
    "#16": 0,
    "#17 status": 16,
    "#17 cancel": 1,
    "#20": 100,
    "#21": 114,
    "#23": 10,
    "#24": 0,
    "#25": 2,
    "#30": 187,
    "#34": 9,
    "token": 282,
    "lost": 16,
    "given up": 140,
    "step lost": 430,
    "place": 0,
    "taken": 0,
    "counted": 157,
    "cleared": 1,
    "held": 90,
    "kept": 0,
    "awake": 7,
    "to be sent": 0,
}
"""By name: a seed whose schedule breaks the law of that number once the mending is taken back."""
_SEARCHED = 600


@dataclass(frozen=True)
class Reverted:
    """A mending, the law (as its words begin) that must break without it, and what a schedule needs for that."""

    name: str
    law: str
    needs: str
    patches: tuple[tuple[object, str, object], ...]

    def is_seen(self, words: str) -> bool:
        return words.startswith(self.law) if self.law.startswith("#") else self.law in words

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        with contextlib.ExitStack() as stack:
            for where, name, instead in self.patches:
                stack.enter_context(mock.patch.object(where, name, instead))
            yield


def _nothing(*_: object, **__: object) -> None:
    """In the place of what was mended."""


def _no(*_: object, **__: object) -> bool:
    return False


def _yes(*_: object, **__: object) -> bool:
    return True


def _empty(*_: object, **__: object) -> dict[object, object]:
    return {}


def _none_of(*_: object, **__: object) -> list[object]:
    return []


def _believed_at_once(_: object, snapshot: object, said: object, *__: object) -> Judgement:
    return Judgement(snapshot=snapshot, said=said)


def _whole_counts(_: object, snapshot: object, *__: object, **___: object) -> Judgement:
    return Judgement(snapshot=snapshot, said=snapshot.status)


def _raises_first(*given: object) -> None:
    troubles = given[-1]
    _request_cancellations(*given)
    for trouble in troubles.values():
        raise trouble


def _one_stops_all(backend: ModelBackend, remote_ids: Sequence[str]) -> object:
    answers = _status(backend, remote_ids)
    for answer in answers.values():
        if isinstance(answer, QJobsError):
            raise answer
    return answers


def _gone_raises(backend: ModelBackend, job: object, position: int, *, late: bool) -> object:
    if job.gone:
        raise ProtocolError("404", code=404)
    return _result(backend, job, position, late=late)


def _gateway_counts(backend: ModelBackend, fate: str, remote: object, journal: object) -> None:
    if fate in {"429 after", "401 after"}:
        remote.gateway = True
        raise NotSent(fate)
    _answered(backend, fate, remote, journal)


def _since_claim(attempts_of: Sequence[object], present: object) -> float:
    return (present - attempts_of[0].claimed_at).total_seconds()


def _always_sent(journal: object) -> None:
    journal.reserved_id = journal.attempt.remote_id
    journal.has_sent = True


def _never_expires(look_up: LookUp) -> bool:
    return look_up.backend.lookup.deduplicates(0.0)


def _lost_at_once(*given: object) -> object:
    found = judgement.judge_absence(*given)
    return found and (*found[:2], True)


def _not_counted(of: Dispatches, entry: Entry, **given: object) -> bool:
    if not _take(of, entry, **given):
        return False
    with of._db.write() as connection:
        connection.exec_driver_sql("UPDATE dispatch SET entries = entries - 1 WHERE job_id = ?", (entry.job_id,))
    return True


def _clears_all(of: dispatch._LanePass, runs: Iterable[str]) -> list[str]:
    asked = list(runs)
    of.cleared(asked)
    return asked


def _waits_no_longer(of: Dispatches, entry: Entry, **_: object) -> None:
    of.finish(entry)


_take = Dispatches.take
_request_cancellations = poll._request_cancellations
_status = ModelBackend.status
_result = ModelBackend._result
_answered = ModelBackend.answered

MENDINGS = (
    Reverted("#1", "#1 ", "chooses", ((submit._Entry, "_refuse_chosen_while_others_run", _nothing),)),
    Reverted("#2", "#2 ", "retried there", ((submit, "ask_again", _no),)),
    Reverted("#3", "#3 ", "requeues", ((judgement, "_confirmed", _believed_at_once),)),
    Reverted(
        "#4",
        "#4 ",
        "sleeps",
        (
            (sending._LedgerJournal, "_end_late", _nothing),
            (submissions, "record_stray", _no),
            (recover, "_late_ones", _none_of),
        ),
    ),
    Reverted(
        "#10",
        "#10 ",
        "switched",
        (
            (poll, "place_problem", _nothing),
            (cancel, "place_problem", _nothing),
            (submit, "check_settings", _nothing),
        ),
    ),
    Reverted("#12", "#12 ", "alternates", ((judgement, "_judge_whole", _whole_counts),)),
    Reverted("#13", "#13 ", "keeps back", ((Ledger, "settle_missing", _no),)),
    Reverted("#14", "#14 ", "forgets", ((ModelBackend, "_result", _gone_raises),)),
    Reverted("#15", "#15 ", "forgets", ((provider_reports, "judge_absence", _nothing),)),
    Reverted("#16", "#16 ", "open item", ((judgement, "GRACE_S", 1e12),)),
    Reverted("#17 status", "#17 ", "refuses one", ((ModelBackend, "status", _one_stops_all),)),
    Reverted("#17 cancel", "#17 ", "refuses one", ((poll, "_request_cancellations", _raises_first),)),
    Reverted("#20", "#20 ", "blinks", ((recover, "_is_a_whole", _no),)),
    Reverted("#21", "#21 ", "slow", ((attempts, "_tried_s", _since_claim),)),
    Reverted("#23", "#23 ", "", ((sensor_pass, "store_ready", _empty),)),
    Reverted("#24", "#24 ", "breaks", ((sending._LedgerJournal, "__post_init__", _always_sent),)),
    Reverted(
        "#25",
        "#25 ",
        "talks",
        ((tables, "kept", lambda text: text),),
    ),
    Reverted("#30", "#30 ", "lies", ((LookUp, "check_absence_is_certain", _nothing),)),
    Reverted("#34", "#34 ", "gateway", ((ModelBackend, "answered", _gateway_counts),)),
    Reverted("token", "nobody knows", "token", ((LookUp, "is_deduplicated", _never_expires),)),
    Reverted("given up", "runs, and nobody", "blinks", ((cancellation, "record_stray", _no),)),
    Reverted("lost", "is LOST, and", "", ((provider_reports, "judge_absence", _lost_at_once),)),
    Reverted("step lost", "two live", "stepped", ((LookUp, "check_absence_is_certain", _nothing),)),
    Reverted("place", "places are taken", "dispatched", ((transitions, "check_room", _nothing),)),
    Reverted("taken", "is suspended in the end", "dispatched", ((Dispatches, "take", _yes),)),
    Reverted("counted", "for one wish", "dispatched", ((Dispatches, "take", _not_counted),)),
    Reverted("cleared", "may not go on", "dispatched", ((dispatch._LanePass, "_cleared_of", _clears_all),)),
    Reverted("held", "is suspended in the end", "dispatched", ((dispatches, "_HELD_S", 1e9),)),
    Reverted("kept", "was never sent", "dispatched", ((Dispatches, "put_back", _waits_no_longer),)),
    Reverted("awake", "does not wait", "dispatched", ((suspended_runs, "forget_entries", _nothing),)),
    Reverted("to be sent", "was never sent", "dispatched", ((suspended_runs, "_TO_BE_SENT", sa.false()),)),
)


def breaks(mending: Reverted, seed: int, ledger: SimulatedLedger) -> str:
    """The words of the law that the schedule of a seed breaks without the mending; empty if none."""
    with mending.applied():
        try:
            simulate(seed, ledger, need=mending.needs)
        except Violation as error:
            first, _, _ = str(error).partition("\n")
            return first.partition(": ")[2]
    return ""


def search(name: str) -> tuple[str, int | None, str]:
    """The first seed that breaks the law of a number."""
    os.nice(10)
    logging.disable(logging.CRITICAL)
    (mending,) = [each for each in MENDINGS if each.name == name]
    with SimulatedLedger() as ledger:
        other = ""
        for seed in range(_SEARCHED):
            words = breaks(mending, seed, ledger)
            if mending.is_seen(words) and not breaks(replace(mending, patches=()), seed, ledger):
                return name, seed, words
            other = other or words
    return name, None, f"none; another law: {other}"


def main(names: Sequence[str]) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        chosen = names or [each.name for each in MENDINGS]
        for name, seed, words in pool.imap_unordered(search, chosen, chunksize=1):
            print(f'    "{name}": {seed},  # {words[:90]}', flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
