"""
Samples of any reader -> a recording, and a recording -> samples.

    labels/keypoints.json    COCO's form, one person a frame: pixels from 0, v = 2 seen (or not known), 1 occluded, 0 no
                             label; each annotation has an entry `hwhup` with what COCO has no place for: unit, name,
                             fit_key, tags, box (this package's pixels) and the joints whose visibility is unknown
    labels/truth.npz         SMPL parameters and 3D joints, by unit, where there are any
    labels/supervision/      UNIT.png: the depth that may supervise, 16 bit millimetres

What people draw on a recording lies in `labels/labels.jsonl` (`labeling`); readers above this layer lay it over.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.data.recording import FRAMES, LABELS, Recording, open_recording
from hwhup_core.data.recording_card import FrameRecord
from hwhup_core.data.recording_truth import Truths, read_truths
from hwhup_core.data.recording_units import decode_unit
from hwhup_core.data.sample import BadSamples, Dataset, Keypoints, Sample
from hwhup_core.errors import AssetError
from hwhup_core.types import Frame, Intrinsics, PersonBox

KEYPOINTS = 'keypoints.json'
SUPERVISION = 'supervision'
PIXEL_SHIFT = 0.5
OURS = 'hwhup'
"""Key of an annotation for what COCO has no place for."""


@dataclass(frozen=True)
class UnitLabels:
    """What `labels/keypoints.json` says of one frame."""

    unit: str
    name: str
    fit_key: str
    tags: Mapping[str, str]
    box: PersonBox | None
    keypoints: Keypoints | None


def read_recording(
    folder: Path,
    bad: BadSamples,
    labels: Mapping[str, Keypoints] | None = None,
    joints: tuple[str, ...] = (),
) -> Dataset:
    """
    Return a recording's frames with the labels that were converted with them.

    `labels` (unit -> key points in the order of `joints`) are taken instead of `labels/keypoints.json`. No picture is
    read; frames whose files are missing are bad.
    """
    recording = open_recording(Path(folder))
    names, converted = read_keypoints(recording.folder)
    truths = read_truths(recording.folder / LABELS)
    if labels is not None:
        names = joints
        converted = {unit: replace(each, keypoints=None) for unit, each in converted.items()}
    samples = []
    for number, record in enumerate(recording.frames):
        try:
            _require_files(recording, record)
        except AssetError as error:
            bad.add(record.unit, 'missing_file', error)
            continue
        sample = _sample(recording, number, converted.get(record.unit), truths)
        if labels is not None and record.unit in labels:
            sample = replace(sample, keypoints=labels[record.unit])
        samples.append(sample)
    return Dataset('recording', recording.folder, names, tuple(samples), () if names else (f'{LABELS}/{KEYPOINTS}',))


def _require_files(recording: Recording, record: FrameRecord) -> None:
    for file in record.files.values():
        path = recording.folder / FRAMES / file.name
        if not path.is_file():
            raise AssetError(f'There is no {path}, which the index names. Copy it again, or repair the recording.')


def _sample(recording: Recording, number: int, labels: UnitLabels | None, truths: Truths) -> Sample:
    unit = recording.frames[number].unit
    supervision = recording.folder / LABELS / SUPERVISION / f'{unit}.png'
    sample = Sample(
        name=unit,
        load=partial(_load, recording, number),
        joints_3d=truths.joints_3d.get(unit),
        body=truths.bodies.get(unit),
        supervision_depth=partial(_read_supervision, supervision) if supervision.is_file() else None,
    )
    if labels is None:
        return sample
    return replace(
        sample,
        name=labels.name,
        keypoints=labels.keypoints,
        box=labels.box,
        fit_key=labels.fit_key,
        tags=labels.tags,
    )


def _load(recording: Recording, number: int) -> Frame:
    """Return the frame, with its own camera where the recording has no common one."""
    frame = recording.frame(number)
    own = recording.frames[number].metadata.get('intrinsics')
    return replace(frame, intrinsics=_intrinsics(own)) if frame.intrinsics is None and own else frame


def _intrinsics(plain: Mapping[str, Any]) -> Intrinsics:
    values = {field.name: plain[field.name] for field in fields(Intrinsics)}
    return Intrinsics(**values | {'distortion': tuple(values['distortion'])})


def _read_supervision(path: Path) -> Float[ndarray, 'h w']:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise AssetError(f'Cannot read {path}: {error.strerror}. Copy the recording again.') from error
    return decode_unit({'depth': content}, {'depth': str(path)})['depth']


def read_keypoints(folder: Path) -> tuple[tuple[str, ...], dict[str, UnitLabels]]:
    """Return the joints' names and the labels by unit; nothing where the recording has none."""
    path = folder / LABELS / KEYPOINTS
    if not path.is_file():
        return (), {}
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        names = tuple(map(str, content['categories'][0]['keypoints']))
        labels = [_from_annotation(each, names) for each in content['annotations']]
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise AssetError(
            f'{path} are not labels of a recording ({type(error).__name__}: {error}). Convert the data set again.'
        ) from error
    return names, {each.unit: each for each in labels}


def _from_annotation(plain: Mapping[str, Any], names: tuple[str, ...]) -> UnitLabels:
    ours = plain[OURS]
    rows = np.array(plain['keypoints'], np.float64).reshape(len(names), 3)
    labelled = rows[:, 2] > 0
    visible = np.where(labelled, rows[:, 2] - 1, np.nan)
    visible[[name in ours['visibility_unknown'] for name in names]] = np.nan
    pixels = np.where(labelled[:, None], rows[:, :2] + PIXEL_SHIFT, 0.0)
    return UnitLabels(
        unit=str(ours['unit']),
        name=str(ours['name']),
        fit_key=str(ours['fit_key']),
        tags=dict(ours['tags']),
        box=None if ours['box'] is None else PersonBox(*map(float, ours['box'])),
        keypoints=Keypoints(pixels, labelled, visible) if ours['has_keypoints'] else None,
    )


def keypoints_content(names: tuple[str, ...], entries: Iterable[tuple[UnitLabels, str, tuple[int, int]]]) -> bytes:
    """Return `keypoints.json`; each entry is labels, the name of a picture and its width and height."""
    images, annotations = [], []
    for number, (labels, picture, (width, height)) in enumerate(entries, 1):
        images.append({'id': number, 'file_name': f'../frames/{picture}', 'width': width, 'height': height})
        annotations.append({'id': number, 'image_id': number, **_to_annotation(labels, names)})
    category = {'id': 1, 'name': 'person', 'supercategory': 'person', 'keypoints': list(names), 'skeleton': []}
    return json.dumps(
        {'images': images, 'annotations': annotations, 'categories': [category]}, allow_nan=False
    ).encode()


def _to_annotation(labels: UnitLabels, names: tuple[str, ...]) -> dict[str, Any]:
    rows, unknown, box = np.zeros((len(names), 3)), np.zeros(len(names), bool), labels.box
    if labels.keypoints is not None:
        there, visible = labels.keypoints.labelled, labels.keypoints.visible
        unknown = there & ~np.isfinite(visible)
        rows[there, :2] = labels.keypoints.pixels[there] - PIXEL_SHIFT
        rows[there, 2] = np.where(visible[there] < 0.5, 1, 2)
    extent = _extent(rows[rows[:, 2] > 0, :2])
    return {
        'category_id': 1,
        'iscrowd': 0,
        'keypoints': _flat(rows),
        'num_keypoints': int((rows[:, 2] > 0).sum()),
        'bbox': extent,
        'area': extent[2] * extent[3],
        OURS: {
            'unit': labels.unit,
            'name': labels.name,
            'fit_key': labels.fit_key,
            'tags': dict(labels.tags),
            'box': None if box is None else [box.center_x, box.center_y, box.side, box.turn],
            'has_keypoints': labels.keypoints is not None,
            'visibility_unknown': [name for name, one in zip(names, unknown) if one],
        },
    }


def _flat(rows: Float[ndarray, 'k 3']) -> list[float | int]:
    return [value for x, y, flag in rows for value in (round(float(x), 4), round(float(y), 4), int(flag))]


def _extent(points: Float[ndarray, 'n 2']) -> list[float]:
    """Return left, top, width and height of the labelled joints."""
    if not len(points):
        return [0.0, 0.0, 0.0, 0.0]
    return [round(float(value), 4) for value in (*points.min(axis=0), *np.ptp(points, axis=0))]
