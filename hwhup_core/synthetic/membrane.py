"""
Loops over a membrane: a cloth as heights over a grid, which lies on points and faces below it.

Points and vertices are (row, column, height) of the grid; its cells are split as in `solids.grid_faces`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hwhup_core.compiled import compiled

EXCESS = 0.01
"""How far a corner of the grid may be lifted over the point of a body that asks for it, metres."""


@compiled
def raise_to(cells: Any, faces: Any, left_out: Any, height: Any) -> Any:
    """Raise the grid's points to the faces above them, return the middles of these; all are (row, column, height)."""
    rows, columns = height.shape
    middles = np.empty((faces.shape[0], 3), np.float32)
    count = 0
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if left_out[a] or left_out[b] or left_out[c]:
            continue
        ax, ay, bx, by, cx, cy = cells[a, 0], cells[a, 1], cells[b, 0], cells[b, 1], cells[c, 0], cells[c, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area <= 0:
            continue
        for axis in range(3):
            middles[count, axis] = (cells[a, axis] + cells[b, axis] + cells[c, axis]) / np.float32(3)
        count += 1
        top, bottom = max(math.ceil(min(ax, bx, cx)), 0), min(math.floor(max(ax, bx, cx)), rows - 1)
        left, right = max(math.ceil(min(ay, by, cy)), 0), min(math.floor(max(ay, by, cy)), columns - 1)
        for i in range(top, bottom + 1):
            for j in range(left, right + 1):
                wb = ((i - ax) * (cy - ay) - (j - ay) * (cx - ax)) / area
                wc = ((bx - ax) * (j - ay) - (by - ay) * (i - ax)) / area
                if wb >= 0 and wc >= 0 and wb + wc <= 1:
                    z = cells[a, 2] + wb * (cells[b, 2] - cells[a, 2]) + wc * (cells[c, 2] - cells[a, 2])
                    height[i, j] = max(height[i, j], z)
    return middles[:count]


@compiled
def lift(points: Any, above: Any, height: Any) -> None:
    """
    Raise the grid until its triangles are at least `above` over every point (row, column, height).

    Two rounds share the lack among the corners by their weights, the last by what each lacks, so that nothing is left.
    No corner gets higher than `EXCESS` over what a point asks for.
    """
    rows, columns = height.shape
    excess = np.float32(EXCESS)
    for sweep in range(3):
        for k in range(points.shape[0]):
            x, y = points[k, 0], points[k, 1]
            if not (x >= 0 and y >= 0 and x <= rows - 1 and y <= columns - 1):
                continue
            i, j = min(int(x), rows - 2), min(int(y), columns - 2)
            fx, fy = x - i, y - j
            # The two triangles of `grid_faces`.
            first = fx >= fy
            wa, wc = np.float32(1) - max(fx, fy), min(fx, fy)
            wb = max(fx, fy) - wc
            bi, bj = (i + 1, j) if first else (i, j + 1)
            wanted = points[k, 2] + above
            ha, hb, hc = height[i, j], height[bi, bj], height[i + 1, j + 1]
            lack = wanted - (wa * ha + wb * hb + wc * hc)
            if lack <= 0:
                continue
            # How far each corner may still rise.
            ra = max(wanted + excess - ha, np.float32(0))
            rb = max(wanted + excess - hb, np.float32(0))
            rc = max(wanted + excess - hc, np.float32(0))
            if sweep < 2:
                scale = lack / (wa * wa + wb * wb + wc * wc)
                ra, rb, rc = min(ra, scale * wa), min(rb, scale * wb), min(rc, scale * wc)
            else:
                scale = min(lack / (wa * ra + wb * rb + wc * rc), np.float32(1))
                ra, rb, rc = scale * ra, scale * rb, scale * rc
            height[i, j], height[bi, bj], height[i + 1, j + 1] = ha + ra, hb + rb, hc + rc


@compiled
def lower_to(points: Any, cap: Any) -> None:
    """Lower the grid at the corners of each point's cell to the point."""
    rows, columns = cap.shape
    for k in range(points.shape[0]):
        x, y = points[k, 0], points[k, 1]
        if x >= 0 and y >= 0 and x < rows - 1 and y < columns - 1:
            for i in range(int(x), int(x) + 2):
                for j in range(int(y), int(y) + 2):
                    cap[i, j] = min(cap[i, j], points[k, 2])


@compiled
def settle(low: Any, high: Any, fixed: Any, sag: Any, sweeps: int, height: Any) -> None:
    """Bring `height` to rest between `low` and `high`: mean of the neighbours less `sag`, in sweeps to and fro."""
    rows, columns = height.shape
    quarter = np.float32(0.25)
    for sweep in range(sweeps):
        for m in range(rows):
            i = m if sweep % 2 == 0 else rows - 1 - m
            # A free edge is its own mirror.
            before, after = (i - 1 if i > 0 else 1), (i + 1 if i < rows - 1 else rows - 2)
            for n in range(columns):
                j = n if sweep % 4 < 2 else columns - 1 - n
                if not fixed[i, j]:
                    left, right = (j - 1 if j > 0 else 1), (j + 1 if j < columns - 1 else columns - 2)
                    mean = quarter * ((height[before, j] + height[after, j]) + (height[i, left] + height[i, right]))
                    height[i, j] = max(low[i, j], min(high[i, j], mean - sag))


@compiled
def smoothed(height: Any, fixed: Any) -> Any:
    """Return each height halfway to the mean of its neighbours."""
    rows, columns = height.shape
    out = height.copy()
    for i in range(rows):
        before, after = (i - 1 if i > 0 else 1), (i + 1 if i < rows - 1 else rows - 2)
        for j in range(columns):
            if not fixed[i, j]:
                left, right = (j - 1 if j > 0 else 1), (j + 1 if j < columns - 1 else columns - 2)
                mean = (height[before, j] + height[after, j] + height[i, left] + height[i, right]) / np.float32(4)
                out[i, j] = (height[i, j] + mean) / np.float32(2)
    return out
