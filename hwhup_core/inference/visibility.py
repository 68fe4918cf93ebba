"""Which joints the camera sees: measured depth against the depth of the body."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.body.joints import SMPL_24
from hwhup_core.inference.placement import Comparison

OCCLUDER_MARGIN_M = 0.03
"""What depth noise and pose error may add to the flesh in front of a joint before it counts as hidden."""
FLESH_FACTOR = 1.3
"""A body seen from the side has more flesh in front of its spine than one seen from the front."""
COLUMN_RADIUS = 0.03
"""Radius of the column through a joint in which the skin is looked for, in statures."""


def flesh_radii(vertices: Float[ndarray, 'v 3'], joints: Float[ndarray, '24 3']) -> Float[ndarray, '24']:
    """
    Return for each joint how far in front of it the skin may lie (m), from the body in T-pose, facing +z.

    Every limb of a T-pose is perpendicular to z, so the larger of the ways to the front and the back skin is a radius;
    the feet alone point to the front, and theirs is the smaller one.
    """
    offsets = vertices[None] - joints[:, None]
    stature = vertices[:, 1].max() - vertices[:, 1].min()
    near = np.hypot(offsets[..., 0], offsets[..., 1]) < COLUMN_RADIUS * stature
    front = np.where(near, offsets[..., 2], 0.0).max(axis=1)
    back = np.where(near, -offsets[..., 2], 0.0).max(axis=1)
    pointing = np.array([name.endswith(('ankle', 'foot')) for name in SMPL_24])
    radii: ndarray = FLESH_FACTOR * np.where(pointing, np.minimum(front, back), np.maximum(front, back))
    return radii


def joint_visibility(
    joints: Float[ndarray, 'k 3'],
    pixels: Float[ndarray, 'k 2'],
    radii: Float[ndarray, ' k'],
    depth: Float[ndarray, 'h w'],
    comparison: Comparison | None,
) -> Float[ndarray, ' k']:
    """
    Return 1 for joints that are seen, 0 for hidden ones, NaN where it is unknown.

    A joint is hidden where something measured (a cover, a hand, a bar) or another part of the body itself (rendered)
    lies further in front of it than its own flesh and a margin. Outside the image and in holes of the depth image it
    is unknown.
    """
    measured = _depth_at(depth, pixels, 0, 0)
    front = joints[:, 2] - radii - OCCLUDER_MARGIN_M
    hidden = measured < front
    if comparison is not None:
        rendered = _depth_at(comparison.rendered, pixels, comparison.window.left, comparison.window.top)
        hidden |= np.where(np.isnan(rendered), np.inf, rendered) < front
    return np.where(np.isnan(measured), np.nan, np.where(hidden, 0.0, 1.0))


def _depth_at(image: Float[ndarray, 'h w'], pixels: Float[ndarray, 'k 2'], left: int, top: int) -> Float[ndarray, ' k']:
    """Return the depth at image pixels of an image that starts at (left, top); NaN outside and in holes."""
    height, width = image.shape
    whole = np.floor(np.nan_to_num(pixels, nan=-1e6)) - (left, top)
    inside = (whole >= 0).all(axis=1) & (whole[:, 0] < width) & (whole[:, 1] < height)
    columns, rows = np.where(inside[:, None], whole, 0).astype(int).T
    values = image[rows, columns].astype(np.float64)
    return np.where(inside & (values > 0) & np.isfinite(values), values, np.nan)
