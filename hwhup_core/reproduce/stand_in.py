"""
Stand-ins for the tables about other places than SLP's bed: a source with truth, a target with weak labels, both made.

Every column starts from the same weights. What lies in the run's folder is not made again, so that a run that was
stopped goes on. Nothing here is a figure of a real data set: results say `synthetic`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import nn

from hwhup_core.body.keypoint_sets import keypoint_set, point_map
from hwhup_core.body.model import BodyModel, load_body
from hwhup_core.config_io import from_plain, load_config, save_config, to_plain
from hwhup_core.errors import HwhupError
from hwhup_core.evaluation.metrics import pa_mpjpe
from hwhup_core.evaluation.protocols import h36m_joints
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.reproduce.columns import Places, column_network, pretrain, run_column, static_fits
from hwhup_core.reproduce.config import SENSED, TableConfig
from hwhup_core.reproduce.held_out import held_out_batch, load_test_pool, save_test_pool
from hwhup_core.synthetic.domain import DomainConfig
from hwhup_core.training.domain_pools import TestPool, labelled_pool, test_pool, weak_pool
from hwhup_core.training.pools import LabelledPool, WeakPool, save_pool
from hwhup_core.training.slp_pools import select
from hwhup_core.training.weak_step import predict
from hwhup_core.types import BodyParams

SYNTHETIC = 'synthetic'
COLUMNS = ('pre_trained', 'fine_tuned', 'full')
"""The start, 2D joints with OPT alone, and the paper's method."""
SOURCE_SEED, TARGET_SEED = 1, 2
"""Added to the seed: what the two domains are drawn from."""
BATCH = 64


@dataclass(frozen=True)
class StandInConfig:
    """One stand-in: who is where, and how networks are trained."""

    table: str
    """Name of the table, such as `table3`."""
    training: TableConfig
    """Sizes of the sets, network, epochs; what it says of domains does not count."""
    source: DomainConfig
    """Where the start is trained with truth."""
    target: DomainConfig
    """Where it is adapted without, and scored on other people."""

    @property
    def modality(self) -> Modality:
        """Return what the networks read."""
        return self.training.modality

    @property
    def name(self) -> str:
        """Return the stem of the results' files."""
        suffix = '' if self.modality is Modality.DEPTH else f'-{self.modality.value}'
        return f'{self.table}-{self.training.size}{suffix}'


def reading(config: StandInConfig, modality: Modality) -> StandInConfig:
    """Return the stand-in for networks that read this modality."""
    sensed = list(dict.fromkeys(('depth', SENSED[modality])))
    training = replace(config.training, inputs=replace(config.training.inputs, modalities=(modality,)))
    source, target = (
        from_plain(to_plain(domain) | {'modalities': sensed}, DomainConfig, config.table)
        for domain in (config.source, config.target)
    )
    return replace(config, training=training, source=source, target=target)


def run_stand_in(config: StandInConfig, run: Path) -> dict[str, Path]:
    """Make what is missing in the folder `run`, and return the file of scores of each column."""
    _claim(config, run)
    _make_pools(config, run)
    pretrain(config.training, run)
    static_fits(config.training, run)
    places = places_of(run)
    for column in COLUMNS:
        if not places.scores(column).exists():
            run_column(config.training, places, column)
    return {column: places.scores(column) for column in COLUMNS}


def places_of(run: Path) -> Places:
    """Return where the parts of a run lie."""
    return Places(run, run / 'columns')


def _claim(config: StandInConfig, run: Path) -> None:
    """Write the configuration into a fresh folder, which is made; refuse a folder of another one."""
    run.mkdir(parents=True, exist_ok=True)
    file = run / 'config.yaml'
    if file.exists() and load_config(file, StandInConfig) != config:
        raise HwhupError(f'{run} holds a table of another configuration, see {file}. Choose another folder with --run.')
    save_config(file, config)


def _make_pools(config: StandInConfig, run: Path) -> None:
    """Make the labelled source, the weak target and other people of the target, with exact labels and depth."""
    training = config.training
    observation, seed = training.observation, training.seed + TARGET_SEED
    source, train = range(1, training.source_subjects + 1), range(1, training.train_subjects + 1)
    _make(run / 'source.npz', lambda: labelled_pool(config.source, training.seed + SOURCE_SEED, source, observation))
    _make(run / 'weak.npz', lambda: seen_frames(weak_pool(config.target, seed, train, observation)))
    if not (run / 'test' / 'truth.npz').exists():
        held_out = range(training.train_subjects + 1, training.train_subjects + training.test_subjects + 1)
        exact = replace(config.target, label_noise=0.0)
        save_test_pool(run / 'test', test_pool(exact, seed, held_out, observation))


def seen_frames(pool: WeakPool) -> WeakPool:
    """
    Return the frames in which a joint is seen, as the readers of data sets do: nobody labels a person behind a wall.

    In a room the wall beside the person now and then stands before the camera.
    """
    seen = np.flatnonzero((pool.labels.visibility > 0).any(axis=1))
    if not len(seen):
        raise HwhupError('Nobody is seen in any frame of the target. Choose another seed.')
    return select(pool, seen)


def _make(file: Path, make: Callable[[], LabelledPool | WeakPool]) -> None:
    if not file.exists():
        save_pool(file, make())


@dataclass(frozen=True)
class Fourteen:
    """Errors of the 14 joints of Human3.6M's and 3DPW's protocols, one row a frame, millimetres."""

    mpjpe_mm: Float[ndarray, ' n']
    """Pelvis on pelvis."""
    pa_mpjpe_mm: Float[ndarray, ' n']
    """After the best similarity."""


def fourteen_of_columns(config: StandInConfig, run: Path) -> Mapping[str, Fourteen]:
    """Return the 14-joint errors of every column's held-out frames."""
    pool, body = load_test_pool(run / 'test'), load_body(config.training.body)
    return {
        column: fourteen(
            column_network(config.training, places_of(run), column), body, config.training.inputs, pool
        )
        for column in COLUMNS
    }  # fmt: skip


@torch.no_grad()
def fourteen(network: nn.Module, body: BodyModel, inputs: InputConfig, pool: TestPool) -> Fourteen:
    """Return the errors of the 14 joints of a network on held-out people whose bodies are known."""
    network.eval()
    errors, aligned = [], []
    for start in range(0, len(pool.weak), BATCH):
        places = np.arange(start, min(start + BATCH, len(pool.weak)))
        weak, truth = held_out_batch(pool, places, inputs)
        predicted = fourteen_joints(body, predict(network, weak.images, bfloat16=False).params)
        true = fourteen_joints(body, truth.params)
        errors.append(np.linalg.norm(predicted - true, axis=2).mean(axis=1))
        aligned.append(pa_mpjpe(predicted, true))
    return Fourteen(1000 * np.concatenate(errors), 1000 * np.concatenate(aligned))


def fourteen_joints(body: BodyModel, params: BodyParams) -> Float[ndarray, 'b 14 3']:
    """Return what stands for the 14 joints on a body, metres from the pelvis."""
    skeleton = body.skeleton(params)
    mix = point_map(keypoint_set('h36m_17'), body.landmark_names).mix
    joints: ndarray = h36m_joints(torch.cat([skeleton.joints, skeleton.landmarks], dim=1), mix).double().cpu().numpy()
    return joints
