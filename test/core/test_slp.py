"""The layout of SLP: what is written is read, a made-up real subject is warped, and damage is named."""

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from hwhup_core.data.slp import published_split, read_slp
from hwhup_core.data.slp_files import COLOR_CAMERA, DEPTH_CAMERA
from hwhup_core.errors import AssetError

POSES = 2


def write_png(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture)


def write_npy(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


@pytest.fixture
def lab(tmp_path):
    """Return the root of a set with one subject as published: four image sizes and homographies."""
    folder = tmp_path / 'danaLab' / '00003'
    color = np.zeros((1024, 576, 3), np.uint8)
    color[10, 20] = (1, 2, 3)  # Blue, green, red.
    depth = np.zeros((512, 424), np.uint16)
    depth[100, 50] = 2101
    infrared = np.full((160, 120), 300.0)
    for number in range(1, POSES + 1):
        write_png(folder / f'RGB/uncover/image_{number:06d}.png', color)
        write_npy(folder / f'depthRaw/uncover/{number:06d}.npy', depth)
        write_npy(folder / f'IRraw/uncover/{number:06d}.npy', infrared)
        write_npy(folder / f'PMarray/uncover/{number:06d}.npy', np.full((192, 84), 10, np.uint8))
    write_npy(folder / 'PMcali.npy', np.stack([np.full(POSES, 0.5), np.full(POSES, 1.0), np.full(POSES, 2.0)]))
    # PM pixels from each modality's: plain scales and a shift.
    write_npy(folder / 'align_PTr_RGB.npy', 7.0 * np.diag([0.25, 0.25, 1.0]))
    write_npy(folder / 'align_PTr_depth.npy', np.array([[0.5, 0.0, 5.0], [0.0, 0.5, 0.0], [0.0, 0.0, 1.0]]))
    write_npy(folder / 'align_PTr_IR.npy', np.diag([1.0, 1.0, 1.0]))
    joints = np.zeros((3, 14, POSES))
    joints[0], joints[1], joints[2, 4] = 21.0, 11.0, 1.0
    savemat(folder / 'joints_gt_RGB.mat', {'joints_gt': joints})
    return tmp_path


def folder_of(lab):
    return lab / 'danaLab' / '00003'


def test_labels_count_from_one_and_keep_the_flag(lab):
    pose = read_slp(lab).pose(3, 2)
    # Pixel 21 counted from 1 has its centre at 20.5: the very pixel that was marked.
    np.testing.assert_array_equal(pose.pixels[0], [20.5, 10.5])
    assert pose.occluded.tolist() == [k == 4 for k in range(14)]
    column, row = np.floor(pose.pixels[0]).astype(int)
    np.testing.assert_array_equal(pose.color('uncover')[row, column], [3, 2, 1])


def test_published_cameras_without_a_camera_file(lab):
    pose = read_slp(lab).pose(3, 1)
    assert pose.intrinsics == COLOR_CAMERA
    assert pose.depth_intrinsics == DEPTH_CAMERA
    assert pose.depth_intrinsics.cx == pytest.approx(208.6)


def test_depth_lands_where_the_homographies_say(lab):
    pose = read_slp(lab).pose(3, 1)
    depth = pose.depth('uncover')
    assert depth.shape == (1024, 576)
    # Depth (50, 100) -> PM (30, 50) -> RGB (120, 200).
    assert depth[200, 120] == np.float32(2.101)
    assert depth[200, 130] == 0
    assert pose.depth_unwarped('uncover')[100, 50] == np.float32(2.101)
    point = pose.depth_from_color @ (120, 200, 1)
    np.testing.assert_allclose(point[:2] / point[2], [50, 100])


def test_temperature_and_pressure_have_units(lab):
    pose = read_slp(lab).pose(3, 1)
    infrared, pressure = pose.infrared('uncover'), pose.pressure('uncover')
    assert infrared.shape == pressure.shape == (1024, 576)
    np.testing.assert_allclose(infrared, 300.0)
    np.testing.assert_allclose(pressure[:760, :330], 5.0)
    assert pressure[800, 0] == 0  # Beyond the mat.


def test_iteration_and_split(lab):
    poses = read_slp(lab)
    assert len(poses) == POSES
    assert [(pose.subject, pose.number) for pose in poses] == [(3, 1), (3, 2)]
    assert poses.pose(3, 1).covers() == ('uncover',)
    training, test = published_split(poses)
    assert (training.subjects, test.subjects) == ((3,), ())


@pytest.mark.parametrize(
    ('break_it', 'use', 'says'),
    [
        (
            lambda f: (f / 'align_PTr_depth.npy').unlink(),
            lambda p: p.depth('uncover'),
            'align_PTr_depth.npy: the homog',
        ),
        (lambda f: np.save(f / 'align_PTr_depth.npy', np.zeros((3, 3))), lambda p: p.depth('uncover'), 'invertible'),
        (lambda f: cut(f / 'RGB/uncover/image_000001.png'), lambda p: p.color('uncover'), 'not a whole PNG'),
        (lambda f: cut(f / 'depthRaw/uncover/000001.npy'), lambda p: p.depth('uncover'), 'not a whole array'),
        (lambda f: np.save(f / 'depthRaw/uncover/000001.npy', np.zeros(4)), lambda p: p.depth('uncover'), '2 axes'),
        (
            lambda f: np.save(f / 'depthRaw/uncover/000001.npy', np.zeros((4, 4))),
            lambda p: p.depth('uncover'),
            'whole millimetres',
        ),
        (lambda f: np.save(f / 'PMcali.npy', np.zeros((3, 0))), lambda p: p.pressure('uncover'), '3 covers'),
        (lambda f: np.save(f / 'PMcali.npy', np.ones((45, 3))), lambda p: p.pressure('uncover'), 'transpose it'),
        (lambda f: np.save(f / 'PMcali.npy', np.zeros((3, 45))), lambda p: p.pressure('uncover'), 'kPa a count'),
        (
            lambda f: write_png(f / 'RGB/uncover/image_000001.png', np.zeros((576, 1024, 3), np.uint8)),
            lambda p: p.color('uncover'),
            '1024 x 576, expected 576 x 1024. Its axes are swapped',
        ),
        (
            lambda f: np.save(f / 'depthRaw/uncover/000001.npy', np.zeros((424, 512), np.uint16)),
            lambda p: p.depth('uncover'),
            'expected 424 x 512. Its axes are swapped',
        ),
        (
            lambda f: np.save(f / 'IRraw/uncover/000001.npy', np.full((160, 120), 27.0)),
            lambda p: p.infrared('uncover'),
            'median of 27, expected kelvin .* Add 273.15',
        ),
        (
            lambda f: np.save(f / 'IRraw/uncover/000001.npy', np.full((120, 160), 300.0)),
            lambda p: p.infrared('uncover'),
            '160 x 120, expected 120 x 160. Its axes are swapped',
        ),
        (
            lambda f: np.save(f / 'PMarray/uncover/000001.npy', np.zeros((96, 42), np.uint8)),
            lambda p: p.pressure('uncover'),
            'expected 84 x 192. Copy it again, not resized',
        ),
        (lambda f: None, lambda p: p.color('cover1'), 'There is no .*RGB.cover1'),
        (lambda f: None, lambda p: p.color('blanket'), 'Covers are uncover'),
    ],
)
def test_damage_is_named(lab, break_it, use, says):
    break_it(folder_of(lab))
    with pytest.raises(AssetError, match=says):
        use(read_slp(lab).pose(3, 1))


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def swapped(f):
    """Put all joints where they lie outside the upright picture, and inside with x and y swapped."""
    joints = np.ones((3, 14, POSES))
    joints[0], joints[2] = 800.0, 0.0
    savemat(f / 'joints_gt_RGB.mat', {'joints_gt': joints})


@pytest.mark.parametrize(
    ('break_it', 'says'),
    [
        (lambda f: (f / 'joints_gt_RGB.mat').unlink(), 'the labelled joints'),
        (lambda f: cut(f / 'joints_gt_RGB.mat'), 'not a whole MATLAB file'),
        (lambda f: savemat(f / 'joints_gt_RGB.mat', {'joints_gt': np.zeros((3, 16, 45))}), '3 x 14 x 45'),
        (lambda f: savemat(f / 'joints_gt_RGB.mat', {'joints': np.zeros(3)}), 'expected 3 x 14'),
        (lambda f: savemat(f / 'joints_gt_RGB.mat', {'joints_gt': np.full((3, 14, 2), -1.0)}), 'old reader'),
        (lambda f: (f / 'IRraw/uncover/000002.npy').unlink(), 'holds 1 files for 2'),
        (lambda f: savemat(f / 'joints_gt_RGB.mat', {'joints_gt': np.zeros((45, 14, 3))}), 'axes are swapped'),
        (lambda f: savemat(f / 'joints_gt_RGB.mat', {'joints_gt': np.zeros((3, 14, POSES))}), 'count from 1. Add 1'),
        (swapped, '100% of the joints lie outside .* none with x and y swapped'),
    ],
)
def test_wrong_labels_are_refused(lab, break_it, says):
    break_it(folder_of(lab))
    with pytest.raises(AssetError, match=says):
        len(read_slp(lab))


def test_missing_folders_and_subjects(lab):
    for call, says in (
        (lambda: read_slp(lab / 'nothing'), 'holds danaLab'),
        (lambda: read_slp(lab, subjects=[3, 4]), r'lacks subjects \[4\]'),
        (lambda: read_slp(lab).pose(4, 1), 'no subject 4'),
        (lambda: read_slp(lab).pose(3, 3), 'poses 1 to 2'),
    ):
        with pytest.raises(AssetError, match=says):
            call()
