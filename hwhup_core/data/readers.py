"""
All readers by name, and which of them a folder is for.

A reader takes a folder (or the file of the labels) and returns a `Dataset`; this is the one place that knows them all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from hwhup_core.data.coco import read_coco
from hwhup_core.data.h36m import FILES as H36M_FILES
from hwhup_core.data.h36m import Protocol, read_h36m
from hwhup_core.data.merged_infants import is_merged
from hwhup_core.data.mimm import read_mimm
from hwhup_core.data.mpii import read_mpii
from hwhup_core.data.recording import is_recording
from hwhup_core.data.recording_labels import read_recording
from hwhup_core.data.sample import BadSamples, Dataset
from hwhup_core.data.slp_fits import read_slp_fits, with_fits
from hwhup_core.data.slp_samples import read_slp_samples
from hwhup_core.data.spin_npz import is_spin_file, read_spin_npz
from hwhup_core.data.syrip import read_syrip
from hwhup_core.data.threedpw import read_3dpw
from hwhup_core.errors import AssetError, ConfigError

LABS = ('danaLab', 'simLab')
"""Of SLP, the one that is read first."""
_MPII = 'mpii_human_pose_v1_u12*.mat'
H36mSplit = Literal['train', 'test']
ThreedpwSplit = Literal['train', 'validation', 'test']


@dataclass(frozen=True)
class ReaderOptions:
    """What some readers need to know beside the folder; the others do not look at it."""

    assume_visible: bool = False
    """coco: take joints as seen where the file has no visibility flags."""
    split: str | None = None
    """h36m, 3dpw: which part (test)."""
    protocol: Protocol = 'p1'
    """h36m: `p1` all cameras, `p2` the frontal one."""
    lab: str | None = None
    """slp: danaLab or simLab (danaLab where it is there)."""
    fits: Path | None = None
    """slp: folder of SLP-3Dfits, whose bodies are added."""
    images: Path | None = None
    """spin_npz: folder that the names of the pictures count from."""


@dataclass(frozen=True)
class Reader:
    """How data of one kind are recognised and read."""

    looks_for: str
    """What must lie in the folder, for messages."""
    is_there: Callable[[Path], bool]
    """Whether it lies in a folder, or is the file that was given."""
    read: Callable[[Path, BadSamples, ReaderOptions], Dataset]


def _slp(folder: Path, bad: BadSamples, options: ReaderOptions) -> Dataset:
    lab = options.lab or next((lab for lab in LABS if (folder / lab).is_dir()), LABS[0])
    dataset = read_slp_samples(folder, bad, lab)
    return dataset if options.fits is None else with_fits(dataset, read_slp_fits(options.fits, bad))


def _h36m(folder: Path, bad: BadSamples, options: ReaderOptions) -> Dataset:
    split: H36mSplit = _split(options, get_args(H36mSplit), 'h36m')
    return read_h36m(folder, bad, split, options.protocol)


def _3dpw(folder: Path, bad: BadSamples, options: ReaderOptions) -> Dataset:
    split: ThreedpwSplit = _split(options, get_args(ThreedpwSplit), '3dpw')
    return read_3dpw(folder, bad, split)


def _split(options: ReaderOptions, known: tuple[str, ...], kind: str) -> Any:
    split = options.split or 'test'
    if split not in known:
        raise ConfigError(f'{kind} has no split {split!r}. There are: {", ".join(known)}.')
    return split


def _any(folder: Path, *patterns: str) -> bool:
    """Return whether a folder holds, or is, something of one of these names."""
    if folder.is_file():
        return any(folder.match(pattern) for pattern in patterns)
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def _is_coco(folder: Path) -> bool:
    if folder.is_file():
        return folder.suffix == '.json' and not folder.match('annot/*.json')
    found = [*folder.glob('annotations/person_keypoints_*.json'), *folder.glob('person_keypoints_*.json')]
    return any(not path.stem.endswith('_infant') for path in found)


def _is_spin(folder: Path) -> bool:
    if folder.is_file():
        return is_spin_file(folder)
    return any(is_spin_file(path) for path in folder.glob('*.npz') if not path.name.startswith(('h36m_', '3dpw_')))


def _is_h36m(folder: Path) -> bool:
    names = {name for choices in H36M_FILES.values() for name in choices}
    return _any(folder, *names, *(f'dataset_extras/{name}' for name in names))


READERS: Mapping[str, Reader] = {
    'recording': Reader(
        'recording.yaml', is_recording, lambda folder, bad, options: read_recording(folder, bad)
    ),
    'slp': Reader('danaLab/ or simLab/', lambda folder: _any(folder, *LABS), _slp),
    'syrip': Reader(
        'annotations/*/person_keypoints_train_infant.json, or anno_train.json without depthRaw/',
        lambda folder: _any(folder, 'annotations/**/person_keypoints_*_infant.json')
        or (is_merged(folder) and not (folder / 'depthRaw').is_dir()),
        lambda folder, bad, options: read_syrip(folder, bad),
    ),
    'mimm': Reader(
        'anno_train.json and depthRaw/',
        lambda folder: is_merged(folder) and (folder / 'depthRaw').is_dir(),
        lambda folder, bad, options: read_mimm(folder, bad),
    ),
    'coco': Reader(
        'annotations/person_keypoints_*.json',
        _is_coco,
        lambda folder, bad, options: read_coco(folder, bad, options.assume_visible),
    ),
    'mpii': Reader(
        'mpii_human_pose_v1_u12*.mat or annot/train.json',
        lambda folder: _any(folder, _MPII, f'*/{_MPII}', 'annot/train.json', 'annot/valid.json'),
        lambda folder, bad, options: read_mpii(folder, bad),
    ),
    'h36m': Reader('h36m_valid_protocol1.npz, h36m_train.npz, ...', _is_h36m, _h36m),
    '3dpw': Reader(
        'sequenceFiles/ or 3dpw_test.npz', lambda folder: _any(folder, 'sequenceFiles', '3dpw_*.npz'), _3dpw
    ),
    'spin_npz': Reader(
        'an .npz with imgname, center and scale',
        _is_spin,
        lambda folder, bad, options: read_spin_npz(folder, bad, options.images),
    ),
}  # fmt: skip


def detect_kind(folder: Path) -> str:
    """Return the kind of the data in a folder; none or several are an error that lists what was looked for."""
    folder = Path(folder)
    if not folder.exists():
        raise AssetError(f'There is no {folder}. Give the folder of a data set or recording.')
    found = [kind for kind, reader in READERS.items() if reader.is_there(folder)]
    if len(found) == 1:
        return found[0]
    if found:
        raise AssetError(f'{folder} could be {" or ".join(found)}. Say which by --format.')
    looked = '\n'.join(f'  {kind}: {reader.looks_for}' for kind, reader in READERS.items())
    raise AssetError(f'{folder} is no data set that is known here. Looked for:\n{looked}')


def read_dataset(
    folder: Path,
    kind: str | None = None,
    bad: BadSamples | None = None,
    options: ReaderOptions | None = None,
) -> Dataset:
    """Return the samples in a folder, as `kind` or as what is found there; without `bad` the first bad one raises."""
    kind = kind or detect_kind(folder)
    if kind not in READERS:
        raise ConfigError(f'No format {kind!r}. There are: {", ".join(READERS)}.')
    return READERS[kind].read(Path(folder), BadSamples() if bad is None else bad, options or ReaderOptions())
