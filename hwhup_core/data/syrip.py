"""
SyRIP, infants in real and synthetic pictures: as FiDIP publishes it, or as HW-HuP merged it (SyRIPv2).

Published: `annotations/<variant>/person_keypoints_{train,validate}_infant.json` and `images/{train,validate}_infant/`.
Merged: `RGB/image_00000.jpg` ... and `anno_{train,valid}.json` or `anno_all.json`, of whose 1700 pictures the last 100
are for validation. SyRIP has no depth, so visibility flags that nobody set are read as unknown and not refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hwhup_core.body.joints import COCO_17, indices
from hwhup_core.data.coco import coco_sample, picture_folders, split_of
from hwhup_core.data.coco_file import CocoPerson, read_people
from hwhup_core.data.merged_infants import is_merged, read_merged, warn_of_other_links
from hwhup_core.data.sample import BadSamples, Dataset, Sample
from hwhup_core.errors import AssetError

VARIANT = '200R_1000S'
"""200 real and 1000 synthetic pictures to train on; what the paper uses."""
LIMBS = tuple(
    f'{side}_{joint}' for joint in ('shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle') for side in ('left', 'right')
)
"""Without one of these HW-HuP leaves a person out."""
_MERGED_VALIDATION = 100
_SPLITS = ('train_infant', 'validate_infant')


def read_syrip(folder: Path, bad: BadSamples, complete_limbs: bool = True, variant: str = VARIANT) -> Dataset:
    """
    Return SyRIP's infants. `complete_limbs`: only those with all 12 limb joints labelled, as HW-HuP does.

    Those left out count in `bad` as `incomplete_limbs` and are no error. `variant` picks the published training part.
    The tag `is_synthetic` is `true` or `false` where the file says so.
    """
    folder = Path(folder)
    if is_merged(folder):
        people = read_merged(folder, bad, lambda count: max(count - _MERGED_VALIDATION, 0))
        missing: tuple[str, ...] = ()
    else:
        people, missing = _read_published(folder, bad, variant)
    samples = tuple(
        _sample(split, person) for split, person in people if not complete_limbs or _is_complete(person, bad)
    )
    return Dataset('syrip', folder, COCO_17, samples, missing)


def _read_published(
    folder: Path, bad: BadSamples, variant: str
) -> tuple[list[tuple[str, CocoPerson]], tuple[str, ...]]:
    files = {split: _published_file(folder, split, variant) for split in _SPLITS}
    missing = tuple(f'annotations/{variant}/person_keypoints_{s}.json' for s, file in files.items() if file is None)
    if len(missing) == len(files):
        raise AssetError(
            f'{folder} holds neither annotations/{variant}/person_keypoints_train_infant.json nor anno_train.json. '
            'Give the folder of SyRIP that holds annotations/ and images/, or RGB/.'
        )
    people = []
    for file in files.values():
        if file is not None:
            found = read_people(file, picture_folders(folder, split_of(file)), bad, 'optional')
            warn_of_other_links(found, file)
            people += [(split_of(file), person) for person in found]
    return people, missing


def _published_file(folder: Path, split: str, variant: str) -> Path | None:
    """Return the labels of a split: those of the variant, else the only ones there are."""
    name = f'person_keypoints_{split}.json'
    found = sorted(folder.glob(f'annotations/**/{name}'))
    of_variant = [path for path in found if path.parent.name == variant]
    if len(found) > 1 and not of_variant:
        listed = ', '.join(path.parent.name for path in found)
        raise AssetError(f'{folder} has {name} in {listed}, none in {variant}. Name one of them as the variant.')
    return next(iter(of_variant or found), None)


def _is_complete(person: CocoPerson, bad: BadSamples) -> bool:
    complete = bool(person.keypoints.labelled[indices(COCO_17, LIMBS)].all())
    if not complete:
        bad.reasons['incomplete_limbs'] += 1
    return complete


def _sample(split: str, person: CocoPerson) -> Sample:
    sample = coco_sample(person, split)
    return replace(sample, tags={**sample.tags, **_synthetic(person.image)})


def _synthetic(image: Mapping[str, Any]) -> dict[str, str]:
    return {'is_synthetic': 'true' if image['is_synthetic'] else 'false'} if 'is_synthetic' in image else {}
