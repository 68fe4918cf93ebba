"""A whole training run: samples, network, epochs, held-out figures, and the weights with their card."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from hwhup_core.body.model import BodyModel, load_body
from hwhup_core.config_io import load_config, save_config, to_plain
from hwhup_core.evaluation.evaluate import (
    IDENTITY_CALIBRATION,
    LabelledFrame,
    evaluate_engine,
    fit_calibration,
    held_out_frames,
)
from hwhup_core.geometry.cameras import weak_perspective_project
from hwhup_core.geometry.rotations import matrix_to_rotation_6d
from hwhup_core.inference.config import EngineConfig
from hwhup_core.inference.engine import Engine
from hwhup_core.networks.card import Measurement, ModelCard, running_commit
from hwhup_core.networks.checkpoint import Loaded, save_checkpoint
from hwhup_core.networks.compact import CompactRegressor
from hwhup_core.networks.mean import MeanParameters, default_mean_parameters
from hwhup_core.training.config import TrainConfig
from hwhup_core.training.loop import run_loop
from hwhup_core.training.losses import joint_loss
from hwhup_core.training.pool import Batch, BatchLoader, SamplePool, draw_batch, load_pool, save_pool
from hwhup_core.training.sampling import synthetic_pool
from hwhup_core.training.step import supervised_step

logger = logging.getLogger(__name__)

HELD_OUT_SEED = 7919
"""Added to the run's seed for samples that are never trained on."""
LICENCE = 'Apache-2.0'


def train_from_config(path: Path, out: Path) -> Path:
    """Run the configuration file and return the stem of the weights it wrote in the folder `out`; continues a run."""
    config = load_config(path, TrainConfig)
    out.mkdir(parents=True, exist_ok=True)
    save_config(out / 'config.yaml', config)
    torch.manual_seed(config.seed)
    body = load_body(config.body)
    pool = _kept_pool(out / 'samples.npz', config.body, config.seed, config.samples)
    held_out = _kept_pool(out / 'held_out.npz', config.body, config.seed + HELD_OUT_SEED, config.held_out)
    network = CompactRegressor(config.network, mean_parameters(pool))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    settled = replace(config.augment, settled=1.0)  # The looks that the engine ends with.
    batch = validation_batch(held_out, replace(config, augment=settled))

    run_loop(
        network,
        BatchLoader(pool, config.augment, config.inputs, config.batch_size, config.seed),
        supervised_step(body, config.weights, config.bfloat16),
        lambda model: {'held_out_joint_error_m': validation_error(model, body, batch)},
        config.loop(),
        out,
        json.dumps(to_plain(config)),
    )
    return write_weights(network, body, config, out / config.name, f'hwhup train --config {path}')


def _kept_pool(file: Path, body: str, seed: int, count: int) -> SamplePool:
    """Return the rendered samples, from the run's folder when it is continued."""
    if not file.exists():
        save_pool(file, synthetic_pool(body, seed, count))
    return load_pool(file)


def mean_parameters(pool: SamplePool) -> MeanParameters:
    """
    Return the mean of the samples: joint rotations and shape; the root is upright, since samples are turned every way.

    The scale is that of a body whose joints reach 0.7 of the crop.
    """
    default = default_mean_parameters()
    joints = matrix_to_rotation_6d(torch.from_numpy(pool.joint_rotations).float()).mean(dim=0).flatten()
    shape = torch.from_numpy(pool.betas).float().mean(dim=0)
    return MeanParameters(torch.cat([default.pose6d[:6], joints]), shape, torch.tensor([2.5, 0.0, 0.0]))


def validation_batch(held_out: SamplePool, config: TrainConfig) -> Batch:
    """Return all held-out samples as one fixed batch, nothing erased and nothing mirrored."""
    augment = replace(config.augment, erase=0.0, flip=0.0)
    rng = np.random.default_rng(config.seed + HELD_OUT_SEED)
    return draw_batch(held_out, np.arange(len(held_out)), rng, augment, config.inputs)


def validation_error(network: nn.Module, body: BodyModel, batch: Batch) -> float:
    """Return the mean joint error (m) over the batch, one forward pass each."""
    network.eval()
    errors = []
    with torch.inference_mode():
        for start in range(0, len(batch.images), 128):
            part = batch[start : start + 128]
            predicted = body.skeleton(network(part.images).params).joints
            true = body.skeleton(part.params).joints
            errors.append(joint_loss(predicted, true).item() * len(part.images))
    return sum(errors) / len(batch.images)


def write_weights(network: CompactRegressor, body: BodyModel, config: TrainConfig, stem: Path, command: str) -> Path:
    """Measure the network on held-out frames, calibrate its uncertainty on others, and write weights and card."""
    network.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    card = ModelCard(
        architecture='compact',
        network=config.network,
        input=config.inputs,
        body_id=body.body_id,
        body_hash=body.hash,
        licence=LICENCE,
        training_data=f'{config.samples} rendered depth crops of the bundled body {body.body_id} in synthetic cribs',
        training_command=command,
        training_config=to_plain(config),
        seed=config.seed,
        commit=running_commit(),
    )
    extents = measured_extents(network, body, config)
    engine_config = EngineConfig(body=config.body)
    card = replace(card, calibration=IDENTITY_CALIBRATION | extents)
    engine = Engine(Loaded(network, card), body, engine_config)
    calibration = fit_calibration(engine, _watched('calibrate', body, config.seed + 2 * HELD_OUT_SEED, config.held_out))
    card = replace(card, calibration=calibration | extents)
    engine = Engine(Loaded(network, card), body, engine_config)
    figures = evaluate_engine(engine, _watched('evaluate', body, config.seed + HELD_OUT_SEED, config.held_out))
    metrics = {name: Measurement(i.mean, i.low, i.high, i.count) for name, i in figures.items()}
    written = save_checkpoint(stem, network, replace(card, metrics=metrics))
    logger.info('wrote %s, weights hash %s', stem, written.weights_hash)
    return stem


def measured_extents(network: CompactRegressor, body: BodyModel, config: TrainConfig) -> dict[str, float]:
    """Return how large the network's skeletons are on held-out samples, see `inference.uncertainty.read_extents`."""
    pool = synthetic_pool(config.body, config.seed + 3 * HELD_OUT_SEED, config.held_out)
    first, later = (replace(config, augment=replace(config.augment, settled=settled)) for settled in (0.0, 1.0))
    return {
        'extent_wide': _extent_ratio(network, body, validation_batch(pool, first)),
        'extent_close': _extent_ratio(network, body, validation_batch(pool, later)),
    }


def _extent_ratio(network: CompactRegressor, body: BodyModel, batch: Batch) -> float:
    """Return the median of the predicted extent of the joints in the crop over the true one."""
    with torch.inference_mode():
        prediction = network(batch.images)
        joints = body.skeleton(prediction.params).joints
        seen = weak_perspective_project(joints, prediction.camera)
    return float((_extent(seen) / _extent(batch.keypoints)).median())


def _extent(points: Float[Tensor, 'b k 2']) -> Float[Tensor, ' b']:
    return (points.amax(dim=1) - points.amin(dim=1)).amax(dim=1)


def _watched(what: str, body: BodyModel, seed: int, count: int) -> Iterator[LabelledFrame]:
    """Yield held-out frames behind a progress bar."""
    return iter(tqdm(held_out_frames(body, seed, count), total=count, unit='frame', desc=what))
