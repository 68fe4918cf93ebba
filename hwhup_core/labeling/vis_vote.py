"""VisNet's say in which joints the camera sees, and how it is weighed against the rendered occlusion."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.body.joints import SLP_14
from hwhup_core.geometry.crops import box_around
from hwhup_core.networks.packing import crop_to_input
from hwhup_core.networks.visnet import VisNet
from hwhup_core.networks.visnet_checkpoint import VisNetCard
from hwhup_core.types import Frame

BOX_MARGIN = 1.35
"""As VisNet's held-out crops."""
GEOMETRY_LOGIT = 4.0
"""
How much the rendered occlusion counts beside VisNet's logit. On crib frames VisNet finds fewer hidden joints (24 % of
them, the geometry 44 %), so it decides where the depth says nothing, or where it is very sure.
"""


@torch.inference_mode()
def seen_by_visnet(
    frame: Frame, pixels: Float[ndarray, '14 2'], network: VisNet, card: VisNetCard
) -> Float[ndarray, '14']:
    """Return the logit that each of `SLP_14` is seen, from the upright box around them; NaN for those it lacks."""
    thorax = pixels[SLP_14.index('thorax')]
    hips = pixels[[SLP_14.index(f'{side}_hip') for side in ('left', 'right')]].mean(axis=0)
    up = thorax - hips
    turn = float(-np.pi / 2 - np.arctan2(up[1], up[0])) if np.isfinite(up).all() else 0.0
    image = crop_to_input(frame, box_around(pixels, BOX_MARGIN, turn), card.input)
    logits = network(torch.from_numpy(image)[None]).logits[0].numpy()
    known = dict(zip(card.joints, logits))
    return np.array([known.get(name, np.nan) for name in SLP_14])


def combined(geometry: Float[ndarray, ' k'], logits: Float[ndarray, ' k']) -> Float[ndarray, ' k']:
    """Return 1 seen, 0 hidden, NaN unknown to both; geometry is 1, 0 or NaN, a logit NaN where there is none."""
    unknown = np.isnan(geometry) & np.isnan(logits)
    vote = np.nan_to_num(GEOMETRY_LOGIT * (2 * geometry - 1), nan=0.0) + np.nan_to_num(logits, nan=0.0)
    return np.where(unknown, np.nan, (vote > 0).astype(float))
