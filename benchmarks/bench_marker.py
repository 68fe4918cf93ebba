"""The full mesh as a marker message: our patched bytes against a list of Point objects."""

from __future__ import annotations

import numpy as np
from geometry_msgs.msg import Point
from harness import Row, interleaved
from hwhup_ros.msg import SmplPose
from rclpy.serialization import serialize_message
from visualization_msgs.msg import MarkerArray

from hwhup_core.body.model import load_body
from hwhup_core.types import State
from hwhup_ros.conversions import make_header
from hwhup_ros.marker_node import rest_vertices
from hwhup_ros.markers import MarkerStyle, mesh_marker, serialize_meshes

STYLE = MarkerStyle(lifetime=0.5, mesh_opacity=0.9, show_mesh=True, show_skeleton=True, show_label=True)


def rows() -> list[Row]:
    """Return one row: vertices in, serialised message out."""
    body = load_body('infant')
    vertices, faces = rest_vertices(body), body.faces.numpy()
    pose = SmplPose(header=make_header(1, 'camera'), subject_id='subject', state=int(State.ESTIMATED))

    def patched() -> bytes:
        return serialize_meshes([mesh_marker(pose, STYLE, 0)], {0: vertices[faces].reshape(-1, 3)})

    def from_points() -> bytes:
        marker = mesh_marker(pose, STYLE, 0)
        marker.points = [Point(x=x, y=y, z=z) for x, y, z in vertices[faces].reshape(-1, 3).tolist()]
        return serialize_message(MarkerArray(markers=[marker]))

    if len(patched()) != len(from_points()) or len(np.unique(faces)) != len(vertices):
        raise AssertionError('The two ways do not make the same message.')
    took = interleaved({'patched': patched, 'points': from_points}, repeats=15)
    return [
        Row(
            name=f'marker message, {len(faces)} faces, patched bytes vs Point objects',
            ours=took['patched'],
            baseline=took['points'],
            at_most=10.0,
            ratio_at_least=20.0,
            note='vertices to serialised message; message field checks as in the environment.',
        )
    ]
