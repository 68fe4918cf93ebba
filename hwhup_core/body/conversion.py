"""
From sampled bodies with 104 bones to SMPL layout (development only, used by `anny.py`).

Arrays only: the common T-pose, joint and key-point regressors, the shape space, skinning weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from hwhup_core.body.files import NUM_BETAS
from hwhup_core.body.joints import PARENTS_24, SMPL_24

THIGH, SHIN = (0.10, -1.0, 0.0), (0.06, -1.0, -0.04)
"""Directions of the left leg in the T-pose; the right leg is their mirror image."""
HAND = (1.0, -0.25, 0.0)
"""Direction of the left fingers in the T-pose."""
TWIST_SHARES = {'shoulder': 0.34, 'elbow': 0.67, 'wrist': 1.0}
"""How much of the forearm's roll (palms down) each arm joint takes; spread, so that no joint wrings the skin."""
INFLUENCES = 4
TRUNK = ('pelvis', 'spine1', 'spine2', 'spine3', 'neck', 'head', 'collar', 'hip')
"""Joints deep inside the trunk: their regressors look for vertices all around."""


@dataclass(frozen=True)
class Hands:
    """Finger bone heads that tell how a hand is turned, (n, 3) each."""

    index_base: Float[ndarray, 'n 3']
    pinky_base: Float[ndarray, 'n 3']
    middle_base: Float[ndarray, 'n 3']
    middle_tip: Float[ndarray, 'n 3']


@dataclass(frozen=True)
class Samples:
    """Bodies of one population in one pose; metres, y up, facing +z."""

    vertices: Float[ndarray, 'n v 3']
    joints: Float[ndarray, 'n 24 3']
    keypoints: Float[ndarray, 'n k 3']

    def stature(self) -> Float[ndarray, ' n']:
        """Return the height of each body."""
        heights: ndarray = np.ptp(self.vertices[:, :, 1], axis=1)
        return heights


def t_pose(
    vertices: Float[ndarray, 'n v 3'],
    joints: Float[ndarray, 'n 24 3'],
    hands: Mapping[str, Hands],
    weights: Float[ndarray, 'v 24'],
) -> tuple[Float[ndarray, 'n v 3'], Float[ndarray, 'n 24 3']]:
    """Return vertices and joints of every body in the common T-pose: pelvis at the origin, arms along x, palms down."""
    at = {name: joints[:, index] for index, name in enumerate(SMPL_24)}
    rotations = np.tile(np.eye(3), (len(vertices), 24, 1, 1))
    for side, sign in (('left', 1.0), ('right', -1.0)):
        parts = _arm_rotations(at, side, sign, hands[side]) | _leg_rotations(at, side, sign)
        for name, rotation in parts.items():
            rotations[:, SMPL_24.index(f'{side}_{name}')] = rotation
    posed_joints = np.zeros_like(joints)
    for joint, parent in enumerate(PARENTS_24[1:], start=1):
        bone = np.einsum('nij,nj->ni', rotations[:, parent], joints[:, joint] - joints[:, parent])
        posed_joints[:, joint] = posed_joints[:, parent] + bone
    posed = np.zeros_like(vertices)
    for joint in range(24):
        touched = np.flatnonzero(weights[:, joint])
        local = vertices[:, touched] - joints[:, None, joint]
        moved = np.einsum('nij,nvj->nvi', rotations[:, joint], local) + posed_joints[:, None, joint]
        posed[:, touched] += weights[touched, joint][None, :, None] * moved
    return posed, posed_joints


def _arm_rotations(at: Mapping[str, ndarray], side: str, sign: float, hand: Hands) -> dict[str, ndarray]:
    """Return global rotations that lay the arm along x with the palm down and the fingers straight."""
    shoulder, elbow, wrist, knuckles = (at[f'{side}_{name}'] for name in ('shoulder', 'elbow', 'wrist', 'hand'))
    outward = np.tile([sign, 0.0, 0.0], (len(wrist), 1))
    upper = _align(elbow - shoulder, outward)
    lower = _align(_turn(upper, wrist - elbow), outward) @ upper
    palm = _align(_turn(lower, knuckles - wrist), outward) @ lower
    across = _turn(palm, hand.index_base - hand.pinky_base)
    roll = np.arctan2(across[:, 1], across[:, 2])
    rotations = {
        name: _roll(roll * TWIST_SHARES[name]) @ base
        for name, base in (('shoulder', upper), ('elbow', lower), ('wrist', palm))
    }
    fingers = _turn(rotations['wrist'], hand.middle_tip - hand.middle_base)
    return rotations | {
        'hand': _align(fingers, np.tile(np.array(HAND) * [sign, 1, 1], (len(wrist), 1))) @ rotations['wrist']
    }


def _leg_rotations(at: Mapping[str, ndarray], side: str, sign: float) -> dict[str, ndarray]:
    """Return global rotations that put thigh and shin into their T-pose directions."""
    bones = (('hip', 'knee', THIGH), ('knee', 'ankle', SHIN))
    return {
        start: _align(
            at[f'{side}_{end}'] - at[f'{side}_{start}'], np.tile(np.array(to) * [sign, 1, 1], (len(at['pelvis']), 1))
        )
        for start, end, to in bones
    }


def _turn(rotation: ndarray, vector: ndarray) -> ndarray:
    turned: ndarray = np.einsum('nij,nj->ni', rotation, vector)
    return turned


def _roll(angle: ndarray) -> ndarray:
    """Return rotations about x."""
    rotation = np.tile(np.eye(3), (len(angle), 1, 1))
    rotation[:, 1, 1] = rotation[:, 2, 2] = np.cos(angle)
    rotation[:, 2, 1] = np.sin(angle)
    rotation[:, 1, 2] = -rotation[:, 2, 1]
    return rotation


def _align(source: ndarray, target: ndarray) -> ndarray:
    """Return the shortest rotations that turn `source` into the direction of `target`, (n, 3) -> (n, 3, 3)."""
    source = source / np.linalg.norm(source, axis=-1, keepdims=True)
    target = target / np.linalg.norm(target, axis=-1, keepdims=True)
    axis = np.cross(source, target)
    cosine = (source * target).sum(axis=-1)[:, None, None]
    cross = np.zeros((len(source), 3, 3))
    cross[:, 2, 1], cross[:, 0, 2], cross[:, 1, 0] = axis.T
    cross = cross - cross.transpose(0, 2, 1)
    rotation: ndarray = np.eye(3) + cross + cross @ cross / (1 + cosine)
    return rotation


def strongest_influences(weights: Float[ndarray, 'v 24']) -> Float[ndarray, 'v 24']:
    """Return skinning weights with the 4 strongest joints of each vertex, as SMPL has."""
    order = np.argsort(-weights, axis=1)[:, INFLUENCES:]
    pruned = weights.copy()
    np.put_along_axis(pruned, order, 0.0, axis=1)
    normalised: ndarray = pruned / pruned.sum(axis=1, keepdims=True)
    return normalised


def joint_regressor(samples: Samples, reference: Samples, count: int) -> Float[ndarray, '24 v']:
    """Return non-negative rows, sum 1, fitted to `count` bodies; candidates lie near the reference's mean joints."""
    reach = [(3000, 4) if any(part in name for part in TRUNK) else (500, 1) for name in SMPL_24]
    return _regressor(samples, samples.joints, reference, reference.joints, reach, count)


def keypoint_regressor(samples: Samples, reference: Samples, count: int) -> Float[ndarray, 'k v']:
    """Return the same for key points."""
    reach = [(500, 1)] * samples.keypoints.shape[1]
    return _regressor(samples, samples.keypoints, reference, reference.keypoints, reach, count)


def _regressor(
    samples: Samples,
    targets: ndarray,
    reference: Samples,
    reference_targets: ndarray,
    reach: list[tuple[int, int]],
    count: int,
) -> ndarray:
    """Return a row per target point; `reach`: how many nearest vertices are candidates, and a stride through them."""
    mean_vertices, mean_targets = reference.vertices.mean(axis=0), reference_targets.mean(axis=0)
    # Every body counts alike whatever its size.
    stature = samples.stature()[:count, None]
    rows = np.zeros((targets.shape[1], samples.vertices.shape[1]))
    for row, (nearest, step) in enumerate(reach):
        distance = ((mean_vertices - mean_targets[row]) ** 2).sum(axis=1)
        candidates = np.argsort(distance)[:nearest][::step]
        points = samples.vertices[:count, candidates] / stature[..., None]
        goal = targets[:count, row] / stature
        rows[row, candidates] = _convex_fit(points.transpose(0, 2, 1).reshape(-1, len(candidates)), goal.reshape(-1))
    normalised: ndarray = rows / rows.sum(axis=1, keepdims=True)
    return normalised


def _convex_fit(matrix: ndarray, goal: ndarray) -> ndarray:
    """Return non-negative coefficients that add up to about 1."""
    from scipy.optimize import nnls

    size = matrix.shape[1]
    unity = 10.0
    solution, _ = nnls(np.r_[matrix, np.full((1, size), unity)], np.r_[goal, unity], maxiter=20 * size)
    return np.asarray(solution)


def shape_space(vertices: Float[ndarray, 'n v 3']) -> tuple[Float[ndarray, 'v 3'], Float[ndarray, 'v 3 10'], float]:
    """Return mean, 10 main directions (one standard deviation, positive is taller) and their share of the variance."""
    mean = vertices.mean(axis=0)
    centred = (vertices - mean).reshape(len(vertices), -1)
    # The small n x n eigenproblem has the same directions as the 3v x 3v one.
    variance, mixing = np.linalg.eigh(centred @ centred.T / len(vertices))
    variance, mixing = variance[::-1], mixing[:, ::-1]
    directions = centred.T @ mixing[:, :NUM_BETAS]
    directions *= np.sqrt(np.maximum(variance[:NUM_BETAS], 0)) / np.linalg.norm(directions, axis=0)
    shaped = directions.reshape(-1, 3, NUM_BETAS)
    for beta in range(NUM_BETAS):
        growth = np.ptp((mean + shaped[..., beta])[:, 1]) - np.ptp((mean - shaped[..., beta])[:, 1])
        shaped[..., beta] *= -1.0 if growth < 0 else 1.0
    return mean, shaped, float(variance[:NUM_BETAS].sum() / variance.sum())


def order_with(vertex_count: int, placed: Mapping[int, int]) -> Int[ndarray, ' v']:
    """Return for each new position the old vertex, so that old vertex `placed[p]` lands on position p; others swap."""
    order = np.arange(vertex_count)
    position = np.arange(vertex_count)
    for target, old in placed.items():
        current, displaced = int(position[old]), int(order[target])
        order[target], order[current] = old, displaced
        position[old], position[displaced] = target, current
    return order
