"""The drift alarm against hand-made streams of errors."""

import math
import sys
import threading

import numpy as np
import pytest

from hwhup_core.errors import ConfigError
from hwhup_core.inference.drift import Drift, DriftAlarm, DriftConfig

CONFIG = DriftConfig(factor=1.5, window_s=10.0, patience_s=5.0, min_frames=10)


def states(errors, level=0.03, config=CONFIG, hz=10.0):
    alarm = DriftAlarm(level, config)
    return [alarm.add(error, k / hz) for k, error in enumerate(errors)], alarm


def test_a_changed_room_raises_the_alarm_after_the_patience():
    found, alarm = states([0.03] * 100 + [0.06] * 200)
    assert found[8] is Drift.UNKNOWN  # Nine frames.
    assert found[9] is Drift.NONE
    # Half of a window of 101 frames is new after 50 of them, and 50 more are the patience.
    raised = found.index(Drift.RAISED)
    assert abs(raised - 200) <= 2
    assert set(found[raised:]) == {Drift.RAISED}
    assert '60 mm, 30 mm at deployment (limit 45)' in alarm.explain(29.9)


def test_a_short_change_raises_nothing():
    found, _ = states([0.03] * 100 + [0.06] * 40 + [0.03] * 100)
    assert Drift.RAISED not in found


def test_outliers_raise_nothing():
    rng = np.random.default_rng(0)
    errors = np.where(rng.random(600) < 0.4, 1.0, 0.03)
    assert Drift.RAISED not in states(errors)[0]


def test_the_alarm_ends_well_below_the_limit_only():
    found, _ = states([0.06] * 200 + [0.043] * 300)  # Under 0.045, above nine tenths of it.
    assert found[-1] is Drift.RAISED
    found, _ = states([0.06] * 200 + [0.03] * 300)
    assert found[-1] is Drift.NONE


def test_frames_without_depth_say_nothing():
    assert set(states([math.nan] * 100)[0]) == {Drift.UNKNOWN}
    found, _ = states([0.06] * 200 + [math.nan] * 200)
    assert found[-1] is Drift.RAISED  # Nothing has spoken against it.


def test_without_a_level_nothing_is_known():
    assert set(states([0.06] * 200, level=math.nan)[0]) == {Drift.UNKNOWN}


@pytest.mark.parametrize('change', [{'factor': 0.5}, {'window_s': 0.0}, {'patience_s': -1.0}, {'min_frames': 0}])
def test_settings_are_checked(change):
    with pytest.raises(ConfigError, match='Expected'):
        DriftConfig(**change)


@pytest.fixture
def restless_threads():
    """Let threads take turns in the middle of everything."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_one_thread_adds_while_another_one_asks(restless_threads):
    alarm, failures, end = DriftAlarm(0.03, DriftConfig(window_s=0.5, min_frames=1)), [], threading.Event()

    def ask():
        try:
            while not end.is_set():
                alarm.state(1e3)
        except RuntimeError as error:  # A deque that changes while it is read.
            failures.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    for number in range(3000):
        alarm.add(0.03, 1e3 + number * 1e-4)
    end.set()
    thread.join()
    assert failures == []
