"""Training crops: noisy depth of an infant in a crib, rendered directly into the person box, with exact truth."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from hwhup_core.body.model import BodyModel
from hwhup_core.errors import ConfigError
from hwhup_core.geometry.cameras import project
from hwhup_core.geometry.crops import crop_depth, crop_intrinsics
from hwhup_core.synthetic.crib import CribConfig, CribScene, build_crib
from hwhup_core.synthetic.placement import pose_bodies, random_placement, resting_translation
from hwhup_core.synthetic.poses import LyingPoses, postures, sample_lying_poses
from hwhup_core.synthetic.rotations import joint_rotations, root_rotations
from hwhup_core.synthetic.sensors import DepthNoise, depth_noise
from hwhup_core.synthetic.views import View, overhead_view
from hwhup_core.types import Intrinsics, PersonBox, Posture

CHUNK = 64
"""Bodies posed together."""
CRIB_SHARE = 16
"""Crops that share one random crib."""


@dataclass(frozen=True)
class CropSampling:
    """What the crops look like."""

    size: int = 112
    """Side of the crop, pixels: the input size of the network."""
    oversampling: int = 2
    """Rendered and made noisy at this multiple of `size`, then shrunk as `crop_depth` shrinks."""
    focal_px: tuple[float, float] = (450.0, 700.0)
    """Of the virtual 640 x 480 camera."""
    height: tuple[float, float] = (1.0, 1.8)
    """Camera above the mattress, metres."""
    tilt_degrees: tuple[float, float] = (0.0, 40.0)
    """Camera from straight down."""
    box_margin: tuple[float, float] = (1.1, 1.7)
    """Box side over the larger extent of the projected joints."""
    box_shift: float = 0.08
    """Largest error of the box centre along each axis, in box sides."""
    noise_level: tuple[float, float] = (0.3, 1.6)
    """Factor on the noise of `noise`, drawn for each crop; (0, 0) gives exact depth."""
    noise: DepthNoise = field(default_factory=DepthNoise)
    crib: CribConfig = field(default_factory=CribConfig)

    def __post_init__(self) -> None:
        if self.size < 8 or self.oversampling < 1:
            raise ConfigError(f'size {self.size} and oversampling {self.oversampling} must be at least 8 and 1.')
        for name in ('focal_px', 'height', 'tilt_degrees', 'box_margin', 'noise_level'):
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ConfigError(f'{name} is ({low}, {high}). Expected 0 <= low <= high.')


@dataclass(frozen=True)
class CribSamples:
    """A stack of crops with truth, numpy. Rotations and positions are in the camera frame, metres."""

    depth: Float[ndarray, 'n s s']
    """float32 metres, 0 = hole."""
    box: Float[ndarray, 'n 3']
    """Person box in the full image: centre x, y and side, pixels."""
    camera: Float[ndarray, 'n 4']
    """fx fy cx cy of the full 640 x 480 image."""
    global_rotation: Float[ndarray, 'n 3 3']
    """Camera from pelvis."""
    joint_rotations: Float[ndarray, 'n 23 3 3']
    betas: Float[ndarray, 'n 10']
    translation: Float[ndarray, 'n 3']
    """To be added to the body model's output."""
    joints: Float[ndarray, 'n 24 3']
    """SMPL joints, translation included."""
    pixels: Float[ndarray, 'n 24 2']
    """The joints in the full image."""
    posture: Int[ndarray, ' n']
    """`Posture` numbers."""
    up: Float[ndarray, 'n 3']
    """Against gravity."""

    def __len__(self) -> int:
        return len(self.depth)

    def person_box(self, index: int) -> PersonBox:
        """Return the box of one crop."""
        return PersonBox(*(float(value) for value in self.box[index]))

    def intrinsics(self, index: int) -> Intrinsics:
        """Return the full camera of one crop."""
        return full_camera(self.camera[index])


def full_camera(camera: Float[ndarray, '4']) -> Intrinsics:
    """Return the 640 x 480 camera of fx fy cx cy."""
    fx, fy, cx, cy = (float(value) for value in camera)
    return Intrinsics(fx, fy, cx, cy, 640, 480)


def sample_crops(
    body: BodyModel, rng: np.random.Generator, config: CropSampling, count: int, posture: Posture | None = None
) -> CribSamples:
    """Return `count` random crops; the same generator state gives the same crops."""
    poses = sample_lying_poses(rng, count, posture)
    chunks = [
        _sample_chunk(body, rng, config, LyingPoses(poses.root[k : k + CHUNK], poses.joint_angles[k : k + CHUNK]))
        for k in range(0, count, CHUNK)
    ]
    return _stack(chunks)


def sample_crop(body: BodyModel, rng: np.random.Generator, config: CropSampling) -> CribSamples:
    """Return a stack of one random crop."""
    return sample_crops(body, rng, config, 1)


def _stack(chunks: list[CribSamples]) -> CribSamples:
    return CribSamples(
        **{name: np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in CribSamples.__annotations__}
    )


def _sample_chunk(body: BodyModel, rng: np.random.Generator, config: CropSampling, poses: LyingPoses) -> CribSamples:
    """Return one crop a pose; the bodies are posed in one go."""
    count = len(poses)
    scenes = [build_crib(config.crib, rng) for _ in range(math.ceil(count / CRIB_SHARE))]
    views = [_random_view(config, rng) for _ in range(count)]
    world_from_pelvis, local = root_rotations(poses.root), joint_rotations(poses.joint_angles)
    global_rotation = np.stack([view.rotation for view in views]) @ world_from_pelvis
    betas = np.clip(rng.standard_normal((count, 10)), -2.0, 2.0)
    bodies = pose_bodies(body, global_rotation, local, betas)
    vertices, joints = bodies.vertices.numpy(), bodies.joints.numpy()
    faces = body.faces.numpy().astype(np.int32)
    crops = [
        _render_crop(scenes[k // CRIB_SHARE], views[k], vertices[k], joints[k], faces, rng, config)
        for k in range(count)
    ]
    depth, box, camera, translation, pixels = (np.stack(column) for column in zip(*crops, strict=True))
    return CribSamples(
        depth=depth,
        box=box,
        camera=camera,
        global_rotation=global_rotation.astype(np.float32),
        joint_rotations=local.astype(np.float32),
        betas=betas.astype(np.float32),
        translation=translation.astype(np.float32),
        joints=(joints + translation[:, None]).astype(np.float32),
        pixels=pixels.astype(np.float32),
        posture=postures(poses.root),
        up=np.stack([view.up for view in views]).astype(np.float32),
    )


def _random_view(config: CropSampling, rng: np.random.Generator) -> View:
    """Return an overhead camera that looks at the mattress, not quite at its centre, from any side, at any roll."""
    target = np.array([*rng.uniform(-0.15, 0.15, 2), 0.0])
    tilt = math.radians(rng.uniform(*config.tilt_degrees))
    return overhead_view(target, rng.uniform(*config.height), tilt, *rng.uniform(-math.pi, math.pi, 2))


def _render_crop(
    scene: CribScene,
    view: View,
    vertices: Float[ndarray, 'v 3'],
    joints: Float[ndarray, '24 3'],
    faces: Int[ndarray, 'f 3'],
    rng: np.random.Generator,
    config: CropSampling,
) -> tuple[ndarray, ndarray, ndarray, ndarray, ndarray]:
    """Return noisy depth, box (3), camera (4), translation (3) and joint pixels of one body in one crib."""
    flat = (joints - joints[0]) @ view.rotation[:, :2]
    place = random_placement(scene, rng, np.stack([flat.min(axis=0), flat.max(axis=0)]))
    translation = resting_translation(vertices, joints[0], view, scene, place)
    focal = rng.uniform(*config.focal_px)
    camera = full_camera(np.array([focal, focal, *rng.normal((320.0, 240.0), 4.0)]))
    pixels = project(joints + translation, camera)
    box = _loose_box(pixels, rng, config)
    exact = render_crop(
        scene, view, (vertices + translation).astype(np.float32), faces, box, camera, config.size * config.oversampling,
        with_object=_object_is_clear(scene, flat + place.center),
    )  # fmt: skip
    level = rng.uniform(*config.noise_level)
    measured = (
        depth_noise(exact, rng, _scaled(config.noise, level, exact.shape[0] / box.side * focal)) if level else exact
    )
    side = float(exact.shape[0])
    shrunk = crop_depth(measured, PersonBox(side / 2, side / 2, side), config.size)
    numbers = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
    return shrunk, np.array([box.center_x, box.center_y, box.side]), numbers, translation, pixels


def render_crop(
    scene: CribScene,
    view: View,
    vertices: Float[ndarray, 'v 3'],
    faces: Int[ndarray, 'f 3'],
    box: PersonBox,
    camera: Intrinsics,
    size: int,
    with_object: bool = True,
) -> Float[ndarray, 's s']:
    """Return exact depth of the box alone, at any resolution; 0 beyond the full image, as in a crop of it."""
    crop = crop_intrinsics(box, size, camera)
    pinhole = np.array([crop.fx, crop.fy, crop.cx, crop.cy])
    depth = scene.render(vertices, faces, pinhole, (size, size), view, with_object).depth
    centers = (np.arange(size) + 0.5) * box.side / size - box.side / 2
    x, y = centers + box.center_x, centers + box.center_y
    depth[(y < 0) | (y > camera.height)] = 0.0
    depth[:, (x < 0) | (x > camera.width)] = 0.0
    return depth


def _loose_box(pixels: Float[ndarray, '24 2'], rng: np.random.Generator, config: CropSampling) -> PersonBox:
    """Return a box around the joints with a random margin and shift."""
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    side = float((high - low).max() * rng.uniform(*config.box_margin))
    center = (low + high) / 2 + side * rng.uniform(-config.box_shift, config.box_shift, 2)
    return PersonBox(float(center[0]), float(center[1]), side)


def _object_is_clear(scene: CribScene, joints: Float[ndarray, 'n 2']) -> bool:
    """Return whether no joint is close enough to the object to stick in it."""
    if scene.object_center is None:
        return False
    nearest = np.linalg.norm(joints - scene.object_center, axis=1).min()
    return bool(nearest > 1.4 * scene.object_radius + 0.07)


def _scaled(noise: DepthNoise, level: float, focal: float) -> DepthNoise:
    """Return the noise with its strengths times `level` for an image of this focal length (px)."""
    return replace(
        noise,
        axial_base=noise.axial_base * level,
        axial_growth=noise.axial_growth * level,
        patch_growth=noise.patch_growth * level,
        jitter_px=noise.jitter_px * level,
        edge_dropout=min(noise.edge_dropout * level, 1.0),
        dropout=noise.dropout * level,
        holes=noise.holes * level,
        focal_px=focal,
    )
