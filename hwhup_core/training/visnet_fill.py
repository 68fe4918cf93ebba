"""Visibility that labels do not say, filled in by VisNet (the paper fills Human3.6M's so)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.body.joints import COCO_17
from hwhup_core.data.sample import Sample
from hwhup_core.errors import FrameError
from hwhup_core.geometry.crops import box_around
from hwhup_core.inference.sight import Sight
from hwhup_core.networks.packing import InputConfig
from hwhup_core.networks.visnet_checkpoint import load_visnet_card
from hwhup_core.training.sample_pools import FillVisibility
from hwhup_core.types import Frame

VISNET = 'visnet_rgb'
"""Bundled weights for pictures in colour."""
BOX_MARGIN = 1.35
"""Side of the box in extents of the labelled joints, as of VisNet's held-out crops."""
_SHOULDERS, _HIPS = ('left_shoulder', 'right_shoulder'), ('left_hip', 'right_hip')
_FACE = COCO_17[:5]
MEANS: Mapping[str, tuple[str, ...]] = {
    'thorax': _SHOULDERS, 'neck': _SHOULDERS, 'upper_neck': _SHOULDERS, 'pelvis': _HIPS, 'spine': _SHOULDERS + _HIPS,
    'head': _FACE, 'head_top': _FACE, 'jaw': _FACE,
}  # fmt: skip
"""What stands for joints that COCO lacks: the mean chance of those around them."""


def filled_by_visnet(name_or_path: str, joints: Sequence[str]) -> FillVisibility:
    """Return a filler for a data set's joints; one for which nothing of COCO stands counts as hidden."""
    inputs: InputConfig = load_visnet_card(name_or_path).input
    sight = Sight(name_or_path, torch.device('cpu'), inputs)

    def fill(sample: Sample, frame: Frame) -> Float[ndarray, ' k']:
        assert sample.keypoints is not None
        pixels = np.where(sample.keypoints.labelled[:, None], sample.keypoints.pixels, np.nan)
        if not np.isfinite(pixels).any():
            raise FrameError('no_joints', f'{sample.name} has no labelled joint to look at. Leave it out.')
        return chances_of(joints, sight(frame, box_around(pixels, BOX_MARGIN, trunk_turn(pixels, joints))))

    return fill


def chances_of(joints: Sequence[str], seen: Float[ndarray, '17']) -> Float[ndarray, ' k']:
    """Return the chance that each joint of a data set is seen, from those of COCO's 17."""
    known = dict(zip(COCO_17, seen))

    def chance(name: str) -> float:
        bare = name.removeprefix('gt_').removeprefix('op_')
        around = MEANS.get(bare, (bare,))
        return float(np.mean([known[each] for each in around])) if set(around) <= set(known) else 0.0

    return np.array([chance(name) for name in joints])


def trunk_turn(pixels: Float[ndarray, 'k 2'], joints: Sequence[str]) -> float:
    """Return the turn that points the trunk up; 0 where shoulders or hips are not labelled."""
    places = {name: place for place, name in enumerate(joints)}
    if not set(_SHOULDERS + _HIPS) <= set(places):
        return 0.0
    shoulders, hips = (pixels[[places[name] for name in side]].mean(axis=0) for side in (_SHOULDERS, _HIPS))
    up = shoulders - hips
    return float(-np.pi / 2 - np.arctan2(up[1], up[0])) if np.isfinite(up).all() else 0.0
