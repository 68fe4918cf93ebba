"""
3DPW, people filmed outdoors with motion capture: its own sequence files, or SPIN's npz of it.

2D poses are OpenPose's, which count the first pixel's centre as 0; here it is 0.5, and so for the camera's centre. A
person in a frame counts where 3DPW calls the camera's pose valid and OpenPose found a few joints (method 5.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray

from hwhup_core.body.joints import OPENPOSE_18, SMPL_24
from hwhup_core.body.unpickle import read_pickle
from hwhup_core.data.pickled_entries import PickledEntries
from hwhup_core.data.pictures import load_color_frame
from hwhup_core.data.sample import BadSamples, Dataset, Gender, Joints3D, Keypoints, Sample, TrueBody, centred_box
from hwhup_core.data.spin_npz import read_spin_npz
from hwhup_core.errors import AssetError
from hwhup_core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from hwhup_core.types import Frame, Intrinsics

Split = Literal['train', 'validation', 'test']
SEQUENCES = {'train': 24, 'validation': 12, 'test': 24}
"""How many sequence files each split has as published."""
LEFT_OUT = ('invalid camera', 'few joints')
"""Reasons in `BadSamples.reasons` that count what the protocol leaves out, not bad samples."""
MIN_JOINTS = 4
"""With fewer 2D joints the box is a guess."""
_BOX_SCALE = 1.2
_PIXEL_CENTRE = 0.5
_KEYS = (
    *('poses', 'betas', 'genders', 'trans', 'poses2d', 'jointPositions', 'campose_valid'),
    *('cam_poses', 'cam_intrinsics', 'sequence', 'img_frame_ids'),
)


@dataclass(frozen=True)
class _Actor:
    """One person of a sequence, n frames, in the world's axes."""

    number: int
    poses: Float[ndarray, 'n 72']
    betas: Float[ndarray, '10']
    gender: Gender
    translation: Float[ndarray, 'n 3']
    joints: Float[ndarray, 'n 24 3']
    keypoints: Float[ndarray, 'n 18 3']
    """x, y (the first pixel's centre is 0), confidence."""
    valid: Bool[ndarray, ' n']
    """Whether the camera's pose fits this person."""


@dataclass(frozen=True)
class _Sequence:
    """One sequence file."""

    name: str
    split: str
    pictures: Path
    """Folder of the pictures."""
    camera_from_world: Float[ndarray, 'n 4 4']
    camera: Float[ndarray, '3 3']
    actors: tuple[_Actor, ...]


def read_3dpw(folder: Path, bad: BadSamples, split: Split = 'test') -> Dataset:
    """
    Return the people of a split of 3DPW under `folder`, which holds sequenceFiles and imageFiles.

    One sample a person and frame, in the order of sequences, people, frames. The 3D joints are SMPL's own, from the
    camera. `bad` also counts under `LEFT_OUT` what the protocol leaves out. Without sequence files SPIN's
    `3dpw_<split>.npz` in the folder is read, which has no camera, no 2D joints and no translation.
    """
    folder = Path(folder)
    files = sorted((folder / 'sequenceFiles' / split).glob('*.pkl'))
    npz = folder / f'3dpw_{split}.npz'
    if not files and npz.is_file():
        return read_3dpw_npz(npz, folder, bad, split)
    if not files:
        raise AssetError(
            f'No sequence files in {folder / "sequenceFiles" / split} and no {npz.name}. Give the folder that holds '
            'sequenceFiles and imageFiles, as 3DPW publishes them.'
        )
    samples: list[Sample] = []
    for file in files:
        try:
            sequence = _read_sequence(file, folder, split)
            there = _pictures_of(sequence.pictures)
        except AssetError as error:
            bad.add(f'{split}/{file.stem}', 'unreadable sequence', error)
            continue
        samples += _samples(sequence, there, bad)
    absent = SEQUENCES[split] - len(files)
    missing = (f'{absent} of {SEQUENCES[split]} sequence files of {split}',) if absent > 0 else ()
    return Dataset('3dpw', folder, OPENPOSE_18, tuple(samples), missing)


def read_3dpw_npz(file: Path, images: Path, bad: BadSamples, split: Split = 'test') -> Dataset:
    """Return the people of SPIN's npz of 3DPW; `images` is the folder that holds imageFiles."""
    dataset = read_spin_npz(file, bad, images)
    samples = tuple(
        replace(sample, tags={'split': split, 'sequence': PurePosixPath(sample.name).parent.name}) for sample in dataset
    )
    return replace(dataset, kind='3dpw', folder=Path(images), samples=samples)


def _read_sequence(file: Path, folder: Path, split: str) -> _Sequence:
    entries = PickledEntries(read_pickle(file, _KEYS, what='a 3DPW sequence file'), file)
    name = str(entries.content.get('sequence', file.stem))
    if name != file.stem:
        raise AssetError(f'{file} says that it is of sequence {name!r}, expected {file.stem!r}. Copy it again.')
    cameras = entries.floats('cam_poses', (None, 4, 4))
    count = len(entries.of_each('poses'))
    actors = tuple(_actor(entries, number, count, len(cameras)) for number in range(count))
    camera = entries.floats('cam_intrinsics', (3, 3))
    if not np.isfinite(camera).all() or min(camera[0, 0], camera[1, 1]) <= 0:
        raise AssetError(f'{file}: cam_intrinsics is {camera.tolist()}, expected focal lengths > 0. Copy it again.')
    return _Sequence(name, split, folder / 'imageFiles' / name, cameras, camera, actors)


def _actor(entries: PickledEntries, number: int, count: int, frames: int) -> _Actor:
    def numbers(key: str, *shape: int | None) -> Float[ndarray, '...']:
        return entries.checked(key, entries.of_each(key, count)[number], shape)

    betas = numbers('betas', None)
    if len(betas) < 10 or not np.isfinite(betas[:10]).all():
        raise AssetError(f'{entries.path}: betas of person {number} are {betas}, expected 10 finite numbers.')
    return _Actor(
        number=number,
        poses=numbers('poses', frames, 72),
        betas=betas[:10],
        gender=entries.gender('genders', entries.of_each('genders', count)[number]),
        translation=numbers('trans', frames, 3),
        joints=numbers('jointPositions', frames, 72).reshape(frames, 24, 3),
        keypoints=numbers('poses2d', frames, 3, 18).transpose(0, 2, 1),
        valid=numbers('campose_valid', frames) > 0,
    )


def _pictures_of(folder: Path) -> frozenset[str]:
    """Return the names of the pictures in a folder."""
    if not folder.is_dir():
        raise AssetError(f'There is no folder {folder} with the pictures. Unpack imageFiles whole.')
    return frozenset(path.name for path in folder.iterdir())


def _samples(sequence: _Sequence, there: frozenset[str], bad: BadSamples) -> Iterator[Sample]:
    for actor in sequence.actors:
        for frame in range(len(actor.poses)):
            reason = _left_out(actor, frame)
            if reason:
                bad.reasons[reason] += 1
                continue
            name = f'{sequence.split}/{sequence.name}/{actor.number}/{frame:05d}'
            try:
                yield _sample(name, sequence, actor, frame, there)
            except AssetError as error:
                bad.add(name, 'unusable person', error)


def _left_out(actor: _Actor, frame: int) -> str:
    """Return why the protocol leaves the person out of this frame; empty where it does not."""
    if not actor.valid[frame]:
        return LEFT_OUT[0]
    return LEFT_OUT[1] if (actor.keypoints[frame, :, 2] > 0).sum() < MIN_JOINTS else ''


def _sample(name: str, sequence: _Sequence, actor: _Actor, frame: int, there: frozenset[str]) -> Sample:
    picture = sequence.pictures / f'image_{frame:05d}.jpg'
    if picture.name not in there:
        raise AssetError(f'There is no picture {picture}. Unpack imageFiles whole, or leave the person out.')
    keypoints = _keypoints(name, actor.keypoints[frame])
    seen = keypoints.pixels[keypoints.labelled]
    body, joints = _in_camera(name, sequence.camera_from_world[frame], actor, frame)
    return Sample(
        name=name,
        load=partial(_load, picture, sequence.camera),
        keypoints=keypoints,
        box=centred_box(seen.min(axis=0), seen.max(axis=0), _BOX_SCALE),
        joints_3d=joints,
        body=body,
        fit_key=name,
        tags={
            'split': sequence.split,
            'sequence': sequence.name,
            'actor': str(actor.number),
            'gender': actor.gender,
        },
    )


def _keypoints(name: str, row: Float[ndarray, '18 3']) -> Keypoints:
    labelled = row[:, 2] > 0
    if not np.isfinite(row[labelled]).all():
        raise AssetError(f'{name}: poses2d has NaN or infinite pixels. Copy the sequence file again, or leave it out.')
    pixels = np.where(labelled[:, None], row[:, :2] + _PIXEL_CENTRE, 0.0)
    return Keypoints(pixels.astype(np.float32), labelled, np.full(len(row), np.nan, np.float32))


def _in_camera(
    name: str, camera_from_world: Float[ndarray, '4 4'], actor: _Actor, frame: int
) -> tuple[TrueBody, Joints3D]:
    """
    Return the body and its joints in the camera's frame.

    SMPL turns its root about the rest pelvis p: x = R_root (v - p) + p + trans. So does the body in the camera, with
    R R_root, and what is to be added there is R (p + trans) + t - p. The file has p: its pelvis joint is at p + trans.
    """
    pose, trans, joints = actor.poses[frame], actor.translation[frame], actor.joints[frame]
    if not all(np.isfinite(values).all() for values in (pose, trans, joints, camera_from_world)):
        raise AssetError(
            f'{name}: pose, trans, jointPositions or cam_poses has NaN or infinite values, expected none where '
            'campose_valid is 1. Copy the sequence file again, or leave the person out.'
        )
    rotation, shift = camera_from_world[:3, :3], camera_from_world[:3, 3]
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0:
        raise AssetError(f'{name}: cam_poses has no rotation, expected [R t; 0 1]. Copy the sequence file again.')
    root = rotation @ axis_angle_to_matrix(torch.from_numpy(pose[:3])).numpy()
    turned = np.concatenate([matrix_to_axis_angle(torch.from_numpy(root)).numpy(), pose[3:]])
    placed = joints @ rotation.T + shift
    rest_pelvis = joints[0] - trans
    return (
        TrueBody(turned.astype(np.float32), actor.betas.astype(np.float32), actor.gender,
                 (placed[0] - rest_pelvis).astype(np.float32)),
        Joints3D(SMPL_24, placed.astype(np.float32), np.ones(24, np.float32), centred=False),
    )  # fmt: skip


def _load(picture: Path, camera: Float[ndarray, '3 3']) -> Frame:
    frame = load_color_frame(picture)
    assert frame.color is not None
    height, width = frame.color.shape[:2]
    center = camera[:2, 2] + _PIXEL_CENTRE
    intrinsics = Intrinsics(float(camera[0, 0]), float(camera[1, 1]), float(center[0]), float(center[1]), width, height)
    return replace(frame, intrinsics=intrinsics)
