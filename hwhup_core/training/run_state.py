"""The one file from which a training run continues, written whole once an epoch."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hwhup_core.errors import AssetError, HwhupError
from hwhup_core.networks.checkpoint import write_whole

FORMAT_VERSION = 2
STATE_FILE = 'state.pt'


def write_state(run: Path, configuration: Mapping[str, Any], content: Mapping[str, Any]) -> None:
    """Write the state; whatever happens meanwhile, the old one or the new one is there, whole."""
    buffer = io.BytesIO()
    kept = {'format_version': FORMAT_VERSION, 'configuration': json.dumps(configuration), 'content': dict(content)}
    torch.save(kept, buffer)
    try:
        write_whole(run / STATE_FILE, buffer.getvalue())
    except OSError as error:
        raise HwhupError(
            f'Cannot write {run / STATE_FILE} ({buffer.tell() / 1e6:.1f} MB): {error.strerror or error}. Free some '
            'space and start again; the state of the epoch before is still whole.'
        ) from error


def read_state(run: Path, configuration: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what was written last, on the CPU; None in a fresh folder. A run of another configuration is refused."""
    for leftover in run.glob(f'{STATE_FILE}*.partial'):  # Of a run that was killed while it wrote.
        leftover.unlink()
    file = run / STATE_FILE
    if not file.exists():
        return None
    try:
        state = torch.load(file, map_location='cpu', weights_only=True)
    except OSError as error:
        raise AssetError(f'Cannot read {file}: {error.strerror or error}. Check the path.') from error
    except Exception as error:  # A broken zip or pickle surfaces as any of a dozen types.
        raise AssetError(f'{file} is not a whole training state: {error!r}. Remove it to start again.') from error
    version = state.get('format_version') if isinstance(state, dict) else None
    if version != FORMAT_VERSION:
        raise AssetError(
            f'{file} has format version {version}, this program reads {FORMAT_VERSION}. Choose another folder for this '
            'run.'
        )
    found = differences(json.loads(state['configuration']), json.loads(json.dumps(configuration)))
    if found:
        raise HwhupError(
            f'{file} belongs to another configuration: {"; ".join(found[:8])}'
            f'{f"; and {len(found) - 8} more" if found[8:] else ""}. '
            'Choose another folder for this run, or the old configuration to continue that one.'
        )
    content: dict[str, Any] = state['content']
    return content


def differences(there: Any, here: Any, where: str = '') -> list[str]:
    """Return one phrase for each entry in which two configurations (plain values) differ, by its dotted name."""
    if isinstance(there, dict) and isinstance(here, dict):
        names = dict.fromkeys([*there, *here])
        parts = [
            differences(there.get(name, 'absent'), here.get(name, 'absent'), f'{where}.{name}' if where else str(name))
            for name in names
        ]
        return [phrase for part in parts for phrase in part]
    return [] if there == here else [f'{where} is {there!r} there and {here!r} here']


def plain_fingerprint(fingerprint: str) -> Any:
    """Return a fingerprint as nested values where it is JSON, and as its lines where it is other text."""
    try:
        return json.loads(fingerprint)
    except ValueError:
        return {f'line {number}': line for number, line in enumerate(fingerprint.splitlines(), 1)}
