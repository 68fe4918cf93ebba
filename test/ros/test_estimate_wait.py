"""Frames that wait for camera info and answer: in order, not for ever, and never with another frame's answer."""

import pytest
from hwhup_ros.msg import SmplPose, SmplPoseArray

from hwhup_ros.conversions import make_header
from hwhup_ros.estimate_wait import INFO_PATIENCE_S, REMEMBERED, EstimateWait
from hwhup_ros.parameters import descriptions_of, names_of
from hwhup_ros.recorder_config import RecorderNodeConfig
from hwhup_ros.synchronizer import Pair, Stamped

SECOND_NS = 10**9
PATIENCE_S = 1.0


class Info:
    """A camera info that is as old as `stamp_ns`."""

    def __init__(self, stamp_ns):
        self.header = make_header(stamp_ns, 'camera')


NEW = Info(10**18)


def pair(number, depth_later_ns=0):
    stamp_ns = 1000 * SECOND_NS + number * SECOND_NS // 10
    return Pair(Stamped(stamp_ns, None), Stamped(stamp_ns + depth_later_ns, None), Info(0))


def answer(stamp_ns, poses=1):
    return SmplPoseArray(header=make_header(stamp_ns, 'camera'), poses=[SmplPose()] * poses)


@pytest.fixture
def wait():
    return EstimateWait(PATIENCE_S)


def stamps(done):
    return [each.pair.primary.stamp_ns for each in done]


def test_a_frame_waits_for_its_answer_and_the_others_behind_it(wait):
    first, second = pair(1), pair(2)
    wait.add_pair(first, 0.0)
    wait.add_pair(second, 0.1)
    assert wait.ready(0.2, NEW, expected=True) == []
    found = answer(first.primary.stamp_ns)
    wait.add_answer(found)
    done = wait.ready(0.3, NEW, expected=True)
    assert (stamps(done), done[0].answer, done[0].pair.info) == ([first.primary.stamp_ns], found, NEW)
    assert wait.ready(0.1 + PATIENCE_S - 0.01, NEW, expected=True) == []
    late = wait.ready(0.1 + PATIENCE_S, NEW, expected=True)
    assert (stamps(late), late[0].answer) == ([second.primary.stamp_ns], None)


def test_the_answer_may_come_first_or_with_the_stamp_of_the_depth(wait):
    one = pair(1, depth_later_ns=5_000_000)
    wait.add_answer(answer(one.secondary.stamp_ns))
    wait.add_pair(one, 0.0)
    assert wait.ready(0.0, NEW, expected=True)[0].answer is not None


def test_a_later_answer_means_that_there_will_be_none(wait):
    wait.add_pair(pair(1), 0.0)
    wait.add_answer(answer(pair(2).primary.stamp_ns))
    assert wait.ready(0.0, NEW, expected=True)[0].answer is None


def test_where_no_answer_is_expected_none_waits(wait):
    wait.add_pair(pair(1), 0.0)
    assert stamps(wait.ready(0.0, NEW, expected=False)) == [pair(1).primary.stamp_ns]


def test_an_image_waits_for_a_camera_info_that_is_not_older(wait):
    one = pair(1)
    wait.add_pair(one, 0.0)
    assert wait.ready(0.5 * INFO_PATIENCE_S, Info(one.primary.stamp_ns - 1), expected=False) == []
    assert len(wait.ready(0.5 * INFO_PATIENCE_S, Info(one.primary.stamp_ns), expected=False)) == 1
    wait.add_pair(one, 0.0)
    assert len(wait.ready(INFO_PATIENCE_S, Info(0), expected=False)) == 1


def test_a_stale_repetition_does_not_replace_an_answer(wait):
    one = pair(1)
    wait.add_answer(answer(one.primary.stamp_ns, poses=1))
    wait.add_answer(answer(one.primary.stamp_ns, poses=0))
    wait.add_pair(one, 0.0)
    assert len(wait.ready(0.0, NEW, expected=True)[0].answer.poses) == 1


def test_a_bag_that_begins_again_waits_anew(wait):
    wait.add_answer(answer(pair(100).primary.stamp_ns))
    wait.add_pair(pair(1), 0.0)
    assert wait.ready(0.0, NEW, expected=True) == []
    wait.add_answer(answer(pair(1).primary.stamp_ns))
    assert wait.ready(0.0, NEW, expected=True)[0].answer is not None


def test_flush_lets_all_go_and_answers_do_not_pile_up(wait):
    for number in range(3 * REMEMBERED):
        wait.add_answer(answer(pair(number).primary.stamp_ns))
    assert len(wait._answers) == REMEMBERED
    last = pair(3 * REMEMBERED - 1)
    wait.add_pair(last, 0.0)
    wait.add_pair(pair(3 * REMEMBERED), 0.0)
    assert [each.answer is not None for each in wait.flush()] == [True, False]
    assert wait.flush() == []


def test_every_parameter_of_the_recorder_says_what_it_is():
    config = RecorderNodeConfig()
    own, inherited = descriptions_of(type(config)), names_of(config)
    assert {name.split('.')[0] for name in inherited} - own.keys() <= {'gates', 'novelty', 'storage'}
    assert 'colour' in own['privacy']
    for nested in ('gates', 'novelty', 'storage', 'sync'):
        value = getattr(config, nested)
        assert descriptions_of(type(value)).keys() == set(names_of(value))
