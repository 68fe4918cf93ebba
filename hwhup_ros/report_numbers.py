"""The numbers of a run, from plain records to the JSON of the report. No ROS in here."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hwhup_core.types import State

MOST_RECORDS = 50_000
"""Records kept of a run without an end; older ones are forgotten (nearly one hour at 15 Hz)."""
MOST_WAITING = 5_000
WARM_UP_S = 3.0
WARM_UP_SHARE = 0.2
"""Rate, latency and memory are measured after the first seconds of a run, or after this share of a short one."""
BLOCK_S = 5.0
"""Frames of one such piece of a run count as one sample: an infant moves slowly."""
BOOTSTRAP_ROUNDS = 1000
UNKNOWN = float('nan')


@dataclass(frozen=True)
class PoseRecord:
    """What the report keeps of one answered frame."""

    received_s: float
    """Monotonic clock at the receiver."""
    latency_s: float
    """From the stamp of the image to the publishing of the pose."""
    state: State
    aligned_depth_error_m: float
    """NaN without depth."""
    joint_error_m: float
    """Mean distance of the 24 joints to the truth after the pelvises were put together; NaN without truth."""
    weights_hash: str = ''
    """Of the weights that answered."""


@dataclass(frozen=True)
class Baseline:
    """What the network's mean pose, placed at the same box, gets on some of the frames."""

    aligned_depth_errors_m: tuple[float, ...] = ()
    joint_errors_m: tuple[float, ...] = ()


@dataclass(frozen=True)
class Identity:
    """Which body and which weights made the poses."""

    body_id: str = ''
    body_hash: str = ''
    weights_hash: str = ''


@dataclass
class Records:
    """All that was seen of a run; grows while it lasts, within bounds."""

    poses: deque[PoseRecord] = field(default_factory=lambda: deque(maxlen=MOST_RECORDS))
    memory: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=MOST_RECORDS))
    """(monotonic seconds, resident MB)."""
    states: Counter[str] = field(default_factory=Counter)
    poses_published: int = 0
    """Messages on `smpl_poses` that hold poses of their frame: neither empty nor stale."""
    frames_seen: int = 0
    answered: int = 0
    """Frames whose stamp came back on `smpl_poses` with poses."""
    refused: int = 0
    """Frames whose stamp came back without poses: the pose node could not use them and counts them as dropped."""
    markers_published: int = 0
    mesh_faces_per_marker: int = 0
    identity: Identity = field(default_factory=Identity)
    waiting: dict[int, None] = field(default_factory=dict)
    """Stamps of frames that nobody answered or refused yet, oldest first."""

    def add_frame(self, stamp_ns: int) -> None:
        """Count a frame of the camera."""
        self.frames_seen += 1
        self.waiting[stamp_ns] = None
        if len(self.waiting) > MOST_WAITING:
            del self.waiting[next(iter(self.waiting))]

    def add_answer(self, stamp_ns: int) -> None:
        """Count the answer to a frame, once."""
        self.poses_published += 1
        if stamp_ns in self.waiting:
            del self.waiting[stamp_ns]
            self.answered += 1

    def add_refusal(self, stamp_ns: int) -> None:
        """Count the empty message of a frame that could not be used."""
        self.refused += 1
        self.waiting.pop(stamp_ns, None)


@dataclass(frozen=True)
class Run:
    """What is known about a run besides its records."""

    command: str = ''
    seconds: float = UNKNOWN
    frames_published: int | None = None
    """By the camera's own count; None for a camera that does not count."""
    frames_received: int | None = None
    """By the pose node's own count."""
    dropped: dict[str, int] = field(default_factory=dict)
    """By the pose node's own count, images by reason."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Unusable frames of a recording, by reason."""


def root_aligned_error(joints: np.ndarray, truth: np.ndarray) -> float:
    """Return the mean joint distance (m) of two (24, 3) skeletons whose pelvises are put together."""
    difference = (joints - joints[:1]) - (truth - truth[:1])
    return float(np.linalg.norm(difference, axis=1).mean())


def summarise(records: Records, run: Run, baseline: Baseline) -> dict[str, Any]:
    """Return the report. Unknown numbers are None, so that it is valid JSON."""
    begin = warm_up_end([pose.received_s for pose in records.poses])
    steady = [pose for pose in records.poses if pose.received_s >= begin]
    memory = [megabytes for moment, megabytes in records.memory if moment >= begin]
    return {
        'poses_published': records.poses_published,
        'frames_published': records.frames_seen if run.frames_published is None else run.frames_published,
        'frames_received': run.frames_received,
        'answered': records.answered,
        'refused': records.refused,
        'unanswered': len(records.waiting),
        'dropped': dict(run.dropped),
        'skipped': dict(run.skipped),
        'states': dict(records.states),
        'rate_hz': rate([pose.received_s for pose in steady]),
        'latency_ms': spread([1e3 * pose.latency_s for pose in steady]),
        'markers_published': records.markers_published,
        'mesh_faces_per_marker': records.mesh_faces_per_marker,
        'aligned_depth_error_mm': mean(1e3 * pose.aligned_depth_error_m for pose in records.poses),
        'mean_pose_aligned_depth_error_mm': mean(1e3 * error for error in baseline.aligned_depth_errors_m),
        'joint_error_mm': mean(1e3 * pose.joint_error_m for pose in records.poses),
        'joint_error_interval_mm': block_interval(
            [pose.received_s for pose in records.poses], [1e3 * pose.joint_error_m for pose in records.poses]
        ),
        'mean_pose_joint_error_mm': mean(1e3 * error for error in baseline.joint_errors_m),
        'mean_pose_frames': max(len(baseline.aligned_depth_errors_m), len(baseline.joint_errors_m)),
        'rss_mb': {
            'start': rounded(memory[0]) if memory else None,
            'end': rounded(memory[-1]) if memory else None,
            'max': rounded(max(memory)) if memory else None,
        },
        'body': {'id': records.identity.body_id, 'hash': records.identity.body_hash},
        'weights_hash': records.identity.weights_hash,
        'seconds': rounded(run.seconds),
        'command': run.command,
        'notes': [
            f'rate, latency and memory leave out the warm-up: {WARM_UP_S:.0f} s after the first pose, or '
            f'{WARM_UP_SHARE:.0%} of a shorter run',
            'latency is from the stamp of the image to the publishing of its pose',
            'refused frames could not be used; they are among the dropped ones, by their reason',
            'joint errors are over 24 joints after the pelvises were put together',
            f'their 95 % interval is a bootstrap over pieces of {BLOCK_S:.0f} s: frames in a row resemble each other',
            'the mean pose is that of the network, placed at the same box, on mean_pose_frames of the frames',
        ],
    }


def warm_up_end(moments: list[float]) -> float:
    """Return the moment after which a run counts as steady."""
    if not moments:
        return -math.inf
    return moments[0] + min(WARM_UP_S, WARM_UP_SHARE * (moments[-1] - moments[0]))


def rate(moments: list[float]) -> float | None:
    """Return events a second between the first and the last one."""
    if len(moments) < 2 or moments[-1] <= moments[0]:
        return None
    return rounded((len(moments) - 1) / (moments[-1] - moments[0]))


def mean(numbers: Iterable[float]) -> float | None:
    """Return the mean of the known numbers."""
    known = _known(numbers)
    return rounded(float(known.mean())) if known.size else None


def block_interval(moments: list[float], numbers: list[float]) -> dict[str, float | None]:
    """Return low and high of the 95 % bootstrap interval of the mean over pieces of a run; None for a short one."""
    times, values = np.array(moments, dtype=float), np.array(numbers, dtype=float)
    known = np.isfinite(values)
    if not known.any():
        return {'low': None, 'high': None}
    times, values = times[known], values[known]
    piece = np.floor((times - times[0]) / BLOCK_S).astype(int)
    sums, counts = np.bincount(piece, values), np.bincount(piece)
    sums, counts = sums[counts > 0], counts[counts > 0]
    if len(counts) < 2:
        return {'low': None, 'high': None}
    drawn = np.random.default_rng(0).integers(0, len(counts), (BOOTSTRAP_ROUNDS, len(counts)))
    low, high = np.percentile(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1), [2.5, 97.5])
    return {'low': rounded(float(low)), 'high': rounded(float(high))}


def spread(numbers: Iterable[float]) -> dict[str, float | None]:
    """Return p50, p95 and maximum of the known numbers."""
    known = _known(numbers)
    if not known.size:
        return {'p50': None, 'p95': None, 'max': None}
    p50, p95 = np.percentile(known, [50, 95])
    return {'p50': rounded(float(p50)), 'p95': rounded(float(p95)), 'max': rounded(float(known.max()))}


def rounded(number: float) -> float | None:
    """Return the number with two decimals; None for NaN and infinity, which JSON does not know."""
    return round(number, 2) if math.isfinite(number) else None


def _known(numbers: Iterable[float]) -> np.ndarray:
    values = np.array(list(numbers), dtype=float)
    return values[np.isfinite(values)]
