"""
The people of a domain: one subject at a time, every pose under every cover, with labels and the truth beside them.

A subject has one body shape, one look, one scene and one camera. Everything is a function of (config, seed, subject,
number of the pose), so subjects can be made in any order and by any number of processes; what one sense shows does not
depend on which others were asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray

from hwhup_core.body.keypoint_sets import keypoint_set, point_map
from hwhup_core.body.model import BodyModel
from hwhup_core.synthetic.bed import BedConfig, build_bed
from hwhup_core.synthetic.builds import ADULT, INFANT, Build
from hwhup_core.synthetic.crib import CribConfig, build_crib
from hwhup_core.synthetic.domain import DomainConfig, PoseTruth, SensedPose
from hwhup_core.synthetic.looks import draw_look
from hwhup_core.synthetic.mounts import fitting_lens, mount_camera, must_see
from hwhup_core.synthetic.physique import Physique, measure
from hwhup_core.synthetic.placement import (
    pose_bodies,
    random_placement,
    resting_translation,
    seat_height,
    seated_translation,
    standing_translation,
)
from hwhup_core.synthetic.poses import postures, sample_lying_poses
from hwhup_core.synthetic.room import build_room
from hwhup_core.synthetic.rotations import joint_rotations, root_rotations
from hwhup_core.synthetic.scene import Scene
from hwhup_core.synthetic.sensing import PlacedBody, Seed, Setup, bare_picture, sense, true_pose
from hwhup_core.synthetic.upright import Activity, sample_upright_poses, world_from_pelvis
from hwhup_core.types import Posture

KINDS = ('room', 'bed', 'crib')
ADULT_STATURE = 1.3
"""From this height (m) on a person lies as adults do."""
_SLP_ORDER = (Posture.SUPINE, Posture.LEFT_SIDE, Posture.RIGHT_SIDE)
_WHO, _WHERE, _HOW, _SPOT = range(4)
"""Streams of random numbers of a subject: body and look, scene and camera, poses, places."""


@dataclass(frozen=True)
class _Poses:
    """Drawn poses of one subject, not yet put anywhere."""

    world_from_pelvis: Float[ndarray, 'n 3 3']
    joint_rotations: Float[ndarray, 'n 23 3 3']
    posture: Int[ndarray, ' n']
    """`Posture` numbers."""


def subject_poses(
    config: DomainConfig, body: BodyModel, seed: int, subject: int
) -> Iterator[tuple[SensedPose, PoseTruth]]:
    """Yield what is sensed and what is true for each pose of a subject (from 1), in order."""
    setup, source, people = placed_people(config, body, seed, subject)
    for k, placed in enumerate(people):
        render = bare_picture(config, setup, placed, source, k + 1)
        sensed = sense(config, setup, placed, render, source, subject, k + 1)
        yield sensed, true_pose(placed, render)


def placed_people(
    config: DomainConfig, body: BodyModel, seed: int, subject: int
) -> tuple[Setup, Seed, Iterator[PlacedBody]]:
    """Return what a subject keeps, where its random numbers come from, and the body of each pose in its place."""
    source = Seed((seed, KINDS.index(config.kind), subject))
    betas = np.clip(source.generator(0, _WHO).standard_normal(10), -2.0, 2.0)
    physique = measure(body, betas)
    setup = _set_up(config, body, physique, source)
    poses = _draw_poses(config, physique, source.generator(0, _HOW))
    return setup, source, _place_all(config, body, betas, setup, poses, source)


def _set_up(config: DomainConfig, body: BodyModel, physique: Physique, source: Seed) -> Setup:
    """Return the subject's look, scene and camera."""
    rng = source.generator(0, _WHERE)
    scene = _build_scene(config, source)
    view = mount_camera(config.kind, physique.stature, rng)
    intrinsics = fitting_lens(config.size, view, must_see(config.kind, scene, physique.stature), rng)
    look = draw_look(source.generator(0, _WHO, 1), config.kind, body)
    return Setup(scene, view, intrinsics, look, physique, body.faces.numpy().astype(np.int32))


def _build_scene(config: DomainConfig, source: Seed, seat: tuple[Float[ndarray, '2'], float] | None = None) -> Scene:
    """Return the subject's scene; a room with a `seat` is the same room otherwise."""
    rng = source.generator(0, _WHERE, 1)
    if config.kind == 'room':
        return build_room(rng, seat)
    return build_crib(CribConfig(), rng) if config.kind == 'crib' else build_bed(BedConfig(), rng)


def _draw_poses(config: DomainConfig, physique: Physique, rng: np.random.Generator) -> _Poses:
    """Return upright poses in a room, lying ones elsewhere."""
    if config.kind == 'room':
        upright = sample_upright_poses(rng, config.poses)
        posture = np.where(upright.activity == Activity.SITTING, int(Posture.SITTING), int(Posture.STANDING))
        return _Poses(world_from_pelvis(upright), joint_rotations(upright.joint_angles), posture)
    build = ADULT if physique.stature >= ADULT_STATURE else INFANT
    root, angles = _draw_lying(_wanted_postures(config, rng), build, rng)
    return _Poses(root_rotations(root), joint_rotations(angles), postures(root))


def _wanted_postures(config: DomainConfig, rng: np.random.Generator) -> Int[ndarray, ' n']:
    """Return `Posture` numbers in SLP's order, the share `prone` of them turned prone."""
    wanted = np.array([int(_SLP_ORDER[3 * k // config.poses]) for k in range(config.poses)])
    wanted[rng.permutation(config.poses)[: round(config.prone * config.poses)]] = int(Posture.PRONE)
    return wanted


def _draw_lying(
    wanted: Int[ndarray, ' n'], build: Build, rng: np.random.Generator
) -> tuple[Float[ndarray, 'n 3'], Float[ndarray, 'n 23 3']]:
    """Return root and joint angles of one lying pose for each wanted posture."""
    root, angles = np.empty((len(wanted), 3)), np.empty((len(wanted), 23, 3))
    for posture in np.unique(wanted):
        places = np.flatnonzero(wanted == posture)
        drawn = sample_lying_poses(rng, len(places), Posture(int(posture)), build)
        root[places], angles[places] = drawn.root, drawn.joint_angles
    return root, angles


def _place_all(
    config: DomainConfig, body: BodyModel, betas: Float[ndarray, '10'], setup: Setup, poses: _Poses, source: Seed
) -> Iterator[PlacedBody]:
    """Yield the bodies, meshed in one batch, each in its place in the scene."""
    rotation = setup.view.rotation @ poses.world_from_pelvis
    bodies = pose_bodies(body, rotation, poses.joint_rotations, np.tile(betas, (len(rotation), 1)))
    mix = point_map(keypoint_set('slp_14'), body.landmark_names).mix
    keypoints = (mix @ torch.cat([bodies.joints, bodies.landmarks], dim=1)).numpy()
    vertices, joints = bodies.vertices.numpy(), bodies.joints.numpy()
    for k in range(len(rotation)):
        spot = source.generator(k + 1, _SPOT)
        posture = Posture(int(poses.posture[k]))
        shift, scene = _put_down(config, setup, vertices[k], joints[k], posture, spot, source)
        shift = shift.astype(np.float32)
        yield PlacedBody(
            rotation[k].astype(np.float32),
            poses.joint_rotations[k].astype(np.float32),
            betas.astype(np.float32),
            shift,
            vertices[k] + shift,
            joints[k] + shift,
            keypoints[k] + shift,
            posture,
            scene,
        )


def _put_down(
    config: DomainConfig,
    setup: Setup,
    vertices: Float[ndarray, 'v 3'],
    joints: Float[ndarray, '24 3'],
    posture: Posture,
    rng: np.random.Generator,
    source: Seed,
) -> tuple[Float[ndarray, '3'], Scene]:
    """Return what to add to the vertices (camera axes, metres), and the scene: with a seat for who sits."""
    view = setup.view
    if config.kind != 'room':
        # Of the mesh: the top of the head and the hands reach beyond the joints.
        flat = (vertices[::7] - joints[0]) @ view.rotation[:, :2]
        place = random_placement(setup.scene, rng, np.stack([flat.min(axis=0), flat.max(axis=0)]))
        return resting_translation(vertices, joints[0], view, setup.scene, place), setup.scene
    center = rng.normal(0.0, (0.08, 0.15))
    if posture != Posture.SITTING:
        return standing_translation(vertices, joints[0], view, 0.0, center), setup.scene
    height = seat_height(vertices, joints[0], view)
    scene = _build_scene(config, source, (center, height))
    return seated_translation(vertices, joints[0], view, height, center), scene
