"""
How well a rendered body fits a depth image, one number an image: numbers in, numbers out.

`released_error_mm` is the number of the paper's tables; the others leave out what was not measured and say what they
skip. Depth in metres, 0 = hole or no body.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hwhup_core.geometry.depth import aligned_depth_error, depth_offset_mean
from hwhup_core.types import TensorRecord

EMPTY_MM = -1.0
"""What the released code gives an image without a pixel to compare."""


@dataclass(frozen=True)
class DepthScores(TensorRecord):
    """One row an image; NaN where there is nothing to compare."""

    released_error_mm: Float[Tensor, ' b']
    """The released code's aligned depth error, millimetres; -1 for an image without a pixel."""
    mean_aligned_error: Float[Tensor, ' b']
    """Mean absolute error over measured body pixels after the mean offset, metres."""
    median_aligned_error: Float[Tensor, ' b']
    """The same after the median offset (equation 3), metres; never larger."""
    mask_iou: Float[Tensor, ' b']
    """Overlap of rendered and given body mask."""


def depth_scores(
    rendered: Float[Tensor, 'b h w'], observed: Float[Tensor, 'b h w'], mask: Bool[Tensor, 'b h w']
) -> DepthScores:
    """Return every score of a batch; `mask` is the body mask Ma of the observed image."""
    compared = (rendered > 0) & (observed > 0) & mask
    return DepthScores(
        released_error_mm=released_error_mm(rendered, observed, mask),
        mean_aligned_error=mean_aligned_error(rendered, observed, compared),
        median_aligned_error=aligned_depth_error(observed, rendered, compared),
        mask_iou=mask_iou(rendered > 0, mask),
    )


def released_error_mm(
    rendered: Float[Tensor, 'b h w'], observed: Float[Tensor, 'b h w'], mask: Bool[Tensor, 'b h w']
) -> Float[Tensor, ' b']:
    """
    Return the released code's aligned depth error in millimetres (method 5.1).

    Over rendered pixels in `mask`, the mean of |rendered - (observed + mean rendered - mean observed)|. Holes are not
    left out: they count as depth 0. An image without a pixel gets -1.
    """
    valid = (rendered > 0) & mask
    error = 1000 * mean_aligned_error(rendered, observed, valid)
    return torch.where(valid.any(dim=2).any(dim=1), error, EMPTY_MM)


def released_mean_mm(errors: Float[Tensor, ' n']) -> float:
    """Return the released code's figure of a data set (mm): the plain mean, in which an empty image counts as -1."""
    return float(errors.mean()) if len(errors) else float('nan')


def mean_aligned_error(
    rendered: Float[Tensor, 'b h w'], observed: Float[Tensor, 'b h w'], valid: Bool[Tensor, 'b h w']
) -> Float[Tensor, ' b']:
    """Return the mean |rendered + offset - observed| (m) with the mean offset; NaN where nothing is valid."""
    offset = depth_offset_mean(observed, rendered, valid)
    error = torch.where(valid, (rendered + offset[:, None, None] - observed).abs(), 0).sum(dim=(1, 2))
    counts = valid.sum(dim=(1, 2))
    return torch.where(counts > 0, error / counts.clamp(min=1), torch.nan)


def mask_iou(first: Bool[Tensor, 'b h w'], second: Bool[Tensor, 'b h w']) -> Float[Tensor, ' b']:
    """Return intersection over union; NaN where both are empty."""
    union = (first | second).sum(dim=(1, 2))
    shared = (first & second).sum(dim=(1, 2))
    return torch.where(union > 0, shared / union.clamp(min=1), torch.nan)


def skipped_frames(errors: Float[Tensor, ' n']) -> int:
    """Return how many images a mean over this score leaves out: NaN, or -1 by the released code."""
    return int((errors.isnan() | (errors == EMPTY_MM)).sum())
