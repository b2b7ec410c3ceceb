"""Packing items into batches within a backend's limits. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence

from qjobs.errors import InvalidInput
from qjobs.model import ExecuteOptions, Fingerprint, ItemSpec, JobKind, Key, Limits, Program, ProgramHash

__all__ = ["base_key", "batch_key", "check_items", "pack", "size_bytes_of"]

_OF_ATTEMPT = re.compile(r"(-\d{1,3})?(\.[0-9a-f]{8})?$")
PARAMETER_BYTES = 24
"""What one bound value costs on the wire at the most: 17 digits, sign, exponent, a comma."""


def size_bytes_of(item: ItemSpec, program: Program) -> int:
    """Bytes that `item` takes on the wire: its program's text and its parameters' values."""
    return len(program.payload) + sum(len(name) + PARAMETER_BYTES for name, _ in item.parameters)


def check_items(items: Sequence[ItemSpec], limits: Limits, kind: JobKind = JobKind.EXECUTE) -> None:
    """Refuse what no batch can hold, before anything is stored or sent.

    Raises:
        InvalidInput: No items; a label twice; shots below 1 or above the limit, or for a compile job.
    """
    least = 0 if kind is JobKind.COMPILE else 1
    if not items:
        raise InvalidInput("there is nothing to run: give at least one circuit", field="circuits")
    seen: set[str] = set()
    for item in items:
        if item.label in seen:
            raise InvalidInput(
                f"the label {item.label!r} is used twice; results are found by their label, so each needs its own",
                field="label",
            )
        seen.add(item.label)
        if kind is JobKind.COMPILE and (item.shots or item.parameters):
            raise InvalidInput(f"{item.label}: a compile job has neither shots nor parameters", field="shots")
        if item.shots < least:
            raise InvalidInput(f"{item.label}: shots must be 1 or more, and {item.shots} were asked for", field="shots")
        if limits.max_shots is not None and item.shots > limits.max_shots:
            raise InvalidInput(
                f"{item.label}: {item.shots} shots were asked for and the backend runs {limits.max_shots} an item; "
                "lower shots, or raise repetitions",
                field="shots",
            )


def pack(
    items: Sequence[ItemSpec],
    programs: Mapping[ProgramHash, Program],
    limits: Limits,
    kind: JobKind = JobKind.EXECUTE,
) -> list[tuple[ItemSpec, ...]]:
    """Cut `items` into batches: none lost, order kept, every limit held, as few batches as that allows.

    Where a job has one number of shots (`limits.one_n_shots`), a batch ends before an item of another number: items
    whose numbers alternate make a job each.

    Raises:
        InvalidInput: As `check_items`; or one item alone is above `limits.max_bytes`.
    """
    check_items(items, limits, kind)
    batches: list[tuple[ItemSpec, ...]] = []
    batch: list[ItemSpec] = []
    filled = 0
    for item in items:
        size = size_bytes_of(item, programs[item.program]) if limits.max_bytes is not None else 0
        if limits.max_bytes is not None and size > limits.max_bytes:
            raise InvalidInput(
                f"{item.label}: its circuit takes {size} bytes and the backend takes {limits.max_bytes} a job; "
                "use a smaller circuit",
                field="circuits",
            )
        full = limits.max_items is not None and len(batch) == limits.max_items
        heavy = limits.max_bytes is not None and filled + size > limits.max_bytes
        other = limits.one_n_shots and bool(batch) and batch[0].shots != item.shots
        if batch and (full or heavy or other):
            batches.append(tuple(batch))
            batch = []
            filled = 0
        batch.append(item)
        filled += size
    batches.append(tuple(batch))
    return batches


def batch_key(
    run: str,
    number: int,
    items: Iterable[ItemSpec],
    options: ExecuteOptions,
    *,
    backend: str,
    device: str,
    ledger: str,
    fingerprint: Fingerprint | None = None,
    kind: JobKind = JobKind.EXECUTE,
) -> Key:
    """Idempotency key of one batch of a logical run.

    The same run, batch number and content give the same key, so that a run that is retried, resumed
    or crashed finds its own jobs again; another logical run, another ledger or another configuration of the device
    gives another key. It begins with `ledger` (`Ledger.key_prefix`), so that two ledgers at one account tell their
    jobs apart.
    """
    digest = hashlib.sha256()
    encode = json.JSONEncoder(separators=(",", ":")).encode

    def add(value: object) -> None:
        digest.update(encode(value).encode() + b"\n")

    add(["qjobs-key-2", run, number, backend, device, str(fingerprint), options.seed, kind, options.level])
    add([[o.name, o.terms] for o in options.observables])
    for item in items:
        add([item.label, item.program, item.shots, [[name, float(value).hex()] for name, value in item.parameters]])
    return Key(f"{ledger}-{digest.hexdigest()[:32]}")


def base_key(key: Key) -> Key:
    """The key of the job that a submission's key (`qjobs.operations.attempts.submission_key`) was made of.

    >>> base_key(Key("12345678-0123456789abcdef0123456789abcdef-2.89abcdef"))
    '12345678-0123456789abcdef0123456789abcdef'
    """
    return Key(_OF_ATTEMPT.sub("", key))
