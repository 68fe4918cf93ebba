"""
Which poses a body cannot have: through itself; and which it cannot rest in: held up by a limb, or too long.

Works on a coarse stand-in of capsules around the bones of a mean body (`capsules.py`); lengths in metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from hwhup_core.body.joints import PARENTS_24
from hwhup_core.compiled import compiled
from hwhup_core.synthetic.capsules import INFANT_CAPSULES, CapsuleBody
from hwhup_core.synthetic.rotations import joint_rotations, root_rotations

_PARENTS = np.array(PARENTS_24)
_SOFTNESS = 0.85
"""Flesh gives way: capsules may overlap by this factor of their radii."""


def capsule_ends(
    world_from_pelvis: Float[ndarray, 'n 3 3'], joint_angles: Float[ndarray, 'n 23 3'], body: CapsuleBody
) -> Float[ndarray, 'n capsules 2 3']:
    """Return the end points of all capsules in the world's axes, pelvis at the origin."""
    out = np.empty((len(joint_angles), len(body.joints), 2, 3))
    _place_capsules(world_from_pelvis, joint_rotations(joint_angles), _PARENTS, body.bones, body.joints, body.ends, out)
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


@dataclass(frozen=True)
class RestingFaults:
    """Why poses cannot rest, by part of the body (`PARTS`)."""

    inside: Bool[ndarray, 'n parts']
    """The part passes through another one."""
    held_up: Bool[ndarray, 'n parts']
    """The limb holds the trunk above the mattress; trunk: the head hangs too far above it."""
    lifted: Bool[ndarray, 'n parts']
    """The limb is above the mattress at its end: no fault, but no limb stays up for long."""
    too_long: Bool[ndarray, ' n']
    """The body spans more of the mattress than it may."""

    def __getitem__(self, index: Int[ndarray, ' m']) -> RestingFaults:
        return RestingFaults(self.inside[index], self.held_up[index], self.lifted[index], self.too_long[index])

    def any(self) -> Bool[ndarray, ' n']:
        """Return which poses have a fault."""
        return self.inside.any(axis=1) | self.held_up.any(axis=1) | self.too_long


def capsule_overlap(
    ends: Float[ndarray, 'n capsules 2 3'], body: CapsuleBody = INFANT_CAPSULES
) -> Bool[ndarray, 'n pairs']:
    """Return which of the body's capsule pairs are inside each other."""
    reach = _SOFTNESS * (body.radii[body.pairs[:, 0]] + body.radii[body.pairs[:, 1]])
    out = np.empty((len(ends), len(reach)), bool)
    _closer_than(ends, body.pairs, reach, out)
    return out


@compiled
def _closer_than(ends: Any, pairs: Any, reach: Any, out: Any) -> None:
    """Write which pairs of segments are closer than their reach: `segment_distances`, but for the far pairs."""
    u, v, w = np.empty(3), np.empty(3), np.empty(3)
    for pose in range(len(ends)):
        for pair in range(len(pairs)):
            first, second = ends[pose, pairs[pair, 0]], ends[pose, pairs[pair, 1]]
            a = b = c = d = e = apart = 0.0
            for i in range(3):
                u[i], v[i], w[i] = first[1, i] - first[0, i], second[1, i] - second[0, i], first[0, i] - second[0, i]
                a, b, c, d, e = a + u[i] * u[i], b + u[i] * v[i], c + v[i] * v[i], d + u[i] * w[i], e + v[i] * w[i]
                apart += (w[i] + 0.5 * (u[i] - v[i])) ** 2
            out[pose, pair] = False
            # Middles farther apart than half of both lengths and the reach, with room for rounding.
            if apart > (0.5 * (np.sqrt(a) + np.sqrt(c)) + reach[pair] + 1e-6) ** 2:
                continue
            s = min(max((b * e - c * d) / max(a * c - b * b, 1e-12), 0.0), 1.0)
            t = min(max((b * s + e) / c, 0.0), 1.0)
            s = min(max((b * t - d) / a, 0.0), 1.0)
            squared = 0.0
            for i in range(3):
                squared += (w[i] + s * u[i] - t * v[i]) ** 2
            out[pose, pair] = np.sqrt(squared) < reach[pair]


def parts_inside(ends: Float[ndarray, 'n capsules 2 3'], body: CapsuleBody) -> Bool[ndarray, 'n parts']:
    """Return which parts of the body (`PARTS`) pass through another one."""
    overlap = capsule_overlap(ends, body)
    result: ndarray = (overlap @ body.part_of[body.pairs[:, 0]]) | (overlap @ body.part_of[body.pairs[:, 1]])
    return result


def resting_faults(
    root: Float[ndarray, 'n 3'], joint_angles: Float[ndarray, 'n 23 3'], body: CapsuleBody = INFANT_CAPSULES
) -> RestingFaults:
    """Return the faults of lying poses on a flat mattress."""
    ends = capsule_ends(root_rotations(root), joint_angles, body)
    bottoms = ends[..., 2].min(axis=2) - body.radii
    floor = bottoms[:, body.trunk].min(axis=1)
    held_up = (floor[:, None] - bottoms > body.max_held_up) @ body.part_of
    held_up[:, 0] |= bottoms[:, body.head] - floor > body.max_head_up
    lifted = np.zeros_like(held_up)
    lifted[:, 1:] = bottoms[:, body.tips] - floor[:, None] > body.lifted
    too_long = (np.ptp(ends[..., :2], axis=(1, 2)) > np.array(body.max_span)).any(axis=1)
    return RestingFaults(parts_inside(ends, body), held_up, lifted, too_long)
