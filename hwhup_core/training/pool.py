"""A pool of rendered samples in memory, and the batches that augmentation draws from it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt16
from numpy import ndarray
from torch import Tensor

from hwhup_core.body.joints import FLIP_24
from hwhup_core.body.mirror import mirror_params
from hwhup_core.geometry.crops import turn_matrix, upright_angle
from hwhup_core.networks.packing import InputConfig, depth_crop_to_input
from hwhup_core.training.distributed import share_of
from hwhup_core.types import BodyParams, TensorRecord

DEPTH_UNIT = 1e-4
"""Metres per count of the stored depth: 0.1 mm in 16 bits reaches 6.5 m."""


@dataclass(frozen=True)
class SamplePool:
    """Samples whose crops are wider than the network's, so that augmentation can turn, shift and zoom them."""

    depth: UInt16[ndarray, 'n p p']
    """0.1 mm, 0 = hole."""
    half_tangent: Float[ndarray, ' n']
    """Half the crop's width at distance 1: half its side over the focal length."""
    keypoints: Float[ndarray, 'n 24 2']
    """True positions of the joints in the crop, [-1, 1] from edge to edge."""
    global_rotation: Float[ndarray, 'n 3 3']
    joint_rotations: Float[ndarray, 'n 23 3 3']
    betas: Float[ndarray, 'n 10']

    def __len__(self) -> int:
        return len(self.depth)


def save_pool(file: Path, pool: SamplePool) -> None:
    """Write the pool as an .npz file; it appears whole or not at all."""
    partial = file.with_suffix('.partial.npz')
    np.savez(partial, **vars(pool))
    os.replace(partial, file)


def load_pool(file: Path) -> SamplePool:
    """Return the pool of an .npz file."""
    with np.load(file, allow_pickle=False) as arrays:
        return SamplePool(**{name: arrays[name] for name in SamplePool.__annotations__})


@dataclass(frozen=True)
class AugmentConfig:
    """
    How batches differ from the pool.

    The engine looks at a new person several times: first in a wide box that knows no heading, then in boxes that it
    made around its own estimate, turned upright. Most samples are like the later looks, the others like the first one.
    """

    settled: float = 0.75
    """Share of samples that are like a later look."""
    lean: float = 0.3
    """Standard deviation of the trunk from upright in those, radians."""
    settled_margin: tuple[float, float] = (1.2, 1.5)
    """Their side in extents of the joints."""
    settled_shift: float = 0.04
    """Their largest shift, in their sides."""
    turn: float = np.pi
    """Largest rotation at a first look, radians."""
    margin: tuple[float, float] = (1.1, 2.6)
    """Side of a first look in extents of the joints."""
    shift: float = 0.08
    """Largest shift at a first look, in sides."""
    flip: float = 0.5
    """Share of mirrored samples."""
    erase: float = 0.3
    """Share of samples in which a rectangle of depth is lost."""


@dataclass(frozen=True)
class Batch(TensorRecord):
    """What one training step sees."""

    images: Float[Tensor, 'b 3 s s']
    keypoints: Float[Tensor, 'b 24 2']
    """True joint positions in the crop, [-1, 1]."""
    params: BodyParams
    indices: Int[Tensor, ' b']
    """Which samples of the pool these are."""


@dataclass(frozen=True)
class _Draw:
    """One sample's transform: crop position = zoom * turn @ pool position + shift, then mirrored if `flip`."""

    turn: Float[ndarray, '2 2']
    zoom: float
    shift: Float[ndarray, '2']
    flip: bool
    erase: tuple[float, float, float, float] | None


def _draw(keypoints: Float[ndarray, '24 2'], rng: np.random.Generator, config: AugmentConfig) -> _Draw:
    if rng.random() < config.settled:
        angle = upright_angle(keypoints) + rng.normal(0.0, config.lean)
        margin, shift = rng.uniform(*config.settled_margin), config.settled_shift
    else:
        angle = rng.uniform(-config.turn, config.turn)
        margin, shift = rng.uniform(*config.margin), config.shift
    turn = turn_matrix(angle)
    turned = keypoints @ turn.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    side = (high - low).max() * margin
    center = (low + high) / 2 + rng.uniform(-shift, shift, 2) * side
    zoom = 2 / side
    erase = tuple(rng.uniform([0, 0, 0.05, 0.05], [1, 1, 0.35, 0.35])) if rng.random() < config.erase else None
    return _Draw(turn, zoom, -zoom * center, bool(rng.random() < config.flip), erase)


def _warp(depth: UInt16[ndarray, 'p p'], draw: _Draw, size: int) -> Float[ndarray, 's s']:
    """Return the transformed depth in metres; holes never mix in."""
    pool_size = depth.shape[0]
    linear = draw.zoom * draw.turn * size / pool_size
    # Position q in [-1, 1] of the pool crop is pixel (q + 1) p / 2 - 0.5 for OpenCV, likewise for the output.
    offset = (draw.shift + 1) * size / 2 - 0.5 - linear @ np.full(2, pool_size / 2 - 0.5)
    affine = np.concatenate([linear, offset[:, None]], axis=1)
    metres = depth.astype(np.float32) * DEPTH_UNIT
    weight = cv2.warpAffine((depth > 0).astype(np.float32), affine, (size, size), flags=cv2.INTER_LINEAR)
    total = cv2.warpAffine(metres, affine, (size, size), flags=cv2.INTER_LINEAR)
    warped = np.where(weight > 0.5, total / np.maximum(weight, 1e-6), 0).astype(np.float32)
    if draw.erase is not None:
        x, y, width, height = (int(value * size) for value in draw.erase)
        warped[y : y + height, x : x + width] = 0
    return warped[:, ::-1] if draw.flip else warped


def draw_batch(
    pool: SamplePool,
    indices: Int[ndarray, ' b'],
    rng: np.random.Generator,
    augment: AugmentConfig,
    inputs: InputConfig,
    share: slice = slice(None),
) -> Batch:
    """
    Return the augmented samples; image, joints and body move together.

    With a `share` only those of the batch are made, the same as they would be in the whole batch.
    """
    draws = [_draw(pool.keypoints[index], rng, augment) for index in indices][share]
    indices = indices[share]
    images, keypoints, rotations = [], [], []
    for index, draw in zip(indices, draws):
        crop = _warp(pool.depth[index], draw, inputs.size)
        half_tangent = float(pool.half_tangent[index] / draw.zoom)
        images.append(depth_crop_to_input(np.ascontiguousarray(crop), half_tangent, inputs))
        keypoints.append(draw.zoom * pool.keypoints[index] @ draw.turn.T + draw.shift)
        about_z = np.eye(3)
        about_z[:2, :2] = draw.turn
        rotations.append(about_z @ pool.global_rotation[index])
    flip = torch.tensor([draw.flip for draw in draws])
    params = BodyParams(
        torch.from_numpy(np.stack(rotations)).float(),
        torch.from_numpy(pool.joint_rotations[indices]).float(),
        torch.from_numpy(pool.betas[indices]).float(),
    )
    mirrored = mirror_params(params)
    points = torch.from_numpy(np.stack(keypoints)).float()
    mirrored_points = points[:, list(FLIP_24)] * torch.tensor([-1.0, 1.0])
    chosen = BodyParams(
        torch.where(flip[:, None, None], mirrored.global_rotation, params.global_rotation),
        torch.where(flip[:, None, None, None], mirrored.joint_rotations, params.joint_rotations),
        params.betas,
    )
    return Batch(
        images=torch.from_numpy(np.stack(images)),
        keypoints=torch.where(flip[:, None, None], mirrored_points, points),
        params=chosen,
        indices=torch.from_numpy(indices),
    )


class BatchLoader:
    """Draws the batches of one epoch in a thread, one ahead of the step that uses them."""

    def __init__(
        self, pool: SamplePool, augment: AugmentConfig, inputs: InputConfig, batch_size: int, seed: int
    ) -> None:
        self.pool, self.augment, self.inputs = pool, augment, inputs
        self.batch_size, self.seed = batch_size, seed

    def __len__(self) -> int:
        return len(self.pool) // self.batch_size

    def names(self, batch: Batch) -> list[str]:
        """Return the number of each sample in the pool."""
        return [f'sample {index}' for index in batch.indices.tolist()]

    def epoch(self, epoch: int, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """
        Yield the batches of an epoch, or one rank's share of each.

        They are a function of seed and epoch alone, so that resuming needs no memory.
        """
        share = share_of(self.batch_size, rank, world)
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.pool))[: len(self) * self.batch_size].reshape(-1, self.batch_size)
        seeds = rng.integers(0, 2**63, len(order))

        def draw(step: int) -> Batch:
            rng = np.random.default_rng(seeds[step])
            return draw_batch(self.pool, order[step], rng, self.augment, self.inputs, share)

        with ThreadPoolExecutor(1) as thread:
            coming = thread.submit(draw, 0)
            for step in range(len(order)):
                batch = coming.result()
                if step + 1 < len(order):
                    coming = thread.submit(draw, step + 1)
                yield batch
