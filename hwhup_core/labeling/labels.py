"""
Labels of one recording, in `labels/labels.jsonl` of its folder: one line a label, never rewritten.

The last line of a frame and source counts. What people draw overrides what was imported, and that what was made
automatically, frame by frame; a rejected frame stays rejected whoever labels it later, until it is accepted again.
Every label says of every labelled joint whether the camera sees it: weak supervision is worth nothing without.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from hwhup_core.errors import AssetError

LabelSource = Literal['automatic', 'imported', 'manual']
LabelStatus = Literal['unreviewed', 'accepted', 'rejected']
SOURCES: tuple[LabelSource, ...] = get_args(LabelSource)
"""The later ones override the earlier ones."""
STATUSES: tuple[LabelStatus, ...] = get_args(LabelStatus)
FOLDER, FILE = 'labels', 'labels.jsonl'


@dataclass(frozen=True)
class FrameLabel:
    """The labelled joints of the person in one frame."""

    frame: str
    """Unit name in the recording's index."""
    joints: tuple[str, ...]
    """Names, such as `joints.SLP_14`."""
    pixels: Float[ndarray, 'k 2']
    """Image x, y; 0 where there is no label."""
    labelled: Bool[ndarray, ' k']
    """Whether the joint has a label, seen or occluded."""
    visible: Float[ndarray, ' k']
    """1 seen, 0 occluded or not labelled."""
    confidence: Float[ndarray, ' k']
    """In [0, 1]; of people's labels 1, of joints without a label 0."""
    source: LabelSource
    status: LabelStatus = 'unreviewed'
    mask: str = ''
    """File of the body mask below `labels/`, an 8-bit PNG of the image's size (255 = body); empty: none."""
    note: str = ''
    """Why it was rejected, or what is uncertain."""

    def __post_init__(self) -> None:
        if self.source not in SOURCES or self.status not in STATUSES:
            raise AssetError(
                f'Label of {self.frame}: source {self.source!r}, status {self.status!r}. Expected one of '
                f'{", ".join(SOURCES)} and of {", ".join(STATUSES)}.'
            )
        if len(set(self.joints)) != len(self.joints):
            raise AssetError(f'Label of {self.frame} names a joint twice: {", ".join(self.joints)}.')
        if not np.isfinite(self.pixels).all():
            raise AssetError(f'Label of {self.frame} has positions that are not finite. Remove these joints.')
        if not np.isin(self.visible[self.labelled], (0.0, 1.0)).all():
            raise AssetError(
                f'Label of {self.frame}: visibility is {sorted(set(self.visible[self.labelled]))}, expected 0 or 1 '
                'for every labelled joint. Weak supervision needs to know which joints the camera sees.'
            )


class LabelStore:
    """
    The labels of one recording. What is put is on the disk when `put` returns, and was seen by `current` before.

    One process writes at a time. A last line that a crash tore was never confirmed; it is left out, and cut off by the
    next `put`.
    """

    def __init__(self, recording: Path) -> None:
        self.folder = Path(recording) / FOLDER
        self._file = self.folder / FILE
        self._labels: dict[str, dict[LabelSource, FrameLabel]] = {}
        self._size = 0
        if self._file.is_file():
            self._read(self._file.read_bytes())

    def put(self, label: FrameLabel) -> None:
        """Append the label, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps(_to_plain(label), separators=(',', ':')).encode() + b'\n'
        descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.ftruncate(descriptor, self._size)
            if os.write(descriptor, line) != len(line):
                raise AssetError(f'{self._file} took only a part of a label. Free some space; the label is not saved.')
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._size += len(line)
        self._labels.setdefault(label.frame, {})[label.source] = label

    def all(self) -> Mapping[str, Mapping[LabelSource, FrameLabel]]:
        """Return the newest label of every source of every labelled frame."""
        return self._labels

    def current(self) -> dict[str, FrameLabel]:
        """Return one label a frame: manual before imported before automatic. Rejected ones are among them."""
        return {frame: found[max(found, key=SOURCES.index)] for frame, found in self._labels.items()}

    def usable(self) -> dict[str, FrameLabel]:
        """Return the current labels that were not rejected and label at least one joint."""
        return {
            frame: label
            for frame, label in self.current().items()
            if label.status != 'rejected' and label.labelled.any()
        }

    def _read(self, content: bytes) -> None:
        self._size = content.rfind(b'\n') + 1
        for number, line in enumerate(content[: self._size].splitlines(), 1):
            try:
                label = _from_plain(json.loads(line))
            except (ValueError, KeyError, TypeError, AssetError) as error:
                raise AssetError(
                    f'{self._file}, line {number} is not a label ({error}). Remove the line, or the file, and label '
                    'these frames again.'
                ) from error
            self._labels.setdefault(label.frame, {})[label.source] = label


def _to_plain(label: FrameLabel) -> dict[str, Any]:
    return {
        'frame': label.frame,
        'source': label.source,
        'status': label.status,
        'joints': list(label.joints),
        'pixels': np.round(label.pixels.astype(float), 3).tolist(),
        'labelled': label.labelled.astype(int).tolist(),
        'visible': np.where(label.labelled, label.visible, 0).astype(int).tolist(),
        'confidence': np.round(label.confidence.astype(float), 4).tolist(),
        'mask': label.mask,
        'note': label.note,
    }


def _from_plain(plain: dict[str, Any]) -> FrameLabel:
    count = len(plain['joints'])
    pixels = np.array(plain['pixels'], np.float64)
    labelled, visible, confidence = (np.array(plain[name], float) for name in ('labelled', 'visible', 'confidence'))
    if pixels.shape != (count, 2) or any(each.shape != (count,) for each in (labelled, visible, confidence)):
        raise AssetError(f'{count} joints, but pixels {pixels.shape} and flags {labelled.shape}')
    return FrameLabel(
        frame=str(plain['frame']),
        joints=tuple(map(str, plain['joints'])),
        pixels=pixels,
        labelled=labelled > 0,
        visible=visible,
        confidence=confidence,
        source=plain['source'],
        status=plain['status'],
        mask=str(plain['mask']),
        note=str(plain['note']),
    )
