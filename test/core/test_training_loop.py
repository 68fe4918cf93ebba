"""The loop on a small network that knows no bodies: resuming, being killed, disks, NaN, reports."""

import json
import os
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from jaxtyping import Float, Int
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from hwhup_core.errors import AssetError, ConfigError, HwhupError
from hwhup_core.training import run_state
from hwhup_core.training.dry_run import dry_run
from hwhup_core.training.gradients import gradient_norms
from hwhup_core.training.loop import LoopConfig, Term, learning_rate_at, run_loop
from hwhup_core.types import TensorRecord

CONFIG = LoopConfig(epochs=4, learning_rate=1e-2, seed=3)
STEPS, BATCH = 3, 6


@dataclass(frozen=True)
class Numbers(TensorRecord):
    images: Float[Tensor, 'b 1 8 8']
    targets: Float[Tensor, ' b']
    indices: Int[Tensor, ' b']


class Made:
    """Three batches an epoch, functions of the epoch; sample 100 * epoch + 10 * step + position."""

    def __init__(self, change=lambda batch: batch, promised=STEPS):
        self.change, self.promised = change, promised

    def __len__(self):
        return self.promised

    def epoch(self, epoch, rank, world):
        for step in range(STEPS):
            images = torch.randn(BATCH, 1, 8, 8, generator=torch.Generator().manual_seed(10 * epoch + step))
            indices = torch.arange(BATCH) + 10 * step + 100 * epoch
            yield self.change(Numbers(images, images.mean(dim=(1, 2, 3)) * 3, indices))

    def names(self, batch):
        return [f'frame {index}' for index in batch.indices.tolist()]


class Counter:
    """Something that a step writes to."""

    def __init__(self):
        self.sums = torch.zeros(2)

    def state_dict(self):
        return {'sums': self.sums.clone()}

    def load_state_dict(self, state):
        self.sums = state['sums'].clone()


def make_network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(4 * 36, 1)]
    return nn.Sequential(*layers)


def count_of(batch):
    return torch.tensor(float(len(batch.targets)))


def step(network, batch, epoch):
    error = network(batch.images)[:, 0] - batch.targets
    return {
        'square': Term(error.square().mean(), 1.0, count_of(batch)),
        'size': Term(network[0].weight.abs().mean(), 0.1 if epoch < 2 else 0.0, count_of(batch)),
    }


def counting(counter):
    def counted(network, batch, epoch):
        counter.sums = counter.sums + torch.stack([batch.targets.sum(), batch.images.sum()])
        return step(network, batch, epoch)

    return counted


def train(run, config=CONFIG, network=None, batches=None, taken=step, **options):
    network = network or make_network()
    batches = Made() if batches is None else batches
    reports = run_loop(
        network, batches, taken, lambda model: {'weight': model[0].weight.sum().item()}, config, run,
        options.pop('fingerprint', 'tiny'), **options,
    )  # fmt: skip
    return network, reports


def assert_same(one, other):
    assert one.state_dict().keys() == other.state_dict().keys()
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


def test_two_and_two_epochs_are_four_bit_for_bit(tmp_path):
    counter, cut = Counter(), Counter()
    whole, reports = train(tmp_path / 'whole', taken=counting(counter), stateful={'counter': counter})
    half, two = train(
        tmp_path / 'cut', taken=counting(cut), stateful={'counter': cut}, stop_after=lambda report: report.epoch == 1
    )
    assert len(two) == 2
    assert not torch.equal(half[0].weight, whole[0].weight)
    torch.manual_seed(1234)  # Whatever happened to the generator meanwhile.
    cut = Counter()
    continued, four = train(tmp_path / 'cut', taken=counting(cut), stateful={'counter': cut})
    assert_same(whole, continued)
    assert torch.equal(counter.sums, cut.sums)
    assert [r.terms for r in four] == [r.terms for r in reports]
    assert [r.gradient_norms for r in four] == [r.gradient_norms for r in reports]


def test_dropout_differs_between_epochs_and_repeats_with_the_seed(tmp_path):
    plain, _ = train(tmp_path / 'a')
    again, _ = train(tmp_path / 'b')
    other, _ = train(tmp_path / 'c', replace(CONFIG, seed=4))
    assert_same(plain, again)
    assert not torch.equal(plain[0].weight, other[0].weight)


@pytest.mark.parametrize('where', ['before the file is whole', 'before it is in its place'])
def test_killed_while_writing_loses_one_epoch_at_most(tmp_path, where):
    """A process of its own gets SIGKILL in the middle of writing the state of its third epoch."""
    call = 'fsync' if where == 'before the file is whole' else 'replace'
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path), 'OMP_NUM_THREADS': '1'}
    killed = subprocess.run([sys.executable, __file__, str(tmp_path / 'cut'), call], env=environment, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert list((tmp_path / 'cut').glob('*.partial'))
    kept = torch.load(tmp_path / 'cut' / 'state.pt', weights_only=True)
    assert len(kept['content']['reports']) == 2
    continued, reports = train(tmp_path / 'cut')
    whole, _ = train(tmp_path / 'whole')
    assert_same(whole, continued)
    assert len(reports) == 4
    assert not list((tmp_path / 'cut').glob('*.partial'))


@contextmanager
def files_up_to(size):
    """Let every write beyond `size` bytes of a file fail, as on a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_full_disk_leaves_the_old_state_whole(tmp_path):
    train(tmp_path / 'cut', stop_after=lambda report: True)
    before = (tmp_path / 'cut' / 'state.pt').read_bytes()
    assert len(before) > 9000
    with files_up_to(9000), pytest.raises(HwhupError, match=r'Cannot write .*state\.pt .*still whole'):
        train(tmp_path / 'cut')
    assert (tmp_path / 'cut' / 'state.pt').read_bytes() == before
    assert not list((tmp_path / 'cut').glob('*.partial'))
    continued, _ = train(tmp_path / 'cut')
    whole, _ = train(tmp_path / 'whole')
    assert_same(whole, continued)


def test_a_log_that_cannot_be_written_is_our_error(tmp_path):
    (tmp_path / 'tensorboard').write_text('a file where a folder belongs')
    with pytest.raises(HwhupError, match='TensorBoard log'):
        train(tmp_path)


def test_another_configuration_is_refused_by_what_differs(tmp_path):
    train(tmp_path, fingerprint=json.dumps({'body': 'infant', 'stage': {'epochs': 3}}))
    with pytest.raises(HwhupError, match=r'another configuration: run\.stage\.epochs is 3 there and 4 here\. Choose'):
        train(tmp_path, fingerprint=json.dumps({'body': 'infant', 'stage': {'epochs': 4}}))
    with pytest.raises(HwhupError, match=r'loop\.learning_rate is 0\.01 there and 0\.02 here; run is'):
        train(tmp_path, replace(CONFIG, learning_rate=0.02), fingerprint='"text"')
    with pytest.raises(HwhupError, match='keeps nothing beside the network, this run has counter'):
        train(
            tmp_path, fingerprint=json.dumps({'body': 'infant', 'stage': {'epochs': 3}}),
            stateful={'counter': Counter()},
        )  # fmt: skip


def test_a_broken_or_older_state_is_named(tmp_path, monkeypatch):
    train(tmp_path)
    file = tmp_path / 'state.pt'
    content = file.read_bytes()
    file.write_bytes(content[:1000])
    with pytest.raises(AssetError, match='not a whole training state'):
        train(tmp_path)
    file.write_bytes(content)
    monkeypatch.setattr(run_state, 'FORMAT_VERSION', 99)
    with pytest.raises(AssetError, match='has format version 2, this program reads 99'):
        train(tmp_path)


def test_frames_that_are_no_number_are_named_and_nothing_changes(tmp_path):
    def spoil(batch):
        images = batch.images.clone()
        images[(batch.indices == 112) | (batch.indices == 114)] = torch.nan
        return replace(batch, images=images)

    network = make_network()
    kept, _ = train(tmp_path / 'good', stop_after=lambda report: True)
    with pytest.raises(HwhupError) as caught:
        train(tmp_path / 'bad', network=network, batches=Made(spoil))
    assert 'epoch 1, step 1: square nan (weight 1), size 0.1' in str(caught.value)
    assert 'Offending frames: frame 112, frame 114. ' in str(caught.value)
    assert all(tensor.isfinite().all() for tensor in network.state_dict().values())
    # The last finished epoch is what is on disk.
    state = torch.load(tmp_path / 'bad' / 'state.pt', weights_only=True)['content']['network']
    assert all(torch.equal(tensor, state[name]) for name, tensor in kept.state_dict().items())


def test_the_first_step_that_fails_leaves_weights_and_statistics(tmp_path):
    network, fresh = make_network(), make_network()
    with pytest.raises(HwhupError, match='epoch 0, step 0'):
        train(tmp_path, network=network, batches=Made(lambda batch: replace(batch, images=batch.images * torch.nan)))
    assert_same(network, fresh)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_gradient_that_is_no_number_is_named_too(tmp_path):
    """The root of 0 has a finite value and an infinite slope, which times 0 is NaN."""

    def rooted(network, batch, epoch):
        error = network(batch.images)[:, 0] * (batch.indices != 4)
        return {'root': Term(error.square().sqrt().mean(), 1.0, count_of(batch))}

    network, fresh = make_network(), make_network()
    with pytest.raises(HwhupError, match=r'step 0: root [\d.]+ \(weight 1\)\. Offending frames: frame 4\.'):
        train(tmp_path, network=network, taken=rooted)
    assert_same(network, fresh)


def test_where_no_frame_alone_is_to_blame_the_error_says_so(tmp_path):
    def together(network, batch, epoch):
        factor = torch.nan if len(batch.targets) > 1 else 1.0
        return {'square': Term(network(batch.images).square().mean() * factor, 1.0, count_of(batch))}

    with pytest.raises(HwhupError, match='None of the 6 frames does it alone'):
        train(tmp_path, taken=together)


def test_what_cannot_train_is_refused(tmp_path):
    with pytest.raises(HwhupError, match=r'Nothing to descend in epoch 0: square \(weight 0.0\)'):
        train(tmp_path, taken=lambda n, b, e: {'square': Term(n(b.images).mean(), 0.0, count_of(b))})
    with pytest.raises(HwhupError, match=r'float16, expected float32\. Use autocast'):
        train(tmp_path, network=make_network().half())
    with pytest.raises(HwhupError, match='no parameter to train'):
        train(tmp_path, network=make_network().requires_grad_(False))
    with pytest.raises(HwhupError, match='no batch to train on'):
        train(tmp_path, batches=Made(promised=0))
    with pytest.raises(HwhupError, match='Made had 3 batches, expected 5'):
        train(tmp_path, batches=Made(promised=5))
    with pytest.raises(ConfigError, match='warm_up'):
        replace(CONFIG, warm_up=1.0)
    with pytest.raises(ConfigError, match='clip_norm'):
        replace(CONFIG, clip_norm=-1.0)


def test_autocast_in_the_step_keeps_the_optimiser_in_float32(tmp_path):
    def coarse(network, batch, epoch):
        with torch.autocast('cpu', dtype=torch.bfloat16):
            predicted = network(batch.images)[:, 0]
        return {'square': Term((predicted.float() - batch.targets).square().mean(), 1.0, count_of(batch))}

    train(tmp_path, taken=coarse)
    state = torch.load(tmp_path / 'state.pt', weights_only=True)['content']['optimizer']['state']
    assert {tensor.dtype for entry in state.values() for tensor in entry.values()} == {torch.float32}


def test_term_means_weigh_batches_by_their_counts(tmp_path):
    values = iter([1.0, 2.0, 5.0])
    counts = iter([1.0, 0.0, 3.0])

    def counted(network, batch, epoch):
        term = Term(torch.tensor(next(values)), 0.0, torch.tensor(next(counts)))
        return {**step(network, batch, epoch), 'logged': term}

    _, reports = train(tmp_path, replace(CONFIG, epochs=1), taken=counted)
    assert reports[0].terms['logged'] == pytest.approx((1 + 3 * 5) / 4)
    assert reports[0].weights == {'square': 1.0, 'size': 0.1, 'logged': 0.0}
    assert set(reports[0].gradient_norms) == {'square', 'size', 'total'}
    assert reports[0].samples == STEPS * BATCH


def test_gradient_norms_by_hand():
    weights = torch.tensor([1.0, 2.0], requires_grad=True)
    unused = torch.zeros(3, requires_grad=True)
    losses = {'a': 3 * weights[0], 'b': 4 * weights[1], 'constant': torch.tensor(7.0)}
    norms = gradient_norms(losses, [weights, unused])
    assert norms == pytest.approx({'a': 3.0, 'b': 4.0, 'constant': 0.0, 'total': 5.0})
    sum(losses.values()).backward()  # The graphs are still there.
    assert weights.grad.tolist() == [3.0, 4.0]


def test_gradients_are_logged_every_so_many_epochs_and_change_nothing(tmp_path):
    often, _ = train(tmp_path / 'often')
    seldom, reports = train(tmp_path / 'seldom', replace(CONFIG, gradient_every=3))
    never, silent = train(tmp_path / 'never', replace(CONFIG, gradient_every=0))
    assert [bool(report.gradient_norms) for report in reports] == [True, False, False, True]
    assert not any(report.gradient_norms for report in silent)
    assert_same(often, seldom)
    assert_same(often, never)


def test_clipping_bounds_the_step_and_0_means_none(tmp_path):
    plain, _ = train(tmp_path / 'none', replace(CONFIG, clip_norm=0.0))
    wide, _ = train(tmp_path / 'wide', replace(CONFIG, clip_norm=1e6))
    tight, _ = train(tmp_path / 'tight', replace(CONFIG, clip_norm=1e-6))
    assert_same(plain, wide)
    assert not torch.equal(plain[0].weight, tight[0].weight)


def test_a_dry_run_reports_and_changes_nothing():
    network, fresh, counter = make_network(), make_network(), Counter()
    network.eval()
    network[0].train()
    torch.manual_seed(8)
    expected = torch.rand(3)
    torch.manual_seed(8)
    report = dry_run(network, Made(), counting(counter), frames=4, stateful={'counter': counter})
    assert torch.equal(torch.rand(3), expected)
    assert_same(network, fresh)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert [module.training for module in network[:3]] == [True, False, False]
    assert counter.sums.tolist() == [0.0, 0.0]
    assert report.frames == 4
    assert report.terms.keys() == report.weights.keys() == {'square', 'size'}
    assert report.gradient_norms['square'] > 0
    assert report.memory_bytes > 1e6


def test_rates():
    cycle, flat = replace(CONFIG, learning_rate=1.0), replace(CONFIG, learning_rate=1.0, schedule='constant')
    assert learning_rate_at(0.05, cycle) == learning_rate_at(0.05, flat) == pytest.approx(0.5)
    assert learning_rate_at(0.55, cycle) == pytest.approx(0.01 + 0.99 / 2)
    assert learning_rate_at(1.0, cycle) == pytest.approx(0.01)
    assert [learning_rate_at(progress, flat) for progress in (0.1, 0.5, 1.0)] == [1.0] * 3
    assert learning_rate_at(0.0, replace(flat, warm_up=0.0)) == 1.0


def test_the_report_and_the_log(tmp_path):
    figures = iter([3.0, 1.0, float('nan'), 2.0])
    network = make_network()
    run_loop(network, Made(), step, lambda model: {'error_mm': next(figures)}, CONFIG, tmp_path, '{"body": "infant"}')
    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['configuration']['run'] == {'body': 'infant'}
    assert report['configuration']['loop']['epochs'] == 4
    assert report['best'] == {'error_mm': {'epoch': 1, 'value': 1.0}}
    assert report['last'] == {'error_mm': 2.0}
    assert report['samples_per_second'] > 0
    assert [epoch['validation']['error_mm'] for epoch in report['epochs']] == [3.0, 1.0, None, 2.0]
    text = (tmp_path / 'report.md').read_text()
    assert '| error_mm | 1 | 1 | 2 |' in text
    assert '| epoch | square | size | error_mm | learning rate | seconds |' in text
    log = EventAccumulator(str(tmp_path / 'tensorboard'))
    log.Reload()
    assert [event.step for event in log.Scalars('terms/square')] == [0, 1, 2, 3]
    assert [event.value for event in log.Scalars('validation/error_mm')][:2] == [3.0, 1.0]
    assert {'gradient_norm/square', 'gradient_norm/total', 'training/learning_rate'} <= set(log.Tags()['scalars'])


def test_the_loss_falls(tmp_path):
    _, reports = train(tmp_path, replace(CONFIG, epochs=40))
    assert reports[-1].terms['square'] < 0.5 * reports[0].terms['square']


def train_and_die(run, call):
    """Train, and be killed by the operating system in the call that writes the third state."""
    real, calls = getattr(os, call), 0

    def deadly(*arguments):
        nonlocal calls
        calls += 1
        if calls == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments)

    setattr(os, call, deadly)
    train(run)


if __name__ == '__main__':
    train_and_die(Path(sys.argv[1]), sys.argv[2])
