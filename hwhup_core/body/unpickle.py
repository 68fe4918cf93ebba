"""
Reading old pickles without trusting them.

Official SMPL files are Python 2 pickles with numpy, scipy.sparse and chumpy objects inside. A pickle is a program; here
it gets to build nothing but shells, which remember what they were given. Shells of numbers are turned into arrays by
us, so no foreign code runs, not even numpy's own unpickling, and neither chumpy nor scipy is needed.
"""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from hwhup_core.errors import AssetError

_BROKEN = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
    RecursionError,
)
"""All the ways in which a damaged pickle program, or what it describes, can fail."""


class Shell:
    """Stands for an object of a class that is not loaded: its constructor's arguments and its state."""

    arguments: tuple[Any, ...]
    state: Any

    def __new__(cls, *arguments: Any) -> Any:
        """Remember the arguments."""
        shell = object.__new__(cls)
        shell.arguments = arguments
        shell.state = None
        return shell

    def __setstate__(self, state: Any) -> None:
        self.state = state


class ArrayShell(Shell):
    """A numpy array; state (version, shape, type, column order, contents)."""


class BufferShell(Shell):
    """A numpy array of pickle protocol 5; arguments (contents, type, shape, order)."""


class ScalarShell(Shell):
    """A numpy number; arguments (type, contents)."""


class TypeShell(Shell):
    """A numpy type; first argument such as `f8`, state (version, byte order, ...)."""


class SparseColumnsShell(Shell):
    """A scipy.sparse matrix by columns (csc)."""


class SparseRowsShell(Shell):
    """A scipy.sparse matrix by rows (csr)."""


class ChumpyShell(Shell):
    """A chumpy object; a plain one keeps its value in the state entry `x`."""


class OldStyleShell(Shell):
    """What protocols 0 and 1 make objects with; gives a shell of the class in its first argument."""

    def __new__(cls, *arguments: Any) -> Any:
        """Make the shell asked for."""
        kind = arguments[0]
        if not (isinstance(kind, type) and issubclass(kind, Shell)):
            raise pickle.UnpicklingError(f'cannot rebuild an object of {kind!r}')
        return Shell.__new__(kind)


class EncodedBytes(Shell):
    """Bytes that Python 3 wrote as text; gives the bytes."""

    def __new__(cls, *arguments: Any) -> Any:
        """Give the bytes."""
        return str(arguments[0]).encode('latin1')


# Only classes with a __setstate__ and built-in types may stand here: on anything else, such as a function, a pickle
# could set attributes.
_ALLOWED: dict[tuple[str, str], type] = {
    ('numpy', 'ndarray'): ArrayShell,
    ('numpy', 'dtype'): TypeShell,
    ('_codecs', 'encode'): EncodedBytes,
    ('collections', 'OrderedDict'): OrderedDict,
    **{(core + '.multiarray', '_reconstruct'): ArrayShell for core in ('numpy.core', 'numpy._core')},
    **{(core + '.multiarray', 'scalar'): ScalarShell for core in ('numpy.core', 'numpy._core')},
    **{(core + '.numeric', '_frombuffer'): BufferShell for core in ('numpy.core', 'numpy._core')},
    **{(module, '_reconstructor'): OldStyleShell for module in ('copy_reg', 'copyreg')},
    **{(module, 'object'): Shell for module in ('__builtin__', 'builtins')},
    **{(module, 'set'): set for module in ('__builtin__', 'builtins')},
    **{(module, 'bytearray'): bytearray for module in ('__builtin__', 'builtins')},
    **{(module, 'csc_matrix'): SparseColumnsShell for module in ('scipy.sparse.csc', 'scipy.sparse._csc')},
    **{(module, 'csr_matrix'): SparseRowsShell for module in ('scipy.sparse.csr', 'scipy.sparse._csr')},
}


class _RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that knows the names in `_ALLOWED`, and imports nothing."""

    path: Path
    what: str

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a global that the pickle asks for."""
        if module.split('.')[0] == 'chumpy':
            return ChumpyShell
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        raise AssetError(
            f'{self.path} asks for {module}.{name}, which {self.what} has no use for; nothing was executed. '
            'Expected only numpy, scipy.sparse and chumpy data. Get the file again from its official source.'
        )


def read_pickle(path: Path, keys: Collection[str], what: str = 'an SMPL model file') -> dict[str, Any]:
    """
    Return those of `keys` that the pickled dictionary has: arrays, lists of these, plain values; executes nothing.

    `what` is what the file should be, for the errors.
    """
    try:
        with path.open('rb') as stream:
            unpickler = _RestrictedUnpickler(stream, encoding='latin1')
            unpickler.path, unpickler.what = path, what
            content = unpickler.load()
    except _BROKEN as error:
        raise AssetError(
            f'{path} is not a readable pickle ({type(error).__name__}: {error}); it is probably cut off, or another '
            f'kind of file. Expected {what}. Copy or download it again.'
        ) from error
    if not isinstance(content, dict):
        raise AssetError(f'{path} holds a {type(content).__name__}. Expected the dictionary of {what}.')
    return {key: _entry(content[key], key, path) for key in keys if key in content}


def _entry(value: Any, key: str, path: Path) -> Any:
    try:
        return _plain(value)
    except _BROKEN as error:
        raise AssetError(
            f'{path}: {key} cannot be turned into an array ({error}). Copy or download the file again, or re-save it '
            'with plain numpy arrays.'
        ) from error


def _plain(value: Any) -> Any:
    """Return what a shell stands for; other values as they are."""
    if isinstance(value, ArrayShell):
        _, shape, kind, column_order, contents = value.state
        return _array(contents, kind, shape, 'F' if column_order else 'C')
    if isinstance(value, BufferShell):
        return _array(*value.arguments)
    if isinstance(value, ScalarShell):
        return _array(value.arguments[1], value.arguments[0], (), 'C')
    if isinstance(value, (SparseColumnsShell, SparseRowsShell)):
        return _dense(value)
    if isinstance(value, ChumpyShell):
        if not isinstance(value.state, dict) or 'x' not in value.state:
            raise ValueError('a chumpy expression instead of a stored array')
        return _plain(value.state['x'])
    if isinstance(value, list):
        # One level: a list may contain itself.
        return [_plain(item) if isinstance(item, Shell) else item for item in value]
    if isinstance(value, Shell):
        raise ValueError(f'an object of an unexpected kind, {type(value).__name__}')
    return value


def _array(contents: Any, kind: Any, shape: Any, order: Any) -> ndarray:
    raw = contents.encode('latin1') if isinstance(contents, str) else bytes(contents)
    return np.frombuffer(raw, _dtype(kind)).reshape(shape, order=order)


def _dtype(kind: Any) -> np.dtype:
    """Return a numpy type of numbers or text; no other has a place in a body file."""
    code = str(kind.arguments[0])
    if not re.fullmatch(r'[<>|=]?([biuf][1248]|[SU]\d+)', code):
        raise ValueError(f'values of type {code!r}')
    byte_order: Any = kind.state[1] if kind.state else '='
    return np.dtype(code).newbyteorder(byte_order)


def _dense(shell: Shell) -> ndarray:
    """Return the dense form of a compressed sparse matrix, repeated entries added up."""
    state = shell.state
    values, minor, pointers = (_plain(state[name]) for name in ('data', 'indices', 'indptr'))
    major = np.repeat(np.arange(len(pointers) - 1), np.diff(pointers))
    dense = np.zeros(state['_shape' if '_shape' in state else 'shape'], values.dtype)
    np.add.at(dense, (minor, major) if isinstance(shell, SparseColumnsShell) else (major, minor), values)
    return dense
