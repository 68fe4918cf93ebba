"""The pose node in a real graph, with an engine that gives known answers."""

import dataclasses
import itertools
import math
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from hwhup_ros.msg import BodyModelInfo, SmplPoseArray
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_srvs.srv import SetBool

from hwhup_core.body.model import load_body
from hwhup_core.errors import ConfigError, FrameError, HwhupError
from hwhup_core.networks.packing import Modality
from hwhup_core.types import BodyEstimate, Intrinsics, PersonBox, Posture, State
from hwhup_ros.conversions import from_intrinsics, make_header, to_ns
from hwhup_ros.images import depth_pixels, from_array
from hwhup_ros.pose_node import PoseNode

NUMBERS = itertools.count()
WIDTH, HEIGHT = 32, 24
CAMERA = Intrinsics(30.0, 30.0, 16.0, 12.0, WIDTH, HEIGHT)
BODY = load_body('infant')
WAIT = 30.0


class FakeEngine:
    """Says that the pelvis is as far away as the mean depth; does what `respond` says instead, if that is set."""

    def __init__(self, *modalities):
        modalities = modalities or (Modality.DEPTH,)
        self.loaded = SimpleNamespace(
            card=SimpleNamespace(input=SimpleNamespace(modalities=modalities), weights_hash='w')
        )
        self.body = BODY
        self.frames, self.resets = [], 0
        self.respond = None

    def reset(self):
        self.resets += 1

    def __call__(self, frame):
        self.frames.append(frame)
        if self.respond is not None:
            return self.respond(frame)
        return [estimate_at(frame, float(frame.depth.mean()) if frame.depth is not None else 0.0)]


def estimate_at(frame, distance):
    return BodyEstimate(
        stamp_ns=frame.stamp_ns,
        frame_id=frame.frame_id,
        subject_id='subject',
        state=State.ESTIMATED,
        confidence=0.9,
        body_id=BODY.body_id,
        body_hash=BODY.hash,
        weights_hash='w',
        betas=np.zeros(10, np.float32),
        pose=np.zeros(72, np.float32),
        root_position=np.array([0.0, 0.0, distance]),
        root_orientation=np.array([0.0, 0.0, 0.0, 1.0]),
        joint_positions=np.full((24, 3), distance),
        joint_orientations=np.tile([0.0, 0.0, 0.0, 1.0], (24, 1)),
        joint_pixels=np.zeros((24, 2)),
        joint_visibility=np.ones(24),
        joint_confidence=np.ones(24),
        joint_sigma=np.ones(24),
        box=PersonBox(16.0, 12.0, 20.0),
        camera=np.float32([1, 0, 0]),
        posture=Posture.SUPINE,
        aligned_depth_error=0.01,
    )


def wait_for(condition, timeout=WAIT):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f'not within {timeout} s: {condition}')


class Graph:
    """A context with its executor in a thread; everything lives in a namespace of its own."""

    def __init__(self, namespace=None):
        self.namespace = namespace or f'/test_{next(NUMBERS)}'
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.nodes = []
        self.listener = self.keep(Node('listener', context=self.context, namespace=self.namespace))
        self.poses, self.health, self.bodies, self.clouds = [], [], [], []
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.spin, daemon=True)
        self.thread.start()

    def keep(self, node):
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def pose_node(self, engine=None, **parameters):
        given = {'stale_after': 30.0, **parameters}
        overrides = [Parameter(name.replace('__', '.'), value=value) for name, value in given.items()]
        node = PoseNode(
            parameter_overrides=overrides, engine=engine or FakeEngine(), context=self.context, namespace=self.namespace
        )
        self.keep(node)
        self.listen()
        return node

    def listen(self):
        self.listener.create_subscription(SmplPoseArray, 'smpl_poses', self.poses.append, 20)
        self.listener.create_subscription(DiagnosticArray, '/diagnostics', self._on_health, 20)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.listener.create_subscription(BodyModelInfo, 'body_model', self.bodies.append, latched)

    def _on_health(self, message):
        if message.status[0].name.startswith(self.namespace[1:]):
            self.health.append(message.status[0])

    def spin(self):
        while not self.ended.is_set():
            self.executor.spin_once(timeout_sec=0.05)

    def close(self):
        self.ended.set()
        self.thread.join(5)
        for node in self.nodes[::-1]:
            node.destroy_node()
        self.executor.shutdown()
        self.context.try_shutdown()


class Camera:
    """Publishes whatever it is told to."""

    def __init__(self, graph, reliability=ReliabilityPolicy.RELIABLE, compressed=False):
        self.node = graph.keep(Node('camera', context=graph.context, namespace=graph.namespace))
        qos = QoSProfile(depth=5, reliability=reliability)
        kind = CompressedImage if compressed else Image
        self.image = self.node.create_publisher(kind, 'image/compressed' if compressed else 'image', qos)
        self.depth = self.node.create_publisher(kind, 'depth/compressedDepth' if compressed else 'depth', qos)
        self.info = self.node.create_publisher(CameraInfo, 'camera_info', qos)
        self.last_ns = 0

    def wait_for_subscribers(self, *names):
        wait_for(lambda: all(getattr(self, name).get_subscription_count() for name in names or ('depth', 'info')))
        time.sleep(0.2)  # The other side has to know us as well: best effort repeats nothing.

    def header(self, stamp_ns=None):
        if stamp_ns is None:
            stamp_ns = max(self.node.get_clock().now().nanoseconds, self.last_ns + 1_000_000)
            self.last_ns = stamp_ns
        return make_header(stamp_ns, 'camera_optical')

    def send_info(self, camera=CAMERA):
        self.info.publish(from_intrinsics(camera, self.header()))

    def send_depth(self, metres, header=None, encoding='16UC1', shape=(HEIGHT, WIDTH)):
        header = header or self.header()
        depth = np.full(shape, metres, np.float32)
        pixels = depth if encoding == '32FC1' else depth_pixels(depth, '16UC1')
        self.depth.publish(from_array(pixels, encoding, header))
        return header

    def send_image(self, header, shape=(HEIGHT, WIDTH, 3)):
        self.image.publish(from_array(np.full(shape, 50, np.uint8), 'rgb8', header))


@pytest.fixture
def graph():
    graph = Graph()
    yield graph
    graph.close()


def distances(graph):
    return [round(message.poses[0].root.position.z, 3) for message in graph.poses if message.poses]


def adds_up(node):
    counts = node.counters
    return all(pending == 0 for pending in counts.pending.values())


def test_depth_and_camera_info_in_poses_and_body_model_out(graph):
    engine = FakeEngine()
    node = graph.pose_node(engine)
    camera = Camera(graph)
    camera.wait_for_subscribers()
    wait_for(lambda: graph.listener.count_publishers('smpl_poses'))
    camera.send_info()
    header = camera.send_depth(1.25)
    wait_for(lambda: graph.poses)
    answer = graph.poses[0]
    assert answer.header == header
    assert answer.poses[0].header == header
    assert distances(graph) == [1.25]
    assert answer.poses[0].latency > 0
    assert answer.poses[0].box.width == 20
    assert engine.frames[0].intrinsics == CAMERA
    assert engine.frames[0].color is None
    wait_for(lambda: graph.bodies)
    assert (graph.bodies[0].hash, len(graph.bodies[0].faces)) == (BODY.hash, 3 * 13_776)
    assert node.counters.received == {'depth': 1}
    wait_for(lambda: node.counters.answered == {'depth': 1})
    wait_for(lambda: adds_up(node))
    wait_for(lambda: any(status.message == 'estimating' for status in graph.health))
    values = {pair.key: pair.value for pair in graph.health[-1].values}
    assert values['depth received'] == values['depth answered'] == '1'
    assert float(values['latency p95 [s]']) > 0
    assert BODY.hash in values['body']


def test_image_and_depth_are_paired(graph):
    engine = FakeEngine(Modality.RGB, Modality.DEPTH)
    node = graph.pose_node(engine)
    camera = Camera(graph)
    camera.wait_for_subscribers('image', 'depth', 'info')
    camera.send_info()
    header = camera.header()
    camera.send_image(header)
    camera.send_depth(2.0, header)
    wait_for(lambda: engine.frames)
    assert engine.frames[0].color.shape == (HEIGHT, WIDTH, 3)
    assert engine.frames[0].depth[0, 0] == 2.0
    wait_for(lambda: node.counters.answered == {'image': 1, 'depth': 1})


def test_optional_image_of_the_wrong_size_is_left_out_and_the_depth_answered(graph):
    engine = FakeEngine()
    node = graph.pose_node(engine)
    camera = Camera(graph)
    camera.wait_for_subscribers('image', 'depth', 'info')
    camera.send_info()
    header = camera.header()
    camera.send_image(header, (HEIGHT, WIDTH + 2, 3))
    time.sleep(0.1)
    camera.send_depth(2.0, header)
    wait_for(lambda: node.counters.dropped == {'image': {'size_mismatch': 1}})
    assert engine.frames[0].color is None
    wait_for(lambda: distances(graph) == [2.0])
    wait_for(lambda: adds_up(node))


def test_garbage_is_dropped_by_reason_and_the_next_good_frame_answered(graph):
    node = graph.pose_node(use_image=False, sync__reset_after=3600.0)
    camera = Camera(graph)
    camera.wait_for_subscribers()
    expected = {}

    def dropped(reason):
        expected[reason] = 1
        wait_for(lambda: node.counters.dropped.get('depth', {}).get(reason) == 1)

    camera.send_depth(1.0)  # No camera info yet: it waits, until the next one supersedes it.
    camera.send_depth(1.0)
    dropped('no_camera_info')
    camera.info.publish(CameraInfo(width=WIDTH, height=HEIGHT))
    dropped('zero_camera_info')
    camera.send_info(dataclasses.replace(CAMERA, width=WIDTH + 1))
    time.sleep(0.05)
    camera.send_depth(1.0)
    dropped('camera_info_mismatch')
    camera.send_info()
    time.sleep(0.05)
    camera.depth.publish(from_array(np.zeros((HEIGHT, WIDTH, 3), np.uint8), 'rgb8', camera.header()))
    dropped('wrong_encoding')
    short = from_array(np.zeros((HEIGHT, WIDTH), np.uint16), '16UC1', camera.header())
    del short.data[-10:]
    camera.depth.publish(short)
    dropped('short_data')
    camera.send_depth(1.0, make_header(0, 'camera_optical'))
    dropped('zero_stamp')
    last_ns = to_ns(camera.send_depth(1.5).stamp)
    wait_for(lambda: distances(graph) == [1.5])
    camera.send_depth(1.0, make_header(last_ns - 50_000_000, 'camera_optical'))
    dropped('backward_stamp')
    camera.send_depth(1.0, make_header(last_ns, 'camera_optical'))
    dropped('duplicate_stamp')
    camera.send_depth(1.0, make_header(last_ns + 10**11, 'camera_optical'))
    dropped('future_stamp')
    camera.send_depth(math.nan, encoding='32FC1')  # A frame without a single measurement is a frame.
    wait_for(lambda: distances(graph) == [1.5, 0.0])
    camera.send_depth(1.75)
    wait_for(lambda: distances(graph) == [1.5, 0.0, 1.75])
    wait_for(lambda: node.counters.dropped == {'depth': expected})
    wait_for(lambda: adds_up(node))


def test_sizes_that_differ_are_refused_where_both_are_needed(graph):
    node = graph.pose_node(FakeEngine(Modality.RGB, Modality.DEPTH))
    camera = Camera(graph)
    camera.wait_for_subscribers('image', 'depth', 'info')
    camera.send_info()
    header = camera.header()
    camera.send_image(header)
    camera.send_depth(1.0, header, shape=(HEIGHT // 2, WIDTH // 2))
    wait_for(lambda: node.counters.dropped == {'image': {'size_mismatch': 1}, 'depth': {'size_mismatch': 1}})


def test_an_engine_that_fails_does_not_end_the_node(graph):
    engine = FakeEngine()
    node = graph.pose_node(engine, use_image=False)
    camera = Camera(graph)
    camera.wait_for_subscribers()
    camera.send_info()

    def out_of_memory(frame):
        raise RuntimeError('CUDA out of memory')

    def no_person(frame):
        raise FrameError('no_crop', 'The box lies outside the image.')

    for respond, reason in ((out_of_memory, 'engine_error'), (no_person, 'no_crop')):
        engine.respond = respond
        camera.send_depth(1.0)
        wait_for(lambda reason=reason: node.counters.dropped.get('depth', {}).get(reason) == 1)
    engine.respond = lambda frame: []
    header = camera.send_depth(1.0)
    wait_for(lambda: graph.poses)
    assert (graph.poses[-1].header, graph.poses[-1].poses) == (header, [])
    engine.respond = None
    camera.send_depth(1.5)
    wait_for(lambda: distances(graph) == [1.5])
    wait_for(lambda: adds_up(node))


def test_only_the_newest_frame_is_worked_on(graph):
    engine = FakeEngine()
    node = graph.pose_node(engine, use_image=False)
    camera = Camera(graph)
    camera.wait_for_subscribers()
    camera.send_info()
    go_on = threading.Event()

    def slow(frame):
        go_on.wait(WAIT)
        return [estimate_at(frame, float(frame.depth.mean()))]

    engine.respond = slow
    camera.send_depth(1.0)
    wait_for(lambda: engine.frames)
    for step in range(1, 6):
        camera.send_depth(1.0 + step / 10)
        wait_for(lambda step=step: node.counters.received['depth'] == step + 1)
    time.sleep(0.05)
    go_on.set()
    wait_for(lambda: distances(graph) == [1.0, 1.5])
    assert node.counters.dropped == {'depth': {'superseded': 4}}
    wait_for(lambda: adds_up(node))


def test_silence_is_stale_explained_and_recovered_from(graph):
    engine = FakeEngine()
    graph.pose_node(engine, stale_after=0.3, use_image=False)
    wait_for(lambda: any('nobody publishes' in status.message for status in graph.health))
    assert graph.health[-1].level == DiagnosticStatus.ERROR
    assert f'{graph.namespace}/depth (sensor_msgs/msg/Image)' in graph.health[-1].message
    camera = Camera(graph)
    camera.wait_for_subscribers()
    camera.send_info()
    header = camera.send_depth(1.25)
    wait_for(lambda: [message.poses[0].state for message in graph.poses[-2:]] == [State.STALE] * 2)
    assert [message.poses[0].state for message in graph.poses].count(State.ESTIMATED) == 1
    assert graph.poses[-1].header == header
    assert graph.poses[-1].poses[0].latency > 0.3
    resets = engine.resets
    camera.send_depth(1.5)
    wait_for(lambda: graph.poses[-1].poses[0].state == State.ESTIMATED)
    assert engine.resets == resets + 1
    wait_for(lambda: any('no message comes' in status.message for status in graph.health))


def test_frames_that_are_all_bad_are_explained(graph):
    graph.pose_node(stale_after=0.3, use_image=False)
    camera = Camera(graph)
    camera.wait_for_subscribers()

    def explained():
        camera.send_info()
        camera.depth.publish(from_array(np.zeros((HEIGHT, WIDTH), np.uint8), 'mono8', camera.header()))
        return any('wrong_encoding' in status.message and "'mono8'" in status.message for status in graph.health)

    wait_for(explained)


def test_stamps_of_zero_are_explained(graph):
    graph.pose_node(stale_after=0.3, use_image=False)
    camera = Camera(graph)
    camera.wait_for_subscribers()

    def explained():
        camera.send_info()
        camera.send_depth(1.0, make_header(0, 'camera_optical'))
        return any('let the driver stamp its images' in status.message for status in graph.health)

    wait_for(explained)


def test_incompatible_qos_is_named(graph):
    node = graph.pose_node(stale_after=0.3, image_reliability='reliable', use_image=False)
    camera = Camera(graph, ReliabilityPolicy.BEST_EFFORT)
    wait_for(lambda: any('incompatible QoS' in status.message for status in graph.health))
    message = next(status.message for status in graph.health if 'incompatible QoS' in status.message)
    assert f'{graph.namespace}/camera' in message
    assert 'Set image_reliability to best_effort' in message
    camera.send_depth(1.0)
    assert node.counters.received == {}


def test_a_publisher_of_another_type_is_named(graph):
    # In the same context the middleware would refuse the second type at once.
    elsewhere = Graph(graph.namespace)
    try:
        node = elsewhere.keep(Node('other', context=elsewhere.context, namespace=graph.namespace))
        node.create_publisher(CompressedImage, 'depth', 1)
        graph.pose_node(stale_after=0.3, use_image=False)
        wait_for(lambda: any('as sensor_msgs/msg/CompressedImage' in status.message for status in graph.health))
    finally:
        elsewhere.close()


def test_a_topic_that_cannot_be_subscribed_stops_the_start(graph):
    graph.listener.create_publisher(CompressedImage, 'depth', 1)
    with pytest.raises(HwhupError, match='Cannot start'):
        graph.pose_node(use_image=False)


def test_shared_qos_profiles_are_left_alone(graph):
    graph.pose_node()
    assert qos_profile_sensor_data.reliability == ReliabilityPolicy.BEST_EFFORT
    assert qos_profile_sensor_data.depth == 5


def test_compressed_input(graph):
    engine = FakeEngine(Modality.RGB, Modality.DEPTH)
    graph.pose_node(engine, image_transport='compressed')
    camera = Camera(graph, compressed=True)
    camera.wait_for_subscribers('image', 'depth', 'info')
    camera.send_info()
    header = camera.header()
    image = CompressedImage(header=header, format='bgr8; png compressed bgr8')
    image.data.frombytes(cv2.imencode('.png', np.full((HEIGHT, WIDTH, 3), (30, 20, 10), np.uint8))[1].tobytes())
    depth = CompressedImage(header=header, format='16UC1; compressedDepth png')
    encoded = cv2.imencode('.png', np.full((HEIGHT, WIDTH), 1250, np.uint16))[1].tobytes()
    depth.data.frombytes(b'\0' * 12 + encoded)
    camera.image.publish(image)
    camera.depth.publish(depth)
    wait_for(lambda: distances(graph) == [1.25])
    assert list(engine.frames[0].color[0, 0]) == [10, 20, 30]


def test_points_are_made_for_whoever_listens(graph):
    graph.pose_node(points_stride=4, use_image=False)
    camera = Camera(graph)
    camera.wait_for_subscribers()
    camera.send_info()
    camera.send_depth(1.0)
    wait_for(lambda: graph.poses)
    graph.listener.create_subscription(PointCloud2, 'points', graph.clouds.append, 5)
    wait_for(lambda: graph.listener.count_publishers('points'))

    def arrived():
        camera.send_depth(1.0)
        time.sleep(0.05)
        return graph.clouds

    wait_for(arrived)
    assert graph.clouds[0].width == WIDTH * HEIGHT // 16
    assert graph.clouds[0].header.frame_id == 'camera_optical'


def test_enable_service_pauses_the_work(graph):
    node = graph.pose_node(use_image=False)
    camera = Camera(graph)
    camera.wait_for_subscribers()
    camera.send_info()
    client = graph.listener.create_client(SetBool, 'pose_node/enable')
    assert client.wait_for_service(WAIT)

    def call(on):
        future = client.call_async(SetBool.Request(data=on))
        wait_for(future.done)
        assert future.result().success

    call(False)
    camera.send_depth(1.0)
    wait_for(lambda: node.counters.dropped == {'depth': {'disabled': 1}})
    wait_for(lambda: any('disabled' in status.message for status in graph.health))
    call(True)
    camera.send_depth(1.5)
    wait_for(lambda: distances(graph) == [1.5])


def test_lifecycle_by_service_and_again(graph):
    engine = FakeEngine()
    node = graph.pose_node(engine, autostart=False, use_image=False)
    camera = Camera(graph)
    change = graph.listener.create_client(ChangeState, 'pose_node/change_state')
    state = graph.listener.create_client(GetState, 'pose_node/get_state')
    assert change.wait_for_service(WAIT)

    def go(label):
        request = ChangeState.Request()
        request.transition.label = label
        future = change.call_async(request)
        wait_for(future.done)
        assert future.result().success, label

    for turn in (1, 2):
        go('configure')
        go('activate')
        future = state.call_async(GetState.Request())
        wait_for(future.done)
        assert future.result().current_state.label == 'active'
        camera.wait_for_subscribers()
        camera.send_info()
        camera.send_depth(float(turn))
        wait_for(lambda turn=turn: turn in distances(graph))
        go('deactivate')
        assert not node.active
        go('cleanup')
    wait_for(lambda: adds_up(node))


def test_repeated_cycles_leave_nothing_behind(graph):
    # Not spun: transitions belong into the executor's thread, and this one has no executor.
    node = PoseNode(
        parameter_overrides=[Parameter('autostart', value=False)],
        engine=FakeEngine(),
        context=graph.context,
        namespace=graph.namespace,
    )
    graph.nodes.append(node)

    def cycle():
        for step in (node.trigger_configure, node.trigger_activate, node.trigger_deactivate, node.trigger_cleanup):
            assert step() == TransitionCallbackReturn.SUCCESS

    def things():
        kinds = (node.publishers, node.subscriptions, node.timers, node.services, node.waitables)
        return [threading.active_count(), *(len(list(kind)) for kind in kinds)]

    cycle()
    before = things()
    for _ in range(15):
        cycle()
    assert things() == before


@pytest.mark.parametrize(
    ('given', 'words'),
    [
        ({'engin__device': 'cpu'}, "Did you mean 'engine.device'"),
        ({'engine__device': 'abacus'}, 'abacus'),
        ({'use_depth': False}, 'use_depth is false, but the weights need depth'),
        ({'stale_after': 0.0}, 'stale_after'),
    ],
)
def test_a_bad_parameter_stops_the_start(graph, given, words):
    with pytest.raises(ConfigError, match=words):
        graph.pose_node(**given)


def test_weights_for_what_the_node_cannot_give_are_refused(graph):
    with pytest.raises(ConfigError, match='need pressure'):
        graph.pose_node(FakeEngine(Modality.PRESSURE))


LISTENER = """
import rclpy, sys
from hwhup_ros.msg import SmplPoseArray
rclpy.init()
node = rclpy.create_node('far_listener', namespace=sys.argv[1])
got = []
node.create_subscription(SmplPoseArray, 'smpl_poses', got.append, 5)
print('ready', flush=True)
while not got:
    rclpy.spin_once(node, timeout_sec=0.1)
print(got[0].header.frame_id, round(got[0].poses[0].root.position.z, 3), len(got[0].poses[0].joints), flush=True)
"""


def test_a_subscriber_in_another_process_receives_poses(graph):
    graph.pose_node(use_image=False)
    camera = Camera(graph)
    camera.wait_for_subscribers()
    camera.send_info()
    process = subprocess.Popen(
        [sys.executable, '-c', LISTENER, graph.namespace], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    try:
        assert process.stdout.readline().strip() == 'ready'

        def ended():
            camera.send_depth(1.25)
            time.sleep(0.05)
            return process.poll() is not None

        wait_for(ended)
        assert process.stdout.read().split() == ['camera_optical', '1.25', '24']
    finally:
        process.kill()
        process.wait()


PROGRAM = """
import sys, time, threading
sys.path.insert(0, sys.argv[2])
import test_pose_node as tests
from hwhup_ros.pose_node import PoseNode
from hwhup_ros.spinning import run
engine = tests.FakeEngine()
engine.respond = lambda frame: time.sleep(0.02) or [tests.estimate_at(frame, 1.0)]
def make():
    node = PoseNode(engine=engine, namespace=sys.argv[1])
    print('ready', flush=True)
    return node
code = run(make)
print('ended', [thread.name for thread in threading.enumerate() if thread.name == 'pose_worker'], flush=True)
sys.exit(code)
"""


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_process_cleanly_in_the_middle_of_work(graph, number):
    camera = Camera(graph)
    process = subprocess.Popen(
        [sys.executable, '-c', PROGRAM, graph.namespace, os.path.dirname(__file__)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    try:
        assert process.stdout.readline().strip() == 'ready'
        camera.wait_for_subscribers()
        graph.listen()

        def answered():
            camera.send_info()  # Best effort: the first ones may find nobody yet.
            camera.send_depth(1.0)
            time.sleep(0.01)
            return len(graph.poses) > 3

        wait_for(answered)
        process.send_signal(number)
        out, err = process.communicate(timeout=WAIT)
        assert process.returncode == 0, err
        assert out.strip() == 'ended []'
        assert 'Traceback' not in err
    finally:
        process.kill()
        process.wait()
