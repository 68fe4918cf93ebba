"""`hwhup adapt` from folder to weights with their card, on a few small frames and a tiny network."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from hwhup_core.body.model import load_body
from hwhup_core.cli.main import main
from hwhup_core.errors import ConfigError
from hwhup_core.networks.card import ModelCard
from hwhup_core.networks.checkpoint import load_card, load_checkpoint, save_checkpoint
from hwhup_core.networks.compact import CompactConfig, CompactRegressor
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.training.slp_run import SlpRunConfig, stage_of
from hwhup_core.training.stages import PRESETS

SHAPE = CompactConfig(
    input_size=32, stem_width=4, stem_kernel=3, widths=(4, 8), blocks=(1, 1), spatial_width=2, hidden_width=8
)
SHORT = ('--epochs', '2', '--stage-two', '1', '--batch', '4', '--lr', '1e-4')


@pytest.fixture(scope='module')
def beds(tmp_path_factory):
    out = tmp_path_factory.mktemp('data') / 'beds'
    assert main(['synth', str(out), '--poses', '4', '--size', '64', '--subjects', '2', '--seed', '7']) == 0
    return out


@pytest.fixture(scope='module')
def start(tmp_path_factory):
    torch.manual_seed(0)
    body, stem = load_body('adult'), tmp_path_factory.mktemp('start') / 'tiny'
    card = ModelCard('compact', InputConfig(size=32), body.body_id, body.hash, 'Apache-2.0', network=SHAPE)
    save_checkpoint(stem, CompactRegressor(SHAPE), card)
    return f'{stem}.safetensors'


@pytest.fixture(scope='module')
def adapted(beds, start, tmp_path_factory):
    run = tmp_path_factory.mktemp('runs') / 'run'
    assert main(['adapt', str(beds), '--weights', start, '--out', str(run), *SHORT]) == 0
    return run


def test_the_run_leaves_everything(adapted, start):
    assert {
        'state.pt', 'tensorboard', 'report.md', 'report.json', 'adapted.safetensors', 'adapted.json', 'frames.json',
    } <= {path.name for path in adapted.iterdir()}  # fmt: skip
    loaded = load_checkpoint(adapted / 'adapted.safetensors', load_body('adult'))
    before = load_checkpoint(Path(start), load_body('adult'))
    assert loaded.card.weights_hash != before.card.weights_hash
    assert loaded.card.input == before.card.input
    assert set(loaded.card.metrics) == {'aligned_depth_error_mm', 'reprojection_error_px'}
    assert loaded.card.metrics['reprojection_error_px'].count == 4
    assert loaded.card.training_config['start'] == before.card.weights_hash
    frames = json.loads((adapted / 'frames.json').read_text())
    assert (frames['trained_on'], frames['held_out'], frames['left_out']) == (4, 4, {})
    assert frames['held_out_after']['reprojection_error_px'] == pytest.approx(
        loaded.card.metrics['reprojection_error_px'].value
    )
    report = json.loads((adapted / 'report.json').read_text())
    assert [set(epoch['terms']) >= {'proxies'} for epoch in report['epochs']] == [True, False]
    assert all(np.isfinite(epoch['validation']['aligned_depth_error_mm']) for epoch in report['epochs'])


def test_the_same_command_again_finds_the_run_done(adapted, beds, start, capsys):
    weights = load_card(adapted / 'adapted').weights_hash
    assert main(['adapt', str(beds), '--weights', start, '--out', str(adapted), *SHORT]) == 0
    assert load_card(adapted / 'adapted').weights_hash == weights
    assert 'held out reprojection_error_px' in capsys.readouterr().out


@pytest.mark.parametrize('weights', ['start', 'none'])
def test_a_dry_run_tells_and_writes_nothing(beds, start, tmp_path, capsys, weights):
    run = tmp_path / 'run'
    given = start if weights == 'start' else 'none'
    assert main(['adapt', str(beds), '--weights', given, '--out', str(run), '--dry-run']) == 0
    out = capsys.readouterr().out
    assert 'stage I: 3 frames' in out
    assert 'stage II: 3 frames' in out
    assert 'proxies' in out
    assert 'nothing was changed' in out
    assert not run.exists()


def test_static_presets_and_one_subject(beds, start, tmp_path):
    one = tmp_path / 'one'
    (one / 'danaLab').mkdir(parents=True)
    (one / 'danaLab' / '00001').symlink_to(beds / 'danaLab' / '00001')
    run = tmp_path / 'run'
    arguments = ['--preset', 'without-loop', '--epochs', '1', '--batch', '3', '--spin-camera', '--seed', '3']
    assert main(['adapt', str(one), '--weights', start, '--out', str(run), *arguments]) == 0
    frames = json.loads((run / 'frames.json').read_text())
    assert (frames['trained_on'], frames['held_out']) == (3, 1)


def test_bad_frames_are_named_or_left_out(beds, start, tmp_path, capsys):
    broken = tmp_path / 'broken'
    shutil.copytree(beds, broken)
    path = broken / 'danaLab/00001/depthRaw/uncover/000002.npy'
    path.write_bytes(path.read_bytes()[:100])
    run = tmp_path / 'run'
    command = ['adapt', str(broken), '--weights', start, '--out', str(run), '--epochs', '1', '--batch', '3']
    assert main(command) == 2
    assert '00001/000002 cannot be used' in capsys.readouterr().err
    assert main([*command, '--skip-bad']) == 0
    assert 'left out: unreadable 1' in capsys.readouterr().out
    assert json.loads((run / 'frames.json').read_text())['left_out'] == {'unreadable': 1}


@pytest.mark.parametrize(
    ('arguments', 'says'),
    [
        (('--input', 'rgb'), 'read depth, and --input is rgb'),
        (('--body', 'infant'), 'Made for body'),
        (('--preset', 'best'), "no preset 'best'"),
        (('--batch', '5'), 'do not fill one batch of 5'),
        (('--batch', '0'), 'at least 1'),
        (('--covers', 'cover2'), 'cannot be used'),
    ],
)
def test_wrong_requests_are_named(beds, start, tmp_path, capsys, arguments, says):
    assert main(['adapt', str(beds), '--weights', start, '--out', str(tmp_path / 'run'), *arguments]) == 2
    assert says in capsys.readouterr().err


def test_a_run_of_another_configuration_is_refused(adapted, beds, start, capsys):
    assert main(['adapt', str(beds), '--weights', start, '--out', str(adapted), *SHORT, '--seed', '5']) == 2
    assert 'another configuration' in capsys.readouterr().err


def config(tmp_path, **changes):
    return SlpRunConfig(tmp_path, 'none', tmp_path, **changes)


@pytest.mark.parametrize('name', PRESETS)
def test_presets_have_the_real_camera_and_these_joints(tmp_path, name):
    stage = stage_of(config(tmp_path, preset=name))
    assert stage.crop_camera == 'true'
    assert stage_of(config(tmp_path, preset=name, spin_camera=True)).crop_camera == PRESETS[name].crop_camera
    assert stage.weights.keypoints == pytest.approx(PRESETS[name].weights.keypoints * 16 / 49)
    assert stage.smplify.threshold == pytest.approx(PRESETS[name].smplify.threshold * 49 / 16)


def test_stage_two_keeps_its_share_of_the_epochs(tmp_path):
    assert stage_of(config(tmp_path, epochs=6)).stage_two_epoch == 2
    assert stage_of(config(tmp_path, epochs=6, stage_two=5)).stage_two_epoch == 5
    assert stage_of(config(tmp_path)).stage_two_epoch == 10
    with pytest.raises(ConfigError, match='at least 0'):
        stage_of(config(tmp_path, epochs=-1))
    assert config(tmp_path, modalities=(Modality.RGB,)).modalities == (Modality.RGB,)
