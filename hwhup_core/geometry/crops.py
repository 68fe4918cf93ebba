"""Square crops around a person: the affine map, image and depth crops, boxes."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from hwhup_core.types import Intrinsics, PersonBox


def turn_matrix(angle: float) -> Float[ndarray, '2 2']:
    """Return the matrix that turns image vectors by `angle` (radians) from x to y: clockwise, as y points down."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]])


def upright_angle(joints: Float[ndarray, '24 2']) -> float:
    """Return how far to turn the image (radians, from x to y) until pelvis to neck (joints 0 and 12) points up."""
    x, y = joints[12] - joints[0]
    return float(-np.pi / 2 - np.arctan2(y, x))


def crop_affine(box: PersonBox, size: int) -> Float[ndarray, '2 3']:
    """Return the map from image pixels to crop pixels, both with pixel centres at .5; no rounding, no shift."""
    linear = size / box.side * turn_matrix(box.turn)
    offset = size / 2 - linear @ (box.center_x, box.center_y)
    return np.concatenate([linear, offset[:, None]], axis=1)


def apply_affine(affine: Float[ndarray, '2 3'], pixels: Float[ndarray, 'n 2']) -> Float[ndarray, 'n 2']:
    """Return the mapped pixels."""
    moved: ndarray = pixels @ affine[:, :2].T + affine[:, 2]
    return moved


def invert_affine(affine: Float[ndarray, '2 3']) -> Float[ndarray, '2 3']:
    """Return the map back."""
    inverse = np.linalg.inv(affine[:, :2])
    return np.concatenate([inverse, -(inverse @ affine[:, 2])[:, None]], axis=1)


def _for_opencv(affine: Float[ndarray, '2 3']) -> Float[ndarray, '2 3']:
    """Return the map for OpenCV, which puts pixel centres at whole numbers."""
    shifted = affine.copy()
    shifted[:, 2] += affine[:, :2] @ (0.5, 0.5) - 0.5
    return shifted


MOST_SAMPLES = 3
"""Samples across a crop pixel; more would cost more than the noise they take away is worth."""


def _crop(image: Shaped[ndarray, '...'], box: PersonBox, size: int) -> Shaped[ndarray, '...']:
    """Return the crop of a uint8 or float32 image; zero outside; a pixel averages up to 3x3 samples when shrinking."""
    shrink = min(int(box.side / size), MOST_SAMPLES)
    if shrink >= 2:
        window = cv2.warpAffine(
            image, _for_opencv(crop_affine(box, size * shrink)), (size * shrink, size * shrink), flags=cv2.INTER_LINEAR
        )
        return cv2.resize(window, (size, size), interpolation=cv2.INTER_AREA)
    return cv2.warpAffine(image, _for_opencv(crop_affine(box, size)), (size, size), flags=cv2.INTER_LINEAR)


def crop_image(image: Shaped[ndarray, 'h w *c'], box: PersonBox, size: int) -> Shaped[ndarray, 's s *c']:
    """Return the square crop of an image (uint8 or float32), linear; zero outside the image."""
    return _crop(image, box, size)


def crop_depth(depth: Float[ndarray, 'h w'], box: PersonBox, size: int) -> Float[ndarray, 's s']:
    """Return the crop of a depth image (0 = hole): valid pixels are averaged among themselves, holes never mix in."""
    valid = (depth > 0).astype(np.float32)
    weight = _crop(valid, box, size)
    total = _crop(depth, box, size)
    return np.where(weight > 0.5, total / np.maximum(weight, 1e-6), 0).astype(np.float32)


def crop_intrinsics(box: PersonBox, size: int, intrinsics: Intrinsics) -> Intrinsics:
    """Return the pinhole camera that sees exactly the crop, for an undistorted image and a box that is not turned."""
    assert box.turn == 0, 'a pinhole camera cannot be turned about a point that is not its principal point'
    scale = size / box.side
    (_, _, left), (_, _, top) = crop_affine(box, size)
    return Intrinsics(
        intrinsics.fx * scale,
        intrinsics.fy * scale,
        intrinsics.cx * scale + left,
        intrinsics.cy * scale + top,
        size,
        size,
    )


def box_around(pixels: Float[ndarray, 'n 2'], margin: float, turn: float = 0.0) -> PersonBox:
    """Return the turned square whose side is `margin` times the larger extent of the pixels, NaN pixels left out."""
    seen = pixels[np.isfinite(pixels).all(axis=1)] @ turn_matrix(turn).T
    if len(seen) == 0:
        return PersonBox(float('nan'), float('nan'), float('nan'))
    low, high = seen.min(axis=0), seen.max(axis=0)
    center = turn_matrix(-turn) @ ((low + high) / 2)
    return PersonBox(float(center[0]), float(center[1]), float(margin * (high - low).max()), turn)
