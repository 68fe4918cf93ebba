"""
SPIN's regressor (Kolotouros et al. 2019, after HMR): ResNet-50 and a head that corrects its own estimate three times.

Parameter names are those of SPIN's and HW-HuP's `model_checkpoint.pt`, so that these load strictly.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

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

FEATURES = 2048
HEAD_WIDTH = 1024
ITERATIONS = 3
EXPANSION = 4
"""Output channels of a bottleneck over its inner width."""


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut; the stride is on the 3x3 one (ResNet v1.5)."""

    def __init__(self, inputs: int, width: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * EXPANSION, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * EXPANSION)
        self.downsample = downsample

    def forward(self, features: Float[Tensor, 'b c h w']) -> Float[Tensor, 'b d i j']:
        """Return the next feature map."""
        inner = F.relu(self.bn1(self.conv1(features)))
        inner = F.relu(self.bn2(self.conv2(inner)))
        shortcut = features if self.downsample is None else self.downsample(features)
        return F.relu(self.bn3(self.conv3(inner)) + shortcut)


class SpinRegressor(nn.Module):
    """Crop of 224 pixels -> body. The head has no non-linearity of its own; dropout works while training only."""

    init_pose: Tensor
    init_shape: Tensor
    init_cam: Tensor
    input_size = 224

    def __init__(self, mean: MeanParameters | None = None) -> None:
        super().__init__()
        mean = mean or default_mean_parameters()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _layer(64, 64, 3, stride=1)
        self.layer2 = _layer(256, 128, 4, stride=2)
        self.layer3 = _layer(512, 256, 6, stride=2)
        self.layer4 = _layer(1024, 512, 3, stride=2)
        self.fc1 = nn.Linear(FEATURES + STATE_NUMBERS, HEAD_WIDTH)
        self.fc2 = nn.Linear(HEAD_WIDTH, HEAD_WIDTH)
        self.dropout = nn.Dropout(0.5)
        self.decpose = nn.Linear(HEAD_WIDTH, POSE_NUMBERS)
        self.decshape = nn.Linear(HEAD_WIDTH, SHAPE_NUMBERS)
        self.deccam = nn.Linear(HEAD_WIDTH, CAMERA_NUMBERS)
        self.register_buffer('init_pose', mean.pose6d[None].clone())
        self.register_buffer('init_shape', mean.shape[None].clone())
        self.register_buffer('init_cam', mean.cam[None].clone())
        self._initialise()

    def forward(self, images: Float[Tensor, 'b 3 224 224']) -> Prediction:
        """Return the body and the crop camera; gradients pass through all three corrections."""
        features = self._features(images)
        pose, shape, cam = (start.expand(len(images), -1) for start in (self.init_pose, self.init_shape, self.init_cam))
        for _ in range(ITERATIONS):
            hidden = self.dropout(self.fc1(torch.cat([features, pose, shape, cam], dim=1)))
            hidden = self.dropout(self.fc2(hidden))
            pose = pose + self.decpose(hidden)
            shape = shape + self.decshape(hidden)
            cam = cam + self.deccam(hidden)
        return prediction_from_numbers(pose, shape, cam)

    def _features(self, images: Float[Tensor, 'b 3 224 224']) -> Float[Tensor, 'b 2048']:
        maps = F.max_pool2d(F.relu(self.bn1(self.conv1(images))), 3, stride=2, padding=1)
        maps = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        features: Tensor = maps.mean(dim=(2, 3))
        return features

    def _initialise(self) -> None:
        """Set He weights over the fan out in the backbone and small last layers, as SPIN did before ImageNet."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode='fan_out', nonlinearity='relu')
        for layer in (self.decpose, self.decshape, self.deccam):
            nn.init.xavier_uniform_(layer.weight, gain=0.01)


def _layer(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    outputs = width * EXPANSION
    downsample = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    rest: Sequence[nn.Module] = [Bottleneck(outputs, width, 1, None) for _ in range(blocks - 1)]
    return nn.Sequential(Bottleneck(inputs, width, stride, downsample), *rest)
