"""Estimates refined to the measured depth: pose, shape and place, by the depth term in the metric camera."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from numpy import ndarray

from hwhup_core.labeling.placed import LabelledBody, PlacedBody
from hwhup_core.types import BodyEstimate, Intrinsics


@dataclass(frozen=True)
class RefineConfig:
    """How an estimate is refined."""

    iterations: int = 30
    """Of Adam."""


@dataclass(frozen=True)
class Refined:
    """A body that agrees better with the depth than the estimate did."""

    placed: PlacedBody
    aligned_depth_error: float
    """Metres."""


def refined_to_depth(
    body: LabelledBody,
    estimate: BodyEstimate,
    depth: Float[ndarray, 'h w'],
    intrinsics: Intrinsics,
    config: RefineConfig,
) -> Refined | None:
    """Return the refined body, or None where it is no better."""
    return None
