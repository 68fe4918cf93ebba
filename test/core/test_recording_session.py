"""A recorder's session: every frame is accounted for, order is kept, limits end it cleanly."""

import math
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hwhup_core.data.recording import RecordingCard, check_recording, open_recording
from hwhup_core.data.recording_writer import RecordingFull, RecordingWriter
from hwhup_core.errors import ConfigError
from hwhup_core.recording.config import GateConfig, NoveltyConfig, RecorderConfig, StorageConfig
from hwhup_core.recording.session import RecordingSession
from hwhup_core.recording.tally import Outcome, Tally
from hwhup_core.types import Posture

# pytest's import mode leaves sys.path alone.
sys.path.insert(0, str(Path(__file__).parent))

from recording_frames import CAMERA, estimate_of, make_frame

CARD = RecordingCard('camera', 'camera_optical', CAMERA, color='png')
ALL = RecorderConfig(privacy='full', novelty=NoveltyConfig(enabled=False), storage=StorageConfig(least_free_mb=1.0))


def with_storage(**changes):
    return replace(ALL, storage=replace(ALL.storage, **changes))


def adds_up(counts):
    return counts.arrived == sum(counts.outcomes.values()) + counts.pending


def test_frames_are_written_in_their_order_by_several_writers(tmp_path):
    with RecordingSession(tmp_path / 'r', CARD, with_storage(writers=4, queue=100)) as session:
        assert [session.offer(make_frame(i)) for i in range(40)] == [''] * 40
    counts = session.tally.counts()
    assert (counts.arrived, counts.outcomes[Outcome.WRITTEN], counts.pending) == (40, 40, 0)
    recording = open_recording(tmp_path / 'r')
    assert [each.stamp_ns for each in recording.frames] == [make_frame(i).stamp_ns for i in range(40)]
    for i in (0, 17, 39):
        np.testing.assert_array_equal(recording.frame(i).color, make_frame(i).color)
        np.testing.assert_allclose(recording.frame(i).depth, make_frame(i).depth, atol=1e-6)
    assert check_recording(tmp_path / 'r').ok


def test_every_frame_has_one_outcome_and_the_card_the_reasons(tmp_path):
    config = replace(ALL, novelty=NoveltyConfig(min_interval_s=0.0))
    with RecordingSession(tmp_path / 'r', CARD, config) as session:
        assert session.offer(make_frame(0)) == ''
        assert session.offer(make_frame(0)) == 'near_duplicate'
        assert session.offer(make_frame(1), 0.5) == 'stamp_skew'
        assert session.offer(make_frame(1, intrinsics=replace(CAMERA, fx=91.0))) == 'camera_changed'
        assert session.offer(make_frame(1, frame_id='other')) == 'camera_changed'
        assert session.offer(make_frame(2)) == ''
    counts = session.tally.counts()
    assert adds_up(counts)
    assert counts.outcomes == {Outcome.WRITTEN: 2, Outcome.SKIPPED: 1, Outcome.REJECTED: 3, Outcome.DROPPED: 0}
    expected = {'near_duplicate': 1, 'stamp_skew': 1, 'camera_changed': 2}
    assert counts.reasons == expected
    card = open_recording(tmp_path / 'r').card
    assert (card.written, card.rejected) == (2, expected)


def test_a_frame_that_cannot_be_stored_is_rejected_with_its_reason(tmp_path):
    """Of a frame without a sure head only the depth would be left, and here there is none."""
    card = replace(CARD, depth='none')
    with RecordingSession(tmp_path / 'r', card, replace(ALL, privacy='head_blurred')) as session:
        assert session.offer(make_frame(0, depth=None)) == ''
        assert session.offer(make_frame(1, depth=None), estimates=[estimate_of(make_frame(1))]) == ''
    counts = session.tally.counts()
    assert counts.reasons == {'empty': 1}
    assert 'no picture' in session.status().last_error
    assert [each.stamp_ns for each in open_recording(tmp_path / 'r').frames] == [make_frame(1).stamp_ns]


def test_quality_and_estimate_are_kept_with_the_frame(tmp_path):
    estimate = replace(estimate_of(make_frame()), aligned_depth_error=math.nan)
    with RecordingSession(tmp_path / 'r', CARD, ALL) as session:
        session.offer(make_frame(), 0.003, [estimate])
    metadata = open_recording(tmp_path / 'r').frames[0].metadata
    assert metadata['quality']['skew_s'] == 0.003
    assert metadata['quality']['exposure'] == pytest.approx(125, abs=10)
    told = metadata['estimate']
    assert (told['state'], told['posture'], told['aligned_depth_error']) == ('ESTIMATED', 'SUPINE', None)
    assert told['joint_pixels'][15] == [48.0, 20.0]


def test_the_privacy_of_the_config_is_that_of_the_card(tmp_path):
    with RecordingSession(tmp_path / 'r', CARD, replace(ALL, privacy='no_color')) as session:
        session.offer(make_frame())
    recording = open_recording(tmp_path / 'r')
    assert (recording.card.privacy, recording.card.color) == ('no_color', 'none')
    assert set(recording.frames[0].files) == {'depth'}
    with pytest.raises(ConfigError, match="color 'none'"):
        RecordingSession(tmp_path / 'r', CARD, ALL, resume=True)


def test_too_slow_writers_drop_and_count(tmp_path, monkeypatch):
    go_on = threading.Event()
    append = RecordingWriter.append

    def wait(*given):
        go_on.wait(20)
        return append(*given)

    monkeypatch.setattr(RecordingWriter, 'append', wait)
    with RecordingSession(tmp_path / 'r', CARD, with_storage(queue=3)) as session:
        reasons = [session.offer(make_frame(i)) for i in range(5)]
        assert session.tally.counts().pending == 3
        go_on.set()
    assert reasons == ['', '', '', 'writers_too_slow', 'writers_too_slow']
    assert session.tally.counts().outcomes[Outcome.WRITTEN] == 3
    assert adds_up(session.tally.counts())
    assert len(open_recording(tmp_path / 'r')) == 3


def settle(session):
    deadline = time.monotonic() + 20
    while session.tally.counts().pending and time.monotonic() < deadline:
        time.sleep(0.002)


@pytest.mark.parametrize(
    ('storage', 'kept', 'words'),
    [({'quota_frames': 3}, 3, '3 frames'), ({'quota_mb': 0.07}, 2, r'0.07 MB')],
)
def test_a_quota_counts_earlier_runs(tmp_path, storage, kept, words):
    with RecordingSession(tmp_path / 'r', CARD, ALL) as session:
        session.offer(make_frame(0))
    assert 25_000 < session.status().bytes_written < 35_000
    with RecordingSession(tmp_path / 'r', CARD, with_storage(**storage), resume=True) as session:
        for i in range(1, 6):
            session.offer(make_frame(i))
            settle(session)
        status = session.status()
        assert words in status.full
        assert (status.total, status.counts.outcomes[Outcome.WRITTEN]) == (kept, kept - 1)
        assert status.counts.reasons == {'quota': 1, 'full': 5 - kept}
    assert len(open_recording(tmp_path / 'r')) == kept


def test_a_full_disk_ends_it(tmp_path, monkeypatch):
    append = RecordingWriter.append

    def full(writer, unit, metadata):
        if writer.count == 2:
            raise RecordingFull('There is no room left.')
        return append(writer, unit, metadata)

    monkeypatch.setattr(RecordingWriter, 'append', full)
    with RecordingSession(tmp_path / 'r', CARD, ALL) as session:
        for i in range(4):
            session.offer(make_frame(i))
            settle(session)
        assert session.status().full == 'There is no room left.'
        assert session.full
    assert session.tally.counts().reasons == {'disk_full': 1, 'full': 1}
    assert check_recording(tmp_path / 'r').ok


def test_a_failing_writer_loses_one_frame_not_the_recording(tmp_path, monkeypatch):
    append = RecordingWriter.append

    def fail_once(writer, unit, metadata):
        if unit.stamp_ns == make_frame(1).stamp_ns:
            raise OSError('the cable')
        return append(writer, unit, metadata)

    monkeypatch.setattr(RecordingWriter, 'append', fail_once)
    with RecordingSession(tmp_path / 'r', CARD, ALL) as session:
        for i in range(3):
            session.offer(make_frame(i))
    counts = session.tally.counts()
    assert (counts.reasons, counts.outcomes[Outcome.DROPPED]) == ({'write_failed': 1}, 1)
    assert session.status().last_error == 'the cable'
    assert len(open_recording(tmp_path / 'r')) == 2


def test_the_posture_quota_remembers_earlier_runs(tmp_path):
    config = replace(ALL, novelty=NoveltyConfig(min_interval_s=0.0, posture_quota=2))

    def offer(session, number, posture=Posture.SUPINE):
        estimate = replace(estimate_of(make_frame(number)), posture=posture)
        return session.offer(make_frame(number), estimates=[estimate])

    with RecordingSession(tmp_path / 'r', CARD, config) as session:
        assert offer(session, 0) == ''
    with RecordingSession(tmp_path / 'r', CARD, config, resume=True) as session:
        assert [offer(session, 1), offer(session, 2), offer(session, 3, Posture.PRONE)] == ['', 'posture_quota', '']


def test_frames_counted_elsewhere_are_not_counted_twice(tmp_path):
    tally = Tally()
    with RecordingSession(tmp_path / 'r', CARD, ALL, tally=tally) as session:
        tally.arrive()
        tally.settle(Outcome.DROPPED, 'decoder_too_slow')
        tally.arrive()
        session.judge(make_frame())
    counts = tally.counts()
    assert (counts.arrived, counts.pending, counts.reasons) == (2, 0, {'decoder_too_slow': 1})
    assert open_recording(tmp_path / 'r').card.rejected == {'decoder_too_slow': 1}


def test_time_left_follows_the_nearest_limit(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr('hwhup_core.recording.session.time.monotonic', lambda: clock[0])
    with RecordingSession(tmp_path / 'r', CARD, with_storage(quota_frames=10)) as session:
        assert math.isnan(session.status().seconds_left)
        for i in range(4):
            session.offer(make_frame(i))
        while session.tally.counts().pending:
            time.sleep(0.002)
        clock[0] += 2.0
        status = session.status()
        assert status.write_rate == pytest.approx(status.bytes_written / 2)
        assert status.seconds_left == pytest.approx((10 - 4) / 2)
        clock[0] += 60.0
        assert math.isnan(session.status().seconds_left)


def test_an_open_gate_lets_everything_through(tmp_path):
    config = replace(ALL, gates=GateConfig(10.0, 0.0, 1.0, 0.0, (0.0, 255.0)))
    with RecordingSession(tmp_path / 'r', CARD, config) as session:
        black = make_frame(color=np.zeros((72, 96, 3), np.uint8), depth=np.zeros((72, 96), np.float32))
        assert session.offer(black, 5.0) == ''
