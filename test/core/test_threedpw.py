"""3DPW's sequence files, written as Python 2 wrote them, and SPIN's npz: what is read, and what is refused by name."""

import os
import pickle

import cv2
import numpy as np
import pytest
import torch

from hwhup_core.body.joints import OPENPOSE_18, SMPL_24
from hwhup_core.body.model import load_body
from hwhup_core.data.sample import BadSamples
from hwhup_core.data.threedpw import LEFT_OUT, read_3dpw
from hwhup_core.errors import AssetError
from hwhup_core.geometry.rotations import axis_angle_to_matrix
from hwhup_core.types import BodyParams

FRAMES = 4
NAME = 'downtown_walking_00'


def camera_poses():
    """Return the camera from the world: a quarter turn about x, then a shift that grows by the frame."""
    poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    poses[:, :3, :3] = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    poses[:, :3, 3] = np.arange(FRAMES)[:, None] * [0.1, 0.2, 0.3] + [0, 0, 4]
    return poses


def entries(people=2):
    """Return a sequence: person 0 of known numbers, person 1 whose camera is invalid but for the last frame."""
    rng = np.random.default_rng(3)
    keypoints = np.zeros((FRAMES, 3, 18))
    keypoints[:, :, 1:6] = [[10.0, 20, 30, 40, 50], [15.0, 15, 15, 15, 35], [0.5] * 5]
    keypoints[:, :2, 7] = [1000, 2000]  # Not detected: no confidence.
    valid = [np.ones(FRAMES, dtype=bool), np.arange(FRAMES) == FRAMES - 1]
    return {
        'sequence': NAME,
        'poses': [rng.normal(size=(FRAMES, 72)) * 0.4 for _ in range(people)],
        'betas': [rng.normal(size=300) for _ in range(people)],
        'genders': ['m', 'f'][:people],
        'trans': [rng.normal(size=(FRAMES, 3)) for _ in range(people)],
        'poses2d': [keypoints.copy() for _ in range(people)],
        'jointPositions': [rng.normal(size=(FRAMES, 72)) for _ in range(people)],
        'campose_valid': valid[:people],
        'cam_poses': camera_poses(),
        'cam_intrinsics': np.array([[1900.0, 0, 32], [0, 1901, 24], [0, 0, 1]]),
        'img_frame_ids': np.arange(FRAMES) * 2,
        'texture_maps': [],
    }


def write(root, content, pictures=FRAMES, split='test', name=NAME):
    """Write one sequence in the published layout."""
    folder = root / 'sequenceFiles' / split
    folder.mkdir(parents=True, exist_ok=True)
    raw = pickle.dumps(content, protocol=2).replace(b'numpy._core', b'numpy.core')
    (folder / f'{name}.pkl').write_bytes(raw)
    images = root / 'imageFiles' / name
    images.mkdir(parents=True, exist_ok=True)
    for frame in range(pictures):
        picture = np.full((48, 64, 3), 10 * frame, np.uint8)
        assert cv2.imwrite(str(images / f'image_{frame:05d}.jpg'), picture)
    return root


def test_people_and_frames_in_order(tmp_path):
    bad = BadSamples()
    dataset = read_3dpw(write(tmp_path, entries()), bad)
    assert (dataset.kind, dataset.joints) == ('3dpw', OPENPOSE_18)
    assert [sample.name for sample in dataset] == [
        *(f'test/{NAME}/0/0000{frame}' for frame in range(FRAMES)),
        f'test/{NAME}/1/00003',
    ]
    assert bad.reasons == {LEFT_OUT[0]: 3}
    assert dataset.missing == ('23 of 24 sequence files of test',)
    sample = dataset.samples[2]
    assert sample.tags == {'split': 'test', 'sequence': NAME, 'actor': '0', 'gender': 'male'}
    assert sample.fit_key == sample.name
    assert dataset.samples[-1].body.gender == 'female'


def test_pixels_box_and_camera(tmp_path):
    sample = read_3dpw(write(tmp_path, entries()), BadSamples()).samples[1]
    assert sample.keypoints.labelled.tolist() == [1 <= joint < 6 for joint in range(18)]
    np.testing.assert_allclose(sample.keypoints.pixels[1:6, 0], [10.5, 20.5, 30.5, 40.5, 50.5])
    assert np.isnan(sample.keypoints.visible).all()
    assert (sample.box.center_x, sample.box.center_y) == pytest.approx((30.5, 25.5))
    assert sample.box.side == pytest.approx(1.2 * 40)
    frame = sample.load()
    assert frame.color.shape == (48, 64, 3)
    assert abs(int(frame.color[24, 32, 0]) - 10) <= 2
    camera = frame.intrinsics
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (1900, 1901, 32.5, 24.5)
    assert (camera.width, camera.height) == (64, 48)


def test_joints_are_put_in_the_camera(tmp_path):
    content = entries()
    content['jointPositions'][0][2, :6] = [0, 0, 0, 1, 2, 3]
    joints = read_3dpw(write(tmp_path, content), BadSamples()).samples[2].joints_3d
    assert joints.names == SMPL_24
    assert not joints.centred
    np.testing.assert_allclose(joints.positions[0], [0.2, 0.4, 4.6], atol=1e-6)
    np.testing.assert_allclose(joints.positions[1], [1.2, -3 + 0.4, 2 + 4.6], atol=1e-6)


def posed(body, pose, betas):
    """Return the body of these parameters, one frame."""
    rotations = axis_angle_to_matrix(torch.as_tensor(pose, dtype=torch.float32).reshape(1, 24, 3))
    with torch.no_grad():
        return body(BodyParams(rotations[:, 0], rotations[:, 1:], torch.as_tensor(betas, dtype=torch.float32)[None]))


def test_the_body_in_the_camera_is_the_body_in_the_world_seen_by_it(tmp_path):
    body, content, cameras = load_body('adult'), entries(), camera_poses()
    world = posed(body, content['poses'][0][1], content['betas'][0][:10])
    shift = content['trans'][0][1]
    content['jointPositions'][0][1] = (world.joints[0].numpy() + shift).reshape(72)
    sample = read_3dpw(write(tmp_path, content), BadSamples()).samples[1]
    here = posed(body, sample.body.pose, sample.body.betas).vertices[0].numpy() + sample.body.translation
    expected = (world.vertices[0].numpy() + shift) @ cameras[1, :3, :3].T + cameras[1, :3, 3]
    np.testing.assert_allclose(here, expected, atol=1e-5)


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_a_malicious_sequence_executes_nothing_and_is_refused_by_name(tmp_path):
    witness = tmp_path / 'witness'
    content = entries() | {'texture_maps': [Call(os.mkdir, str(witness))]}
    write(tmp_path, content, name='evil')
    with pytest.raises(AssetError, match=r'evil\.pkl asks for posix\.mkdir.*nothing was executed'):
        read_3dpw(tmp_path, BadSamples())
    assert not witness.exists()
    write(tmp_path, entries())
    bad = BadSamples(skip=True)
    assert len(read_3dpw(tmp_path, bad)) == 5
    assert bad.reasons['unreadable sequence'] == 1
    assert 'evil.pkl' in bad.messages[0]
    assert not witness.exists()


def test_a_list_within_itself_ends_in_an_error(tmp_path):
    content = entries()
    content['betas'] = []
    content['betas'].append(content['betas'])
    with pytest.raises(AssetError, match='betas is for 1 people'):
        read_3dpw(write(tmp_path, content), BadSamples())


def damaged(key, change):
    """Return the entries with one of them changed by a function, or left out for None."""
    content = entries()
    if change is None:
        del content[key]
    else:
        content[key] = change(content[key])
    return content


@pytest.mark.parametrize(
    ('key', 'change', 'message'),
    [
        ('poses', None, "no entry 'poses'"),
        ('poses', lambda value: [v[:, :69] for v in value], r'poses has shape \(4, 69\), expected \(4, 72\)'),
        ('poses', lambda value: value[0], 'poses is a ndarray, expected a list'),
        ('poses2d', lambda value: [v.transpose(0, 2, 1) for v in value], r'poses2d has shape \(4, 18, 3\)'),
        ('trans', lambda value: [v[:2] for v in value], r'trans has shape \(2, 3\), expected \(4, 3\)'),
        ('betas', lambda value: [v[:5] for v in value], 'betas of person 0'),
        ('betas', lambda value: value[:1], 'betas is for 1 people, expected 2'),
        ('genders', lambda value: ['x', 'f'], "genders is 'x', expected one of m, male"),
        ('cam_poses', lambda value: value[:, :3], r'cam_poses has shape \(4, 3, 4\)'),
        ('cam_intrinsics', lambda value: 0 * value, 'expected focal lengths > 0'),
        ('cam_poses', lambda value: 2 * value, 'cam_poses has no rotation'),
        ('sequence', lambda value: 'other', "sequence 'other', expected"),
        ('jointPositions', lambda value: ['text'] * 2, 'jointPositions has type <U4, expected numbers'),
    ],
)
def test_what_is_wrong_is_named(tmp_path, key, change, message):
    with pytest.raises(AssetError, match=message) as caught:
        read_3dpw(write(tmp_path, damaged(key, change)), BadSamples())
    assert NAME in str(caught.value)


@pytest.mark.parametrize('key', ['poses', 'trans', 'jointPositions'])
def test_a_pose_that_is_not_finite_is_one_bad_sample(tmp_path, key):
    content = entries()
    content[key][0][2, 5 % content[key][0].shape[1]] = np.nan
    write(tmp_path, content)
    with pytest.raises(AssetError, match=f'{NAME}/0/00002: pose, trans, .* has NaN'):
        read_3dpw(tmp_path, BadSamples())
    bad = BadSamples(skip=True)
    assert len(read_3dpw(tmp_path, bad)) == 4
    assert bad.reasons['unusable person'] == 1


def test_a_missing_picture_is_named(tmp_path):
    write(tmp_path, entries(), pictures=3)
    with pytest.raises(AssetError, match=r'no picture .*image_00003\.jpg'):
        read_3dpw(tmp_path, BadSamples())
    bad = BadSamples(skip=True)
    assert len(read_3dpw(tmp_path, bad)) == 3
    assert bad.reasons['unusable person'] == 2


def test_a_cut_picture_is_named_when_it_is_loaded(tmp_path):
    dataset = read_3dpw(write(tmp_path, entries()), BadSamples())
    picture = tmp_path / 'imageFiles' / NAME / 'image_00000.jpg'
    picture.write_bytes(picture.read_bytes()[:100])
    with pytest.raises(AssetError, match=r'image_00000\.jpg is not a whole picture'):
        dataset.samples[0].load()


def test_frames_with_few_joints_and_undetected_people_are_left_out(tmp_path):
    content = entries(people=1)
    content['poses2d'][0][0] = 0
    content['poses2d'][0][1, 2, 3:6] = 0
    bad = BadSamples()
    assert len(read_3dpw(write(tmp_path, content), bad)) == 2
    assert bad.reasons == {LEFT_OUT[1]: 2}


def test_a_folder_without_sequences_is_refused(tmp_path):
    with pytest.raises(AssetError, match='Give the folder that holds sequenceFiles'):
        read_3dpw(tmp_path, BadSamples())
    write(tmp_path, entries())
    (tmp_path / 'sequenceFiles' / 'test' / f'{NAME}.pkl').write_bytes(b'\x80\x02}')
    with pytest.raises(AssetError, match='Expected a 3DPW sequence file'):
        read_3dpw(tmp_path, BadSamples())


def test_the_npz_of_spin(tmp_path):
    names = [f'imageFiles/{NAME}/image_0000{frame}.jpg' for frame in (0, 1, 1)]
    rng = np.random.default_rng(1)
    pose = rng.normal(size=(3, 72))
    np.savez(
        tmp_path / '3dpw_test.npz', imgname=np.array(names), center=np.full((3, 2), 30.0), scale=np.full(3, 0.25),
        pose=pose, shape=rng.normal(size=(3, 10)), gender=np.array(['m', 'f', 'f']),
    )  # fmt: skip
    images = tmp_path / 'imageFiles' / NAME
    images.mkdir(parents=True)
    cv2.imwrite(str(images / 'image_00001.jpg'), np.full((48, 64, 3), 80, np.uint8))
    dataset = read_3dpw(tmp_path, BadSamples())
    assert (dataset.kind, len(dataset), len({sample.name for sample in dataset})) == ('3dpw', 3, 3)
    sample = dataset.samples[1]
    assert sample.body.gender == 'female'
    assert sample.tags['sequence'] == NAME
    assert (sample.box.center_x, sample.box.side) == (30.5, 50)
    np.testing.assert_allclose(sample.body.pose, pose[1])
    assert sample.load().color.shape == (48, 64, 3)
