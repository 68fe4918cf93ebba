"""`hwhup monitor`: hands the process over to the ROS graph, so that `hwhup_core` itself needs no ROS."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec

from hwhup_core.errors import AssetError

MONITOR_MODULE = 'hwhup_ros.crib_monitor'


def hand_over(
    arguments: Sequence[str],
    execute: Callable[[str, list[str]], object] = os.execv,
    needed: Sequence[str] = ('rclpy', 'hwhup_ros'),
) -> int:
    """Replace this process by the monitor with the same arguments; returns only if `execute` does."""
    for package in needed:
        if find_spec(package) is None:
            raise AssetError(
                f'The monitor is a ROS 2 program and the Python package {package} is not here. Run `make demo` '
                'once and use its environment, or source ROS 2 and this workspace (`source install/setup.bash`).'
            )
    sys.stdout.flush()
    execute(sys.executable, [sys.executable, '-m', MONITOR_MODULE, *arguments])
    return 0
