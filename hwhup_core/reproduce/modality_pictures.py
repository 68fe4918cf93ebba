"""Held-out people under the blanket: what each modality shows of them, and what is made of it, front and side."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from hwhup_core.body.model import load_body
from hwhup_core.evaluation.page import Shown, picture_row
from hwhup_core.evaluation.scores import load_scores
from hwhup_core.networks.packing import Modality
from hwhup_core.render.picture import depth_to_rgb, side_by_side
from hwhup_core.reproduce.columns import column_network
from hwhup_core.reproduce.config import MODALITIES, TableConfig
from hwhup_core.reproduce.held_out import held_out_batch, load_test_pool
from hwhup_core.reproduce.modality_results import METHOD, NAMES
from hwhup_core.reproduce.table2 import modality_places, reading
from hwhup_core.synthetic.domain import Cover
from hwhup_core.training.adapt import still_transform
from hwhup_core.training.domain_pools import TestPool
from hwhup_core.training.pools import Pictures
from hwhup_core.training.transforms import Transform, warp_depth, warp_picture
from hwhup_core.training.weak_step import predict

SHOWN = 3
PICTURE = 224
JPEG_QUALITY = 80


def write_modality_pictures(config: TableConfig, run: Path, out: Path, name: str) -> None:
    """
    Write `<name>.jpg`: a row for each modality; beside each other one covered person of each third of the errors.

    The rank is that of the mean over modalities of the method's MPJPE, best to worst.
    """
    pool, body = load_test_pool(run / 'test'), load_body(config.body)
    errors = {modality: load_scores(modality_places(run, modality).scores(METHOD)).mpjpe_mm for modality in MODALITIES}
    places = ranked_places(pool, np.mean(list(errors.values()), axis=0))
    strips = []
    for modality in MODALITIES:
        rows = _shown(config, run, pool, places, modality)
        panels = [panel for shown in rows for panel in picture_row(shown, body)]
        titles = [
            title
            for shown, place in zip(rows, places)
            for title in (shown.title, f'HW-HuP, {errors[modality][place]:.0f} mm MPJPE', 'from the side')
        ]
        strips.append(side_by_side([panel.image for panel in panels], titles))
    sheet = np.concatenate(strips)
    cv2.imwrite(str(out / f'{name}.jpg'), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def ranked_places(pool: TestPool, errors: Float[ndarray, ' n']) -> Int[ndarray, ' s']:
    """Return the frames under the blanket in the middle of each third of the errors."""
    covered = np.flatnonzero([name.split('/')[1] == Cover.BLANKET.value for name in pool.weak.names])
    ranked = covered[np.argsort(errors[covered])]
    chosen: ndarray = ranked[((np.arange(SHOWN) + 0.5) / SHOWN * len(ranked)).astype(int)]
    return chosen


def _shown(config: TableConfig, run: Path, pool: TestPool, places: Int[ndarray, ' s'], modality: str) -> list[Shown]:
    """Return what one modality shows of the people, with the method's prediction."""
    cell = reading(config, modality)
    weak, truth = held_out_batch(pool, places, cell.inputs)
    with torch.no_grad():
        network = column_network(cell, modality_places(run, modality), METHOD).eval()
        predicted = predict(network, weak.images, bfloat16=False)
    boxes = [_box(pool, int(place)) for place in places]
    return [
        Shown(
            image=input_picture(pool.weak.pictures, int(place), boxes[row], MODALITIES[modality]),
            depth=warp_depth(pool.weak.labels.depth[place], boxes[row], PICTURE),
            pinhole=truth.pinhole[row : row + 1],
            predictions=[('HW-HuP', predicted[row : row + 1])],
            title=f'{NAMES[modality]}: {pool.weak.names[place]}',
        )
        for row, place in enumerate(places)
    ]


def _box(pool: TestPool, place: int) -> Transform:
    labels = pool.weak.labels
    return still_transform(labels.keypoints[place][labels.confidence[place] > 0], np.random.default_rng(0))


def input_picture(
    pictures: Pictures, place: int, box: Transform, modalities: tuple[Modality, ...]
) -> UInt8[ndarray, 's s 3']:
    """Return what a network reads of a frame: depth in colours, one other in grey, three as red, green and blue."""
    if modalities == (Modality.DEPTH,):
        return depth_to_rgb(warp_depth(pictures.of(Modality.DEPTH)[place], box, PICTURE))
    greys = [_grey(pictures, place, box, modality) for modality in modalities]
    return np.stack(greys if len(greys) == 3 else greys[:1] * 3, axis=2)


def _grey(pictures: Pictures, place: int, box: Transform, modality: Modality) -> UInt8[ndarray, 's s']:
    """Return one modality from dark to bright over its own range; near is bright."""
    if modality is Modality.DEPTH:
        depth = warp_depth(pictures.of(modality)[place], box, PICTURE)
        values = np.where(depth > 0, -depth, -depth.max())
    else:
        values = warp_picture(pictures.of(modality)[place], box, PICTURE).astype(np.float32)
    low, high = np.percentile(values, [1, 99.5])
    grey: ndarray = np.rint(255 * ((values - low) / max(high - low, 1e-6)).clip(0, 1)).astype(np.uint8)
    return grey
