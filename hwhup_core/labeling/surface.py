"""The body's surface as a few hundred points: what the camera sees of them, and how they move with the joints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from hwhup_core.body.joints import PARENTS_24
from hwhup_core.geometry.cameras import through_lens
from hwhup_core.render.numba_backend import depth_buffer
from hwhup_core.types import Intrinsics

POINTS = 700
SEEN_WITHIN_M = 0.012
"""A point is seen if the rendered surface at its pixel is at most this much nearer."""
RENDERED_SIDE = 120
"""Pixels of the larger side of the picture that tells what is seen: body parts are tens of millimetres wide."""


@dataclass(frozen=True)
class SurfaceView:
    """The chosen points of a posed body before the camera."""

    vertices: Float[ndarray, 'n 3']
    """Metres."""
    normals: Float[ndarray, 'n 3']
    facing: Bool[ndarray, ' n']
    """Not hidden by the body itself."""
    bare: Bool[ndarray, ' n']
    """And nothing measured lies in front; in a hole of the depth image nothing is known, so it is not bare."""


class Surface:
    """Points drawn evenly over the surface, always the same ones."""

    def __init__(
        self, rest: Float[ndarray, 'v 3'], faces: Int[ndarray, 'f 3'], weights: Float[ndarray, '24 v']
    ) -> None:
        self.faces = faces
        area = np.linalg.norm(_face_normals(rest, faces), axis=1)
        share = np.bincount(faces.reshape(-1), np.repeat(area, 3), minlength=len(rest))
        rng = np.random.default_rng(0)
        self.chosen: Int[ndarray, ' n'] = np.sort(
            rng.choice(len(rest), min(POINTS, len(rest)), replace=False, p=share / share.sum())
        )
        slots = np.full(len(rest), -1)
        slots[self.chosen] = np.arange(len(self.chosen))
        touching = (slots[faces] >= 0).any(axis=1)
        self._ring = faces[touching]
        self._slots = slots[self._ring]
        below = np.eye(24)
        for joint in range(23, 0, -1):
            below[PARENTS_24[joint]] += below[joint]
        self._follows: Float[ndarray, 'n 24'] = (below @ weights[:, self.chosen]).T
        """How much of each point turns with a joint: the weights of the joint and all below it."""

    def jacobian(
        self, which: Int[ndarray, ' m'], places: Float[ndarray, 'm 3'], joints: Float[ndarray, '24 3']
    ) -> Float[ndarray, 'm 3 75']:
        """
        Return how points (`which` of the chosen ones, at `places`) move with the turn of each joint and with the root.

        A turn w of a joint moves a point by weight x w x (point - joint): exact where a point follows one bone.
        """
        arms = (places[:, None] - joints) * self._follows[which][..., None]
        x, y, z = np.moveaxis(arms, 2, 0)
        zero = np.zeros_like(x)
        rows = [(zero, z, -y), (-z, zero, x), (y, -x, zero)]
        turns = np.stack([np.stack(row, axis=2).reshape(len(places), 72) for row in rows], axis=1)
        moves = np.broadcast_to(np.eye(3), (len(places), 3, 3))
        return np.concatenate([turns, moves], axis=2)

    def view(
        self,
        vertices: Float[ndarray, 'v 3'],
        depth: Float[ndarray, 'h w'],
        intrinsics: Intrinsics,
        occluder: float,
    ) -> SurfaceView:
        """Return what the camera sees of a posed body; something measured `occluder` (m) in front hides a point."""
        points = vertices[self.chosen].astype(np.float64)
        normals = self._normals(vertices)
        rendered = self._rendered(vertices, intrinsics)
        facing = (points[:, 2] < rendered + SEEN_WITHIN_M) & ((normals * points).sum(axis=1) < 0)
        _, pixels = through_lens(points, intrinsics)
        whole = np.floor(np.nan_to_num(pixels, nan=-1.0)).astype(int)
        inside = ((whole >= 0) & (whole < (intrinsics.width, intrinsics.height))).all(axis=1)
        columns, rows = np.where(inside[:, None], whole, 0).T
        measured = depth[rows, columns]
        bare = facing & inside & (measured > 0) & (measured > points[:, 2] - occluder)
        return SurfaceView(points, normals, facing & inside, bare)

    def _rendered(self, vertices: Float[ndarray, 'v 3'], intrinsics: Intrinsics) -> Float[ndarray, ' n']:
        """Return the depth (m) of the nearest surface before each chosen point, in a small picture of the body."""
        straight, pixels = through_lens(vertices, intrinsics)
        low, high = np.nanmin(pixels, axis=0), np.nanmax(pixels, axis=0)
        scale = RENDERED_SIDE / max(float((high - low).max()), 1.0)
        size = np.maximum(np.ceil((high - low) * scale), 1).astype(int)
        camera = scale * np.array([intrinsics.fx, intrinsics.fy, intrinsics.cx - low[0], intrinsics.cy - low[1]])
        picture, _ = depth_buffer(straight.astype(np.float32), self.faces, camera, (int(size[1]), int(size[0])))
        cells = np.clip(np.floor((pixels[self.chosen] - low) * scale), 0, size - 1).astype(int)
        found = picture[cells[:, 1], cells[:, 0]]
        nearest: ndarray = np.where(found > 0, found, np.inf)
        return nearest

    def _normals(self, vertices: Float[ndarray, 'v 3']) -> Float[ndarray, 'n 3']:
        across = _face_normals(vertices, self._ring)
        summed = np.zeros((len(self.chosen), 3))
        for corner in range(3):
            mine = self._slots[:, corner] >= 0
            np.add.at(summed, self._slots[mine, corner], across[mine])
        length = np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12)
        normals: ndarray = summed / length
        return normals


def _face_normals(vertices: Float[ndarray, 'v 3'], faces: Int[ndarray, 'f 3']) -> Float[ndarray, 'f 3']:
    """Return normals as long as twice the faces' areas."""
    a, b, c = (vertices[faces[:, corner]].astype(np.float64) for corner in range(3))
    normals: ndarray = np.cross(b - a, c - a)
    return normals
