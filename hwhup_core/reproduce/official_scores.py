"""Scores on official files: against the depth of a pool, and against published joints and bodies by SPIN's protocol."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import nn

from hwhup_core.body.keypoint_sets import set_of_joints
from hwhup_core.body.model import BodyModel
from hwhup_core.data.sample import BadSamples, Sample
from hwhup_core.errors import AssetError, FrameError, HwhupError
from hwhup_core.evaluation import keypoint_metrics
from hwhup_core.evaluation.depth_metrics import EMPTY_MM, depth_scores, released_error_mm
from hwhup_core.evaluation.metrics import bootstrap_interval, cluster_interval
from hwhup_core.evaluation.scores import predicted_keypoints, render_body
from hwhup_core.geometry.cameras import spin_pinhole
from hwhup_core.networks.packing import InputConfig, crop_to_input
from hwhup_core.reproduce.results import plain_interval
from hwhup_core.training.adapt import still_transform
from hwhup_core.training.batches import Crops, WeakBatch, draw_weak
from hwhup_core.training.pools import WeakPool
from hwhup_core.training.weak_step import predict
from hwhup_core.types import BodyParams, Prediction

BATCH = 32
DEPTH_COLUMNS = ('aligned_depth_error_mm', 'masked_aligned_depth_error_mm', 'median_aligned_depth_error_mm', 'pck')


@dataclass(frozen=True)
class PoolScores:
    """One row a frame of a pool; NaN where a metric is not defined."""

    names: tuple[str, ...]
    columns: Mapping[str, Float[ndarray, ' n']]
    """`aligned_depth_error_mm` (the released code's, Ma all ones), the same over body pixels, after the median, PCK."""
    params: BodyParams
    """What was predicted, on the CPU."""


@torch.no_grad()
def pool_scores(
    network: nn.Module, inputs: InputConfig, body: BodyModel, pool: WeakPool, scored: Sequence[str]
) -> PoolScores:
    """
    Return the scores of a network on held-out frames, in upright crops of 1.2 extents, behind SPIN's camera.

    PCK@0.2 is of the labelled joints named in `scored`, as the labels have them.
    """
    network.eval()
    where = next(network.parameters()).device
    parts, params = [], []
    for start in range(0, len(pool), BATCH):
        places = np.arange(start, min(start + BATCH, len(pool)))
        rngs = [np.random.default_rng(int(place)) for place in places]
        batch = draw_weak(pool, places, rngs, still_transform, Crops(inputs)).to(where)
        predicted = predict(network, batch.images, bfloat16=False)
        parts.append(_batch_scores(predicted, body, batch, pool.joints, scored))
        params.append(predicted.params.to('cpu'))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return PoolScores(pool.names, columns, _joined(params))


def _batch_scores(
    predicted: Prediction, body: BodyModel, batch: WeakBatch, joints: tuple[str, ...], scored: Sequence[str]
) -> dict[str, Float[ndarray, ' b']]:
    observed, pinhole = batch.observation, spin_pinhole(predicted.camera)
    assert observed.depth is not None
    assert observed.mask is not None
    posed = body(predicted.params)
    rendered = render_body(posed.vertices, body, predicted, pinhole, observed.depth.shape[-1]).depth
    depth = depth_scores(rendered, observed.depth, observed.mask)
    released = _numpy(released_error_mm(rendered, observed.depth, torch.ones_like(observed.mask)))
    points = _numpy(predicted_keypoints(posed, body, predicted, pinhole, set_of_joints(joints)))
    nothing = ~_numpy(observed.depth).any(axis=(1, 2))
    return {
        'aligned_depth_error_mm': np.where((released == EMPTY_MM) | nothing, np.nan, released),
        'masked_aligned_depth_error_mm': 1000 * _numpy(depth.mean_aligned_error),
        'median_aligned_depth_error_mm': 1000 * _numpy(depth.median_aligned_error),
        'pck': _pck(points, _numpy(observed.keypoints), _labelled(observed.keypoints, joints, scored), joints),
    }


def _labelled(keypoints: torch.Tensor, joints: Sequence[str], scored: Sequence[str]) -> Bool[ndarray, 'b k']:
    """Return which joints count: labelled ones (0 stands where there is none) that are named."""
    there = _numpy(keypoints).any(axis=2)
    result: ndarray = there & np.array([name in scored for name in joints])
    return result


def _pck(
    points: Float[ndarray, 'b k 2'],
    true: Float[ndarray, 'b k 2'],
    labelled: Bool[ndarray, 'b k'],
    joints: Sequence[str],
) -> Float[ndarray, ' b']:
    true = np.where(labelled[..., None], true, np.nan)
    return keypoint_metrics.hits_per_sample(keypoint_metrics.pck(points, true, labelled, joints))


@torch.no_grad()
def predict_samples(
    network: nn.Module, inputs: InputConfig, samples: Iterable[Sample], bad: BadSamples
) -> tuple[tuple[Sample, ...], BodyParams]:
    """Return the samples that can be read, and what the network predicts in their published boxes."""
    network.eval()
    where = next(network.parameters()).device
    kept: list[Sample] = []
    waiting: list[ndarray] = []
    parts: list[BodyParams] = []

    def flush() -> None:
        images = torch.from_numpy(np.stack(waiting)).to(where)
        parts.append(predict(network, images, bfloat16=False).params.to('cpu'))
        waiting.clear()

    for sample in samples:
        try:
            waiting.append(_input(sample, inputs))
        except (FrameError, AssetError) as error:
            bad.add(sample.name, 'unreadable', error)
            continue
        kept.append(sample)
        if len(waiting) == BATCH:
            flush()
    if waiting:
        flush()
    if not parts:
        raise HwhupError(f'No sample can be read. {(bad.messages or ["There are none."])[0]}')
    return tuple(kept), _joined(parts)


def _input(sample: Sample, inputs: InputConfig) -> Float[ndarray, '3 s s']:
    if sample.box is None:
        raise AssetError(f'{sample.name} has no box. Use the published file, which has one for each person.')
    return crop_to_input(sample.load(), sample.box, inputs)


def figures(columns: Mapping[str, Float[ndarray, ' n']], groups: Sequence[str]) -> dict[str, Any]:
    """Return mean and interval of each column over the frames in which it is defined; whole groups are drawn."""
    names = np.array(groups)
    several = len(np.unique(names)) > 1
    found: dict[str, Any] = {}
    for name, values in columns.items():
        interval = plain_interval(cluster_interval(values, names) if several else bootstrap_interval(values))
        # JSON holds no NaN.
        found[name] = {end: value if math.isfinite(value) else None for end, value in interval.items()}
        found[name]['frames'] = int(np.isfinite(values).sum())
    return found


def _joined(parts: Sequence[BodyParams]) -> BodyParams:
    return BodyParams(
        torch.cat([part.global_rotation for part in parts]),
        torch.cat([part.joint_rotations for part in parts]),
        torch.cat([part.betas for part in parts]),
    )


def _numpy(tensor: torch.Tensor) -> ndarray:
    array: ndarray = tensor.detach().cpu().double().numpy()
    return array
