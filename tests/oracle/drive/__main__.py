"""Runs every check of every topic and writes what they found; by the interpreter that has the client.

python tests/oracle/drive OUTCOME.json EMAIL OTHER_EMAIL
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import traceback
from pathlib import Path

import session

TOPICS = sorted(path.stem for path in Path(__file__).parent.glob("topic_*.py"))


def main(outcome: Path, wanted: str = "") -> None:
    """Run them in the order of the files; a check that raises is a check that failed."""
    errors: dict[str, str] = {}
    session.sign_in(session.ADA)
    for topic in TOPICS:
        for name, check in list(vars(importlib.import_module(topic)).items()):
            label = f"{topic.removeprefix('topic_')}.{name.removeprefix('check_')}"
            if not name.startswith("check_") or not label.startswith(wanted):
                continue
            start = time.perf_counter()
            try:
                check()
                errors[label] = ""
            except Exception:
                errors[label] = traceback.format_exc(limit=-6)
            print(f"{time.perf_counter() - start:6.2f} s {label} {'' if not errors[label] else 'FAILED'}", flush=True)
    outcome.write_text(json.dumps({"errors": errors, "measured": session.MEASURED}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[4:5])
