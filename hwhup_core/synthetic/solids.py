"""The solids that scenes are put together from: slabs, bars, boxes, domes, tapered tubes. World frame, metres."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

PIECE = 0.08
"""Longest piece of a bar, metres."""
Mesh: TypeAlias = tuple[Float[ndarray, '_ 3'], Int[ndarray, '_ 3']]
"""Vertices and faces."""


def grid_axes(length: float, width: float, cell: float) -> tuple[Float[ndarray, ' nx'], Float[ndarray, ' ny']]:
    """Return the x and y of the points of a grid over a rectangle around the origin, about `cell` metres apart."""
    x, y = (np.linspace(-side / 2, side / 2, round(side / cell) + 1) for side in (length, width))
    return x, y


def slab(
    axes: tuple[Float[ndarray, ' nx'], Float[ndarray, ' ny']], heights: Float[ndarray, 'nx ny'], thickness: float
) -> Mesh:
    """Return a mattress: the top with its heights over the grid of `axes`, and the four sides."""
    x, y = np.meshgrid(*axes, indexing='ij')
    top = np.stack([x, y, heights], axis=-1).reshape(-1, 3)
    ids = np.arange(len(top)).reshape(x.shape)
    faces = grid_faces(*x.shape)
    rim = np.concatenate([ids[:, 0], ids[-1, 1:], ids[-2::-1, -1], ids[0, -2::-1]])
    below = top[rim] * (1.0, 1.0, 0.0) - (0.0, 0.0, thickness)
    low = np.arange(len(rim)) + len(top)
    k = np.arange(len(rim) - 1)
    sides = np.concatenate([
        np.stack([rim[k], low[k], low[k + 1]], 1), np.stack([rim[k], low[k + 1], rim[k + 1]], 1)
    ])  # fmt: skip
    return np.concatenate([top, below]), np.concatenate([faces, sides])


@cache
def grid_faces(rows: int, columns: int) -> Int[ndarray, 'f 3']:
    """Return two faces for each cell of a grid of rows x columns vertices; with x, y right-handed they face up."""
    ids = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = ids[:-1, :-1].ravel(), ids[1:, :-1].ravel(), ids[1:, 1:].ravel(), ids[:-1, 1:].ravel()
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def bar(low: tuple[float, float, float], high: tuple[float, float, float]) -> Mesh:
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
    return vertices.reshape(-1, 3), tube_faces(rings, 4)


@cache
def tube_faces(rings: int, around: int) -> Int[ndarray, 'f 3']:
    """Return the faces between closed rings of vertices that follow each other."""
    ids = np.arange(rings * around).reshape(rings, around)
    a, b, c, d = ids[:-1], np.roll(ids[:-1], -1, 1), np.roll(ids[1:], -1, 1), ids[1:]
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])


def dome(center: Float[ndarray, '2'], radius: float, height: float, rng: np.random.Generator) -> Mesh:
    """Return a lumpy half ellipsoid standing on the plane."""
    around, up = 14, 5
    angle, rise = np.meshgrid(np.linspace(0, 2 * np.pi, around, endpoint=False), np.linspace(0, np.pi / 2, up))
    lump = 1 + 0.25 * np.sin(2 * angle + rng.uniform(0, 6.28)) + 0.12 * np.sin(5 * angle + rng.uniform(0, 6.28))
    out = radius * lump * np.cos(rise)
    vertices = np.stack([center[0] + out * np.cos(angle), center[1] + out * np.sin(angle), height * np.sin(rise)], -1)
    return vertices.reshape(-1, 3), tube_faces(up, around)


def box(low: tuple[float, float, float], high: tuple[float, float, float]) -> Mesh:
    """Return a closed cuboid of large faces: quick to draw where it stands upright in the picture, or only once."""
    corners = np.array([[(low, high)[k][axis] for axis, k in enumerate(bits)] for bits in np.ndindex(2, 2, 2)], float)
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    return corners, np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def wall(start: Float[ndarray, '2'], end: Float[ndarray, '2'], height: float) -> Mesh:
    """Return an upright wall on the plane z = 0 in pieces, so that only those behind a camera are lost to it."""
    along = np.linspace(0.0, 1.0, math.ceil(float(np.linalg.norm(end - start)) / 0.25) + 1)
    up = np.linspace(0.0, height, math.ceil(height / 0.25) + 1)
    ground = start + along[:, None] * (end - start)
    vertices = np.concatenate([np.repeat(ground, len(up), axis=0), np.tile(up, len(along))[:, None]], axis=1)
    return vertices, grid_faces(len(along), len(up))


@dataclass(frozen=True)
class Cushion:
    """A pillow: an outline between ellipse and rectangle, flat in the middle, round at the rim."""

    center: Float[ndarray, '2']
    """World x, y, metres."""
    size: Float[ndarray, '2']
    """Half its sides along its own axes, metres."""
    yaw: float
    """Turn of its axes against those of the world, radians."""
    thickness: float
    """Height of its middle above the plane, metres."""

    def heights(self, points: Float[ndarray, '*n 2']) -> Float[ndarray, '*n']:
        """Return how high it rises above the plane at world x, y; 0 beside it."""
        own = ((points - self.center) @ self._axes().T) / self.size
        result: ndarray = self._profile((own**4).sum(axis=-1) ** 0.25)
        return result

    def mesh(self) -> Mesh:
        """Return its upper side."""
        around, rings = 36, 10
        angle = np.linspace(0, 2 * np.pi, around, endpoint=False)
        rim = np.stack([np.cos(angle), np.sin(angle)], axis=1)
        rim /= (rim**4).sum(axis=1, keepdims=True) ** 0.25
        # Rings are closest at the rim, where the surface is steepest.
        radius = np.sin(np.linspace(np.pi / 2, 0, rings))
        flat = (radius[:, None, None] * rim * self.size) @ self._axes() + self.center
        rise = np.broadcast_to(self._profile(radius)[:, None, None], (rings, around, 1))
        return np.concatenate([flat, rise], axis=2).reshape(-1, 3), tube_faces(rings, around)

    def _axes(self) -> Float[ndarray, '2 2']:
        """Return its axes as rows."""
        cosine, sine = math.cos(self.yaw), math.sin(self.yaw)
        return np.array([[cosine, sine], [-sine, cosine]])

    def _profile(self, radius: Float[ndarray, '*n']) -> Float[ndarray, '*n']:
        """Return the height at a distance from the middle that is 1 at the rim."""
        result: ndarray = self.thickness * np.sqrt(np.maximum(1 - radius**3, 0.0))
        return result


def tube(path: Float[ndarray, 'n 3'], radii: Float[ndarray, ' n'], around: int = 10) -> Mesh:
    """Return a tapered tube with round cross-sections about the points of a path, closed at both ends."""
    tangents = np.gradient(path, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    # One side for all rings, so that the faces between them do not twist.
    whole = path[-1] - path[0]
    aside = np.cross(whole, np.eye(3)[np.abs(whole).argmin()])
    first = aside - (tangents @ aside)[:, None] * tangents
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(tangents, first)
    angle = np.linspace(0, 2 * np.pi, around, endpoint=False)[:, None]
    rings = path[:, None] + radii[:, None, None] * (np.cos(angle) * first[:, None] + np.sin(angle) * second[:, None])
    ends = [np.repeat(path[k : k + 1], around, axis=0)[None] for k in (0, len(path) - 1)]
    vertices = np.concatenate([ends[0], rings, ends[1]])
    return vertices.reshape(-1, 3), tube_faces(len(vertices), around)
