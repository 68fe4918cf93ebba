"""Energy terms, weights, key point sets and the least squares camera against hand-computed and naive values."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwhup_core.body.joints import SPIN_49, index
from hwhup_core.body.keypoint_sets import KEYPOINT_SETS, KeypointSet, keypoint_set, point_map
from hwhup_core.body.model import load_body
from hwhup_core.errors import ConfigError
from hwhup_core.fitting import energies
from hwhup_core.fitting.camera import camera_from_points, weak_perspective
from hwhup_core.fitting.config import PRESETS, EnergyWeights, SmplifyConfig
from hwhup_core.geometry.cameras import (
    HALF_CROPS_FOCAL,
    crop_translation,
    pinhole_project,
    weak_perspective_project,
)
from hwhup_core.types import BodyParams, CropPinhole


def random(*shape, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64) * scale


def rest_pose():
    eye = torch.eye(3)
    return BodyParams(eye[None], eye.repeat(1, 23, 1, 1), torch.zeros(1, 10))


def test_geman_mcclure_by_hand():
    errors = torch.tensor([0.0, 1.0, 100.0, 1e6], dtype=torch.float64)
    assert energies.geman_mcclure(errors, 100.0).tolist() == pytest.approx([0.0, 1e4 / 10001, 5000.0, 1e4])


def test_reprojection_by_hand():
    projected = torch.tensor([[[100.0, 0.0], [5.0, 5.0]]])
    keypoints = torch.tensor([[[0.0, 0.0], [5.0, 105.0]]])
    confidence = torch.tensor([[1.0, 0.5]])
    assert energies.reprojection_energy(projected, keypoints, confidence, 100.0).tolist() == [5000 + 0.25 * 5000]
    assert energies.reprojection_score(projected, keypoints, confidence, 100.0).tolist() == [6250 / 2]


def test_score_counts_joints_without_confidence_in_the_mean_and_refuses_nothing():
    projected, keypoints = torch.full((2, 4, 2), 100.0), torch.zeros(2, 4, 2)
    confidence = torch.tensor([[1.0, 0, 0, 0], [0, 0, 0, 0]])
    assert energies.reprojection_score(projected, keypoints, confidence, 100.0).tolist() == [2500.0, torch.inf]


def test_projection_is_the_package_s_crop_camera():
    points, camera = random(3, 5, 3).float(), weak_perspective(torch.tensor([[0.1, -0.2, 49.6]]).expand(3, 3))
    expected = 112 + 112 * weak_perspective_project(points, camera)
    assert torch.allclose(energies.project_to_crop(points, crop_translation(camera)), expected, atol=1e-4)


def test_near_cameras_are_the_package_s():
    pinhole = CropPinhole(torch.tensor([1.8, 2.5]), torch.tensor([[0.5, -0.2], [-1.0, 0.1]])).map(
        lambda one: one.double()
    )
    points, translation = random(2, 5, 3, seed=3, scale=0.3), torch.tensor([[0.1, -0.2, 2.0]]).double().expand(2, 3)
    expected = 112 + 112 * pinhole_project(points + translation[:, None], pinhole)
    assert torch.allclose(energies.project_to_crop(points, translation, pinhole), expected)
    camera = weak_perspective(translation, pinhole)
    assert torch.allclose(expected, 112 + 112 * weak_perspective_project(points, camera, pinhole), atol=1e-5)
    assert torch.allclose(crop_translation(camera, pinhole), translation, atol=1e-6)
    found, exists = camera_from_points(points, expected, torch.ones(2, 5).double(), pinhole)
    assert exists.all()
    assert torch.allclose(found, translation)


def test_far_distance_keeps_the_size():
    pinhole = CropPinhole(torch.tensor([2.0, HALF_CROPS_FOCAL]), torch.zeros(2, 2))
    far = energies.far_distance(torch.tensor([2.0, 30.0]), pinhole)
    assert far.tolist() == pytest.approx([HALF_CROPS_FOCAL, 30.0])
    assert energies.true_distance(far, pinhole).tolist() == pytest.approx([2.0, 30.0])


def test_points_behind_the_camera_stay_finite():
    translation = torch.tensor([[0.0, 0.0, -3.0]], requires_grad=True)
    projected = energies.project_to_crop(torch.ones(1, 2, 3), translation)
    energy = energies.reprojection_energy(projected, torch.zeros(1, 2, 2), torch.ones(1, 2), 100.0)
    energy.sum().backward()
    assert energy.isfinite().all()
    assert translation.grad.isfinite().all()


def test_gradients_of_every_term():
    check = torch.autograd.gradcheck
    points = random(2, 4, 3).requires_grad_()
    translation = (random(2, 3, seed=1, scale=0.1) + torch.tensor([0.0, 0.0, 50.0])).requires_grad_()
    assert check(energies.project_to_crop, (points, translation))
    pixels = random(2, 4, 2, seed=2, scale=60).requires_grad_()
    keypoints, confidence = random(2, 4, 2, seed=3, scale=60), random(2, 4, seed=4).abs()
    assert check(lambda at: energies.geman_mcclure(at, 100.0), pixels)
    assert check(lambda at: energies.reprojection_energy(at, keypoints, confidence, 100.0), pixels)
    assert check(lambda at: energies.reprojection_score(at, keypoints, confidence, 100.0), pixels)
    assert check(lambda at: energies.torso_energy(at, keypoints, confidence), pixels)
    first, second = random(2, seed=5), random(2, seed=6)
    assert check(energies.distance_energy, (first.requires_grad_(), second.requires_grad_()))
    weights = EnergyWeights()
    assert check(lambda one, two: energies.camera_energy(one, two, weights), (first, second))
    pose, betas = random(2, 69, seed=7, scale=0.2).requires_grad_(), random(2, 10, seed=8).requires_grad_()
    weight = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    assert check(lambda *terms: energies.body_energy(*terms, weights), (first, second, pose, betas, weight))


def test_energies_add_up_with_squared_weights():
    weights = EnergyWeights(pose=2.0, angle=3.0, shape=5.0, depth=7.0)
    one = torch.ones(1)
    camera = energies.camera_energy(one, 2 * one, weights)
    assert camera.tolist() == [1 + 49 * 2]
    betas = torch.zeros(1, 10)
    betas[0, 0] = 2.0
    total = energies.body_energy(one, 10 * one, torch.zeros(1, 69), betas, 2 * one, weights)
    assert total.tolist() == [1 + 4 * 10 + 9 * 4 + 25 * 4]


def test_prior_weight_fades_as_the_paper_says():
    weights = EnergyWeights()
    squared = [weights.prior_weight_at(epoch) ** 2 for epoch in (0, 1, 5, 10, 20, 29)]
    assert squared == pytest.approx([22.85, 16.5, 4.50, 0.886, 0.0343, 0.00184], rel=0.01)
    assert PRESETS['released_code'].weights.prior_weight_at(29) == 4.78


def test_presets():
    paper, code = PRESETS['paper'], PRESETS['released_code']
    assert (paper.camera_iterations, paper.body_iterations, code.camera_iterations, code.body_iterations) == (
        50, 50, 100, 100,
    )  # fmt: skip


@pytest.mark.parametrize(
    'wrong',
    [{'camera_iterations': -1}, {'learning_rate': 0.0}, {'adam_betas': (0.9, 1.0)}, {'threshold': -1.0}],
)
def test_config_refuses(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SmplifyConfig(**wrong)
    with pytest.raises(ConfigError, match='pose_decay'):
        EnergyWeights(pose_decay=0.0)


def test_every_set_maps_onto_the_bundled_body():
    body = load_body('adult')
    skeleton = body.skeleton(rest_pose())
    points = torch.cat([skeleton.joints, skeleton.landmarks], dim=1)
    missing = {}
    for name, keypoints in KEYPOINT_SETS.items():
        here = point_map(keypoints, body.landmark_names)
        assert (here.mix @ points).isfinite().all()
        sums = here.mix.sum(dim=1)
        assert torch.allclose(sums[sums != 0], torch.ones(1), atol=1e-6)
        missing[name] = [joint for joint, total in zip(keypoints.joints, sums) if total == 0]
    assert {name: joints for name, joints in missing.items() if joints} == {
        'spin_49': ['gt_spine', 'gt_jaw'],
        'spin_24': ['spine', 'jaw'],
        'h36m_17': ['spine', 'jaw'],
    }


def test_spin_49_ignores_the_hips_but_looks_at_them_first():
    here = point_map(keypoint_set('spin_49'), load_body('adult').landmark_names)
    ignored = [1, 9, 12, 27, 28]
    assert not here.fitted[ignored].any()
    assert here.fitted.sum() == 49 - len(ignored) - 2
    assert here.torso.tolist() == [[9, 27], [12, 28], [2, 33], [5, 34]]
    assert not here.placing[:25].any()
    assert here.placing.sum() == 24 - 4


def test_head_top_stand_in_is_near_the_top():
    for name in ('adult', 'infant'):
        body = load_body(name)
        mesh = body(rest_pose())
        here = point_map(keypoint_set('slp_14'), body.landmark_names)
        points = here.mix @ torch.cat([mesh.joints, mesh.landmarks], dim=1)
        top = mesh.vertices[0, mesh.vertices[0, :, 1].argmax()]
        assert (points[0, index('head_top', here.keypoints.joints)] - top).norm() < 0.03


def test_a_body_without_landmarks_uses_smpl_joints():
    here = point_map(keypoint_set('coco_17'), ())
    assert here.fitted.tolist() == [False] * 5 + [True] * 12


def test_ignored_joints_go_by_name():
    fewer = replace(keypoint_set('slp_14'), ignored=('left_hip', 'right_hip'))
    here = point_map(fewer, load_body('adult').landmark_names)
    assert not here.fitted[index('left_hip', fewer.joints)]
    with pytest.raises(ConfigError, match="No joint 'hips'"):
        replace(fewer, ignored=('hips',))
    with pytest.raises(ConfigError, match='1 sources for 2 joints'):
        KeypointSet('mine', ('a', 'b'), ('a',), ())
    with pytest.raises(ConfigError, match='There are: spin_49'):
        keypoint_set('spin49')
    assert keypoint_set('spin_49').joints is SPIN_49


def least_squares(points, keypoints, confidence):
    """Solve the rows of the method with numpy, for one sample."""
    rows, right = [], []
    for (x, y, z), pixel, weight in zip(points, keypoints - 112, np.sqrt(confidence)):
        rows += [weight * np.array([5000, 0, -pixel[0]]), weight * np.array([0, 5000, -pixel[1]])]
        right += [weight * (pixel[0] * z - 5000 * x), weight * (pixel[1] * z - 5000 * y)]
    return np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]


def test_camera_equals_the_least_squares_of_numpy():
    points, confidence = random(4, 9, 3, scale=0.4), random(4, 9, seed=1).abs()
    confidence[:, :2] = 0
    translation = torch.tensor([[0.1, -0.3, 40.0]], dtype=torch.float64).expand(4, 3)
    keypoints = energies.project_to_crop(points, translation)
    exact, exists = camera_from_points(points, keypoints, confidence)
    assert exists.all()
    assert torch.allclose(exact, translation, atol=1e-8)
    noisy = keypoints + random(4, 9, 2, seed=2, scale=3.0)
    found, _ = camera_from_points(points, noisy, confidence)
    expected = [least_squares(*arrays) for arrays in zip(points.numpy(), noisy.numpy(), confidence.numpy())]
    assert np.allclose(found.numpy(), expected, atol=1e-6)


def test_singular_cameras_are_marked():
    points, keypoints, confidence = random(5, 4, 3), random(5, 4, 2, seed=1, scale=40) + 112, torch.ones(5, 4).double()
    confidence[0] = 0  # Nothing visible.
    confidence[1, 1:] = 0  # One joint.
    keypoints[2] = 100.0  # All on one spot.
    keypoints[3] = 112 - 100 * points[3, :, :2]  # Mirrored: only a camera behind the body would see that.
    keypoints[4, 0], confidence[4, 0] = torch.nan, 0  # A hidden joint may hold anything.
    keypoints[4, 1:] = energies.project_to_crop(points[4:], torch.tensor([[0.0, 0.0, 50.0]]).double())[0, 1:]
    translation, exists = camera_from_points(points, keypoints, confidence)
    assert exists.tolist() == [False, False, False, False, True]
    assert translation.isfinite().all()
    assert torch.allclose(translation[4], torch.tensor([0.0, 0.0, 50.0]).double(), atol=1e-6)


def test_weak_perspective_and_back():
    translation = torch.tensor([[0.1, 0.2, 49.6]])
    assert torch.allclose(crop_translation(weak_perspective(translation)), translation, atol=1e-5)
