"""The training on the frames of a recording: both stages, the epoch chosen on frames that are never trained on."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import nn

from hwhup_core.body.keypoint_sets import set_of_joints
from hwhup_core.body.model import BodyModel
from hwhup_core.body.priors import MixturePrior, bundled_mixture
from hwhup_core.config_io import to_plain
from hwhup_core.networks.card import Measurement
from hwhup_core.networks.checkpoint import Loaded, load_card, load_checkpoint, save_checkpoint
from hwhup_core.training.adapt import AdaptConfig, teachers_of, weak_batches
from hwhup_core.training.batches import Crops, PoolBatches, WeakBatch, draw_weak
from hwhup_core.training.dry_run import dry_run
from hwhup_core.training.held_out import batch_errors
from hwhup_core.training.logbook import EpochReport
from hwhup_core.training.loop import run_loop
from hwhup_core.training.pools import WeakPool
from hwhup_core.training.recording_config import (
    EPOCHS,
    LOOKS,
    RecordingAdaptConfig,
    adapt_config,
    observation_of,
    passes_of,
    stage_of,
)
from hwhup_core.training.transforms import Transform, draw_look
from hwhup_core.training.weak_step import Teachers, WeakStep
from hwhup_core.whole_files import write_whole

BEST, DONE, PLAN = 'best', 'done.json', 'plan.json'
VALIDATION = 'validation'
"""Mean of both validation errors over what they were before the training; less is better."""
VALIDATION_LOOKS = 64
PATIENCE = 4
"""Epochs of Stage II without a better validation figure after which the training stops."""
MOST_EPOCHS = 40
SPARE = 0.8
"""Share of `hours` that is planned for steps; the rest is for all else."""


@dataclass(frozen=True)
class Pools:
    """What is trained on, and what chooses the epoch."""

    training: WeakPool
    validation: WeakPool
    distance: float
    """From the camera to the person, metres."""
    stature: float
    """Of the body, metres."""


@dataclass(frozen=True)
class Trained:
    """What a training came to."""

    loaded: Loaded
    """The weights of the best epoch, in eval mode, on the CPU; the card is still that of the start."""
    epochs: int
    """That were trained."""
    best_epoch: int
    seconds: float
    """Of the steps."""
    validation: float
    """Of the best epoch, see `VALIDATION`."""


class Passes:
    """Batches of an epoch that goes through the samples several times, never twice in one batch."""

    def __init__(self, batches: PoolBatches[WeakBatch], passes: int) -> None:
        self._batches, self._passes = batches, passes

    def __len__(self) -> int:
        return self._passes * len(self._batches)

    def names(self, batch: WeakBatch) -> list[str]:
        """Return what to call each sample in an error."""
        return self._batches.names(batch)

    def epoch(self, epoch: int, rank: int = 0, world: int = 1) -> Iterator[WeakBatch]:
        """Yield the batches of all passes of an epoch."""
        for number in range(self._passes):
            yield from self._batches.epoch(epoch * self._passes + number, rank, world)


@dataclass
class _Watch:
    """Looks at the network after each epoch, keeps the best weights, and says when to stop."""

    stem: Path
    """Of the best weights so far."""
    start: Loaded
    body: BodyModel
    batch: WeakBatch
    joints: tuple[str, ...]
    stage_two: int
    first: dict[str, float] = field(init=False)
    """Validation errors before the training."""

    def __post_init__(self) -> None:
        self.first = self._errors(self.start.model)
        self._since = 0

    def __call__(self, network: nn.Module) -> dict[str, float]:
        """Return the validation figures after an epoch; weights that are better than all before are kept."""
        errors = self._errors(network)
        ratios = [errors[name] / self.first[name] for name in errors if self.first[name] > 0]
        figure = float(np.mean([ratio for ratio in ratios if math.isfinite(ratio)] or [math.inf]))
        if figure < self._best() or not self.stem.with_suffix('.json').is_file():
            self._keep(network, figure)
        return {VALIDATION: figure, **errors}

    def stop(self, report: EpochReport) -> bool:
        """Return whether Stage II has long had no better epoch; the count starts again in a continued run."""
        better = report.validation[VALIDATION] <= self._best()
        self._since = 0 if better or report.epoch < self.stage_two else self._since + 1
        return self._since >= PATIENCE

    def _best(self) -> float:
        if not self.stem.with_suffix('.json').is_file():
            return math.inf
        return load_card(self.stem).metrics[VALIDATION].value

    def _keep(self, network: Any, figure: float) -> None:
        bounded = min(figure, 1e9)
        card = replace(self.start.card, metrics={VALIDATION: Measurement(bounded, bounded, bounded, 1)})
        save_checkpoint(self.stem, network, card)

    def _errors(self, network: nn.Module) -> dict[str, float]:
        network.eval()
        errors = batch_errors(network, self.body, self.batch, self.joints, 'true')
        return {name: _mean(values) for name, values in errors.items()}


def _mean(values: Float[ndarray, ' n']) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan


def train_on_pools(
    start: Loaded, body: BodyModel, pools: Pools, config: RecordingAdaptConfig, run: Path, device: torch.device
) -> Trained:
    """Adapt the network of `start` in place; a run folder with a state in it is continued, a finished one read."""
    run.mkdir(parents=True, exist_ok=True)
    body, network = body.to(device), start.model.to(device)
    if not (run / DONE).is_file():
        observation = observation_of(pools.stature, pools.distance)
        stage = stage_of(_epochs(start, body, pools, config, run, device), observation)
        adapting = adapt_config(config, stage, len(pools.training))
        batch = _validation_batch(pools.validation, start, config.seed).to(device)
        watch = _Watch(run / BEST, start, body, batch, pools.validation.joints, stage.stage_two_epoch)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        batches, step, teachers = _prepared(start, body, pools.training, adapting, device)
        fingerprint = _fingerprint(pools, start, adapting, body)
        stateful = {'fits': teachers.store}
        reports = run_loop(network, batches, step, watch, adapting.loop, run, fingerprint, stateful, watch.stop)
        write_whole(run / DONE, json.dumps(_done(reports)).encode())
    done = json.loads((run / DONE).read_text(encoding='utf-8'))
    loaded = load_checkpoint(run / BEST, body)
    return Trained(Loaded(loaded.model, start.card), **done)


def _done(reports: list[EpochReport]) -> dict[str, Any]:
    figures = [report.validation.get(VALIDATION, math.inf) for report in reports]
    best = int(np.argmin(figures))
    seconds = sum(report.seconds for report in reports)
    return {'epochs': len(reports), 'best_epoch': best, 'seconds': seconds, 'validation': figures[best]}


def _prepared(
    start: Loaded, body: BodyModel, pool: WeakPool, adapting: AdaptConfig, device: torch.device
) -> tuple[Passes, WeakStep, Teachers]:
    """Return batches, step and teachers of a training on the pool."""
    prior = MixturePrior(bundled_mixture()).to(device)
    teachers = teachers_of(body, pool, prior, adapting.stage, 'recording')
    teachers.store.to(device)
    step = WeakStep(body, set_of_joints(pool.joints), adapting.stage, teachers, adapting.bfloat16)
    batches = weak_batches(pool, start.card.input, adapting, lambda points, rng: look(points, rng, pool.joints))
    return Passes(batches, passes_of(len(pool), adapting.batch_size)), step, teachers


def look(points: Float[ndarray, 'k 2'], rng: np.random.Generator, joints: tuple[str, ...]) -> Transform:
    """Return a crop as the engine makes them."""
    return draw_look(points, rng, joints, LOOKS)


def _validation_batch(pool: WeakPool, start: Loaded, seed: int) -> WeakBatch:
    """Return the same looks at the validation frames, whatever the epoch."""
    places = np.arange(VALIDATION_LOOKS) % len(pool)
    if len(pool) > VALIDATION_LOOKS:
        places = np.linspace(0, len(pool) - 1, VALIDATION_LOOKS).round().astype(int)
    rngs = [np.random.default_rng((seed, place)) for place in range(len(places))]
    return draw_weak(pool, places, rngs, lambda points, rng: look(points, rng, pool.joints), Crops(start.card.input))


def _epochs(
    start: Loaded, body: BodyModel, pools: Pools, config: RecordingAdaptConfig, run: Path, device: torch.device
) -> int:
    """Return how many epochs to train: as told, the usual number, or as many as fit into the hours."""
    if config.hours is None:
        return config.epochs or EPOCHS
    file = run / PLAN
    if not file.is_file():
        seconds = _seconds_an_epoch(start, body, pools, config, device)
        epochs = int(np.clip(SPARE * 3600 * config.hours / seconds, 1, MOST_EPOCHS))
        write_whole(file, json.dumps({'seconds_an_epoch': seconds, 'epochs': epochs}).encode())
    plan: Mapping[str, Any] = json.loads(file.read_text(encoding='utf-8'))
    return int(plan['epochs'])


def _seconds_an_epoch(
    start: Loaded, body: BodyModel, pools: Pools, config: RecordingAdaptConfig, device: torch.device
) -> float:
    """Return how long an epoch takes, from one step of each stage; the first call of each compiles and is not timed."""
    stage = stage_of(EPOCHS, observation_of(pools.stature, pools.distance))
    adapting = adapt_config(config, stage, len(pools.training))
    batches, step, teachers = _prepared(start, body, pools.training, adapting, device)
    seconds = []
    for epoch in (0, EPOCHS - 1):
        for _ in range(2):
            tried = dry_run(start.model, batches, step, epoch, adapting.batch_size, {'fits': teachers.store})
        seconds.append(tried.seconds)
    return len(batches) * sum(seconds) / len(seconds)


def _fingerprint(pools: Pools, start: Loaded, adapting: AdaptConfig, body: BodyModel) -> str:
    """Return what a training depends on."""
    names = '\n'.join((*pools.training.names, '', *pools.validation.names))
    return json.dumps(
        {
            'adapt': to_plain(adapting),
            'inputs': to_plain(start.card.input),
            'body': body.hash,
            'start': start.card.weights_hash,
            'frames': hashlib.sha256(names.encode()).hexdigest()[:16],
        }
    )
