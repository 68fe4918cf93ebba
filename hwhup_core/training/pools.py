"""
Samples in memory, as wide square pictures that augmentation turns, shifts and zooms: with truth, or with weak labels.

A pool of weak labels holds what a place without 3D ground truth can give and nothing else; its depth is the uncovered
one, cleaned, whatever cover the input pictures show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Bool, Float, Int, Int16, UInt8, UInt16
from numpy import ndarray

from hwhup_core.errors import AssetError, ConfigError
from hwhup_core.networks.packing import Modality

A = TypeVar('A', bound='Arrays')


@dataclass(frozen=True)
class Arrays:
    """Arrays that share their first axis, the samples; None where there is nothing of the kind."""

    def __len__(self) -> int:
        return len(next(value for value in vars(self).values() if value is not None))

    def __getitem__(self: A, index: slice | Int[ndarray, ' n']) -> A:
        """Return the selected samples."""
        return type(self)(**{k: None if v is None else v[index] for k, v in vars(self).items()})


@dataclass(frozen=True)
class Pictures(Arrays):
    """What the sensors saw, cropped wider than the network's input."""

    half_tangent: Float[ndarray, ' n']
    """Half the picture's width at distance 1: half its side over the focal length."""
    principal: Float[ndarray, 'n 2']
    """Principal point in the picture, [-1, 1] from edge to edge."""
    color: UInt8[ndarray, 'n p p 3'] | None = None
    """RGB."""
    depth: UInt16[ndarray, 'n p p'] | None = None
    """As the sensor gave it, 0.1 mm, 0 = hole."""
    infrared: Int16[ndarray, 'n p p'] | UInt8[ndarray, 'n p p'] | None = None
    """As frames hold it, in counts of `transforms.PICTURE_UNIT`; 8 bits: 0..255 for 0..1."""
    pressure: Int16[ndarray, 'n p p'] | UInt8[ndarray, 'n p p'] | None = None
    """Likewise."""
    pressure_peak: Float[ndarray, ' n'] | None = None
    """Of the whole map, as frames hold it."""

    def of(self, modality: Modality) -> ndarray:
        """Return the pictures of one modality, or say that there are none."""
        found = {
            Modality.RGB: self.color,
            Modality.DEPTH: self.depth,
            Modality.INFRARED: self.infrared,
            Modality.PRESSURE: self.pressure,
        }[modality]
        if found is None:
            raise ConfigError(
                f'The samples have no {modality.value} pictures, which the network is to read. Make or record them, or '
                'choose other input modalities.'
            )
        return found


@dataclass(frozen=True)
class TrueLabels(Arrays):
    """Exact 3D labels. Camera frame."""

    keypoints: Float[ndarray, 'n k 2']
    """True 2D joints, named by the pool, [-1, 1] over the picture."""
    global_rotation: Float[ndarray, 'n 3 3']
    """Camera from pelvis."""
    joint_rotations: Float[ndarray, 'n 23 3 3']
    betas: Float[ndarray, 'n 10']


@dataclass(frozen=True)
class WeakLabels(Arrays):
    """What is known where no 3D truth can exist; joints named by the pool."""

    keypoints: Float[ndarray, 'n k 2']
    """Labelled 2D joints, [-1, 1] over the picture; 0 where there is none."""
    confidence: Float[ndarray, 'n k']
    """1 where a joint is labelled, seen or occluded."""
    visibility: Float[ndarray, 'n k']
    """1 where it passed the gate of its proxy."""
    proxies: Float[ndarray, 'n k 3']
    """3D points of the depth at the joints, camera frame, metres, not centred; 0 where nothing was measured."""
    depth: UInt16[ndarray, 'n p p']
    """Uncovered depth, cleaned, 0.1 mm, 0 = hole."""
    mask: Bool[ndarray, 'n p p']
    """Body mask Ma."""
    rows: Int[ndarray, ' n']
    """Row of the fit store: samples of one pose under several covers share it."""


@dataclass(frozen=True)
class LabelledPool:
    """A source domain, or the oracle's view of a target."""

    pictures: Pictures
    labels: TrueLabels
    joints: tuple[str, ...]
    """Names of the 2D joints."""
    names: tuple[str, ...]
    """One name a sample, for errors and reports."""

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class WeakPool:
    """A target domain as training may see it."""

    pictures: Pictures
    labels: WeakLabels
    joints: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)


P = TypeVar('P', LabelledPool, WeakPool)


def join_pools(parts: Sequence[P]) -> P:
    """Return one pool of several with the same joints and modalities."""
    first = parts[0]
    if any(part.joints != first.joints for part in parts):
        raise ConfigError('Pools with different joints cannot be joined. Build them with one key point set.')
    pictures, labels = (_concatenate([getattr(part, name) for part in parts]) for name in ('pictures', 'labels'))
    return type(first)(pictures, labels, first.joints, tuple(name for part in parts for name in part.names))


def _concatenate(parts: Sequence[A]) -> A:
    def joined(name: str) -> ndarray | None:
        columns = [getattr(part, name) for part in parts]
        if any(column is None for column in columns):
            if any(column is not None for column in columns):
                raise ConfigError(f'Only some of the pools have {name}. Make all of them with the same modalities.')
            return None
        return np.concatenate(columns)

    return type(parts[0])(**{field.name: joined(field.name) for field in fields(parts[0])})


def save_pool(file: Path, pool: LabelledPool | WeakPool) -> None:
    """Write the pool as an .npz file; it appears whole or not at all."""
    arrays = {f'{group}.{k}': v for group in ('pictures', 'labels') for k, v in vars(getattr(pool, group)).items()}
    content = {name: value for name, value in arrays.items() if value is not None}
    partial = file.with_name(file.name + '.partial.npz')
    np.savez(partial, joints=np.array(pool.joints), names=np.array(pool.names), **content)
    partial.replace(file)


def load_pool(file: Path, kind: type[P]) -> P:
    """Return the pool of an .npz file, of the kind that it was saved as."""
    kinds: tuple[Any, ...] = (Pictures, TrueLabels if kind is LabelledPool else WeakLabels)
    try:
        with np.load(file, allow_pickle=False) as arrays:
            pictures, labels = (
                record(**{f.name: _stored(arrays, f'{group}.{f.name}', f) for f in fields(record)})
                for group, record in zip(('pictures', 'labels'), kinds)
            )
            return kind(pictures, labels, tuple(arrays['joints'].tolist()), tuple(arrays['names'].tolist()))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise AssetError(f'{file} is not a whole pool of samples: {error}. Remove it; it is made anew.') from error


def _stored(arrays: Mapping[str, ndarray], name: str, field: Field[Any]) -> ndarray | None:
    """Return the array; None only where the record does without."""
    return arrays[name] if field.default is MISSING else arrays.get(name)
