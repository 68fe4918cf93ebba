"""
The files of one subject of SLP, checked as they are read: labels, homographies, cameras, pictures and arrays.

A file under `patches/<lab>/<subject>/` beside the labs goes before the subject's own: the published alignment of
`danaLab`'s subject 7 is wrong, and its authors give other files.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8
from numpy import ndarray
from scipy.io import loadmat

from hwhup_core.data.camera_file import read_camera_file
from hwhup_core.errors import AssetError
from hwhup_core.types import Intrinsics

COVERS = ('uncover', 'cover1', 'cover2')
POSES = 45
DEPTH_CAMERA = Intrinsics(367.8, 367.8, 208.1 + 0.5, 259.7 + 0.5, 424, 512)
"""As published, in this package's pixel convention."""
COLOR_CAMERA = Intrinsics(902.6, 877.4, 278.4 + 0.5, 525.1 + 0.5, 576, 1024)
"""As published for `danaLab`."""
_SIM = 896 / 576
COLOR_CAMERAS = {
    'danaLab': COLOR_CAMERA,
    'simLab': Intrinsics(_SIM * 902.6, _SIM * 877.4, _SIM * 278.9, _SIM * 525.6, 896, 1600),
}
"""The hospital room's pictures are larger; its numbers were not published and are the others scaled."""
PIXEL_SHIFT = 0.5
"""From labels that count pixels from 1 to this package's, whose first centre is 0.5."""
LEAST_OUTSIDE = 0.05
"""Share of joints outside the picture above which x and y may have changed places."""
PATCHES = 'patches'
_PNG_END = b'IEND\xaeB`\x82'
_log = logging.getLogger(__name__)


@lru_cache(maxsize=256)
def read_labels(folder: Path) -> tuple[Float[ndarray, 'n 14 2'], Bool[ndarray, 'n 14']]:
    """Return joints and occlusion of all poses of a subject, after checking that its files are as many."""
    path = own_file(folder, 'joints_gt_RGB.mat')
    joints = _read_joints(path)
    pixels, flags = joints[..., :2], joints[..., 2]
    if not np.isin(flags, (0.0, 1.0)).all():
        raise AssetError(
            f'{path}: the third row holds {sorted(set(flags.ravel()))[:4]}, expected 0 (visible) and 1 (occluded). An '
            'old reader subtracted 1 from it; use the published file.'
        )
    _require_counted_from_one(path, pixels[flags == 0])
    _require_x_before_y(path, pixels, read_cameras(folder)[0])
    for modality in sorted(path for path in folder.glob('*/*') if path.is_dir() and path.name in COVERS):
        count = sum(1 for _ in modality.glob('*0*.*'))
        if count != len(joints):
            raise AssetError(
                f'{modality} holds {count} files for {len(joints)} labelled poses. Copy the subject again.'
            )
    return (pixels - PIXEL_SHIFT).astype(np.float32), flags == 1


def _read_joints(path: Path) -> Float[ndarray, 'n 14 3']:
    _require(path, 'the labelled joints')
    try:
        content = loadmat(path)
    except (ValueError, TypeError, OSError, EOFError, NotImplementedError, IndexError) as error:
        raise AssetError(f'{path} is not a whole MATLAB file ({error}). Copy it again.') from error
    joints: Any = content.get('joints_gt')
    shape = getattr(joints, 'shape', None)
    if shape is None or len(shape) != 3 or shape[:2] != (3, 14):
        swapped = shape is not None and len(shape) == 3 and {3, 14} <= set(shape)
        advice = 'Its axes are swapped: order them so' if swapped else 'Copy the file again'
        raise AssetError(f'{path}: `joints_gt` is {shape}, expected 3 x 14 x {POSES}. {advice}.')
    return np.asarray(joints, np.float64).transpose(2, 1, 0)


def _require_counted_from_one(path: Path, visible: Float[ndarray, 'k 2']) -> None:
    """Refuse visible joints at 0, which is half a pixel outside the picture where the first pixel is 1."""
    if (visible == 0).any():
        raise AssetError(
            f'{path}: {int((visible == 0).any(axis=1).sum())} visible joints lie at x or y = 0, but pixels count from '
            '1. Add 1 to x and y if they were counted from 0; flag the joints as occluded if they are not labelled.'
        )
    if (visible < PIXEL_SHIFT).any():
        _log.warning('%s: a visible joint lies left of or above the first pixel. Are these counted from 0?', path)


def _require_x_before_y(path: Path, pixels: Float[ndarray, 'n 14 2'], camera: Intrinsics) -> None:
    """Refuse joints that lie outside the picture as they are and inside it with x and y in each other's place."""

    def outside(points: Float[ndarray, 'n 14 2']) -> float:
        beyond = (points > (camera.width + PIXEL_SHIFT, camera.height + PIXEL_SHIFT)).any(axis=-1)
        return float(beyond.mean()) if beyond.size else 0.0

    if outside(pixels) > LEAST_OUTSIDE and outside(pixels[..., ::-1]) == 0:
        raise AssetError(
            f'{path}: {outside(pixels):.0%} of the joints lie outside the picture of {camera.width} x {camera.height}, '
            'and none with x and y swapped. Put x into the first row and y into the second.'
        )


def camera_files(folder: Path) -> tuple[Path, ...]:
    """Return where a subject's camera may be written down; the published set has none."""
    return folder / 'camera.json', folder.parent / 'camera.json'


@lru_cache(maxsize=256)
def read_cameras(folder: Path) -> tuple[Intrinsics, Intrinsics]:
    """Return the colour and depth camera: of the `camera.json` of subject or lab, else the published ones."""
    for path in camera_files(folder):
        if path.is_file():
            camera, _ = read_camera_file(path)
            return camera, camera
    return COLOR_CAMERAS.get(folder.parent.name, COLOR_CAMERA), DEPTH_CAMERA


@lru_cache(maxsize=1024)
def read_homography(folder: Path, modality: str) -> Float[ndarray, '3 3']:
    """Return the homography from a modality to the pressure map."""
    if modality == 'PM':
        return np.eye(3)
    path = own_file(folder, f'align_PTr_{modality}.npy')
    _require(path, f'the homography from {modality} to the pressure map')
    matrix = read_array(path, 2).astype(np.float64)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        raise AssetError(f'{path} is {matrix.shape}, expected an invertible 3 x 3 matrix. Copy the file again.')
    return matrix


def read_pressure_scale(folder: Path, cover: str, number: int) -> float:
    """Return kilopascals a count of one map."""
    path = own_file(folder, 'PMcali.npy')
    scales = read_array(path, 2)
    if scales.shape[0] != len(COVERS) or scales.shape[1] < number:
        swapped = scales.shape[1] == len(COVERS)
        raise AssetError(
            f'{path} is {scales.shape}, expected 3 covers x {POSES} poses. '
            f'{"Its axes are swapped: transpose it" if swapped else "Copy the file again"}.'
        )
    scale = float(scales[COVERS.index(cover), number - 1])
    if not np.isfinite(scale) or scale <= 0:
        raise AssetError(f'{path} holds {scale} for {cover}, pose {number}, expected kPa a count. Copy the file again.')
    return scale


def own_file(folder: Path, name: str) -> Path:
    """Return a file of a subject, or the one that patches it."""
    patch = folder.parent.parent / PATCHES / folder.parent.name / folder.name / name
    return patch if patch.is_file() else folder / name


def require_size(path: Path, picture: ndarray, width: int, height: int) -> None:
    """Refuse a picture of another size than its labels and homographies are for."""
    found = picture.shape[:2]
    if found == (height, width):
        return
    advice = 'Its axes are swapped: turn it upright.' if found == (width, height) else 'Copy it again, not resized.'
    raise AssetError(f'{path} is {found[1]} x {found[0]}, expected {width} x {height}. {advice}')


def read_png(path: Path) -> UInt8[ndarray, 'h w 3']:
    """Return RGB."""
    content = path.read_bytes()
    whole = content.endswith(_PNG_END)
    picture: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if whole else None
    if picture is None:
        raise AssetError(f'{path} is not a whole PNG picture ({len(content)} bytes). Copy it again.')
    return np.ascontiguousarray(picture[..., ::-1])


def read_array(path: Path, dimensions: int) -> Shaped[ndarray, '...']:
    """Return an array with so many axes."""
    _require(path, 'an array of SLP')
    try:
        array: Any = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise AssetError(f'{path} is not a whole array ({error}). Copy it again.') from error
    if not isinstance(array, ndarray) or array.ndim != dimensions:
        raise AssetError(
            f'{path} is {getattr(array, "shape", type(array))}, expected {dimensions} axes. Copy it again.'
        )
    return array


def _require(path: Path, what: str) -> None:
    if not path.is_file():
        raise AssetError(f'There is no {path}: {what}. Copy the subject whole, or leave it out.')
