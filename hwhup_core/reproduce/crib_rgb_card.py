"""Weights with their card: sizes of the skeletons, calibrated uncertainty, and figures on infants never recorded."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor, nn
from tqdm import tqdm

from hwhup_core.body.keypoint_sets import point_map, set_of_joints
from hwhup_core.body.model import BodyModel
from hwhup_core.config_io import from_plain, to_plain
from hwhup_core.errors import ConfigError
from hwhup_core.evaluation.evaluate import (
    IDENTITY_CALIBRATION,
    Answers,
    LabelledFrame,
    collect_answers,
    figures_of,
    fit_calibration,
    site_frames,
    subject_interval,
)
from hwhup_core.geometry.cameras import weak_perspective_project
from hwhup_core.inference.config import EngineConfig
from hwhup_core.inference.engine import Engine
from hwhup_core.networks.card import Measurement, ModelCard, running_commit
from hwhup_core.networks.checkpoint import Loaded, save_checkpoint
from hwhup_core.networks.compact import CompactRegressor
from hwhup_core.reproduce.crib_rgb_config import CALIBRATION_INFANTS, TEST_INFANTS, CribRgbConfig
from hwhup_core.training.batches import Crops, draw_labelled, draw_weak
from hwhup_core.training.pools import LabelledPool, WeakPool
from hwhup_core.training.transforms import LookConfig, Transform, draw_look

LICENCE = 'Apache-2.0'
EXTENT_SAMPLES = 512
"""Samples of the pool that sizes of skeletons are measured on."""


def write_weights(
    stem: Path,
    network: CompactRegressor,
    body: BodyModel,
    config: CribRgbConfig,
    pool: LabelledPool | WeakPool,
    command: str,
) -> Answers:
    """
    Write the network (unchanged) with its card, and return its answers on infants never recorded.

    The pool that it was trained on last says how large its skeletons are; calibration and figures need truth, that of
    infants who are in no pool.
    """
    ready = copy.deepcopy(network).eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    extents = measured_extents(ready, body, config, pool)
    card = replace(_card(body, config, pool, command), calibration=IDENTITY_CALIBRATION | extents)
    engine = Engine(Loaded(ready, card), body, EngineConfig(body=config.body))
    card = replace(
        card, calibration=fit_calibration(engine, _frames(config, CALIBRATION_INFANTS, 'calibrate')) | extents
    )
    engine = Engine(Loaded(ready, card), body, EngineConfig(body=config.body))
    answers = collect_answers(engine, _frames(config, TEST_INFANTS, 'evaluate'))
    figures = figures_of(answers) | {'joint_error_mm': subject_interval(answers)}
    metrics = {name: Measurement(one.mean, one.low, one.high, one.count) for name, one in figures.items()}
    save_checkpoint(stem, ready, replace(card, metrics=metrics))
    return answers


def _frames(config: CribRgbConfig, first: int, what: str) -> Iterator[LabelledFrame]:
    """Yield the frames of held-out infants behind a progress bar."""
    infants = range(first, first + config.test_infants)
    total = config.test_infants * config.test_frames
    return iter(tqdm(site_frames(config.held_out(), infants), total=total, unit='frame', desc=what))


def card_frames(card: ModelCard, count: int | None, first: int | None) -> Iterator[LabelledFrame]:
    """
    Yield the held-out frames that the card's figures are over, behind a progress bar.

    `count` and `first` (infant) choose others, which are not for comparing with the card.
    """
    config = from_plain(card.training_config, CribRgbConfig, 'training_config of the card')
    if first is not None and first < CALIBRATION_INFANTS:
        raise ConfigError(f'Infants from {first} on were recorded for training. Choose {CALIBRATION_INFANTS} or more.')
    if count is not None:
        config = replace(config, test_infants=math.ceil(count / config.test_frames))
    return islice(_frames(config, TEST_INFANTS if first is None else first, 'evaluate'), count)


def _card(body: BodyModel, config: CribRgbConfig, pool: LabelledPool | WeakPool, command: str) -> ModelCard:
    rooms = f'{config.source_subjects * config.source.poses} pictures of upright infants in synthetic rooms, with truth'
    site = (
        f'; then {len(pool)} frames of {config.infants} infants in one synthetic crib (seed '
        f'{config.record.site.crib_seed}), with noisy 2D joints and depth, without truth'
    )
    return ModelCard(
        architecture='compact',
        network=config.network,
        input=config.inputs,
        body_id=body.body_id,
        body_hash=body.hash,
        licence=LICENCE,
        training_data=rooms + (site if isinstance(pool, WeakPool) else ''),
        training_command=command,
        training_config=to_plain(config),
        seed=config.seed,
        commit=running_commit(),
    )


def measured_extents(
    network: nn.Module, body: BodyModel, config: CribRgbConfig, pool: LabelledPool | WeakPool
) -> dict[str, float]:
    """Return how large the skeletons are beside the labels, see `inference.uncertainty.read_extents`."""
    wide, close = (_extent_ratio(network, body, config, pool, settled) for settled in (0.0, 1.0))
    return {'extent_wide': wide, 'extent_close': close}


def _extent_ratio(
    network: nn.Module, body: BodyModel, config: CribRgbConfig, pool: LabelledPool | WeakPool, settled: float
) -> float:
    """Return the median of the predicted extent of the labelled joints in the crop over that of the labels."""
    images, labels, known = _looked_at(config, pool, replace(config.looks, settled=settled))
    mix = point_map(set_of_joints(pool.joints), body.landmark_names).mix
    with torch.inference_mode():
        prediction = network(images)
        skeleton = body.skeleton(prediction.params)
        points = mix @ torch.cat([skeleton.joints, skeleton.landmarks], dim=1)
        seen = weak_perspective_project(points, prediction.camera)
    return float((_extent(seen, known) / _extent(labels, known)).median())


def _looked_at(
    config: CribRgbConfig, pool: LabelledPool | WeakPool, looks: LookConfig
) -> tuple[Float[Tensor, 'b 3 s s'], Float[Tensor, 'b k 2'], Bool[Tensor, 'b k']]:
    """Return looks at some of the pool: inputs, 2D joints, and which of them are labelled."""
    places = np.random.default_rng(config.seed).permutation(len(pool))[:EXTENT_SAMPLES]
    rngs = [np.random.default_rng(int(place)) for place in places]
    crops = Crops(config.inputs)

    def draw(points: Float[ndarray, 'k 2'], rng: np.random.Generator) -> Transform:
        return draw_look(points, rng, pool.joints, looks)

    if isinstance(pool, WeakPool):
        weak = draw_weak(pool, places, rngs, draw, crops)
        return weak.images, weak.observation.keypoints, weak.observation.confidence > 0
    batch = draw_labelled(pool, places, rngs, draw, crops)
    return batch.images, batch.keypoints, torch.ones(batch.keypoints.shape[:2], dtype=torch.bool)


def _extent(points: Float[Tensor, 'b k 2'], known: Bool[Tensor, 'b k']) -> Float[Tensor, ' b']:
    low = torch.where(known[..., None], points, torch.inf).amin(dim=1)
    high = torch.where(known[..., None], points, -torch.inf).amax(dim=1)
    return (high - low).amax(dim=1)
