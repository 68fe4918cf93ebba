"""Labelled pictures -> a folder in COCO's key point form, which `read_coco` and other tools read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from hwhup_core.body.joints import COCO_17
from hwhup_core.data.coco_file import BOX_SCALE
from hwhup_core.data.coco_person import PIXEL_SHIFT
from hwhup_core.data.sample import Keypoints
from hwhup_core.errors import ConfigError
from hwhup_core.networks.checkpoint import write_whole
from hwhup_core.types import PersonBox

_DECIMALS = 3
_JPEG_QUALITY = 95


@dataclass(frozen=True)
class LabelledPicture:
    """One picture with its one person."""

    color: UInt8[ndarray, 'h w 3']
    """RGB."""
    keypoints: Keypoints
    """In the order of the writer's joints."""
    box: PersonBox | None
    """The person's square; None takes the extent of the labelled joints."""
    name: str
    """File name of the picture without ending; unique."""


class CocoWriter:
    """
    Writes pictures as they come and, when closed, `annotations/person_keypoints_<split>.json`, whole or not at all.

    As a context manager it is closed unless an error leaves the block; then there are pictures and no labels.
    """

    def __init__(
        self,
        folder: Path,
        split: str = 'train',
        joints: tuple[str, ...] = COCO_17,
        ending: Literal['.jpg', '.png'] = '.jpg',
    ) -> None:
        self._pictures = Path(folder) / 'images' / split
        self._labels = Path(folder) / 'annotations' / f'person_keypoints_{split}.json'
        self._joints, self._ending = joints, ending
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._names: set[str] = set()
        if self._labels.exists():
            raise ConfigError(f'{self._labels} is there already. Choose another folder or split, or remove it.')

    def add(self, frame_rgb: UInt8[ndarray, 'h w 3'], keypoints: Keypoints, box: PersonBox | None, name: str) -> None:
        """Write one picture and keep its labels; the turn of the box, which COCO does not know, is dropped."""
        if name in self._names or not name or Path(name).name != name:
            raise ConfigError(f'Picture name {name!r} is empty, a path or taken. Give each its own plain name.')
        annotation = _annotation(keypoints, box, len(self._images) + 1, self._joints, name)
        self._write_picture(frame_rgb, name + self._ending)
        self._names.add(name)
        self._annotations.append(annotation)
        height, width = frame_rgb.shape[:2]
        entry = {'id': annotation['image_id'], 'file_name': name + self._ending, 'width': width, 'height': height}
        self._images.append(entry)

    def close(self) -> Path:
        """Write the labels and return their file."""
        category = {
            'id': 1,
            'name': 'person',
            'supercategory': 'person',
            'keypoints': list(self._joints),
            'skeleton': [],
        }
        content = {'images': self._images, 'annotations': self._annotations, 'categories': [category]}
        write_whole(self._labels, json.dumps(content, allow_nan=False).encode())
        return self._labels

    def __enter__(self) -> CocoWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()

    def _write_picture(self, color: UInt8[ndarray, 'h w 3'], name: str) -> None:
        self._pictures.mkdir(parents=True, exist_ok=True)
        parameters = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if self._ending == '.jpg' else []
        _, content = cv2.imencode(self._ending, color[..., ::-1], parameters)
        (self._pictures / name).write_bytes(content.tobytes())


def write_coco(
    folder: Path, samples: Iterable[LabelledPicture], split: str = 'train', joints: tuple[str, ...] = COCO_17
) -> Path:
    """Write all of them and return the file of the labels."""
    writer = CocoWriter(folder, split, joints)
    for sample in samples:
        writer.add(sample.color, sample.keypoints, sample.box, sample.name)
    return writer.close()


def _annotation(
    keypoints: Keypoints, box: PersonBox | None, number: int, joints: tuple[str, ...], name: str
) -> dict[str, Any]:
    """Return the entry of one person: v = 2 seen (visible at least 0.5), 1 occluded, 0 not labelled, then x = y = 0."""
    labelled, visible = keypoints.labelled, keypoints.visible
    if len(labelled) != len(joints):
        raise ConfigError(f'{name}: {len(labelled)} key points, the writer was made for {len(joints)}.')
    if not np.isfinite(visible[labelled]).all() or not np.isfinite(keypoints.pixels[labelled]).all():
        raise ConfigError(
            f'{name}: a labelled joint has no position or it is not known whether it is seen. COCO has no flag for '
            'that: set `visible`, or make the joint unlabelled.'
        )
    flags = np.where(labelled, np.where(visible >= 0.5, 2, 1), 0)
    pixels = np.where(labelled[:, None], keypoints.pixels - PIXEL_SHIFT, 0.0).round(_DECIMALS)
    rows = [[float(x), float(y), int(flag)] for (x, y), flag in zip(pixels, flags, strict=True)]
    low, sides = _bounds(keypoints, box, name)
    return {
        'id': number,
        'image_id': number,
        'category_id': 1,
        'iscrowd': 0,
        'keypoints': [value for row in rows for value in row],
        'num_keypoints': int(labelled.sum()),
        'bbox': [round(float(value), _DECIMALS) for value in (*low, *sides)],
        'area': round(float(sides[0] * sides[1]), _DECIMALS),
    }


def _bounds(keypoints: Keypoints, box: PersonBox | None, name: str) -> tuple[ndarray, ndarray]:
    """Return corner and sides of what a reader turns into `box` again: a square, the reader's margin taken off."""
    if box is not None:
        side = box.side / BOX_SCALE
        return np.array([box.center_x - side / 2, box.center_y - side / 2]), np.array([side, side])
    if not keypoints.labelled.any():
        raise ConfigError(f'{name}: neither a box nor a labelled joint. Give one of them, or leave the picture out.')
    points = keypoints.pixels[keypoints.labelled]
    return points.min(axis=0), points.max(axis=0) - points.min(axis=0)
