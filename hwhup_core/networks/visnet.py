"""
VisNet (the paper's A.2): says of each of COCO's 17 joints whether the camera sees it.

One backbone carries two heads that are trained together: SimpleBaseline's deconvolutions to heat maps, and a small head
for the visibility. The paper names neither the depth of the ResNet nor the features that the second head reads: here
ResNet-50 and the backbone's last map. Its last layer gives logits; the paper's "BN and ReLU after each layer" would
leave no negative ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hwhup_core.body.joints import COCO_17
from hwhup_core.errors import ConfigError
from hwhup_core.networks.compact import ResidualBlock
from hwhup_core.networks.spin import EXPANSION, Bottleneck
from hwhup_core.types import TensorRecord

JOINTS = COCO_17
"""What heat maps and logits are about, in this order."""
RESNET_WIDTHS, RESNET_BLOCKS = (64, 128, 256, 512), (3, 4, 6, 3)
VIS_CONVOLUTIONS, VIS_LAYERS = (256, 32), (256, 64)
"""Channels of the visibility head's 1x1 convolutions, and widths of its hidden layers."""
QUARTER = 0.25
"""How far SimpleBaseline moves a peak towards its larger neighbour, cells."""


@dataclass(frozen=True)
class VisNetConfig:
    """Shape of a `VisNet`. The defaults are ours, for one CPU core; `PAPER` is as published."""

    backbone: Literal['compact', 'resnet50'] = 'compact'
    """Plain residual stages of the sizes below, or ResNet-50 under torchvision's names."""
    input_size: int = 112
    """Side of the square input, pixels."""
    stem_width: int = 16
    """Channels after the first convolution, at half resolution; of `compact`."""
    widths: tuple[int, ...] = (32, 64, 128)
    """Channels of each stage, which starts by halving the resolution; of `compact`."""
    blocks: tuple[int, ...] = (1, 2, 2)
    """Residual blocks of each stage; of `compact`."""
    deconvolutions: tuple[int, ...] = (64, 64)
    """Channels of each deconvolution of the pose head, which doubles the resolution."""

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.blocks) or not self.widths:
            raise ConfigError(
                f'widths has {len(self.widths)} stages and blocks {len(self.blocks)}. Give one number a stage in both.'
            )
        if min(self.input_size, self.stem_width, *self.widths, *self.blocks, *self.deconvolutions) < 1:
            raise ConfigError(f'{self} holds a number below 1. All sizes must be positive.')

    @property
    def channels(self) -> int:
        """Channels of the backbone's last map."""
        return self.widths[-1] if self.backbone == 'compact' else RESNET_WIDTHS[-1] * EXPANSION

    @property
    def last_side(self) -> int:
        """Side of the backbone's last map: each halving rounds up."""
        side = self.input_size
        for _ in range(1 + len(self.widths) if self.backbone == 'compact' else 5):
            side = (side + 1) // 2
        return side

    @property
    def heatmap_size(self) -> int:
        """Side of the heat maps, cells."""
        return self.last_side << len(self.deconvolutions)


COMPACT = VisNetConfig()
PAPER = VisNetConfig('resnet50', input_size=224, deconvolutions=(256, 256, 256))


@dataclass(frozen=True)
class VisNetOutput(TensorRecord):
    """What the network says about one crop each; joints in the order of `JOINTS`."""

    heatmaps: Float[Tensor, 'b 17 h w']
    """About 1 where a joint is, seen or guessed, 0 elsewhere."""
    logits: Float[Tensor, 'b 17']
    """Above 0 where the camera sees the joint; `sigmoid` makes chances of them."""


class VisNet(nn.Module):
    """Packed crop (`packing.crop_to_input`) -> heat maps and visibility."""

    def __init__(self, config: VisNetConfig | None = None) -> None:
        super().__init__()
        self.config = config or VisNetConfig()
        compact = self.config.backbone == 'compact'
        self.backbone = _CompactBackbone(self.config) if compact else _ResNet50()
        self.pose_head = _pose_head(self.config)
        self.vis_head = _vis_head(self.config)
        self._initialise()

    @property
    def input_size(self) -> int:
        """Side of the square input, pixels."""
        return self.config.input_size

    def forward(self, images: Float[Tensor, 'b 3 s s']) -> VisNetOutput:
        """Return heat maps and logits."""
        features = self.backbone(images)
        return VisNetOutput(self.pose_head(features), self.vis_head(features))

    def visibility(self, images: Float[Tensor, 'b 3 s s']) -> Float[Tensor, 'b 17']:
        """Return the logits alone, without the cost of the heat maps."""
        logits: Tensor = self.vis_head(self.backbone(images))
        return logits

    def _initialise(self) -> None:
        """Set He weights, quiet residual branches, and last layers that start near 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
            elif isinstance(module, ResidualBlock):
                nn.init.zeros_(module.bn2.weight)
            elif isinstance(module, nn.ConvTranspose2d):
                nn.init.normal_(module.weight, std=0.001)  # SimpleBaseline's.
        for last in (self.pose_head[-1], self.vis_head[-1]):
            assert isinstance(last, (nn.Conv2d, nn.Linear))
            assert last.bias is not None
            nn.init.normal_(last.weight, std=0.001)
            nn.init.zeros_(last.bias)


class _CompactBackbone(nn.Module):
    """Crop -> last map, `widths[-1]` channels."""

    def __init__(self, config: VisNetConfig) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_convolution(3, config.stem_width, 5, 2))
        stages: list[nn.Module] = []
        inputs = config.stem_width
        for width, count in zip(config.widths, config.blocks):
            for block in range(count):
                stages.append(ResidualBlock(inputs, width, 2 if block == 0 else 1))
                inputs = width
        self.stages = nn.Sequential(*stages)

    def forward(self, images: Float[Tensor, 'b 3 s s']) -> Float[Tensor, 'b c h w']:
        """Return the last map."""
        features: Tensor = self.stages(self.stem(images))
        return features


class _ResNet50(nn.Module):
    """Crop -> last map, 2048 channels; parameter names are torchvision's and SPIN's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for number, (width, count) in enumerate(zip(RESNET_WIDTHS, RESNET_BLOCKS), start=1):
            layer = _resnet_layer(inputs, width, count, 1 if number == 1 else 2)
            self.add_module(f'layer{number}', layer)
            inputs = width * EXPANSION

    def forward(self, images: Float[Tensor, 'b 3 s s']) -> Float[Tensor, 'b 2048 h w']:
        """Return the last map."""
        features = nn.functional.relu(self.bn1(self.conv1(images)))
        features = nn.functional.max_pool2d(features, 3, stride=2, padding=1)
        for number in range(1, 1 + len(RESNET_WIDTHS)):
            features = self.get_submodule(f'layer{number}')(features)
        return features


def _resnet_layer(inputs: int, width: int, count: int, stride: int) -> nn.Sequential:
    outputs = width * EXPANSION
    shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    rest = [Bottleneck(outputs, width, 1, None) for _ in range(count - 1)]
    return nn.Sequential(Bottleneck(inputs, width, stride, shortcut), *rest)


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> Sequence[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()


def _pose_head(config: VisNetConfig) -> nn.Sequential:
    """Return SimpleBaseline's head (Xiao et al. 2018): 4x4 deconvolutions, then a heat map a joint."""
    layers: list[nn.Module] = []
    inputs = config.channels
    for width in config.deconvolutions:
        layers += [nn.ConvTranspose2d(inputs, width, 4, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Conv2d(inputs, len(JOINTS), 1))


def _vis_head(config: VisNetConfig) -> nn.Sequential:
    """Return the paper's head: two 1x1 convolutions, three layers, batch norm and ReLU after all but the last."""
    layers: list[nn.Module] = []
    inputs = config.channels
    for channels in VIS_CONVOLUTIONS:
        layers += _convolution(inputs, channels, 1)
        inputs = channels
    layers.append(nn.Flatten())
    inputs *= config.last_side**2
    for width in VIS_LAYERS:
        layers += [nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, len(JOINTS)))


def keypoints_from(heatmaps: Float[Tensor, 'b k h w']) -> tuple[Float[Tensor, 'b k 2'], Float[Tensor, 'b k']]:
    """
    Return where each heat map peaks, [-1, 1] over the crop from edge to edge, and how high.

    As in SimpleBaseline, a peak is moved a quarter of a cell towards its larger neighbour; at the border it stays.
    """
    height, width = heatmaps.shape[2:]
    scores, flat = heatmaps.flatten(2).max(dim=2)
    rows, columns = flat // width, flat % width
    padded = nn.functional.pad(heatmaps, (1, 1, 1, 1), mode='replicate').flatten(2)

    def near(down: int, right: int) -> Tensor:
        place = (rows + 1 + down) * (width + 2) + columns + 1 + right
        return padded.gather(2, place[..., None])[..., 0]

    inside_x, inside_y = (columns > 0) & (columns < width - 1), (rows > 0) & (rows < height - 1)
    x = columns + 0.5 + QUARTER * inside_x * (near(0, 1) - near(0, -1)).sign()
    y = rows + 0.5 + QUARTER * inside_y * (near(1, 0) - near(-1, 0)).sign()
    return torch.stack([2 * x / width - 1, 2 * y / height - 1], dim=-1), scores
