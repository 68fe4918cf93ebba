"""Novelty: a still bed is kept once, what changes is kept, quotas hold, wrong estimates are wanted."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwhup_core.errors import ConfigError
from hwhup_core.recording.config import NoveltyConfig
from hwhup_core.recording.novelty import NoveltyFilter
from hwhup_core.types import Frame, Posture, State

# pytest's import mode leaves sys.path alone.
sys.path.insert(0, str(Path(__file__).parent))

from recording_frames import estimate_of

ANY_TIME = NoveltyConfig(min_interval_s=0.0, max_interval_s=0.0)


def bed(person_at=40, noise=0, holes=0.0):
    """Return a flat bed at 2 m with a box of 30 x 30 pixels, 0.3 m high."""
    rng = np.random.default_rng(noise)
    depth = np.full((144, 192), 2.0, np.float32)
    depth[50:80, person_at : person_at + 30] = 1.7
    depth += rng.normal(0, 0.004, depth.shape).astype(np.float32)
    depth[rng.random(depth.shape) < holes] = 0
    color = np.full((144, 192, 3), 90, np.uint8)
    color[50:80, person_at : person_at + 30] = 190
    return Frame(1, 'camera', color=color, depth=depth)


def test_a_still_bed_is_kept_once_whatever_the_noise():
    novelty = NoveltyFilter(ANY_TIME)
    assert novelty.refusal(bed(noise=0), None, 0.0) == ''
    assert [novelty.refusal(bed(noise=i), None, float(i)) for i in range(1, 6)] == ['near_duplicate'] * 5


def test_flickering_holes_are_no_motion():
    novelty = NoveltyFilter(ANY_TIME)
    assert novelty.refusal(bed(noise=0, holes=0.3), None, 0.0) == ''
    assert novelty.refusal(bed(noise=1, holes=0.35), None, 1.0) == 'near_duplicate'


@pytest.mark.parametrize(('distance', 'step'), [(1.0, 0.04), (2.0, 0.018 * 2.0**2), (4.0, 0.018 * 4.0**2)])
def test_far_away_more_is_needed(distance, step):
    """A step as the docstring says counts, three quarters of it do not; half of the numbers are colour."""

    def wall(metres):
        return replace(bed(), depth=np.full((144, 192), metres, np.float32))

    for change, reason in ((0.75 * step, 'near_duplicate'), (1.4 * step, '')):
        novelty = NoveltyFilter(replace(ANY_TIME, change=0.5))
        assert novelty.refusal(wall(distance), None, 0.0) == ''
        assert novelty.refusal(wall(distance + change), None, 1.0) == reason


def test_what_moved_is_new_and_what_comes_back_is_not():
    novelty = NoveltyFilter(ANY_TIME)
    places = [40, 90, 40, 130, 90]
    reasons = [novelty.refusal(bed(place, noise=i), None, float(i)) for i, place in enumerate(places)]
    assert reasons == ['', '', 'near_duplicate', '', 'near_duplicate']


def test_only_so_many_are_remembered():
    novelty = NoveltyFilter(replace(ANY_TIME, remembered=1))
    assert [novelty.refusal(bed(place), None, float(i)) for i, place in enumerate([40, 90, 40])] == ['', '', '']


def test_intervals():
    novelty = NoveltyFilter(NoveltyConfig(min_interval_s=1.0, max_interval_s=10.0))
    assert novelty.refusal(bed(40), None, 100.0) == ''
    assert novelty.refusal(bed(90), None, 100.9) == 'too_soon'
    assert novelty.refusal(bed(90), None, 101.0) == ''
    assert novelty.refusal(bed(90), None, 110.9) == 'near_duplicate'
    assert novelty.refusal(bed(90), None, 111.0) == ''
    assert novelty.refusal(bed(130), None, 5.0) == ''  # The clock began again.


def test_switched_off_it_keeps_everything():
    novelty = NoveltyFilter(NoveltyConfig(enabled=False))
    assert [novelty.refusal(bed(), None, 0.0) for _ in range(3)] == [''] * 3


def test_a_joint_that_moved_is_new():
    novelty = NoveltyFilter(replace(ANY_TIME, joint_motion=0.05))
    estimate = estimate_of(bed())
    moved = estimate.joint_positions.copy()
    moved[20, 0] += 0.06
    assert novelty.refusal(bed(), estimate, 0.0) == ''
    assert novelty.refusal(bed(), estimate, 1.0) == 'near_duplicate'
    guess = replace(estimate, joint_positions=moved, state=State.LOW_CONFIDENCE)
    assert novelty.refusal(bed(), guess, 2.0) == 'near_duplicate'
    assert novelty.refusal(bed(), replace(guess, state=State.ESTIMATED), 3.0) == ''
    unknown = replace(estimate, joint_positions=np.full((24, 3), np.nan))
    assert novelty.refusal(bed(), unknown, 4.0) == 'near_duplicate'


def test_the_quota_of_a_posture_holds_but_not_for_wrong_estimates():
    novelty = NoveltyFilter(replace(ANY_TIME, posture_quota=2, keep_error_above=0.06), {'PRONE': 1})
    good = estimate_of(bed())
    prone, wrong = replace(good, posture=Posture.PRONE), replace(good, aligned_depth_error=0.1)
    assert novelty.refusal(bed(0), good, 0.0) == ''
    assert novelty.refusal(bed(30), good, 1.0) == ''
    assert novelty.refusal(bed(60), good, 2.0) == 'posture_quota'
    assert novelty.refusal(bed(60), wrong, 3.0) == ''
    assert novelty.refusal(bed(90), prone, 4.0) == ''
    assert novelty.refusal(bed(120), prone, 5.0) == 'posture_quota'  # One of an earlier run counts.


def test_a_wrong_estimate_needs_less_change():
    """A box of 30 x 30 pixels that moves by 10 changes about 2 * 300 of 27648 pixels, in depth and colour."""
    config = replace(ANY_TIME, change=0.04, keep_error_above=0.06)
    for error, reason in ((0.01, 'near_duplicate'), (0.1, '')):
        novelty = NoveltyFilter(config)
        estimate = replace(estimate_of(bed()), aligned_depth_error=error)
        assert novelty.refusal(bed(40), estimate, 0.0) == ''
        assert novelty.refusal(bed(50), estimate, 1.0) == reason


def test_other_modalities_are_another_picture():
    novelty = NoveltyFilter(ANY_TIME)
    assert novelty.refusal(bed(), None, 0.0) == ''
    assert novelty.refusal(replace(bed(), color=None), None, 1.0) == ''
    assert novelty.refusal(replace(bed(), color=None), None, 2.0) == 'near_duplicate'


def test_intervals_without_sense_are_refused():
    with pytest.raises(ConfigError, match='Swap them'):
        NoveltyConfig(min_interval_s=10.0, max_interval_s=1.0)
