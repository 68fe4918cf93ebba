"""
Joint limits of an adult, and how the limbs of sleeping adults lie: tables of degrees in the convention of `limits.py`.

Each part of the body chooses one of several styles (straight leg, crossed leg, hand on the belly, hand under the head),
so that the limbs of one person need not match. People in beds mostly lie with extended legs; the shares are guesses.
"""

from __future__ import annotations

from hwhup_core.synthetic.limits import Row

Style = tuple[float, dict[str, Row]]
"""Share, and the rows that differ from the limits."""

_NONE = (0.0, 0.0)

ADULT_LIMITS: dict[str, Row] = {
    'hip': ((-120.0, 25.0), (-40.0, 60.0), (-32.0, 50.0)),
    'knee': ((0.0, 145.0), (-8.0, 8.0), _NONE),
    'ankle': ((-30.0, 55.0), (-20.0, 20.0), (-15.0, 15.0)),
    'foot': ((-20.0, 20.0), _NONE, _NONE),
    'collar': (_NONE, (-20.0, 12.0), (-10.0, 25.0)),
    'shoulder': ((-100.0, 90.0), (-125.0, 40.0), (-92.0, 95.0)),
    'elbow': ((-20.0, 20.0), (-148.0, 0.0), _NONE),
    'wrist': ((-60.0, 60.0), (-20.0, 20.0), (-55.0, 55.0)),
    'hand': (_NONE, (-10.0, 10.0), (-40.0, 20.0)),
    'spine': ((-12.0, 20.0), (-15.0, 15.0), (-12.0, 12.0)),
    'neck': ((-25.0, 35.0), (-40.0, 40.0), (-20.0, 20.0)),
    'head': ((-25.0, 25.0), (-45.0, 45.0), (-15.0, 15.0)),
}

_SOLE: dict[str, Row] = {'ankle': ((0.0, 40.0), (-12.0, 12.0), (-10.0, 10.0)), 'foot': ((-8.0, 8.0), _NONE, _NONE)}
"""Feet at rest point away."""
_TWISTS = (-6.0, 6.0)


def _leg(hip: Row, knee: tuple[float, float]) -> dict[str, Row]:
    return _SOLE | {'hip': hip, 'knee': (knee, _TWISTS, _NONE)}


def _arm(shoulder: Row, elbow: tuple[float, float]) -> dict[str, Row]:
    return {
        'collar': (_NONE, (-10.0, 6.0), (-4.0, 8.0)),
        'shoulder': shoulder,
        'elbow': ((-8.0, 8.0), elbow, _NONE),
        'wrist': ((-40.0, 40.0), (-12.0, 12.0), (-35.0, 35.0)),
    }


def _trunk(spine: Row, neck: Row, head: Row) -> list[Style]:
    return [(1.0, {'spine': spine, 'neck': neck, 'head': head})]


SUPINE_TRUNK = _trunk(
    ((-3.0, 6.0), (-5.0, 5.0), (-5.0, 5.0)),
    ((-2.0, 18.0), (-5.0, 32.0), (-10.0, 10.0)),
    ((-8.0, 14.0), (-5.0, 32.0), (-8.0, 8.0)),
)
PRONE_TRUNK = _trunk(
    ((-8.0, 3.0), (-5.0, 5.0), (-5.0, 5.0)),
    ((-15.0, 5.0), (20.0, 40.0), (-10.0, 10.0)),
    ((-15.0, 5.0), (15.0, 45.0), (-10.0, 10.0)),
)
SIDE_TRUNK = _trunk(
    ((-4.0, 14.0), (-8.0, 8.0), (-6.0, 6.0)),
    ((-8.0, 22.0), (-20.0, 20.0), (-14.0, 14.0)),
    ((-10.0, 18.0), (-18.0, 18.0), (-12.0, 12.0)),
)

_UNDER_HEAD = _arm(((-98.0, -78.0), (4.0, 18.0), (10.0, 50.0)), (-135.0, -105.0))
_OVER_HEAD = _arm(((-98.0, -60.0), (2.0, 15.0), (20.0, 75.0)), (-110.0, -40.0))

SUPINE_ARM: list[Style] = [
    (0.32, _arm(((-45.0, 45.0), (2.0, 13.0), (-80.0, -62.0)), (-35.0, 0.0))),  # Along the body.
    (0.34, _arm(((22.0, 60.0), (-12.0, 12.0), (-80.0, -55.0)), (-110.0, -65.0))),  # Hand on the belly or chest.
    (0.12, _arm(((-85.0, 60.0), (2.0, 13.0), (-60.0, 0.0)), (-90.0, -5.0))),  # Out to the side.
    (0.11, _OVER_HEAD),
    (0.11, _UNDER_HEAD),
]
SUPINE_LEG: list[Style] = [
    (0.50, _leg(((-6.0, 4.0), (0.0, 40.0), (-9.0, 10.0)), (0.0, 12.0))),  # Straight.
    (0.18, _leg(((-38.0, -6.0), (0.0, 50.0), (-4.0, 26.0)), (10.0, 65.0))),  # Bent a little, mostly outward.
    (0.20, _leg(((-15.0, -8.0), (5.0, 30.0), (-31.0, -19.0)), (0.0, 10.0))),  # Ankle over the other one.
    (0.06, _leg(((-62.0, -38.0), (-8.0, 14.0), (-8.0, 10.0)), (75.0, 115.0))),  # Knee up, sole on the mattress.
    (0.06, _leg(((-55.0, -20.0), (30.0, 60.0), (15.0, 42.0)), (50.0, 105.0))),  # Knee on the mattress.
]
PRONE_ARM: list[Style] = [
    (0.40, _arm(((-98.0, -65.0), (-20.0, 5.0), (-30.0, 50.0)), (-125.0, -40.0))),  # Beside the head.
    (0.28, _arm(((-70.0, 70.0), (-10.0, 10.0), (-80.0, -58.0)), (-30.0, 0.0))),  # Along the body.
    (0.16, _arm(((-98.0, -60.0), (-15.0, 5.0), (20.0, 75.0)), (-110.0, -40.0))),  # Over the head.
    (0.16, _arm(((-98.0, -80.0), (-30.0, -5.0), (15.0, 50.0)), (-138.0, -110.0))),  # Under the head or pillow.
]
PRONE_LEG: list[Style] = [
    (0.58, _leg(((-4.0, 10.0), (-10.0, 35.0), (-9.0, 12.0)), (0.0, 15.0))),
    (0.24, _leg(((-70.0, -15.0), (25.0, 60.0), (20.0, 50.0)), (25.0, 105.0))),  # Drawn up to the side.
    (0.18, _leg(((0.0, 8.0), (-15.0, 15.0), (-26.0, 0.0)), (15.0, 60.0))),  # Shank lifted, or over the other one.
]
LOWER_ARM: list[Style] = [
    (0.50, _arm(((-50.0, 70.0), (-110.0, -60.0), (-70.0, 30.0)), (-125.0, -10.0))),  # In front.
    (0.30, _arm(((-90.0, -30.0), (-95.0, -45.0), (15.0, 70.0)), (-135.0, -60.0))),  # Towards or under the head.
    (0.20, _arm(((-40.0, 70.0), (-75.0, -35.0), (-85.0, -45.0)), (-110.0, -10.0))),  # Before the belly.
]
UPPER_ARM: list[Style] = [
    (0.40, _arm(((-30.0, 70.0), (-105.0, -45.0), (-70.0, 20.0)), (-115.0, -10.0))),
    (0.30, _arm(((-40.0, 60.0), (-25.0, 15.0), (-90.0, -66.0)), (-60.0, 0.0))),  # On the flank.
    (0.20, _arm(((20.0, 85.0), (-45.0, -10.0), (-88.0, -60.0)), (-115.0, -50.0))),  # On the belly.
    (0.10, _arm(((-90.0, -30.0), (-95.0, -45.0), (0.0, 60.0)), (-135.0, -50.0))),
]
_SIDE_KNEES = ((-20.0, 5.0), (0.0, 35.0)), ((-45.0, -10.0), (20.0, 65.0)), ((-85.0, -35.0), (50.0, 105.0))
"""Hip and knee of legs that are stretched, bent, drawn up."""
LOWER_LEG: list[Style] = [
    (share, _leg((flexion, (-10.0, 12.0), (-14.0, 3.0)), knee))
    for share, (flexion, knee) in zip((0.35, 0.3, 0.35), _SIDE_KNEES, strict=True)
]
UPPER_LEG: list[Style] = [
    (share, _leg((flexion, (-14.0, 22.0), (-26.0, 2.0)), knee))
    for share, (flexion, knee) in zip((0.3, 0.3, 0.4), _SIDE_KNEES, strict=True)
]
