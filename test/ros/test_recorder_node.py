"""The recorder node in a graph: every frame is accounted for, and what it says about itself is true."""

import time
from dataclasses import replace

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from hwhup_ros.msg import RecorderStatus
from pose_graph import CAMERA, HEIGHT, WIDTH, estimate_at, wait_for
from rclpy.parameter import Parameter
from recorder_graph import Estimator, Recorder

from hwhup_core.data.recording import RecordingCard, check_recording, open_recording
from hwhup_core.data.recording_writer import RecordingWriter
from hwhup_core.errors import ConfigError
from hwhup_core.recording.tally import Outcome
from hwhup_core.types import Frame, Intrinsics, State
from hwhup_ros.conversions import to_ns
from hwhup_ros.recorder_node import RecorderNode


@pytest.fixture
def record(graph, tmp_path):
    """Return a function that makes the recorder, ready to be sent frames."""

    def make(folder=tmp_path / 'r', **parameters):
        made = Recorder(graph, folder, **parameters)
        made.camera.wait_for_subscribers('image', 'depth', 'info')
        return made

    return make


def test_frames_and_stamps_are_stored(record, tmp_path):
    recorder = record(camera='crib cam', operator='me', consent='signed', cover='cover1', retention_days=7.0,
                      up=[0.0, -1.0, 0.0], color_encoding='png')  # fmt: skip
    stamps = [recorder.send(color=100 + i, metres=1.0 + 0.1 * i)[0] for i in range(5)]
    recorder.stop()
    recording = open_recording(tmp_path / 'r')
    assert [each.stamp_ns for each in recording.frames] == stamps
    for i in range(5):
        frame = recording.frame(i)
        assert (frame.color == 100 + i).all()
        np.testing.assert_allclose(frame.depth, 1.0 + 0.1 * i, atol=6e-4)
    card = recording.card
    assert (card.camera, card.operator, card.consent, card.cover) == ('crib cam', 'me', 'signed', 'cover1')
    assert (card.retention_days, card.up, card.bed_plane, card.intrinsics) == (7.0, (0.0, -1.0, 0.0), None, CAMERA)
    assert (card.written, card.privacy, card.software[:6]) == (5, 'full', 'hwhup ')
    assert check_recording(tmp_path / 'r').ok


def test_every_frame_is_accounted_for_with_its_reason(record, tmp_path):
    recorder = record(**{'sync.slop': 0.2, 'novelty.enabled': True, 'novelty.min_interval_s': 0.0})
    recorder.send(color=100)
    recorder.send(3, color=100)
    recorder.send(color=3)
    recorder.send(color=252)
    recorder.send(metres=0.0)
    recorder.send(skew_ns=50_000_000)
    recorder.send(color=100, metres=2.5)
    status = recorder.status(lambda found: found.frames_written == 2)
    assert dict(zip(status.reasons, status.reason_counts)) == {
        'near_duplicate': 3, 'under_exposed': 1, 'over_exposed': 1, 'depth_holes': 1, 'stamp_skew': 1,
    }  # fmt: skip
    assert (status.frames_in, status.frames_skipped, status.frames_rejected, status.frames_dropped) == (9, 3, 4, 0)
    assert (status.frames_total, status.state, status.color_storage) == (2, RecorderStatus.STATE_RECORDING, 'full')
    assert status.recording == str(tmp_path / 'r')
    assert status.disk_free > 0
    recorder.stop()
    assert open_recording(tmp_path / 'r').card.rejected['near_duplicate'] == 3


def test_pause_keeps_nothing_and_resume_goes_on(record, tmp_path):
    recorder = record()
    recorder.send(2)
    assert recorder.ask('pause').success
    recorder.status(lambda found: found.state == RecorderStatus.STATE_PAUSED)
    assert recorder.diagnosed(lambda found: 'paused' in found.message).level == DiagnosticStatus.WARN
    recorder.send(3)
    assert recorder.ask('resume').success
    recorder.status(lambda found: found.state == RecorderStatus.STATE_RECORDING)
    recorder.send(1)
    assert (recorder.counts.arrived, recorder.counts.reasons) == (6, {'paused': 3})
    recorder.stop()
    assert not recorder.ask('pause').success
    recorder.status(lambda found: found.state == RecorderStatus.STATE_IDLE)
    assert len(open_recording(tmp_path / 'r')) == 3


def test_activated_again_it_goes_on(record, tmp_path):
    recorder = record()
    recorder.send(2)
    recorder.stop()
    recorder.start()
    recorder.camera.wait_for_subscribers('image', 'depth', 'info')
    recorder.send(3)
    assert recorder.status(lambda found: found.frames_written == 3).frames_total == 5
    recorder.stop()
    assert [each.sequence for each in open_recording(tmp_path / 'r').frames] == list(range(5))


@pytest.mark.parametrize('late_info', [False, True])
def test_another_camera_is_never_mixed_in(record, tmp_path, late_info):
    """Also where the camera info comes after the image that it describes."""
    recorder = record()
    recorder.send(2)
    moved = replace(CAMERA, cx=CAMERA.cx + 1)
    larger = Intrinsics(30.0, 30.0, 20.0, 16.0, 40, 32)
    recorder.send(camera=moved, late_info=late_info)
    recorder.send(camera=larger, shape=(32, 40), late_info=late_info)
    problem = recorder.diagnosed(lambda found: found.level == DiagnosticStatus.ERROR)
    assert 'camera has changed' in problem.message
    recorder.send(late_info=late_info)
    assert recorder.counts.reasons == {'camera_changed': 2}
    recorder.stop()
    assert len(open_recording(tmp_path / 'r')) == 3


def test_resume_refuses_another_camera(record, tmp_path):
    recorder = record()
    recorder.send(2)
    recorder.stop()
    before = (tmp_path / 'r/index.jsonl').read_bytes()
    other = record(resume=True, color_encoding='png')
    other.send_one()
    status = other.status(lambda found: found.state == RecorderStatus.STATE_ERROR)
    assert "color 'jpeg'" in status.message
    wait_for(lambda: other.counts.reasons.get('no_recording'))
    assert other.diagnosed(lambda found: found.level == DiagnosticStatus.ERROR)
    assert (tmp_path / 'r/index.jsonl').read_bytes() == before


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({'folder': ''}, 'folder` is empty'),
        ({'folder': 'taken'}, 'Resume it, or record to another'),
        ({'folder': 'other'}, 'Record to a new or empty folder'),
        ({'privacy': 'none'}, 'head_blurred'),
        ({'privacy': 'no_color', 'use_depth': False}, 'Nothing is recorded'),
        ({'up': [1.0]}, 'Expected 3 numbers'),
        ({'gates.least_depht': 0.2}, 'least_depth'),
        ({'storage.queue': 0}, 'queue'),
        ({'novelty.min_interval_s': 100.0}, 'Swap them'),
    ],
)
def test_what_is_wrong_stops_at_start(graph, tmp_path, parameters, message):
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other/thesis.txt').write_text('mine')
    RecordingWriter(tmp_path / 'taken', RecordingCard('camera', 'camera_optical', CAMERA)).close()
    given = {'folder': 'new', **parameters}
    given['folder'] = given['folder'] and str(tmp_path / given['folder'])
    overrides = [Parameter(name, value=value) for name, value in given.items()]
    with pytest.raises(ConfigError, match=message):
        RecorderNode(parameter_overrides=overrides, context=graph.context, namespace=graph.namespace)


def test_silence_is_an_error_that_says_why(record):
    recorder = record(silent_after=0.5)
    problem = recorder.diagnosed(lambda found: found.level == DiagnosticStatus.ERROR)
    assert 'No frame for' in problem.message
    wait_for(lambda: recorder.send(1) and recorder.health[-1].level == DiagnosticStatus.OK)


def test_the_quota_ends_the_recording(record, tmp_path):
    recorder = record(**{'storage.quota_frames': 3})
    recorder.send(5)
    status = recorder.status(lambda found: found.state == RecorderStatus.STATE_FULL)
    assert 'quota of 3 frames' in status.message
    recorder.stop()
    assert len(open_recording(tmp_path / 'r')) == 3


def test_a_slow_disk_drops_and_says_so(record, monkeypatch, tmp_path):
    append = RecordingWriter.append

    def slow(*given):
        time.sleep(0.1)
        return append(*given)

    monkeypatch.setattr(RecordingWriter, 'append', slow)
    recorder = record(**{'storage.queue': 2})
    recorder.send(12)
    counts = recorder.counts
    assert counts.outcomes[Outcome.DROPPED] == sum(counts.reasons.values()) > 0
    assert counts.outcomes[Outcome.DROPPED] + counts.outcomes[Outcome.WRITTEN] == 12
    assert recorder.diagnosed(lambda found: 'dropped' in found.message).level == DiagnosticStatus.WARN
    recorder.stop()
    assert len(open_recording(tmp_path / 'r')) == counts.outcomes[Outcome.WRITTEN]


# With the pose node's answers.


def sure(header, distance=1.5, **changes):
    """Return an estimate whose head is at (20, 6), 4 pixels from its neck."""
    pixels = np.full((24, 2), 16.0)
    pixels[12], pixels[15] = (20.0, 10.0), (20.0, 6.0)
    estimate = estimate_at(Frame(to_ns(header.stamp), 'camera_optical'), distance)
    return replace(estimate, joint_pixels=pixels, **changes)


def noise():
    return np.random.default_rng(0).integers(60, 200, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def test_the_answer_to_a_frame_goes_with_it_and_the_head_is_blurred(record, tmp_path):
    recorder = record(privacy='head_blurred', color_encoding='png', estimate_wait=20.0)
    estimator = Estimator(recorder)
    picture = noise()
    header = recorder.send_one(color=picture)
    time.sleep(0.3)
    assert recorder.counts.pending == 1
    estimator.answer(header, sure(header))
    recorder.wait_until_settled(1)
    recorder.stop()
    recording = open_recording(tmp_path / 'r')
    told = recording.frames[0].metadata['estimate']
    assert (told['posture'], told['weights_hash'], told['box'][:3]) == ('SUPINE', 'w', [16.0, 12.0, 20.0])
    assert told['joint_pixels'][15] == [20.0, 6.0]
    assert recording.card.model_hash == 'w'
    changed = (recording.frame(0).color != picture).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert changed[4:8, 18:22].mean() > 0.9
    # From the head to the neck 4 pixels, and 0.07 m more at 10 pixels a metre; a quarter more for safety.
    assert np.hypot(columns + 0.5 - 20, rows + 0.5 - 6).max() <= 1.25 * (4 + 0.7)


def test_a_frame_without_a_sure_head_loses_its_colour(record, tmp_path):
    recorder = record(privacy='head_blurred', color_encoding='png', estimate_wait=20.0)
    estimator = Estimator(recorder)
    cases = [
        (),  # The pose node could not use the frame.
        (State.LOW_CONFIDENCE,),
        (State.ESTIMATED, State.NO_PERSON),
        (State.ESTIMATED,),
    ]
    for number, states in enumerate(cases):
        header = recorder.send_one(color=noise())
        estimator.answer(header, *(sure(header, state=state) for state in states))
        recorder.wait_until_settled(number + 1)
    recorder.stop()
    recording = open_recording(tmp_path / 'r')
    assert ['color' in each.files for each in recording.frames] == [False, False, False, True]
    assert all('depth' in each.files for each in recording.frames)


def test_frames_do_not_wait_for_ever_nor_for_nobody(record):
    recorder = record(estimate_wait=0.3)
    recorder.send(2)  # Nobody answers, so that nobody is waited for.
    estimator = Estimator(recorder)
    begin = time.monotonic()
    recorder.send(1)
    assert time.monotonic() - begin >= 0.3
    first, second = recorder.send_one(), recorder.send_one()
    estimator.answer(second, sure(second))  # A later answer: there will be none to the first one.
    recorder.wait_until_settled(5)
    recorder.stop()
    assert to_ns(first.stamp) < to_ns(second.stamp)
    frames = open_recording(recorder.node.config.path()).frames
    assert ['estimate' in each.metadata for each in frames] == [False, False, False, False, True]


def test_without_colour_the_image_is_not_even_received(graph, tmp_path):
    recorder = Recorder(graph, tmp_path / 'r', privacy='no_color')
    recorder.camera.wait_for_subscribers('depth', 'info')
    assert recorder.camera.image.get_subscription_count() == 0
    recorder.send(2)
    assert recorder.status(lambda found: found.frames_written == 2).color_storage == 'off'
    recorder.stop()
    assert set(open_recording(tmp_path / 'r').frames[0].files) == {'depth'}
