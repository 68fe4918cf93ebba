"""What is worth keeping: frames that differ from those that were kept, and those on which the estimate is wrong."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping

import cv2
import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from hwhup_core.recording.config import NoveltyConfig
from hwhup_core.types import BodyEstimate, Frame, State

SIZE = (48, 36)
"""Width and height at which frames are compared."""
GREY_STEP = 18.0
"""What a pixel must change by to count, grey values: more than a sensor's noise at this size."""
NEAR_STEP, FAR_STEP = 0.04, 0.018
"""
The same of depth: 0.04 m, and beyond 1.5 m 0.018 z^2, for the noise of a stereo camera grows with the square of the
distance (of a RealSense at this size 99 % change by less than 0.05 m at 1.75 m, 0.13 m at 2.5 m, 0.21 m at 3.5 m).
"""
LEAST_MEASURED = 0.5
"""Share of a small pixel that must have depth."""
WRONG_CHANGE = 1 / 3
"""Where the estimate is wrong, so much of the change that is asked for makes a frame new."""


class NoveltyFilter:
    """Remembers what was kept and says of a frame why it is not worth keeping."""

    def __init__(self, config: NoveltyConfig, postures: Mapping[str, int] | None = None) -> None:
        """`postures` says how many frames of each posture an earlier run has kept."""
        self.config = config
        self._kept: deque[Float[ndarray, 'n']] = deque(maxlen=config.remembered)
        self._postures: Counter[str] = Counter(postures)
        self._kept_at = -math.inf
        self._kept_joints: Float[ndarray, '24 3'] | None = None

    def refusal(self, frame: Frame, estimate: BodyEstimate | None, now: float) -> str:
        """
        Return why the frame is not kept (`too_soon`, `posture_quota`, `near_duplicate`); empty, and it is remembered.

        `now` is the frame's time, seconds of any clock that goes forward.
        """
        config = self.config
        if config.enabled:
            reason = self._reason(frame, estimate, now)
            if reason:
                return reason
            self._kept.append(_thumbnail(frame))
        self._kept_at = now
        self._kept_joints = None if estimate is None else estimate.joint_positions
        if estimate is not None:
            self._postures[estimate.posture.name] += 1
        return ''

    def _reason(self, frame: Frame, estimate: BodyEstimate | None, now: float) -> str:
        config, waited = self.config, now - self._kept_at
        if 0 <= waited < config.min_interval_s:  # Below 0 the clock began again, as when a bag loops.
            return 'too_soon'
        if config.max_interval_s and waited >= config.max_interval_s:
            return ''
        wrong = self._is_wrong(estimate)
        kept_so = 0 if estimate is None else self._postures[estimate.posture.name]
        if config.posture_quota and kept_so >= config.posture_quota and not wrong:
            return 'posture_quota'
        change = config.change * (WRONG_CHANGE if wrong else 1.0)
        return '' if self._moved(estimate) or self._looks_new(frame, change) else 'near_duplicate'

    def _is_wrong(self, estimate: BodyEstimate | None) -> bool:
        """Return whether there is something to learn: the estimate does not fit the depth."""
        limit = self.config.keep_error_above
        return estimate is not None and limit > 0 and estimate.aligned_depth_error > limit

    def _moved(self, estimate: BodyEstimate | None) -> bool:
        if estimate is None or estimate.state != State.ESTIMATED or self._kept_joints is None:
            return False
        if not self.config.joint_motion:
            return False
        moved = np.linalg.norm(estimate.joint_positions - self._kept_joints, axis=1)
        return bool(moved.max() > self.config.joint_motion)  # NaN, of an unknown body, is no motion.

    def _looks_new(self, frame: Frame, change: float) -> bool:
        """Return whether at least the share `change` of the picture differs from every one that is remembered."""
        seen = _thumbnail(frame)
        # Another set of modalities is another picture.
        alike = [kept for kept in self._kept if kept.shape == seen.shape]
        if not alike:
            return True
        differences = np.abs(np.stack(alike) - seen) > 1.0  # NaN, which was not measured, is no difference.
        return bool(differences.mean(axis=1).min() >= change)


def _thumbnail(frame: Frame) -> Float[ndarray, 'n']:
    """Return depth and grey at a small size, in steps that count as a change; NaN where little was measured."""
    parts = []
    if frame.depth is not None:
        parts.append(_depth_steps(_small_depth(frame.depth)))
    if frame.color is not None:
        parts.append(_small(cv2.cvtColor(frame.color, cv2.COLOR_RGB2GRAY)) / GREY_STEP)
    elif frame.infrared is not None:
        parts.append(_small(frame.infrared) * 255 / GREY_STEP)
    return np.concatenate([part.ravel() for part in parts]).astype(np.float32)


def _depth_steps(depth: Float[ndarray, 'a b']) -> Float[ndarray, 'a b']:
    """Return depth in steps that count as a change: the integral of 1 / step."""
    bend = math.sqrt(NEAR_STEP / FAR_STEP)
    far = bend / NEAR_STEP + (1 / bend - 1 / np.maximum(depth, bend)) / FAR_STEP
    return np.where(depth > bend, far, depth / NEAR_STEP)


def _small_depth(depth: Float[ndarray, 'h w']) -> Float[ndarray, 'a b']:
    """Return the mean of what was measured: holes flicker, and would count as motion."""
    measured = _small(depth > 0)
    return np.where(measured > LEAST_MEASURED, _small(depth) / np.maximum(measured, LEAST_MEASURED), np.nan)


def _small(picture: Shaped[ndarray, 'h w']) -> Float[ndarray, 'a b']:
    return np.asarray(cv2.resize(picture.astype(np.float32), SIZE, interpolation=cv2.INTER_AREA), np.float32)
