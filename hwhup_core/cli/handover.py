"""Hands the process over to a program of `hwhup_ros`, so that `hwhup_core` itself needs no ROS."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec

from hwhup_core.errors import AssetError


def hand_over(
    purpose: str,
    module: str,
    arguments: Sequence[str],
    needed: Sequence[str],
    execute: Callable[[str, list[str]], object] = os.execv,
) -> int:
    """Replace this process by `python -m module arguments`; returns only if `execute` does."""
    for package in needed:
        if find_spec(package) is None:
            raise AssetError(
                f'{purpose} needs ROS 2 packages for Python and {package} is not here. Run `make demo` once and use '
                'its environment, or source ROS 2 and this workspace (`source install/setup.bash`).'
            )
    sys.stdout.flush()
    execute(sys.executable, [sys.executable, '-m', module, *arguments])
    return 0
