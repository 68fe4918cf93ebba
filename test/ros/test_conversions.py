import dataclasses
import math

import numpy as np
import pytest
from hwhup_ros.msg import SmplPose
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from hwhup_core.body.model import load_body
from hwhup_core.errors import FrameError
from hwhup_core.types import BodyEstimate, Intrinsics, PersonBox, Posture, State
from hwhup_ros.conversions import (
    clip_box,
    fixed,
    from_intrinsics,
    from_ns,
    from_pose_message,
    make_header,
    to_body_model_info,
    to_intrinsics,
    to_ns,
    to_pose_array,
    to_pose_message,
)


def estimate(**changes):
    rng = np.random.default_rng(1)
    base = BodyEstimate(
        stamp_ns=1_700_000_000_123_456_789,
        frame_id='camera_optical',
        subject_id='subject',
        state=State.LOW_CONFIDENCE,
        confidence=np.float64(0.75),
        body_id='hwhup_infant_v1',
        body_hash='ab' * 32,
        weights_hash='cd' * 32,
        betas=rng.normal(size=10).astype(np.float32),
        pose=rng.normal(size=72).astype(np.float32),
        root_position=rng.normal(size=3),
        root_orientation=np.array([0.0, 0.6, 0.0, 0.8]),
        joint_positions=rng.normal(size=(24, 3)),
        joint_orientations=np.tile([0.0, 0.0, 0.6, 0.8], (24, 1)),
        joint_pixels=rng.uniform(0, 400, (24, 2)).astype(np.float32).astype(np.float64),
        joint_visibility=np.where(np.arange(24) % 2, 1.0, np.nan),
        joint_confidence=np.full(24, np.nan),
        joint_sigma=np.full(24, 0.25),
        box=PersonBox(320.5, 240.0, 300.0, -1.25),
        camera=np.float32([0.75, 0.5, -0.25]),
        posture=Posture.PRONE,
        aligned_depth_error=np.float64(0.125),
    )
    return dataclasses.replace(base, **changes)


def test_every_field_of_an_estimate_survives_the_wire():
    sent = estimate()
    message = to_pose_message(sent, make_header(sent.stamp_ns, sent.frame_id), (640, 480), 0.5)
    arrived = from_pose_message(deserialize_message(serialize_message(message), SmplPose))
    for field in dataclasses.fields(BodyEstimate):
        a, b = getattr(sent, field.name), getattr(arrived, field.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_allclose(a, b, atol=2e-5, err_msg=field.name)
        else:
            assert a == b, field.name
    assert message.latency == 0.5


def test_the_message_has_every_field_of_an_estimate_filled():
    message = to_pose_message(estimate(), make_header(1, 'cam'), (640, 480), 0.5)
    untouched = SmplPose()
    for name in message.get_fields_and_field_types():
        assert str(getattr(message, name)) != str(getattr(untouched, name)), name


def test_pixels_move_by_half_a_pixel_and_the_box_is_clipped():
    pixels = np.full((24, 2), np.nan)
    pixels[0] = (0.5, 10.5)
    sent = estimate(joint_pixels=pixels, box=PersonBox(10.5, 20.5, 41.0))
    message = to_pose_message(sent, Header(), (640, 25))
    assert (message.joints[0].u, message.joints[0].v) == (0.0, 10.0)
    assert math.isnan(message.joints[1].u)
    assert (message.crop_center_x, message.crop_center_y, message.crop_side) == (10.0, 20.0, 41.0)
    box = message.box
    assert (box.x_offset, box.y_offset, box.width, box.height) == (0, 0, 31, 25)


@pytest.mark.parametrize('box', [PersonBox(-100, -100, 20), PersonBox(9000, 9000, 20), PersonBox(math.nan, 1, 1)])
def test_box_outside_the_image_is_empty(box):
    assert clip_box(box, (640, 480)).width == 0


def test_nobody_is_an_empty_array_with_the_header_of_the_image():
    message = to_pose_array([], make_header(5, 'cam'), (640, 480))
    assert message.poses == []
    assert message.header.frame_id == 'cam'
    assert to_ns(message.header.stamp) == 5


def test_wrong_lengths_are_refused_before_they_are_read_out_of_bounds():
    with pytest.raises(FrameError, match='pose has 71 numbers, the message holds 72'):
        fixed(np.zeros(71), 72, 'pose')
    assert fixed(np.zeros((24, 3)), 72, 'pose').dtype == np.float32


@pytest.mark.parametrize('stamp_ns', [0, 1, 999_999_999, 1_000_000_000, 1_700_000_000_123_456_789])
def test_stamps_round_trip(stamp_ns):
    assert to_ns(from_ns(stamp_ns)) == stamp_ns


@pytest.mark.parametrize(
    'camera',
    [
        Intrinsics(600.0, 610.0, 320.5, 240.25, 640, 480),
        Intrinsics(600.0, 610.0, 320.5, 240.25, 640, 480, 'plumb_bob', (0.1, -0.2, 0.01, 0.02, 0.3)),
        Intrinsics(600.0, 610.0, 320.5, 240.25, 640, 480, 'rational_polynomial', tuple(0.1 * i for i in range(1, 9))),
        Intrinsics(600.0, 610.0, 320.5, 240.25, 640, 480, 'equidistant', (0.1, 0.2, 0.3, 0.4)),
    ],
)
def test_intrinsics_round_trip(camera):
    info = from_intrinsics(camera, make_header(3, 'cam'))
    assert info.k[2] == camera.cx - 0.5
    assert info.p[5] == camera.fy
    assert to_intrinsics(info) == camera


def test_binning_and_region_of_interest_are_applied():
    info = from_intrinsics(Intrinsics(600.0, 600.0, 320.0, 240.0, 640, 480), Header())
    info.binning_x = info.binning_y = 2
    half = to_intrinsics(info)
    assert (half.fx, half.cx, half.cy, half.width, half.height) == (300.0, 160.0, 120.0, 320, 240)
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 100, 40, 200, 100
    part = to_intrinsics(info)
    assert (part.cx, part.cy, part.width, part.height) == (110.0, 100.0, 100, 50)


def test_unusable_camera_info_is_refused_by_name():
    with pytest.raises(FrameError, match='fx 0') as caught:
        to_intrinsics(CameraInfo(width=640, height=480))
    assert caught.value.reason == 'zero_camera_info'
    info = from_intrinsics(Intrinsics(600.0, 600.0, 320.0, 240.0, 640, 480, 'plumb_bob', (0.1, 0, 0, 0, 0)), Header())
    info.distortion_model = 'thin_prism'
    with pytest.raises(FrameError, match='thin_prism') as caught:
        to_intrinsics(info)
    assert caught.value.reason == 'distortion_model'
    info.distortion_model, info.d = 'equidistant', [0.1] * 5
    with pytest.raises(FrameError, match='expected 4'):
        to_intrinsics(info)
    info.distortion_model, info.d = '', []
    assert to_intrinsics(info).distortion_model == 'none'


def test_body_model_tells_how_to_draw_the_body():
    body = load_body('infant')
    info = to_body_model_info(body, body.rest_joints.numpy(), Header())
    assert (info.id, info.hash, info.licence) == (body.body_id, body.hash, body.licence)
    assert len(info.faces) == 3 * 13_776
    assert info.vertex_count == 6890
    np.testing.assert_array_equal(np.reshape(info.faces, (-1, 3)), body.faces.numpy())
    assert list(info.parents) == list(body.parents)
    assert info.joint_names == list(body.joint_names)
    np.testing.assert_allclose([(p.x, p.y, p.z) for p in info.rest_joints], body.rest_joints.numpy(), atol=1e-6)
    serialize_message(info)
