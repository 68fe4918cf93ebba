"""Human3.6M in SPIN's and HW-HuP's npz layout: names, protocols, every n-th frame."""

import cv2
import numpy as np
import pytest

from hwhup_core.body.joints import SPIN_24
from hwhup_core.data.h36m import FRONTAL_CAMERA, parse_name, read_h36m
from hwhup_core.data.sample import BadSamples
from hwhup_core.errors import AssetError, ConfigError

CAMERAS = ('54138969', '55011271', '58860488', '60457274')


def names(frames=(1, 6, 51)):
    """Return pictures of two takes by all cameras."""
    return [
        f'images/{subject}_{action}.{camera}_{frame:06d}.jpg'
        for subject, action in (('S9', 'Directions_1'), ('S11', 'WalkingDog'))
        for camera in CAMERAS
        for frame in frames
    ]


def write(file, pictures, **more):
    """Write what SPIN's extractor writes; the 3D joints of a row are its number in millimetres."""
    count = len(pictures)
    joints = np.ones((count, 24, 4)) * (np.arange(count)[:, None, None] / 1000)
    joints[:, SPIN_24.index('pelvis'), :3] = 0
    joints[:, :, 3] = 1
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        file, imgname=np.array(pictures), center=np.full((count, 2), 24.0), scale=np.full(count, 0.2), S=joints,
        part=np.ones((count, 24, 3)), **more,
    )  # fmt: skip


def test_names_are_parsed():
    assert vars(parse_name('S9_Directions_1.54138969_000001.jpg')) == {
        'subject': 'S9', 'action': 'Directions', 'camera': '54138969', 'frame': 1,
    }  # fmt: skip
    assert parse_name('images/S1_SittingDown 2.60457274_001251').action == 'SittingDown'
    assert parse_name('S11_Walking.60457274_000051#2').frame == 51
    assert {parse_name(f'S5_{name}.1_000001.jpg').action for name in ('TakingPhoto', 'Photo_1')} == {'Photo'}
    with pytest.raises(AssetError, match='expected such as S9_Directions_1'):
        parse_name('S9_Directions.jpg')


def test_tags_joints_and_pictures(tmp_path):
    write(tmp_path / 'h36m_valid_protocol1.npz', names())
    picture = tmp_path / 'images' / 'S11_WalkingDog.54138969_000006.jpg'
    picture.parent.mkdir()
    cv2.imwrite(str(picture), np.full((40, 50, 3), 90, np.uint8))
    dataset = read_h36m(tmp_path, BadSamples())
    assert (dataset.kind, dataset.folder, len(dataset)) == ('h36m', tmp_path, 24)
    sample = dataset.samples[13]
    assert sample.tags == {'subject': 'S11', 'action': 'WalkDog', 'camera': '54138969', 'split': 'test'}
    assert sample.joints_3d.centred
    assert sample.joints_3d.names == SPIN_24
    np.testing.assert_allclose(sample.joints_3d.positions[0], 0.013)
    assert sample.load().color.shape == (40, 50, 3)
    with pytest.raises(AssetError, match=r'S9_Directions_1\.54138969_000001\.jpg'):
        dataset.samples[0].load()


def test_protocols_and_steps(tmp_path):
    write(tmp_path / 'dataset_extras' / 'h36m_valid_protocol1.npz', names())
    frontal = read_h36m(tmp_path, BadSamples(), protocol='p2')
    assert {sample.tags['camera'] for sample in frontal} == {FRONTAL_CAMERA}
    assert len(frontal) == 6
    coarse = read_h36m(tmp_path, BadSamples(), every=50)
    assert [sample.name[-6:] for sample in coarse] == ['000001', '000051'] * 8
    assert len(read_h36m(tmp_path, BadSamples(), every=5)) == 24
    with pytest.raises(ConfigError, match='Every 0 frames'):
        read_h36m(tmp_path, BadSamples(), every=0)


def test_the_protocols_own_file_is_preferred(tmp_path):
    write(tmp_path / 'h36m_valid_vis_2.npz', names((1,)))
    write(tmp_path / 'h36m_train.npz', names((1, 2)))
    assert len(read_h36m(tmp_path, BadSamples())) == 8
    assert len(read_h36m(tmp_path, BadSamples(), protocol='p2')) == 2
    train = read_h36m(tmp_path, BadSamples(), split='train')
    assert (len(train), train.samples[0].tags['split']) == (16, 'train')
    write(tmp_path / 'h36m_valid_protocol2.npz', [name for name in names() if FRONTAL_CAMERA in name])
    assert len(read_h36m(tmp_path, BadSamples(), protocol='p2')) == 6


def test_what_hwhup_adds_is_read(tmp_path):
    pictures = names((1,))[:1]
    seen = np.zeros((1, 24))
    seen[0, :3] = 1
    write(
        tmp_path / 'h36m_valid_vis_2.npz', pictures, vis=seen, S_dp=np.zeros((1, 24, 4)),
        depthname=np.array(['depth/a.npy']),
    )  # fmt: skip
    picture = tmp_path / pictures[0]
    picture.parent.mkdir()
    cv2.imwrite(str(picture), np.full((40, 50, 3), 90, np.uint8))
    (tmp_path / 'depth').mkdir()
    np.save(tmp_path / 'depth' / 'a.npy', np.full((40, 50), 4321.0))
    sample = read_h36m(tmp_path, BadSamples()).samples[0]
    assert sample.keypoints.visible[25:29].tolist() == [1, 1, 1, 0]
    np.testing.assert_allclose(sample.load().depth, 4.321, rtol=1e-6)


def test_what_is_wrong_is_named(tmp_path):
    with pytest.raises(AssetError, match=r'None of h36m_valid_protocol1\.npz'):
        read_h36m(tmp_path, BadSamples())
    write(tmp_path / 'h36m_valid_protocol1.npz', [*names((1,)), 'images/COCO_000001.jpg'])
    with pytest.raises(AssetError, match=r'COCO_000001 is no name of Human3\.6M'):
        read_h36m(tmp_path, BadSamples())
    bad = BadSamples(skip=True)
    assert len(read_h36m(tmp_path, bad)) == 8
    assert bad.reasons == {'unknown name': 1}
    write(tmp_path / 'other.npz', [f'S9_Posing.{FRONTAL_CAMERA}_000002.jpg'])
    with pytest.raises(AssetError, match='no frame of p1 at every 50'):
        read_h36m(tmp_path, BadSamples(), every=50, file=tmp_path / 'other.npz')
    np.savez(tmp_path / 'h36m_train.npz', imgname=np.array(names()), center=np.zeros((1, 2)), scale=np.ones(24))
    with pytest.raises(AssetError, match=r'h36m_train\.npz: `center` is \(1, 2\)'):
        read_h36m(tmp_path, BadSamples(), split='train')


def test_an_npz_of_python_objects_is_refused(tmp_path):
    file = tmp_path / 'h36m_train.npz'
    np.savez(file, imgname=np.array([{}], dtype=object), center=np.zeros((1, 2)), scale=np.ones(1))
    with pytest.raises(AssetError, match=r'h36m_train\.npz cannot be read'):
        read_h36m(tmp_path, BadSamples(), split='train')
