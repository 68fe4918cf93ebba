"""
SPIN's data set files: `<data set>.npz`, with what HW-HuP adds, to samples and back.

Their pixels count the first pixel's centre as 0, so 0.5 is added (the original LSP files count from 1: `first_pixel`).
The confidence of a key point is read as labelled or not. A key that is missing is a feature that is missing. The files
have no camera; HW-HuP's own proxies (`S_dp`) are read as arrays, but made again from depth and never taken as truth.
"""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.body.joints import SPIN_24, SPIN_49
from hwhup_core.data.pictures import read_color
from hwhup_core.data.sample import BadSamples, Dataset, Gender, Joints3D, Keypoints, Sample, TrueBody
from hwhup_core.errors import AssetError
from hwhup_core.types import Frame, PersonBox

BOX_PIXELS = 200.0
"""Side of the crop for `scale` 1."""
DETECTED, TRUE = 25, 24
"""OpenPose slots 0..24 of SPIN's 49 (`openpose`), then ground-truth slots 25..48 (`part`)."""
PICTURES = 'images'
GENDERS: dict[str, Gender] = {
    'm': 'male', 'male': 'male', 'f': 'female', 'female': 'female', 'n': 'neutral', 'neutral': 'neutral', '': 'neutral',
}  # fmt: skip
TAILS: dict[str, tuple[int, ...]] = {
    'imgname': (), 'center': (2,), 'scale': (), 'part': (24, 3), 'openpose': (25, 3), 'S': (24, 4), 'pose': (72,),
    'shape': (10,), 'has_smpl': (), 'gender': (), 'S_dp': (24, 4), 'depthname': (), 'vis': (24,),
}  # fmt: skip
"""Key -> shape of one row."""
_REQUIRED = ('imgname', 'center', 'scale')
_TEXTS = ('imgname', 'gender', 'depthname')
_SUFFIX = re.compile(r'\.(png|jpe?g|bmp)$', re.IGNORECASE)


@dataclass(frozen=True)
class SpinArrays:
    """The arrays of one file, by its own keys, n rows each; None where the file has none."""

    imgname: ndarray
    """Picture, relative to the folder of the pictures."""
    center: Float[ndarray, 'n 2']
    """Of the crop, pixels."""
    scale: Float[ndarray, ' n']
    """Side of the crop / 200."""
    part: Float[ndarray, 'n 24 3'] | None = None
    """x, y, confidence of `joints.SPIN_24`."""
    openpose: Float[ndarray, 'n 25 3'] | None = None
    """x, y, confidence of `joints.OPENPOSE_25`."""
    S: Float[ndarray, 'n 24 4'] | None = None
    """Metres from the root, camera axes, and confidence."""
    pose: Float[ndarray, 'n 72'] | None = None
    shape: Float[ndarray, 'n 10'] | None = None
    has_smpl: Float[ndarray, ' n'] | None = None
    """1 where pose and shape are there; without this key all of them are."""
    gender: ndarray | None = None
    """`m` or `f`."""
    S_dp: Float[ndarray, 'n 24 4'] | None = None
    """HW-HuP: proxies from depth, metres from the root, and visibility."""
    depthname: ndarray | None = None
    """HW-HuP: `.npy` of depth in millimetres."""
    vis: Float[ndarray, 'n 24'] | None = None
    """HW-HuP: whether the joints of `part` are seen."""

    def __len__(self) -> int:
        return len(self.imgname)


def read_spin_arrays(path: Path) -> SpinArrays:
    """Return the arrays of a file after checking their shapes, numbers and counts."""
    found = _load(path)
    missing = [key for key in _REQUIRED if key not in found]
    if missing:
        raise AssetError(
            f'{path} has no {", ".join(missing)}; it has {", ".join(found) or "nothing"}. Expected a data set file of '
            'SPIN (imgname, center, scale and labels).'
        )
    count = len(found['imgname'])
    known = {key: found[key] for key in TAILS if key in found and (found[key].size or key in _REQUIRED)}
    return SpinArrays(**{key: _checked(array, key, count, path) for key, array in known.items()})


def _load(path: Path) -> dict[str, ndarray]:
    try:
        with np.load(path, allow_pickle=False) as content:
            if not hasattr(content, 'files'):
                raise AssetError(f'{path} is one array, expected an .npz. Give the data set file, not its fits.')
            return {key: content[key] for key in content.files if key in TAILS}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise AssetError(
            f'{path} cannot be read ({error}). Expected an .npz of plain arrays; one that holds Python objects is not '
            'opened, for loading it could run a program.'
        ) from error


def _checked(array: ndarray, key: str, count: int, path: Path) -> ndarray:
    expected = (count, *TAILS[key])
    if key == 'scale' or key == 'has_smpl':
        array = array.reshape(-1) if array.size == count else array
    if array.shape != expected:
        raise AssetError(f'{path}: `{key}` is {array.shape}, expected {expected}. Make the file again, or copy it.')
    if key in _TEXTS:
        return array.astype(str)
    if array.dtype.kind not in 'fiub':
        raise AssetError(f'{path}: `{key}` holds {array.dtype}, expected numbers. Make the file again.')
    bad = ~np.isfinite(array.reshape(count, -1)).all(axis=1)
    if bad.any():
        raise AssetError(f'{path}: `{key}` has a number that is not finite in row {bad.argmax()}. Correct it.')
    result: ndarray = array.astype(np.float64)
    return result


def write_spin_arrays(path: Path, arrays: SpinArrays) -> None:
    """Write the file; what is None is left out."""
    found = {field.name: getattr(arrays, field.name) for field in fields(SpinArrays)}
    np.savez_compressed(path, **{key: array for key, array in found.items() if array is not None})


def read_spin_npz(folder: Path, bad: BadSamples, images: Path | None = None, first_pixel: float = 0.0) -> Dataset:
    """
    Return the samples of a file, or of the only data set file in a folder.

    `images` is the folder that `imgname` counts from; by default `images/` beside the file, else the file's folder.
    `first_pixel` is what the file calls the centre of the first pixel. Visibility is unknown unless `vis` is there.
    """
    path = spin_file(Path(folder))
    arrays = read_spin_arrays(path)
    beside = path.parent / PICTURES
    root = images or (beside if beside.is_dir() else path.parent)
    names = _unique_names(arrays)
    samples = []
    for row, name in enumerate(names):
        try:
            samples.append(_sample(arrays, row, name, root, path, 0.5 - first_pixel))
        except AssetError as error:
            bad.add(name, 'unreadable', error)
    missing = tuple(key for key in ('part', 'S', 'pose', 'vis', 'depthname') if getattr(arrays, key) is None)
    return Dataset('spin_npz', path.parent, SPIN_49, tuple(samples), missing)


def spin_file(place: Path) -> Path:
    """Return the data set file that `place` is or holds; fits and other arrays lie beside it."""
    if place.is_file():
        return place
    found = sorted(path for path in place.glob('*.npz') if is_spin_file(path)) if place.is_dir() else []
    if len(found) != 1:
        raise AssetError(
            f'{place} holds {len(found)} data set files of SPIN ({", ".join(path.name for path in found[:4])}), '
            'expected one .npz with imgname, center and scale. Give the file itself.'
        )
    return found[0]


def is_spin_file(path: Path) -> bool:
    """Return whether an .npz has SPIN's keys; only its list of contents is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {f'{key}.npy' for key in _REQUIRED} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _unique_names(arrays: SpinArrays) -> list[str]:
    """Return the pictures' names without ending; further people of one picture get `#2` and so on."""
    seen: Counter[str] = Counter()
    names = []
    for picture in arrays.imgname:
        name = _SUFFIX.sub('', str(picture))
        seen[name] += 1
        names.append(name if seen[name] == 1 else f'{name}#{seen[name]}')
    return names


def _sample(arrays: SpinArrays, row: int, name: str, root: Path, path: Path, shift: float) -> Sample:
    side = BOX_PIXELS * float(arrays.scale[row])
    if side <= 0:
        raise AssetError(f'{path}, row {row} ({name}): `scale` is {arrays.scale[row]}, expected above 0. Correct it.')
    x, y = arrays.center[row] + shift
    depth = None if arrays.depthname is None else str(arrays.depthname[row])
    return Sample(
        name=name,
        load=partial(_load_frame, str(arrays.imgname[row]), depth or None, root, path.parent),
        keypoints=_keypoints(arrays, row, shift),
        box=PersonBox(float(x), float(y), side),
        joints_3d=_joints_3d(arrays, row),
        body=_body(arrays, row, f'{path}, row {row} ({name})'),
    )


def _keypoints(arrays: SpinArrays, row: int, shift: float) -> Keypoints | None:
    if arrays.part is None and arrays.openpose is None:
        return None
    rows = np.zeros((DETECTED + TRUE, 3))
    visible = np.full(DETECTED + TRUE, np.nan)
    if arrays.openpose is not None:
        rows[:DETECTED] = arrays.openpose[row]
    if arrays.part is not None:
        rows[DETECTED:] = arrays.part[row]
    labelled = rows[:, 2] > 0
    if arrays.vis is not None:
        visible[DETECTED:] = np.where(labelled[DETECTED:], arrays.vis[row] >= 0.5, np.nan)
    pixels = np.where(labelled[:, None], rows[:, :2] + shift, 0.0)
    return Keypoints(pixels, labelled, visible)


def _joints_3d(arrays: SpinArrays, row: int) -> Joints3D | None:
    if arrays.S is None or not arrays.S[row, :, 3].any():
        return None
    return Joints3D(SPIN_24, arrays.S[row, :, :3], arrays.S[row, :, 3], centred=True)


def _body(arrays: SpinArrays, row: int, where: str) -> TrueBody | None:
    if arrays.pose is None or arrays.shape is None:
        return None
    if arrays.has_smpl is not None and not arrays.has_smpl[row]:
        return None
    gender = '' if arrays.gender is None else str(arrays.gender[row]).lower()
    if gender not in GENDERS:
        raise AssetError(f'{where}: gender is {gender!r}, expected m or f. Correct it, or leave the key out.')
    return TrueBody(arrays.pose[row], arrays.shape[row], GENDERS[gender])


def _load_frame(picture: str, depth: str | None, root: Path, beside: Path) -> Frame:
    path = root / picture
    color = read_color(path)
    metres = None if depth is None else _read_depth(root / depth if (root / depth).is_file() else beside / depth)
    if metres is not None and metres.shape != color.shape[:2]:
        raise AssetError(
            f'{path} is {color.shape[1]}x{color.shape[0]}, its depth {depth} {metres.shape[1]}x{metres.shape[0]}. '
            'Expected depth registered to the picture.'
        )
    return Frame(stamp_ns=0, frame_id=path.stem, color=color, depth=metres)


def _read_depth(path: Path) -> Float[ndarray, 'h w']:
    """Return float32 metres from an array of millimetres; 0 = no measurement."""
    try:
        array: Any = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise AssetError(f'{path} is not a readable depth array ({error}). Copy it again.') from error
    if not isinstance(array, ndarray) or array.ndim != 2 or array.dtype.kind not in 'fiu':
        raise AssetError(f'{path} is no depth map of numbers in millimetres. Copy it again.')
    metres = array.astype(np.float32) * np.float32(0.001)
    return np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(0))
