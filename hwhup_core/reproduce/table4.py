"""
Table 4 without MIMM: infants in a crib, adapted to from a start that has seen infants in rooms.

The infant's body is this package's own. The start knows upright infants with truth; at the crib there are 2D joints
with noise, and depth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwhup_core.evaluation.metrics import cluster_interval
from hwhup_core.evaluation.scores import load_scores
from hwhup_core.geometry.proxies import ProxyConfig
from hwhup_core.reproduce.config import FULL_SIZE, SMALL, TableConfig
from hwhup_core.reproduce.paper import TABLE4_DEPTH_MM
from hwhup_core.reproduce.results import plain_interval, with_interval
from hwhup_core.reproduce.stand_in import COLUMNS, StandInConfig, places_of
from hwhup_core.reproduce.stand_in_results import NAMES, about, origin, results_of
from hwhup_core.synthetic.domain import DomainConfig
from hwhup_core.training.observe import ObservationConfig
from hwhup_core.training.transforms import BoxAugmentConfig

SOURCE = DomainConfig(kind='room', body='infant')
TARGET = DomainConfig(kind='crib', body='infant', label_noise=1.0)
ANY_HEADING = BoxAugmentConfig(turn_degrees=120.0, turn_limit=180.0, turn_share=1.0)
"""An infant's head may point anywhere in the picture."""
CRIB = ObservationConfig(proxy=ProxyConfig(flesh=0.5))
"""An infant has half the flesh of an adult over its joints."""


def _config(training: TableConfig) -> StandInConfig:
    training = replace(training, body='infant', observation=CRIB, augment=ANY_HEADING)
    return StandInConfig('table4', training, SOURCE, TARGET)


SIZES = {
    'small': _config(
        replace(
            SMALL,
            source_subjects=40,
            train_subjects=20,
            test_subjects=10,
            pretrain=replace(SMALL.pretrain, epochs=10),
            adapt=replace(SMALL.adapt, epochs=8),
            stage_two_epoch=5,
        )
    ),
    'full': _config(FULL_SIZE),
}
"""`small`: one idle core, a quarter of an hour; `full`: one GPU."""
METRICS = ('aligned_depth_error_mm', 'masked_aligned_depth_error_mm', 'mpjpe_mm', 'pa_mpjpe_mm')


def table4(config: StandInConfig, run: Path, command: str) -> dict[str, Any]:
    """Return the results of a run, with intervals over infants."""
    scores = {column: load_scores(places_of(run).scores(column)) for column in COLUMNS}
    subjects = scores['full'].tags.subject
    return results_of(config, scores, command) | {
        'paper': dict(TABLE4_DEPTH_MM),
        'differences': {
            f'full_minus_{other}': {
                metric: plain_interval(
                    cluster_interval(getattr(scores['full'], metric) - getattr(scores[other], metric), subjects)
                )
                for metric in METRICS
            }
            for other in ('pre_trained', 'fine_tuned')
        },
    }


def markdown_table4(results: Mapping[str, Any]) -> str:
    """Return the table for people."""
    rows = [
        f'| {NAMES[column]} | ' + ' | '.join(with_interval(figures[metric]) for metric in METRICS)
        + f' | {"" if results["paper"][column] is None else results["paper"][column]} |'
        for column, figures in results['columns'].items()
    ]  # fmt: skip
    gained = results['differences']['full_minus_fine_tuned']
    return '\n'.join([
        f'# Table 4, stand-in ({results["data"]} data): {results["table"]}',
        '',
        *about(results, 'infants in a crib'),
        '',
        'mm. The column "paper" is of real infants (MIMM) and SMIL: it cannot be compared with the others.',
        '',
        '| weights | aligned depth error | masked | MPJPE | PA-MPJPE | paper, depth error on MIMM |',
        '|---|---|---|---|---|---|',
        *rows,
        '',
        f'HW-HuP minus fine-tuned, on the same frames: {with_interval(gained["aligned_depth_error_mm"])} mm in depth, '
        f'{with_interval(gained["mpjpe_mm"])} mm in MPJPE; below 0 HW-HuP is better.',
        '',
        *origin(results),
    ])  # fmt: skip
