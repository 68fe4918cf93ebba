"""Quality gates: numbers of one frame, and the reason why it is not good enough."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from hwhup_core.recording.config import GateConfig
from hwhup_core.types import Frame, PersonBox

SHARPNESS_WIDTH = 320
"""Pixels; sharpness is compared at one size."""


@dataclass(frozen=True)
class Quality:
    """Numbers of one frame; NaN where there is nothing to measure."""

    skew_s: float
    """Seconds between the stamps of colour and depth."""
    depth_in_box: float
    """Share of the person's box with measured depth."""
    holes: float
    """Share of the depth image without measurement."""
    sharpness: float
    """Variance of the Laplacian, grey values squared."""
    exposure: float
    """Mean grey value, 0..255."""


def quality_of(frame: Frame, skew_s: float, box: PersonBox | None) -> Quality:
    """Return the numbers of a frame; without a box, or with an unknown one, the whole image stands for it."""
    measured = math.nan if frame.depth is None else float((frame.depth > 0).mean())
    in_box = measured
    if frame.depth is not None and box is not None and math.isfinite(box.center_x + box.center_y + box.side):
        in_box = _share_in_box(frame.depth, box)
    grey = None if frame.color is None else _grey(frame.color)
    return Quality(
        skew_s=skew_s,
        depth_in_box=in_box,
        holes=1 - measured,
        sharpness=math.nan if grey is None else float(cv2.Laplacian(grey, cv2.CV_32F).var()),
        exposure=math.nan if grey is None else float(grey.mean()),
    )


def refusal(quality: Quality, config: GateConfig) -> str:
    """Return the code of the first gate that the frame fails; empty for a good one. What is unknown fails no gate."""
    dark, bright = config.exposure
    gates = {
        'stamp_skew': abs(quality.skew_s) > config.max_skew_s,
        'depth_holes': quality.holes > config.max_holes,
        'depth_coverage': quality.depth_in_box < config.least_depth,
        'under_exposed': quality.exposure < dark,
        'over_exposed': quality.exposure > bright,
        'blurred': quality.sharpness < config.least_sharpness,
    }
    return next((code for code, failed in gates.items() if failed), '')


def _share_in_box(depth: Float[ndarray, 'h w'], box: PersonBox) -> float:
    """Return the share of measured pixels in the part of the box that lies in the image; 0 where none does."""
    height, width = depth.shape
    left, top = (max(0, math.floor(center - box.side / 2)) for center in (box.center_x, box.center_y))
    right = min(width, math.ceil(box.center_x + box.side / 2))
    bottom = min(height, math.ceil(box.center_y + box.side / 2))
    if right <= left or bottom <= top:
        return 0.0
    return float((depth[top:bottom, left:right] > 0).mean())


def _grey(color: UInt8[ndarray, 'h w 3']) -> UInt8[ndarray, 'a b']:
    height, width = color.shape[:2]
    grey = cv2.cvtColor(color, cv2.COLOR_RGB2GRAY)
    if width > SHARPNESS_WIDTH:
        size = (SHARPNESS_WIDTH, max(1, round(height * SHARPNESS_WIDTH / width)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return np.asarray(grey, np.uint8)
