"""Metrics and losses on hand-computable cases."""

import numpy as np
import pytest
import torch

from hwhup_core.evaluation.metrics import bootstrap_interval, joint_errors, mpjpe, pa_mpjpe
from hwhup_core.training import losses
from hwhup_core.types import BodyParams

TRUE = np.array([[[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3]]])


def test_mpjpe_ignores_translation_and_counts_the_rest():
    moved = TRUE + 5.0
    moved[0, 1, 0] += 0.4
    np.testing.assert_allclose(joint_errors(moved, TRUE), [[0, 0.4, 0, 0]], atol=1e-12)
    np.testing.assert_allclose(mpjpe(moved, TRUE), [0.1], atol=1e-12)


def test_pa_mpjpe_is_invariant_to_any_similarity_but_not_to_mirroring():
    angle = 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    np.testing.assert_allclose(pa_mpjpe(2.5 * TRUE @ turn.T + [1.0, -2, 3], TRUE), [0.0], atol=1e-12)
    assert pa_mpjpe(TRUE * [-1.0, 1, 1], TRUE)[0] > 0.1


def test_pa_mpjpe_of_a_point_is_the_spread():
    np.testing.assert_allclose(
        pa_mpjpe(np.zeros_like(TRUE), TRUE), [np.linalg.norm(TRUE - TRUE.mean(1, keepdims=True), axis=-1).mean()]
    )


def test_bootstrap_interval():
    interval = bootstrap_interval(np.array([1.0, 1.0, np.nan, 1.0]))
    assert (interval.mean, interval.low, interval.high, interval.count) == (1.0, 1.0, 1.0, 3)
    wide = bootstrap_interval(np.arange(100.0))
    assert wide.low < 49.5 < wide.high
    assert wide.high - wide.low == pytest.approx(4 * np.std(np.arange(100)) / 10, rel=0.15)
    assert bootstrap_interval(np.array([np.nan])).count == 0


def _params(dtype=torch.float64):
    torch.manual_seed(1)
    return BodyParams(
        torch.randn(2, 3, 3, dtype=dtype), torch.randn(2, 23, 3, 3, dtype=dtype), torch.randn(2, 10, dtype=dtype)
    )


def test_losses_by_hand():
    true = torch.tensor(TRUE)
    moved = true.clone() + 1
    moved[0, 1, 0] += 0.4
    assert losses.joint_loss(moved, true).item() == pytest.approx(0.1, abs=1e-3)
    assert losses.keypoint_loss(torch.zeros(1, 2, 2), torch.tensor([[[1.0, 0], [0, 0]]])).item() == 0.25
    params = _params()
    other = BodyParams(params.global_rotation + 1, params.joint_rotations, params.betas)
    assert losses.rotation_loss(params, other).item() == pytest.approx(1 / 24)
    assert losses.beta_loss(params.betas, params.betas + 2).item() == pytest.approx(4.0)
    assert losses.scale_loss(torch.tensor([0.0])).item() == 1.0


def test_loss_gradients():
    true = torch.tensor(TRUE)
    predicted = (true + torch.randn(1, 4, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: losses.joint_loss(x, true), predicted)
    betas = torch.randn(3, 10, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: losses.beta_loss(x, torch.zeros_like(x)), betas)
    scale = torch.rand(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(losses.scale_loss, scale)
    keypoints = torch.randn(2, 5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: losses.keypoint_loss(x, torch.zeros_like(x)), keypoints)


def test_rotation_loss_gradient():
    true = _params()
    rotation = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda x: losses.rotation_loss(BodyParams(x, true.joint_rotations, true.betas), true), rotation
    )
