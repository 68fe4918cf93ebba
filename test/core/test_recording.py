"""Recordings: what is written is read, and a kill, a full disk or damage cost what they must and no more."""

import errno
import json
import multiprocessing
import os
import random
import signal
import time
import zlib
from dataclasses import replace

import cv2
import numpy as np
import pytest

from hwhup_core.config_io import load_config
from hwhup_core.data import recording_writer
from hwhup_core.data.recording import RecordingCard, check_recording, open_recording, repair_recording
from hwhup_core.data.recording_writer import RecordingFull, RecordingWriter
from hwhup_core.errors import AssetError, ConfigError, FrameError, HwhupError
from hwhup_core.types import Frame, Intrinsics

CAMERA = Intrinsics(50.0, 51.0, 20.5, 15.5, 40, 30, 'plumb_bob', (0.1, -0.2, 0.0, 0.0, 0.05))
CARD = RecordingCard('D435 1234', 'camera_optical', CAMERA, color='png', up=(0.0, 0.0, -1.0), consent='signed')


def make_frame(number: int = 0, **changes) -> Frame:
    rng = np.random.default_rng(number)
    millimetres = rng.integers(0, 5000, (30, 40), dtype=np.uint16)
    frame = Frame(
        stamp_ns=1_700_000_000_000_000_000 + number * 33_333_333,
        frame_id='camera_optical',
        color=rng.integers(0, 256, (30, 40, 3), dtype=np.uint8),
        depth=millimetres.astype(np.float32) * np.float32(0.001),
        intrinsics=CAMERA,
    )
    return replace(frame, **changes)


def write_some(folder, count=3, card=CARD, **options):
    with RecordingWriter(folder, card, **options) as writer:
        return [writer.write(make_frame(i), {'gate': i}) for i in range(count)]


def reasons(folder):
    return dict(check_recording(folder).counts)


def test_round_trip(tmp_path):
    records = write_some(tmp_path / 'r')
    recording = open_recording(tmp_path / 'r')
    assert recording.card.intrinsics == CAMERA
    assert recording.card.up == (0.0, 0.0, -1.0)
    assert recording.card.written == 3
    assert list(recording.frames) == records
    for i in range(3):
        frame, truth = recording.frame(i), make_frame(i)
        assert (frame.stamp_ns, frame.frame_id, frame.intrinsics) == (truth.stamp_ns, truth.frame_id, CAMERA)
        np.testing.assert_array_equal(frame.color, truth.color)
        np.testing.assert_array_equal(frame.depth, truth.depth)
        assert frame.infrared is None
        assert recording.frames[i].metadata == {'gate': i}
    report = check_recording(tmp_path / 'r')
    assert (report.ok, report.indexed, report.readable, report.problems) == (True, 3, 3, ())


def test_the_files_are_what_the_format_says(tmp_path):
    write_some(tmp_path / 'r', 1)
    line = json.loads((tmp_path / 'r' / 'index.jsonl').read_text())
    content = (tmp_path / 'r' / 'frames' / '000000.depth.png').read_bytes()
    assert line['files']['depth'] == ['000000.depth.png', len(content), zlib.crc32(content)]
    depth = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert depth.dtype == np.uint16
    np.testing.assert_array_equal(depth, np.random.default_rng(0).integers(0, 5000, (30, 40), dtype=np.uint16))


def test_depth_that_is_none_or_too_far_is_a_hole(tmp_path):
    depth = np.full((30, 40), 2.0, np.float32)
    depth[0, :5] = [np.nan, np.inf, -1.0, 65.535, 70.0]
    with RecordingWriter(tmp_path / 'r', CARD) as writer:
        writer.write(make_frame(depth=depth), {})
    read = open_recording(tmp_path / 'r').frame(0).depth
    assert (read[0, :5] == 0).all()
    assert read[0, 5] == np.float32(2.0)


def test_infrared_pressure_and_jpeg(tmp_path):
    card = replace(CARD, color='jpeg', infrared='png', pressure='png')
    ramp = np.linspace(0, 1, 1200, dtype=np.float32).reshape(30, 40)
    smooth = np.repeat(np.linspace(0, 255, 40).astype(np.uint8)[None, :, None], 30, 0).repeat(3, 2)
    with RecordingWriter(tmp_path / 'r', card) as writer:
        writer.write(make_frame(color=smooth, infrared=ramp, pressure=1 - ramp), {})
    frame = open_recording(tmp_path / 'r').frame(0)
    np.testing.assert_allclose(frame.infrared, ramp, atol=1e-5)
    np.testing.assert_allclose(frame.pressure, 1 - ramp, atol=1e-5)
    assert np.abs(frame.color.astype(int) - smooth).mean() < 3


def test_numbers_that_json_cannot_hold_become_null(tmp_path):
    with RecordingWriter(tmp_path / 'r', CARD) as writer:
        record = writer.write(make_frame(), {'pose': np.array([1.0, np.nan]), 'error': float('inf'), 'n': np.int64(2)})
        with pytest.raises(ConfigError, match='object'):
            writer.write(make_frame(), {'odd': object()})
    assert record.metadata == {'pose': [1.0, None], 'error': None, 'n': 2}
    assert open_recording(tmp_path / 'r').frames == (record,)


def test_resume_goes_on(tmp_path):
    with RecordingWriter(tmp_path / 'r', CARD) as writer:
        writer.write(make_frame(0), {})
        writer.reject('blurred', 2)
    with RecordingWriter(tmp_path / 'r', CARD, resume=True) as writer:
        writer.write(make_frame(1), {})
        writer.reject('blurred')
    recording = open_recording(tmp_path / 'r')
    assert [(each.unit, each.sequence) for each in recording.frames] == [('000000', 0), ('000001', 1)]
    assert (recording.card.written, recording.card.rejected) == (2, {'blurred': 3})
    assert check_recording(tmp_path / 'r').ok


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'intrinsics': replace(CAMERA, fx=52.0)}, r'intrinsics\.fx 50\.0.*52\.0'),
        ({'intrinsics': replace(CAMERA, width=80)}, r'intrinsics\.width 40.*80'),
        ({'intrinsics': None}, 'intrinsics'),
        ({'camera': 'D455 9'}, "camera 'D435 1234'.*'D455 9'"),
        ({'color': 'jpeg'}, "color 'png'.*'jpeg'"),
        ({'infrared': 'png'}, "infrared 'none'.*'png'"),
        ({'color': 'none', 'privacy': 'no_color'}, "color 'png'.*'none'"),
    ],
)
def test_resume_refuses_another_source(tmp_path, change, words):
    write_some(tmp_path / 'r', 1)
    before = (tmp_path / 'r' / 'recording.yaml').read_bytes()
    with pytest.raises(ConfigError, match=words):
        RecordingWriter(tmp_path / 'r', replace(CARD, **change), resume=True)
    assert (tmp_path / 'r' / 'recording.yaml').read_bytes() == before


def test_existing_recordings_and_other_folders_are_not_written_into(tmp_path):
    write_some(tmp_path / 'r', 1)
    with pytest.raises(ConfigError, match='Resume it'):
        RecordingWriter(tmp_path / 'r', CARD)
    (tmp_path / 'home').mkdir()
    (tmp_path / 'home' / 'thesis.tex').write_text('')
    with pytest.raises(ConfigError, match=r'thesis\.tex'):
        RecordingWriter(tmp_path / 'home', CARD)


def test_frames_without_a_card_are_not_overwritten(tmp_path):
    write_some(tmp_path / 'r', 1)
    before = (tmp_path / 'r' / 'index.jsonl').read_bytes()
    (tmp_path / 'r' / 'recording.yaml').unlink()
    with pytest.raises(ConfigError, match=r'no recording\.yaml and holds .*000000\.color\.png'):
        RecordingWriter(tmp_path / 'r', CARD, resume=True)
    assert (tmp_path / 'r' / 'index.jsonl').read_bytes() == before


def test_a_start_that_was_killed_can_be_repeated(tmp_path):
    (tmp_path / 'r' / 'frames').mkdir(parents=True)
    for name in ('.lock', 'index.jsonl', 'recording.yamlx81k.partial'):
        (tmp_path / 'r' / name).touch()
    assert len(write_some(tmp_path / 'r', 2, resume=True)) == 2
    assert check_recording(tmp_path / 'r').ok


def test_only_one_writer(tmp_path):
    with RecordingWriter(tmp_path / 'r', CARD) as writer:
        writer.write(make_frame(), {})
        with pytest.raises(ConfigError, match='Another process'):
            RecordingWriter(tmp_path / 'r', CARD, resume=True)
        with pytest.raises(ConfigError, match='Another process'):
            repair_recording(tmp_path / 'r')
        assert check_recording(tmp_path / 'r').in_use
    assert not check_recording(tmp_path / 'r').in_use
    with pytest.raises(ConfigError, match='closed'):
        writer.write(make_frame(), {})


@pytest.mark.parametrize(
    ('frame', 'reason'),
    [
        (make_frame(color=None, depth=None), 'empty'),
        (make_frame(infrared=np.zeros((30, 40), np.float32)), 'undeclared_infrared'),
        (make_frame(intrinsics=replace(CAMERA, cx=21.0)), 'camera_changed'),
        (make_frame(frame_id='other'), 'camera_changed'),
        (make_frame(depth=np.zeros((40, 30), np.float32), color=None), 'size_mismatch'),
    ],
)
def test_frames_that_do_not_fit_the_card_are_refused(tmp_path, frame, reason):
    with RecordingWriter(tmp_path / 'r', CARD) as writer:
        with pytest.raises(FrameError) as caught:
            writer.write(frame, {})
        assert caught.value.reason == reason
        writer.write(make_frame(), {})
    assert check_recording(tmp_path / 'r').readable == 1


@pytest.mark.parametrize('damage', ['cut', 'flip', 'remove'])
def test_a_damaged_file_is_named(tmp_path, damage):
    write_some(tmp_path / 'r')
    path = tmp_path / 'r' / 'frames' / '000001.depth.png'
    content = bytearray(path.read_bytes())
    if damage == 'remove':
        path.unlink()
    elif damage == 'cut':
        path.write_bytes(content[:-100])
    else:
        content[200] ^= 1
        path.write_bytes(content)
    with pytest.raises(AssetError, match=r'000001\.depth\.png'):
        open_recording(tmp_path / 'r').frame(1)
    assert reasons(tmp_path / 'r') == {'missing_file' if damage == 'remove' else 'unreadable_file': 1}
    report = repair_recording(tmp_path / 'r')
    assert report.kept == 2
    assert (tmp_path / 'r' / 'orphans' / '000001.color.png').is_file()
    assert json.loads((tmp_path / 'r' / 'orphans' / 'dropped_lines.jsonl').read_text())['unit'] == '000001'
    assert check_recording(tmp_path / 'r').ok
    assert reasons(tmp_path / 'r') == {'sequence_gap': 1}
    np.testing.assert_array_equal(open_recording(tmp_path / 'r').frame(1).depth, make_frame(2).depth)


def test_a_torn_line_is_not_a_frame(tmp_path):
    write_some(tmp_path / 'r')
    index = tmp_path / 'r' / 'index.jsonl'
    whole = index.read_bytes()
    for length in (1, 20, 60):
        index.write_bytes(whole[:-length])
        assert len(open_recording(tmp_path / 'r')) == 2
        assert reasons(tmp_path / 'r') == {'torn_line': 1, 'orphan_unit': 1}
    report = repair_recording(tmp_path / 'r')
    assert (report.kept, report.dropped_lines) == (2, ('torn_line',))
    assert report.moved == ('000002.color.png', '000002.depth.png')
    assert check_recording(tmp_path / 'r').problems == ()
    with RecordingWriter(tmp_path / 'r', CARD, resume=True) as writer:
        assert writer.write(make_frame(7), {}).unit == '000003'


def test_resume_takes_a_torn_line_away(tmp_path):
    write_some(tmp_path / 'r')
    index = tmp_path / 'r' / 'index.jsonl'
    index.write_bytes(index.read_bytes()[:-9])
    with RecordingWriter(tmp_path / 'r', CARD, resume=True) as writer:
        record = writer.write(make_frame(3), {})
    assert (record.unit, record.sequence) == ('000003', 2)
    assert [each.unit for each in open_recording(tmp_path / 'r').frames] == ['000000', '000001', '000003']
    assert reasons(tmp_path / 'r') == {'orphan_unit': 1}


def test_lines_that_are_nonsense_twice_or_out_of_order(tmp_path):
    write_some(tmp_path / 'r')
    index = tmp_path / 'r' / 'index.jsonl'
    one, two, three = index.read_bytes().splitlines(keepends=True)
    index.write_bytes(one + b'{"unit": 3}\n' + three + two + two)
    with pytest.raises(AssetError, match='line 2'):
        open_recording(tmp_path / 'r')
    found = reasons(tmp_path / 'r')
    assert found == {'bad_line': 1, 'duplicate_unit': 1, 'stamp_not_increasing': 1, 'sequence_gap': 2}
    assert repair_recording(tmp_path / 'r').kept == 3
    assert [each.unit for each in open_recording(tmp_path / 'r').frames] == ['000000', '000002', '000001']


def test_names_that_leave_the_folder_are_refused(tmp_path):
    write_some(tmp_path / 'r', 1)
    index = tmp_path / 'r' / 'index.jsonl'
    index.write_bytes(index.read_bytes().replace(b'000000.depth.png', b'../../secret.png'))
    with pytest.raises(AssetError, match='line 1'):
        open_recording(tmp_path / 'r')


@pytest.mark.parametrize('failing', ['_write_file', '_append', 'sync'])
def test_a_full_disk_leaves_the_index_whole(tmp_path, monkeypatch, failing):
    writer = RecordingWriter(tmp_path / 'r', CARD)
    writer.write(make_frame(0), {})
    real = getattr(recording_writer, failing)
    calls = []

    def full(*given):
        calls.append(given)
        if len(calls) == 2 or failing == '_append':
            if failing == '_append':
                os.write(given[0], given[1][:30])
            raise OSError(errno.ENOSPC, 'No space left on device')
        return real(*given)

    monkeypatch.setattr(recording_writer, failing, full)
    with pytest.raises(RecordingFull, match='No space left'):
        writer.write(make_frame(1), {})
    monkeypatch.undo()
    assert sorted(path.name for path in (tmp_path / 'r' / 'frames').iterdir()) == [
        '000000.color.png',
        '000000.depth.png',
    ]
    record = writer.write(make_frame(2), {})
    writer.close()
    assert (record.unit, record.sequence) == ('000001', 1)
    assert check_recording(tmp_path / 'r').problems == ()


def test_stops_before_the_disk_is_full(tmp_path, monkeypatch):
    with RecordingWriter(tmp_path / 'r', CARD, least_free_bytes=1 << 20) as writer:
        writer.write(make_frame(0), {})
        real = os.statvfs(tmp_path)

        class Little:
            f_bavail, f_frsize = 300, 4096

        monkeypatch.setattr(os, 'statvfs', lambda path: Little)
        assert real.f_bavail > 300
        writer.write(make_frame(1), {})
        Little.f_bavail = 256
        with pytest.raises(RecordingFull, match=r'at least 1\.0 MiB'):
            writer.write(make_frame(2), {})
    assert check_recording(tmp_path / 'r').readable == 2


def test_other_trouble_with_the_disk_is_ours_too(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(HwhupError, match='file'):
        RecordingWriter(tmp_path / 'file' / 'r', CARD)


def write_until_killed(folder, pipe):
    """Write frames and tell each one that the writer has promised to keep."""
    writer = RecordingWriter(folder, CARD, resume=True, sync_every=1000)
    frame = make_frame()
    os.write(pipe, b'ready\n')
    while True:
        os.write(pipe, writer.write(frame, {'pose': [0.123456789] * 200}).unit.encode() + b'\n')


def told_before_the_kill(folder, seconds):
    """Kill -9 a writer and return the units that it reported."""
    reading, writing = os.pipe()
    process = multiprocessing.get_context('fork').Process(target=write_until_killed, args=(folder, writing))
    process.start()
    os.close(writing)
    with os.fdopen(reading, 'rb') as told:
        assert told.readline() == b'ready\n'
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        return {line.strip().decode() for line in told.readlines() if line.endswith(b'\n')}


def test_kill_nine_costs_at_most_the_frame_in_flight(tmp_path):
    rng = random.Random(3)
    folder, promised = tmp_path / 'r', set()
    for kill in range(1, 9):
        promised |= told_before_the_kill(folder, rng.uniform(0.0, 0.08))
        report = check_recording(folder)
        assert report.readable == report.indexed
        assert report.counts['orphan_unit'] <= kill
        assert report.counts['temporary_file'] <= kill
        assert set(report.counts) <= {'orphan_unit', 'temporary_file', 'stamp_not_increasing', 'torn_line'}
        assert promised <= {each.unit for each in open_recording(folder).frames}
    assert report.indexed > 8
    repair_recording(folder)
    assert check_recording(folder).ok
    assert len(open_recording(folder)) == report.indexed


def test_a_newer_format_is_refused(tmp_path):
    write_some(tmp_path / 'r', 1)
    path = tmp_path / 'r' / 'recording.yaml'
    assert load_config(path, RecordingCard).format_version == 1
    path.write_text(path.read_text().replace('format_version: 1', 'format_version: 9'))
    with pytest.raises(AssetError, match='format version 9'):
        open_recording(tmp_path / 'r')
    with pytest.raises(AssetError, match=r'recording\.yaml'):
        open_recording(tmp_path)
