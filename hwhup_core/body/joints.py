"""
Names of joint sets and the maps between them.

Joints go by name: look an index up with `index`, map one set onto another with `indices` or `shared`. A name means the
same anatomical point in every set, except that SMPL's own joints (inside the body, `SMPL_24`) and annotated key points
(`COCO_17`, `LSP_14`) of the same name differ by centimetres, most of all at the hips.
"""

from __future__ import annotations

from collections.abc import Sequence

from hwhup_core.errors import ConfigError

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


FLIP_24 = tuple(flip(SMPL_24))
FLIP_COCO_17 = tuple(flip(COCO_17))
FLIP_LSP_14 = tuple(flip(LSP_14))
FLIP_SPIN_49 = tuple(flip(SPIN_49))
