"""The weak step: which terms are computed when, where fits come from, what gets a gradient."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from hwhup_core.body.keypoint_sets import set_of_joints
from hwhup_core.body.model import load_body
from hwhup_core.body.priors import MixturePrior, bundled_mixture
from hwhup_core.errors import ConfigError
from hwhup_core.networks.mean import default_mean_parameters, prediction_from_numbers
from hwhup_core.networks.packing import InputConfig
from hwhup_core.synthetic.domain import DomainConfig
from hwhup_core.synthetic.subjects import subject_poses
from hwhup_core.training import domain_pools
from hwhup_core.training.adapt import still_transform, teachers_of
from hwhup_core.training.batches import Crops, draw_weak
from hwhup_core.training.observe import ObservationConfig
from hwhup_core.training.pools import join_pools
from hwhup_core.training.stages import PRESETS, StageConfig
from hwhup_core.training.weak_losses import WeakWeights
from hwhup_core.training.weak_step import WeakStep, crop_keypoints

EPOCHS = (0, 9, 10, 29)


class Says(nn.Module):
    """Says the same of every image; its numbers are parameters."""

    def __init__(self):
        super().__init__()
        mean = default_mean_parameters()
        self.pose, self.shape = nn.Parameter(mean.pose6d.clone()), nn.Parameter(mean.shape.clone())
        self.cam = nn.Parameter(torch.tensor([0.9, 0.0, 0.1]))

    def forward(self, images):
        rows = len(images)
        return prediction_from_numbers(*(p.expand(rows, -1) for p in (self.pose, self.shape, self.cam)))


@pytest.fixture(scope='module')
def scene():
    """Return body, prior, weak pool and a batch of it."""
    torch.manual_seed(0)
    body = load_body('adult')
    config = ObservationConfig(picture=48)
    poses = list(subject_poses(DomainConfig(poses=6, size=64), body, 0, 1))
    pool = join_pools([domain_pools.weak_pool_of(pose, k, 0, config) for k, (pose, _) in enumerate(poses)])
    rngs = [np.random.default_rng(k) for k in range(3)]
    batch = draw_weak(pool, np.array([0, 2, 4]), rngs, still_transform, Crops(InputConfig(size=32)))
    return body, MixturePrior(bundled_mixture()), pool, batch


def short(stage):
    """Return the stage with a fit of few iterations, any of which may teach."""
    fit = replace(stage.smplify, camera_iterations=4, body_iterations=4, threshold=1e6)
    return replace(stage, smplify=fit)


def made(scene, stage):
    body, prior, pool, _ = scene
    teachers = teachers_of(body, pool, prior, stage, 'tiny')
    return WeakStep(body, set_of_joints(pool.joints), stage, teachers), teachers


@pytest.mark.parametrize('name', [*PRESETS, 'infants'])
def test_a_stage_computes_exactly_the_terms_that_its_weights_name(scene, name):
    stage = short(PRESETS[name]) if name in PRESETS else short(
        StageConfig(camera_until_epoch=10, weights=WeakWeights(camera=1.0))
    )  # fmt: skip
    step, _ = made(scene, stage)
    for epoch in EPOCHS:
        weights = stage.weights_at(epoch)
        expected = {key: weights.overall * value for key, value in vars(weights).items() if value and key != 'overall'}
        terms = step(Says(), scene[3], epoch)
        assert {key: term.weight for key, term in terms.items()} == pytest.approx(expected), epoch
        assert all(bool(term.value.isfinite()) for term in terms.values())
        assert all(term.value.requires_grad for term in terms.values())


def test_counts_are_what_the_means_are_over(scene):
    stage = short(StageConfig())
    step, _ = made(scene, stage)
    one, two = (step(Says(), scene[3], epoch) for epoch in (0, 10))
    assert one['keypoints'].count == one['scale'].count == one['proxies'].count == 3
    assert one['pose'].count == one['betas'].count <= 3
    assert 100 < two['depth'].count < 3 * 32 * 32
    images = replace(stage, depth_term=replace(stage.depth_term, pooling='images'))
    assert made(scene, images)[0](Says(), scene[3], 10)['depth'].count == 3


def test_rendered_depth_moves_pose_and_shape_and_never_the_camera(scene):
    step, _ = made(scene, StageConfig(fits='off', stage_two_epoch=0))
    network = Says()
    step(network, scene[3], 0)['depth'].value.backward()
    assert network.pose.grad.abs().max() > 0
    assert network.shape.grad.abs().max() > 0
    assert network.cam.grad is None or not network.cam.grad.any()


def test_a_constant_on_the_depth_changes_neither_its_term_nor_its_gradient(scene):
    step, _ = made(scene, StageConfig(fits='off', stage_two_epoch=0))
    batch = scene[3]
    depth = batch.observation.depth
    moved = replace(batch, observation=replace(batch.observation, depth=torch.where(depth > 0, depth + 0.3, 0)))
    found = []
    for seen in (batch, moved):
        network = Says()
        value = step(network, seen, 0)['depth'].value
        value.backward()
        found.append((value.detach(), network.pose.grad))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-6)


def test_the_loop_writes_the_store_and_static_fits_are_only_read(scene):
    batch = scene[3]
    step, teachers = made(scene, short(StageConfig()))
    step(Says(), batch, 0)
    fitted = teachers.store.scores.isfinite()
    assert fitted.tolist() == [True, False, True, False, True, False]
    static, empty = made(scene, short(StageConfig(fits='static')))
    terms = static(Says(), batch, 0)
    assert not empty.store.scores.isfinite().any()
    assert terms['pose'].count == 0
    assert terms['pose'].value == 0
    static.teachers.store.load_state_dict(teachers.store.state_dict())
    before = teachers.store.state_dict()['fits']
    terms = static(Says(), batch, 0)
    assert terms['pose'].count == 3
    assert terms['pose'].value > 0
    assert torch.equal(static.teachers.store.fits, before)


def test_static_fits_stay_and_fits_in_the_loop_follow_the_guess(scene):
    """Another guess: the loop fits anew from it, stored fits stay what they are."""
    body, _, pool, batch = scene
    step, teachers = made(scene, short(StageConfig()))
    other = Says()
    with torch.no_grad():
        other.shape += 0.5
    keypoints, pinhole = crop_keypoints(batch.observation), batch.pinhole
    assert keypoints.shape == (3, 16, 3)
    step(Says(), batch, 0)
    static = WeakStep(body, set_of_joints(pool.joints), short(StageConfig(fits='static')), teachers)
    one, two = (static.fits(network(batch.images).detach(), batch, pinhole, 0) for network in (Says(), other))
    assert torch.equal(one.params.betas, two.params.betas)
    fresh = made(scene, short(StageConfig()))[0]
    three = fresh.fits(other(batch.images).detach(), batch, pinhole, 0)
    assert not torch.allclose(three.params.betas, one.params.betas)


def test_hidden_proxies_have_no_say_unless_all_are_wanted(scene):
    _, _, _, batch = scene
    observed = batch.observation
    hidden = observed.visibility == 0
    assert hidden.any()
    wrong = replace(observed, proxies=torch.where(hidden[..., None], observed.proxies + 0.5, observed.proxies))
    values = {}
    for proxies in ('visible', 'all'):
        step, _ = made(scene, StageConfig(fits='off', proxies=proxies))
        values[proxies] = [
            step(Says(), replace(batch, observation=seen), 0)['proxies'].value.item() for seen in (observed, wrong)
        ]
    assert values['visible'][0] == values['visible'][1]
    assert values['all'][0] != values['all'][1]


def test_frames_with_nothing_to_see_add_nothing_and_no_nan(scene):
    _, _, _, batch = scene
    observed = batch.observation
    nothing = replace(
        observed,
        confidence=torch.zeros_like(observed.confidence), visibility=torch.zeros_like(observed.visibility),
        depth=torch.zeros_like(observed.depth), mask=torch.zeros_like(observed.mask),
        proxies=torch.zeros_like(observed.proxies),
    )  # fmt: skip
    for epoch in (0, 10):
        step, teachers = made(scene, short(StageConfig()))
        network = Says()
        terms = step(network, replace(batch, observation=nothing), epoch)
        total = sum(term.weight * term.value for term in terms.values())
        total.backward()
        assert all(terms[name].value == 0 for name in terms if name != 'scale')
        gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
        assert all(bool(gradient.isfinite().all()) for gradient in gradients)
        assert not teachers.store.scores.isfinite().any()


def test_fits_without_teachers_are_refused(scene):
    body, _, pool, _ = scene
    with pytest.raises(ConfigError, match='no fit and no store'):
        WeakStep(body, set_of_joints(pool.joints), StageConfig(), None)
