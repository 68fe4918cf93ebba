"""
Two processes on the CPU against one with the same global batch.

Tolerance: losses 1e-4 relative, as the sums over a batch are taken in another order.
"""

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hwhup_core.errors import ConfigError, HwhupError
from hwhup_core.networks.packing import InputConfig
from hwhup_core.training.distributed import (
    GlobalBatchNorm,
    Ranks,
    current_ranks,
    gradient_scales,
    init_from_environment,
    on_first,
    share_of,
    synchronised_batch_norm,
)
from hwhup_core.training.loop import LoopConfig, Term, run_loop
from hwhup_core.training.pool import AugmentConfig, BatchLoader, SamplePool
from hwhup_core.types import TensorRecord

CONFIG = LoopConfig(epochs=3, learning_rate=1e-2, seed=3)
STEPS, BATCH = 4, 7
"""7 samples for 2 ranks: 3 and 4."""


@dataclass(frozen=True)
class Numbers(TensorRecord):
    images: Float[Tensor, 'b 1 8 8']
    targets: Float[Tensor, ' b']
    known: Float[Tensor, ' b']
    indices: Int[Tensor, ' b']


class Made:
    def __init__(self, spoilt=-1):
        self.spoilt = spoilt

    def __len__(self):
        return STEPS

    def epoch(self, epoch, rank, world):
        share = share_of(BATCH, rank, world)
        for step in range(STEPS):
            indices = torch.arange(BATCH) + BATCH * (step + STEPS * epoch)
            images = torch.randn(BATCH, 1, 8, 8, generator=torch.Generator().manual_seed(10 * epoch + step))
            # Another mean and spread on each rank, and all that is known lies with the second one in the first step.
            images = (
                images * torch.linspace(0.5, 2, BATCH)[:, None, None, None] + torch.arange(BATCH)[:, None, None, None]
            )
            images = torch.where((indices == self.spoilt)[:, None, None, None], torch.nan, images)
            known = (torch.arange(BATCH) >= (4 if step == 0 else 1)).float()
            yield Numbers(images, images.std(dim=(1, 2, 3)), known, indices)[share]

    def names(self, batch):
        return [f'frame {index}' for index in batch.indices.tolist()]


class Seen:
    """What a step wrote, by sample; the ranks' parts add up."""

    def __init__(self):
        self.seen = {}

    def state_dict(self):
        return {'seen': dict(self.seen)}

    def load_state_dict(self, state):
        self.seen = dict(state['seen'])

    def merge_ranks(self, states):
        self.seen = {name: value for state in states for name, value in state['seen'].items()}


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        # No bias that batch norm takes away: its gradient is rounding alone, of which Adam makes whole steps.
        self.block = nn.Sequential(
            nn.ReLU(), nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4, momentum=None), nn.Flatten()
        )
        self.head = nn.Sequential(nn.Linear(64, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
        self.unused = nn.Linear(3, 3)

    def forward(self, images):
        return self.head(self.block(self.bn1(self.conv(images))).relu().flatten(1))[:, 0]


def make_network(seed=0):
    torch.manual_seed(seed)
    return Net()


def make_step(seen):
    def step(network, batch, epoch):
        for index, target in zip(batch.indices.tolist(), batch.targets.tolist()):
            seen.seen[index] = target
        error = network(batch.images) - batch.targets
        masked = (error.square() * batch.known).sum() / batch.known.sum().clamp(min=1)
        return {
            'all': Term(error.abs().mean(), 2.0, torch.tensor(float(len(error)))),
            'known': Term(masked, 1.0, batch.known.sum()),
            'logged': Term(batch.images.mean(), 0.0, torch.tensor(float(len(error)))),
        }

    return step


def train(run, network, batches=None):
    seen = Seen()
    reports = run_loop(
        network, batches or Made(), make_step(seen), lambda model: {'weight': model.conv.weight.sum().item()}, CONFIG,
        run, 'tiny', stateful={'seen': seen},
    )  # fmt: skip
    return reports, seen


def one_of_two(folder):
    """Be one of two processes: train, then meet a bad frame, then a refusal of the first rank; write down what came."""
    torch.set_num_threads(1)
    ranks = init_from_environment()
    network = make_network(seed=ranks.rank)  # The first rank's weights count.
    before = [type(module) for module in network.modules()]
    reports, seen = train(folder / 'run', network)
    errors = []
    for batches, run in ((Made(spoilt=2 * BATCH + 5), 'spoilt'), (Made(), 'run/state.pt/no_folder')):
        try:
            train(folder / run, make_network(), batches)
        except HwhupError as error:
            errors.append(str(error))
    torch.save(
        {
            'ranks': (ranks.rank, ranks.world),
            'reports': [vars(report) for report in reports],
            'network': network.state_dict(),
            'same modules': before == [type(module) for module in network.modules()],
            'seen': seen.seen,
            'errors': errors,
            'logs': len(list((folder / 'run' / 'tensorboard').iterdir())),
        },
        folder / f'rank{ranks.rank}.pt',
    )
    torch.distributed.destroy_process_group()


@pytest.fixture(scope='module')
def pair(tmp_path_factory):
    """Return what each of two processes wrote down."""
    folder = tmp_path_factory.mktemp('pair')
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
        assert [process.wait(timeout=240) for process in both] == [0, 0]
    finally:
        for process in both:
            process.kill()
    return [torch.load(folder / f'rank{rank}.pt', weights_only=True) for rank in (0, 1)]


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    network = make_network()
    reports, seen = train(tmp_path_factory.mktemp('alone'), network)
    return reports, network, seen


def test_two_processes_give_the_loss_curve_of_one(pair, alone):
    reports, network, _ = alone
    for two in pair:
        assert len(two['reports']) == CONFIG.epochs
        for one, other in zip(reports, two['reports']):
            assert other['terms'] == pytest.approx(one.terms, rel=1e-4)
            assert other['gradient_norms'] == pytest.approx(one.gradient_norms, rel=1e-4)
            assert other['validation'] == pytest.approx(one.validation, rel=1e-4)
            assert other['samples'] == one.samples == STEPS * BATCH
    assert pair[0]['network'].keys() == network.state_dict().keys()
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(pair[0]['network'][name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_ranks_end_with_the_same_network_and_its_own_modules(pair):
    first, second = pair
    assert [first['ranks'], second['ranks']] == [(0, 2), (1, 2)]
    assert all(torch.equal(tensor, second['network'][name]) for name, tensor in first['network'].items())
    assert first['same modules']
    assert second['same modules']


def test_what_steps_wrote_is_merged_on_every_rank(pair, alone):
    assert len(alone[2].seen) == CONFIG.epochs * STEPS * BATCH
    for two in pair:
        assert two['seen'] == alone[2].seen


def test_only_the_first_rank_writes(pair):
    assert pair[0]['logs'] == 1


def test_every_rank_names_the_bad_frame_and_hears_the_first_one_refuse(pair):
    for two in pair:
        assert 'epoch 0, step 2' in two['errors'][0]
        assert f'Offending frames: frame {2 * BATCH + 5}. ' in two['errors'][0]
    assert len(pair[0]['errors']) == 2
    assert 'TensorBoard log' in pair[0]['errors'][1]
    assert pair[0]['errors'][1] == pair[1]['errors'][1]


def test_alone_there_is_one_rank(monkeypatch):
    monkeypatch.delenv('WORLD_SIZE', raising=False)
    assert init_from_environment() == current_ranks() == Ranks(0, 1)
    assert on_first(Ranks(), lambda: 5) == 5
    assert gradient_scales(Ranks(), torch.tensor([0.0, 3.0])).tolist() == [1.0, 1.0]
    network = make_network()
    modules = list(network.modules())
    with synchronised_batch_norm(network, Ranks()):
        assert list(network.modules()) == modules


def test_shares_are_disjoint_whole_and_even():
    for size, world in ((7, 2), (8, 3), (5, 5), (64, 1)):
        parts = [list(range(size))[share_of(size, rank, world)] for rank in range(world)]
        assert [index for part in parts for index in part] == list(range(size))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
    with pytest.raises(ConfigError, match='cannot be shared by 3'):
        share_of(2, 0, 3)


@pytest.mark.parametrize('momentum', [0.1, None])
def test_global_batch_norm_alone_is_torchs(monkeypatch, momentum):
    """With sums over one rank it has to be the plain one: values, gradients in double, running statistics."""
    monkeypatch.setattr(torch.distributed, 'all_reduce', lambda values: None)
    ours, plain = GlobalBatchNorm(3, momentum=momentum), nn.BatchNorm2d(3, momentum=momentum)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        images = torch.randn(4, 3, 5, 5, generator=generator) * 3 + 100
        one, two = images.clone().requires_grad_(), images.clone().requires_grad_()
        torch.testing.assert_close(ours(one), plain(two), rtol=1e-4, atol=1e-4)
        factors = torch.randn(4, 3, 5, 5, generator=generator)
        (ours(one) * factors).sum().backward()
        (plain(two) * factors).sum().backward()
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-3, atol=1e-4)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.eval()(images), plain.eval()(images))
    with pytest.raises(Exception, match=r'Batch norm|Type-check'):
        ours(torch.zeros(3))


def test_the_loader_shares_the_very_batches_of_one_process():
    rotations = torch.eye(3).expand(9, 24, 3, 3).numpy()
    rows = torch.rand(9, 24, 2, generator=torch.Generator().manual_seed(0)).numpy() - 0.5
    pool = SamplePool(
        torch.full((9, 32, 32), 15_000).numpy().astype('uint16'), torch.full((9,), 0.3).numpy(), rows,
        rotations[:, 0], rotations[:, 1:], torch.zeros(9, 10).numpy(),
    )  # fmt: skip
    loader = BatchLoader(pool, AugmentConfig(), InputConfig(size=32), 4, seed=5)
    whole = list(loader.epoch(1))
    parts = [list(loader.epoch(1, rank, 3)) for rank in range(3)]
    for index, batch in enumerate(whole):
        shares = [part[index] for part in parts]
        assert [name for share in shares for name in loader.names(share)] == loader.names(batch)
        assert torch.equal(torch.cat([share.images for share in shares]), batch.images)
        assert torch.equal(torch.cat([share.keypoints for share in shares]), batch.keypoints)
        rooted = torch.cat([share.params.global_rotation for share in shares])
        assert torch.equal(rooted, batch.params.global_rotation)


if __name__ == '__main__':
    one_of_two(Path(sys.argv[1]))
