"""Body files: official layouts are read, anything else is refused with a reason, nothing in a pickle runs."""

import dataclasses
import os
import pickle
import sys
import types

import numpy as np
import pytest

from hwhup_core.body.export import export_smplx, to_smplx_struct
from hwhup_core.body.files import body_from_arrays, read_body_file, require_vertex_order, write_body_file
from hwhup_core.body.joints import PARENTS_24
from hwhup_core.body.model import ASSETS, BUNDLED, load_body, require_same_body
from hwhup_core.errors import AssetError

VERTICES = 40


def official_entries(shape_count=10):
    """Entries as in an official file, with 40 random vertices."""
    rng = np.random.default_rng(0)
    weights = rng.random((VERTICES, 24)) ** 8
    regressor = rng.random((24, VERTICES)) * (rng.random((24, VERTICES)) < 0.3) + 1e-3
    parents = np.array([2**32 - 1, *PARENTS_24[1:]], dtype=np.uint32)
    return {
        'v_template': rng.normal(size=(VERTICES, 3)),
        'shapedirs': rng.normal(size=(VERTICES, 3, shape_count)) * 0.05,
        'posedirs': rng.normal(size=(VERTICES, 3, 207)) * 0.01,
        'J_regressor': regressor / regressor.sum(axis=1, keepdims=True),
        'weights': weights / weights.sum(axis=1, keepdims=True),
        'f': rng.integers(0, VERTICES, (30, 3)).astype(np.uint32),
        'kintree_table': np.stack([parents, np.arange(24, dtype=np.uint32)]),
        'bs_type': 'lrotmin',
    }


@pytest.fixture
def chumpy(monkeypatch):
    """Put a stand-in for chumpy where pickle finds it while writing."""

    class Ch:
        def __init__(self, x):
            self.x = x

        def __getstate__(self):
            return {'x': self.x, '_dirty_vars': set()}

    class Expression:
        def __getstate__(self):
            return {'a': 1}

    module, inner = types.ModuleType('chumpy'), types.ModuleType('chumpy.ch')
    for kind in (Ch, Expression):
        kind.__module__, kind.__qualname__ = 'chumpy.ch', kind.__name__
        setattr(inner, kind.__name__, kind)
    module.ch = inner
    monkeypatch.setitem(sys.modules, 'chumpy', module)
    monkeypatch.setitem(sys.modules, 'chumpy.ch', inner)
    return inner


def write_official_pickle(path, entries, protocol):
    """Write a pickle with the module names that Python 2, numpy 1 and the scipy of that time used."""
    content = pickle.dumps(entries, protocol=protocol)
    for new, old in ((b'numpy._core', b'numpy.core'), (b'scipy.sparse._csc', b'scipy.sparse.csc')):
        content = content.replace(new, old)
    path.write_bytes(content)


@pytest.mark.parametrize('protocol', [0, 2])
def test_official_pickle_is_read_without_chumpy(tmp_path, chumpy, monkeypatch, protocol):
    sparse = pytest.importorskip('scipy.sparse')
    plain = official_entries(shape_count=20)
    entries = plain | {
        'shapedirs': chumpy.Ch(plain['shapedirs']),
        'J_regressor': sparse.csc_matrix(plain['J_regressor']),
        'J_regressor_prior': chumpy.Expression(),
    }
    path = tmp_path / 'SMPL_NEUTRAL.pkl'
    write_official_pickle(path, entries, protocol)
    monkeypatch.delitem(sys.modules, 'chumpy')
    monkeypatch.delitem(sys.modules, 'chumpy.ch')
    body = read_body_file(path)
    assert body.body_id == 'smpl_neutral'
    assert np.array_equal(body.joint_regressor, plain['J_regressor'].astype(np.float32))
    assert np.array_equal(body.shape_directions, plain['shapedirs'][:, :, :10].astype(np.float32))
    assert np.array_equal(body.pose_directions, plain['posedirs'].astype(np.float32))
    assert np.array_equal(body.faces, plain['f'])


@pytest.mark.parametrize('protocol', [2, 4, 5])
def test_same_body_from_pickle_and_npz_has_the_same_hash(tmp_path, protocol):
    entries = official_entries()
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps(entries, protocol=protocol))
    np.savez(tmp_path / 'b.npz', **entries)
    assert read_body_file(tmp_path / 'a.pkl').hash == read_body_file(tmp_path / 'b.npz').hash


def test_row_sparse_and_column_ordered_arrays_are_read(tmp_path):
    sparse = pytest.importorskip('scipy.sparse')
    plain = official_entries()
    changed = plain | {
        'J_regressor': sparse.csr_matrix(plain['J_regressor']),
        'weights': np.asfortranarray(plain['weights']),
        'v_template': plain['v_template'].astype('>f8'),
    }
    (tmp_path / 'a.pkl').write_bytes(pickle.dumps(plain, protocol=2))
    (tmp_path / 'b.pkl').write_bytes(pickle.dumps(changed, protocol=2))
    assert read_body_file(tmp_path / 'a.pkl').hash == read_body_file(tmp_path / 'b.pkl').hash


class Calls:
    """An object whose pickle calls a function on loading."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(('function', 'name'), [(os.system, r'\w+\.system'), (eval, r'\w+\.eval')])
def test_a_malicious_pickle_executes_nothing_and_is_refused_by_name(tmp_path, function, name):
    witness = tmp_path / 'witness'
    order = f'touch {witness}' if function is os.system else f'open({str(witness)!r}, "w")'
    path = tmp_path / 'SMPL_NEUTRAL.pkl'
    path.write_bytes(pickle.dumps(official_entries() | {'weights': Calls(function, order)}, protocol=2))
    with pytest.raises(AssetError, match=rf'SMPL_NEUTRAL\.pkl asks for {name}.*nothing was executed'):
        read_body_file(path)
    assert not witness.exists()


def test_a_forged_numpy_type_is_refused(tmp_path):
    # An object array from raw bytes would be an array of pointers of the attacker's choice.
    path = tmp_path / 'a.pkl'
    forged = np.array([[None]], dtype=object)
    path.write_bytes(pickle.dumps(official_entries() | {'weights': forged}, protocol=2))
    with pytest.raises(AssetError, match='weights'):
        read_body_file(path)


def test_a_pickle_cannot_change_the_reader(tmp_path):
    # Opcode BUILD on a global would set attributes on our stand-in class.
    path = tmp_path / 'a.pkl'
    path.write_bytes(b'\x80\x02cnumpy\nndarray\nN}X\x05\x00\x00\x00stateK\x01s\x86b.')
    with pytest.raises(AssetError, match='not a readable pickle'):
        read_body_file(path)


def test_a_chumpy_expression_is_refused_where_an_array_is_needed(tmp_path, chumpy):
    path = tmp_path / 'a.pkl'
    path.write_bytes(pickle.dumps(official_entries() | {'shapedirs': chumpy.Expression()}, protocol=2))
    with pytest.raises(AssetError, match=r'shapedirs.*chumpy expression.*re-save'):
        read_body_file(path)


@pytest.mark.parametrize('suffix', ['.pkl', '.npz'])
@pytest.mark.parametrize('share', [0.0, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, suffix, share):
    path = tmp_path / f'body{suffix}'
    if suffix == '.pkl':
        path.write_bytes(pickle.dumps(official_entries(), protocol=2))
    else:
        np.savez(path, **official_entries())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(AssetError, match=f'body{suffix} is not a readable'):
        read_body_file(path)


def test_an_npz_with_pickled_objects_is_refused(tmp_path):
    np.savez(tmp_path / 'a.npz', **official_entries() | {'J_regressor': np.array({'a': 1}, dtype=object)})
    with pytest.raises(AssetError, match='pickled objects'):
        read_body_file(tmp_path / 'a.npz')


def test_missing_and_unknown_files_are_named(tmp_path):
    with pytest.raises(AssetError, match=r'No body file at .*nothing\.pkl'):
        read_body_file(tmp_path / 'nothing.pkl')
    (tmp_path / 'body.txt').write_text('hello')
    with pytest.raises(AssetError, match=r"'\.txt'.*\.npz or \.pkl"):
        read_body_file(tmp_path / 'body.txt')


@pytest.mark.parametrize('key', ['v_template', 'shapedirs', 'J_regressor', 'weights', 'f', 'kintree_table'])
def test_a_missing_key_is_named(tmp_path, key):
    entries = official_entries()
    del entries[key]
    with pytest.raises(AssetError, match=f"no entry '{key}'"):
        body_from_arrays(entries, tmp_path / 'a.npz')


def damage(key, value):
    return lambda entries: entries | {key: value(entries[key])}


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (damage('v_template', lambda a: a * np.nan), 'v_template has NaN'),
        (damage('v_template', lambda a: a[:, :2]), r'v_template has shape \(40, 2\)'),
        (damage('v_template', lambda a: a.astype(str)), 'v_template has type <U'),
        (damage('shapedirs', lambda a: a[:, :, :9]), 'shapedirs has 9 directions'),
        (damage('shapedirs', lambda a: a[:20]), r'shapedirs has shape \(20, 3, 10\)'),
        (damage('posedirs', lambda a: a[:, :, :9]), r'posedirs has shape'),
        (damage('J_regressor', lambda a: a[:23]), r'J_regressor has shape \(23, 40\)'),
        (damage('weights', lambda a: a * 2), 'weights of a vertex sum to'),
        (damage('f', lambda a: a + 40), 'names vertex'),
        (damage('f', lambda a: a.astype(float)), 'Expected integers'),
        (damage('kintree_table', lambda a: a[:, :22]), r'kintree_table has shape \(2, 22\)'),
        (damage('kintree_table', lambda a: a[:, ::-1]), 'joint tree'),
        (lambda entries: entries | {'keypoint_regressor': np.ones((2, VERTICES))}, '0 keypoint_names for 2 rows'),
    ],
)
def test_wrong_contents_are_refused(tmp_path, change, message):
    with pytest.raises(AssetError, match=message):
        body_from_arrays(change(official_entries()), tmp_path / 'a.npz')


def test_the_hash_changes_with_every_array(tmp_path):
    body = read_body_file(ASSETS / 'infant.npz')
    hashes = {body.hash}
    for name in ('template', 'shape_directions', 'joint_regressor', 'weights', 'keypoint_regressor', 'faces'):
        array = getattr(body, name).copy()
        array.flat[7] += 1
        hashes.add(dataclasses.replace(body, **{name: array}).hash)
    hashes.add(dataclasses.replace(body, vertex_order='smpl').hash)
    hashes.add(dataclasses.replace(body, pose_directions=np.ones((6890, 3, 207), np.float32)).hash)
    assert len(hashes) == 9
    assert dataclasses.replace(body, body_id='renamed').hash == body.hash


# Weights are bound to these: a change here makes every published checkpoint refuse its body.
@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('adult', 'cc685fdbca78b9100f2e0a09290844a8fb4a7e3c17098c0de5f87c69f95259ff'),
        ('infant', '9e1f09ff3fa6597ad154986166f50da5a453284a263c0d21c3b3f922b6af6c60'),
    ],
)
def test_bundled_bodies_are_the_published_ones(name, expected):
    body = read_body_file(ASSETS / f'{name}.npz')
    assert body.hash == expected
    assert body.body_id == f'hwhup_{name}_v1'
    assert body.vertex_order == 'hwhup_v1'
    assert 'Apache-2.0' in body.licence
    assert body.template.shape == (6890, 3)
    assert body.faces.shape == (13776, 3)
    assert (ASSETS / f'{name}.npz').stat().st_size < 1.2e6


@pytest.mark.parametrize('suffix', ['.npz', '.pkl'])
@pytest.mark.parametrize('name', BUNDLED)
def test_export_and_own_format_give_the_same_body_back(tmp_path, name, suffix):
    body = read_body_file(ASSETS / f'{name}.npz')
    export_smplx(body, tmp_path / f'SMPL_NEUTRAL{suffix}')
    write_body_file(body, tmp_path / 'own.npz')
    for path in (tmp_path / f'SMPL_NEUTRAL{suffix}', tmp_path / 'own.npz'):
        again = read_body_file(path)
        assert again.hash == body.hash
        assert (again.body_id, again.licence, again.vertex_order) == (body.body_id, body.licence, body.vertex_order)
        assert again.keypoint_names == body.keypoint_names


def test_export_refuses_other_formats(tmp_path):
    body = body_from_arrays(official_entries(), tmp_path / 'a.npz')
    with pytest.raises(AssetError, match=r"'\.obj'"):
        export_smplx(body, tmp_path / 'a.obj')


def test_struct_for_smplx_has_posedirs_and_keeps_real_ones(tmp_path):
    body = body_from_arrays(official_entries(), tmp_path / 'a.npz')
    assert np.array_equal(to_smplx_struct(body)['posedirs'], body.pose_directions)
    bare = dataclasses.replace(body, pose_directions=None)
    assert to_smplx_struct(bare)['posedirs'].shape == (VERTICES, 3, 207)
    assert not to_smplx_struct(bare)['posedirs'].any()


def test_files_of_another_vertex_order_are_refused(tmp_path):
    ours = read_body_file(ASSETS / 'infant.npz')
    require_vertex_order(ours, 'hwhup_v1')
    with pytest.raises(AssetError, match="order 'smpl', but body 'hwhup_infant_v1' has 'hwhup_v1'"):
        require_vertex_order(ours, 'smpl')
    assert body_from_arrays(official_entries(), tmp_path / 'a.npz').vertex_order == 'unknown'


def test_weights_of_another_body_are_refused():
    infant, adult = load_body('infant'), load_body('adult')
    require_same_body(infant.body_id, infant.hash, infant)
    with pytest.raises(AssetError, match=r"Made for body 'hwhup_infant_v1'.*in use is 'hwhup_adult_v1'.*Load body"):
        require_same_body(infant.body_id, infant.hash, adult)
