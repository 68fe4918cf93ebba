"""SPIN's data set files and fits, against arrays that are made here, and there and back."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from hwhup_core.body.joints import COCO_17, SLP_14, SMPL_24, SPIN_24, SPIN_49
from hwhup_core.data.recording_convert import write_recording
from hwhup_core.data.recording_labels import read_recording
from hwhup_core.data.sample import BadSamples, Dataset, Joints3D, Keypoints, Sample, TrueBody
from hwhup_core.data.spin_fits import Fits, read_fits, with_fits, write_fits
from hwhup_core.data.spin_npz import read_spin_arrays, read_spin_npz
from hwhup_core.data.spin_writer import write_spin_npz
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.types import Frame, Intrinsics, PersonBox

CAMERA = Intrinsics(60.0, 60.0, 24.0, 16.0, 48, 32)
RNG = np.random.default_rng(5)
RIGHT_KNEE, NOSE = 1, 19
"""In SPIN's 24 ground-truth slots (method 6.1): 26 - 25 and 44 - 25."""


def spin_file(folder, **changes):
    """Write a file of three rows, two of them of one picture, and its pictures."""
    (folder / 'seq').mkdir(parents=True)
    for name in ('a', 'b'):
        cv2.imwrite(str(folder / 'seq' / f'{name}.png'), np.full((32, 48, 3), (1, 2, 3), np.uint8))
        np.save(folder / f'{name}.npy', np.full((32, 48), 1500.0))
    part, openpose, s = np.zeros((3, 24, 3)), np.zeros((3, 25, 3)), np.zeros((3, 24, 4))
    part[:, RIGHT_KNEE] = 10.0, 20.0, 1.0
    part[0, NOSE] = 5.0, 6.0, 1.0
    openpose[:, 4] = 30.0, 31.0, 0.3
    s[:2, RIGHT_KNEE] = 0.1, 0.2, 0.3, 1.0
    vis = np.zeros((3, 24))
    vis[0, RIGHT_KNEE] = 1.0
    arrays = {
        'imgname': np.array(['seq/a.png', 'seq/a.png', 'seq/b.png']),
        'center': np.array([[24.0, 16.0], [10.0, 12.0], [20.0, 14.0]]),
        'scale': np.array([0.15, 0.1, 0.2]),
        'part': part, 'openpose': openpose, 'S': s,
        'pose': np.full((3, 72), 0.25), 'shape': np.full((3, 10), 0.5), 'has_smpl': np.array([1, 0, 1]),
        'gender': np.array(['m', 'f', 'f']), 'depthname': np.array(['a.npy', 'a.npy', '']), 'vis': vis,
    }  # fmt: skip
    arrays.update(changes)
    np.savez(folder / 'set.npz', **{key: value for key, value in arrays.items() if value is not None})
    return folder


def test_a_file_is_read(tmp_path):
    dataset = read_spin_npz(spin_file(tmp_path / 'd'), BadSamples())
    assert dataset.joints == SPIN_49
    assert [sample.name for sample in dataset] == ['seq/a', 'seq/a#2', 'seq/b']
    first, second, third = dataset
    # The file counts pixels from 0; the side of the box is 200 scale.
    assert (first.box.center_x, first.box.center_y) == (24.5, 16.5)
    assert first.box.side == pytest.approx(30.0)
    knee, wrist = SPIN_49.index('gt_right_knee'), SPIN_49.index('op_right_wrist')
    np.testing.assert_allclose(first.keypoints.pixels[[knee, wrist]], [[10.5, 20.5], [30.5, 31.5]])
    assert first.keypoints.labelled.nonzero()[0].tolist() == [wrist, knee, SPIN_49.index('gt_nose')]
    assert first.keypoints.visible[knee] == 1
    assert first.keypoints.visible[SPIN_49.index('gt_nose')] == 0
    assert np.isnan(first.keypoints.visible[wrist])
    assert (first.joints_3d.names, first.joints_3d.centred) == (SPIN_24, True)
    np.testing.assert_allclose(first.joints_3d.positions[RIGHT_KNEE], [0.1, 0.2, 0.3])
    assert third.joints_3d is None
    assert (first.body.gender, second.body, third.body.gender) == ('male', None, 'female')
    frame = first.load()
    assert frame.color[0, 0].tolist() == [3, 2, 1]
    np.testing.assert_allclose(frame.depth, 1.5)
    assert third.load().depth is None


def test_missing_keys_are_missing_features(tmp_path):
    gone = dict.fromkeys(['openpose', 'S', 'has_smpl', 'gender', 'depthname', 'vis'])
    dataset = read_spin_npz(spin_file(tmp_path / 'd', **gone, part=np.zeros((3, 24, 3))), BadSamples())
    sample = dataset.samples[1]
    assert not sample.keypoints.labelled.any()
    assert sample.joints_3d is None
    assert sample.body.gender == 'neutral'
    assert set(dataset.missing) == {'S', 'vis', 'depthname'}
    only = read_spin_npz(spin_file(tmp_path / 'e', **gone, part=None, pose=None, shape=None), BadSamples())
    assert only.samples[0].keypoints is None
    assert only.samples[0].body is None


def test_pixels_of_files_that_count_from_one(tmp_path):
    dataset = read_spin_npz(spin_file(tmp_path / 'd'), BadSamples(), first_pixel=1.0)
    knee = SPIN_49.index('gt_right_knee')
    np.testing.assert_allclose(dataset.samples[0].keypoints.pixels[knee], [9.5, 19.5])


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'part': np.zeros((3, 14, 3))}, r'`part` is \(3, 14, 3\), expected \(3, 24, 3\)'),
        ({'scale': np.zeros(2)}, '`scale`'),
        ({'center': None}, 'has no center'),
        ({'pose': np.full((3, 72), np.nan)}, '`pose` has a number that is not finite in row 0'),
        ({'S': np.array([{'a': 1}] * 3, dtype=object)}, 'Python objects'),
        ({'scale': np.array([0.1, 0.0, 0.1])}, 'row 1 .*expected above 0'),
        ({'gender': np.array(['m', 'x', 'x'])}, "row 2 .*gender is 'x'"),
    ],
)
def test_bad_files_are_refused_by_key(tmp_path, changes, words):
    with pytest.raises(AssetError, match=words):
        read_spin_npz(spin_file(tmp_path / 'd', **changes) / 'set.npz', BadSamples())


def test_bad_rows_and_pictures_can_be_left_out(tmp_path):
    bad = BadSamples(skip=True)
    folder = spin_file(tmp_path / 'd', scale=np.array([0.1, 0.0, 0.1]))
    dataset = read_spin_npz(folder, bad)
    assert (len(dataset), dict(bad.reasons)) == (2, {'unreadable': 1})
    np.save(folder / 'a.npy', np.zeros((4, 4)))
    with pytest.raises(AssetError, match='registered'):
        dataset.samples[0].load()
    (folder / 'seq' / 'b.png').unlink()
    with pytest.raises(AssetError, match=r'b\.png'):
        dataset.samples[1].load()


def make_dataset(folder, joints=COCO_17, count=4, **changes) -> Dataset:
    """Return samples with everything that both layouts can hold."""

    def sample(i: int) -> Sample:
        rng = np.random.default_rng(i)
        color = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)
        depth = rng.integers(0, 3000, (32, 48)).astype(np.float32) * np.float32(0.001)
        labelled = rng.random(len(joints)) < 0.8
        visible = np.where(labelled, (rng.random(len(joints)) < 0.5).astype(float), np.nan)
        pixels = np.where(labelled[:, None], rng.random((len(joints), 2)).round(3) * 30, 0.0)
        made = Sample(
            name=f'S{i % 2}/{i:04d}',
            load=lambda: Frame(0, 'x', color, depth, intrinsics=CAMERA),
            keypoints=Keypoints(pixels, labelled, visible),
            box=PersonBox(20.0 + i, 15.5, 25.0),
            joints_3d=Joints3D(SPIN_24, rng.random((24, 3)), np.ones(24), True),
            body=None if i == 1 else TrueBody(rng.random(72), rng.random(10), 'female'),
            fit_key=f'pose{i}',
            supervision_depth=lambda: depth,
            tags={'subject': f'S{i % 2}', 'cover': 'uncover'},
        )
        return replace(made, **changes)

    return Dataset('test', folder, joints, tuple(sample(i) for i in range(count)))


def assert_same_keypoints(one, other, joints):
    """Compare labels by name: SPIN's file has more slots than most data sets."""
    theirs = [SPIN_49.index(f'gt_{name}') for name in joints] if len(other.labelled) == 49 else slice(None)
    np.testing.assert_array_equal(one.labelled, other.labelled[theirs])
    there = one.labelled
    np.testing.assert_allclose(one.pixels[there], other.pixels[theirs][there], atol=1e-4)
    np.testing.assert_array_equal(one.visible[there], other.visible[theirs][there])
    assert other.labelled.sum() == there.sum()


def test_there_and_back(tmp_path):
    dataset, bad = make_dataset(tmp_path), BadSamples()
    path = write_spin_npz(dataset, tmp_path / 'spin', bad)
    back = read_spin_npz(path, bad)
    assert [sample.name for sample in back] == [sample.name for sample in dataset]
    for one, other in zip(dataset, back):
        assert_same_keypoints(one.keypoints, other.keypoints, COCO_17)
        assert (one.box.center_x, one.box.center_y) == (other.box.center_x, other.box.center_y)
        assert other.box.side == pytest.approx(25.0)
        np.testing.assert_allclose(one.joints_3d.positions, other.joints_3d.positions)
        assert (one.body is None) == (other.body is None)
        if one.body is not None:
            np.testing.assert_allclose(one.body.pose, other.body.pose)
            assert other.body.gender == 'female'
        first, second = one.load(), other.load()
        np.testing.assert_array_equal(first.color, second.color)
        np.testing.assert_array_equal(first.depth, second.depth)
    assert len(bad) == 0
    with pytest.raises(ConfigError, match='already'):
        write_spin_npz(dataset, tmp_path / 'spin', bad)


def test_arrays_come_back_as_they_were(tmp_path):
    folder = spin_file(tmp_path / 'd', S_dp=RNG.random((3, 24, 4)))
    arrays = read_spin_arrays(folder / 'set.npz')
    assert arrays.S_dp.shape == (3, 24, 4)
    back = read_spin_npz(folder, BadSamples())
    again = read_spin_arrays(write_spin_npz(back, tmp_path / 'e', BadSamples()))
    for key in ('center', 'scale', 'part', 'S', 'has_smpl'):
        np.testing.assert_allclose(getattr(again, key), getattr(arrays, key), atol=1e-12, err_msg=key)
    np.testing.assert_array_equal(again.openpose[..., :2], arrays.openpose[..., :2])
    assert (again.openpose[..., 2] > 0).sum() == (arrays.openpose[..., 2] > 0).sum()


def test_slp_goes_to_its_slots(tmp_path):
    dataset = make_dataset(tmp_path, SLP_14)
    arrays = read_spin_arrays(write_spin_npz(dataset, tmp_path / 'spin', BadSamples()))
    labelled = np.stack([sample.keypoints.labelled for sample in dataset])
    np.testing.assert_array_equal(arrays.part[:, :14, 2], labelled)
    assert not arrays.part[:, 14:].any()
    assert arrays.openpose is None
    np.testing.assert_allclose(arrays.center[0], [19.5, 15.0])


def test_an_unknown_flag_makes_no_seen_one(tmp_path):
    dataset = make_dataset(tmp_path)
    unknown = replace(dataset.samples[0].keypoints, visible=np.full(17, np.nan))
    dataset = replace(dataset, samples=(replace(dataset.samples[0], keypoints=unknown), *dataset.samples[1:]))
    assert read_spin_arrays(write_spin_npz(dataset, tmp_path / 'spin', BadSamples())).vis is None


def test_3d_joints_of_other_sets_are_left_behind_or_centred(tmp_path):
    smpl = Joints3D(SMPL_24, np.ones((24, 3)), np.ones(24), False)
    path = write_spin_npz(make_dataset(tmp_path, joints_3d=smpl), tmp_path / 'a', BadSamples())
    assert read_spin_arrays(path).S is None
    positions = RNG.random((24, 3))
    camera = Joints3D(SPIN_24, positions, np.ones(24), False)
    path = write_spin_npz(make_dataset(tmp_path, joints_3d=camera), tmp_path / 'b', BadSamples())
    expected = positions - positions[SPIN_24.index('pelvis')]
    np.testing.assert_allclose(read_spin_arrays(path).S[0, :, :3], expected)


def test_samples_without_colour_are_bad(tmp_path):
    depth = np.ones((32, 48), np.float32)
    dataset = make_dataset(tmp_path, load=lambda: Frame(0, 'x', depth=depth))
    with pytest.raises(AssetError, match='no colour'):
        write_spin_npz(dataset, tmp_path / 'spin', BadSamples())


def test_through_a_recording(tmp_path):
    dataset, bad = make_dataset(tmp_path), BadSamples()
    assert write_recording(dataset, tmp_path / 'r', bad) == 4
    back = read_recording(tmp_path / 'r', bad)
    assert back.joints == COCO_17
    for one, other in zip(dataset, back):
        assert_same_keypoints(one.keypoints, other.keypoints, COCO_17)
        assert (one.name, one.fit_key, one.tags, one.box) == (other.name, other.fit_key, other.tags, other.box)
        np.testing.assert_allclose(one.joints_3d.positions, other.joints_3d.positions)
        assert (one.body is None) == (other.body is None)
        first, second = one.load(), other.load()
        np.testing.assert_array_equal(first.color, second.color)
        np.testing.assert_array_equal(first.depth, second.depth)
        np.testing.assert_array_equal(one.supervision_depth(), other.supervision_depth())
        assert second.intrinsics == CAMERA
    again = read_spin_npz(write_spin_npz(back, tmp_path / 'spin', bad), bad)
    for one, other in zip(dataset, again):
        assert_same_keypoints(one.keypoints, other.keypoints, COCO_17)


def test_a_recording_keeps_unknown_flags_and_other_cameras(tmp_path):
    dataset = make_dataset(tmp_path)
    changed = []
    for i, sample in enumerate(dataset):
        camera = replace(CAMERA, fx=60.0 + i)
        frame = replace(sample.load(), intrinsics=camera)
        visible = sample.keypoints.visible.copy()
        visible[::2] = np.nan
        changed.append(
            replace(sample, load=lambda frame=frame: frame, keypoints=replace(sample.keypoints, visible=visible))
        )
    dataset = replace(dataset, samples=tuple(changed))
    write_recording(dataset, tmp_path / 'r', BadSamples())
    for i, (one, other) in enumerate(zip(dataset, read_recording(tmp_path / 'r', BadSamples()))):
        assert_same_keypoints(one.keypoints, other.keypoints, COCO_17)
        assert other.load().intrinsics == replace(CAMERA, fx=60.0 + i)


def test_fits_there_and_back(tmp_path):
    fits = Fits(RNG.random((5, 72)), RNG.random((5, 10)), np.array([True, True, False, True, True]))
    for name in ('x_fits.npy', 'x_fits.npz'):
        write_fits(tmp_path / name, fits)
        back = read_fits(tmp_path / name, count=5)
        np.testing.assert_array_equal(back.valid, fits.valid)
        np.testing.assert_array_equal(back.rows(), fits.rows())
    assert np.load(tmp_path / 'x_fits.npy').shape == (5, 82)
    with pytest.raises(AssetError, match='5 fits, expected 6'):
        read_fits(tmp_path / 'x_fits.npy', count=6)
    dataset = make_dataset(tmp_path, count=5, body=None)
    bodies = [sample.body for sample in with_fits(dataset, fits)]
    assert [body is None for body in bodies] == [False, False, True, False, False]
    np.testing.assert_array_equal(bodies[3].betas, fits.betas[3])


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (np.zeros((4, 85)), r'\(4, 85\), expected numbers \(n, 82\)'),
        (np.where(np.eye(4, 82), np.nan, 1.0), r'row 0 has a NaN .*4 rows'),
        (np.array([{}], dtype=object), 'cannot be read as fits'),
        ({'pose': np.zeros((4, 72)), 'betas': np.zeros((4, 10))}, 'valid_fit'),
        ({'pose': np.zeros((4, 69)), 'betas': np.zeros((4, 10)), 'valid_fit': np.ones(4)}, r'`pose` is .*69'),
        ({'pose': np.zeros((4, 72)), 'betas': np.zeros((3, 10)), 'valid_fit': np.ones(4)}, '3 betas'),
    ],
)
def test_bad_fits_are_refused_by_name(tmp_path, content, words):
    if isinstance(content, dict):
        path = tmp_path / 'bad_fits.npz'
        np.savez(path, **content)
    else:
        path = tmp_path / 'bad_fits.npy'
        np.save(path, content)
    with pytest.raises(AssetError, match=words) as caught:
        read_fits(path)
    assert 'bad_fits' in str(caught.value)
