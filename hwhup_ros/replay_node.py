"""Publishes recorded RGB-D frames as a live camera: a folder of PNG files, or a bag."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile

from hwhup_core.errors import ConfigError, FrameError
from hwhup_core.types import Frame
from hwhup_ros.camera_publisher import CameraPublisher
from hwhup_ros.conversions import to_ns
from hwhup_ros.msg import SmplPoseArray
from hwhup_ros.parameters import declare_config
from hwhup_ros.recordings import BagTopics, Recording, open_recording
from hwhup_ros.spinning import RclError, run

READ_AHEAD = 8
DELIVERY_S = 1.0
"""How long a finished replay stays alive, so that its last frame is delivered."""


@dataclass(frozen=True)
class ReplayConfig:
    """Settings of the replay."""

    recording: str = ''
    """Folder with color/, depth/ and a camera file, or a bag (rosbag2 folder, .mcap, .db3, ROS 1 .bag)."""
    rate_hz: float = 10.0
    """Frames a second, at most; above 0 up to 1000."""
    loop: bool = False
    """Start again at the end."""
    stamps: str = 'fresh'
    """`fresh`: the moment of publishing; `original`: as recorded, which makes latencies meaningless."""
    pace: str = 'realtime'
    """`realtime`: by the clock, as a camera does; `answered`: the next frame waits for the answer to the last one."""
    answer_timeout_s: float = 10.0
    """With pace `answered`: go on without the answer after this long. Above 0, seconds."""
    bag_image: str = ''
    """Colour topic in the bag; empty: the only one."""
    bag_depth: str = ''
    """Depth topic in the bag; empty: the only one."""
    bag_camera_info: str = ''
    """Camera info topic in the bag; empty: the only one, or the one beside the colour topic."""

    def __post_init__(self) -> None:
        """Refuse values that cannot work."""
        if not 0 < self.rate_hz <= 1000:
            raise ConfigError(f'rate_hz is {self.rate_hz}. Expected above 0, up to 1000.')
        if not self.answer_timeout_s > 0:
            raise ConfigError(f'answer_timeout_s is {self.answer_timeout_s}. Expected a time above 0.')
        if self.stamps not in ('fresh', 'original'):
            raise ConfigError(f'stamps is {self.stamps!r}. Expected fresh or original.')
        if self.pace not in ('realtime', 'answered'):
            raise ConfigError(f'pace is {self.pace!r}. Expected realtime or answered.')


class ReplayNode(Node):
    """
    Publishes `image`, `depth` and `camera_info` from a recording, once somebody listens.

    `published` counts frames, `skipped` counts the unusable ones by reason, `unanswered` those that no message came for
    (pace `answered` only; a refusal, which has no poses, is an answer, too); `finished` is set after the last one.
    """

    def __init__(self, autostart: bool = True, parameter_overrides: Sequence[Parameter] = ()) -> None:
        super().__init__(
            'replay_node',
            parameter_overrides=list(parameter_overrides),
            automatically_declare_parameters_from_overrides=True,
        )
        self.config = declare_config(self, ReplayConfig())
        if not self.config.recording:
            raise ConfigError('Parameter `recording` is empty. Expected a folder of RGB-D frames or a bag.')
        topics = BagTopics(self.config.bag_image, self.config.bag_depth, self.config.bag_camera_info)
        self._recording = open_recording(Path(self.config.recording).expanduser(), topics)
        if self.config.stamps == 'original' and not self._recording.has_stamps:
            raise ConfigError(f'{self.config.recording} has no stamps; the parameter `stamps` must be fresh.')
        self.frame_count = self._recording.frame_count
        self.published = 0
        self.unanswered = 0
        self.skipped: Counter[str] = Counter()
        self.finished = threading.Event()
        self._camera = CameraPublisher(self)
        self._answered_ns = 0
        self._answer = threading.Condition()
        self._answers = None
        if self.config.pace == 'answered':
            self._answers = self.create_subscription(SmplPoseArray, 'smpl_poses', self._on_poses, QoSProfile(depth=10))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._publish_all, name='replay', daemon=True)
        if autostart:
            self.start()

    def start(self) -> None:
        """Start to publish as soon as somebody listens."""
        self._thread.start()

    def stop(self) -> None:
        """Publish nothing more."""
        self._stop.set()
        with self._answer:
            self._answer.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=2.0)

    def destroy_node(self) -> None:
        """Stop publishing, then destroy the node."""
        self.stop()
        super().destroy_node()

    def _on_poses(self, message: SmplPoseArray) -> None:
        with self._answer:
            self._answered_ns = to_ns(message.header.stamp)
            self._answer.notify_all()

    def _publish_all(self) -> None:
        try:
            while not self._ready() and not self._stop.wait(0.05):
                pass
            period = 1.0 / self.config.rate_hz
            due = time.monotonic()
            for frame in ReadAhead(self._recording, self.config.loop, self._stop):
                if isinstance(frame, FrameError):
                    self.skipped[frame.reason] += 1
                    self.get_logger().warning(f'Frame skipped ({frame.reason}): {frame}')
                    continue
                if self._stop.wait(max(0.0, due - time.monotonic())) or not self.context.ok():
                    return
                due = max(due + period, time.monotonic())
                self._publish(frame)
            self.get_logger().info(f'Replay ended: {self.published} frames published, {self.skipped.total()} skipped.')
        except RclError:  # The context was closed in mid-publish.
            if self.context.ok():
                raise
        finally:
            self.finished.set()

    def _ready(self) -> bool:
        """Return whether the listeners are there and, where answers are waited for, the one who answers."""
        answerer = self._answers is None or self.count_publishers(self._answers.topic_name) > 0
        return answerer and self._camera.subscribers_settled()

    def _publish(self, frame: Frame) -> None:
        stamp_ns = frame.stamp_ns if self.config.stamps == 'original' else time.time_ns()
        self._camera.publish(frame, stamp_ns)
        self.published += 1
        if self._answers is None:
            return
        with self._answer:
            in_time = self._answer.wait_for(
                lambda: self._answered_ns == stamp_ns or self._stop.is_set(), self.config.answer_timeout_s
            )
        if not in_time:
            self.unanswered += 1
            self.get_logger().warning(
                f'No poses for frame {self.published} within {self.config.answer_timeout_s} s; going on.'
            )


class ReadAhead:
    """Iterates over a recording while a thread decodes the next few frames."""

    def __init__(self, recording: Recording, loop: bool, stop: threading.Event) -> None:
        self._recording = recording
        self._loop = loop
        self._stop = stop
        self._frames: queue.Queue[Frame | FrameError | None] = queue.Queue(READ_AHEAD)
        self._failure: Exception | None = None
        threading.Thread(target=self._read, name='read_ahead', daemon=True).start()

    def __iter__(self) -> ReadAhead:
        return self

    def __next__(self) -> Frame | FrameError:
        while not self._stop.is_set():
            try:
                frame = self._frames.get(timeout=0.2)
            except queue.Empty:
                continue
            if frame is not None:
                return frame
            if self._failure is not None:
                raise self._failure
            break
        raise StopIteration

    def _read(self) -> None:
        try:
            while self._read_once() and self._loop:
                pass
        except Exception as error:  # Raised again where the frames are used.
            self._failure = error
        self._put(None)

    def _read_once(self) -> bool:
        """Return whether there was any usable frame; a loop over none would spin for ever."""
        usable = False
        for frame in self._recording.frames():
            usable |= isinstance(frame, Frame)
            if not self._put(frame):
                return False
        return usable

    def _put(self, frame: Frame | FrameError | None) -> bool:
        while not self._stop.is_set():
            try:
                self._frames.put(frame, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False


class _ReplayProcess(ReplayNode):
    """The replay as a program of its own: it ends when the recording does."""

    def __init__(self) -> None:
        super().__init__()
        self.create_timer(0.2, self._end_when_finished)

    def _end_when_finished(self) -> None:
        if self.finished.is_set():
            time.sleep(DELIVERY_S)
            rclpy.try_shutdown()


def main(args: list[str] | None = None) -> int:
    """Run the replay node."""
    return run(_ReplayProcess, args)


if __name__ == '__main__':
    sys.exit(main())
