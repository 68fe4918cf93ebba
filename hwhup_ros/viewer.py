"""A live 3D page in the browser, for machines without RViz: mesh, skeleton, point cloud, image; 127.0.0.1 only."""

from __future__ import annotations

import contextlib
import sys
import threading
from dataclasses import dataclass, field

import cv2
import numpy as np
import viser
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image

from hwhup_core.body.model import BodyModel, load_body
from hwhup_core.body.posing import posed_vertices
from hwhup_core.errors import ConfigError, FrameError
from hwhup_core.types import BodyEstimate, Intrinsics, State
from hwhup_ros import conversions, images
from hwhup_ros.msg import BodyModelInfo, SmplPose, SmplPoseArray
from hwhup_ros.parameters import declare_config
from hwhup_ros.point_cloud import ray_grid
from hwhup_ros.spinning import run

HOST = '127.0.0.1'
"""Never another address: the page shows a person and asks for no password."""
MESH_COLOR = (90, 170, 255)
MESH_OPACITY = 0.8
"""The skeleton shines through."""
BONE_COLOR = (255, 190, 40)
PANEL_WIDTH = 320
STATE_TEXT = {
    State.ESTIMATED: 'estimated',
    State.LOW_CONFIDENCE: 'low confidence',
    State.NO_PERSON: 'no person',
    State.STALE: 'stale',
}


@dataclass(frozen=True)
class ViewerConfig:
    """Settings of the page."""

    port: int = field(default=8080, metadata={'range': (0, 65535)})
    """Port on 127.0.0.1; 0 takes a free one."""
    rate_hz: float = field(default=8.0, metadata={'range': (0.1, 10.0)})
    """Updates a second, at most 10."""
    body: str = 'infant'
    """Body that the poses are of: `infant`, `adult`, or the path of an SMPL or SMIL file."""
    point_stride: int = field(default=3, metadata={'range': (1, 32)})
    """The point cloud shows every so-manieth pixel of a row and of a column."""
    up_in_camera: tuple[float, float, float] | None = None
    """Up in the camera's optical frame (x right, y down, z forward); None: up in the image."""


class ViewerNode(Node):
    """Serves the page; what arrives is only kept, and drawn by a thread when a browser looks."""

    def __init__(self) -> None:
        super().__init__('viewer', automatically_declare_parameters_from_overrides=True)
        self.config = declare_config(self, ViewerConfig())
        self._body = load_body(self.config.body)
        self._newest: dict[str, bytes] = {}
        self._pose: SmplPose | None = None
        self._intrinsics: Intrinsics | None = None
        self._parents = [int(parent) for parent in self._body.parents]
        self._subscribe()
        self.page = Page(self.config, self._body)
        self.get_logger().info(f'Live view: {self.page.url}')
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._draw_for_ever, name='viewer', daemon=True)
        self._thread.start()

    def destroy_node(self) -> None:
        """Stop the page, then destroy the node."""
        self._stop.set()
        self._thread.join(timeout=2.0)
        self.page.stop()
        super().destroy_node()

    def _subscribe(self) -> None:
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(SmplPoseArray, 'smpl_poses', self._on_poses, QoSProfile(depth=1))
        self.create_subscription(Image, 'image', lambda raw: self._newest.update(image=raw), newest, raw=True)
        self.create_subscription(Image, 'depth', lambda raw: self._newest.update(depth=raw), newest, raw=True)
        self.create_subscription(CameraInfo, 'camera_info', self._on_info, newest)
        self.create_subscription(BodyModelInfo, 'body_model', self._on_body, latched)

    def _on_poses(self, message: SmplPoseArray) -> None:
        self._pose = message.poses[0] if message.poses else None

    def _on_info(self, message: CameraInfo) -> None:
        if self._intrinsics is None:
            # An uncalibrated camera: the pose node says so; a callback that raises would end every node here.
            with contextlib.suppress(FrameError):
                self._intrinsics = conversions.to_intrinsics(message)

    def _on_body(self, message: BodyModelInfo) -> None:
        if message.hash != self._body.hash:
            self.get_logger().warning(
                f'Poses are of body {message.id} ({message.hash[:12]}), the page draws {self.config.body} '
                f'({self._body.hash[:12]}). Set the parameter body of both nodes to the same.'
            )

    def _draw_for_ever(self) -> None:
        period = 1.0 / self.config.rate_hz
        while not self._stop.wait(period):
            if self.page.is_watched:
                try:
                    self._draw()
                except Exception as error:  # The page must outlive one bad frame.
                    self.get_logger().warning(f'{type(error).__name__}: {error}', throttle_duration_sec=5.0)

    def _draw(self) -> None:
        newest, pose = dict(self._newest), self._pose
        color = images.to_color(deserialize_message(newest['image'], Image)) if 'image' in newest else None
        depth = images.to_depth(deserialize_message(newest['depth'], Image)) if 'depth' in newest else None
        if color is not None:
            self.page.show_image(color)
        if depth is not None and self._intrinsics is not None:
            self.page.show_points(depth, color, self._intrinsics)
        if pose is None or pose.state == State.NO_PERSON:
            self.page.hide_body('no pose' if pose is None else STATE_TEXT[State.NO_PERSON])
        else:
            self.page.show_body(conversions.from_pose_message(pose))


class Page:
    """The scene in the browser, in the camera's optical frame."""

    def __init__(self, config: ViewerConfig, body: BodyModel) -> None:
        self._config = config
        self._body = body
        self._parents = np.array([int(parent) for parent in body.parents])
        try:
            self._server = viser.ViserServer(host=HOST, port=config.port, label='hwhup crib monitor', verbose=False)
        except OSError as error:
            raise ConfigError(f'Port {config.port} on {HOST} cannot be used ({error}). Choose another one.') from error
        self.url = f'http://{HOST}:{self._server.get_port()}'
        self._up = np.array(config.up_in_camera or (0.0, -1.0, 0.0))
        self._up /= np.linalg.norm(self._up)
        self._server.scene.set_up_direction(self._up)
        self._server.gui.configure_theme(show_logo=False, show_share_button=False)
        self._state = self._server.gui.add_markdown('waiting for the first pose')
        self._panel: viser.GuiImageHandle | None = None
        self._points: viser.PointCloudHandle | None = None
        self._mesh: viser.MeshHandle | None = None
        self._bones: viser.LineSegmentsHandle | None = None

    @property
    def is_watched(self) -> bool:
        """Return whether a browser has the page open."""
        return bool(self._server.get_clients())

    def stop(self) -> None:
        """Close the page."""
        self._server.stop()

    def show_image(self, color: np.ndarray) -> None:
        """Show the colour image beside the scene."""
        height = round(color.shape[0] * PANEL_WIDTH / color.shape[1])
        small = cv2.resize(color, (PANEL_WIDTH, height), interpolation=cv2.INTER_AREA)
        if self._panel is None:
            self._panel = self._server.gui.add_image(small, label='image', format='jpeg', jpeg_quality=80)
        else:
            self._panel.image = small

    def show_points(self, depth: np.ndarray, color: np.ndarray | None, intrinsics: Intrinsics) -> None:
        """Show what the depth camera measured, in the colours of the image."""
        step = self._config.point_stride
        thinned = depth[::step, ::step]
        seen = thinned > 0
        points = (ray_grid(intrinsics, step)[seen] * thinned[seen][:, None]).astype(np.float32)
        same_size = color is not None and color.shape[:2] == depth.shape
        colors = color[::step, ::step][seen] if same_size else np.full((len(points), 3), 160, np.uint8)
        if self._points is None:
            self._points = self._server.scene.add_point_cloud(
                '/points', points, colors, point_size=0.004, precision='float32', point_shading='flat'
            )
        else:
            with self._server.atomic():
                self._points.points, self._points.colors = points, colors

    def show_body(self, estimate: BodyEstimate) -> None:
        """Show mesh and skeleton; the first body also sets where a browser looks from."""
        vertices = posed_vertices(self._body, estimate).astype(np.float32)
        children = np.flatnonzero(self._parents >= 0)
        bones = estimate.joint_positions[np.stack([self._parents[children], children], axis=1)].astype(np.float32)
        self._state.content = (
            f'**{STATE_TEXT[estimate.state]}**, {estimate.posture.name.lower().replace("_", " ")}, '
            f'confidence {estimate.confidence:.2f}'
        )
        if self._mesh is None or self._bones is None:
            self._add_body(vertices, bones)
            self._look_at(estimate.root_position)
            return
        with self._server.atomic():
            self._mesh.vertices, self._bones.points = vertices, bones
            self._mesh.visible = self._bones.visible = True

    def hide_body(self, why: str) -> None:
        """Take the body away."""
        self._state.content = f'**{why}**'
        if self._mesh is not None and self._bones is not None:
            self._mesh.visible = self._bones.visible = False

    def _add_body(self, vertices: np.ndarray, bones: np.ndarray) -> None:
        scene = self._server.scene
        faces = self._body.faces.numpy()
        self._mesh = scene.add_mesh_simple(
            '/mesh', vertices, faces, color=MESH_COLOR, opacity=MESH_OPACITY, side='double', cast_shadow=False
        )
        self._bones = scene.add_line_segments('/skeleton', bones, BONE_COLOR, thickness=3.0, thickness_units='screen')

    def _look_at(self, target: np.ndarray) -> None:
        """Look from the camera's side, from a little above and to the right, so that depth can be judged."""
        toward_camera = -target / np.linalg.norm(target)
        direction = toward_camera + 0.5 * np.array([1.0, 0.0, 0.0]) + 0.4 * self._up
        position = target + 0.75 * np.linalg.norm(target) * direction / np.linalg.norm(direction)
        views = [self._server.initial_camera, *(client.camera for client in self._server.get_clients().values())]
        for view in views:
            view.up, view.position, view.look_at = tuple(self._up), tuple(position), tuple(target)


def main(args: list[str] | None = None) -> int:
    """Run the viewer as a program of its own."""
    return run(ViewerNode, args)


if __name__ == '__main__':
    sys.exit(main())
