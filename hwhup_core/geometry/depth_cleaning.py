"""
Cleaning of a sensor's depth image: holes are filled, then noise is smoothed without moving edges (method 3.1).

Metres, 0 = hole. The released code fills with the smallest value near a hole; its denoising runs for no iteration, so
its published depth is only filled (`RELEASED_CODE`). Here the same Perona-Malik filter really acts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from hwhup_core.errors import ConfigError

LARGEST_STABLE_STEP = 0.25
"""Above it four neighbours can move a pixel beyond all of them, and the diffusion oscillates."""


@dataclass(frozen=True)
class CleaningConfig:
    """How a depth image is cleaned."""

    fill: Literal['none', 'min', 'nearest'] = 'nearest'
    """`min`: the nearest surface in a window that grows (released code); `nearest`: the closest measured pixel."""
    near: float = 0.1
    """Metres; a value at or below it is a hole."""
    far: float = 4.0
    """Metres; a value at or above it is a hole."""
    first_radius: int = 5
    """Pixels; half side of the first window of `min`."""
    last_radius: int = 20
    """Pixels; half side of the last window of `min`, reach of `nearest`. A hole beyond it keeps its value."""
    iterations: int = 10
    """Steps of the diffusion; 0 leaves the noise."""
    kappa: float = 0.05
    """Metres; a step between neighbours that is much larger is an edge and stays."""
    step: float = 0.2
    """Share of the flow applied in one iteration, at most 0.25."""

    def __post_init__(self) -> None:
        if not 0 < self.step <= LARGEST_STABLE_STEP:
            raise ConfigError(f'step is {self.step}; the diffusion is stable in (0, 0.25] only. Lower it.')
        if not 1 <= self.first_radius <= self.last_radius:
            raise ConfigError(
                f'first_radius {self.first_radius} and last_radius {self.last_radius} must be at least 1 and ascending.'
            )
        if not 0 <= self.near < self.far or self.iterations < 0 or self.kappa <= 0:
            raise ConfigError('near must be in [0, far), iterations at least 0 and kappa above 0.')


RELEASED_CODE = CleaningConfig(fill='min', iterations=0)
"""What the released code does: minimum fill, and a denoising loop that is never entered."""
PAPER = CleaningConfig(fill='min')
"""The same fill, and the denoising that the paper describes; kappa, step and iterations are ours (it prints none)."""


def clean_depth(depth: Float[ndarray, 'h w'], config: CleaningConfig) -> Float[ndarray, 'h w']:
    """Return the depth image filled, then denoised."""
    measured = (depth > config.near) & (depth < config.far)
    if config.fill == 'min':
        depth = fill_with_smallest(depth, measured, config.first_radius, config.last_radius)
    elif config.fill == 'nearest':
        depth = fill_with_nearest(depth, measured, config.last_radius)
    return diffuse(depth, config.iterations, config.kappa, config.step)


def fill_with_smallest(
    depth: Float[ndarray, 'h w'], measured: Bool[ndarray, 'h w'], first_radius: int, last_radius: int
) -> Float[ndarray, 'h w']:
    """
    Return the image in which a hole has the smallest measured depth of the first window around it that has any.

    The window of radius r is rows [i - r, i + r) and columns [j - r, j + r), cut at the border; r grows by 1 from
    `first_radius` to `last_radius`. A hole with no measurement in the last window keeps its value. The body grows into
    its shadows.
    """
    filled, waiting = depth.copy(), ~measured
    nothing = float(np.finfo(depth.dtype).max)
    candidates = np.where(measured, depth, depth.dtype.type(nothing))
    for radius in range(first_radius, last_radius + 1):
        if not waiting.any():
            break
        window = np.ones((2 * radius, 2 * radius), np.uint8)
        smallest = cv2.erode(
            candidates, window, anchor=(radius, radius), borderType=cv2.BORDER_CONSTANT, borderValue=nothing
        )
        found = waiting & (smallest < nothing)
        filled[found] = smallest[found]
        waiting &= ~found
    return filled


def fill_with_nearest(
    depth: Float[ndarray, 'h w'], measured: Bool[ndarray, 'h w'], reach: int
) -> Float[ndarray, 'h w']:
    """
    Return the image in which a hole has the depth of the measured pixel closest to it, up to `reach` pixels away.

    Edges stay: a hole between two surfaces is split half way, no depth between them is invented and neither grows
    beyond that. Distances are OpenCV's 5x5 approximation, exact to about 2 %.
    """
    if not measured.any():
        return depth.copy()
    distance, label = cv2.distanceTransformWithLabels(
        (~measured).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.zeros(int(label.max()) + 1, depth.dtype)
    by_label[label[measured]] = depth[measured]
    return np.where(~measured & (distance <= reach), by_label[label], depth)


def diffuse(depth: Float[ndarray, 'h w'], iterations: int, kappa: float, step: float) -> Float[ndarray, 'h w']:
    """
    Return the depth after Perona-Malik diffusion with conductance exp(-(difference / kappa)^2).

    Each pair of neighbours exchanges depth, so that the mean stays; a pair with a hole exchanges nothing, so that holes
    neither change nor pull.
    """
    depth = depth.copy()
    both_down = (depth[1:] > 0) & (depth[:-1] > 0)
    both_right = (depth[:, 1:] > 0) & (depth[:, :-1] > 0)
    for _ in range(iterations):
        down = _flow(np.diff(depth, axis=0), both_down, kappa, step)
        right = _flow(np.diff(depth, axis=1), both_right, kappa, step)
        depth[:-1] += down
        depth[1:] -= down
        depth[:, :-1] += right
        depth[:, 1:] -= right
    return depth


def _flow(
    difference: Float[ndarray, 'h w'], both: Bool[ndarray, 'h w'], kappa: float, step: float
) -> Float[ndarray, 'h w']:
    """Return what the first pixel of each pair takes from the second."""
    return np.where(both, step * difference * np.exp(-((difference / kappa) ** 2)), 0)
