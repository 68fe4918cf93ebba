"""
Joint limits and resting ranges of an infant, as tables of degrees.

Every joint turns by three angles about the axes of the T-pose (x to the left hand, y up, z forward). Legs apply them as
Rx Rz Ry (flexion, abduction, twist), arms as Rz Ry Rx (elevation, swing, twist), everything else as Ry Rx Rz. A row is
written for the left side; the right side mirrors it (y and z change sign), see `mirrored`.

Signs for the left side: hip x < 0 flexes, z > 0 abducts, y > 0 turns the knee outward; knee x > 0 flexes; shoulder
z < 0 lowers the arm, y < 0 swings it forward, x < 0 turns the palm up to the head; elbow y < 0 flexes; spine x > 0
bends forward.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.body.joints import FLIP_24

Range = tuple[float, float]
Row = tuple[Range, Range, Range]

FIXED: Row = ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0))

# Rows for x, y, z. Wider than what any posture samples, narrower than what an infant can reach.
LIMITS: dict[str, Row] = {
    'hip': ((-125.0, 20.0), (-30.0, 60.0), (-15.0, 70.0)),
    'knee': ((0.0, 140.0), (-10.0, 10.0), (0.0, 0.0)),
    'ankle': ((-30.0, 60.0), (-20.0, 20.0), (-15.0, 15.0)),
    'foot': ((-20.0, 20.0), (0.0, 0.0), (0.0, 0.0)),
    'collar': ((0.0, 0.0), (-15.0, 10.0), (-10.0, 20.0)),
    'shoulder': ((-100.0, 80.0), (-110.0, 25.0), (-85.0, 80.0)),
    'elbow': ((-20.0, 20.0), (-140.0, 0.0), (0.0, 0.0)),
    'wrist': ((-60.0, 60.0), (-20.0, 20.0), (-50.0, 50.0)),
    'hand': ((0.0, 0.0), (-10.0, 10.0), (-40.0, 20.0)),
    'spine': ((-10.0, 15.0), (-12.0, 12.0), (-12.0, 12.0)),
    'neck': ((-20.0, 20.0), (-40.0, 40.0), (-15.0, 15.0)),
    'head': ((-20.0, 25.0), (-45.0, 45.0), (-15.0, 15.0)),
}

# SMPL order without the pelvis: (row of the tables, side), side +1 left, -1 right, 0 middle.
JOINT_ROWS: tuple[tuple[str, int], ...] = (
    ('hip', 1), ('hip', -1), ('spine', 0), ('knee', 1), ('knee', -1), ('spine', 0), ('ankle', 1), ('ankle', -1),
    ('spine', 0), ('foot', 1), ('foot', -1), ('neck', 0), ('collar', 1), ('collar', -1), ('head', 0), ('shoulder', 1),
    ('shoulder', -1), ('elbow', 1), ('elbow', -1), ('wrist', 1), ('wrist', -1), ('hand', 1), ('hand', -1),
)  # fmt: skip

# What resting infants do, within LIMITS: rows that differ from LIMITS, by posture. `lower` and `upper` are the limbs of
# the side that lies on the mattress and of the other one.
SUPINE: dict[str, Row] = {
    'ankle': ((-25.0, 45.0), (-15.0, 15.0), (-12.0, 12.0)),
    'hip': ((-110.0, 0.0), (-10.0, 55.0), (-5.0, 65.0)),
    'knee': ((5.0, 130.0), (-8.0, 8.0), (0.0, 0.0)),
    'shoulder': ((-95.0, 50.0), (-85.0, 8.0), (-80.0, 75.0)),
    'elbow': ((-10.0, 10.0), (-130.0, -5.0), (0.0, 0.0)),
    'spine': ((-4.0, 10.0), (-6.0, 6.0), (-8.0, 8.0)),
}
PRONE: dict[str, Row] = {
    'ankle': ((-10.0, 58.0), (-15.0, 15.0), (-12.0, 12.0)),
    'hip': ((-60.0, 10.0), (-10.0, 58.0), (0.0, 70.0)),
    'knee': ((0.0, 110.0), (-8.0, 8.0), (0.0, 0.0)),
    'shoulder': ((-100.0, -60.0), (-30.0, 2.0), (-80.0, 78.0)),
    'elbow': ((-10.0, 10.0), (-130.0, -5.0), (0.0, 0.0)),
    'spine': ((-8.0, 6.0), (-6.0, 6.0), (-8.0, 8.0)),
    'neck': ((-15.0, 5.0), (15.0, 40.0), (-10.0, 10.0)),
    'head': ((-15.0, 5.0), (15.0, 45.0), (-10.0, 10.0)),
}
LOWER: dict[str, Row] = {
    'hip': ((-110.0, 0.0), (-10.0, 20.0), (-15.0, 8.0)),
    'knee': ((5.0, 125.0), (-8.0, 8.0), (0.0, 0.0)),
    'collar': ((0.0, 0.0), (-15.0, 0.0), (-5.0, 10.0)),
    'shoulder': ((-80.0, 60.0), (-110.0, -55.0), (-50.0, 70.0)),
    'elbow': ((-10.0, 10.0), (-130.0, -5.0), (0.0, 0.0)),
    'spine': ((-4.0, 12.0), (-8.0, 8.0), (-8.0, 8.0)),
}
UPPER: dict[str, Row] = {
    'hip': ((-110.0, 5.0), (-15.0, 30.0), (-12.0, 30.0)),
    'knee': ((5.0, 125.0), (-8.0, 8.0), (0.0, 0.0)),
    'shoulder': ((-90.0, 60.0), (-105.0, 15.0), (-85.0, 60.0)),
    'elbow': ((-10.0, 10.0), (-130.0, -5.0), (0.0, 0.0)),
    'spine': ((-4.0, 12.0), (-8.0, 8.0), (-8.0, 8.0)),
}


def mirrored(row: Row) -> Row:
    """Return the row of the opposite side: angles about y and z change sign."""
    x, y, z = row
    return x, (-y[1], -y[0]), (-z[1], -z[0])


def limit_table(left: dict[str, Row], right: dict[str, Row]) -> Float[ndarray, '23 3 2']:
    """Return (joint, axis, low/high) in radians from the rows of the left and right limbs; the middle is the left's."""
    tables = {1: left, -1: right, 0: left}
    rows = [(LIMITS | tables[side])[name] for name, side in JOINT_ROWS]
    sided = [mirrored(row) if side < 0 else row for row, (_, side) in zip(rows, JOINT_ROWS, strict=True)]
    result: ndarray = np.radians(np.array(sided))
    return result


def mirror_angles(joint_angles: Float[ndarray, 'n 23 3']) -> Float[ndarray, 'n 23 3']:
    """Return the poses seen in a mirror: sides swapped, angles about y and z with the other sign."""
    other_side = np.array(FLIP_24[1:]) - 1
    result: ndarray = joint_angles[:, other_side] * np.array([1.0, -1.0, -1.0])
    return result


JOINT_LIMITS: Float[ndarray, '23 3 2'] = limit_table({}, {})
"""(joint in SMPL order without pelvis, axis, low/high), radians: no sampled or moving pose leaves them."""
