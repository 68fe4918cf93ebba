"""
Pools with weak labels from folders in SLP's layout: the published set, a site's own recordings, or `hwhup synth`.

What cannot be used is named with its reason, and either ends the reading or is left out and counted.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.body.joints import SLP_14
from hwhup_core.data.slp import SlpPose, SlpSet, read_slp
from hwhup_core.errors import AssetError, ConfigError, FrameError, HwhupError
from hwhup_core.geometry.proxies import Joints2D, with_head_and_pelvis
from hwhup_core.networks.packing import Modality, picture_of_infrared, picture_of_pressure
from hwhup_core.training.observe import (
    ObservationConfig,
    Seen,
    labels_of,
    see,
    wide_box,
    wide_pictures,
)
from hwhup_core.training.parallel import in_parallel
from hwhup_core.training.pools import Pictures, WeakLabels, WeakPool, join_pools
from hwhup_core.types import Frame, PersonBox

HELD_OUT_SHARE = 0.1
LEAST_MEASURED = 0.02
"""Share of the box around the joints that an input depth picture has to have measured."""


@dataclass(frozen=True)
class LeftOut:
    """A subject, a pose or one picture of it that cannot be used."""

    name: str
    """Subject, cover and number, as far as it concerns one."""
    reason: str
    """Short and stable, for counting."""
    message: str


@dataclass(frozen=True)
class SlpReport:
    """What became of the poses of some subjects."""

    poses: int
    """That are in the pool."""
    samples: int
    """In the pool: each pose under each of its covers."""
    left_out: tuple[LeftOut, ...]

    def counts(self) -> dict[str, int]:
        """Return how often each reason left something out, the most frequent first."""
        return dict(Counter(entry.reason for entry in self.left_out).most_common())


@dataclass(frozen=True)
class _Wanted:
    """What is read of each pose."""

    folder: Path
    covers: tuple[str, ...] | None
    modalities: tuple[Modality, ...]
    config: ObservationConfig
    skip_bad: bool


@dataclass(frozen=True)
class _Part:
    """What one subject gave; its rows count from 0."""

    samples: tuple[WeakPool, ...]
    poses: int
    left_out: tuple[LeftOut, ...]


def weak_pool_from_slp(
    root: Path,
    subjects: Sequence[int] | None,
    covers: Sequence[str] | None,
    modalities: Sequence[Modality],
    config: ObservationConfig,
    skip_bad: bool,
    lab: str = 'danaLab',
    workers: int = 1,
) -> tuple[WeakPool, SlpReport]:
    """
    Return the weak labels of subjects under `root` (None: all that are there), and what had to be left out.

    Proxies and mask come from the uncovered depth in the depth camera's own picture, then all goes into the colour
    picture; a pose without them is left out under every cover. `covers` None means all that are there. Without
    `skip_bad` the first thing that cannot be used is an error.
    """
    dataset = read_slp(root, lab, subjects)
    wanted = _Wanted(dataset.folder, None if covers is None else tuple(covers), tuple(modalities), config, skip_bad)
    parts = in_parallel(partial(_subject, wanted), dataset.subjects, 'read', workers)
    left_out = tuple(entry for part in parts for entry in part.left_out)
    poses = sum(part.poses for part in parts)
    report = SlpReport(poses, sum(len(part.samples) for part in parts), left_out)
    if not report.samples:
        reasons = ', '.join(f'{reason} {count}' for reason, count in report.counts().items())
        raise HwhupError(
            f'None of the frames in {dataset.folder} can be used: {reasons or "there are none"}. First: '
            f'{left_out[0].message if left_out else "no pose"}'
        )
    return join_pools(list(_renumbered(parts))), report


def dataset_name(pool: WeakPool) -> str:
    """Return what a fit store of this pool is bound to: another choice of frames has another name."""
    digest = hashlib.sha256('\n'.join(pool.names).encode()).hexdigest()
    return f'slp-{digest[:16]}'


def split_subjects(subjects: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return who is trained on and who is held out: the last tenth, at least one of several; nobody of one."""
    count = math.ceil(HELD_OUT_SHARE * len(subjects)) if len(subjects) > 1 else 0
    return tuple(subjects[: len(subjects) - count]), tuple(subjects[len(subjects) - count :])


def split_by_time(pool: WeakPool) -> tuple[WeakPool, WeakPool]:
    """Return one subject's earlier poses, and the last tenth of them under all covers, at least one."""
    rows = np.unique(pool.labels.rows)
    if len(rows) < 2:
        raise ConfigError('There is one usable pose; at least two are needed, one to train on and one to hold out.')
    first_held = rows[len(rows) - math.ceil(HELD_OUT_SHARE * len(rows))]
    held = pool.labels.rows >= first_held
    return select(pool, np.flatnonzero(~held)), select(pool, np.flatnonzero(held))


def select(pool: WeakPool, places: ndarray) -> WeakPool:
    """Return the chosen samples; rows of the fit store stay as they are."""
    names = tuple(pool.names[place] for place in places)
    return WeakPool(pool.pictures[places], pool.labels[places], pool.joints, names)


def _renumbered(parts: Sequence[_Part]) -> Iterator[WeakPool]:
    """Yield all samples with the rows of each subject behind those of the one before."""
    first = 0
    for part in parts:
        for sample in part.samples:
            yield replace(sample, labels=replace(sample.labels, rows=sample.labels.rows + first))
        first += part.poses


def _subject(wanted: _Wanted, subject: int) -> _Part:
    samples: list[WeakPool] = []
    left_out: list[LeftOut] = []
    row = 0
    try:
        poses = list(SlpSet(wanted.folder, (subject,)))
    except (AssetError, OSError) as error:
        left_out.append(_left_out(f'{subject:05d}', error, wanted))
        poses = []
    for pose in poses:
        found, bad = _pose(pose, row, wanted)
        samples.extend(found)
        left_out.extend(bad)
        row += bool(found)
    return _Part(tuple(samples), row, tuple(left_out))


def _pose(pose: SlpPose, row: int, wanted: _Wanted) -> tuple[list[WeakPool], list[LeftOut]]:
    """Return the samples of one pose, one a cover."""
    samples: list[WeakPool] = []
    left_out: list[LeftOut] = []
    try:
        box, labels, names = _observe(pose, row, wanted.config)
    except (FrameError, AssetError, OSError) as error:
        return [], [_left_out(f'{pose.subject:05d}/{pose.number:06d}', error, wanted)]
    for cover in wanted.covers or pose.covers():
        name = f'{pose.subject:05d}/{cover}/{pose.number:06d}'
        try:
            pictures = _pictures(pose, cover, box, labels, wanted)
        except (FrameError, AssetError, OSError) as error:
            left_out.append(_left_out(name, error, wanted))
            continue
        samples.append(WeakPool(pictures, labels, names, (name,)))
    return samples, left_out


def _left_out(name: str, error: Exception, wanted: _Wanted) -> LeftOut:
    """Return what to count; or refuse, where nothing may be left out."""
    if not wanted.skip_bad:
        raise HwhupError(f'{name} cannot be used: {error} Mend it, or have bad frames left out (--skip-bad).') from None
    return LeftOut(name, error.reason if isinstance(error, FrameError) else 'unreadable', str(error))


def _observe(pose: SlpPose, row: int, config: ObservationConfig) -> tuple[PersonBox, WeakLabels, tuple[str, ...]]:
    """Return the box that is stored of the person, the weak labels in it and the names of their joints."""
    box = wide_box(pose.pixels, config.margin)
    depth = pose.depth_unwarped('uncover')
    camera = pose.depth_intrinsics
    if not ((depth > config.cleaning.near) & (depth < config.cleaning.far)).any():
        raise FrameError('no_depth', 'The uncovered depth has no measurement between its limits. Record it again.')
    named = with_head_and_pelvis(Joints2D(SLP_14, pose.pixels, ~pose.occluded), config.proxy.head_ratio)
    rng = np.random.default_rng((pose.subject, pose.number))
    seen = see(depth, camera, replace(named, pixels=_in_depth_picture(pose, named.pixels)), rng, config)
    labels = labels_of(_in_color_picture(pose, seen), named, box, row, config.picture)
    if not labels.visibility.any():
        raise FrameError('no_visible_joint', 'No joint is labelled visible where depth was measured.')
    if not labels.mask.any():
        raise FrameError('empty_mask', 'Nothing lies above the bed where the visible joints are.')
    return box, labels, named.names


def _in_depth_picture(pose: SlpPose, pixels: Float[ndarray, 'k 2']) -> Float[ndarray, 'k 2']:
    """Return where pixels of the colour picture lie in the depth camera's own; the homography counts from 0."""
    moved = np.concatenate([pixels - 0.5, np.ones((len(pixels), 1))], axis=1) @ pose.depth_from_color.T
    result: ndarray = moved[:, :2] / moved[:, 2:] + 0.5
    return result


def _in_color_picture(pose: SlpPose, seen: Seen) -> Seen:
    """Return the same with depth and mask in the colour picture; the proxies stay where the depth camera saw them."""
    size = pose.intrinsics.width, pose.intrinsics.height
    if pose.intrinsics == pose.depth_intrinsics and np.allclose(pose.depth_from_color, np.eye(3), atol=1e-9):
        return seen
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    depth, mask = (
        cv2.warpPerspective(np.asarray(picture, np.float32), pose.depth_from_color, size, flags=flags)
        for picture in (seen.depth, seen.mask)
    )
    return replace(seen, depth=depth, mask=mask > 0.5)


def _pictures(pose: SlpPose, cover: str, box: PersonBox, labels: WeakLabels, wanted: _Wanted) -> Pictures:
    """Return the wide crops of what the network reads, under one cover."""
    readers: dict[Modality, Callable[[str], ndarray]] = {
        Modality.RGB: pose.color,
        Modality.DEPTH: pose.depth,
        Modality.INFRARED: lambda cover: picture_of_infrared(pose.infrared(cover)),
        Modality.PRESSURE: lambda cover: picture_of_pressure(pose.pressure(cover)),
    }
    found = {modality: readers[modality](cover) for modality in wanted.modalities}
    frame = Frame(
        stamp_ns=1,
        frame_id='slp',
        color=found.get(Modality.RGB),
        depth=found.get(Modality.DEPTH),
        infrared=found.get(Modality.INFRARED),
        pressure=found.get(Modality.PRESSURE),
        intrinsics=pose.intrinsics,
    )
    pictures = wide_pictures(frame, pose.intrinsics, box, wanted.config.picture)
    if pictures.depth is not None and _measured_share(pictures.depth[0], labels) < LEAST_MEASURED:
        raise FrameError('no_depth', 'The depth picture has hardly a measurement around the joints. Record it again.')
    return pictures


def _measured_share(depth: ndarray, labels: WeakLabels) -> float:
    """Return the share of measured pixels in the box around the labelled joints, every augmentation's middle."""
    points = labels.keypoints[0][labels.confidence[0] > 0]
    low, high = ((np.array(ends).clip(-1, 1) + 1) / 2 * len(depth) for ends in (points.min(axis=0), points.max(axis=0)))
    (left, top), (right, bottom) = low.astype(int), np.ceil(high).astype(int)
    inside = depth[top : max(bottom, top + 1), left : max(right, left + 1)]
    return float((inside > 0).mean()) if inside.size else 0.0
