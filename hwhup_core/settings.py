"""
What a user tells this program once: where the data sets and the official files are.

One YAML file of known keys and folders: `settings.yaml` in `$XDG_CONFIG_HOME/hwhup` (`~/.config/hwhup`), or the file
that the environment names in `HWHUP_SETTINGS`.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import yaml

from hwhup_core.errors import ConfigError
from hwhup_core.whole_files import write_whole

SETTINGS = {
    'assets': 'official files that `hwhup assets add` keeps (SMPL, SMIL, SPIN, ...)',
    'data.slp': 'SLP: the folder that holds danaLab, simLab, or both',
    'data.slp_3dfits': 'SLP-3Dfits: the folder that holds fits/p001/s01.pkl, or p001/s01.pkl',
    'data.syrip': 'SyRIP as published (annotations, images), or as HW-HuP merges it (anno_train.json)',
    'data.coco': 'COCO key points: the folder that holds annotations and images',
    'data.mpii': 'MPII: the folder that holds mpii_human_pose_v1_u12_1.mat or annot/train.json',
    'data.h36m': "Human3.6M: the folder that holds SPIN's h36m_valid_protocol1.npz",
    'data.3dpw': '3DPW: the folder that holds sequenceFiles and imageFiles, or 3dpw_test.npz',
    'data.mimm': 'MIMM, or infants in its layout: anno_train.json and depthRaw',
}
"""Key -> which folder is meant."""


def settings_file() -> Path:
    """Return where the settings are kept; the file need not exist."""
    given = os.environ.get('HWHUP_SETTINGS')
    if given:
        return Path(given).expanduser()
    home = os.environ.get('XDG_CONFIG_HOME') or '~/.config'
    return Path(home).expanduser() / 'hwhup' / 'settings.yaml'


def all_settings() -> dict[str, Path]:
    """Return all keys that are set with their folders, in the order of `SETTINGS`; a folder may have gone since."""
    path = settings_file()
    try:
        plain = yaml.safe_load(path.read_text(encoding='utf-8'))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f'Cannot read the settings {path}: {error.strerror}. Check the path.') from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f'{path} is not valid YAML: {error}. Correct it, or remove it.') from error
    plain = {} if plain is None else plain
    if not isinstance(plain, dict):
        raise ConfigError(f'{path} holds a {type(plain).__name__}, expected lines such as `data.slp: /data/SLP`.')
    for key, value in plain.items():
        require_known(str(key), str(path))
        if not isinstance(value, str):
            raise ConfigError(f'{path}: `{key}` is {value!r}, expected a folder. Correct the file.')
    return {key: Path(plain[key]) for key in SETTINGS if key in plain}


def setting(key: str) -> Path | None:
    """Return the folder behind a key, None where it is not set; a folder that has gone is refused."""
    require_known(key)
    folder = all_settings().get(key)
    if folder is not None and not folder.is_dir():
        raise ConfigError(
            f'`{key}` is {folder} (in {settings_file()}), which is no folder any more. Set it again: hwhup config set '
            f'{key} DIR; or forget it: hwhup config unset {key}'
        )
    return folder


def set_setting(key: str, value: str | Path) -> Path:
    """Keep an existing folder under a known key and return it as an absolute path."""
    require_known(key)
    folder = Path(value).expanduser().absolute()
    if not folder.is_dir():
        found = 'a file' if folder.exists() else 'not there'
        raise ConfigError(
            f'`{key}` is a folder ({SETTINGS[key]}), but {folder} is {found}. Make it, or check the path.'
        )
    _write(all_settings() | {key: folder})
    return folder


def unset_setting(key: str) -> bool:
    """Forget a key; return whether it was set."""
    require_known(key)
    settings = all_settings()
    found = settings.pop(key, None)
    if found is not None:
        _write(settings)
    return found is not None


def require_known(key: str, source: str = 'settings') -> None:
    """Refuse a key that no part of this program asks for."""
    if key not in SETTINGS:
        close = difflib.get_close_matches(key, SETTINGS, n=1)
        hint = f'Did you mean `{close[0]}`?' if close else f'Known: {", ".join(SETTINGS)}.'
        raise ConfigError(f'{source}: unknown key `{key}`. {hint}')


def _write(settings: dict[str, Path]) -> None:
    plain = {key: str(settings[key]) for key in SETTINGS if key in settings}
    path = settings_file()
    try:
        write_whole(path, yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).encode())
    except OSError as error:
        raise ConfigError(f'Cannot write the settings {path}: {error.strerror}. Check the folder.') from error
