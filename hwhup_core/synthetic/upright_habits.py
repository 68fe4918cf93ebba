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
    angles = np.zeros((count, 23, 3))
    lean = _normal(rng, count, (2.0, 0.0), (5.0, 2.5))
    _upper_body(rng, angles, bend=(0.0, 7.0), turn=8.0)
    _arms(rng, angles, ARMS_DOWN, ARMS_DOWN)
    _stand(rng, angles, lean[:, 0], knees=np.abs(rng.normal(0.0, (5.0, 12.0), (count, 2))))
    return np.radians(lean), np.radians(angles)


def draw_walking(rng: np.random.Generator, count: int) -> Draw:
    """Return people at any moment of a step: each arm swings with the leg of the other side."""
    angles = np.zeros((count, 23, 3))
    lean = _normal(rng, count, (4.0, 0.0), (4.0, 2.0))
    _upper_body(rng, angles, bend=(2.0, 5.0), turn=5.0)
    phase, stride = rng.uniform(-np.pi, np.pi, count), rng.uniform(0.5, 1.3, count)
    swing = stride * np.cos(phase)
    for side, leg in ((1.0, 'left'), (-1.0, 'right')):
        hip = -4.0 - lean[:, 0] - side * 24.0 * swing + rng.normal(0.0, 3.0, count)
        # The knee folds while its leg moves forward.
        knee = 6.0 + 50.0 * stride * np.maximum(0.0, -side * np.sin(phase)) + np.abs(rng.normal(0.0, 4.0, count))
        ankle = np.clip(-0.6 * (lean[:, 0] + hip + knee), -20.0, 20.0) + rng.normal(0.0, 4.0, count)
        _leg(rng, angles, leg, side, hip, knee, ankle, apart=(-5.0, 3.0), outward=(4.0, 6.0))
        arm = rng.uniform(0.3, 1.2, count) * 24.0 * swing
        angles[:, _at(f'{leg}_shoulder')] = np.stack(
            [_normal(rng, count, 10.0, 12.0), arm, side * _normal(rng, count, -72.0, 5.0)], axis=1
        )
        forward = np.maximum(0.0, -side * arm)
        angles[:, _at(f'{leg}_elbow'), 1] = -side * np.abs(18.0 + forward + rng.normal(0.0, 12.0, count))
        _hand(rng, angles, leg, side)
    busy = rng.random(count) < 0.15
    carrying = angles.copy()
    _arms(rng, carrying, ARMS_DOWN, ARMS_DOWN)
    angles[busy] = carrying[busy]
    return np.radians(lean), np.radians(angles)


def draw_reaching(rng: np.random.Generator, count: int) -> Draw:
    """Return people who stand and reach out with one arm or both; some bend or crouch for it."""
    angles = np.zeros((count, 23, 3))
    lean = np.stack([_normal(rng, count, 8.0, 11.0), _normal(rng, count, 0.0, 4.0)], axis=1)
    _upper_body(rng, angles, bend=(8.0, 14.0), turn=14.0)
    one_armed = angles.copy()
    _arms(rng, angles, ARM_REACHING, ARM_REACHING)
    _arms(rng, one_armed, ARM_REACHING, ARMS_DOWN)
    alone = rng.random(count) < 0.65
    angles[alone] = one_armed[alone]
    crouch = np.where(rng.random(count) < 0.2, rng.uniform(20.0, 80.0, count), 0.0)
    knees = crouch[:, None] + np.abs(rng.normal(0.0, 9.0, (count, 2)))
    _stand(rng, angles, lean[:, 0], knees)
    return np.radians(lean), np.radians(angles)


def draw_sitting(rng: np.random.Generator, count: int) -> Draw:
    """Return people on chairs: thighs about level, shanks about upright."""
    angles = np.zeros((count, 23, 3))
    lean = _normal(rng, count, (-4.0, 0.0), (8.0, 3.0))
    _upper_body(rng, angles, bend=(10.0, 12.0), turn=10.0)
    _arms(rng, angles, ARMS_SITTING, ARMS_SITTING)
    for side, leg in ((1.0, 'left'), (-1.0, 'right')):
        hip = -86.0 - lean[:, 0] + rng.normal(0.0, 7.0, count)
        knee = _normal(rng, count, 86.0, 14.0)
        ankle = np.clip(-(lean[:, 0] + hip + knee), -25.0, 35.0) + rng.normal(0.0, 4.0, count)
        _leg(rng, angles, leg, side, hip, knee, ankle, apart=(4.0, 8.0), outward=(2.0, 9.0))
    return np.radians(lean), np.radians(angles)


def _at(joint: str) -> int:
    """Return the row of a joint in tables without the pelvis."""
    return index(joint) - 1


def _normal(
    rng: np.random.Generator, count: int, mean: float | tuple[float, ...], deviation: float | tuple[float, ...]
) -> Float[ndarray, 'n *k']:
    """Return normal draws, a column for each mean, if there are several."""
    result: ndarray = rng.normal(mean, deviation, (count, len(mean)) if isinstance(mean, tuple) else count)
    return result


def _stand(
    rng: np.random.Generator,
    angles: Float[ndarray, 'n 23 3'],
    lean: Float[ndarray, ' n'],
    knees: Float[ndarray, 'n 2'],
) -> None:
    """Write legs that carry: shanks and thighs lean as much to the front as to the back, soles level."""
    for k, (side, leg) in enumerate(((1.0, 'left'), (-1.0, 'right'))):
        hip = -lean - 0.5 * knees[:, k] + rng.normal(0.0, 4.0, len(lean))
        ankle = -(lean + hip + knees[:, k]) + rng.normal(0.0, 3.0, len(lean))
        _leg(rng, angles, leg, side, hip, knees[:, k], ankle, apart=(-1.0, 5.0), outward=(8.0, 8.0))


def _leg(
    rng: np.random.Generator,
    angles: Float[ndarray, 'n 23 3'],
    leg: str,
    side: float,
    hip: Float[ndarray, ' n'],
    knee: Float[ndarray, ' n'],
    ankle: Float[ndarray, ' n'],
    apart: tuple[float, float],
    outward: tuple[float, float],
) -> None:
    """Write one leg; `apart` and `outward` are mean and deviation of the hip's abduction and twist."""
    count = len(hip)
    twist, abduction = side * _normal(rng, count, *outward), side * _normal(rng, count, *apart)
    angles[:, _at(f'{leg}_hip')] = np.stack([hip, twist, abduction], axis=1)
    angles[:, _at(f'{leg}_knee'), 0] = np.maximum(knee, 0.0)
    # A level sole stays level when the leg is spread.
    angles[:, _at(f'{leg}_ankle')] = np.stack(
        [ankle, rng.normal(0.0, 3.0, count), -abduction + rng.normal(0.0, 3.0, count)], axis=1
    )
    angles[:, _at(f'{leg}_foot'), 0] = rng.normal(0.0, 3.0, count)


def _upper_body(
    rng: np.random.Generator, angles: Float[ndarray, 'n 23 3'], bend: tuple[float, float], turn: float
) -> None:
    """Write trunk, neck and head; `bend` (mean, deviation) and `turn` (deviation) are those of the whole trunk."""
    count = len(angles)
    whole = np.stack(
        [_normal(rng, count, *bend), _normal(rng, count, 0.0, turn), _normal(rng, count, 0.0, 5.0)], axis=1
    )
    for spine in ('spine1', 'spine2', 'spine3'):
        angles[:, _at(spine)] = whole / 3 + rng.normal(0.0, 1.5, (count, 3))
    # Eyes are where the work is: the head takes back some of the bend, and looks around.
    gaze = rng.normal((4.0, 0.0, 0.0), (10.0, 18.0, 5.0), (count, 3)) - (0.4, 0.0, 0.5) * whole
    angles[:, _at('neck')] = 0.5 * gaze + rng.normal(0.0, 3.0, (count, 3))
    angles[:, _at('head')] = 0.5 * gaze + rng.normal(0.0, 3.0, (count, 3))


def _arms(
    rng: np.random.Generator, angles: Float[ndarray, 'n 23 3'], left: list[ArmStyle], right: list[ArmStyle]
) -> None:
    """Write both arms; where both have the same choice, half of the right ones do what the left does."""
    count = len(angles)
    left_styles = rng.choice(len(left), size=count, p=[style[0] for style in left])
    right_styles = rng.choice(len(right), size=count, p=[style[0] for style in right])
    if left is right:
        right_styles = np.where(rng.random(count) < 0.5, left_styles, right_styles)
    for side, arm, styles, chosen in ((1.0, 'left', left, left_styles), (-1.0, 'right', right, right_styles)):
        ranges = np.array([style[1:] for style in styles])[chosen]
        drawn = ranges[..., 0] + rng.beta(1.6, 1.6, (count, 4)) * (ranges[..., 1] - ranges[..., 0])
        angles[:, _at(f'{arm}_shoulder')] = drawn[:, :3] * (1.0, side, side)
        angles[:, _at(f'{arm}_elbow')] = np.stack(
            [rng.normal(0.0, 3.0, count), side * drawn[:, 3], np.zeros(count)], axis=1
        )
        _hand(rng, angles, arm, side)


def _hand(rng: np.random.Generator, angles: Float[ndarray, 'n 23 3'], arm: str, side: float) -> None:
    """Write collar, wrist and hand of one arm; a raised arm lifts the collar."""
    count = len(angles)
    raised = np.maximum(0.0, 30.0 + side * angles[:, _at(f'{arm}_shoulder'), 2]) / 6
    angles[:, _at(f'{arm}_collar')] = np.stack(
        [np.zeros(count), rng.normal(0.0, 4.0, count), side * (raised + rng.normal(0.0, 3.0, count))], axis=1
    )
    angles[:, _at(f'{arm}_wrist')] = rng.normal(0.0, (15.0, 6.0, 12.0), (count, 3))
    angles[:, _at(f'{arm}_hand')] = np.stack(
        [np.zeros(count), rng.normal(0.0, 3.0, count), side * rng.uniform(-25.0, 5.0, count)], axis=1
    )
