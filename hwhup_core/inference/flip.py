"""Predictions for mirrored and turned images; the mirrored image is a second opinion."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hwhup_core.body.mirror import mirror_params
from hwhup_core.geometry.crops import turn_matrix
from hwhup_core.geometry.rotations import matrix_to_quaternion, quaternion_to_matrix
from hwhup_core.types import BodyParams, Prediction, WeakPerspective


def mirror_prediction(prediction: Prediction) -> Prediction:
    """Return the prediction for the mirrored image."""
    camera = prediction.camera
    shift = camera.shift * camera.shift.new_tensor([-1.0, 1.0])
    return Prediction(mirror_params(prediction.params), WeakPerspective(camera.scale, shift))


def turn_prediction(prediction: Prediction, pelvis: Float[Tensor, 'b 3'], angle: float) -> Prediction:
    """
    Return the prediction for the image turned by `angle` (radians, from x to y) about the centre of the crop.

    The root turns about the `pelvis` of the rest pose (m), the crop about its centre; the shift makes up for it.
    """
    turn = torch.eye(3)
    turn[:2, :2] = torch.from_numpy(turn_matrix(angle))
    params, camera = prediction.params, prediction.camera
    place = pelvis[:, :2]
    return Prediction(
        BodyParams(turn @ params.global_rotation, params.joint_rotations, params.betas),
        WeakPerspective(camera.scale, (camera.shift + place) @ turn[:2, :2].T - place),
    )


def mean_prediction(first: Prediction, second: Prediction) -> Prediction:
    """Return the mean of two predictions; rotations by the chordal mean, scales by the geometric one."""
    return Prediction(
        BodyParams(
            _mean_rotation(first.params.global_rotation, second.params.global_rotation),
            _mean_rotation(first.params.joint_rotations, second.params.joint_rotations),
            (first.params.betas + second.params.betas) / 2,
        ),
        WeakPerspective(
            (first.camera.scale.clamp(min=0) * second.camera.scale.clamp(min=0)).sqrt(),
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
