"""COCO key points: a miniature as published, files of other tools, what is written is read, and damage is named."""

import dataclasses
import json
import logging

import cv2
import numpy as np
import pytest

from hwhup_core.body.joints import COCO_17
from hwhup_core.data.coco import read_coco
from hwhup_core.data.coco_writer import CocoWriter, LabelledPicture, write_coco
from hwhup_core.data.sample import BadSamples, Keypoints
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.types import PersonBox

NAMES = [
    'nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder', 'right_shoulder', 'left_elbow',
    'right_elbow', 'left_wrist', 'right_wrist', 'left_hip', 'right_hip', 'left_knee', 'right_knee', 'left_ankle',
    'right_ankle',
]  # fmt: skip
SIZE = 200, 100
"""Width and height of the pictures: a joint at x = 150 lies outside when x and y are swapped."""


def rows():
    """Return x, y, v of a person whose joints have all three flags."""
    return [[100 + 3 * n, 20 + 2 * n, 2 - n % 3] if n % 3 < 2 else [0, 0, 0] for n in range(17)]


def annotation(number, image, **more):
    values = [value for row in rows() for value in row]
    return {
        'id': number, 'image_id': image, 'category_id': 1, 'iscrowd': 0, 'keypoints': values, 'num_keypoints': 11,
        'bbox': [95.0, 15.0, 60.0, 40.0], 'area': 1200.5, 'segmentation': [[95, 15, 155, 15, 155, 55]], **more,
    }  # fmt: skip


def content():
    """Return a file of two pictures with three people, one without joints and a crowd."""
    return {
        'info': {'year': 2017},
        'licenses': [{'id': 1}],
        'images': [
            {'id': 139, 'file_name': '000000000139.jpg', 'width': SIZE[0], 'height': SIZE[1]},
            {'id': 7, 'file_name': '000000000007.jpg', 'width': SIZE[0], 'height': SIZE[1]},
        ],
        'annotations': [
            annotation(11, 139),
            annotation(12, 7),
            annotation(13, 7, keypoints=[0] * 51, num_keypoints=0),
            annotation(900, 7, iscrowd=1, keypoints=[0] * 51),
            annotation(14, 7),
        ],
        'categories': [
            {'supercategory': 'person', 'id': 1, 'name': 'person', 'keypoints': NAMES, 'skeleton': [[16, 14]]}
        ],
    }


def write(folder, labels, split='val2017', pictures='val2017', size=SIZE):
    path = folder / 'annotations' / f'person_keypoints_{split}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(labels))
    (folder / pictures).mkdir(parents=True, exist_ok=True)
    for image in labels['images']:
        picture = np.full((size[1], size[0], 3), (10, 20, 200), np.uint8)
        assert cv2.imwrite(str(folder / pictures / image['file_name']), picture)
    return path


def many(count, flag=None, numbers=3):
    """Return labels of `count` people, each with this flag (None: as they are) and so many numbers a joint."""
    labels = content()
    values = [[x, y, flag if flag is not None and v else v][:numbers] for x, y, v in rows()]
    flat = [value for row in values for value in row]
    labels['annotations'] = [annotation(number, 139, keypoints=flat) for number in range(1, count + 1)]
    return labels


def test_published_people(tmp_path):
    write(tmp_path, content())
    bad = BadSamples()
    dataset = read_coco(tmp_path, bad)
    assert (dataset.kind, dataset.joints) == ('coco', COCO_17)
    assert dataset.missing == ('annotations/person_keypoints_train2017.json',)
    assert [sample.name for sample in dataset] == [
        'val2017/000000000139/11', 'val2017/000000000007/12', 'val2017/000000000007/14',
    ]  # fmt: skip
    assert bad.reasons == {'unlabelled': 1, 'crowd': 1}
    sample = dataset.samples[0]
    # Pixel 100 counted from 0 has its centre at 100.5.
    np.testing.assert_array_equal(sample.keypoints.pixels[:3], [[100.5, 20.5], [103.5, 22.5], [0, 0]])
    assert sample.keypoints.labelled[:3].tolist() == [True, True, False]
    np.testing.assert_array_equal(sample.keypoints.visible[:3], [1, 0, np.nan])
    # 1.2 times the longer side about the middle; the box counts from the corner and is not shifted.
    assert dataclasses.astuple(sample.box) == pytest.approx((125.0, 35.0, 72.0, 0.0))
    assert sample.tags == {'split': 'val2017'}
    frame = sample.load()
    assert frame.color.shape == (100, 200, 3)
    assert frame.color[0, 0, 0] > 150


@pytest.mark.parametrize('pictures', ['images', 'images/val2017', 'val2017', '.'])
def test_where_pictures_lie(tmp_path, pictures):
    path = write(tmp_path, content(), pictures=pictures)
    for dataset in (
        read_coco(tmp_path, BadSamples()),
        read_coco(path, BadSamples()),
        read_coco(tmp_path, BadSamples(), annotations=path),
    ):
        assert len(dataset) == 3
        dataset.samples[-1].load()


def test_both_splits(tmp_path):
    write(tmp_path, content())
    write(tmp_path, content(), 'train2017', 'train2017')
    dataset = read_coco(tmp_path, BadSamples())
    assert len(dataset) == len({sample.name for sample in dataset}) == 6
    assert dataset.missing == ()


def test_another_order_goes_by_name(tmp_path):
    labels = content()
    labels['categories'][0]['keypoints'] = [name.replace('_', ' ') for name in NAMES[::-1]]
    write(tmp_path, labels)
    pixels = read_coco(tmp_path, BadSamples()).samples[0].keypoints.pixels
    np.testing.assert_array_equal(pixels[COCO_17.index('right_ankle')], [100.5, 20.5])


def test_other_joints_are_refused_by_name(tmp_path):
    labels = content()
    labels['categories'][0]['keypoints'] = [*NAMES[:-1], 'tail']
    write(tmp_path, labels)
    with pytest.raises(AssetError, match=r'lacking: right_ankle; unknown: tail'):
        read_coco(tmp_path, BadSamples())


def test_what_is_no_person_is_passed_over(tmp_path):
    labels = content()
    labels['categories'].append({'id': 3, 'name': 'car'})
    labels['annotations'].append({'id': 50, 'image_id': 7, 'category_id': 3, 'bbox': [1, 2, 3, 4], 'iscrowd': 0})
    write(tmp_path, labels)
    bad = BadSamples()
    assert len(read_coco(tmp_path, bad)) == 3
    assert bad.reasons == {'unlabelled': 1, 'crowd': 1}


def test_without_a_box_the_joints_give_one(tmp_path):
    labels = content()
    del labels['annotations'][0]['bbox']
    write(tmp_path, labels)
    box = read_coco(tmp_path, BadSamples()).samples[0].box
    # Joints 0 to 16 of which 15 and 16 are labelled last: x from 100.5 to 148.5.
    assert (box.center_x, box.center_y, box.side) == (124.5, 36.5, pytest.approx(1.2 * 48))


@pytest.mark.parametrize('flag', [1, 2])
def test_flags_that_nobody_set_are_refused(tmp_path, flag):
    write(tmp_path, many(20, flag))
    with pytest.raises(AssetError, match=r'20 people.*nobody set the flags.*--assume-visible'):
        read_coco(tmp_path, BadSamples())
    # Not a matter of single samples.
    with pytest.raises(AssetError, match='nobody set the flags'):
        read_coco(tmp_path, BadSamples(skip=True))
    keypoints = read_coco(tmp_path, BadSamples(), assume_visible=True).samples[0].keypoints
    np.testing.assert_array_equal(keypoints.visible[:3], [1, 1, np.nan])
    assert keypoints.labelled[:3].tolist() == [True, True, False]


def test_few_people_may_all_be_seen(tmp_path, caplog):
    write(tmp_path, many(19, 2))
    with caplog.at_level(logging.WARNING):
        assert len(read_coco(tmp_path, BadSamples())) == 19
    assert '19 people' in caplog.text


def test_real_flags_stay_when_visible_is_assumed(tmp_path):
    write(tmp_path, many(20))
    keypoints = read_coco(tmp_path, BadSamples(), assume_visible=True).samples[0].keypoints
    np.testing.assert_array_equal(keypoints.visible[:3], [1, 0, np.nan])


def test_two_numbers_a_joint_are_no_flags(tmp_path):
    write(tmp_path, many(2, numbers=2))
    with pytest.raises(AssetError, match='two numbers per key point and so no visibility flags'):
        read_coco(tmp_path, BadSamples())
    keypoints = read_coco(tmp_path, BadSamples(), assume_visible=True).samples[0].keypoints
    np.testing.assert_array_equal(keypoints.pixels[:3], [[100.5, 20.5], [103.5, 22.5], [0, 0]])
    np.testing.assert_array_equal(keypoints.visible[:3], [1, 1, np.nan])


def with_values(change):
    """Return key points after a change of their rows."""
    values = rows()
    change(values)
    return [value for row in values for value in row]


def swapped():
    return [value for x, y, v in rows() for value in (y, x, v)]


BAD_PEOPLE = {
    'keypoint_count': {'keypoints': [1, 2, 2] * 16},
    'not_finite': {'keypoints': with_values(lambda values: values[0].__setitem__(0, float('nan')))},
    'not_numbers': {'keypoints': with_values(lambda values: values[0].__setitem__(0, 'left'))},
    'flags': {'keypoints': with_values(lambda values: values[0].__setitem__(2, 0.87))},
    'unknown_image': {'image_id': 4711},
    'category': {'category_id': 9},
    'duplicate_id': {'id': 11},
    'swapped_axes': {'keypoints': swapped()},
    'outside': {'keypoints': with_values(lambda values: values[0].__setitem__(0, 5000))},
    'box': {'bbox': [10.0, 20.0, 0.0, 0.0]},
}


@pytest.mark.parametrize('reason', BAD_PEOPLE)
def test_a_bad_person_is_named_or_skipped(tmp_path, reason):
    labels = content()
    labels['annotations'][1].update(BAD_PEOPLE[reason])
    path = write(tmp_path, labels)
    with pytest.raises(AssetError, match=rf'{path.name}, annotation 1[12]'):
        read_coco(tmp_path, BadSamples())
    bad = BadSamples(skip=True)
    assert [sample.name[-2:] for sample in read_coco(tmp_path, bad)] == ['11', '14']
    assert bad.reasons == {reason: 1, 'unlabelled': 1, 'crowd': 1}


def test_swapped_axes_are_called_so(tmp_path):
    labels = content()
    labels['annotations'][0]['keypoints'] = swapped()
    write(tmp_path, labels)
    with pytest.raises(AssetError, match=r'outside its picture of 200x100, but would fit with x and y swapped'):
        read_coco(tmp_path, BadSamples())


def test_swapped_axes_show_in_a_square_picture_too(tmp_path):
    labels = content()
    for image in labels['images']:
        image.update(width=200, height=200)
    labels['annotations'][0]['keypoints'] = swapped()
    write(tmp_path, labels, size=(200, 200))
    with pytest.raises(AssetError, match='outside its box, but would fit with x and y swapped'):
        read_coco(tmp_path, BadSamples())


def test_an_image_id_that_stands_twice(tmp_path):
    labels = content()
    labels['images'][1]['id'] = 139
    labels['annotations'] = labels['annotations'][:1]
    write(tmp_path, labels)
    with pytest.raises(AssetError, match='image id 139 stands twice'):
        read_coco(tmp_path, BadSamples())


def test_missing_pictures(tmp_path):
    write(tmp_path, content())
    (tmp_path / 'val2017' / '000000000007.jpg').unlink()
    with pytest.raises(AssetError, match=r'annotation 12: no 000000000007\.jpg in .*val2017'):
        read_coco(tmp_path, BadSamples())
    bad = BadSamples(skip=True)
    assert len(read_coco(tmp_path, bad)) == 1
    assert bad.reasons['missing_picture'] == 2
    (tmp_path / 'val2017' / '000000000139.jpg').unlink()
    with pytest.raises(AssetError, match='None of the 2 pictures'):
        read_coco(tmp_path, BadSamples(skip=True))


@pytest.mark.parametrize('ending', ['.jpg', '.png'])
def test_a_truncated_picture(tmp_path, ending):
    labels = content()
    for image in labels['images']:
        image['file_name'] = image['file_name'].replace('.jpg', ending)
    write(tmp_path, labels)
    path = tmp_path / 'val2017' / f'000000000139{ending}'
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(AssetError, match=rf'000000000139\{ending} is not a whole picture'):
        read_coco(tmp_path, BadSamples()).samples[0].load()


@pytest.mark.parametrize(('size', 'hint'), [((100, 200), 'Width and height are swapped'), ((50, 25), 'not resized')])
def test_a_picture_of_another_size(tmp_path, size, hint):
    write(tmp_path, content(), size=size)
    with pytest.raises(AssetError, match=rf'is {size[0]}x{size[1]}, its labels are for 200x100.*{hint}'):
        read_coco(tmp_path, BadSamples()).samples[0].load()


def test_files_that_are_something_else(tmp_path):
    path = write(tmp_path, content())
    path.write_text(path.read_text()[:-50])
    with pytest.raises(AssetError, match=rf'{path.name} is not whole JSON'):
        read_coco(tmp_path, BadSamples())
    path.write_text('[1, 2]')
    with pytest.raises(AssetError, match='is not a COCO file'):
        read_coco(tmp_path, BadSamples())
    labels = content()
    for person in labels['annotations']:
        del person['keypoints']
    path.write_text(json.dumps(labels))
    with pytest.raises(AssetError, match=r'no key points in its 5 annotations.*person_keypoints'):
        read_coco(tmp_path, BadSamples())
    path.unlink()
    with pytest.raises(AssetError, match=r'No annotations/person_keypoints_\*\.json'):
        read_coco(tmp_path, BadSamples())


BOX = PersonBox(30.25, 20.5, 36.0)


def labelled_picture(name='00001', box=BOX):
    rng = np.random.default_rng(5)
    keypoints = Keypoints(
        rng.uniform(1, 39, (17, 2)).astype(np.float32), np.arange(17) != 4, (np.arange(17) % 2).astype(np.float32)
    )
    return LabelledPicture(rng.integers(0, 255, (40, 60, 3), dtype=np.uint8), keypoints, box, name)


def test_what_is_written_is_read(tmp_path):
    picture = labelled_picture()
    with CocoWriter(tmp_path, 'val', ending='.png') as writer:
        writer.add(picture.color, picture.keypoints, picture.box, picture.name)
    (sample,) = read_coco(tmp_path, BadSamples())
    assert sample.name == 'val/00001/1'
    np.testing.assert_array_equal(sample.load().color, picture.color)
    labelled = picture.keypoints.labelled
    np.testing.assert_array_equal(sample.keypoints.labelled, labelled)
    np.testing.assert_allclose(sample.keypoints.pixels[labelled], picture.keypoints.pixels[labelled], atol=6e-4)
    np.testing.assert_array_equal(sample.keypoints.visible[labelled], picture.keypoints.visible[labelled])
    assert dataclasses.astuple(sample.box) == pytest.approx((30.25, 20.5, 36.0, 0.0), abs=2e-3)


def test_what_is_written_has_cocos_form(tmp_path):
    path = write_coco(tmp_path, [labelled_picture(), labelled_picture('00002', None)])
    plain = json.loads(path.read_text())
    assert path == tmp_path / 'annotations' / 'person_keypoints_train.json'
    assert plain['categories'][0]['keypoints'] == NAMES
    assert [image['file_name'] for image in plain['images']] == ['00001.jpg', '00002.jpg']
    first, second = plain['annotations']
    pixels = labelled_picture().keypoints.pixels
    np.testing.assert_allclose(first['keypoints'][:3], [pixels[0, 0] - 0.5, pixels[0, 1] - 0.5, 1], atol=6e-4)
    assert first['keypoints'][5] == 2
    assert first['keypoints'][12:15] == [0, 0, 0]
    assert first['bbox'] == pytest.approx([30.25 - 15, 20.5 - 15, 30, 30])
    assert (first['area'], first['num_keypoints'], first['iscrowd']) == (900, 16, 0)
    assert second['bbox'][:2] == pytest.approx(np.delete(pixels, 4, axis=0).min(axis=0).tolist(), abs=6e-4)


def test_labels_appear_only_when_all_are_written(tmp_path):
    with pytest.raises(ConfigError, match='taken'):
        write_coco(tmp_path, [labelled_picture(), labelled_picture()])
    with pytest.raises(ZeroDivisionError), CocoWriter(tmp_path, 'val'):
        _ = 1 / 0
    assert not list(tmp_path.rglob('*.json*'))


def test_what_cannot_be_written(tmp_path):
    picture = labelled_picture()
    unknown = Keypoints(picture.keypoints.pixels, np.ones(17, bool), np.full(17, np.nan, np.float32))
    nobody = Keypoints(picture.keypoints.pixels, np.zeros(17, bool), np.full(17, np.nan, np.float32))
    writer = CocoWriter(tmp_path)
    with pytest.raises(ConfigError, match='not known whether it is seen'):
        writer.add(picture.color, unknown, picture.box, 'a')
    with pytest.raises(ConfigError, match='neither a box nor a labelled joint'):
        writer.add(picture.color, nobody, None, 'a')
    writer.add(picture.color, picture.keypoints, picture.box, 'a')
    for name in ('a', '', '../b'):
        with pytest.raises(ConfigError, match='empty, a path or taken'):
            writer.add(picture.color, picture.keypoints, picture.box, name)
    with pytest.raises(ConfigError, match='17 key points, the writer was made for 2'):
        CocoWriter(tmp_path, joints=('nose', 'left_ear')).add(picture.color, picture.keypoints, picture.box, 'b')
    writer.close()
    with pytest.raises(ConfigError, match='is there already'):
        CocoWriter(tmp_path)
