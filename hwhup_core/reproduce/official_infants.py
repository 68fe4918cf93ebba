"""
Table 4 on infants: MIMM for depth, SyRIP's 2D joints beside it where they are configured.

The body is SMIL, behind HW-HuP's camera for it, and the prior the adults', as there. MIMM publishes no camera; its 3D
joints are pixels and depth put together, and so give the camera back. Without MIMM there is no depth: then only the 2D
baseline is trained, and scored by PCK.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hwhup_core.body.joints import COCO_17
from hwhup_core.body.keypoint_sets import keypoint_set
from hwhup_core.data.mimm import read_mimm
from hwhup_core.data.sample import BadSamples, Dataset, Sample
from hwhup_core.data.syrip import read_syrip
from hwhup_core.errors import AssetError
from hwhup_core.networks.packing import Modality
from hwhup_core.reproduce.official_scores import figures, pool_scores
from hwhup_core.reproduce.official_start import OfficialConfig, adapted, load_start, observed, spin_inputs
from hwhup_core.settings import setting
from hwhup_core.training.pools import WeakPool, join_pools
from hwhup_core.training.sample_pools import weak_pool_from_samples
from hwhup_core.training.stages import TABLE_ONE, StageConfig
from hwhup_core.training.visnet_fill import VISNET, filled_by_visnet
from hwhup_core.types import Frame, Intrinsics

NEEDED_ASSETS = ('smil', 'spin_checkpoint', 'gmm_08')
COLUMNS = ('pre_trained', 'fine_tuned', 'full')
EPOCHS, SECOND_STAGE, CAMERA_UNTIL = 640, 420, 200
"""The released schedule of infants; the camera term counts 1 at first."""
LEAST_POINTS = 50
"""Joints that a camera is found from."""
_TEST = ('valid', 'test', 'validate_infant')
"""Tag `split` of held-out infants."""


def stage(column: str) -> StageConfig:
    """Return a column's setting for infants."""
    given = TABLE_ONE[column]
    if not given.epochs:
        return given
    return replace(
        given,
        epochs=EPOCHS,
        stage_two_epoch=SECOND_STAGE,
        camera_until_epoch=CAMERA_UNTIL,
        weights=replace(given.weights, camera=1.0),
    )


def table4(config: OfficialConfig, run: Path) -> dict[str, Any]:
    """Return the errors of every column on every data set that is configured."""
    start, inputs, bad = load_start('smil', infants=True), spin_inputs((Modality.RGB,)), BadSamples(skip=True)
    parts = {name: _pools(dataset, config, bad) for name, dataset in _datasets(bad).items()}
    training = _joined([pools[0] for pools in parts.values()])
    columns: dict[str, Any] = {}
    for column in COLUMNS if 'mimm' in parts else COLUMNS[:2]:
        network = adapted(start, stage(column), inputs, training, config, run / column)
        columns[column] = {}
        for name, (_, held_out) in parts.items():
            scores = pool_scores(network, inputs, start.body, held_out, COCO_17)
            # Names end in the picture; MIMM does not say which infant a picture shows.
            columns[column][name] = figures(scores.columns, scores.names)
    return {
        'columns': columns,
        'trained_on': len(training),
        'scored': {name: len(held_out) for name, (_, held_out) in parts.items()},
        'left_out': dict(bad.reasons),
        'notes': [] if 'mimm' in parts else ['full: without data.mimm there is no depth to learn from.'],
    }


def _datasets(bad: BadSamples) -> dict[str, Dataset]:
    mimm, syrip = setting('data.mimm'), setting('data.syrip')
    found = {}
    if mimm is not None:
        found['mimm'] = with_camera(read_mimm(mimm, bad))
    if syrip is not None:
        found['syrip'] = read_syrip(syrip, bad)
    return found


def _pools(dataset: Dataset, config: OfficialConfig, bad: BadSamples) -> tuple[WeakPool, WeakPool]:
    """Return the infants to adapt to and the held-out ones."""
    observation = replace(observed(config, stage('full')), mask='joint_range')
    held = [sample.tags.get('split') in _TEST for sample in dataset]
    if all(held) or not any(held):
        raise AssetError(
            f'{dataset.folder} has no infants of {"training" if all(held) else "validation"}. Copy it whole.'
        )
    fill = filled_by_visnet(VISNET, dataset.joints)
    training, held_out = (
        weak_pool_from_samples(
            replace(dataset, samples=tuple(s for s, out in zip(dataset, held) if out is wanted)),
            observation, (Modality.RGB,), keypoint_set('coco_17'), fill, bad,
        )
        for wanted in (False, True)
    )  # fmt: skip
    return training, held_out


def _joined(parts: Sequence[WeakPool]) -> WeakPool:
    """Return one pool, the rows of each part behind those of the one before."""
    placed, first = [], 0
    for part in parts:
        placed.append(replace(part, labels=replace(part.labels, rows=part.labels.rows + first)))
        first += int(part.labels.rows.max()) + 1
    return join_pools(placed)


def with_camera(dataset: Dataset) -> Dataset:
    """Return MIMM's samples with the camera that their 3D and 2D joints were made with."""
    fx, cx, fy, cy = camera_of(dataset)

    def seen(sample: Sample) -> Sample:
        def load() -> Frame:
            frame = sample.load()
            assert frame.color is not None
            height, width = frame.color.shape[:2]
            return replace(frame, intrinsics=frame.intrinsics or Intrinsics(fx, fy, cx, cy, width, height))

        return replace(sample, load=load)

    return replace(dataset, samples=tuple(seen(sample) for sample in dataset))


def camera_of(dataset: Dataset) -> tuple[float, float, float, float]:
    """Return fx, cx, fy, cy of u = fx X / Z + cx and v = fy Y / Z + cy, least squares over joints that have both."""
    rays, pixels = [], []
    for sample in dataset:
        if sample.keypoints is not None and sample.joints_3d is not None:
            good = sample.keypoints.labelled & (sample.joints_3d.confidence > 0)
            points = sample.joints_3d.positions[good].astype(np.float64)
            rays.append(points[:, :2] / points[:, 2:])
            pixels.append(sample.keypoints.pixels[good].astype(np.float64))
    found = sum(map(len, rays))
    if found < LEAST_POINTS:
        raise AssetError(
            f'{dataset.folder} has {found} joints with `3d_keypoints`, expected {LEAST_POINTS}: they tell the camera. '
            'Add them to the labels.'
        )
    ray, pixel = np.concatenate(rays), np.concatenate(pixels)
    focal_x, center_x = _line(ray[:, 0], pixel[:, 0])
    focal_y, center_y = _line(ray[:, 1], pixel[:, 1])
    if min(focal_x, focal_y) <= 0:
        raise AssetError(f'{dataset.folder}: 2D and 3D joints give focal lengths {focal_x:.0f}, {focal_y:.0f} px.')
    return focal_x, center_x, focal_y, center_y


def _line(ray: np.ndarray, pixel: np.ndarray) -> tuple[float, float]:
    """Return slope and offset of the least squares line, gross outliers left out once."""
    slope, offset = np.polyfit(ray, pixel, 1)
    off = np.abs(pixel - slope * ray - offset)
    near = off <= 5 * max(float(np.median(off)), 1e-6)
    slope, offset = np.polyfit(ray[near], pixel[near], 1)
    return float(slope), float(offset)
