"""
Labels of a recording as `CVAT for images 1.1`: a skeleton `person` a picture, one point a joint.

`outside` says that there is no label, `occluded` that the camera does not see the joint. Plain points named after
joints are read as well. CVAT's export of points to COCO loses these flags; this format keeps them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from hwhup_core.errors import AssetError
from hwhup_core.labeling.exchange import (
    EXPORTED_JOINTS,
    LabelFormat,
    PersonLabel,
    Point,
    require_flags,
    without_flags,
)

FILE, TEMPLATE = 'annotations.xml', 'cvat_labels.json'
_PERSON = 'person'


def write_cvat(folder: Path, people: Sequence[PersonLabel]) -> None:
    """Write `annotations.xml`, and `cvat_labels.json` for the raw view of a task's labels, beside images/."""
    root = Element('annotations')
    ElementTree.SubElement(root, 'version').text = '1.1'
    for number, person in enumerate(people):
        size = {'width': str(person.width), 'height': str(person.height)}
        image = ElementTree.SubElement(root, 'image', {'id': str(number), 'name': person.picture, **size})
        skeleton = ElementTree.SubElement(image, 'skeleton', {'label': _PERSON, 'source': 'manual', 'z_order': '0'})
        for name in EXPORTED_JOINTS:
            ElementTree.SubElement(skeleton, 'points', _attributes(name, person.points.get(name)))
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(folder / FILE, encoding='utf-8', xml_declaration=True)
    (folder / TEMPLATE).write_text(json.dumps(_template(), indent=2), encoding='utf-8')


def _attributes(name: str, point: Point | None) -> dict[str, str]:
    place = (0.0, 0.0) if point is None else (point.x, point.y)
    return {
        'label': name,
        'source': 'manual',
        'outside': str(int(point is None)),
        'occluded': str(int(point is not None and not point.visible)),
        'points': f'{place[0]:.3f},{place[1]:.3f}',
    }


def _template() -> list[dict[str, object]]:
    """Return the labels of a CVAT task: a skeleton whose elements lie on a circle until they are drawn."""
    elements = [{'name': name, 'type': 'points', 'attributes': []} for name in EXPORTED_JOINTS]
    count = len(EXPORTED_JOINTS)
    nodes = ''.join(
        f'<circle r="1.5" cx="{50 + 40 * math.cos(2 * math.pi * k / count):.1f}" '
        f'cy="{50 + 40 * math.sin(2 * math.pi * k / count):.1f}" data-type="element node" data-element-id="{k + 1}" '
        f'data-node-id="{k + 1}" data-label-name="{name}"></circle>'
        for k, name in enumerate(EXPORTED_JOINTS)
    )
    return [{'name': _PERSON, 'type': 'skeleton', 'attributes': [], 'sublabels': elements, 'svg': nodes}]


def read_cvat(path: Path, assume_visible: bool = False) -> list[PersonLabel]:
    """Return the people of an XML file of CVAT that has a label; a picture has at most one."""
    people = [_person(path, image, assume_visible) for image in _root(path).iter('image')]
    labelled = [person for person in people if person.points]
    require_flags(path, labelled, assume_visible)
    return labelled


def _root(path: Path) -> Element:
    try:
        content = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise AssetError(f'Cannot read {path} ({error}). Expected the XML of `CVAT for images 1.1`.') from error
    if '<!DOCTYPE' in content or '<!ENTITY' in content:  # CVAT writes neither; entities can grow without bounds.
        raise AssetError(f'{path} declares entities, which CVAT never does. Export it again.')
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise AssetError(f'{path} is not whole XML ({error}). Export it again.') from error
    if root.tag != 'annotations':
        raise AssetError(f'{path} holds <{root.tag}>, expected <annotations>. Export as `CVAT for images 1.1`.')
    return root


def _person(path: Path, image: Element, assume_visible: bool) -> PersonLabel:
    picture = image.get('name', '')
    points: dict[str, Point] = {}
    for element in _points(image):
        name = element.get('label', '')
        if name in points:
            raise AssetError(f'{path}, {picture}: {name} is labelled twice. Keep one person a picture.')
        if element.get('outside') == '1':
            continue
        flag = element.get('occluded')
        if flag is None and not assume_visible:
            raise without_flags(path, f'{name} in {picture} has no attribute `occluded`')
        x, y = _place(path, picture, element)
        points[name] = Point(x, y, flag != '1' or assume_visible)
    try:
        return PersonLabel(picture, int(image.get('width', '')), int(image.get('height', '')), points)
    except ValueError as error:
        raise AssetError(f'{path}, {picture} has no width or height. Export it again.') from error


def _points(image: Element) -> Iterator[Element]:
    for child in image:
        if child.tag == 'skeleton':
            yield from child.iter('points')
        elif child.tag == 'points':
            yield child


def _place(path: Path, picture: str, element: Element) -> tuple[float, float]:
    text = element.get('points', '')
    try:
        x, y = map(float, text.split(','))
    except ValueError as error:
        raise AssetError(
            f'{path}, {picture}: {element.get("label")} is at {text!r}, expected one x,y. Label joints as points.'
        ) from error
    return x, y


CVAT = LabelFormat('cvat', write_cvat, read_cvat)
