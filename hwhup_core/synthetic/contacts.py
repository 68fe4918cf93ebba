"""
Which poses an infant cannot rest in: through itself, held up by a limb, or longer than the crib is wide.

Works on a coarse stand-in of capsules around the bones of a mean infant; lengths in metres, T-pose axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from hwhup_core.body.joints import PARENTS_24
from hwhup_core.render.compiled import compiled
from hwhup_core.synthetic.rotations import joint_rotations, root_rotations

_PARENTS = np.array(PARENTS_24)
# Rest joints of the bundled infant, rounded to millimetres.
_REST = np.array([
    [0.000, 0.000, 0.000], [0.040, 0.009, 0.005], [-0.040, 0.009, 0.005], [0.000, 0.064, -0.011],
    [0.057, -0.160, 0.005], [-0.057, -0.160, 0.005], [0.000, 0.111, -0.011], [0.066, -0.308, -0.001],
    [-0.066, -0.308, -0.001], [0.000, 0.182, -0.022], [0.071, -0.328, 0.057], [-0.071, -0.328, 0.057],
    [0.000, 0.230, -0.011], [0.010, 0.200, -0.005], [-0.010, 0.200, -0.005], [0.000, 0.266, -0.002],
    [0.067, 0.183, -0.006], [-0.067, 0.183, -0.006], [0.175, 0.183, -0.006], [-0.175, 0.183, -0.006],
    [0.282, 0.183, -0.006], [-0.282, 0.183, -0.006], [0.326, 0.183, -0.006], [-0.326, 0.183, -0.006],
])  # fmt: skip

_BONES = _REST - _REST[_PARENTS]

# name: (joint, start and end relative to that joint in the T-pose, radius); limbs are of the left side.
_Capsule = tuple[int, tuple[float, float, float], tuple[float, float, float], float]
_MIDDLE: dict[str, _Capsule] = {
    'belly': (0, (0.0, 0.0, 0.012), (0.0, 0.06, 0.014), 0.061),
    'chest': (6, (0.0, 0.0, 0.023), (0.0, 0.07, 0.016), 0.058),
    'head': (15, (0.0, 0.020, 0.012), (0.0, 0.040, 0.008), 0.064),
}
_LIMBS: dict[str, _Capsule] = {
    'upper_arm': (16, (0.035, 0.0, 0.003), (0.108, 0.0, 0.003), 0.022),
    'forearm': (18, (0.0, 0.0, 0.003), (0.165, 0.0, 0.003), 0.018),
    'thigh': (1, (0.010, -0.08, 0.0), (0.017, -0.169, 0.0), 0.036),
    'shank': (4, (0.0, -0.02, -0.003), (0.009, -0.148, -0.006), 0.027),
    'foot': (7, (0.0, -0.018, -0.005), (0.005, -0.022, 0.065), 0.016),
}


def _mirror(capsule: _Capsule) -> _Capsule:
    joint, (ax, ay, az), (bx, by, bz), radius = capsule
    return joint + 1, (-ax, ay, az), (-bx, by, bz), radius


_CAPSULES: dict[str, _Capsule] = (
    _MIDDLE
    | {f'left_{name}': capsule for name, capsule in _LIMBS.items()}
    | {f'right_{name}': _mirror(capsule) for name, capsule in _LIMBS.items()}
)
_NAMES = tuple(_CAPSULES)
_JOINTS = np.array([capsule[0] for capsule in _CAPSULES.values()])
_ENDS = np.array([[capsule[1], capsule[2]] for capsule in _CAPSULES.values()])
_RADII = np.array([capsule[3] for capsule in _CAPSULES.values()])
_TRUNK = np.array([_NAMES.index('belly'), _NAMES.index('chest')])
_HEAD = _NAMES.index('head')
_TIPS = np.array([_NAMES.index(name) for name in ('left_foot', 'right_foot', 'left_forearm', 'right_forearm')])

_LIMB_TO_MIDDLE = (
    ('upper_arm', 'head'), ('forearm', 'head'), ('forearm', 'chest'), ('forearm', 'belly'), ('thigh', 'chest'),
    ('thigh', 'belly'), ('shank', 'belly'), ('shank', 'chest'), ('foot', 'belly'), ('foot', 'chest'),
)  # fmt: skip
_SAME_SIDE = (
    ('forearm', 'thigh'),
    ('forearm', 'shank'),
    ('forearm', 'foot'),
    ('upper_arm', 'thigh'),
    ('foot', 'thigh'),
)
_OPPOSITE = (
    ('forearm', 'forearm'), ('forearm', 'upper_arm'), ('forearm', 'thigh'), ('forearm', 'shank'), ('thigh', 'thigh'),
    ('thigh', 'shank'), ('thigh', 'foot'), ('shank', 'shank'), ('shank', 'foot'), ('foot', 'foot'),
)  # fmt: skip


def _pairs() -> list[tuple[int, int]]:
    """Return the capsule pairs that may touch but not pass through each other."""
    pairs = []
    for side, other in (('left', 'right'), ('right', 'left')):
        pairs += [(f'{side}_{limb}', middle) for limb, middle in _LIMB_TO_MIDDLE]
        pairs += [(f'{side}_{first}', f'{side}_{second}') for first, second in _SAME_SIDE]
        pairs += [(f'{side}_{first}', f'{other}_{second}') for first, second in _OPPOSITE]
    return sorted({(_NAMES.index(min(pair)), _NAMES.index(max(pair))) for pair in pairs})


_PAIRS = np.array(_pairs())
_SOFTNESS = 0.85
"""Flesh gives way: capsules may overlap by this factor of their radii."""
_MAX_HELD_UP = 0.015
_MAX_HEAD_UP = 0.04
_LIFTED = 0.05
_MAX_SPAN = np.array([1.0, 0.48])


def capsule_ends(
    root: Float[ndarray, 'n 3'], joint_angles: Float[ndarray, 'n 23 3']
) -> Float[ndarray, 'n capsules 2 3']:
    """Return the end points of all capsules in the world's axes, pelvis at the origin."""
    out = np.empty((len(root), len(_JOINTS), 2, 3))
    _place_capsules(root_rotations(root), joint_rotations(joint_angles), _PARENTS, _BONES, _JOINTS, _ENDS, out)
    return out


@compiled
def _place_capsules(roots: Any, local: Any, parents: Any, bones: Any, joints: Any, ends: Any, out: Any) -> None:
    """Write the capsule ends of each pose: forward kinematics from the pelvis outwards."""
    rotations, positions = np.zeros((24, 3, 3)), np.zeros((24, 3))
    for pose in range(len(roots)):
        rotations[0] = roots[pose]
        for joint in range(1, 24):
            parent = parents[joint]
            for i in range(3):
                positions[joint, i] = positions[parent, i]
                for k in range(3):
                    positions[joint, i] += rotations[parent, i, k] * bones[joint, k]
                    rotations[joint, i, k] = 0.0
                    for m in range(3):
                        rotations[joint, i, k] += rotations[parent, i, m] * local[pose, joint - 1, m, k]
        for capsule in range(len(joints)):
            joint = joints[capsule]
            for end in range(2):
                for i in range(3):
                    total = positions[joint, i]
                    for k in range(3):
                        total += rotations[joint, i, k] * ends[capsule, end, k]
                    out[pose, capsule, end, i] = total


def segment_distances(first: Float[ndarray, '*n 2 3'], second: Float[ndarray, '*n 2 3']) -> Float[ndarray, '*n']:
    """Return the distances between segments (Ericson, Real-Time Collision Detection, 5.1.9), none of zero length."""
    u, v, w = (
        first[..., 1, :] - first[..., 0, :],
        second[..., 1, :] - second[..., 0, :],
        first[..., 0, :] - second[..., 0, :],
    )
    a, b, c, d, e = (np.einsum('...i,...i->...', p, q) for p, q in ((u, u), (u, v), (v, v), (u, w), (v, w)))
    s = np.clip((b * e - c * d) / np.maximum(a * c - b * b, 1e-12), 0.0, 1.0)
    t = np.clip((b * s + e) / c, 0.0, 1.0)
    s = np.clip((b * t - d) / a, 0.0, 1.0)
    gap = w + s[..., None] * u - t[..., None] * v
    result: ndarray = np.sqrt(np.einsum('...i,...i->...', gap, gap))
    return result


def _parts_of(name: str) -> int:
    """Return the part (see `PARTS`) that a capsule belongs to."""
    side, _, limb = name.partition('_')
    if side not in ('left', 'right'):
        return 0
    return (1 if limb in ('thigh', 'shank', 'foot') else 3) + (side == 'right')


PARTS = ('trunk', 'left_leg', 'right_leg', 'left_arm', 'right_arm')
_PART_OF = np.eye(len(PARTS), dtype=bool)[[_parts_of(name) for name in _NAMES]]
"""(capsule, part)."""


@dataclass(frozen=True)
class RestingFaults:
    """Why poses cannot rest, by part of the body (`PARTS`)."""

    inside: Bool[ndarray, 'n parts']
    """The part passes through another one."""
    held_up: Bool[ndarray, 'n parts']
    """The limb holds the trunk more than 1.5 cm above the mattress; trunk: the head hangs more than 4 cm above it."""
    lifted: Bool[ndarray, 'n parts']
    """The limb is more than 5 cm above the mattress at its end: no fault, but no limb stays up for long."""
    too_long: Bool[ndarray, ' n']
    """The body spans more of the mattress than 1.0 by 0.48 m."""

    def __getitem__(self, index: Int[ndarray, ' m']) -> RestingFaults:
        return RestingFaults(self.inside[index], self.held_up[index], self.lifted[index], self.too_long[index])

    def any(self) -> Bool[ndarray, ' n']:
        """Return which poses have a fault."""
        return self.inside.any(axis=1) | self.held_up.any(axis=1) | self.too_long


def capsule_overlap(ends: Float[ndarray, 'n capsules 2 3']) -> Bool[ndarray, 'n pairs']:
    """Return which capsule pairs are inside each other."""
    distance = segment_distances(ends[:, _PAIRS[:, 0]], ends[:, _PAIRS[:, 1]])
    result: ndarray = distance < _SOFTNESS * (_RADII[_PAIRS[:, 0]] + _RADII[_PAIRS[:, 1]])
    return result


def resting_faults(root: Float[ndarray, 'n 3'], joint_angles: Float[ndarray, 'n 23 3']) -> RestingFaults:
    """Return the faults of poses on a flat mattress."""
    ends = capsule_ends(root, joint_angles)
    overlap = capsule_overlap(ends)
    inside = (overlap @ _PART_OF[_PAIRS[:, 0]]) | (overlap @ _PART_OF[_PAIRS[:, 1]])
    bottoms = ends[..., 2].min(axis=2) - _RADII
    floor = bottoms[:, _TRUNK].min(axis=1)
    held_up = (floor[:, None] - bottoms > _MAX_HELD_UP) @ _PART_OF
    held_up[:, 0] |= bottoms[:, _HEAD] - floor > _MAX_HEAD_UP
    lifted = np.zeros_like(held_up)
    lifted[:, 1:] = bottoms[:, _TIPS] - floor[:, None] > _LIFTED
    too_long = (np.ptp(ends[..., :2], axis=(1, 2)) > _MAX_SPAN).any(axis=1)
    return RestingFaults(inside, held_up, lifted, too_long)
