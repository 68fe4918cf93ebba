"""Files of the user -> `Frame`: images, depth, camera descriptions. Refusals name the file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from jaxtyping import Float, UInt8
from numpy import ndarray

from hwhup_core.errors import ConfigError, HwhupError
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


def read_camera(path: Path) -> Intrinsics:
    """Return the camera of a JSON or YAML file: plain numbers, a ROS calibration, or an intrinsic_matrix."""
    if not path.is_file():
        raise ConfigError(f'There is no camera file {path}.')
    try:
        text = path.read_text(encoding='utf-8')
        # JSON indented with tabs is not YAML.
        return _camera_from(json.loads(text) if path.suffix == '.json' else yaml.safe_load(text))
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(
            f'{path} is not a camera description ({error!r}). Expected JSON or YAML with fx, fy, cx, cy, width, '
            'height, or a ROS camera calibration, or width, height and intrinsic_matrix.'
        ) from error


def _camera_from(entries: Mapping[str, Any]) -> Intrinsics:
    width = int(entries.get('image_width', entries.get('width', 0)))
    height = int(entries.get('image_height', entries.get('height', 0)))
    if 'intrinsic_matrix' in entries:
        fx, _, _, _, fy, _, cx, cy, _ = (float(number) for number in np.ravel(entries['intrinsic_matrix']))
    elif 'camera_matrix' in entries:
        fx, _, cx, _, fy, cy, *_ = (float(number) for number in entries['camera_matrix']['data'])
    else:
        fx, fy, cx, cy = (float(entries[name]) for name in ('fx', 'fy', 'cx', 'cy'))
    if min(width, height, fx, fy) <= 0:
        raise ValueError(f'width {width}, height {height}, fx {fx}, fy {fy} must be positive')
    coefficients = entries.get('distortion_coefficients', entries.get('distortion', ()))
    numbers = coefficients['data'] if isinstance(coefficients, Mapping) else coefficients
    distortion = tuple(float(number) for number in numbers)
    model = str(entries.get('distortion_model', 'plumb_bob')) if any(distortion) else 'none'
    # The files count pixels from the centre of the first one, this package from its corner.
    return Intrinsics(fx, fy, cx + 0.5, cy + 0.5, width, height, model, distortion if model != 'none' else ())
