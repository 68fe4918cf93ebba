"""Official regressors: only what they claim to be is taken, and their joints are those of the mesh."""

import dataclasses

import numpy as np
import pytest
import torch

from hwhup_core.assets import store_asset
from hwhup_core.body import joints
from hwhup_core.body.files import read_body_file, write_body_file
from hwhup_core.body.keypoint_sets import keypoint_set, point_map
from hwhup_core.body.model import ASSETS, BodyModel, load_body
from hwhup_core.body.regressors import official_landmarks, read_regressor, regressed_landmarks
from hwhup_core.errors import AssetError
from hwhup_core.types import BodyParams


@pytest.fixture(scope='module')
def official():
    """Return the bundled adult under the tag of SMPL's own vertices: a stand-in for the official file."""
    body = read_body_file(ASSETS / 'adult.npz')
    return dataclasses.replace(body, vertex_order='smpl', keypoint_regressor=None, keypoint_names=())


@pytest.fixture(scope='module')
def regressors(official):
    """Return stand-ins with the published shapes: SMPL's own joints where there is one, a vertex elsewhere."""

    def rows(names):
        rows = np.zeros((len(names), 6890))
        for row, name in enumerate(names):
            if name in joints.SMPL_24:
                rows[row] = official.joint_regressor[joints.SMPL_24.index(name)]
            else:
                rows[row, 100 + row] = 1
        return rows

    return rows([name.removeprefix('extra_') for name in joints.EXTRA_9]), rows(joints.H36M_17)


def some_params(count=2):
    generator = torch.Generator().manual_seed(0)
    rotations = torch.linalg.qr(torch.randn(count, 24, 3, 3, generator=generator))[0]
    rotations = rotations * torch.linalg.det(rotations)[..., None, None]
    return BodyParams(rotations[:, 0], rotations[:, 1:], torch.randn(count, 10, generator=generator))


def test_regressed_joints_are_those_of_the_mesh(official, regressors):
    extra, h36m = (regressor.astype(np.float32) for regressor in regressors)
    body = BodyModel(official, regressed_landmarks(official, extra, h36m))
    assert body.landmark_names == (
        *joints.SMPLH_LANDMARKS, *joints.EXTRA_9, *(f'h36m_{name}' for name in joints.H36M_17)
    )  # fmt: skip
    posed = body(some_params())
    for regressor, first in ((extra, 21), (h36m, 30)):
        expected = torch.einsum('kv,bvc->bkc', torch.from_numpy(regressor), posed.vertices)
        assert torch.allclose(posed.landmarks[:, first : first + len(regressor)], expected, atol=1e-4)
    assert torch.allclose(posed.landmarks, body.skeleton(some_params()).landmarks, atol=1e-5)
    assert body.hash == BodyModel(official).hash


def test_key_points_use_them_where_given(official, regressors):
    extra, h36m = (regressor.astype(np.float32) for regressor in regressors)
    body = BodyModel(official, regressed_landmarks(official, extra, h36m))
    points = (*joints.SMPL_24, *body.landmark_names)
    for name, source in (('mpii_16', 'extra_right_hip'), ('h36m_17', 'h36m_spine'), ('spin_49', 'extra_jaw')):
        here = point_map(keypoint_set(name), body.landmark_names)
        assert here.mix[:, points.index(source)].max() == 1
        assert here.mix.any(dim=1).all()
    only_extra = BodyModel(official, regressed_landmarks(official, extra=extra))
    here = point_map(keypoint_set('h36m_17'), only_extra.landmark_names)
    points = (*joints.SMPL_24, *only_extra.landmark_names)
    assert [points[int(here.mix[row].argmax())] for row in (7, 9, 10)] == ['extra_spine', 'extra_jaw', 'extra_head']


def test_files_are_read(tmp_path, regressors):
    for regressor, rows in zip(regressors, (9, 17)):
        np.save(tmp_path / 'r.npy', regressor)
        read = read_regressor(tmp_path / 'r.npy', rows)
        assert read.dtype == np.float32
        assert np.array_equal(read, regressor.astype(np.float32))
    with pytest.raises(AssetError, match='has 17 rows, expected 9'):
        read_regressor(tmp_path / 'r.npy', 9)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda a: a.T, r'shape \(6890, 9\).*J_regressor_extra'),
        (lambda a: a[:8], r'shape \(8, 6890\)'),
        (lambda a: a.astype(int), 'type int64'),
        (lambda a: a * np.nan, 'NaN'),
        (lambda a: a * 2, 'sums to 2, expected about 1'),
        (lambda a: np.full((9, 6890), None), 'pickled objects are not read'),
    ],
)
def test_anything_else_is_refused(tmp_path, regressors, change, message):
    np.save(tmp_path / 'r.npy', change(regressors[0]))
    with pytest.raises(AssetError, match=rf'r\.npy.*{message}'):
        read_regressor(tmp_path / 'r.npy', 9)


@pytest.mark.parametrize('content', [b'', b'hello', b'\x93NUMPY\x01\x00'])
def test_broken_files_are_refused(tmp_path, content):
    (tmp_path / 'r.npy').write_bytes(content)
    with pytest.raises(AssetError, match=r'r\.npy is not a readable'):
        read_regressor(tmp_path / 'r.npy', 9)
    with pytest.raises(AssetError, match=r'none\.npy: No such file'):
        read_regressor(tmp_path / 'none.npy', 9)


def test_other_vertices_and_other_orders_are_refused(official, regressors):
    h36m = regressors[1].astype(np.float32)
    ours = read_body_file(ASSETS / 'adult.npz')
    with pytest.raises(AssetError, match="order 'smpl', but body 'hwhup_adult_v1'"):
        regressed_landmarks(ours, h36m=h36m)
    with pytest.raises(AssetError, match=r'h36m_.* lies .* from .*another order'):
        regressed_landmarks(official, h36m=np.ascontiguousarray(h36m[::-1]))
    assert regressed_landmarks(official) is None


def test_bodies_of_the_assets_folder_come_by_name_with_their_regressors(tmp_path, monkeypatch, official, regressors):
    monkeypatch.setenv('HWHUP_ASSETS', str(tmp_path / 'assets'))
    with pytest.raises(AssetError, match=r'No SMPL body, neutral \(smpl_neutral\).*smpl\.is\.tue\.mpg\.de'):
        load_body('smpl_neutral')
    write_body_file(official, tmp_path / 'body.npz')
    store_asset(tmp_path / 'body.npz', 'smpl_neutral', '.npz')
    assert len(load_body('smpl_neutral').landmark_names) == 21
    np.save(tmp_path / 'r.npy', regressors[1])
    store_asset(tmp_path / 'r.npy', 'j_regressor_h36m', '.npy')
    body = load_body('smpl_neutral')
    assert body.landmark_names[21:] == tuple(f'h36m_{name}' for name in joints.H36M_17)
    assert load_body(tmp_path / 'body.npz').landmark_names == body.landmark_names
    assert not any(name.startswith('h36m') for name in load_body('adult').landmark_names)
    assert official_landmarks(read_body_file(ASSETS / 'adult.npz')) is None
