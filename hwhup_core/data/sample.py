"""
What every reader returns: samples by name, all labels that a data set publishes, pictures read when asked for.

Pixels follow this package's convention (the first pixel's centre is 0.5), metres, camera frame; what a data set does
not have is `None`, never zeros.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from hwhup_core.errors import AssetError, HwhupError
from hwhup_core.types import Frame, PersonBox

Gender = Literal['male', 'female', 'neutral']


@dataclass(frozen=True)
class Keypoints:
    """2D joints of one person, in the order of the data set's `joints`."""

    pixels: Float[ndarray, 'k 2']
    """x, y; of joints without a label anything finite."""
    labelled: Bool[ndarray, ' k']
    """Whether the joint has a label, seen or occluded."""
    visible: Float[ndarray, ' k']
    """1 seen, 0 occluded, NaN where the data set does not say."""


@dataclass(frozen=True)
class Joints3D:
    """3D joints of one person."""

    names: tuple[str, ...]
    positions: Float[ndarray, 'k 3']
    """Metres, axes of the camera; from the camera, or from the root where a data set centres them."""
    confidence: Float[ndarray, ' k']
    """0 where there is none."""
    centred: bool
    """Whether the positions count from the root."""


@dataclass(frozen=True)
class TrueBody:
    """SMPL parameters that a data set publishes, from motion capture or a fit."""

    pose: Float[ndarray, '72']
    """Axis-angle, radians, SMPL order; the root is camera from pelvis."""
    betas: Float[ndarray, '10']
    gender: Gender
    translation: Float[ndarray, '3'] | None = None
    """Metres, camera frame, to be added to the body model's output."""


@dataclass(frozen=True)
class Sample:
    """One person in one picture."""

    name: str
    """Unique in its data set and stable, such as `00001/cover1/000007`."""
    load: Callable[[], Frame]
    """Reads the pictures; raises `AssetError` that names a file which is missing or broken."""
    keypoints: Keypoints | None = None
    box: PersonBox | None = None
    """As published."""
    joints_3d: Joints3D | None = None
    body: TrueBody | None = None
    fit_key: str = ''
    """Samples of one pose (under several covers, or by several sensors) share a fit; empty: the name is the key."""
    supervision_depth: Callable[[], Float[ndarray, 'h w']] | None = None
    """Reads the depth that may supervise, float32 metres registered to the frame: of a covered person the uncovered."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """For scores in groups: `subject`, `cover`, `posture`, `action`, `split`."""


@dataclass(frozen=True)
class Dataset:
    """Samples of one data set, in a stable order."""

    kind: str
    """Which reader made it, such as `slp`; a key of `readers.READERS`."""
    folder: Path
    joints: tuple[str, ...]
    """Names of the 2D joints."""
    samples: tuple[Sample, ...]
    missing: tuple[str, ...] = ()
    """What a whole copy would also have; said by `hwhup dataset check`, no error."""

    def __len__(self) -> int:
        return len(self.samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self.samples)


@dataclass
class BadSamples:
    """Samples that cannot be used: the first one ends the reading, unless they are to be left out and counted."""

    skip: bool = False
    reasons: Counter[str] = field(default_factory=Counter)
    """How many were left out, by short stable reason."""
    messages: list[str] = field(default_factory=list)

    def add(self, name: str, reason: str, error: HwhupError) -> None:
        """Count the sample and go on, or raise the error."""
        if not self.skip:
            raise error
        self.reasons[reason] += 1
        self.messages.append(f'{name}: {error}')

    def __len__(self) -> int:
        return sum(self.reasons.values())


def centred_box(low: Float[ndarray, '2'], high: Float[ndarray, '2'], scale: float) -> PersonBox:
    """Return the square about the middle of a rectangle, `scale` times its longer side."""
    middle, side = (low + high) / 2, scale * float((high - low).max())
    if not np.isfinite([*middle, side]).all() or side <= 0:
        raise AssetError(f'The box from {low} to {high} has no size. Correct the label, or leave the sample out.')
    return PersonBox(float(middle[0]), float(middle[1]), side)
