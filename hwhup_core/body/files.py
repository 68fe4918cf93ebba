"""
Body files: ours (.npz), official SMPL and SMIL files (.pkl, .npz), all in SMPL layout.

Arrays are float32 from here on, so the same body gives the same hash whether it came from a pickle or an npz.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from hwhup_core.body.joints import PARENTS_24
from hwhup_core.body.unpickle import read_pickle
from hwhup_core.errors import AssetError

NUM_BETAS = 10
NUM_POSE_FEATURES = 207
OUR_VERTEX_ORDER = 'hwhup_v1'
SMPL_VERTEX_ORDER = 'smpl'
UNKNOWN_VERTEX_ORDER = 'unknown'
SMPL_VERTEX_COUNT = 6890
FOREIGN_LICENCE = 'the licence of its source (SMPL and SMIL: non-commercial research only)'

_KEYS = (
    *('v_template', 'shapedirs', 'posedirs', 'J_regressor', 'weights', 'f', 'kintree_table'),
    *('keypoint_regressor', 'keypoint_names', 'body_id', 'licence', 'vertex_order'),
)

_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, KeyError, NotImplementedError)


@dataclass(frozen=True)
class BodyFile:
    """A body in SMPL layout. T-pose, y up, facing +z, metres."""

    body_id: str
    """Short name: `hwhup_infant_v1`, or the official file's name in lower case."""
    licence: str
    vertex_order: str
    """What vertex ids mean: `hwhup_v1`, `smpl`, or `unknown`. The number of vertices proves nothing."""
    template: Float[ndarray, 'v 3']
    """Vertices of the mean body."""
    shape_directions: Float[ndarray, 'v 3 10']
    """Vertex displacement per beta (one standard deviation)."""
    pose_directions: Float[ndarray, 'v 3 207'] | None
    """Vertex displacement per entry of (R - I) of the 23 child joints; None where the body has no such correction."""
    joint_regressor: Float[ndarray, '24 v']
    weights: Float[ndarray, 'v 24']
    """Linear blend skinning; rows sum to 1."""
    faces: Int[ndarray, 'f 3']
    keypoint_regressor: Float[ndarray, 'k v'] | None
    """Key points as linear functions of the vertices, rows named by `keypoint_names`."""
    keypoint_names: tuple[str, ...]

    @property
    def hash(self) -> str:
        """Return SHA-256 over names, shapes, types and contents of the arrays, independent of the file format."""
        digest = hashlib.sha256()
        for name, array in smplx_arrays(self).items():
            little_endian = np.ascontiguousarray(array, array.dtype.newbyteorder('<'))
            digest.update(f'{name} {array.shape} {little_endian.dtype.str}\n'.encode())
            digest.update(little_endian.tobytes())
        digest.update(' '.join((self.vertex_order, *self.keypoint_names)).encode())
        return digest.hexdigest()


def smplx_arrays(body: BodyFile) -> dict[str, ndarray]:
    """Return the arrays under SMPL's key names, in a fixed order; absent ones are left out."""
    arrays = {
        'v_template': body.template,
        'shapedirs': body.shape_directions,
        'posedirs': body.pose_directions,
        'J_regressor': body.joint_regressor,
        'weights': body.weights,
        'f': body.faces.astype(np.uint32),
        'kintree_table': np.array([PARENTS_24, range(24)], dtype=np.int64),
        'keypoint_regressor': body.keypoint_regressor,
    }
    return {name: array for name, array in arrays.items() if array is not None}


def read_body_file(path: str | Path) -> BodyFile:
    """
    Return the body in a file of ours or an official SMPL_{NEUTRAL,MALE,FEMALE} / SMIL file, .pkl or .npz.

    Nothing in a pickle is executed, chumpy is not needed. Of more than 10 shape directions the first 10 are used.
    """
    path = Path(path)
    if not path.is_file():
        raise AssetError(
            f'No body file at {path}. Use one of the bundled bodies (`adult`, `infant`), or download SMPL from '
            'smpl.is.tue.mpg.de and give the path of its .pkl or .npz file.'
        )
    if path.suffix == '.npz':
        return body_from_arrays(_read_npz(path), path)
    if path.suffix == '.pkl':
        return body_from_arrays(read_pickle(path, _KEYS), path)
    raise AssetError(f'{path} ends in {path.suffix!r}. A body file is .npz or .pkl.')


def write_body_file(body: BodyFile, path: str | Path) -> None:
    """Write our own format: a compressed npz with SMPL's key names plus id, licence, vertex order."""
    entries: dict[str, Any] = smplx_arrays(body) | text_entries(body)
    np.savez_compressed(path, **entries)


def text_entries(body: BodyFile) -> dict[str, ndarray]:
    """Return what is not geometry: identity and names, as numpy strings so that no pickle is needed in an npz."""
    entries = {
        'body_id': np.array(body.body_id),
        'licence': np.array(body.licence),
        'vertex_order': np.array(body.vertex_order),
    }
    return entries | ({'keypoint_names': np.array(body.keypoint_names)} if body.keypoint_names else {})


def require_vertex_order(body: BodyFile, tag: str) -> None:
    """Refuse anything made for vertex order `tag` (a regressor file, a vertex list) on a body with another order."""
    if body.vertex_order != tag:
        raise AssetError(
            f'Made for vertex order {tag!r}, but body {body.body_id!r} has {body.vertex_order!r}: the same number of '
            'vertices does not make them the same points. Use a body file of that order, or leave this file out.'
        )


def body_from_arrays(content: Mapping[str, Any], path: Path) -> BodyFile:
    """Return the checked body from entries under SMPL's key names; `path` is for errors and a missing id."""
    reader = _Entries(content, path)
    template = reader.floats('v_template', (None, 3))
    vertices = len(template)
    shape_directions = reader.floats('shapedirs', (vertices, 3, None))
    if shape_directions.shape[2] < NUM_BETAS:
        found = shape_directions.shape[2]
        raise AssetError(f'{path}: shapedirs has {found} directions. Expected at least {NUM_BETAS}.')
    keypoints = reader.floats('keypoint_regressor', (None, vertices)) if 'keypoint_regressor' in content else None
    names = tuple(str(name) for name in content.get('keypoint_names', ())) if keypoints is not None else ()
    if keypoints is not None and len(names) != len(keypoints):
        raise AssetError(f'{path}: {len(names)} keypoint_names for {len(keypoints)} rows of keypoint_regressor.')
    _check_tree(reader)
    return BodyFile(
        body_id=str(content.get('body_id', path.stem.lower())),
        licence=str(content.get('licence', FOREIGN_LICENCE)),
        vertex_order=str(content.get('vertex_order', _assumed_order(vertices))),
        template=template,
        shape_directions=np.ascontiguousarray(shape_directions[:, :, :NUM_BETAS]),
        pose_directions=_pose_directions(reader, vertices),
        joint_regressor=reader.floats('J_regressor', (len(PARENTS_24), vertices)),
        weights=_weights(reader, vertices),
        faces=reader.faces('f', vertices),
        keypoint_regressor=keypoints,
        keypoint_names=names,
    )


def _assumed_order(vertices: int) -> str:
    """Return the order of a file that carries no tag: official files carry none, ours always do."""
    return SMPL_VERTEX_ORDER if vertices == SMPL_VERTEX_COUNT else UNKNOWN_VERTEX_ORDER


def _pose_directions(reader: _Entries, vertices: int) -> ndarray | None:
    """Return posedirs; None where absent or all zero, which is how they are written for readers that insist on them."""
    if 'posedirs' not in reader.content:
        return None
    directions = reader.floats('posedirs', (vertices, 3, NUM_POSE_FEATURES))
    return directions if directions.any() else None


def _weights(reader: _Entries, vertices: int) -> ndarray:
    weights = reader.floats('weights', (vertices, len(PARENTS_24)))
    worst = float(np.abs(weights.sum(axis=1) - 1).max())
    if worst > 1e-3:
        raise AssetError(f'{reader.path}: skinning weights of a vertex sum to 1 +- {worst:.3g}. Expected 1.')
    return weights


def _check_tree(reader: _Entries) -> None:
    table = reader.array('kintree_table')
    if table.shape != (2, len(PARENTS_24)):
        raise AssetError(f'{reader.path}: kintree_table has shape {table.shape}. Expected (2, 24).')
    parents = table[0].astype(np.int64)
    # Official files write the root's parent as 2**32 - 1.
    parents[0] = -1 if parents[0] == 2**32 - 1 else parents[0]
    if parents.tolist() != list(PARENTS_24):
        raise AssetError(f'{reader.path}: joint tree {parents.tolist()}. Expected the SMPL tree {list(PARENTS_24)}.')


@dataclass(frozen=True)
class _Entries:
    """The raw entries of a file, with checks that name file and key."""

    content: Mapping[str, Any]
    path: Path

    def array(self, key: str) -> ndarray:
        """Return entry `key` as an array of numbers."""
        if key not in self.content:
            raise AssetError(
                f'{self.path} has no entry {key!r}. It has: {", ".join(sorted(self.content))}. Expected a body file in '
                'SMPL layout.'
            )
        array = np.asarray(self.content[key])
        if array.dtype.kind not in 'fiu':
            raise AssetError(f'{self.path}: {key} has type {array.dtype}. Expected an array of numbers.')
        return array

    def floats(self, key: str, shape: tuple[int | None, ...]) -> ndarray:
        """Return entry `key` as finite float32 of the given shape; None stands for any size."""
        array = self.array(key)
        if array.ndim != len(shape) or any(size not in (None, found) for size, found in zip(shape, array.shape)):
            expected = ', '.join('any' if size is None else str(size) for size in shape)
            raise AssetError(f'{self.path}: {key} has shape {array.shape}. Expected ({expected}).')
        if not np.isfinite(array).all():
            raise AssetError(f'{self.path}: {key} has NaN or infinite values. Copy or download the file again.')
        return np.ascontiguousarray(array, np.float32)

    def faces(self, key: str, vertices: int) -> ndarray:
        """Return triangles as int64, checked to name existing vertices."""
        faces = self.array(key)
        if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype.kind not in 'iu':
            found = f'shape {faces.shape}, type {faces.dtype}'
            raise AssetError(f'{self.path}: {key} has {found}. Expected integers (f, 3).')
        if faces.size and not 0 <= int(faces.min()) <= int(faces.max()) < vertices:
            raise AssetError(f'{self.path}: {key} names vertex {faces.max()}, but there are only {vertices}.')
        return faces.astype(np.int64)


def _read_npz(path: Path) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except _ZIP_ERRORS as error:
        raise AssetError(
            f'{path} is not a readable npz file ({type(error).__name__}: {error}); it is probably cut off, another '
            'kind of file, or holds pickled objects, which are not read. Copy or download it again.'
        ) from error
