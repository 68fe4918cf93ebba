"""MPII: a miniature of the published .mat and of the widespread JSON, every way MATLAB squeezes, and damage."""

import json
import logging

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from hwhup_core.body.joints import MPII_16
from hwhup_core.data.mpii import read_mpii
from hwhup_core.data.sample import BadSamples
from hwhup_core.errors import AssetError


def point(number, x, y, **more):
    return {'x': float(x), 'y': float(y), 'id': number, **more}


def matlab(records):
    """Return a MATLAB struct array of dicts; what a record lacks is empty, as MATLAB fills it."""
    names = list(dict.fromkeys(name for record in records for name in record))
    array = np.zeros((1, len(records)), dtype=[(name, object) for name in names])
    for column, record in enumerate(records):
        for name in names:
            array[0, column][name] = record.get(name, np.zeros((0, 0)))
    return array


def rectangle(points, **more):
    return {
        'x1': 10, 'y1': 20, 'x2': 30, 'y2': 40,
        'annopoints': matlab([{'point': matlab(points)}]) if points else np.zeros((0, 0)),
        'scale': 0.4, 'objpos': matlab([{'x': 51, 'y': 61}]), **more,
    }  # fmt: skip


WHOLE = [point(number, 40 + number, 50 + 2 * number, is_visible=number % 2) for number in range(16)]
SINGLE = [point(9, 51, 41)]
CHARACTERS = [point(0, 31, 41, is_visible='1'), point(1, 33, 43, is_visible='0'), point(9, 35, 45)]


def write_picture(path, width=120, height=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width, 3), (10, 20, 200), np.uint8))


def write_release(folder, pictures, training=None):
    """Write pictures (name -> list of rectangles) in the published layout."""
    annolist = [
        {'image': matlab([{'name': name}]), 'annorect': matlab(people) if people else np.zeros((0, 0)), 'vididx': 1}
        for name, people in pictures.items()
    ]
    for name in pictures:
        write_picture(folder / 'images' / name)
    release = {
        'annolist': matlab(annolist),
        'img_train': np.array([training or [1] * len(pictures)], np.uint8),
        'version': '12',
        'act': matlab([{'act_name': 'yoga', 'cat_name': f'sport {n}', 'act_id': n} for n in range(len(pictures))]).T,
    }
    savemat(folder / 'mpii_human_pose_v1_u12_1.mat', {'RELEASE': matlab([release])}, do_compression=True)


@pytest.fixture
def published(tmp_path):
    pictures = {
        'a.jpg': [rectangle(WHOLE), rectangle(CHARACTERS)],
        'b.jpg': [rectangle(SINGLE)],
        'c.jpg': [],
        'd.jpg': [rectangle([])],
        'test.jpg': [{'scale': 1.0, 'objpos': matlab([{'x': 5, 'y': 6}])}],
    }
    write_release(tmp_path, pictures, [1, 1, 1, 1, 0])
    return tmp_path


def test_published_people(published):
    bad = BadSamples()
    dataset = read_mpii(published, bad)
    assert (dataset.kind, dataset.joints, len(dataset)) == ('mpii', MPII_16, 3)
    assert [sample.name for sample in dataset] == ['train/a/1', 'train/a/2', 'train/b/1']
    assert bad.reasons == {'unlabelled': 1}
    whole = dataset.samples[0]
    # Pixel 40 counted from 1 has its centre at 39.5.
    np.testing.assert_array_equal(whole.keypoints.pixels, [[39.5 + n, 49.5 + 2 * n] for n in range(16)])
    assert whole.keypoints.labelled.all()
    np.testing.assert_array_equal(whole.keypoints.visible, [n % 2 for n in range(16)])
    assert whole.tags == {'split': 'train', 'action': 'sport 0'}
    frame = whole.load()
    assert frame.color.shape == (100, 120, 3)
    assert frame.color[0, 0, 0] > 150


def test_the_square_is_lowered(published):
    box = read_mpii(published, BadSamples()).samples[0].box
    assert (box.center_x, box.center_y, box.side, box.turn) == (50.5, 60.5 + 15 * 0.4, 80.0, 0.0)


def test_flags_of_every_kind(published):
    _, characters, single = read_mpii(published, BadSamples())
    np.testing.assert_array_equal(characters.keypoints.labelled, [n in (0, 1, 9) for n in range(16)])
    np.testing.assert_array_equal(characters.keypoints.visible[[0, 1, 9, 5]], [1, 0, np.nan, np.nan])
    np.testing.assert_array_equal(single.keypoints.pixels[[9, 0]], [[50.5, 40.5], [0, 0]])


def test_one_picture_with_one_person_of_one_joint(tmp_path):
    write_release(tmp_path, {'a.jpg': [rectangle(SINGLE)]})
    assert read_mpii(tmp_path, BadSamples()).samples[0].keypoints.labelled.sum() == 1


def test_without_a_square_the_joints_give_one(tmp_path):
    person = rectangle([point(0, 21, 31), point(9, 61, 51)])
    del person['scale']
    write_release(tmp_path, {'a.jpg': [person]})
    box = read_mpii(tmp_path, BadSamples()).samples[0].box
    assert (box.center_x, box.center_y) == (40.5, 40.5)
    assert box.side == pytest.approx(48)


def write_converted(folder, entries, split='train'):
    for entry in entries:
        write_picture(folder / 'images' / entry['image'])
    (folder / 'annot').mkdir(exist_ok=True)
    (folder / 'annot' / f'{split}.json').write_text(json.dumps(entries))


def converted(image='a.jpg', **more):
    joints = [[40.0 + n, 50.0 + 2 * n] for n in range(15)] + [[-1.0, -1.0]]
    return {
        'image': image,
        'joints': joints,
        'joints_vis': [1] * 15 + [0],
        'scale': 0.4,
        'center': [51.0, 61.0],
        **more,
    }


def test_converted_people(tmp_path):
    write_converted(tmp_path, [converted(), converted(), converted('b.jpg')])
    write_converted(tmp_path, [converted('v.jpg')], 'valid')
    dataset = read_mpii(tmp_path, BadSamples())
    assert [sample.name for sample in dataset] == ['train/a/1', 'train/a/2', 'train/b/1', 'valid/v/1']
    keypoints = dataset.samples[0].keypoints
    np.testing.assert_array_equal(keypoints.pixels[[0, 14, 15]], [[39.5, 49.5], [53.5, 77.5], [0, 0]])
    assert keypoints.labelled.tolist() == [True] * 15 + [False]
    # `joints_vis` says that there is a label, not that the joint is seen.
    assert np.isnan(keypoints.visible).all()
    box = dataset.samples[0].box
    assert (box.center_x, box.center_y, box.side) == (50.5, 66.5, 80.0)


def test_the_published_file_is_preferred(published):
    write_converted(published, [converted('x.jpg')])
    assert len(read_mpii(published, BadSamples())) == 3
    assert len(read_mpii(published / 'annot' / 'train.json', BadSamples())) == 1


BAD_PEOPLE = {
    'joint_id': rectangle([point(0, 30, 30), point(0, 40, 40)]),
    'flags': rectangle([point(0, 30, 30, is_visible=7)]),
    'not_finite': rectangle([point(0, np.nan, 30)]),
    'swapped_axes': rectangle(
        [point(n, 20 + n, 300 + n) for n in range(4)], scale=0.3, objpos=matlab([{'x': 300, 'y': 20}])
    ),
}


@pytest.mark.parametrize('reason', BAD_PEOPLE)
def test_a_bad_person_is_named_or_skipped(tmp_path, reason):
    write_release(tmp_path, {'a.jpg': [rectangle(WHOLE), BAD_PEOPLE[reason]]})
    with pytest.raises(AssetError, match='train/a/2'):
        read_mpii(tmp_path, BadSamples())
    bad = BadSamples(skip=True)
    assert [sample.name for sample in read_mpii(tmp_path, bad)] == ['train/a/1']
    assert bad.reasons == {reason: 1}


BAD_ENTRIES = {
    'keypoint_count': converted(joints=[[1.0, 2.0]] * 14),
    'not_finite': converted(joints=[[float('nan'), 2.0]] * 16),
    'not_numbers': converted(joints=[['left', 2.0]] * 16),
    'box': converted(center=[1.0]),
}


@pytest.mark.parametrize('reason', BAD_ENTRIES)
def test_a_bad_entry_is_named_or_skipped(tmp_path, reason):
    write_converted(tmp_path, [BAD_ENTRIES[reason], converted('b.jpg')])
    with pytest.raises(AssetError, match='train/a/1'):
        read_mpii(tmp_path, BadSamples())
    bad = BadSamples(skip=True)
    assert len(read_mpii(tmp_path, bad)) == 1
    assert bad.reasons == {reason: 1}


def test_a_missing_picture(published):
    (published / 'images' / 'b.jpg').unlink()
    with pytest.raises(AssetError, match=r'no b\.jpg in .*images'):
        read_mpii(published, BadSamples())
    bad = BadSamples(skip=True)
    assert len(read_mpii(published, bad)) == 2
    assert bad.reasons['missing_picture'] == 1


def test_a_picture_that_stands_twice(tmp_path):
    write_release(tmp_path, {'a.jpg': [rectangle(WHOLE)], 'a.png': [rectangle(WHOLE)]})
    bad = BadSamples(skip=True)
    assert len(read_mpii(tmp_path, bad)) == 1
    assert bad.reasons == {'duplicate_id': 1}


def test_a_truncated_picture(published):
    path = published / 'images' / 'a.jpg'
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(AssetError, match=r'a\.jpg is not a whole picture'):
        read_mpii(published, BadSamples()).samples[0].load()


def test_damaged_files(published):
    path = published / 'mpii_human_pose_v1_u12_1.mat'
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(AssetError, match='not a whole MATLAB file'):
        read_mpii(published, BadSamples())
    savemat(path, {'other': 1})
    with pytest.raises(AssetError, match='no struct RELEASE'):
        read_mpii(published, BadSamples())


def test_other_folders(tmp_path):
    with pytest.raises(AssetError, match='neither mpii_human_pose'):
        read_mpii(tmp_path, BadSamples())
    (tmp_path / 'annot').mkdir()
    (tmp_path / 'annot' / 'train.json').write_text('[{"image": "a.jpg", ')
    with pytest.raises(AssetError, match='not whole JSON'):
        read_mpii(tmp_path, BadSamples())


def test_labels_counted_from_zero_are_suspected(tmp_path, caplog):
    write_release(tmp_path, {'a.jpg': [rectangle([point(0, 0, 30), point(1, 60, 70)])]})
    with caplog.at_level(logging.WARNING):
        read_mpii(tmp_path, BadSamples())
    assert 'counted from 0' in caplog.text
