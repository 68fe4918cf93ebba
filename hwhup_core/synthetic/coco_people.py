"""
People with COCO's 17 joints and the true answer to whether the camera sees each: what VisNet learns from.

The same subjects as in `subjects`, each pose under one cover at most, and more often with something in front: an arm of
a caregiver over bed and crib, furniture between camera and person in a room. Unlike SLP's labels, these count covers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from hwhup_core.body.joints import COCO_17, index
from hwhup_core.body.keypoint_sets import keypoint_set, point_map
from hwhup_core.body.model import BodyModel
from hwhup_core.errors import ConfigError
from hwhup_core.geometry.cameras import project
from hwhup_core.geometry.crops import box_around, crop_intrinsics
from hwhup_core.synthetic.caregiver import caregiver_arm
from hwhup_core.synthetic.covers import add_cloth, drape
from hwhup_core.synthetic.domain import Cover, DomainConfig, Sensed
from hwhup_core.synthetic.scene import Material, SceneRender, add_surface
from hwhup_core.synthetic.sensing import PlacedBody, Setup
from hwhup_core.synthetic.sensors import SENSORS, depth_noise
from hwhup_core.synthetic.shading import color_picture
from hwhup_core.synthetic.solids import Mesh, box
from hwhup_core.synthetic.subjects import placed_people
from hwhup_core.types import BodyParams, Intrinsics

NOT_LABELLED, HIDDEN, SEEN = 0, 1, 2
"""COCO's visibility flags."""
REACH = {'nose': 0.35, 'eye': 0.22, 'ear': 0.3, 'shoulder': 0.07, 'elbow': 0.045, 'wrist': 0.04, 'hip': 0.1,
         'knee': 0.05, 'ankle': 0.055}  # fmt: skip
"""How far from a joint the skin is still its own, on the body in T-pose: joints of the face in distances from ear to
ear, the others in statures. The flesh of both bundled bodies in front of and behind a joint lies within."""
SOFT = 0.02
"""How far a joint may lie below a mattress or a thing and still be seen, metres: limbs sink in."""
_NEAR = np.array([(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)])
"""Where skin is looked for around a joint's pixel."""
_CLOTHS = (Material.SHEET, Material.BLANKET, Material.CAREGIVER)
_EVENTS, _NOISE, _LIGHT = 50, 51, 52
"""Streams of random numbers of a pose, beside those of `subjects` and `sensing`."""


@dataclass(frozen=True)
class PeopleConfig:
    """One kind of people: where they are and how often something hides them."""

    domain: DomainConfig = field(
        default_factory=lambda: DomainConfig(poses=20, prone=0.15, modalities=('depth', 'color'))
    )
    """Depth is always sensed, colour if asked for; its covers do not count. `size` is that of the person's pictures."""
    margin: float = 2.0
    """Side of the pictures in extents of the joints: room to turn, shift and zoom."""
    sheet: float = 0.2
    """Chance of a sheet over who lies."""
    blanket: float = 0.25
    """Chance of a blanket."""
    arm: float = 0.25
    """Chance of a caregiver's arm over who lies."""
    furniture: float = 0.4
    """Chance of something between the camera and who stands or sits."""

    def __post_init__(self) -> None:
        chances = (self.sheet, self.blanket, self.arm, self.furniture)
        if self.margin < 1:
            raise ConfigError(f'margin is {self.margin}. Expected at least 1, so that all joints are in the picture.')
        if not all(0 <= chance <= 1 for chance in chances) or self.sheet + self.blanket > 1:
            raise ConfigError(f'{chances} are no chances of sheet, blanket, arm and furniture. Expected 0 to 1 each.')


@dataclass(frozen=True)
class SeenPerson:
    """One picture of one person."""

    name: str
    """Unique within its kind of people."""
    subject: int
    """From 1."""
    intrinsics: Intrinsics
    sensed: Sensed
    pixels: Float[ndarray, '17 2']
    """Exact places of COCO's joints in the image, seen or not."""
    flags: UInt8[ndarray, '17']
    """COCO's v: 2 seen, 1 hidden, 0 outside the picture."""


def seen_people(config: PeopleConfig, body: BodyModel, seed: int, subject: int) -> Iterator[SeenPerson]:
    """
    Yield the pictures of a subject (from 1), in order; a function of the arguments alone.

    Those that show nothing of the body are left out: an infant wholly under a blanket, or a wall before the camera.
    """
    setup, source, people = placed_people(config.domain, body, seed, subject)
    owned = own_skin(body, setup)
    # Half of the subjects are watched by either camera.
    sensor = SENSORS['kinect' if source.generator(0, _NOISE).random() < 0.5 else 'realsense']
    for number, placed in enumerate(people, start=1):
        joints = coco_joints(placed, body)
        window = _window(project(joints, setup.intrinsics), config, setup.intrinsics)
        close = replace(setup, intrinsics=window)
        pixels = project(joints, window)
        render = _picture(config, close, placed, source.generator(number, _EVENTS))
        if not (render.body_face >= 0).any():
            continue
        color = None
        if 'color' in config.domain.modalities:
            light = source.generator(number, _LIGHT)
            color = color_picture(
                render, placed.vertices, setup.faces, close.camera, setup.view, setup.look, light
            )  # fmt: skip
        noise = replace(sensor, focal_px=window.fx)
        depth = depth_noise(render.depth, source.generator(number, _NOISE), noise)
        yield SeenPerson(
            f'{config.domain.kind} {config.domain.body} {subject:05d}/{number:06d}',
            subject,
            window,
            Sensed(color=color, depth=depth),
            pixels.astype(np.float32),
            coco_flags(joints, pixels, render, owned),
        )


def coco_joints(placed: PlacedBody, body: BodyModel) -> Float[ndarray, '17 3']:
    """Return COCO's joints of a placed body, camera frame, metres."""
    params = BodyParams(
        *(torch.from_numpy(array)[None] for array in (placed.global_rotation, placed.joint_rotations, placed.betas))
    )
    joints: ndarray = _points(body, params) + placed.translation
    return joints


def own_skin(body: BodyModel, setup: Setup) -> Bool[ndarray, 'f 17']:
    """Return which faces are skin of which joint: near to it on a subject of the mean shape in T-pose, see `REACH`."""
    identity = torch.eye(3)
    params = BodyParams(identity[None], identity.expand(1, 23, 3, 3), torch.zeros(1, 10))
    with torch.no_grad():
        vertices = body(params).vertices[0].numpy()
    joints = _points(body, params)
    ears = float(np.linalg.norm(joints[index('left_ear', COCO_17)] - joints[index('right_ear', COCO_17)]))
    stature = float(np.ptp(vertices[:, 1]))
    parts = [name.split('_')[-1] for name in COCO_17]
    reach = np.array([REACH[part] * (ears if part in ('nose', 'eye', 'ear') else stature) for part in parts])
    middles = vertices[setup.faces].mean(axis=1)
    owned: ndarray = np.linalg.norm(middles[:, None] - joints, axis=2) < reach
    return owned


def coco_flags(
    joints: Float[ndarray, '17 3'],
    pixels: Float[ndarray, '17 2'],
    render: SceneRender,
    owned: Bool[ndarray, 'f 17'],
) -> UInt8[ndarray, '17']:
    """
    Return COCO's visibility flags from the exact picture.

    A joint is seen where its own skin shows within a pixel of it, or where nothing is in front of it: then it sticks
    out of its outline. A cloth or a caregiver hides from the first millimetre on, other things from `SOFT` on.
    """
    height, width = render.depth.shape
    whole = np.floor(np.where(np.isfinite(pixels), pixels, -1e6)).astype(int)
    inside = (whole >= 0).all(axis=1) & (whole[:, 0] < width) & (whole[:, 1] < height)
    columns = np.clip(whole[:, :1] + _NEAR[:, 0], 0, width - 1)
    rows = np.clip(whole[:, 1:] + _NEAR[:, 1], 0, height - 1)
    face = render.body_face[rows, columns]
    own = ((face >= 0) & owned[face, np.arange(len(joints))[:, None]]).any(axis=1)
    depth, material = render.depth[rows[:, 0], columns[:, 0]], render.material[rows[:, 0], columns[:, 0]]
    over = np.where(depth > 0, joints[:, 2] - depth, -np.inf)
    free = over <= np.where(np.isin(material, _CLOTHS), 0.0, SOFT)
    return np.where(inside, np.where(own | free, SEEN, HIDDEN), NOT_LABELLED).astype(np.uint8)


def _points(body: BodyModel, params: BodyParams) -> Float[ndarray, '17 3']:
    with torch.no_grad():
        skeleton = body.skeleton(params)
    points = torch.cat([skeleton.joints, skeleton.landmarks], dim=1)[0]
    joints: ndarray = (point_map(keypoint_set('coco_17'), body.landmark_names).mix @ points).numpy()
    return joints


def _window(pixels: Float[ndarray, '17 2'], config: PeopleConfig, camera: Intrinsics) -> Intrinsics:
    """Return the camera that sees the square around the person, as if it were cut out of a picture without an end."""
    return crop_intrinsics(box_around(pixels, config.margin), config.domain.size, camera)


def _picture(config: PeopleConfig, setup: Setup, placed: PlacedBody, rng: np.random.Generator) -> SceneRender:
    """Return the exact picture with what is in front of the person."""
    bare = setup.bare(placed)
    if config.domain.kind == 'room':
        if rng.random() >= config.furniture:
            return bare
        mesh = _furniture(setup.physique.stature, rng)
        return add_surface(bare, mesh[0], mesh[1].astype(np.int32), Material.FURNITURE, setup.camera, setup.view)
    chance = rng.random()
    kind = Cover.SHEET if chance < config.sheet else Cover.BLANKET
    if chance < config.sheet + config.blanket:
        vertices, joints = setup.world(placed.vertices), setup.world(placed.joints)
        cloth = drape(placed.scene, vertices, setup.faces, kind, rng, joints)
        bare = add_cloth(bare, cloth, setup.camera, setup.view)
    if rng.random() >= config.arm:
        return bare
    return add_surface(bare, *caregiver_arm(placed.scene, rng), Material.CAREGIVER, setup.camera, setup.view)


def _furniture(stature: float, rng: np.random.Generator) -> Mesh:
    """Return a block on the floor or a board in the air between camera (at world -y) and person; world, metres."""
    near = -0.45 * stature - rng.uniform(0.0, 0.4)
    half, x = stature * rng.uniform(0.05, 0.35), stature * rng.normal(0.0, 0.2)
    bottom = 0.0 if rng.random() < 0.6 else stature * rng.uniform(0.1, 0.7)
    top = bottom + stature * (rng.uniform(0.15, 0.7) if bottom == 0.0 else rng.uniform(0.05, 0.3))
    return box((x - half, near - rng.uniform(0.05, 0.3), bottom), (x + half, near, top))
