"""
Body masks Ma: which pixels of a depth image may be compared with the rendered body (method 3.4).

Given by a data set, or made from a box, from the depths of the joints (the released code, on room scenes) or from a
cube above the bed (the paper's "bounding cubic"). A pixel without a measurement is never in a mask. A mask may come out
empty; `require_body` is for those who cannot go on then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from hwhup_core.errors import ConfigError, FrameError, HwhupError
from hwhup_core.geometry.crops import apply_affine, crop_affine
from hwhup_core.geometry.depth import unproject
from hwhup_core.geometry.proxies import depth_at
from hwhup_core.types import Intrinsics, PersonBox


@dataclass(frozen=True)
class Plane:
    """Points with normal . point = offset; the camera is where normal . point > offset."""

    normal: Float[ndarray, '3']
    """Unit vector towards the camera's side."""
    offset: float
    """Metres."""

    def height(self, points: Float[ndarray, '*n 3']) -> Float[ndarray, '*n']:
        """Return the distance (m) above the plane, towards the camera."""
        heights: ndarray = points @ self.normal - self.offset
        return heights


@dataclass(frozen=True)
class PlaneConfig:
    """How a plane is found among points of which many lie elsewhere."""

    rounds: int = 200
    """Random triples tried."""
    tolerance: float = 0.02
    """Metres from the plane within which a point belongs to it."""
    points: int = 5000
    """Most points that the triples are judged by."""
    least_share: float = 0.2
    """Share of the points that must belong to the plane."""

    def __post_init__(self) -> None:
        if min(self.rounds, self.points) < 1 or self.tolerance <= 0 or not 0 <= self.least_share <= 1:
            raise ConfigError('rounds and points must be at least 1, tolerance above 0 and least_share in [0, 1].')


def given_mask(mask: Bool[ndarray, 'rows columns'], depth: Float[ndarray, 'h w']) -> Bool[ndarray, 'h w']:
    """Return a data set's mask without the holes."""
    if mask.shape != depth.shape:
        raise HwhupError(f'The mask is {mask.shape}, the depth image {depth.shape}. Crop both alike.')
    return mask & (depth > 0)


def box_mask(depth: Float[ndarray, 'h w'], box: PersonBox) -> Bool[ndarray, 'h w']:
    """Return the measured pixels whose centres lie in the box."""
    height, width = depth.shape
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    in_box = apply_affine(crop_affine(box, 1), np.stack([x.ravel(), y.ravel()], axis=1))
    inside = ((in_box >= 0) & (in_box <= 1)).all(axis=1)
    return inside.reshape(height, width) & (depth > 0)


def joint_range_mask(
    depth: Float[ndarray, 'h w'], pixels: Float[ndarray, 'k 2'], visible: Bool[ndarray, ' k'], margin: float = 0.05
) -> Bool[ndarray, 'h w']:
    """
    Return the pixels at most `margin` (m) nearer than the nearest and farther than the farthest visible joint's pixel.

    Nothing without a visible joint that has a measurement. The released code takes the 12 limb joints.
    """
    inside, values = depth_at(depth, pixels)
    values = values[inside & visible & (values > 0)]
    if len(values) == 0:
        return np.zeros(depth.shape, bool)
    mask: ndarray = (depth >= values.min() - margin) & (depth <= values.max() + margin) & (depth > 0)
    return mask


def cube_mask(
    depth: Float[ndarray, 'h w'],
    intrinsics: Intrinsics,
    bed: Plane,
    center: Float[ndarray, '3'],
    side: float,
    clearance: float = 0.03,
) -> Bool[ndarray, 'h w']:
    """
    Return the pixels in a cube that stands on the bed below `center` (camera frame, m), one side along the image's x.

    What lies less than `clearance` (m) above the bed is bed; the repository's own cut for SLP is 3 cm.
    """
    points = unproject(depth, intrinsics)
    lateral = np.abs((points - center) @ _bed_axes(bed)) <= side / 2
    height = bed.height(points)
    mask: ndarray = lateral.all(axis=-1) & (height >= clearance) & (height <= side) & (depth > 0)
    return mask


def _bed_axes(bed: Plane) -> Float[ndarray, '3 2']:
    """Return unit vectors in the plane: the image's x as far as it lies in it (its y for a wall), and across."""
    image_axis = np.eye(3)[0 if abs(bed.normal[0]) < 0.9 else 1]
    along = image_axis - image_axis @ bed.normal * bed.normal
    along /= np.linalg.norm(along)
    return np.stack([along, np.cross(bed.normal, along)], axis=1)


def fit_plane(points: Float[ndarray, 'n 3'], rng: np.random.Generator, config: PlaneConfig) -> Plane:
    """
    Return the plane that most points lie on, by random triples, then least squares over the points that belong to it.

    Points at the origin (holes) and not finite ones are left out. The result is a function of points and generator.
    """
    points = points[np.isfinite(points).all(axis=1) & (points != 0).any(axis=1)]
    if len(points) < 3:
        raise FrameError('no_plane', f'{len(points)} depth points; a plane needs 3. Check the depth image and its box.')
    judges = rng.permutation(points)[: config.points]
    corners = judges[rng.integers(0, len(judges), (config.rounds, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1)
    normals = normals[length > 1e-12] / length[length > 1e-12, None]
    if len(normals) == 0:
        raise FrameError('no_plane', 'All depth points lie on a line. Check the depth image and its box.')
    offsets = (normals * corners[length > 1e-12, 0]).sum(axis=1)
    counts = (np.abs(judges @ normals.T - offsets) < config.tolerance).sum(axis=0)
    best = int(counts.argmax())
    if counts[best] < config.least_share * len(judges):
        raise FrameError(
            'no_plane',
            f'The best plane holds {counts[best] / len(judges):.0%} of the points, expected {config.least_share:.0%}. '
            'Choose points on and around the bed.',
        )
    members = points[np.abs(points @ normals[best] - offsets[best]) < config.tolerance]
    return _least_squares_plane(members)


def _least_squares_plane(points: Float[ndarray, 'n 3']) -> Plane:
    """Return the plane with the smallest squared distances, facing the camera."""
    middle = points.mean(axis=0)
    normal = np.linalg.svd(points - middle, full_matrices=False)[2][-1]
    offset = float(normal @ middle)
    return Plane(-normal, -offset) if offset > 0 else Plane(normal, offset)


def require_body(mask: Bool[ndarray, 'h w'], least: int = 1) -> Bool[ndarray, 'h w']:
    """Return the mask, or say that it shows no body."""
    count = int(mask.sum())
    if count < least:
        raise FrameError('empty_mask', f'The body mask has {count} pixels, expected {least}. Check its box and depth.')
    return mask
