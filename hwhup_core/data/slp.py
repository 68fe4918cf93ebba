"""
SLP, people in bed seen by four sensors, and what `hwhup synth` writes in the same layout.

SLP's labels count pixels from 1, so that the centre of the first pixel is 1; here it is 0.5. A homography
`align_PTr_<modality>.npy` takes pixels (counted from 0) of a modality to the pressure map; what is read here is in the
colour image's frame. Nothing is read before it is asked for, except a subject's labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from hwhup_core.data.slp_files import (
    COVERS,
    PATCHES,
    camera_files,
    read_array,
    read_cameras,
    read_homography,
    read_labels,
    read_png,
    read_pressure_scale,
    require_size,
)
from hwhup_core.data.slp_files import (
    POSES as POSES,
)
from hwhup_core.errors import AssetError
from hwhup_core.types import Intrinsics

INFRARED_SIZE, PRESSURE_SIZE = (120, 160), (84, 192)
"""Width and height, as published."""
KELVIN = (250.0, 330.0)
"""Limits of the median of a picture of a bed."""
WRONG_SUBJECT = 'danaLab/00007'
"""Whose published alignment is wrong."""
KINDS = {'RGB': 'RGB', 'depthRaw': 'depth', 'IRraw': 'IR', 'PMarray': 'PM'}
"""Folder of what is read of a modality -> the modality's name in its homography's file."""
TRAINING_SUBJECTS = tuple(range(1, 91))
"""Of `danaLab`, as published."""
TEST_SUBJECTS = tuple(range(91, 103))
LAB_SUBJECTS = {'danaLab': 102, 'simLab': 7}
"""How many were published."""


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
        _require_cover(cover)
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
            read_homography(self.folder, KINDS[kind])

    @property
    def is_published(self) -> bool:
        """Whether this is of the published set and not of our own making, which has a camera file and other poses."""
        return not _is_ours(self.folder)

    def color(self, cover: str) -> UInt8[ndarray, 'h w 3']:
        """Return RGB."""
        path = self._path('RGB', cover)
        picture = read_png(path)
        require_size(path, picture, self.intrinsics.width, self.intrinsics.height)
        return picture

    def depth(self, cover: str) -> Float[ndarray, 'h w']:
        """Return float32 metres along z of the depth camera; 0 = no measurement."""
        return self._registered(self.depth_unwarped(cover), 'depth', cv2.INTER_NEAREST)

    def depth_unwarped(self, cover: str) -> Float[ndarray, 'h w']:
        """Return float32 metres in the depth camera's own frame."""
        path = self._path('depthRaw', cover)
        counts = read_array(path, 2)
        if counts.dtype.kind not in 'iu':
            raise AssetError(f'{path} holds {counts.dtype}, expected whole millimetres. Copy the file again.')
        require_size(path, counts, self.depth_intrinsics.width, self.depth_intrinsics.height)
        metres: ndarray = np.float32(0.001) * counts.astype(np.float32)
        return metres

    def infrared(self, cover: str) -> Float[ndarray, 'h w']:
        """Return float32 kelvin."""
        path = self._path('IRraw', cover)
        raw = read_array(path, 2).astype(np.float32)
        median = float(np.median(raw))
        if not KELVIN[0] <= median <= KELVIN[1]:
            raise AssetError(
                f'{path} has a median of {median:.5g}, expected kelvin ({KELVIN[0]:.0f} to {KELVIN[1]:.0f}). Add '
                '273.15 to degrees Celsius; counts of a camera cannot be used.'
            )
        if self.is_published:
            require_size(path, raw, *INFRARED_SIZE)
        return self._registered(raw, 'IR', cv2.INTER_LINEAR)

    def pressure(self, cover: str) -> Float[ndarray, 'h w']:
        """Return float32 kilopascals."""
        path = self._path('PMarray', cover)
        counts = read_array(path, 2).astype(np.float32)
        if self.is_published:
            require_size(path, counts, *PRESSURE_SIZE)
        scale = np.float32(read_pressure_scale(self.folder, cover, self.number))
        return self._registered(counts * scale, 'PM', cv2.INTER_LINEAR)

    @cached_property
    def depth_from_color(self) -> Float[ndarray, '3 3']:
        """Return the homography from pixels of the colour image to pixels of the depth image, both counted from 0."""
        return _unit(np.linalg.inv(read_homography(self.folder, 'depth')) @ read_homography(self.folder, 'RGB'))

    def _path(self, kind: str, cover: str) -> Path:
        _require_cover(cover)
        name = f'{self.number:06d}.npy' if kind in ('depthRaw', 'IRraw', 'PMarray') else f'image_{self.number:06d}.png'
        path = self.folder / kind / cover / name
        if not path.is_file():
            raise AssetError(f'There is no {path}. This data has no {kind} of that pose, or it was not copied whole.')
        return path

    def _registered(self, picture: Float[ndarray, 'a b'], modality: str, interpolation: int) -> Float[ndarray, 'h w']:
        """Return the picture in the colour image's frame: warped by the homographies, itself where they agree."""
        size = self.intrinsics.width, self.intrinsics.height
        to_color = _unit(np.linalg.inv(read_homography(self.folder, 'RGB')) @ read_homography(self.folder, modality))
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
        return sum(len(read_labels(self._subject(subject))[0]) for subject in self.subjects)

    def __iter__(self) -> Iterator[SlpPose]:
        for subject in self.subjects:
            for number in range(1, len(read_labels(self._subject(subject))[0]) + 1):
                yield self.pose(subject, number)

    def pose(self, subject: int, number: int) -> SlpPose:
        """Return one pose; both count from 1."""
        folder = self._subject(subject)
        pixels, occluded = read_labels(folder)
        if not 1 <= number <= len(pixels):
            raise AssetError(f'Subject {subject} has poses 1 to {len(pixels)}, not {number}.')
        color, depth = read_cameras(folder)
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
    """Return what a whole copy of the published lab would also have; nothing of a lab of our own making."""
    folder, published = dataset.folder, LAB_SUBJECTS.get(dataset.folder.name, 0)
    if _is_ours(folder / f'{dataset.subjects[0]:05d}'):
        return ()
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
    wrong = folder.parent / WRONG_SUBJECT
    if wrong in [folder / f'{subject:05d}' for subject in dataset.subjects] and _is_unpatched(wrong):
        found.append(
            f'the patches of {WRONG_SUBJECT}: its published homographies are wrong. Put those of its authors under '
            f'{PATCHES}/{WRONG_SUBJECT}, or over the old ones beside an empty file `patched`'
        )
    return tuple(found)


def _is_ours(folder: Path) -> bool:
    """Return whether a subject has a camera file, as the published ones have not."""
    return any(path.is_file() for path in camera_files(folder))


def _is_unpatched(folder: Path) -> bool:
    """Return whether a published subject has neither patches nor the mark that its files were replaced."""
    patches = folder.parent.parent / PATCHES / folder.parent.name / folder.name
    return not patches.is_dir() and not (folder / 'patched').is_file()


def _unit(homography: Float[ndarray, '3 3']) -> Float[ndarray, '3 3']:
    result: ndarray = homography / homography[2, 2]
    return result


def _require_cover(cover: str) -> None:
    if cover not in COVERS:
        raise AssetError(f'There is no cover {cover!r}. Covers are {", ".join(COVERS)}.')
