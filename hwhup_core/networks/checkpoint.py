"""Weights on disk: ours (safetensors and a JSON card) and SPIN's. Nothing in a file is ever executed."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from hwhup_core.body.model import BodyModel, require_same_body
from hwhup_core.config_io import from_plain, to_plain
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.networks.card import FORMAT_VERSION, ModelCard
from hwhup_core.networks.compact import CompactRegressor
from hwhup_core.networks.mean import CAMERA_NUMBERS, POSE_NUMBERS, SHAPE_NUMBERS, MeanParameters
from hwhup_core.networks.spin import SpinRegressor
from hwhup_core.whole_files import write_whole as write_whole

logger = logging.getLogger(__name__)

NUMPY_GLOBALS: list[Any] = [
    np.ndarray,
    np.dtype,
    *(type(np.dtype(name)) for name in ('bool', 'int32', 'int64', 'float32', 'float64')),
    *(
        (function, f'numpy.{core}.multiarray.{name}')
        for core in ('core', '_core')
        for name, function in (
            ('_reconstruct', np.ndarray.__reduce__(np.zeros(0))[0]),
            ('scalar', np.float64(0).__reduce__()[0]),
        )
    ),
]
"""What HW-HuP's checkpoints hold besides tensors: plain numpy arrays and scalars (the order of the samples)."""


@dataclass(frozen=True)
class Loaded:
    """Weights in their network, in eval mode, with their card."""

    model: CompactRegressor | SpinRegressor
    card: ModelCard


def save_checkpoint(path: Path, model: CompactRegressor | SpinRegressor, card: ModelCard) -> ModelCard:
    """
    Write `path`.safetensors and `path`.json and return the card as written, its weights hash filled in.

    Each file appears whole or not at all; a card that does not belong to the weights beside it is refused when loaded.
    """
    stem = _stem(Path(path))
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    _refuse_wrong_state(build_model(card), state, stem)
    card = replace(card, weights_hash=hash_weights(state))
    write_whole(_beside(stem, '.safetensors'), safetensors.torch.save(state))
    text = json.dumps(to_plain(card), indent=2, ensure_ascii=False, allow_nan=False) + '\n'
    write_whole(_beside(stem, '.json'), text.encode())
    return card


def load_checkpoint(path: Path, body: BodyModel | None) -> Loaded:
    """Return the weights and their card; `path` with or without its ending. Without a body, the body is not checked."""
    stem = _stem(Path(path))
    card = load_card(stem)
    if body is not None:
        try:
            require_same_body(card.body_id, card.body_hash, body)
        except AssetError as error:
            raise AssetError(f'{stem}: {error}') from error
    weights = _beside(stem, '.safetensors')
    try:
        state = safetensors.torch.load(weights.read_bytes())
    except OSError as error:
        raise AssetError(f'Cannot read the weights {weights}: {error.strerror}. Check the path.') from error
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise AssetError(f'{weights} is not a whole safetensors file: {error}. Copy or train it again.') from error
    model = build_model(card)
    _refuse_wrong_state(model, state, weights)
    found = hash_weights(state)
    if found != card.weights_hash:
        raise AssetError(
            f'{weights} has hash {found[:12]}, but its card says {card.weights_hash[:12]}: the two files do not belong '
            'together or one was changed. Copy both again.'
        )
    model.load_state_dict(state)
    return Loaded(model.eval(), card)


def load_card(path: Path) -> ModelCard:
    """Return the card of a checkpoint without loading its weights."""
    file = _beside(_stem(Path(path)), '.json')
    try:
        plain = json.loads(file.read_text(encoding='utf-8'))
    except OSError as error:
        raise AssetError(
            f'Cannot read the weights card {file}: {error.strerror}. A checkpoint is two files, .safetensors and .json.'
        ) from error
    except ValueError as error:
        raise AssetError(f'{file} is not a weights card: {error}. Copy it again.') from error
    version = plain.get('format_version') if isinstance(plain, dict) else None
    if version != FORMAT_VERSION:
        raise AssetError(
            f'{file} has format version {version}, this program reads {FORMAT_VERSION}. Update the older of the two.'
        )
    try:
        return from_plain(plain, ModelCard, str(file))
    except ConfigError as error:
        raise AssetError(str(error)) from error


def build_model(card: ModelCard) -> CompactRegressor | SpinRegressor:
    """Return the network that a card describes, with fresh weights."""
    return SpinRegressor() if card.network is None else CompactRegressor(card.network)


def hash_weights(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 over names, types, shapes and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f'{name} {tensor.dtype} {tuple(tensor.shape)}\n'.encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def load_spin_checkpoint(path: Path) -> SpinRegressor:
    """Return the network of a SPIN or HW-HuP `model_checkpoint.pt`, in eval mode; its training state is left out."""
    content = read_torch(path)
    ignored = [str(key) for key in content if key != 'model']
    if ignored and 'model' in content:
        logger.info('%s: training state not used: %s', path, ', '.join(ignored))
    return spin_network(content, path)


def read_torch(path: Path) -> dict[Any, Any]:
    """Return the dictionary in a torch file of tensors, numbers and plain numpy arrays; nothing in it is executed."""
    try:
        with torch.serialization.safe_globals(NUMPY_GLOBALS):
            content = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        # The rest of torch's message is advice to load the file unsafely.
        reason = str(error).rpartition('WeightsUnpickler error:')[2].strip().splitlines()[0].rstrip('.')
        raise AssetError(
            f'{path} holds more than tensors and numbers: {reason}. Nothing was loaded; get another copy.'
        ) from error
    except OSError as error:
        raise AssetError(f'Cannot read the checkpoint {path}: {error.strerror or error}. Check the path.') from error
    except Exception as error:  # A broken zip or pickle surfaces as any of a dozen types.
        raise AssetError(f'{path} is not a whole torch checkpoint: {error!r}. Copy it again.') from error
    if not isinstance(content, dict):
        raise AssetError(f'{path} holds: {type(content).__name__}. Expected the dictionary of a SPIN checkpoint.')
    return content


def spin_network(content: Mapping[Any, Any], path: Path) -> SpinRegressor:
    """Return the network under the key `model` of what `read_torch` gave, in eval mode; `path` is for errors."""
    state = content.get('model')
    if not isinstance(state, dict):
        found = ', '.join(map(str, content))
        raise AssetError(f'{path} has no weights under the key `model`; it holds: {found}. Expected a SPIN checkpoint.')
    model = SpinRegressor()
    _refuse_wrong_state(model, state, Path(path))
    model.load_state_dict(state)
    return model.eval()


def load_mean_params(path: Path) -> MeanParameters:
    """Return the mean body in SPIN's `smpl_mean_params.npz` (keys pose, shape, cam)."""
    expected = {'pose': POSE_NUMBERS, 'shape': SHAPE_NUMBERS, 'cam': CAMERA_NUMBERS}
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name], np.float32) for name in expected if name in file.files}
    except OSError as error:
        raise AssetError(f'Cannot read the mean parameters {path}: {error.strerror or error}.') from error
    except Exception as error:  # A broken zip or a pickled array surfaces as any of several types.
        raise AssetError(f'{path} does not hold mean parameters: {error!r}. Expected smpl_mean_params.npz.') from error
    for name, length in expected.items():
        if name not in arrays or arrays[name].shape != (length,):
            found = f'shape {arrays[name].shape}' if name in arrays else 'nothing'
            raise AssetError(f'{path}: key `{name}` holds {found}, expected {length} numbers (smpl_mean_params.npz).')
    pose, shape, cam = (torch.from_numpy(arrays[name]) for name in expected)
    return MeanParameters(pose, shape, cam)


def _refuse_wrong_state(model: nn.Module, state: Mapping[str, Any], source: Path) -> None:
    """Raise, naming the first keys, unless names and shapes are the model's and every number is finite."""
    wanted = model.state_dict()
    problems = {
        'missing': [name for name in wanted if name not in state],
        'not known': [name for name in state if name not in wanted],
        'of another shape': [
            f'{name} {_shape(state[name])} instead of {_shape(tensor)}'
            for name, tensor in wanted.items()
            if name in state and _shape(state[name]) != _shape(tensor)
        ],
        'not finite': [
            name
            for name, tensor in state.items()
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and not tensor.isfinite().all()
        ],
    }
    for problem, names in problems.items():
        if names:
            shown = ', '.join(f'`{name}`' for name in names[:5]) + (f' and {len(names) - 5} more' if names[5:] else '')
            raise AssetError(
                f'{source} does not fit {type(model).__name__}: {problem}: {shown}. Use weights made for this network.'
            )


def _shape(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _stem(path: Path) -> Path:
    return path.with_suffix('') if path.suffix in ('.safetensors', '.json') else path


def _beside(stem: Path, ending: str) -> Path:
    return stem.with_name(stem.name + ending)
