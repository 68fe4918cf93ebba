"""Counters that add up, rolling latencies, and plain words for silence and errors. No node in here."""

from __future__ import annotations

import threading
import traceback
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from hwhup_core.errors import HwhupError

ERROR_EXAMPLES = 200
"""Longest error text in a diagnostic value, characters."""


@dataclass(frozen=True)
class Counts:
    """What became of the images so far, by stream; received = answered + all dropped + pending, for every stream."""

    received: dict[str, int]
    answered: dict[str, int]
    """Images whose answer was published."""
    dropped: dict[str, dict[str, int]]
    """By stream, then by reason."""
    lost: dict[str, int]
    """Images that the middleware lost on the way; they were never received."""

    @property
    def pending(self) -> dict[str, int]:
        """Return the images that still wait or are in work."""
        return {
            stream: count - self.answered.get(stream, 0) - sum(self.dropped.get(stream, {}).values())
            for stream, count in self.received.items()
        }


class Ledger:
    """Counts images from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received: Counter[str] = Counter()
        self._answered: Counter[str] = Counter()
        self._dropped: Counter[tuple[str, str]] = Counter()
        self._lost: Counter[str] = Counter()

    def received(self, stream: str) -> None:
        """Count an image that came in."""
        with self._lock:
            self._received[stream] += 1

    def answered(self, stream: str) -> None:
        """Count an image whose answer was published."""
        with self._lock:
            self._answered[stream] += 1

    def dropped(self, stream: str, reason: str) -> None:
        """Count an image that will have no answer."""
        with self._lock:
            self._dropped[stream, reason] += 1

    def lost(self, stream: str, count: int) -> None:
        """Count images that the middleware reports as lost."""
        with self._lock:
            self._lost[stream] += count

    def counts(self) -> Counts:
        """Return a copy of all counts, taken in one moment."""
        with self._lock:
            by_stream: dict[str, dict[str, int]] = {}
            for (stream, reason), count in self._dropped.items():
                by_stream.setdefault(stream, {})[reason] = count
            return Counts(dict(self._received), dict(self._answered), by_stream, dict(self._lost))


class Meter:
    """The last values of a quantity, with the times they came, for rate and percentiles. Safe between threads."""

    def __init__(self, length: int = 300) -> None:
        self._lock = threading.Lock()
        self._values: deque[tuple[float, float]] = deque(maxlen=length)

    def add(self, value: float, now: float) -> None:
        """Add a value that came at `now`, seconds of a steady clock."""
        with self._lock:
            self._values.append((now, value))

    def rate(self, now: float, window: float = 5.0) -> float:
        """Return how many values a second came in the last `window` seconds; 0 for fewer than two."""
        with self._lock:
            times = [time for time, _ in self._values if time >= now - window]
        span = now - times[0] if times else 0.0
        return len(times) / span if len(times) > 1 and span > 0 else 0.0

    def percentile(self, percent: float) -> float:
        """Return a percentile of the values, without the NaNs; NaN if there are none."""
        with self._lock:
            values = np.array([value for _, value in self._values])
        values = values[~np.isnan(values)]
        return float(np.percentile(values, percent)) if len(values) else float('nan')

    def last(self) -> float:
        """Return the newest value, NaN if there is none."""
        with self._lock:
            return self._values[-1][1] if self._values else float('nan')


@dataclass(frozen=True)
class Health:
    """One node's state in one moment, for /diagnostics."""

    name: str
    level: bytes
    """One of DiagnosticStatus.OK, WARN, ERROR, STALE."""
    message: str
    values: Mapping[str, object]


def to_diagnostics(health: Health, hardware_id: str, header: Header) -> DiagnosticArray:
    """Return the message of one node's health."""
    status = DiagnosticStatus(
        level=health.level,
        name=health.name,
        message=health.message,
        hardware_id=hardware_id,
        values=[KeyValue(key=key, value=written(value)) for key, value in health.values.items()],
    )
    return DiagnosticArray(header=header, status=[status])


def written(value: object) -> str:
    """Return a value as text, numbers with four digits."""
    return f'{value:.4g}' if isinstance(value, float) else str(value)[:ERROR_EXAMPLES]


def count_values(counts: Counts) -> dict[str, object]:
    """Return the counts as flat key and value, such as `depth dropped unpaired`."""
    values: dict[str, object] = {}
    for stream, received in sorted(counts.received.items()):
        values[f'{stream} received'] = received
        values[f'{stream} answered'] = counts.answered.get(stream, 0)
        for reason, count in sorted(counts.dropped.get(stream, {}).items()):
            values[f'{stream} dropped {reason}'] = count
    for stream, count in sorted(counts.lost.items()):
        values[f'{stream} lost on the way'] = count
    return values


@dataclass(frozen=True)
class Publisher:
    """What the graph tells about one publisher of a topic."""

    node: str
    topic_type: str
    reliable: bool


def explained(error: Exception) -> str:
    """Return the message of an error of ours, which says it all, or the traceback of any other one."""
    return str(error) if isinstance(error, HwhupError) else ''.join(traceback.format_exception(error))


def explain_silence(topic: str, topic_type: str, reliable: bool, publishers: list[Publisher]) -> str:
    """
    Return in plain words why nothing comes on `topic`, and what to do.

    `topic_type` and `reliable` are what we ask for.
    """
    if not publishers:
        return f'nobody publishes {topic} ({topic_type}). Start the camera, or remap the topic.'
    nodes = ', '.join(sorted({publisher.node for publisher in publishers}))
    other_types = sorted({publisher.topic_type for publisher in publishers} - {topic_type})
    if other_types and not any(publisher.topic_type == topic_type for publisher in publishers):
        return (
            f'{topic} is published by {nodes} as {", ".join(other_types)}, expected {topic_type}. '
            'Set image_transport, or remap the topic.'
        )
    if reliable and not any(publisher.reliable for publisher in publishers):
        return (
            f'{topic} is published by {nodes} with incompatible QoS: it offers BEST_EFFORT reliability, RELIABLE was '
            'asked for. Set image_reliability to best_effort.'
        )
    return f'{topic} is published by {nodes} with compatible QoS, but no message comes. Is the camera streaming?'
