"""Posture, uncertainty, flip averaging, placement and visibility, each by hand."""

import math

import numpy as np
import pytest
import torch

from hwhup_core.body.joints import SMPL_24
from hwhup_core.body.model import load_body
from hwhup_core.errors import AssetError
from hwhup_core.geometry.cameras import weak_perspective_project
from hwhup_core.geometry.crops import turn_matrix
from hwhup_core.geometry.rotations import axis_angle_to_matrix
from hwhup_core.inference.flip import mean_prediction, mirror_prediction, turn_prediction
from hwhup_core.inference.placement import (
    Comparison,
    Window,
    compare_depth,
    is_flat,
    is_flat_box,
    place_by_depth,
    plane_relief,
)
from hwhup_core.inference.posture import classify_posture, torso_axes
from hwhup_core.inference.uncertainty import joint_sigma, probability_within, read_calibration
from hwhup_core.inference.visibility import flesh_radii, joint_visibility
from hwhup_core.types import BodyParams, Intrinsics, PersonBox, Posture, Prediction, WeakPerspective

CAMERA = Intrinsics(100.0, 100.0, 50.0, 40.0, 100, 80)
UP = (0.0, 0.0, -1.0)
"""Of a camera that looks straight down."""
SQUARE_FACES = np.array([[0, 1, 2], [0, 2, 3]])


def t_pose() -> np.ndarray:
    """Joints of the infant at rest: y up, facing +z, its left towards +x."""
    return load_body('infant').rest_joints.numpy().astype(np.float64)


def turned(axis_angle, joints=None) -> np.ndarray:
    rotation = axis_angle_to_matrix(torch.tensor(axis_angle, dtype=torch.float64)).numpy()
    return (t_pose() if joints is None else joints) @ rotation.T


def bent_hips(joints: np.ndarray) -> np.ndarray:
    """Knees moved straight ahead of the hips, as on a chair."""
    sat = joints.copy()
    for side in ('left', 'right'):
        hip, knee = SMPL_24.index(f'{side}_hip'), SMPL_24.index(f'{side}_knee')
        sat[knee] = sat[hip] + np.array([0.0, 0.0, 0.2])
    return sat


@pytest.mark.parametrize(
    ('joints', 'up', 'posture'),
    [
        # Under a camera that looks down (up = -z): rest body turned by pi about x has its face (+z) towards -z, up.
        (turned([math.pi, 0.0, 0.0]), UP, Posture.SUPINE),
        (t_pose(), UP, Posture.PRONE),
        # A quarter turn about y takes the left side (+x) to -z, up: it lies on the right one.
        (turned([0.0, math.pi / 2, 0.0]), UP, Posture.RIGHT_SIDE),
        (turned([0.0, -math.pi / 2, 0.0]), UP, Posture.LEFT_SIDE),
        (t_pose(), (0.0, 2.0, 0.0), Posture.STANDING),
        (bent_hips(t_pose()), (0.0, 1.0, 0.0), Posture.SITTING),
        (turned([math.pi, 0.0, 0.0]), (0.0, 1.0, 0.0), Posture.UNKNOWN),  # Head down.
        (t_pose(), None, Posture.UNKNOWN),
        (np.full((24, 3), np.nan), UP, Posture.UNKNOWN),
        (np.zeros((24, 3)), UP, Posture.UNKNOWN),
    ],
)
def test_posture(joints, up, posture):
    assert classify_posture(joints, up) == posture


def test_a_turn_about_gravity_changes_no_posture():
    for angle in np.linspace(0, 6, 7):
        joints = turned([0.0, 0.0, angle], turned([math.pi, 0.0, 0.0]))
        assert classify_posture(joints, UP) == Posture.SUPINE


def test_torso_axes_of_the_rest_body():
    headward, leftward, frontward = torso_axes(t_pose())
    assert np.allclose(headward @ [0, 1, 0], 1, atol=0.05)
    assert np.allclose(leftward @ [1, 0, 0], 1, atol=0.05)
    assert np.allclose(frontward, np.cross(leftward, headward))
    assert frontward[2] > 0.95


def test_probability_within_by_hand():
    # sigma = d: P = erf(1/sqrt 2) - sqrt(2/pi) e^-0.5 = 0.682689 - 0.483941.
    probabilities = probability_within(0.1, np.array([0.1, 0.0, 1e3, np.nan]))
    assert probabilities[0] == pytest.approx(0.198748, abs=1e-6)
    assert probabilities[1] == 1
    assert probabilities[2] < 1e-6
    assert np.isnan(probabilities[3])


def test_probability_within_matches_samples():
    errors = np.linalg.norm(np.random.default_rng(0).normal(0, 0.05, (100_000, 3)), axis=1)
    assert probability_within(0.1, np.array([0.05]))[0] == pytest.approx((errors < 0.1).mean(), abs=0.01)


def test_sigma_is_floor_plus_gain_times_disagreement():
    calibration = read_calibration({'sigma_floor_m': 0.01, 'sigma_gain': [2.0] * 24})
    assert np.allclose(joint_sigma(np.full(24, 0.03), calibration), 0.07)
    assert np.isnan(joint_sigma(None, calibration)).all()
    assert read_calibration({}) is None
    with pytest.raises(AssetError, match='sigma_floor_m'):
        read_calibration({'sigma_gain': 1.0})
    with pytest.raises(AssetError, match='24'):
        read_calibration({'sigma_floor_m': [1.0, 2.0], 'sigma_gain': 1.0})


def random_prediction(seed: int) -> Prediction:
    generator = torch.Generator().manual_seed(seed)
    params = BodyParams(
        axis_angle_to_matrix(torch.randn(1, 3, generator=generator)),
        axis_angle_to_matrix(torch.randn(1, 23, 3, generator=generator)),
        torch.randn(1, 10, generator=generator),
    )
    return Prediction(params, WeakPerspective(torch.tensor([2.0]), torch.randn(1, 2, generator=generator)))


def test_a_mirrored_body_has_mirrored_joints():
    body, prediction = load_body('infant'), random_prediction(0)
    mirrored = mirror_prediction(prediction)
    swap = [
        SMPL_24.index('_'.join({'left': 'right', 'right': 'left'}.get(p, p) for p in n.split('_'))) for n in SMPL_24
    ]
    expected = body.skeleton(prediction.params).joints[:, swap] * torch.tensor([-1.0, 1.0, 1.0])
    # The bundled bodies are symmetric to 0.1 mm only.
    assert (body.skeleton(mirrored.params).joints - expected).abs().max() < 1e-3
    assert torch.allclose(mirrored.camera.shift, prediction.camera.shift * torch.tensor([-1.0, 1.0]))
    twice = mirror_prediction(mirrored)
    assert torch.allclose(twice.params.joint_rotations, prediction.params.joint_rotations)


def test_the_mean_of_two_rotations_is_halfway():
    first = random_prediction(1)
    turn = axis_angle_to_matrix(torch.tensor([[0.0, 0.6, 0.0]]))
    half = axis_angle_to_matrix(torch.tensor([[0.0, 0.3, 0.0]]))
    params = BodyParams(first.params.global_rotation @ turn, first.params.joint_rotations, first.params.betas + 2)
    second = Prediction(params, WeakPerspective(torch.tensor([8.0]), first.camera.shift + 1))
    mean = mean_prediction(first, second)
    assert torch.allclose(mean.params.global_rotation, first.params.global_rotation @ half, atol=1e-6)
    assert torch.allclose(mean.params.joint_rotations, first.params.joint_rotations, atol=1e-6)
    assert torch.allclose(mean.params.betas, first.params.betas + 1)
    assert mean.camera.scale.item() == pytest.approx(4.0)
    assert torch.allclose(mean.camera.shift, first.camera.shift + 0.5)


def square_at(z: float) -> np.ndarray:
    return np.array([[-0.2, -0.2, z], [0.2, -0.2, z], [0.2, 0.2, z], [-0.2, 0.2, z]])


def test_aligned_depth_error_by_hand():
    depth = np.full((80, 100), 1.5, np.float32)
    depth[:, 50:] += 0.2  # Half of the square 0.2 m further: the median splits, the mean absolute error is 0.1 m.
    square = square_at(0.0)
    placement = place_by_depth(square, SQUARE_FACES, np.array([0.0, 0.0, 1.6]), depth, CAMERA)
    assert placement.aligned_depth_error == pytest.approx(0.1, abs=0.005)
    assert not placement.flat


def test_what_hides_the_body_is_no_error_of_the_pose():
    depth = np.full((80, 100), 1.5, np.float32)
    depth[:, 45:50] = 0.8  # A bar in front.
    start = np.array([0.0, 0.0, 1.6])
    assert place_by_depth(square_at(0.0), SQUARE_FACES, start, depth, CAMERA).aligned_depth_error < 1e-5
    depth[:, 45:50] = 2.2  # A gap: the body is not where it should be.
    assert place_by_depth(square_at(0.0), SQUARE_FACES, start, depth, CAMERA).aligned_depth_error > 0.1


def test_a_square_is_pulled_to_the_measured_depth_along_the_ray():
    depth = np.full((80, 100), 2.0, np.float32)
    start = np.array([0.1, 0.05, 1.0])
    placement = place_by_depth(square_at(0.0), SQUARE_FACES, start, depth, CAMERA)
    assert np.allclose(placement.translation, start * 2, atol=1e-5)
    assert placement.aligned_depth_error < 1e-5
    assert np.allclose(start, [0.1, 0.05, 1.0]), 'The start must not be changed.'


def test_too_few_shared_pixels_keep_the_start():
    depth = np.zeros((80, 100), np.float32)
    depth[40, 50] = 3.0
    placement = place_by_depth(square_at(0.0), SQUARE_FACES, np.array([0.0, 0.0, 1.0]), depth, CAMERA)
    assert np.allclose(placement.translation, [0, 0, 1])
    assert np.isnan(placement.aligned_depth_error)
    assert not placement.flat


@pytest.mark.parametrize('translation', [(5.0, 0.0, 1.0), (0.0, 0.0, -1.0)])
def test_a_body_outside_the_image_has_no_comparison(translation):
    depth = np.ones((80, 100), np.float32)
    assert compare_depth(square_at(0.0) + translation, SQUARE_FACES, depth, CAMERA) is None


def test_not_finite_depth_is_not_shared():
    depth = np.full((80, 100), np.inf, np.float32)
    depth[:40] = np.nan
    comparison = compare_depth(square_at(1.0), SQUARE_FACES, depth, CAMERA)
    assert not comparison.shared.any()


def comparison_of(depth: np.ndarray) -> Comparison:
    return Comparison(Window(0, 0, 100, 80), depth, depth, depth > 0)


def test_relief_of_planes_and_steps():
    rows, columns = np.mgrid[:80, :100] + 0.5
    slanted = (1 / (0.5 + 0.001 * columns - 0.002 * rows)).astype(np.float32)
    assert plane_relief(comparison_of(slanted), CAMERA) < 1e-5
    checkered = np.where((rows // 4 + columns // 4).astype(int) % 2 == 0, 2.0, 2.06).astype(np.float32)
    assert plane_relief(comparison_of(checkered), CAMERA) == pytest.approx(0.03, abs=0.002)
    assert not is_flat(comparison_of(checkered), CAMERA, body_error=0.1)
    assert is_flat(comparison_of(slanted), CAMERA, body_error=0.02)
    assert not is_flat(comparison_of(slanted), CAMERA, body_error=-1.0), 'A body that fits better is a body.'


def test_visibility_by_hand():
    joints = np.tile([0.0, 0.0, 1.0], (24, 1))
    pixels = np.tile([10.5, 10.5], (24, 1))
    pixels[1], pixels[2], pixels[3], pixels[4] = (20.5, 10.5), (30.5, 10.5), (-3.0, 5.0), (np.nan, 5.0)
    depth = np.full((80, 100), 0.95, np.float32)
    depth[10, 20], depth[10, 30] = 0.85, 0.0  # In front of flesh and margin; a hole.
    seen = joint_visibility(joints, pixels, np.full(24, 0.05), depth, None)
    assert seen[0] == 1
    assert seen[1] == 0
    assert np.isnan(seen[2:5]).all()


def test_the_own_body_hides_too():
    joints = np.tile([0.0, 0.0, 1.0], (24, 1))
    pixels = np.tile([10.5, 10.5], (24, 1))
    depth = np.full((80, 100), 0.95, np.float32)
    rendered = np.full((20, 20), 0.5, np.float32)
    comparison = Comparison(Window(5, 5, 25, 25), rendered, rendered, rendered > 0)
    assert (joint_visibility(joints, pixels, np.full(24, 0.05), depth, comparison) == 0).all()


def test_flesh_is_thicker_at_the_trunk_than_at_the_wrist():
    body = load_body('infant')
    params = BodyParams(torch.eye(3)[None], torch.eye(3).expand(1, 23, 3, 3), torch.zeros(1, 10))
    rest = body(params)
    radii = flesh_radii(rest.vertices[0].numpy(), rest.joints[0].numpy())
    assert radii[SMPL_24.index('spine2')] > 2 * radii[SMPL_24.index('left_wrist')]
    assert 0.005 < radii.min() < radii.max() < 0.15


def test_a_turned_prediction_turns_every_joint_about_the_crop_centre():
    body, angle = load_body('infant'), 0.9
    prediction = random_prediction(2)
    joints = body.skeleton(prediction.params).joints
    turned = turn_prediction(prediction, joints[:, 0], angle)
    seen = weak_perspective_project(joints, prediction.camera)[0].numpy()
    found = weak_perspective_project(body.skeleton(turned.params).joints, turned.camera)[0].numpy()
    np.testing.assert_allclose(found, seen @ turn_matrix(angle).T, atol=1e-5)
    back = turn_prediction(turned, joints[:, 0], -angle)
    torch.testing.assert_close(back.camera.shift, prediction.camera.shift)
    torch.testing.assert_close(back.params.global_rotation, prediction.params.global_rotation)


def test_a_box_is_flat_where_all_of_it_is_one_plane():
    rows, columns = np.mgrid[:80, :100]
    bed = (1 / (0.7 + 0.001 * rows - 0.0005 * columns)).astype(np.float32)
    box = PersonBox(50.0, 40.0, 40.0)
    assert is_flat_box(bed, box, CAMERA)
    body = bed.copy()
    body[25:55, 40:60] -= 0.1
    assert not is_flat_box(body, box, CAMERA)
    assert not is_flat_box(np.zeros_like(bed), box, CAMERA)
    assert not is_flat_box(bed, PersonBox(-500.0, 40.0, 40.0), CAMERA)
