"""
The page of pictures, like the paper's figures: the input, each prediction over it, and each from the side in the cloud.

A sheet is one PNG, a page one HTML file that needs nothing else.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from hwhup_core.body.model import BodyModel
from hwhup_core.errors import HwhupError
from hwhup_core.evaluation.side_view import (
    AGREED,
    BEHIND,
    IN_FRONT,
    SURROUNDINGS,
    TOLERANCE,
    Cloud,
    aligned_cloud,
    crop_camera,
    draw_side,
    placed_vertices,
    side_camera,
)
from hwhup_core.networks.checkpoint import write_whole
from hwhup_core.render.picture import PAPER, depth_to_rgb, overlay, side_by_side
from hwhup_core.types import CropPinhole, Prediction

PANEL = 320
"""Side of every picture, pixels."""
STYLE = (
    'body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:96vw;padding:0 1rem;background:#f6f7f9;'
    'color:#262a30}section{margin:2rem 0}h2{font-size:1rem;margin:0 0 .4rem}.row{display:flex;flex-wrap:wrap;gap:.6rem}'
    'figure{margin:0}img{display:block;width:20rem;max-width:100%}figcaption{font-size:.85rem;color:#555b64}'
    '.key{display:inline-block;width:.8em;height:.8em;border-radius:50%}'
)


@dataclass(frozen=True)
class Shown:
    """One frame to be shown; predictions and camera are records of one entry."""

    image: UInt8[ndarray, 's s 3'] | None
    """The input in the crop, RGB; None shows the depth in colours."""
    depth: Float[ndarray, 's s']
    """Measured, uncovered, in the crop; metres, 0 = hole."""
    pinhole: CropPinhole
    predictions: Sequence[tuple[str, Prediction]]
    """Name and prediction, such as before and after."""
    title: str = ''


@dataclass(frozen=True)
class Panel:
    """One picture of a row."""

    caption: str
    image: UInt8[ndarray, 's s 3']


def write_page(path: Path, rows: Sequence[Shown], body: BodyModel, title: str = 'Predictions') -> None:
    """Write one self-contained HTML page, a row a frame."""
    _require_rows(rows)
    sections = [_section(shown.title, picture_row(shown, body)) for shown in rows]
    heading = html.escape(title)
    _write(
        path,
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{heading}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>\n'
        f'<h1>{heading}</h1>\n{_legend()}\n{"".join(sections)}</body></html>\n'.encode(),
    )


def write_sheet(path: Path, rows: Sequence[Shown], body: BodyModel) -> None:
    """Write one PNG, a row a frame."""
    _require_rows(rows)
    _write(path, _png(_stacked([_strip(shown, body) for shown in rows])))


def picture_row(shown: Shown, body: BodyModel) -> list[Panel]:
    """
    Return the input, then of each prediction the front and the side view.

    The measured points stand at the same place in all side views, seen along one direction at one scale, so that they
    can be compared. A prediction that is not finite or does not stand before the camera leaves its panels empty.
    """
    image = _input_image(shown)
    faces = body.faces.cpu().numpy()
    scenes = [_scene(name, prediction, shown, body) for name, prediction in shown.predictions]
    cameras = [side_camera(scene.vertices).following(-scene.cloud.offset) for scene in scenes if scene.cloud]
    panels = [Panel('input', image)]
    for scene in scenes:
        if scene.cloud is None:
            empty = np.full_like(image, PAPER)
            panels += [Panel(f'{scene.name}: no body', image), Panel(f'{scene.name}, side: no body', empty)]
            continue
        view = replace(cameras[0], half_extent=max(camera.half_extent for camera in cameras))
        front = overlay(image, scene.vertices, faces, crop_camera(shown.pinhole, PANEL), alpha=0.8)
        side = draw_side(scene.vertices, faces, scene.cloud, view.following(scene.cloud.offset), PANEL)
        panels += [Panel(scene.name, front), Panel(f'{scene.name}, side', side)]
    return panels


@dataclass(frozen=True)
class _Scene:
    """One prediction with the measured points at its depth; no cloud without a body to be seen."""

    name: str
    vertices: Float[ndarray, 'v 3']
    cloud: Cloud | None


def _scene(name: str, prediction: Prediction, shown: Shown, body: BodyModel) -> _Scene:
    vertices = placed_vertices(prediction, body, shown.pinhole)
    if not (np.isfinite(vertices).all() and (vertices[:, 2] > 0).all()):
        return _Scene(name, vertices, None)
    camera = crop_camera(shown.pinhole, shown.depth.shape[0])
    return _Scene(name, vertices, aligned_cloud(shown.depth, vertices, body.faces.cpu().numpy(), camera))


def _input_image(shown: Shown) -> UInt8[ndarray, 's s 3']:
    """Return the input at the size of the pictures; pixels of a small crop stay square."""
    image = depth_to_rgb(shown.depth) if shown.image is None else shown.image
    grows = image.shape[0] < PANEL
    return np.asarray(cv2.resize(image, (PANEL, PANEL), interpolation=cv2.INTER_NEAREST if grows else cv2.INTER_AREA))


def _strip(shown: Shown, body: BodyModel) -> UInt8[ndarray, '_ _ 3']:
    """Return one row of the sheet, captions above the pictures."""
    panels = picture_row(shown, body)
    first, *others = (panel.caption for panel in panels)
    return side_by_side([panel.image for panel in panels], [shown.title or first, *others])


def _stacked(strips: Sequence[UInt8[ndarray, '_ _ 3']]) -> UInt8[ndarray, '_ _ 3']:
    """Return the strips below each other, filled up with paper to the widest."""
    width = max(strip.shape[1] for strip in strips)
    whole = np.full((sum(strip.shape[0] for strip in strips), width, 3), PAPER, np.uint8)
    top = 0
    for strip in strips:
        whole[top : top + strip.shape[0], : strip.shape[1]] = strip
        top += strip.shape[0]
    return whole


def _section(title: str, panels: Sequence[Panel]) -> str:
    """Return one row of the page."""
    figures = ''.join(
        f'<figure><img alt="{html.escape(panel.caption)}" src="data:image/png;base64,'
        f'{base64.b64encode(_png(panel.image)).decode()}"><figcaption>{html.escape(panel.caption)}</figcaption></figure>\n'
        for panel in panels
    )
    return f'<section><h2>{html.escape(title)}</h2><div class="row">\n{figures}</div></section>\n'


def _legend() -> str:
    """Return what the colours of the points mean."""
    keys = (
        (AGREED, f'within {1000 * TOLERANCE:.0f} mm of the body'),
        (IN_FRONT, 'nearer to the camera than the body'),
        (BEHIND, 'behind its surface'),
        (SURROUNDINGS, 'not covered by the body'),
    )
    spans = ', '.join(f'<span class="key" style="background:rgb{color}"></span> {text}' for color, text in keys)
    return (
        '<p>Side views look along the mattress or the floor, square to the body: the depth runs from near to far, left '
        f'to right or top to bottom. Dots are measured points, moved by the median offset: {spans}.</p>'
    )


def _png(image: UInt8[ndarray, '_ _ 3']) -> bytes:
    encoded: ndarray = cv2.imencode('.png', image[..., ::-1])[1]
    return encoded.tobytes()


def _require_rows(rows: Sequence[Shown]) -> None:
    if not rows:
        raise HwhupError('There is nothing to show. Give at least one frame.')


def _write(path: Path, content: bytes) -> None:
    try:
        write_whole(Path(path), content)
    except OSError as error:
        raise HwhupError(f'Cannot write {path}: {error.strerror}. Free space or choose another place.') from error
