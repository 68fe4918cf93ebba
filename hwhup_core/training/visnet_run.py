"""A training of VisNet: people, network, epochs, held-out areas under the ROC curve, weights and their card."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from torch import nn

from hwhup_core.body.joints import COCO_17
from hwhup_core.config_io import load_config, save_config, to_plain
from hwhup_core.data.coco import read_coco
from hwhup_core.data.sample import BadSamples
from hwhup_core.errors import ConfigError
from hwhup_core.evaluation.auc import auc_interval, roc_auc
from hwhup_core.evaluation.metrics import Interval
from hwhup_core.networks.card import Measurement, running_commit
from hwhup_core.networks.packing import INPUTS, InputConfig, Modality
from hwhup_core.networks.visnet import VisNet, VisNetConfig, keypoints_from
from hwhup_core.networks.visnet_checkpoint import VisNetCard, load_visnet, load_visnet_card, save_visnet
from hwhup_core.synthetic.coco_people import SEEN
from hwhup_core.training.loop import LoopConfig, run_loop
from hwhup_core.training.visnet_batches import ViewConfig, draw_people, still_view, vis_batches
from hwhup_core.training.visnet_pool import (
    VisPool,
    VisSource,
    coco_source,
    load_vis_pool,
    save_vis_pool,
    synthetic_pool,
)
from hwhup_core.training.visnet_step import VisStep, VisWeights, vis_output

logger = logging.getLogger(__name__)

LICENCE = 'Apache-2.0'
BASELINE = 'auc_simple_baseline'
"""On cards: the area by the peaks of a network that was trained alike, without the visibility head."""
HELD_OUT_SEED, VALIDATION_SEED = 7919, 104729
"""Added to the run's seed for people that are never trained on: for the figures, and for a look after each epoch."""
SUBJECTS = {'crib': 200, 'bed': 200, 'room_adult': 120, 'room_infant': 80}
HELD_OUT = {'crib': 16, 'bed': 16, 'room_adult': 12, 'room_infant': 12}
VALIDATION = {'crib': 4, 'bed': 4, 'room_adult': 4, 'room_infant': 4}
SPLITS = ('train2017', 'val2017')
"""Of COCO: to train on, and for the figures."""


@dataclass(frozen=True)
class VisNetTrainConfig:
    """What a training of VisNet can be told; the defaults live here only, YAML overrides them."""

    seed: int = 0
    """Seeds people, augmentation and the network's first weights."""
    people: Literal['synthetic', 'coco'] = 'synthetic'
    """Whom to train on: made here, or the official key points of COCO, which are colour alone."""
    subjects: dict[str, int] = field(default_factory=lambda: dict(SUBJECTS))
    """Synthetic people by domain, 20 poses each."""
    held_out: dict[str, int] = field(default_factory=lambda: dict(HELD_OUT))
    """Likewise, for the figures; never trained on."""
    picture: int = 176
    """Side of the stored pictures, pixels."""
    network: VisNetConfig = field(default_factory=VisNetConfig)
    inputs: InputConfig = field(default_factory=InputConfig)
    """What the network reads; the command line names another modality."""
    view: ViewConfig = field(default_factory=ViewConfig)
    weights: VisWeights = field(default_factory=VisWeights)
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(epochs=12))
    batch_size: int = 32
    bfloat16: bool = True
    """Whether the network runs in bfloat16 (autocast)."""

    def __post_init__(self) -> None:
        if self.network.input_size != self.inputs.size:
            raise ConfigError(
                f'network.input_size is {self.network.input_size}, inputs.size is {self.inputs.size}. Make them equal.'
            )
        if self.people == 'coco' and self.inputs.modalities != (Modality.RGB,):
            raise ConfigError('COCO has colour pictures alone. Set inputs.modalities to [rgb].')


@dataclass(frozen=True)
class Answers:
    """What a network says about people in still crops, beside their labels; a row a person."""

    logits: Float[ndarray, 'n 17']
    peaks: Float[ndarray, 'n 17']
    """Height of the heat map's peak."""
    keypoints: Float[ndarray, 'n 17 2']
    """[-1, 1] over the crop."""
    truth: Float[ndarray, 'n 17 2']
    flags: Int[ndarray, 'n 17']
    """COCO's; 0 also outside the crop."""
    subjects: Int[ndarray, ' n']
    domains: Int[ndarray, ' n']

    @property
    def labelled(self) -> Bool[ndarray, 'n 17']:
        """Which joints count."""
        return self.flags > 0

    def area(self, scores: Float[ndarray, 'n 17'], chosen: Bool[ndarray, 'n 17'] | None = None) -> Interval:
        """Return the area under the ROC curve of telling seen from hidden joints, by subject."""
        counted = self.labelled if chosen is None else self.labelled & chosen
        subjects = np.repeat(self.subjects[:, None], len(COCO_17), axis=1)
        return auc_interval(scores[counted].astype(np.float64), self.flags[counted] == SEEN, subjects[counted])


def answer(network: nn.Module, source: VisSource, inputs: InputConfig, batch_size: int = 64) -> Answers:
    """Return what the network (in eval mode) says about all people of a source, float32 throughout."""
    columns: list[tuple[ndarray, ...]] = []
    for start in range(0, len(source), batch_size):
        places = np.arange(start, min(start + batch_size, len(source)))
        rngs = [np.random.default_rng(0)] * len(places)  # Nothing is random in a still view.
        batch = draw_people(source, places, rngs, still_view, inputs, gain=0.0)
        with torch.inference_mode():
            output = vis_output(network, batch.images, bfloat16=False)
        keypoints, peaks = keypoints_from(output.heatmaps)
        values = (output.logits, peaks, keypoints, batch.keypoints, batch.flags)
        columns.append(tuple(value.numpy() for value in values))
    logits, heights, found, truth, flags = (np.concatenate(parts) for parts in zip(*columns))
    return Answers(logits, heights, found, truth, flags, source.labels.subjects, source.labels.domains)


def figures(answers: Answers, domains: tuple[str, ...]) -> dict[str, Interval]:
    """Return the areas of head and peaks over all people and in each domain, by the names that cards use."""
    found = {}
    for suffix, domain in (('', None), *((f'_{name}', k) for k, name in enumerate(domains) if len(domains) > 1)):
        chosen = np.ones_like(answers.labelled) if domain is None else (answers.domains == domain)[:, None]
        chosen = np.broadcast_to(chosen, answers.labelled.shape)
        found[f'auc{suffix}'] = answers.area(answers.logits, chosen)
        found[f'auc_peak{suffix}'] = answers.area(answers.peaks, chosen)
    return found


def train_visnet(config: VisNetTrainConfig, out: Path, command: str, coco: Path | None = None) -> Path:
    """
    Train as the configuration says and return the stem of the weights in `out`; a stopped run goes on.

    `coco` is the folder of COCO's key points, for a configuration that trains on them.
    """
    run = out / weights_name(config)
    run.mkdir(parents=True, exist_ok=True)
    save_config(run / 'config.yaml', config)
    torch.manual_seed(config.seed)
    network = VisNet(config.network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    source, validation = training_sources(config, out, coco)
    run_loop(
        network,
        vis_batches(source, config.inputs, config.view, config.batch_size, config.seed),
        VisStep(config.weights, config.bfloat16),
        partial(_validate, validation, config.inputs),
        config.loop,
        run,
        json.dumps(to_plain(config)),
    )
    network.eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    held_out = held_out_source(config, out, coco)
    written = save_visnet(run / run.name, network, _card(config, command, network, held_out))
    logger.info('wrote %s, weights hash %s', run / run.name, written.weights_hash)
    return run / run.name


def train_with_baseline(config: VisNetTrainConfig, out: Path, command: str, coco: Path | None = None) -> Path:
    """Train VisNet, and beside it a SimpleBaseline without the second head, whose figure goes onto VisNet's card."""
    alone = replace(config, weights=replace(config.weights, visibility=0.0))
    baseline = load_visnet_card(train_visnet(alone, out, command, coco))
    stem = train_visnet(config, out, command, coco)
    network, card = load_visnet(stem)
    save_visnet(stem, network, replace(card, metrics=card.metrics | {BASELINE: baseline.metrics['auc_peak']}))
    return stem


def weights_name(config: VisNetTrainConfig) -> str:
    """Return what the weights of a configuration are called."""
    reads = next((name for name, modalities in INPUTS.items() if modalities == config.inputs.modalities), 'mixed')
    return f'visnet_{reads}' if config.weights.visibility else f'visnet_{reads}_pose_only'


def _card(config: VisNetTrainConfig, command: str, network: VisNet, held_out: VisSource) -> VisNetCard:
    measured = figures(answer(network, held_out, config.inputs), held_out.domains)
    return VisNetCard(
        input=config.inputs,
        network=config.network,
        licence=LICENCE,
        training_data=describe(config),
        training_command=command,
        training_config=to_plain(config),
        seed=config.seed,
        commit=running_commit(),
        # One person alone has no interval, and JSON no NaN.
        metrics={k: Measurement(i.mean, i.low, i.high, i.count) for k, i in measured.items() if np.isfinite(i.low)},
    )


def _validate(source: VisSource, inputs: InputConfig, network: nn.Module) -> dict[str, float]:
    answers = answer(network, source, inputs)
    seen = answers.flags[answers.labelled] == SEEN
    scores = {'auc': answers.logits, 'auc_peak': answers.peaks}
    areas = {name: roc_auc(values[answers.labelled].astype(np.float64), seen) for name, values in scores.items()}
    off = np.linalg.norm(answers.keypoints - answers.truth, axis=-1)[answers.labelled]
    return {**areas, 'keypoints_off': float(off.mean())}


def describe(config: VisNetTrainConfig) -> str:
    """Return what the weights are trained on, in words."""
    if config.people == 'coco':
        return f'COCO key points, {SPLITS[0]}'
    people = ', '.join(f'{count} of {name}' for name, count in config.subjects.items())
    return f'synthetic people in 20 poses each ({people}), bundled bodies, flags by the renderer'


def training_sources(config: VisNetTrainConfig, out: Path, coco: Path | None) -> tuple[VisSource, VisSource]:
    """Return who is trained on, and a few others to look at after each epoch."""
    if config.people == 'coco':
        return coco_people(coco, SPLITS[0]), coco_people(coco, SPLITS[1])
    pool = kept_pool(out, 'people', config.subjects, config.seed, config.picture)
    return pool, kept_pool(out, 'validation', VALIDATION, config.seed + VALIDATION_SEED, config.picture)


def held_out_source(config: VisNetTrainConfig, out: Path, coco: Path | None) -> VisSource:
    """Return the people that the figures are over."""
    if config.people == 'coco':
        return coco_people(coco, SPLITS[1])
    return kept_pool(out, 'held_out', config.held_out, config.seed + HELD_OUT_SEED, config.picture)


def coco_people(folder: Path | None, split: str) -> VisSource:
    """Return the people of a split of COCO."""
    if folder is None:
        raise ConfigError("COCO's key points are needed, and their folder is not set: hwhup config set data.coco DIR")
    return coco_source(read_coco(folder, BadSamples(skip=True)), split)


def kept_pool(out: Path, name: str, subjects: Mapping[str, int], seed: int, picture: int) -> VisPool:
    """Return people made before, if they are the same, or make them; all trainings in a folder share them."""
    file, note = out / f'{name}.npz', out / f'{name}.json'
    wanted = {'subjects': dict(subjects), 'seed': seed, 'picture': picture}
    if file.exists() and note.exists() and json.loads(note.read_text(encoding='utf-8')) == wanted:
        return load_vis_pool(file)
    out.mkdir(parents=True, exist_ok=True)
    pool = synthetic_pool(subjects, seed, picture)
    note.unlink(missing_ok=True)
    save_vis_pool(file, pool)
    note.write_text(json.dumps(wanted), encoding='utf-8')
    return pool


def load_train_config(path: Path, reads: str | None = None) -> VisNetTrainConfig:
    """Return the configuration in a file; `reads` (a key of `packing.INPUTS`) says what the network is to read."""
    config = load_config(path, VisNetTrainConfig)
    if reads is None:
        return config
    if reads not in INPUTS:
        raise ConfigError(f'VisNet cannot read {reads!r}. Choose depth or rgb.')
    return replace(config, inputs=replace(config.inputs, modalities=INPUTS[reads]))
