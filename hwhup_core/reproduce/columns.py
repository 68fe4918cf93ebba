"""One start, static fits from it, and networks that are trained from both: what the columns of every table share."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from hwhup_core.body.keypoint_sets import keypoint_set
from hwhup_core.body.model import BodyModel, load_body
from hwhup_core.body.priors import MixturePrior, bundled_mixture
from hwhup_core.config_io import to_plain
from hwhup_core.evaluation.scores import save_scores
from hwhup_core.fitting.fit_store import load_fit_store, save_fit_store
from hwhup_core.networks.compact import CompactRegressor
from hwhup_core.networks.packing import InputConfig
from hwhup_core.networks.spin import SpinRegressor
from hwhup_core.reproduce.config import ORACLE, SENSED, TableConfig
from hwhup_core.reproduce.held_out import load_test_pool, score_pool, some_of
from hwhup_core.synthetic.domain import Cover
from hwhup_core.training.adapt import AdaptConfig, Validate, adapt, fit_once, teachers_of
from hwhup_core.training.batches import Crops, LabelledBatch, PoolBatches, draw_labelled
from hwhup_core.training.domain_pools import JOINTS, TestPool
from hwhup_core.training.labelled_step import LabelledStep
from hwhup_core.training.loop import LoopConfig, run_loop
from hwhup_core.training.pools import LabelledPool, Pictures, WeakPool, load_pool
from hwhup_core.training.transforms import draw_box
from hwhup_core.training.weak_step import Teachers

logger = logging.getLogger(__name__)

P = TypeVar('P', LabelledPool, WeakPool)

DATASET = 'table1-bed'
"""Of every fit store; older runs hold this name."""


@dataclass(frozen=True)
class Places:
    """Where the parts of a run lie."""

    shared: Path
    """Pools (`source.npz`, `weak.npz`, `oracle.npz`, `test/`), `start.pt` and the static fits."""
    columns: Path
    """One folder a column."""

    def scores(self, column: str) -> Path:
        """Return where a column's scores are, or will be."""
        return self.columns / column / 'scores.npz'


def pretrain(config: TableConfig, run: Path) -> None:
    """Train on the source domain with its truth, unless that is done."""
    if (run / 'start.pt').exists():
        return
    network = _fresh_network(config).to(_device())
    body, pool = load_body(config.body), load_pool(run / 'source.npz', LabelledPool)
    _supervise(network, body, pool, config, config.pretrain, run / 'pretrain', lambda _: {})
    partial_file = run / 'start.pt.partial'
    torch.save(network.cpu().state_dict(), partial_file)
    partial_file.replace(run / 'start.pt')


def static_fits(config: TableConfig, run: Path) -> None:
    """
    Fit every pose of the target once, uncovered, from the start's predictions: what SPIN calls static fits.

    As in the paper they are the same whatever a column's network reads: the start reads `config.inputs`.
    """
    file = run / 'static_fits.safetensors'
    if file.exists():
        return
    body, pool = load_body(config.body).to(_device()), _uncovered(load_pool(run / 'weak.npz', WeakPool))
    teachers = _teachers(config, run, body, pool, 'fine_tuned')
    valid = fit_once(_start(config, run), config.inputs, pool, teachers, config.stage('fine_tuned'))
    logger.info('static fits: %d of %d may teach', valid, len(pool))
    save_fit_store(teachers.store, file)


def run_column(config: TableConfig, places: Places, column: str) -> None:
    """Train one column from the start and write its scores."""
    body, network = load_body(config.body), _start(config, places.shared)
    held_out = _reading_test(load_test_pool(places.shared / 'test'), config.inputs)
    validate = partial(_progress, body=body, config=config, held_out=some_of(held_out, 200))
    folder = places.columns / column
    if column == ORACLE:
        pool = load_pool(places.shared / 'oracle.npz', LabelledPool)
        _supervise(network, body, pool, config, config.adapt, folder, validate)
    elif config.stage(column).epochs:
        weak = _reading(load_pool(places.shared / 'weak.npz', WeakPool), config.inputs)
        teachers = _teachers(config, places.shared, body, weak, column)
        adaptation = AdaptConfig(
            stage=config.stage(column), loop=config.adapt, batch_size=config.batch_size, augment=config.augment,
            bfloat16=config.bfloat16,
        )  # fmt: skip
        adapt(network, config.inputs, body, weak, teachers, adaptation, folder, validate)
    scores = score_pool(network, body, config.inputs, held_out, config.scored)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.cpu().state_dict(), folder / 'network.pt')
    save_scores(places.scores(column), scores)


def column_network(config: TableConfig, places: Places, column: str) -> nn.Module:
    """Return the network that a finished column ended with, on the CPU."""
    network = _fresh_network(config)
    file = places.columns / column / 'network.pt'
    network.load_state_dict(torch.load(file, weights_only=True, map_location='cpu'))
    return network


def _fresh_network(config: TableConfig) -> nn.Module:
    torch.manual_seed(config.seed)
    if config.network is None:
        return SpinRegressor()
    network = CompactRegressor(config.network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def _device() -> torch.device:
    return torch.device('cuda' if torch.cuda.is_available() else 'cpu')


def _start(config: TableConfig, run: Path) -> nn.Module:
    """Return the pre-trained network that every column starts from."""
    network = _fresh_network(config)
    network.load_state_dict(torch.load(run / 'start.pt', weights_only=True, map_location='cpu'))
    return network.to(_device())


def _supervise(
    network: nn.Module,
    body: BodyModel,
    pool: LabelledPool,
    config: TableConfig,
    loop: LoopConfig,
    run: Path,
    validate: Validate,
) -> None:
    """Train the network in place with true labels."""

    def draw(indices: np.ndarray, rngs: Sequence[np.random.Generator]) -> LabelledBatch:
        crops = Crops(config.inputs, config.augment.gain)
        return draw_labelled(pool, indices, rngs, lambda points, rng: draw_box(points, rng, config.augment), crops)

    batches: PoolBatches[LabelledBatch] = PoolBatches(draw, pool.names, config.batch_size, loop.seed)
    step = LabelledStep(body.to(_device()), keypoint_set(JOINTS), bfloat16=config.bfloat16)
    run_loop(network, batches, step, validate, loop, run, json.dumps(to_plain(config)))


def _teachers(config: TableConfig, run: Path, body: BodyModel, pool: WeakPool, column: str) -> Teachers:
    """Return the teachers of a column, with the static fits in their store where these are made already."""
    prior = MixturePrior(bundled_mixture()).to(_device())
    teachers = teachers_of(body, pool, prior, config.stage(column), DATASET)
    file = run / 'static_fits.safetensors'
    if not file.exists():
        return teachers
    return replace(teachers, store=load_fit_store(file, DATASET, teachers.store.images, body).to(_device()))


def _uncovered(pool: WeakPool) -> WeakPool:
    """Return the frames without cover."""
    places = np.flatnonzero([name.split('/')[1] == Cover.NONE.value for name in pool.names])
    names = tuple(pool.names[place] for place in places)
    return WeakPool(pool.pictures[places], pool.labels[places], pool.joints, names)


def _reading(pool: P, inputs: InputConfig) -> P:
    """Return the pool without the pictures that a network does not read: three covers and sensors fill the memory."""
    others = [name for modality, name in SENSED.items() if modality not in inputs.modalities]
    kept = {name: value for name, value in vars(pool.pictures).items() if name not in others}
    return replace(pool, pictures=Pictures(**kept))


def _reading_test(pool: TestPool, inputs: InputConfig) -> TestPool:
    return TestPool(_reading(pool.weak, inputs), _reading(pool.truth, inputs), pool.postures)


def _progress(network: nn.Module, body: BodyModel, config: TableConfig, held_out: TestPool) -> dict[str, float]:
    """Return the held-out joint error, for the log alone: nothing is chosen by it."""
    scores = score_pool(network, body, config.inputs, held_out, config.scored)
    return {'mpjpe_mm': float(scores.mpjpe_mm.mean())}
