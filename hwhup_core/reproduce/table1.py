"""
Table 1 again, where truth is known: one start, every ablation, and an oracle that is shown the target's 3D.

Everything lies in the run's folder and is made once: pools, start, static fits, one folder a column. A run that was
stopped goes on where it was. Columns are trained side by side, one process a core.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from hwhup_core.body.keypoint_sets import keypoint_set
from hwhup_core.body.model import BodyModel, load_body
from hwhup_core.body.priors import MixturePrior, bundled_mixture
from hwhup_core.config_io import from_plain, load_config, save_config, to_plain
from hwhup_core.errors import HwhupError
from hwhup_core.evaluation.scores import save_scores
from hwhup_core.fitting.fit_store import load_fit_store, save_fit_store
from hwhup_core.networks.compact import CompactRegressor
from hwhup_core.networks.spin import SpinRegressor
from hwhup_core.reproduce.config import COLUMNS, ORACLE, SENSED, TableConfig
from hwhup_core.reproduce.held_out import load_test_pool, save_test_pool, score_pool, some_of
from hwhup_core.synthetic.domain import DomainConfig
from hwhup_core.training.adapt import AdaptConfig, Validate, adapt, fit_once, teachers_of
from hwhup_core.training.batches import Crops, LabelledBatch, PoolBatches, draw_labelled
from hwhup_core.training.domain_pools import JOINTS, TestPool, labelled_pool, test_pool, weak_pool
from hwhup_core.training.labelled_step import LabelledStep
from hwhup_core.training.loop import LoopConfig, run_loop
from hwhup_core.training.parallel import process_pool
from hwhup_core.training.pools import LabelledPool, WeakPool, load_pool, save_pool
from hwhup_core.training.transforms import draw_box
from hwhup_core.training.weak_step import Teachers

logger = logging.getLogger(__name__)

P = TypeVar('P', LabelledPool, WeakPool)

SOURCE_SEED, TARGET_SEED = 1, 2
"""Added to the table's seed: what the two domains are drawn from."""
DATASET = 'table1-bed'


def run_table(config: TableConfig, run: Path, processes: int, columns: Sequence[str] = COLUMNS) -> dict[str, Path]:
    """Make what is missing of these columns in the folder `run`, and return the scores' file of each that is there."""
    run.mkdir(parents=True, exist_ok=True)
    _claim(config, run)
    _make_pools(config, run)
    _pretrain(config, run)
    _static_fits(config, run)
    waiting = [column for column in _in_order() if column in columns and not scores_file(run, column).exists()]
    if processes > 1 and len(waiting) > 1:
        with process_pool(min(processes, len(waiting))) as executor:
            list(executor.map(partial(_column, to_plain(config), run), waiting))
    else:
        for column in waiting:
            run_column(config, run, column)
    return {column: scores_file(run, column) for column in COLUMNS if scores_file(run, column).exists()}


def _in_order() -> Sequence[str]:
    """Return the columns as they are trained: first those that say whether the method works, then the longest."""
    order = ('full', ORACLE, 'no_prior', 'fine_tuned', '3d_dp_vis', '3d_dp', '2d_d', 'without_loop', 'pre_trained')
    assert set(order) == set(COLUMNS)
    return order


def _column(plain: dict[str, object], run: Path, column: str) -> None:
    """Train and score one column in a process of its own, on one core."""
    torch.set_num_threads(1)
    run_column(from_plain(plain, TableConfig, 'the table'), run, column)


def _claim(config: TableConfig, run: Path) -> None:
    """Write the configuration into a fresh folder; refuse a folder of another one."""
    file = run / 'config.yaml'
    if file.exists() and load_config(file, TableConfig) != config:
        raise HwhupError(f'{run} holds a table of another configuration, see {file}. Choose another folder with --run.')
    save_config(file, config)


def domain(config: TableConfig, kind: str) -> DomainConfig:
    """Return the source (`room`) or target (`bed`) domain; depth is always sensed, since it supervises."""
    sensed = tuple(dict.fromkeys(('depth', SENSED[config.modality])))
    plain = {'kind': kind, 'body': config.body, 'poses': config.poses, 'modalities': list(sensed)}
    noise = {'label_noise': config.label_noise if kind == 'bed' else 0.0, 'sensor': config.sensor}
    return from_plain(plain | noise, DomainConfig, kind)


def _make_pools(config: TableConfig, run: Path) -> None:
    """Make the four sets of samples: labelled source; weak target; the target's truth, for the oracle; held-out."""
    observation, bed, room = config.observation, domain(config, 'bed'), domain(config, 'room')
    source = range(1, config.source_subjects + 1)
    train = range(1, config.train_subjects + 1)
    held_out = range(config.train_subjects + 1, config.train_subjects + config.test_subjects + 1)
    seed = config.seed + TARGET_SEED
    _make(
        run / 'source.npz',
        lambda: labelled_pool(room, config.seed + SOURCE_SEED, source, observation),
    )
    _make(run / 'weak.npz', lambda: weak_pool(bed, seed, train, observation))
    _make(run / 'oracle.npz', lambda: labelled_pool(bed, seed, train, observation))
    if not (run / 'test' / 'truth.npz').exists():
        save_test_pool(run / 'test', test_pool(replace(bed, label_noise=0.0), seed, held_out, observation))


def _make(file: Path, make: Callable[[], LabelledPool | WeakPool]) -> None:
    if not file.exists():
        save_pool(file, make())


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


def _pretrain(config: TableConfig, run: Path) -> None:
    """Train on the source domain with its truth."""
    if (run / 'start.pt').exists():
        return
    network = _fresh_network(config).to(_device())
    body, pool = load_body(config.body), load_pool(run / 'source.npz', LabelledPool)
    _supervise(network, body, pool, config, config.pretrain, run / 'pretrain', lambda _: {})
    partial_file = run / 'start.pt.partial'
    torch.save(network.cpu().state_dict(), partial_file)
    partial_file.replace(run / 'start.pt')


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


def _static_fits(config: TableConfig, run: Path) -> None:
    """Fit every frame of the target once, from the start's predictions: what SPIN calls static fits."""
    file = run / 'static_fits.safetensors'
    if file.exists():
        return
    body, pool = load_body(config.body).to(_device()), load_pool(run / 'weak.npz', WeakPool)
    teachers = _teachers(config, run, body, pool, 'fine_tuned')
    valid = fit_once(_start(config, run), config.inputs, pool, teachers, config.stage('fine_tuned'))
    logger.info('static fits: %d of %d may teach', valid, len(pool))
    save_fit_store(teachers.store, file)


def run_column(config: TableConfig, run: Path, column: str) -> None:
    """Train one column from the start and write its scores."""
    body, network = load_body(config.body), _start(config, run)
    held_out = load_test_pool(run / 'test')
    validate = partial(_progress, body=body, config=config, held_out=some_of(held_out, 200))
    folder = run / 'columns' / column
    if column == ORACLE:
        pool = load_pool(run / 'oracle.npz', LabelledPool)
        _supervise(network, body, pool, config, config.adapt, folder, validate)
    elif config.stage(column).epochs:
        weak = load_pool(run / 'weak.npz', WeakPool)
        teachers = _teachers(config, run, body, weak, column)
        adaptation = AdaptConfig(
            stage=config.stage(column), loop=config.adapt, batch_size=config.batch_size, augment=config.augment,
            bfloat16=config.bfloat16,
        )  # fmt: skip
        adapt(network, config.inputs, body, weak, teachers, adaptation, folder, validate)
    scores = score_pool(network, body, config.inputs, held_out)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(network.cpu().state_dict(), folder / 'network.pt')
    save_scores(scores_file(run, column), scores)


def column_network(config: TableConfig, run: Path, column: str) -> nn.Module:
    """Return the network that a finished column ended with, on the CPU."""
    network = _fresh_network(config)
    file = run / 'columns' / column / 'network.pt'
    network.load_state_dict(torch.load(file, weights_only=True, map_location='cpu'))
    return network


def _progress(network: nn.Module, body: BodyModel, config: TableConfig, held_out: TestPool) -> dict[str, float]:
    """Return the held-out joint error, for the log alone: nothing is chosen by it."""
    scores = score_pool(network, body, config.inputs, held_out)
    return {'mpjpe_mm': float(scores.mpjpe_mm.mean())}


def scores_file(run: Path, column: str) -> Path:
    """Return where a column's scores are, or will be."""
    return run / 'columns' / column / 'scores.npz'
