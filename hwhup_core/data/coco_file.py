"""
A COCO key point file -> its people, checked one by one. Several published sets come in this form.

COCO's key points are 0-indexed pixels: the first pixel's centre is 0, here 0.5, so 0.5 is added. Its boxes come from
outlines that count from the picture's corner, as here, and stay as they are. Flags v: 0 not labelled, 1 labelled but
occluded, 2 labelled and seen.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hwhup_core.body.joints import COCO_17, indices
from hwhup_core.data.coco_person import BadPerson, bounds_of, check_place, keypoints_of, size_of
from hwhup_core.data.sample import BadSamples, Keypoints, centred_box
from hwhup_core.errors import AssetError
from hwhup_core.types import PersonBox

BOX_SCALE = 1.2
"""Side of a person's square over the longer side of the published box (method 1.5)."""
LEFT_OUT = ('unlabelled', 'crowd', 'incomplete_limbs')
"""Reasons in `BadSamples.reasons` that count people left out on purpose, not bad ones."""
Flags = Literal['required', 'assumed', 'optional']
"""What to do where a file has no visibility flags: refuse it, take labelled joints as seen, or as unknown (NaN)."""
_ENOUGH_PEOPLE = 20
"""So many people whose labelled joints are all seen, or all occluded, are no accident: nobody set the flags."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CocoPerson:
    """One labelled person of a COCO file."""

    number: int | str
    """Its annotation id."""
    picture: Path
    size: tuple[int, int] | None
    """Width and height that the file says; None where it does not."""
    keypoints: Keypoints
    """In the order of `joints.COCO_17`."""
    box: PersonBox
    image: Mapping[str, Any]
    """The picture's entry as it is in the file."""
    annotation: Mapping[str, Any]
    """The person's entry as it is in the file."""


@dataclass(frozen=True)
class _Content:
    """What a COCO file holds, before its people are checked."""

    path: Path
    images: Mapping[int | str, Mapping[str, Any]]
    repeated: frozenset[int | str]
    """Image ids that stand there twice."""
    orders: Mapping[int | str, tuple[int, ...] | None]
    """Category id -> where each of `COCO_17` stands; None for a category without key points."""
    annotations: Sequence[Mapping[str, Any]]
    numbers: int
    """Numbers per key point: 3, or 2 where there are no flags."""
    folders: tuple[Path, ...]
    """Where pictures may lie."""


def read_people(path: Path, folders: Sequence[Path], bad: BadSamples, flags: Flags) -> list[CocoPerson]:
    """Return the people of a COCO file with labelled joints, in its order; a picture lies in one of `folders`."""
    content = _read_content(path, tuple(folders))
    if content.numbers == 2 and flags == 'required':
        raise AssetError(f'{path} has two numbers per key point and so no visibility flags. {_WITHOUT_FLAGS}')
    people = []
    seen: set[int | str] = set()
    for annotation in content.annotations:
        if annotation.get('iscrowd'):
            bad.reasons['crowd'] += 1
            continue
        try:
            person = _person(content, annotation, seen)
        except BadPerson as error:
            bad.add(f'{path.name} annotation {annotation.get("id")}', error.reason, error)
            continue
        if person is not None:
            people.append(person)
        elif content.orders[annotation['category_id']] is not None:
            bad.reasons['unlabelled'] += 1
    return _settle_flags(content, people, flags)


_WITHOUT_FLAGS = (
    'Weak supervision needs to know which joints are occluded: the depth there is that of the occluder. Use the '
    'published file, or label the flags (0 not labelled, 1 occluded, 2 seen); to take every labelled joint as seen all '
    'the same, say so: --assume-visible.'
)


def _settle_flags(content: _Content, people: list[CocoPerson], flags: Flags) -> list[CocoPerson]:
    """Return the people as they are where the flags are real, else refuse them or replace the flags."""
    kinds = {
        float(seen) for person in people for seen in np.unique(person.keypoints.visible[person.keypoints.labelled])
    }
    if len(kinds) == 2 or not people:
        return people
    if content.numbers == 3:
        every = 'v = 2 (seen)' if kinds == {1.0} else 'v = 1 (occluded)'
        found = f'{content.path}: every labelled joint of its {len(people)} people has {every}'
        if len(people) < _ENOUGH_PEOPLE:
            _log.warning('%s. So few may be so; if nobody set the flags, do not trust them.', found)
            return people
        if flags == 'required':
            raise AssetError(f'{found}, so nobody set the flags. {_WITHOUT_FLAGS}')
        _log.warning('%s; taken as %s.', found, 'seen' if flags == 'assumed' else 'unknown')
    return [_with_visible(person, 1.0 if flags == 'assumed' else np.nan) for person in people]


def _with_visible(person: CocoPerson, value: float) -> CocoPerson:
    visible = np.where(person.keypoints.labelled, np.float32(value), np.float32(np.nan))
    return replace(person, keypoints=replace(person.keypoints, visible=visible))


def _read_content(path: Path, folders: tuple[Path, ...]) -> _Content:
    plain = read_json(path)
    lists = [plain.get(key) if isinstance(plain, dict) else None for key in ('images', 'annotations', 'categories')]
    if not all(isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries) for entries in lists):
        raise AssetError(
            f'{path} is not a COCO file: expected the lists images, annotations and categories. Give the file of the '
            'key points, such as person_keypoints_val2017.json.'
        )
    images, annotations, categories = (entries or [] for entries in lists)
    if not any('keypoints' in annotation for annotation in annotations):
        raise AssetError(
            f'{path} has no key points in its {len(annotations)} annotations. Give person_keypoints_*.json.'
        )
    ids = Counter(_id(path, image) for image in images)
    lengths = Counter(len(a['keypoints']) for a in annotations if isinstance(a.get('keypoints'), list))
    content = _Content(
        path=path,
        images={_id(path, image): image for image in images},
        repeated=frozenset(number for number, count in ids.items() if count > 1),
        orders={_id(path, category): _order(path, category) for category in categories},
        annotations=annotations,
        numbers=2 if lengths and lengths.most_common(1)[0][0] == 2 * len(COCO_17) else 3,
        folders=folders,
    )
    if not any(_picture(content, image) for image in images):
        listed = ', '.join(str(folder) for folder in folders)
        raise AssetError(
            f'None of the {len(images)} pictures of {path} is there. Looked in: {listed}. Copy them there.'
        )
    return content


def read_json(path: Path) -> Any:
    """Return what a JSON file holds."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise AssetError(f'Cannot read {path}: {error.strerror}. Copy the data set whole.') from error
    except (ValueError, RecursionError) as error:
        raise AssetError(f'{path} is not whole JSON ({error}). Copy it again.') from error


def _id(path: Path, entry: Mapping[str, Any]) -> int | str:
    number = entry.get('id')
    if not isinstance(number, (int, str)):
        raise AssetError(
            f'{path}: an entry of images or categories has the id {number!r}, expected a number. Correct the file.'
        )
    return number


def _order(path: Path, category: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Return where each of COCO's joints stands in a category, by name."""
    names = category.get('keypoints')
    if names is None:
        return None
    plain = [str(name).lower().replace(' ', '_').replace('-', '_') for name in names]
    if sorted(plain) != sorted(COCO_17):
        lacking = ', '.join(name for name in COCO_17 if name not in plain) or 'none'
        unknown = ', '.join(name for name in plain if name not in COCO_17) or 'none'
        raise AssetError(
            f'{path}: category {category.get("name")!r} has {len(plain)} key points that are not the 17 of COCO '
            f'(lacking: {lacking}; unknown: {unknown}). Rename them in the file if they are the same points, or use '
            'the reader of that data set.'
        )
    return tuple(indices(plain, COCO_17))


def _picture(content: _Content, image: Mapping[str, Any]) -> Path | None:
    name = str(image.get('file_name', ''))
    return next((folder / name for folder in content.folders if name and (folder / name).is_file()), None)


def _person(content: _Content, annotation: Mapping[str, Any], seen: set[int | str]) -> CocoPerson | None:
    """Return a checked person; None for what is no person and for one without labelled joints."""
    number = annotation.get('id')
    where = f'{content.path}, annotation {number}'
    order = _order_of(content, annotation, where)
    if order is None:
        return None
    if not isinstance(number, (int, str)) or number in seen:
        raise BadPerson('duplicate_id', f'{where}: its id is missing or stands twice. Give each its own.')
    seen.add(number)
    image = _image(content, annotation.get('image_id'), where)
    keypoints = keypoints_of(annotation.get('keypoints'), content.numbers, order, where)
    if not keypoints.labelled.any():
        return None
    size = size_of(image, where)
    bounds = bounds_of(annotation.get('bbox'), keypoints, where)
    check_place(keypoints.pixels[keypoints.labelled], size, bounds, where)
    picture = _picture(content, image)
    if picture is None:
        listed = ', '.join(str(folder) for folder in content.folders)
        raise BadPerson(
            'missing_picture', f'{where}: no {image.get("file_name")} in {listed}. Copy the pictures whole.'
        )
    try:
        box = centred_box(*bounds, BOX_SCALE)
    except AssetError as error:
        raise BadPerson('box', f'{where}: {error}') from error
    return CocoPerson(number, picture, size, keypoints, box, image, annotation)


def _order_of(content: _Content, annotation: Mapping[str, Any], where: str) -> tuple[int, ...] | None:
    category = annotation.get('category_id')
    if not isinstance(category, (int, str)) or category not in content.orders:
        raise BadPerson('category', f'{where}: no category {category!r} in the file. Correct `category_id`.')
    return content.orders[category]


def _image(content: _Content, number: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(number, (int, str)) or number not in content.images:
        raise BadPerson(
            'unknown_image', f'{where}: no image {number!r} in the file. Correct `image_id`, or copy again.'
        )
    if number in content.repeated:
        raise BadPerson('duplicate_id', f'{where}: image id {number} stands twice in the file. Give each its own.')
    return content.images[number]
