"""
Pictures of bodies, depth and skeletons for people to look at; nothing here is measured or learned from.

Images are uint8 RGB. The mesh is drawn with the distortion of the camera, so it lies on the image that the camera gave.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from hwhup_core.errors import HwhupError
from hwhup_core.geometry.cameras import through_lens
from hwhup_core.render.numba_backend import depth_buffer, interpolate
from hwhup_core.types import Intrinsics

SKIN = (224, 178, 155)
"""Default body colour."""
PAPER = (246, 247, 249)
"""Default background and the ground of titles."""
INK = (38, 42, 48)
HOLE = (128, 128, 128)
"""Colour of pixels without depth."""
LEFT, RIGHT, MIDDLE = (255, 140, 40), (30, 144, 255), (250, 250, 250)
"""Colours of the body's left side, right side and spine."""
OVERSAMPLING = 2
AMBIENT, DIFFUSE, RIM, WRAP = 0.36, 0.74, 0.10, 0.2
LIGHT = np.array([-0.40, -0.55, -0.73])
"""Towards the lamp, camera frame: beside the camera, up and to the left."""
SMPL_LEFT = frozenset({1, 4, 7, 10, 13, 16, 18, 20, 22})
SMPL_RIGHT = frozenset({2, 5, 8, 11, 14, 17, 19, 21, 23})


def shade(
    vertices: Float[ndarray, 'v 3'],
    faces: Int[ndarray, 'f 3'],
    intrinsics: Intrinsics,
    color: tuple[int, int, int] = SKIN,
    background: UInt8[ndarray, 'h w 3'] | None = None,
) -> UInt8[ndarray, 'h w 3']:
    """Return the mesh (camera frame, m), smoothly shaded and antialiased, on `background` or plain paper."""
    size = intrinsics.height, intrinsics.width
    if background is None:
        background = np.full((*size, 3), PAPER, np.uint8)
    return overlay(background, vertices, faces, intrinsics, alpha=1.0, color=color)


def overlay(
    image: UInt8[ndarray, 'h w 3'],
    vertices: Float[ndarray, 'v 3'],
    faces: Int[ndarray, 'f 3'],
    intrinsics: Intrinsics,
    alpha: float = 0.75,
    color: tuple[int, int, int] = SKIN,
) -> UInt8[ndarray, 'h w 3']:
    """Return the image with the shaded mesh over it; `alpha` 1 hides what is behind, 0 shows no mesh."""
    _check_image(image, intrinsics)
    drawing, coverage = shaded_layer(vertices, faces, intrinsics, color)
    weight = alpha * coverage[..., None]
    return np.rint(image * (1 - weight) + drawing * weight).clip(0, 255).astype(np.uint8)


def shaded_layer(
    vertices: Float[ndarray, 'v 3'],
    faces: Int[ndarray, 'f 3'],
    intrinsics: Intrinsics,
    color: tuple[int, int, int] = SKIN,
) -> tuple[Float[ndarray, 'h w 3'], Float[ndarray, 'h w']]:
    """Return the mesh's colour (0 to 255, defined where covered) and how much of each pixel it covers (0 to 1)."""
    fine = (intrinsics.height * OVERSAMPLING, intrinsics.width * OVERSAMPLING)
    k = intrinsics
    camera = np.array([k.fx, k.fy, k.cx, k.cy], np.float32) * OVERSAMPLING
    seen, _ = through_lens(np.asarray(vertices, np.float32), intrinsics)
    _, face_index = depth_buffer(seen, faces, camera, fine)
    lit = np.asarray(color, np.float32) * brightness(vertices, faces)[:, None]
    layer = interpolate(seen, faces, camera, face_index, lit)
    mask = (face_index >= 0).astype(np.float32)
    coverage = _shrunk(mask)
    premultiplied = _shrunk(layer)
    return premultiplied / np.maximum(coverage, 1e-6)[..., None], coverage


def brightness(vertices: Float[ndarray, 'v 3'], faces: Int[ndarray, 'f 3']) -> Float[ndarray, ' v']:
    """Return Lambert shading at the vertices: a wide lamp by the camera, ambient light and a faint dark rim."""
    points = np.nan_to_num(np.asarray(vertices, np.float64))
    normals = vertex_normals(points, faces)
    to_camera = -points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9)
    facing = (normals * to_camera).sum(axis=1).clip(0, 1)
    # A lamp of some width also lights what is turned a little away from it: no hard terminator across the body.
    lambert = ((normals @ (LIGHT / np.linalg.norm(LIGHT)) + WRAP) / (1 + WRAP)).clip(0, 1)
    light: ndarray = AMBIENT + DIFFUSE * lambert - RIM * (1 - facing) ** 3
    return light


def vertex_normals(vertices: Float[ndarray, 'v 3'], faces: Int[ndarray, 'f 3']) -> Float[ndarray, 'v 3']:
    """Return unit normals, the area-weighted mean of the faces around each vertex."""
    corners = vertices[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    total = np.stack(
        [np.bincount(faces.reshape(-1), np.repeat(across[:, axis], 3), len(vertices)) for axis in range(3)], axis=1
    )
    normals: ndarray = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
    return normals


def draw_skeleton(
    image: UInt8[ndarray, 'h w 3'],
    pixels: Float[ndarray, 'j 2'],
    parents: Sequence[int] | Int[ndarray, ' j'],
    visibility: Float[ndarray, ' j'] | None = None,
) -> UInt8[ndarray, 'h w 3']:
    """
    Return the image with SMPL's joints and bones on it: left orange, right blue, middle white.

    `pixels` are x, y (pixel centres at .5); a NaN joint is left out, as is its bone. Hidden joints (visibility below
    0.5) and bones to them are thin and hollow; unknown visibility (NaN or None) counts as seen.
    """
    image = image.copy()
    unit = max(1.0, min(image.shape[:2]) / 240)
    known = np.isfinite(pixels).all(axis=1) & (np.abs(pixels) < 1e5).all(axis=1)
    hidden = np.zeros(len(pixels), bool) if visibility is None else np.asarray(visibility) < 0.5
    for child, parent in enumerate(parents):
        if 0 <= parent < len(pixels) and known[child] and known[parent]:
            width = unit * (1.0 if hidden[child] or hidden[parent] else 2.2)
            ends = _subpixel(pixels[parent]), _subpixel(pixels[child])
            _line(image, *ends, INK, width + 1.6 * unit)
            _line(image, *ends, _side_color(child), width)
    for joint in np.flatnonzero(known).tolist():
        center, radius = _subpixel(pixels[joint]), unit * 2.6
        _disc(image, center, radius + unit, INK)
        _disc(image, center, radius, INK if hidden[joint] else _side_color(joint))
        if hidden[joint]:
            cv2.circle(image, center, round(radius * 16), _side_color(joint), max(1, round(unit)), cv2.LINE_AA, 4)
    return image


def depth_to_rgb(
    depth: Float[ndarray, 'h w'], nearest: float | None = None, farthest: float | None = None
) -> UInt8[ndarray, 'h w 3']:
    """Return depth (m) in colours, near warm and far cold, holes grey; by default the range of the middle 98 %."""
    valid = np.isfinite(depth) & (depth > 0)
    low, high = np.percentile(depth[valid], [1, 99]) if valid.any() else (0.0, 1.0)
    low, high = (low if nearest is None else nearest), (high if farthest is None else farthest)
    share = (np.where(valid, depth, high) - low) / max(high - low, 1e-6)
    colors = cv2.applyColorMap(np.rint(255 * (1 - share).clip(0, 1)).astype(np.uint8), cv2.COLORMAP_TURBO)[..., ::-1]
    return np.where(valid[..., None], colors, np.array(HOLE, np.uint8)).astype(np.uint8)


def side_by_side(
    images: Sequence[UInt8[ndarray, '_ _ 3']], titles: Sequence[str] | None = None
) -> UInt8[ndarray, '_ _ 3']:
    """Return the images in a row at the height of the tallest, each under its title, with a margin of paper."""
    if not images:
        raise HwhupError('side_by_side got no images. Give at least one.')
    if titles is not None and len(titles) != len(images):
        raise HwhupError(f'{len(titles)} titles for {len(images)} images. Give one title an image.')
    height = max(image.shape[0] for image in images)
    gap = max(4, height // 60)
    columns = [_titled(_to_height(image, height), titles[k] if titles else None) for k, image in enumerate(images)]
    margin = np.full((columns[0].shape[0], gap, 3), PAPER, np.uint8)
    row = [margin]
    for column in columns:
        row += [column, margin]
    whole = np.concatenate(row, axis=1)
    band = np.full((gap, whole.shape[1], 3), PAPER, np.uint8)
    return np.concatenate([*([] if titles else [band]), whole, band])


def _shrunk(fine: ndarray) -> ndarray:
    """Return the mean of each block of OVERSAMPLING x OVERSAMPLING pixels."""
    size = fine.shape[1] // OVERSAMPLING, fine.shape[0] // OVERSAMPLING
    return np.asarray(cv2.resize(fine, size, interpolation=cv2.INTER_AREA))


def _check_image(image: ndarray, intrinsics: Intrinsics) -> None:
    if image.shape[:2] != (intrinsics.height, intrinsics.width):
        raise HwhupError(
            f'The image is {image.shape[1]} x {image.shape[0]}, the intrinsics are of {intrinsics.width} x '
            f'{intrinsics.height}. Resize one to the other, scaling fx fy cx cy too.'
        )


def _side_color(joint: int) -> tuple[int, int, int]:
    return LEFT if joint in SMPL_LEFT else RIGHT if joint in SMPL_RIGHT else MIDDLE


def _subpixel(pixel: ndarray) -> tuple[int, int]:
    """Return x, y in OpenCV's convention (first centre at 0) and its fixed point with 4 fractional bits."""
    return round((float(pixel[0]) - 0.5) * 16), round((float(pixel[1]) - 0.5) * 16)


def _line(image: ndarray, start: tuple[int, int], end: tuple[int, int], color: Sequence[int], width: float) -> None:
    cv2.line(image, start, end, color, max(1, round(width)), cv2.LINE_AA, 4)


def _disc(image: ndarray, center: tuple[int, int], radius: float, color: Sequence[int]) -> None:
    cv2.circle(image, center, round(radius * 16), color, cv2.FILLED, cv2.LINE_AA, 4)


def _to_height(image: ndarray, height: int) -> ndarray:
    if image.shape[0] == height:
        return image
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR))


def _titled(image: ndarray, title: str | None) -> ndarray:
    """Return the image under a band with its title, made smaller where it is too long."""
    if title is None:
        return image
    band = np.full((max(22, image.shape[0] // 12), image.shape[1], 3), PAPER, np.uint8)
    scale = band.shape[0] / 44
    (width, height), _ = cv2.getTextSize(title, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    scale *= min(1.0, 0.96 * image.shape[1] / max(width, 1))
    thickness = max(1, round(scale * 1.6))
    (width, height), _ = cv2.getTextSize(title, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)
    origin = (max(0, (image.shape[1] - width) // 2), (band.shape[0] + height) // 2)
    cv2.putText(band, title, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, INK, thickness, cv2.LINE_AA)
    return np.concatenate([band, image])
