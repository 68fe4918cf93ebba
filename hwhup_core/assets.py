"""
One folder for official files, which may not be shipped: SMPL, SMIL, SPIN's and HW-HuP's.

`hwhup assets add FILE` copies a file there under a fixed name and writes what it is, its SHA-256 and its licence into
`assets.yaml`; `find_asset` gives it to whoever needs it. What a file is says its content: see `recognition.py`.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import yaml

from hwhup_core.errors import AssetError
from hwhup_core.settings import setting
from hwhup_core.whole_files import write_whole

INDEX = 'assets.yaml'
BLOCK = 1 << 20
"""Bytes read at a time."""


@dataclass(frozen=True)
class AssetKind:
    """One official file that this program can use."""

    key: str
    stem: str
    """Name in the assets folder, without its ending."""
    title: str
    licence: str
    source: str
    """Where to get it."""


_SMPL_LICENCE = 'SMPL body licence: non-commercial research, no redistribution'
_SMPL_SOURCE = 'https://smpl.is.tue.mpg.de (registration)'
_TRAINED_LICENCE = 'non-commercial (trained with SMPL and its data)'
_SPIN_SOURCE = 'https://github.com/nkolot/SPIN (fetch_data.sh)'

ASSET_KINDS = {
    kind.key: kind
    for kind in (
        AssetKind('smpl_neutral', 'SMPL_NEUTRAL', 'SMPL body, neutral', _SMPL_LICENCE, 'https://smplify.is.tue.mpg.de, '
                  'basicModel_neutral_lbs_10_207_0_v1.0.0.pkl, or SMPL 1.1.0 at ' + _SMPL_SOURCE),
        AssetKind('smpl_male', 'SMPL_MALE', 'SMPL body, male', _SMPL_LICENCE, _SMPL_SOURCE),
        AssetKind('smpl_female', 'SMPL_FEMALE', 'SMPL body, female', _SMPL_LICENCE, _SMPL_SOURCE),
        AssetKind('smil', 'SMIL', 'SMIL infant body', 'SMIL licence: non-commercial research, no redistribution',
                  'https://s.fhg.de/smil (registration), smil_web.pkl'),
        AssetKind('spin_checkpoint', 'spin_checkpoint', 'SPIN weights', _TRAINED_LICENCE,
                  _SPIN_SOURCE + ', model_checkpoint.pt'),
        AssetKind('hwhup_checkpoint', 'hwhup_checkpoint', 'HW-HuP weights (or another run of SPIN)',
                  _TRAINED_LICENCE, 'https://github.com/ostadabbas/HW-HuP'),
        AssetKind('mean_params', 'smpl_mean_params', 'mean body of SPIN and HMR', 'non-commercial (derived from SMPL)',
                  _SPIN_SOURCE),
        AssetKind('gmm_08', 'gmm_08', 'pose prior of SMPLify', 'SMPLify licence: non-commercial research',
                  'https://smplify.is.tue.mpg.de (registration)'),
        AssetKind('j_regressor_extra', 'J_regressor_extra', "SPIN's nine further joints",
                  'non-commercial (derived from SMPL)', _SPIN_SOURCE),
        AssetKind('j_regressor_h36m', 'J_regressor_h36m', "Human3.6M's 17 joints, for its and 3DPW's protocol",
                  'non-commercial (derived from SMPL)', _SPIN_SOURCE),
    )
}  # fmt: skip
"""All kinds by key; none is ever needed."""


@dataclass(frozen=True)
class StoredAsset:
    """One line of `assets.yaml`."""

    file: str
    """Name in the assets folder."""
    sha256: str
    size: int
    """Bytes."""
    original: str
    """Name of the file that was added."""
    licence: str


def asset_kind(key: str) -> AssetKind:
    """Return the kind of that key."""
    if key not in ASSET_KINDS:
        raise AssetError(f'No kind of asset {key!r}. There are: {", ".join(ASSET_KINDS)}.')
    return ASSET_KINDS[key]


def assets_folder() -> Path:
    """Return the folder (environment HWHUP_ASSETS, setting `assets`, ~/.local/share/hwhup/assets); it may not exist."""
    given = os.environ.get('HWHUP_ASSETS')
    if given:
        return Path(given).expanduser()
    home = os.environ.get('XDG_DATA_HOME') or '~/.local/share'
    return setting('assets') or Path(home).expanduser() / 'hwhup' / 'assets'


def find_asset(key: str, folder: Path | None = None) -> Path | None:
    """
    Return the stored file of that kind, None where none was added; one that has changed since is refused.

    Its hash is computed once in a process, unless the file changes.
    """
    asset_kind(key)
    folder = folder or assets_folder()
    stored = stored_assets(folder).get(key)
    if stored is None:
        return None
    path = folder / stored.file
    again = f'Add it again: hwhup assets add FILE; or forget it: hwhup assets remove {key}'
    try:
        state = path.stat()
        if state.st_size != stored.size:
            raise AssetError(f'{path} has {state.st_size} bytes, but had {stored.size} when it was added. {again}')
        found = _hash(path, state.st_size, state.st_mtime_ns)
    except OSError as error:
        raise AssetError(f'Cannot read {path}, which {INDEX} names: {error.strerror}. {again}') from error
    if found != stored.sha256:
        raise AssetError(
            f'{path} has SHA-256 {found[:12]}, but had {stored.sha256[:12]} when it was added: it was changed. {again}'
        )
    return path


def require_asset(key: str) -> Path:
    """Return the stored file of that kind, or say where to get it."""
    kind = asset_kind(key)
    path = find_asset(key)
    if path is None:
        raise AssetError(
            f'No {kind.title} ({key}) in {assets_folder()}. Get it from {kind.source}; then: hwhup assets add FILE'
        )
    return path


def stored_assets(folder: Path | None = None) -> dict[str, StoredAsset]:
    """Return what was added, by kind, in the order of `ASSET_KINDS`; the files are not looked at."""
    path = (folder or assets_folder()) / INDEX
    try:
        plain = yaml.safe_load(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        return {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise AssetError(f'Cannot read {path}: {error}. Remove it, and add the files again.') from error
    plain = {} if plain is None else plain
    if not isinstance(plain, dict):
        raise AssetError(f'{path} holds a {type(plain).__name__}, expected kinds. Remove it, and add the files again.')
    entries = {key: _stored(key, entry, path) for key, entry in plain.items()}
    return {key: entries[key] for key in ASSET_KINDS if key in entries}


def store_asset(source: Path, key: str, suffix: str) -> StoredAsset:
    """Copy a recognised file into the assets folder in place of the one of its kind, and return its entry."""
    kind, folder = asset_kind(key), assets_folder()
    stored = stored_assets(folder)
    before = stored.get(key)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        digest, size = _copy_whole(source, folder / (kind.stem + suffix))
        entry = StoredAsset(kind.stem + suffix, digest, size, source.name, kind.licence)
        _write_index(folder, stored | {key: entry})
        if before is not None and before.file != entry.file:
            (folder / before.file).unlink(missing_ok=True)
    except OSError as error:
        raise AssetError(f'Cannot copy {source} into {folder}: {error.strerror or error}.') from error
    return entry


def remove_asset(key: str) -> StoredAsset | None:
    """Delete the stored file of that kind and its entry; return the entry, None where there was none."""
    asset_kind(key)
    folder = assets_folder()
    stored = stored_assets(folder)
    entry = stored.pop(key, None)
    if entry is not None:
        _write_index(folder, stored)
        (folder / entry.file).unlink(missing_ok=True)
    return entry


def _stored(key: object, entry: object, path: Path) -> StoredAsset:
    """Return a checked entry; its file is a plain name, so that an index cannot point elsewhere."""
    types = {'file': str, 'sha256': str, 'size': int, 'original': str, 'licence': str}
    fits = isinstance(entry, Mapping) and set(entry) == {field.name for field in fields(StoredAsset)}
    fits = fits and all(isinstance(entry[name], kind) for name, kind in types.items())  # type: ignore[index]
    if key not in ASSET_KINDS or not fits or Path(entry['file']).name != entry['file']:  # type: ignore[index]
        raise AssetError(f'{path}: entry `{key}` is not one of ours. Remove the file, and add the assets again.')
    return StoredAsset(**{name: entry[name] for name in types})  # type: ignore[index]


def _write_index(folder: Path, stored: Mapping[str, StoredAsset]) -> None:
    plain = {key: asdict(stored[key]) for key in ASSET_KINDS if key in stored}
    write_whole(folder / INDEX, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).encode())


def _copy_whole(source: Path, target: Path) -> tuple[str, int]:
    """Copy through a temporary neighbour and return SHA-256 and size of what was written."""
    handle, partial = tempfile.mkstemp(dir=target.parent, prefix=target.name, suffix='.partial')
    digest, size = hashlib.sha256(), 0
    try:
        with os.fdopen(handle, 'wb') as output, source.open('rb') as content:
            while block := content.read(BLOCK):
                output.write(block)
                digest.update(block)
                size += len(block)
            output.flush()
            os.fsync(output.fileno())
        os.replace(partial, target)
    except BaseException:
        os.unlink(partial)
        raise
    return digest.hexdigest(), size


@functools.lru_cache(maxsize=64)
def _hash(path: Path, size: int, modified_ns: int) -> str:
    """Return the SHA-256 of a file; size and time are there to notice that it changed."""
    digest = hashlib.sha256()
    with path.open('rb') as content:
        while block := content.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
