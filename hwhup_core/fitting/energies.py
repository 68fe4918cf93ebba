"""The terms of the fit, one function each, per sample, unweighted (method 2.2 and 2.3); priors are in `body/priors`."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hwhup_core.body.priors import angle_energy, shape_energy
from hwhup_core.fitting.config import EnergyWeights
from hwhup_core.geometry.cameras import CROP_FOCAL, CROP_FOCAL_SIZE, HALF_CROPS_FOCAL
from hwhup_core.types import CropPinhole

CENTER_PX = CROP_FOCAL_SIZE / 2
NEAREST = 0.1
"""Metres before the camera that a point is put at if it lies nearer or behind: its error stays large, but finite."""


def project_to_crop(
    points: Float[Tensor, 'b k 3'], translation: Float[Tensor, 'b 3'], pinhole: CropPinhole | None = None
) -> Float[Tensor, 'b k 2']:
    """Return the pixels, 0 to 224, where the crop's pinhole camera sees the points; SPIN's far one if None is given."""
    placed = points + translation[:, None]
    if pinhole is None:
        return CENTER_PX + CROP_FOCAL * placed[..., :2] / placed[..., 2:].clamp(min=NEAREST)
    plane = pinhole.focal[:, None, None] * placed[..., :2] / placed[..., 2:].clamp(min=NEAREST)
    return CENTER_PX * (1 + pinhole.center[:, None] + plane)


def far_distance(distance: Float[Tensor, ' b'], pinhole: CropPinhole) -> Float[Tensor, ' b']:
    """
    Return the distance (m) at which SPIN's far camera would see a body as large as this one does.

    The camera stage moves and weighs this number instead of the distance itself: the steps of Adam (0.01) and the
    weight of a change were made for bodies some 45 m away, and mean the same *relative* change before any camera so.
    Sideways nothing of the kind is needed: half crop sides per metre do not depend on the camera.
    """
    return distance * (HALF_CROPS_FOCAL / pinhole.focal)


def true_distance(far: Float[Tensor, ' b'], pinhole: CropPinhole) -> Float[Tensor, ' b']:
    """Return the distance of a `far_distance`, metres."""
    return far * (pinhole.focal / HALF_CROPS_FOCAL)


def geman_mcclure(error: Float[Tensor, '...'], sigma: float) -> Float[Tensor, '...']:
    """Return s^2 e^2 / (s^2 + e^2): e^2 for small errors, at most s^2 for outliers."""
    squared = error.square()
    return sigma**2 * squared / (sigma**2 + squared)


def reprojection_energy(
    projected: Float[Tensor, 'b k 2'],
    keypoints: Float[Tensor, 'b k 2'],
    confidence: Float[Tensor, 'b k'],
    sigma: float,
) -> Float[Tensor, ' b']:
    """Return the sum over joints of confidence^2 times the Geman-McClure error of x and of y, px^2."""
    errors = geman_mcclure(projected - keypoints, sigma).sum(dim=2)
    return (confidence.square() * errors).sum(dim=1)


def torso_energy(
    projected: Float[Tensor, 'b k 2'], keypoints: Float[Tensor, 'b k 2'], weight: Float[Tensor, 'b k']
) -> Float[Tensor, ' b']:
    """Return the weighted sum of the squared pixel errors of the torso's joints, px^2; confidence plays no part."""
    return (weight * (projected - keypoints).square().sum(dim=2)).sum(dim=1)


def distance_energy(distance: Float[Tensor, ' b'], first_distance: Float[Tensor, ' b']) -> Float[Tensor, ' b']:
    """Return the squared change of the camera's (far) distance, m^2: a torso alone tells little about it."""
    return (distance - first_distance).square()


def camera_energy(
    torso: Float[Tensor, ' b'], distance: Float[Tensor, ' b'], weights: EnergyWeights
) -> Float[Tensor, ' b']:
    """Return what the camera stage minimises."""
    return torso + weights.depth**2 * distance


def body_energy(
    reprojection: Float[Tensor, ' b'],
    prior: Float[Tensor, ' b'],
    pose: Float[Tensor, 'b 69'],
    betas: Float[Tensor, 'b 10'],
    prior_weight: Float[Tensor, ' b'],
    weights: EnergyWeights,
) -> Float[Tensor, ' b']:
    """Return what the body stage minimises; `prior_weight` is `EnergyWeights.prior_weight_at`, squared here."""
    return (
        reprojection
        + prior_weight.square() * prior
        + weights.angle**2 * angle_energy(pose)
        + weights.shape**2 * shape_energy(betas)
    )


def reprojection_score(
    projected: Float[Tensor, 'b k 2'],
    keypoints: Float[Tensor, 'b k 2'],
    confidence: Float[Tensor, 'b k'],
    sigma: float,
) -> Float[Tensor, ' b']:
    """
    Return the mean reprojection energy over all joints of the set, those without confidence included (method 2.5).

    A sample without any confident joint gets infinity: a body that explains nothing is no fit.
    """
    energy = reprojection_energy(projected, keypoints, confidence, sigma) / confidence.shape[1]
    return torch.where((confidence > 0).any(dim=1) & energy.isfinite(), energy, torch.inf)
