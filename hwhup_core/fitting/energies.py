"""The terms of the fit, one function each, per sample, unweighted (method 2.2 and 2.3); priors are in `body/priors`."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hwhup_core.body.priors import angle_energy, shape_energy
from hwhup_core.fitting.config import EnergyWeights
from hwhup_core.geometry.cameras import CROP_FOCAL, CROP_FOCAL_SIZE

CENTER_PX = CROP_FOCAL_SIZE / 2
NEAREST = 0.1
"""Metres before the camera that a point is put at if it lies nearer or behind: its error stays large, but finite."""


def project_to_crop(points: Float[Tensor, 'b k 3'], translation: Float[Tensor, 'b 3']) -> Float[Tensor, 'b k 2']:
    """Return the pixels, 0 to 224, where SPIN's far crop camera sees the points."""
    placed = points + translation[:, None]
    return CENTER_PX + CROP_FOCAL * placed[..., :2] / placed[..., 2:].clamp(min=NEAREST)


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
    """Return the squared change of the camera's distance, m^2: a torso alone tells little about it."""
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
