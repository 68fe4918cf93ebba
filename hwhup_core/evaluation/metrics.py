"""Metrics on joints and meshes, and their intervals: numbers in, numbers out. Metres in, metres out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    count: int
    """Number of samples behind it."""


def joint_errors(
    predicted: Float[ndarray, 'n k 3'], true: Float[ndarray, 'n k 3'], root: int = 0
) -> Float[ndarray, 'n k']:
    """Return each joint's distance to the truth after both `root` joints are put at the origin (MPJPE's summand)."""
    errors: ndarray = np.linalg.norm((predicted - predicted[:, root, None]) - (true - true[:, root, None]), axis=-1)
    return errors


def mpjpe(predicted: Float[ndarray, 'n k 3'], true: Float[ndarray, 'n k 3'], root: int = 0) -> Float[ndarray, ' n']:
    """Return the mean per joint position error of each sample, root-aligned."""
    means: ndarray = joint_errors(predicted, true, root).mean(axis=1)
    return means


def procrustes_align(predicted: Float[ndarray, 'n k 3'], true: Float[ndarray, 'n k 3']) -> Float[ndarray, 'n k 3']:
    """Return `predicted` moved onto `true` by each sample's best similarity: scale, proper rotation, translation."""
    mean_p, mean_t = predicted.mean(axis=1, keepdims=True), true.mean(axis=1, keepdims=True)
    centred_p, centred_t = predicted - mean_p, true - mean_t
    u, singular, vt = np.linalg.svd(centred_t.swapaxes(1, 2) @ centred_p)
    sign = np.ones_like(singular)
    sign[:, -1] = np.sign(np.linalg.det(u @ vt))
    rotation = (u * sign[:, None]) @ vt
    power = (centred_p**2).sum(axis=(1, 2))
    scale = (singular * sign).sum(axis=1) / np.where(power > 0, power, 1)
    aligned: ndarray = scale[:, None, None] * centred_p @ rotation.swapaxes(1, 2) + mean_t
    return aligned


def pa_mpjpe(predicted: Float[ndarray, 'n k 3'], true: Float[ndarray, 'n k 3']) -> Float[ndarray, ' n']:
    """Return the mean joint error of each sample after Procrustes alignment; NaN where a joint is not finite."""
    finite = np.isfinite(predicted).all(axis=(1, 2)) & np.isfinite(true).all(axis=(1, 2))
    means = np.full(len(true), np.nan)
    aligned = procrustes_align(predicted[finite], true[finite])
    means[finite] = np.linalg.norm(aligned - true[finite], axis=-1).mean(axis=1)
    return means


def pve(
    predicted: Float[ndarray, 'n v 3'],
    true: Float[ndarray, 'n v 3'],
    predicted_root: Float[ndarray, 'n 3'],
    true_root: Float[ndarray, 'n 3'],
) -> Float[ndarray, ' n']:
    """Return the mean per vertex error of each sample after both roots (pelvis joints) are put at the origin."""
    difference = (predicted - predicted_root[:, None]) - (true - true_root[:, None])
    means: ndarray = np.linalg.norm(difference, axis=-1).mean(axis=1)
    return means


def bootstrap_interval(values: Float[ndarray, ' n'], seed: int = 0, rounds: int = 1000) -> Interval:
    """Return the mean of the finite values with its 95 % percentile bootstrap interval; NaN where there are none."""
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return Interval(float('nan'), float('nan'), float('nan'), 0)
    rng = np.random.default_rng(seed)
    means = np.array([values[rng.integers(0, len(values), len(values))].mean() for _ in range(rounds)])
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(values.mean()), float(low), float(high), len(values))


def cluster_interval(
    values: Float[ndarray, ' n'], clusters: Shaped[ndarray, ' n'], seed: int = 0, rounds: int = 1000
) -> Interval:
    """
    Return the mean of the finite values with the 95 % percentile interval of a bootstrap that draws whole clusters.

    Frames of one subject resemble each other, so that an interval over frames would be too narrow. A single cluster
    says nothing about others: its bounds are NaN. With a handful of clusters the interval is still somewhat narrow.
    """
    finite = np.isfinite(values)
    values, clusters = values[finite], clusters[finite]
    names, member = np.unique(clusters, return_inverse=True)
    mean = float(values.mean()) if len(values) else float('nan')
    if len(names) < 2:
        return Interval(mean, float('nan'), float('nan'), len(values))
    sums, counts = np.bincount(member, values), np.bincount(member)
    draws = np.random.default_rng(seed).integers(0, len(names), (rounds, len(names)))
    low, high = np.percentile(sums[draws].sum(axis=1) / counts[draws].sum(axis=1), [2.5, 97.5])
    return Interval(mean, float(low), float(high), len(values))
