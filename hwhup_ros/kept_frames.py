"""Keeps a few camera frames of a run for later: the last one with a good pose, and a sample over the whole run."""

from __future__ import annotations

import contextlib
import struct
import tempfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image

from hwhup_core.errors import FrameError
from hwhup_core.types import BodyEstimate, Frame, Intrinsics
from hwhup_ros import conversions, images

RECENT = 6
"""Frames in flight: more than the pose node can be behind."""
STAMP = struct.Struct('<iI')
STAMP_OFFSET = 4
"""A serialised message starts with four bytes of encapsulation, then the stamp of its header."""


@dataclass(frozen=True)
class KeptFrame:
    """One frame with its pose."""

    frame: Frame
    estimate: BodyEstimate
    truth: np.ndarray | None
    """(24, 3) joints in the camera frame, metres; None without truth."""


class KeptFrames:
    """
    Listens to the camera and keeps serialised images, which costs next to nothing, until somebody looks at them.

    Images of a live run are kept for a moment only; those of the sample go to a temporary folder, not to memory.
    """

    def __init__(self, node: Node, sample_period_s: float, sample_size: int) -> None:
        self._period_ns = round(sample_period_s * 1e9)
        self._size = sample_size
        self._next_ns = 0
        self._recent: dict[str, OrderedDict[int, bytes]] = {'image': OrderedDict(), 'depth': OrderedDict()}
        self._intrinsics: Intrinsics | None = None
        self._sample: list[tuple[BodyEstimate, np.ndarray | None, bool]] = []
        self._last_good: tuple[BodyEstimate, bytes | None, bytes | None] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix='hwhup_frames_')
        qos = QoSProfile(depth=2, reliability=ReliabilityPolicy.BEST_EFFORT)
        node.create_subscription(Image, 'image', lambda raw: self._keep('image', raw), qos, raw=True)
        node.create_subscription(Image, 'depth', lambda raw: self._keep('depth', raw), qos, raw=True)
        node.create_subscription(CameraInfo, 'camera_info', self._on_info, qos)

    def add(self, estimate: BodyEstimate, truth: np.ndarray | None) -> None:
        """Note that this frame got a good pose; every now and then the frame goes into the sample."""
        color, depth = (self._recent[name].get(estimate.stamp_ns) for name in ('image', 'depth'))
        if color is None and depth is None:
            return
        self._last_good = (estimate, color, depth)
        if estimate.stamp_ns >= self._next_ns and len(self._sample) < self._size:
            self._next_ns = estimate.stamp_ns + self._period_ns
            kept = color if depth is None else depth
            assert kept is not None
            self._path(estimate.stamp_ns).write_bytes(kept)
            self._sample.append((estimate, truth, depth is not None))

    def last_good(self) -> KeptFrame | None:
        """Return the newest frame with a good pose, with colour and depth where the camera has them."""
        if self._last_good is None:
            return None
        estimate, color, depth = self._last_good
        return KeptFrame(self._frame(estimate, color, depth), estimate, None)

    def sample(self) -> Iterator[KeptFrame]:
        """Return the frames of the sample, with depth only, or with colour only where there was no depth."""
        for estimate, truth, is_depth in self._sample:
            kept = self._path(estimate.stamp_ns).read_bytes()
            color, depth = (None, kept) if is_depth else (kept, None)
            yield KeptFrame(self._frame(estimate, color, depth), estimate, truth)

    def close(self) -> None:
        """Delete the temporary files."""
        self._folder.cleanup()

    def _keep(self, name: str, raw: bytes) -> None:
        seconds, nanoseconds = STAMP.unpack_from(raw, STAMP_OFFSET)
        recent = self._recent[name]
        recent[seconds * conversions.SECOND_NS + nanoseconds] = raw
        while len(recent) > RECENT:
            recent.popitem(last=False)

    def _on_info(self, message: CameraInfo) -> None:
        if self._intrinsics is None:
            # An uncalibrated camera: the pose node says so; a callback that raises would end every node here.
            with contextlib.suppress(FrameError):
                self._intrinsics = conversions.to_intrinsics(message)

    def _path(self, stamp_ns: int) -> Path:
        return Path(self._folder.name) / f'{stamp_ns}.cdr'

    def _frame(self, estimate: BodyEstimate, color: bytes | None, depth: bytes | None) -> Frame:
        return Frame(
            stamp_ns=estimate.stamp_ns,
            frame_id=estimate.frame_id,
            color=None if color is None else images.to_color(deserialize_message(color, Image)),
            depth=None if depth is None else images.to_depth(deserialize_message(depth, Image)),
            intrinsics=self._intrinsics,
        )
