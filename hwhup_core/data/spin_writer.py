"""
Samples of any reader -> SPIN's data set file, with the pictures beside it.

    OUT/<name>.npz     imgname, center, scale and what the samples have of part, openpose, S, pose, shape, gender,
                       has_smpl, depthname, vis
    OUT/images/        colour as PNG
    OUT/depth/         millimetres as .npy (HW-HuP's)

The layout has no place for infrared, pressure, cameras, the turn of a box, and for 3D joints of another set than its
24 or that count from the camera and have no pelvis; these are left behind. 2D joints of a set that SPIN's 49 lack are
an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.body.joints import EVAL_14, EVAL_17, OPENPOSE_18, OPENPOSE_25, SPIN_24, SPIN_49, indices, spin_24_slots
from hwhup_core.data.recording_units import encode_color
from hwhup_core.data.sample import BadSamples, Dataset, Joints3D, Keypoints, Sample
from hwhup_core.data.spin_npz import BOX_PIXELS, DETECTED, PICTURES, TRUE, SpinArrays, write_spin_arrays
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.types import Frame, PersonBox

DEPTHS = 'depth'
_TO_FILE = -0.5
"""From pixels whose first centre is 0.5 to SPIN's, where it is 0."""


def spin_slots(joints: tuple[str, ...]) -> list[int]:
    """Return the place of each joint of a data set in SPIN's 49."""
    if joints == SPIN_49:
        return list(range(len(SPIN_49)))
    if joints in (OPENPOSE_18, OPENPOSE_25):
        return indices(OPENPOSE_25, joints)
    return [DETECTED + slot for slot in spin_24_slots(joints)]


@dataclass
class _Rows:
    """What was gathered so far; one entry a sample in each list."""

    imgname: list[str] = field(default_factory=list)
    depthname: list[str] = field(default_factory=list)
    box: list[PersonBox] = field(default_factory=list)
    keypoints: list[tuple[Float[ndarray, '49 3'], Float[ndarray, '24']]] = field(default_factory=list)
    joints_3d: list[Float[ndarray, '24 4']] = field(default_factory=list)
    pose: list[Float[ndarray, '82']] = field(default_factory=list)
    gender: list[str] = field(default_factory=list)


def write_spin_npz(dataset: Dataset, folder: Path, bad: BadSamples, name: str = '') -> Path:
    """Write pictures and labels of all samples and return the data set file; a sample without colour is bad."""
    folder = Path(folder)
    path = folder / f'{name or dataset.kind}.npz'
    if path.exists():
        raise ConfigError(f'{path} is there already. Choose another folder.')
    slots = spin_slots(dataset.joints)
    rows = _Rows()
    for sample in dataset:
        try:
            frame = sample.load()
            imgname, depthname = _write_pictures(frame, sample.name, folder)
            box = _box(sample)
        except AssetError as error:
            bad.add(sample.name, 'unreadable', error)
            continue
        rows.imgname.append(imgname)
        rows.depthname.append(depthname)
        rows.box.append(box)
        rows.keypoints.append(_keypoints(sample.keypoints, slots))
        rows.joints_3d.append(_joints_3d(sample.joints_3d))
        rows.pose.append(_pose(sample))
        rows.gender.append('' if sample.body is None else sample.body.gender[0])
    if not rows.imgname:
        raise AssetError(f'No sample of {dataset.folder} could be written. Run `hwhup dataset check` on it.')
    write_spin_arrays(path, _arrays(rows))
    return path


def _write_pictures(frame: Frame, name: str, folder: Path) -> tuple[str, str]:
    """Return imgname and depthname ('' without depth) after writing both."""
    if frame.color is None:
        raise AssetError(f'{name} has no colour picture, which the SPIN layout needs. Convert it to a recording.')
    if '..' in PurePosixPath(name).parts or name.startswith('/'):
        raise AssetError(f'{name} is no name for a file below a folder.')
    imgname = f'{name}.png'
    _write(folder / PICTURES / imgname, encode_color(frame.color, 'png', 0))
    if frame.depth is None:
        return imgname, ''
    depth = folder / DEPTHS / f'{name}.npy'
    depth.parent.mkdir(parents=True, exist_ok=True)
    np.save(depth, np.clip(np.rint(frame.depth * 1000), 0, 65534).astype(np.uint16))
    return imgname, f'{DEPTHS}/{name}.npy'


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _box(sample: Sample) -> PersonBox:
    if sample.box is not None:
        return sample.box
    keypoints = sample.keypoints
    if keypoints is None or not keypoints.labelled.any():
        raise AssetError(f'{sample.name} has neither a box nor a labelled joint. Leave it out.')
    points = keypoints.pixels[keypoints.labelled]
    middle, side = (points.min(axis=0) + points.max(axis=0)) / 2, 1.2 * float(np.ptp(points, axis=0).max())
    return PersonBox(float(middle[0]), float(middle[1]), max(side, 1.0))


def _keypoints(keypoints: Keypoints | None, slots: list[int]) -> tuple[Float[ndarray, '49 3'], Float[ndarray, '24']]:
    """Return SPIN's 49 rows of x, y, confidence and the visibility of the last 24, NaN where unknown."""
    rows, visible = np.zeros((DETECTED + TRUE, 3)), np.full(DETECTED + TRUE, np.nan)
    if keypoints is not None:
        there = keypoints.labelled
        rows[slots, :2] = np.where(there[:, None], keypoints.pixels + _TO_FILE, 0)
        rows[slots, 2] = there
        visible[slots] = np.where(there, keypoints.visible, np.nan)
    return rows, visible[DETECTED:]


def _joints_3d(joints: Joints3D | None) -> Float[ndarray, '24 4']:
    """Return SPIN's `S`: metres from the pelvis and confidence."""
    rows = np.zeros((TRUE, 4))
    if joints is None:
        return rows
    slots, positions = _slots_3d(joints.names), joints.positions
    if not joints.centred and 'pelvis' in joints.names:
        positions = positions - positions[joints.names.index('pelvis')]
    elif not joints.centred:
        slots = []
    if not slots:
        return rows
    rows[slots, :3] = np.where(joints.confidence[:, None] > 0, positions, 0)
    rows[slots, 3] = joints.confidence
    return rows


def _slots_3d(names: tuple[str, ...]) -> list[int]:
    """Return the place of each 3D joint in SPIN's 24; empty for joints that are others, such as SMPL's own."""
    if names in (EVAL_14, EVAL_17):
        return indices(SPIN_24, names)
    try:
        return spin_24_slots(names)
    except ConfigError:
        return []


def _pose(sample: Sample) -> Float[ndarray, '82']:
    if sample.body is None:
        return np.zeros(82)
    return np.concatenate([sample.body.pose, sample.body.betas]).astype(np.float64)


def _arrays(rows: _Rows) -> SpinArrays:
    """Return the arrays; a feature that no sample has is left out."""
    points, visible = (np.stack([pair[i] for pair in rows.keypoints]) for i in (0, 1))
    poses, joints_3d = np.stack(rows.pose), np.stack(rows.joints_3d)
    has_smpl = np.array([bool(gender) for gender in rows.gender])
    detected, true = points[:, :DETECTED], points[:, DETECTED:]
    labelled = true[..., 2] > 0
    # One unknown flag makes all of them unknown: the layout has no value for it.
    known = labelled.any() and bool(np.isfinite(visible[labelled]).all())
    return SpinArrays(
        imgname=np.array(rows.imgname),
        center=np.array([[box.center_x, box.center_y] for box in rows.box]) + _TO_FILE,
        scale=np.array([box.side for box in rows.box]) / BOX_PIXELS,
        part=true if labelled.any() else None,
        openpose=detected if detected[..., 2].any() else None,
        S=joints_3d if joints_3d[..., 3].any() else None,
        pose=poses[:, :72] if has_smpl.any() else None,
        shape=poses[:, 72:] if has_smpl.any() else None,
        has_smpl=has_smpl.astype(float) if has_smpl.any() else None,
        gender=np.array(rows.gender) if has_smpl.any() else None,
        depthname=np.array(rows.depthname) if any(rows.depthname) else None,
        vis=np.where(labelled, np.nan_to_num(visible), 0.0) if known else None,
    )
