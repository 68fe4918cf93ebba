"""How long the command line and the engine take to start."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from harness import Row

REPEATS = 5
CASES = (
    ('hwhup --help', ('-m', 'hwhup_core.cli', '--help'), 0.5),
    ('import hwhup_core.inference', ('-c', 'import hwhup_core.inference'), 2.5),
    ('import torch (alone, for comparison)', ('-c', 'import torch'), None),
)


def time_python(arguments: Sequence[str]) -> float:
    """Return the seconds that a Python process with these arguments takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def rows() -> list[Row]:
    """Return the median of repeated starts; the first of each warms the file cache and is left out."""
    found = []
    for name, arguments, limit in CASES:
        time_python(arguments)
        seconds = statistics.median(time_python(arguments) for _ in range(REPEATS))
        found.append(Row(f'start: {name}', seconds, 's', at_most=limit))
    return found
