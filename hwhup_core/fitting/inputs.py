"""What the stages of the fit are given: key points made safe, and all that stays fixed while they minimise."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from hwhup_core.types import CropPinhole, TensorRecord


@dataclass(frozen=True)
class Observation(TensorRecord):
    """Key points made safe: finite everywhere, joints that play no part at confidence 0."""

    pixels: Float[Tensor, 'b k 2']
    """0 to 224; 0 where not seen."""
    confidence: Float[Tensor, 'b k']
    """Of the body stage and of the scores."""
    placing: Float[Tensor, 'b k']
    """Confidence of the joints that a stored fit's camera is solved from."""
    torso: Float[Tensor, 'b k']
    """1 for the joints that pull in the camera stage."""


@dataclass(frozen=True)
class CameraInputs(TensorRecord):
    """
    What stays fixed in the camera stage; it moves global orientation, x, y and the `energies.far_distance`.

    Turning the root turns all points about the pelvis: no body is needed.
    """

    points: Float[Tensor, 'b k 3']
    """Relative to the pelvis, at no global rotation."""
    pelvis: Float[Tensor, 'b 3']
    pixels: Float[Tensor, 'b k 2']
    torso: Float[Tensor, 'b k']
    first_distance: Float[Tensor, ' b']
    """As SPIN's far camera would have it, see `energies.far_distance`."""
    pinhole: CropPinhole


@dataclass(frozen=True)
class BodyInputs(TensorRecord):
    """What stays fixed in the body stage."""

    translation: Float[Tensor, 'b 3']
    pixels: Float[Tensor, 'b k 2']
    confidence: Float[Tensor, 'b k']
    prior_weight: Float[Tensor, ' b']
    """The same for all; a tensor, so that a captured iteration follows the epoch."""
    pinhole: CropPinhole
