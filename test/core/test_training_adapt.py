"""
Adaptation as a whole: resumed bit for bit with its fits, in two processes, dry, and refused where it does not belong.

Tolerance for two processes: losses 1e-3 relative; sums over a batch are taken in another order, and a fit of some
iterations carries that on. Each row of the fit store occurs once an epoch: what another rank fits arrives at its end.
"""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hwhup_core.body.keypoint_sets import set_of_joints
from hwhup_core.body.model import load_body
from hwhup_core.body.priors import MixturePrior, bundled_mixture
from hwhup_core.errors import AssetError, HwhupError
from hwhup_core.fitting.fit_store import FitStore
from hwhup_core.networks.compact import CompactConfig, CompactRegressor
from hwhup_core.networks.packing import InputConfig
from hwhup_core.training.adapt import AdaptConfig, adapt, fit_once, still_transform, teachers_of, weak_batches
from hwhup_core.training.distributed import init_from_environment
from hwhup_core.training.dry_run import dry_run
from hwhup_core.training.loop import LoopConfig
from hwhup_core.training.pools import WeakPool, load_pool, save_pool
from hwhup_core.training.stages import StageConfig
from hwhup_core.training.weak_step import WeakStep

INPUTS = InputConfig(size=32)
SHAPE = CompactConfig(
    input_size=32, stem_width=4, stem_kernel=3, widths=(4, 8), blocks=(1, 1), spatial_width=2, hidden_width=8
)
FIT = replace(StageConfig().smplify, camera_iterations=3, body_iterations=3, threshold=1e6)
STAGE = StageConfig(epochs=4, stage_two_epoch=2, smplify=FIT)
CONFIG = AdaptConfig(
    stage=STAGE, loop=LoopConfig(learning_rate=1e-3, schedule='constant', warm_up=0.0, seed=2), batch_size=3
)


class Killed(Exception):
    pass


@pytest.fixture(scope='module')
def pool(tmp_path_factory):
    from hwhup_core.synthetic.domain import DomainConfig
    from hwhup_core.synthetic.subjects import subject_poses
    from hwhup_core.training.domain_pools import weak_pool_of
    from hwhup_core.training.observe import ObservationConfig
    from hwhup_core.training.pools import join_pools

    config = ObservationConfig(picture=48)
    poses = subject_poses(DomainConfig(poses=6, size=64), load_body('adult'), 0, 1)
    return join_pools([weak_pool_of(pose, k, 0, config) for k, (pose, _) in enumerate(poses)])


def make_network():
    torch.manual_seed(0)
    return CompactRegressor(SHAPE)


def train(run, pool, config=CONFIG, validate=lambda network: {}, dataset='tiny'):
    """Return network, fit store and reports."""
    torch.set_num_threads(1)
    body, network = load_body('adult'), make_network()
    teachers = teachers_of(body, pool, MixturePrior(bundled_mixture()), config.stage, dataset)
    return network, teachers.store, adapt(network, INPUTS, body, pool, teachers, config, run, validate)


@pytest.fixture(scope='module')
def alone(pool, tmp_path_factory):
    run = tmp_path_factory.mktemp('alone')
    return run, *train(run, pool)


def test_two_epochs_killed_and_two_more_are_four_bit_for_bit(pool, alone, tmp_path):
    _, whole, fits, reports = alone
    calls = []

    def killing(network):
        calls.append(network)
        if len(calls) == 3:
            raise Killed
        return {}

    with pytest.raises(Killed):
        train(tmp_path, pool, validate=killing)
    torch.manual_seed(99)
    network, store, again = train(tmp_path, pool)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, network.state_dict()[name]), name
    assert torch.equal(fits.fits, store.fits)
    assert torch.equal(fits.scores, store.scores)
    assert store.scores.isfinite().all()
    assert [report.terms for report in again] == [report.terms for report in reports]
    assert [report.gradient_norms for report in again] == [report.gradient_norms for report in reports]


def test_stages_follow_each_other(alone):
    _, _, _, reports = alone
    assert [set(report.terms) - {'keypoints', 'scale', 'pose', 'betas'} for report in reports] == [
        {'proxies'}, {'proxies'}, {'depth'}, {'depth'},
    ]  # fmt: skip
    assert all(report.gradient_norms['total'] > 0 for report in reports)


def test_the_loss_falls(pool, tmp_path):
    body, network = load_body('adult'), make_network()
    stage = StageConfig(epochs=8, stage_two_epoch=8, fits='off')
    config = replace(CONFIG, stage=stage, loop=replace(CONFIG.loop, learning_rate=1e-2))
    teachers = teachers_of(body, pool, MixturePrior(bundled_mixture()), stage, 'tiny')
    reports = adapt(network, INPUTS, body, pool, teachers, config, tmp_path, lambda model: {}, still_transform)
    for name in ('keypoints', 'proxies'):
        assert reports[-1].terms[name] < reports[0].terms[name]


def test_a_run_leaves_state_log_and_report(alone):
    run, *_ = alone
    assert {'state.pt', 'report.md', 'report.json', 'tensorboard'} <= {path.name for path in run.iterdir()}


def test_other_data_bodies_and_settings_are_refused(pool, alone):
    run, *_ = alone
    with pytest.raises(AssetError, match='dataset'):
        train(run, pool, dataset='another')
    with pytest.raises(HwhupError, match='another configuration'):
        train(run, pool, replace(CONFIG, stage=replace(STAGE, stage_two_epoch=1)))


def test_a_bad_frame_is_named_and_changes_no_weight(pool, tmp_path):
    proxies = pool.labels.proxies.copy()
    proxies[4] = np.nan
    spoilt = replace(pool, labels=replace(pool.labels, proxies=proxies))
    body, network = load_body('adult'), make_network()
    stage = replace(STAGE, fits='off')
    teachers = teachers_of(body, spoilt, MixturePrior(bundled_mixture()), stage, 'tiny')
    with pytest.raises(HwhupError, match=f'Offending frames: {pool.names[4]}'):
        adapt(network, INPUTS, body, spoilt, teachers, replace(CONFIG, stage=stage), tmp_path, lambda model: {})
    assert all(bool(parameter.isfinite().all()) for parameter in network.parameters())


def test_a_dry_run_changes_nothing(pool):
    body, network = load_body('adult'), make_network()
    teachers = teachers_of(body, pool, MixturePrior(bundled_mixture()), STAGE, 'tiny')
    step = WeakStep(body, set_of_joints(pool.joints), STAGE, teachers)
    batches = weak_batches(pool, INPUTS, replace(CONFIG, batch_size=5), still_transform)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    found = dry_run(network, batches, step, 2, 4, {'fits': teachers.store})
    assert found.frames == 4
    assert set(found.terms) == {'keypoints', 'scale', 'pose', 'betas', 'depth'}
    assert set(found.gradient_norms) == {*found.terms, 'total'}
    assert found.memory_bytes > 0
    assert not teachers.store.scores.isfinite().any()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_static_fits_fill_the_store_once(pool):
    body = load_body('adult')
    stage = replace(STAGE, fits='static')
    teachers = teachers_of(body, pool, MixturePrior(bundled_mixture()), stage, 'tiny')
    assert fit_once(make_network(), INPUTS, pool, teachers, stage, batch_size=4) == 6
    assert teachers.store.scores.isfinite().all()


def rows(value, scores):
    return {'fits': torch.full((3, 82), value), 'scores': torch.tensor(scores)}


def test_merged_ranks_take_what_was_written_even_if_its_score_is_larger():
    """Row 0: one rank wrote a larger score; row 1: both wrote; row 2: nobody."""
    body = load_body('adult')
    stores = [FitStore('tiny', 3, body) for _ in range(2)]
    common = rows(0.5, [40.0, 40.0, 40.0])
    for store in stores:
        store.load_state_dict(store.state_dict() | common)
    for store, value, score in zip(stores, (1.0, 2.0), (70.0, 60.0)):
        written = [1] if value == 1.0 else [0, 1]
        store.fits[written], store.scores[written] = value, torch.tensor([score] * len(written))
    states = [store.state_dict() for store in stores]
    for store in stores:
        store.merge_ranks(states)
        assert store.scores.tolist() == [60.0, 60.0, 40.0]
        assert store.fits[:, 0].tolist() == [2.0, 2.0, 0.5]
    stores[0].fits[2], stores[0].scores[2] = 3.0, 45.0  # Since then the ranks agree on the merged rows.
    states = [store.state_dict() for store in stores]
    for store in stores:
        store.merge_ranks(states)
        assert store.scores.tolist() == [60.0, 60.0, 45.0]
    with pytest.raises(AssetError, match='dataset'):
        stores[0].merge_ranks([states[0], FitStore('other', 3, body).state_dict()])


def one_of_two(folder):
    """Be one of two processes that adapt together; write down what came."""
    torch.set_num_threads(1)
    ranks = init_from_environment()
    network, store, reports = train(folder / 'run', load_pool(folder / 'pool.npz', WeakPool))
    content = {
        'world': ranks.world,
        'reports': [vars(report) for report in reports],
        'fits': store.fits,
        'scores': store.scores,
        'network': network.state_dict(),
    }
    torch.save(content, folder / f'rank{ranks.rank}.pt')
    torch.distributed.destroy_process_group()


@pytest.fixture(scope='module')
def pair(pool, tmp_path_factory):
    folder = tmp_path_factory.mktemp('pair')
    save_pool(folder / 'pool.npz', pool)
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    shared = {
        **os.environ, 'PYTHONPATH': os.pathsep.join(sys.path), 'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1',
        'MASTER_PORT': str(port), 'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': '',
    }  # fmt: skip
    both = [
        subprocess.Popen([sys.executable, __file__, str(folder)], env={**shared, 'RANK': str(rank)}) for rank in (0, 1)
    ]
    try:
        assert [process.wait(timeout=280) for process in both] == [0, 0]
    finally:
        for process in both:
            process.kill()
    return [torch.load(folder / f'rank{rank}.pt', weights_only=True) for rank in (0, 1)]


def test_two_processes_give_the_loss_curve_of_one(pair, alone):
    _, _, store, reports = alone
    for two in pair:
        assert two['world'] == 2
        for one, other in zip(reports, two['reports'], strict=True):
            assert other['terms'] == pytest.approx(one.terms, rel=1e-3)
            assert other['samples'] == one.samples == 6
        torch.testing.assert_close(two['scores'], store.scores, rtol=1e-2, atol=1e-2)
    assert torch.equal(pair[0]['fits'], pair[1]['fits'])
    assert torch.equal(pair[0]['scores'], pair[1]['scores'])
    assert all(torch.equal(tensor, pair[1]['network'][name]) for name, tensor in pair[0]['network'].items())


if __name__ == '__main__':
    one_of_two(Path(sys.argv[1]))
