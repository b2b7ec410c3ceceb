"""`qjobs reconcile` and `qjobs orphans`: what went wrong between us and the providers."""

from __future__ import annotations

from qjobs.cli.declaring import command, group
from qjobs.cli.options import Shared, Where

app = group("Settle what went wrong between us and the providers.")


@command(app, "reconcile", example="qjobs reconcile")
def reconcile(where: Where, shared: Shared) -> int:
    """Settle jobs whose fate is unknown.

    Exit code 1 where a person has something to decide, or a provider could not be asked.
    """
    from qjobs.cli import recover as working

    return working.reconcile(shared, where)


@command(app, "orphans", example="qjobs orphans --backend nexus --device H1-1E")
def orphans(where: Where, shared: Shared) -> int:
    """List remote jobs with our keys that no job claims."""
    from qjobs.cli import recover as working

    return working.orphans(shared, where)
