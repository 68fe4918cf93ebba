"""Start, silence, pause and end of the pose node, in a real graph and in processes of its own."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.srv import ChangeState, GetState
from pose_graph import HEIGHT, WAIT, WIDTH, Camera, FakeEngine, Graph, adds_up, distances, wait_for
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import SetBool

from hwhup_core.errors import ConfigError, HwhupError
from hwhup_core.networks.packing import Modality
from hwhup_core.types import State
from hwhup_ros.conversions import make_header
from hwhup_ros.images import from_array
from hwhup_ros.pose_node import PoseNode


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
import pose_graph
from hwhup_ros.pose_node import PoseNode
from hwhup_ros.spinning import run
engine = pose_graph.FakeEngine()
engine.respond = lambda frame: time.sleep(0.02) or [pose_graph.estimate_at(frame, 1.0)]
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
