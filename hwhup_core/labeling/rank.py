"""
Which frames to label by hand next: those whose automatic label is doubtful and that look like none chosen before.

The score of a frame is its doubt times its novelty. Doubt comes from what the labelling found out; novelty is the
distance from the nearest frame that a person labelled or that ranks before it, so the first N are never N times the
same scene.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.data.recording import Recording
from hwhup_core.errors import ConfigError
from hwhup_core.labeling.judgements import Judgement
from hwhup_core.labeling.labels import FOLDER, FrameLabel
from hwhup_core.types import Frame
from hwhup_core.whole_files import write_whole

FILE = 'ranking.json'
THUMBNAIL = (24, 18)
"""Width and height of what novelty looks at, pixels."""


@dataclass(frozen=True)
class RankConfig:
    """How doubts add up. A doubt of 1 is certain trouble, 0 none; several act like independent causes."""

    left_out: float = 0.9
    """Doubt of a frame where somebody was seen, but nothing could be labelled."""
    nobody: float = 0.3
    """Of a frame where nobody was found: it may be empty."""
    not_judged: float = 0.7
    """Of a frame that automatic labelling has not seen."""
    worst_confidence: float = 0.5
    """A mean joint confidence this low (or lower) is as doubtful as a frame left out."""
    worst_error_m: float = 0.08
    """So is an aligned depth error this high."""
    worst_difference: float = 0.15
    """So is such a distance between the joints of two models, in sides of the person's box."""
    least: float = 0.1
    """Doubt of a frame that nothing speaks against: a new scene is worth a look."""

    def __post_init__(self) -> None:
        if not all(0 <= part <= 1 for part in (self.left_out, self.nobody, self.not_judged, self.least)):
            raise ConfigError(f'{self}: doubts are 0 to 1.')
        if not 0 <= self.worst_confidence < 1 or min(self.worst_error_m, self.worst_difference) <= 0:
            raise ConfigError(f'{self}: worst_confidence is at least 0 and below 1, the other worst values above 0.')


@dataclass(frozen=True)
class Ranked:
    """A frame and why it stands where it does."""

    frame: str
    score: float
    """0 to 1; 0: labelled by a person."""
    reasons: tuple[str, ...]
    """In words, the strongest first."""


def rank_frames(
    recording: Recording,
    labels: Mapping[str, FrameLabel],
    judgements: Mapping[str, Judgement],
    differences: Mapping[str, float] | None = None,
    config: RankConfig | None = None,
) -> list[Ranked]:
    """
    Return every frame of the recording, the one to label next first; those that people labelled come last.

    `labels` are the store's current ones, `differences` those of two models (`disagreement.model_differences`).
    """
    config = config or RankConfig()
    names = [record.unit for record in recording.frames]
    done = np.array([_by_people(labels.get(name)) for name in names], bool)
    doubts = []
    for record in recording.frames:
        judgement = judgements.get(record.unit) or _recorded(record.unit, record.metadata.get('estimate'))
        difference = (differences or {}).get(record.unit, math.nan)
        doubts.append(_doubts(labels.get(record.unit), judgement, difference, config))
    totals = np.array([max(config.least, _together(each)) for each in doubts])
    ranked = [
        Ranked(names[i], float(score), _reasons(doubts[i], novelty))
        for i, score, novelty in _greedy(totals, thumbnails(recording), done)
    ]
    return ranked + [Ranked(name, 0.0, ('labelled by a person',)) for name, by in zip(names, done) if by]


def write_ranking(recording: Path, ranked: Sequence[Ranked]) -> Path:
    """Write `labels/ranking.json`: the frames in order, with score and reasons."""
    path = recording / FOLDER / FILE
    frames = [{'frame': one.frame, 'score': round(one.score, 4), 'reasons': list(one.reasons)} for one in ranked]
    write_whole(path, json.dumps({'frames': frames}, indent=1).encode())
    return path


def read_ranking(recording: Path) -> list[str]:
    """Return the frames in the order that was written last; empty without a (whole) ranking."""
    try:
        content = json.loads((recording / FOLDER / FILE).read_text(encoding='utf-8'))
        return [str(one['frame']) for one in content['frames']]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # It is only an order, and made again in a moment.


def thumbnails(recording: Recording) -> Float[ndarray, 'n d']:
    """Return a small picture of each frame without what is the same in all of them: depth, or colour without it."""
    found = [thumbnail(recording.frame(i)) for i in range(len(recording))]
    stacked = np.stack(found).reshape(len(found), -1) if found else np.zeros((0, 1), np.float32)
    still: ndarray = stacked - np.median(stacked, axis=0) if len(stacked) else stacked
    return still


def thumbnail(frame: Frame) -> Float[ndarray, 'h w']:
    """Return the frame at a few hundred pixels: depth (m, holes as the median) or else brightness in [0, 1]."""
    if frame.depth is not None and (frame.depth > 0).any():
        seen = np.where(frame.depth > 0, frame.depth, np.median(frame.depth[frame.depth > 0])).astype(np.float32)
    elif frame.color is not None:
        seen = frame.color.mean(axis=2, dtype=np.float32) / 255
    else:
        seen = next(each for each in (frame.infrared, frame.pressure, np.zeros((2, 2), np.float32)) if each is not None)
    small: ndarray = cv2.resize(seen, THUMBNAIL, interpolation=cv2.INTER_AREA)
    return small


def _by_people(label: FrameLabel | None) -> bool:
    return label is not None and (label.source != 'automatic' or label.status != 'unreviewed')


def _recorded(unit: str, estimate: Mapping[str, object] | None) -> Judgement | None:
    """Return what the recorder's own estimate says, for frames that automatic labelling has not seen."""
    if not isinstance(estimate, Mapping) or estimate.get('state') == 'NO_PERSON':
        return None
    confidence, error = (
        float(str(estimate[name])) if estimate.get(name) is not None else math.nan
        for name in ('confidence', 'aligned_depth_error')
    )
    return Judgement(unit, 'recorder', '', confidence, error, False)


def _doubts(
    label: FrameLabel | None, judgement: Judgement | None, difference: float, config: RankConfig
) -> dict[str, float]:
    """Return what speaks against the automatic label, in words -> doubt."""
    doubts: dict[str, float] = {}
    if judgement is None:
        doubts['not looked at yet'] = config.not_judged
    elif judgement.reason:
        nobody = judgement.reason in ('no_person', 'no_depth')
        doubts[f'left out: {judgement.reason}'] = config.nobody if nobody else config.left_out
    if judgement is not None:
        error = judgement.aligned_depth_error
        doubts[f'depth error {1000 * error:.0f} mm'] = config.left_out * min(error / config.worst_error_m, 1.0)
        confidence = judgement.confidence
        if label is not None and label.labelled.any():
            confidence = float(label.confidence[label.labelled].mean())
        lacking = (1 - confidence) / (1 - config.worst_confidence)
        doubts[f'confidence {confidence:.2f}'] = config.left_out * min(max(lacking, 0.0), 1.0)
    doubts[f'models differ by {difference:.2f} boxes'] = config.left_out * min(
        difference / config.worst_difference, 1.0
    )
    return {reason: doubt for reason, doubt in doubts.items() if math.isfinite(doubt)}


def _together(doubts: Mapping[str, float]) -> float:
    """Return the chance that at least one of independent causes is true."""
    return 1.0 - math.prod(1.0 - doubt for doubt in doubts.values())


def _reasons(doubts: Mapping[str, float], novelty: float) -> tuple[str, ...]:
    strongest = sorted((reason for reason, doubt in doubts.items() if doubt >= 0.2), key=lambda one: -doubts[one])
    return (*strongest, 'new scene' if novelty >= 0.8 else f'novelty {novelty:.2f}')


def _greedy(
    doubts: Float[ndarray, ' n'], descriptors: Float[ndarray, 'n d'], done: ndarray
) -> list[tuple[int, float, float]]:
    """Return index, score and novelty of the frames not yet done, each the best one given those before it."""
    scale = _typical_distance(descriptors)
    novelty = np.ones(len(doubts))
    for i in np.flatnonzero(done):
        novelty = np.minimum(novelty, _distances(descriptors, int(i)) / scale)
    left, order = ~done, []
    while left.any():
        best = int(np.where(left, doubts * novelty, -1.0).argmax())
        order.append((best, float(doubts[best] * novelty[best]), float(novelty[best])))
        left[best] = False
        novelty = np.minimum(novelty, _distances(descriptors, best) / scale)
    return order


def _typical_distance(descriptors: Float[ndarray, 'n d']) -> float:
    """Return the median distance of frames that do not follow each other, by which novelty is 1; never 0."""
    if len(descriptors) < 2:
        return 1.0
    other = np.roll(descriptors, len(descriptors) // 2, axis=0)
    return max(float(np.median(np.abs(descriptors - other).mean(axis=1))), 1e-6)


def _distances(descriptors: Float[ndarray, 'n d'], i: int) -> Float[ndarray, ' n']:
    distances: ndarray = np.abs(descriptors - descriptors[i]).mean(axis=1)
    return distances
