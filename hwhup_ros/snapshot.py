"""Pictures of one frame for a person to judge: the mesh in its point cloud from three sides, and on the image."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from hwhup_core.body.joints import PARENTS_24
from hwhup_core.errors import AssetError
from hwhup_core.geometry.cameras import project, rays
from hwhup_core.render.picture import depth_to_rgb, draw_skeleton, overlay, side_by_side
from hwhup_core.types import BodyEstimate, Frame, Intrinsics

SIZE = 560
"""Side of each panel, pixels."""
DISTANCE = 4.0
"""From the drawing camera to the pelvis, in body extents: far, for little perspective."""
MARGIN = 1.25
"""How much larger than the body the panel is."""
MESH_ALPHA = 0.55
"""The points that the mesh should lie on shine through."""
POINT_SIZE = 3
"""Pixels."""
FRONT = np.eye(3)
SIDE = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
"""From the right side of the image: what is near the camera is on the right."""
FEET = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""From below the image: what is near the camera is on top."""


def draw_snapshot(
    frame: Frame, estimate: BodyEstimate, vertices: Float[ndarray, 'v 3'], faces: Int[ndarray, 'f 3']
) -> UInt8[ndarray, 'h w 3']:
    """Return the mesh with skeleton in the measured points, from the camera's side, from the right and from below."""
    points, colors = measured_points(frame)
    panels = [draw_view(rotation, estimate, vertices, faces, points, colors) for rotation in (FRONT, SIDE, FEET)]
    return side_by_side(panels, ['from the camera', 'from the right (camera at right)', 'from below (camera on top)'])


def draw_overlay(
    frame: Frame, estimate: BodyEstimate, vertices: Float[ndarray, 'v 3'], faces: Int[ndarray, 'f 3']
) -> UInt8[ndarray, 'h w 3']:
    """Return the image (the depth in colours, if there is no image) beside itself with mesh and skeleton on it."""
    image = frame.color if frame.color is not None else depth_to_rgb(frame.depth)
    drawn = overlay(image, vertices, faces, frame.intrinsics)
    drawn = draw_skeleton(drawn, estimate.joint_pixels, PARENTS_24, estimate.joint_visibility)
    return side_by_side([image, drawn], ['input', 'estimate'])


def draw_view(
    rotation: Float[ndarray, '3 3'],
    estimate: BodyEstimate,
    vertices: Float[ndarray, 'v 3'],
    faces: Int[ndarray, 'f 3'],
    points: Float[ndarray, 'n 3'],
    colors: UInt8[ndarray, 'n 3'],
) -> UInt8[ndarray, 'h w 3']:
    """Return the scene, turned by `rotation` around the middle of the body, through a camera far away."""
    middle = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    extent = float((vertices.max(axis=0) - vertices.min(axis=0)).max())
    away = np.array([0.0, 0.0, DISTANCE * extent])
    focal = DISTANCE * SIZE / MARGIN
    camera = Intrinsics(focal, focal, SIZE / 2, SIZE / 2, SIZE, SIZE)

    def seen(positions: ndarray) -> ndarray:
        return (positions - middle) @ rotation.T + away

    picture = draw_points(seen(points), colors, camera)
    picture = overlay(picture, seen(vertices).astype(np.float32), faces, camera, MESH_ALPHA)
    return draw_skeleton(picture, project(seen(estimate.joint_positions), camera), PARENTS_24)


def draw_points(
    points: Float[ndarray, 'n 3'], colors: UInt8[ndarray, 'n 3'], camera: Intrinsics
) -> UInt8[ndarray, 'h w 3']:
    """Return the points as small squares on white, the nearest ones on top."""
    picture = np.full((camera.height, camera.width, 3), 255, np.uint8)
    ahead = points[:, 2] > 0.05
    points, colors = points[ahead], colors[ahead]
    order = np.argsort(-points[:, 2])
    pixels = np.floor(project(points[order], camera)).astype(int)
    for shift in np.ndindex(POINT_SIZE, POINT_SIZE):
        x, y = (pixels + shift).T
        inside = (x >= 0) & (y >= 0) & (x < camera.width) & (y < camera.height)
        picture[y[inside], x[inside]] = colors[order][inside]
    return picture


def measured_points(frame: Frame) -> tuple[Float[ndarray, 'n 3'], UInt8[ndarray, 'n 3']]:
    """Return what the depth camera measured, metres in the camera frame, in the colours of the image or grey."""
    if frame.depth is None or frame.intrinsics is None:
        return np.zeros((0, 3)), np.zeros((0, 3), np.uint8)
    rows, columns = np.nonzero(frame.depth > 0)
    pixels = np.stack([columns, rows], axis=1) + 0.5
    points = rays(frame.intrinsics, pixels) * frame.depth[rows, columns, None]
    has_color = frame.color is not None and frame.color.shape[:2] == frame.depth.shape
    colors = frame.color[rows, columns] if has_color else np.full((len(points), 3), 150, np.uint8)
    return points, colors


def write_png(path: Path, picture: UInt8[ndarray, 'h w 3']) -> None:
    """Write an RGB picture; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() != '.png' or not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise AssetError(f'{path} cannot be written. Expected a .png path in a folder that can be written to.')
