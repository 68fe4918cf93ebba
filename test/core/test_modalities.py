"""All sensors and covers of a small bed: one fit a pose, and training on depth, infrared and pressure together."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hwhup_core.body.model import load_body
from hwhup_core.cli.main import main
from hwhup_core.data.sample import BadSamples
from hwhup_core.data.slp import read_slp
from hwhup_core.data.slp_samples import read_slp_samples
from hwhup_core.errors import ConfigError
from hwhup_core.networks.card import ModelCard
from hwhup_core.networks.checkpoint import load_card, save_checkpoint
from hwhup_core.networks.compact import CompactConfig, CompactRegressor
from hwhup_core.networks.packing import INPUTS, InputConfig, Modality, crop_to_input
from hwhup_core.training.batches import Crops, draw_weak
from hwhup_core.training.domain_pools import weak_pool_of
from hwhup_core.training.observe import ObservationConfig, wide_box, wide_pictures
from hwhup_core.training.slp_pools import weak_pool_from_slp
from hwhup_core.training.stored_pools import stored_pose
from hwhup_core.training.transforms import Transform

COVERS = ('uncover', 'cover1', 'cover2')
COMBINED = INPUTS['combined']
OBSERVATION = ObservationConfig(picture=64)
STILL = Transform(0.0, 1.0, np.zeros(2))
SHAPE = CompactConfig(
    input_size=32, stem_width=4, stem_kernel=3, widths=(4, 8), blocks=(1, 1), spatial_width=2, hidden_width=8
)


@pytest.fixture(scope='module')
def beds(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'beds'
    what = ['--modalities', 'depth', 'color', 'infrared', 'pressure', '--covers', *COVERS]
    assert main(['synth', str(out), '--poses', '3', '--size', '64', '--subjects', '3', '--seed', '7', *what]) == 0
    return out


@pytest.fixture(scope='module')
def pool(beds):
    return weak_pool_from_slp(beds, (1, 2), None, (Modality.RGB, *COMBINED), OBSERVATION, skip_bad=False)[0]


def assert_shared(labels, rows):
    """Check that the samples of a row differ in nothing that supervises."""
    assert labels.rows.tolist() == rows
    for name, values in vars(labels).items():
        for row in set(rows):
            same = values[labels.rows == row]
            assert (same == same[0]).all(), name


def test_the_covers_of_a_pose_share_fit_and_supervision(pool, beds):
    assert_shared(pool.labels, [row for row in range(6) for _ in COVERS])
    assert not (pool.labels.depth[0] == pool.labels.depth[3]).all()
    # It is the uncovered depth that supervises, and it is not what a covered sample shows.
    seen = pool.pictures.depth
    shift = np.abs(pool.labels.depth[:, 16:48, 16:48].astype(int) - seen[:, 16:48, 16:48]).mean(axis=(1, 2))
    assert (shift[0::3] < shift[2::3]).all()
    pose = stored_pose(read_slp(beds).pose(2, 1))
    assert_shared(weak_pool_of(pose, 5, 0, OBSERVATION).labels, [5, 5, 5])


def test_samples_share_the_key_of_their_fit(beds, pool):
    dataset = read_slp_samples(beds, BadSamples())
    assert tuple(sample.name for sample in dataset)[:18] == pool.names
    keys = [sample.fit_key for sample in dataset][:18]
    assert [keys.index(key) // 3 for key in keys] == pool.labels.rows.tolist()


@pytest.mark.parametrize(
    ('inputs', 'tolerance'),
    [
        (InputConfig(COMBINED, 32), 0.01),
        # A count is a larger share of the map's own peak.
        (InputConfig((Modality.INFRARED, Modality.PRESSURE), 32, infrared='kelvin', pressure='picture'), 0.06),
        (InputConfig((Modality.DEPTH,), 32, 'millimetres'), 0.01),
    ],
)
def test_training_and_engine_read_the_same(beds, pool, inputs, tolerance):
    sample = read_slp_samples(beds, BadSamples()).samples[4]
    frame, box = sample.load(), wide_box(sample.keypoints.pixels, OBSERVATION.margin)
    one = replace(pool, pictures=wide_pictures(frame, frame.intrinsics, box, 32), names=pool.names[:1])
    drawn = draw_weak(one, np.array([0]), [np.random.default_rng(0)], lambda points, rng: STILL, Crops(inputs))
    live = crop_to_input(frame, box, inputs)
    assert (live.std(axis=(1, 2)) > 0).all()
    np.testing.assert_allclose(drawn.images[0], live, atol=tolerance)


def test_peaks_have_to_be_known(pool):
    old = replace(pool, pictures=replace(pool.pictures, pressure_peak=None))
    crops = Crops(InputConfig((Modality.PRESSURE,), 32, pressure='picture'))
    with pytest.raises(ConfigError, match='peaks'):
        draw_weak(old, np.array([0]), [np.random.default_rng(0)], lambda points, rng: STILL, crops)


@pytest.mark.parametrize('name', ['combined', 'infrared'])
def test_adapting_to_all_covers(beds, tmp_path, name):
    torch.manual_seed(0)
    body = load_body('adult')
    card = ModelCard('compact', InputConfig(INPUTS[name], 32), body.body_id, body.hash, 'CC0-1.0', network=SHAPE)
    save_checkpoint(tmp_path / 'start', CompactRegressor(SHAPE), card)
    command = ['adapt', str(beds), '--weights', str(tmp_path / 'start.safetensors'), '--out', str(tmp_path / 'run')]
    assert main([*command, '--input', name, '--covers', *COVERS, '--epochs', '1', '--batch', '18']) == 0
    assert load_card(tmp_path / 'run' / 'adapted').input.modalities == INPUTS[name]
    frames = json.loads((tmp_path / 'run' / 'frames.json').read_text())
    assert (frames['poses'], frames['trained_on'], frames['held_out']) == (9, 18, 9)
    report = json.loads((tmp_path / 'run' / 'report.json').read_text())
    terms = report['epochs'][0]['terms']
    assert terms
    assert np.isfinite(list(terms.values())).all()


def test_weights_for_another_input_are_named(beds, tmp_path, capsys):
    body = load_body('adult')
    card = ModelCard('compact', InputConfig(size=32), body.body_id, body.hash, 'CC0-1.0', network=SHAPE)
    save_checkpoint(tmp_path / 'start', CompactRegressor(SHAPE), card)
    command = ['adapt', str(beds), '--weights', str(tmp_path / 'start.safetensors'), '--input', 'combined']
    assert main([*command, '--out', str(tmp_path / 'run')]) == 2
    assert 'read depth, and --input is depth, infrared, pressure' in capsys.readouterr().err
