"""A room with upright people: floor, walls, furniture, a seat. World frame: z up, floor z = 0, person at x = y = 0."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.errors import ConfigError
from hwhup_core.synthetic.scene import Material, Scene, assemble
from hwhup_core.synthetic.solids import Mesh, box, wall
from hwhup_core.synthetic.views import View, front_view

SIDE = 8.0
"""The floor, metres square."""


def build_room(rng: np.random.Generator, seat: tuple[Float[ndarray, '2'], float] | None = None) -> Scene:
    """
    Return a random room whose camera stands at world -y; `seat` is the centre (x, y) and height of one, metres.

    One or two walls, the nearer 0.5 to 2.5 m behind the person, and up to four boxes of furniture away from the person.
    """
    if seat is not None and not 0 < seat[1] < 2:
        raise ConfigError(f'The seat is {seat[1]} m high. Expected between 0 and 2 m.')
    behind = float(rng.uniform(0.5, 2.5))
    parts = [(mesh, Material.WALL) for mesh in _walls(behind, rng)]
    parts += [(_furniture(behind, rng), Material.FURNITURE) for _ in range(int(rng.integers(0, 5)))]
    if seat is not None:
        parts.append((_seat(*seat, rng), Material.FURNITURE))
    return assemble(parts, (SIDE, SIDE), np.zeros((2, 2)), 0.0)


def random_front_view(rng: np.random.Generator, target: Float[ndarray, '3']) -> View:
    """Return a camera 2 to 3.5 m in front of `target` (the middle of a person), 0.8 to 1.8 m above the floor."""
    distance, height = rng.uniform((2.0, 0.8), (3.5, 1.8))
    azimuth, pitch, roll = rng.normal(0.0, (0.25, 0.03, 0.03))
    return front_view(target, float(distance), float(height), float(azimuth), float(pitch), float(roll))


def _walls(behind: float, rng: np.random.Generator) -> list[Mesh]:
    """Return the wall behind the person, a little askew, and now and then one beside it."""
    askew, height = float(rng.normal(0.0, 0.12)), float(rng.uniform(2.4, 3.0))
    along = np.array([math.cos(askew), math.sin(askew)])
    middle = np.array([0.0, behind])
    walls = [wall(middle - 5.0 * along, middle + 5.0 * along, height)]
    if rng.random() < 0.5:
        corner = middle + rng.choice([-1.0, 1.0]) * rng.uniform(1.0, 2.5) * along
        walls.append(wall(corner, corner + 6.0 * np.array([along[1], -along[0]]), height))
    return walls


def _furniture(behind: float, rng: np.random.Generator) -> Mesh:
    """Return a box on the floor, beside the person or behind."""
    half = rng.uniform((0.15, 0.12), (0.6, 0.3))
    if behind > 1.4 and rng.random() < 0.5:
        center = np.array([rng.uniform(-1.5, 1.5), rng.uniform(0.8 + half[1], max(behind, 0.85 + half[1]))])
    else:
        center = np.array(
            [rng.choice([-1.0, 1.0]) * (0.85 + half[0] + rng.uniform(0.0, 1.0)), rng.uniform(-0.3, behind)]
        )
    low, high = center - half, center + half
    return box((low[0], low[1], 0.0), (high[0], high[1], float(rng.uniform(0.3, 1.8))))


def _seat(center: Float[ndarray, '2'], height: float, rng: np.random.Generator) -> Mesh:
    """Return a stool; the legs of whoever sits on it hang in front, whichever way that is."""
    half = rng.uniform(0.16, 0.22)
    low, high = center - half, center + half
    return box((low[0], low[1], 0.0), (high[0], high[1], height))
