"""Shots of circuits side by side, as Divi and Qoro write them."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["shot_groups"]


def shot_groups(shots: Sequence[int]) -> list[list[int]]:
    """Runs of the same number of shots, each as `[start, end, shots]`; `end` is the position behind the last.

    >>> shot_groups([5, 5, 7])
    [[0, 2, 5], [2, 3, 7]]
    """
    found: list[list[int]] = []
    for position, number in enumerate(shots):
        if found and found[-1][2] == number:
            found[-1][1] = position + 1
        else:
            found.append([position, position + 1, number])
    return found
