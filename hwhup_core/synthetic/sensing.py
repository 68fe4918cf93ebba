"""One person in one pose, before all sensors and under every cover; and the labels that people would make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from hwhup_core.geometry.cameras import project
from hwhup_core.synthetic.caregiver import caregiver_arm
from hwhup_core.synthetic.covers import add_cloth, drape
from hwhup_core.synthetic.domain import Cover, DomainConfig, PoseTruth, Sensed, SensedPose
from hwhup_core.synthetic.infrared import infrared_picture
from hwhup_core.synthetic.looks import Look
from hwhup_core.synthetic.mounts import plane_distance
from hwhup_core.synthetic.occlusion import slp_occlusion
from hwhup_core.synthetic.physique import Physique
from hwhup_core.synthetic.pressure import pressure_picture
from hwhup_core.synthetic.scene import Material, Scene, SceneRender, StaticRender, add_body, add_surface
from hwhup_core.synthetic.sensors import SENSORS, depth_noise
from hwhup_core.synthetic.shading import color_picture
from hwhup_core.synthetic.views import View
from hwhup_core.types import Intrinsics, Posture

_FLESH = np.array([0.07, 0.09, 0.16, 0.16, 0.09, 0.07, 0.05, 0.07, 0.11, 0.11, 0.07, 0.05, 0.13, 0.13])
"""Flesh over SLP's joints on an adult of `_STATURE`, metres: what is farther in front of one is something else."""
_STATURE = 1.7
CAREGIVER_CHANCE = 0.06
"""Of an arm over a bed or crib, for each pose."""
_LABELS, _SENSES, _DRAPES, _CARE = 10, 20, 30, 40
"""Streams of random numbers of a pose; there is one for each sense under each cover."""


@dataclass(frozen=True)
class Seed:
    """Where random numbers come from: the same for the same numbers, whoever asks and when."""

    numbers: tuple[int, ...]

    def generator(self, *stream: int) -> np.random.Generator:
        """Return the generator of a stream, as new."""
        return np.random.default_rng((*self.numbers, *stream))


@dataclass(frozen=True)
class PlacedBody:
    """A body in its scene. Camera frame, metres."""

    global_rotation: Float[ndarray, '3 3']
    joint_rotations: Float[ndarray, '23 3 3']
    betas: Float[ndarray, '10']
    translation: Float[ndarray, '3']
    """Already added to the three below."""
    vertices: Float[ndarray, 'v 3']
    joints: Float[ndarray, '24 3']
    keypoints: Float[ndarray, '14 3']
    """In SLP's order."""
    posture: Posture
    scene: Scene
    """The subject's, or the same with a seat."""


@dataclass(frozen=True)
class Setup:
    """What stays the same over the poses of a subject."""

    scene: Scene
    view: View
    intrinsics: Intrinsics
    look: Look
    physique: Physique
    faces: Int[ndarray, 'f 3']

    @cached_property
    def camera(self) -> Float[ndarray, '4']:
        """Return fx fy cx cy."""
        return np.array([self.intrinsics.fx, self.intrinsics.fy, self.intrinsics.cx, self.intrinsics.cy])

    @property
    def size(self) -> tuple[int, int]:
        """Return height and width of the image."""
        return self.intrinsics.height, self.intrinsics.width

    @cached_property
    def _static(self) -> StaticRender:
        return self.scene.render_static(self.camera, self.size, self.view)

    @cached_property
    def _static_without_object(self) -> StaticRender:
        return self.scene.render_static(self.camera, self.size, self.view, with_object=False)

    def bare(self, placed: PlacedBody) -> SceneRender:
        """Return the scene with the body and no cover; a thing on the mattress is taken away where the body lies."""
        if placed.scene is not self.scene:
            static = placed.scene.render_static(self.camera, self.size, self.view)
        elif _object_is_clear(self.scene, self.world(placed.joints)):
            static = self._static
        else:
            static = self._static_without_object
        return add_body(static, placed.vertices, self.faces, self.camera)

    def world(self, points: Float[ndarray, 'n 3']) -> Float[ndarray, 'n 3']:
        """Return points of the camera frame in the world."""
        result: ndarray = (points - self.view.translation) @ self.view.rotation
        return result


def _object_is_clear(scene: Scene, joints: Float[ndarray, 'n 3']) -> bool:
    """Return whether no joint is close enough to the object to stick in it."""
    if scene.object_center is None:
        return True
    nearest = np.linalg.norm(joints[:, :2] - scene.object_center, axis=1).min()
    return bool(nearest > 1.4 * scene.object_radius + 0.07)


def bare_picture(config: DomainConfig, setup: Setup, placed: PlacedBody, source: Seed, number: int) -> SceneRender:
    """Return what the camera would see without cover: the scene, the body and, now and then, a caregiver's arm."""
    bare, rng = setup.bare(placed), source.generator(number, _CARE)
    if config.kind == 'room' or rng.random() >= CAREGIVER_CHANCE:
        return bare
    return add_surface(bare, *caregiver_arm(placed.scene, rng), Material.CAREGIVER, setup.camera, setup.view)


def sense(
    config: DomainConfig, setup: Setup, placed: PlacedBody, bare: SceneRender, source: Seed, subject: int, number: int
) -> SensedPose:
    """Return the pose as sensed under every cover, and as labelled without."""
    seen = dict(_under_covers(config, setup, placed, bare, source, number))
    covers = {
        cover: _all_senses(config, setup, placed, bare, render, Seed((*source.numbers, number, _SENSES + k)))
        for k, cover in enumerate(Cover)
        if (render := seen.get(cover)) is not None
    }
    pixels, occluded = _labels(config, setup, placed, bare, source.generator(number, _LABELS))
    distance = None if config.kind == 'room' else plane_distance(setup.view)
    return SensedPose(subject, number, setup.intrinsics, covers, pixels, occluded, distance)


def _under_covers(
    config: DomainConfig, setup: Setup, placed: PlacedBody, bare: SceneRender, source: Seed, number: int
) -> Iterator[tuple[Cover, SceneRender]]:
    """Yield what the camera would see under each cover."""
    for cover in config.covers:
        if cover == Cover.NONE:
            yield cover, bare
            continue
        rng = source.generator(number, _DRAPES + list(Cover).index(cover))
        vertices, joints = (setup.world(points) for points in (placed.vertices, placed.joints))
        cloth = drape(placed.scene, vertices, setup.faces, cover, rng, joints)
        yield cover, add_cloth(bare, cloth, setup.camera, setup.view)


def _all_senses(
    config: DomainConfig, setup: Setup, placed: PlacedBody, bare: SceneRender, seen: SceneRender, source: Seed
) -> Sensed:
    """Return what every sensor asked for measures of the exact picture `seen`."""
    asked = config.modalities
    body = placed.vertices, setup.faces
    noise = replace(SENSORS[config.sensor], focal_px=setup.intrinsics.fx)
    color, infrared, pressure = (source.generator(k) for k in range(1, 4))
    return Sensed(
        color=color_picture(seen, *body, setup.camera, setup.view, setup.look, color) if 'color' in asked else None,
        depth=depth_noise(seen.depth, source.generator(0), noise),
        infrared=infrared_picture(bare, seen, *body, setup.camera, setup.look, infrared)
        if 'infrared' in asked
        else None,
        pressure=pressure_picture(
            placed.scene, setup.world(placed.vertices), setup.faces, setup.view, setup.camera, setup.size, pressure,
            setup.physique.weight,
        )
        if 'pressure' in asked
        else None,
    )  # fmt: skip


def _labels(
    config: DomainConfig, setup: Setup, placed: PlacedBody, bare: SceneRender, rng: np.random.Generator
) -> tuple[Float[ndarray, '14 2'], Bool[ndarray, '14']]:
    """Return joints and occlusion as people label them, with the noise asked for."""
    exact = project(placed.keypoints, setup.intrinsics)
    # An infant is short but round.
    flesh = _FLESH * max(setup.physique.stature / _STATURE, 0.6)
    hidden = slp_occlusion(placed.keypoints, exact, bare, flesh) ^ (rng.random(14) < config.wrong_visibility)
    return (exact + config.label_noise * rng.standard_normal(exact.shape)).astype(np.float32), hidden


def true_pose(placed: PlacedBody, bare: SceneRender) -> PoseTruth:
    """Return the exact answer."""
    return PoseTruth(
        global_rotation=placed.global_rotation,
        joint_rotations=placed.joint_rotations,
        betas=placed.betas,
        translation=placed.translation,
        joints=placed.joints,
        mask=bare.material == Material.BODY,
        depth=bare.depth,
        posture=placed.posture,
    )
