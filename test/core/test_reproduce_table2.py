"""The re-enactment of Tables 2 and S1: figures by hand, and the whole of it at toy size."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hwhup_core.cli.main import main
from hwhup_core.evaluation.metrics import Interval
from hwhup_core.evaluation.scores import FrameTags, PersonScores, load_scores
from hwhup_core.networks.compact import CompactConfig
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.reproduce import config as table_config
from hwhup_core.reproduce import results
from hwhup_core.reproduce.config import MODALITIES, MODALITY_COLUMNS, MODALITY_SMALL
from hwhup_core.reproduce.modality_pictures import input_picture
from hwhup_core.reproduce.modality_results import (
    difference,
    markdown_s1,
    markdown_table2,
    modality_results,
    under,
    verdict,
)
from hwhup_core.reproduce.paper import TABLE2_DEPTH_MM
from hwhup_core.reproduce.table2 import run_modalities
from hwhup_core.training.pools import Pictures
from hwhup_core.training.transforms import Transform

TOY = replace(
    MODALITY_SMALL,
    size='toy',
    source_subjects=1,
    train_subjects=1,
    test_subjects=1,
    poses=3,
    network=CompactConfig(32, 4, 3, (4, 8), (1, 1), 4, 16),
    inputs=InputConfig(size=32),
    pretrain=replace(MODALITY_SMALL.pretrain, epochs=1),
    adapt=replace(MODALITY_SMALL.adapt, epochs=2),
    stage_two_epoch=1,
    batch_size=2,
    bfloat16=False,
)


COVERS = ('uncover', 'cover1', 'cover2')


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch):
    """Sixteen cells of six metrics take their time; these cases come out the same in any number of rounds."""
    monkeypatch.setattr(results, 'ROUNDS', 60)


def scores(depth, pck=1.0):
    """Two subjects in one pose under three covers; `depth` in that order."""
    n, depth = 6, np.array(depth, float)
    tags = FrameTags(np.repeat([1, 2], 3), np.ones(n, int), np.tile(COVERS, 2), np.ones(n, int))
    lengths = dict.fromkeys(('masked_aligned_depth_error_mm', 'median_aligned_depth_error_mm', 'mask_iou'), depth)
    joints = dict.fromkeys(('mpjpe_mm', 'pa_mpjpe_mm', 'pve_mm'), 2 * depth)
    return PersonScores(
        aligned_depth_error_mm=depth, joint_errors_mm=np.tile(depth[:, None], (1, 24)), pck=np.full(n, pck),
        pckh=np.full(n, pck), skipped=np.zeros(n, bool), tags=tags, **lengths, **joints,
    )  # fmt: skip


def results_of(full, fine_tuned):
    columns = {'pre_trained': scores([100] * 6), 'fine_tuned': scores(fine_tuned, 0.5), 'full': scores(full, 0.75)}
    every = {(modality, column): mine for modality in MODALITIES for column, mine in columns.items()}
    return modality_results('table2', TOY, every, 'the command', 'the commit')


def test_a_cell_is_the_mean_over_its_cover():
    cells = results_of([10, 20, 30, 20, 30, 40], [20, 30, 40, 30, 40, 50])['cells']['lwir']
    means = {cover: cell['columns']['full']['aligned_depth_error_mm']['mean'] for cover, cell in cells.items()}
    assert means == {'uncover': 15, 'cover1': 25, 'cover2': 35, 'all': 25}
    assert {cell['frames'] for cover, cell in cells.items() if cover != 'all'} == {2}
    assert cells['cover1']['paper_aligned_depth_error_mm'] == TABLE2_DEPTH_MM['lwir']['cover1'] == 39.82
    # Every frame is better by 10, whichever subjects are drawn.
    change = cells['all']['full_minus_fine_tuned']['aligned_depth_error_mm']
    assert (change['mean'], change['low'], change['high']) == (-10, -10, -10)


def test_the_difference_is_paired():
    one, other = scores([1, 2, 3, 101, 102, 103]), scores([2, 3, 4, 104, 105, 106])
    found = difference(one, other, 'aligned_depth_error_mm')
    assert (found.mean, found.low, found.high) == (-2, -3, -1)
    assert under(one, 'cover2').tolist() == [False, False, True] * 2


def test_a_cell_that_is_not_below_is_marked():
    assert verdict(Interval(-1, -2, -0.5, 2)) == 'below'
    assert verdict(Interval(-1, -2, 0.5, 2)) == 'below, but the interval holds 0'
    assert verdict(Interval(1, -2, 4, 2)) == 'not below'
    good = markdown_table2(results_of([1] * 6, [2] * 6))
    assert 'None: it is below in all cells' in good
    bad = markdown_table2(results_of([1, 1, 3, 1, 1, 3], [2] * 6))
    assert '- PM, cover 2: not below; the difference is 1.0 (1.0 to 1.0) mm in depth' in bad
    assert '- PM, no cover' not in bad
    assert '**1.0** (36.87)' in bad
    assert '3.0 [not below] (37.26)' in bad


def test_tables_say_whose_data_they_are_of():
    found = results_of([1] * 6, [2] * 6)
    for text in (markdown_table2(found), markdown_s1(found)):
        assert 'Data: synthetic bed' in text
        assert 'Made by `the command`, seed 0, commit the commit' in text
    assert '| Depth | no cover | 96.64 | 50.0 (50.0 to 50.0) | 75.0 (75.0 to 75.0) | 25.0 (' in markdown_s1(found)


def test_pictures_show_what_the_network_reads():
    ramp = np.tile(np.arange(8, dtype=np.uint8), (1, 8, 1)) * 10
    pictures = Pictures(
        np.ones(1), np.zeros((1, 2)), depth=20000 - 100 * ramp.astype(np.uint16), infrared=ramp,
        pressure=ramp.transpose(0, 2, 1),
    )  # fmt: skip
    still = Transform(0.0, 1.0, np.zeros(2), False)
    infrared = input_picture(pictures, 0, still, (Modality.INFRARED,))
    assert (infrared[..., 0] == infrared[..., 2]).all()
    assert infrared[100, 14, 0] < 10
    assert infrared[100, 209, 0] > 245
    combined = input_picture(pictures, 0, still, (Modality.DEPTH, Modality.INFRARED, Modality.PRESSURE))
    # Near and warm to the right, pressure below.
    assert combined[14, 209].tolist() == pytest.approx([255, 255, 0], abs=15)
    assert combined[209, 14].tolist() == pytest.approx([0, 0, 255], abs=15)


@pytest.fixture(scope='module')
def toy_run(tmp_path_factory):
    torch.set_num_threads(1)
    run = tmp_path_factory.mktemp('table2')
    return run, {cell: load_scores(file) for cell, file in run_modalities(TOY, run, processes=1).items()}


def test_every_modality_is_scored_under_every_cover(toy_run):
    _, scores = toy_run
    assert set(scores) == {(modality, column) for modality in MODALITIES for column in MODALITY_COLUMNS}
    for mine in scores.values():
        assert sorted(set(mine.tags.cover)) == ['cover1', 'cover2', 'uncover']
        assert len(mine) == TOY.poses * 3
        assert np.isfinite(mine.pckh).all()


def test_a_network_is_scored_on_what_it_reads(toy_run):
    _, scores = toy_run
    starts = [scores[modality, 'pre_trained'].mpjpe_mm for modality in MODALITIES]
    assert all(np.abs(one - other).max() > 0 for i, one in enumerate(starts) for other in starts[:i])
    for modality in MODALITIES:
        assert np.abs(scores[modality, 'full'].mpjpe_mm - scores[modality, 'fine_tuned'].mpjpe_mm).max() > 0


def test_covers_share_one_fit_and_the_supervising_depth(toy_run):
    run, _ = toy_run
    with np.load(run / 'weak.npz') as weak:
        by_pose = {}
        for name, row in zip(weak['names'], weak['labels.rows']):
            subject, _, number = name.split('/')
            by_pose.setdefault((subject, number), set()).add(int(row))
        assert {len(rows) for rows in by_pose.values()} == {1}
        assert len({min(rows) for rows in by_pose.values()}) == TOY.poses
        first = [place for place, row in enumerate(weak['labels.rows']) if row == 0]
        assert len(first) == 3
        np.testing.assert_array_equal(weak['labels.depth'][first[0]], weak['labels.depth'][first[2]])
        # What the network sees is not that depth: the blanket lies on top.
        assert (weak['pictures.depth'][first[0]] != weak['pictures.depth'][first[2]]).mean() > 0.1


def test_the_command_writes_both_tables_from_one_run(toy_run, tmp_path, monkeypatch, capsys):
    run, _ = toy_run
    monkeypatch.setitem(table_config.MODALITY_SIZES, 'small', TOY)
    for table in ('table2', 'tableS1'):
        arguments = ['reproduce', table, '--run', str(run), '--out', str(tmp_path), '--processes', '1']
        assert main(arguments) == 0
        written = json.loads((tmp_path / f'{table}-toy.json').read_text())
        assert {modality: set(row) for modality, row in written['cells'].items()} == {
            modality: {*COVERS, 'all'} for modality in MODALITIES
        }
        assert (tmp_path / f'{table}-toy.md').read_text() in capsys.readouterr().out
    assert (tmp_path / 'table2-toy.jpg').stat().st_size > 10_000
