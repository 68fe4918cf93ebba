"""Scores of predicted bodies: what a body says about itself, what moves and what does not, and the intervals."""

import functools

import numpy as np
import pytest
import torch

from hwhup_core.body.keypoint_sets import KEYPOINT_SETS
from hwhup_core.body.model import load_body
from hwhup_core.errors import HwhupError
from hwhup_core.evaluation.metrics import cluster_interval, pa_mpjpe, pve
from hwhup_core.evaluation.scores import (
    METRICS,
    FrameTags,
    LabelledKeypoints,
    by_joint,
    by_tag,
    concatenate,
    predicted_keypoints,
    released_mean_mm,
    render_prediction,
    score_batch,
    select,
    summary,
)
from hwhup_core.geometry.rotations import axis_angle_to_matrix
from hwhup_core.types import BodyParams, CropPinhole, Posture, Prediction, WeakPerspective

SIZE = 64
COUNT = 4


@functools.cache
def body():
    return load_body('infant')


def tags(count=COUNT):
    return FrameTags(
        subject=np.arange(count) // 2 + 1,
        number=np.arange(count) % 2 + 1,
        cover=np.array(['uncover', 'cover1'] * (count // 2)),
        posture=np.array([Posture.SUPINE, Posture.LEFT_SIDE] * (count // 2)).astype(np.int64),
    )


def prediction(count=COUNT, scale=2.2):
    torch.manual_seed(0)
    params = BodyParams(
        axis_angle_to_matrix(torch.tensor([[np.pi, 0.0, 0.0]]).float() + 0.2 * torch.randn(count, 3)),
        axis_angle_to_matrix(0.3 * torch.randn(count, 23, 3)),
        torch.randn(count, 10),
    )
    return Prediction(params, WeakPerspective(torch.full((count,), scale), torch.zeros(count, 2)))


def pinhole(count=COUNT):
    return CropPinhole(torch.full((count,), 4.0), torch.tensor([[0.1, -0.2]]).expand(count, 2))


def labels(answer, keypoints=KEYPOINT_SETS['slp_14']):
    points = predicted_keypoints(body()(answer.params), body(), answer, pinhole(), keypoints)
    return LabelledKeypoints(points, torch.ones(points.shape[:2], dtype=torch.bool), keypoints)


def scored(answer, truth=None, depth=None, mask=None, keypoints=None):
    truth = truth or prediction()
    seen = render_prediction(truth, body(), pinhole(), SIZE)
    depth, mask = seen.depth if depth is None else depth, seen.mask if mask is None else mask
    keypoints = keypoints or labels(truth)
    return score_batch(answer, body(), pinhole(), depth, mask, truth.params, keypoints, tags())


def test_a_body_compared_with_itself():
    scores = scored(prediction())
    for name in METRICS:
        perfect = 1.0 if name in ('mask_iou', 'pck', 'pckh') else 0.0
        np.testing.assert_allclose(getattr(scores, name), perfect, atol=1e-3, err_msg=name)
    assert not scores.skipped.any()
    assert len(scores) == COUNT


def test_a_shift_of_the_depth_changes_nothing():
    answer, truth = prediction(scale=2.3), prediction()
    seen = render_prediction(truth, body(), pinhole(), SIZE)
    everywhere = torch.where(seen.mask, seen.depth, 1.9)
    before = scored(answer, truth, everywhere, seen.mask)
    after = scored(answer, truth, everywhere + 0.7, seen.mask)
    for name in METRICS:
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), atol=1e-2)
    assert (before.masked_aligned_depth_error_mm > 0.1).all()


def test_the_released_error_ignores_the_mask_and_the_masked_one_does_not():
    truth = prediction()
    seen = render_prediction(truth, body(), pinhole(), SIZE)
    half = seen.mask.clone()
    half[:, :, SIZE // 2 :] = False
    step = torch.zeros(SIZE)
    step[SIZE // 2 :] = 0.1
    scores = scored(truth, truth, seen.depth + step, half)
    np.testing.assert_allclose(scores.masked_aligned_depth_error_mm, 0, atol=1e-3)
    right = (seen.mask & ~half).sum(dim=(1, 2)) / seen.mask.sum(dim=(1, 2))
    np.testing.assert_allclose(scores.aligned_depth_error_mm, 100 * 2 * right * (1 - right), rtol=1e-3)
    np.testing.assert_allclose(scores.mask_iou, 1 - right, rtol=1e-5)


def test_moved_bodies_keep_their_joint_errors_and_lose_their_key_points():
    truth = prediction()
    far = Prediction(truth.params, WeakPerspective(truth.camera.scale, truth.camera.shift + 5.0))
    scores = scored(far)
    np.testing.assert_allclose(scores.mpjpe_mm, 0, atol=1e-3)
    np.testing.assert_allclose(scores.pve_mm, 0, atol=1e-3)
    assert scores.pck.tolist() == [0.0] * COUNT
    assert scores.skipped.all()
    assert np.isnan(scores.aligned_depth_error_mm).all()
    assert summary(scores)['skipped'].mean == 1.0
    assert summary(scores)['aligned_depth_error_mm'].count == 0
    assert released_mean_mm(scores) == -1


def test_one_turned_joint():
    truth = prediction()
    turned = truth.params.joint_rotations.clone()
    turned[:, 17] = turned[:, 17] @ axis_angle_to_matrix(torch.tensor([0.0, 0.0, 1.0]))
    params = BodyParams(truth.params.global_rotation, turned, truth.params.betas)
    joints = by_joint(scored(Prediction(params, truth.camera), truth))
    wrong = {name for name, interval in joints.items() if interval.mean > 1e-3}
    assert wrong == {'left_wrist', 'left_hand'}


def test_empty_masks_holes_and_broken_predictions_are_skipped():
    truth = prediction()
    seen = render_prediction(truth, body(), pinhole(), SIZE)
    mask, depth = seen.mask.clone(), seen.depth.clone()
    mask[0], depth[1] = False, 0.0
    broken = truth.params.betas.clone()
    broken[2] = torch.nan
    params = BodyParams(truth.params.global_rotation, truth.params.joint_rotations, broken)
    scores = scored(Prediction(params, truth.camera), truth, depth, mask)
    assert scores.skipped.tolist() == [True, True, True, False]
    assert np.isnan(scores.masked_aligned_depth_error_mm).tolist() == [True, True, True, False]
    assert np.isnan(scores.mpjpe_mm).tolist() == [False, False, True, False]
    assert np.isnan(scores.pa_mpjpe_mm).tolist() == [False, False, True, False]
    assert scores.pck.tolist() == [1.0, 1.0, 0.0, 1.0]
    figures = summary(scores)
    assert figures['skipped'].mean == 0.75
    assert figures['masked_aligned_depth_error_mm'].count == 1
    assert figures['mpjpe_mm'].count == 3


def test_key_points_need_the_labels_that_give_the_size():
    truth = prediction()
    given = labels(truth)
    labelled = given.labelled.clone()
    labelled[0, given.keypoints.joints.index('right_hip')] = False
    labelled[1, given.keypoints.joints.index('head_top')] = False
    scores = scored(truth, keypoints=LabelledKeypoints(given.positions, labelled))
    assert np.isnan(scores.pck).tolist() == [True, False, False, False]
    assert np.isnan(scores.pckh).tolist() == [False, True, False, False]
    coco = scored(truth, keypoints=labels(truth, KEYPOINT_SETS['coco_17']))
    assert (coco.pck == 1).all()
    assert np.isnan(coco.pckh).all()


def test_tags_and_joining():
    scores = scored(prediction())
    twice = concatenate([scores, select(scores, np.array([3]))])
    assert len(twice) == COUNT + 1
    assert twice.tags.number.tolist() == [1, 2, 1, 2, 2]
    assert list(by_tag(twice, 'cover')) == ['cover1', 'uncover']
    assert by_tag(twice, 'cover')['cover1']['pck'].count == 3
    assert list(by_tag(twice, 'posture')) == ['supine', 'left_side']
    assert list(by_tag(twice, 'subject')) == ['1', '2']
    with pytest.raises(HwhupError, match='at least one'):
        concatenate([])


def test_cluster_interval():
    constant = cluster_interval(np.full(6, 2.5), np.array([1, 1, 2, 2, 3, 3]))
    assert (constant.mean, constant.low, constant.high, constant.count) == (2.5, 2.5, 2.5, 6)
    # Two subjects of one value each: a draw gives 0, 1 or the mean of both.
    two = cluster_interval(np.repeat([0.0, 1.0], 50), np.repeat([7, 9], 50))
    assert (two.mean, two.low, two.high) == (0.5, 0.0, 1.0)
    # Subjects of unequal numbers of frames: the mean is over frames.
    assert cluster_interval(np.array([0.0, 0, 0, 1]), np.array([1, 1, 1, 2])).mean == 0.25
    alone = cluster_interval(np.array([1.0, 3.0, np.nan]), np.array([1, 1, 2]))
    assert (alone.mean, alone.count) == (2.0, 2)
    assert np.isnan([alone.low, alone.high]).all()
    assert cluster_interval(np.array([np.nan]), np.array([1])).count == 0


def test_frames_of_one_subject_widen_the_interval():
    rng = np.random.default_rng(0)
    scores = concatenate([scored(prediction())] * 10)
    subject = np.repeat(np.arange(10), COUNT)
    error = rng.normal(size=10)[subject] + 0.01 * rng.normal(size=len(subject))
    shared = FrameTags(subject, scores.tags.number, scores.tags.cover, scores.tags.posture)
    columns = {name: getattr(scores, name) for name in type(scores).__annotations__}
    scores = type(scores)(**columns | {'mpjpe_mm': error, 'tags': shared})
    by_subject, by_frame = summary(scores)['mpjpe_mm'], summary(scores, unit='frame')['mpjpe_mm']
    assert by_subject.mean == by_frame.mean
    assert by_subject.high - by_subject.low > 1.5 * (by_frame.high - by_frame.low)


def test_pve_by_hand():
    true = np.zeros((1, 2, 3))
    moved = np.array([[[1.0, 1, 1], [1, 1, 1.4]]])
    np.testing.assert_allclose(pve(moved, true, np.ones((1, 3)), np.zeros((1, 3))), [0.2])
    np.testing.assert_allclose(pve(moved, true, np.zeros((1, 3)), np.zeros((1, 3))) > 1, [True])


def test_pa_of_a_broken_sample_is_nan():
    points = np.random.default_rng(0).normal(size=(2, 5, 3))
    broken = points.copy()
    broken[1, 0, 0] = np.inf
    errors = pa_mpjpe(broken, points)
    assert errors[0] == pytest.approx(0)
    assert np.isnan(errors[1])
