"""
Human3.6M in the layout of SPIN's and HW-HuP's npz files, by its protocols.

What the paper calls "Protocol #2" (test on S9 and S11, no alignment) is `p1` here, as in SPIN: all four cameras. `p2`
is SPIN's: the frontal camera alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from hwhup_core.data.sample import BadSamples, Dataset, Sample
from hwhup_core.data.spin_npz import read_spin_npz
from hwhup_core.errors import AssetError, ConfigError

Split = Literal['train', 'test']
Protocol = Literal['p1', 'p2']
FRONTAL_CAMERA = '60457274'
PAPER_EVERY = 50
"""The paper's figures are over every 50th frame (method 5.3)."""
FILES: dict[tuple[Split, Protocol], tuple[str, ...]] = {
    ('train', 'p1'): ('h36m_train.npz', 'h36m_train_vis_2.npz'),
    ('train', 'p2'): ('h36m_train.npz', 'h36m_train_vis_2.npz'),
    ('test', 'p1'): ('h36m_valid_protocol1.npz', 'h36m_valid_vis_2.npz'),
    ('test', 'p2'): ('h36m_valid_protocol2.npz', 'h36m_valid_protocol1.npz', 'h36m_valid_vis_2.npz'),
}
"""What is read for a split and protocol: the first that is there, of the folder or its `dataset_extras`."""
_SUBFOLDER = 'dataset_extras'
_NAME = re.compile(r'(S\d+)_([A-Za-z]+)(?:[_ ]\d+)?\.(\d+)_(\d+)')
_SAME_ACTION = {'TakingPhoto': 'Photo', 'WalkingDog': 'WalkDog'}
"""Some subjects' files call these two otherwise; each is one row of the published tables."""


@dataclass(frozen=True)
class H36mName:
    """What the name of a picture says, such as `S9_Directions_1.54138969_000001.jpg`."""

    subject: str
    """Such as `S9`."""
    action: str
    """Such as `Directions`, without the number of the take."""
    camera: str
    frame: int
    """From 1."""


def read_h36m(
    folder: Path,
    bad: BadSamples,
    split: Split = 'test',
    protocol: Protocol = 'p1',
    every: int = 1,
    file: Path | None = None,
) -> Dataset:
    """
    Return the samples of a split under `folder`, from which the names in the file count, by a protocol of SPIN's.

    `every` keeps the frames 1, 1 + every, ... of each video; `file` is another npz of that layout than those in
    `FILES`. 3D joints count from the pelvis. Tags: `subject`, `action`, `camera`, `split`.
    """
    if every < 1:
        raise ConfigError(
            f'Every {every} frames makes no sense. Give 1 for all of them, or {PAPER_EVERY} as the paper.'
        )
    folder = Path(folder)
    dataset = read_spin_npz(_file(folder, split, protocol) if file is None else Path(file), bad, folder)
    samples = tuple(_chosen(dataset, bad, split, protocol, every))
    if not samples:
        raise AssetError(f'{dataset.folder} has no frame of {protocol} at every {every}. Give another file or step.')
    return replace(dataset, kind='h36m', folder=folder, samples=samples)


def parse_name(name: str) -> H36mName:
    """Return what the name of a picture says, with or without folder and ending."""
    match = _NAME.match(PurePosixPath(name).name)
    if match is None:
        raise AssetError(
            f'{name} is no name of Human3.6M, expected such as S9_Directions_1.54138969_000001.jpg. Name the pictures '
            'as SPIN does, or read the file as `spin_npz`.'
        )
    subject, action, camera, frame = match.groups()
    return H36mName(subject, _SAME_ACTION.get(action, action), camera, int(frame))


def _file(folder: Path, split: Split, protocol: Protocol) -> Path:
    names = FILES[split, protocol]
    for name in names:
        for place in (folder / name, folder / _SUBFOLDER / name):
            if place.is_file():
                return place
    raise AssetError(f'None of {", ".join(names)} in {folder} or its {_SUBFOLDER}. Put the file there, or name it.')


def _chosen(dataset: Dataset, bad: BadSamples, split: Split, protocol: Protocol, every: int) -> Iterator[Sample]:
    for sample in dataset:
        try:
            place = parse_name(sample.name)
        except AssetError as error:
            bad.add(sample.name, 'unknown name', error)
            continue
        if (place.frame - 1) % every == 0 and (protocol == 'p1' or place.camera == FRONTAL_CAMERA):
            tags = {'subject': place.subject, 'action': place.action, 'camera': place.camera, 'split': split}
            yield replace(sample, tags=tags)
