"""The node that shows SMPL poses in RViz: mesh, skeleton, joints and label as a MarkerArray."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from jaxtyping import Float, Int
from numpy import ndarray
from rclpy.clock import Clock, ClockType
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from visualization_msgs.msg import Marker, MarkerArray

from hwhup_core.errors import AssetError, HwhupError
from hwhup_core.types import State
from hwhup_ros.conversions import from_pose_message, make_header
from hwhup_ros.diagnostics import Health, Meter, to_diagnostics
from hwhup_ros.mailbox import Worker
from hwhup_ros.markers import (
    MESH_ID,
    MarkerStyle,
    decimate,
    delete_markers,
    joints_marker,
    label_marker,
    mesh_marker,
    serialize_meshes,
    skeleton_marker,
)
from hwhup_ros.msg import BodyModelInfo, SmplPose, SmplPoseArray
from hwhup_ros.parameters import declare_config
from hwhup_ros.spinning import run

LOG_PERIOD = 5.0


@dataclass(frozen=True)
class MarkerConfig:
    """Parameters of the marker node."""

    body: str = ''
    """File of the body model; empty: the bundled body with the hash that the poses name."""
    max_rate: float = field(default=10.0, metadata={'range': (0.1, 100.0)})
    """Most messages a second; RViz has frozen under more."""
    max_faces: int = field(default=0, metadata={'range': (0, 1000000)})
    """Most triangles of the mesh; 0: all of them."""
    lifetime: float = field(default=0.5, metadata={'range': (0.1, 60.0)})
    """Seconds after which RViz removes a marker that was not renewed."""
    mesh_opacity: float = field(default=0.9, metadata={'range': (0.0, 1.0)})
    """1 is opaque."""
    show_mesh: bool = True
    """Draw the surface."""
    show_skeleton: bool = True
    """Draw bones and joints."""
    show_label: bool = True
    """Write name, state, posture and confidence."""


@dataclass(frozen=True)
class LoadedBody:
    """A body model that can be drawn."""

    model: Any
    faces: Int[ndarray, 'f 3']
    """The triangles to draw, decimated if so configured."""


class MarkerNode(Node):
    """
    Subscribes `smpl_poses` and `body_model`; publishes `markers`, only while somebody subscribes.

    A stale pose loses its mesh and skeleton and keeps a grey label; a person who is gone is deleted.
    """

    def __init__(
        self,
        *,
        parameter_overrides: Sequence[Parameter] = (),
        context: Context | None = None,
        namespace: str | None = None,
        node_name: str = 'marker_node',
    ) -> None:
        super().__init__(
            node_name,
            context=context,
            namespace=namespace,
            parameter_overrides=list(parameter_overrides),
            automatically_declare_parameters_from_overrides=True,
        )
        self._worker: Worker[SmplPoseArray] | None = None
        self._body: LoadedBody | None = None
        self._body_problem = self._frame_problem = ''
        self._shown: dict[str, set[int]] = {}
        self._next_due = -math.inf
        self._work_time = Meter()
        try:
            self.config = declare_config(self, MarkerConfig())
        except HwhupError:
            self.destroy_node()
            raise
        self._style = MarkerStyle(
            self.config.lifetime,
            self.config.mesh_opacity,
            self.config.show_mesh,
            self.config.show_skeleton,
            self.config.show_label,
        )
        self._markers = self.create_publisher(MarkerArray, 'markers', QoSProfile(depth=1))
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', QoSProfile(depth=10))
        # Posing takes milliseconds: in the callback it would hold up other nodes of the same process.
        self._worker = Worker(self._show, self._on_error, lambda poses: None, name='marker_worker').start()
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(BodyModelInfo, 'body_model', self._on_body_model, latched)
        self.create_subscription(SmplPoseArray, 'smpl_poses', self._worker.submit, QoSProfile(depth=1))
        self.create_timer(1.0, self._publish_diagnostics, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def mesh_faces(self) -> int:
        """Return how many triangles a mesh marker holds; 0 without a body."""
        return 0 if self._body is None else len(self._body.faces)

    def destroy_node(self) -> None:
        """Stop the worker before the publisher goes."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None
        super().destroy_node()

    def _on_body_model(self, info: BodyModelInfo) -> None:
        """Load the body that the poses speak of; without it only the skeleton is drawn."""
        if self._body is not None and self._body.model.hash == info.hash:
            return
        self._body, self._body_problem = None, ''
        try:
            self._body = load_drawable(info, self.config.body, self.config.max_faces)
        except HwhupError as error:
            self._body_problem = str(error)
            self.get_logger().error(f'{error} Until then the mesh is not drawn.')

    def _show(self, poses: SmplPoseArray) -> None:
        """Publish the markers of one message, unless nobody looks or it is too early; deletions are never late."""
        if not self.context.ok():
            return
        if not self._markers.get_subscription_count():
            self._shown, self._frame_problem = {}, ''
            return
        began = time.monotonic()
        lost = self._shown.keys() - {pose.subject_id for pose in poses.poses if pose.state != State.NO_PERSON}
        if began < self._next_due and not lost:
            return
        self._next_due = max(self._next_due + 1.0 / self.config.max_rate, began)
        markers, meshes = self._draw(poses)
        if markers:
            self._markers.publish(serialize_meshes(markers, meshes))
            self._work_time.add(time.monotonic() - began, began)
        self._frame_problem = self._wrong_body(poses)

    def _draw(self, poses: SmplPoseArray) -> tuple[list[Marker], dict[int, Float[ndarray, 'n 3']]]:
        """Return all markers, deletions included, and the points of the meshes by their place among them."""
        markers: list[Marker] = []
        meshes: dict[int, ndarray] = {}
        shown: dict[str, set[int]] = {}
        for pose in poses.poses:
            points = self._mesh_points(pose)
            if points is not None:
                meshes[len(markers)] = points
                markers.append(mesh_marker(pose, self._style, len(markers)))
            others = [marker for marker in self._small_markers(pose) if marker is not None]
            markers += others
            shown[pose.subject_id] = {marker.id for marker in others} | ({MESH_ID} if points is not None else set())
        for subject_id, ids in self._shown.items():
            gone = ids - shown.get(subject_id, set())
            markers += delete_markers(poses.header, subject_id, tuple(sorted(gone)))
        self._shown = {subject_id: ids for subject_id, ids in shown.items() if ids}
        return markers, meshes

    def _small_markers(self, pose: SmplPose) -> list[Marker | None]:
        if pose.state == State.NO_PERSON:
            return []
        label = label_marker(pose, self._style) if self._style.show_label else None
        if pose.state == State.STALE or not self._style.show_skeleton:
            return [label]
        return [skeleton_marker(pose, self._style), joints_marker(pose, self._style), label]

    def _mesh_points(self, pose: SmplPose) -> Float[ndarray, 'n 3'] | None:
        """Return three points a triangle, camera frame; None where it cannot be drawn."""
        body = self._body
        if body is None or not self._style.show_mesh or pose.state in (State.NO_PERSON, State.STALE):
            return None
        if pose.body_model_hash != body.model.hash:
            return None
        # Imports torch, which nothing else here needs.
        from hwhup_core.body.posing import posed_vertices

        vertices = posed_vertices(body.model, from_pose_message(pose))
        return vertices[body.faces].reshape(-1, 3) if np.isfinite(vertices).all() else None

    def _wrong_body(self, poses: SmplPoseArray) -> str:
        """Say that poses are of another body than the loaded one, so that their mesh is not drawn; '' where none is."""
        body = self._body if self._style.show_mesh else None
        for pose in poses.poses:
            if body is not None and pose.body_model_hash != body.model.hash:
                text = (
                    f'The pose is of body {pose.body_model_id} ({pose.body_model_hash[:12]}), loaded is '
                    f'{body.model.body_id} ({body.model.hash[:12]}). Run one pose node only.'
                )
                self.get_logger().error(text, throttle_duration_sec=LOG_PERIOD)
                return text
        return ''

    def _on_error(self, poses: SmplPoseArray, error: Exception) -> None:
        if self.context.ok():
            self._frame_problem = f'{type(error).__name__}: {error}'
            text = ''.join(traceback.format_exception(error))
            self.get_logger().error(f'Markers not drawn: {text}', throttle_duration_sec=LOG_PERIOD)

    def _publish_diagnostics(self) -> None:
        now = time.monotonic()
        problem = self._body_problem or self._frame_problem
        health = Health(
            name=f'{self.get_fully_qualified_name().lstrip("/")}: markers',
            level=DiagnosticStatus.WARN if problem else DiagnosticStatus.OK,
            message=problem or 'ready',
            values={
                'rate [Hz]': self._work_time.rate(now),
                'work p95 [s]': self._work_time.percentile(95),
                'mesh faces': self.mesh_faces,
                'subscribers': self._markers.get_subscription_count(),
            },
        )
        header = make_header(self.get_clock().now().nanoseconds, '')
        self._diagnostics.publish(to_diagnostics(health, 'rviz', header))


def load_drawable(info: BodyModelInfo, path: str, max_faces: int) -> LoadedBody:
    """Return the body with the hash in `info`, from `path` or from the bundled ones; another body is refused."""
    from hwhup_core.body.model import BUNDLED, load_body

    found = []
    for name in [path] if path else BUNDLED:
        model = load_body(name)
        if model.hash == info.hash:
            faces = model.faces.numpy()
            return LoadedBody(model, decimate(rest_vertices(model), faces, max_faces))
        found.append(f'{model.body_id} ({model.hash[:12]})')
    raise AssetError(
        f"The poses are of body '{info.id}' ({info.hash[:12]}); {'the file' if path else 'the bundled bodies'} hold "
        f"{', '.join(found)}. Set the parameter 'body' of the marker node to the file that the pose node uses."
    )


def rest_vertices(model: Any) -> Float[ndarray, 'v 3']:
    """Return the mean shape in the T-pose, metres."""
    import torch

    from hwhup_core.types import BodyParams

    identity = torch.eye(3).expand(1, 24, 3, 3)
    with torch.inference_mode():
        return model(BodyParams(identity[:, 0], identity[:, 1:], torch.zeros(1, 10))).vertices[0].numpy()


def main(args: list[str] | None = None) -> int:
    """Run the node."""
    return run(MarkerNode, args)
