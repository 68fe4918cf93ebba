import dataclasses
import struct

import numpy as np
import pytest
from geometry_msgs.msg import Point
from hwhup_ros.msg import SmplPose
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from hwhup_core.body.joints import PARENTS_24
from hwhup_core.body.model import load_body
from hwhup_core.types import Posture, State
from hwhup_ros.conversions import make_header
from hwhup_ros.marker_node import rest_vertices
from hwhup_ros.markers import (
    MarkerStyle,
    cluster,
    decimate,
    delete_markers,
    joints_marker,
    label_marker,
    mesh_marker,
    serialize_meshes,
    skeleton_marker,
)

STYLE = MarkerStyle(lifetime=0.5, mesh_opacity=0.9, show_mesh=True, show_skeleton=True, show_label=True)
PRIMITIVES = {
    'boolean': '?',
    'octet': 'B',
    'uint8': 'B',
    'int32': 'i',
    'uint32': 'I',
    'float': 'f',
    'double': 'd',
}


def a_pose(subject='subject', frame='cam', state=State.ESTIMATED, seed=0):
    rng = np.random.default_rng(seed)
    pose = SmplPose(subject_id=subject, state=int(state), confidence=0.5, posture=int(Posture.PRONE))
    pose.header = make_header(1_234_567_890, frame)
    for joint in pose.joints:
        joint.position = Point(**dict(zip('xyz', rng.normal(size=3).tolist())))
        joint.visibility = 1.0
    return pose


class NaiveCdr:
    """Writes a message field by field, with zeros for padding, and remembers where the padding is."""

    def __init__(self):
        self.content, self.padding = bytearray(b'\0\1\0\0'), []

    def align(self, size):
        while (len(self.content) - 4) % size:
            self.padding.append(len(self.content))
            self.content.append(0)

    def number(self, code, value):
        self.align(struct.calcsize(code))
        self.content += struct.pack(f'<{code}', value)

    def write(self, kind, value):
        if kind in PRIMITIVES:
            self.number(PRIMITIVES[kind], ord(value) if isinstance(value, bytes) else value)
        elif kind == 'string':
            encoded = value.encode() + b'\0'
            self.number('I', len(encoded))
            self.content += encoded
        elif kind.startswith('sequence<'):
            self.number('I', len(value))
            for entry in value:
                self.write(kind[len('sequence<') : -1], entry)
        else:
            for name, field_kind in value.get_fields_and_field_types().items():
                self.write(field_kind, getattr(value, name))


def assert_same_bytes(ours, markers, meshes):
    """Compare with the slow way, Point by Point, outside the padding, whose content is arbitrary even there."""
    for place, points in meshes.items():
        markers[place].points = [Point(x=x, y=y, z=z) for x, y, z in points.tolist()]
    message = MarkerArray(markers=markers)
    naive = NaiveCdr()
    naive.write('visualization_msgs/MarkerArray', message)
    slow = bytearray(serialize_message(message))
    assert len(ours) == len(slow) == len(naive.content)
    ours = bytearray(ours)
    for offset in naive.padding:
        ours[offset] = slow[offset] = 0
    assert slow == naive.content
    assert ours == slow


@pytest.mark.parametrize('length', range(9))
@pytest.mark.parametrize('frame', ['', 'cam', 'camera'])
def test_patched_message_equals_the_slow_one_byte_for_byte_at_every_alignment(length, frame):
    poses = [a_pose('s' * length, frame, seed=1), a_pose('other', frame, State.LOW_CONFIDENCE, seed=2)]
    rng = np.random.default_rng(length)
    markers, meshes = [], {}
    for pose in poses:
        markers += [skeleton_marker(pose, STYLE), label_marker(pose, STYLE)]
        meshes[len(markers)] = rng.normal(size=(3 * (length + 1), 3))
        markers += [mesh_marker(pose, STYLE, len(markers)), joints_marker(pose, STYLE)]
    markers += delete_markers(poses[0].header, 'gone', (0, 1))
    ours = serialize_meshes(markers, meshes)
    assert_same_bytes(ours, markers, meshes)
    slow = serialize_message(MarkerArray(markers=markers))
    assert deserialize_message(ours, MarkerArray) == deserialize_message(slow, MarkerArray)


@pytest.mark.parametrize('seed', range(3))
def test_full_mesh_of_a_posed_body_equals_the_slow_one(seed):
    body = load_body('infant')
    vertices = rest_vertices(body) + np.random.default_rng(seed).normal(scale=0.1, size=(6890, 3))
    points = vertices[body.faces.numpy()].reshape(-1, 3)
    assert len(points) == 3 * 13_776
    markers = [mesh_marker(a_pose(seed=seed), STYLE, 0)]
    assert_same_bytes(serialize_meshes(markers, {0: points}), markers, {0: points})


def test_what_would_crash_the_viewer_is_refused():
    markers = [mesh_marker(a_pose(), STYLE, 0)]
    with pytest.raises(ValueError, match='must have points'):
        serialize_meshes(markers, {0: np.empty((0, 3))})
    with pytest.raises(ValueError, match='exactly once'):
        serialize_meshes(markers * 2, {0: np.ones((3, 3))})
    with pytest.raises(ValueError, match='exactly once'):
        serialize_meshes([], {0: np.ones((3, 3))})


def test_markers_carry_header_owner_lifetime_and_a_fixed_id():
    pose = a_pose(frame='optical')
    markers = [mesh_marker(pose, STYLE, 0), skeleton_marker(pose, STYLE), joints_marker(pose, STYLE)]
    markers.append(label_marker(pose, STYLE))
    assert [marker.type for marker in markers] == [
        Marker.TRIANGLE_LIST,
        Marker.LINE_LIST,
        Marker.SPHERE_LIST,
        Marker.TEXT_VIEW_FACING,
    ]
    assert len({(marker.ns, marker.id) for marker in markers}) == 4
    for marker in markers:
        assert (marker.header, marker.ns, marker.action) == (pose.header, 'subject', Marker.ADD)
        assert marker.lifetime.nanosec == 500_000_000
        assert marker.color.a > 0
    assert markers[0].color.a == pytest.approx(0.9)
    again = mesh_marker(pose, STYLE, 3)
    assert again.id == markers[0].id


def test_skeleton_joins_every_joint_to_its_parent():
    pose = a_pose()
    points = skeleton_marker(pose, STYLE).points
    assert len(points) == 2 * 23
    for bone, child in enumerate(range(1, 24)):
        assert points[2 * bone] == pose.joints[PARENTS_24[child]].position
        assert points[2 * bone + 1] == pose.joints[child].position


def test_unknown_joints_are_left_out_and_nothing_known_gives_no_marker():
    pose = a_pose()
    pose.joints[0].position.x = float('nan')  # The pelvis, parent of three.
    assert len(skeleton_marker(pose, STYLE).points) == 2 * 20
    assert len(joints_marker(pose, STYLE).points) == 23
    for joint in pose.joints:
        joint.position.x = float('nan')
    assert skeleton_marker(pose, STYLE) is None
    assert joints_marker(pose, STYLE) is None
    assert label_marker(pose, STYLE) is None


def test_hidden_joints_are_darker():
    pose = a_pose()
    pose.joints[3].visibility, pose.joints[4].visibility = 0.0, float('nan')
    colors = joints_marker(pose, STYLE).colors
    assert colors[3].g == pytest.approx(0.5 * colors[2].g)
    assert colors[4] == colors[2]


def test_state_shows_in_color_and_label():
    sure, doubtful = a_pose(), a_pose(state=State.LOW_CONFIDENCE)
    assert mesh_marker(sure, STYLE, 0).color != mesh_marker(doubtful, STYLE, 0).color
    assert label_marker(sure, STYLE).text == 'subject, prone, 50 %'
    assert label_marker(doubtful, STYLE).text == 'subject, low confidence, prone, 50 %'


def test_label_stands_above_the_highest_joint_of_the_image():
    pose = a_pose()
    highest = min(joint.position.y for joint in pose.joints)
    assert label_marker(pose, STYLE).pose.position.y < highest


def test_deletion_names_what_was_shown():
    markers = delete_markers(Header(frame_id='cam'), 'subject', (0, 2))
    assert [(marker.ns, marker.id, marker.action) for marker in markers] == [
        ('subject', 0, Marker.DELETE),
        ('subject', 2, Marker.DELETE),
    ]


def test_clustering_a_grid_by_hand():
    # Four by one unit squares of two triangles; cells of two units leave one square.
    vertices = np.array([(x, y, 0.0) for x in range(5) for y in range(2)])
    squares = [[[a, a + 1, a + 2], [a + 1, a + 3, a + 2]] for a in range(0, 8, 2)]
    faces = np.array(squares).reshape(-1, 3)
    assert len(cluster(vertices, faces, 0.9)) == 8
    coarse = cluster(vertices, faces, 2.0)
    assert len(coarse) == 0  # Both rows fall into one cell: no face keeps three corners.
    tall = vertices * (1, 10, 1)
    coarse = cluster(tall, faces, 2.0)
    assert 0 < len(coarse) < 8
    assert np.isin(coarse, faces).all()


@pytest.mark.parametrize('largest', [0, 200, 2000, 13_775, 20_000])
def test_decimated_body_keeps_its_size_and_outside(largest):
    body = load_body('infant')
    vertices, faces = rest_vertices(body), body.faces.numpy()
    before = faces.copy()
    coarse = decimate(vertices, faces, largest)
    np.testing.assert_array_equal(faces, before)
    if largest in (0, 20_000):
        np.testing.assert_array_equal(coarse, faces)
        return
    assert 0.4 * largest <= len(coarse) <= largest
    size, coarse_size = np.ptp(vertices, axis=0), np.ptp(vertices[coarse.ravel()], axis=0)
    np.testing.assert_allclose(coarse_size, size, rtol=0.15)
    assert volume(vertices, coarse) == pytest.approx(volume(vertices, faces), rel=0.5 if largest < 1000 else 0.1)


def volume(vertices, faces):
    """Signed volume: positive only if the faces look outwards."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def test_style_is_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        STYLE.lifetime = 1.0
