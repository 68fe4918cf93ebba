"""Scene, crops and stream: bodies rest on the mattress, truth fits the picture, the seed decides everything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwhup_core.body.model import BodyModel, load_body
from hwhup_core.errors import ConfigError
from hwhup_core.geometry.cameras import project
from hwhup_core.synthetic.crib import CribConfig, Material, build_crib
from hwhup_core.synthetic.crops import CropSampling, full_camera, render_crop, sample_crops
from hwhup_core.synthetic.motion import MotionConfig
from hwhup_core.synthetic.placement import Placement, pose_bodies, resting_translation
from hwhup_core.synthetic.poses import LYING, sample_lying_pose
from hwhup_core.synthetic.sensors import DepthNoise
from hwhup_core.synthetic.shading import vertex_normals
from hwhup_core.synthetic.stream import CribStream, StreamConfig
from hwhup_core.synthetic.views import overhead_view
from hwhup_core.types import BodyParams, PersonBox, Posture

FLAT = CribConfig(waviness=0.0, bump=0.0, object_probability=0.0)
SHORT = StreamConfig(motion=MotionConfig(steps=3))
SMALL = CropSampling(size=32)
CAMERA = np.array([500.0, 500.0, 320.0, 240.0])


@pytest.fixture(scope='module')
def body() -> BodyModel:
    return load_body('infant')


@pytest.fixture(scope='module')
def stream() -> CribStream:
    return CribStream(SHORT, seed=4)


def lying(body, posture, view, scene, seed=0):
    """Return vertices and joints of a resting body in the camera frame."""
    pose = sample_lying_pose(np.random.default_rng(seed), posture)
    posed = pose_bodies(
        body, (view.rotation @ pose.world_from_pelvis)[None], pose.joint_rotations[None], np.zeros((1, 10))
    )
    vertices, joints = posed.vertices[0].numpy(), posed.joints[0].numpy()
    shift = resting_translation(vertices, joints[0], view, scene, Placement(np.array([0.05, -0.02]), 0.012))
    return vertices + shift.astype(np.float32), joints + shift


def test_the_overhead_view_looks_at_its_target():
    view = overhead_view(np.array([0.1, 0.2, 0.0]), 1.5, 0.4, 1.0, 2.0)
    np.testing.assert_allclose(view.to_camera(np.array([[0.1, 0.2, 0.0]]))[0], (0, 0, 1.5 / np.cos(0.4)), atol=1e-12)
    np.testing.assert_allclose(view.rotation @ view.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(view.rotation) == pytest.approx(1)
    assert view.position[2] == pytest.approx(1.5)


def test_straight_down_world_x_is_up_in_the_image():
    view = overhead_view(np.zeros(3), 1.5, 0.0, 0.0, 0.0)
    np.testing.assert_allclose(
        view.to_camera(np.array([[0.3, 0, 0], [0, 0.3, 0]])), [[0, -0.3, 1.5], [-0.3, 0, 1.5]], atol=1e-12
    )


def test_a_flat_mattress_is_seen_at_the_camera_height_and_the_floor_below():
    scene = build_crib(FLAT, np.random.default_rng(0))
    static = scene.render_static(CAMERA, (480, 640), overhead_view(np.zeros(3), 1.5, 0.0, 0.0, 0.0))
    np.testing.assert_allclose(static.depth[static.material == Material.MATTRESS].min(), 1.5, atol=1e-5)
    np.testing.assert_allclose(static.depth[static.material == Material.FLOOR], 1.5 - scene.floor, atol=1e-4)
    assert (static.material == Material.WOOD).mean() > 0.05
    assert static.depth[240, 320] == pytest.approx(1.5)


@pytest.mark.parametrize('posture', LYING)
def test_the_body_lies_on_the_plane(body, posture):
    scene, view = build_crib(FLAT, np.random.default_rng(1)), overhead_view(np.zeros(3), 1.4, 0.3, 0.5, 1.0)
    vertices, joints = lying(body, posture, view, scene)
    heights = ((vertices - view.translation) @ view.rotation)[:, 2]
    assert -0.06 < heights.min() < -0.01
    assert 0.01 < (heights < 0).mean() < 0.15
    np.testing.assert_allclose(((joints[:1] - view.translation) @ view.rotation)[0, :2], (0.05, -0.02), atol=1e-5)


def test_a_body_hides_the_mattress_and_bars_hide_the_body(body):
    scene, view = build_crib(FLAT, np.random.default_rng(1)), overhead_view(np.zeros(3), 1.4, 0.0, 0.0, 0.0)
    vertices, _ = lying(body, Posture.SUPINE, view, scene)
    faces = body.faces.numpy().astype(np.int32)
    static = scene.render_static(CAMERA, (480, 640), view)
    render = scene.render(vertices, faces, CAMERA, (480, 640), view)
    seen = render.material == Material.BODY
    assert (render.body_face >= 0).sum() == seen.sum() > 2000
    assert (render.depth[seen] < static.depth[seen]).all()
    np.testing.assert_array_equal(render.depth[~seen], static.depth[~seen])
    under = scene.render(vertices + np.array([0, 0, 0.5], np.float32), faces, CAMERA, (480, 640), view)
    assert (under.material == Material.BODY).sum() < 100


def test_a_crop_render_equals_the_crop_of_the_full_render(body):
    scene, view = build_crib(FLAT, np.random.default_rng(2)), overhead_view(np.zeros(3), 1.3, 0.2, 0.0, 0.7)
    vertices, _ = lying(body, Posture.PRONE, view, scene)
    faces, box = body.faces.numpy().astype(np.int32), PersonBox(300.0, 220.0, 200.0)
    full = scene.render(vertices, faces, CAMERA, (480, 640), view).depth
    np.testing.assert_allclose(
        render_crop(scene, view, vertices, faces, box, full_camera(CAMERA), 200), full[120:320, 200:400], atol=2e-5
    )


def test_beyond_the_image_a_crop_is_empty(body):
    scene, view = build_crib(FLAT, np.random.default_rng(2)), overhead_view(np.zeros(3), 1.3, 0.2, 0.0, 0.7)
    vertices, _ = lying(body, Posture.PRONE, view, scene)
    faces, box = body.faces.numpy().astype(np.int32), PersonBox(0.0, 220.0, 200.0)
    crop = render_crop(scene, view, vertices, faces, box, full_camera(CAMERA), 100)
    assert (crop[:, :50] == 0).all()
    assert (crop[:, 50:] > 0).mean() > 0.5


def test_samples_carry_consistent_truth(body):
    samples = sample_crops(body, np.random.default_rng(0), SMALL, 6)
    params = BodyParams(
        *(torch.from_numpy(array) for array in (samples.global_rotation, samples.joint_rotations, samples.betas))
    )
    joints = body.skeleton(params).joints.numpy() + samples.translation[:, None]
    np.testing.assert_allclose(joints, samples.joints, atol=1e-5)
    for k in range(len(samples)):
        np.testing.assert_allclose(project(samples.joints[k], samples.intrinsics(k)), samples.pixels[k], atol=0.01)
    inside = np.abs(samples.pixels - samples.box[:, None, :2]) < samples.box[:, None, 2:] * 0.6
    assert inside.all()
    assert samples.depth.shape == (6, 32, 32)
    assert samples.depth.dtype == np.float32
    assert np.abs(samples.betas).max() <= 2


def test_exact_crops_show_the_body_at_its_joints(body):
    config = replace(SMALL, noise_level=(0.0, 0.0), tilt_degrees=(0.0, 5.0), box_shift=0.0, size=64)
    samples = sample_crops(body, np.random.default_rng(5), config, 6)
    pixels = (samples.pixels[:, 0] - samples.box[:, :2]) / samples.box[:, 2:] * 64 + 32
    surface = [depth[int(y), int(x)] for depth, (x, y) in zip(samples.depth, pixels, strict=True)]
    over = samples.joints[:, 0, 2] - surface
    assert ((over > 0.01) & (over < 0.25)).all()


def test_the_seed_decides_the_samples(body):
    first, second, other = (sample_crops(body, np.random.default_rng(seed), SMALL, 2) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.depth, second.depth)
    np.testing.assert_array_equal(first.joints, second.joints)
    assert (first.depth != other.depth).any()


def test_bad_ranges_are_refused():
    with pytest.raises(ConfigError, match='box_margin'):
        CropSampling(box_margin=(2.0, 1.0))
    with pytest.raises(ConfigError, match='bar_height'):
        CribConfig(bar_height=(0.6, 0.4))
    with pytest.raises(ConfigError, match='tilt_degrees'):
        StreamConfig(tilt_degrees=80.0)


def test_stream_frames_are_registered_and_true(stream):
    frame, truth = stream.frame(123, 2.0)
    assert frame.stamp_ns == truth.stamp_ns == 123
    assert frame.color.shape == (480, 640, 3)
    assert frame.depth.shape == (480, 640)
    assert 0.5 < (frame.depth > 0).mean() < 1
    assert truth.visibility.mean() > 0.5
    columns, rows = np.floor(truth.pixels[truth.visibility]).astype(int).T
    seen = frame.depth[rows, columns]
    over = (truth.joints[truth.visibility, 2] - seen)[seen > 0]
    assert (np.abs(over) < 0.15).all()
    np.testing.assert_allclose(project(truth.joints, frame.intrinsics), truth.pixels)


def test_stream_depends_on_seed_and_time_alone(stream):
    early, _ = stream.frame(0, 1.0)
    later, _ = stream.frame(1, 6.0)
    again, _ = CribStream(SHORT, seed=4).frame(0, 1.0)
    np.testing.assert_array_equal(early.depth, again.depth)
    np.testing.assert_array_equal(early.color, again.color)
    assert (early.depth != later.depth).any()


def test_the_infant_moves_slowly(stream):
    joints = np.stack([stream.frame(0, time)[1].joints for time in np.arange(0.0, 4.0, 1 / 15)])
    speed = np.linalg.norm(np.diff(joints, axis=0), axis=2) * 15
    assert 0.005 < speed.max() < 1.5


def test_normals_of_a_tetrahedron_point_outwards():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    normals = vertex_normals(vertices, faces)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    assert ((normals * (vertices - vertices.mean(axis=0))).sum(axis=1) > 0).all()


def test_defaults_are_those_of_one_noise():
    assert CropSampling().noise == StreamConfig().noise == DepthNoise()
