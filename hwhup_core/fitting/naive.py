"""SMPLify spelled out, the body posed anew in every iteration of both stages: what the fast code is tested against."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from hwhup_core.body.priors import MixturePrior
from hwhup_core.fitting import energies
from hwhup_core.fitting.camera import spin_pinholes
from hwhup_core.fitting.config import SmplifyConfig
from hwhup_core.fitting.inputs import Observation
from hwhup_core.types import CropPinhole

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
    pinhole: CropPinhole | None = None,
) -> tuple[Float[Tensor, 'b 82'], Float[Tensor, 'b 3']]:
    """Return fitted rows (72 axis-angle numbers, 10 betas) and translations."""
    root, pose, betas = (part.clone().requires_grad_() for part in first.split([3, 69, 10], dim=1))
    pinhole = pinhole or spin_pinholes(first)
    far = energies.far_distance(first_translation[:, 2], pinhole).requires_grad_()
    first_far, sideways = far.detach().clone(), first_translation[:, :2].clone().requires_grad_()

    def place() -> Float[Tensor, 'b 3']:
        return torch.cat([sideways, energies.true_distance(far, pinhole)[:, None]], dim=1)

    optimizer = torch.optim.Adam([root, sideways, far], lr=config.learning_rate, betas=config.adam_betas)
    for _ in range(config.camera_iterations):
        projected = energies.project_to_crop(points(root, pose, betas), place(), pinhole)
        torso = (seen.torso[..., None] * (projected - seen.pixels) ** 2).sum()
        change = ((far - first_far) ** 2).sum()
        optimizer.zero_grad()
        (torso + config.weights.depth**2 * change).backward()
        optimizer.step()
    fixed = place().detach()
    optimizer = torch.optim.Adam([root, pose, betas], lr=config.learning_rate, betas=config.adam_betas)
    for _ in range(config.body_iterations):
        error = (energies.project_to_crop(points(root, pose, betas), fixed, pinhole) - seen.pixels) ** 2
        robust = config.sigma_px**2 * error / (config.sigma_px**2 + error)
        bends = torch.stack([pose[:, 52], -pose[:, 55], -pose[:, 9], -pose[:, 12]])
        total = (seen.confidence[..., None] ** 2 * robust).sum()
        total = total + prior_weight**2 * prior(pose).sum()
        total = total + config.weights.angle**2 * (bends.exp() ** 2).sum() + config.weights.shape**2 * (betas**2).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    return torch.cat([root, pose, betas], dim=1).detach(), fixed
