"""Put posed bodies down: on the mattress, the floor or a seat, in the axes of their own camera."""

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
SEAT_REACH = 0.15
"""What is this near to the pelvis, along the floor, may rest on a seat, metres."""
SEAT_SINK = 0.015
"""How far a body presses into its seat, metres."""


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


def standing_translation(
    vertices: Float[ndarray, 'v 3'],
    pelvis: Float[ndarray, '3'],
    view: View,
    floor_z: float = 0.0,
    center: Float[ndarray, '2'] | None = None,
) -> Float[ndarray, '3']:
    """
    Return what to add to the vertices (camera axes) so that the lowest is on the floor, metres.

    The pelvis comes over `center` (world x, y; None: the origin).
    """
    lowest = float(((vertices - pelvis) @ view.rotation[:, 2]).min())
    return _put_pelvis(pelvis, view, center, floor_z - lowest)


def seat_height(vertices: Float[ndarray, 'v 3'], pelvis: Float[ndarray, '3'], view: View) -> float:
    """Return how high a seat has to be for its sitter (camera axes) to have the feet on the floor, metres."""
    lowest = float(((vertices - pelvis) @ view.rotation[:, 2]).min())
    return _under_pelvis(vertices, pelvis, view) - lowest + SEAT_SINK


def seated_translation(
    vertices: Float[ndarray, 'v 3'],
    pelvis: Float[ndarray, '3'],
    view: View,
    height: float,
    center: Float[ndarray, '2'] | None = None,
) -> Float[ndarray, '3']:
    """
    Return what to add to the vertices (camera axes) so that the seat at world z `height` carries the body, metres.

    The pelvis comes over `center` (world x, y; None: the origin).
    """
    return _put_pelvis(pelvis, view, center, height - SEAT_SINK - _under_pelvis(vertices, pelvis, view))


def _under_pelvis(vertices: Float[ndarray, 'v 3'], pelvis: Float[ndarray, '3'], view: View) -> float:
    """Return the lowest height, from the pelvis, of what a stool under it would carry."""
    in_world = (vertices - pelvis) @ view.rotation
    reach = np.linalg.norm(in_world[:, :2], axis=1)
    return float(in_world[reach < SEAT_REACH, 2].min(initial=0.0))


def _put_pelvis(
    pelvis: Float[ndarray, '3'], view: View, center: Float[ndarray, '2'] | None, height: float
) -> Float[ndarray, '3']:
    """Return what to add to the pelvis (camera axes) to bring it to this place in the world."""
    place = np.array([*((0.0, 0.0) if center is None else center), height])
    result: ndarray = view.to_camera(place[None])[0] - pelvis
    return result
