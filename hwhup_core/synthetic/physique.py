"""How tall and heavy a body is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.body.model import BodyModel
from hwhup_core.types import BodyParams

DENSITY = 1010.0
"""Of a person, kg per cubic metre."""


@dataclass(frozen=True)
class Physique:
    """Measures of a body in T-pose."""

    stature: float
    """Metres."""
    weight: float
    """Kilograms: the volume of the mesh at the density of a person."""


def measure(body: BodyModel, betas: Float[ndarray, '10']) -> Physique:
    """Return the measures of the body of this shape."""
    identity = torch.eye(3)
    params = BodyParams(
        identity[None], identity.expand(1, 23, 3, 3), torch.from_numpy(np.asarray(betas, np.float32))[None]
    )
    with torch.no_grad():
        vertices = body(params).vertices[0].double().numpy()
    a, b, c = (vertices[body.faces.numpy()[:, k]] for k in range(3))
    volume = abs(float(np.einsum('fi,fi->', a, np.cross(b, c)))) / 6
    return Physique(float(np.ptp(vertices[:, 1])), DENSITY * volume)
