"""The recorder node in a graph: every frame is accounted for, and what it says about itself is true."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from hwhup_ros.msg import RecorderStatus, SmplPoseArray
from pose_graph import CAMERA, HEIGHT, WIDTH, Camera, Graph, estimate_at, wait_for
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_srvs.srv import Trigger

from hwhup_core.data.recording import check_recording, open_recording
from hwhup_core.errors import ConfigError
from hwhup_core.types import Frame, Intrinsics
from hwhup_ros.conversions import to_ns, to_pose_array
from hwhup_ros.images import from_array
from hwhup_ros.recorder_node import RecorderNode

ALL = {'novelty.enabled': False, 'privacy': 'full', 'gates.least_sharpness': 0.0, 'image_reliability': 'reliable'}
"""Parameters that keep every frame."""
ROOT = Path(__file__).resolve().parents[2]


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
        self.services = {
            name: graph.listener.create_client(Trigger, f'{prefix}/{name}') for name in ('pause', 'resume')
        }
        wait_for(lambda: self.statuses)

    def _on_health(self, message):
        if message.status[0].name.startswith(self.graph.namespace[1:]):
            self.health.append(message.status[0])

    def send(self, count=1, **options):
        """Send frames and wait until they are settled."""
        before = self.counts.arrived
        for _ in range(count):
            self.send_one(**options)
            time.sleep(0.003)
        wait_for(lambda: self.counts.arrived == before + count and not self.counts.pending)

    def send_one(self, color=128, metres=1.5, camera=CAMERA, skew_ns=0, shape=(HEIGHT, WIDTH)):
        header = self.camera.header()
        self.camera.info.publish(info_of(camera, header))
        picture = np.full((*shape, 3), color, np.uint8)
        picture[::2] //= 2  # Something to be sharp about.
        self.camera.image.publish(from_array(picture, 'rgb8', header))
        if skew_ns:
            self.camera.last_ns += skew_ns
            header = self.camera.header(to_ns(header.stamp) + skew_ns)
        self.camera.send_depth(metres, header, shape=shape)
        return header

    @property
    def counts(self):
        intake = self.node._intake or self.node._last_intake
        return intake.tally.counts()

    def status(self, condition=lambda status: True):
        """Return the next status for which the condition holds."""
        return wait_for(lambda: self.statuses and condition(self.statuses[-1]) and self.statuses[-1])

    def ask(self, service):
        client = self.services[service]
        assert client.wait_for_service(10)
        return wait_for_future(client.call_async(Trigger.Request()))

    def stop(self):
        self.node.trigger_deactivate()


def info_of(camera, header):
    from hwhup_ros.conversions import from_intrinsics

    return from_intrinsics(camera, header)


def wait_for_future(future):
    wait_for(future.done)
    return future.result()


@pytest.fixture
def record(graph, tmp_path):
    """Return a function that makes the recorder, ready to be sent frames."""

    def make(folder=tmp_path / 'r', **parameters):
        made = Recorder(graph, folder, **parameters)
        made.camera.wait_for_subscribers('image', 'depth', 'info')
        return made

    return make


def test_frames_and_stamps_are_stored(record, tmp_path):
    recorder = record(camera='crib cam', operator='me', consent='signed', cover='cover1', retention_days=7.0,
                      up=[0.0, -1.0, 0.0], color_encoding='png')  # fmt: skip
    headers = [recorder.send_one(color=100 + i, metres=1.0 + 0.1 * i) for i in range(5)]
    wait_for(lambda: recorder.counts.arrived == 5)
    recorder.stop()
    recording = open_recording(tmp_path / 'r')
    assert [each.stamp_ns for each in recording.frames] == [to_ns(header.stamp) for header in headers]
    for i in range(5):
        frame = recording.frame(i)
        assert frame.color[1, 0].tolist() == [100 + i] * 3
        np.testing.assert_allclose(frame.depth, 1.0 + 0.1 * i, atol=6e-4)
    card = recording.card
    assert (card.camera, card.operator, card.consent, card.cover) == ('crib cam', 'me', 'signed', 'cover1')
    assert (card.retention_days, card.up, card.bed_plane, card.intrinsics) == (7.0, (0.0, -1.0, 0.0), None, CAMERA)
    assert (card.written, card.privacy, card.software[:6]) == (5, 'full', 'hwhup ')
    assert check_recording(tmp_path / 'r').ok
