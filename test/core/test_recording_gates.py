"""Gates: the numbers of a frame, worked out by hand, and the code of the gate that it fails."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hwhup_core.errors import ConfigError
from hwhup_core.recording.config import GateConfig
from hwhup_core.recording.gates import Quality, quality_of, refusal
from hwhup_core.types import Frame, PersonBox

GOOD = Quality(skew_s=0.001, depth_in_box=0.9, holes=0.1, sharpness=100.0, exposure=120.0)


def frame(color=None, depth=None):
    return Frame(1, 'camera', color=color, depth=depth)


def test_depth_shares_by_hand():
    depth = np.zeros((10, 20), np.float32)
    depth[:, :10] = 1.0
    quality = quality_of(frame(depth=depth), 0.0, None)
    assert (quality.holes, quality.depth_in_box) == (0.5, 0.5)
    assert quality_of(frame(depth=depth), 0.0, PersonBox(5.0, 5.0, 4.0)).depth_in_box == 1.0
    # Columns 8 to 11 of which two are measured.
    assert quality_of(frame(depth=depth), 0.0, PersonBox(10.0, 5.0, 4.0)).depth_in_box == 0.5
    # What lies outside the image does not count.
    assert quality_of(frame(depth=depth), 0.0, PersonBox(0.0, 0.0, 6.0)).depth_in_box == 1.0
    assert quality_of(frame(depth=depth), 0.0, PersonBox(-50.0, 5.0, 4.0)).depth_in_box == 0.0


def test_a_box_of_nobody_stands_for_the_whole_image():
    depth = np.zeros((10, 20), np.float32)
    depth[:, :10] = 1.0
    nowhere = PersonBox(math.nan, math.nan, math.nan)
    assert quality_of(frame(depth=depth), 0.0, nowhere).depth_in_box == 0.5


def test_blur_lowers_sharpness_and_grey_is_the_mean():
    rng = np.random.default_rng(0)
    sharp = np.repeat(rng.integers(0, 256, (48, 64, 1), dtype=np.uint8), 3, 2)
    smooth = np.full((48, 64, 3), 77, np.uint8)
    assert quality_of(frame(color=sharp), 0.0, None).sharpness > 1000
    quality = quality_of(frame(color=smooth), 0.0, None)
    assert (quality.sharpness, quality.exposure) == (0.0, 77.0)
    assert math.isnan(quality.holes)
    assert math.isnan(quality.depth_in_box)


def test_sharpness_does_not_know_the_resolution():
    """The same scene at twice the size is as sharp."""
    rows, columns = np.mgrid[:480, :640]
    picture = (127 + 100 * np.sin(columns / 9) * np.cos(rows / 7)).astype(np.uint8)
    small = np.repeat(picture[::2, ::2, None], 3, 2)
    large = np.repeat(picture[..., None], 3, 2)
    found = [quality_of(frame(color=each), 0.0, None).sharpness for each in (small, large)]
    assert found[0] == pytest.approx(found[1], rel=0.1)


@pytest.mark.parametrize(
    ('changes', 'code'),
    [
        ({}, ''),
        ({'skew_s': -0.05}, 'stamp_skew'),
        ({'holes': 0.8}, 'depth_holes'),
        ({'depth_in_box': 0.3}, 'depth_coverage'),
        ({'exposure': 5.0}, 'under_exposed'),
        ({'exposure': 250.0}, 'over_exposed'),
        ({'sharpness': 1.0}, 'blurred'),
        ({'sharpness': 1.0, 'skew_s': 1.0}, 'stamp_skew'),
        (dict.fromkeys(('skew_s', 'depth_in_box', 'holes', 'sharpness', 'exposure'), math.nan), ''),
    ],
)
def test_the_first_gate_that_fails_gives_its_code(changes, code):
    assert refusal(replace(GOOD, **changes), GateConfig()) == code


def test_gates_without_sense_are_refused():
    with pytest.raises(ConfigError, match=r'least_depth is 1\.5'):
        GateConfig(least_depth=1.5)
    with pytest.raises(ConfigError, match='exposure'):
        GateConfig(exposure=(200.0, 100.0))
