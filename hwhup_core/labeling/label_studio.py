"""
Labels of a recording for Label Studio: tasks in JSON, and the labelling interface that teaches it our joints.

Positions are per cent of the picture. Label Studio knows no occlusion, so every key point carries a choice of its own
region, `seen` or `occluded`; a key point without one is refused.
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

FILE, TEMPLATE = 'tasks.json', 'label_studio.xml'
SEEN, OCCLUDED = 'seen', 'occluded'
_IMAGE, _JOINT, _VISIBILITY = 'image', 'joint', 'visibility'


def write_label_studio(folder: Path, people: Sequence[PersonLabel]) -> None:
    """Write `tasks.json` (to be imported into a project) and `label_studio.xml` (its interface) beside images/."""
    tasks = [
        {
            'id': number,
            'data': {_IMAGE: f'/data/local-files/?d=images/{person.picture}'},
            'annotations': [{'result': _regions(person)}],
        }
        for number, person in enumerate(people, 1)
    ]
    (folder / FILE).write_text(json.dumps(tasks), encoding='utf-8')
    (folder / TEMPLATE).write_text(_interface(), encoding='utf-8')


def _regions(person: PersonLabel) -> list[dict[str, Any]]:
    size = {'original_width': person.width, 'original_height': person.height, 'image_rotation': 0, 'to_name': _IMAGE}
    regions: list[dict[str, Any]] = []
    for name, point in person.points.items():
        place = {'x': 100 * point.x / person.width, 'y': 100 * point.y / person.height, 'width': 0.5}
        shared = {'id': name, **size}
        regions.append(
            {**shared, 'type': 'keypointlabels', 'from_name': _JOINT, 'value': {**place, 'keypointlabels': [name]}}
        )
        choice = SEEN if point.visible else OCCLUDED
        regions.append({**shared, 'type': 'choices', 'from_name': _VISIBILITY, 'value': {**place, 'choices': [choice]}})
    return regions


def _interface() -> str:
    labels = '\n'.join(f'    <Label value="{name}"/>' for name in EXPORTED_JOINTS)
    return f"""<View>
  <Image name="{_IMAGE}" value="${_IMAGE}" zoom="true"/>
  <KeyPointLabels name="{_JOINT}" toName="{_IMAGE}" strokeWidth="3">
{labels}
  </KeyPointLabels>
  <Choices name="{_VISIBILITY}" toName="{_IMAGE}" perRegion="true" required="true" choice="single">
    <Choice value="{SEEN}"/>
    <Choice value="{OCCLUDED}"/>
  </Choices>
</View>
"""


def read_label_studio(path: Path, assume_visible: bool = False) -> list[PersonLabel]:
    """Return the labelled people of a JSON export; of several annotations of a task the last one that was kept."""
    try:
        tasks = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise AssetError(f'{path} is not a whole JSON file ({error}). Export it again, as `JSON`.') from error
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise AssetError(f'{path} is not a list of tasks. Export it again, as `JSON` (not `JSON-MIN`).')
    people = [person for task in tasks if (person := _person(path, task, assume_visible)) is not None]
    require_flags(path, people, assume_visible)
    return people


def _person(path: Path, task: Mapping[str, Any], assume_visible: bool) -> PersonLabel | None:
    if 'annotations' not in task or 'data' not in task:
        raise AssetError(f'{path}, task {task.get("id")} has no annotations. Export it as `JSON` (not `JSON-MIN`).')
    kept = [each for each in task['annotations'] if not each.get('was_cancelled')]
    regions = kept[-1].get('result', []) if kept else []
    keypoints = [region for region in regions if region.get('type') == 'keypointlabels']
    if not keypoints:
        return None
    choices = {
        region['id']: region['value']['choices'][0]
        for region in regions
        if region.get('type') == 'choices' and region.get('value', {}).get('choices')
    }
    points: dict[str, Point] = {}
    for region in keypoints:
        name, point = _point(path, task, region, choices.get(region.get('id')), assume_visible)
        if name in points:
            raise AssetError(f'{path}, task {task.get("id")}: {name} is labelled twice. Keep one person a picture.')
        points[name] = point
    width, height = (int(keypoints[0][f'original_{side}']) for side in ('width', 'height'))
    return PersonLabel(str(task['data'].get(_IMAGE, '')), width, height, points)


def _point(
    path: Path, task: Mapping[str, Any], region: Mapping[str, Any], choice: str | None, assume_visible: bool
) -> tuple[str, Point]:
    what = f'{path}, task {task.get("id")}'
    try:
        value = region['value']
        name, x, y = str(value['keypointlabels'][0]), float(value['x']), float(value['y'])
        width, height = float(region['original_width']), float(region['original_height'])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise AssetError(f'{what} has a key point without {error}. Export it again, as `JSON`.') from error
    if choice not in (SEEN, OCCLUDED) and not assume_visible:
        raise without_flags(path, f'{name} of task {task.get("id")} is {choice!r}, expected {SEEN} or {OCCLUDED}')
    return name, Point(x * width / 100, y * height / 100, choice != OCCLUDED or assume_visible)


LABEL_STUDIO = LabelFormat('label-studio', write_label_studio, read_label_studio)
