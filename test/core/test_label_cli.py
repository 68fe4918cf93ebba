"""`hwhup label`: packages go out and come back without losing a flag; ranking, refusals, and one real automatic run."""

import sys
import types

import cv2
import numpy as np
import pytest

from hwhup_core.body.joints import SLP_14
from hwhup_core.cli.label import picture_of
from hwhup_core.cli.main import main
from hwhup_core.data.recording_card import RecordingCard
from hwhup_core.data.recording_writer import RecordingWriter
from hwhup_core.labeling.labels import FrameLabel, LabelStore
from hwhup_core.labeling.rank import read_ranking
from hwhup_core.synthetic.stream import CribStream, StreamConfig
from hwhup_core.types import Frame, Intrinsics

CAMERA = Intrinsics(50.0, 50.0, 32.0, 24.0, 64, 48)
COUNT = 5
FILES = {'coco': 'person_keypoints.json', 'cvat': 'annotations.xml', 'label-studio': 'tasks.json'}


def write_recording(folder, color='png'):
    rng = np.random.default_rng(0)
    privacy = 'full' if color != 'none' else 'no_color'
    with RecordingWriter(
        folder, RecordingCard('c', 'o', CAMERA, color=color, privacy=privacy), sync_every=99
    ) as writer:
        for i in range(COUNT):
            picture = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) if color != 'none' else None
            depth = (1 + rng.integers(0, 500, (48, 64)) / 1000).astype(np.float32)
            writer.write(Frame(i + 1, 'o', color=picture, depth=depth, intrinsics=CAMERA), {})
    return folder


def put_labels(folder):
    """Label all frames but the last; of each some joints are unlabelled and some occluded."""
    rng = np.random.default_rng(1)
    store = LabelStore(folder)
    for i in range(COUNT - 1):
        labelled = rng.random(14) < 0.8
        visible = labelled & (rng.random(14) < 0.6)
        pixels = np.where(labelled[:, None], rng.uniform(1, 47, (14, 2)), 0.0)
        confidence = labelled.astype(float)
        store.put(FrameLabel(f'{i:06d}', SLP_14, pixels, labelled, visible.astype(float), confidence, 'automatic'))
    return LabelStore(folder).current()


@pytest.mark.parametrize('form', list(FILES))
def test_no_flag_is_lost_on_the_way_out_and_in(form, tmp_path, capsys):
    folder = write_recording(tmp_path / 'r')
    before = put_labels(folder)
    assert main(['label', 'export', str(folder), str(tmp_path / 'out'), '--format', form]) == 0
    assert main(['label', 'import', str(folder), str(tmp_path / 'out' / FILES[form])]) == 0
    occluded = sum(int((label.labelled & (label.visible == 0)).sum()) for label in before.values())
    assert f'{occluded} of them occluded' in capsys.readouterr().out
    after = LabelStore(folder).current()
    assert set(after) == set(before)
    for frame, label in before.items():
        assert after[frame].source == 'imported'
        found = {
            name: (*xy, seen) for name, xy, seen in zip(after[frame].joints, after[frame].pixels, after[frame].visible)
        }
        wanted = {
            name: (*xy, seen)
            for name, xy, seen, known in zip(label.joints, label.pixels, label.visible, label.labelled)
            if known
        }
        assert set(found) == set(wanted)
        for name, values in wanted.items():
            np.testing.assert_allclose(found[name], values, atol=2e-3)


def test_all_also_exports_frames_without_a_label(tmp_path):
    folder = write_recording(tmp_path / 'r')
    put_labels(folder)
    assert main(['label', 'export', str(folder), str(tmp_path / 'some'), '--format', 'coco']) == 0
    assert main(['label', 'export', str(folder), str(tmp_path / 'all'), '--format', 'coco', '--all']) == 0
    counts = [len(list((tmp_path / name / 'images').iterdir())) for name in ('some', 'all')]
    assert counts == [COUNT - 1, COUNT]


def test_without_colour_the_depth_is_drawn(tmp_path):
    folder = write_recording(tmp_path / 'r', color='none')
    put_labels(folder)
    assert main(['label', 'export', str(folder), str(tmp_path / 'out'), '--format', 'cvat']) == 0
    picture = cv2.imread(str(tmp_path / 'out' / 'images' / '000000.png'))
    assert picture.shape == (48, 64, 3)
    assert picture.std() > 10


def test_near_is_bright_and_holes_are_black():
    depth = np.linspace(1, 2, 48 * 64, dtype=np.float32).reshape(48, 64)
    depth[0, 0] = 0
    grey = picture_of(Frame(1, 'o', depth=depth, intrinsics=CAMERA))[..., 0]
    assert grey[0, 0] == 0
    assert grey[0, 1] > grey[24, 0] > grey[47, 63] > 0


def test_wrong_input_is_refused(tmp_path, capsys):
    folder = write_recording(tmp_path / 'r')
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'a').touch()
    for arguments, words in (
        (['export', str(folder), str(tmp_path / 'out'), '--format', 'coco'], 'has no label'),
        (['export', str(folder), str(tmp_path / 'full'), '--format', 'coco'], 'not an empty folder'),
        (['import', str(folder), str(tmp_path / 'none.json')], 'Cannot read'),
        (['rank', str(tmp_path / 'full')], 'is no recording'),
        (['rank', str(folder), '--count', '0'], '--count'),
        (['auto', str(folder), '--limit', '0'], '--limit'),
    ):
        assert main(['label', *arguments]) == 2
        assert words in capsys.readouterr().err


def test_rank_prints_and_writes_the_order(tmp_path, capsys):
    folder = write_recording(tmp_path / 'r')
    put_labels(folder)
    assert main(['label', 'rank', str(folder), '--count', '2']) == 0
    printed = capsys.readouterr().out.splitlines()
    order = read_ranking(folder)
    assert len(order) == COUNT
    assert [line.split()[1] for line in printed[1:3]] == order[:2]


def test_auto_labels_a_crib_and_does_not_do_it_twice(tmp_path, capsys):
    stream = CribStream(StreamConfig(), 3, infant_seed=17)
    with RecordingWriter(tmp_path / 'r', RecordingCard('c', StreamConfig().frame_id, stream.intrinsics)) as writer:
        writer.write(stream.frame(1, 3.0)[0], {})
    assert main(['label', 'auto', str(tmp_path / 'r'), '--visnet', 'none']) == 0
    assert 'labelled        1' in capsys.readouterr().out
    assert LabelStore(tmp_path / 'r').usable()['000000'].mask == 'masks/000000.png'
    assert main(['label', 'auto', str(tmp_path / 'r'), '--visnet', 'none']) == 0
    assert 'skipped         1' in capsys.readouterr().out


def test_review_hands_over(tmp_path, monkeypatch):
    folder = write_recording(tmp_path / 'r')
    calls = []
    server = types.ModuleType('review_server')
    server.serve_review = lambda *given: calls.append(given)
    monkeypatch.setitem(sys.modules, 'hwhup_core.labeling.review_server', server)
    assert main(['label', 'review', str(folder), '--port', '0', '--no-browser']) == 0
    assert [call[:3] for call in calls] == [(folder, 0, False)]
