"""
Whether weights are better after an adaptation, and the report of it: `report.json`, `report.md`, `report.html`.

Before and after are compared frame by frame on the held-out blocks of time; intervals are over whole blocks.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from hwhup_core.errors import HwhupError
from hwhup_core.evaluation.metrics import Interval, cluster_interval
from hwhup_core.evaluation.page import STYLE
from hwhup_core.training.recording_scores import HIGHER_IS_BETTER, MEASURES, Scores
from hwhup_core.whole_files import write_whole

PRIMARY = 'reprojection_px'
"""A wrong heading or a swapped arm hardly changes how well a lying body fits the depth, but it moves the joints."""
BETTER, NOT_BETTER = 'better', 'not better'
DEFINITIONS = {
    'reprojection_px': (
        'The measure that decides: mean distance, in pixels of the whole image, between the joints of the estimate and '
        'the labelled joints that the camera sees.'
    ),
    'aligned_depth_error_mm': (
        'Mean |rendered + offset - measured| over the body, with the median offset: what the live node publishes, and '
        'the level of its drift alarm.'
    ),
    'mask_iou': 'Overlap of the rendered body, where the estimate stands, with the body in the picture.',
    'pck': 'Share of the seen joints within 0.2 torso sizes (left shoulder to right hip) of their labels.',
    'before, after': (
        'Means over held-out frames, each answered by the live engine as if it were the first one; weights that read '
        'no depth were given none.'
    ),
    'difference': 'Mean gain of the same frames, above 0 = better after the adaptation, whatever the measure.',
    'interval': 'low and high bound 95 % of 1000 bootstrap means, for which whole held-out blocks of time are drawn.',
    'verdict': (
        '"better": the interval of the deciding measure lies above 0, that of no other measure below 0, and no more '
        'frames are missed than before.'
    ),
    'held out': (
        'Of every five blocks of time one, with a gap to what was trained on. Where people labelled, the fifth that '
        'holds most of their labels; otherwise the labels are automatic and share the errors of what made them.'
    ),
}
UNITS = {'reprojection_px': 'px', 'aligned_depth_error_mm': 'mm', 'mask_iou': '', 'pck': ''}


@dataclass(frozen=True)
class Verdict:
    """Whether the weights may be called better."""

    better: bool
    reason: str

    @property
    def word(self) -> str:
        """Return what stands in the report."""
        return BETTER if self.better else NOT_BETTER


@dataclass(frozen=True)
class AdaptReport:
    """What an adaptation came to."""

    verdict: str
    """`better` or `not better`."""
    reason: str
    weights: Path
    """The safetensors file."""
    content: Mapping[str, Any]
    """Of `report.json`."""


def means_of(scores: Scores, blocks: Int[ndarray, ' n']) -> dict[str, Interval]:
    """Return the mean of each measure with its interval over blocks."""
    return {name: cluster_interval(scores.values[name], blocks) for name in MEASURES}


def gains(before: Scores, after: Scores, blocks: Int[ndarray, ' n']) -> dict[str, Interval]:
    """Return how much better each measure is on the same frames; above 0 is better."""
    signs = {name: 1 if name in HIGHER_IS_BETTER else -1 for name in MEASURES}
    return {
        name: cluster_interval(signs[name] * (after.values[name] - before.values[name]), blocks) for name in MEASURES
    }


def judge(difference: Mapping[str, Interval], missed_before: int, missed_after: int) -> Verdict:
    """Return the verdict on the gains of all measures."""
    primary = difference[PRIMARY]
    if not math.isfinite(primary.low):
        return Verdict(False, f'there is no interval of {PRIMARY}: too few held-out blocks of time; record longer')
    if missed_after > missed_before:
        return Verdict(False, f'{missed_after} held-out frames are missed, {missed_before} were before')
    worse = [name for name, gain in difference.items() if gain.high < 0]
    if worse:
        return Verdict(False, f'worse: {", ".join(f"{name} {_gain(name, difference[name])}" for name in worse)}')
    if primary.low <= 0:
        return Verdict(False, f'the gain of {PRIMARY}, {_gain(PRIMARY, primary)}, may be none')
    return Verdict(True, f'{PRIMARY} is better by {_gain(PRIMARY, primary)}, no measure is worse')


def _gain(name: str, interval: Interval) -> str:
    return f'{_number(interval.mean)} ({_number(interval.low)} to {_number(interval.high)}) {UNITS[name]}'.rstrip()


def plain(intervals: Mapping[str, Interval]) -> dict[str, Any]:
    """Return intervals as they stand in the report."""
    return {
        name: {'value': each.mean, 'low': each.low, 'high': each.high, 'count': each.count}
        for name, each in intervals.items()
    }


def write_report(run: Path, content: Mapping[str, Any], pictures: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """
    Write the three files into the run's folder and return what `report.json` holds.

    `pictures` are captions and names of picture files in the folder.
    """
    finished: dict[str, Any] = finite(dict(content) | {'definitions': DEFINITIONS})
    text = json.dumps(finished, indent=1, ensure_ascii=False, allow_nan=False) + '\n'
    try:
        write_whole(run / 'report.json', text.encode())
        write_whole(run / 'report.md', markdown(finished, pictures).encode())
        write_whole(run / 'report.html', page(finished, pictures).encode())
    except OSError as error:
        raise HwhupError(f'Cannot write the report into {run}: {error.strerror}. Free some space.') from error
    return finished


def finite(value: Any) -> Any:
    """Return plain values with None for numbers that JSON does not know."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        return {str(key): finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _rows(content: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return head and rows of the table of figures."""
    head = ('measure', 'before', 'after', 'gain', 'frames')
    rows = [
        (
            f'{name}{" *" if name == PRIMARY else ""}',
            *(_cell(content[part][name]) for part in ('before', 'after', 'difference')),
            str(content['difference'][name]['count']),
        )
        for name in MEASURES
    ]
    return [head, *rows]


def _curve_rows(content: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return head and rows of the error-versus-frames curve."""
    head = ('labelled frames trained on', *MEASURES)
    return [head, *((str(each['frames']), *(_cell(each[name]) for name in MEASURES)) for each in content['curve'])]


def _facts(content: Mapping[str, Any]) -> list[str]:
    """Return what else is to be read, a sentence each."""
    frames = content['frames']
    left = ', '.join(f'{reason} {count}' for reason, count in frames['left_out'].items()) or 'none'
    return [
        f'{frames["recorded"]} frames recorded, {frames["labelled"]} labelled ({frames["labelled_by_people"]} by '
        f'people): {frames["training"]} trained on, {frames["validation"]} chose the epoch, {frames["held_out"]} held '
        f'out in {frames["held_out_blocks"]} blocks of time. Left out: {left}.',
        f'Started from {content["started_from"]["weights"]} ({content["started_from"]["weights_hash"][:12]}); new '
        f'weights {content["weights_hash"][:12]}. {content["epochs"]} epochs, the best one number '
        f'{content["best_epoch"]}; {content["seconds"]:.0f} s in all.',
        f'Command: {content["command"]}',
    ]


def markdown(content: Mapping[str, Any], pictures: Sequence[tuple[str, str]]) -> str:
    """Return the report for people."""
    parts = [
        f'# Adaptation to {content["recording"]["name"]}: {content["verdict"]}',
        f'Verdict: **{content["verdict"]}**: {content["reason"]}.',
        _table(_rows(content)),
        '\\* decides. Means with 95 % intervals over held-out blocks of time; a gain above 0 is better.',
        *_facts(content),
    ]
    if content.get('curve'):
        parts += ['## Error and labelled frames', _table(_curve_rows(content))]
    if pictures:
        parts += ['## Held-out frames', *(f'{caption}\n\n![{caption}]({name})' for caption, name in pictures)]
    parts += ['## Definitions', '\n'.join(f'- `{name}`: {text}' for name, text in content['definitions'].items())]
    return '\n\n'.join(parts) + '\n'


def page(content: Mapping[str, Any], pictures: Sequence[tuple[str, str]]) -> str:
    """Return the report as a page; its pictures lie beside it."""
    title = html.escape(f'Adaptation to {content["recording"]["name"]}: {content["verdict"]}')
    shown = ''.join(
        f'<section><h2>{html.escape(caption)}</h2><img style="width:auto;max-width:100%" alt="{html.escape(caption)}" '
        f'src="{html.escape(name)}"></section>\n'
        for caption, name in pictures
    )
    curve = f'<h2>Error and labelled frames</h2>{_html_table(_curve_rows(content))}' if content.get('curve') else ''
    facts = ''.join(f'<p>{html.escape(fact)}</p>' for fact in _facts(content))
    terms = ''.join(f'<dt><code>{html.escape(k)}</code></dt><dd>{html.escape(v)}</dd>' for k, v in DEFINITIONS.items())
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}table{{border-collapse:collapse}}'
        'td,th{padding:.2rem .8rem;border-bottom:1px solid #d5d9df;text-align:left}</style></head><body>\n'
        f'<h1>{title}</h1>\n<p>{html.escape(content["reason"])}</p>\n{_html_table(_rows(content))}\n{facts}\n{curve}\n'
        f'{shown}<h2>Definitions</h2><dl>{terms}</dl></body></html>\n'
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *others = rows
    return '\n'.join(f'| {" | ".join(line)} |' for line in [head, ['---'] * len(head), *others])


def _html_table(rows: Sequence[Sequence[str]]) -> str:
    head, *others = rows
    cells = [''.join(f'<th>{html.escape(cell)}</th>' for cell in head)]
    cells += [''.join(f'<td>{html.escape(cell)}</td>' for cell in row) for row in others]
    return f'<table>{"".join(f"<tr>{each}</tr>" for each in cells)}</table>'


def _cell(figure: Mapping[str, Any]) -> str:
    value, low, high = (_number(figure[key]) for key in ('value', 'low', 'high'))
    return value if figure['low'] is None else f'{value} ({low} to {high})'


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return 'n/a'
    return f'{value:.3f}' if abs(value) < 2 else f'{value:.1f}'


def print_lines(report: AdaptReport) -> list[str]:
    """Return what the command line says at the end."""
    content = report.content
    lines = [f'verdict: {report.verdict}: {report.reason}', _table(_rows(content)), *_facts(content)]
    if content.get('curve'):
        lines.append(_table(_curve_rows(content)))
    return [*lines, f'wrote {report.weights} with its card, report.json, report.md and report.html']
