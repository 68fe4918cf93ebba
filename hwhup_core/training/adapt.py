"""Adaptation of a network to a place without 3D labels: pools, teachers, stages and loop put together."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hwhup_core.body.keypoint_sets import set_of_joints
from hwhup_core.body.model import BodyModel
from hwhup_core.body.priors import MixturePrior
from hwhup_core.config_io import to_plain
from hwhup_core.fitting.best_fit import keep_best
from hwhup_core.fitting.fit_store import FitStore
from hwhup_core.geometry.cameras import spin_pinhole
from hwhup_core.networks.packing import InputConfig
from hwhup_core.training.batches import Crops, Draw, PoolBatches, WeakBatch, draw_weak
from hwhup_core.training.logbook import EpochReport
from hwhup_core.training.loop import LoopConfig, run_loop
from hwhup_core.training.pools import WeakPool
from hwhup_core.training.stages import StageConfig
from hwhup_core.training.transforms import BoxAugmentConfig, Transform, box_transform, draw_box
from hwhup_core.training.weak_step import Teachers, WeakStep, build_teachers, crop_keypoints, predict

Validate = Callable[[nn.Module], dict[str, float]]


@dataclass(frozen=True)
class AdaptConfig:
    """One adaptation: what is on when, and how it descends."""

    stage: StageConfig = field(default_factory=StageConfig)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(learning_rate=5e-5, schedule='constant', warm_up=0.0))
    """Its `epochs` are the stage's."""
    batch_size: int = 64
    augment: BoxAugmentConfig = field(default_factory=BoxAugmentConfig)
    bfloat16: bool = False
    """Whether the network's convolutions run in bfloat16 (autocast); losses, fits and weights stay float32."""


def adapt(
    network: nn.Module,
    inputs: InputConfig,
    body: BodyModel,
    pool: WeakPool,
    teachers: Teachers,
    config: AdaptConfig,
    run: Path,
    validate: Validate,
    draw: Draw | None = None,
) -> list[EpochReport]:
    """Adapt the network in place; a run folder with a state in it is continued, fits included."""
    step = WeakStep(body, set_of_joints(pool.joints), config.stage, teachers, config.bfloat16)
    batches = weak_batches(pool, inputs, config, draw or (lambda points, rng: draw_box(points, rng, config.augment)))
    loop = replace(config.loop, epochs=config.stage.epochs)
    fingerprint = json.dumps({'adapt': to_plain(config), 'inputs': to_plain(inputs), 'body': body.hash})
    return run_loop(network, batches, step, validate, loop, run, fingerprint, {'fits': teachers.store})


def weak_batches(pool: WeakPool, inputs: InputConfig, config: AdaptConfig, draw: Draw) -> PoolBatches[WeakBatch]:
    """Return the batches of an adaptation."""
    crops = Crops(inputs, config.augment.gain)
    return PoolBatches(
        lambda indices, rngs: draw_weak(pool, indices, rngs, draw, crops),
        pool.names, config.batch_size, config.loop.seed,
    )  # fmt: skip


def teachers_of(body: BodyModel, pool: WeakPool, prior: MixturePrior, stage: StageConfig, dataset: str) -> Teachers:
    """Return teachers with an empty store for the pool."""
    rows = int(pool.labels.rows.max()) + 1
    return build_teachers(body, set_of_joints(pool.joints), prior, stage, FitStore(dataset, rows, body))


def still_transform(points: np.ndarray, rng: np.random.Generator, margin: float = 1.2) -> Transform:
    """Return the box around the joints, neither turned nor shaken: how tests and static fits look at frames."""
    return box_transform(points, margin, 0.0, False)


def fit_once(
    network: nn.Module,
    inputs: InputConfig,
    pool: WeakPool,
    teachers: Teachers,
    stage: StageConfig,
    batch_size: int = 64,
) -> int:
    """
    Fill the store by one pass of SMPLify from the network's predictions, without augmentation (method 2.5).

    Returns how many fits may teach. The first epoch's prior is used.
    """
    valid, device = 0, next(network.parameters()).device
    network.eval()
    for start in range(0, len(pool), batch_size):
        places = np.arange(start, min(start + batch_size, len(pool)))
        rngs = [np.random.default_rng(int(place)) for place in places]
        batch = draw_weak(pool, places, rngs, still_transform, Crops(inputs)).to(device)
        with torch.no_grad():
            prediction = predict(network, batch.images, bfloat16=False)
        pinhole = batch.pinhole if stage.crop_camera == 'true' else spin_pinhole(prediction.camera)
        keypoints = crop_keypoints(batch.observation)
        fit = teachers.smplify.fit(prediction, keypoints, stage.prior_weight_at(0), pinhole)
        best = keep_best(teachers.store, teachers.smplify, fit, keypoints, batch.rows, batch.augmentation, pinhole)
        valid += int(best.valid.sum())
    return valid
