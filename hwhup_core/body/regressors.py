"""
SPIN's and Human3.6M's regressed joints, from their official files where these were given.

`J_regressor_extra.npy` and `J_regressor_h36m.npy` belong to the vertices of the official SMPL and SMIL bodies. Without
them, and on the bundled bodies, `keypoint_sets.STAND_INS` says which of a body's own landmarks stand for these joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hwhup_core.assets import find_asset
from hwhup_core.body.files import SMPL_VERTEX_COUNT, SMPL_VERTEX_ORDER, BodyFile, require_vertex_order
from hwhup_core.body.joints import EXTRA_9, H36M_17, SMPL_24, index
from hwhup_core.errors import AssetError

SUM_TOLERANCE = 0.05
"""How far the sum of a row may be from 1."""
NEAR = 0.12
"""How far a regressed limb joint may lie from SMPL's own of that name, in body heights: hips differ by 0.05."""
_LIMBS = ('hip', 'knee', 'ankle', 'shoulder', 'elbow', 'wrist')
ROWS = {9: EXTRA_9, 17: tuple(f'h36m_{name}' for name in H36M_17)}
"""Number of rows of an official regressor -> the landmarks they give."""


@dataclass(frozen=True)
class LandmarkRows:
    """Further landmarks of a body as linear functions of its vertices."""

    names: tuple[str, ...]
    rows: Float[ndarray, 'k v']


def read_regressor(path: str | Path, rows: int) -> Float[ndarray, '{rows} 6890']:
    """Return the regressor in an .npy file with that many rows, checked: shape, finite, rows that sum to about 1."""
    path = Path(path)
    regressor = read_any_regressor(path)
    if len(regressor) != rows:
        raise AssetError(f'{path} has {len(regressor)} rows, expected {rows}. Use the file that belongs here.')
    return regressor


def read_any_regressor(path: Path) -> Float[ndarray, 'r 6890']:
    """Return either official regressor; their numbers of rows tell them apart."""
    try:
        with path.open('rb') as stream:
            content = np.lib.format.read_array(stream, allow_pickle=False)
    except OSError as error:
        raise AssetError(f'Cannot read the regressor {path}: {error.strerror}. Check the path.') from error
    except (ValueError, EOFError, KeyError, SyntaxError, TypeError, MemoryError) as error:
        raise AssetError(
            f'{path} is not a readable .npy file ({type(error).__name__}: {error}); pickled objects are not read. '
            'Get it again.'
        ) from error
    if content.dtype.kind != 'f' or content.ndim != 2 or content.shape not in [(n, SMPL_VERTEX_COUNT) for n in ROWS]:
        raise AssetError(
            f'{path} has type {content.dtype}, shape {content.shape}. Expected floats, (9, {SMPL_VERTEX_COUNT}) for '
            f'J_regressor_extra.npy or (17, {SMPL_VERTEX_COUNT}) for J_regressor_h36m.npy.'
        )
    if not np.isfinite(content).all():
        raise AssetError(f'{path} has NaN or infinite values. Get it again.')
    sums = content.sum(axis=1)
    if np.abs(sums - 1).max() > SUM_TOLERANCE:
        worst = int(np.abs(sums - 1).argmax())
        raise AssetError(f'{path}: row {worst} sums to {sums[worst]:.3g}, expected about 1. It is no joint regressor.')
    return np.ascontiguousarray(content, np.float32)


def regressed_landmarks(
    body: BodyFile,
    extra: Float[ndarray, '9 6890'] | None = None,
    h36m: Float[ndarray, '17 6890'] | None = None,
) -> LandmarkRows | None:
    """
    Return the landmarks `extra_*` and `h36m_*` of a body with the official vertices; None where neither is given.

    Rows that put a limb joint far from SMPL's own of that name are refused: their order, or the vertices, differ.
    """
    given = [regressor for regressor in (extra, h36m) if regressor is not None]
    if not given:
        return None
    require_vertex_order(body, SMPL_VERTEX_ORDER)
    landmarks = LandmarkRows(tuple(name for each in given for name in ROWS[len(each)]), np.concatenate(given))
    _refuse_far(body, landmarks)
    return landmarks


def official_landmarks(body: BodyFile) -> LandmarkRows | None:
    """Return the landmarks by the regressors of the assets folder; None without them, or for other vertices."""
    if body.vertex_order != SMPL_VERTEX_ORDER:
        return None
    extra, h36m = find_asset('j_regressor_extra'), find_asset('j_regressor_h36m')
    return regressed_landmarks(
        body,
        None if extra is None else read_regressor(extra, 9),
        None if h36m is None else read_regressor(h36m, 17),
    )


def _refuse_far(body: BodyFile, landmarks: LandmarkRows) -> None:
    """Raise unless each regressed limb joint lies near SMPL's own."""
    points, joints = landmarks.rows @ body.template, body.joint_regressor @ body.template
    height = float(np.ptp(body.template[:, 1]))
    for name, point in zip(landmarks.names, points):
        same = name.split('_', 1)[1]
        if same.endswith(_LIMBS):
            distance = float(np.linalg.norm(point - joints[index(same, SMPL_24)]))
            if distance > NEAR * height:
                raise AssetError(
                    f'{name} of the regressor lies {distance:.2f} m from {same} of body {body.body_id!r}: it belongs '
                    'to other vertices, or its rows are in another order. Leave it out, or get the official file.'
                )
