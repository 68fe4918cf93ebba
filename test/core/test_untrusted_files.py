"""A file that tries to run something, wherever files from elsewhere are read: nothing runs, it is refused by name."""

import ast
import builtins
import functools
import importlib
import os
import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from hwhup_core.body.model import load_body
from hwhup_core.body.priors import load_gmm_08, load_mixture
from hwhup_core.body.regressors import read_regressor
from hwhup_core.cli.main import main
from hwhup_core.data.sample import BadSamples
from hwhup_core.data.slp_fits import read_slp_fits
from hwhup_core.data.spin_fits import read_fits
from hwhup_core.data.spin_npz import read_spin_npz
from hwhup_core.data.threedpw import read_3dpw
from hwhup_core.errors import AssetError
from hwhup_core.networks.checkpoint import load_mean_params, load_spin_checkpoint

ROOT = Path(__file__).resolve().parents[2]


class Calls:
    """An object whose pickle calls a function on loading."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call

    def __call__(self):
        """Be callable, so that a call may also stand where pickle wants a function."""


TRAPS = {
    'posix.system': lambda marker: Calls(os.system, f'touch {marker}'),
    'builtins.eval': lambda marker: Calls(eval, f'open({str(marker)!r}, "w")'),
    'builtins.exec': lambda marker: Calls(exec, f'open({str(marker)!r}, "w")'),
    'builtins.open': lambda marker: Calls(open, str(marker), 'w'),
    'subprocess.Popen': lambda marker: Calls(subprocess.check_call, ['touch', str(marker)]),
    'getattr of an import': lambda marker: Calls(
        Calls(getattr, Calls(importlib.import_module, 'os'), 'system'), f'touch {marker}'
    ),
    'state of an object': lambda marker: functools.partial(os.system, f'touch {marker}'),
    'in a tuple': lambda marker: (1, [Calls(os.mkdir, str(marker))]),
    'in an array': lambda marker: np.array([Calls(os.mkdir, str(marker))], dtype=object),
    'in an array in a dictionary': lambda marker: {
        'inner': np.array([[Calls(os.system, f'touch {marker}')]], dtype=object)
    },
}
"""What is hidden in a file -> the object that makes `marker` when it is unpickled."""
SILENT = {'state of an object'}
"""Traps that only prepare a call."""


@pytest.fixture
def marker(tmp_path):
    return tmp_path / 'executed'


@pytest.fixture(params=TRAPS)
def trap(request, marker):
    return TRAPS[request.param](marker)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    path = tmp_path / 'assets'
    monkeypatch.setenv('HWHUP_ASSETS', str(path))
    return path


def require_refused(read, name, marker):
    """Fail unless reading raises our error with the file's name in it, and nothing ran."""
    with pytest.raises(AssetError) as caught:
        read()
    assert name in str(caught.value)
    assert not marker.exists()


def require_not_added(path, folder, marker, capsys):
    """Fail unless `hwhup assets add` refuses the file by name, stores nothing and runs nothing."""
    assert main(['assets', 'add', str(path)]) == 2
    assert path.name in capsys.readouterr().err
    assert not folder.exists()
    assert not marker.exists()


@pytest.mark.parametrize('name', sorted(set(TRAPS) - SILENT))
def test_the_traps_work(name, marker):
    """Without our readers the files would run: otherwise nothing below could fail."""
    pickle.loads(pickle.dumps(TRAPS[name](marker), protocol=2))
    assert marker.exists()


@pytest.mark.parametrize('protocol', [0, 2, 4, 5])
@pytest.mark.parametrize('key', ['v_template', 'something else'])
def test_a_body(tmp_path, trap, marker, folder, capsys, protocol, key):
    path = tmp_path / 'SMPL_NEUTRAL.pkl'
    path.write_bytes(pickle.dumps({'v_template': np.zeros((4, 3)), key: trap}, protocol=protocol))
    require_refused(lambda: load_body(path), 'SMPL_NEUTRAL.pkl', marker)
    require_not_added(path, folder, marker, capsys)


def test_a_pose_mixture(tmp_path, trap, marker, folder, capsys):
    path = tmp_path / 'gmm_08.pkl'
    content = {'means': np.zeros((8, 69)), 'covars': np.stack([np.eye(69)] * 8), 'weights': trap}
    path.write_bytes(pickle.dumps(content, protocol=2))
    require_refused(lambda: load_gmm_08(path), 'gmm_08.pkl', marker)
    require_not_added(path, folder, marker, capsys)


def test_a_pickle_that_is_nothing_but_the_trap(tmp_path, trap, marker, folder, capsys):
    path = tmp_path / 'SMIL.pkl'
    path.write_bytes(pickle.dumps(trap, protocol=2))
    require_refused(lambda: load_body(path), 'SMIL.pkl', marker)
    require_not_added(path, folder, marker, capsys)


PROGRAMS = [
    b"cbuiltins\ngetattr\n(c__builtin__\n__import__\n(S'os'\ntRS'system'\ntR(S'touch executed'\ntR.",
    b"cos\nsystem\n(S'touch executed'\ntR.",
    b"(S'touch executed'\nios\nsystem\n.",
    b"(cos\nsystem\nS'touch executed'\no.",
    # Dotted names, which protocol 4 resolves by getattr.
    b'\x80\x04\x8c\x05shlex\x8c\x09os.system\x93\x8c\x0etouch executed\x85R.',
]
"""Pickles written by hand that make `executed` in the working directory."""
TRICKS = [
    b'cnumpy.testing._private.utils\nrunstring\n(S\'open("executed", "w")\'\n(dtR.',
    b'\x80\x04\x8c\x05numpy\x8c\x16ndarray.__subclasses__\x93)R.',
    b'\x80\x04\x8c\x06chumpy\x8c\x09os.system\x93\x8c\x0etouch executed\x85R.',
    # An allowed name as the object whose attributes are set; a number of the extension registry; a foreign reference.
    b'\x80\x02cnumpy\nndarray\nN}X\x05\x00\x00\x00stateK\x01s\x86b.',
    b"c_codecs\nencode\n(S'touch executed'\nS'os.system'\ntR.",
    b'\x80\x02\x82\x01.',
    b'Pos.system\n.',
]
"""Pickles that lean on what a body file may name."""


@pytest.mark.parametrize('program', PROGRAMS)
def test_the_programs_work(tmp_path, marker, program, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(program)
    assert marker.exists()


@pytest.mark.parametrize('program', PROGRAMS + TRICKS)
def test_programs_written_by_hand(tmp_path, marker, folder, capsys, program, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'SMPL_MALE.pkl'
    path.write_bytes(program)
    require_refused(lambda: load_body(path), 'SMPL_MALE.pkl', marker)
    require_not_added(path, folder, marker, capsys)


@pytest.mark.parametrize(
    ('name', 'read'),
    [
        ('train_fits.npy', read_fits),
        ('J_regressor_extra.npy', lambda path: read_regressor(path, 9)),
        ('prior.npy', load_mixture),
    ],
)
@pytest.mark.parametrize('whole', [True, False])
def test_an_npy(tmp_path, trap, marker, folder, capsys, name, read, whole):
    path = tmp_path / name
    if whole:
        path.write_bytes(pickle.dumps(trap))
    else:
        array = np.empty(1, dtype=object)
        array[0] = trap
        np.save(path, array, allow_pickle=True)
    require_refused(lambda: read(path), name, marker)
    require_not_added(path, folder, marker, capsys)


@pytest.mark.parametrize(
    ('name', 'keys', 'read'),
    [
        ('smpl_mean_params.npz', ('pose', 'shape', 'cam'), load_mean_params),
        ('SMPL_NEUTRAL.npz', ('v_template', 'f'), load_body),
        ('fits.npz', ('pose', 'betas', 'valid_fit'), read_fits),
        ('mpii_train.npz', ('imgname', 'center', 'scale'), lambda path: read_spin_npz(path, BadSamples(), path.parent)),
        ('mixture.npz', ('means', 'covars', 'weights'), load_mixture),
    ],
)
def test_an_npz(tmp_path, trap, marker, folder, capsys, name, keys, read):
    array = np.empty(1, dtype=object)
    array[0] = trap
    path = tmp_path / name
    np.savez(path, **dict.fromkeys(keys, array))
    require_refused(lambda: read(path), name, marker)
    require_not_added(path, folder, marker, capsys)


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('in_weights', [True, False])
def test_a_checkpoint(tmp_path, trap, marker, folder, capsys, zipped, in_weights):
    path = tmp_path / 'model_checkpoint.pt'
    content = {'model': {'x': torch.zeros(1)}} | ({'model': {'x': trap}} if in_weights else {'optimizer': trap})
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    require_refused(lambda: load_spin_checkpoint(path), 'model_checkpoint.pt', marker)
    require_not_added(path, folder, marker, capsys)


def test_a_pickle_named_checkpoint(tmp_path, trap, marker, folder, capsys):
    path = tmp_path / 'model_checkpoint.pt'
    path.write_bytes(pickle.dumps({'model': trap}, protocol=2))
    require_refused(lambda: load_spin_checkpoint(path), 'model_checkpoint.pt', marker)
    require_not_added(path, folder, marker, capsys)


def test_a_fit_of_slp(tmp_path, trap, marker, folder, capsys):
    path = tmp_path / 'fits' / 'p001' / 's01.pkl'
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps({'betas': np.zeros(10), 'gender': 'male', 'body_pose': trap}, protocol=4))
    require_refused(lambda: read_slp_fits(tmp_path, BadSamples()), 's01.pkl', marker)
    require_not_added(path, folder, marker, capsys)


def test_a_sequence_of_3dpw(tmp_path, trap, marker, folder, capsys):
    path = tmp_path / 'sequenceFiles' / 'test' / 'downtown_arguing_00.pkl'
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps({'sequence': 'downtown_arguing_00', 'poses': [trap]}, protocol=2))
    require_refused(lambda: read_3dpw(tmp_path, BadSamples()), 'downtown_arguing_00.pkl', marker)
    require_not_added(path, folder, marker, capsys)


def calls(path):
    """Yield dotted name and keywords of every call in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {each.arg: ast.unparse(each.value) for each in node.keywords}


@pytest.mark.parametrize('package', ['hwhup_core', 'hwhup_ros'])
def test_no_code_loads_a_pickle_in_any_other_way(package):
    faults = []
    for path in sorted((ROOT / package).rglob('*.py')):
        for name, keywords in calls(path):
            loads = name in {'pickle.load', 'pickle.loads', 'yaml.load', 'yaml.unsafe_load', 'yaml.full_load'}
            array = keywords.get('allow_pickle', 'False') != 'False'
            weights = name == 'torch.load' and keywords.get('weights_only') != 'True'
            if loads or array or weights or (name in dir(builtins) and name in {'eval', 'exec'}):
                faults.append(f'{path.relative_to(ROOT)}: {name}')
    assert not faults
