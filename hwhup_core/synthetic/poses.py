"""
Lying poses of infants: joint-limited, resting on a plane, not through themselves.

World frame: z up, mattress plane z = 0, x towards the head end of the crib. A pose is kept as angles, so that a path
between two poses stays inside the limits; matrices are made from them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from hwhup_core.synthetic.contacts import PARTS, RestingFaults, resting_faults
from hwhup_core.synthetic.limits import JOINT_ROWS, LOWER, PRONE, SUPINE, UPPER, Row, limit_table
from hwhup_core.synthetic.rotations import joint_rotations, root_rotations
from hwhup_core.types import Posture

LYING: tuple[Posture, ...] = (Posture.SUPINE, Posture.PRONE, Posture.LEFT_SIDE, Posture.RIGHT_SIDE)
_SHARES = (0.4, 0.22, 0.19, 0.19)
_ROLL_CENTER = {Posture.SUPINE: 0.0, Posture.PRONE: math.pi, Posture.LEFT_SIDE: math.pi / 2, Posture.RIGHT_SIDE: -math.pi / 2}
_ROUNDS = 1000
_PATIENCE = 12
"""Rounds after which a pose that is still at fault is drawn anew as a whole."""
_ROW_PARTS = {'hip': 'leg', 'knee': 'leg', 'ankle': 'leg', 'foot': 'leg', 'spine': 'trunk', 'neck': 'trunk', 'head': 'trunk'}
_PART_OF_JOINT = np.array([
    PARTS.index({0: '', 1: 'left_', -1: 'right_'}[side] + _ROW_PARTS.get(name, 'arm')) for name, side in JOINT_ROWS
])  # fmt: skip


@dataclass(frozen=True)
class LyingPoses:
    """A batch of poses as angles, radians."""

    root: Float[ndarray, 'n 3']
    """Heading about the vertical (0: head to world +x), roll about the body's long axis (0 supine, +pi/2 on the left
    side, +-pi prone, -pi/2 on the right side), pitch (head up)."""
    joint_angles: Float[ndarray, 'n 23 3']
    """About x, y, z of each joint, see `hwhup_core.synthetic.limits`."""

    def __len__(self) -> int:
        return len(self.root)

    def __getitem__(self, index: int) -> LyingPose:
        return LyingPose(self.root[index], self.joint_angles[index])


@dataclass(frozen=True)
class LyingPose:
    """One pose as angles, radians; fields as in `LyingPoses`."""

    root: Float[ndarray, '3']
    joint_angles: Float[ndarray, '23 3']

    @property
    def posture(self) -> Posture:
        """Posture against gravity."""
        return Posture(int(postures(self.root[None])[0]))

    @property
    def world_from_pelvis(self) -> Float[ndarray, '3 3']:
        """Rotation of the pelvis."""
        return root_rotations(self.root[None])[0]

    @property
    def joint_rotations(self) -> Float[ndarray, '23 3 3']:
        """Parent joint from child joint, SMPL order."""
        return joint_rotations(self.joint_angles[None])[0]


def postures(root: Float[ndarray, 'n 3']) -> Int[ndarray, ' n']:
    """Return `Posture` numbers: which side of the trunk is nearest to facing down, 45 degrees between neighbours."""
    quadrant = np.round(root[:, 1] / (math.pi / 2)).astype(int) % 4
    return np.array([Posture.SUPINE, Posture.LEFT_SIDE, Posture.PRONE, Posture.RIGHT_SIDE], dtype=int)[quadrant]


def sample_lying_poses(rng: np.random.Generator, count: int, posture: Posture | None = None) -> LyingPoses:
    """
    Return `count` poses of `posture` (None: mixed) that rest on the mattress.

    Draws, then draws again only the parts at fault (`resting_faults`); a pose that stays at fault is drawn anew as a whole.
    """
    wanted = _draw_postures(rng, count, posture)
    poses = _draw(rng, wanted)
    root, angles = poses.root.copy(), poses.joint_angles.copy()
    open_places = np.arange(count)
    for round_number in range(1, _ROUNDS):
        faults = resting_faults(root[open_places], angles[open_places])
        at_fault = faults.any()
        open_places = open_places[at_fault]
        if len(open_places) == 0:
            break
        anew = _draw(rng, wanted[open_places])
        everything = round_number % _PATIENCE == 0
        turn = faults.too_long[at_fault] | everything
        parts = _redrawn_parts(rng, faults, at_fault) | everything
        root[open_places[turn]] = anew.root[turn]
        joints = parts[:, _PART_OF_JOINT]
        angles[open_places] = np.where(joints[..., None], anew.joint_angles, angles[open_places])
    return LyingPoses(root, angles)


def _redrawn_parts(
    rng: np.random.Generator, faults: RestingFaults, at_fault: Bool[ndarray, ' n']
) -> Bool[ndarray, 'm parts']:
    """Return which parts to draw again: those that hold the body up, and half of those inside another."""
    inside, held_up = faults.inside[at_fault], faults.held_up[at_fault]
    return held_up | (inside & (rng.random(inside.shape) < 0.5))


def sample_lying_pose(rng: np.random.Generator, posture: Posture | None = None) -> LyingPose:
    """Return one pose of `posture` (None: any), see `sample_lying_poses`."""
    return sample_lying_poses(rng, 1, posture)[0]


def _draw_postures(rng: np.random.Generator, count: int, posture: Posture | None) -> Int[ndarray, ' n']:
    """Return posture numbers to aim at."""
    if posture is not None:
        return np.full(count, int(posture))
    return rng.choice(np.array(LYING, dtype=int), size=count, p=np.array(_SHARES))


def _draw(rng: np.random.Generator, wanted: Int[ndarray, ' n']) -> LyingPoses:
    """Return one raw draw a wanted posture, not yet checked."""
    count = len(wanted)
    heading = np.where(rng.random(count) < 0.7, rng.normal(0.0, 0.3, count), rng.uniform(-math.pi, math.pi, count))
    # A third of the infants lie somewhere between two postures.
    offset = np.where(rng.random(count) < 0.67, rng.normal(0.0, 0.14, count), rng.uniform(-0.78, 0.78, count))
    roll = np.array([_ROLL_CENTER[Posture(int(value))] for value in wanted]) + offset
    pitch = rng.normal(0.0, 0.07, count)
    ranges = _RANGES[_range_index(roll)]
    spread = rng.beta(1.3, 1.3, (count, 23, 3))
    angles = ranges[..., 0] + spread * (ranges[..., 1] - ranges[..., 0])
    # A turned neck and head turn the same way, to either side.
    angles[:, [11, 14], 1] *= rng.choice([-1.0, 1.0], size=(count, 1))
    return LyingPoses(np.stack([heading, roll, pitch], axis=1), angles)


def _range_index(roll: Float[ndarray, ' n']) -> Int[ndarray, ' n']:
    """Return the entry of `_RANGES` for each roll: limbs are ranged as on a side from 35 degrees on."""
    wrapped = np.angle(np.exp(1j * roll))
    side = (np.abs(wrapped) > math.radians(35)) & (np.abs(wrapped) < math.radians(145))
    return np.where(side, np.where(wrapped > 0, 2, 3), np.where(np.abs(wrapped) < math.pi / 2, 0, 1))




_RANGES = np.stack([
    limit_table(SUPINE, SUPINE),
    limit_table(PRONE, PRONE),
    limit_table(LOWER, UPPER),
    limit_table(UPPER, LOWER),
])  # fmt: skip
