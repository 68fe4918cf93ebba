"""The mirrored image as a second opinion: mirrored predictions, their mean and their disagreement."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hwhup_core.body.mirror import mirror_params
from hwhup_core.geometry.rotations import matrix_to_quaternion, quaternion_to_matrix
from hwhup_core.types import BodyParams, Prediction, WeakPerspective


def mirror_prediction(prediction: Prediction) -> Prediction:
    """Return the prediction for the mirrored image."""
    camera = prediction.camera
    shift = camera.shift * camera.shift.new_tensor([-1.0, 1.0])
    return Prediction(mirror_params(prediction.params), WeakPerspective(camera.scale, shift))


def mean_prediction(first: Prediction, second: Prediction) -> Prediction:
    """Return the mean of two predictions; rotations by the chordal mean, scales by the geometric one."""
    return Prediction(
        BodyParams(
            _mean_rotation(first.params.global_rotation, second.params.global_rotation),
            _mean_rotation(first.params.joint_rotations, second.params.joint_rotations),
            (first.params.betas + second.params.betas) / 2,
        ),
        WeakPerspective(
            (first.camera.scale * second.camera.scale).clamp(min=0).sqrt(),
            (first.camera.shift + second.camera.shift) / 2,
        ),
    )


def _mean_rotation(first: Float[Tensor, '*n 3 3'], second: Float[Tensor, '*n 3 3']) -> Float[Tensor, '*n 3 3']:
    """Return the rotation halfway between: `first` times the square root of `first^T second`."""
    relative = first.transpose(-1, -2) @ second
    # The mean of a quaternion with (0, 0, 0, 1), normalised, has half its angle about the same axis. Rotations
    # 180 degrees apart have no mean; either answer is as good.
    quaternion = matrix_to_quaternion(relative)
    quaternion = torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)
    return first @ quaternion_to_matrix(quaternion + quaternion.new_tensor([0.0, 0.0, 0.0, 1.0]))
