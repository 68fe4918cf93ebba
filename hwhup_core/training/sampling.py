"""Fills a `SamplePool` with rendered infants, in parallel; a seed gives the same pool for any number of workers."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from tqdm import tqdm

from hwhup_core.body.model import load_body
from hwhup_core.synthetic.crops import CropSampling, sample_crops
from hwhup_core.training.pool import DEPTH_UNIT, SamplePool

POOL_SIZE = 192
"""Side of a stored crop, pixels."""
POOL_MARGIN = 2.2
"""Side of a stored crop in extents of the joints: room to turn, shift and zoom."""
CHUNK = 512
"""Samples that one worker renders at a time; the seed belongs to the chunk."""
SAMPLING = CropSampling(
    size=POOL_SIZE, oversampling=1, box_margin=(POOL_MARGIN, POOL_MARGIN), box_shift=0.0,
    height=(1.1, 1.8), tilt_degrees=(0.0, 30.0),
)  # fmt: skip


def synthetic_pool(body: str, seed: int, count: int, workers: int | None = None) -> SamplePool:
    """Return `count` rendered samples of the body (name or path) in random cribs."""
    chunks = [(body, seed, index, min(CHUNK, count - start)) for index, start in enumerate(range(0, count, CHUNK))]
    workers = workers or min(len(chunks), os.cpu_count() or 1)
    context = multiprocessing.get_context('spawn')
    with ProcessPoolExecutor(workers, mp_context=context) as executor:
        parts = list(tqdm(executor.map(_render_chunk, chunks), total=len(chunks), unit='chunk', desc='render samples'))
    return SamplePool(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in vars(parts[0])})


def _render_chunk(task: tuple[str, int, int, int]) -> SamplePool:
    body_name, seed, chunk, count = task
    torch.set_num_threads(1)
    body = load_body(body_name)
    samples = sample_crops(body, np.random.default_rng((seed, chunk)), SAMPLING, count)
    sides, centers = samples.box[:, 2], samples.box[:, :2]
    return SamplePool(
        depth=np.round(samples.depth / DEPTH_UNIT).clip(0, 65535).astype(np.uint16),
        half_tangent=sides / 2 / samples.camera[:, 0],
        keypoints=(samples.pixels - centers[:, None]) / (sides[:, None, None] / 2),
        global_rotation=samples.global_rotation,
        joint_rotations=samples.joint_rotations,
        betas=samples.betas,
    )
