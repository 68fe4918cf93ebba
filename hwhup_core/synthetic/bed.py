"""The hospital bed: mattress, pillow, boards, rails and what stands beside it. World frame as in `scene`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwhup_core.errors import ConfigError
from hwhup_core.synthetic.crib import CELL, lump, wavy_heights
from hwhup_core.synthetic.scene import Material, Scene, assemble
from hwhup_core.synthetic.solids import Cushion, Mesh, bar, box, grid_axes, slab

YIELD = 0.35
"""Share of a pillow's thickness that a head leaves of it."""
Part = tuple[Mesh, Material]
Range = tuple[float, float]


@dataclass(frozen=True)
class BedConfig:
    """Sizes of the bed, metres; pairs are lowest and highest, drawn by `build_bed`."""

    length: float = 2.0
    width: Range = (0.9, 1.0)
    mattress_thickness: Range = (0.1, 0.18)
    floor_depth: Range = (0.4, 0.8)
    """Floor below the mattress plane."""
    rail_up: float = 0.4
    """Chance, for each side, that its rail is up; else it hangs beside the mattress."""
    rail_height: Range = (0.12, 0.38)
    """Top of a rail above the mattress."""
    board_height: Range = (0.05, 0.5)
    """Head board above the mattress; the foot board reaches up to half as high."""
    pillow_probability: float = 0.9
    pillow_length: Range = (0.32, 0.45)
    """Along the bed."""
    pillow_width: Range = (0.5, 0.75)
    pillow_thickness: Range = (0.03, 0.07)
    waviness: float = 0.006
    """Standard deviation of the height of the mattress surface."""
    bump: float = 0.012
    """Largest height of one broad bump in the mattress."""
    table_probability: float = 0.5
    """Chance of a table beside the bed, for each side."""
    object_probability: float = 0.15
    """Chance of one thing on the mattress."""

    def __post_init__(self) -> None:
        for name in ('width', 'mattress_thickness', 'floor_depth', 'rail_height', 'board_height',
                     'pillow_length', 'pillow_width', 'pillow_thickness'):  # fmt: skip
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ConfigError(f'{name} is ({low}, {high}). Expected 0 < low <= high, metres.')
        if min(self.length, self.width[0]) < 4 * CELL:
            raise ConfigError(
                f'A mattress of {self.length} x {self.width[0]} m is too small. Use at least {4 * CELL} m.'
            )
        if self.pillow_length[1] > self.length:
            raise ConfigError(
                f'pillow_length reaches {self.pillow_length[1]} m on a bed of {self.length} m. Use a shorter pillow.'
            )
        for name in ('rail_up', 'pillow_probability', 'table_probability', 'object_probability'):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f'{name} is {getattr(self, name)}. Expected a chance in [0, 1].')


def build_bed(config: BedConfig, rng: np.random.Generator) -> Scene:
    """Return a random bed; its `heights` are those of the mattress with the pillow pressed down by a head."""
    width, thickness = float(rng.uniform(*config.width)), float(rng.uniform(*config.mattress_thickness))
    floor = -float(rng.uniform(*config.floor_depth))
    axes = grid_axes(config.length, width, CELL)
    heights = wavy_heights(axes, config.waviness, config.bump, rng)
    parts: list[Part] = [(slab(axes, heights, thickness), Material.MATTRESS)]
    if rng.random() < config.pillow_probability:
        pillow = _pillow(config, width, rng)
        parts.append((pillow.mesh(), Material.PILLOW))
        heights = heights + YIELD * pillow.heights(np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1))
    parts += _stand(config.length, width, thickness, floor)
    parts += _boards(config, width, thickness, rng)
    for side in (-1.0, 1.0):
        parts += _rail(config, side * (width / 2 + 0.045), rng)
        if rng.random() < config.table_probability:
            parts += _table(config, side, width, floor, rng)
    on_top = lump(config.length, width, rng) if rng.random() < config.object_probability else None
    return assemble(parts, (config.length, width), heights, floor, on_top)


def _pillow(config: BedConfig, width: float, rng: np.random.Generator) -> Cushion:
    """Return a pillow near the head end, not quite straight."""
    size = np.array([rng.uniform(*config.pillow_length), min(rng.uniform(*config.pillow_width), 0.95 * width)]) / 2
    center = np.array([config.length / 2 - size[0] - rng.uniform(0.0, 0.08), rng.normal(0.0, 0.03)])
    return Cushion(center, size, float(rng.normal(0.0, 0.08)), float(rng.uniform(*config.pillow_thickness)))


def _stand(length: float, width: float, thickness: float, floor: float) -> list[Part]:
    """Return the frame under the mattress and its four legs."""
    x, y = length / 2 - 0.1, width / 2 - 0.08
    legs = [
        bar((i * x - 0.025, j * y - 0.025, floor), (i * x + 0.025, j * y + 0.025, -thickness))
        for i in (-1, 1) for j in (-1, 1)
    ]  # fmt: skip
    frame = box((-length / 2, -width / 2, -thickness - 0.08), (length / 2, width / 2, -thickness - 0.005))
    return [(mesh, Material.METAL) for mesh in [frame, *legs]]


def _boards(config: BedConfig, width: float, thickness: float, rng: np.random.Generator) -> list[Part]:
    """Return head and foot board, of one material."""
    kind = Material.WOOD if rng.random() < 0.5 else Material.METAL
    head = float(rng.uniform(*config.board_height))
    foot = head * float(rng.uniform(0.1, 0.5))
    boards = []
    for side, height in ((1.0, head), (-1.0, foot)):
        inner, outer = sorted((side * (config.length / 2 + 0.01), side * (config.length / 2 + 0.045)))
        boards.append((box((inner, -width / 2, -thickness - 0.1), (outer, width / 2, height)), kind))
    return boards


def _rail(config: BedConfig, y: float, rng: np.random.Generator) -> list[Part]:
    """Return the bars of the rail in the plane of this y: up, or hanging beside the mattress."""
    up, top = rng.random() < config.rail_up, float(rng.uniform(*config.rail_height))
    reach = rng.uniform((-0.45, 0.15), (-0.1, 0.45)) * config.length
    thick, count, posts = float(rng.uniform(0.01, 0.018)), int(rng.integers(1, 4)), int(rng.integers(2, 6))
    high, low = (top, -0.05) if up else (-0.06, -0.06 - top)
    start, end = (float(x) for x in reach)
    bars = [
        bar((start, y - thick, z - 2 * thick), (end, y + thick, z)) for z in np.linspace(high, low, count + 1).tolist()
    ]
    bars += [
        bar((x - thick, y - thick, low - 0.05), (x + thick, y + thick, high))
        for x in np.linspace(start, end, posts).tolist()
    ]
    return [(mesh, Material.METAL) for mesh in bars]


def _table(config: BedConfig, side: float, width: float, floor: float, rng: np.random.Generator) -> list[Part]:
    """Return a table beside the bed with one thing on it."""
    depth, breadth, top = (float(value) for value in rng.uniform((0.35, 0.4, -0.15), (0.5, 0.6, 0.2)))
    x = float(rng.uniform(-0.2, 0.5)) * config.length
    near = width / 2 + float(rng.uniform(0.08, 0.3))
    low, high = sorted((side * near, side * (near + depth)))
    corners = (x - breadth / 2, low, floor), (x + breadth / 2, high, max(top, floor + 0.1))
    size, spot = rng.uniform((0.06, 0.06, 0.05), (0.2, 0.2, 0.25)), rng.uniform(0.3, 0.7, 2)
    foot = np.array([x + breadth * (spot[0] - 0.5), low + depth * spot[1], corners[1][2]])
    half = size * (0.5, 0.5, 0.0)
    first, last = foot - half, foot + half + (0.0, 0.0, size[2])
    thing = box((first[0], first[1], first[2]), (last[0], last[1], last[2]))
    return [(box(*corners), Material.FURNITURE), (thing, Material.FURNITURE)]
