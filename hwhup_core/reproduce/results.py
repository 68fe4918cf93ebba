"""The figures of a table: intervals, ratios and the way to the oracle, as JSON for programs and Markdown for people."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.config_io import to_plain
from hwhup_core.evaluation.metrics import Interval
from hwhup_core.evaluation.scores import PersonScores, summary
from hwhup_core.networks.card import running_commit
from hwhup_core.networks.checkpoint import write_whole
from hwhup_core.reproduce.config import ORACLE, TableConfig
from hwhup_core.reproduce.paper import TABLE1_DEPTH_MM

PAPER_MM = TABLE1_DEPTH_MM
"""Aligned depth error (mm) in the paper's Table 1, real beds, RGB, uncovered."""
PAPER_NAMES = {
    'pre_trained': 'pre-trained (SPIN*)', 'fine_tuned': 'fine-tuned, OPT and 2D (SPIN)',
    'without_loop': 'without the loop (HMR)', '3d_dp': '3D-dp', '3d_dp_vis': '3D-dp-vis', 'full': '3D-dp-vis-D (full)',
    'no_prior': 'noPrior', '2d_d': '2D-D', ORACLE: "oracle (target's true 3D)",
}  # fmt: skip
ROUNDS = 1000


def table(config: TableConfig, scores: Mapping[str, PersonScores], command: str) -> dict[str, Any]:
    """Return the results of all columns; every interval draws whole subjects, ratios the same ones for both sides."""
    columns = {name: _column(name, scores) for name in scores}
    return {
        'table': config.name,
        'data': 'synthetic',
        'input': config.modality.value,
        'columns': columns,
        'full_over_fine_tuned': {
            'ours': plain_interval(_ratio(scores['full'], scores['fine_tuned'], 'aligned_depth_error_mm')),
            'paper': round(PAPER_MM['full'] / PAPER_MM['fine_tuned'], 3),
        },
        'out_of_order': out_of_order(columns),
        'command': command,
        'seed': config.seed,
        'commit': running_commit(),
        'config': to_plain(config),
    }


def _column(name: str, scores: Mapping[str, PersonScores]) -> dict[str, Any]:
    mine = scores[name]
    figures = {metric: plain_interval(interval) for metric, interval in summary(mine).items()}
    way = way_to_oracle(scores['pre_trained'], mine, scores[ORACLE])
    return {
        **figures,
        'frames': len(mine),
        'paper_aligned_depth_error_mm': PAPER_MM.get(name),
        'way_to_oracle': plain_interval(way),
    }


def way_to_oracle(start: PersonScores, column: PersonScores, oracle: PersonScores) -> Interval:
    """Return how much of the way from the start's MPJPE to the oracle's a column goes: 0 at the start, 1 there."""

    def way(rows: ndarray) -> float:
        first, here, last = (part.mpjpe_mm[rows].mean() for part in (start, column, oracle))
        return float((first - here) / (first - last))

    return paired_interval(start.tags.subject, way)


def _ratio(one: PersonScores, other: PersonScores, metric: str) -> Interval:
    def ratio(rows: ndarray) -> float:
        return float(np.nanmean(getattr(one, metric)[rows]) / np.nanmean(getattr(other, metric)[rows]))

    return paired_interval(one.tags.subject, ratio)


def paired_interval(subjects: ndarray, figure: Callable[[ndarray], float]) -> Interval:
    """Return a figure of some frames with its 95 % interval over draws of whole subjects."""
    rng, names = np.random.default_rng(0), np.unique(subjects)
    rows = {name: np.flatnonzero(subjects == name) for name in names}
    drawn: Float[ndarray, ' r'] = np.array([
        figure(np.concatenate([rows[name] for name in rng.choice(names, len(names))])) for _ in range(ROUNDS)
    ])  # fmt: skip
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(figure(np.arange(len(subjects))), float(low), float(high), len(subjects))


def plain_interval(interval: Interval) -> dict[str, float]:
    """Return an interval as JSON holds it."""
    return {'mean': interval.mean, 'low': interval.low, 'high': interval.high}


def out_of_order(columns: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one line for each neighbour in the paper's order of depth errors that is the other way round here."""
    order = sorted(set(PAPER_MM) & set(columns), key=lambda name: -PAPER_MM[name])
    lines = []
    for worse, better in pairwise(order):
        here = [columns[name]['aligned_depth_error_mm'] for name in (worse, better)]
        if here[1]['mean'] > here[0]['mean']:
            apart = 'beyond the intervals' if here[1]['low'] > here[0]['high'] else 'within the intervals'
            lines.append(
                f'{better} ({here[1]["mean"]:.1f} mm) is above {worse} ({here[0]["mean"]:.1f} mm), {apart}; the paper '
                f'has {PAPER_MM[better]:.2f} below {PAPER_MM[worse]:.2f}.'
            )
    return lines


def markdown(results: Mapping[str, Any]) -> str:
    """Return the table for people."""
    config, ratio = results['config'], results['full_over_fine_tuned']
    lines = [
        f'# Table 1, re-enacted: {results["table"]}',
        '',
        f'Input {results["input"]}; {config["source_subjects"]} subjects of the source domain, '
        f'{config["train_subjects"]} in the bed to adapt to, {config["test_subjects"]} others to score, '
        f'{config["poses"]} poses each, all synthetic. Every column '
        'starts from the same weights, pre-trained on the source domain. Intervals are 95 %, drawn over '
        'subjects. "Way" is how far the column goes from the start to the oracle in MPJPE.',
        '',
        '| column | aligned depth error, mm | paper, mm | MPJPE, mm | PA-MPJPE, mm | mask IoU | way |',
        '|---|---|---|---|---|---|---|',
    ]
    for name, column in results['columns'].items():
        paper = column['paper_aligned_depth_error_mm']
        lines.append(
            f'| {PAPER_NAMES[name]} | {with_interval(column["aligned_depth_error_mm"])} | '
            f'{"" if paper is None else paper} | {with_interval(column["mpjpe_mm"])} | '
            f'{with_interval(column["pa_mpjpe_mm"])} | {with_interval(column["mask_iou"], 3)} | '
            f'{with_interval(column["way_to_oracle"], 2)} |'
        )
    lines += [
        '',
        f'Full over fine-tuned, aligned depth error: {with_interval(ratio["ours"], 3)}; the paper: {ratio["paper"]}. '
        "The paper's figures are of real people and a camera image; only their order and ratios can be compared.",
        '',
        "## Where the order is not the paper's",
        '',
        *([f'- {line}' for line in results['out_of_order']] or ['Nowhere.']),
        '',
        f'Made by `{results["command"]}`, seed {results["seed"]}, commit {results["commit"] or "unknown"}; the whole '
        f'configuration and all metrics are in `{results["table"]}.json`.',
        '',
    ]
    return '\n'.join(lines)


def with_interval(interval: Mapping[str, float], digits: int = 1) -> str:
    """Return a mean and its interval as a cell of a table."""
    return f'{interval["mean"]:.{digits}f} ({interval["low"]:.{digits}f} to {interval["high"]:.{digits}f})'


def write_results(folder: Path, results: Mapping[str, Any], text: str) -> None:
    """Write `<table>.json` and, of the Markdown `text`, `<table>.md`, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / f'{results["table"]}.json', (json.dumps(results, indent=1) + '\n').encode())
    write_whole(folder / f'{results["table"]}.md', text.encode())
