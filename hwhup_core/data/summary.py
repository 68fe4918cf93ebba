"""What a data set holds: counts over its labels, and over the pictures of some of its samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from hwhup_core.data.contact_sheet import Pictured
from hwhup_core.data.recording_units import MODALITIES
from hwhup_core.data.sample import BadSamples, Dataset, Sample
from hwhup_core.errors import AssetError
from hwhup_core.types import Frame


@dataclass(frozen=True)
class LabelCounts:
    """Counts that need no picture."""

    samples: int
    subjects: int
    """0 where the data set does not say."""
    labelled: int
    """Joints with a label; of these so many are:"""
    visible: int
    occluded: int
    unknown: int
    boxes: int
    """Samples that have one; so below."""
    joints_3d: int
    bodies: int
    supervised: int
    """With a depth that may supervise."""
    groups: dict[str, Counter[str]]
    """Tag -> value -> samples, of tags with a few values."""


@dataclass
class PictureCounts:
    """Counts over the pictures that were read."""

    read: int = 0
    modalities: Counter[str] = field(default_factory=Counter)
    """How many had each."""
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """By width and height."""
    boxes_outside: int = 0
    """Boxes whose middle lies outside the picture."""
    joints_outside: int = 0
    """Labelled joints outside the picture."""
    without_camera: int = 0

    def add(self, sample: Sample, frame: Frame) -> None:
        """Count one sample."""
        images = {name: image for name in MODALITIES if (image := getattr(frame, name)) is not None}
        height, width = next(iter(images.values())).shape[:2]
        self.read += 1
        self.modalities.update(images.keys())
        self.sizes[width, height] += 1
        self.without_camera += frame.intrinsics is None
        if sample.box is not None:
            self.boxes_outside += not (0 <= sample.box.center_x <= width and 0 <= sample.box.center_y <= height)
        if sample.keypoints is not None:
            points = sample.keypoints.pixels[sample.keypoints.labelled]
            self.joints_outside += int((~((points >= 0) & (points <= [width, height])).all(axis=1)).sum())


MANY = 12
"""Tags with more values than this are not listed by value."""


def count_labels(dataset: Dataset) -> LabelCounts:
    """Return the counts over all labels."""
    points = [each.keypoints for each in dataset if each.keypoints is not None]
    visible = np.concatenate([each.visible[each.labelled] for each in points]) if points else np.zeros(0)
    subjects = {each.tags['subject'] for each in dataset if 'subject' in each.tags}
    return LabelCounts(
        samples=len(dataset),
        subjects=len(subjects),
        labelled=len(visible),
        visible=int((visible >= 0.5).sum()),
        occluded=int((visible < 0.5).sum()),
        unknown=int(np.isnan(visible).sum()),
        boxes=sum(each.box is not None for each in dataset),
        joints_3d=sum(each.joints_3d is not None for each in dataset),
        bodies=sum(each.body is not None for each in dataset),
        supervised=sum(each.supervision_depth is not None for each in dataset),
        groups=_groups(dataset),
    )


def _groups(samples: Iterable[Sample]) -> dict[str, Counter[str]]:
    groups: dict[str, Counter[str]] = {}
    for sample in samples:
        for tag, value in sample.tags.items():
            groups.setdefault(tag, Counter())[value] += 1
    return {tag: values for tag, values in groups.items() if tag != 'subject' and len(values) <= MANY}


def pick(samples: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """Return some samples, drawn without repetition, in the order of the data set."""
    if count >= len(samples):
        return list(samples)
    chosen = np.random.default_rng(seed).choice(len(samples), count, replace=False)
    return [samples[i] for i in sorted(chosen)]


def read_pictures(samples: Iterable[Sample], bad: BadSamples) -> Iterator[Pictured]:
    """Yield each sample with its pictures; also its supervision is read, to know that it can be."""
    for sample in samples:
        try:
            frame = sample.load()
            if all(getattr(frame, name) is None for name in MODALITIES):
                raise AssetError(f'{sample.name} has no picture at all. Copy the data set whole.')
            if sample.supervision_depth is not None:
                sample.supervision_depth()
        except AssetError as error:
            bad.add(sample.name, 'unreadable', error)
            continue
        yield Pictured(sample, frame)
