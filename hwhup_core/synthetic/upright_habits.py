"""
How people hold themselves in daily life: one function an activity, raw draws, not yet checked against anything.

Degrees inside, radians out; signs as in `limits.py`, written for the left side. Soles stay level where feet carry: the
ankle takes back what lean, hip and knee turn. Spreads are guesses from how people move, not fitted to any recording.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.body.joints import index
from hwhup_core.synthetic.limits import Range

Draw = tuple[Float[ndarray, 'n 2'], Float[ndarray, 'n 23 3']]
"""Lean forward and to the right, and joint angles, radians."""
Rows = dict[str, Float[ndarray, 'n 3']]
"""Joint -> its angles about x, y, z, degrees."""
ArmStyle = tuple[float, Range, Range, Range, Range]
"""Share; shoulder about x (twist), y (swing), z (elevation); elbow."""

ARMS_DOWN: list[ArmStyle] = [
    (0.56, (-20.0, 35.0), (-14.0, 8.0), (-82.0, -62.0), (-40.0, -3.0)),  # Hanging.
    (0.16, (15.0, 70.0), (-35.0, -5.0), (-82.0, -60.0), (-110.0, -50.0)),  # Hand before the belly.
    (0.10, (-15.0, 30.0), (-40.0, -5.0), (-80.0, -55.0), (-130.0, -70.0)),  # Holding something up.
    (0.10, (55.0, 85.0), (10.0, 32.0), (-62.0, -42.0), (-105.0, -75.0)),  # Hand on the hip.
    (0.08, (-70.0, 40.0), (-60.0, 5.0), (-60.0, 20.0), (-120.0, -5.0)),  # A gesture.
]
ARMS_SITTING: list[ArmStyle] = [
    (0.46, (-5.0, 40.0), (-40.0, -8.0), (-82.0, -62.0), (-75.0, -30.0)),  # Hand on the thigh.
    (0.22, (25.0, 70.0), (-30.0, -5.0), (-80.0, -60.0), (-105.0, -60.0)),  # In the lap.
    (0.16, (-15.0, 30.0), (-50.0, -10.0), (-80.0, -50.0), (-115.0, -60.0)),  # At a table.
    (0.08, (-20.0, 35.0), (-14.0, 8.0), (-82.0, -62.0), (-40.0, -3.0)),
    (0.08, (-70.0, 30.0), (-95.0, -10.0), (-50.0, 50.0), (-110.0, -5.0)),
]
ARM_REACHING: list[ArmStyle] = [
    (0.5, (-50.0, 40.0), (-105.0, -45.0), (-30.0, 45.0), (-70.0, 0.0)),  # Forward.
    (0.35, (-80.0, 20.0), (-70.0, 0.0), (30.0, 85.0), (-80.0, 0.0)),  # Up.
    (0.15, (-60.0, 40.0), (-40.0, 15.0), (-30.0, 30.0), (-50.0, 0.0)),  # Sideways.
]


def draw_standing(rng: np.random.Generator, count: int) -> Draw:
    """Return people who stand, more on one leg than on the other."""
    lean = _normal(rng, count, (2.0, 0.0), (5.0, 2.5))
    rows = _upper_body(rng, count, bend=(0.0, 7.0), turn=8.0) | _arms(rng, count, ARMS_DOWN, ARMS_DOWN)
    rows |= _carrying_legs(rng, lean[:, 0], knees=np.abs(rng.normal(0.0, (5.0, 12.0), (count, 2))))
    return np.radians(lean), _table(rows, count)


def draw_walking(rng: np.random.Generator, count: int) -> Draw:
    """Return people at any moment of a step: each arm swings with the leg of the other side, some hold something."""
    lean = _normal(rng, count, (4.0, 0.0), (4.0, 2.0))
    phase, stride = rng.uniform(-np.pi, np.pi, count), rng.uniform(0.5, 1.3, count)
    rows = _upper_body(rng, count, bend=(2.0, 5.0), turn=5.0)
    rows |= _stepping_legs(rng, lean[:, 0], phase, stride) | _swinging_arms(rng, stride * np.cos(phase))
    busy = rng.random((count, 1, 1)) < 0.15
    holding = rows | _arms(rng, count, ARMS_DOWN, ARMS_DOWN)
    return np.radians(lean), np.where(busy, _table(holding, count), _table(rows, count))


def draw_reaching(rng: np.random.Generator, count: int) -> Draw:
    """Return people who stand and reach out with one arm or both; some bend or crouch for it."""
    lean = _normal(rng, count, (8.0, 0.0), (11.0, 4.0))
    crouch = np.where(rng.random(count) < 0.2, rng.uniform(20.0, 80.0, count), 0.0)
    knees = crouch[:, None] + np.abs(rng.normal(0.0, 9.0, (count, 2)))
    rows = _upper_body(rng, count, bend=(8.0, 14.0), turn=14.0) | _carrying_legs(rng, lean[:, 0], knees)
    one = rows | _arms(rng, count, ARM_REACHING, ARMS_DOWN)
    both = rows | _arms(rng, count, ARM_REACHING, ARM_REACHING)
    alone = rng.random((count, 1, 1)) < 0.65
    return np.radians(lean), np.where(alone, _table(one, count), _table(both, count))


def draw_sitting(rng: np.random.Generator, count: int) -> Draw:
    """Return people on chairs: thighs about level, shanks about upright."""
    lean = _normal(rng, count, (-4.0, 0.0), (8.0, 3.0))
    rows = _upper_body(rng, count, bend=(10.0, 12.0), turn=10.0) | _arms(rng, count, ARMS_SITTING, ARMS_SITTING)
    for leg in _SIDES:
        hip = -86.0 - lean[:, 0] + rng.normal(0.0, 7.0, count)
        knee = rng.normal(86.0, 14.0, count)
        ankle = np.clip(-(lean[:, 0] + hip + knee), -25.0, 35.0) + rng.normal(0.0, 4.0, count)
        rows |= _leg(rng, leg, np.stack([hip, knee, ankle]), apart=(4.0, 8.0), outward=(2.0, 9.0))
    return np.radians(lean), _table(rows, count)


_SIDES = {'left': 1.0, 'right': -1.0}


def _table(rows: Rows, count: int) -> Float[ndarray, 'n 23 3']:
    """Return the table of all joints in radians; joints without a row stay at rest."""
    table = np.zeros((count, 23, 3))
    for joint, angles in rows.items():
        table[:, index(joint) - 1] = np.radians(angles)
    return table


def _normal(
    rng: np.random.Generator, count: int, means: tuple[float, ...], deviations: tuple[float, ...]
) -> Float[ndarray, 'n k']:
    """Return normal draws, a column for each mean."""
    return rng.normal(means, deviations, (count, len(means)))


def _carrying_legs(rng: np.random.Generator, lean: Float[ndarray, ' n'], knees: Float[ndarray, 'n 2']) -> Rows:
    """Return legs that stand: thighs lean as much to the front as shanks to the back, soles level."""
    rows: Rows = {}
    for knee, leg in zip(knees.T, _SIDES, strict=True):
        hip = -lean - 0.5 * knee + rng.normal(0.0, 4.0, len(lean))
        ankle = -(lean + hip + knee) + rng.normal(0.0, 3.0, len(lean))
        rows |= _leg(rng, leg, np.stack([hip, knee, ankle]), apart=(-1.0, 5.0), outward=(8.0, 8.0))
    return rows


def _stepping_legs(
    rng: np.random.Generator, lean: Float[ndarray, ' n'], phase: Float[ndarray, ' n'], stride: Float[ndarray, ' n']
) -> Rows:
    """Return legs half a step apart: at phase 0 the left one is farthest in front."""
    rows: Rows = {}
    for leg, side in _SIDES.items():
        hip = -4.0 - lean - side * 24.0 * stride * np.cos(phase) + rng.normal(0.0, 3.0, len(lean))
        # The knee folds while its leg moves forward.
        fold = 50.0 * stride * np.maximum(0.0, -side * np.sin(phase))
        knee = 6.0 + fold + np.abs(rng.normal(0.0, 4.0, len(lean)))
        ankle = np.clip(-0.6 * (lean + hip + knee), -20.0, 20.0) + rng.normal(0.0, 4.0, len(lean))
        rows |= _leg(rng, leg, np.stack([hip, knee, ankle]), apart=(-5.0, 3.0), outward=(4.0, 6.0))
    return rows


def _swinging_arms(rng: np.random.Generator, swing: Float[ndarray, ' n']) -> Rows:
    """Return arms that hang and swing; at a swing of 1 the right one is in front."""
    rows: Rows = {}
    count = len(swing)
    for arm, side in _SIDES.items():
        forward = -side * rng.uniform(0.3, 1.2, count) * 24.0 * swing
        elbow = np.abs(18.0 + np.maximum(0.0, forward) + rng.normal(0.0, 12.0, count))
        shoulder = _normal(rng, count, (10.0, 0.0, -72.0), (12.0, 0.0, 5.0))
        shoulder -= np.stack([np.zeros(count), forward, np.zeros(count)], axis=1)
        rows |= _arm(rng, arm, shoulder, elbow)
    return rows


def _arms(rng: np.random.Generator, count: int, left: list[ArmStyle], right: list[ArmStyle]) -> Rows:
    """Return both arms; where both have the same choice, half of the right ones do what the left does."""
    left_styles = rng.choice(len(left), size=count, p=[style[0] for style in left])
    right_styles = rng.choice(len(right), size=count, p=[style[0] for style in right])
    if left is right:
        right_styles = np.where(rng.random(count) < 0.5, left_styles, right_styles)
    rows: Rows = {}
    for arm, styles, chosen in (('left', left, left_styles), ('right', right, right_styles)):
        ranges = np.array([style[1:] for style in styles])[chosen]
        drawn = ranges[..., 0] + rng.beta(1.6, 1.6, (count, 4)) * (ranges[..., 1] - ranges[..., 0])
        rows |= _arm(rng, arm, drawn[:, :3], -drawn[:, 3])
    return rows


def _leg(
    rng: np.random.Generator,
    leg: str,
    bends: Float[ndarray, '3 n'],
    apart: tuple[float, float],
    outward: tuple[float, float],
) -> Rows:
    """Return one leg of the bends of hip, knee and ankle; mean and deviation of the hip's abduction and twist."""
    hip, knee, ankle = bends
    count, side = len(hip), _SIDES[leg]
    twist, abduction = (side * rng.normal(*spread, count) for spread in (outward, apart))
    none = np.zeros(count)
    # A level sole stays level when the leg is spread.
    tilt = -abduction + rng.normal(0.0, 3.0, count)
    return {
        f'{leg}_hip': np.stack([hip, twist, abduction], axis=1),
        f'{leg}_knee': np.stack([np.maximum(knee, 0.0), none, none], axis=1),
        f'{leg}_ankle': np.stack([ankle, rng.normal(0.0, 3.0, count), tilt], axis=1),
        f'{leg}_foot': np.stack([rng.normal(0.0, 3.0, count), none, none], axis=1),
    }


def _arm(rng: np.random.Generator, arm: str, shoulder: Float[ndarray, 'n 3'], elbow: Float[ndarray, ' n']) -> Rows:
    """Return one arm of the angles of a left shoulder and the bend of the elbow; a raised arm lifts the collar."""
    count, side = len(elbow), _SIDES[arm]
    mirror = np.array([1.0, side, side])
    raised = np.maximum(0.0, 30.0 + shoulder[:, 2]) / 6
    none = np.zeros(count)
    collar = np.stack([none, rng.normal(0.0, 4.0, count), raised + rng.normal(0.0, 3.0, count)], axis=1)
    return {
        f'{arm}_collar': collar * mirror,
        f'{arm}_shoulder': shoulder * mirror,
        f'{arm}_elbow': np.stack([rng.normal(0.0, 3.0, count), -elbow, none], axis=1) * mirror,
        f'{arm}_wrist': rng.normal(0.0, (15.0, 6.0, 12.0), (count, 3)),
        f'{arm}_hand': np.stack([none, rng.normal(0.0, 3.0, count), rng.uniform(-25.0, 5.0, count)], axis=1) * mirror,
    }


def _upper_body(rng: np.random.Generator, count: int, bend: tuple[float, float], turn: float) -> Rows:
    """Return trunk, neck and head; `bend` (mean, deviation) and `turn` (deviation) are those of the whole trunk."""
    whole = _normal(rng, count, (bend[0], 0.0, 0.0), (bend[1], turn, 5.0))
    rows = {spine: whole / 3 + rng.normal(0.0, 1.5, (count, 3)) for spine in ('spine1', 'spine2', 'spine3')}
    # Eyes are where the work is: the head takes back some of the bend, and looks around.
    gaze = _normal(rng, count, (4.0, 0.0, 0.0), (10.0, 18.0, 5.0)) - np.array([0.4, 0.0, 0.5]) * whole
    return rows | {joint: 0.5 * gaze + rng.normal(0.0, 3.0, (count, 3)) for joint in ('neck', 'head')}
