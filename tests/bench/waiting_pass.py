"""Passes of the sensor in a process of their own, one for every line of standard input that asks for one.

`due` makes every open job due and then passes, `pass` only passes. Each pass is answered with one line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from typing import Any

from prefect.client.orchestration import get_client
from waiting_processes import memory_mb, peak_mb

import qjobs.cli.main  # noqa: F401  # the command `qjobs sensor` comes through it, and holds what it loads
from blocks import ledger_named
from flows.sensor import Sensor


def one_pass(sensor: Sensor) -> dict[str, Any]:
    """What a pass did and what it took."""
    start = time.perf_counter()
    cpu = time.process_time()
    passed = sensor.run_pass()
    return {
        "seconds": time.perf_counter() - start,
        "cpu_s": time.process_time() - cpu,
        "asked": passed.asked,
        "moved": len(passed.moved),
        "published": passed.published,
        "trouble": passed.trouble,
        "memory_mb": memory_mb(os.getpid()),
        "peak_mb": peak_mb(os.getpid()),
    }


def main() -> None:
    """Answer every line."""
    store = ledger_named()
    with get_client(sync_client=True) as client, contextlib.closing(Sensor(store, client)) as sensor:
        print(json.dumps({"memory_mb": memory_mb(os.getpid())}), flush=True)
        for line in sys.stdin:
            if line.strip() == "due":
                store.schedule.set_next(dict.fromkeys((job.job_id for job in store.open_jobs()), None))
            print(json.dumps(one_pass(sensor)), flush=True)


if __name__ == "__main__":
    main()
