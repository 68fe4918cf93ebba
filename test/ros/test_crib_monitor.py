"""The composed monitor end to end in a process of its own, watched from this one over DDS."""

import json
import os
import signal
import subprocess
import sys
import time

import cv2
import pytest
import rclpy
import torch
import yaml
from hwhup_ros.msg import SmplPoseArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from visualization_msgs.msg import Marker, MarkerArray

from hwhup_core.body.model import load_body
from hwhup_core.data.recording import check_recording, open_recording
from hwhup_core.errors import ConfigError
from hwhup_core.networks.card import ModelCard
from hwhup_core.networks.checkpoint import save_checkpoint
from hwhup_core.networks.compact import CompactConfig, CompactRegressor
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_ros.crib_monitor import find_config, main, parse, split_ros_args

TINY = CompactConfig(input_size=16, stem_width=2, widths=(2,), blocks=(1,), spatial_width=1, hidden_width=2)
PATIENCE_S = 90.0


def write_untrained(stem, modality):
    """Write untrained weights for an image of that kind."""
    torch.manual_seed(0)
    body = load_body('infant')
    card = ModelCard('compact', InputConfig((modality,), 16), body.body_id, body.hash, 'CC0-1.0', TINY)
    save_checkpoint(stem, CompactRegressor(TINY), card)


@pytest.fixture
def parameters(tmp_path):
    """Write a parameter file with untrained weights and a small camera."""
    write_untrained(tmp_path / 'untrained', Modality.DEPTH)
    values = {
        'pose_node': {'engine': {'weights': str(tmp_path / 'untrained'), 'refine_first': 0, 'threads': 1}},
        'synthetic_camera_node': {'width': 320, 'height': 240, 'focal_px': 280.0, 'rate_hz': 8.0},
    }
    path = tmp_path / 'monitor.yaml'
    path.write_text(yaml.safe_dump({f'/**/{node}': {'ros__parameters': each} for node, each in values.items()}))
    return path


def start(*arguments):
    """Start the monitor."""
    command = [sys.executable, '-m', 'hwhup_ros.crib_monitor', *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ)


class Listener(Node):
    """Counts what the other process publishes."""

    def __init__(self):
        super().__init__('listener', namespace='crib')
        self.poses, self.triangles = [], []
        self.create_subscription(SmplPoseArray, 'smpl_poses', self.poses.append, QoSProfile(depth=10))
        self.create_subscription(MarkerArray, 'markers', self._on_markers, QoSProfile(depth=2))

    def _on_markers(self, message):
        meshes = [len(each.points) // 3 for each in message.markers if each.type == Marker.TRIANGLE_LIST]
        self.triangles += [count for count in meshes if count]


@pytest.fixture
def listener():
    rclpy.init()
    node = Listener()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    node.spin_until = lambda done: _spin_until(executor, done)
    yield node
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


def _spin_until(executor, done):
    deadline = time.monotonic() + PATIENCE_S
    while not done() and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.1)


@pytest.mark.timeout(200)
def test_synthetic_crib_end_to_end(parameters, listener, tmp_path):
    pictures = tmp_path / 'out'
    monitor = start(
        '--params', parameters, '--duration', 6, '--report', pictures / 'report.json',
        '--snapshot', pictures / 'mesh.png', '--overlay', pictures / 'overlay.png', '--record', tmp_path / 'recording',
    )  # fmt: skip
    try:
        listener.spin_until(lambda: len(listener.poses) >= 3 and listener.triangles)
        log, _ = monitor.communicate(timeout=PATIENCE_S)
    finally:
        monitor.kill()
    assert monitor.returncode == 0, log
    assert len(listener.poses) >= 3, log
    assert listener.triangles[0] == 13776, log
    report = json.loads((pictures / 'report.json').read_text())
    assert report['poses_published'] >= 5
    # The last frame may be in work when the camera stops.
    superseded = sum(count for why, count in report['dropped'].items() if why.startswith('depth'))
    assert 0 <= report['frames_published'] - report['answered'] - superseded <= 1
    assert report['mesh_faces_per_marker'] == 13776
    assert report['joint_error_mm'] > 0
    assert report['mean_pose_joint_error_mm'] > 0
    assert report['latency_ms']['p50'] <= report['latency_ms']['p95']
    assert report['rss_mb']['start'] > 50
    assert cv2.imread(str(pictures / 'mesh.png')).std() > 5
    assert cv2.imread(str(pictures / 'overlay.png')).shape[1] > 600
    assert 'rate' in log
    recording = open_recording(tmp_path / 'recording')
    assert f'Recorded {len(recording)} of ' in log
    assert len(recording) >= 1
    assert check_recording(recording.folder).ok
    assert recording.card.privacy == 'head_blurred'


@pytest.mark.timeout(200)
def test_synthetic_crib_without_depth(parameters, listener, tmp_path):
    write_untrained(tmp_path / 'colour', Modality.RGB)
    monitor = start(
        '--params', parameters, '--weights', tmp_path / 'colour', '--no-depth', '--duration', 4,
        '--report', tmp_path / 'report.json',
    )  # fmt: skip
    try:
        listener.spin_until(lambda: len(listener.poses) >= 3)
        publishers = {topic: listener.get_publishers_info_by_topic(f'/crib/{topic}') for topic in ('image', 'depth')}
        log, _ = monitor.communicate(timeout=PATIENCE_S)
    finally:
        monitor.kill()
    assert monitor.returncode == 0, log
    assert publishers['image']
    assert not publishers['depth']
    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['joint_error_mm'] > 0
    assert report['mean_pose_joint_error_mm'] > 0
    assert report['aligned_depth_error_mm'] is None
    assert report['mean_pose_aligned_depth_error_mm'] is None
    assert all(why.startswith('image') for why in report['dropped'])
    assert 'there is no depth' in log


@pytest.mark.timeout(200)
def test_interrupt_still_writes_the_report(parameters, listener, tmp_path):
    monitor = start('--params', parameters, '--report', tmp_path / 'report.json')
    try:
        listener.spin_until(lambda: len(listener.poses) >= 2)
        monitor.send_signal(signal.SIGINT)
        log, _ = monitor.communicate(timeout=PATIENCE_S)
    finally:
        monitor.kill()
    assert monitor.returncode == 0, log
    assert json.loads((tmp_path / 'report.json').read_text())['poses_published'] >= 2
    assert 'Traceback' not in log


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--replay', '/nowhere'], 'no recording at /nowhere'),
        (['--params', '/nowhere.yaml'], 'no parameter file at /nowhere.yaml'),
        (['--duration', '-3'], 'expected seconds above 0'),
        (['--reprot', 'x'], 'unrecognized arguments'),
        (['--live', '--replay', '.'], 'not allowed with'),
    ],
)
def test_bad_arguments_end_with_code_2_and_a_reason(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        parse(arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.timeout(100)
def test_missing_weights_end_with_code_2_and_no_traceback(parameters):
    given = yaml.safe_load(parameters.read_text())
    given['/**/pose_node']['ros__parameters']['engine']['weights'] = '/nowhere.safetensors'
    parameters.write_text(yaml.safe_dump(given))
    monitor = start('--params', parameters)
    log, _ = monitor.communicate(timeout=PATIENCE_S)
    assert monitor.returncode == 2
    assert '/nowhere' in log
    assert 'Traceback' not in log


def test_interrupt_while_it_starts_is_one_line(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr('hwhup_ros.monitor_session.run_session', interrupted)
    assert main([]) == 130
    assert capsys.readouterr().err == 'hwhup monitor: stopped before it was ready.\n'


def test_ros_arguments_are_split_off():
    assert split_ros_args(['--live', '--ros-args', '-r', 'a:=b', '--', '--report', 'x']) == (
        ['--live', '--report', 'x'],
        ['-r', 'a:=b'],
    )


def test_default_parameter_file_is_found():
    assert parse([]).params == find_config('crib_monitor.yaml')
    with pytest.raises(ConfigError, match=r'nothing\.yaml'):
        find_config('nothing.yaml')
