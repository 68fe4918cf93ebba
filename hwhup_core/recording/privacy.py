"""Heads made unrecognisable before anything reaches the disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

from hwhup_core.body.joints import SMPL_24, index
from hwhup_core.recording.config import Privacy
from hwhup_core.types import BodyEstimate, Frame, State

REACH_M = 0.07
"""
How much farther than the neck the farthest point of the head is from the head joint, metres: an infant's is at 0.106,
the neck at 0.037, an adult's at 0.154 and 0.102.
"""
MARGIN = 1.25
"""Of the disc over the head, for an estimate that is a little wrong."""
CELLS = 6
"""The disc is averaged down to so many cells across, which no sharpening brings back."""


def protected(frame: Frame, estimates: Sequence[BodyEstimate], privacy: Privacy) -> Frame:
    """
    Return the frame as it may be stored.

    With `head_blurred`, a frame in which nobody was found, or somebody whose head is not known for sure, loses its
    colour altogether; depth stays, though a face at a metre can be recognised in good depth, too.
    """
    if privacy == 'full' or frame.color is None:
        return frame
    if privacy == 'no_color' or not estimates or not all(map(_head_known, estimates)):
        return replace(frame, color=None)
    color = frame.color
    for estimate in estimates:
        color = blur_disc(color, *head_disc(estimate))
    return replace(frame, color=color)


def _head_known(estimate: BodyEstimate) -> bool:
    if estimate.state != State.ESTIMATED:
        return False
    (x, y), radius = head_disc(estimate)
    return math.isfinite(x + y + radius) and radius > 0


def head_disc(estimate: BodyEstimate) -> tuple[tuple[float, float], float]:
    """Return centre and radius (pixels) of the disc over the head; a head seen from above is as wide as any other."""
    neck, head = index('neck', SMPL_24), index('head', SMPL_24)
    pixels_per_metre = float(estimate.camera[0]) * estimate.box.side / 2
    in_image = float(np.linalg.norm(estimate.joint_pixels[head] - estimate.joint_pixels[neck]))
    in_space = float(np.linalg.norm(estimate.joint_positions[head] - estimate.joint_positions[neck]))
    from_neck = float(np.maximum(in_image, in_space * pixels_per_metre))  # NaN where one is unknown.
    x, y = estimate.joint_pixels[head]
    return (float(x), float(y)), MARGIN * (from_neck + REACH_M * pixels_per_metre)


def blur_disc(color: UInt8[ndarray, 'h w 3'], center: tuple[float, float], radius: float) -> UInt8[ndarray, 'h w 3']:
    """Return the picture with a disc averaged to a few cells; the rest is untouched."""
    left, top = (max(0, int(np.floor(middle - radius))) for middle in center)
    right = min(color.shape[1], int(np.ceil(center[0] + radius)) + 1)
    bottom = min(color.shape[0], int(np.ceil(center[1] + radius)) + 1)
    if right <= left or bottom <= top:
        return color
    window = color[top:bottom, left:right]
    cells = cv2.resize(window, (CELLS, CELLS), interpolation=cv2.INTER_AREA)
    coarse = cv2.resize(cells, window.shape[1::-1], interpolation=cv2.INTER_NEAREST)
    result = color.copy()
    inside = _disc(window.shape[:2], (center[0] - left, center[1] - top), radius)
    result[top:bottom, left:right][inside] = coarse[inside]
    return result


def _disc(shape: tuple[int, int], center: tuple[float, float], radius: float) -> Bool[ndarray, 'h w']:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((columns + 0.5 - center[0]) ** 2 + (rows + 0.5 - center[1]) ** 2 <= radius**2)
