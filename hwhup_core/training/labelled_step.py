"""One supervised step on batches with true cameras: how a source domain is learned, and an oracle trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwhup_core.body.keypoint_sets import KeypointSet, point_map
from hwhup_core.body.model import BodyModel
from hwhup_core.geometry.cameras import weak_perspective_project
from hwhup_core.training import losses
from hwhup_core.training.batches import LabelledBatch
from hwhup_core.training.loop import Term
from hwhup_core.training.losses import LossWeights
from hwhup_core.training.weak_step import predict


class LabelledStep:
    """Network, batch, epoch -> the terms of `losses`, the same in every epoch."""

    def __init__(
        self, body: BodyModel, keypoints: KeypointSet, weights: LossWeights | None = None, bfloat16: bool = False
    ) -> None:
        self.body, self.weights, self.bfloat16 = body, weights or LossWeights(), bfloat16
        self._map = point_map(keypoints, body.landmark_names)

    def __call__(self, network: nn.Module, batch: LabelledBatch, epoch: int) -> dict[str, Term]:
        """Return the weighted terms."""
        prediction, weights = predict(network, batch.images, self.bfloat16), self.weights
        skeleton = self.body.skeleton(prediction.params)
        with torch.no_grad():
            true_joints = self.body.skeleton(batch.params).joints
        points = self._map.mix.to(true_joints) @ torch.cat([skeleton.joints, skeleton.landmarks], dim=1)
        projected = weak_perspective_project(points, prediction.camera, batch.pinhole)
        values = {
            'joints': (losses.joint_loss(skeleton.joints, true_joints), weights.joints),
            'keypoints': (losses.keypoint_loss(projected, batch.keypoints), weights.keypoints),
            'rotations': (losses.rotation_loss(prediction.params, batch.params), weights.rotations),
            'betas': (losses.beta_loss(prediction.params.betas, batch.params.betas), weights.betas),
            'scale': (losses.scale_loss(prediction.camera.scale), weights.scale),
        }
        count: Tensor = torch.tensor(float(len(batch.images)), device=batch.images.device)
        return {name: Term(value, weight, count) for name, (value, weight) in values.items()}
