"""
Upright adults in daily life: standing, walking, reaching and sitting people, as a camera in a room sees them.

World frame: z up, floor z = 0; the camera stands on the side of world -y. Angles are those of `limits.py`; see there
for their signs. All poses stay inside the limits of an adult and do not pass through themselves (`contacts.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from hwhup_core.errors import HwhupError
from hwhup_core.synthetic.builds import ADULT
from hwhup_core.synthetic.contacts import capsule_ends, parts_inside
from hwhup_core.synthetic.limits import mirror_angles
from hwhup_core.synthetic.rotations import axis_rotations
from hwhup_core.synthetic.upright_habits import draw_reaching, draw_sitting, draw_standing, draw_walking

_UPRIGHT_ROOT = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""World from pelvis of a body that stands and faces world -y."""
_HEADING_DEVIATION = math.radians(35)
_ROUNDS = 200


class Activity(IntEnum):
    """What an upright person does."""

    STANDING = 0
    WALKING = 1
    REACHING = 2
    SITTING = 3


_SHARES = (0.3, 0.25, 0.25, 0.2)


@dataclass(frozen=True)
class UprightPoses:
    """A batch of poses as angles, radians."""

    root: Float[ndarray, 'n 3']
    """Heading about the vertical (0: the front faces world -y, the camera; positive turns to world +x), lean forward,
    lean to the right."""
    joint_angles: Float[ndarray, 'n 23 3']
    """About x, y, z of each joint, see `hwhup_core.synthetic.limits`."""
    activity: Int[ndarray, ' n']
    """`Activity` numbers."""

    def __len__(self) -> int:
        return len(self.root)

    def __getitem__(self, chosen: slice | ndarray) -> UprightPoses:
        return UprightPoses(self.root[chosen], self.joint_angles[chosen], self.activity[chosen])


def world_from_pelvis(poses: UprightPoses) -> Float[ndarray, 'n 3 3']:
    """Return the rotations of the pelvis: Rz(heading) Upright Rx(lean forward) Rz(lean to the right)."""
    turn, forward, side = (axis_rotations(poses.root[:, k], axis) for k, axis in enumerate((2, 0, 2)))
    result: ndarray = turn @ _UPRIGHT_ROOT @ forward @ side
    return result


def sample_upright_poses(rng: np.random.Generator, count: int, activity: Activity | None = None) -> UprightPoses:
    """Return `count` poses of `activity` (None: mixed); a pose that goes through itself is drawn again as a whole."""
    mixed = rng.choice(len(Activity), size=count, p=np.array(_SHARES))
    wanted = mixed if activity is None else np.full(count, int(activity))
    root, angles = np.empty((count, 3)), np.empty((count, 23, 3))
    places = np.arange(count)
    for _ in range(_ROUNDS):
        drawn = _draw(rng, wanted[places])
        root[places], angles[places] = drawn.root, drawn.joint_angles
        places = places[_inside_itself(drawn)]
        if len(places) == 0:
            return UprightPoses(root, angles, wanted)
    raise HwhupError(
        f'{len(places)} of {count} upright poses go through themselves after {_ROUNDS} draws. Widen limits.'
    )


def _inside_itself(poses: UprightPoses) -> Bool[ndarray, ' n']:
    """Return which poses go through themselves."""
    ends = capsule_ends(world_from_pelvis(poses), poses.joint_angles, ADULT.capsules)
    inside: ndarray = parts_inside(ends, ADULT.capsules)
    return np.asarray(inside.any(axis=1))


def _draw(rng: np.random.Generator, wanted: Int[ndarray, ' n']) -> UprightPoses:
    """Return one raw draw for each wanted activity."""
    root, angles = np.zeros((len(wanted), 3)), np.zeros((len(wanted), 23, 3))
    for activity, draw in _DRAWS.items():
        of_it = np.flatnonzero(wanted == activity)
        if len(of_it):
            root[of_it, 1:], angles[of_it] = draw(rng, len(of_it))
    root[:, 0] = rng.normal(0.0, _HEADING_DEVIATION, len(wanted))
    swapped = rng.random(len(wanted)) < 0.5
    angles[swapped] = mirror_angles(angles[swapped])
    root[swapped, 2] *= -1
    angles = np.clip(angles, ADULT.limits[..., 0], ADULT.limits[..., 1])
    return UprightPoses(root, angles, wanted)


_DRAWS = {
    Activity.STANDING: draw_standing,
    Activity.WALKING: draw_walking,
    Activity.REACHING: draw_reaching,
    Activity.SITTING: draw_sitting,
}
