"""`hwhup monitor`: hands the process over to the ROS graph."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from hwhup_core.cli import handover

MONITOR_MODULE = 'hwhup_ros.crib_monitor'


def hand_over(
    arguments: Sequence[str],
    execute: Callable[[str, list[str]], object] = os.execv,
    needed: Sequence[str] = ('rclpy', 'hwhup_ros'),
) -> int:
    """Replace this process by the monitor with the same arguments; returns only if `execute` does."""
    return handover.hand_over('The monitor', MONITOR_MODULE, arguments, needed, execute)
