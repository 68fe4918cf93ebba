"""
COCO's people with key points, as published, and any other file of that form: 17 joints with visibility flags.

Looks for `annotations/person_keypoints_<split>.json` and pictures in `images/`, `train2017/`, `val2017/` or beside;
`write_coco` makes the same. Pixels, boxes and flags: see `coco_file`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from hwhup_core.body.joints import COCO_17
from hwhup_core.data.coco_file import CocoPerson, Flags, read_people
from hwhup_core.data.pictures import load_color_frame
from hwhup_core.data.sample import BadSamples, Dataset, Sample
from hwhup_core.errors import AssetError

_PREFIX = 'person_keypoints_'
_PUBLISHED = ('train2017', 'val2017')


def read_coco(folder: Path, bad: BadSamples, assume_visible: bool = False, annotations: Path | None = None) -> Dataset:
    """
    Return the labelled people of a COCO folder, or of one COCO key point file (given as `folder` or `annotations`).

    A file without visibility flags is refused; with `assume_visible` its labelled joints count as seen. People
    without labelled joints and crowds are left out and counted under `coco_file.LEFT_OUT`.
    """
    folder = Path(folder)
    files = annotation_files(folder) if annotations is None else (Path(annotations),)
    root = folder if folder.is_dir() else _root(folder)
    flags: Flags = 'assumed' if assume_visible else 'required'
    samples = []
    for file in files:
        split = split_of(file)
        people = read_people(file, picture_folders(root, split), bad, flags)
        samples += [coco_sample(person, split) for person in people]
    lacking = [f'annotations/{_PREFIX}{split}.json' for split in _PUBLISHED if split not in map(split_of, files)]
    published = len(lacking) < len(_PUBLISHED)
    return Dataset('coco', root, COCO_17, tuple(samples), tuple(lacking) if published else ())


def annotation_files(folder: Path) -> tuple[Path, ...]:
    """Return the key point files of a COCO folder, or the file itself."""
    if folder.is_file():
        return (folder,)
    found = sorted(folder.glob(f'annotations/{_PREFIX}*.json')) or sorted(folder.glob(f'{_PREFIX}*.json'))
    if not found:
        raise AssetError(
            f'No annotations/{_PREFIX}*.json in {folder}. Give the folder that holds annotations/ and the pictures, or '
            'the JSON file itself.'
        )
    return tuple(found)


def split_of(file: Path) -> str:
    """Return the split that a key point file is of, such as `val2017`."""
    return file.stem.removeprefix(_PREFIX)


def picture_folders(root: Path, split: str) -> tuple[Path, ...]:
    """Return where the pictures of a split may lie, the most particular first."""
    return root / 'images' / split, root / split, root / 'images', root


def coco_sample(person: CocoPerson, split: str) -> Sample:
    """Return the sample of one person."""
    return Sample(
        name=f'{split}/{person.picture.stem}/{person.number}',
        load=partial(load_color_frame, person.picture, person.size),
        keypoints=person.keypoints,
        box=person.box,
        tags={'split': split},
    )


def _root(file: Path) -> Path:
    return file.parent.parent if file.parent.name == 'annotations' else file.parent
