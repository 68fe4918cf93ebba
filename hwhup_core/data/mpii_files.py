"""The people in MPII's label files as they stand there, pixels counted from 1; without those who have no joint."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.io import loadmat

from hwhup_core.body.joints import MPII_16
from hwhup_core.data.coco_file import read_json
from hwhup_core.data.coco_person import BadPerson, finite_numbers
from hwhup_core.data.sample import BadSamples
from hwhup_core.errors import AssetError


@dataclass(frozen=True)
class MpiiPerson:
    """One person as a file has it, pixels counted from 1."""

    name: str
    image: str
    split: str
    rows: Float[ndarray, '16 4']
    """x, y, whether labelled, whether seen (NaN unknown)."""
    scale: float
    """NaN where there is none."""
    centre: Float[ndarray, '2']
    action: str = ''


def people_of(file: Path, bad: BadSamples) -> Iterator[MpiiPerson]:
    """Yield the people of a label file, published (.mat) or converted (.json)."""
    return _converted_people(file, bad) if file.suffix == '.json' else _published_people(file, bad)


def _converted_people(file: Path, bad: BadSamples) -> Iterator[MpiiPerson]:
    """Yield the people of a JSON with `joints`, `joints_vis`, `image`, `scale` and `center`."""
    entries = read_json(file)
    if not isinstance(entries, list) or not all(
        isinstance(e, dict) and isinstance(e.get('image'), str) for e in entries
    ):
        raise AssetError(f'{file} is not a list of people with `image`. Give annot/train.json of MPII.')
    places: Counter[str] = Counter()
    for entry in entries:
        places[entry['image']] += 1
        name = f'{file.stem}/{Path(entry["image"]).stem}/{places[entry["image"]]}'
        try:
            person = _converted_person(entry, name, file)
        except BadPerson as error:
            bad.add(name, error.reason, error)
            continue
        if person is None:
            bad.reasons['unlabelled'] += 1
        else:
            yield person


def _converted_person(entry: dict[str, Any], name: str, file: Path) -> MpiiPerson | None:
    where = f'{file}, {name}'
    if not entry.get('joints'):
        return None
    joints = finite_numbers(entry['joints'], 'joints', where)
    labelled = finite_numbers(entry.get('joints_vis', []), 'joints_vis', where)
    if joints.shape != (len(MPII_16), 2) or labelled.shape != (len(MPII_16),):
        found = f'`joints` is {joints.shape}, `joints_vis` {labelled.shape}'
        raise BadPerson('keypoint_count', f'{where}: {found}, expected (16, 2) and (16,). Use the published file.')
    if not labelled.any():
        return None
    centre = finite_numbers(entry.get('center', [-1, -1]), 'center', where)
    scale = finite_numbers(entry.get('scale', -1), 'scale', where)
    if centre.shape != (2,) or scale.shape != ():
        raise BadPerson(
            'box', f'{where}: `center` is {centre.shape}, `scale` {scale.shape}, expected (2,) and a number.'
        )
    rows = np.concatenate([joints, labelled[:, None], np.full((len(MPII_16), 1), np.nan)], axis=1)
    return MpiiPerson(name, entry['image'], file.stem, rows, float(scale), centre)


def _published_people(file: Path, bad: BadSamples) -> Iterator[MpiiPerson]:
    """Yield the people of the published training pictures."""
    release = _release(file)
    training, actions = _many(_field(release, 'img_train')), _many(_field(release, 'act'))
    images = _many(_field(release, 'annolist'))
    if not images or len(training) != len(images):
        raise AssetError(f'{file}: {len(images)} pictures and {len(training)} flags img_train. Copy the file again.')
    for place, (image, flag) in enumerate(zip(images, training, strict=True)):
        if not flag:
            continue
        picture = str(_field(_field(image, 'image'), 'name') or '')
        action = str(_field(actions[place], 'cat_name') or '') if len(actions) == len(images) else ''
        for number, rectangle in enumerate(_many(_field(image, 'annorect')), start=1):
            name = f'train/{Path(picture).stem}/{number}'
            try:
                rows = _published_rows(rectangle, f'{file}, {name}')
            except BadPerson as error:
                bad.add(name, error.reason, error)
                continue
            if rows is None:
                bad.reasons['unlabelled'] += 1
                continue
            position = _field(rectangle, 'objpos')
            centre = np.array([_number(_field(position, axis)) for axis in 'xy'])
            yield MpiiPerson(name, picture, 'train', rows, _number(_field(rectangle, 'scale')), centre, action)


def _release(file: Path) -> Any:
    try:
        content = loadmat(file, struct_as_record=False, squeeze_me=True)
    except (
        OSError, ValueError, TypeError, EOFError, NotImplementedError, IndexError, KeyError, zlib.error
    ) as error:  # fmt: skip
        raise AssetError(f'{file} is not a whole MATLAB file ({error}). Copy it again.') from error
    if not hasattr(content.get('RELEASE'), '_fieldnames'):
        raise AssetError(f'{file} has no struct RELEASE. Give mpii_human_pose_v1_u12_1.mat as published.')
    return content['RELEASE']


def _published_rows(rectangle: Any, where: str) -> Float[ndarray, '16 4'] | None:
    """Return the joints of one person by id; None without any."""
    points = _many(_field(_field(rectangle, 'annopoints'), 'point'))
    if not points:
        return None
    rows = np.zeros((len(MPII_16), 4))
    rows[:, 3] = np.nan
    for point in points:
        number = _number(_field(point, 'id'))
        if number not in range(len(MPII_16)) or rows[int(number), 2]:
            raise BadPerson('joint_id', f'{where}: joint id {number} twice or not 0 to 15. Copy the file again.')
        x, y = (_number(_field(point, axis)) for axis in 'xy')
        rows[int(number)] = x, y, 1.0, _seen(_field(point, 'is_visible'), where)
    return rows


def _seen(flag: Any, where: str) -> float:
    """Return 1, 0 or NaN of a flag that is a number, a character, or empty."""
    seen = _number(flag)
    if not np.isnan(seen) and seen not in (0.0, 1.0):
        raise BadPerson('flags', f'{where}: is_visible is {flag!r}, expected 0 or 1. Copy the file again.')
    return seen


def _field(value: Any, name: str) -> Any:
    """Return a field of a struct; None where the struct or the field is not there or empty."""
    found = getattr(value, name, None) if hasattr(value, '_fieldnames') else None
    return None if isinstance(found, ndarray) and found.size == 0 else found


def _many(value: Any) -> list[Any]:
    """Return the elements of what MATLAB squeezes: nothing, one or several."""
    if value is None:
        return []
    return list(value.ravel()) if isinstance(value, ndarray) else [value]


def _number(value: Any) -> float:
    """Return a number that may stand as text; NaN for none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return float('nan')
