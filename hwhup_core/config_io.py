"""Configuration files: frozen dataclasses to YAML and back, with every key and type checked."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import yaml

from hwhup_core.errors import ConfigError

C = TypeVar('C')

EXPONENT_NUMBER = re.compile(r'[+-]?\d+(\.\d*)?[eE][+-]?\d+')
"""YAML 1.1 reads `1e-4` as text because it has no point; everyone who writes it means a number."""


def load_config(path: Path, config_type: type[C]) -> C:
    """Return the configuration in a YAML file; keys that are left out keep their defaults, unknown keys are refused."""
    try:
        plain = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except OSError as error:
        raise ConfigError(f'Cannot read the configuration {path}: {error.strerror}. Check the path.') from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f'{path} is not valid YAML: {error}') from error
    return from_plain({} if plain is None else plain, config_type, str(path))


def save_config(path: Path, config: Any) -> None:
    """Write the configuration as YAML that `load_config` reads back to an equal one."""
    text = yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True)
    Path(path).write_text(text, encoding='utf-8')


def to_plain(value: Any) -> Any:
    """Return the value as dicts, lists and scalars, fit for YAML and JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    return value


def from_plain(plain: Any, config_type: type[C], source: str) -> C:
    """Return the dataclass that `to_plain` took apart; `source` (a file) opens every error message."""
    return cast(C, _dataclass(plain, config_type, source, ''))


def _dataclass(plain: Any, config_type: Any, source: str, key: str) -> Any:
    if not isinstance(plain, dict):
        raise _mismatch(plain, f'the keys of {config_type.__name__}', source, key)
    known = {field.name: field for field in fields(config_type) if field.init}
    for name in plain:
        if name not in known:
            raise ConfigError(f'{source}: unknown key `{_join(key, name)}`.{_suggestion(name, list(known))}')
    missing = [name for name, field in known.items() if name not in plain and _is_required(field)]
    if missing:
        raise ConfigError(f'{source}: `{_join(key, missing[0])}` is missing and has no default. Add it.')
    hints = get_type_hints(config_type)
    values = {name: _value(item, hints[name], source, _join(key, name)) for name, item in plain.items()}
    try:
        return config_type(**values)
    except ConfigError as error:
        raise ConfigError(f'{source}: {f"`{key}`: " if key else ""}{error}') from error


def _value(plain: Any, hint: Any, source: str, key: str) -> Any:
    """Return the value of one field, or raise with file, key, what was found and what was expected."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _union(plain, hint, source, key)
    if origin is tuple:
        return _tuple(plain, get_args(hint), source, key)
    if origin is dict:
        if not isinstance(plain, dict):
            raise _mismatch(plain, 'a mapping', source, key)
        return {name: _value(item, get_args(hint)[1], source, _join(key, name)) for name, item in plain.items()}
    if origin is Literal:
        return _choice(plain, {choice: choice for choice in get_args(hint)}, source, key)
    if is_dataclass(hint):
        return _dataclass(plain, hint, source, key)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _choice(plain, {member.value: member for member in hint}, source, key)
    return _scalar(plain, hint, source, key)


def _scalar(plain: Any, hint: Any, source: str, key: str) -> Any:
    readers: dict[Any, tuple[str, Callable[[Any], bool], Callable[[Any], Any]]] = {
        Any: ('anything', lambda item: True, lambda item: item),
        bool: ('true or false', lambda item: isinstance(item, bool), bool),
        int: ('a whole number', lambda item: isinstance(item, int) and not isinstance(item, bool), int),
        float: ('a number', _is_number, float),
        str: ('text', lambda item: isinstance(item, str), str),
        Path: ('a path', lambda item: isinstance(item, str), Path),
        type(None): ('nothing (null)', lambda item: item is None, lambda item: None),
    }
    if hint not in readers:
        raise TypeError(f'config_io cannot read fields of type {hint} (`{key}`).')
    expected, fits, convert = readers[hint]
    if not fits(plain):
        raise _mismatch(plain, expected, source, key)
    return convert(plain)


def _is_number(plain: Any) -> bool:
    if isinstance(plain, str):
        return EXPONENT_NUMBER.fullmatch(plain) is not None
    return isinstance(plain, (int, float)) and not isinstance(plain, bool)


def _union(plain: Any, hint: Any, source: str, key: str) -> Any:
    """Return the value under the first member type that takes it; an `Optional` keeps its inner error."""
    members = [member for member in get_args(hint) if member is not type(None)]
    if plain is None and len(members) < len(get_args(hint)):
        return None
    for member in members[:-1]:
        try:
            return _value(plain, member, source, key)
        except ConfigError:
            continue
    return _value(plain, members[-1], source, key)


def _tuple(plain: Any, arguments: tuple[Any, ...], source: str, key: str) -> tuple[Any, ...]:
    if not isinstance(plain, (list, tuple)):
        raise _mismatch(plain, 'a list', source, key)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = (arguments[0],) * len(plain)
    if len(plain) != len(arguments):
        raise _mismatch(plain, f'a list of {len(arguments)} values', source, key)
    return tuple(_value(item, hint, source, f'{key}[{i}]') for i, (item, hint) in enumerate(zip(plain, arguments)))


def _choice(plain: Any, choices: dict[Any, Any], source: str, key: str) -> Any:
    matches = [value for choice, value in choices.items() if choice == plain and type(choice) is type(plain)]
    if matches:
        return matches[0]
    error = _mismatch(plain, 'one of ' + ', '.join(str(choice) for choice in choices), source, key)
    raise ConfigError(f'{error}{_suggestion(plain, list(choices))}')


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _join(key: str, name: Any) -> str:
    return f'{key}.{name}' if key else str(name)


def _suggestion(name: Any, known: list[Any]) -> str:
    close = difflib.get_close_matches(str(name), [str(item) for item in known], n=1)
    if close:
        return f' Did you mean `{close[0]}`?'
    return f' Known: {", ".join(str(item) for item in known)}.'


def _mismatch(found: Any, expected: str, source: str, key: str) -> ConfigError:
    place = f'`{key}`' if key else 'the file'
    return ConfigError(f'{source}: {place} is {found!r} ({type(found).__name__}), expected {expected}.')
