"""
Scenes: what is around a person, rendered exactly by any pinhole camera, and what is put into the picture by depth.

World frame: z up, mattress plane (in a room: the floor) z = 0, metres, origin at the mattress centre, x along the long
side to the head end. The static part is rendered once a camera; a body and covers are then composited by depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from hwhup_core.compiled import compiled
from hwhup_core.render.numba_backend import depth_buffer
from hwhup_core.synthetic.solids import Mesh
from hwhup_core.synthetic.views import View


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
class StaticRender:
    """The scene without a body, as one camera sees it."""

    depth: Float[ndarray, 'h w']
    """float32 metres; 0 where nothing is hit."""
    material: UInt8[ndarray, 'h w']
    """`Material` numbers."""
    face_index: Int[ndarray, 'h w']
    """Face of the scene, -1 for the floor and where nothing is hit."""


@dataclass(frozen=True)
class SceneRender:
    """The scene with a body."""

    depth: Float[ndarray, 'h w']
    """float32 metres; 0 where nothing is hit."""
    material: UInt8[ndarray, 'h w']
    """`Material` numbers; BODY is the visible part of the body."""
    body_face: Int[ndarray, 'h w']
    """Face of the body, -1 where it is not seen."""


@dataclass(frozen=True)
class Scene:
    """A bed, a crib or a room without its person, exact."""

    vertices: Float[ndarray, 'v 3']
    """World, metres."""
    faces: Int[ndarray, 'f 3']
    material: UInt8[ndarray, ' f']
    """`Material` of each face; faces of the object come last."""
    length: float
    width: float
    """Sides of the surface that people rest on, along world x and y, its centre in the origin, metres."""
    heights: Float[ndarray, 'nx ny']
    """That surface (mattress, or floor of a room) above the plane z = 0 at its grid points, metres."""
    floor: float
    """World z of the floor."""
    object_center: Float[ndarray, '2'] | None = None
    """Where the object stands on the mattress."""
    object_radius: float = 0.0

    @cached_property
    def faces_without_object(self) -> int:
        """Number of faces before those of the object."""
        return int(np.count_nonzero(self.material != Material.OBJECT))

    def mattress_height(self, points: Float[ndarray, 'n 2']) -> Float[ndarray, ' n']:
        """Return the height of the mattress surface at world x, y: bilinear, the border value beyond it."""
        shape = np.array(self.heights.shape)
        half = np.array([self.length, self.width]) / 2
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
        """Return the scene without a body; `camera` is fx fy cx cy, `size` height and width."""
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
        """Return the scene with a body whose vertices are in the camera frame."""
        return add_body(self.render_static(camera, size, view, with_object), body_vertices, body_faces, camera)


def assemble(
    parts: Sequence[tuple[Mesh, Material]],
    size: tuple[float, float],
    heights: Float[ndarray, 'nx ny'],
    floor: float,
    on_top: tuple[Mesh, Float[ndarray, '2'], float] | None = None,
) -> Scene:
    """Return the scene of these solids; `size` is length and width, `on_top` an object with its centre and radius."""
    meshes = [mesh for mesh, _ in parts]
    kinds = [kind for _, kind in parts]
    if on_top is not None:
        meshes.append(on_top[0])
        kinds.append(Material.OBJECT)
    offsets = np.cumsum([0] + [len(vertices) for vertices, _ in meshes[:-1]])
    faces = [faces + offset for (_, faces), offset in zip(meshes, offsets, strict=True)]
    return Scene(
        vertices=np.concatenate([vertices for vertices, _ in meshes]),
        faces=np.concatenate(faces).astype(np.int32),
        material=np.concatenate([np.full(len(mine), kind, np.uint8) for mine, kind in zip(faces, kinds, strict=True)]),
        length=size[0],
        width=size[1],
        heights=heights,
        floor=floor,
        object_center=None if on_top is None else on_top[1],
        object_radius=0.0 if on_top is None else on_top[2],
    )


def add_surface(
    render: SceneRender,
    vertices_world: Float[ndarray, 'v 3'],
    faces: Int[ndarray, 'f 3'],
    material: Material,
    camera: Float[ndarray, '4'],
    view: View,
) -> SceneRender:
    """Return the picture with another surface (world, metres) composited by depth; the given one is kept."""
    depth, face = depth_buffer(view.to_camera(vertices_world), faces, camera, render.depth.shape)
    nearer = (face >= 0) & ((render.depth <= 0) | (depth < render.depth))
    return SceneRender(
        np.where(nearer, depth, render.depth),
        np.where(nearer, np.uint8(material), render.material),
        np.where(nearer, np.int32(-1), render.body_face),
    )


def add_body(
    static: StaticRender, vertices: Float[ndarray, 'v 3'], faces: Int[ndarray, 'f 3'], camera: Float[ndarray, '4']
) -> SceneRender:
    """Return the static picture with a body (camera frame, metres) composited by depth; the static one is kept."""
    depth, body_face = depth_buffer(vertices, faces, camera, static.depth.shape)
    material = np.empty_like(static.material)
    _composite(depth, body_face, material, static.depth, static.material)
    return SceneRender(depth, material, body_face)


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
