"""The exact truth of a synthetic frame in the shape of an estimate, so that it travels in the same message."""

from __future__ import annotations

import numpy as np
import torch

from hwhup_core.body.model import BodyModel
from hwhup_core.body.posing import joint_orientations
from hwhup_core.geometry.crops import box_around
from hwhup_core.geometry.rotations import matrix_to_axis_angle
from hwhup_core.synthetic.stream import Truth
from hwhup_core.types import BodyEstimate, State

BOX_MARGIN = 1.2


def truth_estimate(truth: Truth, body: BodyModel, frame_id: str, subject_id: str) -> BodyEstimate:
    """Return the truth as a certain estimate: confidence 1, deviation 0; no weights made it."""
    local = np.concatenate([truth.global_rotation[None], truth.joint_rotations])
    orientations = joint_orientations(local, body.parents)
    return BodyEstimate(
        stamp_ns=truth.stamp_ns,
        frame_id=frame_id,
        subject_id=subject_id,
        state=State.ESTIMATED,
        confidence=1.0,
        body_id=body.body_id,
        body_hash=body.hash,
        weights_hash='',
        betas=truth.betas,
        pose=matrix_to_axis_angle(torch.from_numpy(local)).numpy().reshape(72),
        root_position=truth.joints[0],
        root_orientation=orientations[0],
        joint_positions=truth.joints,
        joint_orientations=orientations,
        joint_pixels=truth.pixels,
        joint_visibility=truth.visibility.astype(np.float64),
        joint_confidence=np.ones(24),
        joint_sigma=np.zeros(24),
        box=box_around(truth.pixels, BOX_MARGIN),
        camera=np.full(3, np.nan),
        posture=truth.posture,
        aligned_depth_error=float('nan'),
    )
