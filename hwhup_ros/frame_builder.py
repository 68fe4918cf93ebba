"""Messages that belong together become one `Frame`; which streams a node listens to. No node in here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy import ndarray

from hwhup_core.errors import ConfigError, FrameError
from hwhup_core.types import Frame, Intrinsics
from hwhup_ros.compressed import decompress_color, decompress_depth, decompress_infrared
from hwhup_ros.conversions import to_intrinsics
from hwhup_ros.images import pixel_reader, to_color, to_depth, to_infrared
from hwhup_ros.synchronizer import Pair, Streams

IMAGE, DEPTH = 'image', 'depth'
"""Names of the streams, which are also the names of their topics."""
FIELD_OF = {'rgb': 'color', 'infrared': 'infrared', 'depth': 'depth'}
"""Field of `Frame` for each modality."""


@dataclass(frozen=True)
class Built:
    """A frame, and what was wrong with its optional part."""

    frame: Frame
    refused: FrameError | None
    """Why the secondary image was left out; None if it was used, or not there."""

    @property
    def size(self) -> tuple[int, int]:
        """Return width and height of the images, which are the same for all of them."""
        images = (self.frame.color, self.frame.infrared, self.frame.depth)
        height, width = next(image for image in images if image is not None).shape[:2]
        return width, height


def choose_streams(modalities: frozenset[str], use_image: bool, use_depth: bool) -> Streams:
    """
    Return the streams for weights that need `modalities`; the needed one is primary, the image before depth.

    A stream that is not needed is taken along where it comes, if `use_image` or `use_depth` says so.
    """
    if not modalities or not modalities <= FIELD_OF.keys() or {'rgb', 'infrared'} <= modalities:
        raise ConfigError(
            f'The weights need {", ".join(sorted(modalities)) or "nothing"}; this node feeds rgb or infrared, and '
            'depth. Choose other weights.'
        )
    image_needed, depth_needed = bool(modalities & {'rgb', 'infrared'}), 'depth' in modalities
    for needed, used, name in ((image_needed, use_image, IMAGE), (depth_needed, use_depth, DEPTH)):
        if needed and not used:
            raise ConfigError(
                f'use_{name} is false, but the weights need {", ".join(sorted(modalities))}. Set use_{name} true, or '
                'choose weights that do without.'
            )
    if image_needed and depth_needed:
        return Streams(IMAGE, DEPTH)
    if image_needed:
        return Streams(IMAGE, DEPTH if use_depth else None, secondary_required=False)
    return Streams(DEPTH, IMAGE if use_image else None, secondary_required=False)


class FrameBuilder:
    """Decodes pairs of messages into frames."""

    def __init__(self, modalities: frozenset[str], streams: Streams, transport: str, backend: str) -> None:
        read = pixel_reader(backend)
        infrared = 'infrared' in modalities
        self._streams = streams
        self._fields = {IMAGE: 'infrared' if infrared else 'color', DEPTH: 'depth'}
        self._decoders: dict[str, Callable[[Any], ndarray]]
        if transport == 'compressed':
            self._decoders = {IMAGE: decompress_infrared if infrared else decompress_color, DEPTH: decompress_depth}
        else:
            to_image = to_infrared if infrared else to_color
            self._decoders = {
                IMAGE: lambda message: to_image(message, read),
                DEPTH: lambda message: to_depth(message, read),
            }

    def build(self, pair: Pair) -> Built:
        """Return the frame; FrameError where the required part cannot be used."""
        header = pair.primary.item.header
        pixels = self._decoders[self._streams.primary](pair.primary.item)
        intrinsics = None if pair.info is None else to_intrinsics(pair.info)
        check_intrinsics_size(intrinsics, pixels)
        frame = Frame(pair.primary.stamp_ns, header.frame_id, intrinsics=intrinsics)
        frame = dataclasses.replace(frame, **{self._fields[self._streams.primary]: pixels})
        if pair.secondary is None or self._streams.secondary is None:
            return Built(frame, None)
        try:
            other = self._decoders[self._streams.secondary](pair.secondary.item)
            check_same_size(self._streams, pixels, other)
        except FrameError as error:
            if self._streams.secondary_required:
                raise
            return Built(frame, error)
        return Built(dataclasses.replace(frame, **{self._fields[self._streams.secondary]: other}), None)


def check_same_size(streams: Streams, primary: ndarray, secondary: ndarray) -> None:
    """Raise FrameError `size_mismatch` unless the images have the same height and width."""
    if primary.shape[:2] != secondary.shape[:2]:
        raise FrameError(
            'size_mismatch',
            f'{streams.primary} is {primary.shape[1]} x {primary.shape[0]} pixels, {streams.secondary} is '
            f'{secondary.shape[1]} x {secondary.shape[0]}; expected depth registered to the image. Use the topic '
            'of the aligned depth (RealSense: aligned_depth_to_color, with align_depth.enable).',
        )


def check_intrinsics_size(intrinsics: Intrinsics | None, pixels: ndarray) -> None:
    """Raise FrameError `camera_info_mismatch` unless the camera info speaks of an image of this size."""
    if intrinsics is not None and (intrinsics.height, intrinsics.width) != pixels.shape[:2]:
        raise FrameError(
            'camera_info_mismatch',
            f'Camera info speaks of {intrinsics.width} x {intrinsics.height} pixels, the image has {pixels.shape[1]} x '
            f'{pixels.shape[0]}. Remap camera_info to the topic that belongs to the image.',
        )
