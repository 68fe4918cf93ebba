"""Watches a running graph and writes down how it did: `report.json`."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shlex
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo
from visualization_msgs.msg import Marker, MarkerArray

from hwhup_core.errors import FrameError
from hwhup_core.types import BodyEstimate, State
from hwhup_ros.conversions import from_pose_message, to_ns
from hwhup_ros.kept_frames import KeptFrames
from hwhup_ros.msg import SmplPose, SmplPoseArray
from hwhup_ros.parameters import declare_config
from hwhup_ros.report_numbers import Baseline, Identity, PoseRecord, Records, Run, root_aligned_error, summarise
from hwhup_ros.spinning import run

TRUTHS_KEPT = 200
MEMORY_PERIOD_S = 0.5
GOOD = (State.ESTIMATED, State.LOW_CONFIDENCE)
MEGABYTE = 1024.0 * 1024.0
COUNT = re.compile(r'(\w+) (received|answered|dropped .+|lost on the way)')


@dataclass(frozen=True)
class ReportConfig:
    """Settings of the report."""

    file: str = ''
    """Where the report is written when the node ends; empty: nowhere."""
    keep_frames: bool = False
    """Listen to the images, too, for pictures and for the comparison with the mean pose."""
    sample_period_s: float = 0.0
    """Compare with the mean pose on one frame in so many seconds; 0: on every one, up to the sample size."""
    sample_size: int = 40
    """Compare with the mean pose on this many frames at most."""


class ReportNode(Node):
    """Counts poses, markers, frames and drops, and measures them; `summary` gives the numbers at any time."""

    def __init__(self) -> None:
        super().__init__('report_node', automatically_declare_parameters_from_overrides=True)
        self.config = declare_config(self, ReportConfig())
        self.records = Records()
        self.last_estimate: BodyEstimate | None = None
        self.counts: dict[tuple[str, str], int] = {}
        self.frames: KeptFrames | None = None
        self._truths: OrderedDict[int, np.ndarray] = OrderedDict()
        self._last_markers = b''
        self._process = psutil.Process()
        self._started = time.monotonic()
        self.create_subscription(SmplPoseArray, 'smpl_poses', self._on_poses, QoSProfile(depth=50))
        self.create_subscription(SmplPoseArray, 'truth', self._on_truth, QoSProfile(depth=50))
        self.create_subscription(MarkerArray, 'markers', self._on_markers, QoSProfile(depth=5), raw=True)
        best_effort = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.create_subscription(CameraInfo, 'camera_info', self._on_info, best_effort)
        self.create_subscription(DiagnosticArray, '/diagnostics', self._on_diagnostics, QoSProfile(depth=10))
        self.create_timer(MEMORY_PERIOD_S, self._measure_memory)
        if self.config.keep_frames:
            self.frames = KeptFrames(self, self.config.sample_period_s, self.config.sample_size)

    def summary(self, known: Run | None = None, baseline: Baseline | None = None) -> dict[str, Any]:
        """Return the numbers so far; by default the counts are those that the pose node gives on /diagnostics."""
        self._count_faces()
        known = known or Run(
            command=shlex.join(sys.argv),
            frames_received=max((n for (_, what), n in self.counts.items() if what == 'received'), default=None),
            dropped={f'{stream} {what[8:]}': n for (stream, what), n in self.counts.items() if 'dropped' in what},
        )
        seconds = time.monotonic() - self._started
        return summarise(self.records, dataclasses.replace(known, seconds=seconds), baseline or Baseline())

    def destroy_node(self) -> None:
        """Write the report where one is wanted, then destroy the node."""
        if self.config.file:
            write_report(Path(self.config.file).expanduser(), self.summary())
        if self.frames is not None:
            self.frames.close()
        super().destroy_node()

    def _on_poses(self, message: SmplPoseArray) -> None:
        now = time.monotonic()
        stamp_ns = to_ns(message.header.stamp)
        if message.poses and message.poses[0].state == State.STALE:
            self.records.states[State.STALE.name] += 1
            return  # A repetition, not an answer.
        if not message.poses:
            self.records.add_refusal(stamp_ns)
            return
        self.records.add_answer(stamp_ns)
        first = message.poses[0]
        state = State(first.state)
        self.records.states[state.name] += 1
        self.records.poses.append(
            PoseRecord(
                now,
                first.latency,
                state,
                first.aligned_depth_error,
                self._joint_error(first, stamp_ns),
                first.weights_hash,
            )
        )
        if state in GOOD:
            self._note_good(first)

    def _note_good(self, message: SmplPose) -> None:
        if not self.records.identity.body_id:
            self.records.identity = Identity(message.body_model_id, message.body_model_hash, message.weights_hash)
        self.last_estimate = from_pose_message(message)
        if self.frames is not None:
            self.frames.add(self.last_estimate, self._truths.get(self.last_estimate.stamp_ns))

    def _joint_error(self, message: SmplPose, stamp_ns: int) -> float:
        truth = self._truths.get(stamp_ns)
        return math.nan if truth is None else root_aligned_error(joint_positions(message), truth)

    def _on_truth(self, message: SmplPoseArray) -> None:
        if message.poses:
            self._truths[to_ns(message.header.stamp)] = joint_positions(message.poses[0])
        while len(self._truths) > TRUTHS_KEPT:
            self._truths.popitem(last=False)

    def _on_info(self, message: CameraInfo) -> None:
        self.records.add_frame(to_ns(message.header.stamp))

    def _on_markers(self, raw: bytes) -> None:
        self.records.markers_published += 1
        # A message without a mesh (a deletion, a skeleton alone) is small.
        if len(raw) >= len(self._last_markers):
            self._last_markers = raw

    def _count_faces(self) -> None:
        """Count the triangles of the largest marker message; done once, since it takes Python long to read one."""
        if not self._last_markers:
            return
        markers = deserialize_message(self._last_markers, MarkerArray).markers
        self._last_markers = b''
        triangles = [len(marker.points) // 3 for marker in markers if marker.type == Marker.TRIANGLE_LIST]
        self.records.mesh_faces_per_marker = max([self.records.mesh_faces_per_marker, *triangles])

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.counts.update(image_counts({pair.key: pair.value for pair in status.values}))

    def _measure_memory(self) -> None:
        self.records.memory.append((time.monotonic(), self._process.memory_info().rss / MEGABYTE))


def image_counts(values: dict[str, str]) -> dict[tuple[str, str], int]:
    """
    Return what the pose node says on /diagnostics of its images, by (stream, what).

    `what` is `received`, `answered`, `dropped REASON` or `lost on the way`; other values are left out.
    """
    found = {key: COUNT.fullmatch(key) for key in values}
    return {(match[1], match[2]): int(values[key]) for key, match in found.items() if match and values[key].isdigit()}


def joint_positions(message: SmplPose) -> np.ndarray:
    """Return the joints of a message: (24, 3), metres, camera frame."""
    return np.array([(joint.position.x, joint.position.y, joint.position.z) for joint in message.joints])


def mean_pose_baseline(frames: KeptFrames, engine: Any) -> Baseline:
    """Return how the mean pose of `engine` (a `hwhup_core.inference` Engine) does on the sampled frames."""
    depth_errors, joint_errors = [], []
    for kept in frames.sample():
        try:
            mean = engine.mean_pose_estimate(kept.frame, kept.estimate.box)
        except FrameError:
            continue
        depth_errors.append(mean.aligned_depth_error)
        if kept.truth is not None:
            joint_errors.append(root_aligned_error(mean.joint_positions, kept.truth))
    return Baseline(tuple(depth_errors), tuple(joint_errors))


def write_report(path: Path, summary: dict[str, Any]) -> None:
    """Write the report as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary, indent=2) + '\n')


def main(args: list[str] | None = None) -> int:
    """Run the report as a program of its own; it writes its file at the end."""
    return run(ReportNode, args)


if __name__ == '__main__':
    sys.exit(main())
