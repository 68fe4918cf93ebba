"""Rotations, cameras, crops, depth: hand-computed cases, round trips, gradients."""

import numpy as np
import pytest
import torch

from hwhup_core.errors import ConfigError
from hwhup_core.geometry import crops, depth, rotations
from hwhup_core.geometry.cameras import crop_translation, metric_translation, project, rays, weak_perspective_project
from hwhup_core.types import Intrinsics, PersonBox, WeakPerspective

CAMERA = Intrinsics(600.0, 610.0, 320.0, 240.0, 640, 480)
PLUMB_BOB = Intrinsics(600.0, 610.0, 320.0, 240.0, 640, 480, 'plumb_bob', (0.1, -0.05, 0.001, 0.002, 0.01))
FISHEYE = Intrinsics(300.0, 300.0, 320.0, 240.0, 640, 480, 'equidistant', (0.02, -0.01, 0.003, 0.0))


def test_quarter_turn_about_z():
    turn = rotations.axis_angle_to_matrix(torch.tensor([0.0, 0.0, torch.pi / 2], dtype=torch.float64))
    expected = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(turn, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize('angle', [0.0, 1e-9, 1e-5, 1.0, 3.0, torch.pi - 1e-7, torch.pi])
def test_axis_angle_round_trip(angle):
    axis = torch.nn.functional.normalize(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), dim=0)
    matrix = rotations.axis_angle_to_matrix(axis * angle)
    again = rotations.axis_angle_to_matrix(rotations.matrix_to_axis_angle(matrix))
    torch.testing.assert_close(again, matrix, atol=1e-9, rtol=0)


def test_quaternion_round_trip_covers_all_four_branches():
    vectors = torch.randn(500, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    vectors = torch.nn.functional.normalize(vectors, dim=1) * torch.linspace(0, 3.14, 500)[:, None]
    matrices = rotations.axis_angle_to_matrix(vectors)
    again = rotations.quaternion_to_matrix(rotations.matrix_to_quaternion(matrices))
    torch.testing.assert_close(again, matrices, atol=1e-9, rtol=0)


def test_6d_is_interleaved_columns_and_round_trips():
    flip = torch.tensor([1.0, 0, 0, -1, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(
        rotations.rotation_6d_to_matrix(flip), torch.diag(torch.tensor([1.0, -1, -1], dtype=torch.float64))
    )
    matrix = rotations.axis_angle_to_matrix(torch.randn(20, 3, dtype=torch.float64))
    torch.testing.assert_close(rotations.rotation_6d_to_matrix(rotations.matrix_to_rotation_6d(matrix)), matrix)


def test_rotation_gradients():
    vectors = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    zero = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    six = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(rotations.axis_angle_to_matrix, vectors)
    assert torch.autograd.gradcheck(rotations.axis_angle_to_matrix, zero, eps=1e-7, atol=1e-6)
    assert torch.autograd.gradcheck(rotations.rotation_6d_to_matrix, six)


def test_weak_perspective_is_scale_times_shifted_point():
    camera = WeakPerspective(torch.tensor([0.9]), torch.tensor([[0.1, -0.2]]))
    points = torch.tensor([[[0.3, 0.4, 0.0], [0.0, 0.0, 0.5]]])
    seen = weak_perspective_project(points, camera)
    torch.testing.assert_close(seen[0, 0], torch.tensor([0.36, 0.18]), atol=1e-5, rtol=0)
    assert crop_translation(camera)[0, 2].item() == pytest.approx(2 * 5000 / (224 * 0.9), rel=1e-6)


@pytest.mark.parametrize('camera', [CAMERA, PLUMB_BOB, FISHEYE], ids=lambda camera: camera.distortion_model)
def test_rays_undo_projection(camera):
    points = np.random.default_rng(0).uniform([-0.6, -0.4, 1.2], [0.6, 0.4, 2.0], (50, 3))
    directions = rays(camera, project(points, camera))
    np.testing.assert_allclose(directions, points / points[:, 2:], atol=1e-6)


def test_points_behind_the_camera_have_no_pixel():
    assert np.isnan(project(np.array([[0.0, 0.0, -1.0]]), CAMERA)).all()


def test_unknown_distortion_is_refused_by_name():
    with pytest.raises(ConfigError, match='fancy'):
        project(np.array([[0.0, 0.0, 1.0]]), Intrinsics(1.0, 1.0, 0.0, 0.0, 2, 2, 'fancy', (0.0,)))


def test_metric_translation_recovers_a_true_one():
    translation = np.array([0.2, -0.1, 1.5])
    box = PersonBox(400.0, 210.0, 300.0)
    scale = 600.0 / (translation[2] * 150.0)
    pixel = project(translation[None], Intrinsics(600.0, 600.0, 320.0, 240.0, 640, 480))[0]
    shift = (pixel - (400.0, 210.0)) / (150.0 * scale)
    found = metric_translation(scale, shift, box, Intrinsics(600.0, 600.0, 320.0, 240.0, 640, 480))
    np.testing.assert_allclose(found, translation, atol=1e-9)


def test_crop_affine_maps_edges_to_edges_and_back():
    affine = crops.crop_affine(PersonBox(100.0, 50.0, 40.0), 112)
    corners = np.array([[80.0, 30.0], [120.0, 70.0]])
    np.testing.assert_allclose(crops.apply_affine(affine, corners), [[0, 0], [112, 112]], atol=1e-9)
    back = crops.apply_affine(crops.invert_affine(affine), crops.apply_affine(affine, corners))
    np.testing.assert_allclose(back, corners, atol=1e-9)


def test_a_turned_crop_turns_about_its_centre_from_x_to_y():
    affine = crops.crop_affine(PersonBox(100.0, 50.0, 40.0, np.pi / 2), 80)
    np.testing.assert_allclose(
        crops.apply_affine(affine, np.array([[100.0, 50.0], [110.0, 50.0]])), [[40, 40], [40, 60]]
    )
    image = np.zeros((100, 200), np.float32)
    image[49:52, 114:117] = 1  # Right of the centre, so below it in the turned crop.
    crop = crops.crop_image(image, PersonBox(100.0, 50.5, 40.0, np.pi / 2), 80)
    rows, columns = np.nonzero(crop > 0.5)
    assert (rows.mean() + 0.5, columns.mean() + 0.5) == pytest.approx((71, 40), abs=0.6)


def test_upright_angle_brings_the_neck_above_the_pelvis():
    joints = np.random.default_rng(0).uniform(0, 100, (24, 2))
    x, y = crops.turn_matrix(crops.upright_angle(joints)) @ (joints[12] - joints[0])
    assert abs(x) < 1e-9
    assert y < 0


@pytest.mark.parametrize('side', [40.0, 112.0, 300.0])
def test_crop_of_a_ramp_is_a_ramp(side):
    ramp = np.tile(np.arange(640, dtype=np.float32) + 0.5, (480, 1))
    box = PersonBox(320.0, 240.0, side)
    crop = crops.crop_image(ramp, box, 112)
    expected = 320 - side / 2 + (np.arange(112) + 0.5) * side / 112
    np.testing.assert_allclose(crop[56, 4:-4], expected[4:-4], atol=0.06 * max(1, side / 112))


def test_holes_never_mix_into_a_depth_crop():
    image = np.full((480, 640), 1.5, np.float32)
    image[::3] = 0
    crop = crops.crop_depth(image, PersonBox(320.0, 240.0, 400.0), 112)
    assert set(np.unique(np.round(crop, 4))) <= {0.0, 1.5}
    assert (crop > 0).mean() > 0.5
    assert (crops.crop_depth(image, PersonBox(-500.0, 0.0, 100.0), 112) == 0).all()


def test_crop_intrinsics_see_what_the_crop_shows():
    box = PersonBox(400.0, 200.0, 250.0)
    point = np.array([[0.2, -0.1, 1.4]])
    direct = project(point, crops.crop_intrinsics(box, 112, CAMERA))
    np.testing.assert_allclose(
        direct, crops.apply_affine(crops.crop_affine(box, 112), project(point, CAMERA)), atol=1e-9
    )


def test_box_around_ignores_nan():
    box = crops.box_around(np.array([[10.0, 20.0], [30.0, 80.0], [np.nan, 5.0]]), 1.5)
    assert box == PersonBox(20.0, 50.0, 90.0)


def test_offsets_and_aligned_error_by_hand():
    observed = torch.tensor([[[1.0, 1.1, 1.9, 7.0]]])
    rendered = torch.tensor([[[0.9, 1.0, 1.0, 9.0]]])
    valid = torch.tensor([[[True, True, True, False]]])
    torch.testing.assert_close(depth.depth_offset_median(observed, rendered, valid), torch.tensor([0.1]))
    torch.testing.assert_close(depth.depth_offset_mean(observed, rendered, valid), torch.tensor([1.1 / 3]))
    torch.testing.assert_close(depth.aligned_depth_error(observed, rendered, valid), torch.tensor([0.8 / 3]))


def test_aligned_error_ignores_a_constant_and_is_nan_without_pixels():
    observed, rendered = torch.rand(2, 8, 8, dtype=torch.float64), torch.rand(2, 8, 8, dtype=torch.float64)
    valid = torch.rand(2, 8, 8) > 0.3
    error = depth.aligned_depth_error(observed, rendered, valid)
    torch.testing.assert_close(depth.aligned_depth_error(observed + 3.0, rendered, valid), error)
    assert depth.aligned_depth_error(observed, rendered, torch.zeros_like(valid)).isnan().all()
    assert (depth.depth_offset_median(observed, rendered, torch.zeros_like(valid)) == 0).all()


def test_unproject_inverts_projection():
    image = np.full((480, 640), 2.0, np.float32)
    points = depth.unproject(image, CAMERA)
    assert project(points[100, 200][None], CAMERA)[0] == pytest.approx([200.5, 100.5])
