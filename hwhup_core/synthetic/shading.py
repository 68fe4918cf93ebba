"""A plain colour picture of the crib: soft light, skin, romper, wood and cloth, a contact shadow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from hwhup_core.body.model import BodyModel
from hwhup_core.render.compiled import compiled
from hwhup_core.render.numba_backend import interpolate
from hwhup_core.synthetic.crib import CribScene, Material, SceneRender, StaticRender
from hwhup_core.synthetic.views import View
from hwhup_core.types import BodyParams

_SKINS = ((0.93, 0.75, 0.66), (0.87, 0.67, 0.55), (0.72, 0.51, 0.39), (0.50, 0.34, 0.25), (0.36, 0.24, 0.18))
_HAIR = ((0.16, 0.11, 0.08), (0.35, 0.24, 0.15), (0.62, 0.48, 0.30))
_WOOD = ((0.80, 0.66, 0.48), (0.92, 0.91, 0.88), (0.48, 0.33, 0.22))


@dataclass(frozen=True)
class Appearance:
    """Colours (RGB, 0..1) and light of one crib and infant."""

    skin: Float[ndarray, '3']
    romper: Float[ndarray, '3']
    hair: Float[ndarray, '3']
    materials: Float[ndarray, '6 3']
    """By `Material` number."""
    light: Float[ndarray, '3']
    """World direction to the light, unit length."""
    ambient: float
    """Share of the light that comes from everywhere."""


def random_appearance(rng: np.random.Generator) -> Appearance:
    """Return random but plausible colours and a light from above."""
    pastel = np.array([0.0, 0.35, 0.85, 0.0, 0.65, 0.0])[:, None] + np.array([0.0, 0.2, 0.1, 0.0, 0.3, 0.0])[
        :, None
    ] * (rng.uniform(-1.0, 1.0, (6, 3)))
    pastel[Material.WOOD] = _WOOD[rng.integers(len(_WOOD))]
    light = np.array([*rng.uniform(-0.7, 0.7, 2), 1.0])
    return Appearance(
        skin=np.array(_SKINS[rng.integers(len(_SKINS))]) * rng.uniform(0.95, 1.05),
        romper=rng.uniform(0.3, 0.9, 3),
        hair=np.array(_HAIR[rng.integers(len(_HAIR))]),
        materials=np.clip(pastel, 0.0, 1.0),
        light=light / np.linalg.norm(light),
        ambient=float(rng.uniform(0.45, 0.65)),
    )


def body_colors(body: BodyModel, appearance: Appearance) -> Float[ndarray, 'v 3']:
    """Return a colour a vertex: a romper with short sleeves and legs, hair on top of the head, skin elsewhere."""
    identity = torch.eye(3)
    with torch.no_grad():
        rest = body(BodyParams(identity[None], identity.expand(1, 23, 3, 3), torch.zeros(1, 10))).vertices[0].numpy()
    height = float(np.ptp(rest[:, 1]))
    x, y, z = (rest / height).T
    y = y - y.min()
    colors = np.tile(appearance.skin, (len(rest), 1))
    colors[(y > 0.24) & (y < 0.775) & (np.abs(x) < 0.19)] = appearance.romper
    colors[(y > 0.84) & (z < 0.35 * (y - 0.84) - 0.02 + 0.9 * np.maximum(y - 0.94, 0.0))] = appearance.hair
    return colors.astype(np.float32)


def shade_static(
    scene: CribScene,
    static: StaticRender,
    camera: Float[ndarray, '4'],
    view: View,
    appearance: Appearance,
    rng: np.random.Generator,
) -> Float[ndarray, 'h w 3']:
    """Return the lit crib without a body, float32 0..255, with cloth texture and vignette."""
    a, b, c = (scene.vertices[scene.faces[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    lambert = np.append(np.abs(normals @ appearance.light), appearance.light[2])
    light = appearance.ambient + (1 - appearance.ambient) * lambert
    light[light.size - 1] *= 0.55  # The floor lies in the shadow of the crib.
    height, width = static.depth.shape
    color = appearance.materials[static.material] * light[static.face_index][..., None]
    mattress = (static.material == Material.MATTRESS)[..., None]
    texture = cv2.resize(
        rng.standard_normal((height // 3, width // 3)), (width, height), interpolation=cv2.INTER_LINEAR
    )
    color = color * (1 + 0.02 * texture[..., None] * mattress)
    vignette = _vignette(height, width)
    result: ndarray = (255 * np.clip(color * vignette[..., None], 0, 1)).astype(np.float32)
    return result


def _vignette(height: int, width: int) -> Float[ndarray, 'h w']:
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    falloff: ndarray = 1 - 0.12 * (x**2 + y**2)
    return falloff


def shade_body(
    background: Float[ndarray, 'h w 3'],
    render: SceneRender,
    vertices: Float[ndarray, 'v 3'],
    faces: Int[ndarray, 'f 3'],
    colors: Float[ndarray, 'v 3'],
    camera: Float[ndarray, '4'],
    view: View,
    appearance: Appearance,
) -> UInt8[ndarray, 'h w 3']:
    """Return the colour picture with the body in it, lit smoothly, and its soft shadow on what is around."""
    rows, columns = _body_window(render.body_face)
    window = render.body_face[rows, columns]
    shifted = camera - (0.0, 0.0, columns.start, rows.start)
    light = vertex_normals(vertices, faces) @ (view.rotation @ appearance.light).astype(np.float32)
    lit = np.float32(appearance.ambient) + np.float32(1 - appearance.ambient) * np.maximum(light, 0)
    picture = interpolate(vertices, faces, shifted, window, colors * (255 * lit[:, None]))
    out = np.empty(background.shape, np.uint8)
    _merge(background, _contact_shadow(render), picture, window, rows.start, columns.start, out)
    return out


def _body_window(body_face: Int[ndarray, 'h w']) -> tuple[slice, slice]:
    """Return the rows and columns that hold the body."""
    seen = body_face >= 0
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if len(rows) == 0:
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _contact_shadow(render: SceneRender) -> Float[ndarray, 'h w']:
    """Return the factor on light near the body: its blurred mask, made at quarter resolution."""
    mask = (render.body_face[::4, ::4] >= 0).astype(np.float32)
    height, width = render.body_face.shape
    soft: ndarray = cv2.resize(cv2.GaussianBlur(mask, (0, 0), 2.5), (width, height), interpolation=cv2.INTER_LINEAR)
    return soft


def vertex_normals(vertices: Float[ndarray, 'v 3'], faces: Int[ndarray, 'f 3']) -> Float[ndarray, 'v 3']:
    """Return unit normals (area-weighted mean of the faces around each vertex), float32."""
    out = np.zeros(vertices.shape, np.float32)
    _add_normals(np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32), out)
    return out


@compiled
def _add_normals(vertices: Any, faces: Any, out: Any) -> None:
    """Sum face normals into `out` and scale them to unit length."""
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        wx, wy, wz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        nx, ny, nz = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
        for vertex in (a, b, c):
            out[vertex, 0] += nx
            out[vertex, 1] += ny
            out[vertex, 2] += nz
    for k in range(out.shape[0]):
        length = np.sqrt(out[k, 0] ** 2 + out[k, 1] ** 2 + out[k, 2] ** 2)
        if length > 0:
            for axis in range(3):
                out[k, axis] /= length


@compiled
def _merge(background: Any, shadow: Any, picture: Any, window: Any, top: int, left: int, out: Any) -> None:
    """Write the body's picture where its window shows it, the shadowed background elsewhere."""
    height, width = shadow.shape
    for i in range(height):
        inside = 0 <= i - top < window.shape[0]
        for j in range(width):
            body = inside and 0 <= j - left < window.shape[1] and window[i - top, j - left] >= 0
            dim = np.float32(1) - np.float32(0.45) * shadow[i, j]
            for k in range(3):
                value = picture[i - top, j - left, k] if body else background[i, j, k] * dim
                out[i, j, k] = np.uint8(min(value, np.float32(255)))
