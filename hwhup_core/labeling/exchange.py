"""
Labels on their way to a labelling tool and back, whatever its format: one record a person and picture.

Positions are pixels from the upper left corner of the picture: the first pixel's centre is 0.5. A labelled joint always
says whether the camera sees it; a file that cannot say is refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from hwhup_core.body.joints import COCO_17, LSP_14
from hwhup_core.errors import AssetError, HwhupError
from hwhup_core.labeling.labels import FrameLabel, LabelStore

EXPORTED_JOINTS = (*LSP_14, *(name for name in COCO_17 if name not in LSP_14))
"""What people are asked to label: the joints that teach, then the face."""
ENOUGH_TO_JUDGE = 20
"""So many people whose joints are all seen are no chance: the tool lost the flags."""


@dataclass(frozen=True)
class Point:
    """One labelled joint."""

    x: float
    y: float
    """Pixels from the upper left corner."""
    visible: bool
    """Seen, or labelled although it is occluded."""


@dataclass(frozen=True)
class PersonLabel:
    """One person in one picture, as a tool knows it."""

    picture: str
    """File name of the picture, as exported."""
    width: int
    height: int
    points: Mapping[str, Point]
    """By joint name; joints without a label are not in it."""


@dataclass
class ImportReport:
    """What became of the labels of a file."""

    imported: int = 0
    joints: int = 0
    occluded: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    """By reason."""
    messages: list[str] = field(default_factory=list)


def without_flags(path: Path, found: str) -> AssetError:
    """Return the refusal of a file that does not say which joints are seen."""
    return AssetError(
        f'{path} does not say which joints the camera sees: {found}. Weak supervision needs the flags: an occluded '
        'joint shows the depth of what hides it. Export with visibility (see docs/adapt-your-room.md), or say '
        '--assume-visible if really every labelled joint is seen.'
    )


def require_flags(path: Path, people: Sequence[PersonLabel], assume_visible: bool) -> None:
    """Raise AssetError where so many people without one occluded joint say that the tool lost the flags."""
    occluded = sum(not point.visible for person in people for point in person.points.values())
    if not occluded and len(people) >= ENOUGH_TO_JUDGE and not assume_visible:
        raise without_flags(path, f'every joint of its {len(people)} people is marked as seen')


def to_person(label: FrameLabel, picture: str, size: tuple[int, int]) -> PersonLabel:
    """Return the label as tools know it; `size` is width and height of the picture."""
    points = {
        name: Point(float(x), float(y), bool(seen))
        for name, (x, y), seen, known in zip(label.joints, label.pixels, label.visible, label.labelled)
        if known
    }
    return PersonLabel(picture, size[0], size[1], points)


def to_label(person: PersonLabel, frame: str) -> FrameLabel:
    """Return the label of a frame, made by people."""
    names = tuple(person.points)
    points = list(person.points.values())
    return FrameLabel(
        frame=frame,
        joints=names,
        pixels=np.array([(point.x, point.y) for point in points], np.float64).reshape(-1, 2),
        labelled=np.ones(len(names), bool),
        visible=np.array([float(point.visible) for point in points]),
        confidence=np.ones(len(names)),
        source='imported',
        status='accepted',
    )


def frame_of(picture: str, frames: Mapping[str, object] | set[str]) -> str:
    """
    Return the frame that a picture's name means: its stem, without folders and without what an upload put before it.

    Raises AssetError where it is no frame of the recording.
    """
    stem = PurePosixPath(picture.replace('\\', '/')).name.split('.')[0]
    for candidate in (stem, stem.rpartition('-')[2], stem.rpartition('_')[2]):
        if candidate in frames:
            return candidate
    raise AssetError(
        f'{picture} is no picture of this recording, which has {len(frames)} frames. Keep the exported file names, or '
        'import into the recording that they came from.'
    )


def import_people(
    store: LabelStore,
    people: Sequence[PersonLabel],
    sizes: Mapping[str, tuple[int, int]],
    skip_bad: bool = False,
) -> ImportReport:
    """
    Put the labels into the store, as `imported`; `sizes` maps every frame of the recording to width and height.

    Either all are imported or, without `skip_bad`, none: the first one that fits no frame raises AssetError.
    """
    report = ImportReport()
    labels: dict[str, FrameLabel] = {}
    for person in people:
        try:
            frame = frame_of(person.picture, set(sizes))
            _require_fit(person, frame, sizes[frame], frame in labels)
        except HwhupError as error:
            if not skip_bad:
                raise
            report.left_out['does not fit a frame'] += 1
            report.messages.append(str(error))
            continue
        labels[frame] = to_label(person, frame)
    for label in labels.values():
        store.put(label)
        report.imported += 1
        report.joints += len(label.joints)
        report.occluded += int((label.visible == 0).sum())
    return report


def _require_fit(person: PersonLabel, frame: str, size: tuple[int, int], twice: bool) -> None:
    if (person.width, person.height) != size:
        turned = ' Width and height are swapped.' if (person.height, person.width) == size else ''
        raise AssetError(
            f'{person.picture} was labelled at {person.width}x{person.height}, frame {frame} is {size[0]}x{size[1]}.'
            f'{turned} Label the exported pictures as they are.'
        )
    if twice:
        raise AssetError(f'{person.picture} has two people. Keep the one that is recorded.')
    if not person.points:
        raise AssetError(f'{person.picture} has no labelled joint. Reject the frame instead, or remove the entry.')
    outside = [name for name, point in person.points.items() if not _inside(point, size)]
    if outside:
        raise AssetError(f'{person.picture}: {", ".join(outside)} lie outside the picture. Correct them.')


def _inside(point: Point, size: tuple[int, int]) -> bool:
    return 0 <= point.x <= size[0] and 0 <= point.y <= size[1]


@dataclass(frozen=True)
class LabelFormat:
    """One tool's way of writing labels down."""

    name: str
    write: Callable[[Path, Sequence[PersonLabel]], None]
    """Writes the labels, and the template that teaches the tool our joints, into a folder that has images/."""
    read: Callable[[Path, bool], list[PersonLabel]]
    """File, and whether every labelled joint counts as seen, whatever the file says -> people."""


def write_package(
    folder: Path, people: Sequence[PersonLabel], picture: Callable[[str], UInt8[ndarray, 'h w 3']], form: LabelFormat
) -> None:
    """Write the pictures of these people (RGB, by name) into `folder`/images, beside the file of a labelling tool."""
    (folder / 'images').mkdir(parents=True, exist_ok=True)
    for person in people:
        if not cv2.imwrite(str(folder / 'images' / person.picture), picture(person.picture)[..., ::-1]):
            raise AssetError(f'Cannot write {folder / "images" / person.picture}. Is there space left?')
    form.write(folder, people)
