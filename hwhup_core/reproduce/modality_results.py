"""The figures of Tables 2 and S1: each modality under each cover, the method beside its baseline, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool
from numpy import ndarray

from hwhup_core.config_io import to_plain
from hwhup_core.evaluation.metrics import Interval
from hwhup_core.evaluation.scores import PersonScores, select, summary
from hwhup_core.reproduce.config import MODALITIES, MODALITY_COLUMNS, TableConfig
from hwhup_core.reproduce.paper import TABLE2_DEPTH_MM, TABLE_S1_PCK
from hwhup_core.reproduce.results import paired_interval, plain_interval, with_interval

METHOD, BASELINE = 'full', 'fine_tuned'
COVERS = {'uncover': 'no cover', 'cover1': 'cover 1', 'cover2': 'cover 2', 'all': 'all'}
"""The columns of Table 2 and what they are called."""
NAMES = {'depth': 'Depth', 'lwir': 'LWIR', 'pm': 'PM', 'combined': 'Combined'}
COMPARED = ('aligned_depth_error_mm', 'masked_aligned_depth_error_mm', 'mpjpe_mm', 'pa_mpjpe_mm', 'pck', 'pckh')
Scores = Mapping[tuple[str, str], PersonScores]
"""By modality and column."""


def modality_results(table: str, config: TableConfig, scores: Scores, command: str, commit: str) -> dict[str, Any]:
    """
    Return the figures of every cell; `table` is `table2` or `tableS1`, which differ in what people are shown.

    `commit` is that of the code that trained.
    """
    return {
        'table': f'{table}-{config.size}',
        'data': 'synthetic',
        'people': 'synthetic bed, made by this package; no real person and no file of a published data set',
        'cells': {
            modality: {cover: _cell(modality, cover, scores) for cover in COVERS} for modality in MODALITIES
        },
        'command': command,
        'seed': config.seed,
        'commit': commit,
        'config': to_plain(config),
    }  # fmt: skip


def _cell(modality: str, cover: str, scores: Scores) -> dict[str, Any]:
    """Return one modality under one cover: every column's figures, and how the method differs from its baseline."""
    chosen = {
        column: select(scores[modality, column], under(scores[modality, column], cover)) for column in MODALITY_COLUMNS
    }
    differences = {metric: difference(chosen[METHOD], chosen[BASELINE], metric) for metric in COMPARED}
    return {
        'frames': len(chosen[METHOD]),
        'paper_aligned_depth_error_mm': TABLE2_DEPTH_MM[modality][cover],
        'paper_pck_percent': TABLE_S1_PCK[modality].get(cover),
        'columns': {
            column: {metric: plain_interval(interval) for metric, interval in summary(mine).items()}
            for column, mine in chosen.items()
        },
        'full_minus_fine_tuned': {metric: plain_interval(interval) for metric, interval in differences.items()},
        'verdict': verdict(differences['aligned_depth_error_mm']),
    }


def under(scores: PersonScores, cover: str) -> Bool[ndarray, ' n']:
    """Return which frames belong to a column of the table."""
    if cover == 'all':
        return np.ones(len(scores), bool)
    found: ndarray = scores.tags.cover == cover
    return found


def difference(one: PersonScores, other: PersonScores, metric: str) -> Interval:
    """Return the mean of one minus that of the other on the same frames; whole subjects are drawn for the interval."""
    frame_by_frame = getattr(one, metric) - getattr(other, metric)
    return paired_interval(one.tags.subject, lambda rows: float(np.nanmean(frame_by_frame[rows])))


def verdict(depth: Interval) -> str:
    """Return whether the method's depth error is below its baseline's."""
    if depth.mean >= 0:
        return 'not below'
    return 'below' if depth.high < 0 else 'below, but the interval holds 0'


def markdown_table2(results: Mapping[str, Any]) -> str:
    """Return Table 2 for people: ours beside the paper's, then every cell in full."""
    rows = [
        f'| {NAMES[modality]} | '
        + ' | '.join(_beside(cell, _mean(cell, METHOD)) for cell in row.values()) + ' |'
        for modality, row in results['cells'].items()
    ]  # fmt: skip
    return '\n'.join([
        f'# Table 2, re-enacted: {results["table"]}',
        '',
        *_about(results),
        '',
        "Aligned depth error of HW-HuP, mm: ours on the synthetic bed (the paper's on SLP, real people). Bold where "
        'ours is below our own fine-tuned baseline beyond the interval of the paired difference.',
        '',
        '| input | ' + ' | '.join(COVERS.values()) + ' |',
        '|---' * (len(COVERS) + 1) + '|',
        *rows,
        '',
        '## Every cell beside its baseline',
        '',
        'Synthetic bed alone. "Fine-tuned" is OPT and 2D joints without any depth, from the same start, for as many '
        'steps. Differences are paired, HW-HuP minus fine-tuned; below 0 HW-HuP is better.',
        '',
        '| input | cover | depth error: fine-tuned | HW-HuP | difference | MPJPE: fine-tuned | HW-HuP | difference |',
        '|---' * 8 + '|',
        *_lines(results, 'aligned_depth_error_mm', 'mpjpe_mm'),
        '',
        'All in mm, mean (95 % interval).',
        '',
        '## Cells in which HW-HuP is not below its baseline',
        '',
        *(_marked(results) or ['None: it is below in all cells, beyond the interval of the difference.']),
        '',
        f'Three covered people, good to bad, in every modality: `{results["table"]}.jpg`.',
        '',
        *_origin(results),
    ])  # fmt: skip


def markdown_s1(results: Mapping[str, Any]) -> str:
    """Return Table S1 for people."""
    rows = []
    for modality, row in results['cells'].items():
        for cover in ('uncover', 'all'):
            cell = row[cover]
            cells = [
                with_interval(_percent(figures[metric]))
                for metric in ('pck', 'pckh')
                for figures in (cell['columns'][BASELINE], cell['columns'][METHOD], cell['full_minus_fine_tuned'])
            ]
            rows.append(
                f'| {NAMES[modality]} | {COVERS[cover]} | {cell["paper_pck_percent"]} | ' + ' | '.join(cells) + ' |'
            )
    return '\n'.join([
        f'# Table S1, re-enacted: {results["table"]}',
        '',
        *_about(results),
        '',
        'PCK@0.2 (share of the 14 joints within 0.2 of the distance from left shoulder to right hip) and PCKh@0.5, in '
        "per cent. The paper's column is HW-HuP on SLP, real people; all others are the synthetic bed. Differences are "
        'paired, HW-HuP minus fine-tuned; above 0 HW-HuP is better. Fine-tuning is trained on 2D joints alone, which '
        'is what PCK measures.',
        '',
        '| input | cover | paper, PCK | PCK: fine-tuned | HW-HuP | change | PCKh: fine-tuned | HW-HuP | change |',
        '|---' * 9 + '|',
        *rows,
        '',
        *_origin(results),
    ])  # fmt: skip


def _about(results: Mapping[str, Any]) -> list[str]:
    config = results['config']
    return [
        f'Data: {results["people"]}. {config["train_subjects"]} subjects in the bed to adapt to, '
        f'{config["test_subjects"]} others to score, {config["poses"]} poses each, each pose without cover, under a '
        'sheet (cover 1) and under a blanket (cover 2). One network for each input is trained on all covers at once; '
        'the covers of a pose share one fit, and the depth without cover supervises. All networks start from the same '
        f'weights, trained in depth on {config["source_subjects"]} upright subjects in a room: infrared and pressure '
        'are new to them, as they are to the colour weights that the paper starts from. Intervals are 95 %, drawn over '
        'subjects.'
    ]  # fmt: skip


def _origin(results: Mapping[str, Any]) -> list[str]:
    return [
        f'Made by `{results["command"]}`, seed {results["seed"]}, commit {results["commit"] or "unknown"}; all metrics '
        f'of all cells, the start as well, and the whole configuration are in `{results["table"]}.json`.',
        '',
    ]


def _mean(cell: Mapping[str, Any], column: str) -> float:
    return float(cell['columns'][column]['aligned_depth_error_mm']['mean'])


def _beside(cell: Mapping[str, Any], ours: float) -> str:
    shown = f'**{ours:.1f}**' if cell['verdict'] == 'below' else f'{ours:.1f} [{cell["verdict"]}]'
    return f'{shown} ({cell["paper_aligned_depth_error_mm"]:.2f})'


def _lines(results: Mapping[str, Any], *metrics: str) -> list[str]:
    """Return one row for each modality and cover."""
    return [
        f'| {NAMES[modality]} | {COVERS[cover]} | '
        + ' | '.join(
            with_interval(figures[metric])
            for metric in metrics
            for figures in (cell['columns'][BASELINE], cell['columns'][METHOD], cell['full_minus_fine_tuned'])
        )
        + ' |'
        for modality, row in results['cells'].items()
        for cover, cell in row.items()
    ]


def _marked(results: Mapping[str, Any]) -> list[str]:
    """Return one line for each cell in which the method's depth error is not clearly below."""
    return [
        f'- {NAMES[modality]}, {COVERS[cover]}: {cell["verdict"]}; the difference is '
        f'{with_interval(cell["full_minus_fine_tuned"]["aligned_depth_error_mm"])} mm in depth and '
        f'{with_interval(cell["full_minus_fine_tuned"]["mpjpe_mm"])} mm in MPJPE.'
        for modality, row in results['cells'].items()
        for cover, cell in row.items()
        if cell['verdict'] != 'below'
    ]


def _percent(interval: Mapping[str, float]) -> dict[str, float]:
    return {name: 100 * value for name, value in interval.items()}
