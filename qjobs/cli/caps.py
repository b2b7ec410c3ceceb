"""Options of commands that say what may be sent again, how often, and for how much."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from qjobs.backends.base import Backend
from qjobs.operations.retry import RetryPolicy

if TYPE_CHECKING:  # with them come circuits
    from qjobs.experiments.circuit_list import CircuitList
    from qjobs.experiments.sweep import SweepSpec

__all__ = ["check_caps_given", "policy_of", "with_retries"]

_Spec = TypeVar("_Spec", bound="SweepSpec | CircuitList")


def _given(options: argparse.Namespace) -> dict[str, Any]:
    names = ("strategy", "max_submissions", "max_total_s", "max_cost", "resend_unfound")
    return {name: value for name in names if (value := getattr(options, name, None)) is not None}


def with_retries(spec: _Spec, options: argparse.Namespace) -> _Spec:
    """An experiment with the options in the place of its `retries`.

    Raises:
        InvalidInput: A cap cannot be used.
    """
    given = _given(options)
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


def policy_of(options: argparse.Namespace, backend: Backend) -> RetryPolicy | None:
    """The backend's own policy with the caps that were given; None if there are none.

    Raises:
        InvalidInput: A cap cannot be used.
    """
    given = _given(options)
    given.pop("strategy", None)
    return replace(RetryPolicy.for_backend(backend.lookup), **given) if given else None


def check_caps_given(options: argparse.Namespace) -> None:
    """Refuse caps that cannot be used, before anything is read.

    Raises:
        InvalidInput: One of them.
    """
    given = _given(options)
    given.pop("strategy", None)
    RetryPolicy(rungs=(), **given)
