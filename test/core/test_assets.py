"""The assets folder: files are known by content, kept with their hash, and refused when they are anything else."""

import os
import pickle

import numpy as np
import pytest
import torch
import yaml

from hwhup_core import assets
from hwhup_core.assets import find_asset, remove_asset, require_asset, stored_assets
from hwhup_core.body.model import load_body
from hwhup_core.cli.doctor import Mark, find_data_sets, find_official
from hwhup_core.cli.main import main
from hwhup_core.errors import AssetError
from hwhup_core.networks.spin import SpinRegressor
from hwhup_core.recognition import add_asset, decide, recognise
from hwhup_core.settings import set_setting

PARENTS = [2**32 - 1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    path = tmp_path / 'assets'
    monkeypatch.setenv('HWHUP_ASSETS', str(path))
    monkeypatch.setenv('HWHUP_SETTINGS', str(tmp_path / 'settings.yaml'))
    return path


@pytest.fixture(scope='module')
def tree():
    """Return a body of official size with random vertices: entries as in an official file."""
    rng = np.random.default_rng(0)
    template = rng.uniform(-0.5, 0.5, (6890, 3))
    template[:2, 1] = -0.85, 0.85
    return {
        'v_template': template,
        'shapedirs': rng.normal(size=(6890, 3, 10)) * 0.01,
        'J_regressor': np.full((24, 6890), 1 / 6890),
        'weights': np.eye(24)[rng.integers(0, 24, 6890)],
        'f': rng.integers(0, 6890, (13776, 3)).astype(np.uint32),
        'kintree_table': np.array([PARENTS, range(24)], dtype=np.uint32),
    }


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    """Write weights as SPIN published them, in torch's old form, and as its training code and HW-HuP's save them."""
    where = tmp_path_factory.mktemp('checkpoints')
    state = SpinRegressor().state_dict()
    torch.save({'model': state}, where / 'model_checkpoint.pt', _use_new_zipfile_serialization=False)
    training = {'optimizer': {}, 'epoch': 1, 'batch_idx': np.int64(4), 'dataset_perm': np.arange(3), 'batch_size': 64}
    torch.save({'model': state, **training}, where / '2021_07_08-12_00_00.pt')
    return where


def write_pickle(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2))
    return path


def gmm_entries():
    return {'means': np.zeros((8, 69)), 'covars': np.stack([np.eye(69)] * 8), 'weights': np.full(8, 0.125)}


def regressor(rows):
    content = np.zeros((rows, 6890))
    content[:, :4] = 0.25
    return content


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('SMPL_NEUTRAL.pkl', 'smpl_neutral'),
        ('basicModel_neutral_lbs_10_207_0_v1.0.0.pkl', 'smpl_neutral'),
        ('SMPL_MALE.pkl', 'smpl_male'),
        ('basicmodel_m_lbs_10_207_0_v1.1.0.pkl', 'smpl_male'),
        ('SMPL_FEMALE.npz', 'smpl_female'),
        ('basicModel_f_lbs_10_207_0_v1.0.0.pkl', 'smpl_female'),
    ],
)
def test_the_gender_of_a_body_is_in_its_name(tmp_path, tree, name, kind):
    path = tmp_path / name
    if path.suffix == '.npz':
        np.savez(path, **tree)
    else:
        write_pickle(path, tree)
    assert decide(path)[0] == kind


def test_without_a_gender_in_the_name_it_must_be_said(tmp_path, tree, folder):
    path = write_pickle(tmp_path / 'body.pkl', tree)
    with pytest.raises(AssetError, match=r'1\.70 m tall.*which gender.*--as smpl_neutral'):
        add_asset(path)
    assert not folder.exists()
    kind, stored = add_asset(path, 'smpl_male')
    assert (kind, stored.file) == ('smpl_male', 'SMPL_MALE.pkl')
    with pytest.raises(AssetError, match=r'1\.70 m tall, not SMIL infant body'):
        add_asset(path, 'smil')
    with pytest.raises(AssetError, match="No kind of asset 'smpl_boy'"):
        add_asset(path, 'smpl_boy')


def test_an_infant_is_known_by_its_height(tmp_path, tree):
    path = write_pickle(tmp_path / 'SMPL_NEUTRAL.pkl', tree | {'v_template': tree['v_template'] / 2.75})
    assert decide(path)[0] == 'smil'


def test_small_files_are_known_by_content(tmp_path, folder):
    write_pickle(tmp_path / 'a', gmm_entries())
    np.savez(tmp_path / 'b.npz', pose=np.zeros(144), shape=np.zeros(10), cam=np.zeros(3))
    np.save(tmp_path / 'c.npy', regressor(9))
    np.save(tmp_path / 'd.npy', regressor(17))
    found = {name: add_asset(tmp_path / name)[0] for name in ('a', 'b.npz', 'c.npy', 'd.npy')}
    assert list(found.values()) == ['gmm_08', 'mean_params', 'j_regressor_extra', 'j_regressor_h36m']
    names = {path.name for path in folder.iterdir()}
    assert names == {
        'assets.yaml', 'gmm_08.pkl', 'smpl_mean_params.npz', 'J_regressor_extra.npy', 'J_regressor_h36m.npy'
    }  # fmt: skip
    assert (folder / 'gmm_08.pkl').read_bytes() == (tmp_path / 'a').read_bytes()


def test_checkpoints_are_told_apart_by_their_training_state(checkpoints):
    assert recognise(checkpoints / 'model_checkpoint.pt').kinds == ('spin_checkpoint',)
    found = recognise(checkpoints / '2021_07_08-12_00_00.pt')
    assert found.kinds == ('hwhup_checkpoint',)
    assert 'optimizer' in found.text


def test_an_entry_says_hash_size_origin_and_licence(tmp_path, folder):
    path = write_pickle(tmp_path / 'prior.pkl', gmm_entries())
    add_asset(path)
    entry = yaml.safe_load((folder / 'assets.yaml').read_text())['gmm_08']
    sha256 = os.popen(f'sha256sum {path}').read().split()[0]
    assert entry['sha256'] == sha256
    assert (entry['size'], entry['original'], entry['file']) == (path.stat().st_size, 'prior.pkl', 'gmm_08.pkl')
    assert 'non-commercial' in entry['licence']
    assert find_asset('gmm_08') == folder / 'gmm_08.pkl'


def test_a_changed_file_is_refused_when_asked_for(tmp_path, folder):
    np.save(tmp_path / 'r.npy', regressor(9))
    add_asset(tmp_path / 'r.npy')
    path = find_asset('j_regressor_extra')
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(1, 1))
    with pytest.raises(AssetError, match=r'it was changed.*hwhup assets remove j_regressor_extra'):
        find_asset('j_regressor_extra')
    path.write_bytes(content[:-1])
    with pytest.raises(AssetError, match='bytes, but had'):
        find_asset('j_regressor_extra')
    path.unlink()
    with pytest.raises(AssetError, match='No such file'):
        find_asset('j_regressor_extra')
    assert find_asset('j_regressor_h36m') is None
    with pytest.raises(AssetError, match=r'Human3\.6M.*j_regressor_h36m.*github\.com/nkolot/SPIN.*hwhup assets add'):
        require_asset('j_regressor_h36m')


def test_adding_again_replaces_and_removing_deletes(tmp_path, tree, folder):
    np.savez(tmp_path / 'SMPL_NEUTRAL.npz', **tree)
    add_asset(tmp_path / 'SMPL_NEUTRAL.npz')
    add_asset(write_pickle(tmp_path / 'SMPL_NEUTRAL.pkl', tree))
    assert {path.name for path in folder.iterdir()} == {'assets.yaml', 'SMPL_NEUTRAL.pkl'}
    assert load_body('smpl_neutral').body_id == 'smpl_neutral'
    assert remove_asset('smpl_neutral').file == 'SMPL_NEUTRAL.pkl'
    assert remove_asset('smpl_neutral') is None
    assert [path.name for path in folder.iterdir()] == ['assets.yaml']
    assert stored_assets() == {}


@pytest.mark.parametrize(
    ('write', 'message'),
    [
        (lambda path: path.write_bytes(b''), 'is an empty file'),
        (lambda path: path.write_bytes(b'\xff\xd8\xff\xe0 JPEG'), r'begins with .*Known are: SMPL body, neutral'),
        (lambda path: path.write_bytes(b'PK\x03\x04 cut off'), 'is a broken zip'),
        (lambda path: path.write_bytes(b'\x08\0\0\0\0\0\0\0{"a": 1}'), 'safetensors'),
        (lambda path: write_pickle(path, {'a': 1}), 'neither a body'),
        (lambda path: write_pickle(path, [1]), 'holds a list'),
        (lambda path: write_pickle(path, gmm_entries() | {'means': np.zeros((7, 69))}), r'means has .*\(7, 69\)'),
        (lambda path: np.savez(path.open('wb'), imgname=np.zeros(3)), 'hwhup dataset check'),
        (lambda path: np.savez(path.open('wb'), z=np.zeros(3), a=np.zeros(3)), 'an archive of a, z'),
        (lambda path: np.save(path.open('wb'), np.zeros((5, 6890))), r'shape \(5, 6890\)'),
        (lambda path: torch.save({'state_dict': {}}, path), 'key `model`; it holds: state_dict'),
        (lambda path: torch.save([1], path), 'holds: list'),
    ],
)
def test_what_is_not_recognised_is_refused_with_what_was_found(tmp_path, folder, write, message):
    write(tmp_path / 'some.pkl')
    with pytest.raises(AssetError, match=rf'some\.pkl.*{message}'):
        add_asset(tmp_path / 'some.pkl')
    assert not folder.exists()


def test_bodies_that_are_no_smpl_are_refused(tmp_path, tree):
    np.savez(tmp_path / 'ours.npz', **tree, vertex_order=np.array('hwhup_v1'))
    with pytest.raises(AssetError, match=r"ours\.npz is our own body 'ours'"):
        add_asset(tmp_path / 'ours.npz')
    np.savez(tmp_path / 'smplh.npz', **tree | {'kintree_table': np.zeros((2, 52), int)})
    with pytest.raises(AssetError, match=r'smplh\.npz: kintree_table has shape \(2, 52\)'):
        add_asset(tmp_path / 'smplh.npz')
    write_pickle(tmp_path / 'SMPL_MALE.bin', tree)
    with pytest.raises(AssetError, match=r'Rename it to SMPL_MALE\.pkl'):
        add_asset(tmp_path / 'SMPL_MALE.bin')


@pytest.mark.parametrize(
    'change',
    [
        lambda entry: entry | {'file': '../elsewhere'},
        lambda entry: entry | {'size': 'many'},
        lambda entry: {'file': 'gmm_08.pkl'},
        lambda entry: 'text',
    ],
)
def test_a_tampered_index_is_refused(tmp_path, folder, change):
    add_asset(write_pickle(tmp_path / 'prior.pkl', gmm_entries()))
    index = folder / 'assets.yaml'
    plain = yaml.safe_load(index.read_text())
    index.write_text(yaml.safe_dump({'gmm_08': change(plain['gmm_08'])}))
    with pytest.raises(AssetError, match='entry `gmm_08` is not one of ours'):
        find_asset('gmm_08')


def test_a_failed_copy_leaves_nothing(tmp_path, folder, monkeypatch):
    def fail(handle):
        raise OSError('disk full')

    path = write_pickle(tmp_path / 'prior.pkl', gmm_entries())
    monkeypatch.setattr(os, 'fsync', fail)
    with pytest.raises(AssetError, match=r'Cannot copy .*disk full'):
        add_asset(path)
    assert not list(folder.iterdir())


def test_where_the_folder_is(tmp_path, monkeypatch):
    monkeypatch.delenv('HWHUP_ASSETS')
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path))
    assert assets.assets_folder() == tmp_path / 'hwhup' / 'assets'
    (tmp_path / 'mine').mkdir()
    set_setting('assets', tmp_path / 'mine')
    assert assets.assets_folder() == tmp_path / 'mine'
    monkeypatch.setenv('HWHUP_ASSETS', '/other')
    assert str(assets.assets_folder()) == '/other'


def test_command_line(tmp_path, capsys, folder):
    good, bad = write_pickle(tmp_path / 'a.pkl', gmm_entries()), write_pickle(tmp_path / 'b.pkl', {})
    assert main(['assets', 'list']) == 0
    assert 'https://smplify' in capsys.readouterr().out
    assert main(['assets', 'add', str(bad)]) == 2
    assert main(['assets', 'add', str(good), str(bad)]) == 1
    printed = capsys.readouterr()
    assert 'gmm_08.pkl' in printed.out
    assert 'b.pkl' in printed.err
    assert main(['assets', 'list']) == 0
    assert 'ok  gmm_08' in capsys.readouterr().out
    (folder / 'gmm_08.pkl').write_bytes(b'')
    assert main(['assets', 'list']) == 1
    assert main(['assets', 'remove', 'gmm_08']) == 0
    assert main(['assets', 'remove', 'gmm_08']) == 1
    assert main(['assets', 'remove', 'gmm']) == 2


def test_doctor_lists_assets_and_data_sets(tmp_path, folder):
    add_asset(write_pickle(tmp_path / 'prior.pkl', gmm_entries()))
    (tmp_path / 'SLP').mkdir()
    set_setting('data.slp', tmp_path / 'SLP')
    found = {finding.text.split(':')[0]: finding.mark for finding in find_official(None)}
    assert found['pose prior of SMPLify'] is Mark.FINE
    assert found['SMPL body, neutral'] is Mark.MISSING
    marks = [finding.mark for finding in find_data_sets()]
    assert marks.count(Mark.FINE) == 1
    (tmp_path / 'SLP').rmdir()
    assert [finding.mark for finding in find_data_sets()].count(Mark.BROKEN) == 1
    (folder / 'gmm_08.pkl').write_bytes(b'changed')
    assert [finding.mark for finding in find_official(None)].count(Mark.BROKEN) == 1
