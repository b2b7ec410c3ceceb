"""Options of commands that say what may be sent again, how often, and for how much."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from qjobs.backends.base import Backend
from qjobs.cli.options import Caps, Retries
from qjobs.operations.retry import RetryPolicy

if TYPE_CHECKING:  # with them come circuits
    from qjobs.experiments.circuit_list import CircuitList
    from qjobs.experiments.sweep import SweepSpec

__all__ = ["check_caps_given", "command_again", "policy_of", "with_retries"]

_Spec = TypeVar("_Spec", bound="SweepSpec | CircuitList")


def _given(options: Caps, kind: type[Caps] = Caps) -> dict[str, Any]:
    """Those of the options of one kind that were given."""
    found = {}
    for field in fields(kind):
        value = getattr(options, field.name)
        if value is not None:
            found[field.name] = value
    return found


def with_retries(spec: _Spec, options: Retries) -> _Spec:
    """An experiment with the options in the place of its `retries`.

    Raises:
        InvalidInput: A cap cannot be used.
    """
    given = _given(options, Retries)
    if not given:
        return spec
    from pydantic import ValidationError

    from qjobs.experiments.forms import RetryInput, explain

    try:
        retries = RetryInput.model_validate({**spec.retries.model_dump(), **given})
    except ValidationError as error:
        raise explain(error, "what the options say") from error
    changed: _Spec = spec.model_copy(update={"retries": retries})  # type: ignore[assignment]  # mypy joins the union
    return changed


def policy_of(options: Caps, backend: Backend) -> RetryPolicy | None:
    """The backend's own policy with the caps that were given; None if there are none.

    Raises:
        InvalidInput: A cap cannot be used.
    """
    given = _given(options)
    return replace(RetryPolicy.for_backend(backend.lookup), **given) if given else None


def check_caps_given(options: Caps) -> None:
    """Refuse caps that cannot be used, before anything is read.

    Raises:
        InvalidInput: One of them.
    """
    RetryPolicy(rungs=(), **_given(options))


def command_again(words: Sequence[str], retries: Retries, others: Mapping[str, object]) -> str:
    """The command line that goes on with a run which was interrupted; --new would run it anew."""
    given: dict[str, object] = {
        **others,
        "--strategy": retries.strategy,
        "--max-submissions": retries.max_submissions,
        "--max-total-s": retries.max_total_s,
        "--max-cost": retries.max_cost,
    }
    line = list(words)
    for name, value in given.items():
        if value not in (None, ""):
            line += [name, str(value)]
    if retries.resend_unfound is not None:
        line.append("--resend-unfound" if retries.resend_unfound else "--no-resend-unfound")
    return shlex.join(line)
