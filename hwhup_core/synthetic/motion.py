"""Slow motion of an infant: kicks and reaches with pauses, now and then a roll; a smooth function of time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.errors import ConfigError
from hwhup_core.synthetic.builds import PART_OF_JOINT
from hwhup_core.synthetic.capsules import PARTS
from hwhup_core.synthetic.contacts import RestingFaults, resting_faults
from hwhup_core.synthetic.poses import LyingPose, LyingPoses, sample_lying_poses
from hwhup_core.types import Posture

_CANDIDATES = 12
_PATH = np.array([0.2, 0.4, 0.6, 0.8])
"""Where along a step candidates are checked."""
_PEAK = math.pi / 2
"""Top speed of the easing over its mean speed."""


@dataclass(frozen=True)
class MotionConfig:
    """How an infant moves."""

    steps: int = 16
    """Poses passed through before the motion repeats."""
    joint_speed: float = 1.2
    """No joint angle changes faster, radians/s."""
    roll_speed: float = 0.5
    """The trunk does not roll faster, radians/s."""
    step_seconds: tuple[float, float] = (1.0, 3.0)
    """Shortest and longest unhurried step."""
    pause_seconds: tuple[float, float] = (0.1, 1.5)
    roll_probability: float = 0.25
    """Chance that a step goes to another posture."""

    def __post_init__(self) -> None:
        if self.steps < 2 or min(self.joint_speed, self.roll_speed) <= 0:
            raise ConfigError(f'steps {self.steps} must be at least 2, joint_speed and roll_speed above 0.')


@dataclass(frozen=True)
class SlowMotion:
    """A closed path through poses: call it with a time in seconds."""

    keys: LyingPoses
    """The poses passed through; the path returns from the last to the first."""
    starts: Float[ndarray, ' n']
    """When the step from each pose to the next begins, seconds."""
    durations: Float[ndarray, ' n']
    """How long each step takes, seconds; a pause follows."""
    period: float
    """Seconds until it repeats."""

    def __call__(self, time_s: float) -> LyingPose:
        """Return the pose at a time, any real number."""
        clock = time_s % self.period
        step = max(int(np.searchsorted(self.starts, clock, side='right')) - 1, 0)
        progress = min((clock - float(self.starts[step])) / float(self.durations[step]), 1.0)
        share = 0.5 - 0.5 * math.cos(math.pi * progress)
        following = (step + 1) % len(self.keys)
        root = _toward(self.keys.root[step], self.keys.root[following], share)
        angles = (1 - share) * self.keys.joint_angles[step] + share * self.keys.joint_angles[following]
        return LyingPose(root, angles)


def slow_motion(
    rng: np.random.Generator, config: MotionConfig | None = None, posture: Posture = Posture.SUPINE
) -> SlowMotion:
    """Return a random motion that starts in `posture`; paths through the body are avoided among several candidates."""
    config = config or MotionConfig()
    first = sample_lying_poses(rng, 1, posture)
    roots, angles = [np.array([rng.normal(0.0, 0.2), *first.root[0, 1:]])], [first.joint_angles[0]]
    current = posture
    for left in range(config.steps - 1, 0, -1):
        current = _next_posture(rng, config, current, posture, left)
        root, pose = _next_pose(rng, LyingPose(roots[-1], angles[-1]), current, kicks=rng.random() < 0.6)
        roots.append(root)
        angles.append(pose)
    keys = LyingPoses(np.stack(roots), np.stack(angles))
    durations = _durations(rng, config, keys)
    pauses = rng.uniform(*config.pause_seconds, len(keys))
    ends = np.cumsum(durations + pauses)
    return SlowMotion(keys, np.concatenate([[0.0], ends[:-1]]), durations, float(ends[-1]))


def _next_posture(
    rng: np.random.Generator, config: MotionConfig, current: Posture, first: Posture, left: int
) -> Posture:
    """Return the posture of the next pose: mostly the same, else a quarter roll away; home again at the end."""
    order = [Posture.SUPINE, Posture.LEFT_SIDE, Posture.PRONE, Posture.RIGHT_SIDE]
    here, home = order.index(current), order.index(first)
    if left <= 2:
        away = (home - here + 1) % 4 - 1
        return order[(here + (1 if away == 2 else int(np.sign(away)))) % 4]
    if rng.random() >= config.roll_probability:
        return current
    return order[(here + int(rng.choice([-1, 1]))) % 4]


def _next_pose(
    rng: np.random.Generator, current: LyingPose, posture: Posture, kicks: bool
) -> tuple[Float[ndarray, '3'], Float[ndarray, '23 3']]:
    """Return root and joint angles to move to: the candidate with the fewest faults on the way and at the end."""
    drawn = sample_lying_poses(rng, _CANDIDATES, posture)
    root, angles = drawn.root.copy(), drawn.joint_angles.copy()
    root[:, 0] = current.root[0] + rng.normal(0.0, 0.06, _CANDIDATES)
    if kicks and posture == current.posture:
        moved = rng.random((_CANDIDATES, len(PARTS))) < 0.45
        angles = np.where(moved[:, PART_OF_JOINT, None], angles, current.joint_angles)
        root = np.tile(current.root, (_CANDIDATES, 1))
    shares = np.append(_PATH, 1.0)[:, None, None]
    path_root = _toward(current.root, root, shares).reshape(-1, 3)
    path_angles = ((1 - shares[..., None]) * current.joint_angles + shares[..., None] * angles).reshape(-1, 23, 3)
    best = int(_badness(resting_faults(path_root, path_angles)).reshape(len(shares), -1).sum(axis=0).argmin())
    return root[best], angles[best]


def _badness(faults: RestingFaults) -> Float[ndarray, ' n']:
    """Return the number of parts at fault; being inside another part counts most."""
    count: ndarray = 5.0 * faults.inside.sum(axis=1) + faults.held_up.sum(axis=1)
    return count


def _toward(start: Float[ndarray, '*n'], end: Float[ndarray, '*m'], share: float | ndarray) -> Float[ndarray, '...']:
    """Return root angles the given share of the shorter way from start to end."""
    turn = (end - start + math.pi) % (2 * math.pi) - math.pi
    result: ndarray = start + share * turn
    return result


def _durations(rng: np.random.Generator, config: MotionConfig, keys: LyingPoses) -> Float[ndarray, ' n']:
    """Return seconds for each step, long enough for the speed limits."""
    joint = np.abs(np.roll(keys.joint_angles, -1, axis=0) - keys.joint_angles).max(axis=(1, 2))
    turn = np.abs((np.roll(keys.root, -1, axis=0) - keys.root + math.pi) % (2 * math.pi) - math.pi).max(axis=1)
    slowest = _PEAK * np.maximum(joint / config.joint_speed, turn / config.roll_speed)
    result: ndarray = np.maximum(slowest, rng.uniform(*config.step_seconds, len(keys)))
    return result
