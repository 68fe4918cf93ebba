"""What a long-wave infrared camera sees in bed: warm skin, cooler clothes, and the body's warmth through its covers."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from hwhup_core.render.numba_backend import interpolate
from hwhup_core.synthetic.looks import Look
from hwhup_core.synthetic.scene import Material, SceneRender


@dataclass(frozen=True)
class Cloth:
    """How warmth comes through a cover; ranges (low, high) are drawn for each picture."""

    passed: tuple[float, float]
    """Share of the contrast below that is left on top where the cover touches."""
    blur: float
    """Standard deviation of the sideways spread where it touches, as a share of the image's side."""
    tent: float
    """A cover this far (m) above what it covers lets a third of that pass."""


SHEET = Cloth(passed=(0.6, 0.8), blur=0.003, tent=0.08)
BLANKET = Cloth(passed=(0.1, 0.3), blur=0.02, tent=0.08)
_COVERS = ((Material.SHEET, SHEET), (Material.BLANKET, BLANKET))


def infrared_picture(
    bare: SceneRender,
    seen: SceneRender,
    vertices: Float[ndarray, 'v 3'],
    faces: Int[ndarray, 'f 3'],
    camera: Float[ndarray, '4'],
    look: Look,
    rng: np.random.Generator,
) -> Float[ndarray, 'h w']:
    """
    Return apparent temperatures, kelvin, float32.

    `bare` is the scene without the cover, `seen` with it (the same without one); `vertices` of the body are in the
    camera frame (fx fy cx cy), metres. Where the cover lies on the body more shows than where it tents.
    """
    room = _room(bare.depth.shape, look.room_kelvin, rng)
    below = _uncovered(bare, vertices, faces, camera, look, room, rng)
    kelvin = below.copy()
    gap = np.where((bare.depth > 0) & (seen.depth > 0), bare.depth - seen.depth, np.float32(1))
    for material, cloth in _COVERS:
        cover = seen.material == material
        if cover.any():
            np.copyto(kelvin, _through(cloth, below, room, gap, rng), where=cover)
    return _thermal_camera(kelvin, rng)


def _room(size: tuple[int, ...], kelvin: float, rng: np.random.Generator) -> Float[ndarray, 'h w']:
    """Return what surfaces at room temperature read: the room is warmer on one side."""
    coarse = (kelvin + rng.normal(0.0, 0.3, (4, 4))).astype(np.float32)
    smooth: ndarray = cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    return smooth


def _uncovered(
    bare: SceneRender,
    vertices: Float[ndarray, 'v 3'],
    faces: Int[ndarray, 'f 3'],
    camera: Float[ndarray, '4'],
    look: Look,
    room: Float[ndarray, 'h w'],
    rng: np.random.Generator,
) -> Float[ndarray, 'h w']:
    """Return the temperatures without a cover."""
    on_body = bare.material == Material.BODY
    offsets = np.zeros(len(Material), np.float32)
    offsets[[Material.METAL, Material.WALL]] = rng.normal(0.0, 0.7, 2)
    offsets[Material.CAREGIVER] = rng.uniform(6.0, 9.0)
    in_bed = (bare.material == Material.MATTRESS) | (bare.material == Material.PILLOW)
    kelvin = room + offsets[bare.material] + in_bed * _left_warmth(on_body, rng)
    skin = interpolate(vertices, faces, camera, bare.body_face, look.vertex_kelvin[:, None])[..., 0]
    result: ndarray = np.where(on_body, skin, kelvin)
    return result


def _left_warmth(on_body: ndarray, rng: np.random.Generator) -> Float[ndarray, 'h w']:
    """Return the warmth (K) left in the mattress around the body and where it lay before."""
    height, width = on_body.shape
    small = cv2.resize(on_body.astype(np.float32), (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    turn: ndarray = cv2.getRotationMatrix2D((width / 4, height / 4), rng.normal(0.0, 15.0), 1.0)
    turn[:, 2] += rng.normal(0.0, 0.04, 2) * (width, height)
    before = cv2.warpAffine(small, turn, (width // 2, height // 2))
    around = cv2.GaussianBlur(small, (0, 0), 0.012 * width)
    left = rng.uniform(1.0, 4.0) * around + rng.uniform(0.0, 3.0) * cv2.GaussianBlur(before, (0, 0), 0.016 * width)
    result: ndarray = cv2.resize(left, (width, height), interpolation=cv2.INTER_LINEAR)
    return result


def _through(
    cloth: Cloth,
    below: Float[ndarray, 'h w'],
    room: Float[ndarray, 'h w'],
    gap: Float[ndarray, 'h w'],
    rng: np.random.Generator,
) -> Float[ndarray, 'h w']:
    """Return what the top of a cover reads."""
    contact = np.exp(np.maximum(gap, 0) * np.float32(-1 / cloth.tent))
    spread = cv2.GaussianBlur((below - room) * contact, (0, 0), cloth.blur * below.shape[1])
    result: ndarray = room + np.float32(rng.uniform(*cloth.passed)) * spread
    return result


def _thermal_camera(kelvin: Float[ndarray, 'h w'], rng: np.random.Generator) -> Float[ndarray, 'h w']:
    """Return the picture of a small camera (about 160 x 120): soft, with its offset and noise."""
    soft = cv2.GaussianBlur(kelvin.astype(np.float32), (0, 0), max(0.004 * kelvin.shape[1], 0.3))
    noise = rng.standard_normal(kelvin.shape, np.float32) * np.float32(rng.uniform(0.05, 0.1))
    result: ndarray = soft + np.float32(rng.normal(0.0, 0.2)) + noise
    return result
