"""Numbers beside their bounds, and the exit code of a benchmark."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Bounds:
    """Numbers beside their bounds; `broken` are sentences."""

    broken: list[str] = field(default_factory=list)

    def check(self, label: str, value: float, most: float, unit: str = "") -> None:
        """Print one, and note whether it holds."""
        holds = value <= most
        print(f"  {label:62} {value:8.3f}  at most {most:g} {unit}{'' if holds else '   BROKEN'}".rstrip(), flush=True)
        if not holds:
            self.broken.append(f"{label}: {value:.3f} {unit}, and {most:g} is the bound")

    def verdict(self) -> int:
        """As `verdict`."""
        return verdict(self.broken)


def verdict(broken: Iterable[str]) -> int:
    """Print what is broken; the exit code."""
    code = 0
    for words in broken:
        print(f"BOUND BROKEN: {words}", flush=True)
        code = 1
    return code
