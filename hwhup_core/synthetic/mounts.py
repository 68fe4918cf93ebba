"""Where the cameras of the domains are and what lens they have: over a bed, over a crib, in front of a room."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.synthetic.domain import Kind
from hwhup_core.synthetic.room import random_front_view
from hwhup_core.synthetic.scene import Scene
from hwhup_core.synthetic.views import View, overhead_view
from hwhup_core.types import Intrinsics

_LYING = 0.2
"""How high above the mattress lying people reach for most of the time, metres."""


def mount_camera(kind: Kind, stature: float, rng: np.random.Generator) -> View:
    """
    Return a random camera of this kind of domain; `stature` (m) is that of who stands in front of it in a room.

    Over a bed it hangs 2.1 m up as in SLP, at most 10 degrees from straight down, the head end up in the image; over a
    crib lower, at more of a slant, at any side and roll.
    """
    if kind == 'room':
        return random_front_view(rng, np.array([0.0, 0.0, 0.5 * stature]))
    target = np.array([*rng.normal(0.0, 0.02, 2), 0.0])
    azimuth = rng.uniform(-math.pi, math.pi)
    if kind == 'crib':
        tilt, roll = math.radians(rng.uniform(0.0, 25.0)), rng.uniform(-math.pi, math.pi)
        return overhead_view(target, rng.uniform(1.1, 1.8), tilt, azimuth, roll)
    tilt, roll = math.radians(rng.uniform(0.0, 10.0)), math.radians(rng.normal(0.0, 2.0))
    return overhead_view(target, rng.uniform(2.0, 2.2), tilt, azimuth, roll)


def must_see(kind: Kind, scene: Scene, stature: float) -> Float[ndarray, 'n 3']:
    """Return world points that belong in the picture: the mattress and who lies there; in a room who stands there."""
    if kind == 'room':
        reach = 0.4 * stature
        return np.array([[x, 0.0, z] for x in (-reach, reach) for z in (-0.03, 1.05 * stature)])
    x, y = scene.length / 2, scene.width / 2
    return np.array([[i * x, j * y, z] for i in (-1, 1) for j in (-1, 1) for z in (0.0, _LYING)])


def fitting_lens(size: int, view: View, points: Float[ndarray, 'n 3'], rng: np.random.Generator) -> Intrinsics:
    """Return a square image, its principal point near the middle, that is just wide enough for the world points."""
    seen = view.to_camera(points)
    center = size / 2 + rng.normal(0.0, 0.01, 2) * size
    reach = float(np.abs(seen[:, :2] / seen[:, 2:]).max()) * rng.uniform(1.02, 1.06)
    focal = (0.5 * size - float(np.abs(center - size / 2).max())) / reach
    return Intrinsics(focal, focal, float(center[0]), float(center[1]), size, size)


def plane_distance(view: View) -> float:
    """Return how far along the optical axis the plane z = 0 is, metres."""
    return float(view.position[2] / -view.rotation[2, 2])
