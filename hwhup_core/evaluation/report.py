"""Scores -> a report for people (Markdown) and one for programs (JSON), with the definition of every figure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hwhup_core.config_io import to_plain
from hwhup_core.errors import HwhupError
from hwhup_core.evaluation.metrics import Interval
from hwhup_core.evaluation.scores import METRICS, PersonScores, by_joint, by_tag, released_mean_mm, summary
from hwhup_core.networks.checkpoint import write_whole

JSON_NAME = 'evaluation.json'
MARKDOWN_NAME = 'evaluation.md'

DEFINITIONS = {
    'aligned_depth_error_mm': (
        'The released code of HW-HuP: over all pixels that the rendered body covers, the mean |rendered - observed| '
        'after the mean difference is taken out. No mask; pixels without a measurement count as depth 0.'
    ),
    'masked_aligned_depth_error_mm': (
        'The same over the pixels that are rendered, measured and of the body (true body mask).'
    ),
    'median_aligned_depth_error_mm': 'As the masked one, after the median difference (equation 3 of the paper).',
    'mask_iou': 'Intersection over union of the rendered and the true mask of the uncovered body.',
    'mpjpe_mm': "Mean error of SMPL's 24 joints, the pelvis joints put on each other.",
    'pa_mpjpe_mm': 'The same after the best similarity (scale, rotation, translation) of each frame.',
    'pve_mm': 'Mean error of all vertices of the mesh, the pelvis joints put on each other.',
    'pck': (
        'PCK@0.2, as a share: labelled 2D joints within 0.2 torso sizes; the torso is left shoulder to right hip of '
        'the true 2D joints. Predicted joints are what stands for each label on the body.'
    ),
    'pckh': 'PCKh@0.5, as a share: within 0.5 head sizes; the head is head top to thorax of the true 2D joints.',
    'skipped': (
        'Share of frames in which a depth error is not defined: nothing rendered in the crop, or no measured body '
        'pixel under it. It is left out of that mean, not of the others.'
    ),
    'released_mean_mm': 'The mean of `aligned_depth_error_mm` as the released code takes it: an empty frame counts -1.',
    'interval': (
        'Mean over frames; low and high bound 95 % of 1000 bootstrap means, for which whole subjects are drawn, since '
        'poses of one subject are not independent. Of one subject alone there is no interval.'
    ),
}
"""Figure -> what it is."""


def write_report(folder: Path, scores: PersonScores, title: str, provenance: Mapping[str, Any]) -> None:
    """
    Write `evaluation.json` and `evaluation.md`, each whole.

    `provenance` says where the figures come from (weights, data, commit, seed, ...) in plain values or configurations.
    """
    content = report(scores, title, provenance)
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + '\n'
    try:
        write_whole(Path(folder) / JSON_NAME, text.encode())
        write_whole(Path(folder) / MARKDOWN_NAME, markdown(content).encode())
    except OSError as error:
        raise HwhupError(
            f'Cannot write the report into {folder}: {error.strerror}. Free space or choose another.'
        ) from error


def report(scores: PersonScores, title: str, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole report in JSON's types; what is not defined is null."""
    if len(scores) == 0:
        raise HwhupError('There are no frames to report on. Evaluate at least one.')
    return {
        'title': title,
        'provenance': _plain(to_plain(dict(provenance))),
        'frames': len(scores),
        'subjects': len(np.unique(scores.tags.subject)),
        'skipped_frames': _skipped_frames(scores),
        'released_mean_mm': _plain(released_mean_mm(scores)),
        'overall': _group(summary(scores)),
        'overall_by_frame': _group(summary(scores, unit='frame')),
        'covers': {name: _group(figures) for name, figures in by_tag(scores, 'cover').items()},
        'postures': {name: _group(figures) for name, figures in by_tag(scores, 'posture').items()},
        'joints_mm': _group(by_joint(scores)),
        'definitions': dict(DEFINITIONS),
    }


def markdown(content: Mapping[str, Any]) -> str:
    """Return the report for people."""
    skipped = content['skipped_frames']
    parts = [
        f'# {content["title"]}',
        f'{content["frames"]} frames of {content["subjects"]} subjects; {len(skipped)} skipped'
        f'{_named(skipped)}. Means over frames with 95 % intervals over subjects.',
        '## Overall',
        _overall_table(content['overall']),
        f'As the released code averages: {_number(content["released_mean_mm"])} mm.',
    ]
    for heading, key in (('Per cover', 'covers'), ('Per posture', 'postures')):
        parts += [f'## {heading}', _group_table(content[key])]
    parts += ['## Per joint', _table(('joint', 'error, mm', 'frames'), _joint_rows(content['joints_mm']))]
    parts += ['## Definitions', '\n'.join(f'- `{name}`: {text}' for name, text in content['definitions'].items())]
    parts += ['## Provenance', _provenance_list(content['provenance'])]
    return '\n\n'.join(parts) + '\n'


def _skipped_frames(scores: PersonScores) -> list[dict[str, Any]]:
    """Return where each skipped frame comes from."""
    tags = scores.tags.select(scores.skipped)
    rows = zip(tags.subject.tolist(), tags.number.tolist(), tags.cover.tolist())
    return [{'subject': subject, 'number': number, 'cover': cover} for subject, number, cover in rows]


def _group(figures: Mapping[str, Interval]) -> dict[str, Any]:
    return {name: _plain(asdict(interval)) for name, interval in figures.items()}


def _plain(value: Any) -> Any:
    """Return the value with numbers that JSON does not know as None and keys as text."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _named(skipped: Sequence[Mapping[str, Any]]) -> str:
    """Return the first skipped frames in brackets."""
    if not skipped:
        return ''
    names = [f'subject {frame["subject"]} pose {frame["number"]} {frame["cover"]}' for frame in skipped[:5]]
    return f' ({", ".join(names)}{", ..." if len(skipped) > 5 else ""})'


def _overall_table(figures: Mapping[str, Any]) -> str:
    rows = [(f'`{name}`', _cell(figures[name]), str(figures[name]['count'])) for name in (*METRICS, 'skipped')]
    return _table(('figure', 'mean [95 %]', 'frames'), rows)


def _group_table(groups: Mapping[str, Any]) -> str:
    """Return one row a group, one column a metric."""
    rows = [(name, str(f['skipped']['count']), *(_cell(f[metric]) for metric in METRICS)) for name, f in groups.items()]
    return _table(('', 'frames', *(f'`{metric}`' for metric in METRICS)), rows)


def _joint_rows(joints: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    return [(name, _cell(figure), str(figure['count'])) for name, figure in joints.items()]


def _provenance_list(provenance: Mapping[str, Any]) -> str:
    lines = [f'- {name}: `{json.dumps(value, ensure_ascii=False)}`' for name, value in provenance.items()]
    return '\n'.join(lines) or 'Not given.'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ('---',) * len(head), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _cell(figure: Mapping[str, Any]) -> str:
    mean, low, high = (_number(figure[key]) for key in ('mean', 'low', 'high'))
    return f'{mean} [{low}, {high}]' if figure['low'] is not None else mean


def _number(value: float | None) -> str:
    """Return a number with as many digits as it is worth."""
    if value is None:
        return 'n/a'
    return f'{value:.3f}' if abs(value) < 2 else f'{value:.1f}'
