"""
Messages to records and back, by assignment.

Every number is given the exact type its field wants: message field checks are off by default, and a numpy scalar in a
float field would then go out as garbage. Pixels move by half: ROS puts the centre of the first pixel at 0, this package
puts it at 0.5.
"""

from __future__ import annotations

import array
import math
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Point32, Pose, Quaternion
from jaxtyping import Float
from numpy import ndarray
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from hwhup_core.errors import FrameError
from hwhup_core.types import COEFFICIENT_COUNTS, BodyEstimate, Intrinsics, PersonBox, Posture, State
from hwhup_ros.msg import BodyModelInfo, SmplJoint, SmplPose, SmplPoseArray

SECOND_NS = 1_000_000_000
HALF_PIXEL = 0.5
JOINTS = 24


def to_ns(stamp: Time) -> int:
    """Return a stamp as nanoseconds since the epoch of its clock."""
    return stamp.sec * SECOND_NS + stamp.nanosec


def from_ns(stamp_ns: int) -> Time:
    """Return nanoseconds since the epoch as a stamp."""
    return Time(sec=int(stamp_ns // SECOND_NS), nanosec=int(stamp_ns % SECOND_NS))


def make_header(stamp_ns: int, frame_id: str) -> Header:
    """Return a header."""
    return Header(stamp=from_ns(stamp_ns), frame_id=frame_id)


def to_intrinsics(info: CameraInfo) -> Intrinsics:
    """
    Return the intrinsics of the image that `info` describes.

    Binning and region of interest are applied, since K speaks of the full image. Coefficients that are all zero count
    as no distortion.
    """
    fx, fy = float(info.k[0]), float(info.k[4])
    if not (math.isfinite(fx) and math.isfinite(fy) and fx > 0 and fy > 0 and info.width > 0 and info.height > 0):
        raise FrameError(
            'zero_camera_info',
            f'Camera info has fx {fx:g}, fy {fy:g} for {info.width} x {info.height} pixels; expected a calibration. '
            'Calibrate it, or make the driver publish its calibration.',
        )
    model, coefficients = to_distortion(info)
    bin_x, bin_y = max(info.binning_x, 1), max(info.binning_y, 1)
    region = info.roi
    return Intrinsics(
        fx=fx / bin_x,
        fy=fy / bin_y,
        cx=(float(info.k[2]) + HALF_PIXEL - region.x_offset) / bin_x,
        cy=(float(info.k[5]) + HALF_PIXEL - region.y_offset) / bin_y,
        width=(region.width or info.width) // bin_x,
        height=(region.height or info.height) // bin_y,
        distortion_model=model,
        distortion=coefficients,
    )


def to_distortion(info: CameraInfo) -> tuple[str, tuple[float, ...]]:
    """Return the distortion model and its coefficients; a model we do not know is refused by name."""
    coefficients = tuple(float(number) for number in info.d)
    if not any(coefficients):
        return 'none', ()
    if info.distortion_model not in COEFFICIENT_COUNTS:
        raise FrameError(
            'distortion_model',
            f"Camera info has distortion model '{info.distortion_model}', {len(coefficients)} coefficients; expected "
            f'one of {", ".join(COEFFICIENT_COUNTS)}, or no coefficients. Feed rectified images instead.',
        )
    expected = COEFFICIENT_COUNTS[info.distortion_model]
    if len(coefficients) not in expected or not all(math.isfinite(number) for number in coefficients):
        raise FrameError(
            'distortion_model',
            f"Distortion model '{info.distortion_model}' has coefficients {coefficients}; expected "
            f'{" or ".join(map(str, expected))} finite ones. Recalibrate the camera.',
        )
    return info.distortion_model, coefficients


def from_intrinsics(intrinsics: Intrinsics, header: Header) -> CameraInfo:
    """Return the camera info of an unrectified image."""
    cx, cy = intrinsics.cx - HALF_PIXEL, intrinsics.cy - HALF_PIXEL
    none = intrinsics.distortion_model == 'none'
    k = np.array([intrinsics.fx, 0.0, cx, 0.0, intrinsics.fy, cy, 0.0, 0.0, 1.0])
    return CameraInfo(
        header=header,
        height=int(intrinsics.height),
        width=int(intrinsics.width),
        distortion_model='plumb_bob' if none else intrinsics.distortion_model,
        d=[0.0] * 5 if none else [float(number) for number in intrinsics.distortion],
        k=k,
        r=np.eye(3).ravel(),
        p=np.insert(k.reshape(3, 3), 3, 0.0, axis=1).ravel(),
    )


def to_pose_message(
    estimate: BodyEstimate, header: Header, image_size: tuple[int, int], latency: float = math.nan
) -> SmplPose:
    """Return the message of one estimate in an image of `image_size` (width, height); `latency` in seconds."""
    return SmplPose(
        header=header,
        subject_id=estimate.subject_id,
        state=int(estimate.state),
        confidence=float(estimate.confidence),
        body_model_id=estimate.body_id,
        body_model_hash=estimate.body_hash,
        weights_hash=estimate.weights_hash,
        betas=fixed(estimate.betas, 10, 'betas'),
        pose=fixed(estimate.pose, 72, 'pose'),
        root=Pose(position=to_point(estimate.root_position), orientation=to_quaternion(estimate.root_orientation)),
        joints=[to_joint(estimate, index) for index in range(JOINTS)],
        box=clip_box(estimate.box, image_size),
        camera=fixed(estimate.camera, 3, 'camera'),
        crop_center_x=float(estimate.box.center_x - HALF_PIXEL),
        crop_center_y=float(estimate.box.center_y - HALF_PIXEL),
        crop_side=float(estimate.box.side),
        crop_turn=float(estimate.box.turn),
        posture=int(estimate.posture),
        aligned_depth_error=float(estimate.aligned_depth_error),
        latency=float(latency),
    )


def to_joint(estimate: BodyEstimate, index: int) -> SmplJoint:
    """Return the message of one joint."""
    return SmplJoint(
        position=to_point(estimate.joint_positions[index]),
        orientation=to_quaternion(estimate.joint_orientations[index]),
        u=float(estimate.joint_pixels[index, 0] - HALF_PIXEL),
        v=float(estimate.joint_pixels[index, 1] - HALF_PIXEL),
        visibility=float(estimate.joint_visibility[index]),
        confidence=float(estimate.joint_confidence[index]),
        sigma=float(estimate.joint_sigma[index]),
    )


def to_pose_array(
    estimates: list[BodyEstimate], header: Header, image_size: tuple[int, int], latency: float = math.nan
) -> SmplPoseArray:
    """Return the message of everybody in one image, also of nobody."""
    return SmplPoseArray(
        header=header, poses=[to_pose_message(estimate, header, image_size, latency) for estimate in estimates]
    )


def from_pose_message(message: SmplPose) -> BodyEstimate:
    """Return the estimate in a message; image size and latency, which an estimate lacks, are left behind."""
    joints = message.joints
    return BodyEstimate(
        stamp_ns=to_ns(message.header.stamp),
        frame_id=message.header.frame_id,
        subject_id=message.subject_id,
        state=State(message.state),
        confidence=message.confidence,
        body_id=message.body_model_id,
        body_hash=message.body_model_hash,
        weights_hash=message.weights_hash,
        betas=np.asarray(message.betas, np.float32),
        pose=np.asarray(message.pose, np.float32),
        root_position=from_point(message.root.position),
        root_orientation=from_quaternion(message.root.orientation),
        joint_positions=np.stack([from_point(joint.position) for joint in joints]),
        joint_orientations=np.stack([from_quaternion(joint.orientation) for joint in joints]),
        joint_pixels=np.array([(joint.u, joint.v) for joint in joints]) + HALF_PIXEL,
        joint_visibility=np.array([joint.visibility for joint in joints]),
        joint_confidence=np.array([joint.confidence for joint in joints]),
        joint_sigma=np.array([joint.sigma for joint in joints]),
        box=PersonBox(
            message.crop_center_x + HALF_PIXEL,
            message.crop_center_y + HALF_PIXEL,
            message.crop_side,
            message.crop_turn,
        ),
        camera=np.asarray(message.camera, np.float32),
        posture=Posture(message.posture),
        aligned_depth_error=message.aligned_depth_error,
    )


def to_body_model_info(body: Any, rest_joints: Float[ndarray, '24 3'], header: Header) -> BodyModelInfo:
    """Return what draws `body` (a `body.model.BodyModel`), with the joints (m) of its mean shape in the T-pose."""
    faces = np.ascontiguousarray(body.faces, np.uint32)
    return BodyModelInfo(
        header=header,
        id=body.body_id,
        hash=body.hash,
        licence=body.licence,
        joint_names=list(body.joint_names),
        parents=np.asarray(body.parents, np.int32),
        vertex_count=int(faces.max()) + 1,
        faces=array.array('I', faces.tobytes()),
        rest_joints=[Point32(x=x, y=y, z=z) for x, y, z in np.asarray(rest_joints, np.float64).tolist()],
    )


def fixed(numbers: Any, length: int, name: str) -> ndarray:
    """Return `numbers` as float32 for a fixed array of the message; another length would be read out of bounds."""
    values = np.asarray(numbers, np.float32).reshape(-1)
    if len(values) != length:
        raise FrameError('bad_estimate', f'{name} has {len(values)} numbers, the message holds {length}.')
    return values


def to_point(position: Float[ndarray, '3']) -> Point:
    """Return a position as a message."""
    x, y, z = np.asarray(position, np.float64).tolist()
    return Point(x=x, y=y, z=z)


def to_quaternion(orientation: Float[ndarray, '4']) -> Quaternion:
    """Return a quaternion (x y z w) as a message."""
    x, y, z, w = np.asarray(orientation, np.float64).tolist()
    return Quaternion(x=x, y=y, z=z, w=w)


def from_point(point: Point) -> Float[ndarray, '3']:
    """Return the position in a message."""
    return np.array([point.x, point.y, point.z])


def from_quaternion(quaternion: Quaternion) -> Float[ndarray, '4']:
    """Return the quaternion (x y z w) in a message."""
    return np.array([quaternion.x, quaternion.y, quaternion.z, quaternion.w])


def clip_box(box: PersonBox, image_size: tuple[int, int]) -> RegionOfInterest:
    """Return the part of the box inside the image, in whole pixels; empty where it misses it or is unknown."""
    if not all(map(math.isfinite, (box.center_x, box.center_y, box.side))):
        return RegionOfInterest()
    width, height = image_size
    left, top = (math.floor(center - box.side / 2) for center in (box.center_x, box.center_y))
    right, bottom = (math.ceil(center + box.side / 2) for center in (box.center_x, box.center_y))
    left, right = (min(max(edge, 0), width) for edge in (left, right))
    top, bottom = (min(max(edge, 0), height) for edge in (top, bottom))
    return RegionOfInterest(x_offset=left, y_offset=top, width=right - left, height=bottom - top)
