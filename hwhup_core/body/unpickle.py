"""
Reading old pickles without trusting them.

Official SMPL files are Python 2 pickles with chumpy and scipy.sparse objects inside. A pickle is a program; this one
may call nothing but the few constructors listed below. Chumpy and scipy objects become shells whose state we turn into
arrays, so neither library is needed.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from hwhup_core.errors import AssetError


class Opaque:
    """A shell that stands for an object of a foreign class and only remembers its state."""

    def __new__(cls, *arguments: Any) -> Opaque:
        """Make an empty shell, whatever the foreign constructor was given."""
        return object.__new__(cls)

    def __init__(self, *arguments: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


class SparseShell(Opaque):
    """A scipy.sparse matrix in compressed-column (csc) or compressed-row (csr) form."""

    compressed_axis = 1


class SparseRowShell(SparseShell):
    """A compressed-row matrix."""

    compressed_axis = 0


class ChumpyShell(Opaque):
    """A chumpy object; its value, if it has one of its own, is the state entry `x`."""


def _empty_array(subtype: Any, shape: Any, dtype: Any) -> ndarray:
    return np.ndarray((0,), 'b')


def _array_from_bytes(buffer: Any, dtype: Any, shape: Any, order: Any) -> ndarray:
    return np.frombuffer(buffer, dtype=dtype).reshape(shape, order=order)


def _scalar(dtype: Any, content: bytes | str = b'') -> Any:
    raw = content.encode('latin1') if isinstance(content, str) else content
    return np.frombuffer(raw, dtype=dtype)[0]


def _latin1_bytes(text: str, encoding: str = 'latin1') -> bytes:
    return text.encode('latin1')


def _old_style_object(kind: Any, base: Any, state: Any) -> Opaque:
    if not (isinstance(kind, type) and issubclass(kind, Opaque)):
        raise pickle.UnpicklingError(f'cannot rebuild an object of {kind!r}')
    return kind()


_ALLOWED: dict[tuple[str, str], Any] = {
    ('numpy', 'ndarray'): np.ndarray,
    ('numpy', 'dtype'): np.dtype,
    ('_codecs', 'encode'): _latin1_bytes,
    ('collections', 'OrderedDict'): OrderedDict,
    **{(package + '.multiarray', '_reconstruct'): _empty_array for package in ('numpy.core', 'numpy._core')},
    **{(package + '.multiarray', 'scalar'): _scalar for package in ('numpy.core', 'numpy._core')},
    **{(package + '.numeric', '_frombuffer'): _array_from_bytes for package in ('numpy.core', 'numpy._core')},
    **{(module, '_reconstructor'): _old_style_object for module in ('copy_reg', 'copyreg')},
    **{(module, 'object'): Opaque for module in ('__builtin__', 'builtins')},
    **{(module, 'set'): set for module in ('__builtin__', 'builtins')},
    **{(module, 'csc_matrix'): SparseShell for module in ('scipy.sparse.csc', 'scipy.sparse._csc')},
    **{(module, 'csr_matrix'): SparseRowShell for module in ('scipy.sparse.csr', 'scipy.sparse._csr')},
}


class _RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that knows the names in `_ALLOWED`, and imports nothing."""

    path: Path

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for a global that the pickle asks for."""
        if module.split('.')[0] == 'chumpy':
            return ChumpyShell
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        raise AssetError(
            f'{self.path} asks to run {module}.{name}, which a body file has no use for; nothing was executed. '
            'Expected only numpy, scipy.sparse and chumpy data. Get the file again from its official source.'
        )


def read_pickle(path: Path) -> dict[str, Any]:
    """Return the dictionary in a pickle with sparse and chumpy objects turned into arrays; executes nothing from it."""
    try:
        with path.open('rb') as stream:
            unpickler = _RestrictedUnpickler(stream, encoding='latin1')
            unpickler.path = path
            content = unpickler.load()
    except AssetError:
        raise
    # A damaged pickle program can fail in any of these ways inside the unpickler or numpy's __setstate__.
    except (
        pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError,
        MemoryError, ImportError,
    ) as error:  # fmt: skip
        raise AssetError(
            f'{path} is not a readable pickle ({type(error).__name__}: {error}); it is probably cut off or another '
            'kind of file. Expected an SMPL model file. Copy or download it again.'
        ) from error
    if not isinstance(content, dict):
        raise AssetError(f'{path} holds a {type(content).__name__}. Expected the dictionary of an SMPL model file.')
    return {str(key): _plain(value, str(key), path) for key, value in content.items()}


def _plain(value: Any, key: str, path: Path) -> Any:
    """Return `value` with a shell replaced by the array it stands for."""
    if isinstance(value, SparseShell):
        return _dense(value, key, path)
    if isinstance(value, ChumpyShell):
        inner = value.state.get('x')
        if not isinstance(inner, ndarray):
            raise AssetError(
                f'{path}: {key} is a chumpy expression, not a stored array. Re-save the file with plain numpy arrays.'
            )
        return inner
    return value


def _dense(shell: SparseShell, key: str, path: Path) -> ndarray:
    """Return the dense matrix of a compressed sparse one, with repeated entries added up."""
    state = shell.state
    try:
        rows, columns = (int(size) for size in state['_shape' if '_shape' in state else 'shape'])
        values, minor, pointers = (np.asarray(state[name]) for name in ('data', 'indices', 'indptr'))
        major = np.repeat(np.arange(len(pointers) - 1), np.diff(pointers))
        dense = np.zeros((rows, columns), values.dtype)
        np.add.at(dense, (minor, major) if shell.compressed_axis == 1 else (major, minor), values)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise AssetError(f'{path}: {key} is a damaged sparse matrix ({error!r}). Copy or download it again.') from error
    return dense
