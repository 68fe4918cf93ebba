"""
Coarse stand-ins of bodies: capsules around the bones, to see which poses go through themselves.

Lengths in metres, T-pose axes (x to the left hand, y up, z forward), pelvis at the origin.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from hwhup_core.body.joints import PARENTS_24

Point = tuple[float, float, float]
Capsule = tuple[int, Point, Point, float]
"""Joint, start and end relative to that joint in the T-pose, radius."""

PARTS = ('trunk', 'left_leg', 'right_leg', 'left_arm', 'right_arm')
HEAD = 'head'
_TIPS = ('left_foot', 'right_foot', 'left_forearm', 'right_forearm')
_LEG = ('thigh', 'shank', 'foot')


@dataclass(frozen=True)
class CapsuleBody:
    """One body as capsules, and how it may lie."""

    bones: Float[ndarray, '24 3']
    """Each joint from its parent in the T-pose."""
    names: tuple[str, ...]
    """Of the capsules: those of the trunk, the head, then the limbs with `left_` or `right_`."""
    joints: Int[ndarray, ' c']
    """The joint that carries each capsule."""
    ends: Float[ndarray, 'c 2 3']
    """Start and end relative to that joint in the T-pose."""
    radii: Float[ndarray, ' c']
    pairs: Int[ndarray, 'p 2']
    """Capsules that may touch, but not pass through each other."""
    part_of: Bool[ndarray, 'c parts']
    """One-hot: the part (`PARTS`) of each capsule."""
    trunk: Int[ndarray, ' t']
    """The capsules that rest on the mattress when the body lies."""
    max_held_up: float
    """How far a limb may hold the trunk above the mattress, metres."""
    max_head_up: float
    """How far the head may be above the mattress, metres; a pillow carries it."""
    lifted: float
    """Limbs whose end is farther from the mattress count as lifted, metres."""
    max_span: tuple[float, float]
    """Length and width of the mattress that the body may take, metres."""

    @property
    def head(self) -> int:
        """Return the index of the head."""
        return self.names.index(HEAD)

    @property
    def tips(self) -> Int[ndarray, '4']:
        """Return the ends of the limbs, in the order of `PARTS` without the trunk."""
        return np.array([self.names.index(name) for name in _TIPS])


_SAME_SIDE = (
    ('forearm', 'thigh'),
    ('forearm', 'shank'),
    ('forearm', 'foot'),
    ('upper_arm', 'thigh'),
    ('foot', 'thigh'),
)
_OPPOSITE = (
    ('forearm', 'forearm'), ('forearm', 'upper_arm'), ('forearm', 'thigh'), ('forearm', 'shank'), ('thigh', 'thigh'),
    ('thigh', 'shank'), ('thigh', 'foot'), ('shank', 'shank'), ('shank', 'foot'), ('foot', 'foot'),
)  # fmt: skip


def _mirror(capsule: Capsule) -> Capsule:
    joint, (ax, ay, az), (bx, by, bz), radius = capsule
    return joint + 1, (-ax, ay, az), (-bx, by, bz), radius


def _part_of(name: str) -> int:
    side, _, limb = name.partition('_')
    if side not in ('left', 'right'):
        return 0
    return (1 if limb in _LEG else 3) + (side == 'right')


def _pairs(names: tuple[str, ...], limb_to_middle: Mapping[str, tuple[str, ...]]) -> Int[ndarray, 'p 2']:
    """Return the capsule pairs that may touch but not pass through each other."""
    pairs = []
    for side, other in (('left', 'right'), ('right', 'left')):
        pairs += [(f'{side}_{limb}', middle) for limb, middles in limb_to_middle.items() for middle in middles]
        pairs += [(f'{side}_{first}', f'{side}_{second}') for first, second in _SAME_SIDE]
        pairs += [(f'{side}_{first}', f'{other}_{second}') for first, second in _OPPOSITE]
    return np.array(sorted({(names.index(min(pair)), names.index(max(pair))) for pair in pairs}))


def _capsule_body(
    rest: Float[ndarray, '24 3'],
    middle: Mapping[str, Capsule],
    limbs: Mapping[str, Capsule],
    limb_to_middle: Mapping[str, tuple[str, ...]],
    give: tuple[float, float, float],
    max_span: tuple[float, float],
) -> CapsuleBody:
    """
    Return the body of its rest joints, the capsules of the middle and those of the left limbs.

    `give` is `max_held_up`, `max_head_up` and `lifted`.
    """
    capsules = (
        dict(middle)
        | {f'left_{name}': capsule for name, capsule in limbs.items()}
        | {f'right_{name}': _mirror(capsule) for name, capsule in limbs.items()}
    )
    names = tuple(capsules)
    return CapsuleBody(
        bones=rest - rest[np.array(PARENTS_24)],
        names=names,
        joints=np.array([capsule[0] for capsule in capsules.values()]),
        ends=np.array([[capsule[1], capsule[2]] for capsule in capsules.values()]),
        radii=np.array([capsule[3] for capsule in capsules.values()]),
        pairs=_pairs(names, limb_to_middle),
        part_of=np.eye(len(PARTS), dtype=bool)[[_part_of(name) for name in names]],
        trunk=np.array([names.index(name) for name in middle if name != HEAD]),
        max_held_up=give[0],
        max_head_up=give[1],
        lifted=give[2],
        max_span=max_span,
    )


INFANT_CAPSULES = _capsule_body(
    # Rest joints of the bundled infant, rounded to millimetres.
    rest=np.array([
        [0.000, 0.000, 0.000], [0.040, 0.009, 0.005], [-0.040, 0.009, 0.005], [0.000, 0.064, -0.011],
        [0.057, -0.160, 0.005], [-0.057, -0.160, 0.005], [0.000, 0.111, -0.011], [0.066, -0.308, -0.001],
        [-0.066, -0.308, -0.001], [0.000, 0.182, -0.022], [0.071, -0.328, 0.057], [-0.071, -0.328, 0.057],
        [0.000, 0.230, -0.011], [0.010, 0.200, -0.005], [-0.010, 0.200, -0.005], [0.000, 0.266, -0.002],
        [0.067, 0.183, -0.006], [-0.067, 0.183, -0.006], [0.175, 0.183, -0.006], [-0.175, 0.183, -0.006],
        [0.282, 0.183, -0.006], [-0.282, 0.183, -0.006], [0.326, 0.183, -0.006], [-0.326, 0.183, -0.006],
    ]),
    middle={
        'belly': (0, (0.0, 0.0, 0.012), (0.0, 0.06, 0.014), 0.061),
        'chest': (6, (0.0, 0.0, 0.023), (0.0, 0.07, 0.016), 0.058),
        'head': (15, (0.0, 0.020, 0.012), (0.0, 0.040, 0.008), 0.064),
    },
    limbs={
        'upper_arm': (16, (0.035, 0.0, 0.003), (0.108, 0.0, 0.003), 0.022),
        'forearm': (18, (0.0, 0.0, 0.003), (0.165, 0.0, 0.003), 0.018),
        'thigh': (1, (0.010, -0.08, 0.0), (0.017, -0.169, 0.0), 0.036),
        'shank': (4, (0.0, -0.02, -0.003), (0.009, -0.148, -0.006), 0.027),
        'foot': (7, (0.0, -0.018, -0.005), (0.005, -0.022, 0.065), 0.016),
    },
    limb_to_middle={
        'upper_arm': ('head',),
        'forearm': ('head', 'chest', 'belly'),
        'thigh': ('chest', 'belly'),
        'shank': ('belly', 'chest'),
        'foot': ('belly', 'chest'),
    },
    give=(0.015, 0.04, 0.05),
    max_span=(1.0, 0.48),
)  # fmt: skip

_ADULT_TRUNK = ('belly', 'waist', 'ribs', 'chest')
ADULT_CAPSULES = _capsule_body(
    # Rest joints of the bundled adult, rounded to millimetres.
    rest=np.array([
        [0.000, 0.000, 0.000], [0.113, -0.016, -0.008], [-0.113, -0.016, -0.008], [0.000, 0.149, -0.025],
        [0.150, -0.393, -0.009], [-0.150, -0.393, -0.009], [0.000, 0.232, -0.026], [0.177, -0.828, -0.026],
        [-0.177, -0.828, -0.026], [0.000, 0.358, -0.037], [0.186, -0.877, 0.115], [-0.186, -0.877, 0.115],
        [0.000, 0.542, 0.001], [0.023, 0.466, 0.015], [-0.023, 0.466, 0.015], [0.000, 0.639, 0.034],
        [0.175, 0.445, 0.012], [-0.175, 0.445, 0.012], [0.434, 0.445, 0.011], [-0.434, 0.445, 0.011],
        [0.665, 0.445, 0.011], [-0.665, 0.445, 0.011], [0.766, 0.445, 0.011], [-0.766, 0.445, 0.011],
    ]),
    # The trunk lies across, so that it is as wide as deep: the ends of the capsules are its flanks.
    middle={
        'belly': (0, (-0.07, -0.01, 0.006), (0.07, -0.01, 0.006), 0.115),
        'waist': (3, (-0.045, 0.01, 0.055), (0.045, 0.01, 0.055), 0.105),
        'ribs': (6, (-0.045, 0.06, 0.052), (0.045, 0.06, 0.052), 0.112),
        'chest': (9, (-0.06, 0.03, 0.05), (0.06, 0.03, 0.05), 0.11),
        'head': (15, (0.0, 0.0, 0.025), (0.0, 0.055, 0.02), 0.09),
    },
    limbs={
        'upper_arm': (16, (0.085, 0.0, 0.0), (0.259, 0.0, 0.0), 0.045),
        'forearm': (18, (0.0, 0.0, 0.0), (0.35, 0.0, 0.0), 0.035),
        'thigh': (1, (0.022, -0.18, 0.0), (0.038, -0.378, 0.0), 0.076),
        'shank': (4, (0.0, -0.05, -0.012), (0.026, -0.43, -0.022), 0.052),
        'foot': (7, (0.0, -0.03, -0.005), (0.010, -0.04, 0.17), 0.036),
    },
    limb_to_middle={
        'upper_arm': ('head', 'belly', 'waist'),
        'forearm': ('head', *_ADULT_TRUNK),
        'thigh': ('waist', 'ribs', 'chest'),
        'shank': _ADULT_TRUNK,
        'foot': _ADULT_TRUNK,
    },
    # Heavier on a softer mattress, with a pillow.
    give=(0.045, 0.18, 0.13),
    max_span=(2.0, 0.95),
)  # fmt: skip
