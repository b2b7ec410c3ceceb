"""Standard errors of what is estimated from shots, by Jeffreys' rule: never zero, not even where all shots agree.

The fraction p of n shots with some outcome has the standard deviation of the distribution Beta(n p + 1/2, n (1 - p) +
1/2): Brown, Cai, DasGupta, "Interval Estimation for a Binomial Proportion", Statistical Science 16, 101 (2001),
https://doi.org/10.1214/ss/1009213286. That is as if half a shot more had been seen with the outcome, and half a shot
without.

For a sum of Pauli strings the one shot more is of the fully mixed state, in which each string is +1 as often as -1. The
error is that of a mean under a Dirichlet process with this prior: Ferguson, "A Bayesian Analysis of Some Nonparametric
Problems", Annals of Statistics 1, 209 (1973), https://doi.org/10.1214/aos/1176342360. For one string both are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

__all__ = ["fractions_json", "of_fraction", "variance_of_mean"]


def variance_of_mean(mean: np.ndarray, variance: np.ndarray, mixed: float, shots: np.ndarray) -> np.ndarray:
    """The squared standard error of a mean over shots.

    Args:
        mean: Of the values of all shots, counted from their mean in the fully mixed state. Shape (n,).
        variance: Their mean squared distance from that mean. Shape (n,).
        mixed: Their variance in the fully mixed state: the sum of the squared coefficients of the Pauli strings.
        shots: How many there were, from 1 on. Shape (n,).
    """
    more = shots + 1
    spread = (shots * variance + mixed) / more + shots * (mean / more) ** 2
    squared: np.ndarray = spread / (shots + 2)
    return squared


def of_fraction(hits: float, shots: float) -> float:
    """Standard error of the fraction of shots that had an outcome.

    >>> round(of_fraction(0, 1000), 5), round(of_fraction(500, 1000), 5)
    (0.00071, 0.0158)
    """
    return math.sqrt((hits + 0.5) * (shots - hits + 0.5) / (shots + 2)) / (shots + 1)


def fractions_json(counts: Mapping[str, int]) -> str:
    """Standard error of the fraction of each outcome that was seen, as JSON text, by bit string.

    >>> fractions_json({"1": 100})
    '{"1": 0.00695}'
    """
    shots = sum(counts.values())
    return "{" + ", ".join(f'"{bits}": {_text(count, shots)}' for bits, count in sorted(counts.items())) + "}"


@lru_cache(maxsize=100_000)
def _text(hits: float, shots: float) -> str:
    return repr(float(f"{of_fraction(hits, shots):.3g}"))
