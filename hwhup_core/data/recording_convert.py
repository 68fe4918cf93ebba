"""Samples of any reader -> a recording with labels; one frame a sample, its layout is said in `recording_labels`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from hwhup_core.config_io import to_plain
from hwhup_core.data.recording import LABELS, FrameRecord, RecordingCard, write_durably
from hwhup_core.data.recording_labels import KEYPOINTS, SUPERVISION, UnitLabels, keypoints_content
from hwhup_core.data.recording_truth import TRUTH, Truths, truths_content
from hwhup_core.data.recording_units import MODALITIES, encode_depth
from hwhup_core.data.recording_writer import RecordingWriter
from hwhup_core.data.sample import BadSamples, Dataset, Joints3D, Sample, TrueBody
from hwhup_core.errors import AssetError, ConfigError, FrameError
from hwhup_core.types import Frame, Intrinsics

PEEKED = 16
"""Samples that are read first, evenly spread, to learn what the recording stores and whether there is one camera."""
SECOND = 1_000_000_000


@dataclass
class _Gathered:
    """Labels of what was written so far."""

    labels: list[tuple[UnitLabels, str, tuple[int, int]]] = field(default_factory=list)
    bodies: dict[str, TrueBody] = field(default_factory=dict)
    joints_3d: dict[str, Joints3D] = field(default_factory=dict)


def write_recording(
    dataset: Dataset, folder: Path, bad: BadSamples, color: Literal['jpeg', 'png'] = 'png', software: str = ''
) -> int:
    """
    Write all samples as one recording and return how many there are.

    Frames whose stamps do not increase get stamps one second apart. Where samples have different cameras the card has
    none, and each line of the index has its own under `intrinsics`.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f'{folder} is not empty. Convert into a new folder.')
    card = _card(dataset, color, software)
    gathered, stamp = _Gathered(), 0
    with RecordingWriter(folder, card, sync_every=256) as writer:
        for sample in dataset:
            try:
                frame = sample.load()
                supervision = None if sample.supervision_depth is None else encode_depth(sample.supervision_depth())
                stamp = frame.stamp_ns if frame.stamp_ns > stamp else stamp + SECOND
                record = _write(writer, sample, frame, stamp)
            except (AssetError, FrameError) as error:
                reason = error.reason if isinstance(error, FrameError) else 'unreadable'
                bad.add(sample.name, reason, error)
                continue
            _gather(gathered, sample, record, frame)
            if supervision is not None:
                _write_supervision(folder / LABELS / SUPERVISION / f'{record.unit}.png', supervision)
    if not gathered.labels:
        raise AssetError(f'No sample of {dataset.folder} could be written. Run `hwhup dataset check` on it.')
    _write_labels(folder / LABELS, dataset.joints, gathered)
    return len(gathered.labels)


def _write_labels(folder: Path, joints: tuple[str, ...], gathered: _Gathered) -> None:
    folder.mkdir(exist_ok=True)
    write_durably(folder / KEYPOINTS, keypoints_content(joints, gathered.labels))
    if gathered.bodies or gathered.joints_3d:
        write_durably(folder / TRUTH, truths_content(Truths(gathered.bodies, gathered.joints_3d)))


def _write_supervision(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _card(dataset: Dataset, color: Literal['jpeg', 'png'], software: str) -> RecordingCard:
    """Return the card; what is stored and by which camera is seen on some samples."""
    frames = _peek(dataset.samples)
    if not frames:
        raise AssetError(f'No picture of {dataset.folder} can be read. Run `hwhup dataset check` on it.')
    stored = {name for name in MODALITIES for frame in frames if getattr(frame, name) is not None}
    cameras = {frame.intrinsics for frame in frames}
    covers = {sample.tags.get('cover', 'unknown') for sample in dataset}
    return RecordingCard(
        camera=dataset.kind,
        frame_id=dataset.kind,
        intrinsics=cameras.pop() if len(cameras) == 1 else None,
        color=color if 'color' in stored else 'none',
        depth='png' if 'depth' in stored else 'none',
        infrared='png' if 'infrared' in stored else 'none',
        pressure='png' if 'pressure' in stored else 'none',
        cover=covers.pop() if len(covers) == 1 else 'mixed',
        software=software,
        source=f'{dataset.kind}: {dataset.folder.name}',
    )


def _peek(samples: Sequence[Sample]) -> list[Frame]:
    chosen = sorted({int(i) for i in np.linspace(0, len(samples) - 1, PEEKED)}) if samples else []
    frames = []
    for i in chosen:
        try:
            frames.append(samples[i].load())
        except AssetError:
            continue
    return frames


def _write(writer: RecordingWriter, sample: Sample, frame: Frame, stamp: int) -> FrameRecord:
    metadata: dict[str, object] = {'sample': sample.name}
    common: Intrinsics | None = writer.card.intrinsics
    if common is None and frame.intrinsics is not None:
        metadata['intrinsics'] = to_plain(frame.intrinsics)
        frame = replace(frame, intrinsics=None)
    return writer.write(replace(frame, stamp_ns=stamp, frame_id=writer.card.frame_id), metadata)


def _gather(gathered: _Gathered, sample: Sample, record: FrameRecord, frame: Frame) -> None:
    """Keep the labels of a sample that was written."""
    picture = next(iter(record.files.values())).name
    image = next(image for name in MODALITIES if (image := getattr(frame, name)) is not None)
    labels = UnitLabels(record.unit, sample.name, sample.fit_key, sample.tags, sample.box, sample.keypoints)
    gathered.labels.append((labels, picture, (image.shape[1], image.shape[0])))
    if sample.body is not None:
        gathered.bodies[record.unit] = sample.body
    if sample.joints_3d is not None:
        gathered.joints_3d[record.unit] = sample.joints_3d
