"""
Pictures of one frame <-> bytes.

Depth PNG with the `up` filter and zlib level 1: 4.3 ms and 123 kB for 640x480 of a RealSense on one core; the default
filter takes 7.6 ms for 130 kB, run-length coding 7.3 ms for 105 kB. A JPEG of that size takes 1 ms.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8, UInt16
from numpy import ndarray

from hwhup_core.data.recording_card import RecordingCard
from hwhup_core.errors import AssetError, FrameError
from hwhup_core.types import Frame

MODALITIES = ('color', 'depth', 'infrared', 'pressure')
MILLIMETRES = 1000
NO_DEPTH_ABOVE = np.iinfo(np.uint16).max - 1
"""Millimetres: farther is stored as a hole; 65535 is what some cameras write for one."""
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_FILTERED]
if hasattr(cv2, 'IMWRITE_PNG_FILTER'):  # From OpenCV 4.12.
    _PNG += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]


@dataclass(frozen=True)
class EncodedUnit:
    """One frame as it will lie on disk."""

    stamp_ns: int
    files: Mapping[str, bytes]
    """Modality -> content."""
    suffixes: Mapping[str, str]
    """Modality -> end of the file's name, such as `color.jpg`."""

    def size(self) -> int:
        """Return the bytes of all files."""
        return sum(len(content) for content in self.files.values())


def encode_unit(frame: Frame, card: RecordingCard, stored: Mapping[str, bytes] = MappingProxyType({})) -> EncodedUnit:
    """
    Return the frame's pictures as bytes; one that does not fit the card is refused. Safe in several threads.

    `stored` holds pictures of the frame, by modality, that are encoded already as the card says.
    """
    present = {name: getattr(frame, name) for name in MODALITIES if getattr(frame, name) is not None}
    _check(frame, present, card)
    encoders: dict[str, Callable[[Any], bytes]] = {
        'color': lambda image: encode_color(image, card.color, card.jpeg_quality),
        'depth': encode_depth,
        'infrared': encode_unit_range,
        'pressure': encode_unit_range,
    }
    files = {name: stored.get(name) or encoders[name](image) for name, image in present.items()}
    ends = {'color': 'color.jpg' if card.color == 'jpeg' else 'color.png'}
    return EncodedUnit(frame.stamp_ns, files, {name: ends.get(name, f'{name}.png') for name in files})


def _check(frame: Frame, present: Mapping[str, Shaped[ndarray, '...']], card: RecordingCard) -> None:
    if not present:
        raise FrameError('empty', f'The frame holds no picture. This recording stores {", ".join(card.stored())}.')
    undeclared = [name for name in present if name not in card.stored()]
    if undeclared:
        raise FrameError(
            f'undeclared_{undeclared[0]}',
            f'The frame holds {undeclared[0]}, which its card does not store ({", ".join(card.stored())}). Leave it '
            'out of the frame, or start a recording that stores it.',
        )
    if frame.frame_id != card.frame_id or (frame.intrinsics is not None and frame.intrinsics != card.intrinsics):
        raise FrameError(
            'camera_changed',
            f'The frame is of {frame.frame_id} with {frame.intrinsics}, the recording of {card.frame_id} with '
            f'{card.intrinsics}. Start another recording.',
        )
    sizes = {name: (image.shape[1], image.shape[0]) for name, image in present.items()}
    expected = (card.intrinsics.width, card.intrinsics.height) if card.intrinsics else next(iter(sizes.values()))
    if any(size != expected for size in sizes.values()):
        found = ', '.join(f'{name} {width}x{height}' for name, (width, height) in sizes.items())
        raise FrameError(
            'size_mismatch', f'The frame has {found}, expected {expected[0]}x{expected[1]}. Register them first.'
        )


def encode_color(image: UInt8[ndarray, 'h w 3'], encoding: str, quality: int) -> bytes:
    """Return RGB as JPEG or PNG."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    if encoding == 'jpeg':
        return _encode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return _encode('.png', bgr, _PNG)


def encode_depth(depth: Float[ndarray, 'h w']) -> bytes:
    """Return metres as 16 bit PNG in millimetres; what is not measured or too far is 0."""
    millimetres = depth * np.float32(MILLIMETRES)
    np.rint(millimetres, out=millimetres)
    millimetres[~((millimetres > 0) & (millimetres <= NO_DEPTH_ABOVE))] = 0  # NaN fails both.
    return _encode('.png', millimetres.astype(np.uint16), _PNG)


def encode_unit_range(image: Float[ndarray, 'h w']) -> bytes:
    """Return values in [0, 1] as 16 bit PNG."""
    counts = np.rint(np.clip(np.nan_to_num(image), 0, 1) * np.float32(65535)).astype(np.uint16)
    return _encode('.png', counts, _PNG)


def _encode(suffix: str, image: Shaped[ndarray, '...'], options: list[int]) -> bytes:
    return bytes(cv2.imencode(suffix, image, options)[1])


def decode_unit(files: Mapping[str, bytes], names: Mapping[str, str]) -> dict[str, Shaped[ndarray, '...']]:
    """Return pictures by modality, as `Frame` has them; `names` are those of the files, for the errors."""
    return {modality: _decode(modality, content, names[modality]) for modality, content in files.items()}


def _decode(modality: str, content: bytes, name: str) -> Shaped[ndarray, '...']:
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION if modality == 'color' else cv2.IMREAD_UNCHANGED
    image: Any = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    if image is None:
        raise AssetError(f'{name} is not a readable picture ({len(content)} bytes). Copy it again, or repair.')
    if modality == 'color':
        return np.ascontiguousarray(image[..., ::-1])
    if image.dtype != np.uint16 or image.ndim != 2:
        raise AssetError(
            f'{name} holds {image.dtype} of shape {image.shape}, expected one channel of 16 bits. Copy it again.'
        )
    return _metres(image) if modality == 'depth' else image.astype(np.float32) * np.float32(1 / 65535)


def _metres(counts: UInt16[ndarray, 'h w']) -> Float[ndarray, 'h w']:
    metres: ndarray = np.where(counts > NO_DEPTH_ABOVE, 0, counts).astype(np.float32) * np.float32(1 / MILLIMETRES)
    return metres


def checksum(content: bytes) -> int:
    """Return the CRC32."""
    return zlib.crc32(content)
