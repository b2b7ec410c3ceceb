"""Runs the checks of a client and writes what they found; small helpers of the checks."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

TOKEN = os.environ["ORACLE_TOKEN"]
URL = os.environ.get("MQP_URL", "")
WAIT_S = 60.0
_TWO = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; '
BELL = _TWO + "h q[0]; cx q[0],q[1]; measure q -> c;"
FLIPS = [_TWO + "measure q -> c;", _TWO + "x q[0]; measure q -> c;", _TWO + "x q[1]; measure q -> c;"]
BELL3 = 'OPENQASM 3.0; include "stdgates.inc"; qubit[2] q; bit[2] c; h q[0]; cx q[0], q[1]; c = measure q;'
ISING = ("0 1; 1 2;", "0.5 0.1;")
BY_OWNER = "Job cancelled: The job was cancelled by its owner."


def run_checks(names: dict[str, Any]) -> None:
    """Run every `check_...` of a module, in its order; a check that raises is a check that failed."""
    errors: dict[str, str] = {}
    for name, check in list(names.items()):
        if not name.startswith("check_"):
            continue
        start = time.perf_counter()
        label = name.removeprefix("check_")
        try:
            check()
            errors[label] = ""
        except Exception:
            errors[label] = traceback.format_exc(limit=-6)
        print(f"{time.perf_counter() - start:6.2f} s {label} {'' if not errors[label] else 'FAILED'}", flush=True)
    Path(sys.argv[1]).write_text(json.dumps(errors))


def same(value: Any, expected: Any) -> None:
    """The one assertion of most checks."""
    assert value == expected, f"\n  it is        {value!r}\n  it should be {expected!r}"


def raised(call: Any, kind: type[Exception]) -> str:
    """The words of the error that a call raises."""
    try:
        found = call()
    except kind as error:
        return str(error)
    raise AssertionError(f"it raised nothing, and returned {found!r}")


def until(holds: Any) -> None:
    """Wait for something that must come true."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.05)
