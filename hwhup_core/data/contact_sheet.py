"""
Many samples on one picture, joints drawn, for a person to look at.

A joint that is seen is a filled green dot, an occluded one a hollow red ring, one of which nothing is known a yellow
dot; lines are orange on the person's right, blue on the left. What lies outside the picture is dark.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8
from numpy import ndarray

from hwhup_core.data.sample import Keypoints, Sample
from hwhup_core.types import Frame

Rgb = tuple[int, int, int]

TILE = 240
"""Side of one picture on the sheet, pixels."""
CAPTION, GAP, HEADER = 20, 4, 30
AROUND = 1.25
"""Side of what is shown, in sides of the person's box."""
BACKGROUND: Rgb = (24, 24, 28)
OUTSIDE: Rgb = (48, 48, 54)
TEXT: Rgb = (235, 235, 235)
SEEN, OCCLUDED, UNKNOWN = (40, 220, 80), (255, 60, 60), (255, 220, 40)
RIGHT, LEFT, MIDDLE = (255, 160, 50), (80, 170, 255), (225, 225, 225)
BOX: Rgb = (150, 150, 150)
_FONT, _FONT_SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.4
_LIMBS = ('shoulder', 'elbow', 'wrist'), ('hip', 'knee', 'ankle')
_CENTRE = (
    ('left_hip', 'right_hip'), ('left_shoulder', 'right_shoulder'), ('thorax', 'head_top'), ('neck', 'head_top'),
    ('left_shoulder', 'left_hip'), ('right_shoulder', 'right_hip'), ('nose', 'left_eye'), ('nose', 'right_eye'),
    ('left_eye', 'left_ear'), ('right_eye', 'right_ear'), ('upper_neck', 'head_top'), ('thorax', 'upper_neck'),
    ('neck', 'nose'), ('left_ankle', 'left_foot'), ('right_ankle', 'right_foot'),
)  # fmt: skip
BONES = _CENTRE + tuple(
    (f'{side}_{one}', f'{side}_{other}')
    for side in ('left', 'right')
    for chain in _LIMBS
    for one, other in pairwise(chain)
)
"""Joints that are joined by a line, where a data set has both."""


@dataclass(frozen=True)
class Pictured:
    """A sample and its pictures."""

    sample: Sample
    frame: Frame


def contact_sheet(pictured: Sequence[Pictured], joints: Sequence[str], title: str) -> UInt8[ndarray, 'h w 3']:
    """Return one RGB picture with a tile for each sample, its name below it, and the legend above."""
    columns = _columns(len(pictured))
    rows = math.ceil(len(pictured) / columns)
    step_x, step_y = TILE + GAP, TILE + CAPTION + GAP
    # Title and legend need room, however few tiles there are.
    width = max(GAP + columns * step_x, 560)
    sheet = np.full((HEADER + rows * step_y, width, 3), BACKGROUND, np.uint8)
    _draw_header(sheet, title)
    for i, each in enumerate(pictured):
        x, y = GAP + i % columns * step_x, HEADER + i // columns * step_y
        sheet[y : y + TILE, x : x + TILE] = _tile(each, joints)
        caption = sheet[y + TILE : y + TILE + CAPTION, x : x + TILE]
        caption[:] = _caption(each.sample.name)
    return sheet


def _columns(count: int) -> int:
    """Return how many tiles stand in a row: the sheet somewhat wider than high, the last row as full as can be."""
    wished = math.ceil(math.sqrt(count * 1.6))
    near = range(max(1, wished - 2), wished + 2)
    return min(near, key=lambda columns: -count % columns + abs(columns - wished))


def _tile(pictured: Pictured, joints: Sequence[str]) -> UInt8[ndarray, 't t 3']:
    """Return the person, cut out, with box and joints."""
    sample, picture = pictured.sample, shown_picture(pictured.frame)
    left, top, side = _shown_square(sample, picture.shape[1], picture.shape[0])
    tile = _cut(picture, left, top, side)
    zoom = TILE / side
    if sample.box is not None and sample.box.side < side:
        low = np.array([sample.box.center_x - left, sample.box.center_y - top]) - sample.box.side / 2
        corner, other = (low * zoom).round().astype(int), ((low + sample.box.side) * zoom).round().astype(int)
        cv2.rectangle(tile, corner.tolist(), other.tolist(), BOX, 1)
    if sample.keypoints is not None:
        _draw_keypoints(tile, sample.keypoints, joints, (sample.keypoints.pixels - [left, top]) * zoom)
    return tile


def _shown_square(sample: Sample, width: int, height: int) -> tuple[float, float, float]:
    """Return left, top and side of what is shown: about the box, else the joints, else the whole picture."""
    if sample.box is not None:
        side = AROUND * sample.box.side
        return sample.box.center_x - side / 2, sample.box.center_y - side / 2, side
    if sample.keypoints is not None and sample.keypoints.labelled.any():
        points = sample.keypoints.pixels[sample.keypoints.labelled]
        middle, side = (points.min(axis=0) + points.max(axis=0)) / 2, 1.5 * float(np.ptp(points, axis=0).max())
        side = max(side, 16.0)
        return float(middle[0]) - side / 2, float(middle[1]) - side / 2, side
    side = float(max(width, height))
    return (width - side) / 2, (height - side) / 2, side


def _cut(picture: UInt8[ndarray, 'h w 3'], left: float, top: float, side: float) -> UInt8[ndarray, 't t 3']:
    """Return a square of the picture at the size of a tile."""
    x, y, whole = math.floor(left), math.floor(top), max(1, math.ceil(side))
    square = np.full((whole, whole, 3), OUTSIDE, np.uint8)
    low, high = np.maximum([x, y], 0), np.minimum([x + whole, y + whole], picture.shape[1::-1])
    if (high > low).all():
        part = picture[low[1] : high[1], low[0] : high[0]]
        square[low[1] - y : high[1] - y, low[0] - x : high[0] - x] = part
    method = cv2.INTER_AREA if whole > TILE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (TILE, TILE), interpolation=method), np.uint8)


def shown_picture(frame: Frame) -> UInt8[ndarray, 'h w 3']:
    """Return the colour picture, else depth (near is bright), infrared or pressure as one."""
    if frame.color is not None:
        return frame.color
    if frame.depth is not None:
        return _shaded(-frame.depth, frame.depth > 0)
    for image in (frame.infrared, frame.pressure):
        if image is not None:
            return _shaded(image, np.isfinite(image))
    return np.full((TILE, TILE, 3), OUTSIDE, np.uint8)


def _shaded(image: Float[ndarray, 'h w'], there: Shaped[ndarray, 'h w']) -> UInt8[ndarray, 'h w 3']:
    """Return large values bright, small ones dark; what is not there is dark grey."""
    if not there.any():
        return np.full((*image.shape, 3), OUTSIDE, np.uint8)
    low, high = np.percentile(image[there], (1, 99))
    shade = np.clip((image - low) / max(float(high - low), 1e-6), 0, 1)
    picture = cv2.applyColorMap((255 * shade).astype(np.uint8), cv2.COLORMAP_BONE)[..., ::-1]
    return np.asarray(np.where(there[..., None], picture, np.array(OUTSIDE, np.uint8)), np.uint8)


def _draw_keypoints(
    tile: UInt8[ndarray, 't t 3'], keypoints: Keypoints, joints: Sequence[str], points: Float[ndarray, 'k 2']
) -> None:
    """Draw lines, then joints, so that no joint is hidden. Positions are in pixels of the tile."""
    there = keypoints.labelled & (np.abs(points) < 4 * TILE).all(axis=1)
    places = {name: _place(points[i]) for i, name in enumerate(joints) if there[i]}
    for one, other, colour in _lines(places):
        cv2.line(tile, places[one], places[other], (0, 0, 0), 4, cv2.LINE_AA)
        cv2.line(tile, places[one], places[other], colour, 2, cv2.LINE_AA)
    for i, name in enumerate(joints):
        if name in places:
            _draw_joint(tile, places[name], float(keypoints.visible[i]))


def _place(point: Float[ndarray, '2']) -> tuple[int, int]:
    return round(float(point[0]) - 0.5), round(float(point[1]) - 0.5)


def _lines(places: dict[str, tuple[int, int]]) -> list[tuple[str, str, Rgb]]:
    """Return pairs of joints that are there, with colours; SPIN's two sets (`op_`, `gt_`) are joined each in itself."""
    return [
        (prefix + one, prefix + other, _side_colour(one, other))
        for prefix in ('', 'op_', 'gt_')
        for one, other in BONES
        if prefix + one in places and prefix + other in places
    ]


def _side_colour(one: str, other: str) -> Rgb:
    if one.startswith('left') and other.startswith('left'):
        return LEFT
    return RIGHT if one.startswith('right') and other.startswith('right') else MIDDLE


def _draw_joint(tile: UInt8[ndarray, 'h w 3'], place: tuple[int, int], visible: float) -> None:
    if math.isnan(visible) or visible >= 0.5:
        cv2.circle(tile, place, 5, (0, 0, 0), cv2.FILLED, cv2.LINE_AA)
        cv2.circle(tile, place, 4, UNKNOWN if math.isnan(visible) else SEEN, cv2.FILLED, cv2.LINE_AA)
        return
    cv2.circle(tile, place, 6, (0, 0, 0), 4, cv2.LINE_AA)
    cv2.circle(tile, place, 6, OCCLUDED, 2, cv2.LINE_AA)


def _caption(name: str) -> UInt8[ndarray, 'c t 3']:
    """Return the name in the middle of a bar; of a long one the end, which tells samples apart."""
    bar = np.full((CAPTION, TILE, 3), BACKGROUND, np.uint8)
    text = name.encode('ascii', 'replace').decode()
    while _width(text) > TILE - 8:
        text = '...' + text.removeprefix('...')[1:]
    cv2.putText(bar, text, ((TILE - _width(text)) // 2, 14), _FONT, _FONT_SIZE, TEXT, 1, cv2.LINE_AA)
    return bar


def _width(text: str) -> int:
    return int(cv2.getTextSize(text, _FONT, _FONT_SIZE, 1)[0][0])


def _draw_header(sheet: UInt8[ndarray, 'h w 3'], title: str) -> None:
    """Write the title and, on the right, what the marks mean."""
    x = sheet.shape[1] - GAP
    for text, visible in (('unknown', math.nan), ('occluded', 0.0), ('seen', 1.0)):
        x -= _width(text) + 8
        cv2.putText(sheet, text, (x, 19), _FONT, _FONT_SIZE, TEXT, 1, cv2.LINE_AA)
        x -= 12
        _draw_joint(sheet, (x, 15), visible)
        x -= 10
    while _width(title) > x - 16:
        title = title.removesuffix('...')[:-1] + '...'
    cv2.putText(sheet, title, (GAP + 4, 19), _FONT, _FONT_SIZE, TEXT, 1, cv2.LINE_AA)
