"""Where cameras are: above a crib or a bed, looking down and at a slant, or in front of a person."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

WORLD_UP = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True)
class View:
    """Pose of a camera: a world point p is at rotation @ p + translation in its optical frame."""

    rotation: Float[ndarray, '3 3']
    """camera_from_world."""
    translation: Float[ndarray, '3']
    """World origin in the camera frame, metres."""

    @property
    def up(self) -> Float[ndarray, '3']:
        """Direction against gravity in the camera frame."""
        result: ndarray = self.rotation @ WORLD_UP
        return result

    @property
    def position(self) -> Float[ndarray, '3']:
        """Camera centre in the world, metres."""
        result: ndarray = -self.rotation.T @ self.translation
        return result

    def to_camera(self, points: Float[ndarray, 'n 3']) -> Float[ndarray, 'n 3']:
        """Return world points in the camera frame."""
        result: ndarray = points @ self.rotation.T + self.translation
        return result


def overhead_view(target: Float[ndarray, '3'], height: float, tilt: float, azimuth: float, roll: float) -> View:
    """
    Return the camera `height` metres above `target` that looks at it.

    `tilt` is the angle from straight down, `azimuth` the side on which the camera hangs (0: towards world +x), `roll`
    turns the image; with all three 0 world +x is up in the image and world +y is left. Radians.
    """
    away = math.tan(tilt) * np.array([math.cos(azimuth), math.sin(azimuth), 0.0])
    position = target + height * (away + WORLD_UP)
    forward = (target - position) / np.linalg.norm(target - position)
    # Image down at roll 0 is world -x, made square to the viewing direction; the tilt stays below 60 degrees.
    down = np.array([-1.0, 0.0, 0.0]) + forward[0] * forward
    down /= np.linalg.norm(down)
    right = np.cross(down, forward)
    cosine, sine = math.cos(roll), math.sin(roll)
    rotation = np.stack([cosine * right + sine * down, cosine * down - sine * right, forward])
    return View(rotation, -rotation @ position)


def front_view(
    target: Float[ndarray, '3'], distance: float, height: float, azimuth: float, pitch: float, roll: float
) -> View:
    """
    Return the camera `distance` metres from `target` along the floor, at world z `height`, that looks at it.

    `azimuth` 0 puts it on the side of world -y, positive ones towards +x; `pitch` turns the view up, `roll` the image.
    With pitch and roll 0 the target is in the middle of the image and world up points up in it. Radians.
    """
    away = np.array([math.sin(azimuth), -math.cos(azimuth), 0.0])
    position = np.array([*(target + distance * away)[:2], height])
    slope = math.atan2(float(target[2]) - height, distance) + pitch
    forward = -math.cos(slope) * away + math.sin(slope) * WORLD_UP
    right = np.cross(forward, WORLD_UP)
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    cosine, sine = math.cos(roll), math.sin(roll)
    rotation = np.stack([cosine * right + sine * down, cosine * down - sine * right, forward])
    return View(rotation, -rotation @ position)
