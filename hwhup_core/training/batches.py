"""Batches drawn from a pool: functions of seed, epoch and step alone, so that resuming needs no memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from numpy import ndarray
from torch import Tensor

from hwhup_core.body.joints import flip as flipped_order
from hwhup_core.errors import ConfigError
from hwhup_core.fitting.best_fit import Augmentation, to_augmented
from hwhup_core.networks.packing import InputConfig, Modality, crop_channels, pack_channels, pressure_scale
from hwhup_core.training.distributed import share_of
from hwhup_core.training.pools import LabelledPool, Pictures, WeakPool
from hwhup_core.training.transforms import (
    PICTURE_UNIT,
    Transform,
    move_points,
    turn_directions,
    warp_depth,
    warp_mask,
    warp_picture,
)
from hwhup_core.types import BodyParams, CropPinhole, Observation, TensorRecord

Draw = Callable[[Float[ndarray, 'k 2'], np.random.Generator], Transform]
"""Positions of the joints (NaN where there is no label) and randomness -> the transform of one sample."""
Rngs = Sequence[np.random.Generator]
"""One a sample, so that a sample is the same in whichever process it is drawn."""


@dataclass(frozen=True)
class LabelledBatch(TensorRecord):
    """What a supervised step sees."""

    images: Float[Tensor, 'b 3 s s']
    keypoints: Float[Tensor, 'b k 2']
    """True 2D joints in the crop, [-1, 1]."""
    params: BodyParams
    """True bodies in the frame of the (turned, mirrored) camera."""
    pinhole: CropPinhole
    indices: Int[Tensor, ' b']


@dataclass(frozen=True)
class WeakBatch(TensorRecord):
    """What a weakly supervised step sees."""

    images: Float[Tensor, 'b 3 s s']
    observation: Observation
    pinhole: CropPinhole
    augmentation: Augmentation
    rows: Int[Tensor, ' b']
    """Of the fit store."""
    indices: Int[Tensor, ' b']


@dataclass(frozen=True)
class Crops:
    """How pictures become inputs."""

    inputs: InputConfig
    gain: float = 0.0
    """Largest relative change of each channel of pictures; depth is left alone."""


def draw_labelled(
    pool: LabelledPool, indices: Int[ndarray, ' b'], rngs: Rngs, draw: Draw, crops: Crops
) -> LabelledBatch:
    """Return the transformed samples; picture, joints, camera and body move together."""
    labels = pool.labels
    moves = [draw(labels.keypoints[index], rng) for index, rng in zip(indices, rngs)]
    params = BodyParams(
        _float(labels.global_rotation[indices]), _float(labels.joint_rotations[indices]), _float(labels.betas[indices])
    )
    return LabelledBatch(
        images=_images(pool.pictures, indices, moves, rngs, crops),
        keypoints=_moved_keypoints(labels.keypoints, indices, moves, pool.joints),
        params=to_augmented(params, augmentation_of(moves)),
        pinhole=_pinholes(pool.pictures, indices, moves),
        indices=torch.from_numpy(np.asarray(indices)),
    )


def draw_weak(pool: WeakPool, indices: Int[ndarray, ' b'], rngs: Rngs, draw: Draw, crops: Crops) -> WeakBatch:
    """Return the transformed samples; picture, joints, camera, proxies, depth and mask move together."""
    labels, size = pool.labels, crops.inputs.size
    known = np.where(labels.confidence[indices][..., None] > 0, labels.keypoints[indices], np.nan)
    moves = [draw(points, rng) for points, rng in zip(known, rngs)]
    swap = _swaps(pool.joints, moves)
    proxies = np.stack([turn_directions(labels.proxies[i], move) for i, move in zip(indices, moves)])
    observation = Observation(
        keypoints=_moved_keypoints(labels.keypoints, indices, moves, pool.joints),
        confidence=_float(np.take_along_axis(labels.confidence[indices], swap, axis=1)),
        visibility=_float(np.take_along_axis(labels.visibility[indices], swap, axis=1)),
        depth=_float(np.stack([warp_depth(labels.depth[i], move, size) for i, move in zip(indices, moves)])),
        mask=torch.from_numpy(np.stack([warp_mask(labels.mask[i], move, size) for i, move in zip(indices, moves)])),
        proxies=_float(np.take_along_axis(proxies, swap[..., None], axis=1)),
    )
    return WeakBatch(
        images=_images(pool.pictures, indices, moves, rngs, crops),
        observation=observation,
        pinhole=_pinholes(pool.pictures, indices, moves),
        augmentation=augmentation_of(moves),
        rows=torch.from_numpy(labels.rows[indices]),
        indices=torch.from_numpy(np.asarray(indices)),
    )


def augmentation_of(moves: Sequence[Transform]) -> Augmentation:
    """Return what the transforms do to bodies."""
    angles = torch.tensor([move.angle for move in moves], dtype=torch.float32)
    return Augmentation(angles, torch.tensor([move.flip for move in moves]))


def _images(
    pictures: Pictures, indices: Int[ndarray, ' b'], moves: Sequence[Transform], rngs: Rngs, crops: Crops
) -> Float[Tensor, 'b 3 s s']:
    stack = [
        pack_channels(
            [_channels(pictures, int(index), modality, move, rng, crops) for modality in crops.inputs.modalities]
        )
        for index, move, rng in zip(indices, moves, rngs)
    ]
    return torch.from_numpy(np.stack(stack))


def _channels(
    pictures: Pictures, index: int, modality: Modality, move: Transform, rng: np.random.Generator, crops: Crops
) -> Float[ndarray, '_ s s']:
    picture, size = pictures.of(modality)[index], crops.inputs.size
    half_tangent = float(pictures.half_tangent[index] / move.zoom)
    if modality is Modality.DEPTH:
        return crop_channels(modality, warp_depth(picture, move, size), half_tangent, crops.inputs)
    crop = _with_gain(warp_picture(picture, move, size), modality, rng, crops.gain)
    if modality is Modality.PRESSURE:
        crop *= np.float32(pressure_scale(_peak(pictures, index, crops.inputs), crops.inputs))
    return crop_channels(modality, crop, 1.0, crops.inputs)


def _peak(pictures: Pictures, index: int, inputs: InputConfig) -> float:
    if pictures.pressure_peak is not None:
        return float(pictures.pressure_peak[index])
    if inputs.pressure == 'picture':
        raise ConfigError('The samples do not tell the peaks of their pressure maps. Make the pool of samples anew.')
    return 1.0


def _with_gain(
    crop: Shaped[ndarray, 's s *c'], modality: Modality, rng: np.random.Generator, gain: float
) -> Float[ndarray, 's s *c']:
    """Return the crop with each channel brighter or darker; colour stays in 0..255, the others are as in frames."""
    factors = rng.uniform(1 - gain, 1 + gain, 3 if modality is Modality.RGB else 1).astype(np.float32)
    if modality is Modality.RGB:
        return np.clip(crop * factors, 0, 255).astype(np.float32)
    unit = 1 / 255 if crop.dtype == np.uint8 else PICTURE_UNIT
    return (crop * np.float32(unit) * factors).astype(np.float32)


def _moved_keypoints(
    keypoints: Float[ndarray, 'n k 2'], indices: Int[ndarray, ' b'], moves: Sequence[Transform], names: Sequence[str]
) -> Float[Tensor, 'b k 2']:
    moved = np.stack([move_points(keypoints[index], move) for index, move in zip(indices, moves)])
    return _float(np.take_along_axis(moved, _swaps(names, moves)[..., None], axis=1))


def _swaps(names: Sequence[str], moves: Sequence[Transform]) -> Int[ndarray, 'b k']:
    """Return for each sample where its joints come from: left and right change places in a mirrored one."""
    straight, mirrored = np.arange(len(names)), np.array(flipped_order(names))
    return np.stack([mirrored if move.flip else straight for move in moves])


def _pinholes(pictures: Pictures, indices: Int[ndarray, ' b'], moves: Sequence[Transform]) -> CropPinhole:
    zoom = np.array([move.zoom for move in moves])
    center = np.stack([move_points(pictures.principal[[i]], move)[0] for i, move in zip(indices, moves)])
    return CropPinhole(_float(zoom / pictures.half_tangent[indices]), _float(center))


def _float(array: ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


@runtime_checkable
class Drawn(Protocol):
    """A batch that knows which samples it was drawn from."""

    @property
    def indices(self) -> Tensor:
        """Return their places in the pool."""


B = TypeVar('B', bound=Drawn)


class PoolBatches(Generic[B]):
    """Draws the batches of one epoch in a thread, one ahead of the step that uses them."""

    def __init__(
        self,
        draw: Callable[[Int[ndarray, ' b'], Rngs], B],
        sample_names: Sequence[str],
        batch_size: int,
        seed: int,
    ) -> None:
        if batch_size < 1 or len(sample_names) < batch_size:
            raise ConfigError(
                f'{len(sample_names)} samples do not fill one batch of {batch_size}. Lower batch_size or add samples.'
            )
        self._draw: Callable[[Int[ndarray, ' b'], Rngs], B] = draw
        self._names, self.batch_size, self.seed = sample_names, batch_size, seed

    def __len__(self) -> int:
        return len(self._names) // self.batch_size

    def names(self, batch: B) -> list[str]:
        """Return what to call each sample in an error."""
        return [self._names[int(index)] for index in batch.indices]

    def epoch(self, epoch: int, rank: int = 0, world: int = 1) -> Iterator[B]:
        """Yield this process's share of the batches of an epoch, in the same order everywhere."""
        share_of(self.batch_size, rank, world)  # Refuses a batch with fewer samples than processes.
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self._names))[: len(self) * self.batch_size].reshape(len(self), -1)
        seeds = rng.integers(0, 2**63, len(order))
        with ThreadPoolExecutor(1) as thread:
            share = partial(self._share, order, seeds, rank, world)
            coming = thread.submit(share, 0)
            for step in range(len(order)):
                batch = coming.result()
                if step + 1 < len(order):
                    coming = thread.submit(share, step + 1)
                yield batch

    def _share(self, order: ndarray, seeds: ndarray, rank: int, world: int, step: int) -> B:
        """Return one rank's rows of one batch."""
        places = range(rank, self.batch_size, world)
        return self._draw(order[step][rank::world], [np.random.default_rng((seeds[step], place)) for place in places])
