"""The evaluation's own arithmetic and its frames; the engine has its own tests."""

import numpy as np
import pytest

from hwhup_core.body.model import load_body
from hwhup_core.evaluation import evaluate
from hwhup_core.geometry.cameras import project


def test_line_with_both_numbers_at_least_zero():
    x = np.array([0.0, 1.0, 2.0, 3.0])
    assert evaluate.nonnegative_line(x, 0.5 + 2 * x) == pytest.approx((0.5, 2.0))
    assert evaluate.nonnegative_line(x, 4 - x) == pytest.approx((2.5, 0.0))
    floor, gain = evaluate.nonnegative_line(x, 2 * x - 1)
    assert floor == 0
    assert gain == pytest.approx((0 + 1 + 6 + 15) / 14)
    assert evaluate.nonnegative_line(np.ones(4), x) == pytest.approx((1.5, 0.0))


def test_ratio_interval():
    ratio = evaluate._ratio_interval(np.full(10, 3.0), np.full(10, 12.0))
    assert (ratio.mean, ratio.low, ratio.high, ratio.count) == (0.25, 0.25, 0.25, 10)


def test_held_out_frames_repeat_and_show_the_person():
    body = load_body('infant')
    first, again = (list(evaluate.held_out_frames(body, 5, 3)) for _ in range(2))
    other = next(evaluate.held_out_frames(body, 6, 1))
    assert not np.array_equal(first[0].frame.depth, other.frame.depth)
    for labelled, copy in zip(first, again):
        np.testing.assert_array_equal(labelled.frame.depth, copy.frame.depth)
        pixels = project(labelled.joints, labelled.frame.intrinsics)
        assert ((pixels > 0) & (pixels < evaluate.FRAME_SIZE)).all()
        seen = labelled.frame.depth[pixels[:, 1].astype(int), pixels[:, 0].astype(int)]
        measured = seen > 0
        # The surface in front of a joint is nearer than the joint; the mattress behind it is not much farther.
        assert measured.mean() > 0.5
        assert np.median(labelled.joints[measured, 2] - seen[measured]) > 0
