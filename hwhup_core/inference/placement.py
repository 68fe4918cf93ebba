"""Metric placement of an estimated body in front of the real camera, and its live self-check against measured depth."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from hwhup_core.geometry.cameras import rays, through_lens
from hwhup_core.render.numba_backend import depth_buffer
from hwhup_core.types import Intrinsics, PersonBox

MIN_SHARED_PIXELS = 30
"""Fewer body pixels with measured depth say nothing about the distance."""
MAX_PASSES = 3
SETTLED_M = 0.003
"""After a smaller move along the viewing ray the picture of the body has not changed enough to draw it again."""
OCCLUDER_M = 0.15
"""Something measured this far in front of the placed body hides it there (a bar, an arm that reaches in) and says
nothing about the pose; a wrong pose of a lying infant stays below."""
FLAT_RELIEF_M = 0.012
"""A surface whose mean distance from its own plane is below this has no body on it: above the noise of a depth sensor
on a mattress, below the relief of an infant."""


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels inside the image, [left, right) x [top, bottom)."""

    left: int
    top: int
    right: int
    bottom: int

    def cut(self, image: Float[ndarray, 'h w']) -> Float[ndarray, 'a b']:
        """Return the pixels of the window, as a view."""
        return image[self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True)
class Comparison:
    """The rendered body beside the measured depth, in the part of the image that it covers. Metres, 0 = nothing."""

    window: Window
    rendered: Float[ndarray, 'a b']
    observed: Float[ndarray, 'a b']
    shared: Bool[ndarray, 'a b']
    """Where the body is rendered and depth was measured."""


@dataclass(frozen=True)
class Placement:
    """Where a body stands and how well the measured depth agrees."""

    translation: Float[ndarray, '3']
    """Metres, camera frame; added to every vertex and joint of the body."""
    aligned_depth_error: float
    """Mean |rendered + offset - observed| over the visible body, metres; NaN without shared pixels."""
    flat: bool
    """The measured surface behind the body is a plane rather than this body: nobody is there."""
    comparison: Comparison | None
    """At the final translation; None without depth or where the body misses the image."""


def place_by_depth(
    vertices: Float[ndarray, 'v 3'],
    faces: Int[ndarray, 'f 3'],
    translation: Float[ndarray, '3'],
    depth: Float[ndarray, 'h w'],
    intrinsics: Intrinsics,
) -> Placement:
    """
    Return the placement whose depth agrees with the measured one, starting at `translation` (m).

    The offset is the median of observed - rendered over the body (equation 3, its L1 minimiser). The body moves along
    the viewing ray of its origin, so its pixels stay; as it grows or shrinks by that, this is repeated. Without
    enough shared pixels the start is kept and the error is NaN. What hides the body (`OCCLUDER_M`) is left out of the
    error; what lies behind it counts in full.
    """
    comparison: Comparison | None = None
    offset = 0.0
    for _ in range(MAX_PASSES):
        comparison = compare_depth(vertices + translation, faces, depth, intrinsics)
        if comparison is None or np.count_nonzero(comparison.shared) < MIN_SHARED_PIXELS:
            return Placement(translation, float('nan'), False, comparison)
        difference = (comparison.observed - comparison.rendered)[comparison.shared]
        offset = float(np.median(difference))
        translation = translation * max((translation[2] + offset) / translation[2], 0.05)
        if abs(offset) < SETTLED_M:
            break
    assert comparison is not None
    residual = difference - offset
    visible = comparison.shared.copy()
    visible[comparison.shared] = residual > -OCCLUDER_M
    error = float(np.abs(residual[residual > -OCCLUDER_M]).mean())
    flat = is_flat(replace(comparison, shared=visible), intrinsics, error)
    moved = np.where(comparison.rendered > 0, comparison.rendered + np.float32(offset), np.float32(0))
    return Placement(translation, error, flat, replace(comparison, rendered=moved))


def compare_depth(
    vertices: Float[ndarray, 'v 3'],
    faces: Int[ndarray, 'f 3'],
    depth: Float[ndarray, 'h w'],
    intrinsics: Intrinsics,
) -> Comparison | None:
    """Return the rendered body beside the depth where the body is, or None where no part of it is in the image."""
    pinhole_vertices, pixels = through_lens(vertices, intrinsics)
    window = _window_of(pixels, depth.shape[1], depth.shape[0])
    if window is None:
        return None
    camera = np.array([intrinsics.fx, intrinsics.fy, intrinsics.cx - window.left, intrinsics.cy - window.top])
    size = (window.bottom - window.top, window.right - window.left)
    rendered, _ = depth_buffer(pinhole_vertices, faces, camera, size)
    observed = window.cut(depth)
    shared = (rendered > 0) & (observed > 0) & np.isfinite(observed)
    return Comparison(window, rendered, observed, shared)


def _window_of(pixels: Float[ndarray, 'v 2'], width: int, height: int) -> Window | None:
    if not np.isfinite(pixels).all():
        return None
    left, top = np.clip(np.floor(pixels.min(axis=0)), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(pixels.max(axis=0)), 0, (width, height)).astype(int)
    if right <= left or bottom <= top:
        return None
    return Window(int(left), int(top), int(right), int(bottom))


def is_flat(comparison: Comparison, intrinsics: Intrinsics, body_error: float) -> bool:
    """
    Return whether a plane explains the measured surface where the body should be at least as well as the body does.

    Both must hold: the mean distance to the best plane along the viewing rays is not above the body's aligned depth
    error, and it is below `FLAT_RELIEF_M`. An empty mattress passes both; a person under a thick, flat cover may, too.
    """
    relief = plane_relief(comparison, intrinsics)
    return relief <= body_error and relief < FLAT_RELIEF_M


def is_flat_box(depth: Float[ndarray, 'h w'], box: PersonBox, intrinsics: Intrinsics) -> bool:
    """Return whether all that is measured in the box is one plane: nobody is there, wherever a body was guessed."""
    height, width = depth.shape
    half = box.side / 2
    left, right = (int(np.clip(box.center_x + side, 0, width)) for side in (-half, half))
    top, bottom = (int(np.clip(box.center_y + side, 0, height)) for side in (-half, half))
    window = Window(left, top, right, bottom)
    observed = window.cut(depth)
    shared = (observed > 0) & np.isfinite(observed)
    if np.count_nonzero(shared) < MIN_SHARED_PIXELS:
        return False
    return plane_relief(Comparison(window, np.zeros_like(observed), observed, shared), intrinsics) < FLAT_RELIEF_M


def plane_relief(comparison: Comparison, intrinsics: Intrinsics) -> float:
    """
    Return the mean |depth - depth of the best plane| (m) over the shared pixels.

    A plane has an inverse depth that is linear in the ray's x and y; weighting the equations by depth squared makes
    them depth residuals to first order.
    """
    rows, columns = np.nonzero(comparison.shared)
    step = max(1, len(rows) // 4000)  # A few thousand pixels settle three unknowns.
    rows, columns = rows[::step], columns[::step]
    depth = comparison.observed[rows, columns].astype(np.float64)
    pixels = np.stack([columns + comparison.window.left + 0.5, rows + comparison.window.top + 0.5], axis=1)
    directions = rays(intrinsics, pixels)
    squared = depth**2
    plane, *_ = np.linalg.lstsq(directions * squared[:, None], depth, rcond=None)
    inverse = directions @ plane
    residual = np.where(inverse > 1e-6, 1.0 / np.maximum(inverse, 1e-6) - depth, np.inf)
    return float(np.abs(residual).mean())
