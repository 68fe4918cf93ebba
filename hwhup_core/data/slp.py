"""
SLP, people in bed seen by four sensors, and what `hwhup synth` writes in the same layout.

SLP's labels count pixels from 1, so that the centre of the first pixel is 1; here it is 0.5. A homography
`align_PTr_<modality>.npy` takes pixels (counted from 0) of a modality to the pressure map; what is read here is in the
colour image's frame. Nothing is read before it is asked for, except a subject's labels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
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
KINDS = {'RGB': 'RGB', 'depthRaw': 'depth', 'IRraw': 'IR', 'PMarray': 'PM'}
"""Folder of what is read of a modality -> the modality's name in its homography's file."""
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
TRAINING_SUBJECTS = tuple(range(1, 91))
"""Of `danaLab`, as published."""
TEST_SUBJECTS = tuple(range(91, 103))
LAB_SUBJECTS = {'danaLab': 102, 'simLab': 7}
"""How many were published."""
_PIXEL_SHIFT = 0.5
_PNG_END = b'IEND\xaeB`\x82'
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SlpPose:
    """One pose of one subject: its labels, and its pictures when asked for. All in the colour image's frame."""

    folder: Path
    """Of the subject."""
    subject: int
    number: int
    """From 1."""
    pixels: Float[ndarray, '14 2']
    """Labelled joints in the order of `joints.SLP_14`."""
    occluded: Bool[ndarray, '14']
    """As labelled."""
    intrinsics: Intrinsics
    """Of the colour image, to which everything is registered."""
    depth_intrinsics: Intrinsics
    """Of the depth camera, for 3D points from `depth_unwarped`; equal to `intrinsics` where both are one camera."""

    def covers(self) -> tuple[str, ...]:
        """Return the covers under which anything was sensed."""
        return tuple(cover for cover in COVERS if any(self.folder.glob(f'*/{cover}')))

    def modalities(self, cover: str) -> tuple[str, ...]:
        """Return the folders of what was sensed under the cover: of RGB, depthRaw, IRraw, PMarray those there are."""
        _cover(cover)
        return tuple(kind for kind in KINDS if (self.folder / kind / cover).is_dir())

    def require_files(self, cover: str) -> None:
        """Refuse the cover if nothing was sensed under it, or if a picture of this pose or a homography is missing."""
        kinds = self.modalities(cover)
        if not kinds:
            raise AssetError(
                f'{self.folder} has nothing under {cover}. Copy the subject whole, or leave the cover out.'
            )
        for kind in kinds:
            self._path(kind, cover)
            _homography(self.folder, KINDS[kind])

    @property
    def is_published(self) -> bool:
        """Whether this is of the published set and not of our own making, which has a camera file and other poses."""
        return not any(path.is_file() for path in _camera_files(self.folder))

    def color(self, cover: str) -> UInt8[ndarray, 'h w 3']:
        """Return RGB."""
        picture: ndarray = _read_png(self._path('RGB', cover), cv2.IMREAD_COLOR)[..., ::-1]
        return np.ascontiguousarray(picture)

    def depth(self, cover: str) -> Float[ndarray, 'h w']:
        """Return float32 metres along z of the depth camera; 0 = no measurement."""
        return self._registered(self.depth_unwarped(cover), 'depth', cv2.INTER_NEAREST)

    def depth_unwarped(self, cover: str) -> Float[ndarray, 'h w']:
        """Return float32 metres in the depth camera's own frame."""
        path = self._path('depthRaw', cover)
        counts = _read_array(path, 2)
        if counts.dtype.kind not in 'iu':
            raise AssetError(f'{path} holds {counts.dtype}, expected whole millimetres. Copy the file again.')
        metres: ndarray = np.float32(0.001) * counts.astype(np.float32)
        return metres

    def infrared(self, cover: str) -> Float[ndarray, 'h w']:
        """Return float32 kelvin."""
        raw = _read_array(self._path('IRraw', cover), 2).astype(np.float32)
        return self._registered(raw, 'IR', cv2.INTER_LINEAR)

    def pressure(self, cover: str) -> Float[ndarray, 'h w']:
        """Return float32 kilopascals."""
        counts = _read_array(self._path('PMarray', cover), 2).astype(np.float32)
        path = self.folder / 'PMcali.npy'
        scales = _read_array(path, 2)
        if scales.shape[0] != len(COVERS) or scales.shape[1] < self.number:
            raise AssetError(f'{path} is {scales.shape}, expected 3 covers x {POSES} poses. Copy the file again.')
        return self._registered(counts * np.float32(scales[_cover(cover), self.number - 1]), 'PM', cv2.INTER_LINEAR)

    @cached_property
    def depth_from_color(self) -> Float[ndarray, '3 3']:
        """Return the homography from pixels of the colour image to pixels of the depth image, both counted from 0."""
        return _unit(np.linalg.inv(_homography(self.folder, 'depth')) @ _homography(self.folder, 'RGB'))

    def _path(self, kind: str, cover: str) -> Path:
        _cover(cover)
        name = f'{self.number:06d}.npy' if kind in ('depthRaw', 'IRraw', 'PMarray') else f'image_{self.number:06d}.png'
        path = self.folder / kind / cover / name
        if not path.is_file():
            raise AssetError(f'There is no {path}. This data has no {kind} of that pose, or it was not copied whole.')
        return path

    def _registered(self, picture: Float[ndarray, 'a b'], modality: str, interpolation: int) -> Float[ndarray, 'h w']:
        """Return the picture in the colour image's frame: warped by the homographies, itself where they agree."""
        size = self.intrinsics.width, self.intrinsics.height
        to_color = _unit(np.linalg.inv(_homography(self.folder, 'RGB')) @ _homography(self.folder, modality))
        if picture.shape == size[::-1] and np.allclose(to_color, np.eye(3), atol=1e-9):
            return picture
        # Nothing is known beyond the border: no depth and no pressure there, but the room has a temperature.
        border = cv2.BORDER_REPLICATE if modality == 'IR' else cv2.BORDER_CONSTANT
        warped: ndarray = cv2.warpPerspective(picture, to_color, size, flags=interpolation, borderMode=border)
        return warped


@dataclass(frozen=True)
class SlpSet:
    """Some subjects of one lab."""

    folder: Path
    """Of the lab."""
    subjects: tuple[int, ...]

    def __len__(self) -> int:
        return sum(len(_labels(self._subject(subject))[0]) for subject in self.subjects)

    def __iter__(self) -> Iterator[SlpPose]:
        for subject in self.subjects:
            for number in range(1, len(_labels(self._subject(subject))[0]) + 1):
                yield self.pose(subject, number)

    def pose(self, subject: int, number: int) -> SlpPose:
        """Return one pose; both count from 1."""
        folder = self._subject(subject)
        pixels, occluded = _labels(folder)
        if not 1 <= number <= len(pixels):
            raise AssetError(f'Subject {subject} has poses 1 to {len(pixels)}, not {number}.')
        color, depth = _cameras(folder)
        return SlpPose(folder, subject, number, pixels[number - 1], occluded[number - 1], color, depth)

    def _subject(self, subject: int) -> Path:
        if subject not in self.subjects:
            raise AssetError(f'There is no subject {subject} among the {len(self.subjects)} of {self.folder}.')
        return self.folder / f'{subject:05d}'


def read_slp(root: Path, lab: str = 'danaLab', subjects: Sequence[int] | None = None) -> SlpSet:
    """Return the poses of a lab under `root` (the folder that holds danaLab), by default of all subjects there."""
    folder = Path(root) / lab
    if not folder.is_dir():
        raise AssetError(f'There is no folder {folder}. Give the folder that holds danaLab and simLab.')
    present = tuple(sorted(int(path.name) for path in folder.iterdir() if path.is_dir() and path.name.isdigit()))
    if not present:
        raise AssetError(f'{folder} holds no subjects. Expected folders 00001, 00002, ...')
    missing = sorted(set(subjects or ()) - set(present))
    if missing:
        raise AssetError(f'{folder} lacks subjects {missing}; it has {len(present)}. Ask for those, or copy the rest.')
    return SlpSet(folder, present if subjects is None else tuple(subjects))


def published_split(dataset: SlpSet) -> tuple[SlpSet, SlpSet]:
    """Return the subjects of SLP's training part (1 to 90) and of its test part (91 to 102) that are there."""
    parts = (tuple(s for s in dataset.subjects if s in part) for part in (TRAINING_SUBJECTS, TEST_SUBJECTS))
    training, test = (SlpSet(dataset.folder, part) for part in parts)
    return training, test


def missing_files(dataset: SlpSet) -> tuple[str, ...]:
    """Return what a whole copy of the lab would also have."""
    folder, published = dataset.folder, LAB_SUBJECTS.get(dataset.folder.name, 0)
    absent = published - len(dataset.subjects)
    kinds = [kind for kind in KINDS if not (kind == 'PMarray' and folder.name == 'simLab')]
    found = [f'{absent} of {published} subjects'] if absent > 0 else []
    for kind in kinds:
        for cover in COVERS:
            count = sum((folder / f'{subject:05d}' / kind / cover).is_dir() for subject in dataset.subjects)
            if count < len(dataset.subjects):
                found.append(f'{kind}/{cover} of {len(dataset.subjects) - count} subjects')
    if not (folder / 'physiqueData.npy').is_file():
        found.append('physiqueData.npy')
    return tuple(found)


@lru_cache(maxsize=256)
def _labels(folder: Path) -> tuple[Float[ndarray, 'n 14 2'], Bool[ndarray, 'n 14']]:
    """Return joints and occlusion of all poses of a subject, after checking that its files are as many."""
    path = folder / 'joints_gt_RGB.mat'
    joints = _read_joints(path)
    pixels, flags = joints[..., :2], joints[..., 2]
    if not np.isin(flags, (0.0, 1.0)).all():
        raise AssetError(
            f'{path}: the third row holds {sorted(set(flags.ravel()))[:4]}, expected 0 (visible) and 1 (occluded). An '
            'old reader subtracted 1 from it; use the published file.'
        )
    if (pixels[flags == 0] < _PIXEL_SHIFT).any():
        _log.warning('%s: a visible joint lies left of or above the first pixel. Are these counted from 0?', path)
    for modality in sorted(path for path in folder.glob('*/*') if path.is_dir() and path.name in COVERS):
        count = sum(1 for _ in modality.glob('*0*.*'))
        if count != len(joints):
            raise AssetError(
                f'{modality} holds {count} files for {len(joints)} labelled poses. Copy the subject again.'
            )
    return (pixels - _PIXEL_SHIFT).astype(np.float32), flags == 1


def _read_joints(path: Path) -> Float[ndarray, 'n 14 3']:
    _require(path, 'the labelled joints')
    try:
        content = loadmat(path)
    except (ValueError, TypeError, OSError, EOFError, NotImplementedError, IndexError) as error:
        raise AssetError(f'{path} is not a whole MATLAB file ({error}). Copy it again.') from error
    joints: Any = content.get('joints_gt')
    shape = getattr(joints, 'shape', None)
    if shape is None or len(shape) != 3 or shape[:2] != (3, 14):
        raise AssetError(f'{path}: `joints_gt` is {shape}, expected 3 x 14 x {POSES}. Copy the file again.')
    return np.asarray(joints, np.float64).transpose(2, 1, 0)


@lru_cache(maxsize=256)
def _cameras(folder: Path) -> tuple[Intrinsics, Intrinsics]:
    """Return the colour and depth camera: of the `camera.json` of subject or lab, else the published ones."""
    for path in _camera_files(folder):
        if path.is_file():
            camera, _ = read_camera_file(path)
            return camera, camera
    return COLOR_CAMERAS.get(folder.parent.name, COLOR_CAMERA), DEPTH_CAMERA


def _camera_files(folder: Path) -> tuple[Path, ...]:
    return folder / 'camera.json', folder.parent / 'camera.json'


@lru_cache(maxsize=1024)
def _homography(folder: Path, modality: str) -> Float[ndarray, '3 3']:
    """Return the homography from a modality to the pressure map."""
    if modality == 'PM':
        return np.eye(3)
    path = folder / f'align_PTr_{modality}.npy'
    _require(path, f'the homography from {modality} to the pressure map')
    matrix = _read_array(path, 2).astype(np.float64)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or abs(np.linalg.det(matrix)) < 1e-12:
        raise AssetError(f'{path} is {matrix.shape}, expected an invertible 3 x 3 matrix. Copy the file again.')
    return matrix


def _unit(homography: Float[ndarray, '3 3']) -> Float[ndarray, '3 3']:
    result: ndarray = homography / homography[2, 2]
    return result


def _cover(cover: str) -> int:
    """Return the row of a cover in PMcali."""
    if cover not in COVERS:
        raise AssetError(f'There is no cover {cover!r}. Covers are {", ".join(COVERS)}.')
    return COVERS.index(cover)


def _require(path: Path, what: str) -> None:
    if not path.is_file():
        raise AssetError(f'There is no {path}: {what}. Copy the subject whole, or leave it out.')


def _read_png(path: Path, flags: int) -> UInt8[ndarray, '...']:
    content = path.read_bytes()
    picture: Any = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content.endswith(_PNG_END) else None
    if picture is None:
        raise AssetError(f'{path} is not a whole PNG picture ({len(content)} bytes). Copy it again.')
    result: ndarray = picture
    return result


def _read_array(path: Path, dimensions: int) -> Shaped[ndarray, '...']:
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
