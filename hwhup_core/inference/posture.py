"""Posture of a body against gravity, from its joints alone."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.body.joints import SMPL_24
from hwhup_core.types import Posture

UPRIGHT_ELEVATION = np.deg2rad(45.0)
"""A torso that rises more steeply than this sits or stands, a flatter one lies."""
STANDING_THIGH_ANGLE = np.deg2rad(45.0)
"""An upright person stands when the thighs are within this angle of straight down."""

DEGENERATE = 0.4
"""A lying torso turns its front or a side to gravity by at least 0.5; less means joints in one place."""


def classify_posture(joint_positions: Float[ndarray, '24 3'], up: tuple[float, float, float] | None) -> Posture:
    """
    Return the posture of a body with `joint_positions` in a frame where `up` points against gravity.

    Lying on a side is named after the side that is underneath. Without `up`, with NaN joints, or head down the posture
    is unknown.
    """
    if up is None or not np.isfinite(joint_positions).all():
        return Posture.UNKNOWN
    against_gravity = _unit(np.asarray(up, dtype=float))
    headward, leftward, frontward = torso_axes(joint_positions)
    elevation = np.arcsin(np.clip(headward @ against_gravity, -1.0, 1.0))
    if elevation < -UPRIGHT_ELEVATION:
        return Posture.UNKNOWN
    if elevation > UPRIGHT_ELEVATION:
        return _upright_posture(joint_positions, against_gravity)
    front_up, left_up = frontward @ against_gravity, leftward @ against_gravity
    if max(abs(front_up), abs(left_up)) < DEGENERATE:
        return Posture.UNKNOWN
    if abs(front_up) >= abs(left_up):
        return Posture.SUPINE if front_up > 0 else Posture.PRONE
    return Posture.RIGHT_SIDE if left_up > 0 else Posture.LEFT_SIDE


def torso_axes(joints: Float[ndarray, '24 3']) -> tuple[Float[ndarray, '3'], Float[ndarray, '3'], Float[ndarray, '3']]:
    """Return orthonormal directions towards the head, the left and the front of the torso."""
    headward = _unit(_joint(joints, 'neck') - (_joint(joints, 'left_hip') + _joint(joints, 'right_hip')) / 2)
    across = _joint(joints, 'left_shoulder') - _joint(joints, 'right_shoulder')
    across = across + _joint(joints, 'left_hip') - _joint(joints, 'right_hip')
    leftward = _unit(across - (across @ headward) * headward)
    return headward, leftward, np.cross(leftward, headward)


def _upright_posture(joints: Float[ndarray, '24 3'], up: Float[ndarray, '3']) -> Posture:
    thighs = [_unit(_joint(joints, f'{side}_knee') - _joint(joints, f'{side}_hip')) for side in ('left', 'right')]
    downward = -_unit(thighs[0] + thighs[1]) @ up
    return Posture.STANDING if downward > np.cos(STANDING_THIGH_ANGLE) else Posture.SITTING


def _joint(joints: Float[ndarray, '24 3'], name: str) -> Float[ndarray, '3']:
    joint: ndarray = joints[SMPL_24.index(name)]
    return joint


def _unit(vector: Float[ndarray, '3']) -> Float[ndarray, '3']:
    # A zero vector (all joints in one place) stays zero, and the posture comes out unknown.
    return vector / max(float(np.linalg.norm(vector)), 1e-12)
