"""Conversions between rotation representations, on tensors with any leading axes, differentiable."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

SMALL_ANGLE = 1e-4
"""Radians below which series replace the quotients; their error is below 1e-16."""


def axis_angle_to_matrix(axis_angle: Float[Tensor, '... 3']) -> Float[Tensor, '... 3 3']:
    """Return the rotation matrices (Rodrigues), with finite gradients at the identity."""
    squared = (axis_angle * axis_angle).sum(-1)[..., None, None]
    small = squared < SMALL_ANGLE**2
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    sine = torch.where(small, 1 - squared / 6, angle.sin() / angle)
    cosine = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / (angle * angle))
    cross = _cross_matrix(axis_angle)
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + sine * cross + cosine * (cross @ cross)


def _cross_matrix(vector: Float[Tensor, '... 3']) -> Float[Tensor, '... 3 3']:
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    cross: Tensor = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).unflatten(-1, (3, 3))
    return cross


def matrix_to_axis_angle(matrix: Float[Tensor, '... 3 3']) -> Float[Tensor, '... 3']:
    """Return axis-angle vectors with angles in [0, pi], through the quaternion, so that pi and 0 are safe."""
    quaternion = matrix_to_quaternion(matrix)
    quaternion = torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)
    vector, cosine = quaternion[..., :3], quaternion[..., 3:]
    squared = (vector * vector).sum(-1, keepdim=True)
    small = squared < SMALL_ANGLE**2
    sine = torch.where(small, torch.ones_like(squared), squared).sqrt()
    factor = torch.where(small, 2 + squared / 3, 2 * torch.atan2(sine, cosine) / sine)
    return vector * factor


def matrix_to_quaternion(matrix: Float[Tensor, '... 3 3']) -> Float[Tensor, '... 4']:
    """Return unit quaternions x y z w, from the best conditioned of the four formulas (Shepperd 1978)."""
    m = matrix
    diagonal = torch.stack([m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]], dim=-1)
    trace = diagonal.sum(-1, keepdim=True)
    squares = torch.cat([1 + 2 * diagonal - trace, 1 + trace], dim=-1)  # 4 x^2, 4 y^2, 4 z^2, 4 w^2
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    xw, yw, zw = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    x2, y2, z2, w2 = squares.unbind(-1)
    rows = torch.stack(
        [
            torch.stack([x2, xy, xz, xw], dim=-1),
            torch.stack([xy, y2, yz, yw], dim=-1),
            torch.stack([xz, yz, z2, zw], dim=-1),
            torch.stack([xw, yw, zw, w2], dim=-1),
        ],
        dim=-2,
    )
    best = squares.argmax(-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    return F.normalize(rows.gather(-2, best).squeeze(-2), dim=-1)


def quaternion_to_matrix(quaternion: Float[Tensor, '... 4']) -> Float[Tensor, '... 3 3']:
    """Return the rotation matrices of quaternions x y z w of any positive length."""
    x, y, z, w = F.normalize(quaternion, dim=-1).unbind(-1)
    matrix: Tensor = torch.stack(
        [
            1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
            2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
            2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
        ],
        dim=-1,
    ).unflatten(-1, (3, 3))  # fmt: skip
    return matrix


def rotation_6d_to_matrix(six: Float[Tensor, '... 6']) -> Float[Tensor, '... 3 3']:
    """
    Return rotation matrices from SPIN's 6D numbers: reshaped to 3x2, the columns are the first two axes.

    Gram-Schmidt as in Zhou et al. 2019; PyTorch3D concatenates two rows instead, which is not interchangeable.
    """
    columns = six.unflatten(-1, (3, 2))
    first = F.normalize(columns[..., 0], dim=-1)
    second = columns[..., 1]
    second = F.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1)
    third = torch.linalg.cross(first, second, dim=-1)
    return torch.stack([first, second, third], dim=-1)


def matrix_to_rotation_6d(matrix: Float[Tensor, '... 3 3']) -> Float[Tensor, '... 6']:
    """Return SPIN's 6D numbers: the first two columns, interleaved."""
    return matrix[..., :2].flatten(-2)
