"""Which joints the camera sees, by VisNet: from the picture alone, also where no depth is measured."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.body.joints import COCO_17, SMPL_24, index
from hwhup_core.errors import ConfigError
from hwhup_core.networks.fusion import fuse
from hwhup_core.networks.packing import InputConfig, Modality, crop_to_input
from hwhup_core.networks.visnet_checkpoint import load_visnet
from hwhup_core.types import Frame, PersonBox

AUTO, OFF = 'auto', 'off'
FACE = ('nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear')
"""SMPL's `head` is seen as far as any of these is."""


def visnet_for(name: str, inputs: InputConfig) -> str | None:
    """
    Return which VisNet goes with weights that read `inputs`: `auto` names the bundled one for depth or colour.

    None for `off`, and for `auto` where none is bundled for what the weights read (infrared, pressure, mixtures).
    """
    if name == OFF:
        return None
    if name != AUTO:
        return name
    if len(inputs.modalities) != 1 or inputs.modalities[0] not in (Modality.DEPTH, Modality.RGB):
        return None
    return f'visnet_{inputs.modalities[0].value}'


class Sight:
    """Looks at crops; remembers nothing."""

    @torch.inference_mode()
    def __init__(self, name_or_path: str | Path, device: torch.device, inputs: InputConfig) -> None:
        """Load the weights; they must read what the regressor reads, so that a frame never lacks their picture."""
        network, self.card = load_visnet(name_or_path)
        if not set(self.card.input.modalities) <= set(inputs.modalities):
            raise ConfigError(
                f'VisNet {name_or_path} reads {_names(self.card.input)}, the weights read {_names(inputs)}. Choose one '
                f'that reads the same, or visnet: {OFF}.'
            )
        # This memory layout is the faster one for a processor's convolutions.
        self._network = fuse(network).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device = device

    @torch.inference_mode()
    def __call__(self, frame: Frame, box: PersonBox) -> Float[ndarray, '17']:
        """Return the chance that each of COCO's 17 joints is seen, of the person in the box."""
        crop = torch.from_numpy(crop_to_input(frame, box, self.card.input))[None]
        image = crop.to(self._device, memory_format=torch.channels_last)
        chance: ndarray = torch.sigmoid(self._network.visibility(image))[0].cpu().double().numpy()
        return chance


def joint_chances(seen: Float[ndarray, '17'], geometric: Float[ndarray, '24']) -> Float[ndarray, '24']:
    """
    Return the chance that each SMPL joint is seen: VisNet's for limbs and head, the geometric one for the others.

    `geometric` is 1 seen, 0 hidden, NaN unknown, as `visibility.joint_visibility` tells from measured depth.
    """
    result = geometric.copy()
    for name in COCO_17:
        if name in SMPL_24:
            result[index(name, SMPL_24)] = seen[index(name, COCO_17)]
    result[index('head', SMPL_24)] = max(seen[index(name, COCO_17)] for name in FACE)
    return result


def _names(inputs: InputConfig) -> str:
    return ', '.join(modality.value for modality in inputs.modalities)
