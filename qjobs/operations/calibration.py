"""Calibration: how a device was calibrated when circuits were compiled, sent and their results fetched; what follows.

Circuits are compiled for a device as it is, and wait for days. A provider recalibrates it meanwhile: couplings or gates
may be gone, and error rates are others. A snapshot of it is fingerprinted, and the fingerprint is written down with
what was compiled, with each submission, and with its results. Where the first two differ, the rule of the run is
followed, at the one place that all submissions pass (`qjobs.operations.submit`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from weakref import WeakKeyDictionary

from qjobs.backends.base import Backend, Target
from qjobs.errors import LedgerError, QJobsError, Recalibrated
from qjobs.ledger import Ledger
from qjobs.ledger.calibrations import Seen
from qjobs.model import DeviceSnapshot, Job, JobId, JobKind, JsonValue, OnRecalibration, ProgramHash

__all__ = [
    "RECALIBRATED",
    "Stand",
    "calibration_lines",
    "calibration_record",
    "changes",
    "check_calibration",
    "look",
    "snapshot_now",
    "snapshot_of",
]

logger = logging.getLogger(__name__)

HELD_S: Final = 60.0
"""For how long a snapshot serves all who send to the device or fetch results from it, in one process."""
HELD_WITHOUT_S: Final = 600.0
"""The same, of a device whose provider shows no calibration."""
_SILENT_S: Final = 10.0
"""For how long a provider that could not be asked is left alone."""
_DIGITS: Final = 16
RECALIBRATED: Final = "recalibrated"
"""Cause of the events that tell of it."""


def snapshot_of(target: Target) -> DeviceSnapshot:
    """A device as its provider shows it, with its fingerprint.

    The fingerprint is a hash of canonical JSON: keys, gates and couplings in order, floats to their last bit.

    >>> snapshot_of(Target(name="line", coupling=((0, 1), (1, 2)))).fingerprint
    'fd13324fd216a4dc'
    """
    couplings = None if target.coupling is None else sorted([one, other] for one, other in set(target.coupling))
    facts: dict[str, Any] = {
        "device": target.name,
        "n_qubits": target.n_qubits,
        "gates": None if target.basis_gates is None else sorted(set(target.basis_gates)),
        "couplings": couplings,
        "calibration": _canonical(target.calibration),
        "calibrated": target.calibrated,
    }
    return DeviceSnapshot(
        fingerprint=hashlib.sha256(_text(facts).encode()).hexdigest()[:_DIGITS],
        device=target.name,
        calibrated=target.calibrated,
        facts=facts,
    )


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _canonical(value: object) -> JsonValue:
    """JSON of what a provider shows, which may be a literal of Python's: the same for equal values."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case Mapping():
            return {key if isinstance(key, str) else _text(_canonical(key)): _canonical(value[key]) for key in value}
        case list() | tuple():
            return [_canonical(each) for each in value]
        case Set():
            return sorted((_canonical(each) for each in value), key=_text)
        case _:
            return repr(value)


@dataclass(slots=True)
class _Looked:
    """What a device was like when it was looked at last, or why it could not be."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    until: datetime | None = None
    snapshot: DeviceSnapshot | None = None
    error: QJobsError | None = None


_looked: WeakKeyDictionary[Ledger, dict[tuple[str, ...], _Looked]] = WeakKeyDictionary()
"""By ledger, and by the name, the device and the fingerprint of a backend."""
_looked_lock = threading.Lock()


def look(ledger: Ledger, backend: Backend, *, now: datetime) -> tuple[Target, DeviceSnapshot]:
    """Ask a device how it is now, and store its snapshot: what is compiled by it holds for this snapshot.

    Raises:
        BackendUnavailable, CredentialsRejected, ProtocolError: As `Backend.target`.
    """
    looked = _looked_of(ledger, backend)
    with looked.lock:
        return _ask(ledger, backend, looked, now)


def snapshot_now(ledger: Ledger, backend: Backend, *, now: datetime) -> DeviceSnapshot:
    """As `look`, where an answer may serve that is at most a minute old; ten where no calibration is shown.

    Raises:
        BackendUnavailable, CredentialsRejected, ProtocolError: As `Backend.target`.
    """
    looked = _looked_of(ledger, backend)
    with looked.lock:
        if looked.until is None or now >= looked.until:
            return _ask(ledger, backend, looked, now)[1]
        if looked.error is not None:
            raise looked.error
        assert looked.snapshot is not None  # noqa: S101 - for the type checker: there is no error
        return looked.snapshot


def _looked_of(ledger: Ledger, backend: Backend) -> _Looked:
    with _looked_lock:
        of_ledger = _looked.setdefault(ledger, {})
        return of_ledger.setdefault((backend.name, backend.device, str(backend.fingerprint)), _Looked())


def _ask(ledger: Ledger, backend: Backend, looked: _Looked, now: datetime) -> tuple[Target, DeviceSnapshot]:
    try:
        target = backend.target()
    except QJobsError as error:
        looked.error = error
        looked.until = now + timedelta(seconds=_SILENT_S)
        raise
    snapshot = snapshot_of(target)
    if looked.snapshot != snapshot:
        ledger.calibrations.record(snapshot, now=now)
        logger.info("%s is %s now", backend.device, snapshot.fingerprint)
    held_s = HELD_S if snapshot.shows_calibration else HELD_WITHOUT_S
    looked.until = now + timedelta(seconds=held_s)
    looked.error = None
    looked.snapshot = snapshot
    return target, snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """What is written down with a submission, as in `qjobs.model.Attempt`."""

    compiled_on: str | None = None
    submitted_on: str | None = None


def check_calibration(
    ledger: Ledger,
    backend: Backend,
    job: Job,
    rule: OnRecalibration,
    *,
    programs: Collection[ProgramHash] = (),
    is_first: bool,
    now: datetime,
) -> Stand:
    """Follow the rule about a job that is to be sent next, where its device is not what it was compiled for.

    Circuits of which it is not recorded when they were compiled pass. With the rule warn, so do all where the device
    cannot be asked.

    Args:
        ledger: The ledger with the job.
        backend: Where it is to be sent.
        job: The job.
        rule: What is to be done.
        programs: What is sent in place of its circuits.
        is_first: Nothing of the job was sent before, so that other circuits may be sent. Where something was, the rule
            recompile does as warn.
        now: The present time.

    Raises:
        Recalibrated: It must not be sent as it is. Nothing was sent, and the history of the job tells of it.
        BackendUnavailable, CredentialsRejected, ProtocolError: The device cannot be asked; nothing was sent.
    """
    compiled: Set[str] = set()
    if job.kind is not JobKind.COMPILE:
        if programs:
            compiled = ledger.calibrations.programs_compiled_on(job.backend, job.device, programs)
        else:
            compiled = ledger.calibrations.compiled_on(job.job_id)
    try:
        present = snapshot_now(ledger, backend, now=now)
    except LedgerError:
        raise
    except QJobsError as error:
        if compiled and rule is not OnRecalibration.WARN:
            raise
        logger.info("%s does not say how %s is calibrated: %.500s", backend.name, backend.device, error)
        return Stand(compiled_on=min(compiled, default=None))
    older = min(compiled - {present.fingerprint}, default=None)
    if older is None:
        return Stand(compiled_on=min(compiled, default=None), submitted_on=present.fingerprint)
    words = _words(ledger, job.device, older, present)
    stand = Stand(compiled_on=older, submitted_on=present.fingerprint)
    if rule is OnRecalibration.FAIL:
        _tell(ledger, job, f"{words}; on_recalibration is fail, so nothing is sent", now)
        raise Recalibrated(
            f"{words}; on_recalibration is fail, so nothing of {job.job_id} was sent. {_anew(job)}; or send it as it "
            f"is with: qjobs jobs retry {job.job_id}",
            job_id=job.job_id,
        )
    if rule is OnRecalibration.RECOMPILE and is_first:
        _tell(ledger, job, f"{words}; it is compiled anew before it is sent", now)
        raise Recalibrated(
            f"{words}; {job.job_id} is to be compiled anew, which its run does when it goes on",
            job_id=job.job_id,
            recompiles=True,
        )
    _tell(ledger, job, f"{words}; it is sent as it was compiled", now)
    return stand


def _words(ledger: Ledger, device: str, before: str, present: DeviceSnapshot) -> str:
    known = ledger.calibrations.snapshots([before]).get(before)
    what = "" if known is None else f": {changes(known, present)}"
    return f"{device} was recalibrated after compiling{what} (compiled on {before}, now {present.fingerprint})"


def _anew(job: Job) -> str:
    """How a job is compiled anew and sent."""
    from qjobs.compiling.compiler import CompileOptions, Compiler  # with it comes qiskit

    if job.compiled_with and CompileOptions.from_json(job.compiled_with).compiler is Compiler.REMOTE:
        return f"Go on with {job.experiment} and on_recalibration: recompile, which makes another compile job"
    return f"Compile it anew and send that with: qjobs jobs retry {job.job_id} --strategy FULL_RESTART"


def _tell(ledger: Ledger, job: Job, words: str, now: datetime) -> None:
    """Write it into the history of the job and into the log, once."""
    if ledger.jobs_with_event([job.job_id], RECALIBRATED, words):
        return
    ledger.record_event(job.job_id, RECALIBRATED, words, now=now)
    logger.warning("%s: %s", job.job_id, words)


def changes(before: DeviceSnapshot, after: DeviceSnapshot) -> str:
    """What of a device has changed from one snapshot to another, in words; empty where nothing has.

    >>> line = Target(name="line", n_qubits=3, coupling=((0, 1), (1, 2)))
    >>> cut = Target(name="line", n_qubits=3, coupling=((0, 1),), calibrated="Monday")
    >>> changes(snapshot_of(line), snapshot_of(cut))
    '1 coupling gone, calibrated at Monday'
    """
    old = before.facts
    new = after.facts
    found = [f"{new['n_qubits']} qubits, {old['n_qubits']} before"] if new["n_qubits"] != old["n_qubits"] else []
    for one, many in (("gate", "gates"), ("coupling", "couplings")):
        was = {_text(each) for each in _list(old[many])}
        now = {_text(each) for each in _list(new[many])}
        for number, what in ((len(was - now), "gone"), (len(now - was), "new")):
            if number:
                found.append(f"{number} {one if number == 1 else many} {what}")
    if new["calibration"] != old["calibration"]:
        found.append("other values of its gates and qubits")
    if new["calibrated"] != old["calibrated"]:
        found.append(f"calibrated at {new['calibrated'] or 'a time that is not told'}")
    return ", ".join(found)


def _list(value: JsonValue) -> Sequence[JsonValue]:
    return value if isinstance(value, list) else ()


def calibration_record(ledger: Ledger, job_ids: Sequence[JobId]) -> dict[str, Any]:
    """How devices were calibrated when jobs were compiled, sent and their results fetched, as JSON for the results.

    `seen` has a line for each combination of fingerprints, with the number of its submissions.
    """
    seen = ledger.calibrations.seen(job_ids)
    known = ledger.calibrations.snapshots(_fingerprints(seen))
    lines = []
    for each, number in sorted(seen.items(), key=str):
        lines.append({**each._asdict(), "submissions": number, "drifted": _has_drifted(each)})
    snapshots = {}
    for fingerprint, snapshot in sorted(known.items()):
        snapshots[fingerprint] = {
            "device": snapshot.device,
            "calibrated": snapshot.calibrated,
            "shows_calibration": snapshot.shows_calibration,
        }
    return {"seen": lines, "snapshots": snapshots}


def calibration_lines(ledger: Ledger, job_ids: Sequence[JobId]) -> tuple[list[str], list[str]]:
    """What a report says of it: sentences about devices that were recalibrated meanwhile, and about the others."""
    seen = ledger.calibrations.seen(job_ids)
    known = ledger.calibrations.snapshots(_fingerprints(seen))
    of_device: dict[str, Counter[Seen]] = defaultdict(Counter)
    for each, number in seen.items():
        of_device[each.device][each] = number
    drifted = []
    others = []
    for device, found in sorted(of_device.items()):
        silent = all(known[name].shows_calibration is False for name in _fingerprints(found) if name in known)
        less = "; the provider shows no calibration, so that only qubits, gates and couplings tell" if silent else ""
        for each, number in sorted(found.items(), key=str):
            if _has_drifted(each):
                drifted.append(f"{_drift(each, number, found, known)}{less}")
            else:
                sent = _named(each.submitted_on, known)
                others.append(f"{device} was the same from compiling to the results: {sent}{less}")
    return drifted, list(dict.fromkeys(others))


def _drift(each: Seen, number: int, found: Counter[Seen], known: Mapping[str, DeviceSnapshot]) -> str:
    compiled = each.compiled_on not in {None, each.submitted_on}
    when = "compiling and running" if compiled else "being sent and the results"
    share = "" if len(found) == 1 else f" ({number} of {sum(found.values())} submissions)"
    steps = [("compiled", each.compiled_on), ("submitted", each.submitted_on), ("result", each.results_on)]
    told = ", ".join(f"{step} on {_named(name, known)}" for step, name in steps if name)
    names = [name for _, name in steps if name and name in known]
    what = changes(known[names[0]], known[names[-1]]) if names else ""
    return f"the device {each.device} was recalibrated between {when}{share}: {what + '; ' if what else ''}{told}"


def _has_drifted(each: Seen) -> bool:
    return len({each.compiled_on, each.submitted_on, each.results_on} - {None}) > 1


def _fingerprints(seen: Collection[Seen]) -> set[str]:
    found: set[str] = set()
    for each in seen:
        found.update(name for name in each[1:] if name)
    return found


def _named(fingerprint: str | None, known: Mapping[str, DeviceSnapshot]) -> str:
    snapshot = known.get(fingerprint or "")
    when = f" (calibrated at {snapshot.calibrated})" if snapshot and snapshot.calibrated else ""
    return f"{fingerprint}{when}"
