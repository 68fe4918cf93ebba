"""Which joints a camera sees, from exact depth."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from hwhup_core.synthetic.crib import Material, SceneRender

_COVER = np.array([
    0.115, 0.100, 0.100, 0.115, 0.060, 0.060, 0.115, 0.045, 0.045, 0.115, 0.035, 0.035,
    0.085, 0.085, 0.085, 0.115, 0.060, 0.060, 0.040, 0.040, 0.035, 0.035, 0.030, 0.030,
])  # fmt: skip
"""Flesh over each SMPL joint of a large infant, metres: a surface farther in front of the joint is something else."""


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
