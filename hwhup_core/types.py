"""
Records that cross folders.

Metres, radians, pixels. Camera frames are ROS optical frames: x right, y down, z forward. Pixel (row i, column j) has
its centre at (x, y) = (j + 0.5, i + 0.5). Rotations are matrices; a missing modality is `None`, never zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

R = TypeVar('R', bound='TensorRecord')


@dataclass(frozen=True)
class TensorRecord:
    """A frozen group of tensors (or nested records) that share their first axis, the batch."""

    def map(self: R, function: Callable[[Tensor], Tensor]) -> R:
        """Return the record with `function` applied to every tensor in it."""

        def apply(value: Any) -> Any:
            if value is None:
                return None
            return value.map(function) if isinstance(value, TensorRecord) else function(value)

        return type(self)(**{field.name: apply(getattr(self, field.name)) for field in fields(self)})

    def to(self: R, device: torch.device | str) -> R:
        """Return the record on `device`."""
        return self.map(lambda tensor: tensor.to(device))

    def detach(self: R) -> R:
        """Return the record cut from the graph."""
        return self.map(lambda tensor: tensor.detach())

    def __getitem__(self: R, index: Any) -> R:
        """Return the record of the selected batch entries; index with a slice, mask or list to keep the batch axis."""
        return self.map(lambda tensor: tensor[index])


@dataclass(frozen=True)
class BodyParams(TensorRecord):
    """Pose and shape of SMPL bodies. Rotations are matrices, never axis-angle."""

    global_rotation: Float[Tensor, 'b 3 3']
    """Camera from pelvis."""
    joint_rotations: Float[Tensor, 'b 23 3 3']
    """Parent joint from child joint, in SMPL order (left_hip first)."""
    betas: Float[Tensor, 'b 10']
    """Shape coefficients, in standard deviations of the body's own shape space."""


@dataclass(frozen=True)
class WeakPerspective(TensorRecord):
    """Crop camera: u = scale * (X + shift_x), v = scale * (Y + shift_y), both in [-1, 1] over the crop."""

    scale: Float[Tensor, ' b']
    """Half crop sides per metre."""
    shift: Float[Tensor, 'b 2']
    """Metres, added to x and y before scaling."""


@dataclass(frozen=True)
class CropPinhole(TensorRecord):
    """
    The pinhole camera behind each crop: u = focal X / Z + center, in [-1, 1] over the crop.

    SPIN's convention is a far camera, focal 5000 / 112 and center 0, for every crop. The true one follows from the
    intrinsics and the box: focal is fx over half the box side, center the principal point in the crop (turned with it).
    """

    focal: Float[Tensor, ' b']
    """Half crop sides."""
    center: Float[Tensor, 'b 2']
    """Principal point, half crop sides from the middle of the crop."""


@dataclass(frozen=True)
class Prediction(TensorRecord):
    """What the regressor says about one crop each."""

    params: BodyParams
    camera: WeakPerspective


@dataclass(frozen=True)
class Skeleton(TensorRecord):
    """Joints and landmarks of posed bodies, made without the mesh. Metres, placed as `smplx` does, no translation."""

    joints: Float[Tensor, 'b 24 3']
    """SMPL joints in SMPL order, see `hwhup_core.body.joints.SMPL_24`."""
    landmarks: Float[Tensor, 'b k 3']
    """Points linear in the vertices, in the order of `BodyModel.landmark_names`."""


@dataclass(frozen=True)
class Body(TensorRecord):
    """A posed mesh with its skeleton, same frame and units as `Skeleton`."""

    vertices: Float[Tensor, 'b v 3']
    joints: Float[Tensor, 'b 24 3']
    landmarks: Float[Tensor, 'b k 3']


@dataclass(frozen=True)
class Rendered(TensorRecord):
    """Depth of the nearest face at each pixel centre."""

    depth: Float[Tensor, 'b h w']
    """Metres along z; 0 where nothing is hit."""
    mask: Bool[Tensor, 'b h w']
    face_index: Int[Tensor, 'b h w']
    """-1 where nothing is hit."""


@dataclass(frozen=True)
class Observation(TensorRecord):
    """What frames without 3D labels say about their people, in the crop; never the truth. Joints in one named order."""

    keypoints: Float[Tensor, 'b k 2']
    """2D joints in the crop, [-1, 1] from edge to edge."""
    confidence: Float[Tensor, 'b k']
    """Of the 2D joints; 0 where there is none. An occluded joint that was labelled counts."""
    visibility: Float[Tensor, 'b k']
    """1 where the camera sees the joint, so that its proxy may be trusted; 0 where it is occluded or unknown."""
    depth: Float[Tensor, 'b h w'] | None = None
    """Metres along z, of the crop, cleaned; 0 = hole."""
    mask: Bool[Tensor, 'b h w'] | None = None
    """Body mask Ma of `depth`."""
    proxies: Float[Tensor, 'b k 3'] | None = None
    """3D joints from the depth, camera frame, metres, not centred; an occluded joint has its occluder's point, a joint
    at which nothing was measured the origin."""


COEFFICIENT_COUNTS = {'plumb_bob': (4, 5), 'rational_polynomial': (8, 12, 14), 'equidistant': (4,)}
"""Distortion model, by its sensor_msgs/CameraInfo name -> how many coefficients it may have."""


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole camera with the distortion of its sensor_msgs/CameraInfo."""

    fx: float
    fy: float
    cx: float
    cy: float
    """Pixels, in the pixel-centre-at-.5 convention of this package (OpenCV's and ROS's cx plus 0.5)."""
    width: int
    height: int
    distortion_model: str = 'none'
    """`none`, `plumb_bob`, `rational_polynomial` or `equidistant`."""
    distortion: tuple[float, ...] = ()

    def matrix(self) -> Float[ndarray, '3 3']:
        """Return K."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])


@dataclass(frozen=True)
class Frame:
    """One moment of one camera. All modalities are registered to each other and have the same height and width."""

    stamp_ns: int
    """Time of exposure, nanoseconds since the epoch of the publishing clock."""
    frame_id: str
    """Name of the camera's optical frame."""
    color: UInt8[ndarray, 'h w 3'] | None = None
    """RGB, in this order."""
    depth: Float[ndarray, 'h w'] | None = None
    """float32 metres along z; 0 = no measurement (never NaN, inf or negative)."""
    infrared: Float[ndarray, 'h w'] | None = None
    """float32, scaled so that 20 to 40 degrees Celsius are [0, 1]; a source in kelvin may go beyond."""
    pressure: Float[ndarray, 'h w'] | None = None
    """float32, scaled so that 0 to 94 kPa are [0, 1]."""
    intrinsics: Intrinsics | None = None


@dataclass(frozen=True)
class PersonBox:
    """A square region of the image, pixels. May reach beyond the image."""

    center_x: float
    center_y: float
    side: float
    turn: float = 0.0
    """How far the image is turned about the centre before it is cropped, radians, from x to y: 0 keeps it as it is."""


class State(IntEnum):
    """How far an estimate can be trusted; the numbers are those of SmplPose.msg."""

    ESTIMATED = 0
    LOW_CONFIDENCE = 1
    NO_PERSON = 2
    STALE = 3


class Posture(IntEnum):
    """Posture against gravity; the numbers are those of SmplPose.msg."""

    UNKNOWN = 0
    SUPINE = 1
    PRONE = 2
    LEFT_SIDE = 3
    RIGHT_SIDE = 4
    SITTING = 5
    STANDING = 6


@dataclass(frozen=True)
class BodyEstimate:
    """One person in one frame, numpy, mirrored field for field by SmplPose.msg. Unknown numbers are NaN."""

    stamp_ns: int
    frame_id: str
    subject_id: str
    state: State
    confidence: float
    """Expected share of joints within 0.1 m of the truth, in [0, 1] (calibrated on held-out synthetic data)."""
    body_id: str
    body_hash: str
    weights_hash: str
    betas: Float[ndarray, '10']
    pose: Float[ndarray, '72']
    """Axis-angle in SMPL order, root first; the root is camera from pelvis."""
    root_position: Float[ndarray, '3']
    """Metric position of joint `pelvis` in the camera frame, metres."""
    root_orientation: Float[ndarray, '4']
    """Camera from pelvis, quaternion x y z w."""
    joint_positions: Float[ndarray, '24 3']
    """Camera frame, metres."""
    joint_orientations: Float[ndarray, '24 4']
    """Camera from joint frame, quaternion x y z w."""
    joint_pixels: Float[ndarray, '24 2']
    """Image x, y in pixels, distortion included."""
    joint_visibility: Float[ndarray, '24']
    """Chance that the camera sees the joint, 0 to 1; NaN unknown."""
    joint_confidence: Float[ndarray, '24']
    joint_sigma: Float[ndarray, '24']
    """Standard deviation of each coordinate, metres."""
    box: PersonBox
    camera: Float[ndarray, '3']
    """Weak perspective scale, shift x, shift y in the square of `box`, not turned."""
    posture: Posture
    aligned_depth_error: float
    """Mean |rendered - measured - offset| over the body, metres; NaN without depth."""
