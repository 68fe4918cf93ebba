"""
Lying poses of infants and adults: joint-limited, resting on a plane, not through themselves.

World frame: z up, mattress plane z = 0, x towards the head end of the bed. A pose is kept as angles, so that a path
between two poses stays inside the limits; matrices are made from them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from hwhup_core.errors import HwhupError
from hwhup_core.synthetic.builds import INFANT, PART_OF_JOINT, Build
from hwhup_core.synthetic.capsules import PARTS
from hwhup_core.synthetic.contacts import RestingFaults, resting_faults
from hwhup_core.synthetic.rotations import joint_rotations, root_rotations
from hwhup_core.types import Posture

LYING: tuple[Posture, ...] = (Posture.SUPINE, Posture.PRONE, Posture.LEFT_SIDE, Posture.RIGHT_SIDE)
_SHARES = (0.4, 0.22, 0.19, 0.19)
_ROLL_CENTER = np.zeros(len(Posture))
_ROLL_CENTER[[Posture.PRONE, Posture.LEFT_SIDE, Posture.RIGHT_SIDE]] = math.pi, math.pi / 2, -math.pi / 2
_ROUNDS = 1000
_VARIANTS = 8
"""Candidates for a hard place, once the easy ones are filled."""
_PATIENCE = 12
"""Rounds after which a pose that is still at fault is drawn anew as a whole."""


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
        result: ndarray = root_rotations(self.root[None])[0]
        return result

    @property
    def joint_rotations(self) -> Float[ndarray, '23 3 3']:
        """Parent joint from child joint, SMPL order."""
        result: ndarray = joint_rotations(self.joint_angles[None])[0]
        return result


def postures(root: Float[ndarray, 'n 3']) -> Int[ndarray, ' n']:
    """Return `Posture` numbers: which side of the trunk is nearest to facing down, 45 degrees between neighbours."""
    quadrant = np.round(root[:, 1] / (math.pi / 2)).astype(int) % 4
    result: ndarray = np.array([Posture.SUPINE, Posture.LEFT_SIDE, Posture.PRONE, Posture.RIGHT_SIDE], dtype=int)[
        quadrant
    ]
    return result


def sample_lying_poses(
    rng: np.random.Generator, count: int, posture: Posture | None = None, build: Build = INFANT
) -> LyingPoses:
    """
    Return `count` poses of `posture` (None: mixed) that rest on the mattress.

    Draws, then draws again only the parts at fault (`resting_faults`); what stays at fault is drawn anew as a whole.
    """
    wanted = _draw_postures(rng, count, posture)
    rests = _draw_resting(rng, wanted, build)
    drawn = _draw(rng, wanted, build)
    root, angles = drawn.root.copy(), drawn.joint_angles.copy()
    places, current = np.arange(count), drawn
    for round_number in range(1, _ROUNDS):
        faults = resting_faults(current.root, current.joint_angles, build.capsules)
        lifted = faults.lifted & rests[places]
        best = _least_faulty(faults, lifted, places)
        places, faults, lifted = places[best], faults[best], lifted[best]
        root[places], angles[places] = current.root[best], current.joint_angles[best]
        bad = np.flatnonzero(faults.any() | lifted.any(axis=1))
        if len(bad) == 0:
            return LyingPoses(root, angles)
        bad = np.repeat(bad, max(1, min(_VARIANTS, max(count, 64) // len(bad))))
        places = places[bad]
        everything = round_number % _PATIENCE == 0
        parts = _redrawn_parts(rng, faults[bad], lifted[bad]) | everything
        turns = np.stack([faults.too_long[bad] | everything, *[np.full(len(bad), everything)] * 2], axis=1)
        current = _redraw(rng, LyingPoses(root[places], angles[places]), wanted[places], parts, turns, build)
    raise HwhupError(
        f'No resting pose for {len(places)} of {count} {build.name} bodies in {_ROUNDS} rounds. '
        'Widen the ranges of the build.'
    )


def _least_faulty(
    faults: RestingFaults, lifted: Bool[ndarray, 'n parts'], places: Int[ndarray, ' n']
) -> Int[ndarray, ' m']:
    """Return the best candidate for each place; candidates of one place follow each other."""
    score = faults.inside.sum(axis=1) + faults.held_up.sum(axis=1) + lifted.sum(axis=1) + faults.too_long
    order = np.lexsort((score, places))
    first: ndarray = np.unique(places[order], return_index=True)[1]
    result: ndarray = order[first]
    return result


def _redraw(
    rng: np.random.Generator,
    poses: LyingPoses,
    wanted: Int[ndarray, ' n'],
    parts: Bool[ndarray, 'n parts'],
    turns: Bool[ndarray, 'n 3'],
    build: Build,
) -> LyingPoses:
    """Return the poses with the marked parts and root angles drawn again; a new roll comes with all new limbs."""
    anew = _draw(rng, wanted, build)
    joints = parts[:, PART_OF_JOINT]
    return LyingPoses(
        np.where(turns, anew.root, poses.root), np.where(joints[..., None], anew.joint_angles, poses.joint_angles)
    )


def _draw_resting(rng: np.random.Generator, wanted: Int[ndarray, ' n'], build: Build) -> Bool[ndarray, 'n parts']:
    """Return which limbs have to lie down."""
    share = build.resting[_range_index(_ROLL_CENTER[wanted])]
    rests: ndarray = rng.random(share.shape) < share
    return rests


def _redrawn_parts(
    rng: np.random.Generator, faults: RestingFaults, lifted: Bool[ndarray, 'n parts']
) -> Bool[ndarray, 'n parts']:
    """Return which parts to draw again: those that lie wrongly, and half of those inside another."""
    result: ndarray = faults.held_up | lifted | (faults.inside & (rng.random(lifted.shape) < 0.5))
    return result


def sample_lying_pose(rng: np.random.Generator, posture: Posture | None = None) -> LyingPose:
    """Return one pose of `posture` (None: any), see `sample_lying_poses`."""
    return sample_lying_poses(rng, 1, posture)[0]


def _draw_postures(rng: np.random.Generator, count: int, posture: Posture | None) -> Int[ndarray, ' n']:
    """Return posture numbers to aim at."""
    if posture is not None:
        return np.full(count, int(posture))
    return rng.choice(np.array(LYING, dtype=int), size=count, p=np.array(_SHARES))


def _draw(rng: np.random.Generator, wanted: Int[ndarray, ' n'], build: Build) -> LyingPoses:
    """Return one raw draw a wanted posture, not yet checked."""
    count = len(wanted)
    heading = _around_zero(rng, count, build.heading)
    roll = _ROLL_CENTER[wanted] + _around_zero(rng, count, build.roll)
    pitch = rng.normal(0.0, build.pitch, count)
    ranges = _styled_ranges(rng, _range_index(roll), build)
    spread = rng.beta(1.3, 1.3, (count, 23, 3))
    angles = ranges[..., 0] + spread * (ranges[..., 1] - ranges[..., 0])
    # A turned neck and head turn the same way, to either side.
    angles[:, [11, 14], 1] *= rng.choice([-1.0, 1.0], size=(count, 1))
    return LyingPoses(np.stack([heading, roll, pitch], axis=1), angles)


def _around_zero(rng: np.random.Generator, count: int, spread: tuple[float, float, float]) -> Float[ndarray, ' n']:
    """Return angles of which a share is normal with a deviation, the others uniform within an angle to both sides."""
    share, deviation, widest = spread
    result: ndarray = np.where(
        rng.random(count) < share, rng.normal(0.0, deviation, count), rng.uniform(-widest, widest, count)
    )
    return result


def _styled_ranges(rng: np.random.Generator, entry: Int[ndarray, ' n'], build: Build) -> Float[ndarray, 'n 23 3 2']:
    """Return the ranges of each joint: every part of the body has a style of its own."""
    if build.ranges.shape[1] == 1:
        only: ndarray = build.ranges[entry, 0]
        return only
    cumulative = build.shares[entry].cumsum(axis=2)
    style = (rng.random((len(entry), len(PARTS), 1)) >= cumulative[..., :-1]).sum(axis=2)
    result: ndarray = build.ranges[entry[:, None], style[:, PART_OF_JOINT], np.arange(len(PART_OF_JOINT))]
    return result


def _range_index(roll: Float[ndarray, ' n']) -> Int[ndarray, ' n']:
    """Return the entry of `_RANGES` for each roll: limbs are ranged as on a side from 35 degrees on."""
    wrapped = np.angle(np.exp(1j * roll))
    side = (np.abs(wrapped) > math.radians(35)) & (np.abs(wrapped) < math.radians(145))
    return np.where(side, np.where(wrapped > 0, 2, 3), np.where(np.abs(wrapped) < math.pi / 2, 0, 1))
