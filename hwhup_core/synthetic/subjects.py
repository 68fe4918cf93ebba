"""
The people of a domain: one subject at a time, every pose under every cover, with labels and the truth beside them.

A subject has one body shape, one look, one scene and one camera. Everything is a function of (config, seed, subject,
number of the pose), so subjects can be made in any order and by any number of processes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from hwhup_core.body.joints import SLP_14
from hwhup_core.body.keypoint_sets import keypoint_set, point_map
from hwhup_core.body.model import BodyModel
from hwhup_core.geometry.cameras import project
from hwhup_core.synthetic.crib import CribConfig, CribScene, Material, SceneRender, StaticRender, add_body, build_crib
from hwhup_core.synthetic.domain import DomainConfig, PoseTruth, Sensed, SensedPose
from hwhup_core.synthetic.placement import pose_bodies, random_placement, resting_translation
from hwhup_core.synthetic.poses import LyingPoses, postures, sample_lying_poses
from hwhup_core.synthetic.rotations import joint_rotations, root_rotations
from hwhup_core.synthetic.sensors import DepthNoise, depth_noise
from hwhup_core.synthetic.views import View, overhead_view
from hwhup_core.types import Intrinsics, Posture

KINDS = ('room', 'bed', 'crib')
_SLP_ORDER = (Posture.SUPINE, Posture.LEFT_SIDE, Posture.RIGHT_SIDE)
_FLESH = dict(zip(SLP_14, (0.07, 0.09, 0.16, 0.16, 0.09, 0.07, 0.05, 0.07, 0.11, 0.11, 0.07, 0.05, 0.13, 0.13)))
"""Flesh over each joint of an adult, metres: a surface farther in front of the joint is something else."""


@dataclass(frozen=True)
class Subject:
    """What stays the same over the poses of one subject."""

    betas: Float[ndarray, '10']
    scene: CribScene
    view: View
    intrinsics: Intrinsics
    static: StaticRender
    """The scene without the person, as the camera sees it."""

    @property
    def camera(self) -> Float[ndarray, '4']:
        """Return fx fy cx cy."""
        return np.array([self.intrinsics.fx, self.intrinsics.fy, self.intrinsics.cx, self.intrinsics.cy])


@dataclass(frozen=True)
class PosedSubject:
    """All poses of a subject, put down in its scene. Camera frame, metres."""

    global_rotation: Float[ndarray, 'n 3 3']
    joint_rotations: Float[ndarray, 'n 23 3 3']
    translation: Float[ndarray, 'n 3']
    """Already added to the three below."""
    vertices: Float[ndarray, 'n v 3']
    joints: Float[ndarray, 'n 24 3']
    keypoints: Float[ndarray, 'n 14 3']
    """In SLP's order."""
    posture: Int[ndarray, ' n']


def subject_poses(
    config: DomainConfig, body: BodyModel, seed: int, subject: int
) -> Iterator[tuple[SensedPose, PoseTruth]]:
    """Yield what is sensed and what is true for each pose of a subject (from 1), in order."""
    rng = _generator(config, seed, subject, 0)
    someone = _draw_subject(config, rng)
    posed = _pose_subject(config, body, someone, rng)
    faces = body.faces.numpy().astype(np.int32)
    for k in range(config.poses):
        yield _sense(config, someone, posed, faces, k, subject, _generator(config, seed, subject, k + 1))


def _generator(config: DomainConfig, seed: int, subject: int, number: int) -> np.random.Generator:
    return np.random.default_rng((seed, KINDS.index(config.kind), subject, number))


def _draw_subject(config: DomainConfig, rng: np.random.Generator) -> Subject:
    """Return a random body, scene and camera."""
    betas = np.clip(rng.standard_normal(10), -2.0, 2.0)
    scene = build_crib(_scene_config(config), rng)
    view = _mount(config, rng)
    intrinsics = _fitting_lens(config.size, view, _corners(config, scene), rng)
    camera = np.array([intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy])
    static = scene.render_static(camera, (config.size, config.size), view)
    return Subject(betas, scene, view, intrinsics, static)


def _scene_config(config: DomainConfig) -> CribConfig:
    if config.kind == 'crib':
        return CribConfig()
    return CribConfig(length=2.0, width=0.9, bar_height=(0.05, 0.1), object_probability=0.0)


def _mount(config: DomainConfig, rng: np.random.Generator) -> View:
    """Return where the camera hangs: head end up in the image above a bed, any way round above a crib."""
    if config.kind == 'room':
        position = np.array([0.0, -rng.uniform(2.5, 4.5), rng.uniform(1.0, 1.5)])
        rotation = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
        return View(rotation, -rotation @ position)
    target = np.array([*rng.normal(0.0, 0.02, 2), 0.0])
    azimuth = rng.uniform(-math.pi, math.pi)
    if config.kind == 'crib':
        tilt, roll = math.radians(rng.uniform(0.0, 25.0)), rng.uniform(-math.pi, math.pi)
        return overhead_view(target, rng.uniform(1.1, 1.8), tilt, azimuth, roll)
    tilt, roll = math.radians(rng.uniform(0.0, 10.0)), math.radians(rng.normal(0.0, 2.0))
    return overhead_view(target, rng.uniform(2.0, 2.2), tilt, azimuth, roll)


def _corners(config: DomainConfig, scene: CribScene) -> Float[ndarray, 'n 3']:
    """Return world points that must be in the picture."""
    if config.kind == 'room':
        return np.array([[x, 0.0, z] for x in (-0.7, 0.7) for z in (-0.05, 2.0)])
    x, y = scene.length / 2, scene.width / 2
    return np.array([[i * x, j * y, 0.0] for i in (-1, 1) for j in (-1, 1)])


def _fitting_lens(size: int, view: View, points: Float[ndarray, 'n 3'], rng: np.random.Generator) -> Intrinsics:
    """Return a square image with the principal point near its middle, just wide enough for the world points."""
    seen = view.to_camera(points)
    center = size / 2 + rng.normal(0.0, 0.01, 2) * size
    reach = np.abs(seen[:, :2] / seen[:, 2:]).max()
    focal = float((0.5 * size - np.abs(center - size / 2).max()) / (reach * rng.uniform(1.02, 1.06)))
    return Intrinsics(focal, focal, float(center[0]), float(center[1]), size, size)


def _pose_subject(config: DomainConfig, body: BodyModel, someone: Subject, rng: np.random.Generator) -> PosedSubject:
    """Return the subject in all its poses, meshed in one batch."""
    root, local, posture = _draw_poses(config, rng)
    rotation = someone.view.rotation @ root
    bodies = pose_bodies(body, rotation, local, np.tile(someone.betas, (len(root), 1)))
    vertices, joints = bodies.vertices.numpy(), bodies.joints.numpy()
    mix = point_map(keypoint_set('slp_14'), body.landmark_names).mix
    keypoints = (mix @ torch.cat([bodies.joints, bodies.landmarks], dim=1)).numpy()
    translation = np.stack([
        _put_down(config, someone, vertices[k], joints[k], rng).astype(np.float32) for k in range(len(root))
    ])  # fmt: skip
    shift = translation[:, None]
    return PosedSubject(
        rotation, local, translation, vertices + shift, joints + shift, keypoints + shift, posture
    )  # fmt: skip


def _draw_poses(config: DomainConfig, rng: np.random.Generator) -> tuple[ndarray, ndarray, ndarray]:
    """Return rotations world from pelvis (n, 3, 3), of the joints (n, 23, 3, 3), and posture numbers (n)."""
    if config.kind == 'room':
        angles = rng.normal(0.0, 0.25, (config.poses, 23, 3))
        turn = root_rotations(np.zeros((config.poses, 3)))
        upright = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
        return np.broadcast_to(upright, turn.shape), joint_rotations(angles), np.full(config.poses, Posture.STANDING)
    wanted = _wanted_postures(config, rng)
    poses = [sample_lying_poses(rng, int((wanted == p).sum()), p) for p in dict.fromkeys(wanted)]
    order = np.argsort(np.concatenate([np.flatnonzero(wanted == p) for p in dict.fromkeys(wanted)]))
    root = np.concatenate([part.root for part in poses])[order]
    angles = np.concatenate([part.joint_angles for part in poses])[order]
    if config.kind == 'bed':
        root[:, 0] = rng.normal(0.0, 0.08, len(root))
    drawn = LyingPoses(root, angles)
    return root_rotations(drawn.root), joint_rotations(drawn.joint_angles), postures(drawn.root)


def _wanted_postures(config: DomainConfig, rng: np.random.Generator) -> ndarray:
    """Return the postures in SLP's order, the share `prone` of them turned prone."""
    wanted = np.array([_SLP_ORDER[3 * k // config.poses] for k in range(config.poses)], dtype=object)
    wanted[rng.permutation(config.poses)[: round(config.prone * config.poses)]] = Posture.PRONE
    return wanted


def _put_down(
    config: DomainConfig, someone: Subject, vertices: ndarray, joints: ndarray, rng: np.random.Generator
) -> Float[ndarray, '3']:
    """Return what to add to the vertices (camera axes) so that the body stands or lies in its scene."""
    if config.kind == 'room':
        in_world = (vertices - joints[0]) @ someone.view.rotation
        place = np.array([*rng.normal(0.0, 0.1, 2), -in_world[:, 2].min()])
        result: ndarray = someone.view.to_camera(place[None])[0] - joints[0]
        return result
    flat = (joints - joints[0]) @ someone.view.rotation[:, :2]
    place = random_placement(someone.scene, rng, np.stack([flat.min(axis=0), flat.max(axis=0)]))
    return resting_translation(vertices, joints[0], someone.view, someone.scene, place)


def _sense(
    config: DomainConfig,
    someone: Subject,
    posed: PosedSubject,
    faces: Int[ndarray, 'f 3'],
    k: int,
    subject: int,
    rng: np.random.Generator,
) -> tuple[SensedPose, PoseTruth]:
    """Return one pose as sensed and labelled, and the truth."""
    render = add_body(someone.static, posed.vertices[k], faces, someone.camera)
    noise = DepthNoise(focal_px=someone.intrinsics.fx)
    covers = {cover: Sensed(depth=depth_noise(render.depth, rng, noise)) for cover in config.covers}
    exact = project(posed.keypoints[k], someone.intrinsics)
    hidden = _hidden(posed.keypoints[k], exact, render) ^ (rng.random(14) < config.wrong_visibility)
    pixels = (exact + rng.normal(0.0, config.label_noise, exact.shape)).astype(np.float32)
    truth = PoseTruth(
        global_rotation=posed.global_rotation[k].astype(np.float32),
        joint_rotations=posed.joint_rotations[k].astype(np.float32),
        betas=someone.betas.astype(np.float32),
        translation=posed.translation[k],
        joints=posed.joints[k],
        mask=render.material == Material.BODY,
        depth=render.depth,
        posture=Posture(int(posed.posture[k])),
    )
    return SensedPose(subject, k + 1, someone.intrinsics, covers, pixels, hidden), truth


def _hidden(points: Float[ndarray, '14 3'], pixels: Float[ndarray, '14 2'], render: SceneRender) -> Bool[ndarray, '14']:
    """Return which joints show something else than their own flesh, or lie outside the picture."""
    height, width = render.depth.shape
    columns, rows = np.floor(pixels).astype(int).T
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = np.where(inside, rows, 0), np.where(inside, columns, 0)
    over = points[:, 2] - render.depth[rows, columns]
    flesh = np.array(list(_FLESH.values()))
    result: ndarray = ~(inside & (render.material[rows, columns] == Material.BODY) & (over < flesh))
    return result
