"""What one person's entry in a COCO file says, checked: key points, box, picture size, and whether they fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from hwhup_core.data.sample import Keypoints
from hwhup_core.errors import AssetError

PIXEL_SHIFT = 0.5
"""From pixels counted from 0, as in COCO, to pixels whose first centre is 0.5."""
_OUTSIDE = 0.1
"""How far outside its picture a labelled joint may lie, as a share of the picture's longer side."""


class BadPerson(AssetError):
    """One person cannot be used."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def keypoints_of(values: Any, numbers: int, order: tuple[int, ...], where: str) -> Keypoints:
    """Return key points in the order of COCO-17; `numbers` are there for each, `order` says where each stands."""
    expected = numbers * len(order)
    if not isinstance(values, list) or len(values) != expected:
        found = len(values) if isinstance(values, list) else 'none'
        raise BadPerson('keypoint_count', f'{where}: {found} numbers of key points, expected {expected}. Correct it.')
    rows = finite_numbers(values, 'keypoints', where).reshape(-1, numbers)[list(order)]
    pixels = rows[:, :2]
    # Without flags, a joint that is not labelled lies at 0, 0 as in COCO.
    flags = rows[:, 2] if numbers == 3 else np.where(pixels.any(axis=1), 2.0, 0.0)
    strange = sorted({float(flag) for flag in flags} - {0.0, 1.0, 2.0})
    if strange:
        raise BadPerson(
            'flags',
            f'{where}: visibility flags {strange[:3]}, expected 0 (not labelled), 1 (occluded) or 2 (seen). Scores of '
            'a detector are no flags; use labels.',
        )
    labelled = flags > 0
    visible = np.where(labelled, flags - 1, np.nan).astype(np.float32)
    placed = np.where(labelled[:, None], pixels + PIXEL_SHIFT, 0.0).astype(np.float32)
    return Keypoints(placed, labelled, visible)


def finite_numbers(values: Any, what: str, where: str) -> Float[ndarray, '...']:
    """Return numbers of an annotation as an array."""
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise BadPerson('not_numbers', f'{where}: `{what}` is not all numbers ({error}). Correct it.') from error
    if not np.isfinite(array).all():
        raise BadPerson('not_finite', f'{where}: `{what}` has a NaN or infinite number. Correct it, or leave it out.')
    return array


def size_of(image: Mapping[str, Any], where: str) -> tuple[int, int] | None:
    """Return width and height of the picture, None where the file does not say."""
    width, height = image.get('width'), image.get('height')
    if width is None and height is None:
        return None
    if not all(isinstance(side, (int, float)) and 0 < side < np.inf for side in (width, height)):
        raise BadPerson('size', f'{where}: its picture is {width}x{height}. Correct width and height.')
    return int(width or 0), int(height or 0)


def bounds_of(box: Any, keypoints: Keypoints, where: str) -> tuple[Float[ndarray, '2'], Float[ndarray, '2']]:
    """Return the corners of the published box; of the labelled joints where there is none."""
    if box is None:
        points = keypoints.pixels[keypoints.labelled].astype(np.float64)
        return points.min(axis=0), points.max(axis=0)
    values = finite_numbers(box, 'bbox', where)
    if values.shape != (4,):
        raise BadPerson('box', f'{where}: `bbox` has {values.size} numbers, expected x, y, width, height. Correct it.')
    return values[:2], values[:2] + values[2:]


def check_place(
    points: Float[ndarray, 'k 2'],
    size: tuple[int, int] | None,
    bounds: tuple[Float[ndarray, '2'], Float[ndarray, '2']],
    where: str,
) -> None:
    """Refuse joints far from their picture or, with x and y swapped, from their box."""
    low, high = bounds
    margin = float((high - low).max()) / 2
    near = _inside(points, low - margin, high + margin).mean() >= 0.5
    swapped_near = _inside(points[:, ::-1], low - margin, high + margin).all()
    within = swapped_within = True
    if size is not None:
        beyond, corner = _OUTSIDE * max(size), np.array(size, np.float64)
        within = bool(_inside(points, np.full(2, -beyond), corner + beyond).all())
        swapped_within = bool(_inside(points[:, ::-1], np.full(2, -beyond), corner + beyond).all())
    if within and (near or not (swapped_near and swapped_within)):
        return
    picture = f'its picture of {size[0]}x{size[1]}' if size else 'its picture'
    x, y = points[np.abs(points - points.mean(axis=0)).sum(axis=1).argmax()]
    if swapped_within:
        raise BadPerson(
            'swapped_axes',
            f'{where}: joints such as ({x:.0f}, {y:.0f}) lie outside {"its box" if within else picture}, but would fit '
            'with x and y swapped. Expected x, y, v for each joint; swap them in the file.',
        )
    raise BadPerson('outside', f'{where}: joints such as ({x:.0f}, {y:.0f}) lie far outside {picture}. Correct it.')


def _inside(points: Float[ndarray, 'k 2'], low: Float[ndarray, '2'], high: Float[ndarray, '2']) -> Bool[ndarray, ' k']:
    return np.asarray(((points >= low) & (points <= high)).all(axis=1))
