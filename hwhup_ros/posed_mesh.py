"""The mesh of an estimate, for whoever shows it."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.body.model import BodyModel
from hwhup_core.geometry.rotations import axis_angle_to_matrix
from hwhup_core.types import BodyEstimate, BodyParams


@torch.inference_mode()
def posed_vertices(body: BodyModel, estimate: BodyEstimate) -> Float[ndarray, 'v 3']:
    """Return the vertices of `body` in the pose of the estimate, its pelvis where the estimate has it; metres."""
    rotations = axis_angle_to_matrix(torch.from_numpy(np.asarray(estimate.pose, np.float32).reshape(1, 24, 3)))
    betas = torch.from_numpy(np.asarray(estimate.betas, np.float32)[None])
    posed = body(BodyParams(rotations[:, 0], rotations[:, 1:], betas))
    placed: ndarray = (posed.vertices - posed.joints[:, :1])[0].numpy() + estimate.root_position
    return placed
