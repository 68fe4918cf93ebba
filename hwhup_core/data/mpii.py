"""
MPII's people: `mpii_human_pose_v1_u12_1.mat` as published, or the widespread `annot/{train,valid}.json` made from it.

Both count pixels from 1, so 0.5 is taken off. The square about a person has side 200 `scale` and lies about `objpos`,
15 `scale` pixels lower, as is customary: `objpos` is the middle of the trunk and the feet would be cut off. The JSON's
`joints_vis` only says whether a joint has a label, so that it is not known there whether it is seen; nor is it in the
published file for head top and neck.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.body.joints import MPII_16
from hwhup_core.data.coco_file import BOX_SCALE
from hwhup_core.data.coco_person import BadPerson, check_place, finite_numbers
from hwhup_core.data.mpii_files import MpiiPerson, people_of
from hwhup_core.data.pictures import load_color_frame
from hwhup_core.data.sample import BadSamples, Dataset, Keypoints, Sample, centred_box
from hwhup_core.errors import AssetError
from hwhup_core.types import PersonBox

PIXEL_SHIFT = 0.5
"""From pixels counted from 1 to pixels whose first centre is 0.5."""
SCALE_PIXELS = 200.0
"""Height of a person of `scale` 1, and the side of its square."""
LOWER = 15.0
"""How far the square is lowered, pixels for `scale` 1."""
_PUBLISHED = 'mpii_human_pose_v1_u12*.mat'
_SPLITS = ('train', 'valid')
_log = logging.getLogger(__name__)


def read_mpii(folder: Path, bad: BadSamples) -> Dataset:
    """
    Return MPII's labelled people; `folder` holds the labels and `images/`, or is the file of the labels.

    People without labelled joints are left out and counted as `unlabelled`; the published test pictures have no labels.
    Where both files are there the published one is read: it says which joints are seen.
    """
    folder = Path(folder)
    files, root = _label_files(folder)
    beside = files[0].parent
    pictures = tuple(dict.fromkeys([root / 'images', beside / 'images', beside.parent / 'images', root]))
    samples: dict[str, Sample] = {}
    for person in (person for file in files for person in people_of(file, bad)):
        where = f'{root}, {person.name}'
        try:
            if person.name in samples:
                raise BadPerson('duplicate_id', f'{where}: its picture stands twice in the labels. Copy them again.')
            samples[person.name] = _sample(person, pictures, where)
        except BadPerson as error:
            bad.add(person.name, error.reason, error)
    _warn_of_zero_based(samples.values(), root)
    return Dataset('mpii', root, MPII_16, tuple(samples.values()))


def _label_files(folder: Path) -> tuple[tuple[Path, ...], Path]:
    """Return the files of the labels and the folder of the data set."""
    if folder.is_file():
        return (folder,), folder.parent.parent if folder.parent.name == 'annot' else folder.parent
    published = sorted(folder.glob(_PUBLISHED)) or sorted(folder.glob(f'*/{_PUBLISHED}'))
    if published:
        return (published[0],), folder
    converted = [folder / 'annot' / f'{split}.json' for split in _SPLITS]
    converted = [path for path in converted if path.is_file()]
    if not converted:
        raise AssetError(
            f'{folder} holds neither {_PUBLISHED} nor annot/train.json. '
            'Give the folder that holds the labels and images/.'
        )
    return tuple(converted), folder


def _sample(person: MpiiPerson, folders: tuple[Path, ...], where: str) -> Sample:
    """Return a checked sample."""
    pixels = finite_numbers(np.where(person.rows[:, 2:3] > 0, person.rows[:, :2] - PIXEL_SHIFT, 0), 'joints', where)
    labelled = person.rows[:, 2] > 0
    box = _box(person, pixels[labelled], where)
    corner = np.array([box.center_x, box.center_y]) - box.side / 2
    check_place(pixels[labelled], None, (corner, corner + box.side), where)
    picture = next((folder / person.image for folder in folders if (folder / person.image).is_file()), None)
    if picture is None:
        listed = ', '.join(str(folder) for folder in folders)
        raise BadPerson('missing_picture', f'{where}: no {person.image} in {listed}. Copy the pictures whole.')
    visible = np.where(labelled, person.rows[:, 3], np.nan).astype(np.float32)
    tags = {'split': person.split, **({'action': person.action} if person.action else {})}
    keypoints = Keypoints(pixels.astype(np.float32), labelled, visible)
    return Sample(person.name, partial(load_color_frame, picture), keypoints, box, tags=tags)


def _box(person: MpiiPerson, points: Float[ndarray, 'k 2'], where: str) -> PersonBox:
    """Return the published square; about the labelled joints where there is none."""
    if np.isfinite([person.scale, *person.centre]).all() and person.scale > 0 and (person.centre > 0).all():
        x, y = person.centre - PIXEL_SHIFT
        return PersonBox(float(x), float(y + LOWER * person.scale), SCALE_PIXELS * person.scale)
    try:
        return centred_box(points.min(axis=0), points.max(axis=0), BOX_SCALE)
    except AssetError as error:
        raise BadPerson('box', f'{where}: neither scale and objpos, nor joints to make a box of. {error}') from error


def _warn_of_zero_based(samples: Iterable[Sample], root: Path) -> None:
    early = sum(
        bool((sample.keypoints.pixels[sample.keypoints.labelled] < 0).any()) for sample in samples if sample.keypoints
    )
    if early:
        _log.warning(
            '%s: %d people have a joint left of or above the first pixel. Are these counted from 0, not from 1?',
            root, early,
        )  # fmt: skip
