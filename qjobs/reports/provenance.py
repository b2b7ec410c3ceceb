"""Where results come from: a table of jobs, and a provenance record."""

from __future__ import annotations

import getpass
import math
import platform
import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from qjobs.backends.base import Backend
from qjobs.ledger import Ledger
from qjobs.model import Attempt, Job, JobId
from qjobs.operations.calibration import calibration_record
from qjobs.reports.markdown import code, plain, table

_MOST_JOBS = 300
_MOST_CIRCUITS = 300
"""Of each job."""
_SHOWN = 20
"""Jobs, and circuits, that are shown as text."""
_HASH = 12
_FEW_GATES = 10
_NAMES = {"python": "Python"}
_PACKAGES = ("qjobs", "qiskit", "qiskit-aer", "pytket", "prefect", "numpy")


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else round((end - start).total_seconds(), 3)


def jobs_table(
    ledger: Ledger, job_ids: Sequence[JobId], pages: Mapping[JobId, str] | None = None
) -> list[dict[str, Any]]:
    """One row per job: name, device, status, queue place, items, results, remote id, times, cost, message, job id.

    With `pages`, the addresses of the provider's own pages, where it has any, there is a column for them.
    """
    attempts = ledger.last_attempts(job_ids)
    counts = ledger.result_counts(job_ids)
    places = ledger.queue_positions(job_ids)
    rows = []
    for job in ledger.jobs(job_ids=job_ids):
        row = _row(job, attempts.get(job.job_id), counts[job.job_id], places.get(job.job_id))
        rows.append({**row, "page": pages.get(job.job_id)} if pages else row)
    return rows


def _row(job: Job, attempt: Attempt | None, results: int, place: int | None) -> dict[str, Any]:
    accepted = attempt.accepted_at if attempt else None
    return {
        "name": job.name,
        "device": job.device,
        "status": job.status.value,
        "queue place": place,
        "items": job.n_items,
        "results": results,
        "remote id": attempt.remote_id if attempt else None,
        "attempts": attempt.number if attempt else 0,
        "until accepted (s)": _seconds(job.created_at, accepted),
        "until final (s)": _seconds(accepted, job.finished_at),
        "cost": job.cost if job.cost is not None and math.isfinite(job.cost) else None,
        "message": job.message or job.trouble,
        "job id": job.job_id,
    }


def provenance(ledger: Ledger, backends: Mapping[str, Backend], job_ids: Sequence[JobId]) -> dict[str, Any]:
    """Where the results of jobs come from, as JSON without secrets.

    Circuit hashes (as given and as compiled), device snapshots and how they were calibrated, package versions, seeds,
    remote ids and times. Of many jobs it names the first 300, and how many there are: the ledger has all.
    """
    shown = job_ids[:_MOST_JOBS]
    jobs = []
    attempts = ledger.last_attempts(shown)
    pairs = ledger.programs_of_jobs(shown)
    for job in ledger.jobs(job_ids=shown):
        attempt = attempts.get(job.job_id)
        circuits = []
        for source, sent, n_items in pairs.get(job.job_id, ())[:_MOST_CIRCUITS]:
            circuits.append({"given": source, "sent": sent, "items": n_items})
        jobs.append(
            {
                "job_id": job.job_id,
                "key": job.key,
                "remote_id": attempt.remote_id if attempt else None,
                "device": job.device,
                "status": job.status.value,
                "seed": job.options.seed,
                "circuits": circuits,
                "created_at": job.created_at.isoformat(),
                "sent_at": attempt.sent_at.isoformat() if attempt and attempt.sent_at else None,
                "finished_at": job.finished_at.isoformat() if job.finished_at else None,
                "compiled_on": attempt.compiled_on if attempt else None,
                "submitted_on": attempt.submitted_on if attempt else None,
                "results_on": attempt.results_on if attempt else None,
            }
        )
    return {
        "jobs": jobs,
        "n_jobs": len(job_ids),
        "devices": {name: device_facts(backend) for name, backend in backends.items()},
        "calibration": calibration_record(ledger, job_ids),
        "versions": versions(),
        "ledger": ledger.url,
    }


def device_facts(backend: Backend) -> dict[str, Any]:
    """What is known of a backend's device: its name, qubits, gates and couplings."""
    target = backend.target()
    return {
        "device": backend.device,
        "n_qubits": target.n_qubits,
        "basis_gates": list(target.basis_gates) if target.basis_gates is not None else None,
        "coupling": [list(pair) for pair in target.coupling] if target.coupling is not None else "all to all",
    }


def versions() -> dict[str, str | None]:
    """The versions of Python and of the packages that make results; None for one that is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def made_by() -> str:
    """Who runs this process, and on which machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user that has no name
        user = "an unnamed user"
    return f"{user} on {socket.gethostname()}"


def provenance_markdown(record: Mapping[str, Any], saved: Mapping[str, Any], folder: str, prefect: str = "") -> str:
    """Where results come from, in words: what, when, on which device, with which versions, by whom; jobs and circuits.

    Args:
        record: As `provenance` gives it.
        saved: The record of the saved run (`qjobs.results.save`), of which name, definition, commit and user are shown.
        folder: Where that is kept whole, as JSON.
        prefect: Who asked for it, as Prefect knows them.
    """
    jobs = record["jobs"]
    versioned = [f"{_NAMES.get(name, name)} {at}" for name, at in record["versions"].items() if at]
    facts = [
        ["experiment", f"{plain(saved['name'])}, definition {code(saved['definition'])}"],
        ["when", _when(jobs, saved["saved_at"])],
        *(["device", _device(name, facts)] for name, facts in record["devices"].items()),
        ["versions", plain(", ".join(versioned))],
        ["git commit", _git(saved.get("git"))],
        ["who", plain(saved.get("by") or "unknown") + (f"; in Prefect {plain(prefect)}" if prefect else "")],
        ["ledger", code(record["ledger"])],
        ["whole record", code(f"{folder}/record.json")],
    ]
    parts = ["# Where it comes from", "", *table(["", ""], facts), "", f"## Jobs: {record['n_jobs']}", ""]
    rows = []
    for job in jobs[:_SHOWN]:
        times = [_time(job["sent_at"] or job["created_at"]), _time(job["finished_at"])]
        remote = code(job["remote_id"]) if job["remote_id"] else ""
        seed = "" if job["seed"] is None else code(job["seed"])
        rows.append([code(job["job_id"]), plain(job["device"]), plain(job["status"]), *times, remote, seed])
    parts += table(["job", "device", "status", "sent", "ended", "remote id", "seed"], rows)
    parts += _more(len(rows), record["n_jobs"], "jobs")
    sent: dict[tuple[str, str], int] = {}
    for job in jobs:
        for each in job["circuits"]:
            pair = (each["given"], each["sent"])
            sent[pair] = sent.get(pair, 0) + each["items"]
    rows = []
    for (given, compiled), n_items in list(sent.items())[:_SHOWN]:
        as_sent = "as it was given" if compiled == given else code(compiled[:_HASH])
        rows.append([code(given[:_HASH]), as_sent, str(n_items)])
    parts += ["", "## Circuits, by their hashes", "", *table(["given", "sent", "times"], rows)]
    parts += _more(len(rows), len(sent), "circuits")
    parts += ["", f"A job in full, with every attempt: {code('qjobs jobs show ID')}"]
    return "\n".join(parts) + "\n"


def _more(shown: int, all_of_them: int, what: str) -> list[str]:
    return ["", f"The first {shown} of {all_of_them} {what} are shown."] if shown < all_of_them else []


def _when(jobs: Sequence[Mapping[str, Any]], saved_at: str) -> str:
    sent = min((job["sent_at"] or job["created_at"] for job in jobs), default=None)
    ended = max((job["finished_at"] for job in jobs if job["finished_at"]), default=None)
    found = [f"sent {_time(sent)}"] if sent else []
    found += [f"ended {_time(ended)}"] if ended else []
    return ", ".join([*found, f"saved {_time(saved_at)}"])


def _time(iso: str | None) -> str:
    return f"{datetime.fromisoformat(iso).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if iso else ""


def _device(name: str, facts: Mapping[str, Any]) -> str:
    qubits = f", {facts['n_qubits']} qubits" if facts["n_qubits"] else ""
    known = facts["basis_gates"] or []
    gates = f"; gates {', '.join(known)}" if 0 < len(known) <= _FEW_GATES else ""
    return plain(f"{facts['device']}{qubits}, as the backend {name}{gates}")


def _git(found: Mapping[str, Any] | None) -> str:
    if not found:
        return "unknown: the project is in no repository"
    return code(found["commit"]) + (", with changes that are not committed" if found["changed"] else "")
