"""The tree of errors: as drawn, picklable, with data and with words."""

from __future__ import annotations

import inspect
import multiprocessing
import pickle
import re

import pytest

from qjobs import errors
from qjobs.errors import QJobsError

CLASSES = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, QJobsError)]
DATA = {
    "recompiles": True,
    "job_id": "job-1",
    "job_ids": ("job-1", "job-2"),
    "retry_after_s": 2.5,
    "detail": "their words",
    "field": "circuits.0",
    "status": "ERROR",
    "failed": {0: "why", 3: "why not"},
    "code": 404,
    "found": 1,
    "expected": 2,
    "wanted_id": "a1",
    "found_id": "b2",
}


def drawn() -> dict[str, str | None]:
    """Class name to its parent's, as the docstring draws it."""
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.fullmatch(r"    ([│ ]*(?:[├└]── )?)([A-Z]\w+)(?:  .*| +\S.*)?", line)
        if match:
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            parents[match[2]] = path[depth - 1] if depth else None
    return parents


def real() -> dict[str, str | None]:
    return {cls.__name__: None if cls is QJobsError else cls.__mro__[1].__name__ for cls in CLASSES}


def test_drawn_tree() -> None:
    """The tree is the one that the docstring draws."""
    assert drawn() == real()


def test_exported() -> None:
    """Every error is exported, and says what it stands for."""
    assert all(cls.__doc__ for cls in CLASSES)
    assert sorted(errors.__all__) == sorted(cls.__name__ for cls in CLASSES)


def an_error(cls: type[QJobsError]) -> QJobsError:
    """One of each class, with every attribute that its constructor takes."""
    init = cls.__init__
    parameters = inspect.signature(init).parameters.values() if inspect.isfunction(init) else ()
    names = [parameter.name for parameter in parameters if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
    return cls("what happened, what to do", **{name: DATA[name] for name in names})


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(cls: type[QJobsError], protocol: int) -> None:
    """Pickle keeps class, words and data."""
    error = an_error(cls)
    copy = pickle.loads(pickle.dumps(error, protocol))
    assert type(copy) is cls
    assert str(copy) == str(error) == "what happened, what to do"
    assert copy.args == error.args
    assert vars(copy) == vars(error)
    for name, value in vars(error).items():
        assert value == DATA[name]


def _raise(number: int) -> None:
    raise an_error(CLASSES[number]) from KeyError("cause")


def test_process_pool() -> None:
    """Every error crosses a process pool."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        replies = [pool.apply_async(_raise, (number,)) for number in range(len(CLASSES))]
        for cls, reply in zip(CLASSES, replies, strict=True):
            with pytest.raises(cls) as caught:
                reply.get(timeout=60)
            assert type(caught.value) is cls
            assert vars(caught.value) == vars(an_error(cls))
        pool.close()
        pool.join()


def test_pickled_note() -> None:
    """A note survives pickle."""
    error = an_error(errors.StaleJob)
    error.add_note("read it again")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["read it again"]


def test_value_error() -> None:
    """InvalidInput is a ValueError."""
    assert issubclass(errors.InvalidInput, ValueError)
    assert issubclass(errors.InvalidCircuit, errors.InvalidInput)


def test_transient() -> None:
    """What Prefect retries is found by class; nothing else may be caught by it."""
    transient = {cls.__name__ for cls in CLASSES if issubclass(cls, errors.BackendUnavailable)}
    assert transient == {"BackendUnavailable", "NotSent"}


def test_own_copy() -> None:
    """JobFailed keeps a copy of its reasons."""
    failed = {0: "why"}
    error = errors.JobFailed("m", job_id="j", status="ERROR", failed=failed)
    failed.clear()
    assert error.failed == {0: "why"}
