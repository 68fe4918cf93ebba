"""Rotation matrices of angle tables, in numpy and batched: the order of the angles is that of `limits`."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

_LEGS = np.array([0, 1, 3, 4, 6, 7, 9, 10])
_ARMS = np.array([12, 13, 15, 16, 17, 18, 19, 20, 21, 22])
_TRUNK = np.array([2, 5, 8, 11, 14])
_SUPINE_ROOT = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
"""World from pelvis of an infant on its back with the head to world +x."""


def axis_rotations(angles: Float[ndarray, '*n'], axis: int) -> Float[ndarray, '*n 3 3']:
    """Return rotations by `angles` (radians) about coordinate axis 0, 1 or 2."""
    cosine, sine = np.cos(angles), np.sin(angles)
    matrices = np.zeros((*angles.shape, 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    matrices[..., axis, axis] = 1.0
    matrices[..., i, i] = matrices[..., j, j] = cosine
    matrices[..., i, j], matrices[..., j, i] = -sine, sine
    return matrices


def joint_rotations(angles: Float[ndarray, 'n 23 3']) -> Float[ndarray, 'n 23 3 3']:
    """Return parent-from-child rotations: legs Rx Rz Ry, arms Rz Ry Rx, trunk Ry Rx Rz."""
    x, y, z = (axis_rotations(angles[..., axis], axis) for axis in range(3))
    result = np.empty((*angles.shape[:2], 3, 3))
    result[:, _LEGS] = x[:, _LEGS] @ z[:, _LEGS] @ y[:, _LEGS]
    result[:, _ARMS] = z[:, _ARMS] @ y[:, _ARMS] @ x[:, _ARMS]
    result[:, _TRUNK] = y[:, _TRUNK] @ x[:, _TRUNK] @ z[:, _TRUNK]
    return result


def root_rotations(root: Float[ndarray, 'n 3']) -> Float[ndarray, 'n 3 3']:
    """Return world from pelvis for heading, roll and pitch (radians): Rz(heading) Ry(-pitch) Supine Ry(roll)."""
    heading, roll = axis_rotations(root[:, 0], 2), axis_rotations(root[:, 1], 1)
    # World y is across the body that looks to world +x; a negative turn about it lifts the head.
    pitch = axis_rotations(-root[:, 2], 1)
    result: ndarray = heading @ pitch @ _SUPINE_ROOT @ roll
    return result
