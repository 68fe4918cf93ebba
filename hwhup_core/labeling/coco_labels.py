"""
Labels of a recording as a COCO key-point file: v 0 no label, 1 occluded, 2 seen; the first pixel's centre is 0.

The category names our joints, COCO's own 17 among them; any file whose category names its key points can be imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwhup_core.errors import AssetError
from hwhup_core.labeling.exchange import (
    EXPORTED_JOINTS,
    LabelFormat,
    PersonLabel,
    Point,
    require_flags,
    without_flags,
)

FILE = 'person_keypoints.json'
_SHIFT = 0.5


def write_coco_labels(folder: Path, people: Sequence[PersonLabel]) -> None:
    """Write `person_keypoints.json` beside images/."""
    images = [
        {'id': number, 'file_name': person.picture, 'width': person.width, 'height': person.height}
        for number, person in enumerate(people, 1)
    ]
    category = {
        'id': 1,
        'name': 'person',
        'supercategory': 'person',
        'keypoints': list(EXPORTED_JOINTS),
        'skeleton': [],
    }
    content = {
        'images': images,
        'categories': [category],
        'annotations': [_annotation(number, person) for number, person in enumerate(people, 1)],
    }
    (folder / FILE).write_text(json.dumps(content), encoding='utf-8')


def _annotation(number: int, person: PersonLabel) -> dict[str, Any]:
    keypoints: list[float] = []
    for name in EXPORTED_JOINTS:
        point = person.points.get(name)
        keypoints += [0, 0, 0] if point is None else [point.x - _SHIFT, point.y - _SHIFT, 2 if point.visible else 1]
    across = [point.x - _SHIFT for point in person.points.values()] or [0.0]
    down = [point.y - _SHIFT for point in person.points.values()] or [0.0]
    box = [min(across), min(down), max(across) - min(across), max(down) - min(down)]
    return {
        'id': number, 'image_id': number, 'category_id': 1, 'iscrowd': 0, 'keypoints': keypoints, 'bbox': box,
        'num_keypoints': len(person.points), 'area': box[2] * box[3],
    }  # fmt: skip


def read_coco_labels(path: Path, assume_visible: bool = False) -> list[PersonLabel]:
    """Return the people of a COCO key-point file that has a label; a crowd is left out."""
    content = _content(path)
    images = {image['id']: image for image in content['images']}
    names = {category['id']: category.get('keypoints') for category in content['categories']}
    people = [
        _person(path, annotation, images, names, assume_visible)
        for annotation in content['annotations']
        if not annotation.get('iscrowd')
    ]
    labelled = [person for person in people if person.points]
    require_flags(path, labelled, assume_visible)
    return labelled


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise AssetError(f'{path} is not a whole JSON file ({error}). Export it again.') from error
    lacking = [key for key in ('images', 'categories', 'annotations') if not isinstance(content.get(key), list)]
    if lacking:
        raise AssetError(f'{path} lacks {", ".join(lacking)}. Expected a COCO key-point file.')
    return dict(content)


def _person(
    path: Path,
    annotation: Mapping[str, Any],
    images: Mapping[Any, Mapping[str, Any]],
    names: Mapping[Any, Sequence[str] | None],
    assume_visible: bool,
) -> PersonLabel:
    what = f'{path}, annotation {annotation.get("id")}'
    image = images.get(annotation.get('image_id'))
    joints = names.get(annotation.get('category_id'))
    if image is None or not joints:
        raise AssetError(f'{what} belongs to no picture, or to a category without key points. Export the file again.')
    values = annotation.get('keypoints') or []
    if len(values) == 2 * len(joints) and not assume_visible:
        raise without_flags(path, f'annotation {annotation.get("id")} has two numbers a joint, expected x, y, v')
    width = 2 if len(values) == 2 * len(joints) else 3
    if len(values) != width * len(joints):
        raise AssetError(f'{what} has {len(values)} numbers, expected {3 * len(joints)}. Export the file again.')
    points = {}
    for name, *numbers in zip(joints, *(values[k::width] for k in range(width))):
        flag = numbers[2] if width == 3 else 2
        if flag not in (0, 1, 2):
            raise AssetError(f'{what}, {name}: v is {flag}, expected 0, 1 or 2. Export the file again.')
        if flag:
            points[name] = Point(float(numbers[0]) + _SHIFT, float(numbers[1]) + _SHIFT, flag == 2 or assume_visible)
    return PersonLabel(str(image['file_name']), int(image['width']), int(image['height']), points)


COCO = LabelFormat('coco', write_coco_labels, read_coco_labels)
