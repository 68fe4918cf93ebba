"""Area under the ROC curve, as rank statistic, with an interval over subjects: numbers in, numbers out."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray

from hwhup_core.evaluation.metrics import Interval


def roc_auc(scores: Float[ndarray, ' n'], labels: Bool[ndarray, ' n']) -> float:
    """
    Return the chance that a positive has a higher score than a negative, a tie counting half; NaN if one is missing.

    This is Mann and Whitney's U over the number of pairs, and the area under the ROC curve. Scores that are no numbers
    have no rank and make it NaN.
    """
    if not np.isfinite(scores).all():
        return float('nan')
    return _weighted(_ranked(scores), labels.astype(np.float64), (~labels).astype(np.float64))


def auc_interval(
    scores: Float[ndarray, ' n'],
    labels: Bool[ndarray, ' n'],
    clusters: Shaped[ndarray, ' n'],
    seed: int = 0,
    rounds: int = 1000,
) -> Interval:
    """
    Return the area with the 95 % percentile interval of a bootstrap that draws whole clusters (subjects).

    With fewer than two clusters the bounds are NaN; a draw without a positive or a negative is left out.
    """
    area, names = roc_auc(scores, labels), np.unique(clusters)
    if len(names) < 2 or not np.isfinite(area):
        return Interval(area, float('nan'), float('nan'), len(scores))
    member, ranks, rng = np.searchsorted(names, clusters), _ranked(scores), np.random.default_rng(seed)
    areas = []
    for _ in range(rounds):
        drawn = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))[member].astype(np.float64)
        areas.append(_weighted(ranks, drawn * labels, drawn * ~labels))
    low, high = np.nanpercentile(areas, [2.5, 97.5])
    return Interval(area, float(low), float(high), len(scores))


def _ranked(scores: Float[ndarray, ' n']) -> Int[ndarray, ' n']:
    """Return the dense rank of each score, from 0; equal scores share one."""
    ranks: ndarray = np.unique(scores, return_inverse=True)[1]
    return ranks


def _weighted(ranks: Int[ndarray, ' n'], positive: Float[ndarray, ' n'], negative: Float[ndarray, ' n']) -> float:
    """Return the area where each sample counts as so many positives and negatives."""
    above, below = np.bincount(ranks, positive), np.bincount(ranks, negative)
    pairs = above.sum() * below.sum()
    return float(above @ (np.cumsum(below) - below / 2) / pairs) if pairs > 0 else float('nan')
