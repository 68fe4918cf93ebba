"""From a frame to the three channels a regressor reads. Training, evaluation and the engine all come through here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

import numpy as np
from jaxtyping import Float, Shaped
from numpy import ndarray

from hwhup_core.errors import ConfigError, FrameError
from hwhup_core.geometry.crops import crop_depth, crop_image
from hwhup_core.types import Frame, Intrinsics, PersonBox

IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)
SLP_DEPTH_RANGE = 3.0
"""Metres that SLP's 8-bit depth pictures spread over 0..1."""
INFRARED_RANGE = (293.15, 313.15)
"""Kelvin that SLP's 8-bit pictures spread over 0..1."""
PRESSURE_MAX = 94.0
"""Kilopascals at 1, the largest of SLP's mat (`PM_max` of the released reader)."""


class Modality(str, Enum):
    """What a camera or mat can give."""

    RGB = 'rgb'
    DEPTH = 'depth'
    INFRARED = 'infrared'
    PRESSURE = 'pressure'


CHANNELS = {Modality.RGB: 3, Modality.DEPTH: 1, Modality.INFRARED: 1, Modality.PRESSURE: 1}
SLP_STATISTICS = {
    Modality.DEPTH: (0.7302197, 0.25182092),
    Modality.INFRARED: (0.1924838, 0.077975444),
    Modality.PRESSURE: (0.009072126, 0.038837425),
}
"""Mean and standard deviation of SLP's pictures in [0, 1], as HW-HuP used them."""
_WARMEST = INFRARED_RANGE[1] - INFRARED_RANGE[0]
RAW_STATISTICS = {
    Modality.DEPTH: (2190.869, 756.1536),
    Modality.INFRARED: (INFRARED_RANGE[0] + _WARMEST * 0.1924838, _WARMEST * 0.077975444),
    Modality.PRESSURE: (PRESSURE_MAX * 0.009072126, PRESSURE_MAX * 0.038837425),
}
"""
The same in millimetres, kelvin and kilopascals. Those of depth are in the released reader; the others were not
published: they are the pictures' own, by what a picture's 0 and 1 stand for.
"""
LEAST_PEAK = 1e-3
"""Peak of a map that nothing lies on: about 0.1 kPa."""
INPUTS = {
    'rgb': (Modality.RGB,),
    'depth': (Modality.DEPTH,),
    'infrared': (Modality.INFRARED,),
    'pressure': (Modality.PRESSURE,),
    'combined': (Modality.DEPTH, Modality.INFRARED, Modality.PRESSURE),
}
"""Names for what a network reads; combined is the paper's."""


@dataclass(frozen=True)
class InputConfig:
    """What a regressor reads. It belongs to the weights and is stored with them."""

    modalities: tuple[Modality, ...] = (Modality.DEPTH,)
    """In channel order; together at most 3 channels."""
    size: int = 112
    """Side of the square input, pixels."""
    style: Literal['relative', 'spin', 'millimetres'] = 'relative'
    """
    How depth is scaled. `relative`: height over the crop's median depth in half crop sides, the same for any distance
    and sensor; needs intrinsics. `spin`: metres over 3, as SLP's 8-bit pictures, which HW-HuP's weights expect.
    `millimetres`: SLP's raw depth; it tells distances beyond 3 m apart. In the last two a hole is 0, as published.
    """
    depth_gain: float = 4.0
    """Factor on relative depth: limbs are a small part of a half crop side."""
    depth_limit: float = 3.0
    """Relative depth is clipped to plus and minus this, after the gain."""
    infrared: Literal['picture', 'kelvin'] = 'picture'
    """`picture`: 20 to 40 degrees Celsius, as SLP's 8-bit pictures. `kelvin`: nothing is clipped."""
    pressure: Literal['kilopascals', 'picture'] = 'kilopascals'
    """
    `kilopascals`: pressures of two maps compare. `picture`: each map over its own peak, as SLP's 8-bit pictures, which
    HW-HuP's weights expect.
    """

    def __post_init__(self) -> None:
        channels = sum(CHANNELS[modality] for modality in self.modalities)
        if not 1 <= channels <= 3:
            raise ConfigError(
                f'modalities {[modality.value for modality in self.modalities]} make {channels} channels. '
                'A network reads 1 to 3: choose rgb alone, or up to three of depth, infrared, pressure.'
            )
        if len(set(self.modalities)) != len(self.modalities):
            raise ConfigError(f'modalities {[modality.value for modality in self.modalities]} name one twice.')
        if self.size < 1 or self.depth_gain <= 0 or self.depth_limit <= 0:
            raise ConfigError(f'{self} holds a size, gain or limit that is not positive.')


def picture_of_infrared(kelvin: Float[ndarray, 'h w']) -> Float[ndarray, 'h w']:
    """Return temperatures as frames hold them: 20 to 40 degrees Celsius are 0..1; colder and warmer lie beyond."""
    low, high = INFRARED_RANGE
    picture: ndarray = ((kelvin - low) / (high - low)).astype(np.float32)
    return picture


def picture_of_pressure(kilopascals: Float[ndarray, 'h w']) -> Float[ndarray, 'h w']:
    """Return pressures as frames hold them: 0 to 94 kPa are 0..1."""
    picture: ndarray = np.clip(kilopascals / PRESSURE_MAX, 0, 1).astype(np.float32)
    return picture


def crop_to_input(frame: Frame, box: PersonBox, config: InputConfig) -> Float[ndarray, '3 s s']:
    """Return the packed float32 input of the person in the box, or raise a `FrameError` that names what is missing."""
    if not (np.isfinite([box.center_x, box.center_y, box.side]).all() and box.side > 0):
        raise FrameError('bad_box', f'The person box is {box}. It must be finite, with a positive side.')
    return pack_channels([_channels(modality, frame, box, config) for modality in config.modalities])


def depth_crop_to_input(
    depth: Float[ndarray, 's s'], half_tangent: float, config: InputConfig
) -> Float[ndarray, '3 s s']:
    """
    Return the packed input of a depth crop (metres, 0 = hole) that is already at the input size.

    `half_tangent` is half the crop's width at distance 1: half the box side over fx, both in pixels of the same image.
    """
    return pack_channels([_depth_channel(depth, half_tangent, config)])


def relative_depth(
    depth: Float[ndarray, 's s'], half_tangent: float, gain: float, limit: float
) -> Float[ndarray, 's s']:
    """
    Return gain * (reference - depth) / half crop side, clipped; the reference is the crop's median depth.

    The half side is metric, taken at the reference depth, so the numbers depend neither on the distance nor on the
    sensor's resolution. Holes and places outside the image get 0, the reference surface.
    """
    valid = depth > 0
    if not valid.any():
        raise FrameError('empty_depth', 'The person box holds no valid depth. Check the box and the depth camera.')
    reference = np.median(depth[valid])
    scaled = (reference - depth) * np.float32(gain / (half_tangent * reference))
    return np.where(valid, np.clip(scaled, -limit, limit), 0).astype(np.float32)


def pack_channels(channels: list[Float[ndarray, '_ h w']]) -> Float[ndarray, '3 h w']:
    """Return three channels: one is repeated, two are followed by their mean, three stay (HW-HuP's rule)."""
    stacked = np.concatenate(channels) if channels else np.zeros((0, 1, 1), np.float32)
    if len(stacked) == 1:
        return np.repeat(stacked, 3, axis=0)
    if len(stacked) == 2:
        return np.concatenate([stacked, stacked.mean(axis=0, keepdims=True)])
    if len(stacked) == 3:
        return stacked
    raise ConfigError(f'Got {len(stacked)} channels to pack. A network reads 1 to 3: leave modalities out.')


def crop_channels(
    modality: Modality, crop: Shaped[ndarray, 's s *c'], half_tangent: float, config: InputConfig
) -> Float[ndarray, '_ s s']:
    """
    Return the normalised channels of one modality's crop at the input size, not yet packed.

    RGB in 0..255, depth in metres (0 = hole), infrared and pressure as frames hold them, but pressure over the whole
    map's peak where `config.pressure` is `picture`; `half_tangent` as above, for depth only.
    """
    if modality is Modality.RGB:
        scale, offset = 1 / (255 * IMAGENET_STD), IMAGENET_MEAN / IMAGENET_STD
        return np.ascontiguousarray((crop * scale - offset).transpose(2, 0, 1))
    if modality is Modality.DEPTH:
        return _depth_channel(crop, half_tangent, config)
    return _infrared_channel(crop, config) if modality is Modality.INFRARED else _pressure_channel(crop, config)


def pressure_scale(peak: float, config: InputConfig) -> float:
    """Return the factor on a map of this peak before `crop_channels`."""
    return 1 / max(peak, LEAST_PEAK) if config.pressure == 'picture' else 1.0


def _channels(modality: Modality, frame: Frame, box: PersonBox, config: InputConfig) -> Float[ndarray, '_ s s']:
    """Return the normalised channels of one modality."""
    if modality is Modality.DEPTH:
        depth = crop_depth(_present(frame.depth, modality), box, config.size)
        half_tangent = _half_tangent(frame.intrinsics, box) if config.style == 'relative' else 1.0
        return crop_channels(modality, depth, half_tangent, config)
    pictures = {Modality.RGB: frame.color, Modality.INFRARED: frame.infrared, Modality.PRESSURE: frame.pressure}
    picture = _present(pictures[modality], modality)
    crop = crop_image(picture, box, config.size)
    if modality is Modality.PRESSURE:
        crop = crop * np.float32(pressure_scale(float(picture.max()), config))
    return crop_channels(modality, crop, 1.0, config)


def _depth_channel(depth: Float[ndarray, 's s'], half_tangent: float, config: InputConfig) -> Float[ndarray, '1 s s']:
    if config.style == 'relative':
        return relative_depth(depth, half_tangent, config.depth_gain, config.depth_limit)[None]
    if config.style == 'millimetres':
        return _standardised(1000 * depth, RAW_STATISTICS[Modality.DEPTH])
    return _standardised(np.minimum(depth / SLP_DEPTH_RANGE, 1), SLP_STATISTICS[Modality.DEPTH])


def _infrared_channel(crop: Float[ndarray, 's s'], config: InputConfig) -> Float[ndarray, '1 s s']:
    if config.infrared == 'kelvin':
        return _standardised(INFRARED_RANGE[0] + _WARMEST * crop, RAW_STATISTICS[Modality.INFRARED])
    return _standardised(np.clip(crop, 0, 1), SLP_STATISTICS[Modality.INFRARED])


def _pressure_channel(crop: Float[ndarray, 's s'], config: InputConfig) -> Float[ndarray, '1 s s']:
    if config.pressure == 'kilopascals':
        return _standardised(PRESSURE_MAX * crop, RAW_STATISTICS[Modality.PRESSURE])
    return _standardised(np.clip(crop, 0, 1), SLP_STATISTICS[Modality.PRESSURE])


def _standardised(image: Float[ndarray, 's s'], statistics: tuple[float, float]) -> Float[ndarray, '1 s s']:
    mean, deviation = statistics
    return ((image[None] - mean) / deviation).astype(np.float32)


def _half_tangent(intrinsics: Intrinsics | None, box: PersonBox) -> float:
    if intrinsics is None:
        raise FrameError(
            'missing_intrinsics',
            'The frame has no camera intrinsics, which these weights need to scale depth. Publish camera_info.',
        )
    return box.side / 2 / intrinsics.fx


def _present(image: ndarray | None, modality: Modality) -> ndarray:
    if image is None:
        raise FrameError(
            f'missing_{modality.value}',
            f'The frame has no {modality.value} image, which these weights need. Connect it or choose other weights.',
        )
    return image
