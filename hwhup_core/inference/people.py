"""Where in the image a person is looked for: given boxes, the configured region, or the previous estimate."""

from __future__ import annotations

import math

from jaxtyping import Float
from numpy import ndarray

from hwhup_core.errors import FrameError
from hwhup_core.geometry.crops import box_around, upright_angle
from hwhup_core.types import PersonBox

MIN_SIDE_PX = 24.0
"""A person in a smaller box has fewer pixels than joints are worth; the track is given up."""
MAX_SIDE_RATIO = 2.0
"""A box larger than this many times the image's longer side cannot come from a person inside it."""


def region_box(region: tuple[float, float, float] | None, width: int, height: int) -> PersonBox:
    """Return the box of a configured region (left, top, side), or the largest centred square of the image."""
    if region is None:
        return PersonBox(width / 2, height / 2, float(min(width, height)))
    left, top, side = region
    return PersonBox(left + side / 2, top + side / 2, side)


def box_of_joints(joint_pixels: Float[ndarray, '24 2'], margin: float, width: int, height: int) -> PersonBox | None:
    """
    Return the box around projected joints, turned so that the trunk points up; None where it degenerated (`is_usable`).

    A lying person may point anywhere in the image; the network is at its best where the head is up.
    """
    box = box_around(joint_pixels, margin, upright_angle(joint_pixels))
    return box if is_usable(box, width, height) else None


def is_usable(box: PersonBox, width: int, height: int) -> bool:
    """Return whether a box is finite, of a plausible size, and centred inside the image."""
    if not all(math.isfinite(number) for number in (box.center_x, box.center_y, box.side)):
        return False
    if not MIN_SIDE_PX <= box.side <= MAX_SIDE_RATIO * max(width, height):
        return False
    return bool(0 <= box.center_x <= width and 0 <= box.center_y <= height)


def check_given_box(box: PersonBox, width: int, height: int) -> None:
    """Refuse a box from outside that cannot hold a person."""
    if not is_usable(box, width, height):
        raise FrameError(
            'bad_box',
            f'The given person box (centre {box.center_x:.0f}, {box.center_y:.0f}, side {box.side:.0f} px) cannot '
            f'be used in an image of {width} x {height}. Expected a centre inside the image and a side of '
            f'{MIN_SIDE_PX:.0f} to {MAX_SIDE_RATIO * max(width, height):.0f} px.',
        )
