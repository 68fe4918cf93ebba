"""How well a network fits held-out frames of a place without truth: to their depth, and to their labelled joints."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import nn

from hwhup_core.body.keypoint_sets import set_of_joints
from hwhup_core.body.model import BodyModel
from hwhup_core.evaluation.depth_metrics import depth_scores
from hwhup_core.evaluation.scores import predicted_keypoints, render_body
from hwhup_core.geometry.cameras import spin_pinhole
from hwhup_core.networks.packing import InputConfig
from hwhup_core.training.adapt import still_transform
from hwhup_core.training.batches import Crops, WeakBatch, draw_weak
from hwhup_core.training.pools import WeakPool
from hwhup_core.training.weak_step import CROP_HALF_PX, predict

BATCH = 64


def held_out_errors(
    network: nn.Module, inputs: InputConfig, body: BodyModel, pool: WeakPool, crop_camera: Literal['true', 'spin']
) -> dict[str, Float[ndarray, ' n']]:
    """
    Return two errors a frame, by name; NaN where there is nothing to compare.

    `aligned_depth_error_mm`: of the mesh against the uncovered depth, over body pixels, after the median offset
    (equation 3). `reprojection_error_px`: mean distance of the labelled joints, in a crop of 224 px.
    """
    network.eval()
    device = next(network.parameters()).device
    parts = []
    for start in range(0, len(pool), BATCH):
        places = np.arange(start, min(start + BATCH, len(pool)))
        rngs = [np.random.default_rng(int(place)) for place in places]
        batch = draw_weak(pool, places, rngs, still_transform, Crops(inputs)).to(device)
        parts.append(batch_errors(network, body, batch, pool.joints, crop_camera))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def means(errors: dict[str, Float[ndarray, ' n']]) -> dict[str, float]:
    """Return the mean of each error over the frames in which it is defined."""
    finite = {name: values[np.isfinite(values)] for name, values in errors.items()}
    return {name: float(values.mean()) if len(values) else float('nan') for name, values in finite.items()}


@torch.no_grad()
def batch_errors(
    network: nn.Module, body: BodyModel, batch: WeakBatch, joints: tuple[str, ...], crop_camera: Literal['true', 'spin']
) -> dict[str, Float[ndarray, ' b']]:
    """Return the errors of `held_out_errors` for one batch, however it was drawn."""
    observed = batch.observation
    assert observed.depth is not None
    assert observed.mask is not None
    prediction = predict(network, batch.images, bfloat16=False)
    pinhole = batch.pinhole if crop_camera == 'true' else spin_pinhole(prediction.camera)
    posed = body(prediction.params)
    rendered = render_body(posed.vertices, body, prediction, pinhole, observed.depth.shape[-1])
    depth = depth_scores(rendered.depth, observed.depth, observed.mask).median_aligned_error
    points = predicted_keypoints(posed, body, prediction, pinhole, set_of_joints(joints))
    distance = CROP_HALF_PX * (points - observed.keypoints).norm(dim=2)
    total = (distance * observed.confidence).sum(dim=1) / observed.confidence.sum(dim=1)
    return {
        'aligned_depth_error_mm': 1000 * depth.cpu().double().numpy(),
        'reprojection_error_px': total.cpu().double().numpy(),
    }
