"""The numbers of a run, on records small enough to compute by hand."""

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from hwhup_ros.msg import SmplPoseArray
from sensor_msgs.msg import CameraInfo

from hwhup_core.types import State
from hwhup_ros.conversions import make_header
from hwhup_ros.kept_frames import KeptFrames
from hwhup_ros.report import ReportNode, image_counts
from hwhup_ros.report_numbers import (
    BLOCK_S,
    Baseline,
    Identity,
    PoseRecord,
    Records,
    Run,
    block_interval,
    rate,
    root_aligned_error,
    summarise,
)


def records_of(count, step_s=0.1, warm_latency_s=0.05):
    records = Records(identity=Identity('body', 'b' * 64, 'w' * 64), mesh_faces_per_marker=13776)
    for index in range(count):
        records.add_frame(index)
        records.add_answer(index)
        latency = 1.0 if index == 0 else warm_latency_s
        records.poses.append(PoseRecord(index * step_s, latency, State.ESTIMATED, 0.01 * (1 + index % 2), 0.08))
        records.memory.append((index * step_s, 500.0 if index == 0 else 300.0 + index))
    return records


def test_frames_of_one_moment_are_one_sample():
    calm = [index * BLOCK_S / 10 for index in range(100)]
    interval = block_interval(calm, [100.0 + 10.0 * (int(moment / BLOCK_S) % 2) for moment in calm])
    assert interval['low'] < 103.5
    assert interval['high'] > 106.5, 'ten samples, not a hundred'
    assert block_interval(calm, [100.0] * 100) == {'low': 100.0, 'high': 100.0}
    assert block_interval(calm[:10], [1.0] * 10) == {'low': None, 'high': None}, 'one piece has no spread'
    assert block_interval(calm, [math.nan] * 100) == {'low': None, 'high': None}


def test_numbers_of_a_steady_run():
    summary = summarise(records_of(101), Run(frames_published=101), Baseline((0.05, 0.07), (0.2,)))
    assert summary['rate_hz'] == 10.0
    assert summary['latency_ms'] == {'p50': 50.0, 'p95': 50.0, 'max': 50.0}, 'the slow first pose is warm-up'
    assert summary['aligned_depth_error_mm'] == 14.95
    assert summary['mean_pose_aligned_depth_error_mm'] == 60.0
    assert (summary['joint_error_mm'], summary['mean_pose_joint_error_mm']) == (80.0, 200.0)
    assert (summary['poses_published'], summary['answered'], summary['unanswered']) == (101, 101, 0)
    assert summary['rss_mb']['start'] < 340.0, 'memory before the end of the warm-up does not count'
    assert summary['rss_mb']['end'] == 400.0


def test_nothing_seen_is_valid_json_without_numbers():
    summary = summarise(Records(), Run(), Baseline())
    text = json.dumps(summary, allow_nan=False)
    assert json.loads(text)['latency_ms'] == {'p50': None, 'p95': None, 'max': None}


def test_unanswered_frames_are_counted():
    records = Records()
    for stamp in (1, 2, 3):
        records.add_frame(stamp)
    records.add_answer(2)
    records.add_answer(2)
    summary = summarise(records, Run(), Baseline())
    assert (summary['frames_published'], summary['answered'], summary['unanswered']) == (3, 1, 2)


def test_refused_frames_are_neither_answered_nor_in_the_numbers():
    report = SimpleNamespace(records=records_of(2), frames=None)
    for stamp in (7, 8):
        report.records.add_frame(stamp)
    ReportNode._on_poses(report, SmplPoseArray(header=make_header(7, 'camera')))
    summary = summarise(report.records, Run(), Baseline())
    assert (summary['frames_published'], summary['answered'], summary['poses_published']) == (4, 2, 2)
    assert (summary['refused'], summary['unanswered']) == (1, 1)
    assert len(report.records.poses) == 2
    assert summary['states'] == {}


def test_joint_error_ignores_where_the_root_is():
    truth = np.random.default_rng(0).normal(size=(24, 3))
    assert root_aligned_error(truth + np.array([1.0, -2.0, 3.0]), truth) < 1e-12
    moved = truth.copy()
    moved[5] += [0.0, 0.0, 0.24]
    assert math.isclose(root_aligned_error(moved, truth), 0.01)


def test_counts_are_read_from_diagnostics():
    values = {
        'image received': '7',
        'depth dropped unpaired': '2',
        'image rate [Hz]': '14.9',
        'depth lost on the way': '1',
        'last error': 'image received 3',
    }
    assert image_counts(values) == {
        ('image', 'received'): 7,
        ('depth', 'dropped unpaired'): 2,
        ('depth', 'lost on the way'): 1,
    }


def test_rate_needs_two_moments():
    assert rate([1.0]) is None
    assert rate([0.0, 0.5, 1.0]) == 2.0


def test_an_uncalibrated_camera_does_not_end_those_who_watch():
    viewer = pytest.importorskip('hwhup_ros.viewer', reason='the live page needs viser')
    frames = KeptFrames(SimpleNamespace(create_subscription=lambda *_, **__: None), 0.0, 1)
    page = SimpleNamespace(_intrinsics=None)
    for info in (CameraInfo(), CameraInfo(width=4, height=3)):
        frames._on_info(info)
        viewer.ViewerNode._on_info(page, info)
    assert frames._intrinsics is page._intrinsics is None
    good = CameraInfo(width=4, height=3, k=[5.0, 0.0, 1.5, 0.0, 5.0, 1.0, 0.0, 0.0, 1.0])
    frames._on_info(good)
    viewer.ViewerNode._on_info(page, good)
    assert frames._intrinsics == page._intrinsics
    assert frames._intrinsics.cx == 2.0
    frames.close()
