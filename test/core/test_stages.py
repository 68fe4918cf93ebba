"""What is on when, and that the named configurations differ in what they say and in nothing else."""

from dataclasses import replace

import pytest
import torch

from hwhup_core.config_io import load_config, save_config, to_plain
from hwhup_core.errors import ConfigError
from hwhup_core.training.stages import (
    PAPER,
    PRESETS,
    RELEASED_CODE,
    TABLE_ONE,
    StageConfig,
    for_joint_set,
    with_true_camera,
)
from hwhup_core.training.weak_losses import WeakWeights, keypoint_term, proxy_term

FROM_PAPER = {
    'pre_trained': {'epochs': 0},
    'fine_tuned': {'proxies': 'off', 'rendered_depth': False, 'smplify.weights.pose_decay': 1.0},
    'without_loop': {
        'proxies': 'off', 'rendered_depth': False, 'smplify.weights.pose_decay': 1.0, 'fits': 'static',
    },
    '3d_dp': {'proxies': 'all', 'rendered_depth': False},
    '3d_dp_vis': {'rendered_depth': False},
    'full': {},
    'no_prior': {'smplify.weights.pose': 0.0},
    '2d_d': {'fits': 'static', 'proxies': 'off', 'stage_two_epoch': 0},
    'paper': {},
    'released_code': {
        'centring': 'hip_mean',
        'body_mask': 'everything',
        'depth_term.offset': 'mean',
        'depth_term.drop_holes': False,
        'smplify.camera_iterations': 100,
        'smplify.body_iterations': 100,
        'smplify.pull_hidden_torso': True,
        'smplify.weights.pose_decay': 1.0,
        'cleaning.iterations': 0,
        'proxy.hide_holes': False,
    },
}  # fmt: skip


def flat(plain, key=''):
    """Return nested dicts as one, with dotted keys."""
    if not isinstance(plain, dict):
        return {key: plain}
    return {k: v for name, value in plain.items() for k, v in flat(value, f'{key}.{name}' if key else name).items()}


def on(config, epoch):
    """Return which of the terms that come and go count."""
    weights = config.weights_at(epoch)
    return [name for name in ('pose', 'betas', 'proxies', 'depth', 'camera') if getattr(weights, name)]


@pytest.mark.parametrize('name', PRESETS)
def test_a_preset_differs_from_the_paper_in_what_it_says_and_no_more(name):
    paper, other = flat(to_plain(PAPER)), flat(to_plain(PRESETS[name]))
    assert {key: other[key] for key in paper if other[key] != paper[key]} == FROM_PAPER[name]
    assert paper.keys() == other.keys()


def test_the_columns_stand_in_the_papers_order():
    assert list(TABLE_ONE) == [
        'pre_trained', 'fine_tuned', 'without_loop', '3d_dp', '3d_dp_vis', 'full', 'no_prior', '2d_d',
    ]  # fmt: skip


def test_the_defaults_are_the_paper_before_the_true_camera():
    assert with_true_camera(PAPER) == StageConfig()
    assert {config.crop_camera for config in PRESETS.values()} == {'spin'}
    for config in PRESETS.values():
        assert replace(with_true_camera(config), crop_camera='spin') == config


def test_the_paper_is_what_it_prints():
    fit, weights = PAPER.smplify, PAPER.smplify.weights
    assert (fit.camera_iterations, fit.body_iterations, weights.pose_decay) == (50, 50, 0.85)
    assert (PAPER.epochs, PAPER.stage_two_epoch) == (30, 10)
    assert (PAPER.depth_term.offset, PAPER.depth_term.penalty) == ('median', 'l2')
    assert PAPER.cleaning.iterations > 0
    assert [TABLE_ONE[name].proxies for name in ('3d_dp', '3d_dp_vis')] == ['all', 'visible']


def test_another_joint_set_by_hand():
    config = for_joint_set(PAPER, 14)
    assert config.weights.keypoints == pytest.approx(5 * 14 / 49) == pytest.approx(10 / 7)
    assert config.weights.proxies == pytest.approx(14 / 24) == pytest.approx(7 / 12)
    assert config.smplify.threshold == pytest.approx(350)
    unscaled = replace(
        config,
        weights=replace(config.weights, keypoints=5.0, proxies=1.0),
        smplify=replace(config.smplify, threshold=100.0),
    )
    assert unscaled == PAPER
    with pytest.raises(ConfigError, match='0 joints'):
        for_joint_set(PAPER, 0)


def test_a_joint_counts_the_same_in_a_smaller_set():
    """Two joints with labels, among empty slots or alone."""
    names = ('left_hip', 'right_hip', *(f'empty_{slot}' for slot in range(47)))
    predicted = torch.tensor([[[0.1, 0.2, 0.3], [-0.4, 0.5, 0.7]]])

    def terms(slots):
        joints = torch.cat([predicted, torch.full((1, slots - 2, 3), 9.0)], dim=1)
        labelled = (torch.arange(slots) < 2).float()[None]
        pixels = keypoint_term(joints[..., :2], joints[..., :2] * 0, labelled, torch.ones(slots))
        points = proxy_term(joints, joints * 0, labelled, torch.tensor([True]), names[:slots], 'hip_mean')
        return pixels, points

    small = for_joint_set(PAPER, 2).weights
    torch.testing.assert_close(small.keypoints * terms(2)[0], 5 * terms(49)[0])
    torch.testing.assert_close(small.proxies * terms(2)[1], 1 * terms(24)[1])


@pytest.mark.parametrize(
    ('name', 'first', 'last'),
    [
        ('full', ['pose', 'betas', 'proxies'], ['pose', 'betas', 'depth']),
        ('fine_tuned', ['pose', 'betas'], ['pose', 'betas']),
        ('without_loop', ['pose', 'betas'], ['pose', 'betas']),
        ('3d_dp', ['pose', 'betas', 'proxies'], ['pose', 'betas', 'proxies']),
        ('3d_dp_vis', ['pose', 'betas', 'proxies'], ['pose', 'betas', 'proxies']),
        ('no_prior', ['pose', 'betas', 'proxies'], ['pose', 'betas', 'depth']),
        ('2d_d', ['pose', 'betas', 'depth'], ['pose', 'betas', 'depth']),
        ('released_code', ['pose', 'betas', 'proxies'], ['pose', 'betas', 'depth']),
    ],
)
def test_what_is_on_in_the_first_and_the_last_epoch(name, first, last):
    assert on(PRESETS[name], 0) == first
    assert on(PRESETS[name], 29) == last


def test_stage_two_starts_after_ten_whole_epochs():
    assert [PAPER.in_stage_two(epoch) for epoch in (0, 9, 10, 29)] == [False, False, True, True]
    assert PAPER.weights_at(9) == replace(WeakWeights(), depth=0.0)
    assert PAPER.weights_at(10) == replace(WeakWeights(), proxies=0.0)


def test_without_fits_nothing_of_them_counts():
    config = replace(PAPER, fits='off', camera_until_epoch=5, weights=WeakWeights(camera=1.0))
    assert on(config, 0) == ['proxies']


def test_the_camera_term_of_infants_ends():
    infants = replace(PAPER, epochs=640, stage_two_epoch=420, camera_until_epoch=200, weights=WeakWeights(camera=1.0))
    assert [('camera' in on(infants, epoch)) for epoch in (0, 199, 200, 639)] == [True, True, False, False]


def test_the_prior_fades_in_the_paper_and_not_in_the_code():
    assert PAPER.prior_weight_at(0) == 4.78
    assert PAPER.prior_weight_at(10) == pytest.approx(4.78 * 0.85**10)
    # The table of method 2.7 lists the squares.
    for epoch, square in ((1, 16.5), (5, 4.50), (10, 0.886), (20, 0.034)):
        assert PAPER.prior_weight_at(epoch) ** 2 == pytest.approx(square, rel=0.02)
    assert RELEASED_CODE.prior_weight_at(29) == TABLE_ONE['fine_tuned'].prior_weight_at(29) == 4.78
    assert TABLE_ONE['no_prior'].prior_weight_at(0) == 0


def test_asking_out_of_order_changes_nothing():
    forward = [PAPER.weights_at(epoch) for epoch in range(30)]
    assert [PAPER.weights_at(epoch) for epoch in reversed(range(30))] == forward[::-1]


@pytest.mark.parametrize('name', PRESETS)
def test_yaml_round_trip(name, tmp_path):
    save_config(tmp_path / 'stages.yaml', PRESETS[name])
    assert load_config(tmp_path / 'stages.yaml', StageConfig) == PRESETS[name]


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError, match='stage_two_epoch'):
        StageConfig(stage_two_epoch=-1)
