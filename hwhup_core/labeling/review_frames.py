"""
What the review page shows and saves: the frames of a recording, and the labels as they are on the disk.

Everything a person changes is put into the store as a `manual` label of the whole frame. A joint that is as the
automatic (or imported) label has it keeps its confidence until the frame is accepted; all others get 1.
"""

from __future__ import annotations

import json
import math
import threading
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from hwhup_core.body.joints import SLP_14
from hwhup_core.data.recording import open_recording, read_stored
from hwhup_core.data.recording_card import FrameRecord, Json
from hwhup_core.data.recording_units import decode_unit
from hwhup_core.errors import AssetError, HwhupError
from hwhup_core.labeling.exchange import Point
from hwhup_core.labeling.labels import FILE, FOLDER, STATUSES, FrameLabel, LabelStatus, LabelStore
from hwhup_core.labeling.rank import read_ranking
from hwhup_core.labeling.review_skeleton import bones, template
from hwhup_core.render.picture import depth_to_rgb
from hwhup_core.types import PersonBox

MASK = 'mask'
MASK_COLOR = (90, 220, 200, 110)
"""Red, green, blue, alpha of what the mask covers."""
LONGEST_NOTE = 500


class RequestRefused(HwhupError):
    """The page, or whoever sent this, asked for something that is not there or makes no sense."""

    def __init__(self, message: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Change:
    """A label as a person wants it."""

    joints: Mapping[str, Point]
    """Joints that have a label; all others of the frame have none."""
    status: LabelStatus
    note: str
    revision: str
    """Of the label that the person saw."""


class ReviewFrames:
    """The frames of one recording with their labels; the methods may be called from several threads."""

    def __init__(self, folder: Path) -> None:
        self.recording = open_recording(folder)
        if not len(self.recording):
            raise AssetError(f'{folder} has no frames yet. Record or import some, then review them.')
        self._mutex = threading.Lock()
        self._file = self.recording.folder / FOLDER / FILE
        self._reload()
        units = [record.unit for record in self.recording.frames]
        places = {unit: i for i, unit in enumerate(units)}
        ranked = [places[unit] for unit in read_ranking(self.recording.folder) if unit in places]
        self._order = list(dict.fromkeys([*ranked, *range(len(units))]))
        self._ranked = bool(ranked)

    def overview(self) -> Json:
        """Return the frames in the order in which to look at them, with the status of each."""
        current = self._labels()
        return {
            'name': self.recording.folder.resolve().name,
            'ranked': self._ranked,
            'privacy': self.recording.card.privacy,
            'order': self._order,
            'frames': [
                {'unit': record.unit, 'status': _frame_status(current.get(record.unit))}
                for record in self.recording.frames
            ],
        }

    def frame(self, i: int) -> Json:
        """Return what there is of one frame."""
        record = self._record(i)
        return self._described(i, record, self._labels())

    def picture(self, i: int, kind: str) -> tuple[str, bytes]:
        """Return media type and content of a modality, or of the body mask; depth is in colours."""
        record = self._record(i)
        if kind == MASK:
            return 'image/png', self._mask_picture(record)
        if kind not in record.files:
            raise RequestRefused(f'Frame {i} has no {kind}. It has: {", ".join(record.files)}.')
        file = record.files[kind]
        content = read_stored(self.recording.folder, file)
        if kind == 'color':
            return ('image/jpeg' if file.name.endswith('.jpg') else 'image/png'), content
        image = decode_unit({kind: content}, {kind: file.name})[kind]
        if kind == 'depth':
            return 'image/png', _png(depth_to_rgb(image)[..., ::-1])
        return 'image/png', _png(np.rint(255 * image.clip(0, 1)).astype(np.uint8))

    def save(self, i: int, change: Change) -> Json:
        """Put the label on the disk and return the frame; refused where it was changed since the person saw it."""
        record = self._record(i)
        with self._mutex:
            self._refresh()
            old = self._store.current().get(record.unit)
            new = self._changed(i, record, change)
            if _revision(new) != _revision(old):
                if change.revision != _revision(old):
                    raise RequestRefused(
                        'This frame was changed elsewhere, in another tab or by another program. Look at it again.',
                        HTTPStatus.CONFLICT,
                    )
                self._store.put(new)
                self._seen = _signature(self._file)
            return self._described(i, record, self._store.current())

    def _record(self, i: int) -> FrameRecord:
        if not 0 <= i < len(self.recording):
            raise RequestRefused(f'There is no frame {i}; the recording has {len(self.recording)}, from 0.')
        return self.recording.frames[i]

    def _labels(self) -> dict[str, FrameLabel]:
        with self._mutex:
            self._refresh()
            return self._store.current()

    def _reload(self) -> None:
        self._seen = _signature(self._file)
        self._store: LabelStore = LabelStore(self.recording.folder)
        sets = Counter(label.joints for label in self._store.current().values())
        self._joints: tuple[str, ...] = sets.most_common(1)[0][0] if sets else SLP_14

    def _refresh(self) -> None:
        """Read the labels again where something else wrote to them."""
        if _signature(self._file) != self._seen:
            self._reload()

    def _described(self, i: int, record: FrameRecord, current: Mapping[str, FrameLabel]) -> Json:
        label = current.get(record.unit)
        joints = self._joints if label is None else label.joints
        width, height = self._size(i)
        first = self.recording.frames[0].stamp_ns
        return {
            'index': i,
            'unit': record.unit,
            'time_s': (record.stamp_ns - first) / 1e9,
            'pictures': [*record.files, *([MASK] if label is not None and label.mask else [])],
            'size': [width, height],
            'label': self._label_content(record.unit, label, joints),
            'bones': bones(joints),
            'template': template(joints, _box(record), width, height),
            'frame_status': _frame_status(label),
        }

    def _label_content(self, unit: str, label: FrameLabel | None, joints: tuple[str, ...]) -> Json:
        """Return the label as the page edits it; a joint that nobody confirmed is `doubtful`."""
        if label is None:
            return {
                'source': '', 'status': 'unreviewed', 'note': '', 'revision': _revision(None),
                'joints': [_joint_content(name, None, False) for name in joints],
            }  # fmt: skip
        base = self._base(unit)
        content = []
        for name in joints:
            point = _point_of(label, name)
            automatic = (
                point is not None and base is not None and base.source == 'automatic' and point == _point_of(base, name)
            )
            content.append(_joint_content(name, point, automatic and label.status == 'unreviewed'))
        return {
            'source': label.source, 'status': label.status, 'note': label.note, 'revision': _revision(label),
            'joints': content,
        }  # fmt: skip

    def _base(self, unit: str) -> FrameLabel | None:
        """Return what a person's label started from."""
        found = self._store.all().get(unit, {})
        return found.get('imported') or found.get('automatic')

    def _changed(self, i: int, record: FrameRecord, change: Change) -> FrameLabel:
        """Return the label to store."""
        old = self._store.current().get(record.unit)
        joints = self._joints if old is None else old.joints
        _require_known(change, joints, self._size(i))
        pixels, visible, confidence = np.zeros((len(joints), 2)), np.zeros(len(joints)), np.zeros(len(joints))
        for name, point in change.joints.items():
            k = joints.index(name)
            pixels[k] = round(point.x, 3), round(point.y, 3)
            visible[k] = point.visible
            confidence[k] = self._confidence(record.unit, name, point, change.status)
        return FrameLabel(
            frame=record.unit,
            joints=joints,
            pixels=pixels,
            labelled=np.array([name in change.joints for name in joints]),
            visible=visible,
            confidence=confidence,
            source='manual',
            status=change.status,
            mask='' if old is None else old.mask,
            note=change.note,
        )

    def _confidence(self, unit: str, name: str, point: Point, status: LabelStatus) -> float:
        base = self._base(unit)
        if status != 'accepted' and base is not None and _point_of(base, name) == point:
            return float(base.confidence[base.joints.index(name)])
        return 1.0

    def _size(self, i: int) -> tuple[int, int]:
        """Return width and height of a frame's pictures."""
        camera = self.recording.card.intrinsics
        if camera is not None:
            return camera.width, camera.height
        frame = self.recording.frame(i)
        images = (frame.color, frame.depth, frame.infrared, frame.pressure)
        height, width = next(image.shape[:2] for image in images if image is not None)
        return width, height

    def _mask_picture(self, record: FrameRecord) -> bytes:
        label = self._labels().get(record.unit)
        folder = (self.recording.folder / FOLDER).resolve()
        path = (folder / (label.mask if label is not None else '')).resolve()
        # The name stands in a file that may come from elsewhere.
        if not path.is_relative_to(folder) or path.suffix != '.png' or not path.is_file():
            raise RequestRefused(f'Frame {record.unit} has no mask.', HTTPStatus.NOT_FOUND)
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            raise RequestRefused(f'{path.name} is no picture. Make the labels of this frame again.')
        painted = np.zeros((*mask.shape, 4), np.uint8)
        red, green, blue, alpha = MASK_COLOR
        painted[mask > 0] = blue, green, red, alpha
        return _png(painted)


def change_from_plain(plain: Json) -> Change:
    """Return the change that the page sent; whatever it is not is refused with a sentence."""
    if not isinstance(plain, dict) or set(plain) != {'joints', 'status', 'note', 'revision'}:
        raise RequestRefused('Expected joints, status, note and revision.')
    joints, status, note, revision = (plain[name] for name in ('joints', 'status', 'note', 'revision'))
    if status not in STATUSES:
        raise RequestRefused(f'Status {str(status)[:40]!r} is none of {", ".join(STATUSES)}.')
    if not isinstance(note, str) or len(note) > LONGEST_NOTE or not isinstance(revision, str):
        raise RequestRefused(f'Note and revision are texts, the note of at most {LONGEST_NOTE} characters.')
    if not isinstance(joints, dict):
        raise RequestRefused('joints is a mapping from names to {x, y, visible}.')
    return Change({name: _point_from_plain(name, point) for name, point in joints.items()}, status, note, revision)


def _point_from_plain(name: str, plain: Json) -> Point:
    if not isinstance(plain, dict) or set(plain) != {'x', 'y', 'visible'} or not isinstance(plain['visible'], bool):
        raise RequestRefused(f'{name[:40]}: expected x, y and visible (true or false).')
    x, y = (float(each) if _is_place(each) else math.nan for each in (plain['x'], plain['y']))
    if math.isnan(x + y):
        raise RequestRefused(f'{name[:40]}: x and y must be numbers, in pixels.')
    return Point(x, y, plain['visible'])


def _is_place(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6


def _require_known(change: Change, joints: tuple[str, ...], size: tuple[int, int]) -> None:
    """Refuse names that the frame does not have and places more than an image away from the image."""
    width, height = size
    for name, point in change.joints.items():
        if name not in joints:
            raise RequestRefused(f'This frame has no joint {name[:40]!r}. It has: {", ".join(joints)}.')
        if not (-width <= point.x <= 2 * width and -height <= point.y <= 2 * height):
            raise RequestRefused(f'{name} at {point.x:.0f}, {point.y:.0f} is far outside the {width} x {height} image.')


def _frame_status(label: FrameLabel | None) -> str:
    """Return the status of a frame; `none` where nothing is labelled and nobody decided anything."""
    if label is None or (label.status == 'unreviewed' and not label.labelled.any()):
        return 'none'
    return label.status


def _point_of(label: FrameLabel, name: str) -> Point | None:
    if name not in label.joints or not label.labelled[label.joints.index(name)]:
        return None
    k = label.joints.index(name)
    return Point(float(label.pixels[k, 0]), float(label.pixels[k, 1]), bool(label.visible[k]))


def _joint_content(name: str, point: Point | None, doubtful: bool) -> Json:
    place = {'x': 0.0, 'y': 0.0, 'visible': False} if point is None else vars(point)
    return {'name': name, 'labelled': point is not None, 'doubtful': doubtful, **place}


def _revision(label: FrameLabel | None) -> str:
    """Return what changes with anything in the label."""
    if label is None:
        return 'none'
    content = [
        label.joints, label.pixels.tolist(), label.labelled.tolist(), label.visible.tolist(),
        label.confidence.tolist(), label.source, label.status, label.mask, label.note,
    ]  # fmt: skip
    return f'{zlib.crc32(json.dumps(content).encode()):08x}'


def _box(record: FrameRecord) -> PersonBox | None:
    """Return where the recorder saw the person."""
    estimate = record.metadata.get('estimate')
    box = estimate.get('box') if isinstance(estimate, Mapping) and estimate.get('state') != 'NO_PERSON' else None
    if not isinstance(box, list) or len(box) != 4 or not all(isinstance(each, int | float) for each in box):
        return None
    return PersonBox(*map(float, box)) if box[2] > 0 else None


def _signature(path: Path) -> tuple[int, int, int]:
    """Return what changes when somebody writes to a file."""
    if not path.is_file():
        return 0, 0, 0
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _png(image: Shaped[ndarray, '...']) -> bytes:
    return bytes(cv2.imencode('.png', image, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])
