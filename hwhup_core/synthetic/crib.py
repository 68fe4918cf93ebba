"""
The crib: mattress, bars, floor and an odd object, rendered exactly by any pinhole camera.

World frame: z up, mattress plane z = 0, metres, origin at the mattress centre, x along the long side to the head end.
The static part is rendered once a camera; a body is then composited by depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from hwhup_core.errors import ConfigError
from hwhup_core.render.compiled import compiled
from hwhup_core.render.numba_backend import depth_buffer
from hwhup_core.synthetic.views import View

CELL = 0.05
"""Mattress grid, metres."""
PIECE = 0.08
"""Longest piece of a bar, metres."""


class Material(IntEnum):
    """What a pixel shows."""

    NOTHING = 0
    FLOOR = 1
    MATTRESS = 2
    WOOD = 3
    OBJECT = 4
    BODY = 5
    WALL = 6
    METAL = 7
    PILLOW = 8
    SHEET = 9
    BLANKET = 10
    CAREGIVER = 11
    FURNITURE = 12


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


@dataclass(frozen=True)
class StaticRender:
    """The crib without a body, as one camera sees it."""

    depth: Float[ndarray, 'h w']
    """float32 metres; 0 where nothing is hit."""
    material: UInt8[ndarray, 'h w']
    """`Material` numbers."""
    face_index: Int[ndarray, 'h w']
    """Face of the crib, -1 for the floor and where nothing is hit."""


@dataclass(frozen=True)
class SceneRender:
    """The crib with a body."""

    depth: Float[ndarray, 'h w']
    """float32 metres; 0 where nothing is hit."""
    material: UInt8[ndarray, 'h w']
    """`Material` numbers; BODY is the visible part of the body."""
    body_face: Int[ndarray, 'h w']
    """Face of the body, -1 where it is not seen."""


@dataclass(frozen=True)
class CribScene:
    """One crib, exact."""

    config: CribConfig
    vertices: Float[ndarray, 'v 3']
    """World, metres."""
    faces: Int[ndarray, 'f 3']
    material: UInt8[ndarray, ' f']
    """`Material` of each face; faces of the object come last."""
    heights: Float[ndarray, 'nx ny']
    """Mattress surface above the plane at its grid points, metres."""
    floor: float
    """World z of the floor."""
    object_center: Float[ndarray, '2'] | None
    """Where the object stands."""
    object_radius: float

    @cached_property
    def faces_without_object(self) -> int:
        """Number of faces before those of the object."""
        return int(np.count_nonzero(self.material != Material.OBJECT))

    def mattress_height(self, points: Float[ndarray, 'n 2']) -> Float[ndarray, ' n']:
        """Return the height of the mattress surface at world x, y: bilinear, the border value beyond it."""
        shape = np.array(self.heights.shape)
        half = np.array([self.config.length, self.config.width]) / 2
        cell = np.clip((points + half) / (2 * half) * (shape - 1), 0, shape - 1.001)
        low = cell.astype(int)
        fx, fy = (cell - low).T
        i, j = low.T
        grid = self.heights
        near = grid[i, j] * (1 - fy) + grid[i, j + 1] * fy
        far = grid[i + 1, j] * (1 - fy) + grid[i + 1, j + 1] * fy
        result: ndarray = near * (1 - fx) + far * fx
        return result

    def render_static(
        self, camera: Float[ndarray, '4'], size: tuple[int, int], view: View, with_object: bool = True
    ) -> StaticRender:
        """Return the crib without a body; `camera` is fx fy cx cy, `size` height and width."""
        faces = self.faces if with_object else self.faces[: self.faces_without_object]
        depth, face_index = depth_buffer(view.to_camera(self.vertices).astype(np.float32), faces, camera, size)
        material = np.empty(size, np.uint8)
        position = view.position
        _fill_floor(depth, face_index, material, self.material, camera, view.rotation[:, 2], self.floor - position[2])
        return StaticRender(depth, material, face_index)

    def render(
        self,
        body_vertices: Float[ndarray, 'v 3'],
        body_faces: Int[ndarray, 'f 3'],
        camera: Float[ndarray, '4'],
        size: tuple[int, int],
        view: View,
        with_object: bool = True,
    ) -> SceneRender:
        """Return the crib with a body whose vertices are in the camera frame."""
        return add_body(self.render_static(camera, size, view, with_object), body_vertices, body_faces, camera)


def add_body(
    static: StaticRender, vertices: Float[ndarray, 'v 3'], faces: Int[ndarray, 'f 3'], camera: Float[ndarray, '4']
) -> SceneRender:
    """Return the static picture with a body (camera frame, metres) composited by depth; the static one is kept."""
    depth, body_face = depth_buffer(vertices, faces, camera, static.depth.shape)
    material = np.empty_like(static.material)
    _composite(depth, body_face, material, static.depth, static.material)
    return SceneRender(depth, material, body_face)


def build_crib(config: CribConfig, rng: np.random.Generator) -> CribScene:
    """Return a random crib of the configured kind."""
    heights = _mattress_heights(config, rng)
    height, spacing, bar = (
        rng.uniform(*bounds) for bounds in (config.bar_height, config.bar_spacing, config.bar_width)
    )
    floor = -rng.uniform(*config.floor_depth)
    parts = [(*_mattress_mesh(config, heights), Material.MATTRESS)]
    parts += [(*_cuboid(low, high), Material.WOOD) for low, high in _frame(config, height, spacing, bar, floor)]
    center, radius = None, 0.0
    if rng.random() < config.object_probability:
        center = rng.uniform(-0.45, 0.45, 2) * (config.length, config.width)
        radius = float(rng.uniform(0.035, 0.1))
        parts.append((*_dome(center, radius, float(rng.uniform(0.03, 0.09)), rng), Material.OBJECT))
    offsets = np.cumsum([0] + [len(vertices) for vertices, _, _ in parts[:-1]])
    return CribScene(
        config=config,
        vertices=np.concatenate([vertices for vertices, _, _ in parts]),
        faces=np.concatenate([faces + offset for (_, faces, _), offset in zip(parts, offsets, strict=True)]).astype(
            np.int32
        ),
        material=np.concatenate([np.full(len(faces), kind, np.uint8) for _, faces, kind in parts]),
        heights=heights,
        floor=floor,
        object_center=center,
        object_radius=radius,
    )


def _mattress_heights(config: CribConfig, rng: np.random.Generator) -> Float[ndarray, 'nx ny']:
    """Return a few random long waves and one broad bump on the grid."""
    x, y = np.meshgrid(*_grid_axes(config), indexing='ij')
    field = np.zeros_like(x)
    for _ in range(5):
        along, across = rng.normal(0.0, 6.0, 2)
        field += rng.normal(0.0, config.waviness / math.sqrt(2.5)) * np.sin(
            along * x + across * y + rng.uniform(0.0, 6.28)
        )
    center = rng.uniform(-0.5, 0.5, 2) * (config.length, config.width)
    size = rng.uniform(0.1, 0.25, 2)
    bump = rng.uniform(0.0, config.bump)
    result: ndarray = field + bump * np.exp(-(((x - center[0]) / size[0]) ** 2) - ((y - center[1]) / size[1]) ** 2)
    return result


def _grid_axes(config: CribConfig) -> tuple[ndarray, ndarray]:
    x, y = (np.linspace(-side / 2, side / 2, round(side / CELL) + 1) for side in (config.length, config.width))
    return x, y


def _mattress_mesh(config: CribConfig, heights: Float[ndarray, 'nx ny']) -> tuple[ndarray, ndarray]:
    """Return the top grid and the four sides."""
    x, y = np.meshgrid(*_grid_axes(config), indexing='ij')
    top = np.stack([x, y, heights], axis=-1).reshape(-1, 3)
    ids = np.arange(len(top)).reshape(x.shape)
    a, b, c, d = ids[:-1, :-1].ravel(), ids[1:, :-1].ravel(), ids[1:, 1:].ravel(), ids[:-1, 1:].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    rim = np.concatenate([ids[:, 0], ids[-1, 1:], ids[-2::-1, -1], ids[0, -2::-1]])
    below = top[rim] * (1.0, 1.0, 0.0) - (0.0, 0.0, config.mattress_thickness)
    low = np.arange(len(rim)) + len(top)
    k = np.arange(len(rim) - 1)
    sides = np.concatenate([
        np.stack([rim[k], low[k], low[k + 1]], 1), np.stack([rim[k], low[k + 1], rim[k + 1]], 1)
    ])  # fmt: skip
    return np.concatenate([top, below]), np.concatenate([faces, sides])


def _frame(
    config: CribConfig, height: float, spacing: float, bar: float, floor: float
) -> list[tuple[tuple[float, float, float], tuple[float, float, float]]]:
    """Return the cuboids (low, high corner) of bars, rails and corner posts around the mattress."""
    x, y, rail = config.length / 2 + 0.02, config.width / 2 + 0.02, 0.02
    bottom, thick = -config.mattress_thickness - 0.05, bar / 2
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


def _cuboid(low: tuple[float, float, float], high: tuple[float, float, float]) -> tuple[ndarray, ndarray]:
    """
    Return the four long sides of a cuboid, cut across into short pieces.

    The renderer visits the bounding box of each face: short pieces of a slanted bar have small ones.
    """
    corner, extent = np.array(low), np.array(high) - low
    axis = int(extent.argmax())
    first, second = (axis + 1) % 3, (axis + 2) % 3
    rings = max(math.ceil(extent[axis] / PIECE), 1) + 1
    vertices = np.empty((rings, 4, 3))
    vertices[...] = corner
    vertices[:, :, axis] += np.linspace(0.0, extent[axis], rings)[:, None]
    vertices[:, 1:3, first] += extent[first]
    vertices[:, 2:, second] += extent[second]
    return vertices.reshape(-1, 3), _tube_faces(rings, 4)


@cache
def _tube_faces(rings: int, around: int) -> Int[ndarray, 'f 3']:
    """Return the faces between closed rings of vertices that follow each other."""
    ids = np.arange(rings * around).reshape(rings, around)
    a, b, c, d = ids[:-1], np.roll(ids[:-1], -1, 1), np.roll(ids[1:], -1, 1), ids[1:]
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])


def _dome(center: ndarray, radius: float, height: float, rng: np.random.Generator) -> tuple[ndarray, ndarray]:
    """Return a lumpy half ellipsoid standing on the plane."""
    around, up = 14, 5
    angle, rise = np.meshgrid(np.linspace(0, 2 * np.pi, around, endpoint=False), np.linspace(0, np.pi / 2, up))
    lump = 1 + 0.25 * np.sin(2 * angle + rng.uniform(0, 6.28)) + 0.12 * np.sin(5 * angle + rng.uniform(0, 6.28))
    out = radius * lump * np.cos(rise)
    vertices = np.stack([center[0] + out * np.cos(angle), center[1] + out * np.sin(angle), height * np.sin(rise)], -1)
    return vertices.reshape(-1, 3), _tube_faces(up, around)


@compiled
def _fill_floor(
    depth: Any, face_index: Any, material: Any, materials: Any, camera: Any, up: Any, floor_below: float
) -> None:
    """Write materials, and the floor plane where no face was hit (`up` and the camera's height fix the plane)."""
    height, width = depth.shape
    for i in range(height):
        ray_y = (i + 0.5 - camera[3]) / camera[1]
        for j in range(width):
            if face_index[i, j] >= 0:
                material[i, j] = materials[face_index[i, j]]
                continue
            rise = up[0] * (j + 0.5 - camera[2]) / camera[0] + up[1] * ray_y + up[2]
            # A ray that meets the floor beyond 6 m, or never, counts as nothing.
            if floor_below >= 6.0 * rise:
                depth[i, j] = floor_below / rise
                material[i, j] = 1
            else:
                material[i, j] = 0


@compiled
def _composite(depth: Any, body_face: Any, material: Any, static_depth: Any, static_material: Any) -> None:
    """Keep the nearer of body and static scene in `depth`, `body_face` and `material`."""
    height, width = depth.shape
    for i in range(height):
        for j in range(width):
            z, back = depth[i, j], static_depth[i, j]
            if z > 0 and (back <= 0 or z < back):
                material[i, j] = 5
            else:
                depth[i, j], body_face[i, j], material[i, j] = back, -1, static_material[i, j]
