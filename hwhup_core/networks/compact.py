"""A small residual network of plain convolutions for real-time use on a CPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hwhup_core.errors import ConfigError
from hwhup_core.networks.mean import (
    CAMERA_NUMBERS,
    POSE_NUMBERS,
    SHAPE_NUMBERS,
    STATE_NUMBERS,
    MeanParameters,
    default_mean_parameters,
    prediction_from_numbers,
)
from hwhup_core.types import Prediction


@dataclass(frozen=True)
class CompactConfig:
    """Shape of a `CompactRegressor`. The defaults were chosen by measured training speed on two CPU cores."""

    input_size: int = 112
    """Side of the square input, pixels."""
    stem_width: int = 16
    """Channels after the first convolution, at half resolution."""
    stem_kernel: int = 5
    """Side of the first convolution's kernel, odd."""
    widths: tuple[int, ...] = (32, 64, 128, 288)
    """Channels of each stage; every stage starts by halving the resolution."""
    blocks: tuple[int, ...] = (1, 1, 2, 2)
    """Residual blocks of each stage."""
    spatial_width: int = 24
    """Channels kept at each place of the last feature map: averages alone would forget where a limb is."""
    hidden_width: int = 320
    """Width of the two hidden layers of the head."""

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.blocks) or not self.widths:
            raise ConfigError(
                f'widths has {len(self.widths)} stages and blocks {len(self.blocks)}. Give one number a stage in both.'
            )
        numbers = (
            self.input_size, self.stem_width, self.stem_kernel, *self.widths, *self.blocks,
            self.spatial_width, self.hidden_width,
        )  # fmt: skip
        if min(numbers) < 1 or self.stem_kernel % 2 == 0:
            raise ConfigError(f'{self} holds a number below 1 or an even stem_kernel. All sizes must be positive.')

    @property
    def last_side(self) -> int:
        """Side of the last feature map: the stem and each stage halve, rounding up."""
        side = self.input_size
        for _ in range(1 + len(self.widths)):
            side = (side + 1) // 2
        return side


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, features: Float[Tensor, 'b c h w']) -> Float[Tensor, 'b d i j']:
        """Return the next feature map."""
        inner = F.relu(self.bn1(self.conv1(features)))
        return F.relu(self.bn2(self.conv2(inner)) + self.shortcut(features))


class CompactRegressor(nn.Module):
    """Crop -> body: residual stages, the average and a thin copy of their last map, one head that corrects the mean."""

    init_pose: Tensor
    init_shape: Tensor
    init_cam: Tensor

    def __init__(self, config: CompactConfig | None = None, mean: MeanParameters | None = None) -> None:
        super().__init__()
        self.config = config or CompactConfig()
        mean = mean or default_mean_parameters()
        stem = self.config.stem_width
        self.conv1 = nn.Conv2d(3, stem, self.config.stem_kernel, 2, self.config.stem_kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.stages = _stages(stem, self.config)
        last, thin = self.config.widths[-1], self.config.spatial_width
        self.spatial = nn.Sequential(nn.Conv2d(last, thin, 1, bias=False), nn.BatchNorm2d(thin), nn.ReLU())
        self.head = nn.Sequential(
            nn.Linear(last + thin * self.config.last_side**2, self.config.hidden_width),
            nn.ReLU(),
            nn.Linear(self.config.hidden_width, self.config.hidden_width),
            nn.ReLU(),
            nn.Linear(self.config.hidden_width, STATE_NUMBERS),
        )
        self.register_buffer('init_pose', mean.pose6d[None].clone())
        self.register_buffer('init_shape', mean.shape[None].clone())
        self.register_buffer('init_cam', mean.cam[None].clone())
        self._initialise()

    @property
    def input_size(self) -> int:
        """Side of the square input, pixels."""
        return self.config.input_size

    def forward(self, images: Float[Tensor, 'b 3 size size']) -> Prediction:
        """Return the body and the crop camera of packed crops (`packing.crop_to_input`)."""
        features = self.stages(F.relu(self.bn1(self.conv1(images))))
        summary = torch.cat([features.mean(dim=(2, 3)), self.spatial(features).flatten(1)], dim=1)
        pose, shape, cam = self.head(summary).split([POSE_NUMBERS, SHAPE_NUMBERS, CAMERA_NUMBERS], dim=1)
        return prediction_from_numbers(self.init_pose + pose, self.init_shape + shape, self.init_cam + cam)

    def _initialise(self) -> None:
        """Set He weights, quiet residual branches and a last layer that starts at the mean body."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
            elif isinstance(module, ResidualBlock):
                nn.init.zeros_(module.bn2.weight)
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        nn.init.xavier_uniform_(last.weight, gain=0.01)
        nn.init.zeros_(last.bias)


def _stages(inputs: int, config: CompactConfig) -> nn.Sequential:
    blocks: list[nn.Module] = []
    for width, count in zip(config.widths, config.blocks):
        for index in range(count):
            blocks.append(ResidualBlock(inputs, width, 2 if index == 0 else 1))
            inputs = width
    return nn.Sequential(*blocks)
