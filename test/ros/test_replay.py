"""Recordings: folders and bags of RGB-D frames, and the node that plays them."""

import json
import math
import threading
import time

import cv2
import numpy as np
import pytest
import rclpy
from hwhup_ros.msg import SmplPoseArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image

from hwhup_core.data.camera_file import read_camera_file
from hwhup_core.errors import AssetError, ConfigError, FrameError
from hwhup_core.types import Frame
from hwhup_ros.conversions import to_ns
from hwhup_ros.images import to_color, to_depth
from hwhup_ros.recordings import NO_STAMP, open_recording
from hwhup_ros.replay_node import ReplayNode

COUNT = 6


@pytest.fixture
def folder(tmp_path):
    """Write a recording whose frame number is in every pixel."""
    for kind in ('color', 'depth'):
        (tmp_path / kind).mkdir()
    for index in range(COUNT):
        color = np.full((24, 32, 3), (10 * index, 20, 30), np.uint8)  # RGB
        cv2.imwrite(str(tmp_path / f'color/{index:05}.png'), color[..., ::-1])
        cv2.imwrite(str(tmp_path / f'depth/{index:05}.png'), np.full((24, 32), 1000 + index, np.uint16))
    # Column by column: fx, 0, 0, 0, fy, 0, cx, cy, 1; with tabs, as the RealSense recorder writes it.
    (tmp_path / 'cam_params_x.json').write_text(
        '{\t"width": 32, "height": 24, "intrinsic_matrix": [40, 0, 0, 0, 41, 0, 15.5, 11.5, 1]}'
    )
    return tmp_path


def test_folder_gives_frames_in_our_conventions(folder):
    recording = open_recording(folder)
    frames = list(recording.frames())
    assert recording.frame_count == COUNT
    assert not recording.has_stamps
    third = frames[3]
    assert third.color[0, 0].tolist() == [30, 20, 30]
    np.testing.assert_allclose(third.depth, 1.003, atol=1e-6)
    assert (third.intrinsics.fx, third.intrinsics.fy, third.intrinsics.cx, third.intrinsics.cy) == (40, 41, 16, 12)
    assert third.stamp_ns == NO_STAMP


def test_saturated_depth_is_no_depth(folder):
    cv2.imwrite(str(folder / 'depth/00000.png'), np.full((24, 32), 65535, np.uint16))
    (folder / 'camera.json').write_text(
        '{"width": 32, "height": 24, "fx": 40, "fy": 40, "cx": 15, "cy": 11, "depth_unit": 0.00025}'
    )
    assert not next(open_recording(folder).frames()).depth.any()


@pytest.mark.parametrize('name', ['cut_off.mcap', 'cut_off.db3', 'cut_off.bag'])
def test_a_corrupt_bag_is_refused(tmp_path, name):
    pytest.importorskip('rosbags', reason='reading bags needs rosbags')
    (tmp_path / name).write_bytes(b'no bag')
    with pytest.raises(AssetError, match='not a bag that can be read'):
        open_recording(tmp_path / name)


def test_bad_frames_come_out_as_their_errors(folder):
    (folder / 'color/00001.png').write_text('no picture')
    (folder / 'depth/00002.png').unlink()
    cv2.imwrite(str(folder / 'depth/00003.png'), np.zeros((24, 32), np.uint8))
    cv2.imwrite(str(folder / 'color/00004.png'), np.zeros((12, 16, 3), np.uint8))
    frames = list(open_recording(folder).frames())
    reasons = {index: each.reason for index, each in enumerate(frames) if isinstance(each, FrameError)}
    assert reasons == {1: 'unreadable_file', 2: 'missing_depth', 3: 'wrong_depth_type', 4: 'size_mismatch'}
    assert '00001.png' in str(frames[1])


def test_folder_without_frames_or_camera_is_refused(folder, tmp_path):
    with pytest.raises(AssetError, match='No recording at'):
        open_recording(tmp_path / 'nowhere')
    (folder / 'cam_params_x.json').write_text('{"width": 32}')
    with pytest.raises(AssetError, match='not a camera file'):
        open_recording(folder)
    (folder / 'cam_params_x.json').unlink()
    with pytest.raises(AssetError, match='no camera file'):
        open_recording(folder)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(AssetError, match='holds no frames'):
        open_recording(tmp_path / 'empty')


def test_ros_and_plain_camera_files_agree(tmp_path):
    ros, plain = tmp_path / 'camera_info.yaml', tmp_path / 'camera.json'
    ros.write_text(
        'image_width: 32\nimage_height: 24\ncamera_matrix: {data: [40, 0, 15.5, 0, 41, 11.5, 0, 0, 1]}\n'
        'distortion_model: plumb_bob\ndistortion_coefficients: {data: [0.1, 0, 0, 0, 0]}\n'
    )
    values = {'width': 32, 'height': 24, 'fx': 40, 'fy': 41, 'cx': 15.5, 'cy': 11.5, 'distortion': [0.1, 0, 0, 0, 0]}
    plain.write_text(json.dumps({**values, 'depth_unit': 0.00025}))
    assert read_camera_file(ros)[0] == read_camera_file(plain)[0]
    assert (read_camera_file(ros)[1], read_camera_file(plain)[1]) == (0.001, 0.00025)


@pytest.mark.parametrize('wrong', [{'fx': 0}, {'fy': -40}, {'fx': math.nan}, {'width': 0}, {'depth_unit': 0}])
def test_a_camera_file_without_sense_is_refused(tmp_path, wrong):
    values = {'width': 32, 'height': 24, 'fx': 40, 'fy': 41, 'cx': 15.5, 'cy': 11.5, **wrong}
    (tmp_path / 'camera.json').write_text(json.dumps(values))
    with pytest.raises(AssetError, match=rf'{next(iter(wrong))} .*each must be above 0'):
        read_camera_file(tmp_path / 'camera.json')


def write_bag(path, stamps_color, stamps_depth):
    """Write a rosbag2 with one colour and one depth topic, through rosbags."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    types = store.types
    time_type, header_type = types['builtin_interfaces/msg/Time'], types['std_msgs/msg/Header']
    roi = types['sensor_msgs/msg/RegionOfInterest'](0, 0, 0, 0, False)

    def header(stamp_ns):
        return header_type(time_type(stamp_ns // 10**9, stamp_ns % 10**9), 'bag_camera')

    def image(stamp_ns, encoding, pixels):
        raw = np.frombuffer(pixels.tobytes(), np.uint8)
        return types['sensor_msgs/msg/Image'](header(stamp_ns), 4, 6, encoding, 0, len(raw) // 4, raw)

    info = types['sensor_msgs/msg/CameraInfo'](
        header(0), 4, 6, 'plumb_bob', np.zeros(5), np.array([9.0, 0, 2.5, 0, 9, 1.5, 0, 0, 1]), np.eye(3).ravel(),
        np.zeros(12), 0, 0, roi,
    )  # fmt: skip
    rows = [(0, '/cam/color/camera_info', info)]
    rows += [(s, '/cam/color/image_raw', image(s, 'rgb8', np.zeros((4, 6, 3), np.uint8))) for s in stamps_color]
    rows += [(s, '/cam/depth/image_raw', image(s, '16UC1', np.full((4, 6), 900, np.uint16))) for s in stamps_depth]
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {}
        for stamp_ns, topic, message in sorted(rows, key=lambda row: row[0]):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, message.__msgtype__, typestore=store)
            writer.write(connections[topic], stamp_ns, store.serialize_cdr(message, message.__msgtype__))


def test_bag_pairs_colour_and_depth_by_stamp(tmp_path):
    pytest.importorskip('rosbags', reason='reading bags needs rosbags')
    second = 10**9
    write_bag(tmp_path / 'bag', [second, 2 * second, 3 * second], [second + 5_000_000, 3 * second - 5_000_000])
    recording = open_recording(tmp_path / 'bag')
    found = list(recording.frames())
    assert [each.stamp_ns for each in found if isinstance(each, Frame)] == [second, 3 * second]
    assert [each.reason for each in found if isinstance(each, FrameError)] == ['unpaired']
    frame = next(each for each in found if isinstance(each, Frame))
    assert (frame.frame_id, frame.intrinsics.cx) == ('bag_camera', 3.0)
    np.testing.assert_allclose(frame.depth, 0.9, atol=1e-6)


class Answerer(Node):
    """Stands in for the pose node: answers every complete frame, some only after a while, and one never."""

    def __init__(self, silent_on=None):
        super().__init__('answerer')
        self.seen = []
        self._silent_on = silent_on
        self._half = {}
        self._poses = self.create_publisher(SmplPoseArray, 'smpl_poses', QoSProfile(depth=5))
        self.create_subscription(Image, 'image', lambda m: self._take('image', m), QoSProfile(depth=1))
        self.create_subscription(Image, 'depth', lambda m: self._take('depth', m), QoSProfile(depth=1))
        self.create_subscription(CameraInfo, 'camera_info', lambda m: None, QoSProfile(depth=1))

    def _take(self, kind, message):
        parts = self._half.setdefault(to_ns(message.header.stamp), {})
        parts[kind] = message
        if len(parts) < 2:
            return
        self.seen.append((to_color(parts['image'])[0, 0, 0], to_depth(parts['depth'])[0, 0]))
        if len(self.seen) - 1 != self._silent_on:
            self._poses.publish(SmplPoseArray(header=message.header))


@pytest.fixture
def play(folder):
    """Return a function that plays the folder to an answerer and returns both."""
    nodes = []
    rclpy.init()

    def run(answerer, **parameters):
        given = {'recording': str(folder), 'rate_hz': 100.0, 'pace': 'answered', **parameters}
        replay = ReplayNode(parameter_overrides=[Parameter(name, value=value) for name, value in given.items()])
        nodes.extend([replay, answerer])
        executor = SingleThreadedExecutor()
        for node in nodes:
            executor.add_node(node)
        deadline = time.monotonic() + 20.0
        while not replay.finished.is_set() and time.monotonic() < deadline:
            executor.spin_once(timeout_sec=0.05)
        executor.shutdown()
        return replay

    yield run
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()


def test_every_frame_arrives_and_is_answered(play):
    answerer = Answerer()
    replay = play(answerer)
    assert [int(color) for color, _ in answerer.seen] == [10 * index for index in range(COUNT)]
    np.testing.assert_allclose([depth for _, depth in answerer.seen], 1 + 0.001 * np.arange(COUNT), atol=1e-6)
    assert (replay.published, replay.unanswered) == (COUNT, 0)


def test_a_missing_answer_is_counted_and_does_not_stop_the_replay(play):
    answerer = Answerer(silent_on=2)
    replay = play(answerer, answer_timeout_s=0.5)
    assert (replay.published, replay.unanswered) == (COUNT, 1)
    assert len(answerer.seen) == COUNT


def test_unreadable_frames_are_skipped_and_counted(play, folder):
    (folder / 'color/00001.png').write_text('no picture')
    answerer = Answerer()
    replay = play(answerer)
    assert (replay.published, dict(replay.skipped)) == (COUNT - 1, {'unreadable_file': 1})


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({'pace': 'slow'}, 'Expected realtime or answered'),
        ({'rate_hz': 0.0}, 'rate_hz is 0.0'),
        ({'recording': ''}, 'is empty'),
        ({'stamps': 'original'}, 'has no stamps'),
        ({'rate_hertz': 3.0}, 'rate_hz'),
    ],
)
def test_bad_parameters_are_refused(play, parameters, message):
    with pytest.raises(ConfigError, match=message):
        play(None, **parameters)
    assert threading.active_count() < 20
