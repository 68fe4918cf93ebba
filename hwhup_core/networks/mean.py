"""The mean body that a regressor starts from, and the way from its numbers to a `Prediction`."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from hwhup_core.geometry.rotations import rotation_6d_to_matrix
from hwhup_core.types import BodyParams, Prediction, WeakPerspective

POSE_NUMBERS = 144
"""24 rotations of 6 numbers, root first."""
SHAPE_NUMBERS = 10
CAMERA_NUMBERS = 3
STATE_NUMBERS = POSE_NUMBERS + SHAPE_NUMBERS + CAMERA_NUMBERS


@dataclass(frozen=True)
class MeanParameters:
    """The numbers a regressor adds its answer to."""

    pose6d: Float[Tensor, '144']
    """24 rotations in SPIN's interleaved 6D numbers, root (camera from pelvis) first."""
    shape: Float[Tensor, '10']
    """Shape coefficients, standard deviations."""
    cam: Float[Tensor, '3']
    """Weak perspective: scale (half crop sides per metre), shift x, shift y (metres)."""


def default_mean_parameters() -> MeanParameters:
    """Return the T-pose turned by pi about x (SMPL is y up, the camera y down), mean shape, scale 0.9 (HMR)."""
    pose = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]).repeat(24)
    pose[3] = -1.0
    return MeanParameters(pose, torch.zeros(SHAPE_NUMBERS), torch.tensor([0.9, 0.0, 0.0]))


def prediction_from_numbers(
    pose6d: Float[Tensor, 'b 144'], shape: Float[Tensor, 'b 10'], cam: Float[Tensor, 'b 3']
) -> Prediction:
    """Return the prediction that a network's raw numbers stand for."""
    rotations = rotation_6d_to_matrix(pose6d.unflatten(1, (24, 6)))
    return Prediction(
        BodyParams(rotations[:, 0], rotations[:, 1:], shape),
        WeakPerspective(cam[:, 0], cam[:, 1:]),
    )
