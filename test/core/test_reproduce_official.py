"""
The tables on miniature data sets in the official layouts, with emulated weights and bodies of the official shape.

A few steps each: what is shown is that every path from files to figures runs, not how good the figures are.
"""

import json
import pickle
import shutil
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from scipy.io import savemat

from hwhup_core.assets import store_asset
from hwhup_core.body.joints import COCO_17, H36M_17, SLP_14, SMPL_24, SPIN_24
from hwhup_core.body.model import load_body
from hwhup_core.body.priors import bundled_mixture
from hwhup_core.cli.main import main
from hwhup_core.cli.reproduce import ON_OFFICIAL_FILES
from hwhup_core.data.sample import BadSamples
from hwhup_core.errors import AssetError
from hwhup_core.networks.compact import CompactConfig, CompactRegressor
from hwhup_core.networks.spin import SpinRegressor
from hwhup_core.reproduce import official, official_infants, official_slp, official_start
from hwhup_core.reproduce.official_start import OfficialConfig
from hwhup_core.settings import set_setting
from hwhup_core.training.observe import ObservationConfig

TINY = OfficialConfig(
    size='tiny',
    epochs_share=0.003,
    batch_size=2,
    columns=('pre_trained', 'full'),
    observation=ObservationConfig(picture=96),
)
IN_H36M = {'spine': 'spine2', 'jaw': 'head', 'neck': 'neck', 'head': 'head', 'pelvis': 'pelvis'}


@pytest.fixture(scope='module', autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope='module')
def owned(tmp_path_factory):
    """Return a folder with the official files, emulated: bodies of 6890 vertices, SPIN's shapes, prior, regressor."""
    folder = tmp_path_factory.mktemp('owned')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('HWHUP_ASSETS', str(folder / 'assets'))
        patch.setenv('HWHUP_SETTINGS', str(folder / 'settings.yaml'))
        for body, key in (
            ('adult', 'smpl_neutral'),
            ('adult', 'smpl_male'),
            ('adult', 'smpl_female'),
            ('infant', 'smil'),
        ):
            store_asset(official_body(folder / f'{key}.npz', body), key, '.npz')
        torch.manual_seed(0)
        torch.save({'model': SpinRegressor().state_dict()}, folder / 'model_checkpoint.pt')
        store_asset(folder / 'model_checkpoint.pt', 'spin_checkpoint', '.pt')
        prior = bundled_mixture()
        content = {'means': prior.means, 'covars': prior.covariances, 'weights': prior.weights}
        (folder / 'gmm_08.pkl').write_bytes(pickle.dumps(content, protocol=2))
        store_asset(folder / 'gmm_08.pkl', 'gmm_08', '.pkl')
        np.save(folder / 'J_regressor_h36m.npy', h36m_regressor())
        store_asset(folder / 'J_regressor_h36m.npy', 'j_regressor_h36m', '.npy')
    return folder


def bundled_arrays(body):
    from hwhup_core.body.model import ASSETS

    with np.load(ASSETS / f'{body}.npz') as arrays:
        return {name: arrays[name] for name in arrays.files}


def official_body(file, body):
    """Write a bundled body as an official file: no names, no tag of its vertices' order."""
    arrays = bundled_arrays(body)
    kept = ('v_template', 'shapedirs', 'posedirs', 'J_regressor', 'weights', 'f', 'kintree_table')
    np.savez(file, **{name: arrays[name] for name in kept if name in arrays})
    return file


def h36m_regressor():
    """Return the joints of SMPL under Human3.6M's names."""
    rows = bundled_arrays('adult')['J_regressor']
    return np.stack([rows[SMPL_24.index(IN_H36M.get(name, name))] for name in H36M_17]).astype(np.float64)


@pytest.fixture
def researcher(owned, tmp_path, monkeypatch):
    """Stand where somebody stands who added the files and has not said yet where data sets are."""
    monkeypatch.setenv('HWHUP_ASSETS', str(owned / 'assets'))
    monkeypatch.setenv('HWHUP_SETTINGS', str(tmp_path / 'settings.yaml'))
    return tmp_path


PLACES = {'ankle': 410, 'knee': 340, 'hip': 270, 'wrist': 280, 'elbow': 230, 'shoulder': 180}


def spot(name, left, right, middle, head):
    """Return where a joint of a person with stretched limbs lies."""
    side, _, part = name.partition('_')
    if part in PLACES:
        return (right if side == 'right' else left), PLACES[part]
    return middle, head


def write_slp(root, lab, subject, poses=2, covers=('uncover', 'cover1', 'cover2')):
    """Write a subject as published: a ridge as wide as 120 depth pixels on a bed at 2.1 m is the person."""
    folder = root / lab / f'{subject:05d}'
    columns = (np.arange(424) - 209.5) / 60
    depth = np.full((512, 424), 2101)
    depth[120:421] = np.where(np.abs(columns) < 1, 2050 - 300 * (1 - columns**2), 2101)
    kinds = {
        'RGB': np.full((1024, 576, 3), 90, np.uint8), 'depthRaw': depth.astype(np.uint16),
        'IRraw': np.full((160, 120), 300.0), 'PMarray': np.full((192, 84), 9, np.uint8),
    }  # fmt: skip
    for kind, picture in kinds.items():
        for cover in covers:
            (folder / kind / cover).mkdir(parents=True)
            for number in range(1, poses + 1):
                if kind == 'RGB':
                    assert cv2.imwrite(str(folder / kind / cover / f'image_{number:06d}.png'), picture)
                else:
                    np.save(folder / kind / cover / f'{number:06d}.npy', picture)
    scale = np.diag([0.2, 0.2, 1.0])
    np.save(folder / 'align_PTr_RGB.npy', scale @ np.array([[0.5, 0, 60.0], [0, 0.5, 0], [0, 0, 1]]))
    np.save(folder / 'align_PTr_depth.npy', scale)
    np.save(folder / 'align_PTr_IR.npy', scale @ np.diag([424 / 120, 512 / 160, 1.0]))
    np.save(folder / 'PMcali.npy', np.full((3, 45), 0.047))
    in_depth = np.array([spot(n, 260.0, 160.0, 210.0, 125.0 if n == 'head_top' else 160.0) for n in SLP_14])
    labels = np.concatenate([(in_depth - (60, 0)) * 2 + 1, np.zeros((14, 1))], axis=1)
    savemat(folder / 'joints_gt_RGB.mat', {'joints_gt': np.repeat(labels.T[..., None], poses, axis=2)})


def write_fits(root, subject, poses=2):
    folder = root / 'fits' / f'p{subject:03d}'
    folder.mkdir(parents=True)
    for number in range(1, poses + 1):
        fit = {
            'gender': 'female', 'betas': np.zeros(10), 'body_pose': np.zeros(69), 'transl': np.array([0, 0, 2.0]),
            'global_orient': np.array([np.pi, 0, 0]),
        }  # fmt: skip
        (folder / f's{number:02d}.pkl').write_bytes(pickle.dumps(fit, protocol=2))


@pytest.fixture
def slp(researcher):
    for subject, poses in ((1, 2), (91, 1)):
        write_slp(researcher / 'SLP', 'danaLab', subject, poses)
    write_fits(researcher / 'SLP-3Dfits', 91)
    set_setting('data.slp', researcher / 'SLP')
    set_setting('data.slp_3dfits', researcher / 'SLP-3Dfits')
    return researcher


@pytest.fixture
def small(monkeypatch):
    """Put a small network in the place of SPIN's, which one table is enough for."""
    # Narrower ones crash torch's convolutions on a CPU at this size.
    shape = CompactConfig(input_size=224, stem_width=16, widths=(16, 32), blocks=(1, 1), hidden_width=8)

    def load(path):
        torch.manual_seed(0)
        return CompactRegressor(shape)

    monkeypatch.setattr(official_start, 'load_spin_checkpoint', load)


def plain(results):
    """Return the results after JSON, which must hold all of them."""
    return json.loads(json.dumps(results, allow_nan=False))


def test_weights_of_spins_shape_are_scored(slp):
    results = official.run_official('table1', replace(TINY, columns=('pre_trained',)), slp / 'run', 'test')
    figures = plain(results)['ours']['columns']['pre_trained']['danaLab']
    assert figures['aligned_depth_error_mm']['mean'] > 0
    assert figures['mpjpe_mm']['mean'] > 0


def test_table1_on_slp(slp, small):
    results = plain(official.run_official('table1', TINY, slp / 'run', 'test'))
    assert (results['data'], results['table']) == ('official', 'table1-official-tiny')
    assert results['paper']['full'] == 36.01
    ours = results['ours']
    assert (ours['trained_on'], ours['scored']) == (2, {'danaLab': 1})
    for column in ('pre_trained', 'full'):
        figures = ours['columns'][column]['danaLab']
        assert figures['aligned_depth_error_mm']['mean'] > 0
        assert figures['aligned_depth_error_mm']['frames'] == 1
        assert 0 <= figures['pck']['mean'] <= 1
        assert figures['mpjpe_mm']['mean'] > figures['pa_mpjpe_mm']['mean'] > 0
        assert figures['pve_mm']['frames'] == 1
    assert ours['columns']['full'] != ours['columns']['pre_trained']
    text = official.markdown(results)
    assert '# Table 1, ablation on SLP (data: official)' in text
    assert '| full | 36.01 |' in text


def test_table2_and_s1_on_slp(slp, small, monkeypatch):
    chosen = ('combined',)
    monkeypatch.setattr(official_slp, 'MODALITIES', {name: official_slp.MODALITIES[name] for name in chosen})
    monkeypatch.setattr(official_slp, 'MODALITY_COLUMNS', ('pre_trained', 'full'))
    results = plain(official.run_official('table2', TINY, slp / 'run', 'test'))
    cells = results['ours']['cells']['combined']
    assert set(cells['full']['danaLab']) == {'all', 'uncover', 'cover1', 'cover2'}
    assert cells['full']['danaLab']['all']['aligned_depth_error_mm']['frames'] == 3
    assert cells['full']['danaLab']['cover1']['aligned_depth_error_mm']['frames'] == 1
    assert results['ours']['trained_on'] == 6
    assert '| combined / full / danaLab / cover1 | pck |' in official.markdown(results)


def test_bodymaps_split_asks_for_its_subjects(slp):
    shutil.rmtree(slp / 'SLP' / 'danaLab' / '00001')
    bodymap = OfficialConfig(split='bodymap', columns=('pre_trained',))
    with pytest.raises(AssetError, match='Expected some up to 80'):
        official.run_official('table1', bodymap, slp / 'run', 'test')


def write_h36m(root, name, pictures, depth):
    """Write pictures of a quarter of the size and what SPIN's extractor and HW-HuP write about them."""
    (root / 'images').mkdir(parents=True, exist_ok=True)
    joints = np.array([spot(n, 150.0, 90.0, 120.0, 60.0 if 'head' in n else 140.0) for n in SPIN_24]) * (1.0, 0.5)
    part = np.concatenate([joints, np.ones((24, 1))], axis=1)
    positions = np.concatenate([(joints - joints[14]) / 200, np.zeros((24, 1)), np.ones((24, 1))], axis=1)
    for picture in pictures:
        assert cv2.imwrite(str(root / picture), np.full((250, 250, 3), 120, np.uint8))
        metres = np.full((250, 250), 5000, np.uint16)
        metres[20:230, 80:160] = 4000
        np.save(root / f'{picture}.npy', metres)
    count = len(pictures)
    more = {'depthname': np.array([f'{p}.npy' for p in pictures]), 'vis': np.ones((count, 24))} if depth else {}
    np.savez(
        root / name, imgname=np.array(pictures), center=np.full((count, 2), 120.0), scale=np.full(count, 1.1),
        part=np.repeat(part[None], count, axis=0), S=np.repeat(positions[None], count, axis=0), **more,
    )  # fmt: skip


def frames(subject, *actions):
    return [f'images/{subject}_{action}.54138969_000001.jpg' for action in actions]


def write_3dpw(root):
    (root / 'imageFiles' / 'walk').mkdir(parents=True)
    pictures = [f'imageFiles/walk/image_{number:05d}.jpg' for number in range(2)]
    for picture in pictures:
        assert cv2.imwrite(str(root / picture), np.full((120, 80, 3), 120, np.uint8))
    np.savez(
        root / '3dpw_test.npz', imgname=np.array(pictures), center=np.full((2, 2), 50.0), scale=np.full(2, 0.5),
        pose=np.zeros((2, 72)), shape=np.zeros((2, 10)), gender=np.array(['m', 'f']),
    )  # fmt: skip


@pytest.mark.parametrize('depth', [True, False])
def test_table3_and_s2_on_h36m_and_3dpw(researcher, small, depth):
    root = researcher / 'h36m'
    write_h36m(root, 'h36m_train.npz', frames('S1', 'Eating', 'Walking'), depth)
    write_h36m(root, 'h36m_valid_protocol1.npz', frames('S9', 'Eating') + frames('S11', 'Walking'), False)
    set_setting('data.h36m', root)
    if depth:
        write_3dpw(researcher / '3dpw')
        set_setting('data.3dpw', researcher / '3dpw')
    results = plain(official.run_official('table3', TINY, researcher / 'run', 'test'))
    columns = results['ours']['columns']
    assert set(columns) == ({'pre_trained', 'fine_tuned', 'full'} if depth else {'pre_trained', 'fine_tuned'})
    for column in columns.values():
        assert column['h36m']['mpjpe_mm']['mean'] > column['h36m']['pa_mpjpe_mm']['mean'] > 0
        assert column['h36m']['regressor'] == 'official'
        assert ('3dpw' in column) == depth
    if depth:
        assert columns['full']['3dpw']['pa_mpjpe_mm']['frames'] == 2
        assert columns['full'] != columns['fine_tuned']
    else:
        assert any('depthname' in note for note in results['ours']['notes'])
    by_action = plain(official.run_official('tableS2', TINY, researcher / 'run', 'test'))
    actions = by_action['ours']['actions']['pre_trained']
    assert set(actions['actions']) == {'Eating', 'Walking'}
    both = [each['mpjpe_mm']['mean'] for each in actions['actions'].values()]
    assert actions['plain_mean']['mpjpe_mm'] == pytest.approx(np.mean(both))
    assert 'plain_mean' in official.markdown(by_action)


def write_mimm(root, split, numbers):
    """Write infants before a camera of 200 px at (80, 60) as HW-HuP's converter does."""
    for kind in ('RGB', 'depthRaw'):
        (root / kind).mkdir(parents=True, exist_ok=True)
    images, people = [], []
    for number in numbers:
        name = f'image_{number:05d}'
        pixels = np.array([spot(n, 95.0, 65.0, 80.0, 40.0) for n in COCO_17]) * (1, 0.22) + (number, 0)
        metres = np.full((120, 160), 1500)
        metres[15:110, 50 + number : 112 + number] = 1000 + np.arange(95)[:, None]
        z = metres[pixels[:, 1].astype(int), pixels[:, 0].astype(int)]
        points = np.stack([(pixels[:, 0] - 79.5) / 200 * z, (pixels[:, 1] - 59.5) / 200 * z, z, np.ones(17)], axis=1)
        assert cv2.imwrite(str(root / 'RGB' / f'{name}.jpg'), np.full((120, 160, 3), 150, np.uint8))
        np.save(root / 'depthRaw' / f'{name}.npy', metres)
        images.append(
            {'id': number, 'file_name': f'{name}.jpg', 'depth_name': f'{name}.npy', 'height': 120, 'width': 160}
        )
        people.append({
            'id': number, 'image_id': number, 'category_id': 1, 'bbox': [40, 10, 80, 100], 'area': 8000, 'iscrowd': 0,
            'keypoints': np.concatenate([pixels, np.full((17, 1), 2)], axis=1).ravel().tolist(), 'num_keypoints': 17,
            '3d_keypoints': points.ravel().tolist(),
        })  # fmt: skip
    category = {'id': 1, 'name': 'person', 'keypoints': list(COCO_17), 'skeleton': []}
    content = {'images': images, 'annotations': people, 'categories': [category]}
    (root / f'anno_{split}.json').write_text(json.dumps(content))


def test_table4_on_mimm(researcher, small, monkeypatch):
    root = researcher / 'MIMMv2'
    write_mimm(root, 'train', (1, 2, 3))
    write_mimm(root, 'valid', (4, 5))
    set_setting('data.mimm', root)
    camera = official_infants.camera_of(official_infants.read_mimm(root, BadSamples()))
    np.testing.assert_allclose(camera, (200, 80, 200, 60), rtol=0.01)
    results = plain(official.run_official('table4', TINY, researcher / 'run', 'test'))
    ours = results['ours']
    assert (ours['trained_on'], ours['scored']) == (3, {'mimm': 2})
    for column in ('pre_trained', 'fine_tuned', 'full'):
        assert ours['columns'][column]['mimm']['pck']['frames'] == 2
    assert results['paper']['full'] == 42.0
    # What is trained already is not trained again, and gives the same figures.
    monkeypatch.setattr(official_start, 'adapt', None)
    assert plain(official.run_official('table4', TINY, researcher / 'run', 'test'))['ours'] == ours


def test_all_that_is_missing_is_named_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('HWHUP_ASSETS', str(tmp_path / 'assets'))
    monkeypatch.setenv('HWHUP_SETTINGS', str(tmp_path / 'settings.yaml'))
    for table in ON_OFFICIAL_FILES:
        assert not official.is_configured(table)
        assert main(['reproduce', table, '--data', 'official', '--out', str(tmp_path / 'out')]) != 0
        said = capsys.readouterr().err
        for part in (
            'hwhup config set data.',
            'spin_checkpoint',
            'gmm_08',
            'hwhup assets add FILE',
            '--data synthetic',
        ):
            assert part in said, (table, part)
    assert not (tmp_path / 'out').exists()


def test_configured_data_without_weights_is_no_stand_in(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('HWHUP_ASSETS', str(tmp_path / 'assets'))
    monkeypatch.setenv('HWHUP_SETTINGS', str(tmp_path / 'settings.yaml'))
    set_setting('data.slp', tmp_path)
    assert main(['reproduce', 'table1', '--out', str(tmp_path / 'out')]) != 0
    said = capsys.readouterr().err
    assert 'smpl_neutral' in said
    assert 'data.slp (' not in said


def test_emulated_bodies_take_the_official_regressor(researcher):
    body = load_body('smpl_neutral')
    assert body.vertex_order == 'smpl'
    assert 'h36m_pelvis' in body.landmark_names
