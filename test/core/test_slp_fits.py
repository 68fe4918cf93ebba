"""SLP-3Dfits, written as published: read without executing anything, given to SLP's samples by subject and pose."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from hwhup_core.body.joints import SLP_14
from hwhup_core.data.sample import BadSamples, Dataset, Sample
from hwhup_core.data.slp_fits import BODYMAP_TEST_SUBJECTS, EXPECTED, UNUSABLE, read_slp_fits, with_fits
from hwhup_core.errors import AssetError
from hwhup_core.types import Frame


def fit(subject, number, row=False):
    """Return the entries of a fit; its numbers say whose it is. `row`: with a leading axis, as optimisers keep them."""
    shape = (1, -1) if row else (-1,)
    return {
        'gender': 'female' if subject % 2 else 'male',
        'betas': np.full(10, subject, np.float32).reshape(shape),
        'body_pose': (np.arange(69, dtype=np.float32) / 100).reshape(shape),
        'global_orient': np.array([0, 0, number / 100], np.float32).reshape(shape),
        'transl': np.array([0.1, 0.2, 2.0], np.float32).reshape(shape),
        'gt_joints': np.zeros((25, 2)),
        'camera_rotation': np.eye(3)[None],
        'camera_translation': np.zeros((1, 3)),
        'camera_center': np.zeros((1, 2)),
        'camera_focal_length_x': np.array([367.8]),
        'camera_focal_length_y': np.array([367.8]),
    }


def write(root, subject, number, content=None):
    """Write one fit as Python 2 and its numpy wrote it."""
    path = root / 'fits' / f'p{subject:03d}' / f's{number:02d}.pkl'
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = pickle.dumps(fit(subject, number) if content is None else content, protocol=2)
    path.write_bytes(raw.replace(b'numpy._core', b'numpy.core'))
    return root


def slp_samples(*keys, lab='danaLab'):
    """Return samples as the SLP reader names them, two covers a pose."""
    samples = tuple(
        Sample(
            name=f'{subject:05d}/{cover}/{number:06d}',
            load=lambda: Frame(1, 'slp'),
            fit_key=f'{subject:05d}/{number:06d}',
            tags={'subject': f'{subject:05d}', 'cover': cover, 'lab': lab},
        )
        for subject, number in keys
        for cover in ('uncover', 'cover2')
    )
    return Dataset('slp', Path('SLP'), SLP_14, samples)


@pytest.mark.parametrize('row', [False, True])
def test_a_fit_is_read(tmp_path, row):
    fits = read_slp_fits(write(tmp_path, 81, 3, fit(81, 3, row)), BadSamples())
    body = fits.body(81, 3)
    np.testing.assert_allclose(body.pose[:3], [0, 0, 0.03])
    np.testing.assert_allclose(body.pose[3:], np.arange(69) / 100, rtol=1e-6)
    np.testing.assert_allclose(body.betas, 81)
    np.testing.assert_allclose(body.translation, [0.1, 0.2, 2.0], rtol=1e-6)
    assert body.gender == 'female'
    np.testing.assert_array_equal(read_slp_fits(tmp_path / 'fits', BadSamples()).body(81, 3).pose, body.pose)


def test_missing_fits_are_reported_and_named(tmp_path):
    for number in range(1, 46):
        write(tmp_path, 1, number)
    write(tmp_path, 2, 9)
    fits = read_slp_fits(tmp_path, BadSamples())
    assert len(fits) == 46
    assert fits.missing[0] == f'{EXPECTED - 46} of 4590 fits'
    assert fits.missing[1] == 'p002: 44 of 45 fits'
    assert len(fits.missing) == 1 + 101
    with pytest.raises(AssetError, match=r'no fit p002/s10\.pkl; it has 46 of 4590'):
        fits.body(2, 10)


def test_subject_7_is_refused_with_its_reason(tmp_path):
    write(tmp_path, 7, 1)
    write(tmp_path, 8, 1)
    bad = BadSamples()
    fits = read_slp_fits(tmp_path, bad)
    assert bad.reasons == {UNUSABLE: 1}
    assert list(fits.bodies) == [(8, 1)]
    with pytest.raises(AssetError, match='subject 7 unusable'):
        fits.body(7, 1)
    assert all(sample.body is None for sample in with_fits(slp_samples((7, 1)), fits))


def test_samples_get_the_fit_of_their_pose_under_every_cover(tmp_path):
    write(tmp_path, 1, 2)
    write(tmp_path, 4, 45)
    fits, before = read_slp_fits(tmp_path, BadSamples()), slp_samples((1, 2), (1, 3), (4, 45))
    after = with_fits(before, fits)
    assert [sample.body and sample.body.betas[0] for sample in after] == [1, 1, None, None, 4, 4]
    assert [sample.name for sample in after] == [sample.name for sample in before]
    assert all(sample.body is None for sample in before)


def test_the_hospital_rooms_subjects_are_other_people(tmp_path):
    fits = read_slp_fits(write(tmp_path, 1, 2), BadSamples())
    assert all(sample.body is None for sample in with_fits(slp_samples((1, 2), lab='simLab'), fits))


def test_another_data_set_is_refused(tmp_path):
    fits = read_slp_fits(write(tmp_path, 1, 2), BadSamples())
    with pytest.raises(AssetError, match="belong to SLP, not to 'coco'"):
        with_fits(Dataset('coco', Path('x'), SLP_14, ()), fits)


def test_the_split_of_bodymap():
    assert (BODYMAP_TEST_SUBJECTS[0], BODYMAP_TEST_SUBJECTS[-1], len(BODYMAP_TEST_SUBJECTS)) == (81, 102, 22)


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def test_a_malicious_fit_executes_nothing_and_is_refused_by_name(tmp_path):
    witness = tmp_path / 'witness'
    write(tmp_path, 1, 1)
    write(tmp_path, 1, 2, fit(1, 2) | {'gt_joints': Call(os.mkdir, str(witness))})
    with pytest.raises(AssetError, match=r's02\.pkl asks for posix\.mkdir, which a fit of SLP-3Dfits has no use for'):
        read_slp_fits(tmp_path, BadSamples())
    bad = BadSamples(skip=True)
    assert list(read_slp_fits(tmp_path, bad).bodies) == [(1, 1)]
    assert bad.reasons == {'unreadable fit': 1}
    assert not witness.exists()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'body_pose': np.zeros(72)}, r'body_pose has shape \(72,\), expected \(69\)'),
        ({'transl': np.array([0, 0, np.nan])}, 'transl has NaN'),
        ({'betas': np.zeros(5)}, r'betas has shape \(5,\), expected \(10\)'),
        ({'gender': 'boy'}, "gender is 'boy', expected one of"),
        ({'global_orient': 'text'}, 'global_orient has type <U4, expected numbers'),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, message):
    with pytest.raises(AssetError, match=message) as caught:
        read_slp_fits(write(tmp_path, 5, 6, fit(5, 6) | change), BadSamples())
    assert 'p005/s06.pkl' in str(caught.value)


def test_a_missing_entry_a_cut_file_and_an_empty_folder_are_refused(tmp_path):
    with pytest.raises(AssetError, match='Give the folder of SLP-3Dfits'):
        read_slp_fits(tmp_path, BadSamples())
    content = fit(5, 6)
    del content['transl']
    with pytest.raises(AssetError, match="no entry 'transl'"):
        read_slp_fits(write(tmp_path, 5, 6, content), BadSamples())
    path = tmp_path / 'fits' / 'p005' / 's06.pkl'
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(AssetError, match=r's06\.pkl is not a readable pickle.*Expected a fit of SLP-3Dfits'):
        read_slp_fits(tmp_path, BadSamples())
