"""
Joint proxies: 3D points that a depth image shows where the 2D joints are (method 3.2), and how they are centred (3.3).

A proxy lies on the skin (or on the sheet), not in the joint: on the bundled adult seen from the front it is nearer by
3 cm at the wrists, 7 at the knees, 12 at the hips and 13 at the pelvis. Centring takes off what the joints share: 3 cm
are left on average with the visible mean or the torso median, 5 with the hips, where the bias is largest.

Metres, camera frame; 0 = hole; pixel centres at .5, so that pixel (x, y) is row floor(y), column floor(x).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from hwhup_core.errors import ConfigError
from hwhup_core.geometry.cameras import rays
from hwhup_core.types import Intrinsics

Centring = Literal['visible_mean', 'torso_median', 'hip_mean']
"""How proxies and joints are brought to a common origin, see `centring_offset`."""

HIPS = ('left_hip', 'right_hip')
TORSO = ('left_shoulder', 'right_shoulder', *HIPS, 'pelvis', 'neck', 'thorax', 'spine1', 'spine2', 'spine3')
"""Joints that `torso_median` trusts, where a set has them."""


FLESH: Mapping[str, float] = {
    'ankle': 0.036, 'knee': 0.061, 'hip': 0.100, 'wrist': 0.032, 'elbow': 0.042, 'shoulder': 0.055, 'thorax': 0.080,
    'head': 0.072, 'pelvis': 0.130,
}  # fmt: skip
"""
Metres from the skin to a visible joint of the bundled adult, along the ray, lying on any side and seen from above: the
median where few limbs lie over it. Left and right are alike; a joint without an entry is not moved.
"""


@dataclass(frozen=True)
class ProxyConfig:
    """What counts as seen, and where the head is."""

    head_ratio: float = 0.8
    """Where the head lies between the neck (0) and the top of the head (1)."""
    far: float = 2.4
    """Metres; a joint whose pixel lies farther fell beside the body."""
    hide_holes: bool = True
    """Whether a joint at a hole counts as hidden; the released code keeps it, at the origin of the camera."""

    flesh: float = 0.0
    """How far a proxy is moved along its ray from the skin into the joint, times `FLESH`; 0 (the paper): not at all."""

    def __post_init__(self) -> None:
        if not 0 <= self.head_ratio <= 1 or self.far <= 0 or self.flesh < 0:
            raise ConfigError(
                f'head_ratio {self.head_ratio} must be in [0, 1], far {self.far} above 0 and flesh {self.flesh} at '
                'least 0.'
            )


RELEASED_CODE = ProxyConfig(hide_holes=False)


@dataclass(frozen=True)
class Joints2D:
    """Named 2D joints of one frame."""

    names: tuple[str, ...]
    pixels: Float[ndarray, 'k 2']
    """Image x, y; NaN where unknown."""
    visible: Bool[ndarray, ' k']
    """False where occluded or unknown."""


@dataclass(frozen=True)
class Proxies:
    """What the depth image shows at the joints of one frame."""

    points: Float[ndarray, 'k 3']
    """Camera frame, metres; the origin where nothing was measured. An occluded joint has its occluder's point."""
    visible: Bool[ndarray, ' k']
    """Whether the joint passed the gate."""


def with_head_and_pelvis(joints: Joints2D, head_ratio: float) -> Joints2D:
    """
    Return the joints plus `head` and `pelvis` at the end.

    The head is thorax + r (head_top - thorax) and seen where the top of the head is; the pelvis is the mean of the hips
    and seen only where both are.
    """
    thorax, head_top = _indices(('thorax', 'head_top'), joints.names)
    hips = _indices(HIPS, joints.names)
    head = joints.pixels[thorax] + head_ratio * (joints.pixels[head_top] - joints.pixels[thorax])
    added = np.stack([head, joints.pixels[hips].mean(axis=0)])
    seen = np.array([joints.visible[head_top], joints.visible[hips].all()])
    return Joints2D(
        (*joints.names, 'head', 'pelvis'),
        np.concatenate([joints.pixels, added]),
        np.concatenate([joints.visible, seen]),
    )


def joint_proxies(
    depth: Float[ndarray, 'h w'], joints: Joints2D, intrinsics: Intrinsics, config: ProxyConfig
) -> Proxies:
    """
    Return the point that each joint's pixel shows, and whether the joint passed the gate.

    Hidden are joints that the labels say so of, outside the image, beyond `far`, and (`hide_holes`) at a hole.
    """
    inside, measured = depth_at(depth, joints.pixels)
    known = np.where(inside[:, None], joints.pixels, (intrinsics.cx, intrinsics.cy))
    lines = rays(intrinsics, known)
    deeper = config.flesh * flesh_of(joints.names) / np.linalg.norm(lines, axis=1)
    points = lines * np.where(measured > 0, measured + deeper, 0.0)[:, None]
    visible = joints.visible & inside & (measured <= config.far)
    return Proxies(points, visible & (measured > 0) if config.hide_holes else visible)


def flesh_of(names: Sequence[str]) -> Float[ndarray, ' k']:
    """Return how far each joint lies below the skin, metres, see `FLESH`."""
    return np.array([FLESH.get(name.removeprefix('left_').removeprefix('right_'), 0.0) for name in names])


def depth_at(
    depth: Float[ndarray, 'h w'], pixels: Float[ndarray, 'k 2']
) -> tuple[Bool[ndarray, ' k'], Float[ndarray, ' k']]:
    """Return which pixels lie in the image and the depth (m) of each, 0 outside."""
    height, width = depth.shape
    with np.errstate(invalid='ignore'):
        inside = np.all((pixels >= 0) & (pixels < (width, height)), axis=1)
    column, row = np.where(inside[:, None], pixels, 0).astype(np.int64).T
    return inside, np.where(inside, depth[row, column], 0)


def visible_mean_offset(difference: Float[Tensor, 'b k 3'], visibility: Float[Tensor, 'b k']) -> Float[Tensor, 'b 3']:
    """
    Return the mean difference over the joints that are seen: the offset with the smallest weighted squared error.

    Subtracting it puts both sides' origin at the mean of the same visible joints, so that an occluded hip has no say. A
    sample without a visible joint gets 0.
    """
    total = torch.where(visibility[..., None] > 0, difference * visibility[..., None], 0).sum(dim=1)
    weight = visibility.sum(dim=1, keepdim=True)
    return total / torch.where(weight > 0, weight, 1)


def torso_median_offset(
    difference: Float[Tensor, 'b k 3'], visibility: Float[Tensor, 'b k'], torso: Sequence[int]
) -> Float[Tensor, 'b 3']:
    """
    Return each coordinate's median difference over the torso joints that are seen.

    One wrong hip does not move it. Without a visible torso joint it is the mean over the visible joints.
    """
    seen = visibility[:, list(torso)] > 0
    median = torch.where(seen[..., None], difference[:, list(torso)], torch.nan).nanmedian(dim=1).values
    return torch.where(seen.any(dim=1, keepdim=True), median, visible_mean_offset(difference, visibility))


def hip_mean_offset(difference: Float[Tensor, 'b k 3'], hips: Sequence[int]) -> Float[Tensor, 'b 3']:
    """Return the mean difference of the two hips, whether they are seen or not (the released code's choice)."""
    return difference[:, list(hips)].mean(dim=1)


def centring_offset(
    centring: Centring, difference: Float[Tensor, 'b k 3'], visibility: Float[Tensor, 'b k'], names: Sequence[str]
) -> Float[Tensor, 'b 3']:
    """
    Return what centring takes off joint minus proxy (m).

    Centring both sides and then subtracting them is the same as subtracting the mean (or median) difference.
    """
    if centring == 'visible_mean':
        return visible_mean_offset(difference, visibility)
    if centring == 'hip_mean':
        return hip_mean_offset(difference, _indices(HIPS, names))
    torso = [position for position, name in enumerate(names) if name in TORSO]
    if not torso:
        raise ConfigError(f'No torso joint among {", ".join(names)}. Centre on visible_mean.')
    return torso_median_offset(difference, visibility, torso)


def _indices(wanted: Sequence[str], names: Sequence[str]) -> list[int]:
    """Return where the wanted joints stand in `names`."""
    missing = [name for name in wanted if name not in names]
    if missing:
        raise ConfigError(f'No joint {missing[0]!r} among {", ".join(names)}. Give a joint set that has it.')
    return [list(names).index(name) for name in wanted]
