"""Checked entries of the pickled dictionaries in which 3DPW and SLP-3Dfits come; every error names file and entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.data.sample import Gender
from hwhup_core.errors import AssetError

_GENDERS: dict[str, Gender] = {
    'm': 'male',
    'male': 'male',
    'f': 'female',
    'female': 'female',
    'n': 'neutral',
    'neutral': 'neutral',
}


@dataclass(frozen=True)
class PickledEntries:
    """What `unpickle.read_pickle` returned for one file."""

    content: Mapping[str, Any]
    path: Path

    def value(self, key: str) -> Any:
        """Return an entry that has to be there."""
        if key not in self.content:
            raise AssetError(f'{self.path} has no entry {key!r}. Copy it again from the official source.')
        return self.content[key]

    def floats(self, key: str, shape: tuple[int | None, ...]) -> Float[ndarray, '...']:
        """Return an entry as numbers of that shape; None stands for any size. They may be NaN."""
        return self.checked(key, self.value(key), shape)

    def of_each(self, key: str, count: int | None = None) -> list[Any]:
        """Return an entry that is a list with one value a person, of whom there are `count`."""
        values = self.value(key)
        if not isinstance(values, list):
            raise AssetError(f'{self.path}: {key} is a {type(values).__name__}, expected a list, one entry a person.')
        if count is not None and len(values) != count:
            raise AssetError(f'{self.path}: {key} is for {len(values)} people, expected {count}. Copy the file again.')
        return values

    def checked(self, key: str, value: Any, shape: tuple[int | None, ...]) -> Float[ndarray, '...']:
        """Return a value of entry `key` as float64 of that shape."""
        array = value if isinstance(value, ndarray) else _as_array(value)
        if array.dtype.kind not in 'fiub':
            raise AssetError(f'{self.path}: {key} has type {array.dtype}, expected numbers. Copy the file again.')
        if array.ndim != len(shape) or any(size not in (None, found) for size, found in zip(shape, array.shape)):
            expected = ', '.join('any' if size is None else str(size) for size in shape)
            raise AssetError(f'{self.path}: {key} has shape {array.shape}, expected ({expected}). Copy the file again.')
        return array.astype(np.float64)

    def vector(self, key: str, size: int) -> Float[ndarray, ' n']:
        """Return an entry of `size` finite numbers, which may also be a row or a column."""
        array = _as_array(self.value(key))
        flat = self.checked(key, array.ravel(), (size,))
        if not np.isfinite(flat).all():
            raise AssetError(f'{self.path}: {key} has NaN or infinite values. Copy the file again, or leave it out.')
        return flat

    def gender(self, key: str, value: Any) -> Gender:
        """Return the gender that a value of entry `key` names: `m`, `female`, ..."""
        name = str(np.asarray(value).item()) if np.ndim(value) == 0 or np.size(value) == 1 else repr(value)
        if name.lower() not in _GENDERS:
            raise AssetError(
                f'{self.path}: {key} is {name!r}, expected one of {", ".join(_GENDERS)}. Correct the file.'
            )
        return _GENDERS[name.lower()]


def _as_array(value: Any) -> ndarray:
    """Return a number, an array or a list of numbers as an array; of anything else an array of no numeric type."""
    try:
        array: ndarray = np.asarray(value)
    except ValueError:
        return np.asarray(str(type(value)))
    return array
