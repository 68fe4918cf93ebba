from __future__ import annotations

import dataclasses
import json
import logging
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hwhup_core.body.model import load_body
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.networks.card import Measurement, ModelCard
from hwhup_core.networks.checkpoint import (
    hash_weights,
    load_card,
    load_checkpoint,
    load_mean_params,
    load_spin_checkpoint,
    save_checkpoint,
)
from hwhup_core.networks.compact import CompactConfig, CompactRegressor
from hwhup_core.networks.mean import MeanParameters, default_mean_parameters
from hwhup_core.networks.packing import InputConfig, Modality
from hwhup_core.networks.spin import SpinRegressor

TINY = CompactConfig(input_size=33, stem_width=4, widths=(4, 6), blocks=(1, 2), spatial_width=2, hidden_width=8)
CARD = ModelCard(
    architecture='compact',
    input=InputConfig((Modality.DEPTH, Modality.INFRARED), 33),
    body_id='tiny',
    body_hash='a1b2',
    licence='Apache-2.0',
    network=TINY,
    training_data='nothing',
    training_command='hwhup train',
    training_config={'epochs': 3, 'rates': [0.1]},
    seed=4,
    commit='abc',
    metrics={'joint_error_mm': Measurement(70.0, 68.5, 71.5, 1000)},
    calibration={'sigma_floor_m': [0.01, 0.02], 'sigma_gain': 0.5},
)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    mean = MeanParameters(default_mean_parameters().pose6d, torch.randn(10), torch.tensor([1.1, 0.0, 0.1]))
    model = CompactRegressor(TINY, mean).train()
    model(torch.randn(4, 3, 33, 33))  # Moves the running statistics.
    stem = tmp_path / 'crib_v1.2'  # A dot in the name is no ending.
    return SimpleNamespace(stem=stem, model=model, card=save_checkpoint(stem, model, CARD))


def test_round_trip_is_exact(saved):
    for path in (saved.stem, f'{saved.stem}.safetensors', f'{saved.stem}.json'):
        loaded = load_checkpoint(type(saved.stem)(path), None)
        assert loaded.card == saved.card
        state = loaded.model.state_dict()
        assert list(state) == list(saved.model.state_dict())
        assert all(torch.equal(state[name], tensor) for name, tensor in saved.model.state_dict().items())
        assert not loaded.model.training
    assert dataclasses.replace(saved.card, weights_hash='') == CARD
    assert sorted(path.name for path in saved.stem.parent.iterdir()) == ['crib_v1.2.json', 'crib_v1.2.safetensors']


def test_spin_architecture_round_trip(tmp_path):
    card = dataclasses.replace(CARD, architecture='spin', network=None, input=InputConfig((Modality.RGB,), 224, 'spin'))
    model = SpinRegressor()
    save_checkpoint(tmp_path / 'spin', model, card)
    loaded = load_checkpoint(tmp_path / 'spin', None).model
    assert isinstance(loaded, SpinRegressor)
    assert hash_weights(loaded.state_dict()) == hash_weights(model.state_dict())


def test_hash_sees_values_names_and_shapes():
    base = {'a': torch.tensor([1.0, 2.0]), 'n': torch.tensor(3)}
    variants = [
        base,
        {**base, 'a': torch.tensor([1.0, 2.0000002])},
        {'b': base['a'], 'n': base['n']},
        {**base, 'a': torch.tensor([[1.0, 2.0]])},
        {**base, 'n': torch.tensor(3, dtype=torch.int32)},
    ]
    assert len({hash_weights(state) for state in variants}) == len(variants)
    assert hash_weights(base) == hash_weights(dict(reversed(base.items())))


def test_another_body_is_refused(tmp_path):
    infant, adult = load_body('infant'), load_body('adult')
    card = dataclasses.replace(CARD, body_id=infant.body_id, body_hash=infant.hash)
    save_checkpoint(tmp_path / 'infant', CompactRegressor(TINY), card)
    assert load_checkpoint(tmp_path / 'infant', infant).card.body_id == infant.body_id
    with pytest.raises(AssetError) as caught:
        load_checkpoint(tmp_path / 'infant', adult)
    for part in (str(tmp_path / 'infant'), infant.body_id, infant.hash[:12], adult.body_id, adult.hash[:12]):
        assert part in str(caught.value)


def edit_card(saved, **changes):
    path = saved.stem.with_name(saved.stem.name + '.json')
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def edit_weights(saved, edit):
    path = saved.stem.with_name(saved.stem.name + '.safetensors')
    state = load_file(path)
    edit(state)
    save_file(state, path)


WRONG_CARDS = [
    ({'architecture': 'transformer'}, ['architecture', 'transformer', 'compact, spin']),
    ({'format_version': 99}, ['format version 99', 'reads 1']),
    ({'format_version': None}, ['format version None']),
    ({'weights_hash': '0' * 64}, ['its card says 000000000000']),
    ({'body_hash': 3}, ['body_hash', 'text']),
    ({'surprise': 1}, ['unknown key `surprise`']),
    ({'network': None}, ['architecture', 'network']),
    ({'input': {'modalities': ['depth'], 'size': 64}}, ['input.size is 64', '33']),
    ({'input': {'modalities': ['sound'], 'size': 33}}, ['input.modalities[0]', 'sound']),
]


@pytest.mark.parametrize(('changes', 'parts'), WRONG_CARDS)
def test_wrong_cards_are_refused(saved, changes, parts):
    edit_card(saved, **changes)
    with pytest.raises(AssetError) as caught:
        load_checkpoint(saved.stem, None)
    for part in [*parts, 'crib_v1.2']:
        assert part in str(caught.value)


WRONG_WEIGHTS = [
    (lambda state: state.pop('bn1.running_var'), ['missing', '`bn1.running_var`']),
    (lambda state: state.update(extra=torch.zeros(1)), ['not known', '`extra`']),
    (lambda state: state.update(init_cam=torch.zeros(1, 4)), ['another shape', '(1, 4) instead of (1, 3)']),
    (lambda state: state['init_cam'].fill_(float('nan')), ['not finite', '`init_cam`']),
    (lambda state: state['init_cam'].add_(1), ['do not belong together']),
]


@pytest.mark.parametrize(('edit', 'parts'), WRONG_WEIGHTS)
def test_wrong_weights_are_refused(saved, edit, parts):
    edit_weights(saved, edit)
    with pytest.raises(AssetError) as caught:
        load_checkpoint(saved.stem, None)
    for part in [*parts, 'crib_v1.2']:
        assert part in str(caught.value)


@pytest.mark.parametrize('ending', ['.safetensors', '.json'])
@pytest.mark.parametrize('content', [None, b'', b'{"a', b'\xff\xfe\x00 not at all'])
def test_broken_files_are_refused(saved, ending, content):
    path = saved.stem.with_name(saved.stem.name + ending)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(AssetError, match=r'crib_v1\.2\.'):
        load_checkpoint(saved.stem, None)


def test_truncated_weights_are_refused(saved):
    path = saved.stem.with_name(saved.stem.name + '.safetensors')
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(AssetError, match='not a whole safetensors file'):
        load_checkpoint(saved.stem, None)


def test_failed_save_leaves_the_old_file(saved, monkeypatch):
    monkeypatch.setattr(os, 'replace', lambda *paths: (_ for _ in ()).throw(OSError('disk full')))
    with pytest.raises(OSError, match='disk full'):
        save_checkpoint(saved.stem, CompactRegressor(TINY), CARD)
    monkeypatch.undo()
    assert load_checkpoint(saved.stem, None).card == saved.card
    assert len(list(saved.stem.parent.iterdir())) == 2


def test_card_for_another_network_is_refused_when_saved(tmp_path):
    card = dataclasses.replace(CARD, network=dataclasses.replace(TINY, hidden_width=9))
    with pytest.raises(AssetError, match='another shape'):
        save_checkpoint(tmp_path / 'x', CompactRegressor(TINY), card)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match='architecture'):
        dataclasses.replace(CARD, architecture='spin')


def test_card_alone(saved):
    assert load_card(saved.stem).metrics['joint_error_mm'].count == 1000


class Malicious:
    """Unpickling this would run a command."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.fixture(scope='module')
def spin_state():
    return SpinRegressor().state_dict()


def test_training_state_is_named_and_left_out(tmp_path, spin_state, caplog):
    extras = {
        'optimizer': {'state': {0: {'step': 3}}},
        'epoch': 3,
        'batch_idx': np.int64(4),
        'dataset_perm': np.arange(9),
        'losses': np.float64(0.5),
    }
    torch.save({'model': spin_state, **extras}, tmp_path / 'hwhup.pt')
    with caplog.at_level(logging.INFO):
        model = load_spin_checkpoint(tmp_path / 'hwhup.pt')
    assert all(name in caplog.text for name in extras)
    assert hash_weights(model.state_dict()) == hash_weights(spin_state)
    assert not model.training


@pytest.mark.parametrize(('zipped', 'wrap'), [(True, False), (False, False), (True, True)])
def test_malicious_checkpoint_is_refused(tmp_path, zipped, wrap):
    trap = Malicious(tmp_path / 'owned')
    extra = np.array([trap], dtype=object) if wrap else trap
    torch.save(
        {'model': {'x': torch.zeros(1)}, 'extra': extra}, tmp_path / 'bad.pt', _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(AssetError, match=r'bad\.pt holds more than tensors and numbers'):
        load_spin_checkpoint(tmp_path / 'bad.pt')
    assert not (tmp_path / 'owned').exists()


def test_the_trap_works(tmp_path):
    """Without the restriction the file would run: otherwise the test above could not fail."""
    torch.save(Malicious(tmp_path / 'owned'), tmp_path / 'bad.pt')
    torch.load(tmp_path / 'bad.pt', weights_only=False)
    assert (tmp_path / 'owned').exists()


@pytest.mark.parametrize(
    ('edit', 'parts'),
    [
        (lambda state: state.pop('layer3.5.bn2.running_mean'), ['missing', '`layer3.5.bn2.running_mean`']),
        (lambda state: state.update({'fc3.weight': torch.zeros(1)}), ['not known', '`fc3.weight`']),
        (lambda state: state.update({'fc1.bias': torch.zeros(7)}), ['another shape', 'fc1.bias', '(7,)']),
        (lambda state: state.update({'fc1.bias': 'text'}), ['another shape', 'fc1.bias', 'str']),
    ],
)
def test_wrong_spin_state_is_refused_by_name(tmp_path, spin_state, edit, parts):
    state = dict(spin_state)
    edit(state)
    torch.save({'model': state}, tmp_path / 'spin.pt')
    with pytest.raises(AssetError) as caught:
        load_spin_checkpoint(tmp_path / 'spin.pt')
    for part in [*parts, 'spin.pt']:
        assert part in str(caught.value)


def test_files_that_are_no_spin_checkpoint_are_refused(tmp_path):
    torch.save({'state_dict': {}, 'epoch': 1}, tmp_path / 'other.pt')
    with pytest.raises(AssetError, match='key `model`; it holds: state_dict, epoch'):
        load_spin_checkpoint(tmp_path / 'other.pt')
    (tmp_path / 'text.pt').write_text('hello')
    with pytest.raises(AssetError, match=r'text\.pt'):
        load_spin_checkpoint(tmp_path / 'text.pt')
    with pytest.raises(AssetError, match=r'nowhere\.pt.*No such file'):
        load_spin_checkpoint(tmp_path / 'nowhere.pt')


def test_mean_parameters(tmp_path):
    path = tmp_path / 'smpl_mean_params.npz'
    np.savez(path, pose=np.arange(144.0), shape=np.arange(10.0), cam=np.array([0.9, 0, 0]), more=np.zeros(2))
    mean = load_mean_params(path)
    assert mean.pose6d.tolist() == list(range(144))
    assert mean.pose6d.dtype == torch.float32
    assert torch.equal(SpinRegressor(mean).init_cam, torch.tensor([[0.9, 0.0, 0.0]]))


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        ({'pose': np.zeros(144), 'shape': np.zeros(10)}, '`cam` holds nothing'),
        ({'pose': np.zeros(72), 'shape': np.zeros(10), 'cam': np.zeros(3)}, r'`pose` holds shape \(72,\)'),
        ({'pose': np.array([None]), 'shape': np.zeros(10), 'cam': np.zeros(3)}, 'does not hold mean parameters'),
    ],
)
def test_wrong_mean_parameters_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / 'mean.npz', **arrays)
    with pytest.raises(AssetError, match=message):
        load_mean_params(tmp_path / 'mean.npz')
