"""What of this package is alive in the ROS graph, as JSON on standard output; `hwhup doctor` runs it."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import rclpy
from rclpy.node import Node

DISCOVERY_S = 1.5
"""Long enough for Fast DDS to find the participants of this machine."""
OURS = 'hwhup_ros/msg/'
NODES = ('pose_node', 'marker_node', 'replay_node', 'synthetic_camera_node', 'report_node', 'viewer')


def describe_graph(node: Node) -> dict[str, Any]:
    """Return our nodes and topics, and how many publish and subscribe to each."""
    full_names = [f'{namespace.rstrip("/")}/{name}' for name, namespace in node.get_node_names_and_namespaces()]
    topics = {
        topic: {
            'types': types,
            'publishers': node.count_publishers(topic),
            'subscribers': node.count_subscribers(topic),
        }
        for topic, types in node.get_topic_names_and_types()
        if any(kind.startswith(OURS) for kind in types)
    }
    return {'nodes': sorted(name for name in full_names if name.rsplit('/', 1)[1] in NODES), 'topics': topics}


def main() -> int:
    """Look around for a moment and print what is there."""
    rclpy.init()
    try:
        node = Node('hwhup_graph_check', enable_rosout=False, start_parameter_services=False)
        time.sleep(DISCOVERY_S)
        print(json.dumps(describe_graph(node), indent=2))
        node.destroy_node()
    finally:
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
