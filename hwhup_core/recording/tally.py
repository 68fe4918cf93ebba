"""What became of every frame: each is counted once when it comes and once when it is settled."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum


class Outcome(Enum):
    """What became of a frame."""

    WRITTEN = 'written'
    SKIPPED = 'skipped'
    """Not worth keeping, or not wanted."""
    REJECTED = 'rejected'
    """Failed a gate."""
    DROPPED = 'dropped'
    """Lost: the recorder was too slow, or writing failed."""


@dataclass(frozen=True)
class Counts:
    """The counts of one moment: arrived = written + skipped + rejected + dropped + pending."""

    arrived: int
    outcomes: Mapping[Outcome, int]
    """Every outcome has a number."""
    reasons: Mapping[str, int]
    """Codes of the frames that were skipped, rejected or dropped."""

    @property
    def pending(self) -> int:
        """Return the frames in work."""
        return self.arrived - sum(self.outcomes.values())


class Tally:
    """Counts frames from several threads."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._arrived = 0
        self._outcomes: Counter[Outcome] = Counter()
        self._reasons: Counter[str] = Counter()

    def arrive(self) -> None:
        """Count a frame that came in."""
        with self._mutex:
            self._arrived += 1

    def settle(self, outcome: Outcome, reason: str = '') -> None:
        """Count what became of a frame; `reason` is its code where it was not written."""
        with self._mutex:
            self._outcomes[outcome] += 1
            if reason:
                self._reasons[reason] += 1

    def counts(self) -> Counts:
        """Return all counts of one moment."""
        with self._mutex:
            outcomes = {outcome: self._outcomes[outcome] for outcome in Outcome}
            return Counts(self._arrived, outcomes, dict(self._reasons))
