"""A live camera above a synthetic crib, with the exact truth of every frame on `truth`."""

from __future__ import annotations

import dataclasses
import queue
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile

from hwhup_core.body.model import load_body
from hwhup_core.errors import ConfigError
from hwhup_core.synthetic.motion import MotionConfig
from hwhup_core.synthetic.stream import CribStream, StreamConfig, Truth
from hwhup_core.types import Frame, Posture
from hwhup_ros.camera_publisher import CameraPublisher
from hwhup_ros.conversions import make_header, to_pose_array
from hwhup_ros.msg import SmplPoseArray
from hwhup_ros.parameters import declare_config
from hwhup_ros.spinning import RclError, run
from hwhup_ros.truth import truth_estimate

SUBJECT = 'truth'
RENDERED_AHEAD = 2
RESTING_S = 0.1
"""Seconds between two looks at whether a resting camera goes on."""


@dataclass(frozen=True)
class SyntheticCameraConfig:
    """Settings of the camera; sizes and places as in `StreamConfig`, which holds their defaults."""

    rate_hz: float = field(default=15.0, metadata={'range': (0.1, 120.0)})
    """Frames a second."""
    seed: int = 0
    """The same seed gives the same infant, crib and motion."""
    wait_for_subscribers: bool = True
    """Publish the first frame only when somebody listens."""
    publish_depth: bool = True
    """Whether the camera has depth; without, there is no topic `depth`, and `truth` is as exact as ever."""
    body: str = StreamConfig.body
    """Bundled body, or the path of a body file."""
    width: int = field(default=StreamConfig.width, metadata={'range': (16, 4096)})
    """Image width, pixels."""
    height: int = field(default=StreamConfig.height, metadata={'range': (16, 4096)})
    """Image height, pixels."""
    focal_px: float = StreamConfig.focal_px
    """Focal length, pixels."""
    camera_height: float = StreamConfig.camera_height
    """Of the camera above the mattress, metres."""
    tilt_degrees: float = StreamConfig.tilt_degrees
    """Of the camera from straight down."""
    frame_id: str = StreamConfig.frame_id
    """Name of the camera's optical frame."""
    posture: str = StreamConfig.posture.name.lower()
    """At the start: supine, prone, left_side or right_side."""
    motion_steps: int = field(default=MotionConfig.steps, metadata={'range': (2, 2000)})
    """Poses passed through before the motion repeats, about 3 s each."""

    def stream_config(self) -> StreamConfig:
        """Return what the stream is made from."""
        if self.posture.upper() not in Posture.__members__:
            raise ConfigError(f'posture is {self.posture!r}. Expected supine, prone, left_side or right_side.')
        ours, theirs = ({one.name for one in dataclasses.fields(each)} for each in (self, StreamConfig))
        given = {name: getattr(self, name) for name in (ours & theirs) - {'posture'}}
        motion = MotionConfig(steps=self.motion_steps)
        return dataclasses.replace(StreamConfig(), posture=Posture[self.posture.upper()], motion=motion, **given)


class SyntheticCameraNode(Node):
    """
    Publishes `image`, `depth`, `camera_info` and `truth`, stamped with the moment of publishing.

    One thread renders ahead, another one publishes on time: rendering does not count as latency, as it would not
    in a camera. `published` counts frames.
    """

    def __init__(self, autostart: bool = True, parameter_overrides: Sequence[Parameter] = ()) -> None:
        super().__init__(
            'synthetic_camera_node',
            parameter_overrides=list(parameter_overrides),
            automatically_declare_parameters_from_overrides=True,
        )
        self.config = declare_config(self, SyntheticCameraConfig())
        self.published = 0
        self._stream = CribStream(self.config.stream_config(), self.config.seed)
        self._body = load_body(self.config.body)
        self._camera = CameraPublisher(self, self.config.publish_depth)
        self._truth = self.create_publisher(SmplPoseArray, 'truth', QoSProfile(depth=10))
        self._rendered: queue.Queue[tuple[Frame, Truth]] = queue.Queue(RENDERED_AHEAD)
        self._stop, self._resting = threading.Event(), threading.Event()
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for name, target in (('crib_render', self._render), ('crib_publish', self._publish_all))
        ]
        if autostart:
            self.start()

    def start(self) -> None:
        """Start to render, and to publish as soon as somebody listens."""
        for thread in self._threads:
            thread.start()

    def rest(self, resting: bool) -> None:
        """Publish nothing for a while, or go on where the motion stopped."""
        if resting:
            self._resting.set()
        else:
            self._resting.clear()

    def take_depth_away(self) -> None:
        """Publish colour alone from the next frame on."""
        self._camera.depth_is_on = False

    def stop(self) -> None:
        """Publish nothing more."""
        self._stop.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=2.0)

    def destroy_node(self) -> None:
        """Stop publishing, then destroy the node."""
        self.stop()
        super().destroy_node()

    def _render(self) -> None:
        index, waiting = 0, None
        while not self._stop.is_set():
            if waiting is None:
                waiting = self._stream.frame(0, index / self.config.rate_hz)
                index += 1
            try:
                self._rendered.put(waiting, timeout=0.2)
                waiting = None
            except queue.Full:
                continue

    def _publish_all(self) -> None:
        try:
            while self.config.wait_for_subscribers and not self._camera.subscribers_settled():
                if self._stop.wait(0.05):
                    return
            due = time.monotonic()
            while not self._stop.wait(max(0.0, due - time.monotonic())) and self.context.ok():
                if self._resting.is_set():
                    due = time.monotonic() + RESTING_S
                    continue
                try:
                    frame, truth = self._rendered.get(timeout=0.2)
                except queue.Empty:
                    continue
                # A late frame does not make the next ones come early: a camera has no memory of missed exposures.
                due = max(due + 1.0 / self.config.rate_hz, time.monotonic())
                self._publish(frame, truth)
        except RclError:  # The context was closed in mid-publish.
            if self.context.ok():
                raise

    def _publish(self, frame: Frame, truth: Truth) -> None:
        stamp_ns = self.get_clock().now().nanoseconds
        exact = truth_estimate(dataclasses.replace(truth, stamp_ns=stamp_ns), self._body, frame.frame_id, SUBJECT)
        header = make_header(stamp_ns, frame.frame_id)
        self._truth.publish(to_pose_array([exact], header, (self.config.width, self.config.height), 0.0))
        self._camera.publish(frame, stamp_ns)
        self.published += 1


def main(args: list[str] | None = None) -> int:
    """Run the camera as a program of its own."""
    return run(SyntheticCameraNode, args)


if __name__ == '__main__':
    sys.exit(main())
