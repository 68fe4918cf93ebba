"""
CompressedImage messages to numpy, as image_transport's `compressed` and `compressedDepth` write them.

Python has no image_transport, so a node that wants compressed input subscribes to the compressed topic itself.
"""

from __future__ import annotations

import struct
from typing import Any, Protocol

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from hwhup_core.errors import FrameError

DEPTH_HEADER = struct.Struct('<iff')
"""compressedDepth puts a format number and two quantisation constants before its PNG."""
PNG_START = b'\x89PNG'


class CompressedLike(Protocol):
    """What is read of a sensor_msgs/CompressedImage."""

    format: str
    data: Any


def decode_bytes(encoded: memoryview, flags: int, description: str) -> ndarray:
    """Return OpenCV's decoding of `encoded`; bytes that are no image raise FrameError `bad_compression`."""
    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags) if len(encoded) else None
    if pixels is None:
        raise FrameError(
            'bad_compression',
            f"{len(encoded)} bytes with format '{description}' are no image that OpenCV reads; expected JPEG or PNG. "
            'Check the image_transport of the publisher.',
        )
    return pixels


def decompress_color(message: CompressedLike) -> UInt8[ndarray, 'h w 3']:
    """Return a compressed colour image as RGB."""
    pixels = decode_bytes(memoryview(message.data), cv2.IMREAD_COLOR, message.format)
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)


def decompress_infrared(message: CompressedLike) -> Float[ndarray, 'h w']:
    """Return a compressed grey image as float32 in [0, 1]."""
    pixels = decode_bytes(memoryview(message.data), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH, message.format)
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


def decompress_depth(message: CompressedLike) -> Float[ndarray, 'h w']:
    """
    Return a compressed depth image as float32 metres, 0 = no measurement.

    16UC1 is a PNG of millimetres. 32FC1 is a PNG of quantised inverse depth: depth = a / (value - b).
    """
    encoded = memoryview(message.data)
    start = bytes(encoded[:64]).find(PNG_START)
    if start < 0:
        raise FrameError(
            'bad_compression',
            f"Compressed depth with format '{message.format}' holds no PNG; JPEG would destroy depth and RVL is not "
            "supported. Set the publisher's compressedDepth format to png.",
        )
    pixels = decode_bytes(encoded[start:], cv2.IMREAD_UNCHANGED, message.format)
    if pixels.dtype != np.uint16 or pixels.ndim != 2:
        raise FrameError(
            'wrong_encoding',
            f'Compressed depth is {pixels.dtype} with shape {pixels.shape}; expected one channel of 16 bits.',
        )
    valid = (pixels > 0) & (pixels < 65535)
    if not message.format.startswith('32FC1'):
        return np.where(valid, pixels, 0).astype(np.float32) * np.float32(0.001)
    if start < DEPTH_HEADER.size:
        raise FrameError('bad_compression', 'Compressed 32FC1 depth lacks its quantisation header; cannot be undone.')
    _, scale, offset = DEPTH_HEADER.unpack(encoded[start - DEPTH_HEADER.size : start])
    valid &= pixels > offset
    safe = np.where(valid, pixels.astype(np.float32) - np.float32(offset), 1.0)
    return np.where(valid, np.float32(scale) / safe, 0.0).astype(np.float32)
