"""`hwhup config`: where the data sets and official files are."""

from __future__ import annotations

from hwhup_core.errors import ConfigError
from hwhup_core.settings import (
    SETTINGS,
    all_settings,
    require_known,
    set_setting,
    setting,
    settings_file,
    unset_setting,
)


def config_set(key: str, folder: str) -> int:
    """Keep a folder under a key."""
    print(f'{key}: {set_setting(key, folder)}')
    return 0


def config_get(key: str) -> int:
    """Print the folder behind a key; one that is not set is an error, so that scripts notice."""
    folder = setting(key)
    if folder is None:
        raise ConfigError(f'`{key}` is not set ({SETTINGS[key]}). Set it: hwhup config set {key} DIR')
    print(folder)
    return 0


def config_list() -> int:
    """Print every key with its folder, or with what it is for."""
    settings = all_settings()
    print(settings_file())
    for key, purpose in SETTINGS.items():
        folder = settings.get(key)
        if folder is None:
            print(f'  {key:<16} not set; {purpose}')
        else:
            print(f'  {key:<16} {folder}' + ('' if folder.is_dir() else '  (no folder any more)'))
    return 0


def config_unset(key: str) -> int:
    """Forget a key."""
    require_known(key)
    print(f'{key}: forgotten' if unset_setting(key) else f'{key}: was not set')
    return 0
