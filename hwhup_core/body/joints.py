"""
Names of joint sets and the maps between them.

Joints go by name: look an index up with `index`, map one set onto another with `indices` or `shared`. A name means the
same anatomical point in every set, except that SMPL's own joints (inside the body, `SMPL_24`) and annotated key points
(`COCO_17`, `LSP_14`) of the same name differ by centimetres, most of all at the hips: `JointSet.hips` says which.
What data sets call neck differs too: `spin_24_slots` knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from hwhup_core.errors import ConfigError

Hips = Literal['internal', 'surface', 'both']

SMPL_24 = (
    'pelvis',
    'left_hip',
    'right_hip',
    'spine1',
    'left_knee',
    'right_knee',
    'spine2',
    'left_ankle',
    'right_ankle',
    'spine3',
    'left_foot',
    'right_foot',
    'neck',
    'left_collar',
    'right_collar',
    'head',
    'left_shoulder',
    'right_shoulder',
    'left_elbow',
    'right_elbow',
    'left_wrist',
    'right_wrist',
    'left_hand',
    'right_hand',
)
"""SMPL's joints in SMPL's order."""

PARENTS_24 = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
"""Parent of each SMPL joint, -1 for the pelvis; a parent always comes before its children."""

COCO_17 = (
    'nose',
    'left_eye',
    'right_eye',
    'left_ear',
    'right_ear',
    'left_shoulder',
    'right_shoulder',
    'left_elbow',
    'right_elbow',
    'left_wrist',
    'right_wrist',
    'left_hip',
    'right_hip',
    'left_knee',
    'right_knee',
    'left_ankle',
    'right_ankle',
)
"""Key points of COCO, SyRIP and MIMM."""

FEET_6 = ('left_big_toe', 'right_big_toe', 'left_small_toe', 'right_small_toe', 'left_heel', 'right_heel')
"""Foot key points that follow COCO-17 in the bundled bodies' key-point regressor."""

LSP_14 = (
    'right_ankle',
    'right_knee',
    'right_hip',
    'left_hip',
    'left_knee',
    'left_ankle',
    'right_wrist',
    'right_elbow',
    'right_shoulder',
    'left_shoulder',
    'left_elbow',
    'left_wrist',
    'thorax',
    'head_top',
)
"""Joints of LSP and, in the same order, of SLP."""

SLP_14 = LSP_14

MPII_16 = (
    *('right_ankle', 'right_knee', 'right_hip', 'left_hip', 'left_knee', 'left_ankle'),
    *('pelvis', 'thorax', 'upper_neck', 'head_top'),
    *('right_wrist', 'right_elbow', 'right_shoulder', 'left_shoulder', 'left_elbow', 'left_wrist'),
)
"""Joints of MPII, in its order."""

H36M_17 = (
    *('pelvis', 'left_hip', 'left_knee', 'left_ankle', 'right_hip', 'right_knee', 'right_ankle'),
    *('spine', 'neck', 'jaw', 'head'),
    *('left_shoulder', 'left_elbow', 'left_wrist', 'right_shoulder', 'right_elbow', 'right_wrist'),
)
"""Rows of `J_regressor_h36m.npy`, and the 17 joints that are picked from Human3.6M's 32."""

H36M_RAW_32 = (11, 6, 7, 8, 1, 2, 3, 12, 24, 14, 15, 17, 18, 19, 25, 26, 27)
"""Where each of `H36M_17` stands among the 32 joints of Human3.6M's own files, counted from 0."""

SMPLH_LANDMARKS = {
    'nose': 332,
    'right_eye': 6260,
    'left_eye': 2800,
    'right_ear': 4071,
    'left_ear': 583,
    'left_big_toe': 3216,
    'left_small_toe': 3226,
    'left_heel': 3387,
    'right_big_toe': 6617,
    'right_small_toe': 6624,
    'right_heel': 6787,
    'left_thumb': 2746,
    'left_index': 2319,
    'left_middle': 2445,
    'left_ring': 2556,
    'left_pinky': 2673,
    'right_thumb': 6191,
    'right_index': 5782,
    'right_middle': 5905,
    'right_ring': 6016,
    'right_pinky': 6133,
}
"""Surface points that smplx appends to the 24 joints, in its order, and their vertices (kept by the bundled bodies)."""

EXTRA_9 = (
    'extra_right_hip',
    'extra_left_hip',
    'extra_neck',
    'extra_head_top',
    'extra_pelvis',
    'extra_thorax',
    'extra_spine',
    'extra_jaw',
    'extra_head',
)
"""Rows of SPIN's J_regressor_extra (official SMPL topology only)."""

STACK_54 = SMPL_24 + tuple(SMPLH_LANDMARKS) + EXTRA_9
"""What SPIN gathers its 49 joints from: 24 joints, 21 surface points, 9 regressed points."""

SPIN_49_SOURCES = (
    *('nose', 'neck', 'right_shoulder', 'right_elbow', 'right_wrist', 'left_shoulder', 'left_elbow', 'left_wrist'),
    *('pelvis', 'right_hip', 'right_knee', 'right_ankle', 'left_hip', 'left_knee', 'left_ankle'),
    *('right_eye', 'left_eye', 'right_ear', 'left_ear', 'left_big_toe', 'left_small_toe', 'left_heel'),
    *('right_big_toe', 'right_small_toe', 'right_heel'),
    *('right_ankle', 'right_knee', 'extra_right_hip', 'extra_left_hip', 'left_knee', 'left_ankle'),
    *('right_wrist', 'right_elbow', 'right_shoulder', 'left_shoulder', 'left_elbow', 'left_wrist'),
    *('extra_neck', 'extra_head_top', 'extra_pelvis', 'extra_thorax', 'extra_spine', 'extra_jaw', 'extra_head'),
    *('nose', 'left_eye', 'right_eye', 'left_ear', 'right_ear'),
)
"""Name in `STACK_54` that each of SPIN's 49 joints is taken from: 25 OpenPose joints, then 24 ground-truth joints."""

SPIN_49 = tuple(
    ('op_' if position < 25 else 'gt_') + source.removeprefix('extra_')
    for position, source in enumerate(SPIN_49_SOURCES)
)
"""SPIN's 49 joints: `op_` OpenPose slots 0..24, `gt_` ground-truth slots 25..48 (`gt_right_ankle` is 25)."""


OPENPOSE_25 = tuple(name.removeprefix('op_') for name in SPIN_49[:25])
"""OpenPose's BODY_25, in its order; its MidHip is `pelvis`."""

SPIN_24 = tuple(name.removeprefix('gt_') for name in SPIN_49[25:])
"""SPIN's ground-truth joints (GT-24), slots 25..48 of `SPIN_49`: LSP's `neck`, MPII's `thorax`, Human3.6M's `head`."""

OPENPOSE_18 = (
    *('nose', 'neck', 'right_shoulder', 'right_elbow', 'right_wrist', 'left_shoulder', 'left_elbow', 'left_wrist'),
    *('right_hip', 'right_knee', 'right_ankle', 'left_hip', 'left_knee', 'left_ankle'),
    *('right_eye', 'left_eye', 'right_ear', 'left_ear'),
)
"""OpenPose's COCO model, in its order: the 2D poses of 3DPW."""

EVAL_17 = (*LSP_14[:12], 'neck', 'head', 'pelvis', 'spine', 'jaw')
"""Order in which SPIN scores 3D joints; names as in `SPIN_24` and `H36M_17`."""

EVAL_14 = EVAL_17[:14]
"""The 14 joints of Human3.6M's and 3DPW's protocols; `head` is Human3.6M's, not the top."""


@dataclass(frozen=True)
class JointSet:
    """Named joints of a data set or model."""

    name: str
    joints: tuple[str, ...]
    hips: Hips
    """`internal`: SMPL's joints, inside the body; `surface`: annotated on pictures, detected, or regressed from the
    surface, centimetres further out; `both`: a slot of either kind."""

    @property
    def flip(self) -> tuple[int, ...]:
        """Return the permutation that swaps left and right."""
        return tuple(flip(self.joints))


JOINT_SETS = {
    each.name: each
    for each in (
        JointSet('smpl_24', SMPL_24, 'internal'),
        JointSet('spin_49', SPIN_49, 'both'),
        JointSet('spin_24', SPIN_24, 'surface'),
        JointSet('coco_17', COCO_17, 'surface'),
        JointSet('lsp_14', LSP_14, 'surface'),
        JointSet('slp_14', SLP_14, 'surface'),
        JointSet('mpii_16', MPII_16, 'surface'),
        JointSet('h36m_17', H36M_17, 'surface'),
        JointSet('openpose_25', OPENPOSE_25, 'surface'),
        JointSet('openpose_18', OPENPOSE_18, 'surface'),
    )
}
"""All sets by name. Of `spin_49` the hips `op_*` are SMPL's and `gt_*` regressed; those of `h36m_17` are regressed to
where motion capture puts them."""

_NAMES_IN_SPIN_24: dict[tuple[str, ...], dict[str, str]] = {
    LSP_14: {'thorax': 'neck'},
    COCO_17: {},
    MPII_16: {'upper_neck': 'neck'},
    H36M_17: {},
    SPIN_24: {},
}
"""Sets that have places in `SPIN_24` -> names that differ there: LSP's thorax is the neck."""


def joint_set(name: str) -> JointSet:
    """Return the set of that name."""
    if name not in JOINT_SETS:
        raise ConfigError(f'No joint set {name!r}. There are: {", ".join(JOINT_SETS)}.')
    return JOINT_SETS[name]


def index(name: str, names: Sequence[str] = SMPL_24) -> int:
    """Return the position of `name` in `names`."""
    if name not in names:
        raise ConfigError(f'No joint {name!r} in this set. It has: {", ".join(names)}.')
    return list(names).index(name)


def indices(source: Sequence[str], target: Sequence[str]) -> list[int]:
    """Return where each name of `target` stands in `source`, for reordering: `values[:, these]` is in target order."""
    return [index(name, source) for name in target]


def shared(source: Sequence[str], target: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the positions in `source` and in `target` of the names that both have, in the order of `target`."""
    common = [name for name in target if name in source]
    return indices(source, common), indices(target, common)


def other_side(name: str) -> str:
    """Return the name of the mirror partner; a name without a side is its own partner."""
    return '_'.join({'left': 'right', 'right': 'left'}.get(part, part) for part in name.split('_'))


def flip(names: Sequence[str]) -> list[int]:
    """Return the permutation that swaps left and right in `names`."""
    return indices(names, [other_side(name) for name in names])


def spin_24_slots(joints: Sequence[str]) -> list[int]:
    """Return the place in `SPIN_24` of each joint of LSP (SLP), COCO, MPII or H36M: `part[:, these] = keypoints`."""
    if tuple(joints) not in _NAMES_IN_SPIN_24:
        known = [name for name, each in JOINT_SETS.items() if each.joints in _NAMES_IN_SPIN_24]
        raise ConfigError(
            f"The joints {', '.join(joints)} have no places in SPIN's 24. Sets that do: {', '.join(known)}."
        )
    renamed = _NAMES_IN_SPIN_24[tuple(joints)]
    return indices(SPIN_24, [renamed.get(name, name) for name in joints])


def slp_in_spin_49(
    pixels: Float[ndarray, '*b 14 2'], head_ratio: float = 0.8
) -> tuple[Float[ndarray, '*b 49 2'], Bool[ndarray, '49']]:
    """
    Return SLP's joints as SPIN trains on them, zeros where there is none, and which of the 49 there are (method 6.4).

    The hips stand in OpenPose's slots (on the body SMPL's own hips) instead of the ground-truth ones; pelvis and head
    are added: the mean of the hips, and thorax + r (head_top - thorax). All of them count, occluded ones as well.
    """
    named = {name: pixels[..., place, :] for place, name in enumerate(SLP_14)}
    placed = {f'gt_{name}': named[name] for name in SLP_14[:12] if not name.endswith('_hip')}
    placed |= {f'op_{name}': named[name] for name in ('left_hip', 'right_hip')}
    placed['op_pelvis'] = (named['left_hip'] + named['right_hip']) / 2
    placed['gt_neck'] = named['thorax']
    placed['gt_head'] = named['thorax'] + head_ratio * (named['head_top'] - named['thorax'])
    positions = np.zeros((*pixels.shape[:-2], len(SPIN_49), 2), pixels.dtype)
    for name, values in placed.items():
        positions[..., index(name, SPIN_49), :] = values
    return positions, np.array([name in placed for name in SPIN_49])


FLIP_24 = tuple(flip(SMPL_24))
FLIP_COCO_17 = tuple(flip(COCO_17))
FLIP_LSP_14 = tuple(flip(LSP_14))
FLIP_SPIN_49 = tuple(flip(SPIN_49))
