"""
SLP's layout on disk: one lab folder, one folder a subject, written whole or not at all; the truth apart from it.

Ours differ from the real set in image size and camera: `camera.json` in each subject's folder tells (cx, cy counted
from the centre of the first pixel, as in OpenCV and ROS). All modalities are registered, so every homography is the
identity.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8
from numpy import ndarray
from scipy.io import savemat

from hwhup_core.body.model import BodyModel
from hwhup_core.config_io import load_config, save_config
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.synthetic.domain import Cover, DomainConfig, PoseTruth, Sensed, SensedPose
from hwhup_core.synthetic.physique import measure
from hwhup_core.types import Intrinsics, Posture

LAB = 'danaLab'
CARD = 'domain.yaml'
DEPTH_PICTURE_MM = 3000.0
"""Depth that is white in the 8-bit pictures, millimetres."""
INFRARED_PICTURE_K = (293.15, 313.15)
"""Temperatures that are black and white in the 8-bit pictures: 20 and 40 degrees Celsius."""
_log = logging.getLogger(__name__)
_PIXEL_SHIFT = 0.5
"""SLP counts pixels from 1: its first centre is 1, ours 0.5."""


@dataclass(frozen=True)
class DomainCard:
    """What made the subjects in a folder; a run that goes on there must be of the same making."""

    config: DomainConfig
    seed: int
    body_hash: str
    commit: str = ''
    """Of the code; empty outside a checkout."""


def open_domain(root: Path, card: DomainCard) -> None:
    """Make the folder with its card, or check that what is there was made the same way."""
    path = root / CARD
    if path.is_file():
        found = load_config(path, DomainCard)
        for name in ('config', 'seed', 'body_hash'):
            if getattr(found, name) != getattr(card, name):
                raise ConfigError(
                    f'{root} holds subjects made with {name} {getattr(found, name)}, and now it is '
                    f'{getattr(card, name)}. Go on with the same, or choose another folder.'
                )
        if found.commit != card.commit:
            _log.warning('%s was begun by commit %s, this is %s: subjects may differ.', root, found.commit, card.commit)
        return
    if root.exists() and any(root.iterdir()):
        raise ConfigError(f'{root} is not empty and has no {CARD}. Choose another folder.')
    root.mkdir(parents=True, exist_ok=True)
    partial = root / f'{CARD}.partial'
    save_config(partial, card)
    partial.replace(path)


def subject_folder(root: Path, subject: int) -> Path:
    """Return where a subject (from 1) lies."""
    return root / LAB / f'{subject:05d}'


def truth_file(root: Path, subject: int) -> Path:
    """Return where the truth of a subject (from 1) lies."""
    return root / LAB / f'{subject:05d}.npz'


def is_done(root: Path, truth: Path, subject: int) -> bool:
    """Return whether the subject is there whole."""
    return subject_folder(root, subject).is_dir() and truth_file(truth, subject).is_file()


def write_subject(
    folder: Path, truth: Path, poses: Iterable[tuple[SensedPose, PoseTruth]], config: DomainConfig, body: BodyModel
) -> None:
    """Write all poses of one subject into `folder` and the npz file `truth`; both appear whole, the folder last."""
    partial = folder.with_name(f'.{folder.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)
    sensed, truths, scales = [], [], np.full((len(Cover), config.poses), np.nan)
    for pose, true in poses:
        for cover, pictures in pose.covers.items():
            scale = _write_pictures(partial, cover, pose.number, pictures)
            scales[list(Cover).index(cover), pose.number - 1] = scale
        sensed.append(pose)
        truths.append(true)
    _write_labels(partial, sensed)
    if 'pressure' in config.modalities:
        np.save(partial / 'PMcali.npy', scales)
    np.save(partial / 'physique.npy', _physique_row(body, truths[0].betas))
    _write_truth(truth, truths)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def _write_pictures(folder: Path, cover: Cover, number: int, sensed: Sensed) -> float:
    """Write what is sensed of one pose under one cover; return the scale of its pressure array (kPa a count)."""

    def place(kind: str) -> Path:
        name = f'{number:06d}.npy' if kind in ('depthRaw', 'IRraw', 'PMarray') else f'image_{number:06d}.png'
        (folder / kind / cover.value).mkdir(parents=True, exist_ok=True)
        return folder / kind / cover.value / name

    scale = float('nan')
    if sensed.color is not None:
        _save_png(place('RGB'), sensed.color[..., ::-1])
    if sensed.depth is not None:
        counts = np.round(1000 * sensed.depth).clip(0, 65535).astype(np.uint16)
        np.save(place('depthRaw'), counts)
        _save_png(place('depth'), _bytes(counts, 0.0, DEPTH_PICTURE_MM))
    if sensed.infrared is not None:
        np.save(place('IRraw'), sensed.infrared)
        _save_png(place('IR'), _bytes(sensed.infrared, *INFRARED_PICTURE_K))
    if sensed.pressure is not None:
        scale = max(float(sensed.pressure.max()), 1e-6) / 255
        counts = np.round(sensed.pressure / scale).clip(0, 255).astype(np.uint8)
        np.save(place('PMarray'), counts)
        _save_png(place('PM'), counts)
    return scale


def _bytes(values: Shaped[ndarray, 'h w'], low: float, high: float) -> UInt8[ndarray, 'h w']:
    """Return the values as grey, `low` black and `high` white."""
    result: ndarray = (255 / (high - low) * (values.astype(np.float32) - low)).clip(0, 255).astype(np.uint8)
    return result


def _save_png(path: Path, picture: ndarray) -> None:
    """Write a picture; little compression, since the time of writing counts."""
    encoded = cv2.imencode('.png', np.ascontiguousarray(picture), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    path.write_bytes(encoded.tobytes())


def _write_labels(folder: Path, poses: Sequence[SensedPose]) -> None:
    """Write joints, homographies and camera: the same for every modality, since they share one frame."""
    columns = [
        np.concatenate([pose.pixels + _PIXEL_SHIFT, pose.occluded[:, None]], axis=1).astype(np.float64)
        for pose in poses
    ]
    for modality in ('RGB', 'IR'):
        savemat(folder / f'joints_gt_{modality}.mat', {'joints_gt': np.stack(columns).transpose(2, 1, 0)})
    for modality in ('RGB', 'IR', 'depth'):
        np.save(folder / f'align_PTr_{modality}.npy', np.eye(3))
    (folder / 'camera.json').write_text(
        json.dumps(_camera(poses[0].intrinsics, poses[0].bed_distance), indent=2), encoding='utf-8'
    )


def _camera(intrinsics: Intrinsics, bed_distance: float | None) -> dict[str, float | None]:
    return {
        'width': intrinsics.width,
        'height': intrinsics.height,
        'fx': intrinsics.fx,
        'fy': intrinsics.fy,
        'cx': intrinsics.cx - 0.5,
        'cy': intrinsics.cy - 0.5,
        'bed_distance': bed_distance,
    }


def _physique_row(body: BodyModel, betas: Float[ndarray, '10']) -> Float[ndarray, '10']:
    """Return SLP's ten measures: gender (our bodies have none), height cm, weight kg; the girths are not measured."""
    physique = measure(body, betas)
    row = np.full(10, np.nan)
    row[1:3] = 100 * physique.stature, physique.weight
    return row


def write_physique(root: Path) -> None:
    """Write the table of all subjects of a lab, a row each in their order."""
    rows = [np.load(path) for path in sorted((root / LAB).glob('[0-9]*/physique.npy'))]
    if rows:
        np.save(root / LAB / 'physiqueData.npy', np.stack(rows))


def _write_truth(path: Path, truths: Sequence[PoseTruth]) -> None:
    """Write one array a field, pose by pose; masks as bits."""
    stacked = {field.name: np.stack([getattr(true, field.name) for true in truths]) for field in fields(PoseTruth)}
    width = stacked['mask'].shape[-1]
    stacked['mask'] = np.packbits(stacked['mask'], axis=-1)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.partial')
    with partial.open('wb') as file:
        arrays: dict[str, Any] = {'width': width, **stacked}
        np.savez(file, **arrays)
    partial.replace(path)


def read_truth(folder: Path, subject: int) -> tuple[PoseTruth, ...]:
    """Return the truth of all poses of a subject, in order; `folder` is the root that `hwhup synth` calls truth."""
    path = truth_file(folder, subject)
    if not path.is_file():
        raise AssetError(f'There is no truth {path}. Give the folder that `hwhup synth --truth` wrote.')
    try:
        with np.load(path) as file:
            arrays: dict[str, Any] = dict(file)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError) as error:
        raise AssetError(f'{path} is not whole ({error}). Delete it and run `hwhup synth` again.') from error
    missing = {'width', *(field.name for field in fields(PoseTruth))} - set(arrays)
    if missing:
        raise AssetError(f'{path} lacks {", ".join(sorted(missing))}. Delete it and run `hwhup synth` again.')
    arrays['mask'] = np.unpackbits(arrays['mask'], axis=-1, count=int(arrays.pop('width'))).astype(bool)
    return tuple(_truth({name: array[k] for name, array in arrays.items()}) for k in range(len(arrays['betas'])))


def _truth(values: dict[str, Any]) -> PoseTruth:
    return PoseTruth(**{**values, 'posture': Posture(int(values['posture']))})
