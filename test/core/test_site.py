"""A site and its recording: one crib, changing infants, noisy labels, no truth; colour weights run without depth."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwhup_core.body.model import load_body
from hwhup_core.errors import ConfigError
from hwhup_core.evaluation.evaluate import collect_answers, figures_of, site_frames, subject_interval
from hwhup_core.inference.config import EngineConfig
from hwhup_core.inference.engine import Engine
from hwhup_core.networks.card import ModelCard
from hwhup_core.networks.checkpoint import Loaded
from hwhup_core.networks.compact import CompactConfig, CompactRegressor
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.reproduce.crib_rgb import comparison
from hwhup_core.reproduce.crib_rgb_config import ADAPTED, SOURCE, CribRgbConfig
from hwhup_core.synthetic.site import SiteConfig, site_moments
from hwhup_core.synthetic.stream import CribStream, StreamConfig
from hwhup_core.training.observe import in_box, wide_box
from hwhup_core.training.site import RecordConfig, named_joints, record_infant
from hwhup_core.types import PersonBox

SMALL = StreamConfig(width=160, height=120, focal_px=140.0)
SITE = SiteConfig(frames=2, stream=SMALL)
TINY = CompactConfig(input_size=16, stem_width=2, widths=(2,), blocks=(1,), spatial_width=1, hidden_width=2)


@pytest.fixture(scope='module')
def moments():
    return list(site_moments(SITE, 5))


def test_infants_share_the_crib_and_nothing_else(moments):
    other = next(iter(site_moments(SITE, 6)))
    mine, yours, monitor = (
        frame.color[:15].astype(int) for frame in (moments[0].frame, other.frame, CribStream(SMALL, 0).frame(1, 0.0)[0])
    )
    assert np.abs(mine - yours).max() <= 1, 'far from the infant only rounding differs'
    assert np.abs(mine - monitor).max() <= 1, 'it is the crib of the monitor'
    assert not np.allclose(moments[0].truth.betas, other.truth.betas)
    assert not np.array_equal(moments[0].frame.color, other.frame.color)


def test_moments_are_the_same_every_time_and_spread_over_the_motion(moments):
    again = list(site_moments(SITE, 5))
    assert np.array_equal(moments[1].frame.depth, again[1].frame.depth)
    assert moments[1].time_s == pytest.approx(CribStream(SMALL, 0, 5).period / 2)
    assert moments[0].frame.stamp_ns < moments[1].frame.stamp_ns


def test_a_recording_holds_noisy_labels_and_no_depth_input(moments):
    exact, noisy = (record_infant(RecordConfig(SITE, label_noise=noise), place=3, infant=5) for noise in (0.0, 2.0))
    assert exact.pictures.depth is None
    assert exact.labels.rows.tolist() == [6, 7]
    truth, body = moments[0].truth, load_body('infant')
    pixels = named_joints(truth, body)
    camera = moments[0].frame.intrinsics
    pixels = pixels[:, :2] / pixels[:, 2:] * camera.fx + (camera.cx, camera.cy)
    expected = in_box(pixels, wide_box(pixels, 2.2))
    assert np.allclose(exact.labels.keypoints[0, :14], expected, atol=1e-6)
    apart = np.abs(noisy.labels.keypoints[:, :14] - exact.labels.keypoints[:, :14])
    assert 0 < apart.mean() < 0.2


def test_proxies_of_a_recording_lie_on_the_body(moments):
    pool = record_infant(RecordConfig(SITE, label_noise=0.0), place=0, infant=5)
    seen = pool.labels.visibility[0, :14] > 0
    assert seen.sum() >= 6
    apart = pool.labels.proxies[0, :14][seen] - named_joints(moments[0].truth, load_body('infant'))[seen]
    assert np.median(np.linalg.norm(apart, axis=1)) < 0.05
    assert 0.01 < pool.labels.mask[0].mean() < 0.5


def test_colour_weights_run_without_depth():
    torch.manual_seed(0)
    body = load_body('infant')
    card = ModelCard('compact', InputConfig((Modality.RGB,), 16), body.body_id, body.hash, 'CC0-1.0', TINY)
    engine = Engine(Loaded(CompactRegressor(TINY).eval(), card), body, EngineConfig(refine_first=1))
    frames = list(site_frames(SITE, [5, 6]))
    assert all(labelled.frame.depth is None for labelled in frames)
    assert [labelled.subject for labelled in frames] == [5, 5, 6, 6]
    answers = collect_answers(engine, frames)
    figures = figures_of(answers)
    assert 'aligned_depth_error_mm' not in figures
    assert figures['joint_error_mm'].mean > 0
    assert subject_interval(answers).low <= figures['joint_error_mm'].mean <= subject_interval(answers).high
    given = engine(frames[0].frame, [PersonBox(80.0, 60.0, 100.0)])[0]
    assert np.isnan(given.aligned_depth_error)
    assert np.isfinite(given.joint_positions).all()
    better = replace(answers, predicted=answers.true)
    assert '0.0 (0.0 to 0.0)' in comparison({SOURCE: answers, ADAPTED: better})


def test_wrong_settings_are_refused():
    with pytest.raises(ConfigError, match='frames'):
        SiteConfig(frames=0)
    with pytest.raises(ConfigError, match='label_noise'):
        RecordConfig(label_noise=-1.0)
    with pytest.raises(ConfigError, match='held out'):
        CribRgbConfig(infants=1500)


def test_without_epochs_for_it_there_is_no_stage_two():
    assert CribRgbConfig(epochs=4, stage_two_epoch=2).stage().rendered_depth
    assert not CribRgbConfig(epochs=4, stage_two_epoch=4).stage().rendered_depth
