"""SLP as samples: names, fits, boxes and frames of a miniature set in the published sizes, written here."""

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from hwhup_core.body.joints import SLP_14
from hwhup_core.data.sample import BadSamples
from hwhup_core.data.slp_samples import read_slp_samples
from hwhup_core.errors import AssetError, ConfigError

COVERS = ('uncover', 'cover1', 'cover2')
SIZES = {'RGB': (576, 1024), 'depth': (424, 512), 'IR': (120, 160), 'PM': (84, 192)}
# Each modality's pixels in those of the pressure map (scale, turn, shift and a little perspective).
TO_MAP = {
    'RGB': 3.0 * np.array([[0.15, 0.004, 2.0], [-0.003, 0.18, 4.0], [1e-5, -1e-5, 1.0]]),
    'depth': np.array([[0.21, -0.01, -1.5], [0.008, 0.36, 3.0], [2e-5, 1e-5, 1.0]]),
    'IR': np.array([[0.7, 0.02, 1.0], [-0.01, 1.2, 2.0], [1e-4, -5e-5, 1.0]]),
}
ON_MAP = np.array([(20.0, 40.0), (60.0, 50.0), (40.0, 110.0), (25.0, 160.0)])
"""Where four square spots lie, map pixels counted from 0."""


def moved(points, matrix):
    ends = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ matrix.T
    return ends[:, :2] / ends[:, 2:]


def spots(modality, background, value, dtype, reach):
    """Return a picture of a modality with a square at each of the four places of the map."""
    width, height = SIZES[modality]
    picture = np.full((height, width), background, dtype)
    to_own = np.eye(3) if modality == 'PM' else np.linalg.inv(TO_MAP[modality])
    for x, y in np.round(moved(ON_MAP, to_own)).astype(int):
        picture[y - reach : y + reach + 1, x - reach : x + reach + 1] = value
    return picture


def write_subject(lab, subject, poses, modalities=tuple(SIZES), covers=COVERS, size=None):
    folder = lab / f'{subject:05d}'
    pictures = {
        'RGB': spots('RGB', 0, 255, np.uint8, 8),
        'depth': spots('depth', 2101, 1800, np.uint16, 5),
        'IR': spots('IR', 297.15, 305.15, np.float64, 2),
        'PM': spots('PM', 0, 200, np.uint8, 2),
    }
    if size is not None:
        pictures['RGB'] = cv2.resize(pictures['RGB'], size)
    for modality in modalities:
        kind = {'RGB': 'RGB', 'depth': 'depthRaw', 'IR': 'IRraw', 'PM': 'PMarray'}[modality]
        for cover in covers:
            (folder / kind / cover).mkdir(parents=True)
            for number in range(1, poses + 1):
                if modality == 'RGB':
                    picture = np.repeat(pictures['RGB'][..., None], 3, axis=2)
                    assert cv2.imwrite(str(folder / kind / cover / f'image_{number:06d}.png'), picture)
                else:
                    np.save(folder / kind / cover / f'{number:06d}.npy', pictures[modality])
        if modality != 'PM':
            np.save(folder / f'align_PTr_{modality}.npy', TO_MAP[modality])
    if 'PM' in modalities:
        np.save(folder / 'PMcali.npy', np.full((3, 45), 0.047))
    joints = np.zeros((3, 14, poses))
    joints[0] = np.linspace(101, 301, 14)[:, None]
    joints[1] = np.linspace(151, 851, 14)[:, None]
    joints[2, 4] = 1
    savemat(folder / 'joints_gt_RGB.mat', {'joints_gt': joints})
    return folder


@pytest.fixture(scope='module')
def mini(tmp_path_factory):
    """Return a set with two subjects of a training and a test part, and one of the hospital room without mat."""
    root = tmp_path_factory.mktemp('slp')
    write_subject(root / 'danaLab', 7, 2)
    write_subject(root / 'danaLab', 91, 1, ('RGB', 'depth'), ('uncover', 'cover1'))
    write_subject(root / 'simLab', 1, 1, ('RGB', 'depth', 'IR'), ('uncover',), (896, 1600))
    np.save(root / 'danaLab' / 'physiqueData.npy', np.zeros((102, 10)))
    return root


def test_order_names_and_tags(mini):
    bad = BadSamples()
    dataset = read_slp_samples(mini, bad)
    assert (dataset.kind, dataset.joints, len(bad)) == ('slp', SLP_14, 0)
    names = [f'00007/{cover}/{number:06d}' for number in (1, 2) for cover in COVERS]
    assert [sample.name for sample in dataset] == [*names, '00091/uncover/000001', '00091/cover1/000001']
    assert [sample.fit_key for sample in dataset][2:4] == ['00007/000001', '00007/000002']
    assert dataset.samples[1].tags == {
        'subject': '00007', 'cover': 'cover1', 'lab': 'danaLab', 'split': 'train', 'posture': 'supine',
    }  # fmt: skip
    assert dataset.samples[-1].tags['split'] == 'test'
    some = BadSamples(skip=True)
    assert len(read_slp_samples(mini, some, covers=('cover2',))) == 2
    assert some.reasons == {'unreadable': 1}  # Subject 91 was not seen under it.


def test_what_a_whole_copy_would_also_have(mini):
    missing = read_slp_samples(mini, BadSamples()).missing
    assert '100 of 102 subjects' in missing
    assert 'PMarray/uncover of 1 subjects' in missing
    assert 'IRraw/cover2 of 1 subjects' in missing
    assert not [entry for entry in missing if 'physique' in entry]
    assert [entry for entry in missing if entry.startswith('the patches of danaLab/00007')]
    hospital = read_slp_samples(mini, BadSamples(), 'simLab', ('uncover',)).missing
    assert not [entry for entry in hospital if 'PMarray' in entry]


def test_labels_and_boxes(mini):
    sample = read_slp_samples(mini, BadSamples()).samples[0]
    np.testing.assert_allclose(sample.keypoints.pixels[[0, -1]], [[100.5, 150.5], [300.5, 850.5]])
    assert sample.keypoints.labelled.all()
    assert sample.keypoints.visible.tolist() == [float(k != 4) for k in range(14)]
    box = sample.box
    assert (box.center_x, box.center_y, box.side) == pytest.approx((200.5, 500.5, 840.0))
    # Counted from 0 the box is [-220, 80, 840, 840]; the released code reads corners.
    wrong = read_slp_samples(mini, BadSamples(), released_crop=True).samples[0].box
    expected = ((-220 + 840) / 2 + 0.5, (80 + 840) / 2 + 0.5, 0.9 * (840 + 220))
    assert (wrong.center_x, wrong.center_y, wrong.side) == pytest.approx(expected)


def test_all_modalities_land_on_the_same_spots(mini):
    sample = read_slp_samples(mini, BadSamples()).samples[1]
    frame = sample.load()
    for picture in (frame.color, frame.depth, frame.infrared, frame.pressure):
        assert picture.shape[:2] == (1024, 576)
    for x, y in np.round(moved(ON_MAP, np.linalg.inv(TO_MAP['RGB']))).astype(int):
        assert frame.color[y, x].tolist() == [255, 255, 255]
        assert frame.depth[y, x] == pytest.approx(1.8)
        assert frame.infrared[y, x] == pytest.approx(0.6, abs=1e-3)  # 32 degrees.
        assert frame.pressure[y, x] == pytest.approx(200 * 0.047 / 94, abs=1e-4)
        away = y + 60, x + 60
        assert frame.depth[away] == pytest.approx(2.101)
        assert frame.infrared[away] == pytest.approx(0.2, abs=1e-3)
        assert frame.pressure[away] == 0
    np.testing.assert_array_equal(sample.supervision_depth(), frame.depth)


def test_the_hospital_room_has_larger_pictures_and_no_mat(mini):
    dataset = read_slp_samples(mini, BadSamples(), 'simLab')
    frame = dataset.samples[0].load()
    assert frame.color.shape == (1600, 896, 3)
    assert frame.depth.shape == (1600, 896)
    assert frame.pressure is None
    assert dataset.samples[0].tags['split'] == 'test'
    assert frame.intrinsics.width == 896


def test_the_uncovered_depth_supervises(tmp_path):
    folder = write_subject(tmp_path / 'danaLab', 1, 1, ('RGB', 'depth'), ('uncover', 'cover1'))
    path = folder / 'depthRaw/cover1/000001.npy'
    np.save(path, np.full((512, 424), 1500, np.uint16))
    bare, covered = read_slp_samples(tmp_path, BadSamples())
    assert covered.load().depth.max() == pytest.approx(1.5)
    np.testing.assert_array_equal(covered.supervision_depth(), bare.load().depth)
    assert bare.fit_key == covered.fit_key


def test_patched_files_go_first(tmp_path):
    folder = write_subject(tmp_path / 'danaLab', 7, 1, ('RGB', 'depth'), ('uncover',))
    np.save(folder / 'align_PTr_depth.npy', np.eye(3))
    patches = tmp_path / 'patches' / 'danaLab' / '00007'
    patches.mkdir(parents=True)
    np.save(patches / 'align_PTr_depth.npy', TO_MAP['depth'])
    dataset = read_slp_samples(tmp_path, BadSamples())
    x, y = np.round(moved(ON_MAP[:1], np.linalg.inv(TO_MAP['RGB']))).astype(int)[0]
    assert dataset.samples[0].load().depth[y, x] == pytest.approx(1.8)
    assert not [entry for entry in dataset.missing if 'patches' in entry]


def test_forty_five_poses_have_postures(tmp_path):
    write_subject(tmp_path / 'danaLab', 1, 45, ('PM',), ('uncover',))
    np.save(tmp_path / 'danaLab' / '00001' / 'align_PTr_RGB.npy', TO_MAP['RGB'])
    postures = [sample.tags['posture'] for sample in read_slp_samples(tmp_path, BadSamples())]
    assert postures == ['supine'] * 15 + ['left'] * 15 + ['right'] * 15


def unlabel(folder):
    joints = np.full((3, 14, 2), np.nan)
    joints[:2, :, 1], joints[2] = 40.0, 1
    joints[0, 0, 1] = 80.0
    savemat(folder / 'joints_gt_RGB.mat', {'joints_gt': joints})


@pytest.mark.parametrize(
    ('break_it', 'reason', 'says', 'left'),
    [
        (lambda f: (f / 'align_PTr_depth.npy').unlink(), 'unreadable', 'the homography from depth', 0),
        (lambda f: (f / 'joints_gt_RGB.mat').unlink(), 'unreadable', 'the labelled joints', 0),
        (lambda f: (f / 'RGB/uncover/image_000002.png').unlink(), 'unreadable', 'holds 1 files for 2', 0),
        (unlabel, 'no_joints', 'no labelled joint', 1),
    ],
)
def test_what_is_bad_ends_the_reading_or_is_counted(tmp_path, break_it, reason, says, left):
    folder = write_subject(tmp_path / 'danaLab', 1, 2, ('RGB', 'depth'), ('uncover',))
    break_it(folder)
    with pytest.raises(AssetError, match=says):
        read_slp_samples(tmp_path, BadSamples())
    bad = BadSamples(skip=True)
    assert len(read_slp_samples(tmp_path, bad)) == left
    assert set(bad.reasons) == {reason}
    assert says in ' '.join(bad.messages)


def test_what_breaks_in_a_picture_is_named_when_it_is_loaded(tmp_path):
    folder = write_subject(tmp_path / 'danaLab', 1, 1, ('RGB',), ('uncover',))
    path = folder / 'RGB/uncover/image_000001.png'
    path.write_bytes(path.read_bytes()[:200])
    sample = read_slp_samples(tmp_path, BadSamples()).samples[0]
    assert sample.supervision_depth is None
    with pytest.raises(AssetError, match=r'image_000001.png is not a whole PNG .* Copy it again'):
        sample.load()


def test_unknown_covers_are_refused(mini):
    with pytest.raises(ConfigError, match='blanket'):
        read_slp_samples(mini, BadSamples(), covers=('blanket',))
