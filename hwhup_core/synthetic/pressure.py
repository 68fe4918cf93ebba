"""What a pressure mat on the mattress measures below a body, drawn into the camera's image."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from hwhup_core.render.numba_backend import depth_buffer
from hwhup_core.synthetic.scene import Scene
from hwhup_core.synthetic.views import View

CELL = 0.0125
"""Side of a cell of the mat, metres."""
FULL_SCALE = 94.0
"""The mat's largest value, kilopascals (SLP's PM_max)."""
GRAVITY = 9.81
_BELOW = 20.0
"""The body is looked at from so far below the mattress, metres: nearly parallel rays."""
_DEAD = 0.25
"""Cells below this pressure read nothing, kilopascals."""
_STIFFEST = 90.0
"""No mattress needs more pressure for its depth than this, kilopascals per metre."""
_DEEPEST, _DEEPEST_DENT = 0.12, 0.07
"""The most that a body sinks in, and the depth from which on the pressure does not rise, metres."""


def pressure_picture(
    scene: Scene,
    body_vertices_world: Float[ndarray, 'v 3'],
    faces: Int[ndarray, 'f 3'],
    view: View,
    camera: Float[ndarray, '4'],
    size: tuple[int, int],
    rng: np.random.Generator,
    weight_kg: float,
) -> Float[ndarray, 'h w']:
    """Return the pressure (kPa, float32) that the mat reports on the mattress plane at each pixel; 0 beside the mat."""
    exact = contact_pressure(scene, body_vertices_world, faces, weight_kg, float(rng.uniform(0.02, 0.03)))
    return draw_on_plane(measure(exact, rng), view, camera, size)


def contact_pressure(
    scene: Scene, vertices: Float[ndarray, 'v 3'], faces: Int[ndarray, 'f 3'], weight_kg: float, soft: float
) -> Float[ndarray, 'nx ny']:
    """
    Return the exact pressure (kPa) of a body (world, metres) in each cell of the mattress, rows along x.

    It grows with how deep the underside of the body is in a layer of thickness `soft` (metres), and its integral is the
    body's weight.
    """
    clearance = _underside(scene, vertices, faces)
    weight = weight_kg * GRAVITY / 1000
    depth = _dents(clearance, soft)
    # A body that touches with little, as on one stretched arm, sinks in until more of it carries.
    while soft < _DEEPEST and 0 < depth.sum() * CELL**2 * _STIFFEST < weight:
        soft += 0.005
        depth = _dents(clearance, soft)
    force = float(depth.sum()) * CELL**2
    return (depth * (weight / force if force > 0 else 0.0)).astype(np.float32)


def _dents(clearance: Float[ndarray, 'nx ny'], soft: float) -> Float[ndarray, 'nx ny']:
    """Return how deep the underside is in the soft layer, metres; limbs, being light, do not go deep."""
    return np.clip(soft - clearance, 0.0, _DEEPEST_DENT)


def _grid(scene: Scene) -> tuple[int, int]:
    """Return how many whole cells fit along and across the mattress."""
    return int(scene.length / CELL + 1e-6), int(scene.width / CELL + 1e-6)


def _underside(scene: Scene, vertices: Float[ndarray, 'v 3'], faces: Int[ndarray, 'f 3']) -> Float[ndarray, 'nx ny']:
    """Return how high (m) the lowest skin is above the mattress in each cell; infinite without a body above it."""
    rows, columns = shape = _grid(scene)
    # The image's columns are y and its rows x, its z is up: the mirrored faces do not matter to the renderer.
    points = (vertices[:, [1, 0, 2]] + (0.0, 0.0, _BELOW)).astype(np.float32)
    focal = _BELOW / CELL
    depth, face = depth_buffer(points, faces, np.array([focal, focal, columns / 2, rows / 2]), shape)
    x, y = np.meshgrid(*((np.arange(count) + 0.5 - count / 2) * CELL for count in shape), indexing='ij')
    surface = scene.mattress_height(np.stack([x.ravel(), y.ravel()], axis=1)).reshape(shape)
    result: ndarray = np.where(face >= 0, depth - _BELOW - surface, np.inf)
    return result


def measure(pressure: Float[ndarray, 'nx ny'], rng: np.random.Generator) -> Float[ndarray, 'nx ny']:
    """Return what the mat makes of it: crosstalk, uneven cells, a threshold, 255 steps up to the largest value."""
    blurred = cv2.GaussianBlur(pressure, (0, 0), float(rng.uniform(0.5, 0.9)))
    uneven = blurred * (1 + 0.06 * rng.standard_normal(pressure.shape, np.float32))
    held = np.clip(np.where(uneven < _DEAD, 0.0, uneven), 0.0, FULL_SCALE)
    step = max(float(held.max()), _DEAD) / 255
    return (np.rint(held / step) * step).astype(np.float32)


def draw_on_plane(
    cells: Float[ndarray, 'nx ny'], view: View, camera: Float[ndarray, '4'], size: tuple[int, int]
) -> Float[ndarray, 'h w']:
    """Return cells around the world's origin as the camera (fx fy cx cy) would see them on the plane z = 0."""
    rows, columns = cells.shape
    # World x, y, 1 of OpenCV's column and row; its pixel centres are whole numbers.
    world = np.array([
        [0.0, CELL, (0.5 - rows / 2) * CELL], [CELL, 0.0, (0.5 - columns / 2) * CELL], [0.0, 0.0, 1.0]
    ])  # fmt: skip
    fx, fy, cx, cy = camera
    pinhole = np.array([[fx, 0.0, cx - 0.5], [0.0, fy, cy - 0.5], [0.0, 0.0, 1.0]])
    homography = pinhole @ np.column_stack([view.rotation[:, :2], view.translation]) @ world
    drawn: ndarray = cv2.warpPerspective(cells, homography, (size[1], size[0]), flags=cv2.INTER_LINEAR)
    return drawn
