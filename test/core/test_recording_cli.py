"""`hwhup recording`: what it prints, what it changes, and its exit codes."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from hwhup_core.cli import handover, recording
from hwhup_core.cli.main import main
from hwhup_core.data.recording_card import RecordingCard
from hwhup_core.data.recording_writer import RecordingWriter
from hwhup_core.errors import AssetError
from hwhup_core.labeling.labels import FrameLabel, LabelStore
from hwhup_core.types import Frame, Intrinsics

CAMERA = Intrinsics(50.0, 51.0, 20.5, 15.5, 40, 30)
CARD = RecordingCard('D435 77', 'optical', CAMERA, consent='signed by all', created='2020-01-01T00:00:00+00:00')


@pytest.fixture
def folder(tmp_path):
    return record(tmp_path / 'recording', CARD)


def record(folder, card, count=4):
    rng = np.random.default_rng(0)
    with RecordingWriter(folder, card) as writer:
        for number in range(count):
            color = rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)
            depth = np.full((30, 40), 1.5, np.float32)
            frame = Frame((100 + number) * 10**9, 'optical', color=color, depth=depth, intrinsics=CAMERA)
            writer.write(frame, {'estimate': {'posture': 'PRONE'}} if number else {})
        writer.reject('blurred', 3)
    return folder


def run(*arguments):
    return main(['recording', *map(str, arguments)])


def test_check_of_a_whole_recording_is_fine(folder, capsys):
    assert run('check', folder) == 0
    assert '4 frames in the index, 4 readable' in capsys.readouterr().out


def test_check_says_what_is_wrong_and_repair_mends_it(folder, capsys):
    (folder / 'frames/000001.depth.png').write_bytes(b'cut')
    (folder / 'frames/000002.color.jpg').unlink()
    (folder / 'frames/.000004.depth.png.part').write_bytes(b'half')
    assert run('check', folder) == 1
    text = capsys.readouterr().out
    for expected in ('4 frames in the index, 2 readable', 'unreadable_file: 1', 'missing_file: 1', 'temporary_file: 1'):
        assert expected in text
    assert '000002.color.jpg' in text
    assert f'hwhup recording repair {folder}' in text
    assert run('repair', folder) == 0
    text = capsys.readouterr().out
    assert '2 frames in the index' in text
    assert 'moved to orphans/: 4 files' in text  # Two whole partners, one cut file, one half.
    assert run('check', folder) == 0


def test_many_problems_are_counted_and_some_are_shown(tmp_path, capsys):
    folder = record(tmp_path / 'many', CARD, count=14)
    for path in (folder / 'frames').glob('*.depth.png'):
        path.unlink()
    assert run('check', folder) == 1
    text = capsys.readouterr().out
    assert 'missing_file: 14' in text
    assert '... and 4 more' in text


def test_no_recording_is_wrong_input(tmp_path, capsys):
    for action in ('check', 'repair', 'info', 'export'):
        assert run(action, tmp_path, *([tmp_path / 'out', '--format', 'coco'] if action == 'export' else [])) == 2
        assert 'is no recording' in capsys.readouterr().err
    assert run('purge', tmp_path / 'none') == 2


def test_info_tells_card_postures_span_and_size(folder, capsys):
    size = sum(path.stat().st_size for path in (folder / 'frames').iterdir())
    label = FrameLabel(
        '000001', ('left_hip',), np.array([[1.0, 2.0]]), np.array([True]), np.array([1.0]), np.array([1.0]), 'manual',
        'accepted',
    )  # fmt: skip
    LabelStore(folder).put(label)
    assert run('info', folder) == 0
    text = capsys.readouterr().out
    for expected in (
        f'4 frames, {size / 1e6:.1f} MB', 'camera: D435 77 (optical), 40x30, fx 50.0', 'consent: signed by all',
        'delete after: never', 'time: 3.0 s from stamp 100.000 s', 'pictures: 4 color, 4 depth',
        'postures: 3 prone, 1 none', 'not kept: 3 blurred', 'labels: 1 manual accepted', 'privacy: full',
    ):  # fmt: skip
        assert expected in text


def test_info_of_nothing_and_of_a_wrong_date(tmp_path, capsys):
    record(tmp_path / 'empty', replace(CARD, retention_days=2.0), count=0)
    assert run('info', tmp_path / 'empty') == 0
    assert 'delete after: 2020-01-03T00:00+00:00' in capsys.readouterr().out
    record(tmp_path / 'wrong', replace(CARD, retention_days=2.0, created='then'), count=1)
    assert run('info', tmp_path / 'wrong') == 0
    assert 'delete after: unknown' in capsys.readouterr().out


def test_purge_lists_first_and_deletes_then(tmp_path, capsys):
    old = record(tmp_path / 'old', replace(CARD, retention_days=2.0))
    record(tmp_path / 'kept', CARD)
    (old / 'mine.txt').write_text('mine')
    assert run('purge', tmp_path, '--dry-run') == 0
    text = capsys.readouterr().out
    assert f'would delete {old}: 8 files of frames' in text
    assert 'expired 2020-01-03' in text
    assert '1 expired, 1 not, 0 not deleted for a fault' in text
    assert (old / 'frames/000000.depth.png').exists()
    assert run('purge', tmp_path) == 0
    text = capsys.readouterr().out
    assert f'deleted {old}' in text
    assert 'mine.txt' in text
    assert [path.name for path in old.iterdir()] == ['mine.txt']
    assert run('check', tmp_path / 'kept') == 0


def test_purge_tells_what_it_could_not_judge(tmp_path, capsys):
    record(tmp_path / 'wrong', replace(CARD, retention_days=2.0, created='then'))
    assert run('purge', tmp_path) == 1
    assert f'not deleted {tmp_path / "wrong"}' in capsys.readouterr().out
    assert run('check', tmp_path / 'wrong') == 0


@pytest.mark.parametrize('form', ['coco', 'cvat', 'label-studio'])
def test_export_to_a_labelling_tool_takes_every_frame(folder, tmp_path, form):
    assert run('export', folder, tmp_path / 'out', '--format', form) == 0
    assert len(list((tmp_path / 'out/images').iterdir())) == 4


def test_bags_are_handed_over_with_every_argument(folder, tmp_path, monkeypatch):
    calls = []

    def hand_over(purpose, module, arguments, needed):
        return calls.append((module, list(arguments))) or 0

    monkeypatch.setattr(recording, 'hand_over', hand_over)
    assert run('import', 'BAG', 'OUT', '--privacy', 'full', '--help') == 0
    assert run('export', folder, tmp_path / 'bag', '--raw') == 0
    assert calls == [
        ('hwhup_ros.bag_import', ['BAG', 'OUT', '--privacy', 'full', '--help']),
        ('hwhup_ros.bag_export', [str(folder), str(tmp_path / 'bag'), '--raw']),
    ]


def test_a_missing_package_is_named_before_anything_is_started():
    calls = []

    def execute(path, argv):
        calls.append((path, argv))

    with pytest.raises(AssetError, match=r'Reading a bag needs .* no_such_package is not here'):
        handover.hand_over('Reading a bag', 'module', [], ('sys', 'no_such_package'), execute)
    assert not calls
    handover.hand_over('Reading a bag', 'some.module', ['a'], ('json',), execute)
    assert calls == [(sys.executable, [sys.executable, '-m', 'some.module', 'a'])]
