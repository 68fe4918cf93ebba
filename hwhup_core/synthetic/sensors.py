"""What a depth camera makes of exact depth: axial noise, ragged edges, holes, steps."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from statistics import NormalDist
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.compiled import compiled
from hwhup_core.errors import ConfigError

_LEVELS = 4096


@dataclass(frozen=True)
class DepthNoise:
    """Noise of a depth camera; the defaults are like a small stereo camera at 1 to 2 m. Zero switches a term off."""

    axial_base: float = 0.0005
    """Standard deviation of independent noise at distance 0, metres."""
    axial_growth: float = 0.0012
    """Added to it per square metre of distance: std = axial_base + axial_growth z^2."""
    patch_growth: float = 0.0015
    """Standard deviation of smooth patches of error per square metre of distance, 1/m."""
    patch_px: float = 12.0
    """Distance between the patches' centres, pixels."""
    jitter_px: float = 0.5
    """Standard deviation of the sideways error of each pixel."""
    edge_step: float = 0.03
    """A neighbour farther than this in depth, relative to z, makes an edge."""
    edge_dropout: float = 0.5
    """Chance that a pixel at an edge has no measurement."""
    grazing_cosine: float = 0.2
    """Surfaces seen at a smaller cosine to their normal get lost with `edge_dropout`."""
    dropout: float = 0.003
    """Chance that any pixel has no measurement."""
    holes: float = 12.0
    """Mean number of round holes in a 640 x 480 image."""
    hole_px: float = 4.0
    """Mean radius of a hole, pixels."""
    disparity_levels: float = 1000.0
    """Steps of 1/z: z = disparity_levels / whole number (baseline x focal x sub-pixel steps)."""
    depth_step: float = 0.001
    """Steps of z, metres."""
    focal_px: float = 600.0
    """Focal length of the image, pixels; only for the grazing angle."""
    flying: float = 0.0
    """Chance that a pixel at an edge, where it has a measurement, lies anywhere between the two surfaces."""
    grazing_growth: float = 0.0
    """The axial noise is multiplied by 1 + grazing_growth tan^2 of the angle to the normal (up to a tangent of 5)."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) >= 0:
                raise ConfigError(f'{field.name} is {getattr(self, field.name)}. Expected a number of at least 0.')
        if self.patch_px < 1 or self.focal_px <= 0:
            raise ConfigError(f'patch_px {self.patch_px} and focal_px {self.focal_px} must be at least 1 and above 0.')


REALSENSE = DepthNoise()
"""Stereo: errors in patches, lost edges, steps of disparity."""

KINECT = DepthNoise(
    axial_base=0.0006,
    axial_growth=0.0003,
    patch_growth=0.0007,
    patch_px=16.0,
    jitter_px=0.25,
    edge_step=0.02,
    edge_dropout=0.2,
    grazing_cosine=0.1,
    dropout=0.0005,
    holes=3.0,
    hole_px=2.0,
    disparity_levels=0.0,
    flying=0.4,
    grazing_growth=0.15,
)
"""
Time of flight, as the second Kinect: about 2 mm at 2 m, several at grazing angles, flying pixels at edges, patches of a
few millimetres as several paths of the light leave.
"""

SENSORS = MappingProxyType({'kinect': KINECT, 'realsense': REALSENSE})
"""The noise of each sensor that a domain can have."""


def depth_noise(depth: Float[ndarray, 'h w'], rng: np.random.Generator, noise: DepthNoise) -> Float[ndarray, 'h w']:
    """Return what the sensor reports for exact `depth` (metres, 0 = nothing there): float32, 0 = no measurement."""
    height, width = depth.shape
    patches = rng.standard_normal((int(height / noise.patch_px) + 2, int(width / noise.patch_px) + 2)).astype(
        np.float32
    )
    out = np.empty_like(depth, dtype=np.float32)
    _measure(
        np.ascontiguousarray(depth, np.float32), patches, normal_table(), rng.integers(2**63), _numbers(noise), out
    )
    _punch_holes(out, rng, noise)
    return out


def _punch_holes(out: ndarray, rng: np.random.Generator, noise: DepthNoise) -> None:
    """Zero random discs of `out`."""
    height, width = out.shape
    count = rng.poisson(noise.holes * height * width / (640 * 480))
    for y, x, radius in zip(
        rng.uniform(0, height, count), rng.uniform(0, width, count), rng.exponential(noise.hole_px, count), strict=True
    ):
        top, left = max(int(y - radius), 0), max(int(x - radius), 0)
        window = out[top : int(y + radius) + 1, left : int(x + radius) + 1]
        rows, columns = np.ogrid[top : top + window.shape[0], left : left + window.shape[1]]
        window[(rows + 0.5 - y) ** 2 + (columns + 0.5 - x) ** 2 <= radius**2] = 0.0


@cache
def normal_table() -> Float[ndarray, ' n']:
    """Return evenly likely values of the normal distribution, scaled to variance 1."""
    values = np.array([NormalDist().inv_cdf((k + 0.5) / _LEVELS) for k in range(_LEVELS)])
    result: ndarray = (values / values.std()).astype(np.float32)
    return result


def _numbers(noise: DepthNoise) -> Float[ndarray, ' n']:
    """Return the fields as an array for the kernel, in its order."""
    return np.array([
        noise.axial_base, noise.axial_growth, noise.patch_growth, noise.patch_px, noise.jitter_px, noise.edge_step,
        noise.edge_dropout, noise.grazing_cosine, noise.dropout, noise.disparity_levels, noise.depth_step,
        noise.focal_px, noise.flying, noise.grazing_growth,
    ], np.float32)  # fmt: skip


@compiled
def random_bits(counter: Any) -> Any:
    """Return 64 random bits (splitmix64)."""
    z = counter * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@compiled
def _farthest_step(z: Any, right: Any, left: Any, below: Any, above: Any) -> Any:
    """Return the neighbour that differs most from `z`; one without a surface does not count."""
    best = z
    for other in (right, left, below, above):
        if other > 0 and abs(other - z) > abs(best - z):
            best = other
    return best


@compiled
def _measure(depth: Any, patches: Any, normal: Any, seed: Any, numbers: Any, out: Any) -> None:
    """Write the noisy depth, without holes."""
    base, growth, patch_growth, patch_px, jitter, edge_step = (
        numbers[0],
        numbers[1],
        numbers[2],
        numbers[3],
        numbers[4],
        numbers[5],
    )
    edge_dropout, cosine, dropout, levels, step, focal, flying, grazing = (
        numbers[6],
        numbers[7],
        numbers[8],
        numbers[9],
        numbers[10],
        numbers[11],
        numbers[12],
        numbers[13],
    )
    height, width = depth.shape
    # tan of the steepest visible slope, as change of z per pixel and per z.
    steepest = np.float32(np.inf) if cosine <= 0 else np.sqrt(np.float32(1) / (cosine * cosine) - np.float32(1)) / focal
    limit = min(edge_step, steepest)
    scale, twelve, fourteen = np.float32(1.0 / 16384.0), np.uint64(0xFFF), np.uint64(0x3FFF)
    for i in range(height):
        py = np.float32(i) / patch_px
        row = int(py)
        fy = py - np.float32(row)
        for j in range(width):
            bits = random_bits(np.uint64(seed) + np.uint64(i * width + j))
            drop = np.float32(bits & fourteen) * scale
            drop_edge = np.float32((bits >> np.uint64(14)) & fourteen) * scale
            g = normal[(bits >> np.uint64(28)) & twelve]
            y, x = i, j
            if jitter > 0:
                y = min(
                    max(int(np.floor(i + np.float32(0.5) + jitter * normal[(bits >> np.uint64(40)) & twelve])), 0),
                    height - 1,
                )
                x = min(
                    max(int(np.floor(j + np.float32(0.5) + jitter * normal[(bits >> np.uint64(52)) & twelve])), 0),
                    width - 1,
                )
            z = depth[y, x]
            out[i, j] = np.float32(0)
            if z <= 0 or drop < dropout:
                continue
            right, below = depth[y, min(x + 1, width - 1)], depth[min(y + 1, height - 1), x]
            left, above = depth[y, max(x - 1, 0)], depth[max(y - 1, 0), x]
            change = max(max(abs(right - z), abs(left - z)), max(abs(below - z), abs(above - z)))
            if change > limit * z and drop_edge < edge_dropout:
                continue
            px = np.float32(j) / patch_px
            column = int(px)
            fx = px - np.float32(column)
            patch = (patches[row, column] * (1 - fx) + patches[row, column + 1] * fx) * (1 - fy) + (
                patches[row + 1, column] * (1 - fx) + patches[row + 1, column + 1] * fx
            ) * fy
            spread = base + growth * z * z
            if grazing > 0:
                slope = min(change * focal / z, np.float32(5))
                spread *= np.float32(1) + grazing * slope * slope
            if flying > 0 and change > edge_step * z:
                more = random_bits(bits)
                if np.float32(more & fourteen) * scale < flying:
                    other = _farthest_step(z, right, left, below, above)
                    z += np.float32((more >> np.uint64(14)) & fourteen) * scale * (other - z)
            z += spread * g + patch_growth * z * z * patch
            if levels > 0:
                z = levels / np.rint(levels / z)
            if step > 0:
                z = np.rint(z / step) * step
            out[i, j] = z
