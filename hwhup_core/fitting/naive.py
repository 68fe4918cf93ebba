"""SMPLify spelled out, the body posed anew in every iteration of both stages: what the fast code is tested against."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from hwhup_core.body.priors import MixturePrior
from hwhup_core.fitting import energies
from hwhup_core.fitting.config import SmplifyConfig
from hwhup_core.fitting.smplify import Observation

Points = Callable[[Float[Tensor, 'b 3'], Float[Tensor, 'b 69'], Float[Tensor, 'b 10']], Float[Tensor, 'b k 3']]
"""Global orientation, pose (axis-angle) and betas -> the key points on the body, by any implementation."""


def naive_fit(
    points: Points,
    first: Float[Tensor, 'b 82'],
    first_translation: Float[Tensor, 'b 3'],
    seen: Observation,
    prior: MixturePrior,
    config: SmplifyConfig,
    prior_weight: float,
) -> tuple[Float[Tensor, 'b 82'], Float[Tensor, 'b 3']]:
    """Return fitted rows (72 axis-angle numbers, 10 betas) and translations."""
    root, pose, betas = (part.clone().requires_grad_() for part in first.split([3, 69, 10], dim=1))
    translation = first_translation.clone().requires_grad_()
    optimizer = torch.optim.Adam([root, translation], lr=config.learning_rate, betas=config.adam_betas)
    for _ in range(config.camera_iterations):
        projected = energies.project_to_crop(points(root, pose, betas), translation)
        torso = (seen.torso[..., None] * (projected - seen.pixels) ** 2).sum()
        change = ((translation[:, 2] - first_translation[:, 2]) ** 2).sum()
        optimizer.zero_grad()
        (torso + config.weights.depth**2 * change).backward()
        optimizer.step()
    fixed = translation.detach()
    optimizer = torch.optim.Adam([root, pose, betas], lr=config.learning_rate, betas=config.adam_betas)
    for _ in range(config.body_iterations):
        error = (energies.project_to_crop(points(root, pose, betas), fixed) - seen.pixels) ** 2
        robust = config.sigma_px**2 * error / (config.sigma_px**2 + error)
        bends = torch.stack([pose[:, 52], -pose[:, 55], -pose[:, 9], -pose[:, 12]])
        total = (seen.confidence[..., None] ** 2 * robust).sum()
        total = total + prior_weight**2 * prior(pose).sum()
        total = total + config.weights.angle**2 * (bends.exp() ** 2).sum() + config.weights.shape**2 * (betas**2).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    return torch.cat([root, pose, betas], dim=1).detach(), fixed
