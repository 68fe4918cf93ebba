"""The live synthetic crib as a camera."""

import time

import numpy as np
import pytest
import rclpy
from hwhup_ros.msg import SmplPoseArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image

from hwhup_core.body.posing import posed_vertices
from hwhup_core.errors import ConfigError
from hwhup_core.geometry.cameras import project
from hwhup_ros.conversions import from_pose_message, to_intrinsics, to_ns
from hwhup_ros.images import to_color, to_depth
from hwhup_ros.synthetic_camera_node import SyntheticCameraNode

SMALL = {'width': 160, 'height': 120, 'focal_px': 140.0, 'rate_hz': 30.0}


@pytest.fixture
def make():
    nodes = []
    rclpy.init()

    def camera(**parameters):
        given = [Parameter(name, value=value) for name, value in {**SMALL, **parameters}.items()]
        nodes.append(SyntheticCameraNode(parameter_overrides=given))
        return nodes[-1]

    yield camera
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()


def listen(camera, wanted):
    """Return the messages of the first `wanted` frames of which all four topics arrived, by stamp."""
    listener = Node('listener')
    frames = {}
    for topic, kind in (('image', Image), ('depth', Image), ('camera_info', CameraInfo), ('truth', SmplPoseArray)):

        def keep(message, topic=topic):
            frames.setdefault(to_ns(message.header.stamp), {})[topic] = message

        listener.create_subscription(kind, topic, keep, QoSProfile(depth=10))
    executor = SingleThreadedExecutor()
    executor.add_node(listener)
    executor.add_node(camera)
    deadline = time.monotonic() + 20.0
    complete = {}
    while len(complete) < wanted and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)
        complete = {stamp: parts for stamp, parts in frames.items() if len(parts) == 4}
    executor.shutdown()
    listener.destroy_node()
    return complete


def test_truth_fits_the_images(make):
    camera = make()
    frames = listen(camera, 3)
    assert len(frames) >= 3
    stamps = sorted(frames)
    assert np.all(np.diff(stamps) > 0)
    parts = frames[stamps[0]]
    color, depth = to_color(parts['image']), to_depth(parts['depth'])
    assert color.shape == (120, 160, 3)
    estimate, intrinsics = from_pose_message(parts['truth'].poses[0]), to_intrinsics(parts['camera_info'])
    np.testing.assert_allclose(project(estimate.joint_positions, intrinsics), estimate.joint_pixels, atol=0.01)
    vertices = posed_vertices(camera._body, estimate)
    columns, rows = np.floor(project(vertices, intrinsics)).astype(int).T
    inside = (columns >= 0) & (rows >= 0) & (columns < 160) & (rows < 120)
    measured = depth[rows[inside], columns[inside]]
    # The camera sees the front of the body: nothing that was measured there lies in front of the mesh by much.
    front = vertices[inside, 2] - measured
    assert np.quantile(np.abs(front[measured > 0]), 0.2) < 0.03, 'pose, shape and place of the truth give another mesh'


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [({'posture': 'upside_down'}, 'posture is'), ({'tilt_degrees': 80.0}, 'tilt_degrees'), ({'sead': 1}, "'seed'")],
)
def test_bad_parameters_are_refused(make, parameters, message):
    with pytest.raises(ConfigError, match=message):
        make(**parameters)
