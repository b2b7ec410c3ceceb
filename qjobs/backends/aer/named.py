"""Noise in the name of a backend: `aer/t1_us=80/t2_us=60` is the simulator with these times."""

from __future__ import annotations

from typing import Final

from qjobs.backends.aer.noise import NoiseSpec
from qjobs.errors import InvalidInput

__all__ = ["noise_named"]

_FIELDS: Final = {
    "depolarizing_1q": "depolarizing_1q",
    "depolarizing_2q": "depolarizing_2q",
    "readout_error": "readout",
    "t1_us": "t1_us",
    "t2_us": "t2_us",
}
"""Names of the block's fields, with those of `NoiseSpec`."""


def noise_named(text: str) -> NoiseSpec:
    """The noise in a name, without `aer/`: fields of the block for Aer with their values, a slash between them.

    Raises:
        InvalidInput: A field is unknown, given twice, or has no value that it can have.

    >>> noise_named("t1_us=80/readout_error=0.02")
    NoiseSpec(depolarizing_1q=0.0, depolarizing_2q=0.0, readout=0.02, t1_us=80.0, t2_us=None)
    """
    values: dict[str, float] = {}
    for part in text.split("/"):
        name, equals, value = part.partition("=")
        if not equals or name not in _FIELDS:
            raise InvalidInput(
                f"aer/{text}: {part!r} is no noise; write for example aer/t1_us=80/readout_error=0.02, with "
                f"{', '.join(_FIELDS)}",
                field="backend",
            )
        if _FIELDS[name] in values:
            raise InvalidInput(f"aer/{text}: {name} is given twice", field="backend")
        try:
            values[_FIELDS[name]] = float(value)
        except ValueError as error:
            raise InvalidInput(f"aer/{text}: {value!r} is not a number", field="backend") from error
    try:
        return NoiseSpec(**values)
    except InvalidInput as error:
        raise InvalidInput(f"aer/{text}: {error}", field="backend") from error
