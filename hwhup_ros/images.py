"""
Image messages to numpy and back: one stride-aware converter for all usual encodings.

It reads nothing but height, width, encoding, step, is_bigendian and data, so it works on rclpy messages, on messages
read by rosbags, and on stand-ins in tests. Depth units follow the encoding (REP 118): 16UC1 is millimetres, 32FC1 is
metres.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8
from numpy import ndarray
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from hwhup_core.errors import ConfigError, FrameError

BYTE_DTYPES = {'8U': 'u1', '8S': 'i1', '16U': 'u2', '16S': 'i2', '32S': 'i4', '32F': 'f4', '64F': 'f8'}
NAMED_LAYOUTS = {
    'mono8': ('u1', 1),
    'mono16': ('u2', 1),
    'rgb8': ('u1', 3),
    'bgr8': ('u1', 3),
    'rgba8': ('u1', 4),
    'bgra8': ('u1', 4),
    'rgb16': ('u2', 3),
    'bgr16': ('u2', 3),
    'rgba16': ('u2', 4),
    'bgra16': ('u2', 4),
    'yuv422': ('u1', 2),
    'uyvy': ('u1', 2),
    'yuv422_yuy2': ('u1', 2),
    'yuyv': ('u1', 2),
    'nv12': ('u1', 1),
    'nv21': ('u1', 1),
}
COLOR_CODES = {
    'mono8': cv2.COLOR_GRAY2RGB,
    '8UC1': cv2.COLOR_GRAY2RGB,
    'bgr8': cv2.COLOR_BGR2RGB,
    'bgr16': cv2.COLOR_BGR2RGB,
    '8UC3': cv2.COLOR_BGR2RGB,
    'rgba8': cv2.COLOR_RGBA2RGB,
    'rgba16': cv2.COLOR_RGBA2RGB,
    'bgra8': cv2.COLOR_BGRA2RGB,
    'bgra16': cv2.COLOR_BGRA2RGB,
    '8UC4': cv2.COLOR_BGRA2RGB,
    'yuv422': cv2.COLOR_YUV2RGB_UYVY,
    'uyvy': cv2.COLOR_YUV2RGB_UYVY,
    'yuv422_yuy2': cv2.COLOR_YUV2RGB_YUY2,
    'yuyv': cv2.COLOR_YUV2RGB_YUY2,
    'nv12': cv2.COLOR_YUV2RGB_NV12,
    'nv21': cv2.COLOR_YUV2RGB_NV21,
    # OpenCV names a Bayer pattern by the second row and column, ROS by the first.
    'bayer_rggb8': cv2.COLOR_BayerBG2RGB,
    'bayer_bggr8': cv2.COLOR_BayerRG2RGB,
    'bayer_gbrg8': cv2.COLOR_BayerGR2RGB,
    'bayer_grbg8': cv2.COLOR_BayerGB2RGB,
    'bayer_rggb16': cv2.COLOR_BayerBG2RGB,
    'bayer_bggr16': cv2.COLOR_BayerRG2RGB,
    'bayer_gbrg16': cv2.COLOR_BayerGR2RGB,
    'bayer_grbg16': cv2.COLOR_BayerGB2RGB,
}
COLOR_ENCODINGS = ('rgb8', 'rgb16', *COLOR_CODES)
DEPTH_SCALES = {'16UC1': 0.001, 'mono16': 0.001, '16SC1': 0.001, '32FC1': 1.0, '64FC1': 1.0}
"""Metres per unit of each depth encoding."""
SATURATED = {'16UC1': 65535, 'mono16': 65535, '16SC1': 32767}
"""The value by which a sensor says `too far`."""
INFRARED_SCALES = {'mono8': 1 / 255, '8UC1': 1 / 255, 'mono16': 1 / 65535, '16UC1': 1 / 65535, '32FC1': 1.0}


class ImageLike(Protocol):
    """What the converter reads of a sensor_msgs/Image."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


PixelReader = Callable[[ImageLike], ndarray]


@dataclass(frozen=True)
class Layout:
    """How one pixel of an encoding lies in memory."""

    dtype: str
    """numpy type code without byte order."""
    channels: int
    rows_per_image_row: float = 1.0
    """1.5 for the planar encodings, whose chroma rows follow the luma rows."""


def layout_of(encoding: str) -> Layout:
    """Return the memory layout of `encoding`; an unknown one raises FrameError `wrong_encoding`."""
    if encoding in NAMED_LAYOUTS:
        return Layout(*NAMED_LAYOUTS[encoding], rows_per_image_row=1.5 if encoding in ('nv12', 'nv21') else 1.0)
    if bayer := re.fullmatch(r'bayer_(?:rggb|bggr|gbrg|grbg)(8|16)', encoding):
        return Layout('u1' if bayer[1] == '8' else 'u2', 1)
    if generic := re.fullmatch(r'(8U|8S|16U|16S|32S|32F|64F)C([1-4])', encoding):
        return Layout(BYTE_DTYPES[generic[1]], int(generic[2]))
    raise wrong_encoding(encoding, [*NAMED_LAYOUTS, 'bayer_*8', 'bayer_*16', '8UC1 .. 64FC4'], 'an image')


def wrong_encoding(found: str, expected: Any, purpose: str) -> FrameError:
    """Return the error for an encoding that cannot serve as `purpose`."""
    return FrameError(
        'wrong_encoding',
        f"Encoding '{found}' cannot be used as {purpose}; expected one of {', '.join(expected)}. "
        'Set the encoding in the camera driver or remap the right topic.',
    )


def read_pixels(message: ImageLike) -> Shaped[ndarray, 'h w *channels']:
    """
    Return the raw pixels, without a copy where the byte order allows it; padding at the row ends is left out.

    Planar encodings (nv12, nv21) come as (h * 3 / 2, w). The result may share memory with the message.
    """
    layout = layout_of(message.encoding)
    rows = int(message.height * layout.rows_per_image_row)
    pixel_type = np.dtype(layout.dtype).newbyteorder('>' if message.is_bigendian else '<')
    row_bytes = message.width * layout.channels * pixel_type.itemsize
    check_size(message, rows, row_bytes)
    flat = np.frombuffer(message.data, np.uint8, count=rows * message.step - (message.step - row_bytes))
    used = np.lib.stride_tricks.as_strided(flat, (rows, row_bytes), (message.step, 1), writeable=False)
    # A row that does not start on a multiple of the pixel size cannot be viewed, only copied.
    pixels = (
        np.ascontiguousarray(used).view(pixel_type) if message.step % pixel_type.itemsize else used.view(pixel_type)
    )
    pixels = pixels.reshape(rows, message.width, layout.channels) if layout.channels > 1 else pixels
    return pixels.astype(pixel_type.newbyteorder('='), copy=False)


def check_size(message: ImageLike, rows: int, row_bytes: int) -> None:
    """Raise FrameError unless the message holds `rows` rows of at least `row_bytes` bytes."""
    what = f"'{message.encoding}' image of {message.width} x {message.height}"
    if message.width < 1 or message.height < 1:
        raise FrameError('empty_image', f'The {what} has no pixels; expected at least 1 x 1. Check the camera driver.')
    if message.step < row_bytes:
        raise FrameError(
            'bad_step',
            f'The {what} has step {message.step}; a row needs at least {row_bytes} bytes. Fix `step` in the publisher.',
        )
    # The padding of the last row is often left out; all else must be there.
    needed = (rows - 1) * message.step + row_bytes
    found = memoryview(message.data).nbytes
    if found < needed:
        raise FrameError(
            'short_data',
            f'The {what} holds {found} bytes; expected {needed}. The publisher sent a truncated image.',
        )


def pixel_reader(backend: str) -> PixelReader:
    """
    Return the function that reads raw pixels: `own` (default) or `cv_bridge`.

    cv_bridge is imported only when chosen: it breaks with some versions of numpy and OpenCV.
    """
    if backend == 'own':
        return read_pixels
    if backend != 'cv_bridge':
        raise ConfigError(f"image_backend is '{backend}'; expected 'own' or 'cv_bridge'.")
    try:
        from cv_bridge import CvBridge
    except Exception as error:  # An ABI mismatch raises whatever the binary raises.
        raise ConfigError(
            f"image_backend is 'cv_bridge', but cv_bridge cannot be imported ({type(error).__name__}: {error}). "
            "Install ros-$ROS_DISTRO-cv-bridge, or set image_backend to 'own', which needs nothing."
        ) from error
    bridge = CvBridge()
    return lambda message: bridge.imgmsg_to_cv2(message, desired_encoding='passthrough')


def to_color(message: ImageLike, read: PixelReader = read_pixels) -> UInt8[ndarray, 'h w 3']:
    """Return the image as RGB, a copy of its own. 8UC3 and 8UC4 are taken as OpenCV's BGR; 16 bits keep the upper 8."""
    if message.encoding not in COLOR_ENCODINGS:
        raise wrong_encoding(message.encoding, COLOR_ENCODINGS, 'a colour image')
    check_even(message)
    pixels = read(message)
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if message.encoding in ('rgb8', 'rgb16'):
        return pixels.copy()
    return cv2.cvtColor(pixels, COLOR_CODES[message.encoding])


def check_even(message: ImageLike) -> None:
    """Raise FrameError for a subsampled encoding with an odd size, which OpenCV would refuse less clearly."""
    planar = message.encoding in ('nv12', 'nv21')
    packed = message.encoding in ('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv')
    if (planar or packed) and (message.width % 2 or (planar and message.height % 2)):
        raise FrameError(
            'odd_size',
            f"'{message.encoding}' shares colour between pixel pairs and cannot be {message.width} x {message.height}; "
            'expected an even size. Change the resolution or the encoding in the camera driver.',
        )


def to_depth(message: ImageLike, read: PixelReader = read_pixels) -> Float[ndarray, 'h w']:
    """Return float32 metres; NaN, infinite, negative, zero and saturated values become 0 = no measurement."""
    if message.encoding not in DEPTH_SCALES:
        raise wrong_encoding(message.encoding, DEPTH_SCALES, 'a depth image')
    pixels = read(message)
    depth = pixels.astype(np.float32)
    if DEPTH_SCALES[message.encoding] != 1.0:
        depth *= np.float32(DEPTH_SCALES[message.encoding])
    if pixels.dtype.kind != 'u':  # Whole numbers without a sign are neither NaN nor negative.
        depth[~(np.isfinite(depth) & (depth > 0))] = 0.0
    if message.encoding in SATURATED:
        depth[pixels == SATURATED[message.encoding]] = 0.0
    return depth


def to_infrared(message: ImageLike, read: PixelReader = read_pixels) -> Float[ndarray, 'h w']:
    """Return float32 in [0, 1]; integers are divided by their largest value, floats clipped, NaN becomes 0."""
    if message.encoding not in INFRARED_SCALES:
        raise wrong_encoding(message.encoding, INFRARED_SCALES, 'an infrared image')
    scaled = read(message).astype(np.float32) * np.float32(INFRARED_SCALES[message.encoding])
    return np.clip(np.nan_to_num(scaled, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)


def from_array(pixels: Shaped[ndarray, 'h w *channels'], encoding: str, header: Header) -> Image:
    """
    Return a sensor_msgs/Image of `pixels`; planar encodings take (h * 3 / 2, w).

    The bytes go in by `frombytes`: assigning `bytes` to `data` is checked one by one and takes 0.2 s for 720p.
    """
    layout = layout_of(encoding)
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    if channels != layout.channels:
        raise FrameError(
            'wrong_encoding',
            f"'{encoding}' has {layout.channels} channels, the array has {channels}. Choose the encoding of the array.",
        )
    pixels = np.ascontiguousarray(pixels, np.dtype(layout.dtype))
    message = Image(
        header=header,
        height=int(pixels.shape[0] / layout.rows_per_image_row),
        width=int(pixels.shape[1]),
        encoding=encoding,
        is_bigendian=int(sys.byteorder == 'big'),
        step=int(pixels.shape[1] * channels * pixels.itemsize),
    )
    message.data.frombytes(memoryview(pixels).cast('B'))
    return message


def depth_pixels(depth: Float[ndarray, 'h w'], encoding: str) -> Shaped[ndarray, 'h w']:
    """Return metres in the units of `encoding` (16UC1: rounded millimetres, 0 where out of range; 32FC1: metres)."""
    if encoding == '32FC1':
        return depth.astype(np.float32)
    if encoding != '16UC1':
        raise wrong_encoding(encoding, ['16UC1', '32FC1'], 'a depth image to publish')
    millimetres = np.rint(np.nan_to_num(depth, nan=0.0, posinf=0.0, neginf=0.0) * 1000.0)
    return np.where((millimetres > 0) & (millimetres < 65535), millimetres, 0).astype(np.uint16)
