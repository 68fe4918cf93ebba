"""Who lies there: the limits, proportions and habits of an infant and of an adult, for the sampler of `poses.py`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.synthetic import adult_limits as adult
from hwhup_core.synthetic.adult_limits import ADULT_LIMITS, Style
from hwhup_core.synthetic.capsules import ADULT_CAPSULES, INFANT_CAPSULES, PARTS, CapsuleBody
from hwhup_core.synthetic.limits import JOINT_LIMITS, JOINT_ROWS, LOWER, PRONE, SUPINE, UPPER, Row, limit_table

_ROW_PARTS = {
    'hip': 'leg',
    'knee': 'leg',
    'ankle': 'leg',
    'foot': 'leg',
    'spine': 'trunk',
    'neck': 'trunk',
    'head': 'trunk',
}
PART_OF_JOINT = np.array([
    PARTS.index({0: '', 1: 'left_', -1: 'right_'}[side] + _ROW_PARTS.get(name, 'arm')) for name, side in JOINT_ROWS
])  # fmt: skip
"""Index into `PARTS` of each joint in SMPL order without the pelvis."""


@dataclass(frozen=True)
class Build:
    """What is sampled for one kind of person. Angles in radians."""

    name: str
    capsules: CapsuleBody
    limits: Float[ndarray, '23 3 2']
    """Joint, axis, low and high: no sampled pose leaves them."""
    ranges: Float[ndarray, 'r s 23 3 2']
    """How limbs lie, by range (supine, prone, on the left, on the right side) and style."""
    shares: Float[ndarray, 'r parts s']
    """How often each part (`PARTS`) chooses each style; sums to 1."""
    heading: tuple[float, float, float]
    """Share that lies along the bed, its standard deviation; the others are uniform within this angle to both sides."""
    roll: tuple[float, float, float]
    """The same about the body's long axis, from the middle of the posture."""
    pitch: float
    """Standard deviation."""
    resting: Float[ndarray, 'r parts']
    """Chance that a limb has to lie on the mattress up to its end; the trunk always does."""


def _styled(
    limits: dict[str, Row], trunk: list[Style], legs: tuple[list[Style], ...], arms: tuple[list[Style], ...]
) -> tuple[Float[ndarray, 's 23 3 2'], Float[ndarray, 'parts s']]:
    """Return ranges and shares of one posture from the styles of trunk, (left, right) legs and arms."""
    parts = [trunk, *legs, *arms]
    count = max(len(styles) for styles in parts)
    shares = np.zeros((len(parts), count))
    ranges = []
    for style in range(count):
        rows = [styles[style][1] if style < len(styles) else {} for styles in parts]
        ranges.append(limit_table(limits | rows[0] | rows[1] | rows[3], limits | rows[2] | rows[4]))
    for part, styles in enumerate(parts):
        shares[part, : len(styles)] = [share for share, _ in styles]
    return np.stack(ranges), shares / shares.sum(axis=1, keepdims=True)


def _stacked(
    postures: list[tuple[Float[ndarray, '_ 23 3 2'], Float[ndarray, '_ _']]],
) -> tuple[Float[ndarray, 'r s 23 3 2'], Float[ndarray, 'r parts s']]:
    """Return the ranges and shares of all postures, filled up to the same number of styles."""
    count = max(len(ranges) for ranges, _ in postures)
    filled = [np.concatenate([ranges, np.repeat(ranges[:1], count - len(ranges), axis=0)]) for ranges, _ in postures]
    shares = [np.pad(shares, ((0, 0), (0, count - shares.shape[1]))) for _, shares in postures]
    return np.stack(filled), np.stack(shares)


_INFANT_RANGES = np.stack([
    limit_table(SUPINE, SUPINE),
    limit_table(PRONE, PRONE),
    limit_table(LOWER, UPPER),
    limit_table(UPPER, LOWER),
])[:, None]  # fmt: skip
_ADULT_RANGES, _ADULT_SHARES = _stacked([
    _styled(ADULT_LIMITS, adult.SUPINE_TRUNK, (adult.SUPINE_LEG,) * 2, (adult.SUPINE_ARM,) * 2),
    _styled(ADULT_LIMITS, adult.PRONE_TRUNK, (adult.PRONE_LEG,) * 2, (adult.PRONE_ARM,) * 2),
    _styled(ADULT_LIMITS, adult.SIDE_TRUNK, (adult.LOWER_LEG, adult.UPPER_LEG), (adult.LOWER_ARM, adult.UPPER_ARM)),
    _styled(ADULT_LIMITS, adult.SIDE_TRUNK, (adult.UPPER_LEG, adult.LOWER_LEG), (adult.UPPER_ARM, adult.LOWER_ARM)),
])  # fmt: skip

INFANT = Build(
    name='infant',
    capsules=INFANT_CAPSULES,
    limits=JOINT_LIMITS,
    ranges=_INFANT_RANGES,
    shares=np.ones((len(_INFANT_RANGES), len(PARTS), 1)),
    heading=(0.7, 0.3, math.pi),
    roll=(0.67, 0.14, 0.78),  # A third of the infants lie somewhere between two postures.
    pitch=0.07,
    # Most limbs, on the belly nearly all arms.
    resting=np.array([[0.6, 0.6, 0.6, 0.6, 0.6], [0.6, 0.6, 0.6, 0.9, 0.9], *[[0.6, 0.6, 0.6, 0.6, 0.6]] * 2]),
)
ADULT = Build(
    name='adult',
    capsules=ADULT_CAPSULES,
    limits=limit_table(ADULT_LIMITS, ADULT_LIMITS),
    ranges=_ADULT_RANGES,
    shares=_ADULT_SHARES,
    heading=(0.8, 0.08, 0.35),  # The head stays at its end of the bed.
    roll=(0.8, 0.14, 0.7),
    pitch=0.03,
    # Arms also rest on the body.
    resting=np.array([[0.0, 0.6, 0.6, 0.2, 0.2], [0.0, 0.8, 0.8, 0.9, 0.9], *[[0.0, 0.6, 0.6, 0.3, 0.3]] * 2]),
)
