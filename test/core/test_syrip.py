"""Infants: SyRIP as published and as merged, MIMM with its depth, and the camera put behind adult weights."""

import json
import logging

import cv2
import numpy as np
import pytest
import torch

from hwhup_core.data.mimm import read_mimm
from hwhup_core.data.sample import BadSamples
from hwhup_core.data.syrip import read_syrip
from hwhup_core.errors import AssetError
from hwhup_core.geometry.cameras import weak_perspective_project
from hwhup_core.networks.infant_camera import rectify_infant_camera
from hwhup_core.types import WeakPerspective

NAMES = [
    'nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear', 'left_shoulder', 'right_shoulder', 'left_elbow',
    'right_elbow', 'left_wrist', 'right_wrist', 'left_hip', 'right_hip', 'left_knee', 'right_knee', 'left_ankle',
    'right_ankle',
]  # fmt: skip


def keypoints(unlabelled=(), flag=None):
    """Return 51 numbers: joint n at (40 + n, 20 + n), seen where n is even."""
    rows = [[0, 0, 0] if n in unlabelled else [40 + n, 20 + n, 2 - n % 2 if flag is None else flag] for n in range(17)]
    return [value for row in rows for value in row]


def annotation(number, image, **more):
    return {
        'id': number, 'image_id': image, 'bbox': [38, 18, 20, 20], 'area': 400, 'iscrowd': 0, 'category_id': 1,
        'keypoints': keypoints(), **more,
    }  # fmt: skip


def write(folder, labels, pictures, images, annotations):
    category = {'id': 1, 'name': 'person', 'supercategory': 'person', 'keypoints': NAMES, 'skeleton': [[16, 14]]}
    (folder / labels).parent.mkdir(parents=True, exist_ok=True)
    (folder / pictures).mkdir(parents=True, exist_ok=True)
    content = {'images': images, 'annotations': annotations, 'categories': [category]}
    (folder / labels).write_text(json.dumps(content))
    for image in images:
        assert cv2.imwrite(str(folder / pictures / image['file_name']), np.full((60, 80, 3), 90, np.uint8))


def image(number, name, **more):
    return {'id': number, 'file_name': name, 'width': 80, 'height': 60, **more}


TRAIN = 'annotations/200R_1000S/person_keypoints_train_infant.json'
VALIDATE = 'annotations/validate500/person_keypoints_validate_infant.json'


@pytest.fixture
def published(tmp_path):
    write(
        tmp_path, TRAIN, 'images/train_infant',
        [image(1, 'train00001.jpg', is_synthetic=False), image(2, 'train10001.jpg', is_synthetic=True)],
        [annotation(1, 1), annotation(2, 2), annotation(3, 2, keypoints=keypoints(unlabelled=[15]))],
    )  # fmt: skip
    write(tmp_path, VALIDATE, 'images/validate_infant', [image(1, 'test0.jpg')], [annotation(1, 1)])
    return tmp_path


def test_published_infants(published):
    bad = BadSamples()
    dataset = read_syrip(published, bad)
    assert [sample.name for sample in dataset] == [
        'train_infant/train00001/1', 'train_infant/train10001/2', 'validate_infant/test0/1',
    ]  # fmt: skip
    assert bad.reasons == {'incomplete_limbs': 1}
    assert [dict(sample.tags) for sample in dataset] == [
        {'split': 'train_infant', 'is_synthetic': 'false'},
        {'split': 'train_infant', 'is_synthetic': 'true'},
        {'split': 'validate_infant'},
    ]
    sample = dataset.samples[0]
    np.testing.assert_array_equal(sample.keypoints.pixels[:2], [[40.5, 20.5], [41.5, 21.5]])
    np.testing.assert_array_equal(sample.keypoints.visible[:2], [1, 0])
    assert (sample.box.center_x, sample.box.center_y, sample.box.side) == (48, 28, 24)
    assert sample.load().color.shape == (60, 80, 3)


def test_those_without_all_limbs_on_demand(published):
    bad = BadSamples()
    assert len(read_syrip(published, bad, complete_limbs=False)) == 4
    assert not bad.reasons


def test_a_face_may_be_hidden(tmp_path):
    write(tmp_path, TRAIN, 'images', [image(1, 'a.jpg')], [annotation(1, 1, keypoints=keypoints(range(5)))])
    dataset = read_syrip(tmp_path, BadSamples())
    assert len(dataset) == 1
    assert dataset.missing == ('annotations/200R_1000S/person_keypoints_validate_infant.json',)


def test_variants_are_not_mixed(published):
    more = 'annotations/200R_0S/person_keypoints_train_infant.json'
    write(published, more, 'images/train_infant', [image(1, 'train00001.jpg')], [annotation(1, 1)])
    assert len(read_syrip(published, BadSamples())) == 3
    assert len(read_syrip(published, BadSamples(), variant='200R_0S')) == 2
    with pytest.raises(AssetError, match='in 200R_0S, 200R_1000S, none in other'):
        read_syrip(published, BadSamples(), variant='other')


def test_flags_that_nobody_set_are_unknown(tmp_path):
    images = [image(number, f'{number}.jpg') for number in range(20)]
    people = [annotation(number, number, keypoints=keypoints(flag=2)) for number in range(20)]
    write(tmp_path, TRAIN, 'images', images, people)
    assert np.isnan(read_syrip(tmp_path, BadSamples()).samples[0].keypoints.visible).all()


def merged_people(count):
    images = [image(number, f'image_{number:05d}.jpg') for number in range(count)]
    return images[::-1], [annotation(number, number) for number in range(count)]


def test_merged_infants_with_one_file(tmp_path):
    write(tmp_path, 'anno_all.json', 'RGB', *merged_people(103))
    dataset = read_syrip(tmp_path, BadSamples())
    assert [sample.tags['split'] for sample in dataset] == ['train'] * 3 + ['valid'] * 100
    assert dataset.samples[2].name == 'train/image_00002/2'


@pytest.mark.parametrize('layout', ['anno_{}.json', 'anno_all/{}.json'])
def test_merged_infants_with_two_files(tmp_path, layout):
    images, people = merged_people(3)
    write(tmp_path, layout.format('train'), 'RGB', images[1:], people[:2])
    write(tmp_path, layout.format('valid'), 'RGB', images[:1], people[2:])
    dataset = read_syrip(tmp_path, BadSamples())
    assert [sample.name for sample in dataset] == ['train/image_00000/0', 'train/image_00001/1', 'valid/image_00002/2']


def test_people_are_linked_by_image_id(tmp_path, caplog):
    images, people = merged_people(2)
    people[0]['id'], people[1]['id'] = 1, 0
    people[0]['keypoints'][0] = 45
    write(tmp_path, 'anno_train.json', 'RGB', images, people)
    with caplog.at_level(logging.WARNING):
        dataset = read_syrip(tmp_path, BadSamples())
    assert dataset.samples[0].name == 'train/image_00000/1'
    assert dataset.samples[0].keypoints.pixels[0, 0] == 45.5
    assert 'of 2 people, 2 have an annotation id that is not their image_id' in caplog.text


def test_other_folders(tmp_path):
    with pytest.raises(AssetError, match='neither annotations/200R_1000S/person_keypoints_train_infant'):
        read_syrip(tmp_path, BadSamples())
    with pytest.raises(AssetError, match='No anno_train'):
        read_mimm(tmp_path, BadSamples())


def mimm_person(number, **more):
    predicted = [[60 + n, 30 + n, 0.9 if n != 1 else 0.4] for n in range(17)]
    solid = [[100.0 + n, -50.0, 0.0 if n == 3 else 1500.0, 1 if n != 4 else 0] for n in range(17)]
    return annotation(
        number, number, **{'pred_keypoints': [v for row in predicted for v in row], '3d_keypoints': solid, **more}
    )


@pytest.fixture
def mimm(tmp_path):
    images = [image(n, f'{n}.png', original_file_name='x', depth_name=f'{n}.npy') for n in range(3)]
    write(tmp_path, 'anno_train.json', 'RGB', images, [mimm_person(n) for n in range(3)])
    (tmp_path / 'depthRaw').mkdir()
    for number in range(3):
        depth = np.full((60, 80), 1500 + number, np.int32)
        depth[0, 0] = 0
        np.save(tmp_path / 'depthRaw' / f'{number}.npy', depth)
    return tmp_path


def test_mimm(mimm):
    sample = read_mimm(mimm, BadSamples()).samples[1]
    frame = sample.load()
    assert frame.depth.dtype == np.float32
    np.testing.assert_allclose([frame.depth[0, 0], frame.depth[5, 5]], [0, 1.501])
    np.testing.assert_array_equal(sample.supervision_depth(), frame.depth)
    # The face is the predicted one where its score is above a half; the rest is labelled.
    np.testing.assert_array_equal(sample.keypoints.pixels[[0, 5]], [[60.5, 30.5], [45.5, 25.5]])
    np.testing.assert_array_equal(sample.keypoints.visible[[0, 1, 5, 6]], [1, np.nan, 0, 1])
    assert sample.keypoints.labelled[:3].tolist() == [True, False, True]
    assert not sample.joints_3d.centred
    np.testing.assert_allclose(sample.joints_3d.positions[2], [0.102, -0.05, 1.5], rtol=1e-6)
    assert sample.joints_3d.confidence.tolist() == [1, 1, 1, 0, 0] + [1] * 12


def test_mimm_of_one_file_trains_on_the_first_834(tmp_path):
    images = [image(n, f'{n}.jpg') for n in range(836)]
    write(
        tmp_path, 'anno_all.json', 'RGB', images[:1] + images[830:], [annotation(n, n) for n in (0, *range(830, 836))]
    )
    assert {sample.tags['split'] for sample in read_mimm(tmp_path, BadSamples())} == {'train'}
    content = json.loads((tmp_path / 'anno_all.json').read_text())
    content['images'] = images
    (tmp_path / 'anno_all.json').write_text(json.dumps(content))
    splits = [sample.tags['split'] for sample in read_mimm(tmp_path, BadSamples())]
    assert splits == ['train'] * 5 + ['valid'] * 2


def test_bad_mimm(mimm):
    path = mimm / 'depthRaw' / '0.npy'
    np.save(path, np.zeros((30, 40), np.uint16))
    with pytest.raises(AssetError, match=r'0\.npy is 40x30, its picture 0\.png 80x60'):
        read_mimm(mimm, BadSamples()).samples[0].load()
    np.save(path, np.zeros((60, 80)))
    with pytest.raises(AssetError, match='expected one channel of whole millimetres'):
        read_mimm(mimm, BadSamples()).samples[0].load()
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(AssetError, match='not a whole array'):
        read_mimm(mimm, BadSamples()).samples[0].load()
    path.unlink()
    with pytest.raises(AssetError, match='Copy depthRaw whole'):
        read_mimm(mimm, BadSamples())
    bad = BadSamples(skip=True)
    assert len(read_mimm(mimm, bad)) == 2
    assert bad.reasons == {'missing_depth': 1}


@pytest.mark.parametrize(('key', 'value'), [('3d_keypoints', [[1, 2, 3]] * 17), ('pred_keypoints', [0] * 50)])
def test_bad_mimm_joints(mimm, key, value):
    content = json.loads((mimm / 'anno_train.json').read_text())
    content['annotations'][0][key] = value
    (mimm / 'anno_train.json').write_text(json.dumps(content))
    with pytest.raises(AssetError, match=f'`{key}` has {np.size(value)} numbers, expected 17 x'):
        read_mimm(mimm, BadSamples())


def test_rectified_camera():
    camera = WeakPerspective(torch.tensor([0.9, 0.8]), torch.tensor([[0.1, 0.2], [0.0, 0.0]]))
    rectified = rectify_infant_camera(camera)
    torch.testing.assert_close(rectified.scale, torch.tensor([2.475, 2.2]))
    torch.testing.assert_close(rectified.shift, torch.tensor([[0.1, -0.26], [0.0, -0.46]]))
    # The input is as it was.
    torch.testing.assert_close(camera.shift[0], torch.tensor([0.1, 0.2]))


def test_a_body_of_infant_size_fills_the_crop_as_the_adult_did():
    adult = torch.tensor([[[0.0, -0.5, 0.0], [0.0, 0.5, 0.0]]], dtype=torch.float64)
    camera = WeakPerspective(torch.tensor([0.9]).double(), torch.zeros(1, 2).double())
    infant = adult / 2.75 + torch.tensor([0.0, 0.46, 0.0])
    torch.testing.assert_close(
        weak_perspective_project(infant, rectify_infant_camera(camera)), weak_perspective_project(adult, camera)
    )
