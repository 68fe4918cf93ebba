"""`labels/truth.npz` of a recording: SMPL parameters and 3D joints of its frames, by unit."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from hwhup_core.data.sample import Gender, Joints3D, TrueBody
from hwhup_core.errors import AssetError, ConfigError

TRUTH = 'truth.npz'


@dataclass(frozen=True)
class Truths:
    """What is known in 3D of the frames of a recording, by unit."""

    bodies: Mapping[str, TrueBody]
    joints_3d: Mapping[str, Joints3D]


def read_truths(labels: Path) -> Truths:
    """Return the truths in a folder of labels; nothing where there are none."""
    path = labels / TRUTH
    if not path.is_file():
        return Truths({}, {})
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {key: content[key] for key in content.files}
        names = tuple(map(str, arrays['joint_names']))
        translation = arrays['translation']
        bodies = {
            str(unit): TrueBody(
                arrays['pose'][i],
                arrays['betas'][i],
                cast(Gender, str(arrays['gender'][i])),
                translation[i] if np.isfinite(translation[i]).all() else None,
            )
            for i, unit in enumerate(arrays['body_units'])
        }
        joints = {
            str(unit): Joints3D(names, arrays['positions'][i], arrays['confidence'][i], bool(arrays['centred'][i]))
            for i, unit in enumerate(arrays['joint_units'])
        }
    except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
        raise AssetError(f'{path} is not a whole file of truths ({error}). Convert the data set again.') from error
    return Truths(bodies, joints)


def truths_content(truths: Truths) -> bytes:
    """Return the file of bodies and 3D joints."""
    names = {joints.names for joints in truths.joints_3d.values()}
    if len(names) > 1:
        raise ConfigError(
            f'The samples have {len(names)} sets of 3D joints. A recording holds one; convert them apart.'
        )
    bodies, joints = list(truths.bodies.values()), list(truths.joints_3d.values())
    nowhere = np.full(3, np.nan)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        body_units=np.array(list(truths.bodies), dtype=str),
        pose=np.array([body.pose for body in bodies]).reshape(-1, 72),
        betas=np.array([body.betas for body in bodies]).reshape(-1, 10),
        gender=np.array([body.gender for body in bodies], dtype=str),
        translation=np.array([nowhere if b.translation is None else b.translation for b in bodies]).reshape(-1, 3),
        joint_units=np.array(list(truths.joints_3d), dtype=str),
        joint_names=np.array(next(iter(names), ()), dtype=str),
        positions=np.array([each.positions for each in joints]),
        confidence=np.array([each.confidence for each in joints]),
        centred=np.array([each.centred for each in joints], dtype=bool),
    )
    return buffer.getvalue()
