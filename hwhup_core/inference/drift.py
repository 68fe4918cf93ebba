"""
The drift alarm: where depth is there, the error against it says whether the room is still the one of the weights.

The level is the error that the weights had when they were deployed, on held-out frames. What is compared is the median
over a window of answered frames, so that an arm over the face or a caregiver does not raise it.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from hwhup_core.errors import ConfigError


class Drift(str, Enum):
    """What the error against the depth says about the room."""

    UNKNOWN = 'unknown'
    """No level to compare with, or too few frames with depth."""
    NONE = 'none'
    RAISED = 'raised'
    """Above the limit for the whole patience."""


@dataclass(frozen=True)
class DriftConfig:
    """When a room has changed."""

    factor: float = field(default=1.6, metadata={'range': (1.0, 100.0)})
    """The alarm is raised where the median error exceeds the level times this, 1 to 100."""
    window_s: float = field(default=30.0, metadata={'range': (0.1, 86400.0)})
    """Time over which the median is taken, seconds."""
    patience_s: float = field(default=10.0, metadata={'range': (0.0, 86400.0)})
    """How long the median must stay above the limit, seconds, and below 0.9 of it to clear the alarm."""
    min_frames: int = field(default=30, metadata={'range': (1, 100000)})
    """Frames with depth that a window must hold."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ('factor', 1.0, 100.0), ('window_s', 0.1, 86400.0), ('patience_s', 0.0, 86400.0), ('min_frames', 1, 100000),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f'{name} is {getattr(self, name)}. Expected {low} to {high}.')


CLEARED = 0.9
"""Share of the limit below which the median must fall before a raised alarm ends."""


class DriftAlarm:
    """Follows the aligned depth error of one stream. Safe between threads: one answers frames, another one reports."""

    def __init__(self, level: float, config: DriftConfig) -> None:
        """`level` is the aligned depth error (m) at deployment; NaN: there is none, and the alarm stays unknown."""
        self.level = level
        self.config = config
        self._lock = threading.RLock()
        self._errors: deque[tuple[float, float]] = deque()
        self._raised = False
        self._turned_at: float | None = None

    @property
    def limit(self) -> float:
        """Return the error (m) above which the room has changed."""
        return self.level * self.config.factor

    def add(self, error: float, now: float) -> Drift:
        """Take the error (m) of one answered frame at `now` (s, steady clock); NaN says that there was no depth."""
        with self._lock:
            if math.isfinite(error):
                self._errors.append((now, error))
            return self.state(now)

    def median(self, now: float) -> float:
        """Return the median error (m) of the window; NaN with too few frames."""
        with self._lock:
            while self._errors and self._errors[0][0] < now - self.config.window_s:
                self._errors.popleft()
            errors = [error for _, error in self._errors]
        return float(np.median(errors)) if len(errors) >= self.config.min_frames else math.nan

    def state(self, now: float) -> Drift:
        """Return what is known at `now`."""
        with self._lock:
            return self._state(now)

    def _state(self, now: float) -> Drift:
        median = self.median(now)
        if not (math.isfinite(self.limit) and math.isfinite(median)):
            self._turned_at = None
            return Drift.RAISED if self._raised and math.isfinite(self.limit) else Drift.UNKNOWN
        turning = median < CLEARED * self.limit if self._raised else median > self.limit
        if not turning:
            self._turned_at = None
        elif self._turned_at is None:
            self._turned_at = now
        if self._turned_at is not None and now - self._turned_at >= self.config.patience_s:
            self._raised, self._turned_at = not self._raised, None
        return Drift.RAISED if self._raised else Drift.NONE

    def explain(self, now: float) -> str:
        """Return the alarm in words, with its numbers."""
        return (
            f'aligned depth error {1000 * self.median(now):.0f} mm, {1000 * self.level:.0f} mm at deployment (limit '
            f'{1000 * self.limit:.0f}): the room, the camera or the bedding changed. Record and adapt again.'
        )
