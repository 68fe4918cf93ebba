"""
What RViz draws of a body: mesh, skeleton, joints and label, without making 41,328 Point objects a message.

A mesh marker is serialised with one stand-in point, and the real points are put in its place among the bytes. A point
is 24 bytes, a multiple of CDR's largest alignment, so all that follows keeps its alignment. No offset is written down
here: the stand-in is looked up in the bytes, and the number of points before it is found by serialising without it.
"""

from __future__ import annotations

import copy
import struct
from dataclasses import dataclass

import numpy as np
from geometry_msgs.msg import Point, Pose, Vector3
from jaxtyping import Float, Int
from numpy import ndarray
from rclpy.serialization import serialize_message
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from hwhup_core.body.joints import PARENTS_24
from hwhup_core.types import Posture, State
from hwhup_ros.conversions import JOINTS, SECOND_NS, from_ns, from_point
from hwhup_ros.msg import SmplPose

MESH_ID, SKELETON_ID, JOINTS_ID, LABEL_ID = range(4)
"""Fixed: a marker is replaced, never added."""
COLORS = {
    State.ESTIMATED: (0.30, 0.70, 0.90),
    State.LOW_CONFIDENCE: (0.95, 0.65, 0.20),
    State.STALE: (0.55, 0.55, 0.55),
    State.NO_PERSON: (0.55, 0.55, 0.55),
}
BONE_WIDTH = 0.008
JOINT_SIZE = 0.018
LABEL_SIZE = 0.05
LABEL_GAP = 0.12
"""Metres from the highest joint in the image up to the label."""
STAND_IN = (1.2345678901234567e-300, 2.3456789012345678e-300)
"""x and y of a stand-in point, numbers that nothing else holds; z counts the meshes."""
POINT_BYTES = 24


@dataclass(frozen=True)
class MarkerStyle:
    """How markers look and how long they live."""

    lifetime: float
    """Seconds after which RViz removes a marker that was not renewed."""
    mesh_opacity: float
    show_mesh: bool
    show_skeleton: bool
    show_label: bool


def mesh_marker(pose: SmplPose, style: MarkerStyle, index: int) -> Marker:
    """Return the mesh marker with the `index`-th stand-in point in place of its points."""
    marker = blank_marker(pose, MESH_ID, Marker.TRIANGLE_LIST, style)
    marker.scale = Vector3(x=1.0, y=1.0, z=1.0)
    marker.color.a = float(style.mesh_opacity)
    marker.points = [stand_in(index)]
    return marker


def skeleton_marker(pose: SmplPose, style: MarkerStyle) -> Marker | None:
    """Return the bones as lines; None where no bone has both ends."""
    positions = joint_positions(pose)
    known = np.isfinite(positions).all(axis=1)
    ends = [
        (parent, child) for child, parent in enumerate(PARENTS_24) if parent >= 0 and known[parent] and known[child]
    ]
    if not ends:
        return None
    marker = blank_marker(pose, SKELETON_ID, Marker.LINE_LIST, style)
    marker.scale.x = BONE_WIDTH
    marker.points = [pose.joints[joint].position for bone in ends for joint in bone]
    return marker


def joints_marker(pose: SmplPose, style: MarkerStyle) -> Marker | None:
    """Return the joints as balls, hidden ones darker; None where no joint is known."""
    known = np.flatnonzero(np.isfinite(joint_positions(pose)).all(axis=1))
    if not len(known):
        return None
    marker = blank_marker(pose, JOINTS_ID, Marker.SPHERE_LIST, style)
    marker.scale = Vector3(x=JOINT_SIZE, y=JOINT_SIZE, z=JOINT_SIZE)
    marker.points = [pose.joints[joint].position for joint in known]
    marker.colors = [joint_color(pose.joints[joint].visibility, marker.color) for joint in known]
    return marker


def label_marker(pose: SmplPose, style: MarkerStyle) -> Marker | None:
    """Return the text above the person; None where no joint is known."""
    positions = joint_positions(pose)
    known = positions[np.isfinite(positions).all(axis=1)]
    if not len(known):
        return None
    marker = blank_marker(pose, LABEL_ID, Marker.TEXT_VIEW_FACING, style)
    marker.scale.z = LABEL_SIZE
    x, _, z = known.mean(axis=0).tolist()
    marker.pose.position = Point(x=x, y=float(known[:, 1].min()) - LABEL_GAP, z=z)  # Up in the image is -y.
    marker.text = label_text(pose)
    return marker


def label_text(pose: SmplPose) -> str:
    """Return who it is, how it lies, and how far to trust it."""
    parts = [pose.subject_id]
    if pose.state != State.ESTIMATED:
        parts.append(State(pose.state).name.lower().replace('_', ' '))
    if pose.posture != Posture.UNKNOWN:
        parts.append(Posture(pose.posture).name.lower().replace('_', ' '))
    if np.isfinite(pose.confidence):
        parts.append(f'{100 * pose.confidence:.0f} %')
    return ', '.join(parts)


def blank_marker(pose: SmplPose, marker_id: int, kind: int, style: MarkerStyle) -> Marker:
    """Return a marker of one person without its geometry, in the colour of the state."""
    red, green, blue = COLORS[State(pose.state)]
    lifetime = from_ns(round(style.lifetime * SECOND_NS))
    marker = Marker(header=pose.header, ns=pose.subject_id, id=marker_id, type=kind, action=Marker.ADD, pose=Pose())
    marker.color = ColorRGBA(r=red, g=green, b=blue, a=1.0)
    marker.lifetime.sec, marker.lifetime.nanosec = lifetime.sec, lifetime.nanosec
    return marker


def delete_markers(header: Header, subject_id: str, ids: tuple[int, ...]) -> list[Marker]:
    """Return what removes markers of one person."""
    return [Marker(header=header, ns=subject_id, id=marker_id, action=Marker.DELETE) for marker_id in ids]


def joint_positions(pose: SmplPose) -> Float[ndarray, '24 3']:
    """Return the positions of the joints, NaN where unknown."""
    return np.stack([from_point(pose.joints[index].position) for index in range(JOINTS)])


def joint_color(visibility: float, color: ColorRGBA) -> ColorRGBA:
    """Return the colour of a joint: half as bright when hidden; as it is when seen or unknown."""
    shade = 1.0 if np.isnan(visibility) else 0.5 + 0.5 * float(np.clip(visibility, 0.0, 1.0))
    return ColorRGBA(r=color.r * shade, g=color.g * shade, b=color.b * shade, a=1.0)


def stand_in(index: int) -> Point:
    """Return the stand-in point of the `index`-th mesh."""
    return Point(x=STAND_IN[0], y=STAND_IN[1], z=float(index + 1))


def serialize_meshes(markers: list[Marker], meshes: dict[int, Float[ndarray, 'n 3']]) -> bytes:
    """
    Return a serialised MarkerArray of `markers`, with the points (metres) of `meshes` in place of the stand-ins.

    `meshes` goes by position in `markers`; the stand-in of a marker bears the same number. Publish the bytes as is.
    """
    template = serialize_message(MarkerArray(markers=markers))
    order = '<' if template[1] & 1 else '>'
    pieces: list[bytes] = []
    done = 0
    for position, points in sorted(meshes.items()):
        if not len(points):
            raise ValueError('A mesh must have points: RViz has crashed on an empty TRIANGLE_LIST.')
        point_at = find_stand_in(template, position, order)
        count_at = point_at - 4 - padding_before_points(markers, position)
        if template[count_at : count_at + 4] != struct.pack(f'{order}I', 1):
            raise ValueError('The number of points is not in front of the stand-in point: unknown serialisation.')
        pieces += [
            template[done:count_at],
            struct.pack(f'{order}I', len(points)),
            template[count_at + 4 : point_at],
            np.ascontiguousarray(points, f'{order}f8').tobytes(),
        ]
        done = point_at + POINT_BYTES
    return b''.join([*pieces, template[done:]])


def find_stand_in(template: bytes, index: int, order: str) -> int:
    """Return where the `index`-th stand-in point begins."""
    wanted = struct.pack(f'{order}3d', *STAND_IN, float(index + 1))
    point_at = template.find(wanted)
    if point_at < 0 or template.find(wanted, point_at + 1) >= 0:
        raise ValueError(f'Stand-in point {index} must be in the message exactly once.')
    return point_at


def padding_before_points(markers: list[Marker], position: int) -> int:
    """
    Return how many bytes of padding lie between the number of points and the first point.

    Padding holds arbitrary bytes, so it cannot be told from a number by looking. But it comes and goes with the points:
    without them the message is shorter by them and by the padding.
    """
    bare = copy.copy(markers[position])
    bare.points = []
    with_point = serialize_message(MarkerArray(markers=markers[: position + 1]))
    without = serialize_message(MarkerArray(markers=[*markers[:position], bare]))
    padding = len(with_point) - len(without) - POINT_BYTES
    if padding not in (0, 4):
        raise ValueError(f'Found {padding} bytes of padding before the points, expected 0 or 4: unknown serialisation.')
    return padding


def decimate(vertices: Float[ndarray, 'v 3'], faces: Int[ndarray, 'f 3'], largest: int) -> Int[ndarray, 'g 3']:
    """
    Return at most `largest` faces over the same vertices, by clustering vertices of the rest pose in a grid.

    Each cell keeps the vertex nearest to its mean, so posing the full mesh poses the coarse one. 0 keeps all faces.
    """
    if largest <= 0 or len(faces) <= largest:
        return faces
    low, high = 0.0, float(np.ptp(vertices, axis=0).max())
    coarse = faces[:1]
    for _ in range(20):
        cell = (low + high) / 2
        found = cluster(vertices, faces, cell)
        if len(found) > largest:
            low = cell
        else:
            high = cell
            coarse = found if len(found) else coarse
    return coarse


def cluster(vertices: Float[ndarray, 'v 3'], faces: Int[ndarray, 'f 3'], cell: float) -> Int[ndarray, 'g 3']:
    """Return the faces between the grid cells' representative vertices, without collapsed and doubled ones."""
    cells = np.floor((vertices - vertices.min(axis=0)) / cell).astype(np.int64)
    _, member = np.unique(cells, axis=0, return_inverse=True)
    member = member.reshape(-1)
    sizes = np.bincount(member)
    means = np.stack([np.bincount(member, vertices[:, axis]) / sizes for axis in range(3)], axis=1)
    distances = np.linalg.norm(vertices - means[member], axis=1)
    order = np.lexsort((distances, member))
    representative = order[np.searchsorted(member[order], np.arange(len(sizes)))]
    coarse = representative[member[faces]]
    whole = (coarse != np.roll(coarse, 1, axis=1)).all(axis=1)
    coarse = coarse[whole]
    # Two faces over the same three vertices are one, whichever corner comes first.
    _, first = np.unique(np.sort(coarse, axis=1), axis=0, return_index=True)
    return coarse[np.sort(first)]
