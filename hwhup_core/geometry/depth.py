"""Depth images: points from them, and how two of them are compared up to an offset (equation 3)."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from hwhup_core.geometry.cameras import rays
from hwhup_core.types import Intrinsics


def unproject(depth: Float[ndarray, 'h w'], intrinsics: Intrinsics) -> Float[ndarray, 'h w 3']:
    """Return the camera-frame points (m) of a depth image; a hole (0) gives the origin."""
    height, width = depth.shape
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    if intrinsics.distortion_model == 'none':
        plane = np.stack([(x - intrinsics.cx) / intrinsics.fx, (y - intrinsics.cy) / intrinsics.fy], axis=-1)
        directions = np.concatenate([plane, np.ones((height, width, 1))], axis=-1)
    else:
        directions = rays(intrinsics, np.stack([x.ravel(), y.ravel()], axis=1)).reshape(height, width, 3)
    points: ndarray = directions * depth[..., None]
    return points


def depth_offset_mean(
    observed: Float[Tensor, 'b h w'], rendered: Float[Tensor, 'b h w'], valid: Bool[Tensor, 'b h w']
) -> Float[Tensor, ' b']:
    """
    Return how far (m) the observed depth lies behind the rendered one, as the mean (the released code's choice).

    It minimises the squared error. An image with no valid pixel gets 0, so it adds nothing instead of NaN.
    """
    difference = torch.where(valid, observed - rendered, 0.0)
    return difference.sum(dim=(1, 2)) / valid.sum(dim=(1, 2)).clamp(min=1)


def depth_offset_median(
    observed: Float[Tensor, 'b h w'], rendered: Float[Tensor, 'b h w'], valid: Bool[Tensor, 'b h w']
) -> Float[Tensor, ' b']:
    """Return the offset (m) that minimises the absolute error (equation 3): the median; 0 where nothing is valid."""
    difference = torch.where(valid, observed - rendered, torch.nan).flatten(1)
    return torch.nan_to_num(difference.nanmedian(dim=1).values, nan=0.0)


def aligned_depth_error(
    observed: Float[Tensor, 'b h w'], rendered: Float[Tensor, 'b h w'], valid: Bool[Tensor, 'b h w']
) -> Float[Tensor, ' b']:
    """Return the mean |rendered + offset - observed| (m) with the median offset; NaN where nothing is valid."""
    offset = depth_offset_median(observed, rendered, valid)
    error = torch.where(valid, (observed - rendered - offset[:, None, None]).abs(), 0.0)
    return error.sum(dim=(1, 2)) / torch.where(valid.any(dim=2).any(dim=1), valid.sum(dim=(1, 2)), torch.nan)
