"""Epochs of hybrid runs in the ledger: each recorded once, in order, and read back to the last bit."""

from __future__ import annotations

import logging
import math
from dataclasses import replace

import numpy as np
import pytest
from support import NOW, a_program, at

from qjobs.errors import InvalidInput
from qjobs.ledger import Ledger
from qjobs.ledger.epochs import Epoch
from qjobs.model import JobId

CIRCUIT = a_program("ansatz", parameters=("a", "b"))
RNG = np.random.default_rng(5).bit_generator.state


def an_epoch(number: int = 1, **values: object) -> Epoch:
    given = {
        "logical_run": "run",
        "number": number,
        "experiment": "h2",
        "definition": "d",
        "points": ((0.1 + 0.2, math.pi), (-1e-300, 1.0)),
        "energies": (-1.1 - number, 0.1),
        "std_errors": (0.01, None),
        "state": {"rng": RNG, "gain": None, "directions": [[1, -1]]},
        "circuit": CIRCUIT.hash,
        "job_ids": (JobId("job-1"), JobId("job-2")),
        "at": at(number),
    }
    return Epoch(**{**given, **values})


def test_read_back(ledger: Ledger) -> None:
    """Every number comes back to the last bit, those of the random generator's state too, and so does the circuit."""
    epochs = [an_epoch(1), an_epoch(2), an_epoch(3)]
    for epoch in epochs:
        ledger.epochs.record(epoch, CIRCUIT)
    ledger.epochs.record(an_epoch(logical_run="other"), CIRCUIT)
    found = ledger.epochs.of_run("run")
    assert found == epochs
    assert [epoch.at for epoch in found] == [at(1), at(2), at(3)]
    assert found[0].state["rng"]["state"]["state"] == RNG["state"]["state"] > 2**64
    assert (found[1].params, found[1].energy, found[1].std_error) == (epochs[1].points[0], -3.1, 0.01)
    assert ledger.programs([CIRCUIT.hash]) == {CIRCUIT.hash: CIRCUIT}
    assert ledger.epochs.of_run("none") == []


def test_recorded_twice(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    """The same epoch again changes nothing and logs nothing; its time is that of the first."""
    with caplog.at_level(logging.INFO, "qjobs.ledger.database"):
        ledger.epochs.record(an_epoch(), CIRCUIT)
        ledger.epochs.record(an_epoch(at=at(99)), CIRCUIT)
    assert ledger.epochs.of_run("run") == [an_epoch()]
    assert ledger.epochs.of_run("run")[0].at == at(1)
    assert [record.getMessage() for record in caplog.records] == [
        "run run: epoch 1 is recorded, energy -2.1, jobs job-1, job-2"
    ]


@pytest.mark.parametrize(
    "values",
    [
        {"energies": (-2.0, 0.1)},
        {"points": ((0.3, math.pi), (0.0, 1.0))},
        {"std_errors": (0.01, 0.02)},
        {"state": {}},
        {"definition": "other"},
        {"job_ids": ()},
    ],
)
def test_another_content(ledger: Ledger, values: dict[str, object]) -> None:
    """An epoch with another content is refused, and the first one stays."""
    ledger.epochs.record(an_epoch(), CIRCUIT)
    with pytest.raises(InvalidInput, match="recorded already, with another content"):
        ledger.epochs.record(an_epoch(**values), CIRCUIT)
    assert ledger.epochs.of_run("run") == [an_epoch()]


@pytest.mark.parametrize(
    ("epoch", "words"),
    [
        (an_epoch(2), "before the one before it"),
        (an_epoch(0), "needs an energy"),
        (an_epoch(energies=(1.0,)), "needs an energy and a standard error for each point"),
        (an_epoch(points=(), energies=(), std_errors=()), "needs an energy"),
        (an_epoch(energies=(math.nan, 1.0)), "not finite"),
        (an_epoch(std_errors=(math.inf, 1.0)), "not finite"),
        (an_epoch(points=((math.nan, 1.0), (1.0, 1.0))), "not finite"),
    ],
)
def test_refused(ledger: Ledger, epoch: Epoch, words: str) -> None:
    """A gap, a missing energy and a number that is not finite are refused, and nothing is written."""
    with pytest.raises(InvalidInput, match=words):
        ledger.epochs.record(epoch, CIRCUIT)
    assert ledger.epochs.of_run("run") == []
    assert ledger.programs([CIRCUIT.hash]) == {}


def test_time_is_no_content() -> None:
    """Epochs are compared without the time at which they were recorded."""
    assert replace(an_epoch(), at=NOW) == an_epoch()
