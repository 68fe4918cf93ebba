"""Keep the ROS tests on this computer and apart from other graphs; say what to do when ROS is not at hand."""

import os
import sys

import pytest

os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
# Above 101 the ports of Fast DDS meet those that Linux hands out to clients.
os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))

try:
    import hwhup_ros.msg  # noqa: F401
    import rclpy  # noqa: F401
except ImportError as error:
    raise pytest.UsageError(
        f'test/ros needs ROS 2 and the built messages ({error}); run `bash .ci/setup.sh`, then `. .ci/env.sh`, '
        'or use `make test`.'
    ) from error

# pytest's import mode leaves sys.path alone, and these tests share pose_graph.py.
sys.path.insert(0, os.path.dirname(__file__))


@pytest.fixture
def graph():
    """Return a graph of its own for one test."""
    from pose_graph import Graph

    made = Graph()
    yield made
    made.close()


@pytest.fixture
def bundled_weights():
    """Return the name of the weights that come with the package."""
    return 'crib_depth'
