"""`hwhup dataset`: folders are recognised, counted, drawn and converted; wrong ones are refused by name."""

import json
import zipfile

import cv2
import numpy as np
import pytest

from hwhup_core.cli.main import main
from hwhup_core.data.contact_sheet import CAPTION, GAP, HEADER, OCCLUDED, SEEN, TILE, UNKNOWN, Pictured, contact_sheet
from hwhup_core.data.readers import READERS, ReaderOptions, detect_kind, read_dataset
from hwhup_core.data.recording import RecordingCard, check_recording, open_recording
from hwhup_core.data.recording_writer import RecordingWriter
from hwhup_core.data.sample import BadSamples, Keypoints, Sample
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.labeling.labels import FrameLabel, LabelStore
from hwhup_core.types import Frame, Intrinsics, PersonBox

CAMERA = Intrinsics(60.0, 60.0, 24.0, 16.0, 48, 32)
FLAGS = [2, 2, 1, 0, 2, 2, 1, 2, 2, 2, 1, 2, 2, 2, 2, 2, 0]
"""COCO's v of the 17 joints of each person: 12 seen, 3 occluded."""


JOINTS = ['nose', *(f'{side}_{joint}' for joint in ('eye', 'ear', 'shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle')
                    for side in ('left', 'right'))]  # fmt: skip


@pytest.fixture
def coco(tmp_path):
    """Write a folder as COCO publishes it, of three pictures."""
    folder = tmp_path / 'coco'
    (folder / 'annotations').mkdir(parents=True)
    (folder / 'val2017').mkdir()
    images, annotations = [], []
    for number in (1, 2, 3):
        picture = np.random.default_rng(number).integers(0, 256, (80, 100, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / 'val2017' / f'{number:012d}.png'), picture)
        images.append({'id': number, 'file_name': f'{number:012d}.png', 'width': 100, 'height': 80})
        points = [[20.0 + 3 * i, 30.0 + (7 * i) % 20, v] if v else [0, 0, 0] for i, v in enumerate(FLAGS)]
        annotations.append({
            'id': 10 + number, 'image_id': number, 'category_id': 1, 'iscrowd': 0, 'area': 2000.0,
            'bbox': [18.0, 25.0, 55.0, 30.0], 'num_keypoints': 15, 'keypoints': [x for point in points for x in point],
        })  # fmt: skip
    content = {
        'images': images,
        'annotations': annotations,
        'categories': [{'id': 1, 'name': 'person', 'keypoints': JOINTS}],
    }
    (folder / 'annotations' / 'person_keypoints_val2017.json').write_text(json.dumps(content))
    return folder


def record(folder, count=2):
    with RecordingWriter(folder, RecordingCard('c', 'f', CAMERA, color='png')) as writer:
        for i in range(count):
            color = np.full((32, 48, 3), 40 * i, np.uint8)
            writer.write(Frame(i + 1, 'f', color, np.full((32, 48), 1.5, np.float32), intrinsics=CAMERA), {})
    return folder


def test_check_counts_and_draws(coco, tmp_path, capsys):
    assert main(['dataset', 'check', str(coco), '--sheet', str(tmp_path / 'out' / 'sheet.png'), '--count', '2']) == 0
    said = capsys.readouterr().out
    assert 'coco, 3 samples, 17 joints' in said
    assert '45 joints: 36 seen, 9 occluded, 0 of unknown' in said
    assert 'read those of 2 of 3 samples: color 2; 100x80 (2)' in said
    assert '0 boxes and 0 joints outside the picture, 2 without camera' in said
    assert 'train2017' in said
    assert cv2.imread(str(tmp_path / 'out' / 'sheet.png')).shape == (HEADER + TILE + CAPTION + GAP, 560, 3)


def test_a_broken_picture_is_wrong_or_left_out(coco, capsys):
    path = coco / 'val2017' / '000000000002.png'
    path.write_bytes(path.read_bytes()[:100])
    assert main(['dataset', 'check', str(coco)]) == 2
    assert '000000000002.png' in capsys.readouterr().err
    assert main(['dataset', 'check', str(coco), '--skip-bad']) == 1
    said = capsys.readouterr().out
    assert 'left out: 1 unreadable' in said
    assert '000000000002.png' in said
    # Two of the three are looked at, and the broken one is not among them, unless all are.
    codes = [main(['dataset', 'check', str(coco), '--count', '1', '--seed', str(seed)]) for seed in range(8)]
    assert set(codes) == {0, 2}
    assert main(['dataset', 'check', str(coco), '--count', '1', '--all', '--skip-bad']) == 1


def test_labels_without_flags_need_a_word(coco, capsys):
    path = coco / 'annotations' / 'person_keypoints_val2017.json'
    content = json.loads(path.read_text())
    for each in content['annotations']:
        each['keypoints'] = [x for i, x in enumerate(each['keypoints']) if i % 3 != 2]
    path.write_text(json.dumps(content))
    assert main(['dataset', 'check', str(coco)]) == 2
    assert 'assume-visible' in capsys.readouterr().err.replace('_', '-')
    assert main(['dataset', 'check', str(coco), '--assume-visible']) == 0
    assert '45 seen, 0 occluded' in capsys.readouterr().out


def test_to_a_recording_to_spin_and_back(coco, tmp_path, capsys):
    assert main(['dataset', 'convert', str(coco), str(tmp_path / 'r'), '--to', 'recording']) == 0
    assert check_recording(tmp_path / 'r').ok
    assert open_recording(tmp_path / 'r').card.intrinsics is None
    assert main(['dataset', 'convert', str(tmp_path / 'r'), str(tmp_path / 's'), '--to', 'spin-npz']) == 0
    assert main(['dataset', 'convert', str(tmp_path / 's'), str(tmp_path / 't'), '--to', 'recording', '--jpeg']) == 0
    capsys.readouterr()
    for name, kind in (('r', 'recording'), ('s', 'spin_npz'), ('t', 'recording')):
        assert detect_kind(tmp_path / name) == kind
        assert main(['dataset', 'check', str(tmp_path / name)]) == 0
        assert '45 joints: 36 seen, 9 occluded, 0 of unknown' in capsys.readouterr().out
    assert len(list((tmp_path / 't' / 'frames').glob('*.jpg'))) == 3
    assert main(['dataset', 'convert', str(coco), str(tmp_path / 'r'), '--to', 'recording']) == 2
    assert 'not empty' in capsys.readouterr().err


def test_converting_in_part(coco, tmp_path, capsys):
    (coco / 'val2017' / '000000000003.png').write_bytes(b'no picture')
    assert main(['dataset', 'convert', str(coco), str(tmp_path / 'r'), '--to', 'recording', '--skip-bad']) == 1
    assert 'wrote 2 of 3 samples' in capsys.readouterr().out
    assert [sample.name for sample in read_dataset(tmp_path / 'r')] == [
        'val2017/000000000001/11',
        'val2017/000000000002/12',
    ]


def test_a_recording_without_and_with_labels(tmp_path, capsys):
    folder = record(tmp_path / 'r')
    assert main(['dataset', 'check', str(folder), '--sheet', str(tmp_path / 'sheet.png')]) == 0
    assert 'recording, 2 samples, 0 joints' in capsys.readouterr().out
    label = FrameLabel(
        '000001', ('nose', 'left_wrist'), np.array([[3.0, 4.0], [5.0, 6.0]]), np.array([True, True]),
        np.array([1.0, 0.0]), np.ones(2), 'manual',
    )  # fmt: skip
    LabelStore(folder).put(label)
    assert main(['dataset', 'check', str(folder)]) == 0
    assert '2 joints: 1 seen, 1 occluded' in capsys.readouterr().out
    (folder / 'frames' / '000000.depth.png').unlink()
    assert main(['dataset', 'check', str(folder)]) == 2
    assert '000000.depth.png' in capsys.readouterr().err
    assert main(['dataset', 'check', str(folder), '--skip-bad']) == 1


def layout(folder, *names):
    """Make empty files and, with a slash at the end, folders."""
    for name in names:
        path = folder / name
        (path if name.endswith('/') else path.parent).mkdir(parents=True, exist_ok=True)
        if name.endswith('.npz'):
            with zipfile.ZipFile(path, 'w') as archive:
                for key in ('imgname', 'center', 'scale'):
                    archive.writestr(f'{key}.npy', b'')
        elif not name.endswith('/'):
            path.touch()
    return folder


@pytest.mark.parametrize(
    ('names', 'kind'),
    [
        (['danaLab/'], 'slp'),
        (['simLab/'], 'slp'),
        (['annotations/200R_1000S/person_keypoints_train_infant.json'], 'syrip'),
        (['annotations/person_keypoints_train_infant.json'], 'syrip'),
        (['anno_all/train.json', 'RGB/'], 'syrip'),
        (['anno_train.json', 'depthRaw/'], 'mimm'),
        (['annotations/person_keypoints_val2017.json'], 'coco'),
        (['mpii_human_pose_v1_u12_1.mat'], 'mpii'),
        (['annot/valid.json'], 'mpii'),
        (['h36m_valid_protocol1.npz'], 'h36m'),
        (['dataset_extras/h36m_train.npz'], 'h36m'),
        (['sequenceFiles/'], '3dpw'),
        (['3dpw_test.npz'], '3dpw'),
        (['lsp_dataset_test.npz'], 'spin_npz'),
        (['recording.yaml'], 'recording'),
    ],
)
def test_folders_are_recognised(tmp_path, names, kind):
    assert detect_kind(layout(tmp_path / 'd', *names)) == kind


@pytest.mark.parametrize(
    ('file', 'kind', 'picture', 'split'),
    [
        ('h36m_train.npz', 'h36m', 'images/S1_Walking.54138969_000001.png', 'train'),
        ('h36m_valid_protocol1.npz', 'h36m', 'images/S9_Directions_1.60457274_000001.png', 'test'),
        ('3dpw_validation.npz', '3dpw', 'imageFiles/courtyard_00/image_00000.png', 'validation'),
        ('own.npz', 'spin_npz', 'a.png', 'test'),
    ],
)
def test_every_npz_goes_to_its_reader(tmp_path, capsys, file, kind, picture, split):
    (tmp_path / picture).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(tmp_path / picture), np.zeros((20, 30, 3), np.uint8))
    np.savez(
        tmp_path / file, imgname=np.array([picture]), center=np.array([[15.0, 10.0]]), scale=np.array([0.1]),
        part=np.ones((1, 24, 3)), S=np.ones((1, 24, 4)), pose=np.zeros((1, 72)), shape=np.zeros((1, 10)),
    )  # fmt: skip
    assert main(['dataset', 'check', str(tmp_path), '--split', split, '--images', str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f'{kind}, 1 samples' in said
    assert 'color 1; 30x20 (1)' in said


def test_files_are_recognised(tmp_path):
    layout(tmp_path, 'any.npz', 'labels.json', 'annot/train.json', 'mpii_human_pose_v1_u12_1.mat')
    kinds = {path: detect_kind(tmp_path / path) for path in ('any.npz', 'labels.json', 'annot/train.json')}
    assert kinds == {'any.npz': 'spin_npz', 'labels.json': 'coco', 'annot/train.json': 'mpii'}
    assert detect_kind(tmp_path / 'mpii_human_pose_v1_u12_1.mat') == 'mpii'


def test_unknown_and_ambiguous_folders(tmp_path, capsys):
    with pytest.raises(AssetError) as caught:
        detect_kind(layout(tmp_path / 'a', 'holiday.txt'))
    assert all(reader.looks_for in str(caught.value) for reader in READERS.values())
    both = layout(tmp_path / 'b', 'danaLab/', 'annotations/person_keypoints_val2017.json')
    with pytest.raises(AssetError, match=r'slp or coco.*--format'):
        detect_kind(both)
    with pytest.raises(AssetError, match='There is no'):
        detect_kind(tmp_path / 'c')
    with pytest.raises(ConfigError, match='no split'):
        read_dataset(tmp_path, 'h36m', BadSamples(), ReaderOptions(split='holiday'))
    assert main(['dataset', 'check', str(both), '--format', 'cocoa']) == 2
    assert 'coco, mpii' in capsys.readouterr().err


def test_marks_have_the_colours_of_the_legend():
    pixels = np.array([[20.0, 50.0], [50.0, 50.0], [80.0, 50.0], [50.0, 80.0]])
    keypoints = Keypoints(pixels, np.array([True, True, True, False]), np.array([1.0, 0.0, np.nan, 1.0]))
    picture = np.full((100, 100, 3), 128, np.uint8)
    sample = Sample('long/' * 20 + 'name', lambda: Frame(0, ''), keypoints, PersonBox(50.0, 50.0, 80.0))
    sheet = contact_sheet([Pictured(sample, Frame(0, 'x', picture))], ('a', 'b', 'c', 'd'), 'title ' * 50)
    tile = sheet[HEADER : HEADER + TILE, GAP : GAP + TILE]

    def colours_at(x, y):
        # What is shown is 100 pixels wide, and the whole picture.
        column, row = round(x * TILE / 100), round(y * TILE / 100)
        return {tuple(map(int, each)) for each in tile[row - 8 : row + 9, column - 8 : column + 9].reshape(-1, 3)}

    assert SEEN in colours_at(20, 50)
    assert OCCLUDED in colours_at(50, 50)
    assert UNKNOWN in colours_at(80, 50)
    assert not colours_at(50, 80) & {SEEN, OCCLUDED, UNKNOWN}
    # The ring is hollow.
    assert tuple(tile[TILE // 2, TILE // 2]) == (128, 128, 128)
