"""
PCK and PCKh of 2D joints: numbers in, numbers out. Any unit, the same for both sides.

The paper's PCK@0.2 takes "20 % of torso size" and ships no code. Here the torso is left shoulder to right hip, as is
common on LSP's joints. PCKh's head is head top to thorax, as in SLP's own repository (not 0.6 of MPII's head box).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from hwhup_core.body.joints import index

PCK_THRESHOLD = 0.2
PCKH_THRESHOLD = 0.5


def torso_size(true: Float[ndarray, 'n k 2'], names: Sequence[str]) -> Float[ndarray, ' n']:
    """Return each sample's distance from left shoulder to right hip."""
    return _distance(true, names, 'left_shoulder', 'right_hip')


def head_size(true: Float[ndarray, 'n k 2'], names: Sequence[str]) -> Float[ndarray, ' n']:
    """Return each sample's distance from head top to thorax."""
    return _distance(true, names, 'head_top', 'thorax')


def keypoint_hits(
    predicted: Float[ndarray, 'n k 2'],
    true: Float[ndarray, 'n k 2'],
    labelled: Bool[ndarray, 'n k'],
    size: Float[ndarray, ' n'],
    threshold: float,
) -> Float[ndarray, 'n k']:
    """
    Return 1 where a joint lies within `threshold` x `size` of its label, 0 where not, NaN where that is not defined.

    Not defined: no label, or a size that is 0 or not finite. A prediction that is not finite is a miss.
    """
    with np.errstate(invalid='ignore'):
        hits = np.linalg.norm(predicted - true, axis=-1) <= threshold * size[:, None]
        defined = labelled & (np.isfinite(size) & (size > 0))[:, None] & np.isfinite(true).all(axis=-1)
    return np.where(defined, hits.astype(np.float64), np.nan)


def pck(
    predicted: Float[ndarray, 'n k 2'],
    true: Float[ndarray, 'n k 2'],
    labelled: Bool[ndarray, 'n k'],
    names: Sequence[str],
    threshold: float = PCK_THRESHOLD,
) -> Float[ndarray, 'n k']:
    """Return the hits of PCK: within `threshold` torso sizes. Average as needed: per joint, per sample, over all."""
    return keypoint_hits(predicted, true, labelled, torso_size(true, names), threshold)


def pckh(
    predicted: Float[ndarray, 'n k 2'],
    true: Float[ndarray, 'n k 2'],
    labelled: Bool[ndarray, 'n k'],
    names: Sequence[str],
    threshold: float = PCKH_THRESHOLD,
) -> Float[ndarray, 'n k']:
    """Return the hits of PCKh: within `threshold` head sizes."""
    return keypoint_hits(predicted, true, labelled, head_size(true, names), threshold)


def mean_hits(hits: Float[ndarray, 'n k']) -> float:
    """Return the share of hits among the defined joints of all samples, in [0, 1]; NaN without one."""
    defined = np.isfinite(hits)
    return float(hits[defined].mean()) if defined.any() else float('nan')


def hits_per_joint(hits: Float[ndarray, 'n k']) -> Float[ndarray, ' k']:
    """Return each joint's share of hits among its defined samples; NaN without one."""
    defined = np.isfinite(hits)
    counts = defined.sum(axis=0)
    return np.where(counts > 0, np.where(defined, hits, 0).sum(axis=0) / np.maximum(counts, 1), np.nan)


def hits_per_sample(hits: Float[ndarray, 'n k']) -> Float[ndarray, ' n']:
    """Return each sample's share of hits among its defined joints; NaN without one. For bootstrap intervals."""
    return hits_per_joint(hits.T)


def _distance(true: Float[ndarray, 'n k 2'], names: Sequence[str], first: str, second: str) -> Float[ndarray, ' n']:
    lengths: ndarray = np.linalg.norm(true[:, index(first, names)] - true[:, index(second, names)], axis=-1)
    return lengths
