"""A caregiver's arm that reaches over a bed or a crib: sleeve, forearm and hand. World frame as in `scene`."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from hwhup_core.synthetic.scene import Scene
from hwhup_core.synthetic.solids import tube

UPPER_ARM, FOREARM, HAND = 0.3, 0.25, 0.17
"""Lengths, metres."""
_SLEEVE = np.array([0.065, 0.065, 0.06, 0.055, 0.052, 0.05])
_SKIN = np.array([0.042, 0.04, 0.03, 0.038, 0.042, 0.032, 0.012])
"""Radii from shoulder to mid forearm, and on to the finger tips, metres."""


def caregiver_arm(scene: Scene, rng: np.random.Generator) -> tuple[Float[ndarray, 'v 3'], Int[ndarray, 'f 3']]:
    """
    Return the mesh (world, metres) of an arm from one side: over the rail, its hand 0.1 to 0.5 m above the mattress.

    Where a rail or bars stand higher than that, as in a crib, the arm stays straighter and its hand higher.
    """
    shoulder, elbow, wrist, tip = _joints(scene, rng)
    cuff = elbow + rng.uniform(0.2, 0.7) * (wrist - elbow)
    palm = wrist + 0.45 * (tip - wrist)
    # The middle of the elbow is rounded: a polyline's ring there would be thin.
    bend = 0.15
    before, after = elbow + bend * (shoulder - elbow), elbow + bend * (cuff - elbow)
    middle = (before + after) / 2
    sleeve = np.stack([shoulder, (shoulder + before) / 2, before, middle, after, cuff])
    skin = np.stack([cuff - 0.02 * (cuff - elbow), cuff, wrist, wrist + 0.5 * (palm - wrist), palm,
                     palm + 0.6 * (tip - palm), tip])  # fmt: skip
    thick = rng.uniform(0.85, 1.15)
    thumb = np.stack(
        [wrist, palm + 0.045 * _across(tip - wrist), palm + 0.05 * _across(tip - wrist) + 0.3 * (tip - palm)]
    )
    meshes = [
        tube(sleeve, _SLEEVE * thick), tube(skin, _SKIN * thick), tube(thumb, np.array([0.02, 0.014, 0.008]) * thick)
    ]  # fmt: skip
    offsets = np.cumsum([0] + [len(vertices) for vertices, _ in meshes[:-1]])
    faces = [faces + offset for (_, faces), offset in zip(meshes, offsets, strict=True)]
    return np.concatenate([vertices for vertices, _ in meshes]), np.concatenate(faces).astype(np.int32)


def _joints(scene: Scene, rng: np.random.Generator) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Return shoulder, elbow, wrist and finger tips."""
    side = rng.choice([-1.0, 1.0])
    x = rng.uniform(-0.35, 0.4) * scene.length
    edge = scene.width / 2
    over = _rail_top(scene, side, float(x))
    elbow = np.array([x, side * (edge + rng.uniform(-0.05, 0.1)), max(over + 0.14, rng.uniform(0.25, 0.5))])
    aim = np.array([rng.normal(0.0, 0.5), -side, rng.uniform(-0.7, -0.1)])
    wrist = elbow + FOREARM * aim / np.linalg.norm(aim)
    # The hand bends in the wrist, mostly down towards the person, but stays off the mattress.
    aim += (rng.normal(0.0, 0.3), 0.0, rng.normal(-0.2, 0.3))
    tip = wrist + HAND * aim / np.linalg.norm(aim)
    low = max(0.13 - min(wrist[2], tip[2]), 0.0)
    out = np.array([rng.normal(0.0, 0.5), side, rng.uniform(0.2, 1.5)])
    lift = np.array([0.0, 0.0, low])
    return elbow + UPPER_ARM * out / np.linalg.norm(out) + lift, elbow + lift, wrist + lift, tip + lift


def _rail_top(scene: Scene, side: float, x: float) -> float:
    """Return how high what stands along one side of the mattress reaches near `x`, metres; at least 0."""
    beside = np.abs(scene.vertices[:, 1] - side * (scene.width / 2 + 0.03)) < 0.05
    near = beside & (np.abs(scene.vertices[:, 0] - x) < 0.25)
    return float(scene.vertices[near, 2].max(initial=0.0))


def _across(direction: Float[ndarray, '3']) -> Float[ndarray, '3']:
    """Return the unit vector level with the floor and square to a direction."""
    aside = np.array([-direction[1], direction[0], 0.0])
    result: ndarray = aside / max(float(np.linalg.norm(aside)), 1e-9)
    return result
