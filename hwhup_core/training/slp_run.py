"""A whole adaptation to a folder in SLP's layout: pools, start, stages, and the weights with their card."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from hwhup_core.body.keypoint_sets import keypoint_set, set_of_joints
from hwhup_core.body.model import BodyModel, load_body
from hwhup_core.body.priors import MixturePrior, bundled_mixture
from hwhup_core.config_io import to_plain
from hwhup_core.data.slp import read_slp
from hwhup_core.errors import ConfigError
from hwhup_core.evaluation.metrics import bootstrap_interval
from hwhup_core.inference.engine import weights_path
from hwhup_core.networks.card import Measurement, ModelCard, running_commit
from hwhup_core.networks.checkpoint import Loaded, load_checkpoint, save_checkpoint, write_whole
from hwhup_core.networks.compact import CompactConfig, CompactRegressor
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.training.adapt import AdaptConfig, adapt, fit_once, teachers_of, weak_batches
from hwhup_core.training.distributed import current_ranks, local_device, on_first
from hwhup_core.training.dry_run import DryRun, dry_run
from hwhup_core.training.held_out import held_out_errors, means
from hwhup_core.training.observe import observation_for
from hwhup_core.training.pools import WeakPool
from hwhup_core.training.run_state import STATE_FILE
from hwhup_core.training.slp_pools import (
    SlpReport,
    dataset_name,
    split_by_time,
    split_subjects,
    weak_pool_from_slp,
)
from hwhup_core.training.stages import PRESETS, StageConfig, for_joint_set, with_true_camera
from hwhup_core.training.transforms import draw_box
from hwhup_core.training.weak_step import Teachers, WeakStep

logger = logging.getLogger(__name__)

JOINTS = 'slp_16'
"""SLP's joints, head and pelvis."""
DRY_FRAMES = 8
WEIGHTS_NAME = 'adapted'


@dataclass(frozen=True)
class SlpRunConfig:
    """What `hwhup adapt` is asked for."""

    data: Path
    """Folder that holds the lab."""
    weights: str
    """Bundled weights, a .safetensors file with its card, or `none` for a fresh compact network."""
    out: Path
    """Folder of the run; a stopped run there goes on."""
    preset: str = 'full'
    """Name in `stages.PRESETS`."""
    body: str = 'adult'
    modalities: tuple[Modality, ...] | None = None
    """What the network reads, in channel order; None: what the weights read, depth for fresh ones."""
    covers: tuple[str, ...] | None = None
    """Under which covers it reads; None: under all that are there."""
    epochs: int | None = None
    """None: the preset's."""
    stage_two: int | None = None
    """First epoch of Stage II; None: after the preset's share of the epochs."""
    batch_size: int = 64
    learning_rate: float = 5e-5
    spin_camera: bool = False
    """Whether SPIN's far camera stands behind the crops instead of the real one."""
    skip_bad: bool = False
    seed: int = 0
    lab: str = 'danaLab'
    workers: int = 1
    """Processes that read."""

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise ConfigError(f'There is no preset {self.preset!r}. There are: {", ".join(PRESETS)}.')
        if self.batch_size < 1 or self.workers < 1 or self.seed < 0 or self.learning_rate <= 0:
            raise ConfigError('batch and workers must be at least 1, seed at least 0, the learning rate above 0.')


@dataclass(frozen=True)
class Outcome:
    """What an adaptation came to; means over the held-out frames."""

    weights: Path
    """Stem of the files."""
    before: dict[str, float]
    after: dict[str, float]
    report: SlpReport
    """Of all frames, held-out ones too."""


@dataclass(frozen=True)
class _Site:
    """All that is made before the first step."""

    start: Loaded
    body: BodyModel
    stage: StageConfig
    training: WeakPool
    held_out: WeakPool
    report: SlpReport


def stage_of(config: SlpRunConfig) -> StageConfig:
    """Return the preset for these joints, with the real camera and other epochs where asked for."""
    preset = for_joint_set(PRESETS[config.preset], len(keypoint_set(JOINTS).joints))
    stage = preset if config.spin_camera else with_true_camera(preset)
    epochs = stage.epochs if config.epochs is None else config.epochs
    share = stage.stage_two_epoch / stage.epochs if stage.epochs else 0.0
    first = round(share * epochs) if config.stage_two is None else config.stage_two
    return replace(stage, epochs=epochs, stage_two_epoch=first)


def run_slp(config: SlpRunConfig) -> Outcome:
    """Adapt to the folder and write weights and card into the run's folder; call it in every process of `torchrun`."""
    site = _prepare(config, None)
    network, inputs = site.start.model, site.start.card.input
    adapting = adapt_config(config, site.stage)
    ranks = current_ranks()
    crop_camera = site.stage.crop_camera

    def errors(model: nn.Module) -> dict[str, float]:
        return means(held_out_errors(model, inputs, site.body, site.held_out, crop_camera))

    before = on_first(ranks, lambda: errors(network))
    teachers = _teachers(config, site)
    adapt(network, inputs, site.body, site.training, teachers, adapting, config.out, errors)
    stem = config.out / WEIGHTS_NAME
    after = on_first(ranks, lambda: _write(stem, site, config, adapting, before))
    return Outcome(stem, before, after, site.report)


def try_slp(config: SlpRunConfig) -> dict[str, DryRun]:
    """Return what a step of each stage would do on the first frames of the first subject; nothing is written."""
    site = _prepare(config, 1)
    adapting = replace(adapt_config(config, site.stage), batch_size=min(DRY_FRAMES, len(site.training)))
    teachers = _teachers(config, site)
    inputs, augment = site.start.card.input, adapting.augment
    batches = weak_batches(site.training, inputs, adapting, lambda points, rng: draw_box(points, rng, augment))
    step = WeakStep(site.body, set_of_joints(site.training.joints), site.stage, teachers)
    epochs = {'stage I': 0, 'stage II': site.stage.stage_two_epoch}
    return {
        name: dry_run(site.start.model, batches, step, epoch, DRY_FRAMES, {'fits': teachers.store})
        for name, epoch in epochs.items()
        if site.stage.in_stage_two(epoch) == (name == 'stage II')
    }


def adapt_config(config: SlpRunConfig, stage: StageConfig) -> AdaptConfig:
    """Return how the run descends."""
    default = AdaptConfig()
    loop = replace(default.loop, learning_rate=config.learning_rate, seed=config.seed)
    return replace(default, stage=stage, loop=loop, batch_size=config.batch_size)


def load_start(weights: str, body: BodyModel, modalities: tuple[Modality, ...] | None, seed: int) -> Loaded:
    """Return what the adaptation starts from; weights for another body or another input are refused."""
    if weights == 'none':
        return _fresh(body, modalities or (Modality.DEPTH,), seed)
    loaded = load_checkpoint(weights_path(weights), body)
    reads = loaded.card.input.modalities
    if modalities is not None and reads != modalities:
        raise ConfigError(
            f'The weights {weights} read {_named(reads)}, and --input is {_named(modalities)}. '
            'Leave --input out, or start from weights that read it (none: from a fresh network).'
        )
    return loaded


def _named(modalities: tuple[Modality, ...]) -> str:
    return ', '.join(modality.value for modality in modalities)


def _fresh(body: BodyModel, modalities: tuple[Modality, ...], seed: int) -> Loaded:
    torch.manual_seed(seed)
    shape = CompactConfig()
    card = ModelCard(
        architecture='compact',
        network=shape,
        input=InputConfig(modalities=modalities, size=shape.input_size),
        body_id=body.body_id,
        body_hash=body.hash,
        licence='none given',
    )
    return Loaded(CompactRegressor(shape), card)


def _prepare(config: SlpRunConfig, most_subjects: int | None) -> _Site:
    """Read the frames (of the first subjects alone, where so many suffice) and load what they are adapted with."""
    body, stage = load_body(config.body), stage_of(config)
    start = load_start(config.weights, body, config.modalities, config.seed)
    subjects = read_slp(config.data, config.lab).subjects[:most_subjects]
    training, held_out, report = _read(config, subjects, start.card.input, stage)
    device = local_device()
    start.model.to(device)
    return _Site(start, body.to(device), stage, training, held_out, report)


def _read(
    config: SlpRunConfig, subjects: tuple[int, ...], inputs: InputConfig, stage: StageConfig
) -> tuple[WeakPool, WeakPool, SlpReport]:
    """Return what to train on and what to hold out: the last subjects, or of a single one the last poses."""
    observation = observation_for(stage)

    def read(some: tuple[int, ...]) -> tuple[WeakPool, SlpReport]:
        return weak_pool_from_slp(
            config.data,
            some,
            config.covers,
            inputs.modalities,
            observation,
            config.skip_bad,
            config.lab,
            config.workers,
        )

    first, last = split_subjects(subjects)
    pool, report = read(first)
    if not last:
        return *split_by_time(pool), report
    held_out, other = read(last)
    both = SlpReport(report.poses + other.poses, report.samples + other.samples, report.left_out + other.left_out)
    return pool, held_out, both


def _teachers(config: SlpRunConfig, site: _Site) -> Teachers:
    """Return teachers; static fits are made here, unless a run that goes on brings its own."""
    prior = MixturePrior(bundled_mixture()).to(local_device())
    teachers = teachers_of(site.body, site.training, prior, site.stage, dataset_name(site.training))
    teachers.store.to(local_device())
    if site.stage.fits == 'static' and not (config.out / STATE_FILE).exists():
        count = fit_once(site.start.model, site.start.card.input, site.training, teachers, site.stage)
        logger.info('%d of %d static fits may teach', count, len(site.training))
    return teachers


def _write(
    stem: Path, site: _Site, config: SlpRunConfig, adapting: AdaptConfig, before: dict[str, float]
) -> dict[str, float]:
    """Write weights, card and `frames.json`, and return the held-out means."""
    network = site.start.model
    errors = held_out_errors(network, site.start.card.input, site.body, site.held_out, site.stage.crop_camera)
    intervals = {name: bootstrap_interval(values) for name, values in errors.items()}
    card = replace(
        site.start.card,
        training_data=f'{site.start.card.training_data or "Nothing"}; then adapted without 3D labels to '
        f'{len(site.training)} frames of {config.data.name}',
        training_command=f'hwhup adapt {config.data} --weights {config.weights} --preset {config.preset}',
        training_config={'adapt': to_plain(adapting), 'start': site.start.card.weights_hash},
        seed=config.seed,
        commit=running_commit(),
        metrics={name: Measurement(i.mean, i.low, i.high, i.count) for name, i in intervals.items() if i.count},
        # How sure it was there says nothing about here.
        calibration={},
    )
    save_checkpoint(stem, network, card)
    after = means(errors)
    write_whole(config.out / 'frames.json', _frames(site, before, after).encode())
    return after


def _frames(site: _Site, before: dict[str, float], after: dict[str, float]) -> str:
    content = {
        'poses': site.report.poses,
        'samples': site.report.samples,
        'trained_on': len(site.training),
        'held_out': len(site.held_out),
        'left_out': site.report.counts(),
        'left_out_frames': [vars(entry) for entry in site.report.left_out],
        'held_out_before': _finite(before),
        'held_out_after': _finite(after),
    }
    return json.dumps(content, indent=2) + '\n'


def _finite(figures: dict[str, float]) -> dict[str, float | None]:
    """Return the figures with None for what JSON cannot hold."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}
