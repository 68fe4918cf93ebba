"""
Domains: where people are, what they do there and which sensors watch them. The records that pass between the makers.

A *source* domain has exact labels (a room, upright people seen from the front); a *target* domain (bed, crib) is what a
method adapts to: it may see `SensedPose`, and never `PoseTruth`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from hwhup_core.errors import ConfigError
from hwhup_core.types import Intrinsics, Posture


class Cover(str, Enum):
    """What lies over the person; the values are SLP's folder names."""

    NONE = 'uncover'
    SHEET = 'cover1'
    BLANKET = 'cover2'


@dataclass(frozen=True)
class Sensed:
    """One moment of all sensors, registered to one camera; what was not asked for is None."""

    color: UInt8[ndarray, 'h w 3'] | None = None
    """RGB."""
    depth: Float[ndarray, 'h w'] | None = None
    """float32 metres along z with the sensor's noise; 0 = no measurement."""
    infrared: Float[ndarray, 'h w'] | None = None
    """float32 kelvin (long-wave)."""
    pressure: Float[ndarray, 'h w'] | None = None
    """float32 kilopascals on the mattress below each pixel."""


@dataclass(frozen=True)
class PoseTruth:
    """The exact answer, kept apart. Rotations and positions in the camera frame, metres."""

    global_rotation: Float[ndarray, '3 3']
    """Camera from pelvis."""
    joint_rotations: Float[ndarray, '23 3 3']
    betas: Float[ndarray, '10']
    translation: Float[ndarray, '3']
    """To be added to the body model's output."""
    joints: Float[ndarray, '24 3']
    """SMPL joints, translation included."""
    mask: Bool[ndarray, 'h w']
    """Pixels that show the body when nothing covers it."""
    depth: Float[ndarray, 'h w']
    """Exact depth without cover, metres."""
    posture: Posture


@dataclass(frozen=True)
class SensedPose:
    """One pose of one subject, under every cover, with the labels that people can make."""

    subject: int
    """From 1."""
    number: int
    """Of the pose within its subject, from 1."""
    intrinsics: Intrinsics
    covers: Mapping[Cover, Sensed]
    pixels: Float[ndarray, '14 2']
    """Labelled 2D joints in SLP's order (`joints.SLP_14`), label noise included."""
    occluded: Bool[ndarray, '14']
    """As labelled: hidden by the person's own body or by an object; covers do not count (SLP labels the uncovered)."""
    bed_distance: float | None = None
    """Metres from the camera to the mattress plane along the optical axis, as measured once where the camera is hung;
    None where there is no bed."""


Kind = Literal['room', 'bed', 'crib']


@dataclass(frozen=True)
class DomainConfig:
    """One domain; with a seed it fixes every subject and every pose."""

    kind: Kind = 'bed'
    """`room`: upright people seen from the front; `bed`: a hospital bed, `crib`: a crib, both from above."""
    body: str = 'adult'
    """Bundled body's name or a body file."""
    poses: int = 45
    """Poses of each subject; lying ones a third supine, left and right each, in this order, as in SLP, or mixed."""
    prone: float = 0.0
    """Share of lying poses that are turned prone instead (SLP has none)."""
    size: int = 224
    """Side of every image, pixels."""
    modalities: tuple[Literal['color', 'depth', 'infrared', 'pressure'], ...] = ('depth',)
    """What is sensed; depth without cover is always there, since it supervises."""
    covers: tuple[Cover, ...] = (Cover.NONE,)
    sensor: Literal['kinect', 'realsense'] = 'kinect'
    """Whose noise the depth has."""
    label_noise: float = 0.0
    """Standard deviation of the 2D labels, pixels."""
    wrong_visibility: float = 0.0
    """Chance that a visibility flag is wrong."""

    def __post_init__(self) -> None:
        if self.poses < 1 or self.size < 16:
            raise ConfigError(f'poses is {self.poses} and size {self.size}. Expected at least 1 and 16.')
        if self.label_noise < 0 or not 0 <= self.prone <= 1 or not 0 <= self.wrong_visibility <= 1:
            raise ConfigError('label_noise must be at least 0, prone and wrong_visibility in [0, 1].')
        if Cover.NONE not in self.covers:
            raise ConfigError('covers must hold `uncover`: its depth is what supervises the others.')
        if self.kind == 'room' and len(self.covers) > 1:
            raise ConfigError('Nobody is covered in a room. Choose covers (uncover) or the kind bed or crib.')
        if self.kind == 'room' and 'pressure' in self.modalities:
            raise ConfigError(
                'A room has no mattress to measure pressure on. Leave pressure out, or choose bed or crib.'
            )
