"""The marker node in a real graph."""

import itertools
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from hwhup_ros.msg import BodyModelInfo, SmplPose, SmplPoseArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from visualization_msgs.msg import Marker, MarkerArray

from hwhup_core.body.model import load_body
from hwhup_core.body.posing import posed_vertices
from hwhup_core.errors import ConfigError
from hwhup_core.types import State
from hwhup_ros.conversions import from_pose_message, make_header, to_body_model_info, to_ns
from hwhup_ros.marker_node import MarkerNode
from hwhup_ros.markers import JOINTS_ID, LABEL_ID, MESH_ID, SKELETON_ID

NUMBERS = itertools.count()
BODY = load_body('infant')
WAIT = 30.0


def wait_for(condition, timeout=WAIT):
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.005)
    raise AssertionError(f'not within {timeout} s: {condition}')


class Graph:
    """A pose source, a marker node and a viewer in a namespace of their own."""

    def __init__(self, **parameters):
        self.namespace = f'/markers_{next(NUMBERS)}'
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.source = Node('source', context=self.context, namespace=self.namespace)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.bodies = self.source.create_publisher(BodyModelInfo, 'body_model', latched)
        self.poses = self.source.create_publisher(SmplPoseArray, 'smpl_poses', 5)
        self.node = MarkerNode(
            parameter_overrides=[Parameter(name, value=value) for name, value in parameters.items()],
            context=self.context,
            namespace=self.namespace,
        )
        self.seen = []
        for node in (self.source, self.node):
            self.executor.add_node(node)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.spin, daemon=True)
        self.thread.start()

    def look(self):
        self.source.create_subscription(MarkerArray, 'markers', self.seen.append, 20)
        wait_for(lambda: self.source.count_publishers('markers') and self.node.count_subscribers('markers'))
        wait_for(lambda: self.poses.get_subscription_count())
        time.sleep(0.1)

    def send_body(self, body_hash=BODY.hash):
        info = to_body_model_info(BODY, BODY.rest_joints.numpy(), make_header(1, ''))
        info.hash = body_hash
        self.bodies.publish(info)

    def send(self, *poses):
        header = make_header(time.time_ns(), 'camera_optical')
        for pose in poses:
            pose.header = header
        self.poses.publish(SmplPoseArray(header=header, poses=list(poses)))
        return header

    def show(self, *poses):
        """Send until the markers of what was sent arrive, and return them by owner and id."""
        del self.seen[:]
        began = time.time_ns()

        def arrived():
            self.send(*poses)
            time.sleep(0.05)
            return [message for message in list(self.seen) if to_ns(message.markers[0].header.stamp) >= began]

        return {(marker.ns, marker.id): marker for marker in wait_for(arrived)[0].markers}

    def spin(self):
        while not self.ended.is_set():
            self.executor.spin_once(timeout_sec=0.05)

    def close(self):
        self.ended.set()
        self.thread.join(5)
        self.node.destroy_node()
        self.source.destroy_node()
        self.executor.shutdown()
        self.context.try_shutdown()


@pytest.fixture
def make_graph():
    graphs = []

    def make(**parameters):
        graphs.append(Graph(**parameters))
        return graphs[-1]

    yield make
    for graph in graphs:
        graph.close()


def a_pose(subject='subject', state=State.ESTIMATED):
    rng = np.random.default_rng(3)
    pose = SmplPose(subject_id=subject, state=int(state), confidence=0.5)
    pose.body_model_id, pose.body_model_hash = BODY.body_id, BODY.hash
    pose.pose = rng.normal(scale=0.3, size=72).astype(np.float32)
    pose.betas = rng.normal(size=10).astype(np.float32)
    pose.root.position.z = 1.5
    for joint in pose.joints:
        joint.position.x, joint.position.y, joint.position.z = rng.normal(size=3).tolist()
    return pose


def test_full_mesh_of_the_posed_body_arrives(make_graph):
    graph = make_graph()
    graph.look()
    graph.send_body()
    wait_for(lambda: graph.node.mesh_faces == 13_776)
    pose = a_pose()
    markers = graph.show(pose)
    assert set(markers) == {('subject', marker_id) for marker_id in (MESH_ID, SKELETON_ID, JOINTS_ID, LABEL_ID)}
    mesh = markers['subject', MESH_ID]
    assert (mesh.type, mesh.action) == (Marker.TRIANGLE_LIST, Marker.ADD)
    assert mesh.header.frame_id == 'camera_optical'
    expected = posed_vertices(BODY, from_pose_message(pose))[BODY.faces.numpy()].reshape(-1, 3)
    np.testing.assert_allclose([(p.x, p.y, p.z) for p in mesh.points], expected, atol=1e-6)


def test_who_is_gone_is_deleted_once(make_graph):
    graph = make_graph()
    graph.look()
    graph.send_body()
    graph.show(a_pose('one'), a_pose('two'))
    markers = graph.show(a_pose('one'))
    gone = {marker_id for (owner, marker_id), marker in markers.items() if marker.action == Marker.DELETE}
    assert gone == {MESH_ID, SKELETON_ID, JOINTS_ID, LABEL_ID}
    assert all(owner == 'two' for (owner, _), marker in markers.items() if marker.action == Marker.DELETE)
    assert all(marker.action == Marker.DELETE for marker in graph.show().values())
    time.sleep(0.2)
    del graph.seen[:]
    for _ in range(5):
        graph.send()
        time.sleep(0.03)
    assert graph.seen == []


def test_nobody_and_stale_lose_their_mesh(make_graph):
    graph = make_graph()
    graph.look()
    graph.send_body()
    wait_for(lambda: graph.node.mesh_faces)
    graph.show(a_pose())
    markers = graph.show(a_pose(state=State.STALE))
    assert {marker_id for (_, marker_id), marker in markers.items() if marker.action == Marker.ADD} == {LABEL_ID}
    assert 'stale' in markers['subject', LABEL_ID].text
    assert markers['subject', MESH_ID].action == Marker.DELETE
    markers = graph.show(a_pose(state=State.NO_PERSON))
    assert [marker.action for marker in markers.values()] == [Marker.DELETE]


def test_without_the_right_body_only_the_skeleton_is_drawn(make_graph):
    graph = make_graph()
    graph.look()
    assert ('subject', MESH_ID) not in graph.show(a_pose())
    graph.send_body('00' * 32)
    time.sleep(0.3)
    markers = graph.show(a_pose())
    assert ('subject', MESH_ID) not in markers
    assert ('subject', SKELETON_ID) in markers
    assert graph.node.mesh_faces == 0
    graph.send_body()
    wait_for(lambda: graph.node.mesh_faces == 13_776)
    foreign = a_pose()
    foreign.body_model_hash = '11' * 32
    assert ('subject', MESH_ID) not in graph.show(foreign)
    assert ('subject', MESH_ID) in graph.show(a_pose())


def test_a_warning_lasts_as_long_as_its_cause(make_graph):
    graph = make_graph()
    graph.look()
    states = []
    graph.source.create_subscription(
        DiagnosticArray, '/diagnostics', lambda message: states.extend(message.status), QoSProfile(depth=10)
    )

    def now():
        """Return level and text of the next diagnostics of the node."""
        del states[:]
        mine = f'{graph.namespace[1:]}/'
        status = wait_for(lambda: next((each for each in list(states) if each.name.startswith(mine)), None))
        return status.level, status.message

    graph.send_body('00' * 32)
    wait_for(lambda: now()[0] == DiagnosticStatus.WARN)
    graph.show(a_pose())
    assert 'Set the parameter' in now()[1], 'a body that is not there stays a problem, whatever the poses are'
    graph.send_body()
    wait_for(lambda: graph.node.mesh_faces)
    foreign = a_pose()
    foreign.body_model_hash = '11' * 32
    graph.show(foreign)
    assert 'Run one pose node only' in now()[1]
    graph.show(a_pose())
    assert now() == (DiagnosticStatus.OK, 'ready')
    draw, graph.node._draw = graph.node._draw, None
    graph.send(a_pose())
    wait_for(lambda: 'TypeError' in now()[1])
    graph.node._draw = draw
    graph.show(a_pose())
    assert now() == (DiagnosticStatus.OK, 'ready')


def test_no_list_is_ever_empty(make_graph):
    graph = make_graph()
    graph.look()
    graph.send_body()
    wait_for(lambda: graph.node.mesh_faces)
    unknown = a_pose()
    unknown.pose = np.full(72, np.nan, np.float32)
    for joint in unknown.joints[1:]:
        joint.position.x = float('nan')
    markers = graph.show(unknown)
    assert set(markers) == {('subject', JOINTS_ID), ('subject', LABEL_ID)}
    for marker in markers.values():
        assert marker.points or marker.text


def test_rate_is_capped_and_a_decimated_mesh_is_small(make_graph):
    graph = make_graph(max_rate=10.0, max_faces=1000, show_label=False)
    graph.look()
    graph.send_body()
    wait_for(lambda: graph.node.mesh_faces)
    assert 400 < graph.node.mesh_faces <= 1000
    markers = graph.show(a_pose())
    assert len(markers['subject', MESH_ID].points) == 3 * graph.node.mesh_faces
    assert ('subject', LABEL_ID) not in markers
    del graph.seen[:]
    began = time.monotonic()
    while time.monotonic() - began < 1.0:
        graph.send(a_pose())
        time.sleep(0.01)
    time.sleep(0.1)
    assert 3 <= len(graph.seen) <= 12


def test_nothing_is_made_while_nobody_looks(make_graph):
    graph = make_graph()
    graph.send_body()
    wait_for(lambda: graph.node.mesh_faces)
    wait_for(lambda: graph.poses.get_subscription_count())
    posed = []
    graph.node._mesh_points = lambda pose: posed.append(pose)
    for _ in range(5):
        graph.send(a_pose())
        time.sleep(0.03)
    assert posed == []
    graph.look()
    graph.show(a_pose())
    assert posed


def test_a_bad_parameter_stops_the_start(make_graph):
    with pytest.raises(ConfigError, match="Did you mean 'max_rate'"):
        make_graph(max_rat=1.0)


VIEWER = """
import rclpy, sys
from visualization_msgs.msg import MarkerArray
rclpy.init()
node = rclpy.create_node('far_viewer', namespace=sys.argv[1])
got = []
node.create_subscription(MarkerArray, 'markers', got.append, 5)
print('ready', flush=True)
while not got:
    rclpy.spin_once(node, timeout_sec=0.1)
print(*[len(marker.points) for marker in got[0].markers], flush=True)
"""


def test_a_viewer_in_another_process_receives_the_mesh(make_graph):
    graph = make_graph()
    graph.send_body()
    wait_for(lambda: graph.node.mesh_faces)
    process = subprocess.Popen(
        [sys.executable, '-c', VIEWER, graph.namespace], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    try:
        assert process.stdout.readline().strip() == 'ready'

        def ended():
            graph.send(a_pose())
            time.sleep(0.05)
            return process.poll() is not None

        wait_for(ended)
        assert process.stdout.read().split() == ['41328', '46', '24', '0']
    finally:
        process.kill()
        process.wait()
