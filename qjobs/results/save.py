"""Saving what came out of a run, with the record of where it comes from: beside it, and inside its Parquet file."""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from qjobs.backends.base import Backend
from qjobs.experiments.circuit_list import CircuitListPlan
from qjobs.experiments.sweep import SweepPlan
from qjobs.ledger import Ledger
from qjobs.model import JobId
from qjobs.operations.calibration import calibration_record
from qjobs.paths import project_root
from qjobs.redaction import without_known
from qjobs.reports.files import write_file, write_parquet
from qjobs.reports.provenance import device_facts, made_by, versions
from qjobs.reports.run_report import RunReport, report_of
from qjobs.results.store import METADATA_KEY, Results, SavedRun

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Saved", "definition_of", "origin", "save_frame", "save_run"]

_GIT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A run that was saved: its report, and its folder."""

    report: RunReport
    run: SavedRun


def save_run(
    ledger: Ledger,
    plan: SweepPlan | CircuitListPlan,
    jobs: Mapping[str, Sequence[JobId]],
    backends: Mapping[str, Backend],
    *,
    where: str | Path | None = None,
) -> Saved:
    """Save the data frame and the picture of a run in a folder of their own; a second call makes another folder.

    Args:
        ledger: The ledger with its jobs.
        plan: What was run.
        jobs: Its job ids by the name of their backend, as in the spec.
        backends: These backends, open.
        where: Where results are kept; QJOBS_RESULTS or the home where None.

    Raises:
        StorageFull: A file cannot be written; the results are in the ledger.
        InvalidInput: Results cannot be kept there.
    """
    new = Results(where).begin(plan.spec.name, plan.definition)
    kind, key = "circuits", ["label"]
    parameters: Sequence[str] = ()
    if isinstance(plan, SweepPlan):
        kind, parameters = "sweep", plan.parameters
        key = ["backend", "repetition", *parameters]
    record = origin(ledger, kind, plan.spec, plan.definition, jobs, backends, key=key, parameters=parameters)
    report = report_of(ledger, plan, jobs, new.file("results.parquet"), _metadata(record))
    files = {"frame": "results.parquet"}
    if report.picture:
        write_file(new.file("picture.png"), report.picture, private=True)
        files["picture"] = "picture.png"
    if report.fits_json is not None:
        write_file(new.file("fits.json"), report.fits_json.encode(), private=True)
        files["fits"] = "fits.json"
    summary = {"n_rows": report.n_rows, "n_missing": report.n_missing, "lines": list(report.lines)}
    if report.why_no_picture:
        summary["why_no_picture"] = report.why_no_picture
    return Saved(report=report, run=new.finish({**record, "files": files, **summary}))


def save_frame(
    name: str,
    definition: str,
    frame: pd.DataFrame,
    picture: bytes | None,
    record: Mapping[str, Any],
    lines: Sequence[str] = (),
) -> SavedRun:
    """Save a data frame and its picture, with the record of where they come from, in a folder of their own.

    Raises:
        StorageFull: A file cannot be written.
        InvalidInput: Results cannot be kept where the setting says.
    """
    new = Results().begin(name, definition)
    write_parquet(frame, new.file("results.parquet"), _metadata(record), private=True)
    files = {"frame": "results.parquet"}
    if picture:
        write_file(new.file("picture.png"), picture, private=True)
        files["picture"] = "picture.png"
    return new.finish({**record, "files": files, "n_rows": len(frame), "n_missing": 0, "lines": list(lines)})


def definition_of(spec: BaseModel) -> str:
    """The hash of a spec that has no definition of its own."""
    return hashlib.sha256(spec.model_dump_json().encode()).hexdigest()[:16]


def origin(
    ledger: Ledger,
    kind: str,
    spec: BaseModel,
    definition: str,
    jobs: Mapping[str, Sequence[JobId]],
    backends: Mapping[str, Backend],
    *,
    key: Sequence[str],
    parameters: Sequence[str] = (),
    **more: str,
) -> dict[str, Any]:
    """Where results come from, as JSON without secrets: spec, jobs, devices, versions, commit, user, ledger.

    `calibration` says how devices were calibrated when jobs were compiled, sent and their results fetched. `key` are
    the columns that tell rows apart, `parameters` those of them (or others) that were swept or optimised.
    """
    job_ids = list(dict.fromkeys(itertools.chain.from_iterable(jobs.values())))
    attempts = ledger.last_attempts(job_ids)
    remote_ids = {job_id: attempt.remote_id for job_id, attempt in attempts.items() if attempt.remote_id}
    return {
        "format": "qjobs-results-1",
        "kind": kind,
        "saved_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "definition": definition,
        "spec": spec.model_dump(mode="json"),
        "jobs": {name: list(ids) for name, ids in jobs.items()},
        "remote_ids": remote_ids,
        "devices": {name: device_facts(backend) for name, backend in backends.items()},
        "calibration": calibration_record(ledger, job_ids),
        "versions": versions(),
        "git": _commit(project_root() or Path.cwd()),
        "by": made_by(),
        "ledger": ledger.url,
        "ledger_id": ledger.ledger_id,
        "key": list(key),
        "parameters": list(parameters),
        **more,
    }


def _metadata(record: Mapping[str, Any]) -> dict[str, str]:
    """The record as a Parquet file keeps it."""
    return {METADATA_KEY: without_known(json.dumps(record))}


def _commit(folder: Path) -> dict[str, Any] | None:
    """The commit of the project, and whether files differ from it; None where it is in no repository of git's."""
    git = shutil.which("git")
    if git is None:
        return None
    try:
        commit = _said(git, folder, "rev-parse", "HEAD")
        changed = _said(git, folder, "status", "--porcelain", "--untracked-files=no") if commit else ""
    except (OSError, subprocess.TimeoutExpired):
        return None
    return {"commit": commit, "changed": bool(changed)} if commit else None


def _said(git: str, folder: Path, *words: str) -> str:
    done = subprocess.run(  # noqa: S603
        [git, "-C", str(folder), *words], capture_output=True, text=True, timeout=_GIT_S, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""
