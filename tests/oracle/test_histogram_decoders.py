"""Divi's own decoder reads what we pack, and what we read of damaged histograms it reads as we do."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest
from environments import DIVI_VERSIONS, NoEnvironment, python_of

from qjobs.backends.qoro import histograms
from qjobs.errors import ProtocolError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
WIDEST = {"divi-0.13": 255, "divi-0.15": 1000}
"""The older one has no qh2."""


@pytest.fixture(scope="module", params=DIVI_VERSIONS)
def divi(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def read_by(divi: str, entries: list[dict[str, Any]]) -> list[Any]:
    """What Divi's decoder makes of each."""
    try:
        python = python_of(divi)
    except NoEnvironment as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
    script = Path(__file__).parent / "qoro_drive" / "decode_histograms.py"
    done = subprocess.run(
        [str(python), str(script)],
        input=json.dumps(entries),
        capture_output=True,
        text=True,
        timeout=600,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def some_counts(rng: random.Random, n_bits: int) -> dict[str, int]:
    counts: dict[str, int] = {}
    for _ in range(rng.randrange(1, 8)):
        shots = rng.choice((1, 1, 2, 3, 130, rng.randrange(1, 1 << 40)))
        counts[format(rng.getrandbits(n_bits), f"0{n_bits}b")] = shots
    return counts


def test_it_reads_ours(divi: str) -> None:
    """2,000 histograms of all widths that it knows come back as they were; one without shots too."""
    rng = random.Random(1)
    given = [some_counts(rng, 1 + number % WIDEST[divi]) for number in range(2_000)]
    entries = [histograms.encode(counts, len(next(iter(counts)))) for counts in given]
    entries.append(histograms.encode({}, 3))
    assert read_by(divi, entries) == [*given, {}]


def test_damaged(divi: str) -> None:
    """What we read of histograms with one flipped bit it reads as we do."""
    rng = random.Random(2)
    entries = []
    ours: list[dict[str, int]] = []
    for n_bits in (1, 3, 8, 63, 64, 65, 200):
        entry = histograms.encode(some_counts(rng, n_bits), n_bits)
        data = base64.b64decode(entry["payload"])
        for position in range(8 * 4, 8 * len(data)):
            flipped = bytearray(data)
            flipped[position // 8] ^= 1 << position % 8
            damaged = {**entry, "payload": base64.b64encode(flipped).decode()}
            try:
                ours.append(histograms.decode(damaged))
            except ProtocolError:
                continue  # Divi's decoder believes numbers of runs, and takes as much memory as they claim
            entries.append(damaged)
    theirs = read_by(divi, entries)
    assert len(ours) > 50
    assert theirs == ours
