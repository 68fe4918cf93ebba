"""How long the command line and the engine take to start; printed beside the limits of the specification."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

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


def main() -> int:
    """Print median and fastest of repeated starts; the first of each warms the file cache and is left out."""
    print(f'{"start":40} {"median s":>9} {"min s":>7} {"limit s":>8}')
    for name, arguments, limit in CASES:
        time_python(arguments)
        seconds = [time_python(arguments) for _ in range(REPEATS)]
        limit_text = '-' if limit is None else f'{limit:.1f}'
        print(f'{name:40} {statistics.median(seconds):9.2f} {min(seconds):7.2f} {limit_text:>8}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
