"""Remote quantum jobs: never lost, never run twice, always explained.

The front door. `plan submit poll wait collect cancel` take a job from a batch to its results, `retry rerun reconcile
adopt discard` are for when something went wrong, `run`, `jobs`, `load` and `compare` are for a notebook. Each is
imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qjobs.errors import (
        BackendUnavailable,
        Busy,
        CredentialsRejected,
        InvalidInput,
        JobFailed,
        QJobsError,
        SubmissionRejected,
        SubmissionUnknown,
    )
    from qjobs.ledger import Ledger
    from qjobs.notebook import jobs, run
    from qjobs.operations.cancel import cancel
    from qjobs.operations.collect import collect
    from qjobs.operations.plan import plan
    from qjobs.operations.poll import poll
    from qjobs.operations.recover import adopt, discard, orphans, reconcile, rerun, retry
    from qjobs.operations.submit import submit
    from qjobs.operations.wait import wait
    from qjobs.results.compare import compare
    from qjobs.results.store import load

__all__ = [
    "BackendUnavailable",
    "Busy",
    "CredentialsRejected",
    "InvalidInput",
    "JobFailed",
    "Ledger",
    "QJobsError",
    "SubmissionRejected",
    "SubmissionUnknown",
    "adopt",
    "cancel",
    "collect",
    "compare",
    "discard",
    "jobs",
    "load",
    "orphans",
    "plan",
    "poll",
    "reconcile",
    "rerun",
    "retry",
    "run",
    "submit",
    "wait",
]

_HOMES = {
    "Ledger": "qjobs.ledger",
    "jobs": "qjobs.notebook",
    "run": "qjobs.notebook",
    "compare": "qjobs.results.compare",
    "load": "qjobs.results.store",
    "cancel": "qjobs.operations.cancel",
    "collect": "qjobs.operations.collect",
    "plan": "qjobs.operations.plan",
    "poll": "qjobs.operations.poll",
    "submit": "qjobs.operations.submit",
    "wait": "qjobs.operations.wait",
    **dict.fromkeys(("adopt", "discard", "orphans", "reconcile", "rerun", "retry"), "qjobs.operations.recover"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'qjobs' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES.get(name, "qjobs.errors")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
