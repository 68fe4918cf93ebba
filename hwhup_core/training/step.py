"""One training step as a function: batch -> loss terms."""

from __future__ import annotations

import torch
from torch import nn

from hwhup_core.body.model import BodyModel
from hwhup_core.geometry.cameras import weak_perspective_project
from hwhup_core.training import losses
from hwhup_core.training.loop import Step, Term
from hwhup_core.training.losses import LossTerms, LossWeights
from hwhup_core.training.pool import Batch


def supervised_step(body: BodyModel, weights: LossWeights, bfloat16: bool) -> Step[Batch]:
    """Return the loop's step for true parameters; every term is a mean over the samples."""

    def step(network: nn.Module, batch: Batch, epoch: int) -> dict[str, Term]:
        terms = supervised_terms(network, body, batch, bfloat16)
        count = torch.tensor(float(len(batch.images)), device=batch.images.device)
        return {name: Term(value, getattr(weights, name), count) for name, value in vars(terms).items()}

    return step


def supervised_terms(network: nn.Module, body: BodyModel, batch: Batch, bfloat16: bool) -> LossTerms:
    """Return the terms of one batch with true parameters; the mesh is not needed."""
    images = batch.images.contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=bfloat16):
        prediction = network(images)
    prediction = prediction.map(lambda tensor: tensor.float())
    joints = body.skeleton(prediction.params).joints
    with torch.no_grad():
        true_joints = body.skeleton(batch.params).joints
    return LossTerms(
        joints=losses.joint_loss(joints, true_joints),
        keypoints=losses.keypoint_loss(weak_perspective_project(joints, prediction.camera), batch.keypoints),
        rotations=losses.rotation_loss(prediction.params, batch.params),
        betas=losses.beta_loss(prediction.params.betas, batch.params.betas),
        scale=losses.scale_loss(prediction.camera.scale),
    )
