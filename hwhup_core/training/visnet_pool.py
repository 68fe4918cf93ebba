"""What VisNet learns from: people with COCO's flags, synthetic ones in memory and official ones read when asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from hwhup_core.body.joints import COCO_17
from hwhup_core.body.model import load_body
from hwhup_core.data.sample import Dataset, Sample
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.geometry.crops import box_around
from hwhup_core.synthetic.coco_people import HIDDEN, NOT_LABELLED, SEEN, PeopleConfig, SeenPerson, seen_people
from hwhup_core.synthetic.domain import DomainConfig, Kind
from hwhup_core.training.observe import in_box, wide_pictures
from hwhup_core.training.parallel import in_parallel
from hwhup_core.training.pools import Arrays, Pictures
from hwhup_core.types import Frame, Intrinsics, PersonBox

MARGIN = 2.0
"""Side of the stored pictures in extents of the joints (synthetic) or sides of the published box (COCO)."""


def people(kind: Kind, body: str, poses: int = 20) -> PeopleConfig:
    """Return people of a kind, in depth and colour."""
    prone = 0.0 if kind == 'room' else 0.15
    domain = DomainConfig(kind=kind, body=body, poses=poses, prone=prone, size=256, modalities=('depth', 'color'))
    return PeopleConfig(domain, margin=MARGIN)


KINDS: Mapping[str, PeopleConfig] = {
    'crib': people('crib', 'infant'),
    'bed': people('bed', 'adult'),
    'room_adult': people('room', 'adult'),
    'room_infant': people('room', 'infant'),
}
"""Domains by name."""


@dataclass(frozen=True)
class VisLabels(Arrays):
    """COCO's labels of many people, and where each person is in the stored picture."""

    keypoints: Float[ndarray, 'n 17 2']
    """[-1, 1] over the picture from edge to edge; NaN without a label."""
    flags: UInt8[ndarray, 'n 17']
    """2 seen, 1 hidden, 0 not labelled."""
    corners: Float[ndarray, 'n 4 2']
    """Of the published box, as `keypoints`; NaN where crops go by the joints alone."""
    subjects: Int[ndarray, ' n']
    """Who it is: whole subjects are drawn for intervals. Different in every domain."""
    domains: Int[ndarray, ' n']
    """Index into the source's `domains`."""


@dataclass(frozen=True)
class VisSource:
    """People to draw crops of."""

    labels: VisLabels
    names: tuple[str, ...]
    domains: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @abstractmethod
    def picture(self, index: int) -> Pictures:
        """Return the stored picture of one of them, a stack of one."""


@dataclass(frozen=True)
class VisPool(VisSource):
    """People in memory."""

    pictures: Pictures

    def picture(self, index: int) -> Pictures:
        """Return the picture of one person."""
        return self.pictures[index : index + 1]


@dataclass(frozen=True)
class CocoSource(VisSource):
    """Labelled people of a data set with COCO's joints; pictures are read one by one, since COCO's do not fit."""

    samples: tuple[Sample, ...]
    boxes: tuple[PersonBox, ...]
    """What is cut out of each picture."""
    size: int
    """Side of the pictures, pixels."""

    def picture(self, index: int) -> Pictures:
        """Read the picture of one person; colour alone counts, so no camera is needed."""
        frame = self.samples[index].load()
        if frame.color is None:
            raise AssetError(f'{self.names[index]} has no colour picture. Leave it out.')
        height, width = frame.color.shape[:2]
        camera = Intrinsics(1.0, 1.0, width / 2, height / 2, width, height)
        color = Frame(frame.stamp_ns, frame.frame_id, color=frame.color)
        return wide_pictures(color, camera, self.boxes[index], self.size)


_GROUPS: tuple[tuple[str, Any], ...] = (('pictures', Pictures), ('labels', VisLabels))


def coco_source(dataset: Dataset, split: str, size: int = 384) -> CocoSource:
    """Return the people of one split (`train2017`, `val2017`; empty: all), or refuse labels that say nothing of it."""
    if dataset.joints != COCO_17:
        raise ConfigError(f"{dataset.folder} has the joints {', '.join(dataset.joints)}. Expected COCO's 17.")
    chosen = tuple(sample for sample in dataset if _is_usable(sample) and split in ('', sample.tags.get('split', '')))
    if not chosen:
        raise AssetError(f'{dataset.folder} has no person with flagged joints in split {split!r}. Check the folder.')
    boxes = tuple(_published_box(sample) for sample in chosen)
    labels = VisLabels(
        keypoints=np.stack([_keypoints(sample, box) for sample, box in zip(chosen, boxes)]),
        flags=np.stack([_flags(sample) for sample in chosen]),
        # The published box is the middle 1 / MARGIN of what is cut out.
        corners=np.tile(np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)]) / MARGIN, (len(chosen), 1, 1)),
        subjects=np.unique([sample.name.rpartition('/')[0] for sample in chosen], return_inverse=True)[1],
        domains=np.zeros(len(chosen), int),
    )
    return CocoSource(labels, tuple(sample.name for sample in chosen), ('coco',), chosen, boxes, size)


def _is_usable(sample: Sample) -> bool:
    keypoints = sample.keypoints
    return keypoints is not None and bool((keypoints.labelled & np.isfinite(keypoints.visible)).any())


def _published_box(sample: Sample) -> PersonBox:
    keypoints = sample.keypoints
    assert keypoints is not None
    box = sample.box or box_around(keypoints.pixels[keypoints.labelled], 1.25)
    return PersonBox(box.center_x, box.center_y, MARGIN * max(box.side, 1.0))


def _flags(sample: Sample) -> UInt8[ndarray, '17']:
    keypoints = sample.keypoints
    assert keypoints is not None
    known = keypoints.labelled & np.isfinite(keypoints.visible)
    return np.where(known, np.where(keypoints.visible > 0.5, SEEN, HIDDEN), NOT_LABELLED).astype(np.uint8)


def _keypoints(sample: Sample, box: PersonBox) -> Float[ndarray, '17 2']:
    keypoints = sample.keypoints
    assert keypoints is not None
    return np.where(keypoints.labelled[:, None], in_box(keypoints.pixels.astype(np.float64), box), np.nan)


def synthetic_pool(subjects: Mapping[str, int], seed: int, picture: int, workers: int | None = None) -> VisPool:
    """Return so many subjects of each domain, made in parallel; other seeds are other people."""
    unknown = sorted(set(subjects) - set(KINDS))
    if unknown or not any(subjects.values()):
        raise ConfigError(f'subjects are {dict(subjects)}. Expected a number for some of {", ".join(KINDS)}.')
    domains = tuple(name for name, count in subjects.items() if count)
    # Kinds of people differ in their seed: the subjects of one number would share their clothes and their room.
    tasks = [
        (domain, name, seed * len(KINDS) + list(KINDS).index(name), subject)
        for domain, name in enumerate(domains) for subject in range(1, subjects[name] + 1)
    ]  # fmt: skip
    parts = in_parallel(partial(_subject_pools, picture), tasks, 'people', workers)
    return _join([part for subject in parts for part in subject], domains)


def _subject_pools(picture: int, task: tuple[int, str, int, int]) -> list[VisPool]:
    """Return one pool of a subject, or none where no picture shows it."""
    torch.set_num_threads(1)
    domain, name, seed, subject = task
    config = KINDS[name]
    body = load_body(config.domain.body)
    parts = [_person_pool(person, domain, picture) for person in seen_people(config, body, seed, subject)]
    return [_join(parts, (name,))] if parts else []


def _person_pool(person: SeenPerson, domain: int, picture: int) -> VisPool:
    side = float(person.intrinsics.width)
    box = PersonBox(side / 2, side / 2, side)
    sensed = person.sensed
    frame = Frame(1, 'synthetic', color=sensed.color, depth=sensed.depth, intrinsics=person.intrinsics)
    labels = VisLabels(
        keypoints=in_box(person.pixels.astype(np.float64), box)[None],
        flags=person.flags[None],
        corners=np.full((1, 4, 2), np.nan),
        subjects=np.array([domain * 1_000_000 + person.subject]),
        domains=np.array([domain]),
    )
    return VisPool(labels, (person.name,), (), wide_pictures(frame, person.intrinsics, box, picture))


def _join(parts: Sequence[VisPool], domains: tuple[str, ...]) -> VisPool:
    pictures, labels = (
        {entry.name: _column([getattr(getattr(part, group), entry.name) for part in parts]) for entry in fields(kind)}
        for group, kind in _GROUPS
    )
    names = tuple(name for part in parts for name in part.names)
    return VisPool(VisLabels(**labels), names, domains, Pictures(**pictures))


def _column(parts: Sequence[ndarray | None]) -> Any:
    return np.concatenate([part for part in parts if part is not None]) if parts[0] is not None else None


def save_vis_pool(file: Path, pool: VisPool) -> None:
    """Write the pool as an .npz file; it appears whole or not at all."""
    arrays = {f'{group}.{k}': v for group in ('pictures', 'labels') for k, v in vars(getattr(pool, group)).items()}
    content: dict[str, Any] = {name: value for name, value in arrays.items() if value is not None}
    partial_file = file.with_name(file.name + '.partial.npz')
    np.savez(partial_file, names=np.array(pool.names), domains=np.array(pool.domains), **content)
    partial_file.replace(file)


def load_vis_pool(file: Path) -> VisPool:
    """Return the pool of an .npz file."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            pictures, labels = (
                {entry.name: arrays.get(f'{group}.{entry.name}') for entry in fields(kind)} for group, kind in _GROUPS
            )
            names, domains = (tuple(arrays[name].tolist()) for name in ('names', 'domains'))
            return VisPool(VisLabels(**labels), names, domains, Pictures(**pictures))
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile) as error:
        raise AssetError(f'{file} is not a whole pool of people: {error}. Remove it; it is made anew.') from error
