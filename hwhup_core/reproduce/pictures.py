"""Four held-out people before and after the adaptation, from the front and from the side over what was measured."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Int, UInt8
from numpy import ndarray

from hwhup_core.body.model import load_body
from hwhup_core.evaluation.page import Shown, write_sheet
from hwhup_core.evaluation.scores import load_scores
from hwhup_core.networks.packing import Modality
from hwhup_core.reproduce.columns import column_network
from hwhup_core.reproduce.config import TableConfig
from hwhup_core.reproduce.held_out import held_out_batch, load_test_pool
from hwhup_core.reproduce.table1 import places_in
from hwhup_core.training.adapt import still_transform
from hwhup_core.training.domain_pools import TestPool
from hwhup_core.training.transforms import warp_picture
from hwhup_core.training.weak_step import predict

BEFORE, AFTER = 'pre_trained', 'full'
SHOWN = 4
PICTURE = 224
JPEG_QUALITY = 85


def write_pictures(config: TableConfig, run: Path, out: Path) -> None:
    """Write `<table>.jpg`: one frame of each quarter of the full column's errors, best to worst, picked by rank."""
    pool, body = load_test_pool(run / 'test'), load_body(config.body)
    errors = load_scores(places_in(run).scores(AFTER)).mpjpe_mm
    places = np.argsort(errors)[((np.arange(SHOWN) + 0.5) / SHOWN * len(errors)).astype(int)]
    weak, truth = held_out_batch(pool, places, config.inputs)
    named = {}
    for column in (BEFORE, AFTER):
        with torch.no_grad():
            named[column] = predict(column_network(config, places_in(run), column).eval(), weak.images, bfloat16=False)
    depth = weak.observation.depth
    assert depth is not None
    rows = [
        Shown(
            image=_picture(config, pool, places, row),
            depth=depth[row].numpy(),
            pinhole=truth.pinhole[row : row + 1],
            predictions=[(name, prediction[row : row + 1]) for name, prediction in named.items()],
            title=f'{pool.weak.names[place]}: {errors[place]:.0f} mm after',
        )
        for row, place in enumerate(places)
    ]
    sheet = run / 'pictures.png'
    write_sheet(sheet, rows, body)
    drawn = cv2.imread(str(sheet))
    assert drawn is not None
    cv2.imwrite(str(out / f'{config.name}.jpg'), drawn, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


def _picture(
    config: TableConfig, pool: TestPool, places: Int[ndarray, ' b'], row: int
) -> UInt8[ndarray, 's s 3'] | None:
    """Return the crop in colour where the network reads colour; None shows the depth."""
    if config.modality is not Modality.RGB:
        return None
    labels, place = pool.weak.labels, places[row]
    box = still_transform(labels.keypoints[place][labels.confidence[place] > 0], np.random.default_rng(0))
    return warp_picture(pool.weak.pictures.of(Modality.RGB)[place], box, PICTURE)
