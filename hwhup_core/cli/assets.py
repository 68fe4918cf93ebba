"""`hwhup assets`: official files in one folder, known by their content."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hwhup_core.assets import ASSET_KINDS, assets_folder, find_asset, remove_asset, stored_assets
from hwhup_core.errors import AssetError


def add(files: Sequence[Path], wanted: str | None) -> int:
    """Add every file that is recognised; return 1 when some were refused, 2 when all were."""
    from hwhup_core.recognition import add_asset  # Imports torch, which `list` and `remove` do without.

    refused = 0
    for path in files:
        try:
            kind, stored = add_asset(path, wanted)
        except AssetError as error:
            refused += 1
            print(f'hwhup: error: {error}', file=sys.stderr)
            continue
        print(f'{path}: {ASSET_KINDS[kind].title} -> {assets_folder() / stored.file}')
        print(f'  {kind}, SHA-256 {stored.sha256}, {stored.licence}')
    return 0 if not refused else 2 if refused == len(files) else 1


def list_assets() -> int:
    """Print every kind: where it is, or where to get it; return 1 when a stored file was changed or has gone."""
    folder = assets_folder()
    stored = stored_assets(folder)
    print(folder)
    changed = 0
    for key, kind in ASSET_KINDS.items():
        if key not in stored:
            print(f'  --  {key:<18} {kind.title}: {kind.source}')
            continue
        try:
            find_asset(key, folder)
        except AssetError as error:
            changed += 1
            print(f'  !!  {key:<18} {error}')
            continue
        entry = stored[key]
        print(f'  ok  {key:<18} {entry.file}, SHA-256 {entry.sha256[:12]}, from {entry.original}. {entry.licence}')
    return 1 if changed else 0


def remove(keys: Sequence[str]) -> int:
    """Delete the stored files of these kinds; return 1 when one was not there."""
    gone = [(key, remove_asset(key)) for key in keys]
    for key, entry in gone:
        print(f'{key}: nothing was stored' if entry is None else f'{key}: {entry.file} deleted')
    return 0 if all(entry is not None for _, entry in gone) else 1
