"""Where a person is looked for."""

import numpy as np
import pytest

from hwhup_core.errors import FrameError
from hwhup_core.inference.people import box_of_joints, check_given_box, is_usable, region_box
from hwhup_core.types import PersonBox

NAN = float('nan')
UPRIGHT = np.full((24, 2), NAN)
UPRIGHT[[0, 12, 1, 2]] = [[150, 150], [150, 100], [100, 150], [200, 125]]
"""Pelvis, neck above it, and two more joints; the others are not in the image."""


def test_without_a_region_the_largest_centred_square_is_searched():
    assert region_box(None, 640, 480) == PersonBox(320, 240, 480)
    assert region_box(None, 480, 640) == PersonBox(240, 320, 480)


def test_a_region_is_left_top_side():
    assert region_box((100.0, 50.0, 200.0), 640, 480) == PersonBox(200, 150, 200)


def test_the_box_of_joints_is_their_extent_times_the_margin():
    assert box_of_joints(UPRIGHT, 1.5, 640, 480) == PersonBox(150, 125, 150)


def test_the_box_of_a_lying_person_is_turned_upright():
    """Head to the right: the image has to be turned a quarter anticlockwise."""
    lying = (UPRIGHT - (150, 125)) @ np.array([[0.0, 1.0], [-1.0, 0.0]]) + (300, 200)
    assert (lying[12] - lying[0]).tolist() == [50.0, 0.0]
    box = box_of_joints(lying, 1.5, 640, 480)
    assert (box.center_x, box.center_y, box.side, box.turn) == pytest.approx((300, 200, 150, -np.pi / 2))


@pytest.mark.parametrize(
    'pixels',
    [
        np.full((24, 2), NAN),
        UPRIGHT * 0.05 + 100,  # A person of five pixels.
        UPRIGHT * 100 - 12_000,  # Larger than any person in the image.
        UPRIGHT - (400, 0),  # Beside the image.
    ],
)
def test_a_degenerate_box_is_given_up(pixels):
    assert box_of_joints(pixels, 1.35, 640, 480) is None


def test_a_given_box_may_reach_beyond_the_image_but_not_start_there():
    check_given_box(PersonBox(10, 10, 300), 640, 480)
    with pytest.raises(FrameError, match='640 x 480') as caught:
        check_given_box(PersonBox(-10, 10, 300), 640, 480)
    assert caught.value.reason == 'bad_box'
    assert not is_usable(PersonBox(10, 10, NAN), 640, 480)
