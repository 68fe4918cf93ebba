"""Crops for VisNet: looks as the live engine has them, and now and then a part of a person only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

from hwhup_core.body.joints import COCO_17, FLIP_COCO_17, indices
from hwhup_core.errors import ConfigError
from hwhup_core.networks.packing import InputConfig, Modality, crop_channels, pack_channels
from hwhup_core.training.batches import PoolBatches, Rngs
from hwhup_core.training.pools import Pictures
from hwhup_core.training.transforms import (
    LookConfig,
    Transform,
    box_transform,
    draw_look,
    move_points,
    trunk_angle,
    warp_depth,
    warp_picture,
)
from hwhup_core.training.visnet_pool import VisLabels, VisSource
from hwhup_core.types import TensorRecord

STILL_MARGIN = 1.35
"""Side of the box in which people are tested, in extents of their joints: the middle of the engine's later looks."""
_NAMES = (*COCO_17, 'pelvis', 'thorax', *(f'corner_{k}' for k in range(4)))


@dataclass(frozen=True)
class ViewConfig:
    """How crops differ from the stored pictures."""

    looks: LookConfig = field(default_factory=LookConfig)
    partial: float = 0.2
    """Share of crops that show a part of the person."""
    partial_zoom: tuple[float, float] = (1.2, 2.5)
    """By how much those are closer than a look."""
    partial_shift: float = 0.4
    """Their largest shift, in sides of the look's box."""
    gain: float = 0.4
    """Largest relative change of each colour channel's brightness."""

    def __post_init__(self) -> None:
        low, high = self.partial_zoom
        if not (0 <= self.partial <= 1 and 0 <= self.gain < 1 and 0 < low <= high and self.partial_shift >= 0):
            raise ConfigError(f'{self} is no way to draw crops: shares are in [0, 1], zooms above 0, low before high.')


@dataclass(frozen=True)
class VisBatch(TensorRecord):
    """What a step of VisNet sees."""

    images: Float[Tensor, 'b 3 s s']
    keypoints: Float[Tensor, 'b 17 2']
    """[-1, 1] over the crop; 0 without a label."""
    flags: Int[Tensor, 'b 17']
    """COCO's; 0 also outside the crop."""
    indices: Int[Tensor, ' b']


View = Callable[[Float[ndarray, '23 2'], np.random.Generator], Transform]
"""Joints, pelvis, thorax and corners of a person (NaN: not known) and randomness -> the transform of one crop."""


def random_view(config: ViewConfig) -> View:
    """Return what draws the crops of training."""

    def draw(points: Float[ndarray, '23 2'], rng: np.random.Generator) -> Transform:
        look = draw_look(points, rng, _NAMES, config.looks)
        if rng.random() >= config.partial:
            return look
        closer = rng.uniform(*config.partial_zoom)
        shift = rng.uniform(-2 * config.partial_shift, 2 * config.partial_shift, 2)
        return replace(look, zoom=look.zoom * closer, shift=closer * (look.shift + shift))

    return draw


def still_view(points: Float[ndarray, '23 2'], rng: np.random.Generator) -> Transform:
    """Return the upright box around joints and corners; nothing is random."""
    angle = trunk_angle(points, _NAMES)
    return box_transform(points, STILL_MARGIN, angle if np.isfinite(angle) else 0.0, False)


def draw_people(source: VisSource, places: Int[ndarray, ' b'], rngs: Rngs, view: View, inputs: InputConfig, gain: float
                ) -> VisBatch:  # fmt: skip
    """Return the crops of some people; picture, joints and flags move together."""
    labels = source.labels
    moves = [view(known_points(labels, int(place)), rng) for place, rng in zip(places, rngs)]
    moved = [_labels(labels, int(place), move) for place, move in zip(places, moves)]
    images = [
        _image(source.picture(int(place)), move, rng, inputs, gain) for place, move, rng in zip(places, moves, rngs)
    ]
    return VisBatch(
        torch.from_numpy(np.stack(images)),
        torch.from_numpy(np.stack([keypoints for keypoints, _ in moved]).astype(np.float32)),
        torch.from_numpy(np.stack([flags for _, flags in moved]).astype(np.int64)),
        torch.from_numpy(np.asarray(places)),
    )


def vis_batches(
    source: VisSource, inputs: InputConfig, view: ViewConfig, batch_size: int, seed: int
) -> PoolBatches[VisBatch]:
    """Return the batches of a training."""
    draw = random_view(view)
    return PoolBatches(
        lambda places, rngs: draw_people(source, places, rngs, draw, inputs, view.gain), source.names, batch_size, seed
    )


def known_points(labels: VisLabels, place: int) -> Float[ndarray, '23 2']:
    """Return what a crop of a person goes by: labelled joints, middles of hips and shoulders, corners of the box."""
    joints = np.where(labels.flags[place][:, None] > 0, labels.keypoints[place], np.nan)
    middles = [joints[indices(COCO_17, (f'left_{name}', f'right_{name}'))].mean(axis=0) for name in ('hip', 'shoulder')]
    return np.concatenate([joints, middles, labels.corners[place]])


def _labels(labels: VisLabels, place: int, move: Transform) -> tuple[ndarray, ndarray]:
    """Return keypoints and flags in the crop."""
    keypoints, flags = move_points(labels.keypoints[place], move), labels.flags[place]
    if move.flip:
        keypoints, flags = keypoints[list(FLIP_COCO_17)], flags[list(FLIP_COCO_17)]
    with np.errstate(invalid='ignore'):
        inside = (np.abs(keypoints) < 1).all(axis=1)
    known = inside & (flags > 0)
    return np.where(known[:, None], keypoints, 0.0), np.where(known, flags, 0)


def _image(
    picture: Pictures, move: Transform, rng: np.random.Generator, inputs: InputConfig, gain: float
) -> Float[ndarray, '3 s s']:
    """Return the packed input of a stack of one."""
    channels = []
    for modality in inputs.modalities:
        stored = picture.of(modality)[0]
        if modality is Modality.DEPTH:
            half_tangent = float(picture.half_tangent[0] / move.zoom)
            channels.append(crop_channels(modality, warp_depth(stored, move, inputs.size), half_tangent, inputs))
        elif modality is Modality.RGB:
            factors = rng.uniform(1 - gain, 1 + gain, 3).astype(np.float32)
            crop = np.clip(warp_picture(stored, move, inputs.size) * factors, 0, 255).astype(np.float32)
            channels.append(crop_channels(modality, crop, 1.0, inputs))
        else:
            raise ConfigError(f'VisNet is trained on rgb and depth, not on {modality.value}. Choose other inputs.')
    return pack_channels(channels)
