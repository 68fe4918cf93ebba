"""Cameras: pinhole with distortion for real images, SPIN's weak-perspective camera for crops."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from hwhup_core.errors import ConfigError
from hwhup_core.types import COEFFICIENT_COUNTS, CropPinhole, Intrinsics, PersonBox, WeakPerspective

CROP_FOCAL = 5000.0
"""Focal length, pixels, that SPIN gives to the camera of a crop of CROP_FOCAL_SIZE pixels."""
CROP_FOCAL_SIZE = 224.0
HALF_CROPS_FOCAL = CROP_FOCAL / (CROP_FOCAL_SIZE / 2)
"""The same focal length in half crop sides: valid for a crop of any size."""


def spin_pinhole(camera: WeakPerspective) -> CropPinhole:
    """Return SPIN's far camera for as many crops: focal 5000 px of 224, principal point in the middle."""
    return CropPinhole(torch.full_like(camera.scale, HALF_CROPS_FOCAL), torch.zeros_like(camera.shift))


def crop_translation(camera: WeakPerspective, pinhole: CropPinhole | None = None) -> Float[Tensor, 'b 3']:
    """
    Return the translation that puts a body before the crop's pinhole camera, SPIN's by default (method 1.6).

    (tx, ty, focal / s) where the principal point is in the middle of the crop, which is (tx, ty, 2 f / (size s)) in
    SPIN's terms; elsewhere x and y move so that the body's origin lands where the weak perspective says.
    """
    pinhole = pinhole or spin_pinhole(camera)
    scale = camera.scale + 1e-9
    shift = camera.shift - pinhole.center / scale[:, None]
    return torch.cat([shift, (pinhole.focal / scale)[:, None]], dim=1)


def pinhole_project(points: Float[Tensor, 'b k 3'], pinhole: CropPinhole) -> Float[Tensor, 'b k 2']:
    """Return where the crop's camera sees points that stand before it, [-1, 1] from edge to edge."""
    return pinhole.focal[:, None, None] * points[..., :2] / points[..., 2:] + pinhole.center[:, None]


def weak_perspective_project(
    points: Float[Tensor, 'b k 3'], camera: WeakPerspective, pinhole: CropPinhole | None = None
) -> Float[Tensor, 'b k 2']:
    """Return the positions in the crop, [-1, 1] from edge to edge, of a body placed by the weak perspective camera."""
    pinhole = pinhole or spin_pinhole(camera)
    return pinhole_project(points + crop_translation(camera, pinhole)[:, None], pinhole)


def project(points: Float[ndarray, 'n 3'], intrinsics: Intrinsics) -> Float[ndarray, 'n 2']:
    """Return the pixels where the camera sees the points; a point at or behind the camera gives NaN."""
    points = np.asarray(points, np.float64)
    ahead = points[:, 2] > 1e-6
    pixels = np.full((len(points), 2), np.nan)
    if not ahead.any():
        return pixels
    normal = points[ahead, :2] / points[ahead, 2:]
    if intrinsics.distortion_model == 'none':
        pixels[ahead] = normal * (intrinsics.fx, intrinsics.fy) + (intrinsics.cx, intrinsics.cy)
        return pixels
    matrix, coefficients = intrinsics.matrix(), _coefficients(intrinsics)
    zero = np.zeros(3)
    if intrinsics.distortion_model == 'equidistant':
        seen, _ = cv2.fisheye.projectPoints(points[ahead][:, None], zero, zero, matrix, coefficients)
    else:
        seen, _ = cv2.projectPoints(points[ahead], zero, zero, matrix, coefficients)
    pixels[ahead] = seen.reshape(-1, 2)
    return pixels


def through_lens(
    vertices: Float[ndarray, 'v 3'], intrinsics: Intrinsics
) -> tuple[Float[ndarray, 'v 3'], Float[ndarray, 'v 2']]:
    """
    Return vertices that a pinhole camera without distortion sees at the pixels of the real lens, and those pixels.

    Depths are kept, so a pinhole renderer makes the image of the distorted camera, exact at the vertices.
    """
    if intrinsics.distortion_model == 'none' or not any(intrinsics.distortion):
        ahead = np.where(vertices[:, 2:] > 1e-6, vertices[:, 2:], np.nan)
        pixels = vertices[:, :2] / ahead * (intrinsics.fx, intrinsics.fy) + (intrinsics.cx, intrinsics.cy)
        return vertices, pixels
    pixels = project(vertices, intrinsics)
    plane = (pixels - (intrinsics.cx, intrinsics.cy)) / (intrinsics.fx, intrinsics.fy) * vertices[:, 2:]
    return np.concatenate([plane, vertices[:, 2:]], axis=1), pixels


def rays(intrinsics: Intrinsics, pixels: Float[ndarray, 'n 2']) -> Float[ndarray, 'n 3']:
    """Return the viewing rays of the pixels, scaled to z = 1, with the distortion removed."""
    pixels = np.asarray(pixels, np.float64)
    matrix = intrinsics.matrix()
    plane: ndarray
    if intrinsics.distortion_model == 'none':
        plane = (pixels - (intrinsics.cx, intrinsics.cy)) / (intrinsics.fx, intrinsics.fy)
    elif intrinsics.distortion_model == 'equidistant':
        plane = cv2.fisheye.undistortPoints(pixels[:, None], matrix, _coefficients(intrinsics)).reshape(-1, 2)
    else:
        criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 40, 1e-10)
        plane = cv2.undistortPointsIter(
            pixels[:, None], matrix, _coefficients(intrinsics), np.eye(3), np.eye(3), criteria
        ).reshape(-1, 2)
    return np.concatenate([plane, np.ones((len(plane), 1))], axis=1)


def _coefficients(intrinsics: Intrinsics) -> Float[ndarray, ' n']:
    model, count = intrinsics.distortion_model, len(intrinsics.distortion)
    if model not in COEFFICIENT_COUNTS:
        raise ConfigError(
            f'Distortion model {model!r} is not supported; expected one of {sorted(COEFFICIENT_COUNTS)} or none.'
        )
    if count not in COEFFICIENT_COUNTS[model]:
        raise ConfigError(f'Distortion model {model} has {count} coefficients; expected {COEFFICIENT_COUNTS[model]}.')
    return np.asarray(intrinsics.distortion, np.float64)


def metric_translation(
    scale: float, shift: Float[ndarray, '2'], box: PersonBox, intrinsics: Intrinsics
) -> Float[ndarray, '3']:
    """
    Return the metric translation (m) of the body from its size in the crop and the real camera; no depth needed.

    The crop camera says that one metre covers `scale` half sides, so the body stands at z = f / (scale side / 2); the
    viewing ray through the pixel where the body origin lands gives x and y, distortion removed.
    """
    half = box.side / 2
    focal = (intrinsics.fx + intrinsics.fy) / 2
    distance = focal / max(scale * half, 1e-6)
    pixel = np.array([[box.center_x + half * scale * shift[0], box.center_y + half * scale * shift[1]]])
    translation: ndarray = rays(intrinsics, pixel)[0] * distance
    return translation
