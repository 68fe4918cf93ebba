"""A pose node in a graph of its own, a camera that publishes what it is told, an engine that gives known answers."""

import itertools
import threading
import time
from types import SimpleNamespace

import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from hwhup_ros.msg import BodyModelInfo, SmplPoseArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hwhup_core.body.model import load_body
from hwhup_core.networks.packing import Modality
from hwhup_core.types import BodyEstimate, Intrinsics, PersonBox, Posture, State
from hwhup_ros.conversions import from_intrinsics, make_header
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

    def take_over(self, other):
        pass

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


def distances(graph):
    return [round(message.poses[0].root.position.z, 3) for message in graph.poses if message.poses]


def refusals(graph):
    """Return the headers of the frames that the node says it could not use."""
    return [message.header for message in graph.poses if not message.poses]


def adds_up(node):
    counts = node.counters
    return all(pending == 0 for pending in counts.pending.values())
