"""SPIN's stored fits: `<data set>_fits.npy`, n x 82, or the final fits as .npz with a flag for those that are good."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from hwhup_core.data.sample import Dataset, Gender, TrueBody
from hwhup_core.errors import AssetError, ConfigError

POSE, BETAS = 72, 10
_FLAGS = ('valid_fit', 'valid')


@dataclass(frozen=True)
class Fits:
    """One fit a row of a data set file, in its order, of the picture as it lies on disk."""

    pose: Float[ndarray, 'n 72']
    """Axis-angle, radians, SMPL order."""
    betas: Float[ndarray, 'n 10']
    valid: Bool[ndarray, ' n']
    """Whether there is a fit; of an .npy every row that is not all zeros."""

    def __len__(self) -> int:
        return len(self.pose)

    def rows(self) -> Float[ndarray, 'n 82']:
        """Return pose and betas beside each other, zeros where there is no fit."""
        rows: ndarray = np.where(self.valid[:, None], np.concatenate([self.pose, self.betas], axis=1), 0.0)
        return rows


def read_fits(path: Path, count: int | None = None) -> Fits:
    """Return the fits in an .npy or .npz; `count` rows are expected, if given."""
    path = Path(path)
    try:
        content: Any = np.load(path, allow_pickle=False)
        fits = _from_array(content, path) if isinstance(content, ndarray) else _from_archive(content, path)
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise AssetError(
            f'{path} cannot be read as fits ({error}). Expected an .npy of n x {POSE + BETAS} numbers, or an .npz with '
            f'pose, betas and {_FLAGS[0]}.'
        ) from error
    if count is not None and len(fits) != count:
        raise AssetError(f'{path} has {len(fits)} fits, expected {count}: one a row of the data set. Use its own fits.')
    return fits


def _from_array(rows: ndarray, path: Path) -> Fits:
    _require(rows, (POSE + BETAS,), 'the array', path)
    rows = rows.astype(np.float64)
    fits = Fits(rows[:, :POSE], rows[:, POSE:], np.asarray(rows.any(axis=1)))
    _require_finite(fits, path)
    return fits


def _from_archive(content: Any, path: Path) -> Fits:
    with content:
        flags = [key for key in _FLAGS if key in content.files]
        missing = [key for key in ('pose', 'betas') if key not in content.files]
        if missing or not flags:
            raise AssetError(
                f'{path} has {", ".join(content.files)}, expected pose, betas and {_FLAGS[0]}. Use the final fits.'
            )
        pose, betas, valid = content['pose'], content['betas'], content[flags[0]].reshape(-1)
    _require(pose, (POSE,), '`pose`', path)
    _require(betas, (BETAS,), '`betas`', path)
    if not len(pose) == len(betas) == len(valid):
        raise AssetError(f'{path}: {len(pose)} poses, {len(betas)} betas and {len(valid)} flags. Copy it again.')
    fits = Fits(pose.astype(np.float64), betas.astype(np.float64), valid.astype(bool))
    _require_finite(fits, path)
    return fits


def _require(array: ndarray, tail: tuple[int, ...], what: str, path: Path) -> None:
    if array.ndim != 2 or array.shape[1:] != tail or array.dtype.kind not in 'fiu':
        raise AssetError(
            f'{path}: {what} is {array.dtype} {array.shape}, expected numbers (n, {tail[0]}). Copy it again.'
        )


def _require_finite(fits: Fits, path: Path) -> None:
    numbers = np.concatenate([fits.pose, fits.betas], axis=1)
    bad = fits.valid & ~np.isfinite(numbers).all(axis=1)
    if bad.any():
        raise AssetError(
            f'{path}: row {bad.argmax()} has a NaN or infinite number ({bad.sum()} rows have). Remove these fits.'
        )


def write_fits(path: Path, fits: Fits) -> None:
    """Write .npy (n x 82, zeros for no fit) or .npz (pose, betas, valid_fit), by the ending."""
    path = Path(path)
    _require_finite(fits, path)
    if path.suffix == '.npy':
        np.save(path, fits.rows())
    elif path.suffix == '.npz':
        np.savez_compressed(path, pose=fits.pose, betas=fits.betas, valid_fit=fits.valid)
    else:
        raise ConfigError(f'{path} ends in {path.suffix!r}. Fits are written as .npy or .npz.')


def with_fits(dataset: Dataset, fits: Fits, gender: Gender = 'neutral') -> Dataset:
    """Return the data set with the fits as bodies of its samples, which must be as many."""
    if len(fits) != len(dataset):
        raise AssetError(f'{len(fits)} fits for {len(dataset)} samples of {dataset.folder}. Use its own fits.')
    samples = tuple(
        replace(sample, body=TrueBody(fits.pose[i], fits.betas[i], gender)) if fits.valid[i] else sample
        for i, sample in enumerate(dataset.samples)
    )
    return replace(dataset, samples=samples)
