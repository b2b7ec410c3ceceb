"""Options of commands that say what may be sent again, how often, and for how much."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import ValidationError

from qjobs.backends.base import Backend
from qjobs.experiments.circuit_list import CircuitList
from qjobs.experiments.forms import RetryInput, explain
from qjobs.experiments.sweep import SweepSpec
from qjobs.model import RemoteRetryStrategy
from qjobs.operations.retry import RetryPolicy

__all__ = ["add_cap_options", "add_retry_options", "check_caps_given", "policy_of", "with_retries"]

_Spec = TypeVar("_Spec", bound=SweepSpec | CircuitList)


def add_retry_options(parser: argparse.ArgumentParser) -> None:
    """The strategy and the caps, which take the place of those in the file."""
    parser.add_argument(
        "--strategy",
        type=str.upper,
        choices=[str(one) for one in RemoteRetryStrategy],
        help="what to do about jobs that are there already (default: what the file says, else DEFAULT)",
    )
    add_cap_options(parser)
    parser.add_argument(
        "--resend-unfound",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="whether a job whose reply was lost is sent again once it is certain that it is lost",
    )


def add_cap_options(parser: argparse.ArgumentParser) -> None:
    """The caps of submissions, time and cost."""
    parser.add_argument("--max-submissions", type=int, help="the most submissions of a job, the first included")
    parser.add_argument("--max-total-s", type=float, help="the most seconds spent trying to submit a job")
    parser.add_argument("--max-cost", type=float, help="the most that a job may cost, in the provider's unit")


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
