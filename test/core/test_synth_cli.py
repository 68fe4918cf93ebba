"""`hwhup synth`: the layout of SLP on disk, read back; resumed without redoing; the truth elsewhere."""

import shutil

import cv2
import numpy as np
import pytest

from hwhup_core.body.model import load_body
from hwhup_core.cli import synth as verb
from hwhup_core.cli.main import main
from hwhup_core.data.slp import read_slp
from hwhup_core.errors import AssetError
from hwhup_core.synthetic.domain import Cover, DomainConfig
from hwhup_core.synthetic.slp_layout import read_truth
from hwhup_core.synthetic.subjects import subject_poses

SMALL = ('--poses', '2', '--size', '64')
CONFIG = DomainConfig(
    poses=2, size=64, modalities=('depth', 'color', 'infrared', 'pressure'), covers=(Cover.NONE, Cover.BLANKET)
)
ALL = ('--modalities', *CONFIG.modalities, '--covers', 'uncover', 'cover2')


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Return the folder of two subjects with every modality."""
    out = tmp_path_factory.mktemp('synth') / 'beds'
    assert main(['synth', str(out), *SMALL, *ALL, '--subjects', '2', '--seed', '7']) == 0
    return out


def truth_of(out):
    return out.with_name(f'{out.name}-truth')


def test_the_files_are_where_slp_has_them(made):
    folder = made / 'danaLab' / '00002'
    for kind in ('RGB', 'IR', 'depth', 'PM'):
        assert (folder / kind / 'cover2' / 'image_000002.png').is_file()
    for kind in ('depthRaw', 'IRraw', 'PMarray'):
        assert (folder / kind / 'uncover' / '000001.npy').is_file()
        assert not (folder / kind / 'cover1').exists()
    assert np.load(folder / 'depthRaw/uncover/000001.npy').dtype == np.uint16
    assert np.load(folder / 'PMarray/uncover/000001.npy').dtype == np.uint8
    scales = np.load(folder / 'PMcali.npy')
    assert scales.shape == (3, 2)
    assert np.isnan(scales[1]).all()
    assert np.isfinite(scales[[0, 2]]).all()
    table = np.load(made / 'danaLab' / 'physiqueData.npy')
    assert table.shape == (2, 10)
    assert ((table[:, 1] > 130) & (table[:, 1] < 210)).all()
    assert ((table[:, 2] > 30) & (table[:, 2] < 130)).all()


def test_no_truth_lies_in_the_data(made):
    assert not list(made.rglob('*.npz'))
    assert {path.name for path in truth_of(made).rglob('*.npz')} == {'00001.npz', '00002.npz'}


def test_what_is_read_is_what_was_sensed(made):
    dataset = read_slp(made)
    truths = read_truth(truth_of(made), 2)
    made_again = subject_poses(CONFIG, load_body('adult'), 7, 2)
    assert len(dataset) == 4
    for (pose, true), read_true in zip(made_again, truths, strict=True):
        read = dataset.pose(2, pose.number)
        assert read.covers() == ('uncover', 'cover2')
        np.testing.assert_allclose(read.intrinsics.matrix(), pose.intrinsics.matrix(), rtol=1e-12)
        np.testing.assert_allclose(read.pixels, pose.pixels, atol=1e-4)
        np.testing.assert_array_equal(read.occluded, pose.occluded)
        for cover, sensed in pose.covers.items():
            np.testing.assert_array_equal(read.color(cover.value), sensed.color)
            np.testing.assert_allclose(read.depth(cover.value), sensed.depth, atol=0.00051)
            np.testing.assert_array_equal(read.infrared(cover.value), sensed.infrared)
            step = max(sensed.pressure.max() / 255, 1e-6)
            np.testing.assert_allclose(read.pressure(cover.value), sensed.pressure, atol=0.51 * step)
        for name in vars(true):
            np.testing.assert_array_equal(getattr(read_true, name), getattr(true, name))


def test_pictures_are_scaled_as_slps(made):
    dataset = read_slp(made)
    depth = dataset.pose(1, 1).depth('uncover')
    picture = read_picture(made / 'danaLab/00001/depth/uncover/image_000001.png')
    np.testing.assert_allclose(picture, np.clip(depth / 3.0, 0, 1) * 255, atol=1.01)


def read_picture(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def test_two_processes_make_the_same(made, tmp_path):
    out = tmp_path / 'beds'
    assert main(['synth', str(out), *SMALL, *ALL, '--subjects', '2', '--seed', '7', '--workers', '2']) == 0
    for path in sorted(path for path in made.rglob('*') if path.is_file() and path.suffix != '.mat'):
        assert path.read_bytes() == (out / path.relative_to(made)).read_bytes(), path


def test_a_stopped_run_goes_on_with_whole_subjects(tmp_path, monkeypatch):
    out = tmp_path / 'beds'
    arguments = ['synth', str(out), *SMALL, '--subjects', '3']
    written = []
    write = verb.write_subject

    def stopped_in_the_second(folder, truth, poses, config, body):
        if folder.name == '00002':
            poses = (pose for pose in [next(poses), None])  # The second pose is no pair: as good as a kill.
        write(folder, truth, poses, config, body)
        written.append(folder.name)

    monkeypatch.setattr(verb, 'write_subject', stopped_in_the_second)
    with pytest.raises(TypeError):
        main(arguments)
    assert (out / 'danaLab' / '00001').is_dir()
    assert not (out / 'danaLab' / '00002').exists()
    assert (out / 'danaLab' / '.00002.partial').is_dir()
    before = (out / 'danaLab' / '00001').stat().st_mtime_ns
    monkeypatch.setattr(
        verb, 'write_subject', lambda folder, *rest: (written.append(folder.name), write(folder, *rest))
    )  # fmt: skip
    assert main(arguments) == 0
    assert written == ['00001', '00002', '00003']
    assert (out / 'danaLab' / '00001').stat().st_mtime_ns == before
    assert not list((out / 'danaLab').glob('.*'))
    assert read_slp(out).subjects == (1, 2, 3)


def test_a_full_disk_is_named(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(verb, 'write_subject', full)
    assert main(['synth', str(tmp_path / 'beds'), *SMALL, '--subjects', '1']) == 2
    assert 'No space left on device. Make room' in capsys.readouterr().err


def test_a_subject_without_its_truth_is_made_again(made, tmp_path):
    out = tmp_path / 'beds'
    shutil.copytree(made, out)
    shutil.copytree(truth_of(made), truth_of(out))
    (truth_of(out) / 'danaLab' / '00002.npz').unlink()
    assert main(['synth', str(out), *SMALL, *ALL, '--subjects', '2', '--seed', '7']) == 0
    assert len(read_truth(truth_of(out), 2)) == 2


@pytest.mark.parametrize(
    ('changed', 'says'),
    [
        (('--seed', '8'), 'made with seed 7'),
        (('--seed', '7', '--label-noise', '1'), 'made with config'),
        (('--seed', '7', '--kind', 'crib'), 'made with config'),
    ],
)
def test_another_making_is_refused(made, capsys, changed, says):
    assert main(['synth', str(made), *SMALL, *ALL, '--subjects', '2', *changed]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (('--subjects', '0'), 'at least 1'),
        (('--workers', '0'), 'at least 1'),
        (('--size', '8'), 'at least 1 and 16'),
        (('--kind', 'room', '--covers', 'uncover', 'cover1'), 'Nobody is covered in a room'),
        (('--kind', 'room', '--modalities', 'pressure'), 'no mattress'),
        (('--covers', 'cover1'), 'must hold `uncover`'),
        (('--body', 'nobody.npz'), 'No body file'),
    ],
)
def test_wrong_requests_are_named(tmp_path, capsys, arguments, says):
    assert main(['synth', str(tmp_path / 'out'), *arguments]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_the_truth_stays_apart(tmp_path, capsys):
    out = tmp_path / 'out'
    for truth in (out, out / 'truth'):
        assert main(['synth', str(out), '--truth', str(truth)]) == 2
        assert 'must lie apart' in capsys.readouterr().err
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'thesis.txt').write_text('mine')
    assert main(['synth', str(tmp_path / 'full')]) == 2
    assert 'not empty' in capsys.readouterr().err


def test_damaged_truth_is_named(made, tmp_path):
    with pytest.raises(AssetError, match='no truth'):
        read_truth(tmp_path, 1)
    folder = tmp_path / 'danaLab'
    folder.mkdir()
    whole = (truth_of(made) / 'danaLab' / '00001.npz').read_bytes()
    (folder / '00001.npz').write_bytes(whole[: len(whole) // 2])
    with pytest.raises(AssetError, match='not whole'):
        read_truth(tmp_path, 1)
    np.savez(folder / '00001.npz', betas=np.zeros((2, 10)))
    with pytest.raises(AssetError, match='lacks'):
        read_truth(tmp_path, 1)
