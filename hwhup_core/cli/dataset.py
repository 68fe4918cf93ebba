"""`hwhup dataset check` and `convert`: what lies in a folder, and into another form."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
from tqdm import tqdm

from hwhup_core import __version__
from hwhup_core.cli.main import EXIT_FINE, EXIT_PARTLY
from hwhup_core.data.contact_sheet import Pictured, contact_sheet
from hwhup_core.data.readers import ReaderOptions, detect_kind, read_dataset
from hwhup_core.data.recording_convert import write_recording
from hwhup_core.data.recording_labels import read_recording
from hwhup_core.data.sample import BadSamples, Dataset, Keypoints
from hwhup_core.data.spin_writer import write_spin_npz
from hwhup_core.data.summary import LabelCounts, PictureCounts, count_labels, pick, read_pictures
from hwhup_core.errors import ConfigError, HwhupError
from hwhup_core.labeling.labels import LabelStore

SHOWN_MESSAGES = 10
"""Of samples that were left out; the rest are only counted."""


@dataclass(frozen=True)
class DatasetRequest:
    """What both actions are asked for."""

    folder: Path
    kind: str | None
    """None: by what lies there."""
    skip_bad: bool
    options: ReaderOptions


@dataclass(frozen=True)
class CheckRequest:
    """How `check` looks at the pictures."""

    count: int
    """Pictures to read and to show."""
    everything: bool
    """Read all of them; `count` are shown."""
    seed: int
    sheet: Path | None
    """File for the contact sheet."""

    def __post_init__(self) -> None:
        if self.count < 1 or self.seed < 0:
            raise ConfigError(f'--count {self.count}, --seed {self.seed}. Expected at least 1, 0.')
        if self.sheet is not None and self.sheet.suffix.lower() not in ('.png', '.jpg'):
            raise ConfigError(f'--sheet {self.sheet} is no picture file. Expected a name that ends in .png.')


def request_from(given: argparse.Namespace) -> DatasetRequest:
    """Return the request of parsed arguments."""
    options = ReaderOptions(given.assume_visible, given.split, given.protocol, given.lab, given.fits, given.images)
    kind = None if given.format is None else given.format.replace('-', '_')
    return DatasetRequest(given.folder, kind, given.skip_bad, options)


def check_request_from(given: argparse.Namespace) -> CheckRequest:
    """Return how to look, of parsed arguments."""
    return CheckRequest(given.count, given.all, given.seed, given.sheet)


def check(request: DatasetRequest, how: CheckRequest) -> int:
    """Print what was found and what is missing, read pictures, and draw the contact sheet."""
    bad = BadSamples(request.skip_bad)
    dataset = read(request, bad)
    print(f'{request.folder}: {dataset.kind}, {len(dataset)} samples, {len(dataset.joints)} joints each')
    _print_labels(count_labels(dataset))
    shown = {sample.name for sample in pick(dataset.samples, how.count, how.seed)}
    chosen = [sample for sample in dataset if how.everything or sample.name in shown]
    counts, pictured = PictureCounts(), list[Pictured]()
    for each in read_pictures(tqdm(chosen, unit='picture', disable=None, leave=False), bad):
        counts.add(each.sample, each.frame)
        if each.sample.name in shown:
            pictured.append(each)
    _print_pictures(counts, len(dataset))
    _print_list('not there', dataset.missing)
    _print_bad(bad)
    if how.sheet is not None:
        _write_sheet(how.sheet, pictured, dataset)
    if not counts.read:
        raise HwhupError(f'No picture of {request.folder} can be read.')
    return EXIT_PARTLY if bad.messages else EXIT_FINE


def convert(request: DatasetRequest, out: Path, to: str, jpeg: bool) -> int:
    """Write all samples in another form."""
    bad = BadSamples(request.skip_bad)
    dataset = read(request, bad)
    if to == 'recording':
        color: Literal['jpeg', 'png'] = 'jpeg' if jpeg else 'png'
        count = write_recording(dataset, out, bad, color, __version__)
        print(f'wrote {count} of {len(dataset)} samples to the recording {out}')
    else:
        print(f'wrote {write_spin_npz(dataset, out, bad)} and its pictures')
    _print_bad(bad)
    return EXIT_PARTLY if bad.messages else EXIT_FINE


def read(request: DatasetRequest, bad: BadSamples) -> Dataset:
    """Return the data set, which has at least one sample."""
    dataset = _read(request, bad)
    if not len(dataset):
        why = ', '.join(f'{count} {reason}' for reason, count in bad.reasons.items()) or 'none was there'
        raise HwhupError(f'{request.folder} ({dataset.kind}) has no sample that can be used: {why}.')
    return dataset


def _read(request: DatasetRequest, bad: BadSamples) -> Dataset:
    """Return what was read; of a recording with the labels that people and tools have put there since."""
    kind = request.kind or detect_kind(request.folder)
    if kind != 'recording':
        return read_dataset(request.folder, kind, bad, request.options)
    labels = LabelStore(request.folder).usable()
    sets = Counter(label.joints for label in labels.values())
    if not sets:
        return read_recording(request.folder, bad)
    if len(sets) > 1:
        raise ConfigError(
            f'{request.folder} has labels of {len(sets)} sets of joints, of {", ".join(str(len(s)) for s in sets)} '
            'joints. Label it with one set, or remove the other labels.'
        )
    keypoints = {unit: Keypoints(each.pixels, each.labelled, each.visible) for unit, each in labels.items()}
    return read_recording(request.folder, bad, keypoints, next(iter(sets)))


def _print_labels(counts: LabelCounts) -> None:
    subjects = f'{counts.subjects} subjects, ' if counts.subjects else ''
    print(f'labels: {subjects}{counts.labelled} joints: {counts.visible} seen, {counts.occluded} occluded, ', end='')
    print(f'{counts.unknown} of unknown visibility')
    print(f'samples with: box {counts.boxes}, 3D joints {counts.joints_3d}, body {counts.bodies}, ', end='')
    print(f'depth for supervision {counts.supervised}')
    for tag, values in counts.groups.items():
        print(f'{tag}: ' + ', '.join(f'{value} {count}' for value, count in sorted(values.items())))


def _print_pictures(counts: PictureCounts, samples: int) -> None:
    modalities = ', '.join(f'{name} {count}' for name, count in counts.modalities.items())
    sizes = ', '.join(f'{width}x{height} ({count})' for (width, height), count in counts.sizes.most_common(4))
    more = f' and {len(counts.sizes) - 4} other sizes' if len(counts.sizes) > 4 else ''
    print(f'pictures: read those of {counts.read} of {samples} samples: {modalities or "none"}; {sizes}{more}')
    print(f'of these: {counts.boxes_outside} boxes and {counts.joints_outside} joints outside the picture, ', end='')
    print(f'{counts.without_camera} without camera')


def _print_list(what: str, lines: tuple[str, ...]) -> None:
    if lines:
        more = [f'... and {len(lines) - SHOWN_MESSAGES} more'] if len(lines) > SHOWN_MESSAGES else []
        print('\n  '.join([f'{what}:', *lines[:SHOWN_MESSAGES], *more]))


def _print_bad(bad: BadSamples) -> None:
    if bad.reasons:
        print('left out: ' + ', '.join(f'{count} {reason}' for reason, count in bad.reasons.most_common()))
    _print_list('bad', tuple(bad.messages))


def _write_sheet(path: Path, pictured: list[Pictured], dataset: Dataset) -> None:
    title = f'{dataset.folder.name}: {dataset.kind}, {len(pictured)} of {len(dataset)} samples'
    sheet = contact_sheet(pictured, dataset.joints, title)
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), sheet[..., ::-1]):
        raise HwhupError(f'Cannot write {path}. Choose another place for the contact sheet.')
    print(f'wrote {path}')
