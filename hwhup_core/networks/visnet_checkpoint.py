"""VisNet on disk: safetensors and a JSON card beside it, as the regressor. Nothing in a file is executed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from hwhup_core import __version__
from hwhup_core.config_io import from_plain, to_plain
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.networks.card import Measurement
from hwhup_core.networks.checkpoint import hash_weights, write_whole
from hwhup_core.networks.packing import InputConfig
from hwhup_core.networks.visnet import JOINTS, VisNet, VisNetConfig

FORMAT_VERSION = 1
BUNDLED = Path(__file__).parent / 'assets'
"""Where `visnet_depth` and `visnet_rgb` are."""


@dataclass(frozen=True)
class VisNetCard:
    """Everything a user must know about VisNet's weights; stored as JSON."""

    input: InputConfig
    """What the network reads."""
    network: VisNetConfig
    """Shape of the network."""
    licence: str
    """Licence of the weights, an SPDX name where there is one."""
    kind: Literal['visnet'] = 'visnet'
    """Tells the card from a regressor's."""
    joints: tuple[str, ...] = JOINTS
    """What heat maps and logits are about."""
    weights_hash: str = ''
    """SHA-256 over names, types, shapes and bytes of the tensors as stored; filled when saved."""
    training_data: str = ''
    """What the weights were trained on, in words."""
    training_command: str = ''
    """The command that trains them again."""
    training_config: dict[str, Any] = field(default_factory=dict)
    """The whole training configuration as `config_io.to_plain` gives it."""
    seed: int = 0
    commit: str = ''
    """Commit of the code that trained."""
    metrics: dict[str, Measurement] = field(default_factory=dict)
    """Held-out results: `auc`, areas under the ROC curve of the visibility head, and `auc_peak`, of the height of the
    heat map's peak, over all joints and subjects; the same with `_<domain>` for each domain."""
    hwhup_version: str = __version__
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if self.input.size != self.network.input_size:
            raise ConfigError(
                f'input.size is {self.input.size}, but the network reads {self.network.input_size} px. Make them equal.'
            )
        if self.joints != JOINTS:
            raise ConfigError(f"joints are {', '.join(self.joints)}. Expected COCO's 17 in COCO's order.")


def visnet_stem(name_or_path: str | Path) -> Path:
    """Return the path without ending of bundled weights by their name, or of the given file."""
    if (BUNDLED / f'{name_or_path}.json').is_file():
        return BUNDLED / name_or_path
    path = Path(name_or_path)
    return path.with_suffix('') if path.suffix in ('.safetensors', '.json') else path


def load_visnet(name_or_path: str | Path) -> tuple[VisNet, VisNetCard]:
    """Return the network in eval mode with its card: bundled `visnet_depth`, `visnet_rgb`, or a file of one's own."""
    stem = visnet_stem(name_or_path)
    card = load_visnet_card(stem)
    weights = stem.with_name(stem.name + '.safetensors')
    try:
        state = safetensors.torch.load(weights.read_bytes())
    except OSError as error:
        raise AssetError(f'Cannot read the weights {weights}: {error.strerror}. Check the path.') from error
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise AssetError(f'{weights} is not a whole safetensors file: {error}. Copy or train it again.') from error
    found = hash_weights(state)
    if found != card.weights_hash:
        raise AssetError(
            f'{weights} has hash {found[:12]}, but its card says {card.weights_hash[:12]}: the two files do not belong '
            'together or one was changed. Copy both again.'
        )
    network = VisNet(card.network)
    network.load_state_dict(_fitting(network, state, weights))
    return network.eval(), card


def load_visnet_card(name_or_path: str | Path) -> VisNetCard:
    """Return the card of VisNet weights without loading them."""
    stem = visnet_stem(name_or_path)
    file = stem.with_name(stem.name + '.json')
    try:
        plain = json.loads(file.read_text(encoding='utf-8'))
    except OSError as error:
        raise AssetError(
            f'Cannot read the card {file}: {error.strerror}. VisNet weights are two files, .safetensors and .json; '
            'the bundled ones are visnet_depth and visnet_rgb.'
        ) from error
    except ValueError as error:
        raise AssetError(f'{file} is not a weights card: {error}. Copy it again.') from error
    if not isinstance(plain, dict) or plain.get('kind') != 'visnet':
        raise AssetError(f'{file} is no card of a VisNet. Give VisNet weights, not those of a regressor.')
    if plain.get('format_version') != FORMAT_VERSION:
        raise AssetError(
            f'{file} has format version {plain.get("format_version")}, this program reads {FORMAT_VERSION}. Update the '
            'older of the two.'
        )
    try:
        return from_plain(plain, VisNetCard, str(file))
    except ConfigError as error:
        raise AssetError(str(error)) from error


def save_visnet(path: Path, network: VisNet, card: VisNetCard) -> VisNetCard:
    """
    Write `path`.safetensors and `path`.json and return the card as written, its weights hash filled in.

    Kernels and matrices are stored in half precision, which halves the file; statistics stay as they are.
    """
    stem = visnet_stem(path)
    state = {name: _stored(tensor) for name, tensor in network.state_dict().items()}
    _fitting(VisNet(card.network), state, stem)
    card = replace(card, weights_hash=hash_weights(state))
    write_whole(stem.with_name(stem.name + '.safetensors'), safetensors.torch.save(state))
    text = json.dumps(to_plain(card), indent=2, ensure_ascii=False, allow_nan=False) + '\n'
    write_whole(stem.with_name(stem.name + '.json'), text.encode())
    return card


def _stored(tensor: Tensor) -> Tensor:
    kept = tensor.detach().cpu().contiguous()
    return kept.half() if kept.ndim > 1 else kept


def _fitting(network: VisNet, state: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """Return the tensors in the network's types, or refuse them where names, shapes or numbers are wrong."""
    wanted = network.state_dict()
    wrong = sorted(set(wanted) ^ set(state))
    wrong += [name for name in wanted if name in state and state[name].shape != wanted[name].shape]
    wrong += [name for name in state if not torch.isfinite(state[name]).all()]
    if wrong:
        raise AssetError(
            f'{source} does not fit the VisNet of its card: {", ".join(wrong[:5])} missing, not known, of another '
            'shape or not finite. Use weights made for this network.'
        )
    return {name: state[name].to(wanted[name].dtype) for name in wanted}
