"""
Key points of a set as sums over joints, folded once from body and set (`body/moments.py`).

A key point is sum_j G_j c_kj + m_kj p_j over the joints j that it hangs on: G_j turns camera from joint, p_j is where
the joint stands, m_kj a mass, and c_kj, the moment about the joint, is linear in the betas and, for a body that has
them, in the pose features. So are the rest joints: one product with `directions` makes all that the chain needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from hwhup_core.body.keypoint_sets import PointMap
from hwhup_core.body.model import BodyModel

BELOW = 72
"""Numbers of the rest joints; the moments of the pairs follow them."""


class Pairs(NamedTuple):
    """Which key point hangs on which joints; a tuple because compiled code takes one."""

    first: Int[ndarray, ' k+1']
    """The pairs of key point k are first[k] to first[k + 1]."""
    joint: Int[ndarray, ' p']
    mass: Float[ndarray, ' p']


@dataclass(frozen=True)
class FoldedPoints:
    """What is needed to pose key points, float64."""

    pairs: Pairs
    template: Float[ndarray, ' n']
    """Rest joints, then the moments of the pairs, of the mean body."""
    directions: Float[ndarray, 'f n']
    """What each beta and each pose feature (none, or 207) adds."""


def fold_points(body: BodyModel, here: PointMap) -> FoldedPoints:
    """Return the key points of the set folded over the body's joints."""
    buffers = {name.lstrip('_'): buffer.cpu().numpy() for name, buffer in body.named_buffers()}
    buffers = {name: array.astype(np.float64) for name, array in buffers.items() if array.dtype.kind == 'f'}
    joint_of = np.eye(24)[body.get_buffer('_moment_joint').cpu().numpy()]
    mix = here.mix.cpu().numpy().astype(np.float64)
    share = mix[:, 24:] @ buffers['moment_membership']
    landmark_mass = (share * buffers['moment_mass']) @ joint_of
    mass = mix[:, :24] + landmark_mass
    point, joint = np.nonzero((np.abs(share) @ joint_of > 0) | (mix[:, :24] != 0))

    def moments(rows: Float[ndarray, 'f m']) -> Float[ndarray, 'f p 3']:
        whole = np.einsum('km,mj,fmc->fkjc', share, joint_of, rows.reshape(len(rows), -1, 3), optimize=True)
        found: ndarray = whole[:, point, joint]
        return found

    def about_joints(rest: Float[ndarray, 'f r'], rows: Float[ndarray, 'f m']) -> Float[ndarray, 'f n']:
        arms = landmark_mass[point, joint][:, None] * rest.reshape(len(rest), 24, 3)[:, joint]
        return np.concatenate([rest, (moments(rows) - arms).reshape(len(rest), -1)], axis=1)

    template = about_joints(buffers['joint_template'].reshape(1, -1), buffers['moment_template'][None])
    directions = about_joints(buffers['joint_directions'], buffers['moment_shape'])
    if 'moment_pose' in buffers:
        still = np.zeros((len(buffers['moment_pose']), BELOW))
        directions = np.concatenate([directions, about_joints(still, buffers['moment_pose'])])
    first = np.searchsorted(point, np.arange(len(mix) + 1))
    return FoldedPoints(Pairs(first, joint, mass[point, joint]), template[0], directions)
