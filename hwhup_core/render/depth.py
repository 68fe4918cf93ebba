"""
Which face each pixel sees, and the depth there as a differentiable function of the vertices.

Rules, the same in every back end: pixel (i, j) is sampled at its centre (j + .5, i + .5); z > 0; both sides of a face
are seen; of two faces at equal depth the lower id wins; a face with a vertex that is behind the camera or not finite is
left out (it is not clipped); a face without area is left out; an edge belongs to both of its faces, so a closed mesh
shows no cracks.
"""

from __future__ import annotations

from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from hwhup_core.errors import ConfigError, HwhupError
from hwhup_core.types import Rendered

BACKENDS = ('auto', 'numba', 'torch', 'pytorch3d', 'naive')


def rasterize(
    vertices: Float[Tensor, 'b v 3'],
    faces: Int[Tensor, 'f 3'],
    cameras: Float[Tensor, 'b 4'],
    size: tuple[int, int],
    backend: str = 'auto',
) -> Int[Tensor, 'b h w']:
    """
    Return the id of the nearest face at each pixel centre (int32), -1 where there is none.

    `vertices` are in the camera frame (m), `cameras` are fx fy cx cy (px), `size` is height, width. `auto` takes numba
    for float32 on the CPU and torch elsewhere.
    """
    _check_mesh(vertices, faces, cameras)
    _check_size(size)
    with torch.no_grad():
        face_index: Tensor = _module(_chosen(backend, vertices)).rasterize(
            vertices.detach(), faces, cameras.detach(), size
        )
    return face_index


def render_depth(
    vertices: Float[Tensor, 'b v 3'],
    faces: Int[Tensor, 'f 3'],
    cameras: Float[Tensor, 'b 4'],
    size: tuple[int, int],
    backend: str = 'auto',
    face_index: Int[Tensor, 'b h w'] | None = None,
) -> Rendered:
    """
    Return depth, mask and face ids; depth carries gradients to `vertices` (x, y and z), not to `cameras`.

    The pixel-to-face map is held fixed: silhouettes do not move under the gradient. Pass `face_index` to reuse a map
    from `rasterize`; its pixels then see the (unbounded) planes of their faces.
    """
    _check_mesh(vertices, faces, cameras)
    _check_size(size)
    chosen = _chosen(backend, vertices)
    mesh = vertices.detach(), faces, cameras.detach()
    depth = None
    if face_index is not None:
        _check_face_index(face_index, (len(vertices), *size), len(faces))
    elif chosen == 'numba':
        face_index, depth = _module('numba').render(*mesh, size)
    else:
        face_index = _module(chosen).rasterize(*mesh, size)
    kernels = 'numba' if chosen == 'numba' else 'torch'
    if depth is None:
        depth = _module(kernels).depth_at_faces(*mesh, face_index)
    tracked = _WithGradient.apply(vertices, faces, cameras, face_index, depth, kernels)
    return Rendered(depth=tracked, mask=depth > 0, face_index=face_index)


class _WithGradient(torch.autograd.Function):
    """Rendered depth as a function of the vertices, in closed form: dz/dv_i = b_i n / (n . d)."""

    @staticmethod
    def forward(
        ctx: Any, vertices: Tensor, faces: Tensor, cameras: Tensor, face_index: Tensor, depth: Tensor, kernels: str
    ) -> Tensor:
        """Return `depth`, the ray-plane intersections at `face_index`."""
        ctx.save_for_backward(vertices, faces, cameras, depth, face_index)
        ctx.kernels = kernels
        return depth.view_as(depth)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Any:
        """Return the gradient of the vertices."""
        return _module(ctx.kernels).depth_gradient(*ctx.saved_tensors, upstream), None, None, None, None, None


def _chosen(backend: str, vertices: Tensor) -> str:
    """Return the back end for this tensor, or say why there is none."""
    if backend not in BACKENDS:
        raise ConfigError(f'Unknown renderer back end {backend!r}. Choose one of {", ".join(BACKENDS)}.')
    fits_numba = vertices.device.type == 'cpu' and vertices.dtype == torch.float32
    if backend == 'auto':
        return 'numba' if fits_numba and find_spec('numba') else 'torch'
    if backend == 'numba' and not fits_numba:
        raise ConfigError(
            f"Renderer back end 'numba' takes float32 on the CPU, got {vertices.dtype} on {vertices.device}. "
            "Choose 'torch' or 'auto'."
        )
    if backend in ('numba', 'pytorch3d') and not find_spec(backend):
        raise ConfigError(f"Renderer back end {backend!r} is not installed. Install it, or choose 'torch' or 'auto'.")
    return backend


def _module(name: str) -> ModuleType:
    """Return the back end's module; imported here because numba and pytorch3d are slow to load and may be absent."""
    if name == 'numba':
        from hwhup_core.render import numba_backend

        return numba_backend
    if name == 'pytorch3d':
        from hwhup_core.render import pytorch3d_backend

        return pytorch3d_backend
    if name == 'naive':
        from hwhup_core.render import naive

        return naive
    from hwhup_core.render import torch_backend

    return torch_backend


def _check_mesh(vertices: Tensor, faces: Tensor, cameras: Tensor) -> None:
    """Refuse what the compiled loops would read out of bounds."""
    if vertices.dtype not in (torch.float32, torch.float64):
        raise HwhupError(
            f'Vertices are {vertices.dtype}; the renderer takes float32 or float64. Convert with .float().'
        )
    if cameras.shape != (len(vertices), 4):
        raise HwhupError(
            f'Cameras have shape {tuple(cameras.shape)} for {len(vertices)} meshes; expected fx fy cx cy of each, '
            f'({len(vertices)}, 4). Repeat a shared camera with .expand().'
        )
    if faces.device != vertices.device or cameras.device != vertices.device:
        raise HwhupError(
            f'Vertices are on {vertices.device}, faces on {faces.device}, cameras on {cameras.device}. '
            'Move them to one device.'
        )
    if faces.numel() and not (int(faces.min()) >= 0 and int(faces.max()) < vertices.shape[1]):
        raise HwhupError(
            f'Faces name vertices {int(faces.min())} to {int(faces.max())}, but the mesh has {vertices.shape[1]}. '
            'Use the faces of the same body model.'
        )


def _check_size(size: tuple[int, int]) -> None:
    """Refuse an image without pixels."""
    if min(size) < 1:
        raise HwhupError(f'Image size {size} has no pixels. Give (height, width) of at least 1.')


def _check_face_index(face_index: Tensor, shape: tuple[int, int, int], face_count: int) -> None:
    """Refuse a pixel-to-face map of another image or mesh."""
    if face_index.shape != shape:
        raise HwhupError(
            f'face_index has shape {tuple(face_index.shape)}; the images are {shape}. Rasterize at this size.'
        )
    if face_index.numel() and int(face_index.max()) >= face_count:
        raise HwhupError(
            f'face_index names face {int(face_index.max())}, but there are {face_count}. Rasterize this mesh.'
        )
