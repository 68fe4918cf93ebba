"""The camera that fits given 3D points to their pixels best (method 2.6), for all samples at once."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hwhup_core.fitting.energies import CENTER_PX
from hwhup_core.geometry.cameras import HALF_CROPS_FOCAL
from hwhup_core.types import CropPinhole, WeakPerspective

SMALLEST_SPREAD_PX = 0.1
"""Standard deviation of the visible pixels below which the distance cannot be told."""


def camera_from_points(
    points: Float[Tensor, 'b k 3'],
    keypoints: Float[Tensor, 'b k 2'],
    confidence: Float[Tensor, 'b k'],
    pinhole: CropPinhole | None = None,
) -> tuple[Float[Tensor, 'b 3'], Bool[Tensor, ' b']]:
    """
    Return translations that minimise sum c |f (X + t_xy) - p (Z + t_z)|^2, and which exist.

    p is the pixel from the principal point. The 3x3 normal equations are solved by elimination: t_x and t_y are
    weighted means for any t_z, which leaves one unknown. No visible joint, all of them on one spot, or a camera behind
    the body gives False (and t = (0, 0, 1)). Without a `pinhole` the camera is SPIN's far one.
    """
    pinhole = (pinhole or spin_pinholes(points)).map(lambda tensor: tensor.double())
    focal = CENTER_PX * pinhole.focal[:, None, None]
    weight, place = confidence.double(), points.double()
    pixel = keypoints.double() - CENTER_PX * (1 + pinhole.center[:, None])
    pixel = torch.where(weight[..., None] > 0, pixel, 0.0)
    total = weight.sum(dim=1)
    weight = weight / total.clamp(min=1e-12)[:, None]
    # Residual of one joint: f t_xy - (p t_z + constant).
    constant = pixel * place[..., 2:] - focal * place[..., :2]
    mean_pixel, mean_constant = (_mean(values, weight) for values in (pixel, constant))
    from_mean = pixel - mean_pixel[:, None]
    spread = _mean(from_mean.square(), weight).sum(dim=1)
    shared = _mean(from_mean * (constant - mean_constant[:, None]), weight).sum(dim=1)
    distance = -shared / spread.clamp(min=SMALLEST_SPREAD_PX**2)
    shift = (mean_pixel * distance[:, None] + mean_constant) / focal[:, 0]
    translation = torch.cat([shift, distance[:, None]], dim=1)
    exists = (spread > SMALLEST_SPREAD_PX**2) & (total > 0) & (distance > 0) & translation.isfinite().all(dim=1)
    nowhere = torch.zeros_like(translation)
    nowhere[:, 2] = 1.0
    return torch.where(exists[:, None], translation, nowhere).to(points.dtype), exists


def _mean(values: Float[Tensor, 'b k 2'], weight: Float[Tensor, 'b k']) -> Float[Tensor, 'b 2']:
    return (values * weight[..., None]).sum(dim=1)


def weak_perspective(translation: Float[Tensor, 'b 3'], pinhole: CropPinhole | None = None) -> WeakPerspective:
    """Return the crop camera of a translation before `pinhole` (SPIN's by default): `crop_translation` undone."""
    pinhole = pinhole or spin_pinholes(translation)
    scale = pinhole.focal / translation[:, 2]
    return WeakPerspective(scale=scale, shift=translation[:, :2] + pinhole.center / scale[:, None])


def spin_pinholes(like: Float[Tensor, 'b *_']) -> CropPinhole:
    """Return SPIN's far camera for every sample of `like`."""
    return CropPinhole(like.new_full((len(like),), HALF_CROPS_FOCAL), like.new_zeros(len(like), 2))
