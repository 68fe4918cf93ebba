"""
SLP as samples, in the order subject, frame, cover: what `data/slp.py` reads, under the names that all readers share.

The fit of a pose is shared by its covers, and the uncovered depth supervises all of them. Pictures are in the colour
image's frame; nothing but labels and the names of files is read before `load` is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.body.joints import SLP_14
from hwhup_core.data.sample import BadSamples, Dataset, Keypoints, Sample, centred_box
from hwhup_core.data.slp import TRAINING_SUBJECTS, SlpPose, SlpSet, missing_files, read_slp
from hwhup_core.data.slp_files import COVERS, POSES
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.networks.packing import picture_of_infrared, picture_of_pressure
from hwhup_core.types import Frame, PersonBox

BOX_MARGIN = 1.2
"""Side of the published box in extents of the joints."""
RELEASED_MARGIN = 0.9
"""Factor of the released code on what it takes for the box's side."""
_POSTURES = ('supine', 'left', 'right')
_PIXEL_CENTRE = 0.5


def read_slp_samples(
    folder: Path,
    bad: BadSamples,
    lab: str = 'danaLab',
    covers: Sequence[str] | None = None,
    released_crop: bool = False,
) -> Dataset:
    """
    Return the samples of a lab under `folder`, which holds danaLab and simLab, under `covers` (None: all there are).

    `released_crop`: boxes as HW-HuP's code misreads them, for its SLP checkpoints only. The tag `posture` is inferred
    from the frame's number (15 each of supine, left, right): SLP does not publish it.
    """
    unknown = sorted(set(covers or ()) - set(COVERS))
    if unknown:
        raise ConfigError(f'There are no covers {unknown}. Covers are {", ".join(COVERS)}.')
    dataset = read_slp(folder, lab)
    samples = tuple(
        _sample(pose, cover, box, lab)
        for pose, box in _poses(dataset, bad, released_crop)
        for cover in covers or pose.covers()
        if _is_there(pose, cover, bad)
    )
    return Dataset('slp', Path(folder), SLP_14, samples, missing_files(dataset))


def frame_of(pose: SlpPose, cover: str) -> Frame:
    """Return every modality that was sensed under the cover, registered to the colour image."""
    there = pose.modalities(cover)
    return Frame(
        stamp_ns=1,
        frame_id='slp',
        color=pose.color(cover) if 'RGB' in there else None,
        depth=pose.depth(cover) if 'depthRaw' in there else None,
        infrared=picture_of_infrared(pose.infrared(cover)) if 'IRraw' in there else None,
        pressure=picture_of_pressure(pose.pressure(cover)) if 'PMarray' in there else None,
        intrinsics=pose.intrinsics,
    )


def published_box(pose: SlpPose, released_crop: bool = False) -> PersonBox:
    """
    Return the square about the labelled joints, 1.2 times their extent.

    The released code takes [left, top, width, height] for [left, top, right, bottom] and the side 0.9 times: its box
    lies elsewhere and is larger the further the person is from the corner (method 7.1). Its checkpoints saw those.
    """
    known = pose.pixels[np.isfinite(pose.pixels).all(axis=1)]
    if len(known) == 0:
        raise AssetError(f'Pose {pose.number} of {pose.folder} has no labelled joint. Label it, or leave it out.')
    box = centred_box(known.min(axis=0), known.max(axis=0), BOX_MARGIN)
    if not released_crop:
        return box
    # It counts pixels from 0, here the first centre is 0.5.
    left, top = box.center_x - box.side / 2 - _PIXEL_CENTRE, box.center_y - box.side / 2 - _PIXEL_CENTRE
    side = RELEASED_MARGIN * max(box.side - left, box.side - top)
    return PersonBox((left + box.side) / 2 + _PIXEL_CENTRE, (top + box.side) / 2 + _PIXEL_CENTRE, side)


def _sample(pose: SlpPose, cover: str, box: PersonBox, lab: str) -> Sample:
    labelled = np.isfinite(pose.pixels).all(axis=1)
    visible = np.where(labelled, (~pose.occluded).astype(float), np.nan)
    return Sample(
        name=f'{pose.subject:05d}/{cover}/{pose.number:06d}',
        load=partial(frame_of, pose, cover),
        keypoints=Keypoints(np.where(labelled[:, None], pose.pixels, 0.0), labelled, visible),
        box=box,
        fit_key=f'{pose.subject:05d}/{pose.number:06d}',
        supervision_depth=_supervision(pose),
        tags=_tags(pose, cover, lab),
    )


def _supervision(pose: SlpPose) -> Callable[[], Float[ndarray, 'h w']] | None:
    return partial(pose.depth, COVERS[0]) if 'depthRaw' in pose.modalities(COVERS[0]) else None


def _tags(pose: SlpPose, cover: str, lab: str) -> dict[str, str]:
    training = lab == 'danaLab' and pose.subject in TRAINING_SUBJECTS
    tags = {
        'subject': f'{pose.subject:05d}',
        'cover': cover,
        'lab': lab,
        'split': 'train' if training else 'test',
    }
    if pose.is_published and pose.number <= POSES:
        tags['posture'] = _POSTURES[(pose.number - 1) // (POSES // len(_POSTURES))]
    return tags


def _poses(dataset: SlpSet, bad: BadSamples, released_crop: bool) -> Iterator[tuple[SlpPose, PersonBox]]:
    """Yield the poses that can be used, with their boxes."""
    for subject in dataset.subjects:
        try:
            poses = list(SlpSet(dataset.folder, (subject,)))
        except (AssetError, OSError) as error:
            wrong = error if isinstance(error, AssetError) else AssetError(f'Subject {subject:05d}: {error}')
            bad.add(f'{subject:05d}', 'unreadable', wrong)
            continue
        for pose in poses:
            try:
                box = published_box(pose, released_crop)
            except AssetError as error:
                bad.add(f'{subject:05d}/{pose.number:06d}', 'no_joints', error)
                continue
            yield pose, box


def _is_there(pose: SlpPose, cover: str, bad: BadSamples) -> bool:
    """Return whether anything was sensed under the cover and all of it has its file."""
    try:
        pose.require_files(cover)
    except AssetError as error:
        bad.add(f'{pose.subject:05d}/{cover}/{pose.number:06d}', 'unreadable', error)
        return False
    return True
