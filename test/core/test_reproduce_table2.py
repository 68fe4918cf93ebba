"""The re-enactment of Tables 2 and S1: figures by hand, and the whole of it at toy size."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwhup_core.evaluation.scores import load_scores
from hwhup_core.networks.compact import CompactConfig
from hwhup_core.networks.packing import InputConfig
from hwhup_core.reproduce.config import MODALITIES, MODALITY_COLUMNS, MODALITY_SMALL
from hwhup_core.reproduce.table2 import run_modalities

TOY = replace(
    MODALITY_SMALL,
    size='toy',
    source_subjects=1,
    train_subjects=1,
    test_subjects=2,
    poses=3,
    network=CompactConfig(32, 4, 3, (4, 8), (1, 1), 4, 16),
    inputs=InputConfig(size=32),
    pretrain=replace(MODALITY_SMALL.pretrain, epochs=1),
    adapt=replace(MODALITY_SMALL.adapt, epochs=2),
    stage_two_epoch=1,
    batch_size=2,
    bfloat16=False,
)


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
        assert len(mine) == 2 * 3 * 3
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
