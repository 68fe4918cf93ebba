"""The card of weights that were adapted to a recording: sizes of their skeletons, and how sure they may be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor, nn

from hwhup_core.body.joints import SMPL_24, index
from hwhup_core.body.keypoint_sets import point_map, set_of_joints
from hwhup_core.body.model import BodyModel
from hwhup_core.evaluation.evaluate import MAXWELL_MEAN, nonnegative_line
from hwhup_core.geometry.cameras import weak_perspective_project
from hwhup_core.inference.engine import Engine
from hwhup_core.networks.packing import InputConfig
from hwhup_core.training.batches import Crops, draw_weak
from hwhup_core.training.pools import WeakPool
from hwhup_core.training.recording_config import LOOKS
from hwhup_core.training.recording_pools import Observed
from hwhup_core.training.recording_scores import answer
from hwhup_core.training.transforms import draw_look
from hwhup_core.types import State

EXTENT_SAMPLES = 256
LEAST_OF_A_JOINT = 15
"""Measurements of one joint from which its own line is fitted; with fewer it takes that of all joints."""
SMPL_NAME = {'thorax': 'neck'}
"""SMPL's joint for one of SLP's; head and its top are none of SMPL's joints."""
NOT_JOINTS = ('head', 'head_top')
EXTENT_LIMITS = (0.25, 1.9)
"""What a card may say, see `inference.uncertainty.read_extents`."""


def measured_extents(network: nn.Module, body: BodyModel, inputs: InputConfig, pool: WeakPool) -> dict[str, float]:
    """Return how large the skeletons are beside the labels, see `inference.uncertainty.read_extents`."""
    wide, close = (_extent_ratio(network, body, inputs, pool, settled) for settled in (0.0, 1.0))
    return {'extent_wide': wide, 'extent_close': close}


def _extent_ratio(network: nn.Module, body: BodyModel, inputs: InputConfig, pool: WeakPool, settled: float) -> float:
    """Return the median of the predicted extent of the labelled joints in the crop over that of the labels."""
    places = np.random.default_rng(0).permutation(len(pool))[:EXTENT_SAMPLES]
    rngs = [np.random.default_rng(int(place)) for place in places]
    looks = replace(LOOKS, settled=settled)
    batch = draw_weak(pool, places, rngs, lambda points, rng: draw_look(points, rng, pool.joints, looks), Crops(inputs))
    mix = point_map(set_of_joints(pool.joints), body.landmark_names).mix
    with torch.inference_mode():
        prediction = network(batch.images)
        skeleton = body.skeleton(prediction.params)
        seen = weak_perspective_project(
            mix @ torch.cat([skeleton.joints, skeleton.landmarks], dim=1), prediction.camera, batch.pinhole
        )
    known = batch.observation.confidence > 0
    ratio = float((_extent(seen, known) / _extent(batch.observation.keypoints, known)).median())
    return float(np.clip(ratio, *EXTENT_LIMITS)) if np.isfinite(ratio) else 1.0


def _extent(points: Float[Tensor, 'b k 2'], known: Bool[Tensor, 'b k']) -> Float[Tensor, ' b']:
    low = torch.where(known[..., None], points, torch.inf).amin(dim=1)
    high = torch.where(known[..., None], points, -torch.inf).amax(dim=1)
    return (high - low).amax(dim=1)


def measured_calibration(engine: Engine, frames: Iterable[tuple[str, Observed]]) -> dict[str, Any]:
    """
    Return `sigma_floor_m` and `sigma_gain` as `evaluation.evaluate.fit_calibration` does, without truth.

    What stands for the truth is the point that the depth shows at a joint that is labelled visible, moved under the
    skin; joints without such points have the line of all. The engine must carry `IDENTITY_CALIBRATION`.
    """
    rows = [_measured(engine, observed) for _, observed in frames]
    sigma, error = (
        (np.concatenate([row[part] for row in rows]) for part in range(2)) if rows else (np.zeros((0, 24)),) * 2
    )
    known = np.isfinite(sigma) & np.isfinite(error)
    if not known.any():
        return {}
    common = nonnegative_line(sigma[known], error[known])
    lines = [
        nonnegative_line(sigma[known[:, joint], joint], error[known[:, joint], joint])
        if np.count_nonzero(known[:, joint]) >= LEAST_OF_A_JOINT
        else common
        for joint in range(24)
    ]
    return {'sigma_floor_m': [floor for floor, _ in lines], 'sigma_gain': [gain for _, gain in lines]}


def _measured(engine: Engine, observed: Observed) -> tuple[Float[ndarray, 'n 24'], Float[ndarray, 'n 24']]:
    """Return what the engine claimed and how far each joint was off, one row; no row where nobody was seen."""
    estimate = answer(engine, observed.frame)
    if estimate.state == State.NO_PERSON:
        return np.zeros((0, 24)), np.zeros((0, 24))
    error = np.full(24, np.nan)
    proxies = observed.seen.proxies
    for place, name in enumerate(observed.named.joints.names):
        if proxies.visible[place] and name not in NOT_JOINTS:
            joint = index(SMPL_NAME.get(name, name), SMPL_24)
            error[joint] = np.linalg.norm(estimate.joint_positions[joint] - proxies.points[place]) / MAXWELL_MEAN
    return estimate.joint_sigma[None].astype(np.float64), error[None]
