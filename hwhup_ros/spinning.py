"""Start, spin and stop: what every node's `main` shares."""

from __future__ import annotations

import sys
from collections.abc import Callable

import rclpy
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from hwhup_core.errors import HwhupError

try:  # Not in every distribution; moved out of `experimental` after Jazzy.
    from rclpy.experimental import EventsExecutor
except ImportError:
    EventsExecutor = None

try:
    from rclpy.impl.implementation_singleton import rclpy_implementation

    RclError: type[Exception] = rclpy_implementation.RCLError
except (ImportError, AttributeError):
    RclError = RuntimeError

BAD_ARGUMENTS = 2
"""Exit code of a program that was asked for something it cannot do."""


def make_executor(kind: str = 'events') -> Executor:
    """
    Return the executor of that kind: `events` (lowest latency; single-threaded where rclpy lacks it) or `single`.

    Work that takes long has its own threads in this package, so one thread for the callbacks is enough.
    """
    return EventsExecutor() if kind == 'events' and EventsExecutor is not None else SingleThreadedExecutor()


def spin(nodes: list[Node], executor: Executor) -> None:
    """Spin until the context ends or somebody presses Ctrl-C; both are a normal end."""
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
        spin([node], make_executor())
    finally:
        destroy([node])
    return 0
