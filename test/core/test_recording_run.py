"""`hwhup adapt RECORDING` from a small recorded crib to weights, report and verdict; the verdict on numbers by hand."""

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hwhup_core.body.joints import SLP_14
from hwhup_core.body.model import load_body
from hwhup_core.cli.main import main
from hwhup_core.data.recording_card import RecordingCard
from hwhup_core.data.recording_writer import RecordingWriter
from hwhup_core.errors import ConfigError
from hwhup_core.evaluation.metrics import Interval
from hwhup_core.geometry.cameras import project
from hwhup_core.inference.placement import Comparison, Window
from hwhup_core.labeling.labels import FrameLabel, LabelStore
from hwhup_core.networks.card import ModelCard
from hwhup_core.networks.checkpoint import load_card, load_checkpoint, save_checkpoint
from hwhup_core.networks.compact import CompactConfig, CompactRegressor
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.synthetic.site import SiteConfig, site_moments
from hwhup_core.synthetic.stream import StreamConfig
from hwhup_core.training import recording_config, recording_training
from hwhup_core.training.recording_config import RecordingAdaptConfig, observation_of, passes_of, stage_of
from hwhup_core.training.recording_report import gains, judge
from hwhup_core.training.recording_run import adapt_recording, check_frames
from hwhup_core.training.recording_scores import MEASURES, Scores, mask_iou
from hwhup_core.training.site import named_joints, seen_joints

SHAPE = CompactConfig(
    input_size=32, stem_width=4, stem_kernel=3, widths=(4, 8), blocks=(1, 1), spatial_width=2, hidden_width=8
)
SITE = SiteConfig(frames=20, stream=StreamConfig(width=160, height=120, focal_px=140.0))
SECOND = 1_000_000_000


def record(folder, site, infants):
    """Write these infants one after the other, a frame every two seconds, with labels from the noisy truth."""
    body, rng, stamp = load_body('infant'), np.random.default_rng(0), 10**18
    moments = [moment for infant in infants for moment in site_moments(site, infant)]
    first = moments[0].frame
    card = RecordingCard(camera='crib', frame_id=first.frame_id, intrinsics=first.intrinsics)
    labels = []
    with RecordingWriter(folder, card, sync_every=100) as writer:
        for moment in moments:
            stamp += 2 * SECOND
            unit = writer.write(replace(moment.frame, stamp_ns=stamp), {}).unit
            pixels = project(named_joints(moment.truth, body), first.intrinsics) + rng.normal(0.0, 0.7, (14, 2))
            seen = seen_joints(moment.truth).astype(float)
            labels.append(FrameLabel(unit, SLP_14, pixels, np.ones(14, bool), seen, np.full(14, 0.9), 'automatic'))
    store = LabelStore(folder)
    for one in labels[:-2]:
        store.put(one)
    store.put(replace(labels[-2], status='rejected'))
    return folder


@pytest.fixture(scope='module')
def room(tmp_path_factory):
    return record(tmp_path_factory.mktemp('recording') / 'room', SITE, (1, 2))


@pytest.fixture(scope='module')
def start(tmp_path_factory):
    torch.manual_seed(0)
    body, stem = load_body('infant'), tmp_path_factory.mktemp('start') / 'tiny'
    inputs = InputConfig((Modality.RGB,), size=32)
    card = ModelCard('compact', inputs, body.body_id, body.hash, 'Apache-2.0', network=SHAPE)
    save_checkpoint(stem, CompactRegressor(SHAPE), card)
    return f'{stem}.safetensors'


@pytest.fixture(scope='module', autouse=True)
def short():
    """Make an epoch one pass over the frames."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording_config, 'STEPS', 1)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


@pytest.fixture(scope='module')
def adapted(room, start, tmp_path_factory):
    run = tmp_path_factory.mktemp('runs') / 'run'
    code = main(['adapt', str(room), '--weights', start, '--epochs', '2', '--curve', '--out', str(run)])
    return run, code


def test_a_run_leaves_weights_card_and_report(adapted, start):
    run, code = adapted
    names = {path.name for path in run.iterdir()}
    assert {'weights.safetensors', 'weights.json', 'report.json', 'report.md', 'report.html', 'held_out.png'} <= names
    report = json.loads((run / 'report.json').read_text())
    assert (report['verdict'] == 'better') == (code == 0)
    assert code in (0, 1)
    before, after = load_card(Path(start)), load_card(run / 'weights')
    assert report['weights_hash'] == after.weights_hash != before.weights_hash
    assert report['started_from']['weights_hash'] == before.weights_hash
    assert load_checkpoint(run / 'weights', load_body('infant')).card.input == before.input
    assert set(report['before']) == set(report['after']) == set(report['difference']) == set(MEASURES)
    level = after.metrics['aligned_depth_error_mm']
    assert level.value == report['after']['aligned_depth_error_mm']['value'] > 0
    assert {'sigma_floor_m', 'sigma_gain', 'extent_wide', 'extent_close'} == set(after.calibration)
    for name in ('report.md', 'report.html'):
        assert report['reason'] in (run / name).read_text().replace('&gt;', '>')


def test_every_frame_of_the_recording_is_accounted_for(adapted):
    frames = json.loads((adapted[0] / 'report.json').read_text())['frames']
    assert frames['recorded'] == 40
    assert frames['labelled'] == 38
    assert (frames['left_out']['rejected'], frames['left_out']['unlabelled']) == (1, 1)
    used = frames['training'] + frames['validation'] + frames['held_out']
    assert used + sum(frames['left_out'].values()) == 40
    assert frames['held_out_blocks'] >= 2


def test_the_curve_goes_from_none_to_all_labelled_frames(adapted):
    report = json.loads((adapted[0] / 'report.json').read_text())
    counts = [each['frames'] for each in report['curve']]
    assert counts[0] == 0
    assert counts[-1] == report['frames']['training']
    assert counts == sorted(set(counts))
    for name in MEASURES:
        assert report['curve'][0][name] == report['before'][name]
        assert report['curve'][-1][name] == report['after'][name]


def test_a_killed_run_goes_on_to_the_same_weights(adapted, room, start, tmp_path, monkeypatch):
    class Killed(Exception):
        pass

    real, calls = recording_training.batch_errors, []

    def killing(*given):
        calls.append(given)
        if len(calls) == 3:  # Once before the training, then once an epoch.
            raise Killed
        return real(*given)

    command = ['adapt', str(room), '--weights', start, '--epochs', '2', '--out', str(tmp_path / 'run')]
    monkeypatch.setattr(recording_training, 'batch_errors', killing)
    with pytest.raises(Killed):
        main(command)
    assert not (tmp_path / 'run' / 'weights.json').exists()
    monkeypatch.setattr(recording_training, 'batch_errors', real)
    main(command)
    weights = load_card(tmp_path / 'run' / 'weights').weights_hash
    assert weights == load_card(adapted[0] / 'weights').weights_hash
    with pytest.raises(ConfigError, match=r'other inputs: config\.seed'):
        adapt_recording(RecordingAdaptConfig(room, tmp_path / 'run', weights=start, epochs=2, seed=1))


def gain(low, high):
    return Interval((low + high) / 2, low, high, 20)


def difference(**given):
    return dict.fromkeys(MEASURES, gain(-0.1, 0.1)) | given


@pytest.mark.parametrize(
    ('found', 'missed', 'better', 'reason'),
    [
        (difference(reprojection_px=gain(0.5, 3.0)), (0, 0), True, 'better by 1.750'),
        (difference(reprojection_px=gain(-0.5, 3.0)), (0, 0), False, 'may be none'),
        (difference(reprojection_px=gain(-3.0, -0.5)), (0, 0), False, 'worse: reprojection_px'),
        (
            difference(reprojection_px=gain(0.5, 3.0), aligned_depth_error_mm=gain(-4.0, -1.0)),
            (0, 0), False, 'worse: aligned_depth_error_mm -2.5',
        ),
        (difference(aligned_depth_error_mm=gain(2.0, 4.0)), (0, 0), False, 'may be none'),
        (difference(reprojection_px=gain(0.5, 3.0)), (1, 2), False, '2 held-out frames are missed'),
        (difference(reprojection_px=gain(0.5, 3.0)), (2, 1), True, 'no measure is worse'),
        (difference(reprojection_px=Interval(3.0, math.nan, math.nan, 9)), (0, 0), False, 'record longer'),
    ],
)  # fmt: skip
def test_the_verdict(found, missed, better, reason):
    verdict = judge(found, *missed)
    assert verdict.better == better
    assert re.search(reason, verdict.reason)
    assert verdict.word == ('better' if better else 'not better')


def test_gains_are_positive_where_a_measure_got_better():
    seen = np.zeros(4, bool)
    before = Scores({'reprojection_px': np.array([9.0, 9, 9, np.nan]), 'aligned_depth_error_mm': np.full(4, 30.0),
                     'mask_iou': np.full(4, 0.5), 'pck': np.full(4, 0.4)}, seen)  # fmt: skip
    after = Scores({'reprojection_px': np.array([5.0, 7, 6, 1]), 'aligned_depth_error_mm': np.full(4, 33.0),
                    'mask_iou': np.full(4, 0.7), 'pck': np.full(4, 0.3)}, seen)  # fmt: skip
    found = gains(before, after, np.array([1, 1, 2, 2]))
    assert (found['reprojection_px'].mean, found['reprojection_px'].count) == (3, 3)
    assert found['aligned_depth_error_mm'].high == pytest.approx(-3)
    assert found['mask_iou'].low == pytest.approx(0.2)
    assert found['pck'].mean == pytest.approx(-0.1)


def test_masks_overlap_by_hand():
    drawn = np.zeros((4, 6), np.float32)
    drawn[1:3, 1:5] = 1.2
    comparison = Comparison(Window(10, 20, 16, 24), drawn, drawn, drawn > 0)
    mask = np.zeros((40, 40), bool)
    mask[21:23, 13:17] = True
    assert mask_iou(comparison, mask) == pytest.approx(4 / 12)
    assert mask_iou(None, mask) == 0.0


def test_what_cannot_be_adapted_to_is_refused(room, tmp_path):
    bare = tmp_path / 'bare'
    shutil.copytree(room, bare, ignore=shutil.ignore_patterns('labels'))
    with pytest.raises(ConfigError, match=r'has 40 frames and none can be used: unlabelled 40. Label it: hwhup label'):
        check_frames(RecordingAdaptConfig(bare, tmp_path / 'run'))
    store = LabelStore(bare)
    for one in list(LabelStore(room).usable().values())[:15]:
        store.put(one)
    with pytest.raises(ConfigError, match='Record or label more'):
        check_frames(RecordingAdaptConfig(bare, tmp_path / 'run'))
    with pytest.raises(ConfigError, match='no_infrared 38'):
        check_frames(RecordingAdaptConfig(room, tmp_path / 'run', input='ir'))
    assert not (tmp_path / 'run').exists()


def test_the_command_line_refuses_what_does_not_fit(room, tmp_path, capsys):
    assert main(['adapt', str(room), '--preset', 'paper']) == 2
    assert main(['adapt', str(room), '--input', 'pressure']) == 2
    assert main(['adapt', str(room), '--body', 'adult', '--out', str(tmp_path / 'run')]) == 2
    assert main(['adapt', str(room), '--hours', '1', '--epochs', '3']) == 2
    assert main(['adapt', str(tmp_path)]) == 2
    said = capsys.readouterr().err
    for part in ('no --preset', 'not pressure', "body 'adult'", 'Give one of them', 'no recording'):
        assert part in said


def test_settings_follow_from_room_and_body():
    infant, adult = observation_of(0.6, 1.2), observation_of(1.7, 3.0)
    assert (infant.proxy.flesh, adult.proxy.flesh) == (0.5, 1.0)
    assert infant.proxy.far == 2.4
    assert adult.proxy.far == pytest.approx(3.75)
    assert adult.cleaning.far == pytest.approx(4.5)
    stage = stage_of(12, infant)
    assert (stage.stage_two_epoch, stage.crop_camera) == (7, 'true')
    assert not stage_of(1, infant).rendered_depth


def test_a_short_recording_is_gone_through_several_times(monkeypatch):
    monkeypatch.setattr(recording_config, 'STEPS', 480)
    assert passes_of(160, 32) == 8
    assert passes_of(2000, 32) == 1
