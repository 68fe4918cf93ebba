"""
Augmentation: one random transform a sample, for picture, depth, mask, joints, proxies, body and camera together.

Positions are in [-1, 1] over a square picture. Turning is about the optical axis: a picture that is turned about its
centre and shifted is what the same pinhole camera sees once it is turned, so bodies and cameras stay exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt16
from numpy import ndarray

from hwhup_core.body.joints import index
from hwhup_core.errors import ConfigError
from hwhup_core.geometry.crops import turn_matrix

DEPTH_UNIT = 1e-4
"""Metres per count of stored depth: 0.1 mm in 16 bits reaches 6.5 m."""
PICTURE_UNIT = 1 / 4096
"""Of stored infrared and pressure: 5 mK and 0.02 kPa a count; 16 bits reach from -140 to 200 degrees Celsius."""


@dataclass(frozen=True)
class Transform:
    """Crop position = zoom * turn(angle) @ position + shift, then mirrored left to right if `flip`."""

    angle: float
    """Radians, from x to y."""
    zoom: float
    shift: Float[ndarray, '2']
    flip: bool = False

    @property
    def turn(self) -> Float[ndarray, '2 2']:
        """Return the rotation."""
        return turn_matrix(self.angle)


@dataclass(frozen=True)
class BoxAugmentConfig:
    """The released code's augmentation (method 3.5) of a box around the joints."""

    margin: float = 1.2
    """Side of the box in extents of the joints."""
    scale_deviation: float = 0.25
    """Standard deviation of the factor on the side."""
    scale_limit: float = 0.25
    """Largest change of that factor."""
    turn_degrees: float = 30.0
    """Standard deviation of the rotation."""
    turn_limit: float = 60.0
    """Largest rotation, degrees."""
    turn_share: float = 0.4
    """Share of samples that are turned at all."""
    flip: float = 0.5
    """Share of mirrored samples."""
    gain: float = 0.4
    """Largest relative change of a colour channel's brightness."""

    def __post_init__(self) -> None:
        if self.margin <= 0 or not 0 <= self.scale_limit < 1 or not 0 <= self.gain < 1:
            raise ConfigError('margin must be above 0, scale_limit and gain in [0, 1).')
        if not 0 <= self.turn_share <= 1 or not 0 <= self.flip <= 1:
            raise ConfigError('turn_share and flip are shares: expected numbers in [0, 1].')


@dataclass(frozen=True)
class LookConfig:
    """
    The looks of the engine (`training.pool.AugmentConfig` has the same for SMPL's joints).

    It sees a new person in a wide box of any heading first, then in boxes around its own estimate, turned upright.
    """

    settled: float = 0.75
    """Share of samples that are like a later look."""
    lean: float = 0.3
    """Standard deviation of the trunk from upright in those, radians."""
    settled_margin: tuple[float, float] = (1.2, 1.55)
    """Their side in extents of the joints."""
    settled_shift: float = 0.04
    """Their largest shift, in their sides."""
    turn: float = np.pi
    """Largest rotation at a first look, radians."""
    margin: tuple[float, float] = (1.15, 2.4)
    """Side of a first look in extents of the joints."""
    shift: float = 0.08
    """Largest shift at a first look, in sides."""
    flip: float = 0.5
    """Share of mirrored samples."""

    def __post_init__(self) -> None:
        if not 0 <= self.settled <= 1 or not 0 <= self.flip <= 1:
            raise ConfigError('settled and flip are shares: expected numbers in [0, 1].')
        for name in ('settled_margin', 'margin'):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ConfigError(f'{name} is ({low}, {high}). Expected 0 < low <= high.')


def box_transform(
    points: Float[ndarray, 'k 2'], margin: float, angle: float, flip: bool, shift: Float[ndarray, '2'] | None = None
) -> Transform:
    """
    Return the transform to a square box around the turned points, `margin` times their larger extent.

    A point that is not known is NaN. `shift` moves the box, in its sides.
    """
    turned = points @ turn_matrix(angle).T
    low, high = np.nanmin(turned, axis=0), np.nanmax(turned, axis=0)
    zoom = 2 / float((high - low).max() * margin)
    offset = -zoom * (low + high) / 2
    return Transform(angle, zoom, offset if shift is None else offset - 2 * shift, flip)


def draw_look(
    points: Float[ndarray, 'k 2'], rng: np.random.Generator, names: Sequence[str], config: LookConfig
) -> Transform:
    """Return one of the engine's looks at the named joints; where the trunk is not known, a first look."""
    angle, flip = trunk_angle(points, names), bool(rng.random() < config.flip)
    later = rng.random() < config.settled and np.isfinite(angle)
    angle = angle + rng.normal(0.0, config.lean) if later else rng.uniform(-config.turn, config.turn)
    margin = rng.uniform(*(config.settled_margin if later else config.margin))
    largest = config.settled_shift if later else config.shift
    return box_transform(points, margin, float(angle), flip, rng.uniform(-largest, largest, 2))


def trunk_angle(points: Float[ndarray, 'k 2'], names: Sequence[str]) -> float:
    """Return how far to turn (radians, from x to y) until `pelvis` to `thorax` points up; NaN where one is unknown."""
    x, y = points[index('thorax', names)] - points[index('pelvis', names)]
    return float(-np.pi / 2 - np.arctan2(y, x))


def draw_box(points: Float[ndarray, 'k 2'], rng: np.random.Generator, config: BoxAugmentConfig) -> Transform:
    """Return a random transform around the (labelled) joints."""
    scale = 1 + np.clip(rng.normal(0.0, config.scale_deviation), -config.scale_limit, config.scale_limit)
    angle = np.clip(rng.normal(0.0, config.turn_degrees), -config.turn_limit, config.turn_limit)
    turned, flip = rng.random() < config.turn_share, rng.random() < config.flip
    return box_transform(points, config.margin * scale, float(np.radians(angle)) if turned else 0.0, bool(flip))


def move_points(points: Float[ndarray, 'k 2'], transform: Transform) -> Float[ndarray, 'k 2']:
    """Return the positions in the crop; joints keep their order, so a flip still has to swap left and right."""
    moved: ndarray = transform.zoom * points @ transform.turn.T + transform.shift
    return moved * (-1.0, 1.0) if transform.flip else moved


def turn_directions(points: Float[ndarray, 'k 3'], transform: Transform) -> Float[ndarray, 'k 3']:
    """Return 3D points of the camera frame in the frame of the turned (and mirrored) camera."""
    turned = np.concatenate([points[:, :2] @ transform.turn.T, points[:, 2:]], axis=1)
    return turned * (-1.0, 1.0, 1.0) if transform.flip else turned


def warp_depth(depth: UInt16[ndarray, 'p p'], transform: Transform, size: int) -> Float[ndarray, 's s']:
    """Return the transformed depth in metres; holes and places outside the picture never mix in."""
    metres = depth.astype(np.float32) * np.float32(DEPTH_UNIT)
    weight = _warp((depth > 0).astype(np.float32), transform, size)
    total = _warp(metres, transform, size)
    return np.where(weight > 0.5, total / np.maximum(weight, 1e-6), 0).astype(np.float32)


def warp_picture(picture: Shaped[ndarray, 'p p *c'], transform: Transform, size: int) -> Shaped[ndarray, 's s *c']:
    """Return the transformed picture, linear; 0 outside."""
    return _warp(picture, transform, size)


def warp_mask(mask: Bool[ndarray, 'p p'], transform: Transform, size: int) -> Bool[ndarray, 's s']:
    """Return the transformed mask; False outside."""
    return _warp(mask.astype(np.float32), transform, size) > 0.5


def _warp(picture: Shaped[ndarray, '...'], transform: Transform, size: int) -> Shaped[ndarray, '...']:
    source = picture.shape[0]
    linear = transform.zoom * transform.turn * size / source
    # Position q in [-1, 1] is pixel (q + 1) p / 2 - 0.5 for OpenCV, likewise for the output.
    offset = (transform.shift + 1) * size / 2 - 0.5 - linear @ np.full(2, source / 2 - 0.5)
    affine = np.concatenate([linear, offset[:, None]], axis=1)
    warped = cv2.warpAffine(picture, affine, (size, size), flags=cv2.INTER_LINEAR)
    return np.ascontiguousarray(warped[:, ::-1]) if transform.flip else warped
