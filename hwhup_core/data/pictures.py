"""Colour pictures of published data sets; a file that is not whole is refused, where OpenCV would fill up with grey."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from hwhup_core.errors import AssetError
from hwhup_core.types import Frame

_JPEG_START, _JPEG_SCAN, _JPEG_END = b'\xff\xd8', b'\xff\xda', b'\xff\xd9'
_PNG_START, _PNG_END = b'\x89PNG', b'IEND\xaeB`\x82'


def load_color_frame(path: Path, size: tuple[int, int] | None = None) -> Frame:
    """Return the frame of one colour picture without camera; `size` (width, height) is what its labels count in."""
    return Frame(stamp_ns=0, frame_id=path.stem, color=read_color(path, size))


def read_color(path: Path, size: tuple[int, int] | None = None) -> UInt8[ndarray, 'h w 3']:
    """Return RGB as stored, not turned by an EXIF note: labels count pixels of the stored picture."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AssetError(f'Cannot read the picture {path}: {error.strerror}. Copy the data set whole.') from error
    picture: Any = None
    if content and is_whole(content):
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise AssetError(f'{path} is not a whole picture ({len(content)} bytes). Copy it again.')
    if size is not None:
        _require_size(path, (picture.shape[1], picture.shape[0]), size)
    result: ndarray = np.ascontiguousarray(picture[..., ::-1])
    return result


def is_whole(content: bytes) -> bool:
    """Return whether a JPEG or PNG has its end; what has another form is for the decoder to judge."""
    if content.startswith(_JPEG_START):
        # An end marker before the last scan belongs to a thumbnail.
        return content.rfind(_JPEG_END) > content.rfind(_JPEG_SCAN) > 0
    if content.startswith(_PNG_START):
        return _PNG_END in content
    return True


def _require_size(path: Path, found: tuple[int, int], expected: tuple[int, int]) -> None:
    if found == expected:
        return
    swapped = ' Width and height are swapped.' if found == expected[::-1] else ''
    raise AssetError(
        f'{path} is {found[0]}x{found[1]}, its labels are for {expected[0]}x{expected[1]}.{swapped} Use the published '
        'pictures, not resized ones, or correct width and height in the labels.'
    )
