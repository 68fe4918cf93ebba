"""
One run of a recorder: frames are judged at once, encoded side by side, and written in the order in which they came.

Every frame is accounted for exactly once, see `Tally`. What limits the recording (disk, quota) ends it cleanly: the
frames in work are written where they still fit, and nothing else changes.
"""

from __future__ import annotations

import logging
import math
import shutil
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from types import MappingProxyType
from typing import Any

import numpy as np

from hwhup_core.data.recording import open_recording
from hwhup_core.data.recording_card import RecordingCard
from hwhup_core.data.recording_units import EncodedUnit, encode_unit
from hwhup_core.data.recording_writer import RecordingFull, RecordingWriter
from hwhup_core.errors import FrameError, HwhupError
from hwhup_core.recording.config import RecorderConfig
from hwhup_core.recording.gates import quality_of, refusal
from hwhup_core.recording.novelty import NoveltyFilter
from hwhup_core.recording.privacy import protected
from hwhup_core.recording.tally import Counts, Outcome, Tally
from hwhup_core.types import BodyEstimate, Frame

RATE_WINDOW_S = 10.0
MEGABYTE = 1e6
NOTHING_STORED: Mapping[str, bytes] = MappingProxyType({})
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SessionStatus:
    """What a session did so far."""

    counts: Counts
    total: int
    """Frames in the recording, earlier runs included."""
    bytes_written: int
    """By this session."""
    write_rate: float
    """Bytes a second over the last seconds."""
    disk_free: int
    """Bytes."""
    seconds_left: float
    """Until quota or disk limit at this rate; NaN where nothing is written."""
    full: str
    """Why nothing more is recorded; empty while it goes on."""
    last_error: str
    """Of the last frame that could not be written; empty if there is none."""


class RecordingSession:
    """Takes frames from one thread; close it, or use it in a `with`."""

    def __init__(
        self,
        folder: Path,
        card: RecordingCard,
        config: RecorderConfig,
        resume: bool = False,
        tally: Tally | None = None,
    ) -> None:
        """Open the recording; raises ConfigError where it cannot be begun or continued."""
        storage = config.storage
        self.config = config
        self.card = replace(card, privacy=config.privacy, color='none' if config.privacy == 'no_color' else card.color)
        self.folder = Path(folder)
        self.tally = tally or Tally()
        limit = int(storage.least_free_mb * MEGABYTE)
        self._writer = RecordingWriter(folder, self.card, resume, limit, storage.sync_every)
        self._novelty = NoveltyFilter(config.novelty, kept_postures(self.folder))
        self._mutex = threading.Condition()
        self._size_before = self._writer.size
        self._waiting = 0
        self._recent: deque[tuple[float, int]] = deque()
        self._full = self._last_error = ''
        self._closed = False
        self._encoders = ThreadPoolExecutor(storage.writers, thread_name_prefix='encoder')
        self._queue: SimpleQueue[tuple[Future[EncodedUnit], dict[str, Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._write_all, name='recorder', daemon=True)
        self._thread.start()

    @property
    def full(self) -> str:
        """Return why nothing more is recorded; empty while it goes on."""
        return self._full

    def wait_for_room(self) -> None:
        """Wait until a writer can take a frame: for a source that can be held up, so that none is dropped."""
        with self._mutex:
            self._mutex.wait_for(lambda: self._waiting < self.config.storage.queue)

    def offer(
        self,
        frame: Frame,
        skew_s: float = math.nan,
        estimates: Sequence[BodyEstimate] = (),
        stored: Mapping[str, bytes] = NOTHING_STORED,
    ) -> str:
        """
        Count a frame, judge it, and hand it over to be written; returns why it is not, or an empty text.

        `estimates` is what the running weights say of this very frame: the first one is the person who is recorded.
        `stored` holds pictures of the frame, by modality, that are encoded already as the card says: they are written
        as they are where privacy leaves the picture as it is.
        """
        self.tally.arrive()
        return self.judge(frame, skew_s, estimates, stored)

    def judge(
        self,
        frame: Frame,
        skew_s: float = math.nan,
        estimates: Sequence[BodyEstimate] = (),
        stored: Mapping[str, bytes] = NOTHING_STORED,
    ) -> str:
        """Do what `offer` does with a frame that the tally has counted before."""
        if self._full:
            return self._refuse(Outcome.SKIPPED, 'full')
        if frame.frame_id != self.card.frame_id or frame.intrinsics != self.card.intrinsics:
            return self._refuse(Outcome.REJECTED, 'camera_changed')
        person = estimates[0] if estimates else None
        quality = quality_of(frame, skew_s, None if person is None else person.box)
        reason = refusal(quality, self.config.gates)
        if reason:
            return self._refuse(Outcome.REJECTED, reason)
        with self._mutex:
            crowded = self._waiting >= self.config.storage.queue
        if crowded:
            return self._refuse(Outcome.DROPPED, 'writers_too_slow')
        reason = self._novelty.refusal(frame, person, frame.stamp_ns / 1e9)
        if reason:
            return self._refuse(Outcome.SKIPPED, reason)
        self._hand_over(frame, tuple(estimates), stored, {'quality': asdict(quality)})
        return ''

    def _hand_over(
        self,
        frame: Frame,
        estimates: tuple[BodyEstimate, ...],
        stored: Mapping[str, bytes],
        metadata: dict[str, Any],
    ) -> None:
        if estimates:
            metadata['estimate'] = described(estimates[0])
        with self._mutex:
            self._waiting += 1
        self._queue.put((self._encoders.submit(self._encoded, frame, estimates, stored), metadata))

    def _encoded(self, frame: Frame, estimates: tuple[BodyEstimate, ...], stored: Mapping[str, bytes]) -> EncodedUnit:
        shown = protected(frame, estimates, self.config.privacy)
        same = {name: each for name, each in stored.items() if getattr(shown, name) is getattr(frame, name)}
        return encode_unit(shown, self.card, same)

    def _refuse(self, outcome: Outcome, reason: str) -> str:
        self.tally.settle(outcome, reason)
        return reason

    def _write_all(self) -> None:
        """Write one frame after the other until None comes."""
        while (item := self._queue.get()) is not None:
            try:
                self._write(*item)
            except RecordingFull as error:
                self._stop(str(error), 'disk_full')
            except FrameError as error:
                self._last_error = str(error)
                self._refuse(Outcome.REJECTED, error.reason)
            except Exception as error:  # One frame must not end the recording, whatever is wrong with it.
                self._last_error = str(error)
                self._refuse(Outcome.DROPPED, 'write_failed')
                _log.error('A frame was not recorded: %s', error, exc_info=not isinstance(error, HwhupError))
            finally:
                with self._mutex:
                    self._waiting -= 1
                    self._mutex.notify_all()

    def _write(self, coming: Future[EncodedUnit], metadata: dict[str, Any]) -> None:
        unit = coming.result()
        reason = self._over_quota(unit.size())
        if reason:
            self._stop(reason, 'quota')
            return
        self._writer.append(unit, metadata)
        self.tally.settle(Outcome.WRITTEN)
        with self._mutex:
            self._recent.append((time.monotonic(), unit.size()))
            self._forget_old()

    def _over_quota(self, size: int) -> str:
        storage = self.config.storage
        if storage.quota_frames and self._writer.count >= storage.quota_frames:
            return f'The quota of {storage.quota_frames} frames is reached.'
        if storage.quota_mb and self._writer.size + size > storage.quota_mb * MEGABYTE:
            return f'The quota of {storage.quota_mb:g} MB is reached.'
        return ''

    def _stop(self, why: str, reason: str) -> None:
        """Take no more frames; the one that did not fit counts as skipped."""
        if not self._full:
            _log.warning('%s', why)
        self._full = why
        self._refuse(Outcome.SKIPPED, reason)

    def status(self) -> SessionStatus:
        """Return what was done so far."""
        free = disk_free(self.folder)
        with self._mutex:
            self._forget_old()
            span = time.monotonic() - self._recent[0][0] if self._recent else 0.0
            frames, size = len(self._recent), sum(size for _, size in self._recent)
        known = span > 1.0
        return SessionStatus(
            counts=self.tally.counts(),
            total=self._writer.count,
            bytes_written=self._writer.size - self._size_before,
            write_rate=size / span if known else 0.0,
            disk_free=free,
            seconds_left=self._seconds_left(size / span, frames / span, free) if known else math.nan,
            full=self._full,
            last_error=self._last_error,
        )

    def _forget_old(self) -> None:
        while self._recent and self._recent[0][0] < time.monotonic() - RATE_WINDOW_S:
            self._recent.popleft()

    def _seconds_left(self, byte_rate: float, frame_rate: float, free: int) -> float:
        storage = self.config.storage
        limits = [(free - storage.least_free_mb * MEGABYTE) / byte_rate]
        if storage.quota_mb:
            limits.append((storage.quota_mb * MEGABYTE - self._writer.size) / byte_rate)
        if storage.quota_frames:
            limits.append((storage.quota_frames - self._writer.count) / frame_rate)
        return max(min(limits), 0.0)

    def close(self) -> None:
        """Write what is in work and close the recording; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._encoders.shutdown()
        for reason, count in self.tally.counts().reasons.items():
            self._writer.reject(reason, count)
        self._writer.close()

    def __enter__(self) -> RecordingSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def kept_postures(folder: Path) -> Counter[str]:
    """Return how many frames of each posture a recording has."""
    estimates = (frame.metadata.get('estimate') for frame in open_recording(folder).frames)
    return Counter(str(estimate['posture']) for estimate in estimates if estimate)


def disk_free(folder: Path) -> int:
    """Return the bytes that are left on the disk of a folder; 0 where it cannot be asked."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return 0


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
