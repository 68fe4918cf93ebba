"""
Mesh simplification to a subset of the vertices (development only, used by `anny.py`).

Half-edge collapse with quadric error (Garland and Heckbert 1997) over several shapes of one mesh at once, so that the
subset serves adults and infants alike. Kept vertices stay where they are: what is known per vertex is carried over.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

EDGE_WEIGHT = 2e-3
"""Weight of (edge length)^4 against the squared distance to the old surface; keeps triangles even."""
HIDDEN_WEIGHT = 0.02
"""How much a vertex inside the mouth or eye sockets counts."""
MAX_VALENCE = 11
MIN_NORMAL_COSINE = 0.35
MIN_ROUNDNESS = 0.08
"""Twice the area over the squared longest edge that a visible triangle must keep."""


@dataclass(frozen=True)
class Decimated:
    """The remaining mesh."""

    kept: Int[ndarray, ' w']
    """Ids of the kept vertices in the old mesh, ascending."""
    faces: Int[ndarray, 'g 3']
    """Triangles over the kept vertices."""


def decimate(
    shapes: Sequence[Float[ndarray, 'v 3']], faces: Int[ndarray, 'f 3'], hidden: Bool[ndarray, ' v'], target: int
) -> Decimated:
    """Return the closed mesh with `target` vertices left; `shapes` are vertex positions of similar size, metres."""
    return _Collapser(shapes, faces, hidden).run(target)


class _Collapser:
    """Mesh connectivity and quadrics while edges collapse."""

    def __init__(self, shapes: Sequence[ndarray], faces: ndarray, hidden: ndarray) -> None:
        self.shapes = shapes
        self.homogeneous = [np.c_[shape, np.ones(len(shape))] for shape in shapes]
        self.hidden = hidden
        self.importance = np.where(hidden, HIDDEN_WEIGHT, 1.0)
        self.quadrics = np.stack([_quadrics(shape, faces) for shape in shapes]) * self.importance[None, :, None, None]
        self.faces = {index: [int(corner) for corner in face] for index, face in enumerate(faces)}
        self.faces_of: list[set[int]] = [set() for _ in range(len(hidden))]
        for index, face in self.faces.items():
            for corner in face:
                self.faces_of[corner].add(index)
        self.alive = np.ones(len(hidden), bool)
        self.version = np.zeros(len(hidden), int)
        self.heap: list[tuple[float, int, int, int, int]] = []

    def run(self, target: int) -> Decimated:
        """Collapse the cheapest allowed edge until `target` vertices are left."""
        for vertex in range(len(self.alive)):
            for neighbour in sorted(self.neighbours(vertex)):
                self.push(vertex, neighbour)
        remaining = len(self.alive)
        while remaining > target:
            if not self.heap:
                raise ValueError(f'No edge can collapse any more at {remaining} vertices, target {target}.')
            _, gone, kept, version_gone, version_kept = heapq.heappop(self.heap)
            current = self.version[gone] == version_gone and self.version[kept] == version_kept
            if self.alive[gone] and self.alive[kept] and current and self.allowed(gone, kept):
                self.collapse(gone, kept)
                remaining -= 1
        kept_ids = np.flatnonzero(self.alive)
        position = np.full(len(self.alive), -1)
        position[kept_ids] = np.arange(len(kept_ids))
        return Decimated(kept=kept_ids, faces=position[np.array(list(self.faces.values()))])

    def neighbours(self, vertex: int) -> set[int]:
        """Return the vertices that share an edge with `vertex`."""
        return {corner for face in self.faces_of[vertex] for corner in self.faces[face]} - {vertex}

    def push(self, gone: int, kept: int) -> None:
        """Queue the collapse of `gone` into `kept`."""
        cost = 0.0
        for shape, points, quadrics in zip(self.shapes, self.homogeneous, self.quadrics):
            edge = shape[gone] - shape[kept]
            cost += points[kept] @ (quadrics[gone] + quadrics[kept]) @ points[kept]
            cost += EDGE_WEIGHT * (edge @ edge) ** 2 * self.importance[gone]
        heapq.heappush(self.heap, (cost, gone, kept, int(self.version[gone]), int(self.version[kept])))

    def allowed(self, gone: int, kept: int) -> bool:
        """Tell whether the collapse keeps the mesh a manifold and visible triangles unfolded and not too thin."""
        around_gone, around_kept = self.neighbours(gone), self.neighbours(kept)
        shared_faces = self.faces_of[gone] & self.faces_of[kept]
        wings = around_gone & around_kept
        if len(wings) != 2 or len(shared_faces) != 2 or any(len(self.faces_of[wing]) <= 3 for wing in wings):
            return False
        if len(around_gone | around_kept) - 2 > MAX_VALENCE:
            return False
        moved = self.faces_of[gone] - shared_faces
        return all(self._triangle_stays_good(shape, face, gone, kept) for shape in self.shapes for face in moved)

    def _triangle_stays_good(self, shape: ndarray, face: int, gone: int, kept: int) -> bool:
        before = shape[self.faces[face]]
        after = shape[[kept if corner == gone else corner for corner in self.faces[face]]]
        normal_before = np.cross(before[1] - before[0], before[2] - before[0])
        normal_after = np.cross(after[1] - after[0], after[2] - after[0])
        size_before, size_after = float(np.linalg.norm(normal_before)), float(np.linalg.norm(normal_after))
        if size_after < 1e-12:
            return False
        if self.hidden[gone]:
            return True
        longest = max(float(((after[i] - after[i - 1]) ** 2).sum()) for i in range(3))
        turned = float(normal_before @ normal_after) < MIN_NORMAL_COSINE * size_before * size_after
        return not turned and size_after / longest >= MIN_ROUNDNESS

    def collapse(self, gone: int, kept: int) -> None:
        """Move `gone` onto `kept` and queue the edges around it anew."""
        for face in sorted(self.faces_of[gone]):
            corners = self.faces[face]
            if kept in corners:
                for corner in corners:
                    self.faces_of[corner].discard(face)
                del self.faces[face]
            else:
                self.faces[face] = [kept if corner == gone else corner for corner in corners]
                self.faces_of[kept].add(face)
        self.faces_of[gone] = set()
        self.alive[gone] = False
        self.quadrics[:, kept] += self.quadrics[:, gone]
        self.version[kept] += 1
        for neighbour in sorted(self.neighbours(kept)):
            self.push(neighbour, kept)
            self.push(kept, neighbour)


def _quadrics(shape: ndarray, faces: ndarray) -> ndarray:
    """Return for each vertex the sum of the area-weighted plane quadrics of its triangles, (v, 4, 4)."""
    corners = shape[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    double_area = np.linalg.norm(normal, axis=1, keepdims=True)
    normal = normal / np.maximum(double_area, 1e-20)
    plane = np.c_[normal, -(normal * corners[:, 0]).sum(axis=1)]
    per_face = plane[:, :, None] * plane[:, None, :] * (double_area[:, :, None] / 2)
    quadrics = np.zeros((len(shape), 4, 4))
    for corner in range(3):
        np.add.at(quadrics, faces[:, corner], per_face)
    return quadrics
