"""
ROS parameters from frozen dataclasses: one parameter a field, nested dataclasses as dotted names.

The dataclass holds the defaults and the checks; the sentence under a field is the description of its parameter;
`field(metadata={'range': (low, high)})` becomes the parameter's range, `field(metadata={'choices': (...)})` a check. A
parameter is read only once declared, since a config is read when the node starts.

How types map: `str | None` is a string whose '' is None; `tuple[...]` is an array; `tuple[...] | None` is one whose []
is None; an integer is taken for a float.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import itertools
import textwrap
import types
import typing
from dataclasses import Field, fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException
from rclpy.node import Node

from hwhup_core.errors import ConfigError

C = TypeVar('C')
NOT_OURS = ('use_sim_time', 'start_type_description_service', 'qos_overrides.')
"""Parameters that rclpy itself declares or reads."""


def declare_config(node: Node, default: C) -> C:
    """
    Declare one parameter for every field of `default` and return the config with what the user gave.

    The node must be made with `automatically_declare_parameters_from_overrides=True`: only so can a parameter that
    nobody knows be seen, and refused. Whatever is wrong raises ConfigError.
    """
    given = {name: node.get_parameter(name).value for name in node.get_parameters_by_prefix('')}
    known = set(names_of(default))
    refuse_unknown(node.get_name(), [name for name in given if not name.startswith(NOT_OURS)], known)
    return _declare(node, default, '', given)


def names_of(config: Any, prefix: str = '') -> list[str]:
    """Return the names of the parameters that `config` needs."""
    names: list[str] = []
    for one in fields(config):
        value = getattr(config, one.name)
        names += names_of(value, f'{prefix}{one.name}.') if is_dataclass(value) else [prefix + one.name]
    return names


def refuse_unknown(node_name: str, given: list[str], known: set[str]) -> None:
    """Raise ConfigError for a given parameter that is not known, with the nearest known name."""
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f'Known are: {", ".join(sorted(known))}.'
            raise ConfigError(f"Node {node_name} has no parameter '{name}'. {hint}")


def _declare(node: Node, default: C, prefix: str, given: dict[str, Any]) -> C:
    hints = typing.get_type_hints(type(default))
    descriptions = descriptions_of(type(default))
    values: dict[str, Any] = {}
    for one in fields(default):  # type: ignore[arg-type]
        name, value = prefix + one.name, getattr(default, one.name)
        if is_dataclass(value):
            values[one.name] = _declare(node, value, f'{name}.', given)
            continue
        hint = hints[one.name]
        wanted = from_parameter(name, given[name], hint) if name in given else value
        check_choice(name, wanted, one)
        declare_one(node, name, to_parameter(wanted, hint), describe(one, hint, descriptions.get(one.name, '')))
        values[one.name] = wanted
    return replace(default, **values)  # type: ignore[type-var]


def declare_one(node: Node, name: str, value: Any, descriptor: ParameterDescriptor) -> None:
    """Declare one parameter with its value; one that stands outside its range raises ConfigError."""
    if node.has_parameter(name):
        node.undeclare_parameter(name)
    try:
        node.declare_parameter(name, value, descriptor, ignore_override=True)
    except ParameterException as error:
        raise ConfigError(f"Parameter '{name}' is {value!r}: {error}") from error


def describe(one: Field[Any], hint: Any, description: str) -> ParameterDescriptor:
    """Return the descriptor of a field."""
    descriptor = ParameterDescriptor(description=description, read_only=True)
    # An empty array has no type of its own, so arrays are typed by `from_parameter` instead.
    descriptor.dynamic_typing = typing.get_origin(without_none(hint)) is tuple
    if 'range' not in one.metadata:
        return descriptor
    low, high = one.metadata['range']
    if without_none(hint) is int:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
    else:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]
    return descriptor


def check_choice(name: str, value: Any, one: Field[Any]) -> None:
    """Raise ConfigError where the field lists its choices and `value` is none of them."""
    choices = one.metadata.get('choices')
    if choices is not None and value not in choices:
        raise ConfigError(f"Parameter '{name}' is {value!r}; expected one of {', '.join(map(repr, choices))}.")


def without_none(hint: Any) -> Any:
    """Return the other type of `X | None`, or the type itself."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        others = [argument for argument in typing.get_args(hint) if argument is not type(None)]
        if len(others) == 1:
            return others[0]
    return hint


def to_parameter(value: Any, hint: Any) -> Any:
    """Return a field's value as ROS stores it."""
    is_array = typing.get_origin(without_none(hint)) is tuple
    if value is None:
        return [] if is_array else ''
    return list(value) if is_array else value


def from_parameter(name: str, value: Any, hint: Any) -> Any:
    """Return a parameter as the field's type; ConfigError where it is something else."""
    plain = without_none(hint)
    optional = plain is not hint
    is_scalar = isinstance(value, (bool, int, float, str))
    if optional and (value is None or value == '' or (not is_scalar and not len(value))):
        return None
    if typing.get_origin(plain) is tuple:
        if is_scalar:
            raise bad_type(name, value, plain)
        element = typing.get_args(plain)[0]
        return tuple(scalar(name, entry, element) for entry in value)
    return scalar(name, value, plain)


def scalar(name: str, value: Any, kind: Any) -> Any:
    """Return `value` if it is a `kind`; an integer is taken for a float."""
    if typing.get_origin(kind) is typing.Literal:  # Its choices stand in the metadata of the field.
        kind = type(typing.get_args(kind)[0])
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind not in (bool, int, float, str):
        raise ConfigError(f"Parameter '{name}' has type {kind}, which has no ROS parameter type.")
    if type(value) is not kind:
        raise bad_type(name, value, kind)
    return value


def bad_type(name: str, value: Any, kind: Any) -> ConfigError:
    """Return the error for a parameter of the wrong type."""
    wanted = kind.__name__ if isinstance(kind, type) else str(kind)
    return ConfigError(f"Parameter '{name}' is {value!r} ({type(value).__name__}); expected {wanted}.")


@cache
def descriptions_of(cls: type) -> dict[str, str]:
    """Return the sentence under each field of a dataclass, on one line; empty where the source is not at hand."""
    inherited = [descriptions_of(base) for base in reversed(cls.__bases__) if is_dataclass(base)]
    return {name: text for each in (*inherited, _own_descriptions(cls)) for name, text in each.items()}


def _own_descriptions(cls: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):
        return {}
    body = typing.cast(ast.ClassDef, tree.body[0]).body
    found: dict[str, str] = {}
    for statement, after in itertools.pairwise(body):
        is_field = isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        if is_field and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[statement.target.id] = ' '.join(str(after.value.value).split())  # type: ignore[union-attr]
    return found
