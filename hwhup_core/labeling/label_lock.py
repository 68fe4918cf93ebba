"""One program at a time writes to the labels of a recording: `LabelStore` cuts off what it did not write itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from hwhup_core.data.recording import locked
from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.labeling.labels import FOLDER


@contextmanager
def only_writer(recording: Path) -> Iterator[None]:
    """Hold the lock on the labels of a recording; the system drops it when the process dies."""
    folder = Path(recording) / FOLDER
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(folder))
        except ConfigError as error:
            raise ConfigError(
                f'The review page, or another program that labels, is at work on {recording}. Stop it first.'
            ) from error
        except OSError as error:
            raise AssetError(f'Cannot write to {folder}: {error.strerror}. Copy the recording elsewhere.') from error
        yield
