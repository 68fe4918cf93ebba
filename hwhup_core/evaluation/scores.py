"""
Every metric of predicted bodies with known truth, one row a frame, and the figures made of them.

Lengths are in millimetres here, where people read them; the functions behind are in metres.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray
from torch import Tensor

from hwhup_core.body.joints import SMPL_24
from hwhup_core.body.keypoint_sets import KEYPOINT_SETS, KeypointSet, point_map
from hwhup_core.body.model import BodyModel
from hwhup_core.errors import HwhupError
from hwhup_core.evaluation import keypoint_metrics
from hwhup_core.evaluation.depth_metrics import EMPTY_MM, DepthScores, depth_scores, released_error_mm
from hwhup_core.evaluation.metrics import Interval, bootstrap_interval, cluster_interval, joint_errors, pa_mpjpe, pve
from hwhup_core.geometry.cameras import crop_translation, weak_perspective_project
from hwhup_core.render.depth import render_depth
from hwhup_core.types import Body, BodyParams, CropPinhole, Posture, Prediction, Rendered

Tag = Literal['subject', 'cover', 'posture']
Unit = Literal['subject', 'frame']
"""What a bootstrap draws."""

METRICS = (
    'aligned_depth_error_mm',
    'masked_aligned_depth_error_mm',
    'median_aligned_depth_error_mm',
    'mask_iou',
    'mpjpe_mm',
    'pa_mpjpe_mm',
    'pve_mm',
    'pck',
    'pckh',
)
"""Columns of `PersonScores` that have a mean worth reading."""

R = TypeVar('R', bound='Rows')


@dataclass(frozen=True)
class Rows:
    """A frozen group of arrays (or nested records) that share their first axis, the frames."""

    def select(self: R, rows: Any) -> R:
        """Return the record of the chosen frames, by mask, slice or indices."""
        return type(self)(**{field.name: _select(getattr(self, field.name), rows) for field in fields(self)})


@dataclass(frozen=True)
class FrameTags(Rows):
    """Where each frame comes from."""

    subject: Int[ndarray, ' n']
    number: Int[ndarray, ' n']
    """Of the pose within its subject."""
    cover: Shaped[ndarray, ' n']
    """Text, such as the values of `synthetic.domain.Cover`."""
    posture: Int[ndarray, ' n']
    """`Posture` numbers."""


@dataclass(frozen=True)
class LabelledKeypoints:
    """True 2D joints of as many crops."""

    positions: Float[Tensor, 'b k 2']
    """In the crop, [-1, 1] from edge to edge."""
    labelled: Bool[Tensor, 'b k']
    """Which positions mean something."""
    keypoints: KeypointSet = KEYPOINT_SETS['slp_14']
    """Their names, and what on the body stands for them."""


@dataclass(frozen=True)
class PersonScores(Rows):
    """One row a frame; NaN where a metric is not defined."""

    aligned_depth_error_mm: Float[ndarray, ' n']
    """The released code's: over all rendered pixels (Ma all ones), holes as depth 0, after the mean offset."""
    masked_aligned_depth_error_mm: Float[ndarray, ' n']
    """Over measured body pixels that are rendered too, after the mean offset."""
    median_aligned_depth_error_mm: Float[ndarray, ' n']
    """The same after the median offset (equation 3)."""
    mask_iou: Float[ndarray, ' n']
    mpjpe_mm: Float[ndarray, ' n']
    """Mean of `joint_errors_mm`."""
    pa_mpjpe_mm: Float[ndarray, ' n']
    """24 SMPL joints after the best similarity."""
    pve_mm: Float[ndarray, ' n']
    """All vertices, pelvis joints on each other."""
    joint_errors_mm: Float[ndarray, 'n 24']
    """SMPL joints, pelvis joints on each other."""
    pck: Float[ndarray, ' n']
    """PCK@0.2: share of the labelled joints within 0.2 of left shoulder to right hip."""
    pckh: Float[ndarray, ' n']
    """PCKh@0.5: share of the labelled joints within 0.5 of head top to thorax."""
    skipped: Bool[ndarray, ' n']
    """Nothing rendered, or no measured body pixel under what is: at least one depth error is not defined."""
    tags: FrameTags

    def __len__(self) -> int:
        return len(self.skipped)


def score_batch(
    predicted: Prediction,
    body: BodyModel,
    pinhole: CropPinhole,
    observed_depth: Float[Tensor, 'b s s'],
    mask: Bool[Tensor, 'b s s'],
    true: BodyParams,
    keypoints: LabelledKeypoints,
    tags: FrameTags,
) -> PersonScores:
    """
    Return the scores of predictions for as many crops.

    `observed_depth` (m, 0 = hole) and the body mask are of the uncovered person, in the crop; `true` is of this very
    body. Everything lies on one device. Fill the holes first: the released error counts them as depth 0, so that a few
    per cent of them at 2 m give the true body itself 100 mm.
    """
    with torch.no_grad():
        posed, truth = body(predicted.params), body(true)
        rendered = render_body(posed.vertices, body, predicted, pinhole, observed_depth.shape[-1])
        depth = depth_scores(rendered.depth, observed_depth, mask)
        released = released_error_mm(rendered.depth, observed_depth, torch.ones_like(mask))
        points = predicted_keypoints(posed, body, predicted, pinhole, keypoints.keypoints)
    hits = _hits(points, body, keypoints)
    return _joined(depth, _numpy(released), posed, truth, hits, tags)


def render_prediction(predicted: Prediction, body: BodyModel, pinhole: CropPinhole, size: int) -> Rendered:
    """Return depth (m) and mask of the predicted bodies as the crops' cameras see them, `size` pixels a side."""
    return render_body(body(predicted.params).vertices, body, predicted, pinhole, size)


def render_body(
    vertices: Float[Tensor, 'b v 3'], body: BodyModel, predicted: Prediction, pinhole: CropPinhole, size: int
) -> Rendered:
    """Return the same for vertices that are posed already."""
    half = size / 2
    placed = vertices + crop_translation(predicted.camera, pinhole)[:, None]
    camera = torch.stack([pinhole.focal, pinhole.focal, *(pinhole.center + 1).unbind(dim=1)], dim=1) * half
    return render_depth(placed, body.faces, camera, (size, size))


def predicted_keypoints(
    posed: Body, body: BodyModel, predicted: Prediction, pinhole: CropPinhole, keypoints: KeypointSet
) -> Float[Tensor, 'b k 2']:
    """Return where the crop's camera sees what stands for each key point on the body, [-1, 1] from edge to edge."""
    mix = point_map(keypoints, body.landmark_names).mix.to(posed.joints)
    points = mix @ torch.cat([posed.joints, posed.landmarks], dim=1)
    return weak_perspective_project(points, predicted.camera, pinhole)


def concatenate(parts: Sequence[PersonScores]) -> PersonScores:
    """Return the frames of all parts, in their order."""
    if not parts:
        raise HwhupError('There are no scores to join. Score at least one batch.')
    joined: PersonScores = _concatenate(parts)
    return joined


def save_scores(file: Path, scores: PersonScores) -> None:
    """Write every row as an .npz file; it appears whole or not at all."""
    columns = {k: v for k, v in vars(scores).items() if k != 'tags'}
    partial = file.with_name(file.name + '.partial.npz')
    np.savez(partial, **columns, **{f'tags.{k}': v for k, v in vars(scores.tags).items()})
    partial.replace(file)


def load_scores(file: Path) -> PersonScores:
    """Return the rows of an .npz file."""
    with np.load(file, allow_pickle=False) as arrays:
        tags = FrameTags(**{field.name: arrays[f'tags.{field.name}'] for field in fields(FrameTags)})
        columns = {field.name: arrays[field.name] for field in fields(PersonScores) if field.name != 'tags'}
    return PersonScores(tags=tags, **columns)


def select(scores: PersonScores, rows: Bool[ndarray, ' n'] | Int[ndarray, ' m']) -> PersonScores:
    """Return the scores of the chosen frames, by mask or indices."""
    return scores.select(rows)


def summary(scores: PersonScores, unit: Unit = 'subject') -> dict[str, Interval]:
    """
    Return the mean over frames of every metric, and the share of skipped frames, with 95 % bootstrap intervals.

    Poses of one subject are not independent, so whole subjects are drawn; `frame` draws frames as if they were. A frame
    in which a metric is not defined is left out of that metric; `skipped` says how often.
    """
    columns = {name: getattr(scores, name) for name in METRICS} | {'skipped': scores.skipped.astype(np.float64)}
    return {name: _interval(values, scores.tags, unit) for name, values in columns.items()}


def by_tag(scores: PersonScores, tag: Tag, unit: Unit = 'subject') -> dict[str, dict[str, Interval]]:
    """Return the summary of each subject, cover or posture (by its name in lower case), in sorted order of the tag."""
    values = getattr(scores.tags, tag)
    return {_tag_name(tag, value): summary(select(scores, values == value), unit) for value in np.unique(values)}


def by_joint(scores: PersonScores, unit: Unit = 'subject') -> dict[str, Interval]:
    """Return the mean error (mm, pelvis-aligned) of each SMPL joint."""
    columns = zip(SMPL_24, scores.joint_errors_mm.T, strict=True)
    return {name: _interval(errors, scores.tags, unit) for name, errors in columns}


def released_mean_mm(scores: PersonScores) -> float:
    """Return the aligned depth error (mm) as the released code averages it: a frame with nothing rendered is -1."""
    errors = scores.aligned_depth_error_mm
    return float(np.where(np.isfinite(errors), errors, EMPTY_MM).mean()) if len(errors) else float('nan')


def _joined(
    depth: DepthScores,
    released_mm: Float[ndarray, ' n'],
    posed: Body,
    truth: Body,
    hits: tuple[Float[ndarray, 'n k'], Float[ndarray, 'n k']],
    tags: FrameTags,
) -> PersonScores:
    """Return the rows, in millimetres."""
    joints, true_joints = _numpy(posed.joints), _numpy(truth.joints)
    vertices, true_vertices = _numpy(posed.vertices), _numpy(truth.vertices)
    errors = 1000 * joint_errors(joints, true_joints)
    released_mm = np.where(released_mm == EMPTY_MM, np.nan, released_mm)
    masked_mm = 1000 * _numpy(depth.mean_aligned_error)
    return PersonScores(
        aligned_depth_error_mm=released_mm,
        masked_aligned_depth_error_mm=masked_mm,
        median_aligned_depth_error_mm=1000 * _numpy(depth.median_aligned_error),
        mask_iou=_numpy(depth.mask_iou),
        mpjpe_mm=errors.mean(axis=1),
        pa_mpjpe_mm=1000 * pa_mpjpe(joints, true_joints),
        pve_mm=1000 * pve(vertices, true_vertices, joints[:, 0], true_joints[:, 0]),
        joint_errors_mm=errors,
        pck=keypoint_metrics.hits_per_sample(hits[0]),
        pckh=keypoint_metrics.hits_per_sample(hits[1]),
        skipped=~(np.isfinite(released_mm) & np.isfinite(masked_mm)),
        tags=tags,
    )


def _hits(
    predicted: Float[Tensor, 'b k 2'], body: BodyModel, keypoints: LabelledKeypoints
) -> tuple[Float[ndarray, 'b k'], Float[ndarray, 'b k']]:
    """Return the hits of PCK and PCKh; all NaN where the set lacks the joints that give the size."""
    names = keypoints.keypoints.joints
    exists = point_map(keypoints.keypoints, body.landmark_names).mix.any(dim=1).numpy()
    labelled = keypoints.labelled.cpu().numpy()
    # Without the labels that give the size nothing is defined, whatever stands in their place.
    positions = np.where(labelled[..., None], _numpy(keypoints.positions), np.nan)
    points = _numpy(predicted), positions, labelled & exists
    undefined = np.full(labelled.shape, np.nan)
    torso = {'left_shoulder', 'right_hip'} <= set(names)
    head = {'head_top', 'thorax'} <= set(names)
    return (
        keypoint_metrics.pck(*points, names) if torso else undefined,
        keypoint_metrics.pckh(*points, names) if head else undefined,
    )


def _interval(values: Float[ndarray, ' n'], tags: FrameTags, unit: Unit) -> Interval:
    return bootstrap_interval(values) if unit == 'frame' else cluster_interval(values, tags.subject)


def _tag_name(tag: Tag, value: Any) -> str:
    return Posture(value).name.lower() if tag == 'posture' else str(value)


def _numpy(tensor: Tensor) -> ndarray:
    return tensor.detach().cpu().double().numpy()


def _select(value: Any, rows: Any) -> Any:
    return value.select(rows) if isinstance(value, Rows) else value[rows]


def _concatenate(parts: Sequence[Any]) -> Any:
    if not isinstance(parts[0], Rows):
        return np.concatenate(parts)
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(parts[0])}
    return type(parts[0])(**{name: _concatenate(column) for name, column in columns.items()})
