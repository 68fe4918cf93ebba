"""
The losses of weakly supervised adaptation, equations 1 to 5: one function a term, each unweighted.

The paper writes norms, the released code means; the scale of every term is the code's (method 0), so that its weights
apply. A term for which a batch has nothing is 0 with gradient 0, never NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hwhup_core.errors import ConfigError, HwhupError
from hwhup_core.geometry.cameras import crop_translation, spin_pinhole
from hwhup_core.geometry.depth import depth_offset_mean, depth_offset_median
from hwhup_core.geometry.proxies import Centring, centring_offset
from hwhup_core.render.depth import render_depth
from hwhup_core.types import BodyParams, CropPinhole, Rendered, TensorRecord, WeakPerspective


@dataclass(frozen=True)
class WeakTerms(TensorRecord):
    """One scalar a term, unweighted. A term that is off is 0."""

    keypoints: Float[Tensor, '']
    """L2D, half crop sides squared."""
    pose: Float[Tensor, '']
    """Rotation part of LSMPL."""
    betas: Float[Tensor, '']
    """Shape part of LSMPL."""
    proxies: Float[Tensor, '']
    """L3D, m^2."""
    depth: Float[Tensor, '']
    """LD, m^2."""
    camera: Float[Tensor, '']
    """Lcam, metres."""
    scale: Float[Tensor, '']
    """Mean of exp(-10 s)^2, `losses.scale_loss`."""


@dataclass(frozen=True)
class WeakWeights:
    """What each term counts; the defaults are the released code's (method 0)."""

    overall: float = 60.0
    """Times the sum of all the others."""
    keypoints: float = 5.0
    pose: float = 0.1
    betas: float = 0.001
    proxies: float = 1.0
    depth: float = 1.0
    camera: float = 0.0
    """1 for infants, in their first epochs."""
    scale: float = 1.0


@dataclass(frozen=True)
class DepthTermConfig:
    """How rendered and observed depth are compared."""

    offset: Literal['median', 'mean'] = 'median'
    """b0 of an image: `median` minimises equation 3, `mean` is the released code's."""
    penalty: Literal['l2', 'geman_mcclure'] = 'l2'
    """`geman_mcclure` (the paper suggests it) lets a wrong pixel pull less the more wrong it is."""
    sigma: float = 0.1
    """Metres of error beyond which Geman-McClure gives a pixel up."""
    pooling: Literal['pixels', 'images'] = 'pixels'
    """`pixels`: the mean over all pixels of the batch (released code); `images`: over the images' own means."""
    drop_holes: bool = True
    """Whether pixels without a measurement are left out; the released code keeps them, as depth 0."""

    def __post_init__(self) -> None:
        if self.sigma <= 0:
            raise ConfigError(f'sigma is {self.sigma} m; expected above 0.')


def keypoint_term(
    predicted: Float[Tensor, 'b k 2'],
    observed: Float[Tensor, 'b k 2'],
    confidence: Float[Tensor, 'b k'],
    group_weights: Float[Tensor, ' k'],
) -> Float[Tensor, '']:
    """
    Return L2D: the mean over B x K x 2 of confidence x group weight x squared difference (method 2.8).

    Joints without confidence add nothing but are counted, so that frames with many joints weigh more.
    """
    return _weighted_square(predicted - observed, confidence * group_weights).mean()


def keypoint_group_weights(names: Sequence[str], openpose: float, ground_truth: float) -> Float[Tensor, ' k']:
    """Return the weight of each joint by its group: `op_...` joints (SPIN's OpenPose slots), and all the others."""
    return torch.tensor([openpose if name.startswith('op_') else ground_truth for name in names])


def pose_term(predicted: BodyParams, fitted: BodyParams, valid: Bool[Tensor, ' b']) -> Float[Tensor, '']:
    """
    Return the rotation part of LSMPL: the mean squared entry of the 24 rotation matrices' difference (method 2.8).

    The mean is over the samples whose fit is `valid`. The paper writes the squared norm of the parameters' difference.
    """
    root = (predicted.global_rotation - fitted.global_rotation)[:, None]
    difference = torch.cat([root, predicted.joint_rotations - fitted.joint_rotations], dim=1)
    return _mean_square_of_valid(difference.flatten(1), valid)


def beta_term(
    predicted: Float[Tensor, 'b 10'], fitted: Float[Tensor, 'b 10'], valid: Bool[Tensor, ' b']
) -> Float[Tensor, '']:
    """Return the shape part of LSMPL: the mean squared difference over the samples whose fit is `valid`."""
    return _mean_square_of_valid(predicted - fitted, valid)


def camera_term(
    predicted: WeakPerspective,
    fitted: Float[Tensor, 'b 3'],
    valid: Bool[Tensor, ' b'],
    pinhole: CropPinhole | None = None,
) -> Float[Tensor, '']:
    """
    Return Lcam: the mean absolute difference (m) of the crop camera's translations, over the valid fits.

    `fitted` stands before the same `pinhole` (SPIN's far camera without one), which is a constant.
    """
    placed = crop_translation(predicted, pinhole.detach() if pinhole else None)
    difference = torch.where(valid[:, None], placed - fitted, 0)
    return difference.abs().sum() / (valid.sum() * 3).clamp(min=1)


def proxy_term(
    predicted: Float[Tensor, 'b k 3'],
    proxies: Float[Tensor, 'b k 3'],
    visibility: Float[Tensor, 'b k'],
    has_depth: Bool[Tensor, ' b'],
    names: Sequence[str],
    centring: Centring,
) -> Float[Tensor, '']:
    """
    Return L3D: visibility x squared difference of centred joints and proxies (m^2), over B' x K x 3 (method 3.3).

    B' counts the samples that have depth, K all joints, seen or not: the released code's K is 24. With weights of
    `measured` in place of the visibility it is the ablation without visibility.
    """
    difference = predicted - proxies
    difference = difference - centring_offset(centring, difference, visibility, names)[:, None]
    square = _weighted_square(difference, visibility * has_depth[:, None])
    return square.sum() / (has_depth.sum() * len(names) * 3).clamp(min=1)


def measured(proxies: Float[Tensor, 'b k 3']) -> Float[Tensor, 'b k']:
    """Return 1 where a proxy was measured and 0 where not, seen or occluded."""
    return (proxies[..., 2] > 0).to(proxies)


def depth_term(
    vertices: Float[Tensor, 'b v 3'],
    faces: Int[Tensor, 'f 3'],
    camera: WeakPerspective,
    observed: Float[Tensor, 'b s s'],
    mask: Bool[Tensor, 'b s s'],
    config: DepthTermConfig,
    backend: str = 'auto',
    pinhole: CropPinhole | None = None,
) -> Float[Tensor, '']:
    """
    Return LD (m^2): rendered against observed depth, up to one offset an image, where both masks are (method 3.4).

    The gradient reaches the vertices only: camera, offset and mask are constants ("one-way propagation"). `pinhole` is
    the camera behind the crop; without one it is SPIN's far camera.
    """
    return counted_depth_term(vertices, faces, camera, observed, mask, config, backend, pinhole)[0]


def counted_depth_term(
    vertices: Float[Tensor, 'b v 3'],
    faces: Int[Tensor, 'f 3'],
    camera: WeakPerspective,
    observed: Float[Tensor, 'b s s'],
    mask: Bool[Tensor, 'b s s'],
    config: DepthTermConfig,
    backend: str = 'auto',
    pinhole: CropPinhole | None = None,
) -> tuple[Float[Tensor, ''], Float[Tensor, '']]:
    """Return LD and how many pixels or images, as pooled, it is the mean over."""
    rendered = render_in_crop(vertices, faces, camera, observed.shape[-1], backend, pinhole)
    observed = observed.detach()
    valid = rendered.mask & mask
    if config.drop_holes:
        valid = valid & (observed > 0)
    find_offset = depth_offset_median if config.offset == 'median' else depth_offset_mean
    offset = find_offset(observed, rendered.depth.detach(), valid)
    pooled = valid if config.pooling == 'pixels' else valid.flatten(1).any(dim=1)
    return aligned_term(rendered.depth, observed, offset, valid, config), pooled.sum().float()


def render_in_crop(
    vertices: Float[Tensor, 'b v 3'],
    faces: Int[Tensor, 'f 3'],
    camera: WeakPerspective,
    size: int,
    backend: str,
    pinhole: CropPinhole | None = None,
) -> Rendered:
    """
    Return depth and mask of the body before the (detached) crop camera, for a crop of `size` pixels.

    The camera behind the crop is `pinhole` (detached too): without one SPIN's, at which a body stands about 50 m away.
    """
    if size < 1:
        raise HwhupError(f'The crop has {size} pixels a side; expected at least 1.')
    camera = camera.detach()
    pinhole = pinhole.detach() if pinhole else spin_pinhole(camera)
    placed = vertices + crop_translation(camera, pinhole)[:, None]
    focal = pinhole.focal[:, None].expand(-1, 2)
    pixels = torch.cat([focal, pinhole.center + 1], dim=1) * (size / 2)
    return render_depth(placed, faces, pixels.to(vertices), (size, size), backend)


def aligned_term(
    rendered: Float[Tensor, 'b h w'],
    observed: Float[Tensor, 'b h w'],
    offset: Float[Tensor, ' b'],
    valid: Bool[Tensor, 'b h w'],
    config: DepthTermConfig,
) -> Float[Tensor, '']:
    """Return the mean penalty (m^2) of rendered + offset - observed over the valid pixels, pooled as told."""
    residual = torch.where(valid, rendered - observed + offset[:, None, None], 0)
    penalty = residual.square() if config.penalty == 'l2' else geman_mcclure(residual, config.sigma)
    if config.pooling == 'pixels':
        return penalty.sum() / valid.sum().clamp(min=1)
    counts = valid.sum(dim=(1, 2))
    return (penalty.sum(dim=(1, 2)) / counts.clamp(min=1)).sum() / (counts > 0).sum().clamp(min=1)


def geman_mcclure(residual: Float[Tensor, '*n'], sigma: float) -> Float[Tensor, '*n']:
    """Return sigma^2 e^2 / (sigma^2 + e^2): e^2 for small errors, at most sigma^2."""
    square = residual.square()
    return sigma**2 * square / (sigma**2 + square)


def weak_total(terms: WeakTerms, weights: WeakWeights) -> Float[Tensor, '']:
    """Return the weighted sum (equation 5, method 0). Lverts is left out: its weight is 0 in every published run."""
    return weights.overall * (
        weights.keypoints * terms.keypoints
        + weights.pose * terms.pose
        + weights.betas * terms.betas
        + weights.proxies * terms.proxies
        + weights.depth * terms.depth
        + weights.camera * terms.camera
        + weights.scale * terms.scale
    )


def _weighted_square(difference: Float[Tensor, 'b k d'], weight: Float[Tensor, 'b k']) -> Float[Tensor, 'b k d']:
    """Return weight x difference^2; where the weight is 0 the difference may be anything, NaN too."""
    weight = weight[..., None]
    return weight * torch.where(weight > 0, difference, 0).square()


def _mean_square_of_valid(difference: Float[Tensor, 'b n'], valid: Bool[Tensor, ' b']) -> Float[Tensor, '']:
    """Return the mean square over the entries of the valid samples; 0 without one."""
    square = torch.where(valid[:, None], difference, 0).square()
    return square.sum() / (valid.sum() * difference.shape[1]).clamp(min=1)
