"""What a frame must hold before the engine looks at it."""

from __future__ import annotations

import math

from hwhup_core.errors import FrameError
from hwhup_core.networks.packing import Modality
from hwhup_core.types import Frame, Intrinsics


def check_frame(frame: Frame, needed: tuple[Modality, ...]) -> Intrinsics:
    """Refuse a frame that lacks a modality or whose parts do not belong together; return its intrinsics."""
    images = {
        Modality.RGB: frame.color,
        Modality.DEPTH: frame.depth,
        Modality.INFRARED: frame.infrared,
        Modality.PRESSURE: frame.pressure,
    }
    present = {modality: image for modality, image in images.items() if image is not None}
    for modality in needed:
        if modality not in present:
            found = ', '.join(each.value for each in present) or 'nothing'
            raise FrameError(
                f'missing_{modality.value}',
                f'The frame holds {found}, but these weights need {", ".join(each.value for each in needed)}. '
                f'Give the {modality.value} image, or use weights for what you have.',
            )
    sizes = {modality: (image.shape[1], image.shape[0]) for modality, image in present.items()}
    if len(set(sizes.values())) > 1:
        found = ', '.join(f'{modality.value} {width}x{height}' for modality, (width, height) in sizes.items())
        raise FrameError(
            'size_mismatch',
            f'The images of one frame differ in size: {found}. Expected the same size, registered to each other; use '
            "the camera driver's aligned depth.",
        )
    return _check_intrinsics(frame.intrinsics, next(iter(sizes.values())))


def _check_intrinsics(intrinsics: Intrinsics | None, size: tuple[int, int]) -> Intrinsics:
    if intrinsics is None:
        raise FrameError(
            'missing_intrinsics',
            'The frame has no camera intrinsics. Metric positions need fx, fy, cx, cy: publish camera_info or give a '
            'camera file.',
        )
    if (intrinsics.width, intrinsics.height) != size:
        raise FrameError(
            'intrinsics_size_mismatch',
            f'The intrinsics are for {intrinsics.width}x{intrinsics.height}, the image is {size[0]}x{size[1]}. Use the '
            'camera info of this image stream.',
        )
    numbers = (intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy)
    if not all(math.isfinite(number) for number in numbers) or intrinsics.fx <= 0 or intrinsics.fy <= 0:
        raise FrameError(
            'bad_intrinsics',
            f'The intrinsics are fx, fy, cx, cy = {numbers}. Expected finite numbers with positive focal lengths; the '
            'camera is probably not calibrated.',
        )
    return intrinsics
