"""The re-enactment of Table 1: figures by hand, and the whole of it at toy size."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hwhup_core.errors import ConfigError, HwhupError
from hwhup_core.evaluation.scores import FrameTags, PersonScores, load_scores, save_scores
from hwhup_core.networks.compact import CompactConfig
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.reproduce import table1
from hwhup_core.reproduce.config import COLUMNS, ORACLE, SMALL, TableConfig
from hwhup_core.reproduce.pictures import write_pictures
from hwhup_core.reproduce.results import PAPER_MM, markdown, out_of_order, paired_interval, table, way_to_oracle
from hwhup_core.training.stages import TABLE_ONE

TOY = replace(
    SMALL,
    size='toy',
    source_subjects=1,
    train_subjects=1,
    test_subjects=1,
    poses=4,
    network=CompactConfig(32, 4, 3, (4, 8), (1, 1), 4, 16),
    inputs=InputConfig(size=32),
    pretrain=replace(SMALL.pretrain, epochs=1),
    adapt=replace(SMALL.adapt, epochs=2),
    stage_two_epoch=1,
    batch_size=2,
    bfloat16=False,
)


def scores(mpjpe, depth=None, subjects=(1, 1, 2, 2)):
    mpjpe = np.array(mpjpe, float)
    n = len(mpjpe)
    numbers = np.arange(n)
    tags = FrameTags(np.array(subjects), numbers, np.array(['uncover'] * n), np.ones(n, int))
    depth = mpjpe if depth is None else np.array(depth, float)
    rest = dict.fromkeys(('mask_iou', 'pa_mpjpe_mm', 'pve_mm', 'pck', 'pckh'), mpjpe)
    return PersonScores(
        aligned_depth_error_mm=depth, masked_aligned_depth_error_mm=depth, median_aligned_depth_error_mm=depth,
        mpjpe_mm=mpjpe, joint_errors_mm=np.tile(mpjpe[:, None], (1, 24)), skipped=np.zeros(n, bool), tags=tags, **rest,
    )  # fmt: skip


def test_the_way_is_0_at_the_start_1_at_the_oracle_and_linear_between():
    start, oracle = scores([200, 200, 100, 100]), scores([100, 100, 50, 50])
    assert way_to_oracle(start, start, oracle).mean == 0
    assert way_to_oracle(start, oracle, oracle).mean == 1
    halfway = way_to_oracle(start, scores([150, 150, 75, 75]), oracle)
    # Each subject goes half the way, so every draw of subjects does.
    assert (halfway.mean, halfway.low, halfway.high) == pytest.approx((0.5, 0.5, 0.5))


def test_pairs_are_drawn_by_subject():
    values = np.array([1.0, 1.0, 3.0, 3.0])
    interval = paired_interval(np.array([1, 1, 2, 2]), lambda rows: values[rows].mean())
    assert (interval.mean, interval.low, interval.high) == (2.0, 1.0, 3.0)


def test_a_column_out_of_the_papers_order_is_named():
    ours = {name: {'aligned_depth_error_mm': {'mean': v, 'low': v - 1, 'high': v + 1}} for name, v in PAPER_MM.items()}
    assert out_of_order(ours) == []
    ours['full'] = ours['pre_trained']
    (line,) = out_of_order(ours)
    assert line.startswith('full (80.1 mm) is above no_prior')
    assert 'beyond the intervals' in line


def test_every_column_has_its_papers_setting_on_our_joints_and_cameras():
    for name, paper in TABLE_ONE.items():
        stage = SMALL.stage(name)
        assert (stage.fits, stage.proxies, stage.rendered_depth) == (paper.fits, paper.proxies, paper.rendered_depth)
        assert stage.crop_camera == 'true'
        assert (stage.epochs > 0) == (paper.epochs > 0)
        assert (stage.stage_two_epoch == 0) == (paper.stage_two_epoch == 0)
    assert SMALL.stage('no_prior').prior_weight_at(0) == 0
    assert SMALL.stage('full').weights_at(0).proxies > 0 == SMALL.stage('full').weights_at(0).depth


def test_bad_tables_are_refused():
    with pytest.raises(ConfigError, match='at least one subject'):
        replace(SMALL, test_subjects=0)
    with pytest.raises(ConfigError, match=r'inputs\.size is 224'):
        replace(SMALL, inputs=InputConfig(size=224))
    with pytest.raises(ConfigError, match='one modality'):
        replace(SMALL, inputs=InputConfig((Modality.DEPTH, Modality.INFRARED), 112)).name  # noqa: B018
    assert replace(SMALL, inputs=InputConfig((Modality.RGB,), 112)).name == 'table1-small-rgb'


def test_scores_survive_the_disk(tmp_path):
    before = scores([1, 2, 3, 4], [5, 6, 7, np.nan])
    save_scores(tmp_path / 'scores.npz', before)
    after = load_scores(tmp_path / 'scores.npz')
    np.testing.assert_equal(after.aligned_depth_error_mm, before.aligned_depth_error_mm)
    np.testing.assert_equal(vars(after.tags), vars(before.tags))


@pytest.fixture(scope='module')
def toy_run(tmp_path_factory):
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp('table')
    return run, table1.run_table(TOY, run, processes=1)


def test_a_whole_table_at_toy_size(toy_run, tmp_path):
    run, files = toy_run
    assert list(files) == list(COLUMNS)
    found = {name: load_scores(file) for name, file in files.items()}
    assert {len(column) for column in found.values()} == {TOY.poses}
    results = json.loads(json.dumps(table(TOY, found, 'the command')))
    for column in results['columns'].values():
        for metric in ('aligned_depth_error_mm', 'mpjpe_mm', 'pa_mpjpe_mm', 'mask_iou'):
            assert {'mean', 'low', 'high'} <= set(column[metric])
    assert results['config']['seed'] == 0
    text = markdown(results)
    assert all(name in text for name in ('noPrior', "oracle (target's true 3D)", 'the command'))
    assert np.abs(found['full'].mpjpe_mm - found['pre_trained'].mpjpe_mm).max() > 0
    assert np.abs(found['full'].mpjpe_mm - found[ORACLE].mpjpe_mm).max() > 0
    write_pictures(TOY, run, tmp_path)
    assert (tmp_path / 'table1-toy.jpg').stat().st_size > 10_000


def test_a_finished_table_is_not_made_again_and_another_is_refused(toy_run):
    run, files = toy_run
    before = {file: file.stat().st_mtime_ns for file in files.values()}
    table1.run_table(TOY, run, processes=1)
    assert before == {file: file.stat().st_mtime_ns for file in files.values()}
    with pytest.raises(HwhupError, match='another configuration'):
        table1.run_table(replace(TOY, seed=1), run, processes=1)


def test_the_weak_target_holds_nothing_exact(toy_run):
    run, _ = toy_run
    with np.load(run / 'weak.npz') as weak:
        assert not {name for name in weak if 'rotation' in name or 'betas' in name or 'mpjpe' in name}


def test_the_defaults_are_whole():
    assert TableConfig().name == 'table1-small'
