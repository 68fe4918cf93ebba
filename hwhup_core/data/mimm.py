"""
MIMM, infants filmed with depth, in the layout of HW-HuP's converters (the set itself is private).

`RGB/`, `depthRaw/*.npy` (whole millimetres, registered to the picture, 0 = no measurement) and labels in
`anno_{train,valid}.json` or `anno_all.json`, of whose pictures the first 834 are for training. Besides COCO's fields an
image has `depth_name` and a person `3d_keypoints` (x, y, z in mm and visible) and `pred_keypoints` (x, y, score), from
which the face is taken.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.body.joints import COCO_17, indices
from hwhup_core.data.coco import coco_sample
from hwhup_core.data.coco_file import CocoPerson
from hwhup_core.data.coco_person import PIXEL_SHIFT, BadPerson, finite_numbers
from hwhup_core.data.merged_infants import is_merged, read_merged
from hwhup_core.data.pictures import load_color_frame
from hwhup_core.data.sample import BadSamples, Dataset, Joints3D, Keypoints, Sample
from hwhup_core.errors import AssetError
from hwhup_core.types import Frame

FACE = ('nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear')
FACE_SCORE = 0.5
"""A predicted face joint with a higher score counts as labelled and seen, another one as not labelled."""
_TRAINING = 834
_MILLIMETRE = np.float32(0.001)


def read_mimm(folder: Path, bad: BadSamples) -> Dataset:
    """Return MIMM's infants with 2D joints, 3D joints from the depth (camera frame, not centred) and depth."""
    folder = Path(folder)
    if not is_merged(folder):
        raise AssetError(
            f'No anno_train.json, anno_valid.json or anno_all.json in {folder}. Give the folder of MIMMv2.'
        )
    samples = []
    for split, person in read_merged(folder, bad, lambda count: min(count, _TRAINING)):
        try:
            samples.append(_sample(folder, split, person))
        except BadPerson as error:
            bad.add(f'{split}/{person.picture.stem}/{person.number}', error.reason, error)
    return Dataset('mimm', folder, COCO_17, tuple(samples))


def _sample(folder: Path, split: str, person: CocoPerson) -> Sample:
    where = f'{folder}, annotation {person.number}'
    sample = replace(coco_sample(person, split), keypoints=_with_face(person, where), joints_3d=_joints(person, where))
    name = person.image.get('depth_name')
    if name is None:
        return sample
    depth = folder / 'depthRaw' / Path(str(name)).with_suffix('.npy').name
    if not depth.is_file():
        raise BadPerson('missing_depth', f'{where}: no {depth}. Copy depthRaw whole, or leave the sample out.')
    frame = partial(_load, person.picture, person.size, depth)
    return replace(sample, load=frame, supervision_depth=partial(read_depth, depth))


def read_depth(path: Path) -> Float[ndarray, 'h w']:
    """Return float32 metres; 0 = no measurement."""
    try:
        counts: Any = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise AssetError(f'{path} is not a whole array ({error}). Copy it again.') from error
    if not isinstance(counts, ndarray) or counts.ndim != 2 or counts.dtype.kind not in 'iu' or (counts < 0).any():
        found = f'{getattr(counts, "dtype", type(counts))} of shape {getattr(counts, "shape", None)}'
        raise AssetError(f'{path} holds {found}, expected one channel of whole millimetres. Convert it again.')
    metres: ndarray = counts.astype(np.float32) * _MILLIMETRE
    return metres


def _load(picture: Path, size: tuple[int, int] | None, depth_path: Path) -> Frame:
    frame, depth = load_color_frame(picture, size), read_depth(depth_path)
    if frame.color is not None and depth.shape != frame.color.shape[:2]:
        raise AssetError(
            f'{depth_path} is {depth.shape[1]}x{depth.shape[0]}, its picture {picture.name} '
            f'{frame.color.shape[1]}x{frame.color.shape[0]}. Expected depth registered to it; convert it again.'
        )
    return replace(frame, depth=depth)


def _rows(person: CocoPerson, key: str, columns: int, where: str) -> Float[ndarray, '17 c'] | None:
    if key not in person.annotation:
        return None
    values = finite_numbers(person.annotation[key], key, where)
    if values.size != len(COCO_17) * columns:
        expected = f'{len(COCO_17)} x {columns}'
        raise BadPerson('keypoint_count', f'{where}: `{key}` has {values.size} numbers, expected {expected}.')
    return values.reshape(len(COCO_17), columns)


def _with_face(person: CocoPerson, where: str) -> Keypoints:
    """Return the labelled key points with the face of the predicted ones."""
    predicted, labelled = _rows(person, 'pred_keypoints', 3, where), person.keypoints
    if predicted is None:
        return labelled
    face = np.zeros(len(COCO_17), bool)
    face[indices(COCO_17, FACE)] = True
    sure = predicted[:, 2] > FACE_SCORE
    pixels = np.where(sure[:, None], predicted[:, :2] + PIXEL_SHIFT, 0).astype(np.float32)
    return Keypoints(
        pixels=np.where(face[:, None], pixels, labelled.pixels),
        labelled=np.where(face, sure, labelled.labelled),
        visible=np.where(face, np.where(sure, 1, np.nan), labelled.visible).astype(np.float32),
    )


def _joints(person: CocoPerson, where: str) -> Joints3D | None:
    rows = _rows(person, '3d_keypoints', 4, where)
    if rows is None:
        return None
    confidence = np.where(rows[:, 2] > 0, rows[:, 3] > 0, False).astype(np.float32)
    return Joints3D(COCO_17, (rows[:, :3] * 0.001).astype(np.float32), confidence, centred=False)
