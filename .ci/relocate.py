"""
Repair the ROS wheels of this virtual environment after installation.

The wheels were built elsewhere; their exported CMake files name that machine's Python and numpy include folders, and
CMake stops with "Imported target ... includes non-existent path". Running twice changes nothing.
"""

import re
import sys
import sysconfig
from pathlib import Path

import numpy

BUILD_PYTHON = r'/opt/python/cp\d+-cp\d+'
REPAIRS = (
    (re.compile(BUILD_PYTHON + r'/lib/python[\d.]+/site-packages/numpy/_core/include'), numpy.get_include()),
    (re.compile(BUILD_PYTHON + r'/include/python[\d.]+'), sysconfig.get_path('include')),
    (re.compile(BUILD_PYTHON), sys.prefix),
)


def repaired(text: str) -> str:
    """Return `text` with every path of the build machine replaced by its counterpart here."""
    for pattern, replacement in REPAIRS:
        text = pattern.sub(lambda _, path=replacement: path, text)
    return text


def main() -> None:
    """Rewrite the exported CMake files and the ament index entries that name the build machine."""
    share = Path(sys.prefix, 'share')
    candidates = [*share.rglob('*.cmake'), *(share / 'ament_index/resource_index/parent_prefix_path').glob('*')]
    changed = 0
    for path in candidates:
        before = path.read_text(encoding='utf-8')
        after = repaired(before)
        if after != before:
            path.write_text(after, encoding='utf-8')
            changed += 1
    print(f'relocated {changed} files of the ROS wheels')


if __name__ == '__main__':
    main()
