"""How users share the workers: who has to give way, and what one item may use."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence

from qjobs.backends.aer import Call, CallLimits, WorkerEnded
from qjobs.service.devices import Device

SLOW_S = 1.0
"""A call that has run for longer may be ended for a user who waits; a shorter one is soon over by itself."""

_PART_OF_MEMORY = 0.8
_LEAST_BYTES = 1 << 30


class GaveWay(WorkerEnded):
    """The call was ended because another user waited: its items run again."""


class ForNobody(WorkerEnded):
    """The call was ended because nobody waits for its items."""


def calls_to_end(running: Sequence[tuple[str, Call]], hungry: Collection[str], n_workers: int) -> list[Call]:
    """The calls to end so that every user who waits gets a worker.

    Of a user who has a worker it is what waits for another one, and of one who has none all but the first. Where no
    worker is free, it is the newest call that takes long, of the user who has the most; nobody loses their last one.

    Args:
        running: The calls with their users, in the order in which they were made.
        hungry: Users who have something to run.
        n_workers: The number of workers.
    """
    held = Counter(owner for owner, call in running if not call.is_waiting)
    waiting = [owner for owner in hungry if not held[owner]]
    if not waiting:
        return []
    ends = []
    kept = Counter(held)
    for owner, call in running:
        if call.is_waiting:
            if kept[owner]:
                ends.append(call)
            kept[owner] += 1
    for _ in range(len(waiting) - max(0, n_workers - held.total())):
        slow = [(held[owner], call) for owner, call in running if held[owner] > 1 and call.ran_s > SLOW_S]
        if not slow:
            break
        most = max(number for number, _ in slow)
        newest = [call for number, call in slow if number == most and call not in ends]
        if not newest:
            break
        ends.append(newest[-1])
        held.subtract(owner for owner, call in running if call is newest[-1])
    return ends


def limits_of(device: Device, n_workers: int) -> CallLimits:
    """What one item of a device may use: by the device file; else each worker has an equal share of the memory."""
    if device.item_memory_mb is not None:
        memory_bytes = device.item_memory_mb << 20
    else:
        of_machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        memory_bytes = max(_LEAST_BYTES, int(of_machine * _PART_OF_MEMORY / n_workers))
    return CallLimits(seconds=device.item_time_s, memory_bytes=memory_bytes)
