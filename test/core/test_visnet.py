"""VisNet: shapes, peaks of heat maps, weights on disk, and that one training step after the other lowers the loss."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.networks.packing import InputConfig
from hwhup_core.networks.visnet import COMPACT, PAPER, VisNet, VisNetConfig, keypoints_from
from hwhup_core.networks.visnet_checkpoint import VisNetCard, load_visnet, load_visnet_card, save_visnet
from hwhup_core.synthetic.coco_people import HIDDEN, SEEN
from hwhup_core.training.visnet_batches import VisBatch
from hwhup_core.training.visnet_step import SPREAD, VisStep, VisWeights, heatmap_targets

TINY = VisNetConfig(input_size=32, stem_width=4, widths=(8, 8), blocks=(1, 1), deconvolutions=(8,))


def tiny_card(network):
    return VisNetCard(input=InputConfig(size=32), network=network.config, licence='Apache-2.0')


def random_batch(count=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    keypoints = torch.rand(count, 17, 2, generator=generator) * 1.6 - 0.8
    flags = torch.randint(0, 3, (count, 17), generator=generator)
    return VisBatch(torch.randn(count, 3, 32, 32, generator=generator), keypoints, flags, torch.arange(count))


@pytest.mark.parametrize(('config', 'side'), [(TINY, 8), (COMPACT, 28), (PAPER, 56)])
def test_shapes(config, side):
    size = config.input_size
    with torch.no_grad():
        output = VisNet(config).eval()(torch.zeros(2, 3, size, size))
    assert output.heatmaps.shape == (2, 17, side, side)
    assert output.logits.shape == (2, 17)
    assert config.heatmap_size == side


def test_the_visibility_head_is_the_papers():
    layers = [module for module in VisNet(PAPER).vis_head if not isinstance(module, torch.nn.Flatten)]
    widths = [
        getattr(layer, 'out_channels', None) or layer.out_features
        for layer in layers
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear))
    ]
    assert widths == [256, 32, 256, 64, 17]
    norms = [layer for layer in layers if isinstance(layer, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d))]
    assert len(norms) == len([layer for layer in layers if isinstance(layer, torch.nn.ReLU)]) == 4
    assert isinstance(layers[-1], torch.nn.Linear)  # Logits: nothing cuts the negative ones off.


def test_a_peak_is_found_where_it_is():
    heatmaps = torch.zeros(1, 2, 4, 8)
    heatmaps[0, 0, 1, 2] = 0.9
    heatmaps[0, 0, 1, 3] = 0.5  # The larger neighbour is to the right,
    heatmaps[0, 0, 0, 2] = 0.1  # and above.
    heatmaps[0, 1, 0, 0] = 0.3  # In a corner nothing is moved.
    keypoints, scores = keypoints_from(heatmaps)
    np.testing.assert_allclose(scores.numpy(), [[0.9, 0.3]])
    np.testing.assert_allclose(keypoints[0, 0].numpy(), [2 * 2.75 / 8 - 1, 2 * 1.25 / 4 - 1], rtol=1e-6)
    np.testing.assert_allclose(keypoints[0, 1].numpy(), [2 * 0.5 / 8 - 1, 2 * 0.5 / 4 - 1], rtol=1e-6)


def test_targets_are_gaussians_and_their_peaks_come_back():
    keypoints = torch.tensor([[[0.0, 0.0], [0.31, -0.52], [-0.9, 0.9]]])
    targets = heatmap_targets(keypoints, 32)
    # Two cells right of the middle of the crop, half a cell down: from the closed form.
    away = (2.5**2 + 0.5**2) / 32**2
    assert targets[0, 0, 16, 18].item() == pytest.approx(np.exp(-away / (2 * SPREAD**2)), rel=1e-5)
    found, scores = keypoints_from(targets)
    assert (found - keypoints).abs().max() < 2 / 32 * 0.3  # Within 0.3 of a cell.
    assert (scores > 0.7).all()


def test_losses_count_labelled_joints_alone():
    torch.manual_seed(0)
    network, batch = VisNet(TINY).eval(), random_batch()
    torch.nn.init.normal_(network.vis_head[-1].weight, std=0.5)  # A fresh one says 0 of every joint.
    step = VisStep(VisWeights(), bfloat16=False)
    terms = step(network, batch, 0)
    with torch.no_grad():
        output = network(batch.images)
    values = []
    for person in range(8):
        for joint in range(17):
            flag, logit = int(batch.flags[person, joint]), float(output.logits[person, joint])
            if flag:
                chance = 1 / (1 + np.exp(-logit))
                values.append(-np.log(chance if flag == SEEN else 1 - chance))
    assert terms['visibility'].value.item() == pytest.approx(np.mean(values), rel=1e-4)
    assert terms['visibility'].count.item() == len(values)
    moved = replace(batch, keypoints=torch.where((batch.flags == 0)[..., None], 0.123, batch.keypoints))
    assert step(network, moved, 0)['heatmaps'].value.item() == pytest.approx(terms['heatmaps'].value.item())
    hidden = replace(batch, flags=torch.where(batch.flags == SEEN, HIDDEN, batch.flags))
    assert step(network, hidden, 0)['visibility'].value.item() != pytest.approx(np.mean(values), rel=1e-3)


def test_a_batch_without_labels_costs_nothing():
    batch = replace(random_batch(), flags=torch.zeros(8, 17, dtype=torch.int64))
    terms = VisStep(VisWeights(), bfloat16=False)(VisNet(TINY).train(), batch, 0)
    assert [term.value.item() for term in terms.values()] == [0.0, 0.0]


def test_training_lowers_the_loss():
    torch.manual_seed(1)
    network, batch, step = VisNet(TINY).train(), random_batch(16), VisStep(VisWeights(), bfloat16=False)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        terms = step(network, batch, 0)
        loss = sum(term.weight * term.value for term in terms.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


def test_weights_come_back_in_half_precision(tmp_path):
    torch.manual_seed(2)
    network = VisNet(TINY).eval()
    card = save_visnet(tmp_path / 'weights', network, tiny_card(network))
    loaded, found = load_visnet(tmp_path / 'weights.safetensors')
    assert found == card == load_visnet_card(tmp_path / 'weights')
    assert not loaded.training
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        before, after = network(images), loaded(images)
    torch.testing.assert_close(after.logits, before.logits, atol=1e-3, rtol=1e-2)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    network = VisNet(TINY)
    save_visnet(tmp_path / 'one', network, tiny_card(network))
    save_visnet(tmp_path / 'other', VisNet(TINY), tiny_card(network))
    (tmp_path / 'one.json').write_bytes((tmp_path / 'other.json').read_bytes())
    with pytest.raises(AssetError, match='do not belong together'):
        load_visnet(tmp_path / 'one')
    content = json.loads((tmp_path / 'other.json').read_text())
    content['network']['widths'] = [8, 16]
    (tmp_path / 'other.json').write_text(json.dumps(content))
    with pytest.raises(AssetError, match='does not fit'):
        load_visnet(tmp_path / 'other')


@pytest.mark.parametrize(
    ('content', 'message'),
    [('{', 'not a weights card'), ('{"kind": "other"}', 'no card of a VisNet'), (None, 'visnet_depth and visnet_rgb')],
)
def test_what_is_no_card_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / 'card.json').write_text(content)
    with pytest.raises(AssetError, match=message):
        load_visnet(tmp_path / 'card')


def test_sizes_that_cannot_be_are_refused():
    with pytest.raises(ConfigError, match='one number a stage'):
        VisNetConfig(widths=(8,), blocks=(1, 2))
    with pytest.raises(ConfigError, match='below 1'):
        VisNetConfig(stem_width=0)
    with pytest.raises(ConfigError, match='Make them equal'):
        VisNetCard(input=InputConfig(size=64), network=TINY, licence='')


def test_visibility_alone_is_the_same():
    network, images = VisNet().eval(), torch.rand(2, 3, 112, 112)
    with torch.inference_mode():
        torch.testing.assert_close(network.visibility(images), network(images).logits)
