"""Stand-ins for Tables 3, 4 and S2: their joints, figures and names; one whole run at toy size."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hwhup_core.body.joints import EVAL_14, H36M_17, indices
from hwhup_core.body.model import load_body
from hwhup_core.errors import HwhupError
from hwhup_core.networks.compact import CompactConfig
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.reproduce import paper
from hwhup_core.reproduce import table3 as upright
from hwhup_core.reproduce import table4 as infants
from hwhup_core.reproduce.stand_in import COLUMNS, fourteen_joints, reading, run_stand_in, seen_frames
from hwhup_core.training.pools import WeakPool, load_pool
from hwhup_core.types import BodyParams

TINY = CompactConfig(input_size=32, stem_width=4, widths=(4, 6), blocks=(1, 1), spatial_width=2, hidden_width=8)


def toy(config):
    training = replace(
        config.training,
        size='toy',
        seed=1,  # With seed 0 a wall hides the one person.
        source_subjects=1,
        train_subjects=1,
        test_subjects=1,
        poses=4,
        network=TINY,
        inputs=InputConfig(size=32),
        pretrain=replace(config.training.pretrain, epochs=1),
        adapt=replace(config.training.adapt, epochs=2),
        stage_two_epoch=1,
        batch_size=4,
        observation=replace(config.training.observation, picture=48),
        bfloat16=False,
    )
    source, target = (replace(each, poses=4, size=96) for each in (config.source, config.target))
    return replace(config, training=training, source=source, target=target)


@pytest.fixture(scope='module')
def rooms(tmp_path_factory):
    run = tmp_path_factory.mktemp('rooms')
    config = toy(upright.SIZES['small'])
    run_stand_in(config, run)
    return config, run


def test_fourteen_joints_count_from_the_pelvis():
    body = load_body('adult')
    params = BodyParams(torch.eye(3)[None], torch.eye(3).expand(1, 23, 3, 3), torch.zeros(1, 10))
    joints = fourteen_joints(body, params)[0]
    rest = body.rest_joints.double().numpy()
    for name, smpl in (('left_ankle', 7), ('right_wrist', 21), ('left_shoulder', 16)):
        np.testing.assert_allclose(joints[EVAL_14.index(name)], rest[smpl] - rest[0], atol=1e-5)
    # The head lies above the neck, and is not its top.
    assert 0.1 < joints[EVAL_14.index('head'), 1] - joints[EVAL_14.index('neck'), 1] < 0.3
    assert len(indices(H36M_17, EVAL_14)) == 14


def test_table3_and_s2_at_toy_size(rooms):
    config, run = rooms
    results = upright.table3(config, run, 'hwhup reproduce table3')
    assert json.loads(json.dumps(results))['data'] == 'synthetic'
    assert results['table'] == 'table3-toy'
    assert results['paper']['full']['h36m_mpjpe_mm'] == 104.1
    for column in COLUMNS:
        figures = results['fourteen_joints'][column]
        assert figures['mpjpe_mm']['mean'] > figures['pa_mpjpe_mm']['mean'] > 0
    apart = results['differences']['full_minus_pre_trained']['mpjpe_mm']['mean']
    means = {column: results['fourteen_joints'][column]['mpjpe_mm']['mean'] for column in COLUMNS}
    assert apart == pytest.approx(means['full'] - means['pre_trained'])
    text = upright.markdown_table3(results)
    assert text.startswith('# Table 3, stand-in (synthetic data)')
    assert '| 104.1 | 50.4 | 66.1 |' in text

    by_posture = upright.table_s2(config, run, 'hwhup reproduce tableS2')
    assert by_posture['table'] == 'tableS2-toy'
    assert set(by_posture['postures']) <= {'standing', 'sitting'}
    each = [columns['full']['mpjpe_mm']['mean'] for columns in by_posture['postures'].values()]
    assert by_posture['plain_mean']['full']['mpjpe_mm'] == pytest.approx(np.mean(each))
    assert '106.0 and 51.9' in upright.markdown_s2(by_posture)


def test_a_finished_table_is_not_made_again_and_another_is_refused(rooms):
    config, run = rooms
    before = {path: path.stat().st_mtime_ns for path in run.rglob('*.npz')}
    run_stand_in(config, run)
    assert {path: path.stat().st_mtime_ns for path in run.rglob('*.npz')} == before
    with pytest.raises(HwhupError, match='another configuration'):
        run_stand_in(toy(infants.SIZES['small']), run)


def test_a_room_teaches_by_the_range_of_the_limbs(rooms):
    """The weak target has masks, though nobody lies on anything, and walls farther than a bed's far limit."""
    pool = load_pool(rooms[1] / 'weak.npz', WeakPool)
    assert len(pool) == 4
    assert pool.labels.mask.any(axis=(1, 2)).all()
    share = pool.labels.mask.mean(axis=(1, 2))
    assert (share < 0.8).all()


def test_frames_that_show_nobody_do_not_teach(rooms):
    pool = load_pool(rooms[1] / 'weak.npz', WeakPool)
    hidden = pool.labels.visibility.copy()
    hidden[[0, 2]] = 0
    kept = seen_frames(replace(pool, labels=replace(pool.labels, visibility=hidden)))
    assert kept.names == (pool.names[1], pool.names[3])
    with pytest.raises(HwhupError, match='Nobody is seen'):
        seen_frames(replace(pool, labels=replace(pool.labels, visibility=np.zeros_like(hidden))))


def test_domains_differ_from_one_another():
    rooms, cribs = (module.SIZES['small'] for module in (upright, infants))
    assert rooms.source.sensor != rooms.target.sensor
    assert (cribs.source.kind, cribs.target.kind) == ('room', 'crib')
    assert {cribs.source.body, cribs.target.body, cribs.training.body} == {'infant'}
    assert cribs.training.augment.turn_limit == 180
    colour = reading(rooms, Modality.RGB)
    assert colour.name == 'table3-small-rgb'
    assert colour.target.modalities == ('depth', 'color')
    assert rooms.name == 'table3-small'


def test_the_papers_figures_are_in_one_place():
    assert paper.TABLE1_DEPTH_MM['full'] == 36.01
    assert paper.TABLE3_MM['pre_trained']['h36m_mpjpe_mm'] < paper.TABLE3_MM['full']['h36m_mpjpe_mm']
    assert paper.TABLE4_DEPTH_MM['full'] == 42.0
