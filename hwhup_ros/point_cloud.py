"""
A depth image as sensor_msgs/PointCloud2, in the camera's optical frame.

sensor_msgs_py would bring one thing, the packing of named fields; a numpy structured array does the same in four lines
and is there in every installation, so sensor_msgs_py is not used. Its `read_points` reads what is made here.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from hwhup_core.geometry.cameras import rays
from hwhup_core.types import Intrinsics

POINT = np.dtype([('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('rgb', '<u4')])
"""`rgb` is what RViz expects: 0x00RRGGBB, declared as a float."""
GREY = 0x00A0A0A0


@lru_cache(maxsize=4)
def ray_grid(intrinsics: Intrinsics, stride: int) -> Float[ndarray, 'h w 3']:
    """Return the viewing ray (z = 1) of every `stride`-th pixel; kept, since undistorting a grid is slow."""
    columns, rows = np.meshgrid(np.arange(0, intrinsics.width, stride), np.arange(0, intrinsics.height, stride))
    pixels = np.stack([columns, rows], axis=-1).reshape(-1, 2) + 0.5
    grid = rays(intrinsics, pixels).reshape(*columns.shape, 3).astype(np.float32)
    grid.flags.writeable = False
    return grid


def point_cloud(
    depth: Float[ndarray, 'h w'],
    color: UInt8[ndarray, 'h w 3'] | None,
    intrinsics: Intrinsics,
    header: Header,
    stride: int = 1,
) -> PointCloud2:
    """Return the points of every `stride`-th pixel that has a depth, coloured where there is a colour image."""
    thinned = depth[::stride, ::stride]
    seen = thinned > 0
    positions = ray_grid(intrinsics, stride)[seen] * thinned[seen][:, None]
    points = np.empty(len(positions), POINT)
    points['x'], points['y'], points['z'] = positions.T
    points['rgb'] = GREY if color is None else packed_color(color[::stride, ::stride][seen])
    message = PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=[
            PointField(name=name, offset=int(POINT.fields[name][1]), datatype=PointField.FLOAT32, count=1)
            for name in ('x', 'y', 'z', 'rgb')
        ],
        is_bigendian=False,
        point_step=POINT.itemsize,
        row_step=POINT.itemsize * len(points),
        is_dense=True,
    )
    if len(points):
        message.data.frombytes(memoryview(points).cast('B'))
    return message


def packed_color(color: UInt8[ndarray, 'n 3']) -> ndarray:
    """Return RGB as 0x00RRGGBB."""
    wide = color.astype(np.uint32)
    return (wide[:, 0] << 16) | (wide[:, 1] << 8) | wide[:, 2]
