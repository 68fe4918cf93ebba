"""Files of the user -> `Frame`: images and depth. Refusals name the file."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray

from hwhup_core.errors import HwhupError
from hwhup_core.types import Frame, Intrinsics

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.npy')
ASSUMED_FIELD_OF_VIEW = math.radians(60.0)
"""Horizontal, for images without a camera file; a colour camera of a depth sensor has 55 to 70 degrees."""
MILLIMETRES = 1e-3
SATURATED = np.iinfo(np.uint16).max
"""16-bit depth cameras write the largest number where they measured nothing."""


class ImageFileError(HwhupError):
    """An image file is missing or is not what its name says."""


def read_frame(image_path: Path, depth_path: Path | None, camera: Intrinsics | None) -> Frame:
    """Return the frame of one image file and its depth; without `camera` a 60 degree pinhole is assumed."""
    image = read_image(image_path)
    color = image if image.dtype == np.uint8 else None
    depth = None if color is not None else image
    if depth_path is not None:
        if depth is not None:
            raise ImageFileError(f'{image_path} is a depth image already. Give a colour image, or no --depth.')
        depth = read_image(depth_path)
        if depth.dtype == np.uint8:
            raise ImageFileError(f'{depth_path} is an 8-bit image. Expected 16-bit PNG in mm, or .npy in metres.')
        if depth.shape != image.shape[:2]:
            raise ImageFileError(
                f'{image_path} is {image.shape[1]}x{image.shape[0]}, {depth_path} is {depth.shape[1]}x{depth.shape[0]}'
                '. Expected depth of the same size, registered to the colour image.'
            )
    height, width = image.shape[:2]
    intrinsics = camera or assumed_camera(width, height)
    return Frame(stamp_ns=0, frame_id=image_path.stem, color=color, depth=depth, intrinsics=intrinsics)


def read_image(path: Path) -> UInt8[ndarray, 'h w 3'] | Float[ndarray, 'h w']:
    """Return a colour image as RGB uint8, or depth as float32 metres with 0 for holes (16-bit mm, or .npy metres)."""
    if not path.is_file():
        raise ImageFileError(f'There is no file {path}.')
    array = _read_npy(path) if path.suffix.lower() == '.npy' else cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if array is None:
        raise ImageFileError(
            f'{path} is not a readable image; it begins with {_first_bytes(path)!r}. '
            'Expected PNG, JPEG, BMP, TIFF or .npy.'
        )
    if array.ndim == 2 and array.dtype == np.uint16:
        return clean_depth(np.where(array == SATURATED, 0, array).astype(np.float32) * np.float32(MILLIMETRES))
    if array.ndim == 2 and array.dtype.kind == 'f':
        return clean_depth(array.astype(np.float32))
    if array.dtype == np.uint8 and (array.ndim == 2 or array.shape[2] in (3, 4)):
        codes = {2: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
        return cv2.cvtColor(array, codes[2 if array.ndim == 2 else array.shape[2]])
    raise ImageFileError(
        f'{path} holds {array.dtype} of shape {array.shape}. Expected 8-bit colour, one channel of 16-bit depth in mm, '
        'or a floating-point depth map in metres.'
    )


def clean_depth(depth: Float[ndarray, 'h w']) -> Float[ndarray, 'h w']:
    """Return depth with 0 wherever nothing was measured (NaN, infinite, negative)."""
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))


def _read_npy(path: Path) -> ndarray | None:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError):
        return None
    return array if isinstance(array, ndarray) else None


def _first_bytes(path: Path) -> str:
    with path.open('rb') as file:
        return file.read(16).decode('ascii', errors='replace')


def list_images(folder: Path) -> list[Path]:
    """Return the image files of a folder in order."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise ImageFileError(f'{folder} holds no image. Expected files that end in {", ".join(IMAGE_SUFFIXES)}.')
    return found


def assumed_camera(width: int, height: int) -> Intrinsics:
    """Return a pinhole camera with a horizontal field of view of 60 degrees."""
    focal = width / 2 / math.tan(ASSUMED_FIELD_OF_VIEW / 2)
    return Intrinsics(focal, focal, width / 2, height / 2, width, height)
