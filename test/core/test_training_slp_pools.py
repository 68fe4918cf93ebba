"""Pools from folders in SLP's layout: ours and the published one; what cannot be used is named or counted."""

import shutil

import cv2
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from hwhup_core.body.joints import SLP_14
from hwhup_core.body.model import load_body
from hwhup_core.cli.main import main
from hwhup_core.data.slp_files import DEPTH_CAMERA, read_labels
from hwhup_core.errors import AssetError, ConfigError, HwhupError
from hwhup_core.geometry.cameras import rays
from hwhup_core.networks.packing import Modality
from hwhup_core.synthetic.domain import Cover, DomainConfig
from hwhup_core.synthetic.subjects import subject_poses
from hwhup_core.training.domain_pools import weak_pool_of
from hwhup_core.training.observe import ObservationConfig
from hwhup_core.training.pools import join_pools
from hwhup_core.training.slp_pools import dataset_name, split_by_time, split_subjects, weak_pool_from_slp

OBSERVATION = ObservationConfig(picture=48)
BOTH = (Modality.RGB, Modality.DEPTH)
DOMAIN = DomainConfig(poses=2, size=64, modalities=('depth', 'color'), covers=(Cover.NONE, Cover.SHEET))


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Return a folder with two subjects of two poses under two covers."""
    out = tmp_path_factory.mktemp('slp') / 'beds'
    arguments = ['--poses', '2', '--size', '64', '--subjects', '2', '--seed', '7']
    assert main(['synth', str(out), *arguments, '--modalities', 'depth', 'color', '--covers', 'uncover', 'cover1']) == 0
    return out


@pytest.fixture
def beds(made, tmp_path):
    """Return a copy to break; labels are read once a folder, so that each copy has its own."""
    shutil.copytree(made, tmp_path / 'beds')
    return tmp_path / 'beds'


def read(root, skip_bad=False, **options):
    given = {'subjects': None, 'covers': None, 'modalities': BOTH, 'config': OBSERVATION} | options
    return weak_pool_from_slp(root, skip_bad=skip_bad, **given)


def test_our_layout_gives_what_was_sensed(made):
    pool, report = read(made)
    direct = join_pools([
        weak_pool_of(pose, row, 0, OBSERVATION)
        for row, pose in enumerate(
            pose for subject in (1, 2) for pose, _ in subject_poses(DOMAIN, load_body('adult'), 7, subject)
        )
    ])  # fmt: skip
    assert pool.names == direct.names
    assert (report.poses, report.samples, report.left_out) == (4, 8, ())
    assert pool.joints == direct.joints
    np.testing.assert_array_equal(pool.labels.rows, direct.labels.rows)
    # The labels on disk are float32, and so a box may differ by a millionth.
    assert np.abs(pool.pictures.color.astype(int) - direct.pictures.color.astype(int)).max() <= 1
    np.testing.assert_allclose(pool.labels.keypoints, direct.labels.keypoints, atol=1e-4)
    np.testing.assert_array_equal(pool.labels.confidence, direct.labels.confidence)
    # Depth on disk is whole millimetres.
    assert (pool.labels.visibility == direct.labels.visibility).mean() > 0.95
    both = (pool.labels.visibility > 0) & (direct.labels.visibility > 0)
    assert np.median(np.abs(pool.labels.proxies - direct.labels.proxies)[both]) < 0.002
    assert (pool.labels.mask == direct.labels.mask).mean() > 0.95


def test_only_what_is_asked_for_is_read(made):
    pool, report = read(made, subjects=(2,), covers=('cover1',), modalities=(Modality.DEPTH,))
    assert pool.names == ('00002/cover1/000001', '00002/cover1/000002')
    assert pool.pictures.color is None
    assert pool.labels.rows.tolist() == [0, 1]
    assert (report.poses, report.samples) == (2, 2)
    uncovered, _ = read(made, subjects=(2,), covers=('uncover',), modalities=(Modality.DEPTH,))
    np.testing.assert_array_equal(pool.labels.depth, uncovered.labels.depth)
    assert not np.array_equal(pool.pictures.depth, uncovered.pictures.depth)
    assert dataset_name(pool) != dataset_name(uncovered)


def published_lab(root):
    """
    Write one pose as published: colour 576 x 1024, depth 424 x 512 = half the colour's pixels, 60 to the right.

    A ridge as wide as 120 depth pixels lies on a bed at 2.1 m; it is the body.
    """
    folder = root / 'danaLab' / '00001'
    columns = (np.arange(424) - 209.5) / 60
    ridge = np.where(np.abs(columns) < 1, 2.05 - 0.3 * (1 - columns**2), 2.1)
    depth = np.full((512, 424), 2.1)
    depth[120:421] = ridge
    for kind in ('depthRaw', 'RGB'):
        (folder / kind / 'uncover').mkdir(parents=True)
    np.save(folder / 'depthRaw/uncover/000001.npy', np.round(1000 * depth).astype(np.uint16))
    color = np.full((1024, 576, 3), 90, np.uint8)
    assert cv2.imwrite(str(folder / 'RGB/uncover/image_000001.png'), color)
    np.save(folder / 'align_PTr_RGB.npy', np.array([[0.5, 0, 60.0], [0, 0.5, 0], [0, 0, 1]]))
    np.save(folder / 'align_PTr_depth.npy', np.eye(3))
    # Right joints at depth column 160, left ones at 260, in the middle at 210; rows from the feet up.
    place = {'ankle': 410, 'knee': 340, 'hip': 270, 'wrist': 280, 'elbow': 230, 'shoulder': 180}
    spots = []
    for name in SLP_14:
        side, _, part = name.partition('_')
        spot = (160.0 if side == 'right' else 260.0, place[part]) if part in place else (210.0, 160.0)
        spots.append((210.0, 125.0) if name == 'head_top' else spot)
    in_depth = np.array(spots)
    pixels = (in_depth - (60, 0)) * 2
    joints = np.concatenate([pixels + 1, np.zeros((14, 1))], axis=1).T[..., None]
    savemat(folder / 'joints_gt_RGB.mat', {'joints_gt': joints})
    return in_depth, ridge


def test_the_published_layout_is_seen_by_its_depth_camera(tmp_path):
    in_depth, ridge = published_lab(tmp_path)
    pool, report = read(tmp_path)
    assert (report.poses, report.samples) == (1, 1)
    labels = pool.labels
    assert labels.visibility[0, :13].all()
    # Pixels count from 0 in the homography; their centres are at .5.
    expected = rays(DEPTH_CAMERA, in_depth + 0.5) * ridge[in_depth[:, 0].astype(int)][:, None]
    np.testing.assert_allclose(labels.proxies[0, :13], expected[:13], atol=0.02)
    # The mask lies where the ridge is in the colour picture: columns 180 to 420.
    side = 2.0 * 570
    box_left = 300 - side / 2
    columns = np.nonzero(labels.mask[0].any(axis=0))[0] / 48 * side + box_left
    assert 150 < columns.min() < 240
    assert 360 < columns.max() < 450
    assert 0.02 < labels.mask.mean() < 0.3


def break_depth(root, number, change):
    path = root / f'danaLab/00001/depthRaw/uncover/{number:06d}.npy'
    np.save(path, change(np.load(path)))


def occlude(root):
    path = root / 'danaLab/00001/joints_gt_RGB.mat'
    joints = loadmat(path)['joints_gt']
    joints[2, :, 0] = 1
    savemat(path, {'joints_gt': joints})


def unlabel(root):
    path = root / 'danaLab/00001/joints_gt_RGB.mat'
    joints = loadmat(path)['joints_gt']
    joints[:2, :, 0], joints[2, :, 0] = np.nan, 1
    savemat(path, {'joints_gt': joints})


def truncate(root, name):
    path = root / 'danaLab/00001' / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


BAD = {
    'no_visible_joint': occlude,
    'no_joints': unlabel,
    'no_depth': lambda root: break_depth(root, 1, np.zeros_like),
    'empty_mask': lambda root: break_depth(root, 1, lambda depth: np.full_like(depth, 2000)),
    'unreadable': lambda root: truncate(root, 'depthRaw/uncover/000001.npy'),
}


@pytest.mark.parametrize('reason', BAD)
def test_a_pose_that_cannot_be_used_is_named_or_counted(beds, reason):
    BAD[reason](beds)
    with pytest.raises(HwhupError, match='00001/000001 cannot be used'):
        read(beds)
    pool, report = read(beds, skip_bad=True)
    assert report.counts() == {reason: 1}
    assert report.left_out[0].name == '00001/000001'
    assert (report.poses, report.samples) == (3, 6)
    assert pool.labels.rows.tolist() == [0, 0, 1, 1, 2, 2]
    assert '00001/uncover/000001' not in pool.names


def test_a_picture_that_cannot_be_read_is_left_out_alone(beds):
    truncate(beds, 'RGB/cover1/image_000002.png')
    with pytest.raises(HwhupError, match='00001/cover1/000002 cannot be used'):
        read(beds)
    _, report = read(beds, skip_bad=True)
    assert (report.poses, report.samples) == (4, 7)
    assert [(entry.name, entry.reason) for entry in report.left_out] == [('00001/cover1/000002', 'unreadable')]


def test_a_covered_depth_of_holes_is_left_out_alone(beds):
    path = beds / 'danaLab/00002/depthRaw/cover1/000001.npy'
    np.save(path, np.zeros_like(np.load(path)))
    _, report = read(beds, skip_bad=True)
    assert [(entry.name, entry.reason) for entry in report.left_out] == [('00002/cover1/000001', 'no_depth')]


def test_a_subject_without_labels_is_left_out(beds):
    read_labels.cache_clear()
    truncate(beds, 'joints_gt_RGB.mat')
    with pytest.raises(HwhupError, match='00001 cannot be used'):
        read(beds)
    pool, report = read(beds, skip_bad=True)
    assert report.counts() == {'unreadable': 1}
    assert {name[:5] for name in pool.names} == {'00002'}


def test_nothing_usable_is_an_error(beds, tmp_path):
    for subject in (1, 2):
        for number in (1, 2):
            path = beds / f'danaLab/{subject:05d}/depthRaw/uncover/{number:06d}.npy'
            np.save(path, np.zeros_like(np.load(path)))
    with pytest.raises(HwhupError, match=r'None of the frames .* no_depth 4'):
        read(beds, skip_bad=True)
    with pytest.raises(AssetError, match='holds danaLab'):
        read(tmp_path / 'nowhere')


def test_the_last_tenth_is_held_out(made):
    assert split_subjects((1, 2)) == ((1,), (2,))
    assert split_subjects(tuple(range(1, 103))) == (tuple(range(1, 92)), tuple(range(92, 103)))
    assert split_subjects((5,)) == ((5,), ())
    pool, _ = read(made, subjects=(1,))
    first, last = split_by_time(pool)
    assert [name[-6:] for name in first.names] == ['000001'] * 2
    assert [name[-6:] for name in last.names] == ['000002'] * 2
    assert first.labels.rows.tolist() == [0, 0]
    with pytest.raises(ConfigError, match='one usable pose'):
        split_by_time(first)
