"""Mirroring of bodies left to right, for augmentation and flip testing."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from hwhup_core.body.joints import FLIP_24
from hwhup_core.types import BodyParams


def mirror_params(params: BodyParams) -> BodyParams:
    """
    Return the parameters of the body seen in a mirror (x -> -x of the camera), left and right swapped.

    Every rotation R becomes M R M with M = diag(-1, 1, 1) and moves to the joint of the other side; the shape stays,
    since the bodies are symmetric. On axis-angle this is SPIN's flip: swap sides, negate components 1 and 2.
    """
    order = [joint - 1 for joint in FLIP_24[1:]]
    return BodyParams(
        global_rotation=mirror_rotations(params.global_rotation),
        joint_rotations=mirror_rotations(params.joint_rotations[:, order]),
        betas=params.betas,
    )


def mirror_rotations(rotations: Float[Tensor, '*batch 3 3']) -> Float[Tensor, '*batch 3 3']:
    """Return M R M with M = diag(-1, 1, 1): the same turn seen in the mirror."""
    signs = torch.tensor([-1.0, 1.0, 1.0], dtype=rotations.dtype, device=rotations.device)
    return rotations * signs[:, None] * signs
