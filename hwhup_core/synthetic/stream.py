"""The live crib: colour and depth of a slowly moving infant, with the truth of every frame."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from hwhup_core.body.model import load_body
from hwhup_core.errors import ConfigError
from hwhup_core.geometry.cameras import project
from hwhup_core.synthetic.crib import CribConfig, add_body, build_crib
from hwhup_core.synthetic.motion import MotionConfig, slow_motion
from hwhup_core.synthetic.occlusion import joint_visibility
from hwhup_core.synthetic.placement import pose_bodies, random_placement, resting_translation
from hwhup_core.synthetic.rotations import joint_rotations, root_rotations
from hwhup_core.synthetic.sensors import DepthNoise, depth_noise
from hwhup_core.synthetic.shading import body_colors, random_appearance, shade_body, shade_static
from hwhup_core.synthetic.views import overhead_view
from hwhup_core.types import Frame, Intrinsics, Posture


@dataclass(frozen=True)
class StreamConfig:
    """The camera above the crib and what lies in it."""

    body: str = 'infant'
    """Bundled body or path of a body file."""
    width: int = 640
    height: int = 480
    focal_px: float = 560.0
    camera_height: float = 1.3
    """Above the mattress, metres."""
    tilt_degrees: float = 20.0
    """Camera from straight down; it hangs at one long side of the crib, the head end is left in the image."""
    frame_id: str = 'crib_camera_optical_frame'
    posture: Posture = Posture.SUPINE
    """At time 0."""
    noise: DepthNoise = field(default_factory=DepthNoise)
    crib: CribConfig = field(default_factory=lambda: CribConfig(object_probability=0.0))
    motion: MotionConfig = field(default_factory=MotionConfig)

    def __post_init__(self) -> None:
        if self.width < 16 or self.height < 16 or not (self.focal_px > 0 and self.camera_height > 0.7):
            raise ConfigError(
                f'A camera of {self.width} x {self.height} px, focal {self.focal_px} px, {self.camera_height} m high '
                'cannot see the crib. Use at least 16 x 16 px, a positive focal length and a height above 0.7 m.'
            )
        if not 0 <= self.tilt_degrees <= 45:
            raise ConfigError(f'tilt_degrees is {self.tilt_degrees}. Expected 0 (straight down) to 45.')


@dataclass(frozen=True)
class Truth:
    """What is exactly true in one frame, numpy. Camera frame, metres."""

    stamp_ns: int
    global_rotation: Float[ndarray, '3 3']
    """Camera from pelvis."""
    joint_rotations: Float[ndarray, '23 3 3']
    betas: Float[ndarray, '10']
    translation: Float[ndarray, '3']
    """To be added to the body model's output."""
    joints: Float[ndarray, '24 3']
    """SMPL joints, translation included."""
    pixels: Float[ndarray, '24 2']
    visibility: Bool[ndarray, '24']
    """False where a bar, another part of the body or the image border hides the joint."""
    posture: Posture
    up: Float[ndarray, '3']
    """Against gravity."""


class CribStream:
    """
    A live crib. The same config, seeds and time give the same frame and truth, in any order of calls.

    With an `infant_seed` another infant lies in the crib that `seed` makes: of other shape and looks, at another place,
    in another motion; crib, camera and light stay.
    """

    def __init__(self, config: StreamConfig, seed: int, infant_seed: int | None = None) -> None:
        rng = np.random.default_rng(seed)
        infant = rng if infant_seed is None else np.random.default_rng((seed, infant_seed))
        self._config = config
        self._seeds = (seed,) if infant_seed is None else (seed, infant_seed)
        self._body = load_body(config.body)
        self._faces = self._body.faces.numpy().astype(np.int32)
        self._scene = build_crib(config.crib, rng)
        self._view = overhead_view(
            np.zeros(3), config.camera_height, math.radians(config.tilt_degrees), azimuth=math.pi / 2, roll=math.pi / 2
        )
        self.intrinsics = Intrinsics(
            config.focal_px, config.focal_px, config.width / 2, config.height / 2, config.width, config.height
        )
        self._camera = np.array([config.focal_px, config.focal_px, config.width / 2, config.height / 2])
        self._static = self._scene.render_static(self._camera, (config.height, config.width), self._view)
        self._appearance = random_appearance(rng)
        self._background = shade_static(self._scene, self._static, self._camera, self._view, self._appearance, rng)
        looks = self._appearance if infant_seed is None else random_appearance(infant)
        self._colors = body_colors(self._body, looks)
        self._motion = slow_motion(infant, config.motion, config.posture)
        self.period = self._motion.period
        """Seconds until the motion repeats."""
        self._noise = replace(config.noise, focal_px=config.focal_px)
        self.betas: Float[ndarray, '10'] = np.clip(infant.standard_normal(10), -2.0, 2.0)
        self._place = random_placement(self._scene, infant, self._reach())

    def _reach(self) -> Float[ndarray, '2 2']:
        """Return how far (low, high; x, y) the joints get from the pelvis during the motion, metres."""
        keys = self._motion.keys
        betas = np.tile(self.betas, (len(keys), 1))
        joints = pose_bodies(self._body, root_rotations(keys.root), joint_rotations(keys.joint_angles), betas).joints
        flat = (joints - joints[:, :1]).numpy()[..., :2].reshape(-1, 2)
        return np.stack([flat.min(axis=0), flat.max(axis=0)])

    def frame(self, stamp_ns: int, time_s: float) -> tuple[Frame, Truth]:
        """Return the frame stamped `stamp_ns` that shows the crib `time_s` seconds into the motion."""
        pose = self._motion(time_s)
        rotation = self._view.rotation @ pose.world_from_pelvis
        posed = pose_bodies(self._body, rotation[None], pose.joint_rotations[None], self.betas[None])
        vertices, joints = posed.vertices[0].numpy(), posed.joints[0].numpy()
        translation = resting_translation(vertices, joints[0], self._view, self._scene, self._place)
        vertices, joints = vertices + translation.astype(np.float32), joints + translation
        render = add_body(self._static, vertices, self._faces, self._camera)
        rng = np.random.default_rng((*self._seeds, round(abs(time_s) * 1e6)))
        color = shade_body(
            self._background, render, vertices, self._faces, self._colors, self._camera, self._view, self._appearance
        )
        frame = Frame(
            stamp_ns=stamp_ns,
            frame_id=self._config.frame_id,
            color=color,
            depth=depth_noise(render.depth, rng, self._noise),
            intrinsics=self.intrinsics,
        )
        pixels = project(joints, self.intrinsics)
        return frame, Truth(
            stamp_ns=stamp_ns,
            global_rotation=rotation,
            joint_rotations=pose.joint_rotations,
            betas=self.betas,
            translation=translation,
            joints=joints,
            pixels=pixels,
            visibility=joint_visibility(joints, pixels, render),
            posture=pose.posture,
            up=self._view.up,
        )
