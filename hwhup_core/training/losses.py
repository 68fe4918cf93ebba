"""
One function a term. Every term is a mean over the batch, so that its weight means the same at any batch size.

Supervision with true parameters (method 2.8, SPIN section 3); the terms of the weakly supervised stages join them here.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from hwhup_core.types import BodyParams, TensorRecord


@dataclass(frozen=True)
class LossTerms(TensorRecord):
    """One scalar a term, unweighted."""

    joints: Float[Tensor, '']
    """Mean joint distance, metres, pelvis at the origin."""
    keypoints: Float[Tensor, '']
    """Mean absolute reprojection error, half crop sides."""
    rotations: Float[Tensor, '']
    """Mean squared difference of rotation matrix entries."""
    betas: Float[Tensor, '']
    """Mean squared difference of shape coefficients."""
    scale: Float[Tensor, '']
    """Mean of exp(-10 s)^2: keeps the camera's scale positive."""


@dataclass(frozen=True)
class LossWeights:
    """What each term counts."""

    joints: float = 10.0
    keypoints: float = 4.0
    rotations: float = 1.0
    betas: float = 0.02
    scale: float = 0.01


def joint_loss(predicted: Float[Tensor, 'b k 3'], true: Float[Tensor, 'b k 3']) -> Float[Tensor, '']:
    """Return the mean distance (m) of joints after both pelvises (joint 0) are put at the origin."""
    difference = (predicted - predicted[:, :1]) - (true - true[:, :1])
    return (difference.square().sum(dim=-1) + 1e-8).sqrt().mean()


def keypoint_loss(predicted: Float[Tensor, 'b k 2'], true: Float[Tensor, 'b k 2']) -> Float[Tensor, '']:
    """Return the mean absolute difference of crop positions in [-1, 1]."""
    return (predicted - true).abs().mean()


def rotation_loss(predicted: BodyParams, true: BodyParams) -> Float[Tensor, '']:
    """Return the mean squared difference over the entries of all 24 rotation matrices."""
    root = (predicted.global_rotation - true.global_rotation).square().sum()
    joints = (predicted.joint_rotations - true.joint_rotations).square().sum()
    return (root + joints) / (predicted.betas.shape[0] * 24 * 9)


def beta_loss(predicted: Float[Tensor, 'b 10'], true: Float[Tensor, 'b 10']) -> Float[Tensor, '']:
    """Return the mean squared difference of shape coefficients."""
    return (predicted - true).square().mean()


def scale_loss(scale: Float[Tensor, ' b']) -> Float[Tensor, '']:
    """Return the mean of exp(-10 s)^2 (method 0)."""
    return (-10 * scale).clamp(max=5).exp().square().mean()
