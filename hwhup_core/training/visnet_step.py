"""One step of VisNet: heat maps by squared error, visibility by cross entropy, both on labelled joints alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hwhup_core.errors import ConfigError
from hwhup_core.networks.visnet import VisNetOutput
from hwhup_core.synthetic.coco_people import SEEN
from hwhup_core.training.loop import Term
from hwhup_core.training.visnet_batches import VisBatch

SPREAD = 2 / 64
"""Standard deviation of a heat map's peak in crop sides: SimpleBaseline's 2 of 64 cells."""


@dataclass(frozen=True)
class VisWeights:
    """What the terms count; the paper does not say."""

    heatmaps: float = 200.0
    """Of the mean squared error over the cells of a joint's map; a blank map costs 0.003."""
    visibility: float = 1.0
    """Of the cross entropy; 0 trains a SimpleBaseline without the second head."""

    def __post_init__(self) -> None:
        if min(self.heatmaps, self.visibility) < 0 or max(self.heatmaps, self.visibility) == 0:
            raise ConfigError(f'{self}: weights must be at least 0, and one above.')


@dataclass(frozen=True)
class VisStep:
    """Network, batch, epoch -> terms, the same in every epoch."""

    weights: VisWeights
    bfloat16: bool = True
    """Whether the network runs in bfloat16 (autocast); losses are float32."""

    def __call__(self, network: nn.Module, batch: VisBatch, epoch: int) -> dict[str, Term]:
        """Return the weighted terms."""
        output = vis_output(network, batch.images, self.bfloat16)
        labelled = (batch.flags > 0).float()
        count = labelled.sum()
        target = heatmap_targets(batch.keypoints, output.heatmaps.shape[-1])
        errors = (output.heatmaps - target).square().mean(dim=(2, 3))
        entropy = nn.functional.binary_cross_entropy_with_logits(
            output.logits, (batch.flags == SEEN).float(), reduction='none'
        )
        return {
            'heatmaps': Term(_mean(errors, labelled, count), self.weights.heatmaps, count),
            'visibility': Term(_mean(entropy, labelled, count), self.weights.visibility, count),
        }


def vis_output(network: nn.Module, images: Float[Tensor, 'b 3 s s'], bfloat16: bool) -> VisNetOutput:
    """Return the network's answer in float32, whatever it runs in."""
    images = images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=bfloat16):
        output: VisNetOutput = network(images)
    return output.map(lambda tensor: tensor.float())


def heatmap_targets(keypoints: Float[Tensor, 'b k 2'], size: int) -> Float[Tensor, 'b k size size']:
    """Return a peak of height 1 around each position ([-1, 1] over the crop), taken at the cells' centres."""
    centers = (torch.arange(size, device=keypoints.device, dtype=keypoints.dtype) + 0.5) * 2 / size - 1
    # Crop sides are 2 long in these units.
    along = torch.exp(-(((centers - keypoints[..., None]) / (2 * SPREAD)) ** 2) / 2)
    return along[:, :, 1, :, None] * along[:, :, 0, None, :]


def _mean(values: Float[Tensor, 'b k'], labelled: Float[Tensor, 'b k'], count: Tensor) -> Tensor:
    return (values * labelled).sum() / count.clamp(min=1)
