"""
Colour weights for one crib: trained in rooms with truth, adapted at the site without; compared through the engine.

At run time the weights need no depth; the adaptation had it. Everything lies in the run's folder and is made once, so
that a run that was stopped goes on.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Int
from numpy import ndarray
from torch import nn

from hwhup_core.body.keypoint_sets import keypoint_set
from hwhup_core.body.model import BodyModel, load_body
from hwhup_core.body.priors import MixturePrior, bundled_mixture
from hwhup_core.config_io import save_config, to_plain
from hwhup_core.evaluation.evaluate import Answers, figures_of, subject_interval
from hwhup_core.evaluation.metrics import Interval, cluster_interval, mpjpe
from hwhup_core.networks.compact import CompactRegressor
from hwhup_core.reproduce.crib_rgb_card import write_weights
from hwhup_core.reproduce.crib_rgb_config import ADAPTED, SOURCE, CribRgbConfig
from hwhup_core.training.adapt import AdaptConfig, adapt, teachers_of
from hwhup_core.training.batches import Crops, Draw, LabelledBatch, PoolBatches, Rngs, draw_labelled
from hwhup_core.training.domain_pools import JOINTS, labelled_pool
from hwhup_core.training.labelled_step import LabelledStep
from hwhup_core.training.loop import LoopConfig, run_loop
from hwhup_core.training.pools import LabelledPool, WeakPool, load_pool, save_pool
from hwhup_core.training.site import record_site
from hwhup_core.training.transforms import BoxAugmentConfig, draw_look

P = TypeVar('P', LabelledPool, WeakPool)


def run_crib_rgb(config: CribRgbConfig, run: Path, command: str) -> dict[str, Answers]:
    """Make what is missing in the folder `run`, and return the answers of the weights before and after."""
    run.mkdir(parents=True, exist_ok=True)
    save_config(run / 'config.yaml', config)
    body = load_body(config.body)
    source = _kept(run / 'source.npz', LabelledPool, partial(_source_pool, config))
    site = _kept(run / 'site.npz', WeakPool, partial(record_site, config.record, range(1, config.infants + 1)))
    torch.manual_seed(config.seed)
    network = CompactRegressor(config.network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    train_source(network, body, source, config, run / 'source')
    before = copy.deepcopy(network)
    adapt_to_site(network, body, site, config, run / 'adapted')
    return {
        SOURCE: write_weights(run / SOURCE, before, body, config, source, command),
        ADAPTED: write_weights(run / ADAPTED, network, body, config, site, command),
    }


def _kept(file: Path, kind: type[P], make: Callable[[], P]) -> P:
    """Return the pool, from the run's folder when it is continued."""
    if not file.exists():
        save_pool(file, make())
    return load_pool(file, kind)


def _source_pool(config: CribRgbConfig) -> LabelledPool:
    return labelled_pool(config.source, config.seed, range(1, config.source_subjects + 1), config.record.observation)


def train_source(network: nn.Module, body: BodyModel, pool: LabelledPool, config: CribRgbConfig, run: Path) -> None:
    """Train the network in place with the truth of the source domain."""
    draw, crops = look_of(pool, config), Crops(config.inputs, config.gain)

    def batch(indices: Int[ndarray, ' b'], rngs: Rngs) -> LabelledBatch:
        return draw_labelled(pool, indices, rngs, draw, crops)

    batches = PoolBatches(batch, pool.names, config.batch_size, config.seed)
    step = LabelledStep(body, keypoint_set(JOINTS), bfloat16=True)
    loop = LoopConfig(epochs=config.source_epochs, learning_rate=config.learning_rate, gradient_every=0)
    run_loop(network, batches, step, lambda _: {}, loop, run, json.dumps(to_plain(config.before_the_site())))


def adapt_to_site(network: nn.Module, body: BodyModel, pool: WeakPool, config: CribRgbConfig, run: Path) -> None:
    """Adapt the network in place to what was recorded; no truth comes in."""
    stage = config.stage()
    adaptation = AdaptConfig(
        stage=stage,
        loop=LoopConfig(learning_rate=config.learning_rate, gradient_every=4, seed=config.seed),
        batch_size=config.batch_size,
        augment=BoxAugmentConfig(gain=config.gain),
        bfloat16=True,
    )
    teachers = teachers_of(body, pool, MixturePrior(bundled_mixture()), stage, f'site {config.record.site.crib_seed}')
    adapt(network, config.inputs, body, pool, teachers, adaptation, run, lambda _: {}, look_of(pool, config))


def look_of(pool: LabelledPool | WeakPool, config: CribRgbConfig) -> Draw:
    """Return how the engine looks at the people of the pool."""
    return lambda points, rng: draw_look(points, rng, pool.joints, config.looks)


def comparison(answers: Mapping[str, Answers]) -> str:
    """Return the table of the weights before and after, and of their difference frame by frame."""
    lines = ['| weights | joint error, mm | after Procrustes | of its mean pose | missed |', '|---|---|---|---|---|']
    for name, each in answers.items():
        figures = figures_of(each)
        lines.append(
            f'| {name} | {_text(subject_interval(each))} | {_text(figures["pa_joint_error_mm"])} '
            f'| {figures["mean_pose_joint_error_mm"].mean:.1f} | {figures["missed"].mean:.3f} |'
        )
    before, after = answers[SOURCE], answers[ADAPTED]
    if before.missed == after.missed == 0:
        gained = 1000 * (mpjpe(before.predicted, before.true) - mpjpe(after.predicted, after.true))
        lines.append(f'\nBetter by {_text(cluster_interval(gained, before.subject))} mm on the same frames.')
    return '\n'.join(lines)


def _text(interval: Interval) -> str:
    return f'{interval.mean:.1f} ({interval.low:.1f} to {interval.high:.1f})'
