"""
Plain colour pictures: soft light, skin, clothes, wood and cloth, contact shadows.

The live crib is lit once and bodies are drawn into it (`shade_static`, `shade_body`); pictures of domains
(`color_picture`) are lit whole, from the exact depth, with a `Look` that its subject keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from hwhup_core.body.model import BodyModel
from hwhup_core.compiled import compiled
from hwhup_core.render.numba_backend import interpolate
from hwhup_core.synthetic.crib import CribScene, Material, SceneRender, StaticRender
from hwhup_core.synthetic.looks import HAIR, SKINS, TILE, WOODS, Look, draw_look
from hwhup_core.synthetic.sensors import normal_table, random_bits
from hwhup_core.synthetic.views import View
from hwhup_core.types import BodyParams

__all__ = [
    'Appearance', 'Look', 'body_colors', 'color_picture', 'draw_look', 'random_appearance', 'shade_body',
    'shade_static', 'vertex_normals',
]  # fmt: skip


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
    pastel[Material.WOOD] = WOODS[rng.integers(len(WOODS))]
    light = np.array([*rng.uniform(-0.7, 0.7, 2), 1.0])
    return Appearance(
        skin=np.array(SKINS[rng.integers(len(SKINS))]) * rng.uniform(0.95, 1.05),
        romper=rng.uniform(0.3, 0.9, 3),
        hair=np.array(HAIR[rng.integers(len(HAIR))]),
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


def color_picture(
    render: SceneRender,
    vertices: Float[ndarray, 'v 3'],
    faces: Int[ndarray, 'f 3'],
    camera: Float[ndarray, '4'],
    view: View,
    look: Look,
    rng: np.random.Generator,
) -> UInt8[ndarray, 'h w 3']:
    """Return what a colour camera (fx fy cx cy) makes of a scene; `vertices` of the body are in its frame, metres."""
    lit = np.empty((*render.depth.shape, 3), np.float32)
    light = (view.rotation @ look.light).astype(np.float32)
    world = np.column_stack([view.rotation.T, view.position]).astype(np.float32)
    _light_surfaces(
        render.depth, render.material, look.colors, look.patterns, np.asarray(camera, np.float32), world, light,
        np.float32(look.ambient), np.float32(1 / TILE), lit,
    )  # fmt: skip
    lit *= _crevices(render.depth)[..., None]
    _draw_body(render, vertices, faces, camera, light, look, lit)
    return _photograph(lit, look, rng)


def _crevices(depth: Float[ndarray, 'h w']) -> Float[ndarray, 'h w']:
    """Return the light that reaches surfaces which lie behind what is around them; made at quarter resolution."""
    height, width = depth.shape
    small = cv2.resize(depth, (max(width // 4, 1), max(height // 4, 1)), interpolation=cv2.INTER_AREA)
    behind = small - cv2.GaussianBlur(small, (0, 0), 2.5)
    # Pixels that mix two surfaces would make a bright rim: they are as dark as what is beside them.
    near = np.clip(3.0 * behind, 0.0, 0.4) * np.exp(-np.abs(behind) / 0.4)
    dark = cv2.dilate(near, np.ones((3, 3), np.uint8))
    soft: ndarray = cv2.resize(1 - dark, (width, height), interpolation=cv2.INTER_LINEAR)
    return soft


def _draw_body(
    render: SceneRender,
    vertices: Float[ndarray, 'v 3'],
    faces: Int[ndarray, 'f 3'],
    camera: Float[ndarray, '4'],
    light: Float[ndarray, '3'],
    look: Look,
    lit: Float[ndarray, 'h w 3'],
) -> None:
    """Draw the visible body into the picture, lit smoothly."""
    rows, columns = _body_window(render.body_face)
    window = render.body_face[rows, columns]
    if window.size == 0:
        return
    shifted = camera - (0.0, 0.0, columns.start, rows.start)
    toward = np.maximum(vertex_normals(vertices, faces) @ light, 0)
    brightness = np.float32(look.ambient) + np.float32(1 - look.ambient) * toward
    picture = interpolate(vertices, faces, shifted, window, look.vertex_colors * brightness[:, None])
    np.copyto(lit[rows, columns], picture, where=(window >= 0)[..., None])


def _photograph(lit: Float[ndarray, 'h w 3'], look: Look, rng: np.random.Generator) -> UInt8[ndarray, 'h w 3']:
    """Return the picture of a slightly blurred, noisy camera whose exposure is never quite right."""
    height, width = lit.shape[:2]
    exposure, blur, noise = rng.uniform(0.95, 1.3), rng.uniform(0.3, 0.9), rng.uniform(0.5, 3.0)
    gains = (255 * exposure * look.white * rng.uniform(0.98, 1.02, 3)).astype(np.float32)
    out = np.empty(lit.shape, np.uint8)
    _develop(
        cv2.GaussianBlur(lit, (5, 5), blur), _vignette(height, width).astype(np.float32), gains, np.float32(noise),
        normal_table(), rng.integers(2**63), out,
    )  # fmt: skip
    return out


@compiled
def _develop(lit: Any, vignette: Any, gains: Any, noise: Any, normal: Any, seed: Any, out: Any) -> None:
    """Write the exposed picture with noise that grows with the light."""
    height, width = vignette.shape
    twelve = np.uint64(0xFFF)
    for i in range(height):
        for j in range(width):
            bits = random_bits(np.uint64(seed) + np.uint64(i * width + j))
            for k in range(3):
                value = lit[i, j, k] * gains[k] * vignette[i, j]
                grain = normal[(bits >> np.uint64(12 * k)) & twelve] * noise
                value += grain * (np.float32(0.5) + value * np.float32(1 / 255))
                out[i, j, k] = np.uint8(min(max(value + np.float32(0.5), np.float32(0)), np.float32(255)))


@compiled
def _side(depth: Any, i: int, j: int, di: int, dj: int) -> Any:
    """Return the depth one pixel on, or a negative number where there is none."""
    y, x = i + di, j + dj
    if 0 <= y < depth.shape[0] and 0 <= x < depth.shape[1] and depth[y, x] > 0:
        return depth[y, x]
    return np.float32(-1)


@compiled
def _slope(z: Any, before: Any, after: Any) -> Any:
    """Return dz per pixel, over an edge from the nearer side only."""
    if before <= 0 and after <= 0:
        return np.float32(0)
    if before <= 0:
        return after - z
    if after <= 0:
        return z - before
    if abs(after - z) > np.float32(2) * abs(z - before):
        return z - before
    if abs(z - before) > np.float32(2) * abs(after - z):
        return after - z
    return np.float32(0.5) * (after - before)


@compiled
def _light_surfaces(
    depth: Any, material: Any, colors: Any, patterns: Any, camera: Any, world: Any, light: Any, ambient: Any,
    per_meter: Any, out: Any,
) -> None:  # fmt: skip
    """Write the colour of every surface but the body's: its pattern at its world point, lit by its own normal."""
    height, width = depth.shape
    tile = patterns.shape[1]
    for i in range(height):
        ry = (np.float32(i) + np.float32(0.5) - camera[3]) / camera[1]
        for j in range(width):
            z, kind = depth[i, j], material[i, j]
            if z <= 0 or kind == 5:
                out[i, j] = np.float32(0)
                continue
            rx = (np.float32(j) + np.float32(0.5) - camera[2]) / camera[0]
            zx = _slope(z, _side(depth, i, j, 0, -1), _side(depth, i, j, 0, 1))
            zy = _slope(z, _side(depth, i, j, -1, 0), _side(depth, i, j, 1, 0))
            # Surface tangents crossed; the normal points to the camera.
            nx, ny = camera[0] * zx, camera[1] * zy
            nz = -z - (rx * camera[0] * zx + ry * camera[1] * zy)
            length = np.sqrt(nx * nx + ny * ny + nz * nz)
            facing = (nx * light[0] + ny * light[1] + nz * light[2]) / length
            brightness = ambient + (np.float32(1) - ambient) * max(facing, np.float32(0))
            x = world[0, 0] * rx * z + world[0, 1] * ry * z + world[0, 2] * z + world[0, 3]
            y = world[1, 0] * rx * z + world[1, 1] * ry * z + world[1, 2] * z + world[1, 3]
            up = world[2, 0] * rx * z + world[2, 1] * ry * z + world[2, 2] * z + world[2, 3]
            # Walls stand: height moves both coordinates, so a pattern shows on any plane.
            u = (x + np.float32(0.7) * up) * per_meter
            v = (y + np.float32(0.7) * up) * per_meter
            u, v = (u - np.floor(u)) * tile, (v - np.floor(v)) * tile
            a, b = int(u), int(v)
            fu, fv = u - np.float32(a), v - np.float32(b)
            a, b = a % tile, b % tile
            c, d = (a + 1) % tile, (b + 1) % tile
            share = (patterns[kind, a, b] * (1 - fu) + patterns[kind, c, b] * fu) * (1 - fv) + (
                patterns[kind, a, d] * (1 - fu) + patterns[kind, c, d] * fu
            ) * fv
            for k in range(3):
                base = colors[kind, 0, k]
                out[i, j, k] = (base + (colors[kind, 1, k] - base) * share) * brightness
