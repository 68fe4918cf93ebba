"""
The layout into which HW-HuP merged its infant sets: `RGB/`, `anno_{train,valid}.json` or `anno_all.json`.

People are linked to pictures by `image_id`. HW-HuP's own converters linked by the annotation's `id`, which is the same
only in files that were numbered anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from hwhup_core.data.coco_file import CocoPerson, read_json, read_people
from hwhup_core.data.sample import BadSamples

SPLITS = ('train', 'valid')
_log = logging.getLogger(__name__)


def merged_file(folder: Path, split: str) -> Path | None:
    """Return the labels of `train`, `valid` or `all`, in `anno_<split>.json` or `anno_all/<split>.json`, if there."""
    names = f'anno_{split}.json', f'anno_all/{split}.json'
    return next((folder / name for name in names if (folder / name).is_file()), None)


def is_merged(folder: Path) -> bool:
    """Return whether a folder has this layout."""
    return any(merged_file(folder, split) for split in (*SPLITS, 'all'))


def read_merged(folder: Path, bad: BadSamples, training_pictures: Callable[[int], int]) -> list[tuple[str, CocoPerson]]:
    """
    Return the people with their split, in the order of the picture's id.

    Where only one file for all is there, `training_pictures` says how many of so many pictures, by id, are for
    training; the rest is `valid`.
    """
    everything, files = merged_file(folder, 'all'), {split: merged_file(folder, split) for split in SPLITS}
    if everything is not None and not any(files.values()):
        numbers = sorted((image['id'] for image in read_json(everything)['images']), key=_rank)
        training = set(numbers[: training_pictures(len(numbers))])
        people = _by_picture(everything, folder, bad)
        return [(SPLITS[0] if person.image['id'] in training else SPLITS[1], person) for person in people]
    named = [(split, file) for split, file in files.items() if file is not None]
    return [(split, person) for split, file in named for person in _by_picture(file, folder, bad)]


def warn_of_other_links(people: Sequence[CocoPerson], source: Path) -> None:
    """Warn where linking by the annotation's id, as HW-HuP's converters did, would give another picture."""
    other = sum(person.number != person.image['id'] for person in people)
    if other:
        _log.warning(
            '%s: of %d people, %d have an annotation id that is not their image_id. Linked by image_id; a converter '
            'that links by the id pairs other pictures.', source, len(people), other,
        )  # fmt: skip


def _by_picture(file: Path, folder: Path, bad: BadSamples) -> list[CocoPerson]:
    people = read_people(file, (folder / 'RGB', folder / 'images', folder), bad, 'optional')
    warn_of_other_links(people, file)
    return sorted(people, key=lambda person: _rank(person.image['id']))


def _rank(number: int | str) -> tuple[bool, int | str]:
    return isinstance(number, str), number
