"""
The 14 joints by which Human3.6M and 3DPW are scored (method 5.2).

Joints are regressed from vertices by `J_regressor_h36m` and count from the regressed pelvis, its row 0. They go by
name: `head` is Human3.6M's, not the top of the head. Where there is no regressor, the body's own joints and landmarks
stand in; the scores say which it was, and such figures are not comparable with published ones.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray
from torch import Tensor

from hwhup_core.body.files import SMPL_VERTEX_ORDER
from hwhup_core.body.joints import EVAL_14, H36M_17, SPIN_24, indices
from hwhup_core.body.keypoint_sets import KEYPOINT_SETS, point_map
from hwhup_core.body.model import BodyModel
from hwhup_core.data.sample import Gender, Joints3D, Sample, TrueBody
from hwhup_core.errors import AssetError, HwhupError
from hwhup_core.evaluation.metrics import Interval, bootstrap_interval, cluster_interval, pa_mpjpe, pve
from hwhup_core.geometry.rotations import axis_angle_to_matrix
from hwhup_core.types import Body, BodyParams

Regressor = Literal['official', 'landmarks']
Truth = Literal['joints', 'body', 'none']
SCORED = ('pelvis', *EVAL_14)
"""The pelvis, from which the others count, and the 14 that are scored."""
_BATCH = 128
"""Bodies that are posed at once: their vertices take 11 MB."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProtocolScores:
    """One row a sample; NaN where its truth lacks what is needed."""

    names: tuple[str, ...]
    mpjpe_mm: Float[ndarray, ' n']
    """Mean of the 14 joints, pelvis on pelvis."""
    pa_mpjpe_mm: Float[ndarray, ' n']
    """The same after the best similarity of the 14."""
    pve_mm: Float[ndarray, ' n']
    """All vertices, SMPL's pelvis joints on each other; only against a true body of as many vertices."""
    truth: tuple[Truth, ...]
    """What the data set has: measured joints, or a body from which they are regressed as from the prediction."""
    actions: tuple[str, ...]
    """Tag `action`; empty where there is none."""
    groups: tuple[str, ...]
    """What a bootstrap draws whole: tag `subject`, else `sequence`; empty where there is neither."""
    regressor: Regressor
    """`landmarks`: the body's own joints and landmarks stood in for the regressed ones."""
    neutral_stand_ins: int
    """True bodies of a gender for which no body was given, so that the neutral one took their betas."""

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class ProtocolMeans:
    """Means of some samples, with 95 % bootstrap intervals over groups where there are two, else over samples."""

    mpjpe_mm: Interval
    pa_mpjpe_mm: Interval
    pve_mm: Interval
    count: int
    """Samples, scored or not."""


def protocol_scores(
    predicted: BodyParams,
    samples: Iterable[Sample],
    body: BodyModel,
    regressor: Float[ndarray, '17 v'] | None,
    gendered: Mapping[Gender, BodyModel] | None = None,
) -> ProtocolScores:
    """
    Return the scores of as many predictions, made for `body`, as there are samples.

    Truth is the sample's joints where they are Human3.6M's or SPIN's and all 14 are there, else its body, posed with
    the body in `gendered` of its gender. Shape coefficients must belong to these bodies: those that data sets publish
    are SMPL's and mean nothing on the bundled ones.
    """
    samples = tuple(samples)
    _require_fit(predicted, samples)
    scorers, stand_ins = _scorers(body, regressor, dict(gendered or {}), samples)
    parts = [slice(start, start + _BATCH) for start in range(0, len(samples), _BATCH)]
    rows = [_score_batch(predicted[part], samples[part], scorers) for part in parts]
    errors, aligned, vertices = (np.concatenate(column) for column in zip(*rows, strict=True))
    return ProtocolScores(
        names=tuple(sample.name for sample in samples),
        mpjpe_mm=1000 * errors,
        pa_mpjpe_mm=1000 * aligned,
        pve_mm=1000 * vertices,
        truth=tuple(truth_of(sample) for sample in samples),
        actions=tuple(sample.tags.get('action', '') for sample in samples),
        groups=tuple(sample.tags.get('subject', sample.tags.get('sequence', '')) for sample in samples),
        regressor=scorers['neutral'].kind,
        neutral_stand_ins=stand_ins,
    )


def protocol_means(scores: ProtocolScores) -> ProtocolMeans:
    """Return the means over all samples."""
    return _means(scores, np.ones(len(scores), bool))


def means_by_action(scores: ProtocolScores) -> dict[str, ProtocolMeans]:
    """
    Return the means of each action, every frame once, in sorted order.

    The released code appends all earlier frames again with every batch, so that its actions weigh early frames more.
    """
    actions = np.array(scores.actions)
    return {str(action): _means(scores, actions == action) for action in np.unique(actions[actions != ''])}


def h36m_joints(
    vertices: Float[Tensor, 'b v 3'], regressor: Float[ndarray, '17 v'] | Float[Tensor, '17 v']
) -> Float[Tensor, 'b 14 3']:
    """Return the 14 scored joints, metres from the regressed pelvis, in the order of `joints.EVAL_14`."""
    regressed = torch.as_tensor(regressor).to(vertices) @ vertices
    return regressed[:, indices(H36M_17, EVAL_14)] - regressed[:, indices(H36M_17, ('pelvis',))]


def truth_of(sample: Sample) -> Truth:
    """Return what a sample is scored against."""
    joints = sample.joints_3d
    if joints is not None and _has_scored(joints):
        return 'joints'
    return 'none' if sample.body is None else 'body'


def _has_scored(joints: Joints3D) -> bool:
    """Return whether all 14 joints are there. SMPL's `head` and `neck` are other points than Human3.6M's."""
    if joints.names not in (SPIN_24, H36M_17):
        return False
    needed = indices(joints.names, EVAL_14 if joints.centred else SCORED)
    return bool((joints.confidence[needed] > 0).all() and np.isfinite(joints.positions[needed]).all())


def _true_joints(joints: Joints3D) -> Float[ndarray, '14 3']:
    """Return the 14 joints from the pelvis, in metres."""
    scored: ndarray = joints.positions[indices(joints.names, EVAL_14)].astype(np.float64)
    root: ndarray = joints.positions[indices(joints.names, ('pelvis',))]
    return scored if joints.centred else scored - root


@dataclass(frozen=True)
class _Scorer:
    """One body and how its 14 joints are had."""

    body: BodyModel
    rows: Float[Tensor, '17 p']
    """Of `joints.H36M_17`."""
    from_vertices: bool
    """Whether the rows are over vertices, instead of over joints and landmarks."""
    kind: Regressor

    def pose(self, params: BodyParams) -> tuple[Body, Float[ndarray, 'b 14 3']]:
        """Return the posed bodies and their 14 joints, metres from the pelvis."""
        with torch.no_grad():
            posed = self.body(params)
        points = posed.vertices if self.from_vertices else torch.cat([posed.joints, posed.landmarks], dim=1)
        return posed, _numpy(h36m_joints(points, self.rows))


def _scorer(body: BodyModel, regressor: Float[ndarray, '17 v'] | None) -> _Scorer:
    if regressor is None:
        known = {f'h36m_{name}' for name in H36M_17} <= {*body.landmark_names}
        mix = point_map(KEYPOINT_SETS['h36m_17'], body.landmark_names).mix
        return _Scorer(body, mix, False, 'official' if known else 'landmarks')
    vertices = int(body.faces.max()) + 1
    if body.vertex_order != SMPL_VERTEX_ORDER or regressor.shape[1] != vertices:
        raise AssetError(
            f'J_regressor_h36m is for {regressor.shape[1]} vertices in the order of SMPL; body {body.body_id!r} has '
            f'{vertices} in the order {body.vertex_order!r}. Use an official SMPL file, or leave the regressor out.'
        )
    return _Scorer(body, torch.from_numpy(regressor), True, 'official')


def _scorers(
    body: BodyModel,
    regressor: Float[ndarray, '17 v'] | None,
    gendered: Mapping[Gender, BodyModel],
    samples: Sequence[Sample],
) -> tuple[dict[Gender, _Scorer], int]:
    """Return a scorer for each gender, and for how many true bodies the neutral one stands in."""
    genders: tuple[Gender, ...] = ('neutral', 'male', 'female')
    bodies = {gender: gendered.get(gender, body) if gender != 'neutral' else body for gender in genders}
    scorers = {gender: _scorer(each, regressor) for gender, each in bodies.items()}
    kinds = {each.body.body_id: each.kind for each in scorers.values()}
    if len(set(kinds.values())) > 1:
        raise AssetError(f'Joints of these bodies are not had in one way: {kinds}. Give all of them the regressor.')
    lacking = {g: sum(_is_of(sample, g) for sample in samples) for g in genders[1:] if g not in gendered}
    if any(lacking.values()):
        _log.warning('No body file for true bodies %s: the neutral body takes their betas.', lacking)
    return scorers, sum(lacking.values())


def _score_batch(
    predicted: BodyParams, samples: Sequence[Sample], scorers: Mapping[Gender, _Scorer]
) -> tuple[Float[ndarray, ' b'], Float[ndarray, ' b'], Float[ndarray, ' b']]:
    """Return MPJPE, PA-MPJPE and PVE in metres. `scorers` has one for each gender, the predicted body's for neutral."""
    posed, joints = scorers['neutral'].pose(predicted)
    true, vertex_errors = np.full(joints.shape, np.nan), np.full(len(joints), np.nan)
    for gender, scorer in scorers.items():
        rows = [row for row, sample in enumerate(samples) if _is_of(sample, gender)]
        if rows:
            bodies = [sample.body for sample in samples if _is_of(sample, gender) and sample.body is not None]
            truth, true[rows] = scorer.pose(_params(bodies).map(lambda tensor: tensor.to(predicted.betas)))
            vertex_errors[rows] = _vertex_errors(posed[rows], truth)
    for row, sample in enumerate(samples):
        if sample.joints_3d is not None and truth_of(sample) == 'joints':
            true[row] = _true_joints(sample.joints_3d)
    errors = np.linalg.norm(joints - true, axis=-1).mean(axis=1)
    return errors, pa_mpjpe(joints, true), vertex_errors


def _is_of(sample: Sample, gender: Gender) -> bool:
    return truth_of(sample) == 'body' and sample.body is not None and sample.body.gender == gender


def _params(bodies: Sequence[TrueBody]) -> BodyParams:
    pose = torch.from_numpy(np.stack([body.pose for body in bodies]).astype(np.float64))
    rotations = axis_angle_to_matrix(pose.unflatten(1, (24, 3)))
    betas = torch.from_numpy(np.stack([body.betas for body in bodies]).astype(np.float64))
    return BodyParams(rotations[:, 0], rotations[:, 1:], betas)


def _vertex_errors(predicted: Body, true: Body) -> Float[ndarray, ' b']:
    """Return the PVE in metres; NaN where the bodies have other vertices."""
    if predicted.vertices.shape != true.vertices.shape:
        return np.full(len(true.vertices), np.nan)
    return pve(
        *(_numpy(each) for each in (predicted.vertices, true.vertices, predicted.joints[:, 0], true.joints[:, 0]))
    )


def _require_fit(predicted: BodyParams, samples: Sequence[Sample]) -> None:
    """Refuse what would pair predictions with other samples, or count a sample twice."""
    if len(predicted.betas) != len(samples) or not samples:
        raise HwhupError(
            f'{len(predicted.betas)} predictions for {len(samples)} samples. Give one for each, in the same order.'
        )
    twice = [name for name, count in Counter(sample.name for sample in samples).items() if count > 1]
    if twice:
        raise HwhupError(f'{len(twice)} samples stand there twice, such as {twice[0]!r}. Each counts once.')


def _means(scores: ProtocolScores, chosen: Bool[ndarray, ' n']) -> ProtocolMeans:
    groups = np.array(scores.groups)[chosen]

    def interval(values: Float[ndarray, ' n']) -> Interval:
        chosen_values = values[chosen]
        one = len(np.unique(groups)) < 2
        return bootstrap_interval(chosen_values) if one else cluster_interval(chosen_values, groups)

    return ProtocolMeans(
        interval(scores.mpjpe_mm), interval(scores.pa_mpjpe_mm), interval(scores.pve_mm), int(chosen.sum())
    )


def _numpy(values: Tensor) -> Float[ndarray, '...']:
    array: ndarray = values.detach().cpu().double().numpy()
    return array
