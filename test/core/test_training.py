"""Pools, batches, the step and the loop: small, on a made-up body-sized problem."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwhup_core.body.model import load_body
from hwhup_core.errors import ConfigError, HwhupError
from hwhup_core.geometry.rotations import axis_angle_to_matrix
from hwhup_core.networks.compact import CompactConfig, CompactRegressor
from hwhup_core.networks.packing import InputConfig
from hwhup_core.training.config import TrainConfig
from hwhup_core.training.loop import Term, learning_rate_at, run_loop
from hwhup_core.training.losses import LossWeights
from hwhup_core.training.pool import DEPTH_UNIT, AugmentConfig, BatchLoader, SamplePool, draw_batch
from hwhup_core.training.step import supervised_step

STILL = AugmentConfig(settled=0.0, turn=0.0, margin=(1.0, 1.0), shift=0.0, flip=0.0, erase=0.0)
TINY = TrainConfig(
    samples=8, held_out=4, epochs=2, batch_size=4, bfloat16=False, inputs=InputConfig(size=32),
    network=CompactConfig(input_size=32, stem_width=4, widths=(8, 8), blocks=(1, 1), spatial_width=2, hidden_width=16),
)  # fmt: skip


def make_pool(count=8, seed=0):
    """Return a pool of flat beds with a raised square that marks joint 0, joints spread over the inner half."""
    rng = np.random.default_rng(seed)
    depth = np.full((count, 64, 64), 15_000, np.uint16)
    keypoints = rng.uniform(-0.5, 0.5, (count, 24, 2))
    keypoints[:, 1], keypoints[:, 2] = -0.5, 0.5
    for image, (x, y) in zip(depth, keypoints[:, 0]):
        column, row = int((x + 1) * 32), int((y + 1) * 32)
        image[row - 1 : row + 2, column - 1 : column + 2] = 14_000
    rotations = axis_angle_to_matrix(torch.from_numpy(rng.normal(0, 0.4, (count, 24, 3)))).numpy()
    return SamplePool(
        depth, np.full(count, 0.3), keypoints, rotations[:, 0], rotations[:, 1:], rng.normal(size=(count, 10))
    )


def brightest(image):
    """Return where the raised square is, in [-1, 1]."""
    rows, columns = np.where(image[0].numpy() > image[0].max().item() * 0.6)
    return (np.array([columns.mean(), rows.mean()]) + 0.5) * 2 / image.shape[-1] - 1


@pytest.mark.parametrize('flip', [0.0, 1.0])
def test_image_joints_and_body_move_together(flip):
    pool = make_pool()
    augment = AugmentConfig(settled=0.5, settled_margin=(1.6, 1.8), margin=(1.6, 1.8), flip=flip, erase=0.0)
    batch = draw_batch(pool, np.arange(8), np.random.default_rng(3), augment, InputConfig(size=96))
    for image, keypoints in zip(batch.images, batch.keypoints):
        np.testing.assert_allclose(brightest(image), keypoints[0].numpy(), atol=0.05)


def test_turning_the_image_turns_the_body():
    """Turned joints of the turned body are the joints of the body turned: x y by the image's turn, z untouched."""
    pool, body = make_pool(), load_body('infant')
    still = draw_batch(pool, np.arange(4), np.random.default_rng(0), STILL, InputConfig(size=32))
    turned = draw_batch(pool, np.arange(4), np.random.default_rng(0), replace(STILL, turn=3.0), InputConfig(size=32))
    before, after = body.skeleton(still.params).joints, body.skeleton(turned.params).joints
    for index in range(4):
        turn = (turned.params.global_rotation[index] @ still.params.global_rotation[index].T).numpy()
        np.testing.assert_allclose(turn[2], [0, 0, 1], atol=1e-6)
        rooted = (before[index] - before[index, 0]).numpy() @ turn.T
        np.testing.assert_allclose(rooted, (after[index] - after[index, 0]).numpy(), atol=1e-5)
        old, new = (batch.keypoints[index, 1:] - batch.keypoints[index, :1] for batch in (still, turned))
        old = old.numpy() @ turn[:2, :2].T
        np.testing.assert_allclose(old / np.linalg.norm(old), new / new.norm(), atol=1e-5)


def test_crop_without_augmentation_keeps_the_depth():
    pool = make_pool()
    batch = draw_batch(pool, np.arange(1), np.random.default_rng(0), STILL, InputConfig(size=64))
    # The joints span half of the pool's crop, so the network's crop is half as wide: 0.1 m over 0.15 * 1.5 m half side.
    assert batch.images.max().item() == pytest.approx(4 * 0.1 / (0.15 * 15_000 * DEPTH_UNIT), rel=1e-3)


def test_pool_is_unchanged_and_epochs_repeat():
    pool = make_pool()
    copy = pool.depth.copy()
    loader = BatchLoader(pool, AugmentConfig(), InputConfig(size=32), 4, seed=5)
    first, again, other = list(loader.epoch(1)), list(loader.epoch(1)), list(loader.epoch(2))
    assert len(first) == len(loader) == 2
    assert all(torch.equal(a.images, b.images) for a, b in zip(first, again))
    assert not torch.equal(first[0].images, other[0].images)
    np.testing.assert_array_equal(pool.depth, copy)


def make_run(epochs, tmp_path, pool, **changes):
    config = replace(TINY, epochs=epochs, **changes)
    torch.manual_seed(0)
    network, body = CompactRegressor(config.network), load_body('infant')
    loader = BatchLoader(pool, STILL, config.inputs, config.batch_size, seed=1)
    step = supervised_step(body, LossWeights(), bfloat16=False)
    return network, run_loop(network, loader, step, lambda model: {'error': 0.1}, config.loop(), tmp_path, 'tiny')


def test_loss_falls(tmp_path):
    pool = make_pool()
    _, reports = make_run(30, tmp_path, pool, learning_rate=1e-2)
    assert reports[-1].terms['joints'] < 0.7 * reports[0].terms['joints']
    assert reports[-1].terms['keypoints'] < reports[0].terms['keypoints']


class Killed(Exception):
    pass


def test_a_killed_run_continues_bit_for_bit(tmp_path):
    pool, body = make_pool(), load_body('infant')
    whole, _ = make_run(3, tmp_path / 'whole', pool)
    step, calls = supervised_step(body, LossWeights(), bfloat16=False), 0

    def dying(model, batch, epoch):
        nonlocal calls
        calls += 1
        if calls == 4:  # In the middle of the second epoch.
            raise Killed
        return step(model, batch, epoch)

    torch.manual_seed(0)
    network = CompactRegressor(TINY.network)
    config = replace(TINY, epochs=3)
    loader = BatchLoader(pool, STILL, config.inputs, config.batch_size, seed=1)
    with pytest.raises(Killed):
        run_loop(network, loader, dying, lambda model: {'error': 0.1}, config.loop(), tmp_path / 'cut', 'tiny')
    continued, reports = make_run(3, tmp_path / 'cut', pool)
    assert len(reports) == 3
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, continued.state_dict()[name]), name


def test_a_run_of_another_configuration_is_refused(tmp_path):
    pool = make_pool()
    make_run(1, tmp_path, pool)
    with pytest.raises(HwhupError, match='another configuration'):
        make_run(2, tmp_path, pool)


def test_a_loss_that_is_not_a_number_stops_the_run(tmp_path):
    term = Term(torch.tensor(float('nan'), requires_grad=True), 1.0, torch.tensor(4.0))
    loader = BatchLoader(make_pool(), STILL, TINY.inputs, 4, seed=1)
    with pytest.raises(HwhupError, match='epoch 0, step 0'):
        run_loop(
            CompactRegressor(TINY.network), loader, lambda model, batch, epoch: {'joints': term},
            lambda model: {'error': 0.0}, TINY.loop(), tmp_path, 'tiny',
        )  # fmt: skip


def test_learning_rate_rises_then_falls():
    rates = [learning_rate_at(progress, TINY.loop()) for progress in (0.0, 0.05, 0.1, 0.5, 1.0)]
    assert rates[0] < rates[1] < rates[2] == pytest.approx(TINY.learning_rate)
    assert rates[2] > rates[3] > rates[4] == pytest.approx(0.01 * TINY.learning_rate)


def test_a_configuration_that_cannot_work_is_refused():
    with pytest.raises(ConfigError, match='input_size'):
        replace(TINY, inputs=InputConfig(size=64))
    with pytest.raises(ConfigError, match='below one batch'):
        replace(TINY, samples=2)
