"""`hwhup evaluate --data`: weights scored on people on disk against a truth that lies elsewhere."""

import json
import shutil

import numpy as np
import pytest
import torch

from hwhup_core.body.model import load_body
from hwhup_core.cli.main import main
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.networks.card import ModelCard
from hwhup_core.networks.checkpoint import save_checkpoint
from hwhup_core.networks.compact import CompactConfig, CompactRegressor
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.synthetic.slp_layout import read_truth, truth_file
from hwhup_core.training import domain_pools
from hwhup_core.training.observe import ObservationConfig
from hwhup_core.training.stored_pools import open_people, stored_pose, stored_test_pool

TINY = CompactConfig(input_size=16, stem_width=2, widths=(2,), blocks=(1,), spatial_width=1, hidden_width=2)
CONFIG = ObservationConfig(picture=48)


@pytest.fixture(scope='module')
def people(tmp_path_factory):
    """Return the folder of two subjects with two poses; what was seen is there again under a cover's name."""
    out = tmp_path_factory.mktemp('people') / 'beds'
    assert main(['synth', str(out), '--poses', '2', '--size', '128', '--subjects', '2', '--seed', '5']) == 0
    for pictures in sorted(out.glob('danaLab/*/*/uncover')):
        shutil.copytree(pictures, pictures.with_name('cover1'))
    return out


def truth_of(data):
    return data.with_name(f'{data.name}-truth')


def weights(folder, modality=Modality.DEPTH):
    body = load_body('adult')
    torch.manual_seed(0)
    card = ModelCard('compact', InputConfig((modality,), 16), body.body_id, body.hash, 'CC0-1.0', TINY)
    save_checkpoint(folder / modality.value, CompactRegressor(TINY), card)
    return str(folder / modality.value)


def test_the_report_counts_what_lies_in_the_folder(people, tmp_path, capsys):
    out = tmp_path / 'out'
    assert main(['evaluate', '--weights', weights(tmp_path), '--data', str(people), '--out', str(out)]) == 0
    content = json.loads((out / 'evaluation.json').read_text())
    assert (content['frames'], content['subjects']) == (8, 2)
    assert set(content['covers']) == {'uncover', 'cover1'}
    assert content['overall']['mpjpe_mm']['mean'] > 50
    assert content['provenance']['people']['kind'] == 'bed'
    assert (out / 'evaluation.md').read_text().count('left_knee') == 1
    assert (out / 'evaluation.html').read_text().count('<section>') == 8
    assert 'mpjpe_mm' in capsys.readouterr().out


def test_a_pool_from_disk_is_that_of_memory(people):
    opened = open_people(people, truth_of(people))
    body = load_body('adult')
    pool = stored_test_pool(opened, body, CONFIG)
    assert pool.weak.names == tuple(
        f'{subject:05d}/{cover}/{number:06d}'
        for subject in (1, 2)
        for number in (1, 2)
        for cover in ('uncover', 'cover1')
    )
    np.testing.assert_array_equal(pool.weak.labels.rows, [0, 0, 1, 1, 2, 2, 3, 3])
    # The third pose is the first of the second subject, with that subject's truth.
    pose, truth = opened.poses.pose(2, 1), read_truth(truth_of(people), 2)[0]
    alone = domain_pools.test_pool_of(stored_pose(pose), truth, body, 2, 0, CONFIG)
    np.testing.assert_array_equal(pool.truth.labels.joint_rotations[4], alone.truth.labels.joint_rotations[0])
    np.testing.assert_array_equal(pool.weak.labels.mask[4], alone.weak.labels.mask[0])
    assert pool.postures[4] == int(truth.posture)
    # The true 2D joints lie where they were labelled: these people were made without label noise.
    labelled = pool.weak.labels.confidence > 0
    body_joints = labelled[:, :12]
    gap = np.abs(pool.weak.labels.keypoints - pool.truth.labels.keypoints)[:, :12][body_joints]
    assert gap.max() < 1e-3


def test_wrong_input_is_refused_in_a_sentence(people, tmp_path, capsys):
    infant = load_body('infant')
    with pytest.raises(ConfigError, match="bodies 'adult' of hash"):
        stored_test_pool(open_people(people, truth_of(people)), infant, CONFIG)
    with pytest.raises(AssetError, match='There is no truth'):
        stored_test_pool(open_people(people, tmp_path), load_body('adult'), CONFIG)
    with pytest.raises(AssetError, match=r'domain\.yaml'):
        open_people(tmp_path, tmp_path)
    of_rgb = weights(tmp_path, Modality.RGB)
    assert main(['evaluate', '--weights', of_rgb, '--data', str(people), '--out', str(tmp_path / 'out')]) == 2
    assert 'no rgb pictures' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_a_truth_of_another_run_is_refused(people, tmp_path):
    other = tmp_path / 'truth'
    shutil.copytree(truth_of(people), other)
    with np.load(truth_file(other, 1)) as file:
        arrays = {name: array if array.ndim == 0 else array[:1] for name, array in file.items()}
    np.savez(truth_file(other, 1), **arrays)
    with pytest.raises(AssetError, match='2 labelled poses and 1 true ones'):
        stored_test_pool(open_people(people, other), load_body('adult'), CONFIG)
