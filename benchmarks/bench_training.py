"""
A step of the adaptation at batch 64: how fast samples are drawn, and what OPT and rendered depth add to the regressor.

The regressor's passes are timed on fewer images where 64 take long, and scaled up: they are proportional. OPT is
50 + 50 iterations with the scores and the fit store; rendered depth is LD, forward and backward to pose and shape.
What this means for a GPU that was not there to be measured: docs/architecture.md, "Checked, and not".
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from statistics import median

import numpy as np
import torch
from harness import Row
from torch import nn

from hwhup_core.body.keypoint_sets import set_of_joints
from hwhup_core.body.model import load_body
from hwhup_core.body.priors import MixturePrior, bundled_mixture
from hwhup_core.geometry.depth import depth_offset_median
from hwhup_core.networks.compact import CompactConfig, CompactRegressor
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.networks.spin import SpinRegressor
from hwhup_core.synthetic.domain import DomainConfig
from hwhup_core.synthetic.subjects import subject_poses
from hwhup_core.training import weak_losses as weak
from hwhup_core.training.adapt import teachers_of
from hwhup_core.training.batches import Crops, WeakBatch, draw_weak
from hwhup_core.training.domain_pools import weak_pool_of
from hwhup_core.training.observe import ObservationConfig
from hwhup_core.training.pools import WeakPool, join_pools
from hwhup_core.training.stages import PAPER, for_joint_set, with_true_camera
from hwhup_core.training.transforms import BoxAugmentConfig, draw_box
from hwhup_core.training.weak_step import WeakStep, predict
from hwhup_core.types import Prediction

BATCH = 64
POSES, COPIES = 24, 16
"""Poses that are made, and how often each is laid into the pool: 384 samples, too many for the processor's cache."""
SCHEDULE_SAMPLES = 4050 * 30
"""Of the paper's schedule on SLP: poses x epochs."""
SCHEDULE_SECONDS = 600.0
PAPER_MOVES = BoxAugmentConfig()
Job = Callable[[], object]


def rows() -> list[Row]:
    """Return the rates of drawing on one thread, and the share of OPT and rendering in a step; on CUDA where it is."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        pool = _pool()
        return [*_drawing(pool), *_shares(pool)]
    finally:
        torch.set_num_threads(threads)


def _pool() -> WeakPool:
    config = DomainConfig(poses=POSES, modalities=('depth', 'color'))
    poses = subject_poses(config, load_body(config.body), 0, 1)
    few = join_pools([weak_pool_of(pose, pose.number - 1, 0, ObservationConfig()) for pose, _ in poses])
    places = np.tile(np.arange(len(few)), COPIES)
    return WeakPool(few.pictures[places], few.labels[places], few.joints, tuple(few.names[i] for i in places))


def _drawing(pool: WeakPool) -> list[Row]:
    """Return how many augmented samples one thread draws; the rate that the paper's schedule needs is the target."""
    needed = SCHEDULE_SAMPLES / SCHEDULE_SECONDS
    note = f'the target lets {SCHEDULE_SAMPLES:,} samples (4,050 poses, 30 epochs) pass in 10 minutes.'
    result = []
    for modality, size in ((Modality.DEPTH, 112), (Modality.DEPTH, 224), (Modality.RGB, 224)):
        inputs = InputConfig((modality,), size)
        took = _seconds(partial(_draw, pool, inputs), repeats=3)
        name = f'training: draw and augment samples, {modality.value}, {size} px, one thread'
        result.append(Row(name, BATCH / took, 'samples/s', at_least=needed, note=note if size == 112 else ''))
    return result


def _draw(pool: WeakPool, inputs: InputConfig) -> WeakBatch:
    """Return a batch of the paper's augmentation."""
    places = np.arange(BATCH) * (len(pool) // BATCH)
    rngs = [np.random.default_rng(int(place)) for place in places]
    return draw_weak(pool, places, rngs, lambda points, rng: draw_box(points, rng, PAPER_MOVES), Crops(inputs, 0.4))


def _shares(pool: WeakPool) -> list[Row]:
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    timed = BATCH if device.type == 'cuda' else 4
    cases = (
        ('ResNet-50, 224 px', SpinRegressor(), 224, timed, 30.0),
        ('compact, 112 px', CompactRegressor(CompactConfig()), 112, BATCH, None),
    )
    return [_share(pool, name, network.to(device), size, images, most) for name, network, size, images, most in cases]


def _share(pool: WeakPool, name: str, network: nn.Module, size: int, images: int, at_most: float | None) -> Row:
    """Return which share of a step is not the regressor's."""
    device = next(network.parameters()).device
    batch = _draw(pool, InputConfig((Modality.DEPTH,), size)).to(device)
    regressor = _seconds(partial(_train, network, batch.images[:images]), repeats=2) * BATCH / images
    with torch.no_grad():
        guess = predict(network.eval(), batch.images, bfloat16=False)
    opt, depth = (_seconds(job, repeats=2) for job in _weak_jobs(pool, batch, guess))
    note = (
        f'on {device.type}: regressor {1000 * regressor:.0f} ms'
        f'{"" if images == BATCH else f" (from {images} images)"}, OPT {1000 * opt:.0f} ms, '
        f'rendered depth {1000 * depth:.0f} ms; Stage II has all three.'
    )
    share = 100 * (opt + depth) / (opt + depth + regressor)
    return Row(f'training: OPT + rendering in a step of {BATCH}, {name}', share, '%', at_most=at_most, note=note)


def _train(network: nn.Module, images: torch.Tensor) -> None:
    """Run the regressor forward and backward and take a step of AdamW that changes nothing."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0, weight_decay=0.0)
    prediction = predict(network.train(), images, images.is_cuda)
    (prediction.params.joint_rotations.sum() + prediction.params.betas.sum() + prediction.camera.scale.sum()).backward()
    optimizer.step()


def _weak_jobs(
    pool: WeakPool, batch: WeakBatch, guess: Prediction
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return OPT (fit, compare, keep) and rendered depth (forward, backward) of one batch."""
    device = batch.images.device
    body = load_body('adult').to(device)
    stage = for_joint_set(with_true_camera(PAPER), len(pool.joints))
    teachers = teachers_of(body, pool, MixturePrior(bundled_mixture()).to(device), stage, 'benchmark')
    teachers = replace(teachers, store=teachers.store.to(device))
    step = WeakStep(body, set_of_joints(pool.joints), stage, teachers)
    observed = batch.observation
    assert observed.depth is not None
    assert observed.mask is not None

    def depth() -> None:
        params = guess.params.map(lambda tensor: tensor.detach().requires_grad_())
        vertices = body(params).vertices
        rendered = weak.render_in_crop(
            vertices, body.faces, guess.camera, observed.depth.shape[-1], 'auto', batch.pinhole
        )
        valid = rendered.mask & observed.mask & (observed.depth > 0)
        offset = depth_offset_median(observed.depth, rendered.depth.detach(), valid)
        weak.aligned_term(rendered.depth, observed.depth, offset, valid, stage.depth_term).backward()

    return partial(step.fits, guess, batch, batch.pinhole, stage.stage_two_epoch), depth


def _seconds(job: Job, repeats: int) -> float:
    """Return the median time of a job after one unmeasured turn: processor time, with a GPU time on the wall."""
    job()
    times = []
    for _ in range(repeats):
        start = _now()
        job()
        times.append(_now() - start)
    return median(times)


def _now() -> float:
    if not torch.cuda.is_available():
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()
