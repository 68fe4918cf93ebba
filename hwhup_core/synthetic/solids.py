"""The solids that scenes are put together from: slabs, bars, boxes, domes, tapered tubes. World frame, metres."""

from __future__ import annotations

import math
from functools import cache
from typing import TypeAlias

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

PIECE = 0.08
"""Longest piece of a bar, metres."""
Mesh: TypeAlias = tuple[Float[ndarray, 'v 3'], Int[ndarray, 'f 3']]
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
