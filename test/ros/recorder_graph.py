"""A recorder node in a graph, with a camera that sends what it is told and somebody who listens."""

import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from hwhup_ros.msg import RecorderStatus, SmplPoseArray
from pose_graph import CAMERA, HEIGHT, WIDTH, Camera, wait_for
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_srvs.srv import Trigger

from hwhup_ros.conversions import from_intrinsics, to_ns, to_pose_array
from hwhup_ros.images import from_array
from hwhup_ros.recorder_node import RecorderNode

ALL = {'novelty.enabled': False, 'privacy': 'full', 'gates.least_sharpness': 0.0, 'image_reliability': 'reliable'}
"""Parameters that keep every frame and lose none on the way."""


class Recorder:
    """A recorder node with a camera and somebody who listens."""

    def __init__(self, graph, folder, **parameters):
        self.graph = graph
        given = {'folder': str(folder), 'storage.least_free_mb': 1.0, **ALL, **parameters}
        overrides = [Parameter(name.replace('__', '.'), value=value) for name, value in given.items()]
        self.node = graph.keep(
            RecorderNode(parameter_overrides=overrides, context=graph.context, namespace=graph.namespace)
        )
        self.camera = Camera(graph)
        self.statuses, self.health = [], []
        latched = QoSProfile(depth=50, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        prefix = f'{graph.namespace}/recorder_node'
        graph.listener.create_subscription(RecorderStatus, f'{prefix}/status', self.statuses.append, latched)
        graph.listener.create_subscription(DiagnosticArray, '/diagnostics', self._on_health, 50)
        self.clients = {name: graph.listener.create_client(Trigger, f'{prefix}/{name}') for name in ('pause', 'resume')}
        wait_for(lambda: self.statuses)

    def _on_health(self, message):
        if message.status[0].name == f'{self.graph.namespace[1:]}/recorder_node: recording':
            self.health.append(message.status[0])

    def send(self, count=1, **options):
        """Send frames and wait until they are settled; returns their stamps."""
        before = self.counts.arrived
        stamps = [to_ns(self.send_one(**options).stamp) for _ in range(count)]
        self.wait_until_settled(before + count)
        return stamps

    def send_one(self, color=128, metres=1.5, camera=CAMERA, skew_ns=0, shape=(HEIGHT, WIDTH), late_info=False):
        """Send colour (a number or a picture) and depth; returns the header of the colour."""
        header = self.camera.header()
        if not late_info:
            self.camera.info.publish(from_intrinsics(camera, header))
        self.camera.image.publish(from_array(np.full((*shape, 3), color, np.uint8), 'rgb8', header))
        later = self.camera.header(to_ns(header.stamp) + skew_ns)
        self.camera.last_ns += skew_ns
        self.camera.send_depth(metres, later, shape=shape)
        if late_info:
            time.sleep(0.03)
            self.camera.info.publish(from_intrinsics(camera, header))
        return header

    def wait_until_settled(self, arrived):
        wait_for(lambda: self.counts.arrived == arrived and not self.counts.pending)

    @property
    def counts(self):
        """Return what became of the frames."""
        return self.node.counts

    def status(self, condition):
        """Return the newest status as soon as the condition holds for it."""
        return wait_for(lambda: condition(self.statuses[-1]) and self.statuses[-1])

    def diagnosed(self, condition):
        """Return the newest diagnostics as soon as the condition holds for them."""
        return wait_for(lambda: self.health and condition(self.health[-1]) and self.health[-1])

    def ask(self, service):
        """Call a service and return its answer."""
        client = self.clients[service]
        assert client.wait_for_service(10)
        return self._result(client.call_async(Trigger.Request()))

    def stop(self):
        """Deactivate as the lifecycle service does: in the thread of the executor."""
        self._result(self.graph.executor.create_task(self.node.trigger_deactivate))

    def start(self):
        """Activate again."""
        self._result(self.graph.executor.create_task(self.node.trigger_activate))

    @staticmethod
    def _result(future):
        wait_for(future.done)
        return future.result()


class Estimator:
    """Stands in for the pose node."""

    def __init__(self, recorder):
        self.publisher = recorder.camera.node.create_publisher(SmplPoseArray, 'smpl_poses', QoSProfile(depth=20))
        wait_for(lambda: self.publisher.get_subscription_count())
        wait_for(lambda: recorder.node._answers_expected)

    def answer(self, header, *estimates):
        self.publisher.publish(to_pose_array(list(estimates), header, (WIDTH, HEIGHT)))
