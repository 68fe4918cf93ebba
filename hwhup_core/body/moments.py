"""
Points that are linear in the vertices, folded so that they need no vertices.

A posed vertex is v' = sum_j w_vj (G_j (T + S b + P f)_v + t_j), with joint rotations G, offsets t, shape b and pose
features f. For a point k = sum_v r_kv v' the sums over v can be done once: k = sum_j G_j M_kj(b, f) + m_kj t_j with the
moments M_kj = sum_v r_kv w_vj (T + S b + P f)_v and the masses m_kj = sum_v r_kv w_vj. Only about 1 in 10 of the (k, j)
pairs is not zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from hwhup_core.body.files import NUM_BETAS, NUM_POSE_FEATURES, BodyFile

NEGLIGIBLE = 1e-9


@dataclass(frozen=True)
class Moments:
    """Moments of p pairs (point, joint), float64."""

    joint: Int[ndarray, ' p']
    """Joint of each pair."""
    membership: Float[ndarray, 'k p']
    """1 where the pair belongs to the point, else 0."""
    mass: Float[ndarray, ' p']
    template: Float[ndarray, 'p 3']
    shape: Float[ndarray, '10 p 3']
    pose: Float[ndarray, '207 p 3']
    """207 pose features; zero where the body has no pose directions."""


def fold(body: BodyFile, regressor: Float[ndarray, 'k v']) -> Moments:
    """Return the moments of the points `regressor @ vertices`."""
    pairs = [
        _moment(body, row[support], support, int(joint), point)
        for point, row in enumerate(regressor.astype(np.float64))
        for support in [np.flatnonzero(row)]
        for joint in np.flatnonzero(np.abs(row[support]) @ body.weights[support] > NEGLIGIBLE)
    ]
    points = [pair[0] for pair in pairs]
    membership = np.zeros((len(regressor), len(pairs)))
    membership[points, np.arange(len(pairs))] = 1
    return Moments(
        joint=np.array([pair[1] for pair in pairs], dtype=np.int64),
        membership=membership,
        mass=np.array([pair[2] for pair in pairs], dtype=np.float64),
        template=np.stack([pair[3] for pair in pairs]) if pairs else np.zeros((0, 3)),
        shape=np.stack([pair[4] for pair in pairs], axis=1) if pairs else np.zeros((NUM_BETAS, 0, 3)),
        pose=np.stack([pair[5] for pair in pairs], axis=1) if pairs else np.zeros((NUM_POSE_FEATURES, 0, 3)),
    )


def _moment(
    body: BodyFile, row: ndarray, support: ndarray, joint: int, point: int
) -> tuple[int, int, float, ndarray, ndarray, ndarray]:
    """Return point, joint, mass and the template, shape and pose moments of one pair."""
    share = row * body.weights[support, joint]
    template = share @ body.template[support]
    shape = np.einsum('v,vcb->bc', share, body.shape_directions[support])
    pose = (
        np.zeros((NUM_POSE_FEATURES, 3))
        if body.pose_directions is None
        else np.einsum('v,vcp->pc', share, body.pose_directions[support])
    )
    return point, joint, float(share.sum()), template, shape, pose
