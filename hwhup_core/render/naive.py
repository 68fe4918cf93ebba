"""
The renderer as one would explain it: for each pixel, meet its ray with every face and keep the nearest hit.

Double precision and another formula (rays in space instead of edges on the screen) than the fast back ends: the twin
that they are tested against and the baseline of their benchmark. Minutes for a body at 224 x 224; never the choice of
`auto`.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor


def rasterize(
    vertices: Float[Tensor, 'b v 3'], faces: Int[Tensor, 'f 3'], cameras: Float[Tensor, 'b 4'], size: tuple[int, int]
) -> Int[Tensor, 'b h w']:
    """Return the nearest face at each pixel centre, -1 where there is none; rules in `hwhup_core.render.depth`."""
    face_index = torch.full((len(vertices), *size), -1, dtype=torch.int32)
    # In rising order two copies of a face meet the ray at the same z to the bit, and the lower id wins.
    triangles = np.sort(faces.cpu().numpy(), axis=1)
    for image, (points, camera) in enumerate(zip(vertices.cpu().double().numpy(), cameras.cpu().double().numpy())):
        corners = points[triangles]
        for i in range(size[0]):
            for j in range(size[1]):
                face_index[image, i, j] = nearest_face(corners, pixel_ray(camera, i, j))
    return face_index.to(vertices.device)


def pixel_ray(camera: Float[ndarray, '4'], i: int, j: int) -> Float[ndarray, '3']:
    """Return the ray through the centre of pixel (row i, column j), z = 1."""
    fx, fy, cx, cy = camera
    return np.array([(j + 0.5 - cx) / fx, (i + 0.5 - cy) / fy, 1.0])


def nearest_face(corners: Float[ndarray, 'f 3 3'], ray: Float[ndarray, '3']) -> int:
    """Return the id of the nearest face that the ray meets, the lower of two at equal z, or -1."""
    if not len(corners):
        return -1
    hits = meet(corners, ray)
    with np.errstate(invalid='ignore'):
        inside = (hits[:, :3] >= 0).all(axis=1) & (corners[:, :, 2] > 0).all(axis=1) & np.isfinite(hits[:, 3])
    if not inside.any():
        return -1
    return int(np.argmin(np.where(inside, hits[:, 3], np.inf)))


def meet(corners: Float[ndarray, 'f 3 3'], ray: Float[ndarray, '3']) -> Float[ndarray, 'f 4']:
    """Return the barycentrics (3) and z of the point where the ray meets each face's plane; NaN or inf if parallel."""
    with np.errstate(all='ignore'):
        origin = corners[:, 0]
        first, second = corners[:, 1] - origin, corners[:, 2] - origin
        across = np.cross(ray, second)
        determinant = (first * across).sum(axis=1)
        at_second_corner = -(origin * across).sum(axis=1) / determinant
        turned = np.cross(-origin, first)
        at_third_corner = (turned * ray).sum(axis=1) / determinant
        z = (second * turned).sum(axis=1) / determinant
        return np.stack([1 - at_second_corner - at_third_corner, at_second_corner, at_third_corner, z], axis=1)


def depth_slope(corners: Float[ndarray, '3 3'], ray: Float[ndarray, '3']) -> Float[ndarray, '3 3']:
    """Return dz/dcorner of one face: row i is b_i n / (n . d)."""
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    return np.outer(meet(corners[None], ray)[0, :3], normal / (normal @ ray))
