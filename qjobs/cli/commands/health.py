"""`qjobs doctor`."""

from __future__ import annotations

from qjobs.cli.declaring import command, group
from qjobs.cli.options import Shared

app = group("Look after the installation.")


@command(app, "doctor", example="qjobs doctor")
def doctor(shared: Shared) -> int:
    """Check the installation and say what to fix."""
    from qjobs.cli import doctor as working

    return working.doctor(shared)
