"""Start, spin and stop: what every node's `main` shares."""

from __future__ import annotations

import sys
from collections.abc import Callable

import rclpy
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from hwhup_core.errors import HwhupError

try:
    from rclpy.impl.implementation_singleton import rclpy_implementation

    RclError: type[Exception] = rclpy_implementation.RCLError
except (ImportError, AttributeError):
    RclError = RuntimeError

BAD_ARGUMENTS = 2
"""Exit code of a program that was asked for something it cannot do."""


def spin(nodes: list[Node], executor: Executor) -> None:
    """
    Spin until the context ends or somebody presses Ctrl-C; both are a normal end.

    One thread is enough for the callbacks, since long work has its own. Never rclpy's EventsExecutor: Jazzy's deadlocks
    as soon as another thread of the process publishes what one of its nodes subscribes to.
    """
    for node in nodes:
        executor.add_node(node)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RclError:  # A publish that was under way when SIGTERM closed the context.
        if rclpy.ok():
            raise


def destroy(nodes: list[Node]) -> None:
    """Destroy the nodes, last one first, and close the context; a second Ctrl-C meanwhile changes nothing."""
    try:
        for node in reversed(nodes):
            node.destroy_node()
    except KeyboardInterrupt:
        pass
    finally:
        rclpy.try_shutdown()


def run(make_node: Callable[[], Node], args: list[str] | None = None) -> int:
    """
    Initialise ROS, make one node, spin it to its end and return the exit code.

    An error of ours while the node is made (a bad parameter, a missing asset) is one line and code 2, no traceback.
    """
    rclpy.init(args=args)
    try:
        node = make_node()
    except HwhupError as error:
        print(f'{type(error).__name__}: {error}', file=sys.stderr)
        rclpy.try_shutdown()
        return BAD_ARGUMENTS
    try:
        spin([node], SingleThreadedExecutor())
    finally:
        destroy([node])
    return 0
