"""
One run of a recorder: frames are judged at once, encoded side by side, and written in the order in which they came.

Every frame is accounted for exactly once: offered = written + skipped + rejected + dropped + in work. What limits the
recording (disk, quota) ends it cleanly: the frames in work are written where they still fit, and nothing else changes.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np

from hwhup_core.data.recording_card import RecordingCard
from hwhup_core.data.recording_units import EncodedUnit, encode_unit
from hwhup_core.data.recording_writer import RecordingFull, RecordingWriter
from hwhup_core.errors import FrameError, HwhupError
from hwhup_core.recording.config import RecorderConfig
from hwhup_core.recording.gates import quality_of, refusal
from hwhup_core.recording.novelty import NoveltyFilter
from hwhup_core.recording.privacy import protected
from hwhup_core.types import BodyEstimate, Frame

RATE_WINDOW_S = 10.0
MEGABYTE = 1e6
_log = logging.getLogger(__name__)


class Outcome(Enum):
    """What became of a frame."""

    WRITTEN = 'written'
    SKIPPED = 'skipped'
    """Not worth keeping."""
    REJECTED = 'rejected'
    """Failed a gate."""
    DROPPED = 'dropped'
    """Lost: the writers were too slow, or writing failed."""


@dataclass(frozen=True)
class SessionStatus:
    """What a session did so far."""

    offered: int
    outcomes: Mapping[Outcome, int]
    reasons: Mapping[str, int]
    """Codes of frames that were skipped, rejected or dropped."""
    total: int
    """Frames in the recording, earlier runs included."""
    bytes_written: int
    """By this session."""
    write_rate: float
    """Bytes a second over the last seconds."""
    disk_free: int
    """Bytes."""
    seconds_left: float
    """Until quota or disk limit at this rate; NaN where nothing limits, or nothing is written."""
    full: str
    """Why nothing more is recorded; empty while it goes on."""
    paused: bool


class RecordingSession:
    """Takes frames from one thread; close it, or use it in a `with`."""

    def __init__(self, folder: Path, card: RecordingCard, config: RecorderConfig, resume: bool = False) -> None:
        """Open the recording; raises ConfigError where it cannot be begun or continued."""
        storage = config.storage
        self.config = config
        self.card = replace(card, privacy=config.privacy, color='none' if config.privacy == 'no_color' else card.color)
        limit = int(storage.least_free_mb * MEGABYTE)
        self._writer = RecordingWriter(folder, self.card, resume, limit, storage.sync_every)
        self.folder = Path(folder)
        self._before, self._size_before = self._writer.count, self._writer.size
        self._novelty = NoveltyFilter(config.novelty)
        self._mutex = threading.Lock()
        self._outcomes: Counter[Outcome] = Counter()
        self._reasons: Counter[str] = Counter()
        self._offered = self._bytes = self._waiting = 0
        self._recent: deque[tuple[float, int]] = deque()
        self._full = ''
        self._paused = False
        self._closed = False
        self._encoders = ThreadPoolExecutor(storage.writers, thread_name_prefix='encoder')
        self._queue: SimpleQueue[tuple[Future[EncodedUnit], dict[str, Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name='recorder', daemon=True)
        self._thread.start()

    @property
    def paused(self) -> bool:
        """Return whether frames are turned away unseen."""
        return self._paused

    def pause(self, paused: bool) -> None:
        """Turn frames away, or take them again."""
        self._paused = paused

    def offer(self, frame: Frame, skew_s: float = float('nan'), estimate: BodyEstimate | None = None) -> str:
        """
        Judge a frame, and hand it over to be written; returns why it is not, or an empty text.

        `estimate` is what the running weights say of this very frame.
        """
        with self._mutex:
            self._offered += 1
        if self._paused or self._full:
            return self._count(Outcome.SKIPPED, 'paused' if self._paused else 'full')
        quality = quality_of(frame, skew_s, None if estimate is None else estimate.box)
        reason = refusal(quality, self.config.gates)
        if reason:
            return self._count(Outcome.REJECTED, reason)
        with self._mutex:
            crowded = self._waiting >= self.config.storage.queue
        if crowded:
            return self._count(Outcome.DROPPED, 'writers_too_slow')
        reason = self._novelty.refusal(frame, estimate, frame.stamp_ns / 1e9)
        if reason:
            return self._count(Outcome.SKIPPED, reason)
        self._hand_over(frame, estimate, {'quality': asdict(quality)})
        return ''

    def _hand_over(self, frame: Frame, estimate: BodyEstimate | None, metadata: dict[str, Any]) -> None:
        if estimate is not None:
            metadata['estimate'] = described(estimate)
        with self._mutex:
            self._waiting += 1
        self._queue.put((self._encoders.submit(self._encoded, frame, estimate), metadata))

    def _encoded(self, frame: Frame, estimate: BodyEstimate | None) -> EncodedUnit:
        return encode_unit(protected(frame, estimate, self.config.privacy), self.card)

    def _count(self, outcome: Outcome, reason: str) -> str:
        with self._mutex:
            self._outcomes[outcome] += 1
            self._reasons[reason] += 1
        if outcome is Outcome.REJECTED:
            self._writer.reject(reason)
        return reason

    def _write_all(self) -> None:
        """Write one frame after the other until None comes."""
        while (item := self._queue.get()) is not None:
            try:
                self._write(*item)
            except RecordingFull as error:
                self._stop(str(error), 'disk_full')
            except FrameError as error:
                self._count(Outcome.REJECTED, error.reason)
            except Exception as error:  # One frame must not end the recording, whatever is wrong with it.
                self._count(Outcome.DROPPED, 'write_failed')
                _log.error('A frame was not recorded: %s', error, exc_info=not isinstance(error, HwhupError))
            finally:
                with self._mutex:
                    self._waiting -= 1

    def _write(self, coming: Future[EncodedUnit], metadata: dict[str, Any]) -> None:
        unit = coming.result()
        reason = self._over_quota(unit.size())
        if reason:
            self._stop(reason, 'quota')
            return
        self._writer.append(unit, metadata)
        now = time.monotonic()
        with self._mutex:
            self._outcomes[Outcome.WRITTEN] += 1
            self._bytes += unit.size()
            self._recent.append((now, unit.size()))
            while self._recent[0][0] < now - RATE_WINDOW_S:
                self._recent.popleft()

    def _over_quota(self, size: int) -> str:
        storage = self.config.storage
        total = self._before + self._outcomes[Outcome.WRITTEN]
        if storage.quota_frames and total >= storage.quota_frames:
            return f'The quota of {storage.quota_frames} frames is reached.'
        if storage.quota_mb and self._size_before + self._bytes + size > storage.quota_mb * MEGABYTE:
            return f'The quota of {storage.quota_mb:g} MB is reached.'
        return ''

    def _stop(self, why: str, reason: str) -> None:
        """Take no more frames; the one that did not fit counts as skipped."""
        if not self._full:
            _log.warning('%s', why)
        self._full = why
        self._count(Outcome.SKIPPED, reason)

    def status(self) -> SessionStatus:
        """Return what was done so far."""
        free = shutil.disk_usage(self.folder).free
        with self._mutex:
            span = time.monotonic() - self._recent[0][0] if self._recent else 0.0
            rate = sum(size for _, size in self._recent) / span if span > 1.0 else 0.0
            written = self._outcomes[Outcome.WRITTEN]
            return SessionStatus(
                offered=self._offered,
                outcomes={outcome: self._outcomes[outcome] for outcome in Outcome},
                reasons=dict(self._reasons),
                total=self._before + written,
                bytes_written=self._bytes,
                write_rate=rate,
                disk_free=free,
                seconds_left=self._seconds_left(rate, free),
                full=self._full,
                paused=self._paused,
            )

    def _seconds_left(self, rate: float, free: int) -> float:
        storage = self.config.storage
        if rate <= 0:
            return float('nan')
        room = free - storage.least_free_mb * MEGABYTE
        if storage.quota_mb:
            room = min(room, storage.quota_mb * MEGABYTE - self._size_before - self._bytes)
        return max(room, 0.0) / rate

    def close(self) -> None:
        """Write what is in work and close the recording; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._encoders.shutdown()
        self._writer.close()

    def __enter__(self) -> RecordingSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def described(estimate: BodyEstimate) -> dict[str, Any]:
    """Return what the index keeps of an estimate."""
    return {
        'state': estimate.state.name,
        'confidence': estimate.confidence,
        'posture': estimate.posture.name,
        'aligned_depth_error': estimate.aligned_depth_error,
        'weights_hash': estimate.weights_hash,
        'box': [estimate.box.center_x, estimate.box.center_y, estimate.box.side, estimate.box.turn],
        'joint_pixels': np.round(estimate.joint_pixels, 2),
        'joint_positions': np.round(estimate.joint_positions, 4),
        'pose': np.round(estimate.pose, 5),
        'betas': np.round(estimate.betas, 4),
    }
