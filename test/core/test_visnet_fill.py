"""Visibility filled in by VisNet: which joint gets whose chance, and from which box."""

import math

import numpy as np
import pytest

from hwhup_core.body.joints import COCO_17, SLP_14, index
from hwhup_core.data.sample import Keypoints, Sample
from hwhup_core.errors import FrameError
from hwhup_core.geometry.cameras import project
from hwhup_core.synthetic.stream import CribStream, StreamConfig
from hwhup_core.training.visnet_fill import chances_of, filled_by_visnet, trunk_turn

SEEN = np.linspace(0.1, 0.9, 17)


def test_joints_of_the_same_name_get_their_chance():
    chances = chances_of(('gt_left_knee', 'op_nose', 'right_wrist'), SEEN)
    expected = [SEEN[index(name, COCO_17)] for name in ('left_knee', 'nose', 'right_wrist')]
    np.testing.assert_allclose(chances, expected)


def test_joints_that_coco_lacks_get_a_mean_or_nothing():
    thorax, head_top, toe = chances_of(('thorax', 'head_top', 'left_big_toe'), SEEN)
    assert thorax == pytest.approx(SEEN[[index('left_shoulder', COCO_17), index('right_shoulder', COCO_17)]].mean())
    assert head_top == pytest.approx(SEEN[:5].mean())
    assert toe == 0.0


@pytest.mark.parametrize('angle', [0.0, 0.7, -2.0, 3.0])
def test_the_trunk_is_turned_up(angle):
    names = ('left_shoulder', 'right_shoulder', 'left_hip', 'right_hip')
    upright = np.array([[1.0, -5.0], [-1.0, -5.0], [1.0, 0.0], [-1.0, 0.0]])
    cosine, sine = math.cos(angle), math.sin(angle)
    turned = upright @ np.array([[cosine, sine], [-sine, cosine]])  # By `angle`, from x to y.
    assert math.remainder(trunk_turn(turned, names) + angle, 2 * math.pi) == pytest.approx(0, abs=1e-9)
    assert trunk_turn(turned[:2], names[:2]) == 0.0


def test_a_picture_is_looked_at():
    frame, truth = CribStream(StreamConfig(width=320, height=240, focal_px=280.0), seed=1).frame(0, 0.0)
    names = ('left_hip', 'right_hip', 'left_shoulder', 'right_shoulder', 'left_knee', 'right_knee')
    pixels = project(truth.joints[[index(name) for name in names]], frame.intrinsics)
    unknown = np.full(len(names), np.nan)
    sample = Sample('one', lambda: frame, Keypoints(pixels, np.ones(len(names), bool), unknown))
    chances = filled_by_visnet('visnet_rgb', names)(sample, frame)
    assert chances.shape == (6,)
    assert ((chances > 0) & (chances < 1)).all()


def test_nothing_to_look_at_is_refused():
    frame, _ = CribStream(StreamConfig(width=64, height=48, focal_px=56.0), seed=1).frame(0, 0.0)
    nothing = Keypoints(np.zeros((14, 2)), np.zeros(14, bool), np.full(14, np.nan))
    with pytest.raises(FrameError, match='no labelled joint'):
        filled_by_visnet('visnet_rgb', SLP_14)(Sample('two', lambda: frame, nothing), frame)
