"""
The renderer in plain torch, for the CPU and CUDA, in float32 or float64.

Every face is expanded to the pixels of its bounding box; a scatter-max keeps the nearest. Work is cut into pieces of
bounded memory. Every operation is written in the same order as in `numba_backend`, so both give the same bits.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

PIECE = 2**21
"""Face-pixel pairs (and buffer elements) handled at once; a piece needs about 200 bytes each."""
EDGE_ON = 1e-6
"""Below this |cos| between ray and face normal the slope of the face is rounding noise and passes no gradient."""


def rasterize(
    vertices: Float[Tensor, 'b v 3'], faces: Int[Tensor, 'f 3'], cameras: Float[Tensor, 'b 4'], size: tuple[int, int]
) -> Int[Tensor, 'b h w']:
    """Return the nearest face at each pixel centre, -1 where there is none; rules in `hwhup_core.render.depth`."""
    if not vertices.numel() or not faces.numel():
        return torch.full((len(vertices), *size), -1, dtype=torch.int32, device=vertices.device)
    images = max(1, PIECE // max(len(faces), size[0] * size[1]))
    # In rising order two faces compute their common edge from the same end with the same rounding: no cracks.
    triangles = faces.long().sort(dim=1).values
    screens = _project(vertices, cameras)
    return torch.cat([_rasterize_piece(screen, triangles, size) for screen in screens.split(images)])


def depth_at_faces(
    vertices: Float[Tensor, 'b v 3'],
    faces: Int[Tensor, 'f 3'],
    cameras: Float[Tensor, 'b 4'],
    face_index: Int[Tensor, 'b h w'],
) -> Float[Tensor, 'b h w']:
    """Return z (m) where each pixel's ray meets the plane of its face; 0 without a face in front of the camera."""
    depth = torch.zeros(face_index.shape, dtype=vertices.dtype, device=vertices.device)
    image, row, column = (face_index >= 0).nonzero(as_tuple=True)
    if not len(image):
        return depth
    triangles = faces.long().sort(dim=1).values[face_index[image, row, column].long()]
    corners = _project(vertices, cameras)[image[:, None], triangles]
    weights = _edge_functions(corners[..., :2], _centre(column, vertices), _centre(row, vertices))
    nearness = _nearness(weights, corners[..., 2])
    seen = (corners[..., 2] > 0).all(dim=1) & (nearness > 0) & nearness.isfinite()
    depth[image, row, column] = torch.where(seen, 1 / nearness, 0.0)
    return depth


def depth_gradient(
    vertices: Float[Tensor, 'b v 3'],
    faces: Int[Tensor, 'f 3'],
    cameras: Float[Tensor, 'b 4'],
    depth: Float[Tensor, 'b h w'],
    face_index: Int[Tensor, 'b h w'],
    upstream: Float[Tensor, 'b h w'],
) -> Float[Tensor, 'b v 3']:
    """Return dL/dvertices from dL/ddepth (`upstream`) at the depth that `depth_at_faces` gave."""
    image, row, column = (depth > 0).nonzero(as_tuple=True)
    ids = faces.long()[face_index[image, row, column].long()]
    corners = vertices[image[:, None], ids]
    fx, fy, cx, cy = cameras[image].unbind(dim=1)
    x, y = (_centre(column, vertices) - cx) / fx, (_centre(row, vertices) - cy) / fy
    ray = torch.stack([x, y, torch.ones_like(x)], dim=1)
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    normal = torch.linalg.cross(first, second)
    along, square = (normal * ray).sum(dim=1), (normal * normal).sum(dim=1)
    hit = ray * depth[image, row, column][:, None] - corners[:, 0]
    at_second = (torch.linalg.cross(hit, second) * normal).sum(dim=1) / square
    at_third = (torch.linalg.cross(first, hit) * normal).sum(dim=1) / square
    shares = torch.stack([1 - at_second - at_third, at_second, at_third], dim=1)
    steep = along.abs() > EDGE_ON * (square * (ray * ray).sum(dim=1)).sqrt()
    weight = upstream[image, row, column]
    pull = (weight / along)[:, None, None] * shares[:, :, None] * normal[:, None, :]
    pull = torch.where((steep & (weight != 0))[:, None, None], pull, 0.0)
    out = torch.zeros_like(vertices).reshape(-1, 3)
    out.index_add_(0, (ids + image[:, None] * vertices.shape[1]).reshape(-1), pull.reshape(-1, 3))
    return out.reshape(vertices.shape)


def _project(vertices: Tensor, cameras: Tensor) -> Tensor:
    """Return (b,v,3): x px, y px, 1/z; all 0 for a vertex that is behind the camera or has no z."""
    x, y, z = vertices.unbind(dim=2)
    fx, fy, cx, cy = cameras.to(vertices.dtype)[:, :, None].unbind(dim=1)
    screen = torch.stack([fx * x / z + cx, fy * y / z + cy, 1 / z], dim=2)
    return torch.where(z[..., None] > 0, screen, 0.0)


def _rasterize_piece(screen: Tensor, triangles: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the face ids of a few images at once."""
    height, width = size
    corners = screen[:, triangles].flatten(0, 1)
    area = _doubled_area(corners[..., :2])
    low, extent = _bounding_boxes(corners, area, size)
    counts = extent.prod(dim=1)
    nearest = torch.zeros(len(screen) * height * width, dtype=screen.dtype, device=screen.device)
    winner = torch.full(nearest.shape, -1, dtype=torch.int64, device=screen.device)
    for chosen in _pieces(counts):
        image_face, column, row = _pixels_of(chosen, counts, low, extent)
        picked = corners[image_face]
        weights = _edge_functions(picked[..., :2], _centre(column, screen), _centre(row, screen))
        weights = weights * area[image_face].sign()[:, None]
        nearness = _nearness(weights, picked[..., 2])
        hit = (weights >= 0).all(dim=1) & (nearness > 0)
        image, face = image_face[hit] // len(triangles), image_face[hit] % len(triangles)
        pixel = (image * height + row[hit]) * width + column[hit]
        nearest, winner = _keep_nearest(nearest, winner, pixel, nearness[hit], face)
    return winner.to(torch.int32).reshape(len(screen), height, width)


def _doubled_area(xy: Tensor) -> Tensor:
    """Return twice the signed area (n,) of triangles (n,3,2) on the screen, px^2."""
    first, second = xy[:, 1] - xy[:, 0], xy[:, 2] - xy[:, 0]
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def _bounding_boxes(corners: Tensor, area: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the first pixel (n,2) x y and the extent (n,2) of each face, cut to the image; 0 = not drawn."""
    xy, inverse_z = corners[..., :2], corners[..., 2]
    last = torch.tensor([size[1] - 1, size[0] - 1], dtype=corners.dtype, device=corners.device)
    low = torch.ceil(xy.amin(dim=1) - 0.5).clamp(min=0)
    high = torch.minimum(torch.floor(xy.amax(dim=1) - 0.5), last)
    drawn = (inverse_z > 0).all(dim=1) & (area != 0) & area.isfinite() & (low <= high).all(dim=1)
    low = torch.where(drawn[:, None], low, 0.0)
    extent = torch.where(drawn[:, None], high - low + 1, 0.0)
    return low.long(), extent.long()


def _pieces(counts: Tensor) -> tuple[Tensor, ...]:
    """Return the drawn faces in groups of about `PIECE` pixels."""
    drawn = counts.nonzero().squeeze(1)
    if not len(drawn):
        return ()
    group = (counts[drawn].cumsum(dim=0) - 1) // PIECE
    sizes = torch.unique_consecutive(group, return_counts=True)[1].tolist()
    return tuple(torch.split(drawn, sizes))


def _pixels_of(chosen: Tensor, counts: Tensor, low: Tensor, extent: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (face, column, row) of every pixel in the bounding boxes of the chosen faces."""
    count = counts[chosen]
    image_face = torch.repeat_interleave(chosen, count)
    start = torch.repeat_interleave(count.cumsum(dim=0) - count, count)
    step = torch.arange(len(image_face), device=chosen.device) - start
    width = extent[image_face, 0]
    row = torch.div(step, width, rounding_mode='floor')
    return image_face, step - row * width + low[image_face, 0], row + low[image_face, 1]


def _centre(index: Tensor, like: Tensor) -> Tensor:
    """Return pixel centres in the type of `like`."""
    return index.to(like.dtype) + 0.5


def _edge_functions(xy: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return (n,3): twice the signed area opposite each corner, computed from the edge's end of lower id."""
    (ax, ay), (bx, by), (cx, cy) = (corner.unbind(dim=1) for corner in xy.unbind(dim=1))
    return torch.stack(
        [
            (cx - bx) * (y - by) - (cy - by) * (x - bx),
            (ax - cx) * (y - ay) - (ay - cy) * (x - ax),
            (bx - ax) * (y - ay) - (by - ay) * (x - ax),
        ],
        dim=1,
    )


def _nearness(weights: Tensor, inverse_z: Tensor) -> Tensor:
    """Return 1/z (n,), which is affine over the screen: the weighted mean of the corners' 1/z."""
    (wa, wb, wc), (az, bz, cz) = weights.unbind(dim=1), inverse_z.unbind(dim=1)
    return (wa * az + wb * bz + wc * cz) / (wa + wb + wc)


def _keep_nearest(
    nearest: Tensor, winner: Tensor, pixel: Tensor, nearness: Tensor, face: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the buffers with new candidates merged in; of equals the lower face id stays."""
    best = nearest.scatter_reduce(0, pixel, nearness, 'amax')
    beyond = torch.iinfo(torch.int64).max
    known = torch.where((best > nearest) | (winner < 0), beyond, winner)
    reaches = nearness == best[pixel]
    known = known.scatter_reduce(0, pixel[reaches], face[reaches], 'amin')
    return best, torch.where(known == beyond, -1, known)
