"""
Pairs the images of two streams by stamp, newest first, and accounts for every image exactly once. No ROS in here.

The primary stream gives the header of the answer; the secondary one is required or optional. A pair is handed out the
moment it is complete. What cannot be paired any more is dropped with a reason.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hwhup_core.errors import ConfigError

SECOND_NS = 1_000_000_000


@dataclass(frozen=True)
class SyncConfig:
    """How images are paired and which stamps are believed."""

    slop: float = field(default=0.02, metadata={'range': (0.0, 1.0)})
    """Largest difference between the stamps of colour and depth, seconds."""
    buffer: int = field(default=8, metadata={'range': (1, 100)})
    """How many images of a stream wait for their partner at most."""
    reset_after: float = field(default=1.0, metadata={'range': (0.0, 3600.0)})
    """A stamp that lies further back than this, seconds, means that the source started again (a bag that loops)."""
    max_future: float = field(default=1.0, metadata={'range': (0.0, 3600.0)})
    """A stamp further ahead of the clock than this, seconds, is refused; 0 believes all."""
    optional_timeout: float = field(default=0.5, metadata={'range': (0.0, 60.0)})
    """An optional stream silent for longer than this, seconds, is no longer waited for."""

    def __post_init__(self) -> None:
        if self.slop < 0 or self.buffer < 1 or self.reset_after < 0 or self.max_future < 0:
            raise ConfigError(f'Synchroniser settings must not be negative and buffer at least 1; found {self}.')


@dataclass(frozen=True)
class Streams:
    """Which streams there are."""

    primary: str
    """Gives stamp and frame of the answer."""
    secondary: str | None = None
    secondary_required: bool = True
    info_required: bool = True
    """Whether a pair waits for the first camera info."""

    @property
    def names(self) -> tuple[str, ...]:
        """Return the image streams in use."""
        return (self.primary,) if self.secondary is None else (self.primary, self.secondary)


@dataclass(frozen=True)
class Stamped:
    """An image that waits."""

    stamp_ns: int
    item: Any


@dataclass(frozen=True)
class Pair:
    """Images that belong together."""

    primary: Stamped
    secondary: Stamped | None
    info: Any
    """The newest camera info; None only where it is not required."""

    @property
    def skew(self) -> float:
        """Return how much later the secondary image is, seconds; NaN without one."""
        if self.secondary is None:
            return float('nan')
        return (self.secondary.stamp_ns - self.primary.stamp_ns) / SECOND_NS


class Synchronizer:
    """
    Pairs two image streams and adds the newest camera info.

    `drop(stream, reason)` is called once for every image that will never be handed out. Reasons: zero_stamp,
    future_stamp, duplicate_stamp, backward_stamp, unpaired, superseded, no_camera_info, reset.
    """

    def __init__(self, config: SyncConfig, streams: Streams, drop: Callable[[str, str], None]) -> None:
        self._config = config
        self._streams = streams
        self._drop = drop
        self.resets = 0
        """How often the stamps jumped back."""
        self._slop_ns = round(config.slop * SECOND_NS)
        self._waiting: dict[str, deque[Stamped]] = {name: deque() for name in streams.names}
        self._last: dict[str, int | None] = dict.fromkeys(streams.names)
        self._info: Any = None
        self._without_info: Pair | None = None

    @property
    def pending(self) -> dict[str, int]:
        """Return how many images of each stream wait."""
        counts = {name: len(queue) for name, queue in self._waiting.items()}
        if self._without_info is not None:
            for name, _ in self._members(self._without_info):
                counts[name] += 1
        return counts

    @property
    def newest_skew(self) -> float:
        """Return how much later the newest secondary image is than the newest primary one, seconds; NaN if unknown."""
        stamps = [self._last.get(name) for name in (self._streams.primary, self._streams.secondary or '')]
        if stamps[0] is None or stamps[1] is None:
            return float('nan')
        return (stamps[1] - stamps[0]) / SECOND_NS

    @property
    def info(self) -> Any:
        """Return the newest camera info, None before the first."""
        return self._info

    def add_info(self, info: Any) -> Pair | None:
        """Remember the camera info; return the pair that waited for the first one."""
        self._info = info
        waiting, self._without_info = self._without_info, None
        return None if waiting is None else Pair(waiting.primary, waiting.secondary, info)

    def add_image(self, stream: str, stamp_ns: int, item: Any, now_ns: int) -> Pair | None:
        """Take one image; return the newest pair that is complete now."""
        reason = self._refusal(stream, stamp_ns, now_ns)
        if reason is not None:
            self._drop(stream, reason)
            return None
        self._last[stream] = stamp_ns
        image = Stamped(stamp_ns, item)
        self._waiting[stream].append(image)
        pair = self._match(stream, image) or self._release_without_optional()
        self._trim()
        return None if pair is None else self._with_info(pair)

    def release(self) -> Pair | None:
        """Return the newest image that waits for an optional partner, without it."""
        queue = self._waiting[self._streams.primary]
        if self._streams.secondary_required or not queue:
            return None
        return self._with_info(self._take(queue[-1], None))

    def take_over(self, other: Synchronizer) -> None:
        """Go on where another one with the same two streams stops, in whichever roles: nothing that waits is lost."""
        self._info, self._last, self.resets = other._info, dict(other._last), other.resets
        pair, other._without_info = other._without_info, None
        self._waiting = {name: deque(queue) for name, queue in other._waiting.items()}
        for name, image in () if pair is None else other._members(pair):
            self._waiting[name].appendleft(image)
        for queue in other._waiting.values():
            queue.clear()

    def clear(self, reason: str) -> None:
        """Drop all that waits and forget the last stamps; the camera info is kept."""
        for name, queue in self._waiting.items():
            for _ in range(len(queue)):
                self._drop(name, reason)
            queue.clear()
        if self._without_info is not None:
            self._drop_pair(self._without_info, reason)
            self._without_info = None
        self._last = dict.fromkeys(self._last)

    def _refusal(self, stream: str, stamp_ns: int, now_ns: int) -> str | None:
        last = self._last[stream]
        if stamp_ns <= 0:
            return 'zero_stamp'
        if self._config.max_future and stamp_ns > now_ns + self._config.max_future * SECOND_NS:
            return 'future_stamp'
        if last is None or stamp_ns > last:
            return None
        if last - stamp_ns > self._config.reset_after * SECOND_NS:
            self.resets += 1
            self.clear('reset')
            return None
        return 'duplicate_stamp' if stamp_ns == last else 'backward_stamp'

    def _match(self, stream: str, image: Stamped) -> Pair | None:
        """Return the pair of `image` and the nearest image of the other stream within the slop."""
        if self._streams.secondary is None:
            return self._take(image, None)
        other = self._streams.secondary if stream == self._streams.primary else self._streams.primary
        if not self._waiting[other]:
            return None
        best = min(self._waiting[other], key=lambda candidate: abs(candidate.stamp_ns - image.stamp_ns))
        if abs(best.stamp_ns - image.stamp_ns) > self._slop_ns:
            return None
        return self._take(image, best) if stream == self._streams.primary else self._take(best, image)

    def _release_without_optional(self) -> Pair | None:
        """
        Return the newest primary image whose optional partner will not come.

        It will not come when a later image of either stream is there already, or when its stream went silent.
        """
        secondary, queue = self._streams.secondary, self._waiting[self._streams.primary]
        if secondary is None or self._streams.secondary_required or not queue:
            return None
        heard = self._last[secondary]
        alive = heard is not None and queue[-1].stamp_ns - heard <= self._config.optional_timeout * SECOND_NS
        if not alive or heard > queue[-1].stamp_ns + self._slop_ns:
            return self._take(queue[-1], None)
        return self._take(queue[-2], None) if len(queue) > 1 else None

    def _take(self, primary: Stamped, secondary: Stamped | None) -> Pair:
        """Remove the images and the older ones, which were passed over, from the buffers; return them as a pair."""
        pair = Pair(primary, secondary, self._info)
        for name, image in self._members(pair):
            queue = self._waiting[name]
            while queue[0] is not image:
                queue.popleft()
                self._drop(name, 'unpaired' if self._streams.secondary_required else 'superseded')
            queue.popleft()
        return pair

    def _trim(self) -> None:
        """
        Drop the oldest images of a buffer that is too long.

        Only the length decides: how far one stream runs behind the other is not known.
        """
        for name, queue in self._waiting.items():
            while len(queue) > self._config.buffer:
                queue.popleft()
                self._drop(name, 'unpaired')

    def _with_info(self, pair: Pair) -> Pair | None:
        if pair.info is not None or not self._streams.info_required:
            return pair
        if self._without_info is not None:
            self._drop_pair(self._without_info, 'no_camera_info')
        self._without_info = pair
        return None

    def _members(self, pair: Pair) -> list[tuple[str, Stamped]]:
        members = [(self._streams.primary, pair.primary)]
        if pair.secondary is not None and self._streams.secondary is not None:
            members.append((self._streams.secondary, pair.secondary))
        return members

    def _drop_pair(self, pair: Pair, reason: str) -> None:
        for name, _ in self._members(pair):
            self._drop(name, reason)
