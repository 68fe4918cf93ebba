"""Put posed bodies down: each rests on the mattress, in the axes of its own camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.body.model import BodyModel
from hwhup_core.synthetic.scene import Scene
from hwhup_core.synthetic.views import View
from hwhup_core.types import Body, BodyParams

RESTING_SHARE = 0.02
"""The plane goes through this quantile of the vertices' heights, before the body sinks in."""


@dataclass(frozen=True)
class Placement:
    """Where a body lies."""

    center: Float[ndarray, '2']
    """World x, y of the pelvis, metres."""
    sink: float
    """How far the body presses into the mattress, metres."""


def random_placement(scene: Scene, rng: np.random.Generator, span: Float[ndarray, '2 2']) -> Placement:
    """Return a place on the mattress for a body whose joints reach `span` (low, high; x, y) from the pelvis."""
    half = np.array([scene.length, scene.width]) / 2 - 0.03
    low, high = -half - span[0], half - span[1]
    middle, reach = (low + high) / 2, np.maximum((high - low) / 2, 0.0)
    return Placement(middle + rng.uniform(-1.0, 1.0, 2) * np.minimum(reach, 0.2), float(rng.uniform(0.01, 0.015)))


def pose_bodies(
    body: BodyModel,
    global_rotation: Float[ndarray, 'n 3 3'],
    joint_rotations: Float[ndarray, 'n 23 3 3'],
    betas: Float[ndarray, 'n 10'],
) -> Body:
    """Return meshes and joints in the axes of `global_rotation`, not yet put anywhere."""
    tensors = (torch.from_numpy(np.asarray(array, np.float32)) for array in (global_rotation, joint_rotations, betas))
    with torch.no_grad():
        posed: Body = body(BodyParams(*tensors))
        return posed


def resting_translation(
    vertices: Float[ndarray, 'v 3'], pelvis: Float[ndarray, '3'], view: View, scene: Scene, place: Placement
) -> Float[ndarray, '3']:
    """
    Return what to add to the vertices (camera axes) so that the body rests on the mattress at `place`, metres.

    The lowest 2 % of the vertices, measured from the mattress surface below each, are under it before sinking in.
    """
    in_world = (vertices[::3] - pelvis) @ view.rotation
    clearance = in_world[:, 2] - scene.mattress_height(in_world[:, :2] + place.center)
    rank = int(RESTING_SHARE * len(clearance))
    height = -float(np.partition(clearance, rank)[rank]) - place.sink
    result: ndarray = view.to_camera(np.array([[*place.center, height]]))[0] - pelvis
    return result
