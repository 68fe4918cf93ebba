"""
A depth image as sensor_msgs/PointCloud2, in the camera's optical frame.

The points are packed by ourselves, or by sensor_msgs_py where a ROS installation has it and the user asks for it; a
test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header

from hwhup_core.errors import ConfigError
from hwhup_core.geometry.cameras import rays
from hwhup_core.types import Intrinsics

POINT = np.dtype([('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('rgb', '<f4')])
"""`rgb` is what RViz expects: the bits 0x00RRGGBB, declared as a float."""
GREY = np.array([0x00A0A0A0], '<u4').view('<f4')

CloudPacker = Callable[[Header, list[PointField], ndarray], PointCloud2]
"""Header, field descriptions and an array of `POINT` -> message; the signature of sensor_msgs_py's `create_cloud`."""


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
    pack: CloudPacker | None = None,
) -> PointCloud2:
    """
    Return the points of every `stride`-th pixel that has a depth, coloured where there is a colour image.

    `pack` makes the message, see `cloud_packer`; None: our own.
    """
    thinned = depth[::stride, ::stride]
    seen = thinned > 0
    positions = ray_grid(intrinsics, stride)[seen] * thinned[seen][:, None]
    points = np.empty(len(positions), POINT)
    points['x'], points['y'], points['z'] = positions.T
    points['rgb'] = GREY if color is None else packed_color(color[::stride, ::stride][seen])
    return (pack or pack_points)(header, point_fields(), points)


def point_fields() -> list[PointField]:
    """Return the description of `POINT`."""
    return [
        PointField(name=name, offset=int(POINT.fields[name][1]), datatype=PointField.FLOAT32, count=1)
        for name in ('x', 'y', 'z', 'rgb')
    ]


def cloud_packer(backend: str) -> CloudPacker:
    """Return the function that packs points: `own` (default) or `sensor_msgs_py`, imported only when chosen."""
    if backend == 'own':
        return pack_points
    if backend != 'sensor_msgs_py':
        raise ConfigError(f"points_backend is '{backend}'; expected 'own' or 'sensor_msgs_py'.")
    try:
        from sensor_msgs_py.point_cloud2 import create_cloud
    except ImportError as error:
        raise ConfigError(
            f"points_backend is 'sensor_msgs_py', but it cannot be imported ({error}). "
            "Install ros-$ROS_DISTRO-sensor-msgs-py, or set points_backend to 'own', which needs nothing."
        ) from error
    return create_cloud


def pack_points(header: Header, fields: list[PointField], points: ndarray) -> PointCloud2:
    """Return the message of a one-dimensional array of `POINT`."""
    message = PointCloud2(
        header=header,
        height=1,
        width=len(points),
        fields=fields,
        is_bigendian=False,
        point_step=POINT.itemsize,
        row_step=POINT.itemsize * len(points),
        is_dense=True,
    )
    if len(points):
        message.data.frombytes(memoryview(points).cast('B'))
    return message


def packed_color(color: UInt8[ndarray, 'n 3']) -> ndarray:
    """Return the float32 numbers whose bits are 0x00RRGGBB."""
    wide = color.astype('<u4')
    return ((wide[:, 0] << 16) | (wide[:, 1] << 8) | wide[:, 2]).view('<f4')
