"""From a frame and its 2D labels to a sample with weak labels: clean-up, proxies, body mask, wide crop."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray

from hwhup_core.errors import ConfigError, FrameError
from hwhup_core.geometry import depth_cleaning
from hwhup_core.geometry.crops import apply_affine, box_around, crop_affine, crop_depth, crop_image
from hwhup_core.geometry.depth import unproject
from hwhup_core.geometry.depth_cleaning import CleaningConfig, clean_depth
from hwhup_core.geometry.masks import Plane, PlaneConfig, cube_mask, fit_plane, joint_range_mask
from hwhup_core.geometry.proxies import Joints2D, Proxies, ProxyConfig, joint_proxies, with_head_and_pelvis
from hwhup_core.training.pools import Pictures, TrueLabels, WeakLabels
from hwhup_core.training.stages import StageConfig
from hwhup_core.training.transforms import DEPTH_UNIT, PICTURE_UNIT
from hwhup_core.types import Frame, Intrinsics, PersonBox


@dataclass(frozen=True)
class ObservationConfig:
    """How weak labels are taken from frames."""

    picture: int = 224
    """Side of the stored pictures, pixels."""
    margin: float = 2.0
    """Their side in extents of the joints: room to turn, shift and zoom."""
    clearance: float = 0.03
    """Metres above the bed that still count as bed (the repository's own cut)."""
    cube: float = 1.3
    """Side of the body cube in extents of the visible proxies."""
    mask: Literal['cube', 'joint_range'] = 'cube'
    """Body mask: the cube above the bed, or, where there is none (H36M), the range of the visible limbs' depth."""
    cleaning: CleaningConfig = field(default_factory=lambda: depth_cleaning.PAPER)
    proxy: ProxyConfig = field(default_factory=ProxyConfig)
    plane: PlaneConfig = field(default_factory=PlaneConfig)

    def __post_init__(self) -> None:
        if self.picture < 16 or self.margin <= 0 or self.clearance < 0 or self.cube <= 0:
            raise ConfigError('picture must be at least 16, margin and cube above 0, clearance at least 0.')


def observation_for(stage: StageConfig, config: ObservationConfig | None = None) -> ObservationConfig:
    """Return how weak labels are taken for a way to adapt: depth cleaned and proxies gated as the stage says."""
    return replace(config or ObservationConfig(), cleaning=stage.cleaning, proxy=stage.proxy)


def wide_box(pixels: Float[ndarray, 'k 2'], margin: float) -> PersonBox:
    """Return the square that is stored of a person whose joints are at these pixels, or refuse a frame without any."""
    box = box_around(pixels, margin)
    if not np.isfinite(box.side) or box.side <= 0:
        raise FrameError('no_joints', 'The frame has no labelled joint. Label it, or leave it out.')
    return box


def wide_pictures(frame: Frame, intrinsics: Intrinsics, box: PersonBox, size: int) -> Pictures:
    """Return the wide crop of every modality of one frame, as a stack of one."""
    to_crop = crop_affine(box, 2)
    principal = apply_affine(to_crop, np.array([[intrinsics.cx, intrinsics.cy]])) - 1.0
    return Pictures(
        half_tangent=np.array([box.side / 2 / intrinsics.fx]),
        principal=principal,
        color=None if frame.color is None else crop_image(frame.color, box, size)[None],
        depth=None if frame.depth is None else stored_depth(crop_depth(frame.depth, box, size))[None],
        infrared=_stored_picture(frame.infrared, box, size),
        pressure=_stored_picture(frame.pressure, box, size),
        pressure_peak=None if frame.pressure is None else np.array([float(frame.pressure.max())]),
    )


def stored_depth(depth: Float[ndarray, '*n']) -> Shaped[ndarray, '*n']:
    """Return metres in counts of 0.1 mm."""
    return np.round(depth / DEPTH_UNIT).clip(0, 65535).astype(np.uint16)


def _stored_picture(picture: Float[ndarray, 'h w'] | None, box: PersonBox, size: int) -> ndarray | None:
    if picture is None:
        return None
    limits = np.iinfo(np.int16)
    return np.round(crop_image(picture, box, size) / PICTURE_UNIT).clip(limits.min, limits.max).astype(np.int16)[None]


def in_box(pixels: Float[ndarray, 'k 2'], box: PersonBox) -> Float[ndarray, 'k 2']:
    """Return image pixels as positions in the box, [-1, 1] from edge to edge."""
    return apply_affine(crop_affine(box, 2), pixels) - 1.0


@dataclass(frozen=True)
class Seen:
    """What the depth camera shows of an uncovered person, in its own picture."""

    depth: Float[ndarray, 'h w']
    """Cleaned, metres."""
    mask: Bool[ndarray, 'h w']
    """Of the body."""
    proxies: Proxies
    """Of the named joints."""


def see(
    depth: Float[ndarray, 'h w'],
    intrinsics: Intrinsics,
    named: Joints2D,
    rng: np.random.Generator,
    config: ObservationConfig,
) -> Seen:
    """Return what the depth camera (`intrinsics`) shows where the joints are; `named` has head and pelvis."""
    cleaned = clean_depth(depth, config.cleaning)
    proxies = joint_proxies(cleaned, named, intrinsics, config.proxy)
    mask = body_mask(cleaned, intrinsics, named, proxies.points[proxies.visible], rng, config)
    return Seen(cleaned, mask, proxies)


def labels_of(seen: Seen, named: Joints2D, box: PersonBox, row: int, size: int) -> WeakLabels:
    """
    Return the weak labels of one frame, a stack of one; `named`, depth and mask lie in one picture.

    The top of the head takes no part (method 6.4): the head stands for it.
    """
    known = np.isfinite(named.pixels).all(axis=1)
    labelled = known & np.array([name != 'head_top' for name in named.names])
    positions = in_box(np.where(known[:, None], named.pixels, (box.center_x, box.center_y)), box)
    return WeakLabels(
        keypoints=np.where(known[:, None], positions, 0.0)[None],
        confidence=labelled.astype(np.float64)[None],
        visibility=(seen.proxies.visible & labelled).astype(np.float64)[None],
        proxies=np.where(known[:, None], seen.proxies.points, 0.0)[None],
        depth=stored_depth(crop_depth(seen.depth, box, size))[None],
        mask=(crop_image(seen.mask.astype(np.float32), box, size) > 0.5)[None],
        rows=np.array([row]),
    )


def weak_labels(
    depth: Float[ndarray, 'h w'],
    intrinsics: Intrinsics,
    joints: Joints2D,
    box: PersonBox,
    row: int,
    rng: np.random.Generator,
    config: ObservationConfig,
) -> tuple[WeakLabels, tuple[str, ...]]:
    """
    Return the weak labels of one frame, a stack of one, and the names of its joints: the given ones, head and pelvis.

    `depth` is what the sensor measured without cover, in the picture that the joints belong to.
    """
    named = with_head_and_pelvis(joints, config.proxy.head_ratio)
    seen = see(depth, intrinsics, named, rng, config)
    return labels_of(seen, named, box, row, config.picture), named.names


def body_mask(
    depth: Float[ndarray, 'h w'],
    intrinsics: Intrinsics,
    joints: Joints2D,
    seen: Float[ndarray, 'k 3'],
    rng: np.random.Generator,
    config: ObservationConfig,
) -> Bool[ndarray, 'h w']:
    """Return the body's pixels, see `ObservationConfig.mask`; nothing where no joint is visible."""
    if len(seen) == 0:
        return np.zeros(depth.shape, bool)
    if config.mask == 'joint_range':
        limbs = [joints.names.index(name) for name in LIMB_JOINTS]
        return joint_range_mask(depth, joints.pixels[limbs], joints.visible[limbs])
    bed = bed_plane(depth, intrinsics, joints, rng, config.plane)
    low, high = seen.min(axis=0), seen.max(axis=0)
    side = config.cube * float(max((high - low).max(), 0.3))
    return cube_mask(depth, intrinsics, bed, (low + high) / 2, side, config.clearance)


def bed_plane(
    depth: Float[ndarray, 'h w'],
    intrinsics: Intrinsics,
    joints: Joints2D,
    rng: np.random.Generator,
    config: PlaneConfig,
) -> Plane:
    """Return the plane of what surrounds the limbs: nearer than floor and rails, and mostly bed."""
    points = unproject(depth, intrinsics)
    return fit_plane(points[_around_limbs(joints, depth.shape)], rng, config)


LIMBS = (
    ('right_ankle', 'right_knee'), ('right_knee', 'right_hip'), ('left_ankle', 'left_knee'), ('left_knee', 'left_hip'),
    ('right_hip', 'right_shoulder'), ('left_hip', 'left_shoulder'), ('right_shoulder', 'right_elbow'),
    ('right_elbow', 'right_wrist'), ('left_shoulder', 'left_elbow'), ('left_elbow', 'left_wrist'), ('thorax', 'head'),
)  # fmt: skip
LIMB_JOINTS = tuple(
    f'{side}_{joint}' for side in ('right', 'left') for joint in ('ankle', 'knee', 'hip', 'wrist', 'elbow', 'shoulder')
)
AROUND = 0.35
"""Width of the band around the limbs, in extents of the joints."""


def _around_limbs(joints: Joints2D, shape: tuple[int, ...]) -> Bool[ndarray, 'h w']:
    """Return the pixels near the lines between labelled joints."""
    extent = float(np.nanmax(np.nanmax(joints.pixels, axis=0) - np.nanmin(joints.pixels, axis=0)))
    canvas = np.zeros(shape, np.uint8)
    for ends in LIMBS:
        pixels = joints.pixels[[joints.names.index(name) for name in ends]]
        if np.isfinite(pixels).all():
            first, second = ((round(float(x)), round(float(y))) for x, y in pixels)
            cv2.line(canvas, first, second, 1, max(round(AROUND * extent), 1))
    return canvas > 0


def true_labels(
    global_rotation: Float[ndarray, '3 3'],
    joint_rotations: Float[ndarray, '23 3 3'],
    betas: Float[ndarray, '10'],
    pixels: Float[ndarray, 'k 2'],
    box: PersonBox,
) -> TrueLabels:
    """Return exact labels of one frame, a stack of one; `pixels` are the true 2D joints."""
    return TrueLabels(in_box(pixels, box)[None], global_rotation[None], joint_rotations[None], betas[None])
