"""
PyTorch3D's rasteriser behind our interface, for machines that have it: an independent check, and a choice on CUDA.

PyTorch3D's normalised coordinates have x to the left, y up, and [-1, 1] over the shorter side of the image.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def rasterize(
    vertices: Float[Tensor, 'b v 3'], faces: Int[Tensor, 'f 3'], cameras: Float[Tensor, 'b 4'], size: tuple[int, int]
) -> Int[Tensor, 'b h w']:
    """Return the nearest face at each pixel centre, -1 where there is none; rules in `hwhup_core.render.depth`."""
    face_index = torch.full((len(vertices), *size), -1, dtype=torch.int32, device=vertices.device)
    for image, (points, camera) in enumerate(zip(vertices.float(), cameras.float())):
        corners = points[faces.long()]
        drawn = ((corners[..., 2] > 0) & corners.isfinite().all(dim=2)).all(dim=1).nonzero().squeeze(1)
        if len(drawn):
            local = _rasterize_one(normalised(points, camera, size), faces.long()[drawn], size)
            face_index[image] = torch.where(local >= 0, drawn[local.clamp(min=0)], -1).to(torch.int32)
    return face_index


def normalised(points: Float[Tensor, 'v 3'], camera: Float[Tensor, '4'], size: tuple[int, int]) -> Float[Tensor, 'v 3']:
    """Return PyTorch3D's normalised x, y and the z (m) of camera-frame points; 0 for points behind the camera."""
    x, y, z = points.unbind(dim=1)
    fx, fy, cx, cy = camera
    half = min(size) / 2
    left = (size[1] / 2 - (fx * x / z + cx)) / half
    up = (size[0] / 2 - (fy * y / z + cy)) / half
    usable = ((z > 0) & points.isfinite().all(dim=1))[:, None]
    return torch.where(usable, torch.stack([left, up, z], dim=1), 0.0)


def _rasterize_one(points: Tensor, faces: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the ids (h,w) into `faces`, -1 where there is none."""
    from pytorch3d.renderer.mesh import rasterize_meshes
    from pytorch3d.structures import Meshes

    meshes = Meshes(verts=[points], faces=[faces])
    found = rasterize_meshes(meshes, image_size=size, blur_radius=0.0, faces_per_pixel=1, perspective_correct=True)
    nearest: Tensor = found[0][0, ..., 0]
    return nearest
