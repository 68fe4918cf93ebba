"""
VisNet's figure of the paper's A.2 again: how well seen joints are told from hidden ones.

The shipped weights are scored on synthetic people that were never trained on, or on COCO's val2017 where it is set
(colour alone). The paper's own network and schedule need COCO and a GPU: `--size full`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.body.joints import COCO_17
from hwhup_core.config_io import from_plain, to_plain
from hwhup_core.errors import AssetError
from hwhup_core.evaluation.metrics import Interval
from hwhup_core.networks.card import running_commit
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.networks.visnet import PAPER, VisNet
from hwhup_core.networks.visnet_checkpoint import VisNetCard, load_visnet
from hwhup_core.training.loop import LoopConfig
from hwhup_core.training.transforms import LookConfig
from hwhup_core.training.visnet_batches import ViewConfig
from hwhup_core.training.visnet_pool import VisSource
from hwhup_core.training.visnet_run import (
    Answers,
    VisNetTrainConfig,
    answer,
    coco_people,
    figures,
    held_out_source,
    train_visnet,
)

PUBLISHED = {'VisNet': 93.3, 'HRNet, height of the peak': 87.5, 'SimpleBaseline, height of the peak': 85.6}
"""The paper's areas in percent, on COCO val."""
BUNDLED = ('visnet_depth', 'visnet_rgb')
COCO_SPLIT = 'val2017'
COCO_PEOPLE = f'COCO {COCO_SPLIT}'
NOT_COMPARABLE = ' These are other people, flagged by a renderer: the two are not to be compared.'
FULL = VisNetTrainConfig(
    people='coco',
    network=PAPER,
    inputs=InputConfig((Modality.RGB,), size=PAPER.input_size),
    # People in pictures stand upright more often than not.
    view=ViewConfig(looks=LookConfig(settled=0.0, turn=0.7, margin=(1.0, 1.5))),
    loop=LoopConfig(epochs=80, learning_rate=1e-3, schedule='constant', warm_up=0.0, weight_decay=0.0),
    batch_size=64,
)
"""The paper's network and schedule: Adam at 1e-3, 80 epochs. It names neither the batch nor the augmentation."""


@dataclass(frozen=True)
class Scored:
    """One network's answers about the people that are scored."""

    name: str
    network: VisNet
    card: VisNetCard
    source: VisSource
    answers: Answers


def run_visnet(size: str, run: Path, coco: Path | None, command: str) -> tuple[list[Scored], dict[str, Any]]:
    """Return the networks' answers and the results to write; pools and weights are made in `run` where missing."""
    names: tuple[str, ...] = BUNDLED if coco is None else BUNDLED[1:]
    if size == 'full':
        names = (str(_trained(run, coco, command)),)
    scored = [_score(name, run, coco) for name in names]
    return scored, results(size, scored, coco is not None, command)


def _trained(run: Path, coco: Path | None, command: str) -> Path:
    stem = run / 'visnet_rgb' / 'visnet_rgb'
    try:
        load_visnet(stem)
    except AssetError:
        return train_visnet(FULL, run, command, coco)
    return stem


def _score(name: str, run: Path, coco: Path | None) -> Scored:
    network, card = load_visnet(name)
    if coco is None:
        config = from_plain(card.training_config, VisNetTrainConfig, f'the card of {name}')
        source = held_out_source(config, run, None)
    else:
        source = coco_people(coco, COCO_SPLIT)
    return Scored(Path(name).name, network, card, source, answer(network, source, card.input))


def results(size: str, scored: list[Scored], on_coco: bool, command: str) -> dict[str, Any]:
    """Return the table as plain values; areas are in percent."""
    return {
        'table': f'visnet-{size}',
        'data': 'official' if on_coco else 'synthetic',
        'command': command,
        'commit': running_commit(),
        'people': COCO_PEOPLE if on_coco else 'synthetic people that no network was trained on',
        'paper': PUBLISHED,
        'networks': {each.name: _network_results(each) for each in scored},
    }


def _network_results(scored: Scored) -> dict[str, Any]:
    answers, domains = scored.answers, scored.source.domains
    alone = {name: to_plain(found) for name, found in scored.card.metrics.items() if 'simple_baseline' in name}
    return {
        'weights_hash': scored.card.weights_hash,
        'trained_on': scored.card.training_data,
        'pictures': len(scored.source),
        'joints': int(answers.labelled.sum()),
        'hidden_share': float((answers.flags == 1).sum() / answers.labelled.sum()),
        'joints_off_percent': round(float(50 * np.median(_distances(answers))), 2),
        'figures': {name: _percent(found) for name, found in figures(answers, domains).items()},
        'when_trained': alone,
        'per_joint': {
            joint: {name: _percent(found) for name, found in _joint_areas(answers, index).items()}
            for index, joint in enumerate(COCO_17)
        },
    }


def _distances(answers: Answers) -> Float[ndarray, ' n']:
    """Return how far the peaks of labelled joints lie from the truth, in half crop sides."""
    distances: ndarray = np.linalg.norm(answers.keypoints - answers.truth, axis=-1)[answers.labelled]
    return distances


def _joint_areas(answers: Answers, joint: int) -> Mapping[str, Interval]:
    chosen = answers.labelled & False
    chosen[:, joint] = True
    return {'auc': answers.area(answers.logits, chosen), 'auc_peak': answers.area(answers.peaks, chosen)}


def _percent(found: Interval) -> dict[str, float | int | None]:
    """Return the area in percent; JSON has no NaN."""
    values = {name: getattr(found, name) for name in ('mean', 'low', 'high')}
    return {
        **{name: None if value != value else round(100 * value, 2) for name, value in values.items()},
        'count': found.count,
    }


def markdown(found: Mapping[str, Any]) -> str:
    """Return the results as a page."""
    published = ', '.join(f'{name} {area}' for name, area in found['paper'].items())
    lines = [
        '# VisNet: seen or hidden',
        '',
        f'`{found["command"]}`, commit {found["commit"]}. Area under the ROC curve in percent, all joints together,',
        'with the 95 % interval of a bootstrap over people. Head: the visibility head. Peak: the height of the heat',
        "map's peak of the same network. Scored on " + found['people'] + '.',
        '',
        f'The paper, on COCO val: {published}.' + ('' if found['people'] == COCO_PEOPLE else NOT_COMPARABLE),
        '',
    ]
    for name, network in found['networks'].items():
        lines += _network_page(name, network)
    return '\n'.join(lines)


def _network_page(name: str, network: Mapping[str, Any]) -> list[str]:
    figures_of, joints = network['figures'], network['per_joint']
    domains = ['', *(key.removeprefix('auc') for key in figures_of if key.startswith('auc_') and 'peak' not in key)]
    lines = [
        f'## {name}',
        '',
        f'{network["pictures"]} pictures, {network["joints"]} joints, {100 * network["hidden_share"]:.0f} % of them '
        f'hidden. The peaks lie {network["joints_off_percent"]:.1f} % of the crop from the joints (median). Trained on '
        f'{network["trained_on"]}.',
        '',
        '| people | head | peak |',
        '|---|---|---|',
        *(
            f'| {suffix.removeprefix("_").replace("_", ", ") or "all"} | {_cell(figures_of["auc" + suffix])} '
            f'| {_cell(figures_of["auc_peak" + suffix])} |'
            for suffix in domains
        ),
        '',
    ]
    for metric, entry in network['when_trained'].items():
        low, mean, high = (f'{100 * entry[key]:.1f}' for key in ('low', 'value', 'high'))
        lines += [f'{metric}, a network with the pose head alone, when it was trained: {mean} ({low} to {high}).', '']
    lines += ['| joint | head | peak |', '|---|---|---|']
    lines += [f'| {joint} | {_cell(areas["auc"])} | {_cell(areas["auc_peak"])} |' for joint, areas in joints.items()]
    return [*lines, '']


def _cell(found: Mapping[str, Any]) -> str:
    if found['mean'] is None:
        return '-'
    if found['low'] is None:
        return f'{found["mean"]:.1f}'
    return f'{found["mean"]:.1f} ({found["low"]:.1f} to {found["high"]:.1f})'
