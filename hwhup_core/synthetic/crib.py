"""The crib: mattress, bars, floor and an odd object. World frame as in `scene`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.errors import ConfigError
from hwhup_core.synthetic.scene import Material, Scene, SceneRender, StaticRender, add_body, assemble
from hwhup_core.synthetic.solids import Mesh, bar, dome, grid_axes, slab

__all__ = ['CribConfig', 'CribScene', 'Material', 'SceneRender', 'StaticRender', 'add_body', 'build_crib']

CELL = 0.05
"""Mattress grid, metres."""
CribScene = Scene


@dataclass(frozen=True)
class CribConfig:
    """Sizes of the crib, metres; the random ones are drawn by `build_crib`."""

    length: float = 1.2
    width: float = 0.6
    mattress_thickness: float = 0.1
    bar_height: tuple[float, float] = (0.45, 0.6)
    """Lowest and highest top rail above the mattress."""
    bar_spacing: tuple[float, float] = (0.07, 0.1)
    bar_width: tuple[float, float] = (0.012, 0.022)
    floor_depth: tuple[float, float] = (0.3, 0.6)
    """Floor below the mattress plane."""
    waviness: float = 0.006
    """Standard deviation of the height of the mattress surface."""
    bump: float = 0.012
    """Largest height of one broad bump (a thin pillow, a fold)."""
    object_probability: float = 0.4
    """Chance of one toy or lump of blanket on the mattress."""

    def __post_init__(self) -> None:
        if min(self.length, self.width) < 4 * CELL:
            raise ConfigError(f'A mattress of {self.length} x {self.width} m is too small. Use at least {4 * CELL} m.')
        for name in ('bar_height', 'bar_spacing', 'bar_width', 'floor_depth'):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ConfigError(f'{name} is ({low}, {high}). Expected 0 < low <= high, metres.')


def build_crib(config: CribConfig, rng: np.random.Generator) -> Scene:
    """Return a random crib of the configured kind."""
    axes = grid_axes(config.length, config.width, CELL)
    heights = wavy_heights(axes, config.waviness, config.bump, rng)
    height, spacing, thickness = (
        rng.uniform(*bounds) for bounds in (config.bar_height, config.bar_spacing, config.bar_width)
    )
    floor = -rng.uniform(*config.floor_depth)
    parts = [(slab(axes, heights, config.mattress_thickness), Material.MATTRESS)]
    parts += [(bar(low, high), Material.WOOD) for low, high in _frame(config, height, spacing, thickness, floor)]
    on_top = lump(config.length, config.width, rng) if rng.random() < config.object_probability else None
    return assemble(parts, (config.length, config.width), heights, floor, on_top)


def lump(length: float, width: float, rng: np.random.Generator) -> tuple[Mesh, Float[ndarray, '2'], float]:
    """Return a toy or a lump of blanket on a mattress of this size, its centre and its radius, metres."""
    center = rng.uniform(-0.45, 0.45, 2) * (length, width)
    radius = float(rng.uniform(0.035, 0.1))
    return dome(center, radius, float(rng.uniform(0.03, 0.09)), rng), center, radius


def wavy_heights(
    axes: tuple[Float[ndarray, ' nx'], Float[ndarray, ' ny']], waviness: float, bump: float, rng: np.random.Generator
) -> Float[ndarray, 'nx ny']:
    """Return a few random long waves and one broad bump of at most `bump` metres on the grid of `axes`."""
    x, y = np.meshgrid(*axes, indexing='ij')
    field = np.zeros_like(x)
    for _ in range(5):
        along, across = rng.normal(0.0, 6.0, 2)
        field += rng.normal(0.0, waviness / math.sqrt(2.5)) * np.sin(along * x + across * y + rng.uniform(0.0, 6.28))
    center = rng.uniform(-0.5, 0.5, 2) * (np.ptp(axes[0]), np.ptp(axes[1]))
    size = rng.uniform(0.1, 0.25, 2)
    height = rng.uniform(0.0, bump)
    result: ndarray = field + height * np.exp(-(((x - center[0]) / size[0]) ** 2) - ((y - center[1]) / size[1]) ** 2)
    return result


def _frame(
    config: CribConfig, height: float, spacing: float, thickness: float, floor: float
) -> list[tuple[tuple[float, float, float], tuple[float, float, float]]]:
    """Return the cuboids (low, high corner) of bars, rails and corner posts around the mattress."""
    x, y, rail = config.length / 2 + 0.02, config.width / 2 + 0.02, 0.02
    bottom, thick = -config.mattress_thickness - 0.05, thickness / 2
    cuboids = []
    for side in (-1.0, 1.0):
        for level in (bottom, height):
            cuboids.append(((-x - rail, side * y - rail / 2, level - 2 * rail), (x + rail, side * y + rail / 2, level)))
            cuboids.append(((side * x - rail / 2, -y - rail, level - 2 * rail), (side * x + rail / 2, y + rail, level)))
        for px in np.linspace(-x, x, round(2 * x / spacing) + 1)[1:-1]:
            cuboids.append(((px - thick, side * y - thick, bottom), (px + thick, side * y + thick, height)))
        for py in np.linspace(-y, y, round(2 * y / spacing) + 1)[1:-1]:
            cuboids.append(((side * x - thick, py - thick, bottom), (side * x + thick, py + thick, height)))
        for end in (-1.0, 1.0):
            post = (side * x, end * y)
            cuboids.append(((post[0] - rail, post[1] - rail, floor), (post[0] + rail, post[1] + rail, height + rail)))
    return cuboids
