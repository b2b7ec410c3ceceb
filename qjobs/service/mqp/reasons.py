"""Why a job was cancelled, failed or was put back: codes, and how the text of a note is understood.

The portal's own rule looks for the letters "down" in a note, so that "shutting down the experiment" puts a job back
into the queue. Here a note must say in whole words that the resource is away (docs/mqp.md, "Reasons").
"""

from __future__ import annotations

import re
from enum import StrEnum

__all__ = ["AWAY", "Reason", "reason_of"]


class Reason(StrEnum):
    """Why a job is where it is."""

    OFFLINE = "offline"
    """The resource is offline."""
    MAINTENANCE = "maintenance"
    """The resource is in maintenance."""
    DOWN = "down"
    """The resource is down."""
    OWNER = "owner"
    """Its owner cancelled it."""
    REFUSED = "refused"
    """The resource did not take it."""
    EXECUTION = "execution"
    """It ran into an error."""
    CLAIMANT_DEAD = "claimant_dead"
    """The scheduler that had it ended before it sent it."""
    RELEASED = "released"
    """The scheduler that had it gave it back before it sent it."""
    OTHER = "other"
    """The note says why."""


AWAY = frozenset({Reason.OFFLINE, Reason.MAINTENANCE, Reason.DOWN})
"""Reasons for which a queued job waits on instead of ending."""

_STATE = (
    r"(?:is|are|was|were|be|been|went|still|now|currently|temporarily|"
    r"resource|backend|device|machine|system|qpu|simulator)"
)
_NEGATED = re.compile(r"\b(?:not|no longer|never|isn't|wasn't|aren't|weren't)(?: (?:currently|now|in|under|yet))?$")
_PHRASES = (
    (Reason.OFFLINE, re.compile(r"(?<![\w'-])offline(?![\w'-])")),
    (
        Reason.MAINTENANCE,
        re.compile(r"(?<![\w'-])(?:in|under|for|during|scheduled|planned|because of|due to) maintenance(?![\w'-])"),
    ),
    (Reason.DOWN, re.compile(rf"(?<![\w'-]){_STATE} down(?![\w'-])")),
)


def reason_of(note: str) -> Reason:
    """The reason that a note gives in words; `OTHER` where it says nothing of a resource that is away.

    >>> reason_of("the resource is down").value, reason_of("shutting down the experiment").value
    ('down', 'other')
    """
    words = " ".join(note.lower().split())
    plain = words.strip(" .!")
    for reason in AWAY:
        if plain == reason:
            return reason
    for reason, phrase in _PHRASES:
        for found in phrase.finditer(words):
            if not _NEGATED.search(words[: found.start()].rstrip()):
                return reason
    return Reason.OTHER
