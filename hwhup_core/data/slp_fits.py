"""
SLP-3Dfits: SMPL bodies that were fitted to SLP's uncovered point clouds, `fits/p001/s01.pkl` and so on.

The fits are in the frame of the DEPTH camera, not of the colour image to which the samples' pictures are registered;
how the two cameras stand to each other is not published.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hwhup_core.body.unpickle import read_pickle
from hwhup_core.data.pickled_entries import PickledEntries
from hwhup_core.data.sample import BadSamples, Dataset, Sample, TrueBody
from hwhup_core.data.slp import POSES
from hwhup_core.errors import AssetError

SUBJECTS = tuple(range(1, 103))
EXPECTED = len(SUBJECTS) * POSES
"""As published, those of subject 7 included."""
UNUSABLE_SUBJECT = 7
"""Its alignment markers are mirrored; BodyPressure leaves it out as well."""
BODYMAP_TEST_SUBJECTS = tuple(range(81, 103))
"""Of BodyMAP's split, which trains on 1 to 80."""
UNUSABLE = 'subject 7 unusable'
LEFT_OUT = (UNUSABLE,)
"""Reasons in `BadSamples.reasons` that count fits left out on purpose, not bad ones."""
_KEYS = ('gender', 'betas', 'body_pose', 'global_orient', 'transl')
_NAME = re.compile(r'p(\d{3})/s(\d{2})\.pkl')
_FIT_KEY = re.compile(r'(\d{5})/(\d{6})')


@dataclass(frozen=True)
class SlpFits:
    """Bodies by subject and number of the pose, both from 1; of `danaLab`."""

    folder: Path
    bodies: Mapping[tuple[int, int], TrueBody]
    """Frame of the depth camera, with translation."""
    missing: tuple[str, ...] = ()
    """What a whole copy would also have."""

    def __len__(self) -> int:
        return len(self.bodies)

    def body(self, subject: int, number: int) -> TrueBody:
        """Return the fit of a pose."""
        if subject == UNUSABLE_SUBJECT:
            raise AssetError(f'{UNUSABLE}: the markers that align its pictures are mirrored. Leave the subject out.')
        if (subject, number) not in self.bodies:
            raise AssetError(
                f'{self.folder} has no fit p{subject:03d}/s{number:02d}.pkl; it has {len(self)} of {EXPECTED}. Copy '
                'SLP-3Dfits whole, or leave the pose out.'
            )
        return self.bodies[subject, number]


def read_slp_fits(folder: Path, bad: BadSamples) -> SlpFits:
    """
    Return the fits under `folder`, which holds p001/s01.pkl or `fits` with these.

    Subject 7's are not read, and counted in `bad` under `LEFT_OUT`.
    """
    folder = Path(folder) / 'fits' if (Path(folder) / 'fits').is_dir() else Path(folder)
    found = {_place(file): file for file in sorted(folder.glob('p[0-9][0-9][0-9]/s[0-9][0-9].pkl'))}
    if not found:
        raise AssetError(f'No p001/s01.pkl, ... in {folder} or its `fits`. Give the folder of SLP-3Dfits.')
    bodies = {}
    for (subject, number), file in found.items():
        if subject == UNUSABLE_SUBJECT:
            bad.reasons[UNUSABLE] += 1
            continue
        try:
            bodies[subject, number] = _read_fit(file)
        except AssetError as error:
            bad.add(f'p{subject:03d}/s{number:02d}', 'unreadable fit', error)
    return SlpFits(folder, bodies, _missing(found))


def with_fits(dataset: Dataset, fits: SlpFits) -> Dataset:
    """
    Return SLP's samples with the bodies that were fitted to their poses; those without a fit keep what they have.

    The bodies stay in the depth camera's frame: compare them after centring, or in `SlpPose.depth_intrinsics`.
    """
    if dataset.kind != 'slp':
        raise AssetError(f'SLP-3Dfits belong to SLP, not to {dataset.kind!r} in {dataset.folder}. Give SLP.')
    return replace(dataset, samples=tuple(_with_fit(sample, fits) for sample in dataset))


def _with_fit(sample: Sample, fits: SlpFits) -> Sample:
    """Return the sample with its fit. Subjects of simLab have the same numbers and are other people."""
    match = _FIT_KEY.fullmatch(sample.fit_key)
    if match is None or sample.tags.get('lab', 'danaLab') != 'danaLab':
        return sample
    subject, number = int(match[1]), int(match[2])
    body = fits.bodies.get((subject, number))
    return sample if body is None else replace(sample, body=body)


def _place(file: Path) -> tuple[int, int]:
    """Return subject and pose of a file."""
    match = _NAME.fullmatch(f'{file.parent.name}/{file.name}')
    assert match is not None
    return int(match[1]), int(match[2])


def _read_fit(file: Path) -> TrueBody:
    entries = PickledEntries(read_pickle(file, _KEYS, what='a fit of SLP-3Dfits'), file)
    pose = np.concatenate([entries.vector('global_orient', 3), entries.vector('body_pose', 69)])
    return TrueBody(
        pose=pose.astype(np.float32),
        betas=entries.vector('betas', 10).astype(np.float32),
        gender=entries.gender('gender', entries.value('gender')),
        translation=entries.vector('transl', 3).astype(np.float32),
    )


def _missing(found: Mapping[tuple[int, int], Path]) -> tuple[str, ...]:
    """Return a line for each subject that lacks fits, after one for the sum."""
    lacking = {subject: [n for n in range(1, POSES + 1) if (subject, n) not in found] for subject in SUBJECTS}
    count = sum(map(len, lacking.values()))
    if not count:
        return ()
    lines = (f'p{subject:03d}: {len(numbers)} of {POSES} fits' for subject, numbers in lacking.items() if numbers)
    return (f'{count} of {EXPECTED} fits', *lines)
