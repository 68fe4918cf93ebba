from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from hwhup_core.errors import ConfigError
from hwhup_core.networks.checkpoint import load_spin_checkpoint
from hwhup_core.networks.compact import CompactConfig, CompactRegressor
from hwhup_core.networks.fusion import fuse
from hwhup_core.networks.mean import MeanParameters, default_mean_parameters
from hwhup_core.networks.spin import SpinRegressor

TINY = CompactConfig(input_size=33, stem_width=4, widths=(4, 6), blocks=(1, 2), spatial_width=2, hidden_width=8)


def randomised(model, seed=0):
    """Return the model with random weights and normalisations, as training would leave them, far from their start."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if name.endswith('running_var') or ('bn' in name and name.endswith('weight')):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.5 + 0.75)
        elif tensor.is_floating_point() and tensor.ndim < 2:
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.1)
    return model


def tensors(prediction):
    return [
        prediction.params.global_rotation,
        prediction.params.joint_rotations,
        prediction.params.betas,
        prediction.camera.scale,
        prediction.camera.shift,
    ]


def reference_rotations(pose):
    """Interleaved 6D numbers to matrices, written out per rotation."""
    matrices = []
    for six in pose.reshape(-1, 3, 2):
        first = six[:, 0] / six[:, 0].norm()
        second = six[:, 1] - (first @ six[:, 1]) * first
        second = second / second.norm()
        matrices.append(torch.stack([first, second, torch.linalg.cross(first, second)], dim=1))
    return torch.stack(matrices).reshape(-1, 24, 3, 3)


def reference_spin(w, images):
    """SPIN's forward pass in eval mode, straight from the names of its checkpoint."""

    def norm(x, name):
        return F.batch_norm(
            x, w[f'{name}.running_mean'], w[f'{name}.running_var'], w[f'{name}.weight'], w[f'{name}.bias'], eps=1e-5
        )

    x = F.conv2d(images, w['conv1.weight'], stride=2, padding=3)
    x = F.max_pool2d(F.relu(norm(x, 'bn1')), 3, 2, 1)
    for layer, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(blocks):
            at = f'layer{layer}.{block}'
            stride = 2 if layer > 1 and block == 0 else 1
            y = F.relu(norm(F.conv2d(x, w[f'{at}.conv1.weight']), f'{at}.bn1'))
            y = F.relu(norm(F.conv2d(y, w[f'{at}.conv2.weight'], stride=stride, padding=1), f'{at}.bn2'))
            y = norm(F.conv2d(y, w[f'{at}.conv3.weight']), f'{at}.bn3')
            if block == 0:
                x = norm(F.conv2d(x, w[f'{at}.downsample.0.weight'], stride=stride), f'{at}.downsample.1')
            x = F.relu(x + y)
    feature = F.avg_pool2d(x, 7, 1).flatten(1)
    pose, shape, cam = (w[f'init_{name}'].repeat(len(images), 1) for name in ('pose', 'shape', 'cam'))
    for _ in range(3):
        h = F.linear(torch.cat([feature, pose, shape, cam], 1), w['fc1.weight'], w['fc1.bias'])
        h = F.linear(h, w['fc2.weight'], w['fc2.bias'])
        pose = pose + F.linear(h, w['decpose.weight'], w['decpose.bias'])
        shape = shape + F.linear(h, w['decshape.weight'], w['decshape.bias'])
        cam = cam + F.linear(h, w['deccam.weight'], w['deccam.bias'])
    rotations = reference_rotations(pose)
    return [rotations[:, 0], rotations[:, 1:], shape, cam[:, 0], cam[:, 1:]]


def spin_state(seed=0):
    """Return random values under the names and shapes of SPIN's checkpoint, written down from its description."""
    generator = torch.Generator().manual_seed(seed)
    state = {}

    def normal(name, *shape, scale):
        state[name] = torch.randn(shape, generator=generator) * scale

    def conv(name, outputs, inputs, side):
        normal(f'{name}.weight', outputs, inputs, side, side, scale=(2 / (inputs * side * side)) ** 0.5)

    def norm(name, width, gain=1.0):
        state[f'{name}.weight'] = gain * (0.75 + 0.5 * torch.rand(width, generator=generator))
        normal(f'{name}.bias', width, scale=0.1)
        normal(f'{name}.running_mean', width, scale=0.1)
        state[f'{name}.running_var'] = 0.75 + 0.5 * torch.rand(width, generator=generator)
        state[f'{name}.num_batches_tracked'] = torch.tensor(7)

    def linear(name, outputs, inputs):
        normal(f'{name}.weight', outputs, inputs, scale=0.5 * inputs**-0.5)
        normal(f'{name}.bias', outputs, scale=0.1)

    conv('conv1', 64, 3, 7)
    norm('bn1', 64)
    inputs = 64
    for layer, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
        for block in range(blocks):
            at = f'layer{layer}.{block}'
            for index, (out, into, side) in enumerate(
                ((width, inputs, 1), (width, width, 3), (4 * width, width, 1)), start=1
            ):
                conv(f'{at}.conv{index}', out, into, side)
                norm(f'{at}.bn{index}', out, gain=0.3 if index == 3 else 1.0)
            if block == 0:
                conv(f'{at}.downsample.0', 4 * width, inputs, 1)
                norm(f'{at}.downsample.1', 4 * width, gain=0.7)
            inputs = 4 * width
    linear('fc1', 1024, 2205)
    linear('fc2', 1024, 1024)
    for name, outputs in (('decpose', 144), ('decshape', 10), ('deccam', 3)):
        linear(name, outputs, 1024)
    for name, numbers in (('init_pose', 144), ('init_shape', 10), ('init_cam', 3)):
        normal(name, 1, numbers, scale=1.0)
    return state


@pytest.fixture(scope='module')
def spin(tmp_path_factory):
    path = tmp_path_factory.mktemp('spin') / 'model_checkpoint.pt'
    torch.save({'model': spin_state()}, path)
    return load_spin_checkpoint(path)


def test_spin_matches_reference(spin):
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = tensors(spin(images))
        expected = reference_spin(spin_state(), images)
    for one, other in zip(found, expected):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)
    assert (found[2][0] - found[2][1]).abs().max() > 0.01  # The answer depends on the image.


def test_spin_names_and_size(spin):
    assert sum(parameter.numel() for parameter in spin.parameters()) == 26_977_501
    expected = {name: tuple(tensor.shape) for name, tensor in spin_state().items()}
    assert {name: tuple(tensor.shape) for name, tensor in SpinRegressor().state_dict().items()} == expected


def test_spin_drops_out_in_training_only(spin):
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert torch.equal(spin(images).params.betas, spin(images).params.betas)
        spin.dropout.train()
        first, second = spin(images).params.betas, spin(images).params.betas
        spin.dropout.eval()
    assert not torch.equal(first, second)


def test_spin_fused_matches(spin):
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(4))
    fused = fuse(spin)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    with torch.no_grad():
        for one, other in zip(tensors(fused(images)), tensors(spin(images))):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_compact_default_fits_its_budget():
    model = CompactRegressor()
    assert sum(tensor.numel() * 4 for tensor in model.state_dict().values()) < 16_000_000
    assert model.input_size == 112


def test_compact_starts_near_the_mean_body():
    generator = torch.Generator().manual_seed(0)
    default = default_mean_parameters()
    mean = MeanParameters(default.pose6d, torch.randn(10, generator=generator), torch.tensor([1.5, 0.1, -0.2]))
    prediction = CompactRegressor(TINY, mean).eval()(torch.randn(3, 3, 33, 33, generator=generator))
    upside_down = torch.diag(torch.tensor([1.0, -1.0, -1.0])).expand(3, 3, 3)
    torch.testing.assert_close(prediction.params.global_rotation, upside_down, atol=0.1, rtol=0)
    torch.testing.assert_close(prediction.params.betas, mean.shape.expand(3, 10), atol=0.1, rtol=0)
    torch.testing.assert_close(prediction.camera.scale, torch.full((3,), 1.5), atol=0.1, rtol=0)
    torch.testing.assert_close(prediction.camera.shift, mean.cam[1:].expand(3, 2), atol=0.1, rtol=0)


def test_compact_sees_where_a_spot_is():
    torch.manual_seed(0)
    model = randomised(CompactRegressor(TINY)).eval()
    left, right = torch.zeros(1, 3, 33, 33), torch.zeros(1, 3, 33, 33)
    left[..., 16, 4], right[..., 16, 28] = 10, 10
    with torch.no_grad():
        assert not torch.allclose(model(left).params.betas, model(right).params.betas, atol=1e-6)


def test_compact_fused_matches_and_leaves_the_model_alone():
    torch.manual_seed(0)
    model = randomised(CompactRegressor()).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fused = fuse(model)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    images = torch.randn(2, 3, 112, 112)
    with torch.no_grad():
        for one, other in zip(tensors(fused(images)), tensors(model.eval()(images))):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_compact_learns():
    torch.manual_seed(0)
    model = CompactRegressor(TINY)
    images, target = torch.randn(8, 3, 33, 33), torch.randn(8, 10)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    losses = []
    for _ in range(80):
        loss = (model(images).params.betas - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'blocks': (1,)}, 'one number a stage'),
        ({'stem_kernel': 4}, 'even stem_kernel'),
        ({'widths': (4, 0)}, 'below 1'),
    ],
)
def test_compact_config_refuses(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(TINY, **change)
