"""
The side view of what was measured and what was predicted, which shows whether the body lies in the point cloud.

The side camera stands level with the body, square to its long axis in the crop, so far away that nothing is
foreshortened. The long axis keeps its direction on the picture; across it runs the depth, near to far from left to
right or from top to bottom.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray

from hwhup_core.body.model import BodyModel
from hwhup_core.geometry.cameras import crop_translation
from hwhup_core.geometry.depth import depth_offset_median, unproject
from hwhup_core.render.depth import render_depth
from hwhup_core.render.picture import PAPER, overlay
from hwhup_core.types import CropPinhole, Intrinsics, Prediction

DISTANCE = 40.0
"""Of the side camera from the middle of the body, metres."""
SURROUNDINGS = (196, 201, 208)
"""Colour of measured points that the rendered body does not cover."""
AGREED, IN_FRONT, BEHIND = (24, 132, 84), (28, 92, 214), (214, 48, 42)
"""Colours of measured points on the body's pixels: within `TOLERANCE` of its surface, nearer, farther."""
TOLERANCE = 0.03
"""Metres."""
MARGIN = 1.25
"""Picture over the extent of the body."""


@dataclass(frozen=True)
class Cloud:
    """Measured points, moved along the rays until their depth agrees with the body's (median offset)."""

    points: Float[ndarray, 'n 3']
    """Crop camera's frame, metres."""
    on_body: Bool[ndarray, ' n']
    """Whether the rendered body covers the pixel."""
    residual: Float[ndarray, ' n']
    """How far the point lies behind the body's surface, metres; NaN off the body."""
    offset: float
    """What was taken off the measured depths, metres."""


def crop_camera(pinhole: CropPinhole, size: int) -> Intrinsics:
    """Return the camera of one crop of `size` pixels a side."""
    half = size / 2
    focal, (x, y) = float(pinhole.focal[0]) * half, ((pinhole.center[0] + 1) * half).tolist()
    return Intrinsics(focal, focal, x, y, size, size)


def placed_vertices(prediction: Prediction, body: BodyModel, pinhole: CropPinhole) -> Float[ndarray, 'v 3']:
    """Return the vertices of the one predicted body before the crop's camera, metres."""
    with torch.no_grad():
        vertices = body(prediction.params).vertices + crop_translation(prediction.camera, pinhole)[:, None]
    placed: ndarray = vertices[0].cpu().float().numpy()
    return placed


def aligned_cloud(
    depth: Float[ndarray, 's s'], vertices: Float[ndarray, 'v 3'], faces: Int[ndarray, 'f 3'], camera: Intrinsics
) -> Cloud:
    """Return the measured points (0 = hole) at the depth of the body; not moved where they share no pixel."""
    numbers = torch.tensor([[camera.fx, camera.fy, camera.cx, camera.cy]], dtype=torch.float32)
    size = (camera.height, camera.width)
    rendered = render_depth(torch.from_numpy(vertices)[None], torch.from_numpy(faces), numbers, size).depth
    observed = torch.from_numpy(np.ascontiguousarray(depth, np.float32))[None]
    offset = float(depth_offset_median(observed, rendered, (rendered > 0) & (observed > 0))[0])
    surface = rendered[0].numpy()
    measured = depth > 0
    moved = np.where(measured, depth - offset, 0)
    covered = (surface > 0)[measured]
    residual = np.where(covered, (moved - surface)[measured], np.nan)
    return Cloud(unproject(moved, camera)[measured], covered, residual, offset)


@dataclass(frozen=True)
class SideCamera:
    """A far camera beside the body."""

    rotation: Float[ndarray, '3 3']
    """Side camera from crop camera."""
    middle: Float[ndarray, '3']
    """Of the body, in the crop camera's frame, metres; the middle of the picture."""
    half_extent: float
    """From the middle of the picture to its edges, metres."""

    def seen(self, points: Float[ndarray, 'n 3']) -> Float[ndarray, 'n 3']:
        """Return the points in the side camera's frame."""
        turned: ndarray = (points - self.middle) @ self.rotation.T + (0.0, 0.0, DISTANCE)
        return turned

    def following(self, offset: float) -> SideCamera:
        """Return the camera for a scene that was brought nearer by `offset` metres."""
        return replace(self, middle=self.middle - (0.0, 0.0, offset))

    def intrinsics(self, size: int) -> Intrinsics:
        """Return the lens for a square picture."""
        focal = size / 2 * DISTANCE / self.half_extent
        return Intrinsics(focal, focal, size / 2, size / 2, size, size)


def side_camera(vertices: Float[ndarray, 'v 3']) -> SideCamera:
    """Return the camera beside a body that stands before the crop's camera."""
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    middle = (low + high) / 2
    plane = vertices[:, :2] - vertices[:, :2].mean(axis=0)
    along = np.linalg.eigh(plane.T @ plane)[1][:, 1]
    across = np.array([-along[1], along[0]])
    # Depth runs to the right or down, whichever is closer.
    across = across if across.sum() > 0 else -across
    x, y = (np.array([*(along[axis] * along), across[axis]]) for axis in (0, 1))
    rotation = np.stack([x, y, np.cross(x, y)])
    half = np.abs((vertices - middle) @ rotation[:2].T).max()
    return SideCamera(rotation, middle, float(MARGIN * half))


def draw_side(
    vertices: Float[ndarray, 'v 3'], faces: Int[ndarray, 'f 3'], cloud: Cloud, camera: SideCamera, size: int
) -> UInt8[ndarray, 's s 3']:
    """Return the picture: surroundings, the body over them, and the points on the body's pixels over both."""
    lens = camera.intrinsics(size)
    picture = np.full((size, size, 3), PAPER, np.uint8)
    points = camera.seen(cloud.points)
    picture = _dotted(picture, points[~cloud.on_body], np.array(SURROUNDINGS)[None], lens)
    picture = overlay(picture, camera.seen(vertices).astype(np.float32), faces, lens, alpha=0.9)
    return _dotted(picture, points[cloud.on_body], _residual_colors(cloud.residual[cloud.on_body]), lens)


def _residual_colors(residual: Float[ndarray, ' n']) -> Int[ndarray, 'n 3']:
    """Return the colour of each point by where it lies."""
    agreed = np.abs(residual) <= TOLERANCE
    return np.where(agreed[:, None], AGREED, np.where((residual < 0)[:, None], IN_FRONT, BEHIND))


def _dotted(
    picture: UInt8[ndarray, 's s 3'], points: Float[ndarray, 'n 3'], colors: Int[ndarray, 'm 3'], lens: Intrinsics
) -> UInt8[ndarray, 's s 3']:
    """Return the picture with a dot a point; one colour for all or one each."""
    picture = picture.copy()
    radius = max(1, round(picture.shape[0] / 400))
    pixels = points[:, :2] / points[:, 2:] * (lens.fx, lens.fy) + (lens.cx, lens.cy)
    inside = (np.abs(pixels - picture.shape[0] / 2) < picture.shape[0] / 2).all(axis=1)
    chosen = np.broadcast_to(colors, points.shape)[inside]
    for (x, y), color in zip(pixels[inside], chosen.tolist()):
        cv2.circle(picture, (int(x), int(y)), radius - 1, color, cv2.FILLED)
    return picture
