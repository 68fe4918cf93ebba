"""Writing files that are whole at any moment, whatever kills the program."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write through a temporary neighbour, so that the file is whole at any moment; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix='.partial')
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)  # mkstemp makes files for the owner only.
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise
