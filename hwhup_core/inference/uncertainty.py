"""From the disagreement of two estimates to standard deviations and probabilities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.errors import AssetError

GOOD_DISTANCE = 0.1
"""Metres. Confidence is the probability to be closer to the truth than this."""


@dataclass(frozen=True)
class Calibration:
    """How the disagreement with the mirrored image predicts the error, fitted on held-out data and kept in the card."""

    sigma_floor: Float[ndarray, '24']
    """Standard deviation of each coordinate where both estimates agree, metres."""
    sigma_gain: Float[ndarray, '24']
    """Standard deviation added per metre of disagreement."""


def read_calibration(entry: Mapping[str, Any]) -> Calibration | None:
    """
    Return the calibration of a weights card, or None where the entry is empty.

    `entry` is a mapping with `sigma_floor_m` and `sigma_gain`, each one number or 24 (a joint each, SMPL order).
    """
    if not entry:
        return None
    try:
        floor, gain = (
            np.broadcast_to(np.asarray(entry[key], dtype=np.float64), 24) for key in ('sigma_floor_m', 'sigma_gain')
        )
    except (KeyError, TypeError, ValueError) as error:
        raise AssetError(
            f'The calibration in the weights card is {entry!r}. Expected sigma_floor_m and sigma_gain, one number or '
            '24 numbers each; run the evaluation of the weights again to rewrite it.'
        ) from error
    return Calibration(floor, gain)


def read_extents(entry: Mapping[str, Any]) -> tuple[float, float]:
    """
    Return the extent of estimated joints over the true one, at a wide first look and in a close box; 1 if unknown.

    An unsure network puts limbs where they are on average, so its skeletons are too small: boxes around them would
    shrink from frame to frame.
    """
    ratios = (entry.get('extent_wide', 1.0), entry.get('extent_close', 1.0))
    wide, close = (float(ratio) if isinstance(ratio, (int, float)) else math.nan for ratio in ratios)
    if not (0.2 < wide < 2 and 0.2 < close < 2):
        raise AssetError(f'The weights card has extent_wide and extent_close {ratios}. Expected numbers of 0.2 to 2.')
    return wide, close


def joint_sigma(disagreement: Float[ndarray, '24'] | None, calibration: Calibration | None) -> Float[ndarray, '24']:
    """Return the standard deviation (m) of each joint coordinate; NaN without a calibration or a second estimate."""
    if disagreement is None or calibration is None:
        return np.full(24, np.nan)
    sigma: ndarray = calibration.sigma_floor + calibration.sigma_gain * disagreement
    return sigma


def probability_within(distance: float, sigma: Float[ndarray, ' n']) -> Float[ndarray, ' n']:
    """
    Return the probability that an isotropic 3D Gaussian error is shorter than `distance` (Maxwell distribution).

    P(|e| < d) = erf(x / sqrt 2) - sqrt(2 / pi) x exp(-x^2 / 2) with x = d / sigma. NaN stays NaN; sigma 0 gives 1.
    """
    x = distance / np.maximum(sigma, 1e-9)
    erf = np.array([math.erf(value) for value in x / math.sqrt(2.0)])
    probability: ndarray = np.clip(erf - np.sqrt(2.0 / np.pi) * x * np.exp(-(x**2) / 2.0), 0.0, 1.0)
    return probability
