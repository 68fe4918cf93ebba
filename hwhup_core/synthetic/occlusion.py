"""Which joints a camera sees, from exact depth."""

from __future__ import annotations

from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from hwhup_core.synthetic.crib import Material, SceneRender

_COVER = np.array([
    0.115, 0.100, 0.100, 0.115, 0.060, 0.060, 0.115, 0.045, 0.045, 0.115, 0.035, 0.035,
    0.085, 0.085, 0.085, 0.115, 0.060, 0.060, 0.040, 0.040, 0.035, 0.035, 0.030, 0.030,
])  # fmt: skip
"""Flesh over each SMPL joint of a large infant, metres: a surface farther in front of the joint is something else."""

_ADULT = (0.065, 0.07, 0.18, 0.18, 0.07, 0.065, 0.053, 0.07, 0.12, 0.12, 0.07, 0.053, 0.13, 0.08)
_INFANT = (0.034, 0.034, 0.09, 0.09, 0.034, 0.034, 0.026, 0.033, 0.065, 0.065, 0.033, 0.026, 0.07, 0.055)
FLESH = MappingProxyType({'adult': np.array(_ADULT), 'infant': np.array(_INFANT)})
"""
Flesh over SLP's joints by bundled body, metres: what nine of ten random rays from the joint up through the skin of
lying bodies of random shape stay below (rise along the vertical until the first exit), both sides averaged, and a tenth
more.
"""
_NEAR = np.array([(0, 0), (2, 0), (-2, 0), (0, 2), (0, -2)])
"""Where to look around a joint's pixel: people who label see it when they see some of it."""
_SOFT = 0.02
"""How far a joint may lie below an object's surface and not count as hidden, metres: limbs sink into mattresses."""


def joint_visibility(
    joints: Float[ndarray, '24 3'], pixels: Float[ndarray, '24 2'], render: SceneRender
) -> Bool[ndarray, '24']:
    """Return which joints (camera frame, metres) show the body at their pixel, with only their own flesh over them."""
    height, width = render.depth.shape
    finite = np.isfinite(pixels).all(axis=1)
    columns, rows = np.floor(np.where(finite[:, None], pixels, -1.0)).astype(int).T
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = np.where(inside, rows, 0), np.where(inside, columns, 0)
    over = joints[:, 2] - render.depth[rows, columns]
    result: ndarray = inside & (render.material[rows, columns] == Material.BODY) & (over < _COVER)
    return result


def slp_occlusion(
    joints: Float[ndarray, '14 3'],
    pixels: Float[ndarray, '14 2'],
    render: SceneRender,
    flesh: Float[ndarray, '14'],
) -> Bool[ndarray, '14']:
    """
    Return which of SLP's joints (camera frame, metres) something hides, as people label it.

    A joint is hidden if all of what the camera sees within 2 px of it is an object in front of it, or the body more
    than `flesh` (metres) in front of it; outside the image it counts as hidden. A joint that sticks out of its own
    outline, with the mattress or another part of the body behind it, is not.
    """
    height, width = render.depth.shape
    finite = np.isfinite(pixels).all(axis=1)
    columns, rows = np.floor(np.where(finite[:, None], pixels, -1.0)).astype(int).T
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows = np.clip(rows[:, None] + _NEAR[:, 1], 0, height - 1)
    columns = np.clip(columns[:, None] + _NEAR[:, 0], 0, width - 1)
    depth = render.depth[rows, columns]
    over = np.where(depth > 0, joints[:, 2:] - depth, -np.inf)
    allowed = np.where(render.material[rows, columns] == Material.BODY, flesh[:, None], _SOFT)
    result: ndarray = ~inside | (over > allowed).all(axis=1)
    return result
