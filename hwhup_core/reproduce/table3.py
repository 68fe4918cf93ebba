"""
Table 3 and S2 without Human3.6M and 3DPW: upright adults in rooms, adapted to from a fully supervised start.

As in the paper the start has seen the same kind of place with truth (SPIN was trained with Human3.6M's bodies), so that
there is little to gain from weak labels and something to lose. Source and target differ in people, rooms and the depth
sensor; labels of the target are 2D joints with noise, and depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hwhup_core.evaluation.metrics import cluster_interval
from hwhup_core.evaluation.scores import PersonScores, load_scores
from hwhup_core.geometry import depth_cleaning
from hwhup_core.geometry.proxies import ProxyConfig
from hwhup_core.reproduce.config import FULL_SIZE, SMALL, TableConfig
from hwhup_core.reproduce.paper import TABLE3_MM, TABLE_S2_MM
from hwhup_core.reproduce.results import plain_interval, with_interval
from hwhup_core.reproduce.stand_in import COLUMNS, Fourteen, StandInConfig, fourteen_of_columns, places_of
from hwhup_core.reproduce.stand_in_results import NAMES, about, origin, results_of
from hwhup_core.synthetic.domain import DomainConfig
from hwhup_core.training.observe import ObservationConfig
from hwhup_core.types import Posture

ROOM = ObservationConfig(
    mask='joint_range',
    cleaning=replace(depth_cleaning.PAPER, far=8.0),
    proxy=ProxyConfig(flesh=1.0, far=6.0),
)
"""Nobody lies on anything: the body's pixels are those in the range of its limbs' depth; walls are measured too."""
SOURCE = DomainConfig(kind='room', sensor='kinect')
TARGET = DomainConfig(kind='room', sensor='realsense', label_noise=1.0)


def _config(training: TableConfig) -> StandInConfig:
    return StandInConfig('table3', replace(training, observation=ROOM), SOURCE, TARGET)


SIZES = {
    'small': _config(
        replace(
            SMALL,
            train_subjects=20,
            test_subjects=10,
            adapt=replace(SMALL.adapt, epochs=8),
            stage_two_epoch=5,
        )
    ),
    'full': _config(FULL_SIZE),
}
"""`small`: one idle core, a quarter of an hour; `full`: one GPU."""
METRICS = ('mpjpe_mm', 'pa_mpjpe_mm')


def table3(config: StandInConfig, run: Path, command: str) -> dict[str, Any]:
    """Return the results of a run: the 14-joint errors and all other figures, with intervals over subjects."""
    scores, errors = _scores(run), fourteen_of_columns(config, run)
    return results_of(config, scores, command) | {
        'paper': {column: dict(figures) for column, figures in TABLE3_MM.items()},
        'fourteen_joints': {column: _figures(errors[column], scores[column], slice(None)) for column in COLUMNS},
        'differences': {
            f'full_minus_{other}': _differences(errors['full'], errors[other], scores['full'])
            for other in ('pre_trained', 'fine_tuned')
        },
    }


def table_s2(config: StandInConfig, run: Path, command: str) -> dict[str, Any]:
    """
    Return the 14-joint errors by posture, and their plain mean over postures.

    A domain tells of its upright people only whether they stand or sit; Human3.6M has 15 actions.
    """
    scores, errors = _scores(run), fourteen_of_columns(config, run)
    tags = scores['full'].tags.posture
    postures = {
        Posture(int(number)).name.lower(): {
            column: _figures(errors[column], scores[column], tags == number) for column in COLUMNS
        }
        for number in np.unique(tags)
    }
    plain = {
        column: {
            metric: float(np.mean([each[column][metric]['mean'] for each in postures.values()])) for metric in METRICS
        }
        for column in COLUMNS
    }
    results = results_of(config, scores, command)
    name = results['table'].replace('table3', 'tableS2')
    return results | {'table': name, 'paper': dict(TABLE_S2_MM), 'postures': postures, 'plain_mean': plain}


def _scores(run: Path) -> dict[str, PersonScores]:
    return {column: load_scores(places_of(run).scores(column)) for column in COLUMNS}


def _figures(errors: Fourteen, scores: PersonScores, rows: Any) -> dict[str, dict[str, float]]:
    subjects = scores.tags.subject[rows]
    return {metric: plain_interval(cluster_interval(getattr(errors, metric)[rows], subjects)) for metric in METRICS}


def _differences(one: Fourteen, other: Fourteen, scores: PersonScores) -> dict[str, dict[str, float]]:
    """Return the mean difference on the same frames; whole subjects are drawn."""
    return {
        metric: plain_interval(cluster_interval(getattr(one, metric) - getattr(other, metric), scores.tags.subject))
        for metric in METRICS
    }


def markdown_table3(results: Mapping[str, Any]) -> str:
    """Return the table for people."""
    rows = [
        f'| {NAMES[column]} | '
        + ' | '.join(with_interval(figures[metric]) for metric in METRICS)
        + f' | {with_interval(results["columns"][column]["masked_aligned_depth_error_mm"])}'
        + ''.join(f' | {"" if value is None else value}' for value in results['paper'][column].values())
        + ' |'
        for column, figures in results['fourteen_joints'].items()
    ]
    return '\n'.join([
        f'# Table 3, stand-in ({results["data"]} data): {results["table"]}',
        '',
        *about(results, 'upright people in rooms before another depth sensor'),
        '',
        'MPJPE and PA-MPJPE are over the 14 joints of the protocols of Human3.6M and 3DPW, mm. The columns "paper" are '
        'real people and SMPL: only the order within a column can be compared. The depth error is over pixels of the '
        'body alone: the released one, in the `.json`, is here mostly that of walls metres behind the silhouette.',
        '',
        '| weights | MPJPE | PA-MPJPE | masked depth error | paper, H36M MPJPE | paper, H36M PA | paper, 3DPW PA |',
        '|---|---|---|---|---|---|---|',
        *rows,
        '',
        'HW-HuP minus the start, on the same frames: '
        + _sentence(results['differences']['full_minus_pre_trained'])
        + '. HW-HuP minus fine-tuned: '
        + _sentence(results['differences']['full_minus_fine_tuned'])
        + '. In the paper HW-HuP is worse than its start here, by 38.4 mm (MPJPE) and 6.2 mm (PA-MPJPE): the start '
        'knows such people with true bodies, and weak labels add noise.',
        '',
        *origin(results),
    ])  # fmt: skip


def markdown_s2(results: Mapping[str, Any]) -> str:
    """Return Table S2 for people."""
    rows = [
        f'| {posture} | {NAMES[column]} | ' + ' | '.join(with_interval(figures[metric]) for metric in METRICS) + ' |'
        for posture, columns in results['postures'].items()
        for column, figures in columns.items()
    ]
    plain = [
        f'| plain mean | {NAMES[column]} | ' + ' | '.join(f'{figures[metric]:.1f}' for metric in METRICS) + ' |'
        for column, figures in results['plain_mean'].items()
    ]
    paper = results['paper']
    return '\n'.join([
        f'# Table S2, stand-in ({results["data"]} data): {results["table"]}',
        '',
        *about(results, 'upright people in rooms before another depth sensor'),
        '',
        'The domain tells only whether people stand or sit; Human3.6M has 15 actions. 14 joints, mm.',
        '',
        '| posture | weights | MPJPE | PA-MPJPE |',
        '|---|---|---|---|',
        *rows,
        *plain,
        '',
        f"The paper's plain mean of HW-HuP over Human3.6M's actions is {paper['mpjpe_mm']} and {paper['pa_mpjpe_mm']} "
        'mm; its lists of actions count early frames again and again, which these do not.',
        '',
        *origin(results),
    ])  # fmt: skip


def _sentence(difference: Mapping[str, Mapping[str, float]]) -> str:
    mpjpe, aligned = (with_interval(difference[metric]) for metric in METRICS)
    return f'{mpjpe} mm in MPJPE, {aligned} mm in PA-MPJPE'
