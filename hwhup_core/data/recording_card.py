"""
What a recording says about itself (`recording.yaml`) and about one of its frames (a line of `index.jsonl`).

Layout of a recording, a folder:

    recording.yaml      the card
    index.jsonl         append-only, one JSON line a frame, written after the frame's files
    frames/             NNNNNN.color.jpg|png, NNNNNN.depth.png (16 bit, millimetres, 0 = no measurement),
                        NNNNNN.infrared.png and NNNNNN.pressure.png (16 bit, 65535 = 1)
    labels/             whatever was labelled later; the recorder never touches it
    orphans/            what `repair_recording` took out

A frame exists when it stands in the index; counts are never taken from the card.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

import numpy as np

from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.types import Intrinsics

Json: TypeAlias = Any
"""What JSON can hold: None, bool, int, float, str, lists and mappings of them. Not finite numbers become null."""

FORMAT_VERSION = 1
CARD_FILE = 'recording.yaml'
INDEX_FILE = 'index.jsonl'
LOCK_FILE = '.lock'
FRAMES, LABELS, ORPHANS = 'frames', 'labels', 'orphans'
TEMPORARY = '.part'
"""Ends the name of a file that is being written."""
SAME_TO_RESUME = ('camera', 'frame_id', 'intrinsics', 'color', 'depth', 'infrared', 'pressure', 'privacy')
"""Fields of the card that must not change within a recording."""


@dataclass(frozen=True)
class RecordingCard:
    """What a recording says about itself. Written once; only `written` and `rejected` are brought up to date."""

    camera: str
    """Name of the camera, such as its model and serial number."""
    frame_id: str
    """Of every frame: the camera's optical frame."""
    intrinsics: Intrinsics | None
    """Of every frame, with resolution and distortion; cx, cy count from the corner of the first pixel (ROS's + 0.5)."""
    color: Literal['none', 'jpeg', 'png'] = 'jpeg'
    """How colour is stored."""
    depth: Literal['none', 'png'] = 'png'
    """How depth is stored: 16 bit millimetres, 0 = no measurement, so at most 65.534 m."""
    infrared: Literal['none', 'png'] = 'none'
    pressure: Literal['none', 'png'] = 'none'
    """16 bit, 65535 stands for 1."""
    jpeg_quality: int = 95
    up: tuple[float, float, float] | None = None
    """Direction against gravity in the camera frame, if known."""
    bed_plane: tuple[float, float, float, float] | None = None
    """a, b, c, d of a x + b y + c z + d = 0 in the camera frame, metres, (a, b, c) of length 1 towards the camera."""
    cover: str = 'unknown'
    """What lay over the person: `uncover`, `cover1`, `cover2`, `mixed` or `unknown`."""
    operator: str = ''
    consent: str = ''
    """Who agreed to be recorded, and to what."""
    privacy: Literal['full', 'head_blurred', 'no_color'] = 'full'
    """What was done to the colour image before it was stored."""
    retention_days: float | None = None
    """After how many days the recording is to be deleted; None: never."""
    created: str = ''
    """Time of the first start, ISO 8601."""
    software: str = ''
    """Version or commit of the program."""
    model_hash: str = ''
    """Of the weights whose estimates stand in the metadata."""
    source: str = ''
    """What was converted, where no camera was recorded."""
    written: int | None = None
    """Frames in the index when it was closed last; a cache, never trusted."""
    rejected: dict[str, int] = field(default_factory=dict)
    """Frames that were not kept, by reason, up to the last close."""
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if self.format_version != FORMAT_VERSION:
            raise ConfigError(
                f'The recording has format version {self.format_version}, this program knows {FORMAT_VERSION}. Update '
                'the older of the two.'
            )
        if not 1 <= self.jpeg_quality <= 100:
            raise ConfigError(f'jpeg_quality is {self.jpeg_quality}, expected 1 to 100.')
        if self.privacy == 'no_color' and self.color != 'none':
            raise ConfigError(f"privacy is no_color, but color is {self.color}. Set color to 'none'.")

    def stored(self) -> tuple[str, ...]:
        """Return the modalities that its frames may have."""
        return tuple(name for name in ('color', 'depth', 'infrared', 'pressure') if getattr(self, name) != 'none')


@dataclass(frozen=True)
class StoredFile:
    """One picture of one frame."""

    name: str
    """In `frames/`."""
    size: int
    """Bytes."""
    crc32: int


@dataclass(frozen=True)
class FrameRecord:
    """One line of the index."""

    unit: str
    """First part of the names of its files, never used twice; six digits or more."""
    sequence: int
    """Counts the frames of the recording from 0; a gap means that lines were lost or taken out."""
    stamp_ns: int
    files: Mapping[str, StoredFile]
    """By modality: `color`, `depth`, `infrared`, `pressure`."""
    metadata: Mapping[str, Json] = field(default_factory=dict)
    """What the recorder knew: the estimate, values of the gates."""

    def line(self) -> bytes:
        """Return the index line, with its end."""
        plain = {
            'unit': self.unit,
            'sequence': self.sequence,
            'stamp_ns': self.stamp_ns,
            'files': {name: [file.name, file.size, file.crc32] for name, file in self.files.items()},
            'metadata': plain_json(self.metadata),
        }
        return json.dumps(plain, allow_nan=False, ensure_ascii=False, separators=(',', ':')).encode() + b'\n'


def record_from_line(line: bytes, place: str) -> FrameRecord:
    """Return the record of an index line; `place` (file and line number) opens the error."""
    try:
        plain = json.loads(line)
        files = {str(key): StoredFile(str(a), int(b), int(c)) for key, (a, b, c) in plain['files'].items()}
        record = FrameRecord(
            str(plain['unit']), int(plain['sequence']), int(plain['stamp_ns']), files, dict(plain['metadata'])
        )
        if not files or any('/' in file.name or file.name.startswith('.') for file in files.values()):
            raise ValueError('names of its files')
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise AssetError(
            f'{place} is not an index line ({type(error).__name__}: {error}). Run `hwhup recording repair` on a copy.'
        ) from error
    return record


def plain_json(value: Any) -> Json:
    """Return the value as JSON holds it: arrays as lists, numbers that are not finite as null."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(item) for item in value]
    if value is None or isinstance(value, bool | int | str):
        return value
    raise ConfigError(f'Metadata of a frame holds {type(value).__name__}, expected what JSON can hold. Convert it.')


def require_same_source(old: RecordingCard, new: RecordingCard) -> None:
    """Raise with both values if a recording is to be continued by another camera or in another way."""
    for name in SAME_TO_RESUME:
        was, now = getattr(old, name), getattr(new, name)
        if was == now:
            continue
        if isinstance(was, Intrinsics) and isinstance(now, Intrinsics):
            part = next(each.name for each in fields(Intrinsics) if getattr(was, each.name) != getattr(now, each.name))
            name, was, now = f'intrinsics.{part}', getattr(was, part), getattr(now, part)
        raise ConfigError(
            f'This recording has {name} {was!r}, it cannot go on with {now!r}. Start another recording, or set '
            f'{name} back.'
        )
